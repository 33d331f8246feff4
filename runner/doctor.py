"""Look at everything that a run needs, at no cost: nothing is submitted, nothing of the state is written.

Each check yields findings, and none hinders the others.  What a provider is asked is what :class:`Vouching` promises to
be free, and its list of models.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from runner.checkup import Finding, Status, counted
from runner.connect import Providers
from runner.doctor_machine import (
    git_findings,
    machine_findings,
    network_findings,
    package_findings,
    schema_findings,
)
from runner.doctor_plan import plan_findings
from runner.doctor_providers import provider_findings
from runner.edge.store import Conflict, Probe, Probed, Store
from runner.edge.stores import open_store
from runner.edge.world import World
from runner.errors import RunnerError
from runner.journal import Journal
from runner.load import RUNNER_YAML, find_root, load, problems
from runner.project import Project, folder_of
from runner.spec import Spec
from runner.state import State

TOLERANCE = 300.0
"""Seconds by which a clock may be wrong: what is told from the times of an interrupted start rests on it."""
NOTICEABLE = 30.0
_SHOWN = 5


@dataclass(frozen=True)
class Request:
    """``provider``: only that one, None for all of them.  ``offline``: nobody is asked."""

    provider: str | None = None
    offline: bool = False


def examine(start: Path, request: Request) -> Iterator[Finding]:
    """Everything that was found out, in the order in which a person would mend it."""
    yield from machine_findings()
    yield from network_findings()
    try:
        root = find_root(start)
    except RunnerError as error:
        yield Finding("project", Status.FAIL, error.message, do=error.hint, commands=error.commands)
        return
    found = problems(root)
    if found:
        for problem in found[:_SHOWN]:
            yield Finding("project", Status.FAIL, f"{problem.where}: {problem.message}", do=problem.hint)
        if len(found) > _SHOWN:
            more = f"and {counted(len(found) - _SHOWN, 'problem')} more"
            yield Finding("project", Status.FAIL, more, do="See all of them:", commands=("runner validate",))
        yield from git_findings(root, None)
        return
    project, specs = load(root)
    yield Finding("project", Status.OK, f"{RUNNER_YAML} and {counted(len(specs), 'spec')} are valid")
    yield from schema_findings(root)
    yield from package_findings(project, specs)
    yield from git_findings(root, project)
    yield from _with_world(root, project, specs, request)


def _with_world(root: Path, project: Project, specs: Sequence[Spec], request: Request) -> Iterator[Finding]:
    if request.provider is not None and request.provider not in project.providers:
        known = ", ".join(sorted(project.providers))
        raise RunnerError(
            f"{RUNNER_YAML} names no provider {request.provider!r}", hint=f"It names: {known}", code="provider-unknown"
        )
    chosen = [spec for spec in specs if request.provider in (None, spec.provider)]
    with ExitStack() as closing:
        try:
            store = open_store(root, project, offline=request.offline)
        except RunnerError as error:
            yield Finding.of("state", error)
            return
        providers = Providers(root, project, closing)
        world = World(root, project, store, providers)
        state = yield from state_findings(world, request)
        willing: set[str] = set()
        names = [name for name in project.providers if request.provider in (None, name)]
        for name in names:
            used = any(spec.provider == name for spec in chosen) or request.provider == name
            if (yield from provider_findings(world, name, used=used, offline=request.offline)):
                willing.add(name)
            yield from clock_findings(f"clock of {name}", providers.skew(name))
        if state is not None and (chosen or request.provider is None):
            yield from plan_findings(world, chosen, state, willing, offline=request.offline)


# ---- the state -------------------------------------------------------------------------------------------------------


def state_findings(world: World, request: Request) -> Generator[Finding, None, State | None]:
    """Whether the state can be read, and its store is fit to hold one; the state, None where it cannot be read."""
    place = world.project.state
    try:
        state = Journal(world.store, world.unique).state
    except RunnerError as error:
        yield Finding.of("state", error)
        return None
    except OSError as error:
        yield Finding("state", Status.FAIL, f"{error.filename or place}: {error.strerror or error}")
        return None
    told = f"serial {state.serial}, {counted(len(state.tasks), 'task')}" if state.lineage else "there is no state yet"
    notes = " ".join(world.store.notes)
    yield Finding("state", Status.UNKNOWN if notes else Status.OK, notes or f"{place}: {told}")
    yield from store_findings(world.store, place, request)
    return state


def store_findings(store: Store, place: str, request: Request) -> Iterator[Finding]:
    if request.offline and folder_of(place) is None:
        yield Finding("store", Status.UNKNOWN, f"{place} was not tried: --offline")
        return
    try:
        probe = store.probe() if isinstance(store, Probed) else Probe()
    except Conflict as error:
        yield Finding("store", Status.UNKNOWN, f"{place} was not to be tried just now: {error}")
        return
    except RunnerError as error:
        yield Finding.of("store", error)
        return
    except OSError as error:
        yield Finding(
            "store",
            Status.FAIL,
            f"{place} cannot be written: {error.strerror or error}",
            "Nothing can be recorded, so nothing can be asked.",
        )
        return
    if probe.told:
        yield Finding("store", Status.OK, f"{place}: {probe.told}")
    else:
        yield Finding(
            "store", Status.UNKNOWN, f"{place}: whether it compares before it swaps is tried by the first write"
        )
    yield from clock_findings("clock of the store", probe.skew)


def clock_findings(about: str, skew: float | None) -> Iterator[Finding]:
    """A clock against ours.  Nothing where none was told."""
    if skew is None:
        return
    away = abs(skew)
    if away <= NOTICEABLE:
        yield Finding(about, Status.OK, "as ours, within half a minute")
        return
    what = f"{away:,.0f} seconds {'ahead of' if skew > 0 else 'behind'} ours"
    why = f"Whether an interrupted start happened is told by times, which may be wrong by {TOLERANCE:.0f} seconds."
    status = Status.WARN if away <= TOLERANCE else Status.FAIL
    yield Finding(about, status, what, why, "Set this machine's clock.")
