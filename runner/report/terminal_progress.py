"""Work that goes on, as a picture for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from runner.progress import Awaited, Going, Picture
from runner.report.progress import amount, expiry, left, name, pace, step_line, waiting_line
from runner.report.terminal import NARROW, bar_of

_TURNS = "|/-\\"
_BAR = 14
"""Columns of a bar."""
_WIDE = 100
"""Columns from which on every spec says when it expires; the first of all is always told."""
_MOST = 15
"""Specs that are shown at most, however high the terminal is."""


def picture_view(picture: Picture, columns: int, height: int) -> RenderableType:
    """What goes on, a line for each; of what is waited for, a line for each spec as far as there is room."""
    turn = _TURNS[int(picture.now * 4) % len(_TURNS)]
    lines = [*_work(picture)]
    parts: list[RenderableType] = [_line(f"{turn if not at else ' '} {line}") for at, line in enumerate(lines)]
    if picture.awaited:
        parts.append(_line(f"{' ' if parts else turn} {waiting_line(picture)}"))
        room = max(1, min(_MOST, height - len(parts) - 2))
        parts.append(_specs(picture, picture.awaited[:room], columns))
        if len(picture.awaited) > room:
            parts.append(_line(f"    … and {len(picture.awaited) - room:,} more specs"))
    return Group(*parts)


def _line(text: str) -> Text:
    """One line, whatever its length: what is drawn in place must not grow."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _work(picture: Picture) -> Iterator[str]:
    if picture.step is not None:
        yield step_line(picture.step)
    yield from map(step_line, picture.transfers)


def _specs(picture: Picture, shown: Sequence[Going], columns: int) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, overflow="ellipsis")
    if columns >= NARROW:
        table.add_column(width=_BAR)
    for _ in range(4):
        table.add_column(justify="right", no_wrap=True)
    for going in shown:
        if isinstance(going.what, Awaited):
            table.add_row(*_cells(going, going.what, picture.now, columns))
    return table


def _cells(going: Going, spec: Awaited, now: float, columns: int) -> Iterator[RenderableType]:
    yield Text(f"    {name(going)}")
    if columns >= NARROW:
        yield bar_of(spec.done, spec.total, _BAR)
        yield amount(going)
        yield pace(going)
    else:
        yield f"{spec.done:,}/{spec.total:,}"
    yield left(going)
    yield expiry(spec.until, now) if columns >= _WIDE else ""
