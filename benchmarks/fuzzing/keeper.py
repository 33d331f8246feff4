"""The child from outside: begun anew after each input that kills it, until all inputs were taken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.fuzzing.child import Order
from benchmarks.fuzzing.target import BELIEVED, LOST

KINDS = ("tracebacks", "hangs", "over memory", LOST, BELIEVED)
MOST = 20
"""Broken promises after which a target is left alone: they are likely to be one and the same."""
SURROUNDINGS = {"MALLOC_ARENA_MAX": "1", "SSL_CERT_FILE": "", "SSL_CERT_DIR": os.devnull, "TZ": "UTC"}
"""Memory is reserved once for all threads, so that the bound means what it says; nobody's certificates are read."""
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Breach:
    """An input that broke a promise."""

    target: str
    number: int
    kind: str
    what: str
    input: bytes


@dataclass
class Tally:
    """What a target came to."""

    inputs: int = 0
    breaches: list[Breach] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.inputs + other.inputs, self.breaches + other.breaches)

    @property
    def kinds(self) -> Counter[str]:
        return Counter(breach.kind for breach in self.breaches)

    def __str__(self) -> str:
        kinds = self.kinds
        return f"inputs {self.inputs}, " + ", ".join(f"{kind} {kinds[kind]}" for kind in KINDS)


def keep(order: Order) -> Tally:
    """Have all of ``order`` carried out."""
    with tempfile.NamedTemporaryFile(prefix="runner-fuzz-last-") as last:
        return _kept(replace(order, last=last.name))


def _kept(order: Order) -> Tally:
    tally = Tally()
    end = time.monotonic() + order.seconds
    while True:
        last, finished = _live(order, tally)
        if finished or len(tally.breaches) >= MOST:
            return tally
        done = last + 1 - order.start
        order = replace(order, start=last + 1, count=order.count and order.count - done)
        if order.seconds:
            order = replace(order, seconds=end - time.monotonic())
            if order.seconds <= 0:
                return tally
        elif order.count <= 0:
            return tally


def _live(order: Order, tally: Tally) -> tuple[int, bool]:
    """One life of the child.  Returns the number of the last input that it began, and whether it came to the end."""
    at, finished, told = order.start - 1, False, -1
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fuzzing.child", order.dumped()],
            cwd=ROOT,
            env={**os.environ, **SURROUNDINGS},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout as said_so_far:
            for line in said_so_far:
                said = json.loads(line)
                finished = finished or "done" in said
                if "broken" in said:
                    data = b64decode(said["input"])
                    tally.breaches.append(Breach(order.target, said["at"], said["broken"], said["what"], data))
                    told = said["at"]
                    if len(tally.breaches) >= MOST:
                        process.kill()
                elif "at" in said:
                    at = said["at"]
                    tally.inputs += 1
        code = process.wait()
        errors.seek(0)
        last_words = errors.read()[-4_000:].decode(errors="replace")
    if at < order.start:
        raise RuntimeError(f"{order.target} did not begin, and ended with {code}\n{last_words}")
    if not finished and at != told and len(tally.breaches) < MOST:
        kind = "hangs" if code == -signal.SIGALRM else "tracebacks"
        what = f"the process ended with {code}\n{last_words}"
        tally.breaches.append(Breach(order.target, at, kind, what, Path(order.last).read_bytes()))
    return at, finished
