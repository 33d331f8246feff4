"""Claims: believed for a minute, renewed while their holder lives, and never a reason to pay for something twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from helpers import PATIENCE, Project, Served, finished, serving, spawn

from benchmarks.faults.schedule import Point
from benchmarks.leases import SLEEPS, Stage, Stop
from runner.connect import connect
from runner.edge.world import World
from runner.journal import Journal
from runner.load import load
from runner.simulator.server import Simulator
from runner.spec import Spec
from runner.task import OPEN, Task
from runner.workflow import Request, carry_out, prepare

# ---- runs that sleep -------------------------------------------------------------------------------------------------

PLACE = "openai-openai"
MINUTE, QUARTER = SLEEPS
HERE, AWAY = False, True
"""On the other run's machine, or on one where nobody can tell whether the sleeper still lives."""
MOMENTS = {
    "before its claim is written": (Point("rename .runner/state.json", 2), QUARTER, AWAY),
    "before the upload": (Point("POST /v1/files", 2), QUARTER, HERE),
    "before the start is announced": (Point("rename .runner/state.json", 3), QUARTER, HERE),
    "once the start is announced": (Point("flush .runner", 4), QUARTER, AWAY),
    "before the start": (Point("POST /v1/batches", 1), MINUTE, HERE),
    "between two starts": (Point("POST /v1/batches", 2), MINUTE, AWAY),
    "before the start is recorded": (Point("rename .runner/state.json", 4), QUARTER, AWAY),
    "before the results are recorded": (Point("rename .runner/state.json", 8), QUARTER, HERE),
}
"""Where a run of `apply` falls asleep, and for how long.

Before a start not for a quarter of an hour: asleep with the request as its very next step until nobody believes any
more that it was sent, a run would be paid for it, and so would the other that sends it in its stead.
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("leases"))
    yield made
    made.close()


@pytest.mark.parametrize(("point", "seconds", "away"), MOMENTS.values(), ids=MOMENTS.keys())
def test_a_run_that_sleeps_through_its_lease(stage: Stage, point: Point, seconds: float, away: bool) -> None:
    """Stopped in the middle of a step, it wakes up after another run has gone on: every row is answered, and paid once.

    `python -m benchmarks.leases` stops it everywhere else.
    """
    verdict = stage.play(Stop(PLACE, point, seconds, away))
    assert (verdict.duplicates, verdict.lost, verdict.breaches) == (0, 0, ())


# ---- runs that are slow ----------------------------------------------------------------------------------------------

LEASE = 1.2
"""Seconds of a lease here; a third of that is really waited for between two renewals."""


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float, wake: Event) -> None:
        raise AssertionError("nothing here waits for a task")


class Slow:
    """A provider one of whose calls does not come back before it may."""

    def __init__(self, provider: Any, call: str) -> None:
        self._provider = provider
        self._call = call
        self.called, self.may = Event(), Event()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._provider, name)
        return self._slow(found) if name == self._call else found

    def _slow(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any) -> Any:
            self.called.set()
            assert self.may.wait(PATIENCE)
            return call(*args)

        return slow


def apply(world: World, specs: list[Spec]) -> None:
    journal = Journal(world.store, world.unique)
    carry_out(world, journal, prepare(world, specs, journal.state, Request()), Request(), wait=False, timeout=None)


def plan(world: World, specs: list[Spec]) -> list[tuple[str, str]]:
    state = Journal(world.store, world.unique).state
    return [(change.action.value, change.reason) for change in prepare(world, specs, state, Request()).plan.changes]


def the_task(world: World) -> Task:
    (task,) = Journal(world.store, world.unique).state.tasks.values()
    return task


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("call", ["stage", "start"])
def test_a_claim_is_renewed_while_its_holder_lives(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload, or a start, that takes several leases: another machine's run leaves the task alone all the while."""
    for module in ("submit", "heartbeat"):
        monkeypatch.setattr(f"runner.{module}.LEASE", LEASE)
    clock = Hand()
    with Simulator(tmp_path / "simulator", clock=clock.now) as simulator, ExitStack() as closing:
        files = Project(tmp_path / "project", {"demo": Served(simulator.url).provider()})
        files.spec(rows=3)
        project, specs = load(files.root)
        world = connect(files.root, project, closing)
        slow = Slow(world.providers["demo"], call)
        ours = replace(world, clock=clock, who="host-1/boot/1/1", providers={"demo": slow})
        theirs = replace(world, clock=clock, who="host-2/boot/2/2")

        run = Thread(target=apply, args=(ours, specs))
        run.start()
        assert slow.called.wait(PATIENCE)
        for _ in range(3):
            clock.time += 0.9 * LEASE
            until(lambda: the_task(theirs).claim == replace(the_task(theirs).claim, until=clock.time + LEASE))  # type: ignore[type-var]
            assert plan(theirs, specs) == [("wait", "another run works on it: host-1/boot/1")]
        slow.may.set()
        run.join(PATIENCE)

        assert (the_task(theirs).phase, the_task(theirs).claim) == (OPEN, None)
        assert simulator.bill()["requests"] == 3


# ---- runs that start together ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "rounds", "state"), [(2, 2, "../shared-state"), (5, 1, "{}/shared-state")], ids=["two", "five"]
)
def test_runs_of_fresh_clones_that_start_together(runs: int, rounds: int, state: str, tmp_path: Path) -> None:
    """As on a CI, with one state for all: rows are asked once, whoever comes first, and each clone gets its output."""
    with serving(tmp_path / "simulator") as served:
        provider = served.provider(max_requests=3)
        for number in range(1, rounds + 1):
            clones = [Project(tmp_path / f"{number}-{run}", {"demo": provider}) for run in range(runs)]
            for clone in clones:
                clone.configure(state=state.format(tmp_path))
                clone.spec(rows=12 * number)
            running = [spawn("apply", "--yes", "--wait", cwd=clone.root) for clone in clones]
            for done in [finished(process) for process in running]:
                assert done.code == 0, done.err

            assert [clone.statuses() for clone in clones] == [["succeeded"] * 12 * number] * runs
            assert len({(clone.root / "outputs/job.jsonl").read_bytes() for clone in clones}) == 1
            bill = served.bill()
            assert (bill["requests"], bill["duplicates"]) == (12 * number, [])
