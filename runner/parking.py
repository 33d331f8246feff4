"""Questions that this machine asks one by one, for a state that other machines share.

Their queue and its answers lie on this machine, which may not be there any more tomorrow.  So a run that asks holds a
claim on the task as long as it lives, and every few minutes puts what was answered since beside the state.  Another
machine that finds such a task without a living claim takes what lies there for its results: what has no answer then
counts as lost, and is asked again in a task of its own.  A run that ends, by a signal too, leaves nothing behind but
what it was just being answered; one that is killed, what came in since the last time.

Where the state is a folder, its queues lie beside it, and none of this is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runner.edge.files import Spooled
from runner.edge.world import World
from runner.errors import ProviderError
from runner.heartbeat import LEASE
from runner.journal import Journal, Overtaken
from runner.refresh import is_claimed, job_of
from runner.state import Claimed, Event, Parked, Renewed, State
from runner.task import Task
from runner.workers import needs_us

EVERY = 300.0
"""Seconds between two times that answers are put where others find them."""


class Parking:
    """What this run asks.  Does nothing where the state lies in a folder."""

    def __init__(self, world: World, journal: Journal) -> None:
        self._world = world
        self._journal = journal
        self._parked_at = world.clock.now()

    def ours(self, tasks: Sequence[Task]) -> list[Task]:
        """Those of the tasks that this run may go on with; no other does from here on, as long as this one lives."""
        if not self._world.parks:
            return list(tasks)
        free = [task for task in tasks if not is_claimed(self._world, task)]
        fresh = [task.id for task in free if needs_us(self._world, task.provider) and not self._is_held(task)]
        if fresh and not self._claim(fresh):
            free = [task for task in free if task.id not in fresh]  # the next round finds out which are free
        return free

    def _claim(self, ids: Sequence[str]) -> bool:
        def guard(state: State) -> str:
            taken = [id for id in ids if id in state.tasks and is_claimed(self._world, state.tasks[id])]
            return f"another run works on {', '.join(taken)}" if taken else ""

        try:
            self._journal.write(claim(self._world, ids), guard=guard)
        except Overtaken:
            return False
        return True

    def park(self) -> None:
        """Put answers where others find them, every few minutes."""
        if self._world.parks and self._world.clock.now() - self._parked_at >= EVERY:
            self._parked_at = self._world.clock.now()
            self._journal.write(*self._parts())

    def last_words(self) -> list[Event]:
        """What puts all answers there, and lets others go on: one write, since who is asked to stop has few seconds."""
        if not self._world.parks or not self._held():
            return []
        return [*self._parts(), Renewed(self._world.who, 0.0)]

    def _held(self) -> list[Task]:
        return [task for task in self._journal.state.tasks.values() if self._is_held(task)]

    def _parts(self) -> list[Event]:
        """What each task was answered since the last time, those among them that have ended and are not home yet."""
        return [part for task in self._held() if (part := self._part(task)) is not None]

    def _part(self, task: Task) -> Parked | None:
        rest = _Rest(self._world.store.spool(), task.parked_bytes)
        try:
            self._world.providers[task.provider].results(job_of(task), rest.write)
            if rest.seen <= task.parked_bytes:
                return None
            return Parked(task.id, self._world.store.adopt(rest.spooled), rest.seen)
        except ProviderError:
            return None  # its queue is not here any more: there is nothing to be put anywhere
        finally:
            rest.spooled.drop()

    def _is_held(self, task: Task) -> bool:
        return task.claim is not None and task.claim.by == self._world.who and needs_us(self._world, task.provider)


class _Rest:
    """Keeps what comes after the first ``skip`` bytes."""

    def __init__(self, spooled: Spooled, skip: int) -> None:
        self.spooled = spooled
        self.seen = 0
        self._skip = skip

    def write(self, data: bytes) -> None:
        self.spooled.write(data[max(0, self._skip - self.seen) :])
        self.seen += len(data)


def claim(world: World, ids: Iterable[str]) -> Claimed:
    """The event that this run works on open tasks."""
    return Claimed(tuple(ids), world.who, world.clock.now() + LEASE)
