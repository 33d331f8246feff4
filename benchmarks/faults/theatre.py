"""Play one schedule: disturbed runs, then undisturbed ones until all is quiet, then the bill."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.faults.durable import Durable
from benchmarks.faults.nursery import HUNG, KILLED, NOT_A_COMMAND, Ended, Nursery, Order
from benchmarks.faults.places import CONCURRENCY, KEYS, ONLINE, TAGLESS, TROUBLES, provider
from benchmarks.faults.project import ASKED, write_project
from benchmarks.faults.schedule import DISK, REPLY, Point, Run, Schedule
from benchmarks.faults.timeline import CLOCK, Timeline
from benchmarks.faults.verdict import Evidence, Verdict, judge, phase_of
from runner.simulator.memory import Memory
from runner.simulator.server import Simulator

SPEED = 1000
"""Tasks end within a millisecond of the shared clock."""
ROUNDS = 12
LONG = 1000.0
"""Seconds between two undisturbed runs: longer than any claim, and than any absence is doubted."""
QUIET, ROWS_FAILED = 0, 7


@dataclass(frozen=True)
class Story:
    """How a schedule went.  ``struck``: upsets whose effect came to be; ``operated``: starts that a person settled."""

    schedule: Schedule
    verdict: Verdict
    struck: int = 0
    kills: int = 0
    cuts: int = 0
    operated: int = 0
    breaches: tuple[str, ...] = ()
    """Of every promise, in the order in which they were noticed."""
    trace: tuple[Point, ...] = field(default=(), repr=False)
    """The effects of all its runs."""
    said: tuple[str, ...] = field(default=(), repr=False)
    """Each command with its exit code and what it said."""


class Theatre:
    """A folder, a clock and a nursery, for one schedule after the other."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.timeline = Timeline(folder / CLOCK)
        self.nursery = Nursery(folder, KEYS)

    def close(self) -> None:
        self.nursery.close()

    def play(self, schedule: Schedule) -> Story:
        for name in ("project", "memory", "simulator"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        self.timeline.reset()
        rules: list[Mapping[str, Any]] = [{"on": "list", "do": "lag", "seconds": schedule.lag}] if schedule.lag else []
        rules += [TROUBLES[schedule.trouble]] if schedule.trouble else []
        simulator = Simulator(
            self._folder / "simulator",
            speed=SPEED,
            faults=rules,
            clock=lambda: self.timeline.now() + schedule.skew,
        )
        with simulator:
            return _Play(self, schedule, self._folder, simulator).story()


class _Play:
    """One schedule, while it is played."""

    def __init__(self, theatre: Theatre, schedule: Schedule, folder: Path, simulator: Simulator) -> None:
        self._theatre = theatre
        self._schedule = schedule
        self._simulator = simulator
        self._data = folder / "simulator"
        self._root = folder / "project"
        self._asked = ASKED[schedule.shared]
        write_project(self._root, provider(schedule.place, simulator.url), self._asked)
        powered = any(upset.is_cut for upset in schedule.upsets)
        self._durable = Durable(self._root, folder / "memory") if powered else None
        self._memory = str(folder / "memory") if powered else ""
        if self._durable is not None:
            self._durable.begin()
        self._chance = random.Random(schedule.number)
        self._breaches: list[str] = []
        self._trace: list[Point] = []
        self._said: list[str] = []
        self._count = dict.fromkeys(("struck", "kills", "cuts", "operated", "runs"), 0)

    def story(self) -> Story:
        for runs in self._schedule.rounds:
            self._round(runs)
        self._recover()
        with _memory(self._data) as memory:
            bill = list(memory.requests())
        evidence = Evidence(self._asked, self._outputs(), bill, self._state() or {}, self._online)
        verdict = judge(evidence)
        counts = {name: self._count[name] for name in ("struck", "kills", "cuts", "operated")}
        breaches = (*self._breaches, *verdict.breaches)
        return Story(
            self._schedule, verdict, **counts, breaches=breaches, trace=tuple(self._trace), said=tuple(self._said)
        )

    # Disturbed

    def _round(self, runs: Sequence[Run]) -> None:
        asked, kept, serial = self._questions(), self._kept(), self._serial()
        orders = [
            replace(
                self._order("apply", "--yes", *(["--wait"] if run.wait else [])), upsets=run.upsets, ahead=run.ahead
            )
            for run in runs
        ]
        endings = self._run(*orders)
        struck = [[u for u in run.upsets if u.point in end.trace] for run, end in zip(runs, endings, strict=True)]
        for run, ended, upsets in zip(runs, endings, struck, strict=True):
            self._trace += ended.trace
            self._count["struck"] += len(upsets)
            self._count["kills"] += ended.code == KILLED
            self._check_ending(ended, disturbed=bool(upsets) or len(runs) > 1, wait=run.wait)
            if ended.code == KILLED and any(upset.is_cut for upset in upsets) and self._durable is not None:
                self._count["cuts"] += 1
                self._durable.cut(self._chance)
        if self._serial() < serial:
            self._breaches.append(f"the state went back from serial {serial} to {self._serial()}")
        manners = [upset.manner for upsets in struck for upset in upsets]
        unkept = sum(manner in REPLY for manner in manners) + CONCURRENCY * sum(manner in DISK for manner in manners)
        if len(runs) > 1:  # what was in flight when one was killed is asked by the other
            unkept += CONCURRENCY * sum(ended.code == KILLED for ended in endings)
        self._check_questions(asked, kept, unkept)

    def _check_ending(self, ended: Ended, *, disturbed: bool, wait: bool) -> None:
        said = ended.out + ended.err
        expected = (QUIET, ROWS_FAILED) if wait else (QUIET,)
        if ended.code == HUNG:
            self._breaches.append("a run hung")
        elif ended.code in (70, NOT_A_COMMAND) or "Traceback" in said:
            self._breaches.append(f"a run met a bug: {said[-2000:]}")
        elif not disturbed and ended.code not in expected:
            self._breaches.append(f"an undisturbed run ended with {ended.code}: {said[-500:]}")
        elif disturbed and ended.code not in (*expected, KILLED, 1, 6, 8, 130):
            self._breaches.append(f"a run ended with {ended.code}: {said[-500:]}")

    # Undisturbed

    def _recover(self) -> None:
        for _ in range(ROUNDS):
            self._theatre.timeline.advance(LONG)
            asked, kept = self._questions(), self._kept()
            (ended,) = self._run(self._order("apply", "--yes", "--wait", "--json"))
            self._check_ending(ended, disturbed=False, wait=True)
            self._check_questions(asked, kept, 0)
            if ended.code not in (QUIET, ROWS_FAILED):
                return
            document = json.loads(ended.out)
            for start in document["unresolved"]:
                self._operate(start["task"])
            if not document["changes"] and not document["unresolved"]:
                return
        self._breaches.append(f"not quiet after {ROUNDS} applies")

    def _operate(self, task: str) -> None:
        """Do what a careful person does about an unresolved start: look at the console, then adopt or abandon."""
        if self._schedule.place not in TAGLESS:
            self._breaches.append(f"the start of {task} was left to a person")
        self._count["operated"] += 1
        (shown,) = self._run(self._order("state", "show", task))
        name = json.loads(shown.out)["name"]
        made = [billed["task"] for billed in self._simulator.bill()["tasks"] if billed["name"] == name]
        answer = ("adopt", task, made[0]) if made else ("abandon", task)
        (done,) = self._run(self._order("state", *answer))
        if done.code != 0:
            self._breaches.append(f"state {' '.join(answer)} ended with {done.code}: {done.err}")

    def _run(self, *orders: Order) -> list[Ended]:
        endings = self._theatre.nursery.run(*orders)
        if not self._simulator.settle():
            self._breaches.append("the simulator is still busy with a run that has ended")
        for order, ended in zip(orders, endings, strict=True):
            self._said.append(f"$ runner {' '.join(order.args)}   ended with {ended.code}\n{ended.out}{ended.err}")
        return endings

    def _order(self, *args: str) -> Order:
        self._count["runs"] += 1
        host = f"host-{self._count['runs']}" if self._schedule.away else ""
        return Order(str(self._root), args, memory=self._memory, host=host)

    # What lies about

    @property
    def _online(self) -> bool:
        return self._schedule.place in ONLINE

    def _state(self) -> Any:
        """The document as any reader sees it, None where there is none yet."""
        try:
            return json.loads((self._root / ".runner/state.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            self._breaches.append(f"the state cannot be read: {error}")
            return None

    def _serial(self) -> int:
        return int((self._state() or {"serial": 0})["serial"])

    def _outputs(self) -> dict[str, list[Any]]:
        paths = {spec: self._root / f"outputs/{spec}.jsonl" for spec in self._asked}
        return {spec: _lines(path) for spec, path in paths.items() if path.exists()}

    def _questions(self) -> int:
        """Single questions that were asked so far."""
        return int(self._simulator.bill()["online"]["requests"])

    def _kept(self) -> int:
        """Answers to single questions that are on disk: not one of those may be asked again."""
        if not self._online:
            return 0
        tasks = (self._state() or {"tasks": {}})["tasks"]
        folder = self._root / ".runner/online/it"
        kept = 0
        for id, task in tasks.items():
            if phase_of(task) == "collected":
                kept += task["requests"]
            elif (folder / id / "answers.jsonl").exists():
                kept += len({line["custom_id"] for line in _lines(folder / id / "answers.jsonl") if line["ok"]})
        return kept

    def _check_questions(self, asked: int, kept: int, unkept: int) -> None:
        """A run asks what has no answer on disk, and again what it got no reply to, or could not write down."""
        if not self._online:
            return
        wanted = len({question for questions in self._asked.values() for question in questions})
        most = wanted - kept + unkept
        if (now := self._questions() - asked) > most:
            self._breaches.append(f"a run asked {now} questions where {most} at most were without an answer")


def _lines(path: Path) -> list[Any]:
    """The whole lines of a JSONL file."""
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


@contextmanager
def _memory(data: Path) -> Iterator[Memory]:
    memory = Memory(data)
    try:
        yield memory
    finally:
        memory.close()
