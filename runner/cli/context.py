"""What commands share: where the project is, and opening it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli import show
from runner.errors import RunnerError

if TYPE_CHECKING:
    from runner.edge.world import World
    from runner.journal import Journal
    from runner.spec import Spec


@dataclass(frozen=True)
class Context:
    """What the options before the command say."""

    start: Path


pass_context = click.make_pass_decorator(Context)


@contextmanager
def open_world(context: Context, *, offline: bool = False) -> Iterator[tuple[World, list[Spec]]]:
    """The project that the options point at; what it opens is closed again.  Raises RunnerError.

    ``offline``: a state that is out of reach may be taken as it was last read.
    """
    from runner.connect import connect
    from runner.load import find_root, load
    from runner.sandbox import rationed

    root = find_root(context.start)
    with rationed(), ExitStack() as closing:
        project, specs = load(root)
        progress = show.progress()
        world = connect(root, project, closing, offline=offline, progress=progress)
        try:
            yield world, specs
        finally:
            progress.clear()


@contextmanager
def open_project(context: Context, *, offline: bool = False) -> Iterator[tuple[World, list[Spec], Journal]]:
    """As `open_world`, with the state read."""
    from runner.journal import Journal

    with open_world(context, offline=offline) as (world, specs):
        yield world, specs, Journal(world.store, world.unique)


def tidy(world: World) -> None:
    """Take what is shown of work under way off the terminal."""
    world.progress.clear()


def one_spec(specs: list[Spec], name: str) -> Spec:
    """The one spec that ``name`` (a glob) fits.  Raises RunnerError."""
    from runner.workflow import select

    found = select(specs, [name])
    if len(found) != 1:
        raise RunnerError(
            f"{name!r} names {len(found)} specs; one is wanted",
            hint=", ".join(spec.name for spec in found),
            code="spec-unknown",
        )
    return found[0]


def names_like(specs: list[Spec], journal: Journal, pattern: str) -> list[str]:
    """Names of specs, and of batches whose spec is gone, that fit a glob."""
    from fnmatch import fnmatchcase

    known = {spec.name for spec in specs} | set(journal.state.batches) | {t.batch for t in journal.state.tasks.values()}
    found = sorted(name for name in known if fnmatchcase(name, pattern))
    if not found:
        raise RunnerError(
            f"no spec is named {pattern!r}", hint=f"The specs are: {', '.join(sorted(known)[:20])}", code="spec-unknown"
        )
    return found
