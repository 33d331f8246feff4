"""Rows by outcome, as far as tasks tell: always as many as there are."""

from __future__ import annotations

import pytest
from builders import a_task
from hypothesis import given
from hypothesis import strategies as st

from runner.result import Counts
from runner.tally import estimate_counts
from runner.task import ABANDONED, COLLECTED, ENDED, OPEN, PHASES, VOID, Task

DONE = a_task("t-1", phase=COLLECTED, requests=10, counts=(6, 3, 1))
RUNNING = a_task("t-2", phase=OPEN, requests=4)


@pytest.mark.parametrize(
    ("tasks", "rows", "expected"),
    [
        ([], 0, Counts()),
        ([], 5, Counts(pending=5)),
        ([DONE], 10, Counts(6, 3, 1)),
        ([RUNNING], 4, Counts(pending=4)),
        ([DONE, RUNNING], 14, Counts(6, 3, 1, 4)),
        # A retry of what failed is on its way: those rows have not failed yet.
        ([DONE, RUNNING], 10, Counts(6, 0, 0, 4)),
        ([DONE, a_task("t-2", phase=ENDED, requests=2)], 10, Counts(6, 2, 0, 2)),
        # Requests of other batches are in the same task.
        ([DONE], 4, Counts(4)),
        # Rows that are not in any task yet.
        ([DONE], 20, Counts(6, 3, 1, 10)),
        ([a_task(phase=VOID), a_task("t-2", phase=ABANDONED)], 3, Counts(pending=3)),
    ],
)
def test_estimate(tasks: list[Task], rows: int, expected: Counts) -> None:
    """Answers first, then what is on its way, then failures, then what is missing; the rest is still to come."""
    assert estimate_counts(tasks, rows) == expected


A_TASK = st.builds(
    lambda phase, counts, requests: a_task(phase=phase, counts=counts, requests=requests),
    st.sampled_from(sorted(PHASES)),
    st.tuples(*[st.integers(0, 9)] * 3),
    st.integers(0, 27),
)


@given(st.lists(A_TASK, max_size=5), st.integers(0, 99))
def test_the_four_add_up(tasks: list[Task], rows: int) -> None:
    """Whatever the tasks say, no row is lost, none is invented, and none is counted below zero."""
    counts = estimate_counts(tasks, rows)
    assert counts.total == rows
    assert min(counts.succeeded, counts.failed, counts.missing, counts.pending) >= 0
