"""A Plan: every step that apply would take, with its reason, as plain values.

:func:`make_plan` sees values only: what each batch still wants, what we believe of tasks, what refreshing found out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import Any

from runner.fingerprint import canonical, digest
from runner.limits import Limits, Over, Spending, exceeded, over_budget
from runner.model import Price
from runner.state import State
from runner.task import BEGUN, ENDED, OPEN, STAGED, Task

FORMAT = 1


class Action(Enum):
    """In the order in which they are carried out."""

    SETTLE = "settle"
    COLLECT = "collect"
    CANCEL = "cancel"
    SUBMIT = "submit"
    PUBLISH = "publish"
    WAIT = "wait"


@dataclass(frozen=True)
class Cost:
    """``upper_bound``: the provider lists no batch price, so that the online price was taken.

    ``firm``: known without asking the provider, so that an offline plan of the same work knows it too.
    """

    estimate: float
    currency: str
    upper_bound: bool = False
    firm: bool = True


@dataclass(frozen=True)
class Tokens:
    """Estimated.  ``output`` is the most that may come back, None where neither spec nor model bounds it."""

    input: int
    output: int | None


@dataclass(frozen=True)
class Change:
    spec: str
    action: Action
    reason: str
    requests: int = 0
    shards: int = 0
    task: str | None = None
    provider: str = ""
    model: str | None = None
    cost: Cost | None = None
    tokens: Tokens | None = None
    identity: str = ""
    """Digest of the requests concerned."""

    @property
    def is_work(self) -> bool:
        """Whether apply would do something: waiting is not doing, nor is what only a person can."""
        return self.action is not Action.WAIT and not self.reason.endswith(A_PERSON_DECIDES)

    def to_json(self) -> dict[str, Any]:
        cost = self.cost and {"estimate": round(self.cost.estimate, 6), "currency": self.cost.currency}
        if cost and self.cost and self.cost.upper_bound:
            cost["upper_bound"] = True
        return {
            "spec": self.spec,
            "action": self.action.value,
            "reason": self.reason,
            "requests": self.requests,
            "shards": self.shards,
            "task": self.task,
            "provider": self.provider,
            "model": self.model,
            "cost": cost,
            "tokens": self.tokens and {"input": self.tokens.input, "output": self.tokens.output},
        }


@dataclass(frozen=True)
class Demand:
    """What one batch wants of the world today.

    ``identity`` digests the requests to submit; ``needs`` are the tasks that hold the others; ``publish_key`` digests
    all that goes into the output, and ``output_current`` says whether what was last published was made of that, and is
    still there.
    """

    spec: str
    provider: str
    model: str | None
    rows: int
    submit: int
    shards: int = 0
    identity: str = ""
    reason: str = ""
    tokens: Tokens | None = None
    price: Price | None = None
    needs: tuple[str, ...] = ()
    publish_key: str = ""
    output_current: bool = True
    output: str = ""
    firm: bool = True
    """The price is known without asking the provider."""
    repeats: int = 0
    """Of the requests to submit, those that ask again, in other words, what an earlier version has an answer for."""
    answered: int = 0
    """Requests of the version that was last sent whole."""
    waits: str = ""
    """Why it cannot be looked at yet: its rows are answers that are still to come."""


@dataclass(frozen=True)
class Unsettled:
    """A start whose outcome is unknown, and what looking for it said.

    ``verdict``: found, absent, young (absent, but too soon to believe it), unknown, or "" when nobody looked; and
    "turned away" of a task that was started and given back unasked.
    """

    task: str
    verdict: str
    detail: str = ""


@dataclass(frozen=True)
class Plan:
    changes: tuple[Change, ...]
    lineage: str | None
    serial: int
    over: tuple[Over, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know before the changes: counts that are upper bounds, clear-text uploads and the like."""

    @property
    def digest(self) -> str:
        """Of submits and cancels only: what costs money or cannot be undone, nothing that time changes by itself."""
        return "sha256:" + digest(canonical([_approved(c) for c in self.changes if c.action in _APPROVED]))

    @property
    def has_changes(self) -> bool:
        """Whether apply would do anything."""
        return any(change.is_work for change in self.changes)

    def of(self, *actions: Action) -> list[Change]:
        return [change for change in self.changes if change.action in actions]

    @property
    def requests(self) -> int:
        return sum(change.requests for change in self.of(Action.SUBMIT))

    def to_json(self) -> dict[str, Any]:
        summary = {action.value: len(self.of(action)) for action in Action}
        return {
            "format_version": FORMAT,
            "digest": self.digest,
            "state": {"lineage": self.lineage, "serial": self.serial},
            "changes": [change.to_json() for change in self.changes],
            "summary": {**summary, "requests": self.requests},
            "limits": [over.to_json() for over in self.over],
            "notes": list(self.notes),
        }


A_PERSON_DECIDES = "a person decides"

_APPROVED = (Action.SUBMIT, Action.CANCEL)


def _approved(change: Change) -> dict[str, Any]:
    return {
        "spec": change.spec,
        "action": change.action.value,
        "provider": change.provider,
        "model": change.model,
        "requests": change.identity,
        "price": [round(change.cost.estimate, 9), change.cost.currency] if change.cost and change.cost.firm else None,
    }


@dataclass(frozen=True)
class Facts:
    """What refreshing found out, beside the state that it folded its news into.

    ``busy``: tasks under another run's living claim, and whose.  ``removed``: what `on_remove` says for batches that
    have no spec any more.
    """

    unsettled: Mapping[str, Unsettled] = field(default_factory=dict)
    parked: frozenset[str] = frozenset()
    """Open tasks that go on only while we work on them, and that no batch needs."""
    busy: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)
    cancels: frozenset[str] = frozenset()
    """Names of the providers that can cancel."""
    selected: frozenset[str] | None = None
    """Names of the specs that the plan is about; None: everything, removed specs among them."""


def make_plan(demands: Sequence[Demand], state: State, facts: Facts, now: float, notes: Sequence[str] = ()) -> Plan:
    """Every step, in the order in which it would be carried out; tasks by age, batches by name."""
    tasks = sorted(state.tasks.values(), key=lambda task: (task.begun_at, task.id))
    needed = {id for demand in demands for id in demand.needs}
    about = [t for t in tasks if facts.selected is None or t.batch in facts.selected or t.id in needed]
    changes = [change for task in about for change in _task_changes(task, facts, now)]
    for demand in sorted(demands, key=lambda demand: demand.spec):
        changes += _demand_changes(demand, state)
    order = list(Action)
    changes.sort(key=lambda change: order.index(change.action))
    return Plan(tuple(changes), state.lineage, state.serial, notes=tuple(notes))


def task_change(task: Task, action: Action, reason: str) -> Change:
    """A step about a task that there is already."""
    return Change(
        task.batch,
        action,
        reason,
        requests=task.requests,
        shards=1,
        task=task.id,
        provider=task.provider,
        model=task.model,
        identity=task.shard,
    )


def _task_changes(task: Task, facts: Facts, now: float) -> list[Change]:
    change = partial(task_change, task)
    unsettled = facts.unsettled.get(task.id)
    settled = [change(Action.SETTLE, _settle_reason(unsettled))] if unsettled else []
    if task.id in facts.busy:
        return [change(Action.WAIT, f"another run works on it: {facts.busy[task.id]}")]
    if task.phase == STAGED:
        return settled or [change(Action.SETTLE, _settle_reason(None))]
    if task.phase == ENDED:
        return [*settled, change(Action.COLLECT, _ended_reason(task))]
    if task.phase == OPEN:
        return [*settled, change(*_open_action(task, facts, now))]
    return settled


def _settle_reason(unsettled: Unsettled | None) -> str:
    match unsettled:
        case Unsettled(verdict="found", detail=detail):
            return f"the interrupted start did happen: {detail}"
        case Unsettled(verdict="absent"):
            return "the interrupted start did not happen"
        case Unsettled(verdict="turned away", detail=detail):
            return f"the provider gave it back unasked: {detail}"
        case Unsettled(verdict="young", detail=detail):
            return f"not in the provider's list yet; {detail}"
        case Unsettled(verdict="unknown", detail=detail):
            return f"whether it started cannot be looked up ({detail}); {A_PERSON_DECIDES}"
        case _:
            return "whether it started is not known yet"


def _ended_reason(task: Task) -> str:
    return {"succeeded": "finished", "failed": "failed", "expired": "expired", "cancelled": "cancelled"}[task.ending]


def _open_action(task: Task, facts: Facts, now: float) -> tuple[Action, str]:
    can_cancel = task.provider in facts.cancels and not task.stopped
    if task.provider in facts.cancels and task.is_to_stop:
        return Action.CANCEL, "whether the provider heard that it is to stop is not known"
    if facts.removed.get(task.batch) == "cancel" and can_cancel:
        return Action.CANCEL, "its spec was removed"
    if facts.removed.get(task.batch) == "cancel" and not task.stopped:
        return Action.WAIT, "its spec was removed; the provider cannot cancel, so it goes on and is paid"
    if gave_up(task, now) and not task.stopped:
        if can_cancel:
            return Action.CANCEL, "longer than wait.give_up"
        return Action.WAIT, "longer than wait.give_up; the provider cannot cancel, so it goes on"
    if task.id in facts.parked:
        return Action.WAIT, "no spec asks for it any more: nothing of it is sent"
    total, succeeded, failed = task.progress
    done = (succeeded or 0) + (failed or 0)
    return Action.WAIT, f"{task.raw or 'submitted'}, {done:,} of {total or task.requests:,} done"


def gave_up(task: Task, now: float) -> bool:
    """Whether our own clock says that an open task has had its time."""
    return task.phase == OPEN and task.started_at is not None and now - task.started_at > task.give_up


def _demand_changes(demand: Demand, state: State) -> list[Change]:
    if demand.waits:
        return [Change(demand.spec, Action.WAIT, demand.waits, provider=demand.provider)]
    if demand.submit:
        return [
            Change(
                demand.spec,
                Action.SUBMIT,
                demand.reason,
                requests=demand.submit,
                shards=demand.shards,
                provider=demand.provider,
                model=demand.model,
                cost=cost_of(demand.price, demand.tokens, firm=demand.firm),
                tokens=demand.tokens,
                identity=demand.identity,
            )
        ]
    phases = {state.tasks[id].phase if not _gone(state.tasks[id]) else "" for id in demand.needs if id in state.tasks}
    if not demand.rows or phases & {BEGUN, STAGED, OPEN}:
        return []
    if ENDED in phases:
        return [_publish(demand, "results arrive")]
    if not demand.output_current:
        return [_publish(demand, "the output is missing or out of date")]
    return []


def _gone(task: Task) -> bool:
    """Given up: its requests are no longer waited for."""
    return task.stopped == "gave_up" and task.phase != ENDED


def _publish(demand: Demand, reason: str) -> Change:
    return Change(demand.spec, Action.PUBLISH, reason, provider=demand.provider, model=demand.model)


def cost_of(price: Price | None, tokens: Tokens | None, *, firm: bool = True) -> Cost | None:
    """None where the price, or the bound on the answer's length, is unknown."""
    if price is None or tokens is None or tokens.output is None:
        return None
    return Cost(price.cost(tokens.input, tokens.output), price.currency, price.upper_bound, firm)


# ---- limits --------------------------------------------------------------------------------------------------------


def over_limits(plan: Plan, demands: Sequence[Demand], state: State, limits: Limits, now: float) -> tuple[Over, ...]:
    """Every limit that the plan's submits exceed: of the whole apply, of single specs, of the day and the month."""
    submits = plan.of(Action.SUBMIT)
    if not submits:
        return ()
    answered = {demand.spec: (demand.repeats, demand.answered) for demand in demands}
    spendings = {change.spec: spending_of(change, *answered.get(change.spec, (0, 0))) for change in submits}
    whole = sum(spendings.values(), Spending())
    resting = sum(demand.answered for demand in demands if demand.spec not in spendings)
    found = exceeded(replace(whole, answered=whole.answered + resting), limits.apply, "")
    for spec, spending in spendings.items():
        found += exceeded(spending, limits.per_spec, f"per_spec.{spec}.")
    return (*found, *over_budget(limits, state.tasks.values(), whole, now))


def spending_of(change: Change, repeats: int = 0, answered: int = 0) -> Spending:
    """What a submit may come to.  Tokens are unknown where an answer's length is not bounded."""
    bounded = change.tokens is not None and change.tokens.output is not None
    tokens = change.tokens.input + (change.tokens.output or 0) if change.tokens and bounded else None
    cost = {change.cost.currency: change.cost.estimate} if change.cost else None
    return Spending(change.requests, tokens, cost, repeats, answered)
