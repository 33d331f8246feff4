"""A clock that several processes share through a file: it stands still but for those who wait."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

EPOCH = 1_700_000_000.0
"""Where it begins, in Unix seconds: long ago, so that no file looks old by it."""
CLOCK = "clock"
"""The name of its file."""
TICK = 0.001
"""Seconds that pass by looking at it, so that no two events share a moment."""

_SECONDS = struct.Struct("d")


class Timeline:
    """To be opened by each process that is to share it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_SECONDS.size))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _SECONDS.size)
        self.ahead = 0.0
        """Seconds that this process's own clock is ahead of everybody's."""

    def now(self) -> float:
        """Unix seconds, by this process's clock."""
        self.advance(TICK)
        return EPOCH + self._passed + self.ahead

    def advance(self, seconds: float) -> None:
        """Two processes at once may lose one of the steps, which is no matter."""
        self._shared[:] = _SECONDS.pack(self._passed + seconds)

    def reset(self) -> None:
        self._shared[:] = bytes(_SECONDS.size)

    @property
    def _passed(self) -> float:
        seconds: float = _SECONDS.unpack(self._shared[:])[0]
        return seconds
