"""What an apply came to: one exit code out of all that happened, and one document."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import a_plan, a_submit, a_task

from runner.checks import CheckResult
from runner.errors import (
    Busy,
    CredentialsError,
    LimitExceeded,
    Refused,
    RunnerError,
    StalePlan,
    StateConflict,
    Unsure,
)
from runner.outcome import Outcome
from runner.plan import Action, Change
from runner.result import Counts
from runner.task import STAGED

GOOD = {"a": Counts(3)}
BAD = {"a": Counts(1, 1, 1), "b": Counts(3)}
LEFT = {"a": Counts(1, 0, 0, 2)}
STUCK = [a_task(phase=STAGED)]
CONFLICT, STALE, KEY, LIMIT, OTHER = (
    kind("x") for kind in (StateConflict, StalePlan, CredentialsError, LimitExceeded, RunnerError)
)
BUG, STOP = RunnerError("x"), RunnerError("x")
BUG.exit_code, STOP.exit_code = 70, 130


def outcome(changes: bool = True, **what: Any) -> Outcome:
    return Outcome(a_plan([a_submit()] if changes else []), **what)


@pytest.mark.parametrize(
    ("what", "without", "waiting"),
    [
        # The table of codes, one by one.
        ({}, 0, 0),
        ({"rows": GOOD}, 0, 0),
        ({"errors": [OTHER]}, 1, 1),
        ({"errors": [LIMIT]}, 3, 3),
        ({"errors": [KEY]}, 4, 4),
        ({"errors": [Refused("x", credentials=True)]}, 4, 4),
        ({"errors": [Refused("x")]}, 1, 1),
        ({"errors": [Busy("x")]}, 1, 1),
        ({"errors": [Unsure("x")]}, 1, 1),
        ({"errors": [STALE]}, 5, 5),
        ({"errors": [CONFLICT]}, 6, 6),
        ({"rows": BAD}, 0, 7),
        ({"rows": BAD, "changes": False}, 7, 7),
        ({"rows": GOOD, "changes": False}, 0, 0),
        ({"timed_out": True}, 8, 8),
        # Rows without an answer yet matter to who waited for all of them.
        ({"rows": LEFT}, 0, 8),
        ({"rows": LEFT, "changes": False}, 0, 8),
        ({"rows": LEFT, "partial": True}, 0, 0),
        ({"rows": {**LEFT, **BAD}, "partial": True}, 0, 7),
        # A start that only a person can settle is no error, unless it was waited for.
        ({"unresolved": STUCK}, 0, 7),
        ({"unresolved": STUCK, "rows": GOOD}, 0, 7),
        ({"unresolved": STUCK, "rows": LEFT}, 0, 7),
        # Warnings never decide.
        ({"warnings": ["w"], "rows": GOOD}, 0, 0),
        # Of two, the graver: 130, 70, then 6, 5, 4, 3, 1, then 8, 7.
        ({"errors": [BUG, STOP]}, 130, 130),
        ({"errors": [CONFLICT, BUG]}, 70, 70),
        ({"errors": [STALE, CONFLICT]}, 6, 6),
        ({"errors": [KEY, STALE]}, 5, 5),
        ({"errors": [LIMIT, KEY]}, 4, 4),
        ({"errors": [OTHER, LIMIT]}, 3, 3),
        ({"errors": [OTHER], "timed_out": True, "rows": BAD}, 1, 1),
        ({"errors": [LIMIT], "rows": BAD, "unresolved": STUCK}, 3, 3),
        ({"timed_out": True, "rows": BAD}, 8, 8),
        ({"rows": {**LEFT, "b": Counts(0, 1)}}, 0, 8),
        ({"timed_out": True, "unresolved": STUCK}, 8, 8),
    ],
)
def test_exit_codes(what: dict[str, Any], without: int, waiting: int) -> None:
    """The whole table and its precedence, without `--wait` and with it."""
    found = outcome(**what)
    assert (found.exit_code(wait=False), found.exit_code(wait=True)) == (without, waiting)


def test_every_error_of_the_tree_has_a_place_in_the_precedence() -> None:
    """None of them can end in 0."""
    kinds = [RunnerError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    codes = {kind.exit_code for kind in kinds}
    for code in codes:
        error = RunnerError("x")
        error.exit_code = code
        assert outcome(errors=[error]).exit_code(wait=False) == code


def test_notes_find_the_plans_own_change() -> None:
    """What became of a planned change stands beside it, the last word counts, and what arose later comes behind."""
    submit, wait = a_submit(), Change("a", Action.WAIT, "running", task="t-1")
    found = Outcome(a_plan([submit, wait]), [submit, wait], ["waiting"] * 2, [""] * 2)
    arose = Change("a", Action.COLLECT, "finished", task="t-1")
    found.note(Change("a", Action.SUBMIT, "other words"), "busy", "429")
    found.note(Change("a", Action.SUBMIT, "other words"), "done")
    found.note(arose, "busy")
    found.note(arose, "done", "in the end")

    assert found.changes == [submit, wait, arose]
    assert found.outcomes == ["done", "waiting", "done"]
    assert found.details == ["", "", "in the end"]


def test_changes_of_two_specs_and_two_tasks_are_kept_apart() -> None:
    """Same action: told apart by spec and by task."""
    found = Outcome(a_plan())
    changes = [Change(spec, Action.COLLECT, "finished", task=task) for spec in "ab" for task in ("t-1", "t-2")]
    for change in changes:
        found.note(change, "done", f"{change.spec} {change.task}")
    assert found.changes == changes
    assert found.details == ["a t-1", "a t-2", "b t-1", "b t-2"]


FAILED = CheckResult("few", "failed", "max", 0.1, "error", 1, 2, ("7",))


def test_a_check_that_fails_is_told_at_once() -> None:
    """By 7, also without `--wait`; one that only warns changes nothing, and what is graver still comes first."""
    told = replace(FAILED, severity="warn")
    plan = a_plan([a_submit()])
    assert Outcome(plan, checks={"a": (told,)}).exit_code(wait=True) == 0
    assert Outcome(plan, checks={"a": (told, FAILED)}).exit_code(wait=False) == 7
    assert Outcome(plan, checks={"a": (FAILED,)}, errors=[RunnerError("no")]).exit_code(wait=False) == 1


def test_json() -> None:
    """The plan's document with an outcome for each change, rows by spec that add up, and each warning once."""
    stuck = a_task("t-9", batch="b", shard="ab" * 32, phase=STAGED)
    found = Outcome(
        a_plan([a_submit()]),
        [a_submit()],
        ["done"],
        ["fine"],
        rows={"a": Counts(5, 3, 1, 2)},
        warnings=["twice", "once", "twice"],
        errors=[RunnerError("no")],
        unresolved=[stuck],
        checks={"a": (FAILED,)},
        ready=["c"],
    )
    plan = found.plan.to_json()

    assert found.to_json() == {
        **plan,
        "changes": [{**plan["changes"][0], "outcome": "done", "detail": "fine"}],
        "rows": {"a": {"succeeded": 5, "failed": 3, "missing": 1, "pending": 2, "total": 11}},
        "checks": {"a": [{**FAILED.to_json(), "share": 0.5, "holds": False}]},
        "ready": ["c"],
        "warnings": ["twice", "once"],
        "errors": ["no"],
        "unresolved": [
            {
                "task": "t-9",
                "spec": "b",
                "name": "b-abababababababab-1",
                "commands": ["runner state adopt t-9 REMOTE_ID", "runner state abandon t-9"],
            }
        ],
    }
