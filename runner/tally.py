"""Rows by outcome, as far as tasks tell."""

from __future__ import annotations

from collections.abc import Sequence

from runner.result import Counts
from runner.task import COLLECTED, Task


def estimate_counts(tasks: Sequence[Task], rows: int) -> Counts:
    """Rows by outcome as far as the tasks tell, before the rows themselves have been looked at."""
    answered = min(rows, sum(task.counts[0] for task in tasks if task.phase == COLLECTED))
    pending = min(rows - answered, sum(task.requests for task in tasks if task.on_its_way))
    left = rows - answered - pending
    failed = min(left, sum(task.counts[1] for task in tasks if task.phase == COLLECTED))
    missing = min(left - failed, sum(task.counts[2] for task in tasks if task.phase == COLLECTED))
    return Counts(answered, failed, missing, rows - answered - failed - missing)
