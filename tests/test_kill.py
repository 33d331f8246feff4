"""SIGKILL at any moment, and several applies at once: nothing is paid twice, nothing lost, nothing to be unlocked."""

from __future__ import annotations

import itertools
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest
from helpers import Done, Nursery, Project, Served, finished, serving, spawn

T = TypeVar("T")
R = TypeVar("R")

KILLED = -signal.SIGKILL
APPLY = ("apply", "--yes", "--wait", "--json")
ROWS = 4
WORKERS = 4
WAVE = 8
"""Kills between two looks at whether there is anything left to be killed."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


class Farm:
    """A few nurseries at work side by side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._idle: SimpleQueue[Nursery] = SimpleQueue()
        self._all = [Nursery() for _ in range(WORKERS)]
        for nursery in self._all:
            self._idle.put(nursery)

    def map(self, work: Callable[[Nursery, T], R], items: Iterable[T]) -> list[R]:
        def one(item: T) -> R:
            nursery = self._idle.get()
            try:
                return work(nursery, item)
            finally:
                self._idle.put(nursery)

        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(one, items))

    def race(self, project: Project, *args: str) -> list[Done]:
        """One command, run by all of them at once."""
        return self.map(lambda nursery, _: nursery.run(project.root, *args), range(WORKERS))

    def sweep(self, kill: Callable[[Nursery, int], int]) -> list[int]:
        """``kill`` at the first effect, the second and so on, until a command has no more; returns the exit codes."""
        codes: list[int] = []
        for first in itertools.count(1, WAVE):
            wave = self.map(kill, range(first, first + WAVE))
            codes += wave
            if KILLED not in wave:
                return codes
        raise AssertionError("there is always a next wave")

    def close(self) -> None:
        for nursery in self._all:
            nursery.close()


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_WANQING_KEY", "sk-0123456789abcdef")
        farm = Farm(tmp_path_factory.mktemp("farm"))
        yield farm
        farm.close()


names = (f"k{number}" for number in itertools.count(1))


def planted(farm: Farm, provider: dict[str, Any]) -> tuple[Project, str]:
    """A project of two tasks under a name of its own."""
    name = next(names)
    project = Project(farm.folder / name, {"demo": {**provider, "max_requests": 2}})
    project.spec(name, rows=ROWS)
    return project, name


def finish(nursery: Nursery, project: Project) -> None:
    """`apply --wait` until there is nothing left to do; a few times at most."""
    for _ in range(4):
        done = nursery.run(project.root, *APPLY)
        assert done.code == 0, done
        if not done.json["changes"]:
            return
    raise AssertionError("apply never comes to rest")


def whole(server: Served, project: Project, name: str) -> None:
    """Every row is answered, once, and paid once."""
    assert project.statuses(name) == ["succeeded"] * ROWS
    assert server.answered(name) == ROWS


# ---- where the provider can list its tasks -------------------------------------------------------------------------


def test_killed_at_every_effect(farm: Farm, server: Served) -> None:
    """Killed between any two renames or requests of a whole apply, the next applies finish by themselves."""

    def kill(nursery: Nursery, at: int) -> int:
        project, name = planted(farm, server.provider())
        code = nursery.run(project.root, *APPLY, at=at).code
        finish(nursery, project)
        whole(server, project, name)
        return code

    assert farm.sweep(kill).count(KILLED) > 25


def test_killed_all_along_a_chain(farm: Farm, server: Served) -> None:
    """Killed anywhere in an apply that asks a second batch about the answers of the first, between the two steps too,
    the next applies finish both, and pay once for each."""

    def kill(nursery: Nursery, at: int) -> int:
        project, name = planted(farm, server.provider())
        judge = f"j-{name}"
        project.spec(judge, input={"batch": name}, prompt={"user": "{{ row.answer }} to {{ row.q }}"})
        code = nursery.run(project.root, *APPLY, at=7 * at - 3).code
        finish(nursery, project)
        whole(server, project, name)
        whole(server, project, judge)
        return code

    assert farm.sweep(kill).count(KILLED) > 5


def test_killed_at_any_time(farm: Farm, server: Served) -> None:
    """Killed after any time, and again on its way back, an apply loses nothing and pays nothing twice."""

    def undisturbed(nursery: Nursery, plot: tuple[Project, str]) -> float:
        begun = time.monotonic()
        assert nursery.run(plot[0].root, *APPLY).code == 0
        return time.monotonic() - begun

    (length,) = farm.map(undisturbed, [planted(farm, server.provider())])
    plots = [(moment, *planted(farm, server.provider())) for moment in range(20)]

    def kill(nursery: Nursery, plot: tuple[int, Project, str]) -> list[int]:
        moment, project, name = plot
        times = ((moment + 0.5) / 20 * length, (19.5 - moment) / 20 * length)
        codes = [nursery.run(project.root, *APPLY, after=seconds).code for seconds in times]
        finish(nursery, project)
        whole(server, project, name)
        return codes

    codes = list(farm.map(kill, plots))
    assert len(codes) == 20
    assert sum(KILLED in both for both in codes) > 5  # on a machine of any speed, most die on their way


def test_killed_as_a_user_runs_it(farm: Farm, server: Served) -> None:
    """The real command, killed again and again on one project, gets there in the end."""
    project, name = planted(farm, server.provider())
    for moment in range(8):
        process = spawn("apply", "--yes", "--wait", cwd=project.root)
        time.sleep(0.3 + 0.1 * moment)
        process.kill()
        process.communicate()
    for _ in range(3):
        done = project.run("apply", "--yes", "--wait")
        assert done.code == 0, done.err
    assert "Nothing to do" in done.out
    whole(server, project, name)


def test_killed_while_an_output_is_replaced(farm: Farm, server: Served) -> None:
    """The rows change their order, so that the output is written anew: killed anywhere, the next apply has it right."""

    def kill(nursery: Nursery, at: int) -> int:
        project, name = planted(farm, server.provider())
        finish(nursery, project)
        project.rows([f"{name} asks {number}?" for number in range(ROWS, 0, -1)], name)
        code = nursery.run(project.root, *APPLY, at=at).code
        finish(nursery, project)
        whole(server, project, name)
        answers = [line["text"].rpartition(": ")[2] for line in project.output(name)]
        assert answers == [f"{name} asks {number}?" for number in range(ROWS, 0, -1)]
        return code

    assert farm.sweep(kill).count(KILLED) > 2


# ---- where it cannot -----------------------------------------------------------------------------------------------


def test_killed_at_every_effect_of_a_submit_at_wanqing(farm: Farm, server: Served) -> None:
    """Killed anywhere in a submit to a provider without a list: what cannot be known is listed with both commands, and
    everything else goes on.  What the operator then says, after a look at the console, brings it to its end."""
    operated = []

    def kill(nursery: Nursery, at: int) -> int:
        project, name = planted(farm, server.wanqing())
        code = nursery.run(project.root, "apply", "--yes", at=at).code
        operated.append(operate(nursery, server, project, name))
        finish_slowly(nursery, project)
        whole(server, project, name)
        return code

    assert farm.sweep(kill).count(KILLED) > 12  # how many writes there are depends on which ids come in together
    assert sum(operated) > 0


def operate(nursery: Nursery, server: Served, project: Project, name: str) -> int:
    """Do what a careful operator does about unresolved starts; returns how many there were."""
    done = nursery.run(project.root, "apply", "--yes")
    assert done.code == 0, done
    tasks = set(re.findall(r"^    runner state adopt (\S+) REMOTE_ID$", done.out, re.MULTILINE))
    assert tasks == set(re.findall(r"^    runner state abandon (\S+)$", done.out, re.MULTILINE))
    assert tasks == {id for id, task in project.state()["tasks"].items() if task["phase"] == "staged"}
    console = {task["name"]: task["task"] for task in server.billed(name)}
    for id in tasks:
        shown = nursery.run(project.root, "state", "show", id).json["name"]
        answer = ("adopt", id, console[shown]) if shown in console else ("abandon", id)
        assert nursery.run(project.root, "state", *answer).code == 0
    return len(tasks)


def finish_slowly(nursery: Nursery, project: Project) -> None:
    """Apply without --wait, as a schedule does, until nothing is left."""
    for _ in range(30):
        done = nursery.run(project.root, "apply", "--yes", "--json")
        assert done.code == 0, done
        if not done.json["changes"]:
            return
        time.sleep(0.02)
    raise AssertionError("apply never comes to rest")


# ---- side by side --------------------------------------------------------------------------------------------------


def test_two_applies_at_once(farm: Farm, server: Served) -> None:
    """Two applies of one folder at the same time both exit 0, and nothing is paid twice, however they interleave."""
    for lead in (0.0, 0.2, 0.4):
        project, name = planted(farm, server.provider())
        first = spawn("apply", "--yes", "--wait", cwd=project.root)
        time.sleep(lead)
        second = spawn("apply", "--yes", "--wait", cwd=project.root)
        for done in (finished(first), finished(second)):
            assert done.code == 0, done
        whole(server, project, name)
        assert project.plan()["changes"] == []


def test_many_applies_at_once(farm: Farm, server: Served) -> None:
    """Four applies at once, quick as forks are, five times over."""
    for _ in range(5):
        project, name = planted(farm, server.provider())
        for done in farm.race(project, *APPLY):
            assert done.code == 0, done
        whole(server, project, name)


def test_many_applies_without_wait(farm: Farm, server: Served) -> None:
    """Without --wait those that come late wait for nothing and do nothing twice."""
    for _ in range(3):
        project, name = planted(farm, server.provider())
        for done in farm.race(project, "apply", "--yes"):
            assert done.code == 0, done
        project.finish()
        whole(server, project, name)
