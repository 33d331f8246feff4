"""Printing: in colours and columns on a terminal, everywhere else as plain stable lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO

import click

from runner.errors import InvalidDocuments, RunnerError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from runner.edge.progress import Progress


EXAMPLES = 8
"""Changed prompts that a terminal shows of a plan."""


class Look:
    """How this run may look.  Set once, by the command line's own options."""

    colour: bool | None = None


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody sits there, at what obeys control sequences."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def is_coloured(stream: TextIO) -> bool:
    return Look.colour is not False and not os.environ.get("NO_COLOR") and is_terminal(stream)


def say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def show(lines: Callable[[], Iterable[str]], view: Callable[[Console], RenderableType]) -> None:
    """On a terminal the view, made for its width; elsewhere the lines."""
    if is_terminal(sys.stdout):
        from runner.cli.screen import draw

        draw(sys.stdout, view, coloured=is_coloured(sys.stdout))
    else:
        say(lines())


def warn(text: str) -> None:
    """Something to know, on stderr, whose words may come from elsewhere."""
    from runner.report.text import plain_lines

    click.echo(_paint("\n".join(plain_lines(text)), fg="magenta"), err=True, color=True)


def complain(error: RunnerError) -> None:
    """An error, on stderr, without a traceback."""
    from runner.report.text import error_lines, problem_lines

    lines = error_lines(error, _paint)
    if isinstance(error, InvalidDocuments):
        lines = [*problem_lines(error.problems), *lines]
    for line in lines:
        click.echo(line, err=True, color=True)


def paint(text: str, **style: Any) -> str:
    """A text for standard output, coloured where that is wanted."""
    return click.style(text, **style) if is_coloured(sys.stdout) else text


def _paint(text: str, **style: Any) -> str:
    return click.style(text, **style) if is_coloured(sys.stderr) else text


def progress() -> Progress:
    """Who tells of this run's long work: a picture on a terminal, a line now and then elsewhere."""
    from runner.cli.telling import Live, Plain

    return Live(coloured=is_coloured(sys.stderr)) if is_terminal(sys.stderr) else Plain()
