"""Every kind of store, opened by its name in this process and in others that write at the same time.

Run as a program, it is such another process: ``stores.py KIND FOLDER JOB``.  It says "ready", and begins once a line
comes in.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from runner.edge.store import Conflict, Store

sys.path.append(str(Path(__file__).resolve().parent.parent))  # last: `benchmarks` is found there, `runner` if installed
from benchmarks.races import KINDS, open_store

__all__ = ["KINDS", "open_store"]

INCREMENTS = 10
PADDING = "x" * 300_000
"""What makes a document so large that it cannot be written at once."""


def spawn(kind: str, folder: Path, job: str) -> subprocess.Popen[str]:
    """Another process that is ready for its job, and begins when told."""
    process = subprocess.Popen(
        [sys.executable, __file__, kind, str(folder), job], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


# ---- jobs of other processes -----------------------------------------------------------------------------------------


def count_up(store: Store) -> None:
    """Add one to the number in the document, again and again; a conflict means to read and to try once more."""
    done = 0
    while done < INCREMENTS:
        old = store.read()
        number = 0 if old is None else json.loads(old)
        try:
            store.swap(old, json.dumps(number + 1).encode())
        except Conflict:
            continue
        done += 1


def write_for_ever(store: Store) -> None:
    """Large documents and blobs, until killed."""
    for number in itertools.count():
        document = json.dumps({"number": number, "padding": PADDING}).encode()
        try:
            store.swap(store.read(), document)
        except Conflict:
            continue
        store.put(document)


def journal(store: Store) -> None:
    """Begin tasks of this process's own, each in a write of its own."""
    from builders import a_task, identity

    from runner.journal import Journal
    from runner.state import Begun

    names = (f"t-{identity(os.getpid() * 1_000 + number).hex()}" for number in itertools.count())
    written = Journal(store, lambda: next(names))
    for _ in range(INCREMENTS):
        written.write(Begun(a_task(next(names))))


JOBS: dict[str, Callable[[Store], None]] = {job.__name__: job for job in (count_up, write_for_ever, journal)}


if __name__ == "__main__":
    kind, folder, job = sys.argv[1:]
    store = open_store(kind, Path(folder))
    print("ready", flush=True)
    sys.stdin.readline()
    JOBS[job](store)
