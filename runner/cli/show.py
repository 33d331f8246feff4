"""Printing: colour only on a terminal, progress only for what takes long, everything else as plain stable lines."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable

import click

from runner.errors import InvalidDocuments, RunnerError


class Look:
    """How this run may look.  Set once, by the command line's own options."""

    colour: bool | None = None


def paint(text: str, **style: object) -> str:
    return click.style(text, **style) if _coloured(sys.stdout) else text  # type: ignore[arg-type]


def _paint_error(text: str, **style: object) -> str:
    return click.style(text, **style) if _coloured(sys.stderr) else text  # type: ignore[arg-type]


def _coloured(stream: object) -> bool:
    if Look.colour is False or os.environ.get("NO_COLOR"):
        return False
    return bool(getattr(stream, "isatty", lambda: False)())


def say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line, color=True)


def warn(text: str) -> None:
    """Something to know, on stderr, whose words may come from elsewhere."""
    from runner.report.text import plain_lines

    click.echo(_paint_error("\n".join(plain_lines(text)), fg="yellow"), err=True, color=True)


def complain(error: RunnerError) -> None:
    """An error, on stderr, without a traceback."""
    from runner.report.text import error_lines, problem_lines

    lines = error_lines(error, _paint_error)
    if isinstance(error, InvalidDocuments):
        lines = [*problem_lines(error.problems), *lines]
    for line in lines:
        click.echo(line, err=True, color=True)


class Progress:
    """Tells of work that takes more than two seconds: in one changing line on a terminal, now and then elsewhere."""

    _PATIENCE = 2.0

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._began = time.monotonic()
        self._what = ""
        self._said = 0.0
        self._open = False

    def __call__(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what = what
            self._said = 0.0 if self._terminal else self._said
        if now - self._began < self._PATIENCE or now - self._said < (0.1 if self._terminal else 10.0):
            return
        from runner.report.text import plain

        self._said = now
        amount = f"{done:,} of {total:,}" if total else f"{done:,}" if done else ""
        line = plain(f"{what} {amount}".rstrip())
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            click.echo(f"\r\x1b[2K{line[:width]}", nl=False, err=True, color=True)
            self._open = True
        else:
            click.echo(line, err=True)

    def clear(self) -> None:
        """Take the changing line away, so that others may follow."""
        if self._open:
            click.echo("\r\x1b[2K", nl=False, err=True, color=True)
            self._open = False
