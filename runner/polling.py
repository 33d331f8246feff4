"""When a provider may politely be asked again: soon after a task began, and more and more rarely as it ages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runner.provider import Traits
from runner.state import Checked, Event
from runner.task import Task

NOBODY = 1.0
"""Seconds to wait where there is nobody to ask, such as for another run to go on."""


class Polling:
    """Remembers when each provider was last asked.  Times in Unix seconds."""

    def __init__(self) -> None:
        self._looked: dict[str, float] = {}
        self._not_before: dict[str, float] = {}

    def due(self, waiting: Iterable[Task], traits: Mapping[str, Traits], now: float) -> set[str]:
        """Providers with tasks among ``waiting`` that may be asked now; they count as asked from here on."""
        found = {name for name, when in self._next(waiting, traits, now).items() if when <= now + 0.01}
        self._looked |= dict.fromkeys(found, now)
        return found

    def pause(self, waiting: Iterable[Task], traits: Mapping[str, Traits], now: float) -> float:
        """Seconds until the first of them may be asked again."""
        return min((when - now for when in self._next(waiting, traits, now).values()), default=NOBODY)

    def obey(self, events: Iterable[Event], tasks: Mapping[str, Task], now: float) -> None:
        """Some providers say when they want to be asked again."""
        for event in events:
            if isinstance(event, Checked) and event.progress.look_again:
                self._not_before[tasks[event.task].provider] = now + event.progress.look_again

    def _next(self, waiting: Iterable[Task], traits: Mapping[str, Traits], now: float) -> dict[str, float]:
        by_provider: dict[str, list[Task]] = {}
        for task in waiting:
            if task.provider in traits:
                by_provider.setdefault(task.provider, []).append(task)
        return {
            name: max(
                self._looked.setdefault(name, now) + politely(tasks, traits[name], now),
                self._not_before.get(name, 0.0),
            )
            for name, tasks in by_provider.items()
        }


class Sparingly:
    """Lets what is told often through once in so many seconds.  To be asked only when there is something to tell."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = -seconds

    def is_due(self, now: float) -> bool:
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


def politely(tasks: Sequence[Task], traits: Traits, now: float) -> float:
    """Seconds between two looks at these tasks, by the age of the youngest."""
    age = min(now - (task.started_at or task.begun_at) for task in tasks)
    return min(traits.poll, max(traits.poll_young, age / 4))
