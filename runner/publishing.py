"""Write the outputs of batches of which nothing is on its way any more."""

from __future__ import annotations

from collections.abc import Sequence

from runner.batch import publish_key
from runner.collect import publish
from runner.edge.world import World
from runner.errors import Interrupted, RunnerError
from runner.holdings import Holdings
from runner.journal import Journal
from runner.known import Known, gather
from runner.outcome import Outcome
from runner.plan import Action, Change
from runner.resolve import Resolved, is_delivered
from runner.state import Published, State
from runner.task import Task

_GROUP = 16
"""Outputs that are recorded in one write of the state."""


class Publishing:
    """One run's outputs; what became of each goes to ``outcome``."""

    def __init__(self, world: World, journal: Journal, holdings: Holdings, outcome: Outcome) -> None:
        self._world = world
        self._journal = journal
        self._holdings = holdings
        self._outcome = outcome
        self._unwritable: set[str] = set()
        """Batches whose output could not be written in this run."""

    def run(self) -> None:
        """Raises Interrupted, with what was written recorded."""
        state = self._journal.state
        knowledge: dict[tuple[str, str | None], Known] = {}
        events: list[Published] = []
        for name, one in self._holdings:
            key = publish_key(one.batch, self._holdings.needs(state, name))
            if not self._holdings.publishable(state, name) or self._is_written(state, one, key):
                continue
            if name in self._unwritable:
                continue
            pair = (one.batch.spec.provider, one.batch.model)
            if pair not in knowledge:
                knowledge[pair] = gather(_at(state, pair), self._world.store.get)
            change = Change(name, Action.PUBLISH, "results arrived", provider=pair[0], model=pair[1])
            try:
                events.append(publish(self._world, one, knowledge[pair], key))
                self._outcome.note(change, "done", one.demand.output)
            except (RunnerError, OSError) as error:  # the other outputs are none the worse for it
                failed = error if isinstance(error, RunnerError) else _unwritable(one.demand.output, error)
                self._unwritable.add(name)
                self._outcome.errors.append(failed)
                self._outcome.note(change, "refused", failed.message)
            if len(events) >= _GROUP:
                self._record(events)
                events = []
            if self._world.stop.is_set():
                self._record(events)
                raise Interrupted
        self._record(events)

    def _is_written(self, state: State, one: Resolved, key: str) -> bool:
        known = state.batches.get(one.batch.spec.name)
        written = known.published if known else None
        return written is not None and written.key == key and is_delivered(self._world, written)

    def _record(self, events: Sequence[Published]) -> None:
        """Deliver the outputs, where they do not stay here, and only then say so."""
        outlet = self._world.outlet
        if outlet is not None and events:
            try:
                outlet.deliver({one.publication.path: self._world.root / one.publication.path for one in events})
            except RunnerError as error:
                self._outcome.errors.append(error)
                for one in events:
                    self._unwritable.add(one.batch)
                    self._outcome.note(Change(one.batch, Action.PUBLISH, ""), "refused", error.message)
                return
        self._journal.write(*events)


def _at(state: State, pair: tuple[str, str | None]) -> list[Task]:
    return [task for task in state.tasks.values() if (task.provider, task.model) == pair]


def _unwritable(path: str, error: OSError) -> RunnerError:
    return RunnerError(
        f"the output {path} cannot be written: {error.strerror or error}",
        hint="The answers are kept; mend the cause and apply again.",
    )
