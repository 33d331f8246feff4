"""Record that every request of a batch is in some task, so that the next plan need not look at its rows."""

from __future__ import annotations

from collections.abc import Set
from contextlib import closing

from runner.edge.world import World
from runner.errors import RunnerError
from runner.fingerprint import changes
from runner.resolve import Resolved
from runner.revision import kept_of, write
from runner.state import ON_THE_WAY, BatchState, Coverage, Covered, Event, State


def coverage_events(world: World, state: State, resolved: Resolved, made: Set[str]) -> list[Event]:
    """The event that says so, unless the state says it already.  ``made``: the tasks of this run, by id."""
    batch = resolved.batch
    before = state.batches.get(batch.spec.name, BatchState())
    coverage = Coverage(
        key=batch.key,
        fingerprint=batch.fingerprint,
        rows=resolved.demand.rows,
        requests=resolved.distinct,
        attempts=batch.spec.attempts,
        needs=tuple(sorted({*resolved.demand.needs, *made})),
        revision=_revision(world, resolved, before),
    )
    if coverage == before.covered:
        return []
    seen = {**resolved.seen, **dict.fromkeys(made, ON_THE_WAY)}
    return [Covered(batch.spec.name, coverage, seen, world.clock.now(), batch.model or "")]


def _revision(world: World, resolved: Resolved, before: BatchState) -> str:
    """The blob that says how the batch asks, with one example: to show a change later, and to ask in that way again."""
    batch, covered = resolved.batch, before.covered
    if world.project.blobs.prompts == "drop" or batch.offer is None:
        return ""
    kept = before.revisions[-1].blob if before.revisions else ""
    if kept and covered and not changes(covered.fingerprint, batch.fingerprint):
        return kept
    try:
        with closing(resolved.rendering.bodies()) as bodies:
            row, body = next(bodies)
    except (RunnerError, StopIteration):  # the input is another by now: no example is worth failing for
        return ""
    return world.store.put(write(kept_of(batch.spec, batch.offer, resolved.rendering.sources, row.number, body)))
