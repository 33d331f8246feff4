"""A process that runs one target within bounds of time and memory, input after input.

``python -m benchmarks.fuzzing.child ORDER``, with ``ORDER`` as :class:`Order` in JSON.  It says what it begins and what
broke, one JSON object per line; an input that kills it, by the alarm or otherwise, is the last one that was begun, and
lies in the file for it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from base64 import b64encode
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import IO, Any

from benchmarks.fuzzing.target import Broken, Target
from benchmarks.fuzzing.targets import opener

SECONDS = 20
"""Of wall time for one input: what any command on a hostile spec may take."""
MEMORY = 2**30
"""Bytes that the process may grow by."""


@dataclass(frozen=True)
class Order:
    """Inputs of ``target`` from the ``start``-th on: ``count`` of them, or as many as ``seconds`` allow.

    ``replay``: the one file to take in their place.  ``patience``: seconds of wall time for one input.  ``last``: the
    file for the input that was begun last.
    """

    target: str
    seed: int
    start: int = 0
    count: int = 0
    seconds: float = 0.0
    replay: str = ""
    patience: float = SECONDS
    last: str = ""

    def dumped(self) -> str:
        return json.dumps(asdict(self))


def drawn(target: Target, order: Order, number: int) -> bytes:
    """The same for the same seed and number, whatever came before."""
    return target.draw(Random(f"{order.seed} {order.target} {number}"))


def main(order: Order) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a command prints is not what this process says
    with tempfile.TemporaryDirectory(prefix="runner-fuzz-") as folder:
        os.environ["HOME"] = folder
        with opener(order.target)(Path(folder)) as target:
            _limit_memory()
            _run(target, order, out)
    print(json.dumps({"done": True}), file=out)
    out.flush()
    os._exit(0)  # whatever threads an input left behind


def _run(target: Target, order: Order, out: IO[str]) -> None:
    end = time.monotonic() + order.seconds
    number = order.start
    while number < order.start + order.count if order.count else time.monotonic() < end:
        print(json.dumps({"at": number}), file=out)
        data = Path(order.replay).read_bytes() if order.replay else drawn(target, order, number)
        if order.last:
            Path(order.last).write_bytes(data)
        signal.setitimer(signal.ITIMER_REAL, order.patience)
        kind, what = _kind_of(target, data)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if kind:
            found = {"broken": kind, "at": number, "what": what, "input": b64encode(data).decode()}
            print(json.dumps(found), file=out)
        number += 1


def _kind_of(target: Target, data: bytes) -> tuple[str, str]:
    """Which promise the input broke, and how; "" for none."""
    try:
        target.run(data)
    except Broken as error:
        return error.kind, str(error)
    except MemoryError:
        return "over memory", traceback.format_exc(limit=-8)
    except Exception:
        return "tracebacks", traceback.format_exc(limit=-12)
    return "", ""


def _limit_memory() -> None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not Linux, where it is not known how much there is
        return
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def parsed(text: str) -> Order:
    fields: dict[str, Any] = json.loads(text)
    return Order(**fields)


if __name__ == "__main__":
    main(parsed(sys.argv[1]))
