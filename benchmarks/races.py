"""Many writers of one store at once, some of whom are lied to.

``python -m benchmarks.races --writers 20 --increments 50 --seed 1``

Writers are processes.  First each adds one to a number, by reading it and swapping it: the sum has to be exact.  Then
each writes events through the journal, whose store reports conflicts that were none: a fifth of the swaps are carried
out and called a conflict all the same (the reply was lost, or a 500 came after it), a fifth are turned away (409).  The
journal tells by writer and serial whether its own write is there.  If another one has written meanwhile it cannot tell,
and writes its event once more, which changes nothing.  So every event has to be in the state once, the serial has to be
the number of swaps that were carried out, and those beyond the number of events are counted.  Then the numbers again
under the same lies, which reading and swapping alone cannot see through: what comes out too much is what the journal's
look is worth.  Last all put the same blobs, each in an order of its own, and read them back at once: every one has to
be whole, whoever else is just putting it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.kinds import EVERY, KINDS, open_store, served
from runner.edge.store import Conflict, Store
from runner.errors import StateConflict
from runner.journal import Journal
from runner.state import Begun, load
from runner.task import Task

LIES = 0.2
"""The share of swaps that are carried out and called a conflict, and of those that are turned away."""
DELAY = 0.05
"""Seconds at most after which a lie is told, so that others have written meanwhile."""
PATIENCE = 600
_WORKER = f"""
import sys
sys.path.append({str(Path(__file__).resolve().parent.parent)!r})
from benchmarks.races import main
main()
"""
"""`benchmarks` is found last, so that `runner` is the installed one where there is one."""


class Watched:
    """A store that counts the swaps it carried out, and with ``lies`` does not always tell the truth about them."""

    def __init__(self, store: Store, lies: random.Random | None) -> None:
        self._store = store
        self._lies = lies
        self.swaps = 0

    def swap(self, old: bytes | None, new: bytes) -> None:
        fate = self._lies.random() if self._lies else 1.0
        if fate < LIES:
            raise Conflict
        self._store.swap(old, new)
        self.swaps += 1
        if fate < 2 * LIES:
            time.sleep(fate / LIES % 1 * DELAY)
            raise Conflict

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


# ---- writers ---------------------------------------------------------------------------------------------------------


def count_up(store: Store, _who: int, increments: int) -> None:
    """Add one to the number in the document; a conflict means to read and to try once more."""
    done = 0
    while done < increments:
        old = store.read()
        try:
            store.swap(old, json.dumps((json.loads(old) if old else 0) + 1).encode())
        except Conflict:
            continue
        done += 1


def write_events(store: Store, who: int, increments: int) -> None:
    """Begin tasks, each in a write of its own."""
    names = iter(range(10**9))
    journal = Journal(store, lambda: f"writer-{who}-{next(names)}")
    for number in range(increments):
        event = Begun(_task(f"t-{who}-{number}"))
        while True:
            try:
                journal.write(event)
                break
            except StateConflict:  # it gave up, and says that nothing was written
                journal.refresh()


def put_blobs(store: Store, who: int, increments: int) -> None:
    """The blobs that everybody puts, in an order of this writer's own, each read back at once; a swap keeps them.

    Raises RunnerError for one that is not there or not whole.
    """
    numbers = list(range(increments))
    random.Random(who).shuffle(numbers)
    for number in numbers:
        if store.get(store.put(blob(number))) != blob(number):
            raise RuntimeError(f"blob {number} is another one")
    count_up(store, who, 1)


def blob(number: int) -> bytes:
    """Some large, some small."""
    return b"%d\n" % number * (1 + number % 7 * 10_000)


def _task(id: str) -> Task:
    shard = hashlib.sha256(id.encode()).hexdigest()
    return Task(
        id=id,
        batch="race",
        provider="demo",
        model="m",
        shard=shard,
        requests=1,
        max_wait=86_400,
        give_up=172_800,
        begun_at=1_000.0,
    )


JOBS: dict[str, tuple[Callable[[Store, int, int], None], bool]] = {
    "numbers": (count_up, False),
    "events": (write_events, True),
    "numbers-and-lies": (count_up, True),
    "blobs": (put_blobs, False),
}
"""What writers do, and whether they are lied to."""


def work(kind: str, folder: Path, job: str, who: int, increments: int, seed: int) -> None:
    """One writer: it says "ready", begins once a line comes in, and says at the end how many swaps it carried out."""
    function, lied_to = JOBS[job]
    store = Watched(open_store(kind, folder), random.Random(f"{seed}-{who}") if lied_to else None)
    print("ready", flush=True)
    sys.stdin.readline()
    function(store, who, increments)  # type: ignore[arg-type]
    print(store.swaps)


# ---- races -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finish:
    """What is there when the last writer has ended.  ``swaps`` were carried out, by all of them together."""

    document: bytes
    swaps: int

    @property
    def number(self) -> int:
        return int(json.loads(self.document))

    @property
    def events(self) -> int:
        """How many of them are in the state."""
        return len(load(self.document).tasks)

    @property
    def serial(self) -> int:
        return load(self.document).serial


def race(kind: str, folder: Path, job: str, *, writers: int, increments: int, seed: int) -> Finish:
    """Let them all begin together.  Raises RuntimeError if one fails."""
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-P", "-c", _WORKER, "--worker"),
                *(kind, str(folder), job, str(who), str(increments), str(seed)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in range(writers)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"a writer failed in the race of {job} at {kind}")
    return Finish(open_store(kind, folder).read() or b"null", sum(map(int, said)))


def blobs_in(store: Store, count: int) -> int:
    """How many of them are there, and whole."""
    return sum(store.get(hashlib.sha256(blob(number)).hexdigest()) == blob(number) for number in range(count))


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        kind, folder, job, *numbers = sys.argv[2:]
        work(kind, Path(folder), job, *map(int, numbers))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.races", description=__doc__)
    parser.add_argument("--writers", type=int, default=20)
    parser.add_argument("--increments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=list(EVERY), default=list(KINDS), help="(default: %(default)s)")
    options = parser.parse_args()
    inexact = 0
    for kind in options.kinds:
        begun = time.monotonic()
        with served(kind):
            exact, figures = _races(kind, options.writers, options.increments, options.seed)
        inexact += not exact
        print(f"{kind}: {options.writers} writers x {options.increments}: {figures}; {time.monotonic() - begun:.1f} s")
    print(f"stores {len(options.kinds)}, inexact {inexact}")
    if inexact:
        print(
            f"python -m benchmarks.races --writers {options.writers} --increments {options.increments} "
            f"--seed {options.seed} --kinds {' '.join(options.kinds)}"
        )
    return 1 if inexact else 0


def _races(kind: str, writers: int, increments: int, seed: int) -> tuple[bool, str]:
    """Whether everything came out exactly, and the figures."""
    expected = writers * increments
    with tempfile.TemporaryDirectory(prefix="races-") as name:
        ends = {
            job: race(kind, Path(name) / job, job, writers=writers, increments=increments, seed=seed) for job in JOBS
        }
        blobs = blobs_in(open_store(kind, Path(name) / "blobs"), increments)
    plain, events, lies = ends["numbers"], ends["events"], ends["numbers-and-lies"]
    exact = (plain.number, plain.swaps, events.events, blobs) == (expected, expected, expected, increments)
    return exact and events.serial == events.swaps, (
        f"sum {plain.number:,} of {expected:,}; under lies {events.events:,} events once each, in {events.swaps:,} "
        f"writes with serial {events.serial:,}, and a plain counter {lies.number - expected:+,}; "
        f"blobs {blobs:,} of {increments:,}"
    )


if __name__ == "__main__":
    sys.exit(main())
