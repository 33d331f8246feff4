"""A plan: every action with its reason, in order; what its digest covers; and what is over a limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from builders import a_plan, a_submit, a_task

from runner.limits import Limit, Limits, Over
from runner.model import Price
from runner.plan import (
    Action,
    Change,
    Cost,
    Demand,
    Facts,
    Plan,
    Tokens,
    Unsettled,
    cost_of,
    gave_up,
    make_plan,
    over_limits,
)
from runner.state import State
from runner.task import ABANDONED, BEGUN, COLLECTED, ENDED, OPEN, STAGED, VOID, Task

NOW = 100_000.0
SETTLE, COLLECT, CANCEL, SUBMIT, PUBLISH, WAIT = Action
OLD: dict[str, Any] = {"phase": OPEN, "started_at": 1.0, "give_up": 60}
"""A task that runs for longer than `wait.give_up`."""
HEARD = "whether the provider heard that it is to stop is not known"
REMOVED: dict[str, Any] = {"removed": {"a": "cancel"}, "cancels": frozenset({"demo"})}


def unsettled(verdict: str, detail: str = "") -> Mapping[str, Unsettled]:
    return {"t-1": Unsettled("t-1", verdict, detail)}


def planned(*tasks: Task, demands: tuple[Demand, ...] = (), **facts: Any) -> Plan:
    return make_plan(demands, State("L", 4, tasks={task.id: task for task in tasks}), Facts(**facts), NOW)


# ---- tasks: every action and reason ----------------------------------------------------------------------------------

TASKS: list[tuple[dict[str, Any], dict[str, Any], list[tuple[Action, str]]]] = [
    # An interrupted start.
    ({"phase": STAGED}, {}, [(SETTLE, "whether it started is not known yet")]),
    ({"phase": STAGED}, {"unsettled": unsettled("")}, [(SETTLE, "whether it started is not known yet")]),
    (
        {"phase": STAGED},
        {"unsettled": unsettled("young", "that is believed in 60 s")},
        [(SETTLE, "not in the provider's list yet; that is believed in 60 s")],
    ),
    (
        {"phase": STAGED},
        {"unsettled": unsettled("unknown", "it has no list")},
        [(SETTLE, "whether it started cannot be looked up (it has no list); a person decides")],
    ),
    ({"phase": VOID}, {"unsettled": unsettled("absent")}, [(SETTLE, "the interrupted start did not happen")]),
    (
        {"phase": OPEN},
        {"unsettled": unsettled("found", "it is r-1")},
        [(SETTLE, "the interrupted start did happen: it is r-1"), (WAIT, "submitted, 0 of 3 done")],
    ),
    (
        {"phase": ENDED, "ending": "succeeded"},
        {"unsettled": unsettled("found", "it is r-1")},
        [(SETTLE, "the interrupted start did happen: it is r-1"), (COLLECT, "finished")],
    ),
    # Another run's claim.
    ({"phase": BEGUN}, {"busy": {"t-1": "host/9"}}, [(WAIT, "another run works on it: host/9")]),
    ({"phase": STAGED}, {"busy": {"t-1": "host/9"}}, [(WAIT, "another run works on it: host/9")]),
    (
        {"phase": STAGED},
        {"busy": {"t-1": "host/9"}, "unsettled": unsettled("")},
        [(WAIT, "another run works on it: host/9")],
    ),
    # On its way.
    ({"phase": OPEN}, {}, [(WAIT, "submitted, 0 of 3 done")]),
    (
        {"phase": OPEN, "raw": "Running", "progress": (2_000, 1_000, 5)},
        {},
        [(WAIT, "Running, 1,005 of 2,000 done")],
    ),
    # Ended, whatever it ended as.
    ({"phase": ENDED, "ending": "succeeded"}, {}, [(COLLECT, "finished")]),
    ({"phase": ENDED, "ending": "failed"}, {}, [(COLLECT, "failed")]),
    ({"phase": ENDED, "ending": "expired"}, {}, [(COLLECT, "expired")]),
    ({"phase": ENDED, "ending": "cancelled", "stopped": "cancelled"}, {}, [(COLLECT, "cancelled")]),
    # Its spec is gone.
    ({"phase": OPEN}, REMOVED, [(CANCEL, "its spec was removed")]),
    ({"phase": OPEN}, {**REMOVED, "removed": {"a": "keep"}}, [(WAIT, "submitted, 0 of 3 done")]),
    ({"phase": OPEN}, {**REMOVED, "removed": {"b": "cancel"}}, [(WAIT, "submitted, 0 of 3 done")]),
    (
        {"phase": OPEN},
        {**REMOVED, "cancels": frozenset()},
        [(WAIT, "its spec was removed; the provider cannot cancel, so it goes on and is paid")],
    ),
    ({"phase": OPEN, "stopped": "cancelled"}, REMOVED, [(CANCEL, HEARD)]),
    ({"phase": OPEN, "stopped": "cancelled", "stopping": True}, REMOVED, [(WAIT, "submitted, 0 of 3 done")]),
    ({"phase": ENDED, "ending": "succeeded"}, REMOVED, [(COLLECT, "finished")]),
    # Longer than wait.give_up.
    (OLD, {"cancels": frozenset({"demo"})}, [(CANCEL, "longer than wait.give_up")]),
    (OLD, {}, [(WAIT, "longer than wait.give_up; the provider cannot cancel, so it goes on")]),
    (OLD, REMOVED, [(CANCEL, "its spec was removed")]),
    ({**OLD, "stopped": "gave_up"}, {"cancels": frozenset({"demo"})}, [(CANCEL, HEARD)]),
    ({**OLD, "stopped": "gave_up"}, {}, [(WAIT, "submitted, 0 of 3 done")]),
    (
        {**OLD, "stopped": "cancelled", "stopping": True},
        {"cancels": frozenset({"demo"})},
        [(WAIT, "submitted, 0 of 3 done")],
    ),
    ({"phase": OPEN}, {"parked": frozenset({"t-1"})}, [(WAIT, "no spec asks for it any more: nothing of it is sent")]),
    # At rest.
    ({"phase": BEGUN}, {}, []),
    ({"phase": COLLECTED}, {}, []),
    ({"phase": VOID}, {}, []),
    ({"phase": ABANDONED}, {}, []),
]


@pytest.mark.parametrize(("task", "facts", "expected"), TASKS)
def test_a_task(task: dict[str, Any], facts: dict[str, Any], expected: list[tuple[Action, str]]) -> None:
    """Each phase, with all that can be known of it, comes to these steps; each step names the task whole."""
    made = a_task(**task)
    common: dict[str, Any] = {
        "requests": 3,
        "shards": 1,
        "task": "t-1",
        "provider": "demo",
        "model": "m",
        "identity": made.shard,
    }
    changes = tuple(Change("a", action, reason, **common) for action, reason in expected)
    assert planned(made, **facts) == Plan(changes, "L", 4)


@pytest.mark.parametrize(
    ("task", "now", "expected"),
    [
        (a_task(**OLD), 61.0, False),
        (a_task(**OLD), 61.001, True),
        (a_task(**{**OLD, "started_at": None}), NOW, False),
        (a_task(**{**OLD, "phase": ENDED}), NOW, False),
        (a_task(**{**OLD, "phase": STAGED}), NOW, False),
    ],
)
def test_gave_up(task: Task, now: float, expected: bool) -> None:
    """Our own clock, from the start of the task; the very second is still within."""
    assert gave_up(task, now) == expected


# ---- batches: submit and publish -------------------------------------------------------------------------------------

QUIET = Demand("a", "demo", "m", rows=3, submit=0, needs=("t-1",))
ASKING = Demand(
    "a", "demo", "m", 3, 2, 1, "d", "2 rows new or changed", Tokens(1_000, 500), Price(0.1, 0.2, "CNY"), ("t-1",)
)
LATE = replace(QUIET, output_current=False)
PUBLISHED = [Change("a", PUBLISH, "the output is missing or out of date", provider="demo", model="m")]


def test_a_submit() -> None:
    """How much, of what, for how much, and why."""
    assert planned(demands=(ASKING,)) == Plan(
        (
            Change(
                "a",
                SUBMIT,
                "2 rows new or changed",
                requests=2,
                shards=1,
                provider="demo",
                model="m",
                cost=Cost(0.2, "CNY"),
                tokens=Tokens(1_000, 500),
                identity="d",
            ),
        ),
        "L",
        4,
    )


@pytest.mark.parametrize(
    ("demand", "tasks", "expected"),
    [
        (QUIET, [{"phase": COLLECTED}], []),
        (LATE, [{"phase": COLLECTED}], PUBLISHED),
        (LATE, [{"phase": VOID}], PUBLISHED),
        (LATE, [], PUBLISHED),
        # None of its requests may be on its way.
        (LATE, [{"phase": BEGUN}], []),
        (LATE, [{"phase": STAGED}], []),
        (LATE, [{"phase": OPEN}], []),
        (LATE, [{"phase": COLLECTED}, {"phase": OPEN}], []),
        (LATE, [{"phase": ENDED, "ending": "failed"}, {"phase": OPEN}], []),
        # What was given up is not waited for; what was only cancelled is.
        (LATE, [{"phase": OPEN, "stopped": "gave_up"}], PUBLISHED),
        (LATE, [{"phase": OPEN, "stopped": "cancelled"}], []),
        # Results arrive in this very apply.
        (
            QUIET,
            [{"phase": ENDED, "ending": "expired"}],
            [Change("a", PUBLISH, "results arrive", provider="demo", model="m")],
        ),
        (
            LATE,
            [{"phase": ENDED, "ending": "succeeded", "stopped": "gave_up"}],
            [Change("a", PUBLISH, "results arrive", provider="demo", model="m")],
        ),
        (replace(LATE, rows=0), [], []),
    ],
)
def test_publish(demand: Demand, tasks: list[dict[str, Any]], expected: list[Change]) -> None:
    """An output is written when none of its requests is on its way, and it lacks something."""
    made = [a_task(f"t-{at}", **changes) for at, changes in enumerate(tasks, start=1)]
    demand = replace(demand, needs=tuple(task.id for task in made))
    assert planned(*made, demands=(demand,)).of(PUBLISH, SUBMIT) == expected


def test_a_batch_that_submits_publishes_later() -> None:
    """The submit stands alone, whatever else is missing."""
    demand = replace(ASKING, output_current=False)
    assert [change.action for change in planned(a_task(phase=COLLECTED), demands=(demand,)).changes] == [SUBMIT]


@pytest.mark.parametrize(
    ("price", "tokens", "expected"),
    [
        (Price(0.1, 0.2, "CNY"), Tokens(1_000, 500), Cost(0.2, "CNY")),
        (Price(0.1, 0.2, "USD", upper_bound=True), Tokens(10_000, 0), Cost(1.0, "USD", True)),
        (Price(0.0, 0.0, "CNY"), Tokens(9, 9), Cost(0.0, "CNY")),
        (None, Tokens(1_000, 500), None),
        (Price(0.1, 0.2, "CNY"), None, None),
        (Price(0.1, 0.2, "CNY"), Tokens(1_000, None), None),
    ],
)
def test_cost(price: Price | None, tokens: Tokens | None, expected: Cost | None) -> None:
    """Prices are per 1,000 tokens; without a price, or a bound on the answers, there is no cost."""
    assert cost_of(price, tokens) == expected


# ---- order -----------------------------------------------------------------------------------------------------------

SEVERAL = (
    a_task("t-5", batch="b", begun_at=1.0, phase=OPEN),
    a_task("t-4", batch="c", begun_at=2.0, phase=ENDED, ending="failed"),
    a_task("t-2", batch="a", begun_at=3.0, phase=STAGED),
    a_task("t-3", batch="a", begun_at=3.0, phase=ENDED, ending="succeeded"),
    a_task("t-1", batch="d", begun_at=3.0, phase=ENDED, ending="expired"),
    a_task("t-6", batch="gone", begun_at=4.0, phase=OPEN),
)
WANTED = (
    replace(ASKING, spec="b"),
    replace(ASKING, spec="a"),
    replace(LATE, spec="d", needs=()),
)


def test_order() -> None:
    """By action as they are carried out, then tasks by age and batches by name, in whatever order they come."""
    expected = [
        (SETTLE, "a", "t-2"),
        (COLLECT, "c", "t-4"),
        (COLLECT, "d", "t-1"),
        (COLLECT, "a", "t-3"),
        (CANCEL, "gone", "t-6"),
        (SUBMIT, "a", None),
        (SUBMIT, "b", None),
        (PUBLISH, "d", None),
        (WAIT, "b", "t-5"),
    ]
    facts: dict[str, Any] = {"removed": {"gone": "cancel"}, "cancels": frozenset({"demo"})}
    plans = [planned(*tasks, demands=WANTED, **facts) for tasks in permutations(SEVERAL)]
    plans += [planned(*SEVERAL, demands=demands, **facts) for demands in permutations(WANTED)]

    assert [(change.action, change.spec, change.task) for change in plans[0].changes] == expected
    assert all(plan == plans[0] for plan in plans)


def test_a_selection_is_about_its_specs_only() -> None:
    """And about tasks of others that hold some of its requests; the rest, of removed specs too, is left alone."""
    demand = replace(ASKING, needs=("t-3", "t-5"))
    plan = planned(*SEVERAL, demands=(demand,), selected=frozenset({"a"}), **REMOVED)
    assert [(change.action, change.spec, change.task) for change in plan.changes] == [
        (SETTLE, "a", "t-2"),
        (COLLECT, "a", "t-3"),
        (SUBMIT, "a", None),
        (WAIT, "b", "t-5"),
    ]


def test_has_changes() -> None:
    """Waiting alone is none."""
    assert [planned(*SEVERAL[:count]).has_changes for count in range(3)] == [False, False, True]


# ---- digest ----------------------------------------------------------------------------------------------------------

CANCELLED = Change("b", CANCEL, "its spec was removed", 3, 1, "t-6", "demo", "m", identity="e")
APPROVED = (CANCELLED, a_submit())
DIGEST = "sha256:9014c0fddbf91bafa786336d6add993d2bae41d5641c508dc8d4c39f6aef64e3"


def test_a_digest_is_what_it_always_was() -> None:
    """A golden value: an approval given before an upgrade holds after it."""
    assert a_plan(APPROVED).digest == DIGEST


@pytest.mark.parametrize(
    "same",
    [
        a_plan(APPROVED, lineage=None, serial=99),
        a_plan(APPROVED, notes=("Offline.",), over=(Over("requests", 1, 10),)),
        *(
            a_plan([Change("c", action, "whatever", 5, 1, "t-7"), *APPROVED])
            for action in (SETTLE, COLLECT, PUBLISH, WAIT)
        ),
        a_plan([CANCELLED, a_submit(reason="other words")]),
        a_plan([CANCELLED, a_submit(tokens=Tokens(1, None), shards=7)]),
        a_plan([replace(CANCELLED, reason="longer than wait.give_up"), a_submit()]),
    ],
)
def test_what_a_digest_ignores(same: Plan) -> None:
    """Time, serial, words, and everything that neither costs nor cannot be undone."""
    assert same.digest == DIGEST


@pytest.mark.parametrize(
    "other",
    [
        a_plan(),
        a_plan([a_submit()]),
        a_plan([CANCELLED]),
        a_plan([*APPROVED, a_submit("c")]),
        *(
            a_plan([CANCELLED, a_submit(**changes)])
            for changes in (
                {"spec": "c"},
                {"identity": "x"},
                {"model": "other"},
                {"model": None},
                {"provider": "other"},
                {"cost": Cost(0.43, "CNY")},
                {"cost": Cost(0.42, "USD")},
                {"cost": None},
            )
        ),
        a_plan([replace(CANCELLED, identity="x"), a_submit()]),
        a_plan([replace(CANCELLED, spec="x"), a_submit()]),
    ],
)
def test_what_a_digest_covers(other: Plan) -> None:
    """Requests, model, provider, price, and what is cancelled: a change of any needs another approval."""
    assert other.digest != DIGEST


def test_planning_twice_gives_equal_plans() -> None:
    """From equal values, at whatever time, as long as nothing gives up meanwhile."""
    state = State("L", 4, tasks={task.id: task for task in SEVERAL})
    first, second = (make_plan(WANTED, state, Facts(), now, ["n"]) for now in (NOW, NOW + 1_000))
    assert first == second
    assert first.to_json() == second.to_json()


def test_json() -> None:
    """The document of `plan --json`, whole."""
    free = a_submit("b", cost=None, tokens=None, model=None)
    bound = a_submit("c", cost=Cost(1.23456789, "CNY", True), tokens=Tokens(7, None))
    plan = a_plan([CANCELLED, free, bound], over=(Over("cost", 1, None), Over("cost", 1, 2.5, "CNY")), notes=("n",))
    submit = {"action": "submit", "reason": "new", "requests": 10, "shards": 1, "task": None, "provider": "demo"}
    assert plan.to_json() == {
        "format_version": 1,
        "digest": plan.digest,
        "state": {"lineage": "L", "serial": 4},
        "changes": [
            {
                "spec": "b",
                "action": "cancel",
                "reason": "its spec was removed",
                "requests": 3,
                "shards": 1,
                "task": "t-6",
                "provider": "demo",
                "model": "m",
                "cost": None,
                "tokens": None,
            },
            {"spec": "b", **submit, "model": None, "cost": None, "tokens": None},
            {
                "spec": "c",
                **submit,
                "model": "m",
                "cost": {"estimate": 1.234568, "currency": "CNY", "upper_bound": True},
                "tokens": {"input": 7, "output": None},
            },
        ],
        "summary": {"settle": 0, "collect": 0, "cancel": 1, "submit": 2, "publish": 0, "wait": 0, "requests": 20},
        "limits": [
            {"name": "cost", "limit": 1, "actual": None, "currency": None},
            {"name": "cost", "limit": 1, "actual": 2.5, "currency": "CNY"},
        ],
        "notes": ["n"],
    }


# ---- limits ----------------------------------------------------------------------------------------------------------

TWO = a_plan([a_submit("a"), a_submit("b", requests=5, cost=Cost(0.1, "CNY"), tokens=Tokens(6, 4))])
UNBOUNDED = a_plan([a_submit("a"), a_submit("b", cost=Cost(0.1, "CNY"), tokens=Tokens(10, None))])
MIXED = a_plan([a_submit("a"), a_submit("b", cost=Cost(9.0, "USD"))])
UNPRICED = a_plan([a_submit("a"), a_submit("b", cost=None)])
NONE = Limit()


@pytest.mark.parametrize(
    ("plan", "limits", "per_spec", "expected"),
    [
        (TWO, NONE, NONE, []),
        # Requests.
        (TWO, Limit(requests=15), NONE, []),
        (TWO, Limit(requests=14), NONE, [Over("requests", 14, 15)]),
        (TWO, Limit(requests=0), NONE, [Over("requests", 0, 15)]),
        (TWO, NONE, Limit(requests=10), []),
        (TWO, NONE, Limit(requests=9), [Over("per_spec.a.requests", 9, 10)]),
        # Tokens, in and out; an answer without a bound counts as over.
        (TWO, Limit(tokens=3_010), NONE, []),
        (TWO, Limit(tokens=3_009), NONE, [Over("tokens", 3_009, 3_010)]),
        (TWO, NONE, Limit(tokens=9), [Over("per_spec.a.tokens", 9, 3_000), Over("per_spec.b.tokens", 9, 10)]),
        (UNBOUNDED, Limit(tokens=9_999), NONE, [Over("tokens", 9_999, None)]),
        (UNBOUNDED, NONE, Limit(tokens=9_999), [Over("per_spec.b.tokens", 9_999, None)]),
        (UNBOUNDED, Limit(requests=99), NONE, []),
        # Cost, as a number and by currency.
        (TWO, Limit(cost={"": 0.52}), NONE, []),
        (TWO, Limit(cost={"": 0.5}), NONE, [Over("cost", 0.5, 0.52, "CNY")]),
        (TWO, Limit(cost={"CNY": 0.52}), NONE, []),
        (TWO, Limit(cost={"CNY": 0.5, "USD": 9}), NONE, [Over("cost", 0.5, 0.52, "CNY")]),
        (TWO, NONE, Limit(cost={"": 0.2}), [Over("per_spec.a.cost", 0.2, 0.42, "CNY")]),
        # A currency that no limit names is not allowed any.
        (TWO, Limit(cost={"USD": 9}), NONE, [Over("cost", 0.0, 0.52, "CNY")]),
        # Two currencies under a bare number cannot be added.
        (MIXED, Limit(cost={"": 99}), NONE, [Over("cost", 99, None)]),
        (MIXED, Limit(cost={"CNY": 1, "USD": 9}), NONE, []),
        (
            MIXED,
            Limit(cost={"CNY": 0.1, "USD": 8}),
            NONE,
            [Over("cost", 0.1, 0.42, "CNY"), Over("cost", 8, 9.0, "USD")],
        ),
        (MIXED, NONE, Limit(cost={"": 9}), []),
        # An unknown price counts as over where cost is limited, and only there.
        (UNPRICED, Limit(cost={"": 99}), NONE, [Over("cost", 99, None)]),
        (UNPRICED, Limit(cost={"CNY": 99, "USD": 7}), NONE, [Over("cost", 7, None)]),
        (UNPRICED, NONE, Limit(cost={"": 99}), [Over("per_spec.b.cost", 99, None)]),
        (UNPRICED, Limit(requests=99, tokens=9_999), NONE, []),
        # Nothing to submit is within any limit.
        (a_plan([CANCELLED]), Limit(0, 0, {"": 0}), Limit(0, 0, {"": 0}), []),
        (a_plan([a_submit(cost=Cost(0.0, "CNY"))]), Limit(cost={"": 0}), NONE, []),
        # Everything at once, of the whole and of each spec.
        (
            TWO,
            Limit(1, 1, {"": 0}),
            Limit(1, 20, None),
            [
                Over("requests", 1, 15),
                Over("tokens", 1, 3_010),
                Over("cost", 0, 0.52, "CNY"),
                Over("per_spec.a.requests", 1, 10),
                Over("per_spec.a.tokens", 20, 3_000),
                Over("per_spec.b.requests", 1, 5),
            ],
        ),
    ],
)
def test_over_limits(plan: Plan, limits: Limit, per_spec: Limit, expected: list[Over]) -> None:
    """Every limit that is exceeded, with what it is and what it would be; the limit itself is within."""
    assert over_limits(plan, [], State(), Limits(limits, per_spec), 0.0) == tuple(expected)


@pytest.mark.parametrize(
    ("over", "text"),
    [
        (Over("requests", 1_000, 1_319), "requests 1,319 > 1,000"),
        (Over("cost", 50, 80.5, "CNY"), "cost 80.5 > 50 CNY"),
        (Over("per_spec.gsm8k.cost", 50, None), "per_spec.gsm8k.cost unknown > 50"),
    ],
)
def test_over_in_words(over: Over, text: str) -> None:
    """As it is printed."""
    assert str(over) == text
