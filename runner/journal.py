"""Write events into the state, against whoever else writes: fold, compare and swap, and on a conflict fold again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from threading import RLock

from runner.edge.store import Conflict, Store
from runner.errors import StateConflict
from runner.state import Event, State, dump, fold, forbids, load

_TRIES = 50


class Overtaken(StateConflict):
    """Another run did what these events meant to do; the state as it now stands is in the journal."""


Guard = Callable[[State], str]
"""Given the state as it now stands: why our events no longer hold, or ""."""


def _no_guard(_state: State) -> str:
    return ""


def _back_off(attempt: int) -> None:
    """Let the other writer go first, for a moment that neither can foresee."""
    time.sleep(random.uniform(0, min(0.01 * 2**attempt, 0.5)))  # noqa: S311 - no secret is made of it


class Journal:
    """The state as this run knows it, and the only hand that writes it.  Safe to use from several threads."""

    def __init__(self, store: Store, unique: Callable[[], str], back_off: Callable[[int], None] = _back_off) -> None:
        self._store = store
        self._unique = unique
        self._back_off = back_off
        self._lock = RLock()
        self.refresh()

    def refresh(self) -> State:
        """Read the document again; returns the state."""
        with self._lock:
            document = self._store.read()
            state = State() if document is None else load(document)
            self._document, self.state = document, state  # together: what cannot be read must not be swapped away
            return self.state

    def write(self, *events: Event, guard: Guard = _no_guard) -> State:
        """Fold the events in and make the result durable.

        Raises Overtaken when what another run wrote forbids one of the events, StateConflict when the document changes
        faster than we can write.
        """
        if not events:
            return self.state
        with self._lock:
            lineage = self.state.lineage
            for attempt in range(_TRIES):
                if lineage not in (None, self.state.lineage):
                    raise StateConflict("the state was replaced by another one while this run was working on it")
                reason = guard(self.state) or next(filter(None, (forbids(self.state, event) for event in events)), "")
                if reason:
                    raise Overtaken(reason, hint="Run the same command again: it goes on from the state as it is now.")
                if self._swap(events):
                    return self.state
                self._back_off(attempt)
        raise StateConflict(
            f"the state kept changing: {_TRIES} writes in a row met another run's",
            hint="Run the same command again; nothing was lost.",
        )

    def _swap(self, events: tuple[Event, ...]) -> bool:
        after = self.state
        for event in events:
            after = fold(after, event)
        lineage = after.lineage or self._unique()
        after = replace(after, lineage=lineage, serial=after.serial + 1, writer=self._unique())
        document = dump(after)
        try:
            self._store.swap(self._document, document)
        except Conflict:
            # A write that reports a conflict may have succeeded, its reply lost: then the document is the one we wrote.
            found = self.refresh()
            return (found.writer, found.serial) == (after.writer, after.serial)
        self._document, self.state = document, after
        return True
