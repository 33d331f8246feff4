"""Calls in threads, a bounded number of them ahead of whoever takes their answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def as_they_come(
    call: Callable[[T], R], items: Iterable[T], *, at_once: int
) -> Generator[tuple[T, Future[R]], None, None]:
    """Each item with its finished call, in the order in which they finish.

    Never more than twice ``at_once`` answers wait to be taken, however slowly that goes.
    """
    rest = iter(items)
    with ThreadPoolExecutor(at_once) as pool:
        try:
            running = {pool.submit(call, item): item for item in islice(rest, 2 * at_once)}
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future
                    running |= {pool.submit(call, item): item for item in islice(rest, 1)}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
