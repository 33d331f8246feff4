"""Go on with tasks that make progress only while a run of ours works on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from runner.edge.world import World
from runner.provider import Worker
from runner.refresh import job_of
from runner.task import Task

LAST_WORDS = 4.0
"""Seconds that questions in flight may still take once a run ends."""
LAST_WORDS_FAR = 2.5
"""The same where the answers have to be sent away yet: GitHub gives 7.5 s between SIGINT and SIGTERM."""


def needs_us(world: World, provider: str) -> bool:
    """Whether its tasks make progress only while this run works on them."""
    return provider in world.providers and world.providers[provider].traits.needs_us


class Workers:
    """The providers of this run that need it, from the first task on that it works on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._busy: dict[str, Worker] = {}

    @property
    def names(self) -> set[str]:
        return set(self._busy)

    def work(self, tasks: Iterable[Task]) -> None:
        """Go on with open tasks, the oldest first."""
        for name, mine in self._sorted(tasks).items():
            mine.sort(key=lambda task: (task.begun_at, task.id))
            self._busy[name] = self._worker(name)
            self._busy[name].work([job_of(task) for task in mine if not task.stopped])

    def forget(self, tasks: Iterable[Task]) -> None:
        """Let them drop what they keep of tasks whose results are in the store, or that nobody wants."""
        for name, at_rest in self._sorted(tasks).items():
            self._worker(name).forget([job_of(task) for task in at_rest])

    def tempo(self) -> str:
        return "; ".join(filter(None, (worker.tempo() for worker in self._busy.values())))

    def rest(self) -> None:
        """Ask nothing more; every answer is on disk on return."""
        for worker in self._busy.values():
            worker.rest(LAST_WORDS_FAR if self._world.parks else LAST_WORDS)

    def _worker(self, name: str) -> Worker:
        return cast(Worker, self._world.providers[name])

    def _sorted(self, tasks: Iterable[Task]) -> dict[str, list[Task]]:
        """Those of the tasks that lie at such a provider, by its name."""
        found: dict[str, list[Task]] = {}
        for task in tasks:
            if needs_us(self._world, task.provider):
                found.setdefault(task.provider, []).append(task)
        return found
