"""When a provider is asked again: soon at first, never sooner than is polite, and as it wishes."""

from __future__ import annotations

from builders import a_task

from runner.polling import NOBODY, Polling, Sparingly, politely
from runner.provider import Phase, Progress, ShardLimits, Traits
from runner.state import Checked
from runner.task import OPEN, Task

TRAITS = Traits(cancels=True, finds=True, grace=1, poll=60, shard=ShardLimits(1, 1), poll_young=1)
STRICT = Traits(cancels=True, finds=True, grace=1, poll=60, shard=ShardLimits(1, 1), poll_young=60)


def opened(id: str = "t-1", started_at: float = 1_000.0, **changes: object) -> Task:
    return a_task(id, phase=OPEN, started_at=started_at, **changes)


def test_the_pause_grows_with_age() -> None:
    """From the least to the most that is polite, by the youngest task."""
    tasks = [opened()]
    assert [politely(tasks, TRAITS, 1_000 + age) for age in (0, 2, 20, 400)] == [1, 1, 5, 60]
    assert politely([*tasks, opened("t-2", 1_390.0)], TRAITS, 1_400) == 2.5
    assert politely(tasks, STRICT, 1_001) == 60


def test_a_provider_is_due_once_its_pause_is_over() -> None:
    """The first look counts from when its tasks were first seen."""
    polling, tasks, traits = Polling(), [opened()], {"demo": TRAITS}
    assert polling.due(tasks, traits, 1_000) == set()
    assert polling.pause(tasks, traits, 1_000) == 1
    assert polling.due(tasks, traits, 1_001) == {"demo"}
    assert polling.due(tasks, traits, 1_001.5) == set()
    assert polling.due(tasks, traits, 1_400) == {"demo"}
    assert polling.pause(tasks, traits, 1_410) == 50


def test_providers_do_not_hurry_each_other() -> None:
    """One that may be asked every second does not make another be asked as often."""
    polling = Polling()
    tasks = [opened(), opened("t-2", provider="other")]
    traits = {"demo": TRAITS, "other": STRICT}
    polling.due(tasks, traits, 1_000)
    assert polling.due(tasks, traits, 1_002) == {"demo"}


def test_a_provider_may_say_when() -> None:
    """`retry-after` on an answer that is good puts the next look off (F35)."""
    polling, task, traits = Polling(), opened(), {"demo": TRAITS}
    polling.due([task], traits, 1_000)
    polling.obey([Checked("t-1", Progress(Phase.RUNNING, look_again=30), 1_001)], {"t-1": task}, 1_001)
    assert polling.due([task], traits, 1_020) == set()
    assert polling.due([task], traits, 1_040) == {"demo"}


def test_nobody_to_ask() -> None:
    """Then something else ends the waiting."""
    assert Polling().pause([], {}, 0) == NOBODY
    assert Polling().due([opened(provider="gone")], {}, 0) == set()


def test_what_is_told_sparingly() -> None:
    """At once the first time, then once in so many seconds."""
    told = Sparingly(10)
    assert [told.is_due(now) for now in (1_000, 1_001, 1_009.9, 1_010, 1_011)] == [True, False, False, True, False]
