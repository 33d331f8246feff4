"""`runner status`: what the state knows, once or as it changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from runner.chains import waits_for
from runner.cli import show
from runner.edge.world import World
from runner.journal import Journal
from runner.report.status import status_json, status_lines
from runner.report.text import json_line
from runner.spec import Spec

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

LOOKS = 2.0
"""Seconds between two looks at the state, which may be far away."""


def show_status(world: World, journal: Journal, specs: Sequence[Spec], *, as_json: bool) -> None:
    """Once."""
    names, waits = _names(specs), waits_for(specs, journal.state)

    def view(screen: Console) -> RenderableType:
        from runner.report.terminal import status_view

        return status_view(journal.state, names, world.clock.now(), screen.width, waits=waits)

    if as_json:
        click.echo(json_line(status_json(journal.state, names, waits)))
    else:
        show.show(lambda: status_lines(journal.state, names, world.clock.now(), waits), view)


def watch_status(world: World, journal: Journal, specs: Sequence[Spec], *, as_json: bool) -> None:
    """Until somebody stops it: in place on a terminal, elsewhere anew whenever something has changed."""
    if show.is_terminal(sys.stdout) and not as_json:
        _redraw(world, journal, specs)
    shown: Any = None
    while True:
        found = status_json(journal.state, _names(specs), waits_for(specs, journal.state))
        if found != shown:
            if shown is not None and not as_json:
                show.say([""])
            show_status(world, journal, specs, as_json=as_json)
            sys.stdout.flush()
            shown = found
        _look(journal)


def _redraw(world: World, journal: Journal, specs: Sequence[Spec]) -> None:
    from runner.cli.screen import moving
    from runner.report.terminal import status_view

    with moving(sys.stdout, coloured=show.is_coloured(sys.stdout), leaves=True) as screen:
        while True:
            state, waits = journal.state, waits_for(specs, journal.state)
            now, rows = world.clock.now(), screen.rows
            screen.put(status_view(state, _names(specs), now, screen.columns, most=rows, waits=waits))
            _look(journal)


def _names(specs: Sequence[Spec]) -> list[str]:
    return [spec.name for spec in specs]


def _look(journal: Journal) -> None:
    time.sleep(LOOKS)
    journal.refresh()
