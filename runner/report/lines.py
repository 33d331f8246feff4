"""Lines of a report with what a terminal may make of them; elsewhere only their text counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

GOOD, BAD, HEED, FAINT, HEAD = "good", "bad", "heed", "faint", "head"


@dataclass(frozen=True)
class Line:
    """``hang``: columns by which what does not fit is indented.  ``whole``: to be copied, and so never folded."""

    text: str
    style: str = ""
    hang: int = 0
    whole: bool = False


def command(text: str) -> Line:
    """A command to copy, on a line of its own."""
    return Line(f"    {text}", HEAD, whole=True)


def texts(lines: Iterable[Line]) -> list[str]:
    return [line.text for line in lines]
