"""Plan, outcome and status for a terminal of any width, by rich, which knows how wide each character is.

Colours are such as can be read on a light and on a dark background.  All text from elsewhere has been through `plain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runner.outcome import Outcome
from runner.plan import Action, Change, Plan
from runner.report.checks import remarks
from runner.report.lines import BAD, FAINT, GOOD, HEAD, HEED, Line, command
from runner.report.outcome import afterwards, counts_words, rows_shown, tone, warnings
from runner.report.status import (
    EMPTY,
    INCOMPLETE,
    NO_WAITS,
    Standing,
    age,
    expires,
    moving_tasks,
    next_steps,
    phase,
    standings,
)
from runner.report.text import (
    NOTHING,
    SIGNS,
    details,
    model,
    money,
    plain,
    plan_decisions,
    shown_of,
    summary,
    width,
)
from runner.result import Counts
from runner.review import Example, Prompts
from runner.state import State
from runner.tally import told_done
from runner.task import Task

NARROW = 72
"""Columns below which entries are stacked instead of standing in a table."""
NO_PROMPTS = Prompts()
STYLES = {GOOD: "green", BAD: "red", HEED: "magenta", FAINT: "dim", HEAD: "bold", "": ""}
BAR = 20
"""Columns of a bar."""

_ACTIONS = {
    Action.SETTLE: "magenta",
    Action.COLLECT: "cyan",
    Action.CANCEL: "red",
    Action.SUBMIT: "green",
    Action.PUBLISH: "cyan",
    Action.WAIT: "",
}
_BEARABLE = 16
"""Columns that a name may be folded into."""
_LEAST = 18
"""Columns that the last column of the plan's table has to have."""
_CHANGED_LINES, _NEW_LINES = 24, 12
"""Lines that are shown of a prompt that has changed, and of one that is new."""


def text_of(line: Line) -> RenderableType:
    """A line that folds between words, and within one only where it is too wide; never a command to copy."""
    text = Text(line.text, STYLES[line.style])
    if line.whole:
        return Text(line.text, STYLES[line.style], no_wrap=True, overflow="ignore")
    if not line.hang:
        return text
    return hanging(line.text, line.hang, STYLES[line.style])


def hanging(text: str, columns: int, style: str = "") -> Table:
    """A text whose further lines are indented by so many columns."""
    table = Table.grid()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    at = _cut(text, columns)
    table.add_row(Text(text[:at], style), Text(text[at:], style))
    return table


def _cut(text: str, columns: int) -> int:
    """How many characters fill the first so many columns."""
    at = 0
    while at < len(text) and width(text[: at + 1]) <= columns:
        at += 1
    return at


def texts_of(lines: Iterable[Line]) -> list[RenderableType]:
    return [text_of(line) for line in lines]


# ---- a plan ----------------------------------------------------------------------------------------------------------


def plan_view(
    plan: Plan, columns: int, prompts: Prompts = NO_PROMPTS, commands: Sequence[str] = (), *, decisions: bool = True
) -> RenderableType:
    """What apply would do, how prompts change, what it costs, and the commands to go on with."""
    parts: list[RenderableType] = [text_of(Line(plain(note), HEED)) for note in plan.notes]
    parts += [Text("")] if parts else []
    parts += _prompts(prompts)
    parts += [_changes(plan, columns)] if plan.changes else [Text(NOTHING)]
    parts += texts_of(plan_decisions(plan)) if decisions else []
    parts += [Text(""), Text(summary(plan), "bold")] if plan.changes else []
    parts += [Text(plain(f"Over a limit: {over}"), "bold red") for over in plan.over]
    parts.append(text_of(Line(f"Digest {plan.digest}", FAINT, whole=True)))
    return Group(*parts, *_next(commands))


def _next(commands: Sequence[str]) -> Iterator[RenderableType]:
    for at, words in enumerate(commands):
        yield Text("Or only if nothing else has changed meanwhile:" if at else "Next:")
        yield text_of(command(plain(words)))


def _changes(plan: Plan, columns: int) -> RenderableType:
    """A table where there is room for one, else one entry below the other."""
    rows = [row for action in Action for row in _rows_of(plan, action)]
    names = max(width(row[1]) for row in rows)
    amounts = max(width(row[3]) for row in rows)
    costs = max(width(row[4]) for row in rows)
    if columns < NARROW or columns - (4 + names + 2 + 7 + 2 + amounts + 2 + costs + 2) < _LEAST:
        return _stacked(plan)
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "left", "right", "right"):
        table.add_column(justify=justify, no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    head = ["    SPEC", "", "REQUESTS" if amounts else "", "AT MOST" if costs else "", ""]
    table.add_row(*(Text(cell, "dim") for cell in head))
    for style, name, action, amount, cost, rest in rows:
        table.add_row(Text(name, style), Text(action, style), amount, cost, Text(rest))
    return table


_Row = tuple[str, str, str, str, str, str]


def _rows_of(plan: Plan, action: Action) -> Iterator[_Row]:
    """Style, sign and name, action, requests, cost and the rest, of every change of a kind that is shown."""
    shown, more = shown_of(plan.of(action))
    for change in shown:
        yield _row(change)
    if more:
        yield "dim", more, "", "", "", ""


def _row(change: Change) -> _Row:
    name = f"  {SIGNS[change.action]} {plain(change.spec)}"
    amount = f"{change.requests:,}" if change.requests else ""
    cost, rest = "", [change.reason, change.task or ""]
    if change.action is Action.SUBMIT:
        cost = plain(f"{money(change.cost.estimate)} {change.cost.currency}") if change.cost else "unknown"
        shards = f"in {change.shards:,} tasks" if change.shards != 1 else ""
        rest = [model(change), shards, change.reason]
    told = plain(", ".join(part for part in rest if part))
    return _ACTIONS[change.action], name, change.action.value, amount, cost, told


def _stacked(plan: Plan) -> RenderableType:
    parts: list[RenderableType] = []
    for action in Action:
        shown, more = shown_of(plan.of(action))
        for change in shown:
            parts.append(hanging(f"  {SIGNS[action]} {plain(change.spec)}", 4, _ACTIONS[action]))
            parts.append(Padding(Text(f"{action.value}: {details(change)}", overflow="fold"), (0, 0, 0, 6)))
        parts += [Text(more, "dim")] if more else []
    return Group(*parts)


def _prompts(prompts: Prompts) -> list[RenderableType]:
    """What the changed specs ask of one row, before and after, as far as there is room."""
    parts: list[RenderableType] = []
    for example in prompts.examples:
        parts += [text_of(Line(plain(f"{example.spec}: {example.note}"), HEAD, hang=2)), *_diff(example), Text("")]
    if prompts.remark:
        parts += [Text(plain(prompts.remark), "dim"), Text("")]
    return parts


def _diff(example: Example) -> Iterator[RenderableType]:
    styles = {"+": "green", "-": "red", "@": "cyan", "…": "dim"}
    lines = example.lines[example.lines[:1] == ("@@",) :]
    most = _CHANGED_LINES if any(line.startswith("-") for line in lines) else _NEW_LINES
    for line in lines[:most]:
        yield hanging(f"    {plain(line)}", 5, styles.get(line[:1], ""))
    if len(lines) > most:
        yield Text(f"    … and {len(lines) - most:,} more lines: runner plan --markdown", "dim")


# ---- an outcome ------------------------------------------------------------------------------------------------------


def outcome_view(outcome: Outcome, columns: int) -> RenderableType:
    """What apply did, and a command for each next step."""
    parts = texts_of(warnings(outcome))
    if outcome.rows:
        parts.append(_rows(outcome, columns))
    return Group(*parts, *texts_of(afterwards(outcome, "runner apply --wait")))


def _rows(outcome: Outcome, columns: int) -> RenderableType:
    shown, more = rows_shown(outcome.rows)
    if columns < NARROW:
        lines = [Line(f"{plain(name)}: {counts_words(counts)}", tone(counts), hang=2) for name, counts in shown]
        return Group(*texts_of(lines), *([Text(more)] if more else []))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    for _ in range(5):
        table.add_column(justify="right", no_wrap=True)
    table.add_row(*(Text(cell, "dim") for cell in ("SPEC", "SUCCEEDED", "FAILED", "MISSING", "PENDING", "ROWS")))
    for name, counts in shown:
        table.add_row(Text(plain(name), STYLES[tone(counts)]), *_cells(counts))
    return Group(table, *([Text(more)] if more else []))


def _cells(counts: Counts) -> Iterator[Text]:
    for count, style in (
        (counts.succeeded, "green"),
        (counts.failed, "red"),
        (counts.missing, "red"),
        (counts.pending, "magenta"),
        (counts.total, ""),
    ):
        yield Text(f"{count:,}", style if count else "dim")


# ---- the status ------------------------------------------------------------------------------------------------------


def status_view(
    state: State,
    names: Sequence[str],
    now: float,
    columns: int,
    most: int | None = None,
    waits: Mapping[str, str] = NO_WAITS,
) -> RenderableType:
    """Specs and tasks, each with how far it is.  ``most``: lines that there is room for; what is done goes first."""
    if not state.lineage:
        return Group(*texts_of(EMPTY))
    found, tasks = standings(state, names), moving_tasks(state)
    steps = next_steps(found)
    remarked = remarks(state, [one.name for one in found], waits)
    room = None if most is None else max(2, most - len(steps) - len(remarked) - 6)
    shown, hidden = _room_for(found, room)
    listed, unlisted = (tasks, 0) if room is None else (tasks[: room - len(shown)], len(tasks) - (room - len(shown)))
    parts: list[RenderableType] = [_standings(shown, columns)]
    parts += [Text(f"… and {hidden:,} more specs", "dim")] if hidden else []
    parts += texts_of(remarked)
    parts += [Text(""), _tasks(listed, now, columns)] if listed else []
    parts += [Text(f"… and {unlisted:,} more tasks", "dim")] if unlisted > 0 else []
    parts += [Text(""), *texts_of(steps)] if steps else []
    return Group(*parts)


def _room_for(found: list[Standing], room: int | None) -> tuple[list[Standing], int]:
    """As many as fit: those that are not done first, by name all the same."""
    if room is None or len(found) <= room:
        return found, 0
    kept = {one.name for one in sorted(found, key=lambda one: (one.tone == GOOD, one.name))[:room]}
    return [one for one in found if one.name in kept], len(found) - room


def _standings(found: Sequence[Standing], columns: int) -> RenderableType:
    rows = [[plain(one.name), _amount(one, columns), _word(one)] for one in found]
    bar = BAR + 2 if columns >= NARROW else 0
    if _least(rows, folding=(0,)) + bar > columns:
        lines = [
            Line(f"{name}: {amount}, {word}", one.tone, hang=2) for one, (name, amount, word) in _both(found, rows)
        ]
        return Group(*texts_of(lines))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    if bar:
        table.add_column(width=BAR)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for one, (name, amount, word) in _both(found, rows):
        drawn = [bar_of(one.done, one.rows.total)] if bar else []
        table.add_row(Text(name, STYLES[one.tone]), *drawn, amount, Text(word, STYLES[one.tone]))
    return table


def _both(found: Sequence[Standing], rows: Sequence[list[str]]) -> Iterator[tuple[Standing, list[str]]]:
    return zip(found, rows, strict=True)


def _least(rows: Sequence[Sequence[str]], folding: Sequence[int]) -> int:
    """Columns that a table of these cells takes when those columns that may fold are as narrow as is bearable."""
    widths = [max(width(row[at]) for row in rows) for at in range(len(rows[0]))]
    return sum(min(size, _BEARABLE) if at in folding else size for at, size in enumerate(widths)) + 2 * len(widths)


def _amount(one: Standing, columns: int) -> str:
    return f"{one.done:,}{' of ' if columns >= NARROW else '/'}{one.rows.total:,}"


def _word(one: Standing) -> str:
    counts = [(one.rows.failed, "failed"), (one.rows.missing, "missing")]
    parts = [f"{count:,} {what}" for count, what in counts if count]
    return ", ".join(parts if one.word == INCOMPLETE else [one.word, *parts])


def bar_of(done: int, total: int, columns: int = BAR) -> ProgressBar:
    return ProgressBar(
        total=max(1, total), completed=done, width=columns, complete_style="green", finished_style="green", style="dim"
    )


_FOLDING = ("SPEC", "PHASE", "REMOTE ID")


def _tasks(tasks: Sequence[Task], now: float, columns: int) -> RenderableType:
    wide, widest = columns >= NARROW, columns >= 110
    head = [
        "TASK",
        *(["SPEC", "PHASE"] if wide else []),
        "DONE",
        "BEGUN",
        "EXPIRES",
        *(["REMOTE ID"] if widest else []),
    ]
    cells = [_task_cells(task, now) for task in tasks]
    rows = [[cell[name] for name in head] for cell in cells]
    if _least([head, *rows], [at for at, name in enumerate(head) if name in _FOLDING]) > columns:
        return Group(*(hanging(", ".join(cell for cell in row if cell != "-"), 2) for row in rows))
    table = Table.grid(padding=(0, 2, 0, 0))
    for name in head:
        right = name == "DONE"
        table.add_column(justify="right" if right else "left", no_wrap=name not in _FOLDING, overflow="fold")
    table.add_row(*(Text(name, "dim") for name in head))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _task_cells(task: Task, now: float) -> dict[str, str]:
    done = told_done(task)
    return {
        "TASK": plain(task.id),
        "SPEC": plain(task.batch),
        "PHASE": plain(phase(task)),
        "DONE": f"{task.requests:,}" if done is None else f"{done:,}/{task.requests:,}",
        "BEGUN": f"{age(now - task.begun_at)} ago",
        "EXPIRES": expires(task, now),
        "REMOTE ID": plain(task.remote_id) or "-",
    }
