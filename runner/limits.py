"""Limits: the most that may be asked for, in one apply, by one spec, in a day or a month, and what of it is used up.

What was spent is read off the tasks in the state: each says what it was estimated to cost when it was begun, and, once
its answers are here, what they came to.  So the budget lies in the one document that all runs compare and swap, and two
of them cannot spend the same money.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from runner.errors import LimitExceeded, RunnerError
from runner.task import COLLECTED, VOID, Task

ANY_CURRENCY = "*"
"""Names, among limits of cost, all currencies that are not named."""
ALLOWANCES = ("no_specs", "no_rows")
"""What else `--allow NAME=1` puts up with: a glob that fits no spec, an input without rows."""


@dataclass(frozen=True)
class Limit:
    """None: no limit.  ``cost``: money by currency, "" for any single one.  ``repeat``: share of answered requests."""

    requests: int | None = None
    tokens: int | None = None
    cost: Mapping[str, float] | None = None
    repeat: float | None = None


@dataclass(frozen=True)
class Limits:
    """``apply``: of one apply.  ``per_day`` and ``per_month``: of calendar days and months in UTC, as begun."""

    apply: Limit = Limit()
    per_spec: Limit = Limit()
    per_day: Limit = Limit()
    per_month: Limit = Limit()

    def lifted(self, allow: Mapping[str, float]) -> Limits:
        """With those replaced that ``--allow NAME=VALUE`` names.  Raises RunnerError for other names."""
        limits = self
        for name, value in allow.items():
            if name in ALLOWANCES:
                continue
            scope, _, key = name.rpartition(".")
            scope = scope or "apply"
            if scope not in SCOPES or key not in _KEYS[scope] or name.startswith("apply."):
                known = [f"{prefix}{key}" for scope, prefix in SCOPES.items() for key in _KEYS[scope]]
                raise RunnerError(
                    f"--allow does not know {name!r}",
                    hint=f"It takes {', '.join([*known, *ALLOWANCES])}.",
                    code="limit-unknown",
                )
            limits = replace(limits, **{scope: _lift(getattr(limits, scope), key, value)})
        return limits


SCOPES = {"apply": "", "per_spec": "per_spec.", "per_day": "per_day.", "per_month": "per_month."}
"""What each kind of limit is called before its key."""
_KEYS = {
    "apply": ("requests", "tokens", "cost", "repeat"),
    "per_spec": ("requests", "tokens", "cost", "repeat"),
    "per_day": ("requests", "tokens", "cost"),
    "per_month": ("requests", "tokens", "cost"),
}


def _lift(limit: Limit, key: str, value: float) -> Limit:
    match key:
        case "cost":
            known = limit.cost or {"": 0.0}
            return replace(limit, cost=dict.fromkeys(known if "" in known else [*known, ANY_CURRENCY], value))
        case "repeat":
            return replace(limit, repeat=value)
        case "tokens":
            return replace(limit, tokens=int(value))
        case _:
            return replace(limit, requests=int(value))


@dataclass(frozen=True)
class Spending:
    """``tokens`` and ``cost`` are None where a part of them is unknown.  ``cost`` is money by currency.

    ``repeats`` of ``answered`` requests ask again, in other words, what has an answer.
    """

    requests: int = 0
    tokens: int | None = 0
    cost: Mapping[str, float] | None = field(default_factory=dict)
    repeats: int = 0
    answered: int = 0

    def __add__(self, other: Spending) -> Spending:
        cost: dict[str, float] | None = None
        if self.cost is not None and other.cost is not None:
            cost = {
                currency: self.cost.get(currency, 0.0) + other.cost.get(currency, 0.0)
                for currency in {*self.cost, *other.cost}
            }
        return Spending(
            self.requests + other.requests,
            None if self.tokens is None or other.tokens is None else self.tokens + other.tokens,
            cost,
            self.repeats + other.repeats,
            self.answered + other.answered,
        )


@dataclass(frozen=True)
class Over:
    """A limit that is exceeded.  ``actual`` is None where it cannot be known, which counts as over."""

    name: str
    limit: float
    actual: float | None
    currency: str = ""

    def __str__(self) -> str:
        actual = "unknown" if self.actual is None else f"{self.actual:,.6g}"
        return f"{self.name} {actual} > {self.limit:,.6g} {self.currency}".rstrip()

    def to_json(self) -> dict[str, object]:
        return {"name": self.name, "limit": self.limit, "actual": self.actual, "currency": self.currency or None}


def exceeded(spending: Spending, limit: Limit, prefix: str) -> list[Over]:
    """What of ``limit`` is exceeded."""
    found = []
    if limit.requests is not None and spending.requests > limit.requests:
        found.append(Over(f"{prefix}requests", limit.requests, spending.requests))
    if limit.tokens is not None and (spending.tokens is None or spending.tokens > limit.tokens):
        found.append(Over(f"{prefix}tokens", limit.tokens, spending.tokens))
    if limit.cost is not None:
        found += _exceeded_cost(spending.cost, limit.cost, f"{prefix}cost")
    share = spending.repeats / spending.answered if spending.answered else 0.0
    if limit.repeat is not None and share > limit.repeat:
        found.append(Over(f"{prefix}repeat", limit.repeat, round(share, 4)))
    return found


def _exceeded_cost(spent: Mapping[str, float] | None, allowed: Mapping[str, float], name: str) -> list[Over]:
    if spent is None:
        return [Over(name, min(allowed.values()), None)]
    if "" in allowed:  # a bare number allows one currency, whichever it is
        if len(spent) > 1:
            return [Over(name, allowed[""], None)]
        allowed = dict.fromkeys(spent, allowed[""])
    other = allowed.get(ANY_CURRENCY, 0.0)
    return [
        Over(name, allowed.get(currency, other), money, currency)
        for currency, money in sorted(spent.items())
        if money > allowed.get(currency, other)
    ]


# ---- periods -------------------------------------------------------------------------------------------------------


def began(period: str, now: float) -> float:
    """When the current day or month began (Unix seconds, UTC)."""
    at = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (at if period == "per_day" else at.replace(day=1)).timestamp()


def spent(tasks: Iterable[Task]) -> Spending:
    """What tasks cost, or may.  One that is known not to have started costs nothing.

    A price that was unknown when a task was begun leaves its cost out: it was allowed then by name.
    """
    requests = tokens = 0
    cost: dict[str, float] = {}
    for task in tasks:
        if task.phase == VOID:
            continue
        requests += task.requests
        answered = sum(task.tokens) if task.phase == COLLECTED else 0
        tokens += answered or task.bound or 0
        money = task.paid if answered and task.paid is not None else task.cost
        if money is not None:
            cost[task.currency] = cost.get(task.currency, 0.0) + money
    return Spending(requests, tokens, cost)


def intended(tasks: Iterable[Task]) -> Spending:
    """What tasks that are about to begin may come to."""
    total = Spending()
    for task in tasks:
        cost = None if task.cost is None else {task.currency: task.cost}
        total += Spending(task.requests, task.bound, cost)
    return total


def over_budget(limits: Limits, tasks: Iterable[Task], more: Spending, now: float) -> list[Over]:
    """What of the budgets ``more`` would exceed, on top of what ``tasks`` have used up."""
    found = []
    known = list(tasks)
    for period, limit in (("per_day", limits.per_day), ("per_month", limits.per_month)):
        if limit != Limit():
            since = began(period, now)
            used = spent(task for task in known if task.begun_at >= since)
            found += exceeded(used + more, limit, SCOPES[period])
    return found


def over_error(over: Sequence[Over], left: str = "Nothing") -> LimitExceeded:
    """What ``over`` means to who applies.  ``left``: what of the plan was not submitted."""
    needed: dict[str, float] = {}
    for one in over:
        name = _allow_name(one.name)
        needed[name] = max(needed.get(name, 0.0), math.inf if one.actual is None else one.actual)
    lifts = [f"--allow {name}={_enough(value)}" for name, value in needed.items()]
    return LimitExceeded(
        f"over the limits of runner.yaml: {'; '.join(map(str, over))}",
        hint=f"{left} was submitted.  Select fewer specs, raise the limit, or lift it for once:",
        commands=[f"runner apply {' '.join(lifts)}"],
    )


def _enough(value: float) -> str:
    """What lets it through, as `--allow` takes it, rounded up; where nobody knows how much that is, a person says."""
    return "VALUE" if math.isinf(value) else f"{math.ceil(value * 100) / 100:.2f}".removesuffix(".00")


def _allow_name(name: str) -> str:
    scope, _, rest = name.partition(".")
    return f"per_spec.{rest.rpartition('.')[2]}" if scope == "per_spec" else name
