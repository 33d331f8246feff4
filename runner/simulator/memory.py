"""What the simulator remembers: uploads, tasks and every request it was asked, in one SQLite file.

Every change is committed before it is answered for, so a killed server forgets nothing it said.  Several processes may
use one folder at a time; each change is one transaction.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from runner.errors import RunnerError
from runner.simulator.faults import Fault, parse_faults

BUSY_SECONDS = 60
REPORTED_DUPLICATES = 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS uploads (
    token TEXT PRIMARY KEY, project TEXT NOT NULL, file_name TEXT NOT NULL, created REAL NOT NULL, digest TEXT
);
CREATE TABLE IF NOT EXISTS tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, project TEXT NOT NULL,
    model TEXT NOT NULL, file_name TEXT NOT NULL, digest TEXT NOT NULL, max_wait REAL NOT NULL, key TEXT NOT NULL,
    created REAL NOT NULL, rows INTEGER NOT NULL, answered INTEGER NOT NULL, failed INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost REAL, error TEXT NOT NULL, fate TEXT NOT NULL,
    ended REAL
);
CREATE INDEX IF NOT EXISTS tasks_by_name ON tasks (project, name);
CREATE TABLE IF NOT EXISTS requests (
    task INTEGER NOT NULL, position INTEGER NOT NULL, custom_id TEXT NOT NULL, digest BLOB NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, billed INTEGER NOT NULL,
    PRIMARY KEY (task, position)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Task:
    """An accepted task.  ``key`` is a digest of the caller's key, ``digest`` names the uploaded file's bytes.

    ``error`` is why the whole task fails, empty when it does not.  ``cost`` is None where the model has no price.
    """

    id: str
    name: str
    project: str
    model: str
    file_name: str
    digest: str
    max_wait: float
    key: str
    created: float
    rows: int
    answered: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    error: str
    fate: tuple[Fault, ...]
    ended: float | None = None
    """Set once somebody was told that it ended, so that a slower restart does not take it back."""


_COLUMNS = tuple(field.name for field in fields(Task))
_SELECT_TASK = f"SELECT {', '.join(_COLUMNS)} FROM tasks"  # noqa: S608 - the columns are constants

RequestRow = tuple[int, str, bytes, int, int, int]
"""position, custom_id, digest, input tokens, output tokens, billed (0 or 1)"""


class Memory:
    """The folder ``data``: ``memory.sqlite3`` beside ``files`` (uploads by digest) and ``results`` (by task)."""

    def __init__(self, data: Path) -> None:
        self.files = data / "files"
        self.results = data / "results"
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        with contextlib.ExitStack() as opened:
            try:
                for folder in (self.files, self.results):
                    folder.mkdir(parents=True, exist_ok=True)
                self._writer = opened.enter_context(contextlib.closing(_connect(data / "memory.sqlite3")))
                self._reader = opened.enter_context(contextlib.closing(_connect(data / "memory.sqlite3")))
                self._prepare()
                self.secret = str(self._read("SELECT value FROM secret")[0][0]).encode()
            except (OSError, sqlite3.Error) as error:
                raise RunnerError(
                    f"the simulator's memory cannot be opened: {error}",
                    where=str(data),
                    hint="name a folder that can be written, or remove the broken one",
                ) from None
            self._opened = opened.pop_all()

    def _prepare(self) -> None:
        _use_wal(self._writer)
        with self._writing() as db:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            if db.execute("SELECT count(*) FROM secret").fetchone()[0] == 0:
                db.execute("INSERT INTO secret VALUES (?)", (secrets.token_hex(32),))

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            self._opened.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._read_lock:
            return self._reader.execute(query, values).fetchall()

    # uploads

    def add_upload(self, token: str, project: str, file_name: str, now: float) -> None:
        with self._writing() as db:
            db.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, NULL)", (token, project, file_name, now))

    def has_upload(self, token: str) -> bool:
        return bool(self._read("SELECT 1 FROM uploads WHERE token = ?", (token,)))

    def fill_upload(self, token: str, digest: str) -> None:
        with self._writing() as db:
            db.execute("UPDATE uploads SET digest = ? WHERE token = ?", (digest, token))

    def uploaded(self, token: str, project: str) -> str | None:
        """The digest of what was uploaded with this token, None when nothing was."""
        found = self._read("SELECT digest FROM uploads WHERE token = ? AND project = ?", (token, project))
        return found[0][0] if found else None

    # tasks

    def add_task(self, task: Task, requests: Sequence[RequestRow]) -> None:
        """The task and all of its requests, or nothing."""
        fate = json.dumps([rule.to_json() for rule in task.fate])
        values = [fate if name == "fate" else getattr(task, name) for name in _COLUMNS]
        marks = ", ".join("?" * len(_COLUMNS))
        with self._writing() as db:
            number = db.execute(
                f"INSERT INTO tasks ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 - constants only
                values,
            ).lastrowid
            db.executemany(f"INSERT INTO requests VALUES ({number}, ?, ?, ?, ?, ?, ?)", requests)  # noqa: S608

    def mark_ended(self, task: Task, ended: float) -> None:
        with self._writing() as db:
            db.execute("UPDATE tasks SET ended = ? WHERE id = ? AND ended IS NULL", (ended, task.id))

    def task(self, identity: str) -> Task | None:
        found = self._read(f"{_SELECT_TASK} WHERE id = ?", (identity,))
        return _task(found[0]) if found else None

    def tasks(self, project: str, name: str | None, before: float, page: int, size: int) -> tuple[int, list[Task]]:
        """How many tasks of the project were created by ``before``, and one page of them, newest first."""
        where, values = "WHERE project = ? AND created <= ?", [project, before]
        if name is not None:
            where, values = f"{where} AND name = ?", [*values, name]
        total = self._read(f"SELECT count(*) FROM tasks {where}", values)[0][0]  # noqa: S608 - constants only
        page_of = f"{_SELECT_TASK} {where} ORDER BY number DESC LIMIT ? OFFSET ?"
        return total, [_task(row) for row in self._read(page_of, [*values, size, (page - 1) * size])]

    # the bill

    def bill(self) -> dict[str, Any]:
        """Every accepted task with what it was billed, and every request that was billed more than once.

        ``requests`` counts the accepted requests, ``billed`` those that were answered.  ``duplicates`` lists
        (custom_id, digest) pairs that were billed more than once, at most 1,000 of the ``duplicate_count``.
        """
        columns = "id, name, project, model, key, created, rows, answered, input_tokens, output_tokens, cost"
        names = ("task", "name", "project", "model", "key", "created", "requests", "billed", *columns.split(", ")[8:])
        tasks = [
            dict(zip(names, row, strict=True))
            for row in self._read(f"SELECT {columns} FROM tasks ORDER BY number")  # noqa: S608 - constants only
        ]
        twice = "FROM requests WHERE billed GROUP BY digest, custom_id HAVING count(*) > 1"
        duplicates = self._read(
            f"SELECT custom_id, hex(digest), count(*) {twice} ORDER BY custom_id LIMIT {REPORTED_DUPLICATES}"
        )
        return {
            "tasks": tasks,
            "requests": sum(task["requests"] for task in tasks),
            "billed": sum(task["billed"] for task in tasks),
            "duplicates": [{"custom_id": c, "digest": d.lower(), "times": n} for c, d, n in duplicates],
            "duplicate_count": self._read(f"SELECT count(*) FROM (SELECT 1 {twice})")[0][0],  # noqa: S608
            "cost": round(sum(task["cost"] or 0 for task in tasks), 8),
            "currency": "CNY",
        }

    def requests(self) -> Iterator[dict[str, Any]]:
        """Every request of every accepted task, oldest task first."""
        last = (0, 0)
        query = (
            "SELECT r.task, r.position, t.id, r.custom_id, hex(r.digest), r.input_tokens, r.output_tokens, r.billed"
            " FROM requests r JOIN tasks t ON t.number = r.task"
            " WHERE (r.task, r.position) > (?, ?) ORDER BY r.task, r.position LIMIT 1000"
        )
        while rows := self._read(query, last):
            for _, position, task, custom_id, digest, given, answered, billed in rows:
                yield {
                    "task": task,
                    "position": position,
                    "custom_id": custom_id,
                    "digest": digest.lower(),
                    "input_tokens": given,
                    "output_tokens": answered,
                    "billed": bool(billed),
                }
            last = rows[-1][:2]


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def _use_wal(db: sqlite3.Connection) -> None:
    """Write ahead: a commit then outlives the process without a flush to the platter, and readers never wait."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:  # the switch does not wait while another process switches
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    db.execute("PRAGMA synchronous = NORMAL")


def _task(row: Sequence[Any]) -> Task:
    values = dict(zip(_COLUMNS, row, strict=True))
    return Task(**{**values, "fate": parse_faults(json.loads(values["fate"]))})
