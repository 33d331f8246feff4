"""Output files: every format gives back what was written, and a file is written whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from runner.edge.files import TEMPORARY
from runner.edge.outputs import Line, write_output
from runner.errors import RunnerError

FORMATS = ("jsonl", "csv", "parquet")


def line(key: str, **changes: Any) -> Line:
    """An output line of the contract."""
    return {
        "key": key,
        "sample": 1,
        "status": "succeeded",
        "text": "an answer",
        "parsed": None,
        "finish_reason": "stop",
        "usage": {"input_tokens": 12, "output_tokens": None},
        "model": "mi-9",
        "task": "t-1",
        "error": None,
        **changes,
    }


LINES = [
    line("1"),
    line("2", sample=2, text='commas, "quotes"\nlines\r\nand\ttabs', parsed={"a": [1, None, True]}),
    line("3", text="😀 é 中 \u2028 \u202e \x00 \x1b", parsed=5),
    line("", text="", parsed=True),
    line("5", text="a lone\rcarriage return", parsed="text", usage={"input_tokens": None, "output_tokens": None}),
    line(
        "6",
        status="failed",
        text=None,
        finish_reason=None,
        model=None,
        task=None,
        error={"code": "missing", "message": 'no "line", at all', "retryable": True},
    ),
]


def read(path: Path) -> list[dict[str, Any]]:
    """A file as a stranger reads it, without looking at any type."""
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return found
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(text) for text in path.read_text(encoding="utf-8").split("\n") if text]


def as_text(value: Any) -> str | None:
    """A cell: texts as they are, anything else as JSON."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def cells(lines: list[Line], form: str) -> list[dict[str, Any]]:
    """What a reader of ``form`` has to find."""
    if form == "jsonl":
        return lines
    if form == "csv":
        return [{name: as_text(value) or "" for name, value in line.items()} for line in lines]
    return [{**{name: as_text(value) for name, value in line.items()}, "sample": line["sample"]} for line in lines]


@pytest.mark.parametrize("form", FORMATS)
def test_written_and_read_back(tmp_path: Path, form: str) -> None:
    """Every cell of every line, in order; the digest is that of the file."""
    path = tmp_path / "deep" / f"a.{form}"
    sha = write_output(path, LINES)
    assert read(path) == cells(LINES, form)
    assert sha == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("form", FORMATS)
def test_an_input_beside_the_answer(tmp_path: Path, form: str) -> None:
    """The last column, as JSON where there are only cells; the shapes of rows may differ."""
    lines = [line("1", input={"q": "é", "n": 1.5}), line("2", input={"deep": {"list": [{}, []]}})]
    write_output(tmp_path / f"a.{form}", lines)
    found = read(tmp_path / f"a.{form}")
    assert [list(one)[-1] for one in found] == ["input", "input"]
    assert found == cells(lines, form)


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=40)
@given(rows=st.lists(st.tuples(st.text(), st.none() | st.text(), VALUES), min_size=1, max_size=8))
def test_any_lines(
    tmp_path_factory: pytest.TempPathFactory, form: str, rows: list[tuple[str, str | None, Any]]
) -> None:
    """Any keys, texts and parsed answers, of as many types as there are rows."""
    lines = [line(key, text=text, parsed=parsed) for key, text, parsed in rows]
    path = tmp_path_factory.getbasetemp() / f"any.{form}"
    write_output(path, lines)
    assert read(path) == cells(lines, form)


@pytest.mark.parametrize("form", FORMATS)
def test_half_a_surrogate_pair(tmp_path: Path, form: str) -> None:
    """UTF-8 has no bytes for it: it becomes a question mark, and nothing else changes."""
    lines = [line("\ud800", text="half \udc00 of one", parsed=["\ud83d"], input={"\ud800": "\ud800"})]
    mended = [line("?", text="half ? of one", parsed=["?"], input={"?": "?"})]
    write_output(tmp_path / f"a.{form}", lines)
    assert read(tmp_path / f"a.{form}") == cells(mended, form)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("old", [None, b"as it was"])
@pytest.mark.parametrize("count", [0, 1, 10_001])
def test_a_line_that_fails_leaves_the_old_file(tmp_path: Path, form: str, old: bytes | None, count: int) -> None:
    """At the first line, after one, or in the second group: the file is what it was, and nothing lies beside it."""
    path = tmp_path / f"a.{form}"
    if old is not None:
        path.write_bytes(old)

    def failing() -> Iterator[Line]:
        for number in range(count):
            yield line(str(number))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_output(path, failing())
    assert (path.read_bytes() if path.exists() else None) == old
    assert list(tmp_path.rglob(f"{TEMPORARY}*")) == []


@pytest.mark.parametrize("form", FORMATS)
def test_one_line_at_a_time(tmp_path: Path, form: str) -> None:
    """Lines are taken as they are written, not gathered before."""
    taken = []

    def lines() -> Iterator[Line]:
        for number in range(10_001):
            taken.append(number)
            yield line(str(number))

    write_output(tmp_path / f"a.{form}", lines())
    assert len(read(tmp_path / f"a.{form}")) == len(taken) == 10_001


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_lines_are_the_same_bytes(tmp_path: Path, form: str) -> None:
    """So that an output that did not change is no change in git."""
    assert write_output(tmp_path / f"a.{form}", LINES) == write_output(tmp_path / f"b.{form}", LINES)


def test_an_output_can_be_read_by_others(tmp_path: Path) -> None:
    """All formats have the permissions of a file written in the ordinary way."""
    (tmp_path / "plain").write_bytes(b"")
    for form in FORMATS:
        write_output(tmp_path / f"a.{form}", LINES)
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    """OSError, and no temporary file is left."""
    for form in FORMATS:
        (tmp_path / f"a.{form}" / "full").mkdir(parents=True)
        with pytest.raises(OSError, match="directory"):
            write_output(tmp_path / f"a.{form}", LINES)
    assert list(tmp_path.rglob(f"{TEMPORARY}*")) == []


def test_parquet_without_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expected error with the command that helps; the other formats need nothing."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RunnerError) as caught:
        write_output(tmp_path / "a.parquet", LINES)
    assert caught.value.message == "writing a.parquet needs the extra for Parquet"
    assert caught.value.commands == ("pip install 'batch-runner[parquet]'",)
    write_output(tmp_path / "a.csv", LINES)
