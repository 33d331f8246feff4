"""A batch read row by row is what its output file says, at any time and without asking anybody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from helpers import Project

from runner.connect import connect
from runner.errors import RunnerError
from runner.fingerprint import canonical
from runner.joining import Line, Tally
from runner.journal import Journal
from runner.load import load
from runner.reading import Reader
from runner.result import Counts


@contextmanager
def reading(project: Project) -> Iterator[Reader]:
    """A reader of the project as it is now, out of reach of any provider but the embedded simulator's list."""
    with ExitStack() as closing:
        settings, specs = load(project.root)
        world = connect(project.root, settings, closing, offline=True)
        yield Reader(world, specs, Journal(world.store, world.unique).state)


def read(project: Project, name: str = "job", **options: Any) -> list[Line]:
    with reading(project) as reader:
        return list(reader.lines(name, **options))


def test_lines_are_those_of_the_output(tmp_path: Path) -> None:
    """Rows that are equal, several samples, and columns of the input: reading again gives what was published."""
    project = Project(tmp_path)
    project.spec(rows=["one", "two", "one", *map(str, range(200))], samples=2, input=INPUT, output=WITH_INPUT)
    project.finish()
    found = read(project)
    assert [{**line.output, "input": line.row.values} for line in found] == project.output()
    assert found[0].identity == found[2].identity != found[1].identity


def test_bodies_are_those_that_were_sent(tmp_path: Path) -> None:
    """The body that is shown beside an answer is the one that `render` prints, and finds the same answer."""
    project = Project(tmp_path)
    project.spec(rows=3, samples=2)
    project.finish()
    found = read(project, bodies=True)
    printed = [canonical(json.loads(line)).decode() for line in project.call("render", "job").out.splitlines()]
    assert [line.body for line in found] == [body for body in printed for _ in range(2)]
    assert [(line.identity, line.output) for line in found] == [(line.identity, line.output) for line in read(project)]


def test_a_batch_that_is_still_running(tmp_path: Path) -> None:
    """What was sent is pending, what was not is not submitted; the tally counts both as pending."""
    project = Project(tmp_path, providers={"demo": {"type": "simulator", "speed": 0.0001}})
    project.spec(rows=5)
    before = read(project)
    project.apply("--sample", "2")
    tally = Tally()
    after = read(project, tally=tally)
    assert [line.output["error"]["code"] for line in before] == ["not_submitted"] * 5
    assert [line.output["error"]["code"] for line in after] == ["pending"] * 2 + ["not_submitted"] * 3
    assert {line.output["status"] for line in after} == {"missing"}
    assert tally.counts() == Counts(pending=5)


def test_no_secret_and_no_network(tmp_path: Path) -> None:
    """A provider whose key is nowhere, at an address where nobody is: its batch can still be read."""
    project = Project(tmp_path)
    project.providers["demo"] = {"type": "openai", "base_url": "http://127.0.0.1:9", "api_key": {"env": "NO_SUCH_KEY"}}
    project.spec(rows=1, model="m")
    assert [line.output["error"]["code"] for line in read(project)] == ["not_submitted"]


def test_an_input_that_vanished_hinders_no_other_batch(tmp_path: Path) -> None:
    """The error names the file; the batch beside it is read as ever."""
    project = Project(tmp_path)
    project.spec("gone", rows=2)
    project.spec("here", rows=2)
    with reading(project) as reader:
        (tmp_path / "specs/data/gone.jsonl").unlink()
        with pytest.raises(RunnerError, match=r"specs/data/gone\.jsonl"):
            next(reader.lines("gone"))
        assert len(list(reader.lines("here"))) == 2


def test_rows_that_change_under_the_reader(tmp_path: Path) -> None:
    """Answers of the old rows beside the new ones would be a lie: it is an error, at the latest at the end."""
    project = Project(tmp_path)
    project.spec(rows=200)
    with reading(project) as reader:
        found = reader.lines("job")
        assert len(list(islice(found, 10))) == 10
        project.rows(201)
        with pytest.raises(RunnerError, match="changed while job was being worked on"):
            list(found)


def test_a_reader_that_stops_half_way_leaves_no_bounds_behind(tmp_path: Path) -> None:
    """Memory and time are bounded while lines are made, and not while whoever reads them does something else."""
    import resource
    import signal

    project = Project(tmp_path)
    project.spec(rows=200)
    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)
    with reading(project) as reader:
        for bodies in (False, True):
            found = reader.lines("job", bodies=bodies)
            next(found)
            assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGPROF)) == before


def test_a_name_that_no_spec_has(tmp_path: Path) -> None:
    """The error tells the names that there are."""
    project = Project(tmp_path)
    project.spec(rows=1)
    with pytest.raises(RunnerError, match="no spec is named 'nobody'") as raised:
        read(project, "nobody")
    assert raised.value.hint == "The specs are: job"


INPUT = {"path": "specs/data/job.jsonl", "key": "id", "where": "row.id != 2"}
WITH_INPUT = {"path": "outputs/{{ name }}.jsonl", "include": ["input"]}
