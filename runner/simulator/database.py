"""One SQLite file that several threads and several processes may use at a time."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

BUSY_SECONDS = 60


class Database:
    """A writer and a reader on one file; each change is one transaction.  Raises sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        with contextlib.ExitStack() as opened:
            self._writer = opened.enter_context(contextlib.closing(_connect(path)))
            self._reader = opened.enter_context(contextlib.closing(_connect(path)))
            _use_wal(self._writer)
            self._opened = opened.pop_all()

    def close(self) -> None:
        with self._write_lock, self._read_lock:
            self._opened.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed at the end, or taken back by an exception."""
        with self._write_lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # a full disk takes some back by itself
                    self._writer.execute("ROLLBACK")
                raise

    def read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._read_lock:
            return self._reader.execute(query, [_storable(value) for value in values]).fetchall()


def _storable(value: Any) -> Any:
    """A text that holds half a surrogate pair, and so is in no table, as one that can be looked for."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


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
