"""Results that come in several files, and whether they are all there."""

from __future__ import annotations

from collections.abc import Callable

MISCOUNT = 900.0
"""Seconds after its end for which a task's count of answers is believed against the lines that it hands over."""


class Joined:
    """Files handed on one behind the other, the last line of each closed; counts lines."""

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        self.lines = 0
        self._sink = sink
        self._is_open = False

    def __call__(self, data: bytes) -> None:
        self._sink(data)
        self.lines += data.count(b"\n")
        self._is_open = not data.endswith(b"\n")

    def close_line(self) -> None:
        if self._is_open:
            self(b"\n")


def is_fresh(ended_at: float | None, now: float) -> bool:
    """Whether a task ended so lately that lines which it lacks may still be on their way.  Unix seconds."""
    return ended_at is None or now - ended_at < MISCOUNT
