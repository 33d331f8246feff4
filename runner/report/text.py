"""Plans as plain lines for a log, errors as they are told anywhere, and problems as file:line:column."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from runner.errors import InvalidDocuments, Problem, RunnerError
from runner.explanations import says_more
from runner.plan import A_PERSON_DECIDES, Action, Change, Cost, Plan
from runner.report.lines import FAINT, HEED, Line, command, texts

Paint = Callable[..., str]
"""``paint(text, fg="red", bold=True)``; the identity where there is no colour."""

SIGNS = {
    Action.SETTLE: "?",
    Action.COLLECT: "<",
    Action.CANCEL: "-",
    Action.SUBMIT: "+",
    Action.PUBLISH: "=",
    Action.WAIT: ".",
}
_BREAKS = re.compile(r"[\t\n\u2028\u2029]")
_TURNING = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""The characters that change the direction of writing (Unicode's Bidi_Control)."""
_UNSEEN = (
    r"\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    r"\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""The characters of no width (Unicode's Default_Ignorable_Code_Point): two names that differ in them look the same, and
who compares texts by their meaning, as GitHub's runner does, passes over them."""
_CONTROL = re.compile(rf"[\x00-\x1f\x7f-\x9f{_TURNING}{_UNSEEN}]")
_HALVES = re.compile(r"[\ud800-\udfff]")
"""Halves of surrogate pairs, which no stream can encode."""
_OBEYED = re.compile(rf"[\x7f-\x9f{_TURNING}{_UNSEEN}\u2028\u2029\ud800-\udfff]|(?<=##)\[")
"""What a JSON text may hold as it is, and a terminal, a log or a reader of it would take amiss."""
MOST = 40
"""Lines of one action that are shown in full; the rest is counted."""
NOTHING = "Nothing to do: every request is answered or given up, and every output is written."


def plain(text: str) -> str:
    """Text from elsewhere as part of one line, without what a terminal or a workflow would obey."""
    text = _HALVES.sub("\ufffd", _CONTROL.sub("", _BREAKS.sub(" ", text))).replace("##[", "## [")
    return re.sub(r"^\s*::", ": :", text)


def safe_json(text: str) -> str:
    """A JSON text without what a terminal or a workflow would obey: it is spelt as escapes, and means the same."""
    if text.isascii() and "\x7f" not in text and "##[" not in text:  # most is, and looking closer takes far longer
        return text
    return _OBEYED.sub(lambda found: _escapes(found[0]), text)


def _escapes(char: str) -> str:
    """A character as JSON spells those outside ASCII: in one escape, or in two."""
    return "".join(f"\\u{unit}" for unit in char.encode("utf-16-be", "surrogatepass").hex(" ", 2).split())


def json_line(value: Any) -> str:
    """A value as JSON on one line."""
    return safe_json(json.dumps(value, ensure_ascii=False))


def no_paint(text: str, **_: object) -> str:
    return text


def plan_lines(plan: Plan, *, decisions: bool = True) -> list[str]:
    """What apply would do.  ``decisions``: with the commands for what only a person can settle."""
    lines = [plain(note) for note in plan.notes]
    if lines:
        lines.append("")
    for action in Action:
        lines += _action_lines(plan.of(action))
    if decisions:
        lines += texts(plan_decisions(plan))
    if not plan.changes:
        lines.append(NOTHING)
    else:
        lines += ["", summary(plan)]
    lines += [plain(f"Over a limit: {over}") for over in plan.over]
    lines.append(f"Digest {plan.digest}")
    return lines


def plan_decisions(plan: Plan) -> list[Line]:
    """The commands for what only a person can settle."""
    lines = []
    for change in plan.of(Action.SETTLE):
        if change.reason.endswith(A_PERSON_DECIDES):
            lines += [Line(""), *decision(change.spec, str(change.task))]
    return lines


def shown_of(changes: Sequence[Change]) -> tuple[Sequence[Change], str]:
    """Those of one action that are shown, and a line that counts the rest; empty where there is none."""
    if len(changes) <= MOST:
        return changes, ""
    rest = changes[MOST - 1 :]
    requests = sum(change.requests for change in rest)
    return changes[: MOST - 1], f"  … and {len(rest):,} more to {rest[0].action.value} ({requests:,} requests)"


def _action_lines(changes: Sequence[Change]) -> list[str]:
    shown, more = shown_of(changes)
    columns = max((width(plain(change.spec)) for change in shown), default=0)
    lines = [_change_line(change, columns) for change in shown]
    return [*lines, more] if more else lines


def _change_line(change: Change, columns: int) -> str:
    head = f"  {SIGNS[change.action]} {padded(change.spec, columns)}  {change.action.value:<7}"
    return f"{head}  {details(change)}"


def details(change: Change) -> str:
    """Everything about a change but what it does, and to which spec."""
    parts = [change.reason]
    if change.action is Action.SUBMIT:
        parts = [_amount(change), f"on {model(change)}", _cost(change.cost), *parts]
    elif change.task:
        parts = [f"{change.task} ({_requests(change.requests)})", *parts]
    return plain(", ".join(part for part in parts if part))


def model(change: Change) -> str:
    return change.model or "a model yet to be chosen"


def _amount(change: Change) -> str:
    shards = f" in {change.shards:,} tasks" if change.shards != 1 else ""
    return f"{_requests(change.requests)}{shards}"


def _requests(count: int) -> str:
    return f"{count:,} request{'s' if count != 1 else ''}"


def _cost(cost: Cost | None) -> str:
    if cost is None:
        return "cost unknown"
    return f"at most {money(cost.estimate)} {cost.currency}"


def money(amount: float) -> str:
    """Two digits after the point, or as many as a small amount needs, and never a power of ten."""
    if amount >= 0.1 or amount == 0:
        return f"{amount:,.2f}"
    return f"{Decimal(f'{amount:.2g}'):f}"


def summary(plan: Plan) -> str:
    """How many of what, and what all of it costs."""
    counts = {action: len(plan.of(action)) for action in Action}
    parts = [
        f"{counts[action]:,} to {action.value}" for action in Action if counts[action] and action is not Action.WAIT
    ]
    if counts[Action.WAIT]:
        parts.append(f"{counts[Action.WAIT]:,} to wait for")
    text = "Plan: " + ", ".join(parts) + "."
    submits = plan.of(Action.SUBMIT)
    if submits:
        tokens = sum(change.tokens.input for change in submits if change.tokens)
        text += f"  {_requests(plan.requests)}, about {tokens:,} input tokens, {total_cost(submits)}."
    return plain(text)


def total_cost(submits: Iterable[Change]) -> str:
    """Sums by currency, and how many have no known price."""
    sums: dict[str, float] = {}
    unknown = 0
    for change in submits:
        if change.cost is None:
            unknown += 1
        else:
            sums[change.cost.currency] = sums.get(change.cost.currency, 0.0) + change.cost.estimate
    parts = [f"at most {money(amount)} {currency}" for currency, amount in sorted(sums.items())]
    if unknown:
        parts.append("cost unknown" if not parts else f"cost unknown for {unknown:,}")
    return " and ".join(parts)


def decision(spec: str, task: str, name: str = "") -> list[Line]:
    """What a person has to find out about an interrupted start, and the two commands to choose from."""
    spec, task, name = plain(spec), plain(task), plain(name)
    what = f"a task named {name}" if name else "the task (`runner state show` gives its name)"
    return [
        Line(f"Nobody can tell whether task {task} of {spec} was started.", HEED),
        Line(f"  Look for {what} in the provider's console.  If it is there, adopt it:", hang=2),
        command(f"runner state adopt {task} REMOTE_ID"),
        Line("  If it is not, let its requests be sent again:", hang=2),
        command(f"runner state abandon {task}"),
        *read_on(["start-unsettled"]),
    ]


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    lines = []
    for problem in problems:
        lines.append(plain(f"{problem.where}: {problem.message}"))
        if problem.hint:
            lines.append(f"    {plain(problem.hint)}")
    return lines


def error_lines(error: RunnerError, paint: Paint = no_paint) -> list[str]:
    """What, where, why, what to do, and commands to copy on lines of their own."""
    where = f"{plain(error.where)}: " if error.where else ""
    first, *more = plain_lines(error.message) or [type(error).__name__]
    lines = [paint("Error: ", fg="red", bold=True) + where + first, *more]
    lines += [f"  {line}" for line in plain_lines(error.hint)]
    lines += [f"    {plain(command)}" for command in error.commands]
    codes = (problem.code for problem in error.problems) if isinstance(error, InvalidDocuments) else (error.code,)
    return lines + [paint(line.text, dim=True) for line in read_on(codes)]


def read_on(codes: Iterable[str]) -> list[Line]:
    """Where to read on, one line for each code that has more to say than the error itself."""
    return [Line(f"  More: runner explain {code}", FAINT) for code in sorted(set(codes)) if says_more(code)]


def plain_lines(text: str) -> list[str]:
    return [plain(line) for line in text.split("\n")] if text else []


def github_lines(problems: Sequence[Problem], folder: str = "", most: int = 10) -> list[str]:
    """Workflow commands that annotate lines; GitHub shows ten a step, so that the rest is counted in the last.

    The escapes are those of GitHub's toolkit: text can then end neither the line nor the command.  ``folder``: where
    the project lies in its repository, with a slash behind it.
    """
    lines = [
        f"::error file={_property(folder + p.file)},line={p.line},col={p.column}::"
        + _data(f"{p.message} ({p.hint})" if p.hint else p.message)
        for p in problems[:most]
    ]
    if len(problems) > most:
        lines[-1] = f"::error::{len(problems) - most + 1} more problems; run `runner validate` to see them all"
    return lines


def _data(text: str) -> str:
    return plain(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def padded(text: str, columns: int) -> str:
    return plain(text) + " " * (columns - width(plain(text)))


def width(text: str) -> int:
    """Columns on a terminal: wide characters take two, and marks on a letter none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
