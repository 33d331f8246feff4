"""Tell of work that takes more than two seconds: a picture on a terminal, and elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, RLock, Thread

import click

from runner.edge.progress import Moved
from runner.progress import Awaited, Going, Pace, Picture, Step, Transfer, average, summed
from runner.report.progress import picture_line

PATIENCE = 2.0
"""Seconds that work may take before anybody is told of it."""
NOW_AND_THEN = 10.0
"""Seconds between two lines where there is no terminal."""
REDRAWN = 0.25
"""Seconds between two pictures."""
_STEP_SPAN, _TRANSFER_SPAN, _WAITING_SPAN = 15.0, 10.0, 300.0
"""Seconds that a rate looks back on."""


class _Gathered:
    """What goes on at this moment, from whichever thread it is told.  Subclasses say when it is shown, and how."""

    def __init__(self) -> None:
        self._lock = RLock()  # a signal may come while it is held
        self._forget()

    def _forget(self) -> None:
        self._step: Step | None = None
        self._transfers: dict[object, Transfer] = {}
        self._awaited: tuple[Awaited, ...] = ()
        self._tempo = ""
        self._paces: dict[str, Pace] = {}
        self._flowed: dict[str, int] = {}
        """Bytes by way, of all transfers since there was none."""

    # ---- what is told ----------------------------------------------------------------------------------------------

    def __call__(self, what: str, done: int, total: int | None) -> None:
        with self._lock:
            if self._step is None or self._step.what != what:
                self._paces.pop("step", None)
            self._step = Step(what, done, total)
            self._saw("step", _STEP_SPAN, done)
        self._changed()

    @contextmanager
    def transfer(self, way: str) -> Iterator[Moved]:
        mark = object()
        before = 0

        def moved(count: int, total: int | None) -> None:
            nonlocal before
            with self._lock:
                self._transfers[mark] = Transfer(way, count, total)
                self._flowed[way] = self._flowed.get(way, 0) + max(0, count - before)
                self._saw(way, _TRANSFER_SPAN, self._flowed[way])
            before = count
            self._changed()

        try:
            yield moved
        finally:
            with self._lock:
                self._transfers.pop(mark, None)
                if not any(transfer.way == way for transfer in self._transfers.values()):
                    self._flowed.pop(way, None)
                    self._paces.pop(way, None)

    def waiting(self, specs: Sequence[Awaited], tempo: str) -> None:
        with self._lock:
            self._step, self._awaited, self._tempo = None, tuple(specs), tempo
            for spec in specs:
                self._saw(f"spec {spec.spec}", _WAITING_SPAN, spec.done)
        self._changed()

    def _saw(self, key: str, span: float, done: int) -> None:
        self._paces.setdefault(key, Pace(span)).saw(time.monotonic(), done)

    def _changed(self) -> None:
        raise NotImplementedError

    # ---- what is shown ---------------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        with self._lock:
            now = time.time()
            ways = dict.fromkeys(transfer.way for transfer in self._transfers.values())
            awaited = [Going(one, self._rate(f"spec {one.spec}") or average(one, now)) for one in self._awaited]
            return Picture(
                now,
                Going(self._step, self._rate("step")) if self._step else None,
                tuple(self._flow(way) for way in ways),
                tuple(awaited),
                self._tempo,
            )

    def _flow(self, way: str) -> Going:
        files = [transfer for transfer in self._transfers.values() if transfer.way == way]
        return Going(summed(files), self._rate(way), len(files))

    def _rate(self, key: str) -> float | None:
        pace = self._paces.get(key)
        return pace.rate if pace else None


class Plain(_Gathered):
    """A line on stderr about every ten seconds, and when work of another kind begins."""

    def __init__(self) -> None:
        super().__init__()
        self._rest()

    def _rest(self) -> None:
        self._began = time.monotonic()
        self._said = self._began
        self._phases: set[str] = set()

    def _changed(self) -> None:
        with self._lock:
            now = time.monotonic()
            phase = self._phase()
            if now - self._began < PATIENCE or (phase in self._phases and now - self._said < NOW_AND_THEN):
                return
            line = picture_line(self.picture())
            if line:
                self._phases.add(phase)
                self._said = now
                click.echo(line, err=True)

    def _phase(self) -> str:
        if self._transfers:
            return next(iter(self._transfers.values())).way
        return self._step.phase if self._step else "waiting"

    def announce(self, text: str) -> None:
        _echo(text)

    def clear(self) -> None:
        with self._lock:
            self._forget()
            self._rest()


class Live(_Gathered):
    """A picture on stderr that a thread of its own draws, and takes away again.  Only that thread writes."""

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured
        self._drawing: tuple[Thread, Event] | None = None
        self._announced: deque[str] = deque()

    def _changed(self) -> None:
        with self._lock:
            if self._drawing is None:
                over = Event()
                thread = Thread(target=self._draw, args=(over,), name="picture", daemon=True)
                self._drawing = thread, over
                thread.start()

    def _draw(self, over: Event) -> None:
        with suppress(OSError):  # a terminal that has gone away hinders no work
            for _ in range(int(PATIENCE / REDRAWN)):
                if over.wait(REDRAWN):
                    return
                self._flush(_echo)
            from runner.cli.screen import moving

            with moving(sys.stderr, coloured=self._coloured) as screen:
                while not over.wait(REDRAWN):
                    self._flush(screen.say)
                    screen.draw(self.picture())

    def _flush(self, say: Callable[[str], object]) -> None:
        while self._announced:
            say(self._announced.popleft())

    def announce(self, text: str) -> None:
        """By the thread that draws, where there is one: a signal may come while something is half written."""
        if self._drawing is None:
            _echo(text)
        else:
            self._announced.append(text)

    def clear(self) -> None:
        drawing = self._drawing
        if drawing:
            thread, over = drawing
            over.set()
            thread.join()  # which restores the cursor; should a signal come now, this is called again
            self._drawing = None
            self._flush(_echo)
        with self._lock:
            self._forget()


def _echo(text: str) -> None:
    click.echo(f"\n{text}", err=True)
