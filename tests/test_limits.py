"""Limits: what is lifted for once, what of a budget is used up, and what would be too much."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from builders import a_plan, a_submit, a_task

from runner.errors import RunnerError
from runner.limits import Limit, Limits, Over, Spending, began, intended, over_budget, spent
from runner.plan import Cost, Demand, Tokens, over_limits
from runner.state import State
from runner.task import ABANDONED, BEGUN, COLLECTED, OPEN, VOID, Task

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def paid(id: str = "t-1", **changes: Any) -> Task:
    values = {"begun_at": NOON, "requests": 10, "cost": 4.0, "currency": "CNY", "bound": 1_000, "phase": OPEN}
    return a_task(id, **values | changes)


# ---- lifting ---------------------------------------------------------------------------------------------------------

SET = Limits(Limit(5, 50, {"CNY": 1.0}, 0.1), Limit(requests=3), Limit(cost={"": 9.0}), Limit(tokens=7))


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        ({}, SET),
        ({"no_specs": 1, "no_rows": 1}, SET),
        ({"requests": 80}, Limits(Limit(80, 50, {"CNY": 1.0}, 0.1), SET.per_spec, SET.per_day, SET.per_month)),
        ({"repeat": 1}, Limits(Limit(5, 50, {"CNY": 1.0}, 1), SET.per_spec, SET.per_day, SET.per_month)),
        (
            {"cost": 80, "per_spec.requests": 9},
            Limits(Limit(5, 50, {"CNY": 80, "*": 80}, 0.1), Limit(requests=9), SET.per_day, SET.per_month),
        ),
        ({"per_day.cost": 90}, Limits(SET.apply, SET.per_spec, Limit(cost={"": 90}), SET.per_month)),
        ({"per_month.tokens": 8e6}, Limits(SET.apply, SET.per_spec, SET.per_day, Limit(tokens=8_000_000))),
    ],
)
def test_one_limit_is_lifted(allow: dict[str, float], expected: Limits) -> None:
    """The one that is named, and no other."""
    assert SET.lifted(allow) == expected


@pytest.mark.parametrize("name", ["", "costs", "per_day", "per_day.repeat", "apply.cost", "day.cost"])
def test_a_limit_that_there_is_not(name: str) -> None:
    """An error that lists those there are."""
    with pytest.raises(RunnerError) as caught:
        SET.lifted({name: 1})
    assert "per_month.cost" in caught.value.hint
    assert "no_rows" in caught.value.hint


# ---- what is used up -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([], Spending()),
        ([paid()], Spending(10, 1_000, {"CNY": 4.0})),
        ([paid(), paid("t-2", currency="USD", cost=1.0)], Spending(20, 2_000, {"CNY": 4.0, "USD": 1.0})),
        # What was begun is reserved; what is known not to have started is free; who knows counts.
        ([paid(phase=BEGUN)], Spending(10, 1_000, {"CNY": 4.0})),
        ([paid(phase=VOID)], Spending()),
        ([paid(phase=ABANDONED)], Spending(10, 1_000, {"CNY": 4.0})),
        # Answers say what they came to, where the provider counts tokens and the price is known.
        ([paid(phase=COLLECTED, tokens=(100, 50), price=(0.01, 0.02))], Spending(10, 150, {"CNY": 0.002})),
        ([paid(phase=COLLECTED, tokens=(100, 50))], Spending(10, 150, {"CNY": 4.0})),
        ([paid(phase=COLLECTED, price=(0.01, 0.02))], Spending(10, 1_000, {"CNY": 4.0})),
        # A price that nobody knew.
        ([paid(cost=None, currency="", bound=None)], Spending(10, 0, {})),
    ],
)
def test_what_tasks_cost(tasks: list[Task], expected: Spending) -> None:
    """Estimates until the answers are here, then what they came to."""
    found = spent(tasks)
    assert (found.requests, found.tokens) == (expected.requests, expected.tokens)
    assert found.cost == pytest.approx(expected.cost)


@pytest.mark.parametrize(
    ("period", "now", "expected"),
    [
        ("per_day", "2026-03-14T12:34:56", "2026-03-14T00:00:00"),
        ("per_day", "2026-03-14T00:00:00", "2026-03-14T00:00:00"),
        ("per_month", "2026-03-14T12:34:56", "2026-03-01T00:00:00"),
        ("per_month", "2028-02-29T23:59:59", "2028-02-01T00:00:00"),
    ],
)
def test_a_period_begins(period: str, now: str, expected: str) -> None:
    """Days and months of the calendar, in UTC wherever the run is."""
    begun, expected_at = began(period, _at(now)), _at(expected)
    assert begun == expected_at


def _at(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


DAILY = Limits(per_day=Limit(cost={"": 10.0}))
MONTHLY = Limits(per_month=Limit(requests=30))


@pytest.mark.parametrize(
    ("limits", "tasks", "more", "expected"),
    [
        (Limits(), [paid(cost=1e6)], Spending(1, 1, {"CNY": 1e6}), []),
        (DAILY, [paid()], Spending(1, 1, {"CNY": 6.0}), []),
        (DAILY, [paid()], Spending(1, 1, {"CNY": 6.1}), [Over("per_day.cost", 10.0, 10.1, "CNY")]),
        (DAILY, [paid(begun_at=NOON - DAY)], Spending(1, 1, {"CNY": 6.1}), []),
        (DAILY, [paid(phase=VOID)], Spending(1, 1, {"CNY": 6.1}), []),
        (DAILY, [], Spending(1, 1, None), [Over("per_day.cost", 10.0, None)]),
        (DAILY, [paid(currency="USD")], Spending(1, 1, {"CNY": 1.0}), [Over("per_day.cost", 10.0, None)]),
        (MONTHLY, [paid(begun_at=NOON - DAY), paid("t-2")], Spending(10, 1, {}), []),
        (
            MONTHLY,
            [paid(begun_at=NOON - DAY), paid("t-2")],
            Spending(11, 1, {}),
            [Over("per_month.requests", 30, 31)],
        ),
        (MONTHLY, [paid(begun_at=NOON - 20 * DAY, requests=30)], Spending(11, 1, {}), []),
    ],
)
def test_over_a_budget(limits: Limits, tasks: list[Task], more: Spending, expected: list[Over]) -> None:
    """What was begun in the period, and what is about to be, together; the limit itself is within."""
    assert over_budget(limits, tasks, more, NOON) == expected


def test_what_is_about_to_begin() -> None:
    """One task of which the cost is unknown makes the sum unknown."""
    assert intended([paid(), paid("t-2")]) == Spending(20, 2_000, {"CNY": 8.0})
    assert intended([paid(), paid("t-2", cost=None, bound=None)]) == Spending(20, None, None)


# ---- a plan ----------------------------------------------------------------------------------------------------------


def demand(spec: str, *, submit: int, repeats: int = 0, answered: int = 0) -> Demand:
    return Demand(spec, "demo", "m", max(submit, answered), submit, repeats=repeats, answered=answered)


@pytest.mark.parametrize(
    ("demands", "repeat", "expected"),
    [
        ([demand("a", submit=10)], 0.0, []),
        ([demand("a", submit=10, repeats=10, answered=10)], 1.0, []),
        ([demand("a", submit=10, repeats=10, answered=10)], 0.5, [Over("repeat", 0.5, 1.0)]),
        # Nine in ten of all answers stand.
        ([demand("a", submit=10, repeats=10, answered=10), demand("b", submit=0, answered=90)], 0.1, []),
        (
            [demand("a", submit=10, repeats=10, answered=10), demand("b", submit=0, answered=80)],
            0.1,
            [Over("repeat", 0.1, 0.1111)],
        ),
        # Rows that are new repeat nothing.
        ([demand("a", submit=10, repeats=1, answered=10)], 0.1, []),
    ],
)
def test_answered_work_that_is_asked_again(demands: list[Demand], repeat: float, expected: list[Over]) -> None:
    """A share of everything that has an answer, in the specs that the plan is about."""
    plan = a_plan([a_submit(one.spec, requests=one.submit) for one in demands if one.submit])
    assert over_limits(plan, demands, State(), Limits(Limit(repeat=repeat)), NOON) == tuple(expected)


def test_a_plan_is_held_against_the_budget() -> None:
    """What it would submit comes on top of what the state says was begun today; nothing to submit is within any."""
    state = State("L", tasks={"t-1": paid()})
    plan = a_plan([a_submit("a", cost=Cost(7.0, "CNY"), tokens=Tokens(1, 1))])
    assert over_limits(plan, [], state, DAILY, NOON) == (Over("per_day.cost", 10.0, 11.0, "CNY"),)
    assert over_limits(plan, [], state, DAILY, NOON + DAY) == ()
    spent_up = State("L", tasks={"t-1": paid(cost=99.0)})
    assert over_limits(a_plan([]), [], spent_up, DAILY, NOON) == ()
