"""What the simulator remembers: files, tasks and every request it was asked, in one SQLite file and two folders.

Every change is committed before it is answered for, so a killed server forgets nothing it said.  Several processes may
use one folder at a time; each change is one transaction.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from runner.errors import RunnerError
from runner.simulator import bill
from runner.simulator.database import Database
from runner.simulator.faults import Fault, parse_faults

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS uploads (
    token TEXT PRIMARY KEY, project TEXT NOT NULL, file_name TEXT NOT NULL, created REAL NOT NULL, digest TEXT
);
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, project TEXT NOT NULL, name TEXT NOT NULL,
    purpose TEXT NOT NULL, created REAL NOT NULL, ready REAL NOT NULL, digest TEXT, size INTEGER, task TEXT,
    deleted INTEGER NOT NULL DEFAULT 0
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
CREATE TABLE IF NOT EXISTS online (
    number INTEGER PRIMARY KEY AUTOINCREMENT, wire TEXT NOT NULL, model TEXT NOT NULL, digest BLOB NOT NULL,
    created REAL NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, billed INTEGER NOT NULL,
    cost REAL
);
"""

_ADDED_TO_TASKS = {
    "wire": "TEXT NOT NULL DEFAULT 'wanqing'",
    "extra": "TEXT NOT NULL DEFAULT '{}'",
    "error_code": "TEXT NOT NULL DEFAULT ''",
    "error_line": "INTEGER",
    "finished": "INTEGER",
    "cancelled": "REAL",
    "deleted": "INTEGER NOT NULL DEFAULT 0",
}
"""Columns that a memory of an older version lacks."""


@dataclass(frozen=True)
class Task:
    """An accepted task.  ``key`` is a digest of the caller's key, ``digest`` names the uploaded file's bytes.

    ``error`` is why the whole task fails, empty when it does not; ``error_code`` is one word for it, ``error_line`` the
    line of the file that is to blame.  ``cost`` is None where the model has no price.  ``extra`` is what the wire wants
    to have back.
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
    wire: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    error_code: str = ""
    error_line: int | None = None
    finished: int | None = None
    """Of a cancelled task: how many rows, from the first, were finished by then."""
    cancelled: float | None = None
    """When somebody asked for an end."""
    ended: float | None = None
    """Set once somebody was told that it ended, so that a slower restart does not take it back."""

    def suffers(self, do: str) -> Fault | None:
        """The rule of its fate that does ``do``."""
        return next((rule for rule in self.fate if rule.do == do), None)


@dataclass(frozen=True)
class StoredFile:
    """A file with an id: uploaded bytes by their digest, or one part of a task's results, which is made when asked for.

    ``ready`` is when it has been processed.
    """

    id: str
    project: str
    name: str
    purpose: str
    created: float
    ready: float
    digest: str | None = None
    size: int | None = None
    task: str | None = None


_COLUMNS = tuple(field.name for field in fields(Task))
_FILE_COLUMNS = tuple(field.name for field in fields(StoredFile))
_SELECT_TASK = f"SELECT {', '.join(_COLUMNS)} FROM tasks"  # noqa: S608 - the columns are constants
_SELECT_FILE = f"SELECT {', '.join(_FILE_COLUMNS)} FROM files"  # noqa: S608 - the columns are constants

RequestRow = tuple[int, str, bytes, int, int, int]
"""position, custom_id, digest, input tokens, output tokens, billed (0 or 1)"""


class Memory:
    """The folder ``data``: ``memory.sqlite3`` beside ``files`` (uploads by digest) and ``results`` (by task)."""

    def __init__(self, data: Path) -> None:
        self.files = data / "files"
        self.results = data / "results"
        with contextlib.ExitStack() as opened:
            try:
                for folder in (self.files, self.results):
                    folder.mkdir(parents=True, exist_ok=True)
                self._db = opened.enter_context(contextlib.closing(Database(data / "memory.sqlite3")))
                self._prepare()
                self.secret = str(self._db.read("SELECT value FROM secret")[0][0]).encode()
            except (OSError, sqlite3.Error) as error:
                raise RunnerError(
                    f"the simulator's memory cannot be opened: {error}",
                    where=str(data),
                    hint="name a folder that can be written, or remove the broken one",
                ) from None
            opened.pop_all()

    def _prepare(self) -> None:
        with self._db.writing() as db:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            there = {row[1] for row in db.execute("PRAGMA table_info(tasks)")}
            for column, kind in _ADDED_TO_TASKS.items():
                if column not in there:
                    db.execute(f"ALTER TABLE tasks ADD COLUMN {column} {kind}")
            if db.execute("SELECT count(*) FROM secret").fetchone()[0] == 0:
                db.execute("INSERT INTO secret VALUES (?)", (secrets.token_hex(32),))

    def close(self) -> None:
        self._db.close()

    # uploads by token

    def add_upload(self, token: str, project: str, file_name: str, now: float) -> None:
        with self._db.writing() as db:
            db.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, NULL)", (token, project, file_name, now))

    def has_upload(self, token: str) -> bool:
        return bool(self._db.read("SELECT 1 FROM uploads WHERE token = ?", (token,)))

    def fill_upload(self, token: str, digest: str) -> None:
        with self._db.writing() as db:
            db.execute("UPDATE uploads SET digest = ? WHERE token = ?", (digest, token))

    def uploaded(self, token: str, project: str) -> str | None:
        """The digest of what was uploaded with this token, None when nothing was."""
        found = self._db.read("SELECT digest FROM uploads WHERE token = ? AND project = ?", (token, project))
        return found[0][0] if found else None

    # files by id

    def add_file(self, file: StoredFile) -> None:
        """Remember the file; one that is known already stays as it is."""
        values = [getattr(file, name) for name in _FILE_COLUMNS]
        with self._db.writing() as db:
            db.execute(f"INSERT OR IGNORE INTO files {_placed(_FILE_COLUMNS)}", values)

    def file(self, project: str, identity: str) -> StoredFile | None:
        found = self._db.read(f"{_SELECT_FILE} WHERE project = ? AND id = ? AND NOT deleted", (project, identity))
        return StoredFile(*found[0]) if found else None

    def list_files(self, project: str, purpose: str | None, after: str | None, size: int) -> list[StoredFile]:
        """Up to ``size`` files, newest first, beginning behind the file ``after``."""
        where, values = "WHERE project = ? AND NOT deleted", [project]
        if purpose is not None:
            where, values = f"{where} AND purpose = ?", [*values, purpose]
        if after is not None:
            where += " AND number < (SELECT number FROM files WHERE id = ?)"
            values = [*values, after]
        query = f"{_SELECT_FILE} {where} ORDER BY number DESC LIMIT ?"
        return [StoredFile(*row) for row in self._db.read(query, [*values, size])]

    def delete_file(self, identity: str) -> None:
        with self._db.writing() as db:
            db.execute("UPDATE files SET deleted = 1 WHERE id = ?", (identity,))

    # tasks

    def add_task(self, task: Task, requests: Sequence[RequestRow]) -> None:
        """The task and all of its requests, or nothing."""
        values = [_stored(name, getattr(task, name)) for name in _COLUMNS]
        with self._db.writing() as db:
            number = db.execute(f"INSERT INTO tasks {_placed(_COLUMNS)}", values).lastrowid
            db.executemany(f"INSERT INTO requests VALUES ({number}, ?, ?, ?, ?, ?, ?)", requests)  # noqa: S608

    def mark_ended(self, task: Task, ended: float) -> None:
        with self._db.writing() as db:
            db.execute("UPDATE tasks SET ended = ? WHERE id = ? AND ended IS NULL", (ended, task.id))

    def mark_cancelled(self, task: Task) -> None:
        """Keep what ``task`` says of its cancelling and its rows, unless it ended or was cancelled before."""
        changed = ("finished", "cancelled", "answered", "failed", "input_tokens", "output_tokens", "cost")
        values = [getattr(task, name) for name in changed]
        settings = ", ".join(f"{name} = ?" for name in changed)
        condition = "id = ? AND ended IS NULL AND cancelled IS NULL"
        with self._db.writing() as db:
            done = db.execute(f"UPDATE tasks SET {settings} WHERE {condition}", [*values, task.id])  # noqa: S608
            if done.rowcount:
                db.execute(
                    "UPDATE requests SET billed = 0, input_tokens = 0, output_tokens = 0"
                    " WHERE task = (SELECT number FROM tasks WHERE id = ?) AND position > ?",
                    (task.id, task.finished),
                )

    def delete_task(self, identity: str) -> None:
        """Show the task no more; its bill stays."""
        with self._db.writing() as db:
            db.execute("UPDATE tasks SET deleted = 1 WHERE id = ?", (identity,))

    def task(self, identity: str) -> Task | None:
        found = self._db.read(f"{_SELECT_TASK} WHERE id = ? AND NOT deleted", (identity,))
        return _task(found[0]) if found else None

    def tasks(self, project: str, name: str | None, before: float, page: int, size: int) -> tuple[int, list[Task]]:
        """How many tasks of the project were created by ``before``, and one page of them, newest first."""
        where, values = "WHERE project = ? AND created <= ? AND NOT deleted", [project, before]
        if name is not None:
            where, values = f"{where} AND name = ?", [*values, name]
        total = self._db.read(f"SELECT count(*) FROM tasks {where}", values)[0][0]  # noqa: S608 - constants only
        page_of = f"{_SELECT_TASK} {where} ORDER BY number DESC LIMIT ? OFFSET ?"
        return total, [_task(row) for row in self._db.read(page_of, [*values, size, (page - 1) * size])]

    def tasks_beside(self, project: str, mark: str | None, before: float, size: int, *, newer: bool) -> list[Task]:
        """Up to ``size`` tasks older than the task ``mark``, newest first; with ``newer`` the next newer ones."""
        where, values = "WHERE project = ? AND created <= ? AND NOT deleted", [project, before]
        if mark is not None:
            where += f" AND number {'>' if newer else '<'} (SELECT number FROM tasks WHERE id = ?)"  # noqa: S608
            values = [*values, mark]
        query = f"{_SELECT_TASK} {where} ORDER BY number {'ASC' if newer else 'DESC'} LIMIT ?"
        found = [_task(row) for row in self._db.read(query, [*values, size])]
        return found[::-1] if newer else found

    # online calls and the bill

    def add_online(self, wire: str, model: str, now: float, request: RequestRow, cost: float | None) -> None:
        """One online call; its position and custom_id are not kept."""
        _, _, digest, given, answered, billed = request
        columns = ("wire", "model", "digest", "created", "input_tokens", "output_tokens", "billed", "cost")
        with self._db.writing() as db:
            values = (wire, model, digest, now, given, answered, billed, cost)
            db.execute(f"INSERT INTO online {_placed(columns)}", values)

    def bill(self) -> dict[str, Any]:
        """See :func:`runner.simulator.bill.bill` for the shape."""
        return bill.bill(self._db)

    def requests(self) -> Iterator[dict[str, Any]]:
        """Every request of the bill."""
        return bill.requests(self._db)


def _placed(columns: Sequence[str]) -> str:
    return f"({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _stored(name: str, value: Any) -> Any:
    if name == "fate":
        return json.dumps([rule.to_json() for rule in value])
    return json.dumps(value) if name == "extra" else value


def _task(row: Sequence[Any]) -> Task:
    values = dict(zip(_COLUMNS, row, strict=True))
    read = {"fate": parse_faults(json.loads(values["fate"])), "extra": json.loads(values["extra"])}
    return Task(**{**values, **read})
