"""Write the outputs of batches of which nothing is on its way any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from runner.batch import publish_key
from runner.checking import Checker
from runner.edge.outputs import write_output
from runner.edge.paths import inside
from runner.edge.world import World
from runner.errors import Interrupted, RunnerError
from runner.failures import Failures
from runner.holdings import Holdings
from runner.joining import Line, Tally, lines
from runner.journal import Journal
from runner.known import Known
from runner.outcome import Outcome
from runner.plan import Action, Change
from runner.resolve import Knowledge, Resolved, is_delivered
from runner.spec import Spec
from runner.state import Publication, Published, State

_GROUP = 16
"""Outputs that are recorded in one write of the state."""


def publish(world: World, resolved: Resolved, known: Known, key: str, failures: Failures) -> Published:
    """Write a batch's output whole, one line per row and sample in input order; ``failures`` are told of every one
    without an answer.  Raises OSError, RunnerError.
    """
    spec = resolved.batch.spec
    tally, checker = Tally(), Checker(spec)
    path = inside(world.grounds, spec.output.path)
    found = checker.watch(lines(world, resolved, known, tally=tally))
    sha = write_output(path, _output_lines(world, spec, found, failures))
    at, to = world.clock.now(), world.project.outputs
    return Published(spec.name, Publication(key, spec.output.path, sha, tally.counts(), at, to, checker.results()))


def _output_lines(world: World, spec: Spec, found: Iterator[Line], failures: Failures) -> Iterator[dict[str, Any]]:
    include_input = "input" in spec.output.include
    for count, line in enumerate(found):
        if not count & 0xFFF:
            world.progress(f"writing {spec.output.path}", count, None)
        if error := line.output["error"]:
            failures.add(error["code"], error["message"], line.output["key"])
        yield {**line.output, "input": line.row.values} if include_input else line.output


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
        knowledge = Knowledge(self._world, state)
        events: list[Published] = []
        for name, one in self._holdings:
            key = publish_key(one.batch, self._holdings.needs(state, name))
            if not self._holdings.publishable(state, name) or self._is_written(state, one, key):
                continue
            if name in self._unwritable:
                continue
            spec, model = one.batch.spec, one.batch.model
            known = knowledge.of(one.batch)
            change = Change(name, Action.PUBLISH, "results arrived", provider=spec.provider, model=model)
            try:
                failures = self._outcome.failures[name] = Failures()
                events.append(publish(self._world, one, known, key, failures))
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


def _unwritable(path: str, error: OSError) -> RunnerError:
    return RunnerError(
        f"the output {path} cannot be written: {error.strerror or error}",
        hint="The answers are kept; mend the cause and apply again.",
        code="disk-refused",
    )
