"""The bill: what was asked, what was answered, and what was billed more than once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.simulator.database import Database

REPORTED_DUPLICATES = 1000

_TASK_NAMES = {"id": "task", "rows": "requests", "answered": "billed"}
_TASK_COLUMNS = (
    *("id", "name", "project", "model", "key", "created", "rows", "answered"),
    *("input_tokens", "output_tokens", "cost", "wire"),
)
_TWICE = """
    SELECT custom_id, digest, count(*) AS times FROM requests WHERE billed
    GROUP BY digest, custom_id HAVING count(*) > 1
    UNION ALL
    SELECT '', digest, count(*) FROM online WHERE billed GROUP BY digest HAVING count(*) > 1
"""


def bill(db: Database) -> dict[str, Any]:
    """Every accepted task with what it was billed, the online calls in sum, and what was billed more than once.

    ``requests`` counts the accepted requests, ``billed`` those that were answered, over tasks and online calls.
    ``duplicates`` lists (custom_id, digest) pairs that were billed more than once, at most 1,000 of the
    ``duplicate_count``; an online call's custom_id is empty.
    """
    query = f"SELECT {', '.join(_TASK_COLUMNS)} FROM tasks ORDER BY number"  # noqa: S608 - constants only
    names = [_TASK_NAMES.get(column, column) for column in _TASK_COLUMNS]
    tasks = [dict(zip(names, row, strict=True)) for row in db.read(query)]
    online = _online(db)
    twice = db.read(f"SELECT * FROM ({_TWICE}) ORDER BY custom_id, digest LIMIT {REPORTED_DUPLICATES}")  # noqa: S608
    parts = [*tasks, online]
    return {
        "tasks": tasks,
        "online": online,
        "requests": sum(part["requests"] for part in parts),
        "billed": sum(part["billed"] for part in parts),
        "duplicates": [{"custom_id": id, "digest": digest.hex(), "times": times} for id, digest, times in twice],
        "duplicate_count": db.read(f"SELECT count(*) FROM ({_TWICE})")[0][0],  # noqa: S608 - constants only
        "cost": round(sum(part["cost"] or 0 for part in parts), 8),
        "currency": "CNY",
    }


def _online(db: Database) -> dict[str, Any]:
    sums = ", ".join(f"coalesce(sum({column}), 0)" for column in ("billed", "input_tokens", "output_tokens", "cost"))
    names = ("requests", "billed", "input_tokens", "output_tokens", "cost")
    found = dict(zip(names, db.read(f"SELECT count(*), {sums} FROM online")[0], strict=True))  # noqa: S608
    return {**found, "cost": round(found["cost"], 8)}


def requests(db: Database) -> Iterator[dict[str, Any]]:
    """Every request of every accepted task, oldest task first, then every online call."""
    query = (
        "SELECT r.task, r.position, t.id, r.position, r.custom_id, r.digest, r.input_tokens, r.output_tokens, r.billed"
        " FROM requests r JOIN tasks t ON t.number = r.task"
        " WHERE (r.task, r.position) > (?, ?) ORDER BY r.task, r.position LIMIT 1000"
    )
    yield from _entries(db, query, 2)
    query = (
        "SELECT number, NULL, number, '', digest, input_tokens, output_tokens, billed"
        " FROM online WHERE number > ? ORDER BY number LIMIT 1000"
    )
    yield from _entries(db, query, 1)


def _entries(db: Database, query: str, places: int) -> Iterator[dict[str, Any]]:
    """A query's rows page by page; the first ``places`` columns say where the next page begins."""
    names = ("task", "position", "custom_id", "digest", "input_tokens", "output_tokens", "billed")
    last: tuple[int, ...] = (0,) * places
    while rows := db.read(query, last):
        for row in rows:
            entry = dict(zip(names, row[places:], strict=True))
            yield {**entry, "digest": entry["digest"].hex(), "billed": bool(entry["billed"])}
        last = rows[-1][:places]
