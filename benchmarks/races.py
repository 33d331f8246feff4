"""Many writers of one store at once, some of whom are lied to.

``python -m benchmarks.races --writers 20 --increments 50 --seed 1``

Writers are processes.  First each adds one to a number, by reading it and swapping it: the sum has to be exact.  Then
each writes events through the journal, whose store reports conflicts that were none: a fifth of the swaps are carried
out and called a conflict all the same (the reply was lost, or a 500 came after it), a fifth are turned away (409).  The
journal tells by writer and serial whether its own write is there, so that every event has to be in the state once, and
the serial has to be their number.  Then the numbers again under the same lies, which reading and swapping alone cannot
see through: what comes out too much is what the journal's look is worth.  Last all put the same blobs, each in an order
of its own, and read them back at once: every one has to be whole, whoever else is just putting it.
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
from importlib import import_module
from pathlib import Path

from runner.edge.store import Conflict, Store
from runner.errors import StateConflict
from runner.journal import Journal
from runner.state import Begun, load
from runner.task import Task

KINDS = {"folder": "runner.edge.store:FolderStore"}
"""Module and name of what makes a store, given a folder of its own to live in.  A new kind is one line here."""
LIES = 0.2
"""The share of swaps that are carried out and called a conflict, and of those that are turned away."""
PATIENCE = 600


def open_store(kind: str, folder: Path) -> Store:
    module, _, name = KINDS[kind].partition(":")
    store: Store = getattr(import_module(module), name)(folder)
    return store


class Liar:
    """A store whose swaps do not always tell the truth."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store = store
        self._chance = chance

    def swap(self, old: bytes | None, new: bytes) -> None:
        fate = self._chance.random()
        if fate < LIES:
            raise Conflict
        self._store.swap(old, new)
        if fate < 2 * LIES:
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
    """The blobs that everybody puts, in an order of this writer's own; each is read back at once.

    Raises RunnerError for one that is not there or not whole.
    """
    numbers = list(range(increments))
    random.Random(who).shuffle(numbers)
    for number in numbers:
        if store.get(store.put(blob(number))) != blob(number):
            raise RuntimeError(f"blob {number} is another one")


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
    """One writer: it says "ready", and begins once a line comes in."""
    function, lied_to = JOBS[job]
    store = open_store(kind, folder)
    print("ready", flush=True)
    sys.stdin.readline()
    function(Liar(store, random.Random(f"{seed}-{who}")) if lied_to else store, who, increments)  # type: ignore[arg-type]


# ---- races -----------------------------------------------------------------------------------------------------------


def race(kind: str, folder: Path, job: str, *, writers: int, increments: int, seed: int) -> bytes:
    """Let them all begin together; the document when the last has ended.  Raises RuntimeError if one fails."""
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-P", __file__, "--worker"),
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
    for process in processes:
        process.communicate(timeout=PATIENCE)
    if any(process.returncode for process in processes):
        raise RuntimeError(f"a writer failed in the race of {job} at {kind}")
    return open_store(kind, folder).read() or b"null"


def events_of(document: bytes) -> tuple[int, int]:
    """How many events are in the state, and how many writes it counts."""
    state = load(document)
    return len(state.tasks), state.serial


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        kind, folder, job, *numbers = sys.argv[2:]
        work(kind, Path(folder), job, *map(int, numbers))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks.races", description=__doc__)
    parser.add_argument("--writers", type=int, default=20)
    parser.add_argument("--increments", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong = 0
    for kind in KINDS:
        begun = time.monotonic()
        exact, tasks, serial, beyond, blobs = _races(kind, options.writers, options.increments, options.seed)
        expected = options.writers * options.increments
        right = (exact, tasks, serial, blobs) == (expected, expected, expected, options.increments)
        wrong += not right
        print(
            f"{kind}: {options.writers} writers x {options.increments}: sum {exact:,} of {expected:,}; under lies "
            f"{tasks:,} events in {serial:,} writes, and a plain counter {beyond - expected:+,}; "
            f"blobs {blobs:,} of {options.increments:,}; {time.monotonic() - begun:.1f} s"
        )
    print(f"stores {len(KINDS)}, inexact {wrong}")
    if wrong:
        print(
            f"python -m benchmarks.races --writers {options.writers} --increments {options.increments} "
            f"--seed {options.seed}"
        )
    return 1 if wrong else 0


def blobs_in(store: Store, count: int) -> int:
    """How many of them are there, and whole."""
    return sum(store.get(hashlib.sha256(blob(number)).hexdigest()) == blob(number) for number in range(count))


def _races(kind: str, writers: int, increments: int, seed: int) -> tuple[int, int, int, int, int]:
    with tempfile.TemporaryDirectory(prefix="races-") as name:

        def run(job: str) -> bytes:
            return race(kind, Path(name) / job, job, writers=writers, increments=increments, seed=seed)

        exact = int(json.loads(run("numbers")))
        tasks, serial = events_of(run("events"))
        beyond = int(json.loads(run("numbers-and-lies")))
        run("blobs")
        return exact, tasks, serial, beyond, blobs_in(open_store(kind, Path(name) / "blobs"), increments)


if __name__ == "__main__":
    sys.exit(main())
