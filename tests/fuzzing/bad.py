"""Targets that break a promise each, so that it is known that a broken promise is seen."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.fuzzing.target import BELIEVED, LOST, Broken, Target


def is_bad(data: bytes) -> bool:
    return data[0] % 3 == 0


def _at_bad_ones(step: Callable[[], object]) -> Target:
    def run(data: bytes) -> None:
        if is_bad(data):
            step()

    return Target(lambda rng: rng.randbytes(2), run)


@contextmanager
def raises(_folder: Path) -> Iterator[Target]:
    yield _at_bad_ones(lambda: {}["nothing"])


@contextmanager
def hangs(_folder: Path) -> Iterator[Target]:
    yield _at_bad_ones(lambda: time.sleep(60))


@contextmanager
def crashes(_folder: Path) -> Iterator[Target]:
    yield _at_bad_ones(lambda: os.kill(os.getpid(), signal.SIGSEGV))


@contextmanager
def swells(_folder: Path) -> Iterator[Target]:
    yield _at_bad_ones(lambda: bytearray(2**32))


def _break(kind: str) -> None:
    raise Broken(kind, "as was to be shown")


@contextmanager
def loses(_folder: Path) -> Iterator[Target]:
    yield _at_bad_ones(lambda: _break(LOST))


@contextmanager
def believes(_folder: Path) -> Iterator[Target]:
    yield _at_bad_ones(lambda: _break(BELIEVED))
