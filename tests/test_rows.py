"""Rows of input files: every format, streamed, and every way in which a file can be broken."""

from __future__ import annotations

import builtins
import csv
import datetime as dt
import gzip
import hashlib
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.edge import rows
from runner.edge.grounds import Grounds
from runner.edge.rows import fingerprint, read
from runner.errors import RunnerError

ROWS = [{"id": "1", "text": "a,b\n\u00e9"}, {"id": "2", "text": '"'}]


def a_file(folder: Path, name: str, content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return name


def separated(found: list[dict[str, str]], delimiter: str) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(found[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def parquet(table: Any) -> bytes:
    data = io.BytesIO()
    pq.write_table(table, data)
    return data.getvalue()


def written(kind: str, found: list[dict[str, Any]]) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in found).encode()
    if kind == "json":
        return json.dumps(found, indent=1).encode()
    if kind == "parquet":
        return parquet(pa.Table.from_pylist(found))
    return separated(found, "," if kind == "csv" else "\t").encode()


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str, zipped: str) -> None:
    """What was written is read, gzipped or not, whatever the case of the name."""
    for name in (f"a.{kind}{zipped}", f"A.{kind.upper()}{zipped}"):
        assert list(read(Grounds(tmp_path), a_file(tmp_path, name, written(kind, ROWS)))) == ROWS


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, kind: str) -> None:
    """Spreadsheets write one before UTF-8."""
    assert list(read(Grounds(tmp_path), a_file(tmp_path, f"a.{kind}", b"\xef\xbb\xbf" + written(kind, ROWS)))) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.jsonl", "", []),
        ("a.jsonl", '\n {"a": 1} \r\n\n\t\n{"a": 2}', [{"a": 1}, {"a": 2}]),
        ("a.jsonl", '{"a": 123456789012345678901234567890}\n', [{"a": 123456789012345678901234567890}]),
        ("a.json", " [ ]\n", []),
        ("a.json", '[{"a": [1, {"b": "]"}]},{"a": null}]', [{"a": [1, {"b": "]"}]}, {"a": None}]),
        ("a.csv", "a,b\r\n\r\n1,\r\n", [{"a": "1", "b": ""}]),
        ("a.csv", "a,b\n", []),
        ("a.csv", ',b\n0,"x\ny"\n', [{"": "0", "b": "x\ny"}]),
    ],
)
def test_what_is_tolerated(tmp_path: Path, name: str, content: str, found: list[Any]) -> None:
    """Blank lines, spaces, no rows at all, large numbers, one column without a name."""
    assert list(read(Grounds(tmp_path), a_file(tmp_path, name, content))) == found


@pytest.mark.parametrize(
    ("name", "content", "where", "message"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": }\n', "a.jsonl:2:7", "a value is missing"),
        ("a.jsonl", '{"a": 1}\n{"a": "x', "a.jsonl:2:7", "a text in quotes has no end"),
        ("a.jsonl", '{"a": 1} {"a": 2}', "a.jsonl:1:9", "more on the line"),
        ("a.jsonl", "\n[1]", "a.jsonl:2:1", "an array, not an object"),
        ("a.jsonl", "null", "a.jsonl:1:1", "null, not an object"),
        ("a.jsonl", '{"a": NaN}', "a.jsonl:1:1", "NaN is no JSON number"),
        ("a.jsonl", '{"a": -Infinity}', "a.jsonl:1:1", "-Infinity is no JSON number"),
        ("a.jsonl", '{"a": 1e400}', "a.jsonl:1:1", "1e400 is too large"),
        ("a.jsonl", '{"a": "x\0"}', "a.jsonl:1:9", "control character"),
        ("a.jsonl", '{"a": ' + "[" * 100_000, "a.jsonl:1:1", "nested too deeply"),
        ("a.jsonl", '{"a": ' + "9" * 5_000 + "}", "a.jsonl:1:1", "4300"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xc3\xa9\xe9"}', "a.jsonl:2:9", "0xe9 is no UTF-8"),
        ("a.jsonl", '{"a": 1}'.encode("utf-16"), "a.jsonl:1:1", "0xff is no UTF-8"),
        ("a.json", '{"a": 1}', "a.json:1:1", "no array"),
        ("a.json", "", "a.json:1:1", "no array"),
        ("a.json", '[{"a": 1},\n 2]', "a.json:2:2", "a row begins with `{`"),
        ("a.json", '[{"a": 1},\n {"a": }]', "a.json:2:8", "a value is missing"),
        ("a.json", '[{"a": 1}\n', "a.json:2:1", "no end"),
        ("a.json", '[{"a": 1},', "a.json:1:11", "cut short"),
        ("a.json", '[{"a": 1}\n{"a": 2}]', "a.json:2:1", "a comma or the array's end"),
        ("a.json", '[{"a": 1}]\nx', "a.json:2:1", "more after the array"),
        ("a.json", '[{"a": NaN}]', "a.json:1:2", "NaN is no JSON number"),
        ("a.json", b'[{"a": 1},\n{"a": "\xff"}]', "a.json:2:8", "0xff is no UTF-8"),
        ("a.json", '[{"a": ' + "[" * 100_000, "a.json:1:2", "nested too deeply"),
        ("a.csv", "", "a.csv:1:1", "names no columns"),
        ("a.csv", "a,b,a\n", "a.csv:1:1", "two columns are named 'a'"),
        ("a.csv", "a,b\n1,2\n1\n", "a.csv:3:1", "row 2 has 1 fields, and the first line names 2 columns"),
        ("a.csv", "a,b\n1,2,3\n", "a.csv:2:1", "row 1 has 3 fields"),
        ("a.csv", 'a,b\n1,"2\n', "a.csv:2:1", "row 1 cannot be read"),
        ("a.csv", 'a,b\n1,"2"x\n', "a.csv:2:1", "row 1 cannot be read"),
        ("a.csv", "a,b\n1,\0\n", "a.csv:2:3", "NUL"),
        ("a.csv", b"a,b\n1,\xe9\n", "a.csv:2:3", "0xe9 is no UTF-8"),
        ("a.tsv", "a\tb\n1,2\n", "a.tsv:2:1", "row 1 has 1 fields"),
        ("a.parquet", "no", "a.parquet:1:1", "no Parquet file"),
        ("a.txt", "x", "a.txt:1:1", "of no kind that runner reads"),
        ("a.gz", "x", "a.gz:1:1", "of no kind that runner reads"),
    ],
)
def test_a_broken_file_is_told_by_place_and_reason(
    tmp_path: Path, name: str, content: str | bytes, where: str, message: str
) -> None:
    """File, line and column, in characters, where they are known."""
    with pytest.raises(RunnerError) as caught:
        list(read(Grounds(tmp_path), a_file(tmp_path, name, content)))
    assert caught.value.where == where
    assert message in caught.value.message


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:40] + b"\xff" * 9, lambda _: b"plain"])
def test_a_broken_gzip_file_is_an_expected_error(tmp_path: Path, kind: str, damage: Any) -> None:
    """Cut short, damaged, or no gzip at all."""
    found = [{"a": hashlib.sha256(b"%d" % n).hexdigest()} for n in range(2_000)]
    (tmp_path / f"a.{kind}.gz").write_bytes(damage(gzip.compress(written(kind, found))))
    with pytest.raises(RunnerError, match=r"broken|cannot be read"):
        list(read(Grounds(tmp_path), f"a.{kind}.gz"))


def test_a_row_may_be_long_but_not_endless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row is held at a time, so its length is bounded; at the bound it is still read."""
    monkeypatch.setattr(rows, "MAX_ROW", 1_000)
    monkeypatch.setattr(rows, "_BUFFER", 10)
    fits = '{"a": "' + "x" * 900 + '"}'
    assert len(list(read(Grounds(tmp_path), a_file(tmp_path, "a.jsonl", f"{fits}\n{fits}")))) == 2
    assert len(list(read(Grounds(tmp_path), a_file(tmp_path, "a.json", f"[{fits},{fits}]")))) == 2
    endless = '{"a": "' + "x" * 5_000
    for name, content in (("a.jsonl", endless), ("a.json", f"[{endless}"), ("a.csv", f'a\n"{"x" * 5_000}')):
        with pytest.raises(RunnerError, match=r"longer than|larger than"):
            list(read(Grounds(tmp_path), a_file(tmp_path, name, content)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    found=st.lists(st.dictionaries(st.text(), JSON, max_size=3)),
    indent=st.none() | st.just(2),
    buffer=st.integers(1, 40),
)
def test_json_is_read_whatever_the_chunks(tmp_path: Path, found: list[Any], indent: int | None, buffer: int) -> None:
    """A chunk may end in the middle of a character, a text or a number."""
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in found)
    name = a_file(tmp_path, "a.json", json.dumps(found, indent=indent, ensure_ascii=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_BUFFER", buffer)
        assert list(read(Grounds(tmp_path), name)) == found
        assert list(read(Grounds(tmp_path), a_file(tmp_path, "a.jsonl", lines))) == found


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(found=st.lists(st.fixed_dictionaries({"a": TEXTS, "b": TEXTS}), min_size=1), delimiter=st.sampled_from(",\t"))
def test_what_the_csv_writer_writes_is_read(tmp_path: Path, found: list[dict[str, str]], delimiter: str) -> None:
    """Line ends, quotes and separators inside of fields come back as they were."""
    name = a_file(tmp_path, "a.csv" if delimiter == "," else "a.tsv", separated(found, delimiter))
    assert list(read(Grounds(tmp_path), name)) == found


def test_parquet_values_are_json_values(tmp_path: Path) -> None:
    """Times in ISO 8601, decimals as texts, bytes in base64, nested values as they are."""
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    row = {"t": moment, "d": moment.date(), "n": Decimal("1.50"), "b": b"\xff", "f": 0.5, "l": [{"x": moment.date()}]}
    (found,) = read(Grounds(tmp_path), a_file(tmp_path, "a.parquet", parquet(pa.Table.from_pylist([row]))))
    assert found == {
        "t": "2026-01-02T03:04:05+00:00",
        "d": "2026-01-02",
        "n": "1.50",
        "b": "/w==",
        "f": 0.5,
        "l": [{"x": "2026-01-02"}],
    }
    assert json.loads(json.dumps(found)) == found


def test_parquet_without_a_number_is_refused(tmp_path: Path) -> None:
    """NaN has no place in JSON, and neither have two columns of one name."""
    for table in (
        pa.Table.from_pylist([{"a": float("nan")}]),
        pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
    ):
        with pytest.raises(RunnerError, match=r"NaN|nan|two columns"):
            list(read(Grounds(tmp_path), a_file(tmp_path, "a.parquet", parquet(table))))


def test_parquet_needs_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pyarrow, the error says what to install."""
    name = a_file(tmp_path, "a.parquet", written("parquet", ROWS))
    real = builtins.__import__

    def without_pyarrow(module: str, *rest: Any) -> Any:
        if module.startswith("pyarrow"):
            raise ImportError(module)
        return real(module, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    with pytest.raises(RunnerError) as caught:
        list(read(Grounds(tmp_path), name))
    assert "pip install 'batch-runner[parquet]'" in caught.value.hint


def test_rows_are_streamed(tmp_path: Path) -> None:
    """The first row is there before the broken second is met."""
    for name, content in (("a.jsonl", '{"a": 1}\n{'), ("a.json", '[{"a": 1},{'), ("a.csv", "a\n1\n2,3")):
        found = read(Grounds(tmp_path), a_file(tmp_path, name, content))
        assert str(next(found)["a"]) == "1"
        with pytest.raises(RunnerError):
            next(found)


@pytest.mark.parametrize(
    "path", ["missing.jsonl", "folder.jsonl", "../outside.jsonl", "/etc/passwd", "a\0.jsonl", "link.jsonl"]
)
def test_only_files_of_the_project_are_read(tmp_path: Path, path: str) -> None:
    """Missing, a folder, outside by name or by link: an expected error, for rows and fingerprint alike."""
    root = tmp_path / "project"
    (root / "folder.jsonl").mkdir(parents=True)
    (tmp_path / "outside.jsonl").write_text("{}")
    (root / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    with pytest.raises(RunnerError):
        list(read(Grounds(root), path))
    with pytest.raises(RunnerError):
        fingerprint(Grounds(root), path)


def test_the_fingerprint_is_of_the_bytes(tmp_path: Path) -> None:
    """sha256 of the file as it lies there, gzipped or not."""
    name = a_file(tmp_path, "a.jsonl.gz", "{}")
    assert fingerprint(Grounds(tmp_path), name) == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
