"""The hand that tells a person of long work; what becomes of it is the command line's business."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from runner.progress import Awaited

Moved = Callable[[int, int | None], None]
"""Told how many bytes of a transfer have moved so far, and of how many, where that is known."""


class Progress(Protocol):
    """Every method may be called from any thread, and returns at once."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Work goes on: so much of it is done."""

    def transfer(self, way: str) -> AbstractContextManager[Moved]:
        """A file travels (:data:`~runner.progress.UPLOADING` or DOWNLOADING) as long as the block lasts."""

    def waiting(self, specs: Sequence[Awaited], tempo: str) -> None:
        """These are waited for.  ``tempo``: how fast what is asked one by one goes, in words; empty if nothing is."""

    def announce(self, text: str) -> None:
        """Say something at once, without tearing what is shown."""

    def clear(self) -> None:
        """Take away what is shown, so that others may print."""


class Silent:
    """Tells nobody."""

    def __call__(self, what: str, done: int, total: int | None) -> None:
        pass

    def transfer(self, way: str) -> AbstractContextManager[Moved]:  # noqa: ARG002 - Progress has it
        return nullcontext(_unheard)

    def waiting(self, specs: Sequence[Awaited], tempo: str) -> None:
        pass

    def announce(self, text: str) -> None:
        pass

    def clear(self) -> None:
        pass


def _unheard(_moved: int, _total: int | None) -> None:
    pass
