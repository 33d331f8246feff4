"""Plans, outcomes and the status as a terminal shows them: of any width, nothing lost, nothing obeyed."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from builders import a_plan, a_submit, a_task
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from runner.checks import CheckResult
from runner.failures import Failures
from runner.outcome import Outcome, Used
from runner.plan import A_PERSON_DECIDES, Action, Change
from runner.report.outcome import outcome_lines
from runner.report.status import standings, status_lines
from runner.report.terminal import outcome_view, plan_view, status_view
from runner.report.text import plain, width
from runner.result import Counts
from runner.review import Example, Prompts
from runner.state import BatchState, Coverage, Publication, State
from runner.task import COLLECTED, ENDED, OPEN, STAGED

NAMES = st.text(st.sampled_from("ab-中文😀e\u0301\x1b\u202e\n"), max_size=40).map("a".__add__)
WIDTHS = st.integers(20, 130)


def shown(view: RenderableType, columns: int) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=columns, height=40, markup=False, emoji=False, highlight=False)
    console.print(view, crop=False)
    return [line.rstrip() for line in out.getvalue().split("\n")]


def letters(text: str) -> str:
    """What is left of a text when spaces and line breaks do not count."""
    return "".join(text.split())


# ---- plans -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(NAMES, NAMES, WIDTHS)
def test_any_plan_fits_any_width(name: str, words: str, columns: int) -> None:
    """No line but a command to copy is wider, no wide character is split, and every word is there."""
    changes = [
        Change(name, Action.COLLECT, words, 1_319, 1, "t-0123456789ab"),
        a_submit(name, reason=words, requests=1_000_000, model=words),
        Change(name, Action.WAIT, f"Running, 805 of 1,319 done {words}", 1_319, 1, "t-0123456789ab"),
    ]
    prompts = Prompts((Example(name, words, ("@@", f"-{words}", f"+{words * 20}")),), words)
    plan = a_plan(changes, notes=(words,))
    commands = ["runner apply", f"runner apply --expect {plan.digest}"]
    lines = shown(plan_view(plan, columns, prompts, commands), columns)
    whole = {f"    {command}" for command in commands} | {f"Digest {plan.digest}"}
    assert [line for line in lines if width(line) > columns and line not in whole] == []
    assert whole <= set(lines)
    text = letters("".join(lines))
    for part in (letters(plain(name)), letters(plain(words)), letters(f"+{plain(words * 20)}"), "1,000,000"):
        assert part in text
    assert [line for line in lines if plain(line) != line] == []


def test_a_plan_in_columns() -> None:
    """Numbers and costs stand below each other, whatever the names are made of."""
    plan = a_plan([a_submit("中文", requests=1_319, model="mi-9"), a_submit("a-longer-name", requests=7, cost=None)])
    assert shown(plan_view(plan, 80), 80)[:3] == [
        "    SPEC                   REQUESTS   AT MOST",
        "  + 中文           submit     1,319  0.42 CNY  mi-9, new",
        "  + a-longer-name  submit         7   unknown  m, new",
    ]


def test_a_plan_in_a_narrow_window() -> None:
    """One entry below the other."""
    plan = a_plan([a_submit("中文", requests=1_319, model="mi-9", shards=3)])
    assert shown(plan_view(plan, 40), 40)[:3] == [
        "  + 中文",
        "      submit: 1,319 requests in 3 tasks,",
        "      on mi-9, at most 0.42 CNY, new",
    ]


def test_a_long_prompt_is_cut() -> None:
    """So that the plan below it stays on the screen; it says by how much, and how to see all."""
    lines = ("@@", *(f"+line {number}" for number in range(500)))
    text = shown(plan_view(a_plan(), 80, Prompts((Example("a", "row 1, new", lines),))), 80)
    assert len([line for line in text if line.startswith("    +line ")]) == 12
    assert "    … and 488 more lines: runner plan --markdown" in text


def test_many_changes_are_counted_on_a_terminal_too() -> None:
    """Forty lines of one action at most."""
    lines = shown(plan_view(a_plan([a_submit(f"s{number:04}") for number in range(1_000)]), 80), 80)
    assert len([line for line in lines if line.startswith("  + ")]) == 39
    assert any("… and 961 more to submit (9,610 requests)" in line for line in lines)


def test_a_person_gets_the_commands_to_decide_with() -> None:
    """Whole, however narrow the window is."""
    change = Change("a", Action.SETTLE, f"unknown; {A_PERSON_DECIDES}", 3, 1, "t-0123456789ab")
    lines = shown(plan_view(a_plan([change]), 30), 30)
    assert "    runner state adopt t-0123456789ab REMOTE_ID" in lines


# ---- outcomes --------------------------------------------------------------------------------------------------------


def failures(*pairs: tuple[str, str, str]) -> Failures:
    found = Failures()
    for code, message, key in pairs:
        found.add(code, message, key)
    return found


def an_outcome(**what: Any) -> Outcome:
    return Outcome(a_plan(), **what)


WRONG = [("blocked", "row 1 was blocked", "a"), ("missing", "no line", "b"), ("blocked", "row 2 was blocked", "c")]
WENT_WRONG = an_outcome(
    rows={"gsm8k": Counts(7, 2, 1), "eval": Counts(5)},
    failures={
        "gsm8k": failures(*WRONG),
        "eval": Failures(),
    },
    used=Used(1_000, 2_000, (("CNY", 0.31, 0.71),)),
)


def test_what_went_wrong_and_what_it_cost() -> None:
    """Alike put together with a row to look at, the largest first; then the commands, one below the other."""
    assert outcome_lines(WENT_WRONG) == [
        "eval   5 succeeded, 0 failed, 0 missing of 5 rows",
        "gsm8k  7 succeeded, 2 failed, 1 missing of 10 rows",
        "Rows of gsm8k without an answer:",
        "  2 blocked: row 1 was blocked (such as row a)",
        "  1 missing: no line (such as row b)",
        "  More: runner explain missing",
        "Used 1,000 input and 2,000 output tokens, 0.31 CNY of at most 0.71.",
        "Look at rows without an answer:",
        "    runner output gsm8k --failed",
        "Ask for them again:",
        "    runner retry gsm8k",
    ]


def test_many_kinds_of_failure_are_counted() -> None:
    """Five are shown of a spec."""
    found = failures(*((f"code-{chr(97 + number)}", "x", "k") for number in range(20)))
    lines = outcome_lines(an_outcome(failures={"a": found}))
    assert len([line for line in lines if "code-" in line]) == 5
    assert lines[-1] == "  15 for other reasons"


def test_many_specs_are_retried_by_one_command() -> None:
    """Three are looked at; a command for each of hundreds would help nobody."""
    lines = outcome_lines(an_outcome(rows={f"s{number}": Counts(0, 1) for number in range(9)}))
    assert [line for line in lines if "runner output" in line] == [f"    runner output s{n} --failed" for n in range(3)]
    assert [line for line in lines if "runner retry" in line] == ["    runner retry '*'"]


@settings(max_examples=60, deadline=None)
@given(NAMES, NAMES, WIDTHS)
def test_any_outcome_fits_any_width(name: str, words: str, columns: int) -> None:
    """As a plan does."""
    written = Change(name, Action.PUBLISH, "x")
    outcome = an_outcome(
        changes=[written],
        outcomes=["done"],
        details=[words],
        rows={name: Counts(1_000_000, 2, 3, 4)},
        warnings=[words * 5],
        failures={name: failures((words, words, words))},
        used=Used(1, 1, ((words, 1.0, 1.0),)),
    )
    lines = shown(outcome_view(outcome, columns), columns)
    assert [line for line in lines if width(line) > columns and not line.startswith("    runner ")] == []
    assert letters(plain(name)) in letters("".join(lines))
    assert [line for line in lines if plain(line) != line] == []


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([a_task(tokens=(1_000, 500), price=(0.001, 0.002), cost=0.1, currency="CNY")], (("CNY", 0.002, 0.1),)),
        ([a_task(tokens=(1_000, 500), cost=0.1, currency="CNY")], ()),
        ([a_task(tokens=(1_000, 500), price=(0.001, 0.002))], ()),
        ([a_task(price=(0.001, 0.002), cost=0.1)], ()),  # the provider counted no tokens: that was not free
    ],
)
def test_what_was_used(tasks: list[Any], expected: tuple[tuple[str, float, float], ...]) -> None:
    """Costs stand beside their estimate only where both are known of the same task."""
    assert Used.of(tasks).paid == expected
    assert Used.of([*tasks, *tasks]).input == 2 * tasks[0].tokens[0]


# ---- the status ------------------------------------------------------------------------------------------------------

COVERED = Coverage("k", {}, rows=3, requests=3, needs=("t-1",), attempts=3)
WRITTEN = Publication("k", "o", "s", Counts(3), 9.0)
MIXED = replace(WRITTEN, counts=Counts(1, 2))


@pytest.mark.parametrize(
    ("batch", "task", "word", "done", "command"),
    [
        (None, {}, "not submitted", 0, "runner plan"),
        (BatchState(covered=COVERED), {"phase": OPEN, "progress": (3, 1, 1)}, "running", 2, "runner apply --wait"),
        (BatchState(covered=COVERED), {"phase": STAGED}, "start unsettled", 0, "runner apply --wait"),
        (BatchState(covered=COVERED), {"phase": ENDED, "ending": "failed"}, "results ready", 3, "runner apply --wait"),
        (
            BatchState(covered=COVERED),
            {"phase": COLLECTED, "counts": (3, 0, 0)},
            "not written",
            3,
            "runner apply --wait",
        ),
        (BatchState(covered=COVERED, published=WRITTEN), {"phase": COLLECTED, "counts": (3, 0, 0)}, "done", 3, ""),
        (BatchState(covered=COVERED, published=MIXED), {"phase": COLLECTED}, "incomplete", 3, "runner retry a"),
        (BatchState(covered=COVERED, cancelled=True), {"phase": COLLECTED}, "cancelled", 0, "runner retry a"),
    ],
)
def test_where_a_spec_stands(
    batch: BatchState | None, task: dict[str, Any], word: str, done: int, command: str
) -> None:
    """In a word, in rows that came to something, and in the command to go on with."""
    tasks = {"t-1": a_task(**task)} if task else {}
    state = State("L", batches={"a": batch} if batch else {}, tasks=tasks)
    (found,) = standings(state, ["a"])
    assert (found.word, found.done) == (word, done)
    commands = [line.strip() for line in status_lines(state, ["a"], 2_000.0) if line.startswith("    runner ")]
    assert command in commands or not command
    assert bool(commands) == bool(command)


@settings(max_examples=40, deadline=None)
@given(NAMES, WIDTHS)
def test_any_status_fits_any_width(name: str, columns: int) -> None:
    """As a plan does."""
    task = a_task(batch=name, phase=OPEN, raw=name, remote_id=name, requests=1_000_000, progress=(9, 5, 0))
    state = State("L", batches={name: BatchState()}, tasks={"t-1": task})
    lines = shown(status_view(state, [], 100_000.0, columns), columns)
    assert [line for line in lines if width(line) > columns and not line.startswith("    runner ")] == []
    assert letters(plain(name)) in letters("".join(lines))
    assert [line for line in lines if plain(line) != line] == []


def test_a_status_has_room_for_what_matters() -> None:
    """In a window of forty lines, what is done goes first, and what is left out is counted."""
    done = BatchState(covered=replace(COVERED, needs=()), published=WRITTEN)
    tasks = {f"t-{n}": a_task(f"t-{n}", batch=f"z{n:02}", phase=OPEN) for n in range(30)}
    state = State("L", batches={f"a{n:02}": done for n in range(50)}, tasks=tasks)
    lines = shown(status_view(state, [], 2_000.0, 80, most=40), 80)
    assert len(lines) <= 40
    assert len([line for line in lines if re.match(r"z\d\d ", line)]) == 30
    assert any(re.fullmatch(r"… and \d+ more specs", line) for line in lines)


def test_what_holds_up_stands_in_both() -> None:
    """Checks that fail and who waits for whom, on a terminal as in a log; what a check's name would do there is not."""
    failed = CheckResult("few\x1b[2J", "failed", "max", 0.0, "error", 1, 2, ("7",))
    published = Publication("k", "o", "s", Counts(1, 1), 0.0, checks=(failed,))
    state = State("l", batches={"a": BatchState(published=published)})
    waits = {"b": "a fails its check"}
    for lines in (
        shown(status_view(state, ["a", "b"], 0.0, 100, waits=waits), 100),
        status_lines(state, [], 0.0, waits),
    ):
        assert "\x1b" not in "".join(lines)
        told = letters("".join(lines))
        assert letters("a fails its check `few[2J`: 50% of the rows failed or are missing (1 of 2)") in told
        assert letters("b a fails its check") in told
