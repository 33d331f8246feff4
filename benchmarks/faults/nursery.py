"""A process that has loaded everything, and forks a child for each command: a kill is a kill, and costs no start.

Run as a program it takes one order per line and says what became of it: ``python -m benchmarks.faults.nursery FOLDER``.
Time in it is that of the shared clock, and waiting moves the clock instead of taking time.
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from benchmarks.faults.schedule import Point, Upset
from benchmarks.faults.timeline import CLOCK, Timeline

KILLED = -signal.SIGKILL
HUNG = -signal.SIGALRM
NOT_A_COMMAND = 99
"""The code of a child in which the campaign itself went wrong."""
PATIENCE = 60
"""Seconds of real time after which a command hangs."""
REAL = 0.001
"""The least that a wait really takes, so that others get their turn."""
SHARE = 0.01
"""How much of a wait is real where runs are side by side: nobody's second may be over before another one's begins."""

_NOBODYS_CERTIFICATES = {"SSL_CERT_FILE": "", "SSL_CERT_DIR": os.devnull}
"""Reading those of the machine would take every child as long as everything else."""
_LOADED_ONCE = (
    *("anyio", "encodings.idna", "httpcore", "httpx", "jinja2", "jsonschema", "yaml"),
    *("runner.cli.guard", "runner.cli.apply", "runner.cli.state", "runner.connect", "runner.load", "runner.schema"),
    *("runner.providers.wanqing.provider", "runner.providers.openai.provider", "runner.providers.online.provider"),
    *("runner.providers.qianfan.provider", "runner.providers.anthropic.provider", "runner.providers.alaya"),
    *("benchmarks.faults.upsets",),
)


@dataclass(frozen=True)
class Order:
    """One command in the project ``root``.  ``memory``: where what is durable is kept, "" for nowhere.

    ``host``: the machine that it takes itself to be on, "" for this one; ``ahead``: seconds that its clock is ahead.
    """

    root: str
    args: tuple[str, ...]
    upsets: tuple[Upset, ...] = ()
    memory: str = ""
    host: str = ""
    ahead: float = 0


@dataclass(frozen=True)
class Ended:
    """What a command came to, and the effects that it had, the last of them perhaps only begun."""

    code: int
    out: str
    err: str
    trace: tuple[Point, ...] = field(default=(), repr=False)


class Nursery:
    """The process, from outside.  ``folder``: where it finds the shared clock, and room of its own."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.nursery", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **env, **_NOBODYS_CERTIFICATES},
        )

    def run(self, *orders: Order) -> list[Ended]:
        """All at once; returns when the last has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([_to_json(order) for order in orders]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the nursery has died")
        return [
            Ended(code, out, err, tuple(Point(*point) for point in trace)) for code, out, err, trace in json.loads(line)
        ]

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)


def _to_json(order: Order) -> Any:
    upsets = [[upset.point.effect, upset.point.nth, upset.manner] for upset in order.upsets]
    return {**vars(order), "upsets": upsets}


# ---- inside --------------------------------------------------------------------------------------------------------


def main(folder: Path) -> None:
    timeline = Timeline(folder / CLOCK)
    time.time = timeline.now  # before others take hold of it
    pace = [0.0]

    def sleep(seconds: float) -> None:
        timeline.advance(seconds)
        _really_sleep(max(REAL, seconds * pace[0]))

    time.sleep = sleep  # type: ignore[assignment]
    from benchmarks.faults.upsets import Raw

    io.FileIO = Raw  # type: ignore[misc]
    for module in _LOADED_ONCE:
        import_module(module)
    _use_clock(timeline, pace)
    _warm_up(folder / "warm-up")
    gc.freeze()
    for line in sys.stdin:
        orders = [_from_json(**order) for order in json.loads(line)]
        pace[0] = SHARE if len(orders) > 1 else 0.0
        children = [_fork(order, timeline) for order in orders]
        print(json.dumps([_ended(*child) for child in children]), flush=True)


_really_sleep = time.sleep


def _use_clock(timeline: Timeline, pace: list[float]) -> None:
    from runner.edge.clock import SystemClock
    from runner.providers.online import asking

    def wait(_clock: SystemClock, seconds: float, wake: Any) -> None:
        timeline.advance(seconds)
        wake.wait(max(REAL, seconds * pace[0]))

    SystemClock.sleep = wait  # type: ignore[assignment,method-assign]
    asking.BACK_OFF = 0.002  # an event loop has a clock of its own


def _warm_up(root: Path) -> None:
    """Run one command here, so that what it compiles and keeps is there for every child."""
    from benchmarks.faults.project import ASKED, write_project
    from runner.cli.main import _run

    write_project(root, {"type": "simulator"}, ASKED[True])
    sys.argv = ["runner", "-C", str(root), "validate"]
    with redirect_stdout(io.StringIO()) as said:
        code = _run()
    if code or threading.active_count() > 1:  # a fork takes no other thread along
        raise RuntimeError(f"the warm-up ended with {code}: {said.getvalue()}")


def _from_json(upsets: Any, args: Any, **order: Any) -> Order:
    planned = tuple(Upset(Point(effect, nth), manner) for effect, nth, manner in upsets)
    return Order(upsets=planned, args=tuple(args), **order)


def _fork(order: Order, timeline: Timeline) -> tuple[int, Sequence[IO[bytes]]]:
    files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115 - closed by those who read them
    child = os.fork()
    if not child:
        os.dup2(files[0].fileno(), 1)
        os.dup2(files[1].fileno(), 2)
        timeline.ahead = order.ahead
        code = NOT_A_COMMAND
        try:
            code = _command(order, files[2].fileno())
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    return child, files


def _command(order: Order, trace: int) -> int:
    from benchmarks.faults.durable import Durable
    from benchmarks.faults.upsets import Files, Upsetter, watch_http
    from runner.cli import main as command

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, command._terminate)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    if order.host:
        socket.gethostname = lambda: order.host
    root = Path(order.root)
    upsetter = Upsetter(order.upsets, lambda point: _note(trace, point))
    Files(root, upsetter, Durable(root, Path(order.memory)) if order.memory else None).install()
    watch_http(upsetter)
    sys.argv = ["runner", "-C", order.root, *order.args]
    code = command._run()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _note(trace: int, point: Point) -> None:
    os.write(trace, f"{point.nth} {point.effect}\n".encode())


def _ended(child: int, files: Sequence[IO[bytes]]) -> Any:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for file in files:
        with file:
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    trace = [(effect, int(nth)) for nth, _, effect in (line.partition(" ") for line in texts[2].splitlines())]
    return code, texts[0], texts[1], trace


if __name__ == "__main__":
    main(Path(sys.argv[1]))
