"""What a plan or an apply tells the step of a workflow that runs it: outputs, and a summary of the job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.chains import fails_check
from runner.checks import example_keys
from runner.errors import InvalidDocuments, RunnerError
from runner.outcome import Outcome
from runner.plan import Action, Change
from runner.report.markdown import Page, fenced, inline, plan_markdown
from runner.report.text import money, plain
from runner.result import Counts
from runner.review import Review

SUMMARY = 1_000_000
"""Bytes of all summaries of one step; GitHub drops what is larger than 1 MiB, with all that stands in it."""

_ROWS = ("| spec | succeeded | failed | missing | pending | rows |", "|---|--:|--:|--:|--:|--:|")
_IN_THE_LOG = "The rest is in the log."


@dataclass
class Report:
    """What is known so far of a command; whatever ends it, this can be told.

    ``review`` is what apply began with.  ``rows``: by spec, as the state tells; ``outcome`` knows better.
    """

    command: str
    review: Review | None = None
    rows: Mapping[str, Counts] = field(default_factory=dict)
    outcome: Outcome | None = None
    errors: list[RunnerError] = field(default_factory=list)

    def outputs(self) -> str:
        """Lines for the file of a step's outputs.  Each value is one line, so that none can be taken for another."""
        review = self.review
        rows = [*(self.outcome.rows if self.outcome else self.rows).values()]
        submits = _submits(review)
        known = {
            "changes": str(review.has_changes).lower() if review else "",
            "requests": str(sum(change.requests for change in submits)) if review else "",
            "cost": _cost(submits) if review else "",
            "approval": str(bool(submits or _cancels(review))).lower() if review else "",
            "over": str(bool(review.over)).lower() if review else "",
            "digest": review.digest if review else "",
            "pending": str(sum(counts.pending for counts in rows)) if review else "",
            "failed": str(sum(counts.failed + counts.missing for counts in rows)) if review else "",
        }
        return "".join(f"{name}={plain(value)}\n" for name, value in known.items())

    def summary(self, room: int) -> str:
        """Markdown of about ``room`` bytes at most, cut at whole entries."""
        errors = [*self.errors, *(self.outcome.errors if self.outcome else ())]
        page = Page(room // 2 if self.review else room, _bytes)
        _add_errors(page, errors)
        if self.outcome:
            page.room += room // 2
            return _applied(page, self.outcome)
        told = "\n".join([*page.lines, *page.left_out(_IN_THE_LOG)])
        if self.review is None:
            return f"### runner {self.command}\n{told}\n"
        plan = plan_markdown(self.review, room - _bytes(told) - 1, _bytes, _IN_THE_LOG)
        return f"{plan}{told}\n" if told else plan


def _submits(review: Review | None) -> list[Change]:
    return [change for change in review.changes if change.action is Action.SUBMIT] if review else []


def _cancels(review: Review | None) -> list[Change]:
    return [change for change in review.changes if change.action is Action.CANCEL] if review else []


def _cost(submits: Sequence[Change]) -> str:
    """Amounts as a program reads them; nothing where one of them is unknown."""
    sums: dict[str, float] = {}
    for change in submits:
        if change.cost is None:
            return ""
        sums[change.cost.currency] = sums.get(change.cost.currency, 0.0) + change.cost.estimate
    return (
        " + ".join(f"{money(amount).replace(',', '')} {currency}" for currency, amount in sorted(sums.items())) or "0"
    )


def _bytes(text: str) -> int:
    return len(text.encode())


def _add_errors(page: Page, errors: Iterable[RunnerError]) -> None:
    for error in dict.fromkeys(errors):
        where = f"{inline(error.where)}: " if error.where else ""
        page.add("errors", [f"> **Error:** {where}{_lines(error.message)}"], [""])
        if isinstance(error, InvalidDocuments):
            page.add("problems", [f"- {inline(one.where)}: {inline(one.message)}" for one in error.problems], [""])
        if error.hint:
            page.add("hints", [_lines(error.hint)], [""])
        if error.commands:
            page.add("commands", ["\n".join(fenced(error.commands, "sh"))], [""])


def _lines(text: str) -> str:
    return " ".join(inline(line) for line in text.split("\n"))


def _applied(page: Page, outcome: Outcome) -> str:
    page.lines[:0] = ["### runner apply"]
    page.add("warnings", [f"> Warning: {_lines(text)}" for text in dict.fromkeys(outcome.warnings)], [""], share=0.3)
    if outcome.rows:
        rows = [_rows(inline(name), counts) for name, counts in sorted(outcome.rows.items())]
        page.add("specs", rows, ["", *_ROWS], [_rows("**total**", _sum(outcome.rows.values()))], share=0.6)
    page.add("checks", _failed_checks(outcome), [""], share=0.7)
    steps = [*zip(outcome.changes, outcome.outcomes, outcome.details, strict=True)]
    if not steps:
        page.add("notes", ["Nothing to do."], [""])
    head = f"<details><summary>{len(steps):,} step{'s' if len(steps) != 1 else ''}</summary>"
    page.add("steps", (_step(*step) for step in steps), ["", head, ""], ["", "</details>"], share=0.9)
    if commands := _next(outcome):
        page.add("commands", ["\n".join(fenced(commands, "sh"))], ["", "Next:", ""])
    return "\n".join([*page.lines, *page.left_out(_IN_THE_LOG), "", f"Digest `{outcome.plan.digest}`", ""])


def _failed_checks(outcome: Outcome) -> list[str]:
    return [
        f"> {'**Error:**' if result.is_error else 'Warning:'} {inline(fails_check(name, result))}"
        f"{inline(example_keys(result))}"
        for name, results in sorted(outcome.checks.items())
        for result in results
        if not result.holds
    ]


def _rows(name: str, counts: Counts) -> str:
    numbers = (counts.succeeded, counts.failed, counts.missing, counts.pending, counts.total)
    return "| " + " | ".join([name, *(f"{number:,}" for number in numbers)]) + " |"


def _sum(rows: Iterable[Counts]) -> Counts:
    found = [*rows]
    return Counts(*(sum(getattr(counts, name) for counts in found) for name in _COUNTED))


_COUNTED = ("succeeded", "failed", "missing", "pending")


def _step(change: Change, result: str, detail: str) -> str:
    more = f" ({inline(detail)})" if detail else ""
    return f"- {change.action.value} {inline(change.spec)}: {inline(result)}{more}"


def _next(outcome: Outcome) -> list[str]:
    """Commands that go on from here."""
    commands = [
        f"runner state {way}"
        for task in outcome.unresolved
        for way in (f"adopt {task.id} REMOTE_ID", f"abandon {task.id}")
    ]
    if not commands and not outcome.partial and any(counts.pending for counts in outcome.rows.values()):
        commands.append("runner apply --yes --wait")
    commands += ["runner plan"] if outcome.ready else []
    lacking = [name for name, counts in sorted(outcome.rows.items()) if counts.failed or counts.missing]
    return commands + [f"runner retry {name}" for name in lacking[:20]]
