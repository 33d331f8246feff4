"""Real processes: `runner`, as a user runs it, and the simulator beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults.places import KEYS

RUNNER = (sys.executable, "-m", "runner")
PATIENCE = 120
"""Seconds after which a command hangs."""
LONG = 1000.0
"""Seconds after which every absence is believed."""
SPEED = 20
"""Simulated tasks end within a tenth of a second."""


class Server:
    """A `runner simulate`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def bill(self) -> Any:
        return json.loads(self._get("bill"))

    def requests(self) -> list[Any]:
        return [json.loads(line) for line in self._get("bill.jsonl").splitlines()]

    def _get(self, what: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}/simulator/{what}", timeout=PATIENCE) as reply:
            data: bytes = reply.read()
            return data


@contextmanager
def serving(folder: Path, faults: Sequence[Mapping[str, Any]] = ()) -> Iterator[Server]:
    """A simulator in a process of its own, with its memory in ``folder``."""
    folder.mkdir(parents=True)
    (folder / "faults.json").write_text(json.dumps(faults))
    options = ("--data", str(folder), "--speed", str(SPEED), "--faults", str(folder / "faults.json"))
    process = start("simulate", *options, cwd=folder)
    try:
        assert process.stdout is not None
        yield Server(process.stdout.readline().split()[-1])
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def start(*args: str, cwd: Path, under: Sequence[str] = ()) -> subprocess.Popen[str]:
    """`runner ARGS` from this checkout, with the keys of every place.  ``under``: a command that runs it."""
    return subprocess.Popen(
        [*under, *RUNNER, *args],
        cwd=cwd,
        env={**os.environ, **KEYS, "PYTHONPATH": str(Path(__file__).parent.parent)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    code: int
    out: str
    err: str


def run(*args: str, cwd: Path, under: Sequence[str] = ()) -> Ended:
    """As `start`, and wait for its end."""
    process = start(*args, cwd=cwd, under=under)
    out, err = process.communicate(timeout=PATIENCE)
    return Ended(process.returncode, out, err)


def age(root: Path) -> None:
    """Let a quarter of an hour have passed for starts that were interrupted: then their absence is believed.

    Nobody waits so long here: their times in the state are put back instead.
    """
    path = root / ".runner/state.json"
    if not path.exists():
        return
    document = json.loads(path.read_bytes())
    staged = [task for task in document["tasks"].values() if task.get("phase") == "staged"]
    for task in staged:
        for moment in ("begun_at", "staged_at"):
            task[moment] -= LONG
    if staged:  # whole or not at all: somebody is reading it
        new = path.with_name("state.aged")
        new.write_text(json.dumps(document))
        new.replace(path)


def jsonl(path: Path) -> list[Any]:
    """The whole lines of a JSONL file."""
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
