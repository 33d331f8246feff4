"""Reports: readable as they are, and safe whatever the texts in them hold."""

from __future__ import annotations

import re
from typing import Any

import pytest
from builders import a_plan, a_submit, a_task
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import Problem, RunnerError
from runner.limits import Over
from runner.model import Listed, Offer, Price
from runner.outcome import Outcome
from runner.plan import Action, Change, Cost, Plan, Tokens
from runner.report.markdown import escape, inline, marker, plan_markdown
from runner.report.models import model_lines
from runner.report.outcome import outcome_lines, rows_lines
from runner.report.status import batch_rows, status_json, status_lines, task_table
from runner.report.text import (
    error_lines,
    github_lines,
    money,
    plain,
    plan_lines,
    problem_lines,
    total_cost,
    width,
)
from runner.result import Counts
from runner.review import Example, Prompts, Review
from runner.state import BatchState, Coverage, Publication, State
from runner.task import COLLECTED, ENDED, OPEN, STAGED

A = Action
TASK = "t-0123456789ab"
FULL = a_plan(
    [
        Change("gsm8k", A.SETTLE, "whether it started is not known yet", 1_319, 1, TASK),
        Change("gsm8k", A.COLLECT, "finished", 1_319, 1, TASK),
        Change("old", A.CANCEL, "its spec was removed", 1, 1, TASK),
        a_submit("gsm8k", requests=1_319, shards=3, model="mi-9", reason="prompt changed"),
        a_submit("free", requests=1, model=None, cost=None),
        Change("eval", A.PUBLISH, "results arrive"),
        Change("eval", A.WAIT, "Running, 1,005 of 2,000 done", 2_000, 1, TASK),
    ],
    notes=("Offline: no provider was asked.",),
    over=(Over("requests", 1_000, 1_320),),
)
NASTY = "a\x1b[31mb\x07\x9bc\u202ed\u2066e\u200ff\u061cg\rh\ni\tj\u2028k\x00l\x7f"
CLEAN = "a[31mbcdefgh i j kl"


# ---- texts from elsewhere --------------------------------------------------------------------------------------------


def test_plain() -> None:
    """Neither an escape, nor a control character, nor one that turns the writing around, nor a second line."""
    assert plain(NASTY) == CLEAN
    assert plain("中文 é 😀 fine") == "中文 é 😀 fine"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("::error::x", ": :error::x"),
        ("  ::set-output name=a::b", ": :set-output name=a::b"),
        ("\n::error::x", ": :error::x"),
        ("\x1b\u202e::add-mask::x", ": :add-mask::x"),
        ("std::vector", "std::vector"),
        ("x ##[add-mask]y", "x ## [add-mask]y"),
        ("#\x1b#[error]", "## [error]"),
    ],
)
def test_plain_is_no_workflow_command(text: str, safe: str) -> None:
    """What GitHub's runner would take for one, at the beginning of a line or, in its old spelling, anywhere."""
    assert plain(text) == safe


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("\x1b\u202e\n\r:#[ ")))
def test_any_text_is_one_safe_line(text: str) -> None:
    """And making it so twice changes nothing."""
    found = plain(text)
    assert len(f"x{found}".splitlines()) == 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|^\s*::|##\[", found)
    assert plain(found) == found


# ---- a plan for a terminal -------------------------------------------------------------------------------------------


def test_a_plan_as_text() -> None:
    """Every action, in order; the columns of one action line up."""
    assert plan_lines(FULL) == [
        "Offline: no provider was asked.",
        "",
        "  ? gsm8k  settle   t-0123456789ab (1,319 requests), whether it started is not known yet",
        "  < gsm8k  collect  t-0123456789ab (1,319 requests), finished",
        "  - old  cancel   t-0123456789ab (1 request), its spec was removed",
        "  + gsm8k  submit   1,319 requests in 3 tasks, on mi-9, at most 0.42 CNY, prompt changed",
        "  + free   submit   1 request, on a model yet to be chosen, cost unknown, new",
        "  = eval  publish  results arrive",
        "  . eval  wait     t-0123456789ab (2,000 requests), Running, 1,005 of 2,000 done",
        "",
        "Plan: 1 to settle, 1 to collect, 1 to cancel, 2 to submit, 1 to publish, 1 to wait for."
        "  1,320 requests, about 2,000 input tokens, at most 0.42 CNY and cost unknown for 1.",
        "Over a limit: requests 1,320 > 1,000",
        f"Digest {FULL.digest}",
    ]


def test_a_plan_without_changes() -> None:
    """Says so, and still has a digest to approve."""
    plan = a_plan()
    assert plan_lines(plan) == [
        "Nothing to do: every request is answered or given up, and every output is written.",
        f"Digest {plan.digest}",
    ]


def test_an_ordinary_plan_fits_80_columns() -> None:
    """What is new, what came home, and what runs: no line is broken by the terminal."""
    plan = a_plan(
        [
            Change("gsm8k", A.COLLECT, "finished", 1_319, 1, TASK),
            a_submit("gsm8k-styles-brief", requests=1_319, model="mi-9"),
            a_submit("gsm8k-styles-long", requests=1_319, model="mi-9"),
            Change("gsm8k", A.WAIT, "Running, 805 of 1,319 done", 1_319, 1, TASK),
        ]
    )
    assert [line for line in plan_lines(plan) if width(line) > 80 and not line.startswith("Plan: ")] == []


def test_in_80_columns_stands_what_matters() -> None:
    """However long reasons and names are: the action, the spec, how much of what, and the task come first."""
    reason = "x" * 500
    name = "n" * 30
    plan = a_plan(
        [Change(name, A.COLLECT, reason, 1_319, 1, TASK), a_submit(name, reason=reason, requests=1_319, model="mi-9")]
    )
    collect, submit = (line[:80] for line in plan_lines(plan)[:2])
    assert collect.startswith(f"  < {name}  collect  {TASK} (1,319 requests), x")
    assert submit.startswith(f"  + {name}  submit   1,319 requests, on mi-9, ")


def test_a_start_for_a_person_to_decide() -> None:
    """Both commands, each on a line of its own, ready to copy."""
    change = Change("gsm8k", A.SETTLE, "whether it started cannot be looked up (no list); a person decides", 3, 1, TASK)
    assert plan_lines(a_plan([change]))[1:7] == [
        "",
        "Nobody can tell whether task t-0123456789ab of gsm8k was started.",
        "  Look for the task (`runner state show` gives its name) in the provider's console."
        "  If it is there, adopt it:",
        "    runner state adopt t-0123456789ab REMOTE_ID",
        "  If it is not, let its requests be sent again:",
        "    runner state abandon t-0123456789ab",
    ]


@pytest.mark.parametrize(("count", "shown"), [(40, 40), (41, 39), (1_000, 39)])
def test_many_changes_are_counted(count: int, shown: int) -> None:
    """Of one action, forty lines at most; other actions have their own forty."""
    plan = a_plan([*(a_submit(f"s{n:04}") for n in range(count)), Change("w", A.WAIT, "runs", task=TASK)])
    lines = plan_lines(plan)
    assert sum(line.startswith("  + ") for line in lines) == shown
    rest = [line for line in lines if line.startswith("  … ")]
    expected = [f"  … and {count - shown:,} more to submit ({(count - shown) * 10:,} requests)"] if count > 40 else []
    assert (rest, sum(line.startswith("  . ") for line in lines)) == (expected, 1)


def nasty_plan() -> Plan:
    return a_plan(
        [
            Change(NASTY, A.SETTLE, f"{NASTY}; a person decides", 1, 1, NASTY),
            Change(NASTY, A.COLLECT, NASTY, 1, 1, NASTY),
            a_submit(NASTY, model=NASTY, reason=NASTY, cost=Cost(1, NASTY)),
        ],
        notes=(NASTY,),
        over=(Over(NASTY, 1, 2, NASTY),),
    )


def test_nothing_in_a_plan_reaches_the_terminal_as_it_is() -> None:
    """Names, reasons, models, currencies and notes, all from elsewhere."""
    lines = plan_lines(nasty_plan())
    assert [line for line in lines if plain(line) != line] == []
    assert lines[0] == CLEAN
    assert lines[2] == f"  ? {CLEAN}  settle   {CLEAN} (1 request), {CLEAN}; a person decides"


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0.00"), (0.42, "0.42"), (1_234.5, "1,234.50"), (0.1, "0.10"), (0.0123, "0.012"), (1.5e-7, "0.00000015")],
)
def test_money(amount: float, text: str) -> None:
    """Two digits, or as many as a small amount needs: nothing that costs is shown as free."""
    assert money(amount) == text


@pytest.mark.parametrize(
    ("costs", "text"),
    [
        ([Cost(1, "CNY"), Cost(2, "CNY")], "at most 3.00 CNY"),
        ([Cost(1, "USD"), Cost(2, "CNY")], "at most 2.00 CNY and at most 1.00 USD"),
        ([None], "cost unknown"),
        ([None, Cost(2, "CNY"), None], "at most 2.00 CNY and cost unknown for 2"),
    ],
)
def test_total_cost(costs: list[Cost | None], text: str) -> None:
    """By currency; what has no price is never passed over."""
    assert total_cost([a_submit(cost=cost) for cost in costs]) == text


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("中文", 4), ("ｗ", 2), ("é", 1), ("e\u0301", 1), ("", 0)])
def test_width(text: str, columns: int) -> None:
    """Wide characters take two columns, and marks on a letter none."""
    assert width(text) == columns


# ---- an outcome ------------------------------------------------------------------------------------------------------


def outcome(**what: Any) -> Outcome:
    return Outcome(a_plan(), **what)


def test_an_outcome_as_text() -> None:
    """Warnings once each, rows by spec that add up, what was written, and how to go on."""
    written = Change("a", A.PUBLISH, "results arrived")
    found = outcome(
        changes=[written, Change("b", A.PUBLISH, "x")],
        outcomes=["done", "refused"],
        details=["outputs/a.jsonl", "no"],
        rows={"b": Counts(1, 1, 1, 2), "中a": Counts(3)},
        warnings=["twice", "twice", f"{NASTY}"],
    )
    assert outcome_lines(found) == [
        "Warning: twice",
        f"Warning: {CLEAN}",
        "b    1 succeeded, 1 failed, 1 missing, 2 pending of 5 rows",
        "中a  3 succeeded, 0 failed, 0 missing of 3 rows",
        "wrote outputs/a.jsonl",
        "Still on the way: b.  Go on with:",
        "    runner apply --yes --wait",
        "Or watch it with:",
        "    runner status --watch",
        "Look at rows without an answer:",
        "    runner output b --failed",
        "Ask for them again:",
        "    runner retry b",
    ]


def test_an_outcome_that_a_person_has_to_settle() -> None:
    """The task's name to look for, and both commands; waiting longer is not advised."""
    stuck = a_task(TASK, batch="gsm8k", shard="ab" * 32, phase=STAGED)
    assert outcome_lines(outcome(unresolved=[stuck], rows={"gsm8k": Counts(pending=3)})) == [
        "gsm8k  0 succeeded, 0 failed, 0 missing, 3 pending of 3 rows",
        "Nobody can tell whether task t-0123456789ab of gsm8k was started.",
        "  Look for a task named gsm8k-abababababababab-1 in the provider's console.  If it is there, adopt it:",
        "    runner state adopt t-0123456789ab REMOTE_ID",
        "  If it is not, let its requests be sent again:",
        "    runner state abandon t-0123456789ab",
        "  More: runner explain start-unsettled",
    ]


def test_specs_that_are_held_back_are_not_said_to_be_on_their_way() -> None:
    """An apply that was over a limit sent nothing: to run it again would be refused again."""
    held, sent = Change("held", Action.SUBMIT, "", 3), Change("sent", Action.SUBMIT, "", 3)
    came = outcome(rows={"held": Counts(pending=3), "sent": Counts(pending=3)})
    came.note(held, "skipped")
    came.note(sent, "done")
    assert came.on_their_way == ["sent"]
    assert came.awaited == ["held", "sent"]


def test_rows_of_many_specs() -> None:
    """Forty are shown; of the rest, how many and how it stands altogether."""
    lines = rows_lines({f"s{n:02}": Counts(1, 1) for n in range(50)})
    assert len(lines) == 41
    assert lines[-1] == "… and 10 more specs; all together 50 of 100 rows succeeded"


# ---- errors and problems ---------------------------------------------------------------------------------------------


def test_an_error_as_text() -> None:
    """Where, what and why, what to do, and commands on lines of their own."""
    error = RunnerError("the first\nthe second", where="specs/a.yaml:3:1", hint="Do this:", commands=["runner plan"])
    assert error_lines(error) == [
        "Error: specs/a.yaml:3:1: the first",
        "the second",
        "  Do this:",
        "    runner plan",
    ]


@pytest.mark.parametrize("message", ["", "\n", NASTY, "ok\n::error::forged\n  ::add-mask::x", "\x1b]0;title\x07"])
def test_an_error_of_any_text(message: str) -> None:
    """A provider's words end up here: no line of them is obeyed by a terminal or a workflow."""
    for line in error_lines(RunnerError(message, where=message, hint=message)):
        assert plain(line) == line


PROBLEM = Problem("specs/a.yaml", 12, 3, "`colour` is no key", "the nearest is `color`")


def test_problems_as_text() -> None:
    """file:line:column, so that an editor finds the place; the hint below."""
    bare = Problem("specs/b.yaml", 1, 1, NASTY)
    assert problem_lines([PROBLEM, bare]) == [
        "specs/a.yaml:12:3: `colour` is no key",
        "    the nearest is `color`",
        f"specs/b.yaml:1:1: {CLEAN}",
    ]


def test_problems_for_github() -> None:
    """A workflow command each, with the hint in brackets."""
    assert github_lines([PROBLEM, Problem("a b.yaml", 1, 2, "no")]) == [
        "::error file=specs/a.yaml,line=12,col=3::`colour` is no key (the nearest is `color`)",
        "::error file=a b.yaml,line=1,col=2::no",
    ]


@pytest.mark.parametrize(
    ("file", "message", "line"),
    [
        ("a.yaml", "100% sure", "::error file=a.yaml,line=1,col=1::100%25 sure"),
        ("a.yaml", "%0A::error::x", "::error file=a.yaml,line=1,col=1::%250A::error::x"),
        ("a.yaml", "one\n::error::two\rthree", "::error file=a.yaml,line=1,col=1::one ::error::twothree"),
        ("a,line=9.yaml", "x", "::error file=a%2Cline=9.yaml,line=1,col=1::x"),
        ("a::b:c%.yaml", "x", "::error file=a%3A%3Ab%3Ac%25.yaml,line=1,col=1::x"),
        ("a\nb\u202e.yaml", "x", "::error file=a b.yaml,line=1,col=1::x"),
    ],
)
def test_a_problem_cannot_end_its_annotation(file: str, message: str, line: str) -> None:
    """Neither its line, nor its properties, nor with an escape of its own: text stays text."""
    assert github_lines([Problem(file, 1, 1, message)]) == [line]


@pytest.mark.parametrize(("count", "last"), [(9, "no 8"), (10, "no 9"), (11, "2 more"), (500, "491 more")])
def test_at_most_ten_annotations(count: int, last: str) -> None:
    """GitHub shows ten a step: the last of them counts the rest."""
    lines = github_lines([Problem("a.yaml", n + 1, 1, f"no {n}") for n in range(count)])
    assert len(lines) == min(count, 10)
    assert last in lines[-1]
    if count > 10:
        assert lines[-1] == f"::error::{count - 9} more problems; run `runner validate` to see them all"


# ---- a plan for a pull request ---------------------------------------------------------------------------------------


def test_a_plan_as_markdown() -> None:
    """What it costs first, with totals and what is over a limit; other steps folded; the digest last, to approve."""
    submits = [a_submit("gsm8k", requests=1_319, tokens=Tokens(1_000, None)), a_submit("b", cost=Cost(1, "USD"))]
    plan = a_plan([*submits, *FULL.changes[1:3]], over=FULL.over, notes=("Offline.",))
    assert plan_markdown(Review.of(plan, "evals")).split("\n") == [
        "<!-- runner: evals -->",
        "### runner plan of evals",
        "",
        r"> **Over a limit: requests 1,320 \> 1,000**",
        "",
        "> Offline.",
        "",
        "**1,329 requests** to submit, at most 0.42 CNY and at most 1.00 USD.",
        "",
        "| spec | requests | tasks | tokens in / out | cost at most | model | why |",
        "|---|--:|--:|--:|--:|---|---|",
        "| gsm8k | 1,319 | 1 | 1,000 / unknown | 0.42 CNY | m | new |",
        "| b | 10 | 1 | 1,000 / 2,000 | 1.00 USD | m | new |",
        "| **total** | **1,329** | **2** | **2,000 / unknown** | **0.42 CNY and 1.00 USD** | | |",
        "",
        "<details><summary>2 other steps</summary>",
        "",
        "- collect gsm8k `t-0123456789ab`: finished",
        "- cancel old `t-0123456789ab`: its spec was removed",
        "",
        "</details>",
        "",
        f"Digest `{plan.digest}`; to approve this and nothing else:",
        "",
        "```sh",
        f"runner apply --expect {plan.digest}",
        "```",
        "",
    ]


def test_nothing_to_do_as_markdown() -> None:
    """In so many words; there is nothing to approve."""
    plan = a_plan()
    assert plan_markdown(Review.of(plan)) == (
        f"<!-- runner: . -->\n### runner plan\n\nNothing to do.\n\nDigest `{plan.digest}`\n"
    )


def test_prompts_as_markdown() -> None:
    """One row of each, folded; what has nothing to show is said in words."""
    examples = (
        Example("a", "row 1", ("@@", "-Be brief.", "+Be ``` long.")),
        Example("b", "row 2, the same before and after"),
    )
    plan = a_plan([a_submit("a"), a_submit("b")])
    lines = plan_markdown(Review.of(plan, prompts=Prompts(examples, "3 more specs ask otherwise."))).split("\n")
    assert lines[lines.index("3 more specs ask otherwise.") :][:18] == [
        "3 more specs ask otherwise.",
        "",
        "One row of each prompt that is new or asks otherwise:",
        "",
        "<details><summary>a: row 1</summary>",
        "",
        "````diff",
        "@@",
        "-Be brief.",
        "+Be ``` long.",
        "````",
        "",
        "</details>",
        "",
        "- b: row 2, the same before and after",
        "",
        f"Digest `{plan.digest}`; to approve this and nothing else:",
        "",
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (".", "<!-- runner: . -->"),
        ("evals/deep er", "<!-- runner: evals/deep er -->"),
        ("a--b---c-", "<!-- runner: a-%2Db-%2D-c- -->"),
        ("--> <script>", "<!-- runner: -%2D%3E %3Cscript%3E -->"),
        ("a\nb%\u4e2d", "<!-- runner: a%0Ab%25%E4%B8%AD -->"),
    ],
)
def test_marker(name: str, line: str) -> None:
    """One line, hidden whatever the name, and another for each name."""
    assert marker(name) == line


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("[x](http://evil)", r"\[x\]\(http://evil\)"),
        ("<script>", r"\<script\>"),
        ("@team #1 !x", r"\@team \#1 \!x"),
        ("`a` *b* _c_ ~d~", r"\`a\` \*b\* \_c\_ \~d\~"),
        ("a\\", "a\\\\"),
        ("one\n| two |", r"one \| two \|"),
        (NASTY, CLEAN.replace("[", r"\[")),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    """Neither a link, nor a mention, nor markup, nor the end of a table's cell."""
    assert escape(text) == escaped


@pytest.mark.parametrize("specs", [500, 2_000])
def test_a_long_plan_as_markdown(specs: int) -> None:
    """A comment has its limit.  It is cut at whole entries, of each kind some, and says how many it lacks."""
    changes = [a_submit(f"spec-{n:04}", reason="prompt changed") for n in range(specs)]
    steps = [Change(f"w{n}", A.WAIT, "runs", task=TASK) for n in range(specs)]
    examples = tuple(Example(f"spec-{n:04}", "row 1", ("@@", "-" + "a" * 90, "+" + "b" * 90)) for n in range(specs))
    plan = a_plan([*changes, *steps], over=[Over(f"per_spec.s{n}.cost", 1, 2, "CNY") for n in range(specs)])
    text = plan_markdown(Review.of(plan, prompts=Prompts(examples, "")))
    assert 55_000 < len(text) <= 60_000
    shown = {
        "limits": len(re.findall(r"^> \*\*Over", text, re.MULTILINE)),
        "submits": len(re.findall(r"^\| spec-", text, re.MULTILINE)),
        "prompts": len(re.findall(r"^-a{90}$", text, re.MULTILINE)),
        "other steps": len(re.findall(r"^- wait", text, re.MULTILINE)),
    }
    told = ", ".join(f"{specs - count:,} {kind}" for kind, count in shown.items() if count < specs)
    assert f"\n**Left out: {told}.** The rest is in the job summary.\n" in text
    assert shown["submits"] > 100
    assert shown["prompts"] > 10
    total = a_plan(changes).requests
    assert f"| **total** | **{total:,}** |" in text
    assert text.count("<details>") == text.count("</details>") == shown["prompts"] + (shown["other steps"] > 0)
    assert text.count("```") == 2 * (shown["prompts"] + 1)
    assert text.endswith(f"runner apply --expect {plan.digest}\n```\n")


# ---- status ----------------------------------------------------------------------------------------------------------

COVERAGE = Coverage("k", {}, rows=10, requests=10, needs=("t-1",), attempts=3)
PUBLISHED = Publication("k", "outputs/a.jsonl", "sha", Counts(8, 1, 1), 9.0)


@pytest.mark.parametrize(
    ("batch", "task", "expected"),
    [
        (None, None, Counts()),
        (BatchState(covered=COVERAGE), None, Counts(pending=10)),
        (BatchState(covered=COVERAGE), {"phase": OPEN, "requests": 10}, Counts(pending=10)),
        (BatchState(covered=COVERAGE), {"phase": COLLECTED, "counts": (7, 2, 1)}, Counts(7, 2, 1)),
        # What was published is exact, as long as nothing of it is asked again.
        (BatchState(covered=COVERAGE, published=PUBLISHED), {"phase": COLLECTED, "counts": (7, 2, 1)}, Counts(8, 1, 1)),
        (BatchState(covered=COVERAGE, published=PUBLISHED), {"phase": OPEN, "requests": 10}, Counts(pending=10)),
        # A batch whose spec is gone, or that was never covered: as many rows as are on their way.
        (None, {"phase": OPEN, "requests": 4}, Counts(pending=4)),
    ],
)
def test_rows_of_a_batch(batch: BatchState | None, task: dict[str, Any] | None, expected: Counts) -> None:
    """By outcome, as far as the state tells."""
    state = State("L", batches={"a": batch} if batch else {}, tasks={"t-1": a_task(**task)} if task else {})
    assert batch_rows(state, "a") == expected


STATE = State(
    "L",
    batches={"gone": BatchState()},
    tasks={
        "t-1": a_task(phase=OPEN, raw="Running", progress=(3, 1, 1), remote_id="r-1", begun_at=100.0),
        "t-2": a_task("t-2", batch="b", phase=COLLECTED, counts=(2, 1, 0), begun_at=50.0),
        "t-3": a_task("t-3", batch="b", phase=ENDED, ending="failed", error="quota", requests=1_000, begun_at=10.0),
    },
)


def test_status_as_json() -> None:
    """Every spec and every batch that the state knows, by name; tasks by age."""

    def task(id: str, phase: str, requests: int, remote: str | None = None, error: str | None = None) -> dict[str, Any]:
        made = STATE.tasks[id]
        return {
            "task": id,
            "remote_id": remote,
            "phase": phase,
            "requests": requests,
            "done": 2 if id == "t-1" else None,
            "provider": "demo",
            "model": "m",
            "name": made.name,
            "error": error,
        }

    def rows(pending: int = 0, succeeded: int = 0, failed: int = 0) -> dict[str, int]:
        return Counts(succeeded, failed, 0, pending).to_json()

    none = {"checks": [], "waits_for": None}
    assert status_json(STATE, ["new", "a"], {"new": "waits for a"}) == {
        "specs": [
            {"name": "a", "rows": rows(3), "tasks": [task("t-1", "open", 3, "r-1")], **none},
            {
                "name": "b",
                "rows": status_json(STATE, [])["specs"][1]["rows"],
                "tasks": [task("t-3", "ended", 1_000, None, "quota"), task("t-2", "collected", 3)],
                **none,
            },
            {"name": "gone", "rows": rows(), "tasks": [], **none},
            {"name": "new", "rows": rows(), "tasks": [], "checks": [], "waits_for": "waits for a"},
        ]
    }


def test_status_as_text() -> None:
    """Specs with where they stand, then the tasks that are not at rest, oldest first, then what there is to do."""
    assert status_lines(STATE, ["a"], now=100.0 + 7_300) == [
        "a     running        0 succeeded, 0 failed, 0 missing, 3 pending of 3 rows",
        "b     results ready  2 succeeded, 0 failed, 0 missing, 998 pending of 1,000 rows",
        "gone  spec gone      0 succeeded, 0 failed, 0 missing of 0 rows",
        "",
        "TASK  SPEC  PHASE           DONE  REQUESTS  REMOTE ID  EXPIRES     BEGUN",
        "t-3   b     ended           -     1,000     -          -           2h ago",
        "t-1   a     open (Running)  2     3         r-1        in 21h 58m  2h ago",
        "",
        "Collect what has finished, and wait for the rest:",
        "    runner apply --wait",
    ]
    assert status_lines(State(), [], now=0.0) == ["There is no state yet.  Next:", "    runner plan"]


@pytest.mark.parametrize(
    ("age", "text"), [(-5, "0s ago"), (59, "59s ago"), (60, "1m ago"), (3_600, "1h ago"), (200_000, "2d ago")]
)
def test_ages(age: float, text: str) -> None:
    """In the largest unit that fits; a clock that runs ahead is no age below zero."""
    assert task_table([a_task(begun_at=1_000.0)], now=1_000.0 + age)[1].endswith(text)


def test_a_table_of_tasks() -> None:
    """With the time when no age is asked for, wide and hostile names in line; without tasks there is no head."""
    lines = task_table([a_task("t-1", batch="中文"), a_task("t-2", batch=NASTY, begun_at=2_000.0)])
    rest = "begun  -     3         -          -        1970-01-01"
    assert lines[1] == f"t-1   中文{' ' * (len(CLEAN) - 4)}  {rest} 00:16:40Z"
    assert lines[2] == f"t-2   {CLEAN}  {rest} 00:33:20Z"
    assert task_table([]) == []


# ---- models ----------------------------------------------------------------------------------------------------------


def test_models_as_text() -> None:
    """A table that lines up, what is unknown named so, and below each what it lacks."""
    rows = [
        Listed("demo", Offer("mi-9", "Qwen3 8B", context=32_768, inputs=frozenset({"text", "image"}))),
        Listed("wq", Offer("m", "中", price=Price(0.00025, 1, "CNY", True)), ("is stopped", f"no tag {NASTY}")),
    ]
    assert model_lines(rows) == [
        "PROVIDER  ID    NAME      CONTEXT  IN / OUT PER 1K           INPUTS",
        "demo      mi-9  Qwen3 8B  32,768   unknown                   image, text",
        "wq        m     中        unknown  0.00025 / 1 CNY (online)  unknown",
        "    lacks: is stopped",
        f"    lacks: no tag {CLEAN}",
    ]
    assert model_lines([]) == ["No model is on sale."]


def test_a_dollar_begins_no_formula() -> None:
    """GitHub sets what stands between two of them as mathematics, large and in colours if it says so."""
    assert inline("$x$ costs 5 $") == "&#36;x&#36; costs 5 &#36;"


def test_annotations_of_a_project_in_a_folder() -> None:
    """GitHub looks for files from the root of the repository on."""
    assert github_lines([Problem("specs/a.yaml", 3, 5, "wrong")], "jobs/") == [
        "::error file=jobs/specs/a.yaml,line=3,col=5::wrong"
    ]
