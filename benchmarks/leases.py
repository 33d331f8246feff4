"""Runs that sleep for longer than their lease while another run goes on, and then wake up in the middle of a step.

``python -m benchmarks.leases --stops 100 --seed 1``

`apply` is stopped (SIGSTOP) just before one of its effects, which are the requests that it sends and the changes that
it makes to files.  Time passes by a shared clock: a minute, which is more than a lease, or a quarter of an hour, which
is more than an absence is doubted.  Another run of the same project, on the same machine or on another one, does what
it finds to do; then the first wakes up (SIGCONT) and goes on as if nothing had happened.  Whatever it was about to do,
nothing may be paid twice, and every row gets its answer.

One thing no check in a client can see: a run that falls asleep after its last look at the clock, with the costly
request as its very next step, and sleeps until the other run believes that it never was.  Those are counted apart.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.faults.nursery import Ended, Nursery, Order
from benchmarks.faults.places import KEYS, provider
from benchmarks.faults.project import ASKED, write_project
from benchmarks.faults.schedule import Point
from benchmarks.faults.timeline import CLOCK, Timeline
from benchmarks.faults.verdict import Evidence, Verdict, judge
from runner.simulator.memory import Memory
from runner.simulator.server import Simulator

START = {"openai-openai": "POST /v1/batches", "anthropic": "POST /v1/messages/batches"}
"""By place, the costly request."""
SLEEPS = (61.0, 1_000.0)
LONG = 1_000.0
"""Seconds between two later runs."""
ROUNDS = 8
UNDER_LOCK = (".runner", ".runner/*", ".runner/state.json")
"""What is changed while the lock of the state is held: the other run has to wait until the sleeper wakes."""
MOMENT = 0.3
"""Real seconds after which a sleeper that holds the lock is woken."""
PATIENCE = 60
AT_REST = (0, 7)
"""Exit codes of a run with `--wait` that has come to an end."""
STILL_RUNNING = 8
"""That of one whose work another run has taken over, or given back, and not finished yet."""


@dataclass(frozen=True)
class Stop:
    """Where a run falls asleep and for how long; ``away``: the runs are on two machines, and cannot see each other."""

    place: str
    point: Point
    seconds: float
    away: bool

    @property
    def is_beyond(self) -> bool:
        """Nobody can promise anything: the request is the very next step, and it comes when all doubts are over."""
        return self.point.effect == START[self.place] and self.seconds == SLEEPS[-1]

    def __str__(self) -> str:
        """One line of JSON; `parse` is its inverse."""
        return json.dumps([self.place, self.point.effect, self.point.nth, self.seconds, self.away])


def parse(text: str) -> Stop:
    place, effect, nth, seconds, away = json.loads(text)
    return Stop(place, Point(effect, nth), seconds, away)


class Stage:
    """A folder with a clock, and a nursery for the runs that stay awake."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder / "project"
        self._data = folder / "simulator"
        self._timeline = Timeline(folder / CLOCK)
        self._nursery = Nursery(folder, KEYS)

    def close(self) -> None:
        self._nursery.close()

    def points(self, place: str) -> list[Point]:
        """The effects of an apply that is left in peace, but for those on names that no second one would choose."""
        with self._project(place):
            (ended,) = self._nursery.run(Order(str(self._root), ("apply", "--yes", "--wait")))
        return sorted(point for point in ended.trace if not point.effect.startswith("remove"))

    def play(self, stop: Stop) -> Verdict:
        with self._project(stop.place) as simulator:
            breaches = [*self._side_by_side(stop), *self._come_to_rest()]
            if not simulator.settle():
                breaches.append("the simulator is still busy")
            verdict = judge(self._evidence())
            return replace(verdict, breaches=(*breaches, *verdict.breaches))

    def _side_by_side(self, stop: Stop) -> Iterator[str]:
        """The sleeper and the other one; what is wrong with how they ended."""
        held = stop.point.effect.partition(" ")[2] in UNDER_LOCK
        waits = () if stop.point.effect == START[stop.place] else ("--wait",)  # waiting would outlast every doubt
        with ThreadPoolExecutor(1) as pool:
            sleeper = self._fall_asleep(stop)
            self._timeline.advance(stop.seconds)
            other = pool.submit(self._apply, *waits, host="host-2" if stop.away else "")
            wait([other], MOMENT if held else PATIENCE)
            sleeper.send_signal(signal.SIGCONT)
            out, _ = sleeper.communicate(timeout=PATIENCE)
            ended = other.result()
        yield from _bad_ending("the sleeper", sleeper.returncode, out, (*AT_REST, STILL_RUNNING))
        yield from _bad_ending("the other run", ended.code, ended.out + ended.err, (*AT_REST, STILL_RUNNING))

    @contextmanager
    def _project(self, place: str) -> Iterator[Simulator]:
        for folder in (self._root, self._data):
            shutil.rmtree(folder, ignore_errors=True)
        self._timeline.reset()
        with Simulator(self._data, speed=1_000, clock=self._timeline.now) as simulator:
            write_project(self._root, provider(place, simulator.url), ASKED[False])
            yield simulator

    def _fall_asleep(self, stop: Stop) -> subprocess.Popen[str]:
        """A run that has stopped at the point, or has come to its end because it did not pass it."""
        host = "host-1" if stop.away else ""
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.leases", "--sleeper", str(self._folder), str(self._root)),
                *(stop.point.effect, str(stop.point.nth), host),
            ],
            env={**os.environ, **KEYS, "SSL_CERT_FILE": "", "SSL_CERT_DIR": os.devnull},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return process

    def _come_to_rest(self) -> Iterator[str]:
        for _ in range(ROUNDS):
            self._timeline.advance(LONG)
            ended = self._apply("--wait", "--json")
            bad = [*_bad_ending("a run that nothing disturbed", ended.code, ended.out + ended.err, AT_REST)]
            yield from bad
            if bad or not json.loads(ended.out)["changes"]:
                return
        yield f"not quiet after {ROUNDS} applies"

    def _apply(self, *args: str, host: str = "") -> Ended:
        (ended,) = self._nursery.run(Order(str(self._root), ("apply", "--yes", *args), host=host))
        return ended

    def _evidence(self) -> Evidence:
        memory = Memory(self._data)
        try:
            bill = list(memory.requests())
        finally:
            memory.close()
        outputs = {name: _lines(self._root / f"outputs/{name}.jsonl") for name in ASKED[False]}
        return Evidence(ASKED[False], outputs, bill, json.loads((self._root / ".runner/state.json").read_bytes()))


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _bad_ending(who: str, code: int, said: str, allowed: Sequence[int]) -> Iterator[str]:
    if code not in allowed or "Traceback" in said:
        yield f"{who} ended with {code}: {said}"


# ---- the sleeper -----------------------------------------------------------------------------------------------------


def sleep_at(folder: Path, root: Path, point: Point, host: str) -> int:
    """`apply --wait` in this process, which stops just before ``point``; time is that of the shared clock."""
    import socket

    timeline = Timeline(folder / CLOCK)
    time.time = timeline.now

    from benchmarks.faults.upsets import Files, Upsetter, watch_http
    from runner.cli.main import _run
    from runner.edge.clock import SystemClock

    def pass_time(_clock: SystemClock, seconds: float, wake: Any) -> None:
        timeline.advance(seconds)
        wake.wait(0.001)

    def fall_asleep(reached: Point) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGSTOP)

    SystemClock.sleep = pass_time  # type: ignore[assignment,method-assign]
    if host:
        socket.gethostname = lambda: host
    upsetter = Upsetter((), fall_asleep)
    Files(root, upsetter, None).install()
    watch_http(upsetter)
    sys.argv = ["runner", "-C", str(root), "apply", "--yes", "--wait"]
    return _run()


# ---- the command -----------------------------------------------------------------------------------------------------


def main() -> int:
    if sys.argv[1:2] == ["--sleeper"]:
        folder, root, effect, nth, host = sys.argv[2:]
        return sleep_at(Path(folder), Path(root), Point(effect, int(nth)), host)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leases", description=__doc__)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=parse, metavar="STOP", help="this one alone, as it was printed")
    options = parser.parse_args()
    counts = dict.fromkeys(("stops", "duplicates", "lost", "beyond", "paid twice beyond"), 0)
    broken = False
    with tempfile.TemporaryDirectory(prefix="leases-") as name:
        stage = Stage(Path(name))
        try:
            chosen = [options.replay] if options.replay else stops(stage, options.seed)[: options.stops]
            for stop in chosen:
                for breach in _count(counts, stop, stage.play(stop)):
                    broken = True
                    print(f"{breach}\n  python -m benchmarks.leases --replay '{stop}'", flush=True)
        finally:
            stage.close()
    print(
        f"stops {counts['stops']}, duplicates {counts['duplicates']}, lost {counts['lost']}; beyond any promise "
        f"{counts['beyond']}, of which paid twice {counts['paid twice beyond']}"
    )
    return 1 if broken else 0


def stops(stage: Stage, seed: int) -> list[Stop]:
    """Every effect at every place, each sleep, on one machine and on two; in an order that the seed decides."""
    every = [
        Stop(place, point, seconds, away)
        for place in START
        for point in stage.points(place)
        for seconds in SLEEPS
        for away in (False, True)
    ]
    random.Random(seed).shuffle(every)
    return every


def _count(counts: dict[str, int], stop: Stop, verdict: Verdict) -> tuple[str, ...]:
    """Count a stop in; returns what is wrong with it."""
    if stop.is_beyond:
        counts["beyond"] += 1
        counts["paid twice beyond"] += bool(verdict.duplicates)
        return ()
    counts["stops"] += 1
    counts["duplicates"] += verdict.duplicates
    counts["lost"] += verdict.lost
    return verdict.breaches


if __name__ == "__main__":
    sys.exit(main())
