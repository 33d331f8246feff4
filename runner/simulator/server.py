"""The simulator as a server: in this process for tests and for ``type: simulator``, or as ``runner simulate``."""

from __future__ import annotations

import math
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from runner.errors import RunnerError
from runner.simulator import alaya, anthropic, bos, control, openai_files, openai_online, qianfan, wanqing
from runner.simulator.answers import NO_ANSWERS, KnownAnswers
from runner.simulator.connection import Server
from runner.simulator.engine import Engine
from runner.simulator.faults import Fault, Faults, parse_faults, read_faults
from runner.simulator.memory import Memory
from runner.simulator.web import App, Wire

POLL_SECONDS = 0.02
"""How long `stop` may take to be noticed."""


@dataclass(frozen=True)
class _Running:
    memory: Memory
    server: Server
    thread: threading.Thread


class Simulator:
    """A simulated provider that listens on ``host:port`` (0: any free port) and remembers in the folder ``data``.

    ``speed`` divides every simulated duration; ``faults`` are rules as data (see docs/simulator.md); ``answers`` is a
    file of true answers; ``clock`` returns seconds since 1970.  Raises RunnerError for what cannot be used.

    >>> with Simulator(folder) as simulator:
    ...     print(simulator.url)
    """

    def __init__(
        self,
        data: Path,
        *,
        speed: float = 1.0,
        faults: Sequence[Fault | Mapping[str, Any]] = (),
        answers: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise RunnerError(f"the simulator's speed {speed} is not a number above 0", hint="1 is the usual speed")
        self._faults = Faults(parse_faults(list(faults)))
        self._known = KnownAnswers.read(answers) if answers is not None else NO_ANSWERS
        self._data = data
        self._address = (host, port)
        self._speed = speed
        self._clock = clock
        self._running: _Running | None = None

    def start(self) -> str:
        """Open the memory and listen, in a thread of its own; returns the URL."""
        memory = Memory(self._data)
        engine = Engine(memory, self._faults, speed=self._speed, known=self._known, clock=self._clock)
        try:
            server = Server(self._address, App(_wires(engine), self._faults))
        except (OSError, OverflowError) as error:
            memory.close()
            host, port = self._address
            raise RunnerError(
                f"the simulator cannot listen: {getattr(error, 'strerror', None) or error}",
                where=f"{host}:{port}",
                hint="choose another host or port",
            ) from None
        thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="simulator", daemon=True)
        thread.start()
        self._running = _Running(memory, server, thread)
        return self.url

    def stop(self) -> None:
        """Stop listening, end every connection, close the memory.  A stopped simulator may be started again."""
        if self._running is not None:
            running, self._running = self._running, None
            running.server.close()
            running.thread.join()
            running.memory.close()

    def _started(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the simulator is not started")
        return self._running

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://{self._started().server.authority}"

    def settle(self, patience: float = 10.0) -> bool:
        """Wait until every caller so far is gone and what it asked is carried out; False if that takes too long.

        A process that was killed may have left a call behind that is still under way.
        """
        return self._started().server.settle(patience)

    def bill(self) -> dict[str, Any]:
        """What was billed so far; see :meth:`runner.simulator.memory.Memory.bill` for the shape."""
        return self._started().memory.bill()

    def __enter__(self) -> Simulator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _wires(engine: Engine) -> tuple[Wire, ...]:
    """Those of every family.  BOS has each path that no other wire has, and so comes last."""
    return (
        wanqing.wire(engine),
        openai_files.wire(engine),
        openai_online.wire(engine),
        anthropic.wire(engine),
        qianfan.wire(engine),
        *alaya.wires(engine),
        control.wire(engine),
        bos.wire(engine),
    )


def read_bill(data: Path) -> dict[str, Any]:
    """The bill in a simulator's folder, whether or not a simulator runs on it."""
    memory = Memory(data)
    try:
        return memory.bill()
    finally:
        memory.close()


def default_data(start: Path) -> Path:
    """``.runner/simulator`` of the project around ``start``, else a new temporary folder."""
    for folder in (start, *start.parents):
        if (folder / "runner.yaml").is_file():
            return folder / ".runner" / "simulator"
    return Path(tempfile.mkdtemp(prefix="runner-simulator-"))


def run(
    host: str = "127.0.0.1",
    port: int = 0,
    data: Path | None = None,
    faults_file: Path | None = None,
    speed: float = 1.0,
    answers: Path | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.  Prints ``listening on URL`` when ready, and on stderr where its memory lies.

    To be called from the main thread, since it listens to signals.
    """
    rules = read_faults(faults_file) if faults_file is not None else ()
    folder = data if data is not None else default_data(Path.cwd())
    simulator = Simulator(folder, speed=speed, faults=rules, answers=answers, host=host, port=port)
    asked_to_stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: asked_to_stop.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with simulator:
            print(f"memory in {folder}", file=sys.stderr, flush=True)
            print(f"listening on {simulator.url}", flush=True)
            asked_to_stop.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
