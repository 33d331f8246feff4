"""What the state knows, by spec and by task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from runner.report.text import Paint, check_lines, no_paint, plain, rows_lines, width
from runner.result import Counts
from runner.state import State, checks_of
from runner.tally import estimate_counts
from runner.task import Task

_NO_WAITS: Mapping[str, str] = {}


def batch_rows(state: State, name: str) -> Counts:
    """Rows of a batch by outcome, as far as the state tells."""
    known = state.batches.get(name)
    needs = [state.tasks[id] for id in known.covered.needs if id in state.tasks] if known and known.covered else []
    if known and known.published and not any(task.on_its_way for task in needs):
        return known.published.counts
    tasks = needs or state.of(name)
    rows = known.covered.rows if known and known.covered else sum(task.requests for task in tasks if task.on_its_way)
    return estimate_counts(tasks, rows)


def status_json(state: State, names: Sequence[str], waits: Mapping[str, str] = _NO_WAITS) -> dict[str, Any]:
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
        "done": _done(task),
        "provider": task.provider,
        "model": task.model,
        "name": task.name,
        "error": task.error or None,
    }


def status_lines(
    state: State,
    names: Sequence[str],
    now: float,
    paint: Paint = no_paint,
    waits: Mapping[str, str] = _NO_WAITS,
) -> list[str]:
    """Row counts by spec, checks that fail, what waits for another, then the tasks that are not at rest."""
    if not state.lineage:
        return ["There is no state yet.  Next:", "    runner plan"]
    lines = rows_lines({name: batch_rows(state, name) for name in all_names(state, names)}, paint)
    for name in all_names(state, names):
        lines += check_lines(name, checks_of(state, name), paint)
    lines += [plain(f"{name} {reason}") for name, reason in sorted(waits.items())]
    moving = [task for task in _by_age(state.tasks.values()) if task.on_its_way]
    return [*lines, *(["", *task_table(moving, now)] if moving else [])]


def task_table(tasks: Iterable[Task], now: float | None = None) -> list[str]:
    """One line per task, oldest first."""
    rows = [_cells(task, now) for task in _by_age(tasks)]
    if not rows:
        return []
    head = ("TASK", "SPEC", "PHASE", "DONE", "REQUESTS", "REMOTE ID", "BEGUN")
    widths = [max(width(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def _cells(task: Task, now: float | None) -> tuple[str, ...]:
    begun = datetime.fromtimestamp(task.begun_at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if now is not None:
        begun = f"{_age(now - task.begun_at)} ago"
    phase = f"{task.phase} ({task.raw})" if task.raw and task.phase == "open" else task.phase
    done = "-" if (count := _done(task)) is None else f"{count:,}"
    return tuple(map(plain, (task.id, task.batch, phase, done, f"{task.requests:,}", task.remote_id or "-", begun)))


def _done(task: Task) -> int | None:
    """Requests that came to something, as the provider counted them when it was last asked; None: it did not say."""
    _, succeeded, failed = task.progress
    return None if succeeded is None and failed is None else (succeeded or 0) + (failed or 0)


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def _by_age(tasks: Iterable[Task]) -> list[Task]:
    return sorted(tasks, key=lambda task: (task.begun_at, task.id))


def all_names(state: State, names: Sequence[str]) -> list[str]:
    """Of the specs, and of what the state knows though its spec is gone."""
    return sorted({*names, *state.batches, *(task.batch for task in state.tasks.values())})
