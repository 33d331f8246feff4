"""Record that every request of a batch is in some task, so that the next plan need not look at its rows."""

from __future__ import annotations

from collections.abc import Set
from contextlib import closing

from runner.edge.world import World
from runner.errors import RunnerError
from runner.fingerprint import canonical
from runner.resolve import Resolved
from runner.state import ON_THE_WAY, Coverage, Covered, Event, State


def coverage_events(world: World, state: State, resolved: Resolved, made: Set[str]) -> list[Event]:
    """The event that says so, unless the state says it already.  ``made``: the tasks of this run, by id."""
    batch = resolved.batch
    before = state.batches.get(batch.spec.name)
    covered = before.covered if before else None
    coverage = Coverage(
        key=batch.key,
        fingerprint=batch.fingerprint,
        rows=resolved.demand.rows,
        requests=resolved.distinct,
        attempts=batch.spec.attempts,
        needs=tuple(sorted({*resolved.demand.needs, *made})),
        revision=_revision(world, resolved, covered),
    )
    if coverage == covered:
        return []
    return [Covered(batch.spec.name, coverage, {**resolved.seen, **dict.fromkeys(made, ON_THE_WAY)})]


def _revision(world: World, resolved: Resolved, covered: Coverage | None) -> str:
    """The blob that shows what was asked: the templates and one example, so that a change can be shown later."""
    parts = ("prompt", "vars", "parameters", "model")
    new = resolved.batch.fingerprint
    if world.project.blobs.prompts == "drop":
        return ""
    if covered and covered.revision and all(covered.fingerprint.get(part) == new.get(part) for part in parts):
        return covered.revision
    try:
        with closing(resolved.rendering.bodies()) as bodies:
            row, body = next(bodies)
    except (RunnerError, StopIteration):  # the input is another by now: no example is worth failing for
        return ""
    return world.store.put(
        canonical({"templates": dict(resolved.rendering.sources), "row": row.number, "example": body})
    )
