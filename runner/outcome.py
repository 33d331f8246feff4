"""An Outcome: what an apply came to, change by change and row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from runner.checks import CheckResult, failing
from runner.errors import Interrupted, RunnerError
from runner.failures import Failures
from runner.plan import Action, Change, Plan
from runner.result import Counts
from runner.task import Task

STILL_RUNNING = 8
NOT_ALL_SUCCEEDED = 7

_PRECEDENCE = (Interrupted.exit_code, 70, 6, 5, 4, 3, 1, STILL_RUNNING, NOT_ALL_SUCCEEDED)


@dataclass(frozen=True)
class Used:
    """Tokens of answers, and what they come to by the price that was planned with.

    ``paid`` and ``estimate`` are about the same tasks, by currency: those of which both are known.
    """

    input: int = 0
    output: int = 0
    paid: tuple[tuple[str, float, float], ...] = ()
    """Currency, what was paid, what was estimated."""

    @classmethod
    def of(cls, tasks: Iterable[Task]) -> Used:
        sums: dict[str, tuple[float, float]] = {}
        tokens_in = tokens_out = 0
        for task in tasks:
            tokens_in += task.tokens[0]
            tokens_out += task.tokens[1]
            if task.paid is not None and task.cost is not None and any(task.tokens):
                paid, estimate = sums.get(task.currency, (0.0, 0.0))
                sums[task.currency] = (paid + task.paid, estimate + task.cost)
        return cls(tokens_in, tokens_out, tuple((name, *sums[name]) for name in sorted(sums)))


@dataclass
class Outcome:
    """``changes`` are the plan's, then those that arose; the other lists run beside it."""

    plan: Plan
    changes: list[Change] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    rows: dict[str, Counts] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    errors: list[RunnerError] = field(default_factory=list)
    unresolved: list[Task] = field(default_factory=list)
    """Interrupted starts that only a person can settle."""
    failures: dict[str, Failures] = field(default_factory=dict)
    """What went wrong with the rows of each output that was written."""
    used: Used = Used()
    """What was brought home in this run."""
    timed_out: bool = False
    partial: bool = False
    """Only a part of the rows was asked for."""
    checks: dict[str, tuple[CheckResult, ...]] = field(default_factory=dict)
    """What the checks of specs came to, as their outputs were last written."""
    ready: list[str] = field(default_factory=list)
    """Specs whose rows came in this run, which asks nothing of them: the next one does."""
    suspended: set[str] = field(default_factory=set)
    """Specs of which nothing is submitted for now, so that nobody waits for the rest of their rows."""

    def __post_init__(self) -> None:
        self._places = {(change.action, change.spec, change.task): at for at, change in enumerate(self.changes)}

    def note(self, change: Change, outcome: str, detail: str = "") -> None:
        """Record what became of a change: of the plan's own entry where there is one."""
        at = self._places.setdefault((change.action, change.spec, change.task), len(self.changes))
        if at == len(self.changes):
            self.changes.append(change)
            self.outcomes.append(outcome)
            self.details.append(detail)
        else:
            self.outcomes[at], self.details[at] = outcome, detail

    def done(self, action: Action) -> list[tuple[Change, str]]:
        """Changes of a kind that were carried out, each with its detail."""
        entries = zip(self.changes, self.outcomes, self.details, strict=True)
        return [
            (change, detail) for change, outcome, detail in entries if change.action is action and outcome == "done"
        ]

    def exit_code(self, *, wait: bool) -> int:
        """The gravest of what happened.

        Rows that have not succeeded matter once nothing more can be done about them in this run: after `--wait`, or
        when there was nothing to do.  A check that fails matters at once.  A start that nobody can settle is no error
        unless it is waited for.
        """
        codes = {error.exit_code for error in self.errors}
        unsuccessful = any(counts.failed or counts.missing for counts in self.rows.values())
        pending = bool(self.awaited) and not self.partial
        if self.timed_out or (wait and pending and not self.unresolved):
            codes.add(STILL_RUNNING)
        if wait and (unsuccessful or self.unresolved):
            codes.add(NOT_ALL_SUCCEEDED)
        if not self.plan.changes and unsuccessful:
            codes.add(NOT_ALL_SUCCEEDED)
        if any(failing(results) for results in self.checks.values()):
            codes.add(NOT_ALL_SUCCEEDED)
        return next((code for code in _PRECEDENCE if code in codes), 0)

    @property
    def awaited(self) -> list[str]:
        """Specs that have rows whose answers are still to come."""
        return sorted(name for name, counts in self.rows.items() if counts.pending and name not in self.suspended)

    @property
    def on_their_way(self) -> list[str]:
        """Those of them of which something was sent, or will be by the same command."""
        held = {
            change.spec
            for change, outcome in zip(self.changes, self.outcomes, strict=True)
            if change.action is Action.SUBMIT and outcome in ("refused", "skipped")
            if change.spec in self.rows and self.rows[change.spec].pending <= change.requests
        }
        return [name for name in self.awaited if name not in held]

    def to_json(self) -> dict[str, Any]:
        """The plan it began with, changes that arose appended, an outcome for each, and rows by spec."""
        document = self.plan.to_json()
        document["changes"] = [
            {**change.to_json(), "outcome": outcome, "detail": detail}
            for change, outcome, detail in zip(self.changes, self.outcomes, self.details, strict=True)
        ]
        document["rows"] = {name: counts.to_json() for name, counts in self.rows.items()}
        document["checks"] = {name: [result.shown() for result in results] for name, results in self.checks.items()}
        document["ready"] = self.ready
        document["warnings"] = list(dict.fromkeys(self.warnings))
        document["errors"] = [error.message for error in self.errors]
        document["unresolved"] = [
            {
                "task": task.id,
                "spec": task.batch,
                "name": task.name,
                "commands": [f"runner state adopt {task.id} REMOTE_ID", f"runner state abandon {task.id}"],
            }
            for task in self.unresolved
        ]
        return document
