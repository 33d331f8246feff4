"""Signals that ask this process to stop: the first one politely."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from types import FrameType


def _silent() -> None:
    pass


@contextmanager
def stopping(stop: Event, numbers: Sequence[int], tell: Callable[[], None] = _silent) -> Iterator[None]:
    """The first of these signals sets ``stop`` and is told of; a second one does not wait.

    Only the main thread hears of signals: elsewhere this does nothing.
    """

    def heard(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        tell()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, heard) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
