"""What the state knows, by spec and by task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runner.report.checks import remarks
from runner.report.lines import BAD, GOOD, HEED, Line, command, texts
from runner.report.outcome import counts_words, retries
from runner.report.progress import span
from runner.report.text import padded, plain, width
from runner.result import Counts
from runner.state import State, checks_of
from runner.tally import estimate_counts, told_done, until
from runner.task import ENDED, OPEN, STAGED, Task

EMPTY = (Line("There is no state yet.  Next:"), command("runner plan"))

RUNNING, READY, UNSETTLED, CANCELLED = "running", "results ready", "start unsettled", "cancelled"
DONE, INCOMPLETE, UNWRITTEN, UNSENT, GONE = "done", "incomplete", "not written", "not submitted", "spec gone"


@dataclass(frozen=True)
class Standing:
    """Where a spec stands.  ``done``: rows that came to something, with what providers told of open tasks."""

    name: str
    word: str
    rows: Counts
    done: int

    @property
    def tone(self) -> str:
        return {DONE: GOOD, INCOMPLETE: BAD, UNSETTLED: HEED, READY: HEED}.get(self.word, "")


NO_WAITS: Mapping[str, str] = {}


def batch_rows(state: State, name: str) -> Counts:
    """Rows of a batch by outcome, as far as the state tells."""
    known = state.batches.get(name)
    needs = [state.tasks[id] for id in known.covered.needs if id in state.tasks] if known and known.covered else []
    if known and known.published and not any(task.on_its_way for task in needs):
        return known.published.counts
    tasks = needs or state.of(name)
    rows = known.covered.rows if known and known.covered else sum(task.requests for task in tasks if task.on_its_way)
    return estimate_counts(tasks, rows)


def standings(state: State, names: Sequence[str]) -> list[Standing]:
    """Of every spec, and of every batch that the state knows though its spec is gone; by name."""
    moving: dict[str, list[Task]] = {}
    for task in moving_tasks(state):
        moving.setdefault(task.batch, []).append(task)
    unsent = dict.fromkeys(names, UNSENT)
    return [_standing(state, name, moving.get(name, ()), unsent.get(name, GONE)) for name in all_names(state, names)]


def _standing(state: State, name: str, moving: Sequence[Task], unsent: str) -> Standing:
    """``unsent``: the word for one of which rows are still to be sent."""
    rows = batch_rows(state, name)
    told = sum(min(task.requests, told_done(task) or 0) for task in moving if task.phase == OPEN)
    told += sum(task.requests for task in moving if task.phase == ENDED)
    done = min(rows.total, rows.succeeded + rows.failed + rows.missing + told)
    return Standing(name, _word(state, name, rows, moving) or unsent, rows, done)


def _word(state: State, name: str, rows: Counts, moving: Sequence[Task]) -> str:
    """Empty where nothing is on its way, and rows are still to be sent."""
    phases = {task.phase for task in moving}
    known = state.batches.get(name)
    if STAGED in phases:
        return UNSETTLED
    if phases - {ENDED}:
        return RUNNING
    if phases:
        return READY
    if known and known.cancelled:
        return CANCELLED
    if not rows.total or rows.pending:
        return ""
    if known and not known.published:
        return UNWRITTEN
    return DONE if rows.succeeded == rows.total else INCOMPLETE


def status_json(state: State, names: Sequence[str], waits: Mapping[str, str] = NO_WAITS) -> dict[str, Any]:
    """Every spec, and every batch that the state knows though its spec is gone.  ``waits``: what some wait for."""
    return {
        "specs": [
            {
                "name": name,
                "rows": batch_rows(state, name).to_json(),
                "tasks": [_task_json(task) for task in _by_age(state.of(name))],
                "checks": [result.shown() for result in checks_of(state, name)],
                "waits_for": waits.get(name),
            }
            for name in all_names(state, names)
        ]
    }


def _task_json(task: Task) -> dict[str, Any]:
    return {
        "task": task.id,
        "remote_id": task.remote_id or None,
        "phase": task.phase,
        "requests": task.requests,
        "done": told_done(task),
        "provider": task.provider,
        "model": task.model,
        "name": task.name,
        "error": task.error or None,
    }


def status_lines(state: State, names: Sequence[str], now: float, waits: Mapping[str, str] = NO_WAITS) -> list[str]:
    """Row counts by spec, what speaks against them, the tasks that are not at rest, and what there is to do."""
    if not state.lineage:
        return texts(EMPTY)
    found = standings(state, names)
    columns = max((width(plain(one.name)) for one in found), default=0)
    words = max((len(one.word) for one in found), default=0)
    lines = [f"{padded(one.name, columns)}  {one.word:<{words}}  {counts_words(one.rows)}" for one in found]
    lines += texts(remarks(state, [one.name for one in found], waits))
    table = task_table(moving_tasks(state), now)
    steps = texts(next_steps(found))
    return [*lines, *(["", *table] if table else []), *(["", *steps] if steps else [])]


def next_steps(found: Sequence[Standing]) -> list[Line]:
    """A command for each thing that there is to do, by what the state tells."""
    words = {one.word for one in found}
    lines: list[Line] = []
    if words & {RUNNING, READY, UNSETTLED, UNWRITTEN}:
        lines += [Line("Collect what has finished, and wait for the rest:"), command("runner apply --wait")]
    elif UNSENT in words:
        lines += [Line("See what would be submitted:"), command("runner plan")]
    return [*lines, *retries([one.name for one in found if one.word in (INCOMPLETE, CANCELLED)])]


def moving_tasks(state: State) -> list[Task]:
    """Tasks that are not at rest, the oldest first."""
    return _by_age(task for task in state.tasks.values() if task.on_its_way)


def task_table(tasks: Iterable[Task], now: float | None = None) -> list[str]:
    """One line per task, oldest first."""
    rows = [_cells(task, now) for task in _by_age(tasks)]
    if not rows:
        return []
    head = ("TASK", "SPEC", "PHASE", "DONE", "REQUESTS", "REMOTE ID", "EXPIRES", "BEGUN")
    widths = [max(width(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def _cells(task: Task, now: float | None) -> tuple[str, ...]:
    begun = moment(task.begun_at) if now is None else f"{age(now - task.begun_at)} ago"
    done = "-" if (count := told_done(task)) is None else f"{count:,}"
    cells = (task.id, task.batch, phase(task), done, f"{task.requests:,}", task.remote_id or "-", expires(task, now))
    return tuple(map(plain, (*cells, begun)))


def phase(task: Task) -> str:
    """Where a task stands, with the provider's own word for it."""
    return f"{task.phase} ({task.raw})" if task.raw and task.phase == OPEN else task.phase


def expires(task: Task, now: float | None) -> str:
    """When an open task has had the time that its provider was given."""
    if task.phase != OPEN:
        return "-"
    end = until(task)
    if now is None:
        return moment(end)
    return f"in {span(end - now)}" if end > now else "overdue"


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def _by_age(tasks: Iterable[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: (task.begun_at, task.id))


def all_names(state: State, names: Sequence[str]) -> list[str]:
    """Of the specs, and of what the state knows though its spec is gone."""
    return sorted({*names, *state.batches, *(task.batch for task in state.tasks.values())})
