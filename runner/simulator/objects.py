"""Objects in buckets, as BOS keeps them: an index in SQLite beside contents that are kept by their digest.

Each change is one transaction, and several processes may use one index.  Contents stay on disk when their object is
replaced or removed, so that a download under way is not cut short.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST_BUCKET = "demo"
"""The bucket that an account begins with."""
WAIT_SECONDS = 60
SCANNED = 1000

BYTES = "application/octet-stream"
"""The media type of an object that was put without one."""

_LAST = "\U0010ffff"
"""Follows every character that a key is likely to hold."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, etag TEXT NOT NULL, size INTEGER NOT NULL,
    modified REAL NOT NULL, kind TEXT NOT NULL, PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS published (name TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT OR IGNORE INTO buckets VALUES ('{FIRST_BUCKET}');
"""  # noqa: S608 - a constant


@dataclass(frozen=True)
class Object:
    """``digest`` names the kept bytes, ``etag`` is their MD5, ``kind`` a media type; ``modified`` is Unix seconds."""

    bucket: str
    key: str
    digest: str
    etag: str
    size: int
    modified: float
    kind: str = BYTES


@dataclass(frozen=True)
class Page:
    """Part of a listing, in the order of keys.  ``next`` is the marker of what follows, None at the end."""

    objects: Sequence[Object]
    groups: Sequence[str]
    next: str | None


class _Seen:
    """Bytes on their way, measured."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.md5.update(chunk)
            self.size += len(chunk)
            yield chunk


class Objects:
    """All buckets of a simulator.

    ``keep`` puts bytes into the folder ``files`` and returns their digest, which is their name there; the index lies
    beside that folder and appears with its first use.  ``clock`` returns seconds since 1970.
    """

    def __init__(self, files: Path, keep: Callable[[Iterable[bytes]], str], clock: Callable[[], float]) -> None:
        self._files = files
        self._path = files.parent / "bos.sqlite3"
        self._keep = keep
        self._clock = clock

    @contextlib.contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each use: none has to be closed at the end, or shared between threads."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=WAIT_SECONDS, isolation_level=None)) as index:
            index.execute("PRAGMA synchronous = OFF")  # what is committed outlives this process, and that is enough
            if not index.execute("SELECT 1 FROM sqlite_master WHERE name = 'published'").fetchone():
                index.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
            yield index

    def add_bucket(self, name: str) -> bool:
        """False where there is one of that name."""
        with self._index() as index:
            return index.execute("INSERT OR IGNORE INTO buckets VALUES (?)", (name,)).rowcount == 1

    def has_bucket(self, name: str) -> bool:
        with self._index() as index:
            return index.execute("SELECT 1 FROM buckets WHERE name = ?", (name,)).fetchone() is not None

    def content(self, found: Object) -> Path:
        """The file that holds its bytes."""
        return self._files / found.digest

    def kept(self, bucket: str, key: str, chunks: Iterable[bytes], kind: str = BYTES) -> Object:
        """A new object, its bytes kept but not in the index yet; see :meth:`put`."""
        seen = _Seen(chunks)
        digest = self._keep(seen)
        return Object(bucket, key, digest, seen.md5.hexdigest(), seen.size, self._clock(), kind)

    def put(self, found: Object) -> None:
        """Add it, in the place of one with the same key."""
        with self._index() as index:
            index.execute(_PUT, _row(found))

    def publish(self, name: str, found: Iterable[Object]) -> None:
        """Add them all, unless that was done before under the same ``name``."""
        with self._index() as index:
            index.execute("BEGIN IMMEDIATE")
            if index.execute("INSERT OR IGNORE INTO published VALUES (?)", (name,)).rowcount:
                index.executemany(_PUT, map(_row, found))
            index.execute("COMMIT")

    def is_published(self, name: str) -> bool:
        with self._index() as index:
            return index.execute("SELECT 1 FROM published WHERE name = ?", (name,)).fetchone() is not None

    def get(self, bucket: str, key: str) -> Object | None:
        with self._index() as index:
            row = index.execute(f"{_SELECT} WHERE bucket = ? AND key = ?", (bucket, key)).fetchone()
        return Object(*row) if row else None

    def remove(self, bucket: str, key: str) -> bool:
        """False where there is no such object."""
        with self._index() as index:
            return index.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key)).rowcount == 1

    def under(self, bucket: str, prefix: str, after: str = "") -> Iterator[Object]:
        """The objects whose keys begin with ``prefix`` and lie behind ``after``."""
        query = f"{_SELECT} WHERE bucket = ? AND key >= ? AND key > ? AND key < ? ORDER BY key LIMIT {SCANNED}"
        while True:
            with self._index() as index:
                rows = index.execute(query, (bucket, prefix, after, prefix + _LAST)).fetchall()
            yield from (Object(*row) for row in rows)
            if len(rows) < SCANNED:
                return
            after = rows[-1][1]

    def page(self, bucket: str, prefix: str, delimiter: str, marker: str, most: int) -> Page:
        """One page of the objects, those with ``delimiter`` behind the prefix being grouped up to it."""
        found: list[Object] = []
        groups: list[str] = []
        last = marker
        for each in self.under(bucket, prefix, marker):
            head, cut, _ = each.key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            name = f"{prefix}{head}{cut}" if cut else each.key
            if cut and last == name:
                continue  # its group was listed, on this page or before
            if len(found) + len(groups) == most:
                return Page(found, groups, last)
            if cut:
                groups.append(name)
            else:
                found.append(each)
            last = name
        return Page(found, groups, None)


_SELECT = "SELECT bucket, key, digest, etag, size, modified, kind FROM objects"
_PUT = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)"


def _row(found: Object) -> tuple[str, str, str, str, int, float, str]:
    return (found.bucket, found.key, found.digest, found.etag, found.size, found.modified, found.kind)
