"""Every kind of store, opened by its name in this process and in another that writes until it is killed.

Run as a program, it is that process: ``stores.py KIND FOLDER``.  It says "ready", and begins once a line comes in.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

from runner.edge.store import Conflict, Store

sys.path.append(str(Path(__file__).resolve().parent.parent))  # last: `benchmarks` is found there, `runner` if installed
from benchmarks.kinds import KINDS, open_store

__all__ = ["KINDS", "WRITER", "begin", "open_store", "spawn"]

WRITER = "writer"
"""The machine that those who write until they are killed share."""
PADDING = "x" * 300_000
"""What makes a document so large that it cannot be written at once."""


def rounds(kind: str) -> int:
    """How often each of five writers writes in a race: a push is a dozen processes.  `benchmarks.races` does more."""
    return {"git": 4, "git-http": 3}.get(kind, 10)


def spawn(kind: str, folder: Path) -> subprocess.Popen[str]:
    """Another process that is ready to write, and begins when told."""
    process = subprocess.Popen(
        [sys.executable, __file__, kind, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def write_for_ever(store: Store) -> None:
    """Large documents and blobs, until killed."""
    for number in itertools.count():
        document = json.dumps({"number": number, "padding": PADDING}).encode()
        try:
            store.swap(store.read(), document)
        except Conflict:
            continue
        store.put(document)


if __name__ == "__main__":
    kind, folder = sys.argv[1:]
    store = open_store(kind, Path(folder), WRITER)
    print("ready", flush=True)
    sys.stdin.readline()
    write_for_ever(store)
