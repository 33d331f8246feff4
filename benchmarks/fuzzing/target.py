"""What is fuzzed: something that draws an input, and something that takes it and has to bear it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from random import Random

TRACEBACK = "tracebacks"
MEMORY = "over memory"
LOST = "states lost"
BELIEVED = "garbage believed"


class Broken(Exception):
    """A promise that an input broke, though nothing was raised.  ``kind``: one of the words above."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


@dataclass(frozen=True)
class Target:
    """``draw`` makes an input of chance alone.  ``run`` takes any bytes: it returns, or raises what nobody expects."""

    draw: Callable[[Random], bytes]
    run: Callable[[bytes], None]


Opener = Callable[[Path], AbstractContextManager[Target]]
"""Makes a target ready, with a folder of its own, and puts away what it needed."""
