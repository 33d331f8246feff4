"""Rows by outcome, as far as tasks tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runner.progress import Awaited
from runner.result import Counts
from runner.task import COLLECTED, LATEST, OPEN, Task


def estimate_counts(tasks: Sequence[Task], rows: int) -> Counts:
    """Rows by outcome as far as the tasks tell, before the rows themselves have been looked at."""
    answered = min(rows, sum(task.counts[0] for task in tasks if task.phase == COLLECTED))
    pending = min(rows - answered, sum(task.requests for task in tasks if task.on_its_way))
    left = rows - answered - pending
    failed = min(left, sum(task.counts[1] for task in tasks if task.phase == COLLECTED))
    missing = min(left - failed, sum(task.counts[2] for task in tasks if task.phase == COLLECTED))
    return Counts(answered, failed, missing, rows - answered - failed - missing)


def told_done(task: Task) -> int | None:
    """Requests that came to something, as the provider counted them when it was last asked; None: it did not say."""
    _, succeeded, failed = task.progress
    return None if succeeded is None and failed is None else (succeeded or 0) + (failed or 0)


def until(task: Task) -> float:
    """When a task has had the time that its provider was given (Unix seconds)."""
    return min(LATEST, (task.started_at or task.begun_at) + max(0, min(task.max_wait, int(LATEST))))


def awaited(tasks: Iterable[Task], heard: Mapping[str, int]) -> list[Awaited]:
    """Batches of which a task is open, by name; what has ended of them counts as done.

    ``heard``: requests done by task, where more was heard than the tasks say.
    """
    by_batch: dict[str, list[Task]] = {}
    for task in tasks:
        by_batch.setdefault(task.batch, []).append(task)
    return [
        _awaited(name, mine, heard)
        for name, mine in sorted(by_batch.items())
        if any(task.phase == OPEN for task in mine)
    ]


def _awaited(name: str, tasks: Sequence[Task], heard: Mapping[str, int]) -> Awaited:
    moving = [task for task in tasks if task.phase == OPEN]
    done = sum(
        min(task.requests, max(told_done(task) or 0, heard.get(task.id, 0))) if task.phase == OPEN else task.requests
        for task in tasks
    )
    return Awaited(
        name,
        tasks=len(moving),
        done=done,
        total=sum(task.requests for task in tasks),
        since=min(task.started_at or task.begun_at for task in tasks),
        until=min(map(until, moving)),
    )
