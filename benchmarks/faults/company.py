"""Theatres in processes of their own, so that schedules are played side by side."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from benchmarks.faults.schedule import Schedule
from benchmarks.faults.theatre import Story, Theatre
from benchmarks.faults.verdict import Verdict

_theatre: Theatre | None = None
"""That of this process."""


class Company:
    """Plays schedules."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def play(self, schedules: Iterable[Schedule]) -> Iterator[Story]:
        """In the order of the schedules.  What was said is kept of those that failed."""
        return self._pool.map(_play, schedules, chunksize=4)

    def replay(self, schedule: Schedule, times: int) -> Story:
        """The first failing story of so many, else the last, with all that was said."""
        for story in self._pool.map(_play_aloud, [schedule] * times):
            if story.breaches:
                break
        return story


@contextmanager
def company(jobs: int) -> Iterator[Company]:
    """So many theatres; what they leave lying is removed."""
    with (
        tempfile.TemporaryDirectory(prefix="faults-", dir=_folder()) as folder,
        ProcessPoolExecutor(jobs, get_context("spawn"), _open, (folder,)) as pool,
    ):
        yield Company(pool)


def _folder() -> Path | None:
    """In memory where that is possible: real flushes take their time, and what they are good for is played."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and os.access(memory, os.W_OK) else None


def _open(folder: str) -> None:
    global _theatre
    _theatre = Theatre(Path(folder) / str(os.getpid()))


def _play(schedule: Schedule) -> Story:
    story = _play_aloud(schedule)
    return story if story.breaches else replace(story, said=())


def _play_aloud(schedule: Schedule) -> Story:
    assert _theatre is not None
    try:
        return _theatre.play(schedule)
    except Exception:  # a schedule that cannot be played to its end is a failing one
        return Story(schedule, Verdict(), breaches=(traceback.format_exc(),))
