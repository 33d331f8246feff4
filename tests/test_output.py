"""`runner output`: the lines of the output file, before there is one, and those among them that somebody asks for."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from helpers import COMMAND, PATIENCE, Project, environment, finished, spawn
from pyarrow import parquet

from runner.edge.files import TEMPORARY
from runner.edge.outputs import write_output
from runner.joining import Line
from runner.rendering import Row
from runner.selecting import chosen, picked


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Four rows; the provider refuses the second."""
    made = Project(tmp_path)
    made.write("faults.yaml", "- {on: task, do: fail-rows, match: two}\n")
    made.providers["demo"]["faults"] = "faults.yaml"
    made.spec(rows=["one", "two", "drei: é 中 😀 \u202e \x7f", "four"], retry={"attempts": 1})
    return made


def printed(project: Project, *args: str) -> list[dict[str, Any]]:
    done = project.call("output", "job", *args)
    assert (done.code, done.err) == (0, ""), done
    return [json.loads(line) for line in done.out.splitlines()]


def test_the_lines_of_the_output_file(project: Project) -> None:
    """All of them, as they stand there; failed rows are no failure of the command."""
    project.finish(code=7)
    assert project.statuses() == ["succeeded", "failed", "succeeded", "succeeded"]
    assert printed(project) == project.output()
    project.spec(output={"path": "outputs/job.jsonl", "include": ["input"]}, retry={"attempts": 1})
    project.finish(code=7)
    assert printed(project) == project.output()
    assert printed(project)[0]["input"] == {"id": 1, "q": "one"}


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_every_format_by_either_way(project: Project, form: str) -> None:
    """What is piped is what a file gets, byte for byte, but for escapes in JSON; and what publishing would write."""
    project.spec(retry={"attempts": 1}, output={"path": f"outputs/job.{form}"})
    project.finish(code=7)
    published = (project.root / f"outputs/job.{form}").read_bytes()
    assert project.call("output", "job", "-o", str(project.root / f"by-ending.{form}")).code == 0
    assert project.call("output", "job", "--format", form, "-o", str(project.root / "named.txt")).code == 0
    assert (project.root / f"by-ending.{form}").read_bytes() == published
    assert (project.root / "named.txt").read_bytes() == published
    piped = subprocess.run(
        [*COMMAND, "output", "job", "--format", form], cwd=project.root, env=environment(None), capture_output=True
    )
    assert (piped.returncode, piped.stderr) == (0, b"")
    if form == "jsonl":
        assert [json.loads(line) for line in piped.stdout.splitlines()] == project.output()
        assert "\u202e" not in piped.stdout.decode()
    else:
        assert piped.stdout == published


CHOICES = [
    ((), "1234"),
    (("--failed",), "2"),
    (("--status", "succeeded"), "134"),
    (("--status", "succeeded", "--status", "failed"), "1234"),
    (("--status", "succeeded", "--failed"), "1234"),
    (("--status", "missing"), ""),
    (("--limit", "2"), "12"),
    (("--status", "succeeded", "--limit", "2"), "13"),
]


def test_which_rows(project: Project) -> None:
    """By what became of them; the limit counts what is printed."""
    project.finish(code=7)
    found = [(options, "".join(line["key"] for line in printed(project, *options))) for options, _ in CHOICES]
    assert found == CHOICES


def test_rows_that_are_on_their_way(tmp_path: Path) -> None:
    """They are pending, not failed, although their line says `missing`."""
    project = Project(tmp_path, providers={"demo": {"type": "simulator", "speed": 0.0001}})
    project.spec(rows=3)
    project.apply("--sample", "2")
    assert printed(project, "--failed") == []
    assert [line["error"]["code"] for line in printed(project, "--status", "pending")] == [
        *["pending"] * 2,
        "not_submitted",
    ]


def test_some_columns(project: Project) -> None:
    """Dotted paths into the line, its row and its prompt, in the order in which they were asked for."""
    project.finish(code=7)
    columns = "input.q,key, usage.output_tokens,prompt.messages.0.content,error.code,key"
    first, second = printed(project, "--columns", columns, "--limit", "2")
    assert list(first) == ["input.q", "key", "usage.output_tokens", "prompt.messages.0.content", "error.code"]
    assert (first["input.q"], first["prompt.messages.0.content"], first["error.code"]) == ("one", "one", None)
    assert first["usage.output_tokens"] > 0
    assert second["error.code"] == project.output()[1]["error"]["code"]
    done = project.call("output", "job", "--columns", "key,input", "--format", "csv", "--limit", "1")
    assert list(csv.reader(io.StringIO(done.out))) == [["key", "input"], ["1", '{"id": 1, "q": "one"}']]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_no_line_at_all(project: Project, form: str) -> None:
    """The head still says what the columns would be."""
    project.finish(code=7)
    path = project.root / f"none.{form}"
    assert project.call("output", "job", "--status", "missing", "--columns", "key,sample", "-o", str(path)).code == 0
    if form == "csv":
        assert path.read_text() == "key,sample\n"
    else:
        assert (parquet.read_table(path).column_names, parquet.read_table(path).num_rows) == (["key", "sample"], 0)


LINE = Line(
    Row(1, {"a.b": 1, "a": {"b": 2, "c": [{"d": 3}]}, "x": {"y.z": 4}}), 1, b"", '{"m": [5]}', {"key": "1", "text": "t"}
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("key", "1"),
        ("input.a.b", 1),
        ("input.a.c.0.d", 3),
        ("input.a.c.1.d", None),
        ("input.a.c.x", None),
        ("input.a.c.-1", None),
        ("input.a.c", [{"d": 3}]),
        ("input.x.y.z", 4),
        ("input.none", None),
        ("input.a.none.d", None),
        ("text.t", None),
        ("prompt.m.0", 5),
    ],
)
def test_paths(path: str, value: Any) -> None:
    """A key with a dot in it is found too; what is not there is null."""
    assert picked(LINE, [path]) == {path: value}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "the name of a spec is missing"),
        (("nobody",), "no spec is named 'nobody'"),
        (("job", "--columns", "txet"), "no line has the column 'txet'"),
        (("job", "--columns", " , "), "no column is named"),
        (("job", "--revision", "1"), "job has no revision 1"),
        (("job", "-o", "/dev/null"), "/dev/null is there, and is not a file"),
    ],
)
def test_what_cannot_be_printed(project: Project, args: tuple[str, ...], said: str) -> None:
    """An error that says what there is instead."""
    done = project.call("output", *args)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"Error: {said}")
    assert "job" in done.err or "key, sample" in done.err or "Without -o" in done.err


def test_an_earlier_revision(project: Project) -> None:
    """The answers to the prompt as it was, after it has changed."""
    project.finish(code=7)
    before = printed(project)
    project.spec(prompt={"user": "Tell: {{ row.q }}"}, retry={"attempts": 1})
    project.finish(code=7)
    assert printed(project, "--revision", "1") == before
    assert printed(project, "--revision", "2") == printed(project) == project.output() != before


def test_no_secret_and_no_network(project: Project) -> None:
    """The key that was used is gone, and so is the provider: what was answered is still here."""
    project.finish(code=7)
    before = printed(project)
    project.providers["demo"] = {
        "type": "wanqing",
        "project_id": "p",
        "api_key": {"env": "NO_SUCH_KEY"},
        "base_url": "http://127.0.0.1:9",
    }
    project.configure()
    assert printed(project) == before


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """`runner output job | head -1`: no word about the pipe that is closed."""
    project = Project(tmp_path)
    project.spec(rows=1_000)
    with spawn("output", "job", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["key"] == "1"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=PATIENCE) == 1


def files(root: Path) -> dict[str, bytes]:
    """All but the cache, which any command may fill."""
    found = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".runner/cache/")}


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_reader_leaves_nothing(tmp_path: Path, sent: signal.Signals) -> None:
    """It changes no file of the project, and holds nothing that the next one would wait for."""
    project = Project(tmp_path)
    project.spec(rows=1_000)
    project.finish()
    before = files(tmp_path)
    process = spawn("output", "job", cwd=tmp_path)  # it fills the pipe, and waits for us
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(sent)
    finished(process)
    assert process.returncode == (130 if sent == signal.SIGTERM else -9)
    assert files(tmp_path) == before
    assert len(printed(project)) == 1_000
    assert files(tmp_path) == before


def test_a_file_that_is_interrupted(tmp_path: Path) -> None:
    """The old one stays whole, and nothing lies beside it."""
    project = Project(tmp_path)
    project.spec(rows=2)
    (tmp_path / "specs/data/job.jsonl").unlink()
    os.mkfifo(tmp_path / "specs/data/job.jsonl")
    (tmp_path / "kept.jsonl").write_text("as it was")
    done = project.call("output", "job", "-o", str(tmp_path / "kept.jsonl"))
    assert done.code == 1
    assert (tmp_path / "kept.jsonl").read_text() == "as it was"
    assert list(tmp_path.rglob(f"{TEMPORARY}*")) == []


def test_a_terminal_is_not_obeyed(project: Project) -> None:
    """Control characters of a row reach no terminal, in any format; and Parquet is nothing for one."""
    project.rows(["\x1b]0;title\x07\x1b[31m red"])
    outs = {}
    for form in ("jsonl", "csv", "parquet"):
        command = [*COMMAND, "output", "job", "--columns", "input.q", "--format", form]
        leader, follower = pty.openpty()
        done = subprocess.run(command, cwd=project.root, stdout=follower, stderr=subprocess.PIPE)
        os.close(follower)
        outs[form] = (done.returncode, os.read(leader, 10_000) if done.returncode == 0 else done.stderr)
        os.close(leader)
    assert [code for code, _ in outs.values()] == [0, 0, 1]
    assert all(b"\x1b" not in text for _, text in outs.values())
    assert b"red" in outs["jsonl"][1]
    assert b"Parquet is nothing that a terminal could show" in outs["parquet"][1]


def test_an_ending_in_capitals(tmp_path: Path) -> None:
    """`x.CSV` is CSV, as specs are allowed to say."""
    write_output(tmp_path / "x.CSV", [{"a": 1}])
    assert (tmp_path / "x.CSV").read_text() == "a\n1\n"


def test_all_outcomes_are_chosen_where_none_is_named() -> None:
    """An empty choice is no choice."""
    lines = [Line(Row(1, {}), 1, b"", None, {"status": "succeeded", "error": None})]
    assert list(chosen(lines, ())) == lines
    assert list(chosen(lines, {"failed"})) == []
