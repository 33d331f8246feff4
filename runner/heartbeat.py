"""Renew this run's claims while it lives, so that no other run takes its tasks for a dead one's."""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread

from runner.edge.world import World
from runner.errors import RunnerError
from runner.journal import Journal
from runner.state import Renewed

LEASE = 60.0
"""Seconds that a claim is believed without word from its holder."""


class Heartbeat:
    """A thread that renews what is claimed, for as long as the context lasts."""

    def __init__(self, world: World, journal: Journal) -> None:
        self._world = world
        self._journal = journal
        self._done = Event()
        self._thread = Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()  # a beat that is under way may still be written: it renews what it finds claimed

    def _beat(self) -> None:
        while not self._done.wait(LEASE / 3):
            state = self._journal.state
            if any(task.claim and task.claim.by == self._world.who for task in state.tasks.values()):
                with suppress(RunnerError, OSError):  # the next beat tries again
                    self._journal.write(Renewed(self._world.who, self._world.clock.now() + LEASE))
