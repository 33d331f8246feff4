"""The time, and waiting for it to pass."""

from __future__ import annotations

import time
from threading import Event
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""

    def sleep(self, seconds: float, wake: Event) -> None:
        """Wait, or until ``wake`` is set."""


class SystemClock:
    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float, wake: Event) -> None:
        wake.wait(seconds)
