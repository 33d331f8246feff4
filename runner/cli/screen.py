"""A terminal, by rich: loaded only where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich import live
from rich.console import Console, RenderableType
from rich.text import Text

from runner.progress import Picture
from runner.report.terminal_progress import picture_view


def console(stream: TextIO, *, coloured: bool) -> Console:
    """Of the sixteen colours that every terminal has, which are its owner's choice; without them no style at all."""
    return Console(
        file=stream,
        force_terminal=True,
        color_system="standard" if coloured else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def draw(stream: TextIO, view: Callable[[Console], RenderableType], *, coloured: bool) -> None:
    """Print what ``view`` makes for this console.  Commands to copy may be wider than it: the terminal folds them."""
    screen = console(stream, coloured=coloured)
    screen.print(view(screen), crop=False)


class Screen:
    """A part of the terminal that is drawn again and again."""

    def __init__(self, shown: live.Live) -> None:
        self._live = shown

    @property
    def columns(self) -> int:
        return self._live.console.width

    @property
    def rows(self) -> int:
        return self._live.console.height

    def draw(self, picture: Picture) -> None:
        self.put(picture_view(picture, self.columns, self.rows))

    def put(self, view: RenderableType) -> None:
        self._live.update(view, refresh=True)

    def say(self, text: str) -> None:
        """Above what is drawn."""
        self._live.console.print(Text(text))


@contextmanager
def moving(stream: TextIO, *, coloured: bool, leaves: bool = False) -> Iterator[Screen]:
    """``leaves``: the last picture stays.  The cursor is hidden in this block, and shown after it whatever ends it."""
    with live.Live(
        console=console(stream, coloured=coloured),
        auto_refresh=False,
        transient=not leaves,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as shown:
        yield Screen(shown)
