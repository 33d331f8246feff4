"""Questions asked one by one, with a state that machines share: what one leaves, another takes up."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from helpers import PATIENCE, Done, Project, Served, environment, finished, run, serving, spawn

from runner.connect import connect
from runner.edge.world import World
from runner.journal import Journal
from runner.load import load
from runner.workflow import Prepared, Request, carry_out, prepare

ROWS = 60
CONCURRENCY = 3
APPLY = ("apply", "--yes", "--wait")


def slow(seconds: float) -> dict[str, Any]:
    """How long each answer takes."""
    return {"on": "chat", "do": "latency", "seconds": seconds}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ONLINE_KEY", "key-0")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "server") as served:
        served.faults(slow(0.05))
        yield served


@pytest.fixture
def machine(tmp_path: Path, server: Served) -> Callable[[], Path]:
    """A fresh machine: a clone of the project, and nothing else."""
    repository = tmp_path / "repository.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(repository)], check=True)
    numbers = itertools.count(1)

    def made() -> Path:
        key = {"env": "TEST_ONLINE_KEY"}
        provider = {"type": "online", "base_url": server.url, "api_key": key, "concurrency": CONCURRENCY}
        project = Project(tmp_path / f"machine-{next(numbers)}", {"demo": provider})
        project.configure(state=f"git:{repository}#state", blobs={"store": "git"})
        project.spec("job", ROWS, model="mi-9")
        return project.root

    return made


def asked(server: Served) -> int:
    return int(server.bill()["online"]["requests"])


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def task_in(root: Path) -> dict[str, Any]:
    """The one task that is still to be collected, or the last one."""
    document = json.loads(run("state", "pull", cwd=root).out)
    tasks: list[dict[str, Any]] = sorted(document["tasks"].values(), key=lambda task: task["begun_at"])
    return tasks[-1]


def statuses(root: Path) -> list[str]:
    lines = (root / "outputs/job.jsonl").read_text().splitlines()
    return [json.loads(line)["status"] for line in lines]


def stopped(root: Path, server: Served, number: int) -> Done:
    """A run that gets a signal once some of its questions are answered, on a machine that is then gone."""
    process = spawn(*APPLY, cwd=root)
    until(lambda: asked(server) >= 10)
    process.send_signal(number)
    done = finished(process)
    shutil.rmtree(root / ".runner")
    return done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_leaves_all_it_has(machine: Callable[[], Path], server: Served, number: int) -> None:
    """The next machine collects what was answered, the one after asks the rest: each question was asked once."""
    assert stopped(machine(), server, number).code == 130
    before = asked(server)
    assert 10 <= before < ROWS
    second = machine()
    left = task_in(second)
    assert (left["phase"], "claim" in left, len(left["parked"])) == ("open", False, 1)
    done = run(*APPLY, cwd=second)
    assert done.code == 7, done
    assert statuses(second).count("succeeded") == asked(server) == before
    third = machine()
    assert run(*APPLY, cwd=third).code == 0
    assert statuses(third) == ["succeeded"] * ROWS
    assert asked(server) == ROWS


def test_nobody_takes_a_task_that_is_being_asked(machine: Callable[[], Path], server: Served) -> None:
    """While its run lives: a plan on another machine says who works on it, an apply there waits for it."""
    first = machine()
    process = spawn(*APPLY, cwd=first)
    until(lambda: asked(server) >= 5)
    second = machine()
    plan = run("plan", "--json", cwd=second).json
    assert [(change["action"], change["reason"][:24]) for change in plan["changes"]] == [
        ("wait", "another run works on it:")
    ]
    assert run(*APPLY, cwd=second).code == 0
    assert finished(process).code == 0
    assert statuses(first) == statuses(second) == ["succeeded"] * ROWS
    assert asked(server) == ROWS


def test_the_machine_that_was_stopped_goes_on_itself(machine: Callable[[], Path], server: Served) -> None:
    """Where it still is there: with its own queue, in the very next run."""
    root = machine()
    process = spawn(*APPLY, cwd=root)
    until(lambda: asked(server) >= 10)
    process.send_signal(signal.SIGTERM)
    assert finished(process).code == 130
    assert run(*APPLY, cwd=root).code == 0
    assert statuses(root) == ["succeeded"] * ROWS
    assert asked(server) == ROWS


def test_a_stop_from_another_machine(machine: Callable[[], Path], server: Served) -> None:
    """`runner cancel` on a laptop reaches the run that asks, by the state."""
    server.faults(slow(0.4))
    process = spawn(*APPLY, cwd=machine())
    until(lambda: asked(server) >= 5)
    laptop = machine()
    told = run("cancel", "job", cwd=laptop)
    assert "perhaps cancelled" in told.out
    assert finished(process).code == 7
    assert asked(server) < ROWS
    assert run(*APPLY, cwd=laptop).code == 7
    assert asked(server) == statuses(laptop).count("succeeded")


class Later:
    """A clock that is ahead."""

    def __init__(self, seconds: float) -> None:
        self._ahead = seconds

    def now(self) -> float:
        return time.time() + self._ahead

    def sleep(self, seconds: float, wake: Event) -> None:
        wake.wait(seconds)


OFTEN = """
import runner.parking
runner.parking.EVERY = 0.2
from runner.cli.main import main
main()
"""


def test_a_run_that_is_killed_leaves_what_it_had_put_there(machine: Callable[[], Path], server: Served) -> None:
    """Its claim outlives it by a minute; then what it had parked counts, and only what came since is asked again."""
    server.faults(slow(1.0))
    first = machine()
    process = subprocess.Popen([sys.executable, "-c", OFTEN, *APPLY], cwd=first, env=environment(None))
    try:
        until(lambda: len(parked(first)) >= 1)
    finally:
        process.kill()
        process.communicate()
    time.sleep(1.1)  # what was on its way is answered, and nobody hears of it
    server.faults()
    shutil.rmtree(first / ".runner")
    before = asked(server)
    second = machine()
    assert planned(second, 0) == ["wait"]
    assert planned(second, 61) == ["collect", "publish"]
    apply_later(second, 61)
    found = statuses(second).count("succeeded")
    assert 0 < found <= before
    third = machine()
    apply_later(third, 62)
    assert statuses(third) == ["succeeded"] * ROWS
    assert asked(server) - ROWS == before - found


def parked(root: Path) -> list[str]:
    done = run("state", "pull", cwd=root)
    tasks = json.loads(done.out)["tasks"].values() if done.out.strip() else ()
    return [blob for task in tasks for blob in task.get("parked", ())]


@contextmanager
def elsewhere(root: Path, seconds: float) -> Iterator[tuple[World, Journal, Prepared]]:
    """A run some time later, on a machine where nobody can tell whether processes of another still live."""
    with ExitStack() as closing:
        project, specs = load(root)
        world = connect(root, project, closing)
        world.clock, world.is_gone = Later(seconds), lambda _who: False
        journal = Journal(world.store, world.unique)
        yield world, journal, prepare(world, specs, journal.state, Request())


def planned(root: Path, seconds: float) -> list[str]:
    with elsewhere(root, seconds) as (_, _, prepared):
        return [change.action.value for change in prepared.plan.changes]


def apply_later(root: Path, seconds: float) -> None:
    with elsewhere(root, seconds) as (world, journal, prepared):
        carry_out(world, journal, prepared, Request(), wait=True, timeout=PATIENCE)
