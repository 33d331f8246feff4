"""One task of an endpoint without batches, as it lies on disk: what is to be asked, and what was answered.

::

    <folder>/<task>/requests.jsonl      the shard as it was cut; there from the start of the task on
    <folder>/<task>/answers.jsonl       one line per request that came to something, appended and flushed
    <folder>/<task>/cancelled           there once somebody asked for a stop
    <folder>/<task>/lock                held by the process that asks

A killed process leaves at most a torn last line of answers, which is forgiven: that request is asked again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from json import dumps, loads
from pathlib import Path
from typing import IO, Any

from runner.edge.files import flush_folder, make_folder, naming

ID = slice(14, 46)
"""Where the custom_id stands in a line that begins ``{"custom_id":"``."""
_GOOD = b'","ok":true'
_HEAD = 120
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Question:
    """One request: its custom_id, the path that it goes to, and its body."""

    id: bytes
    path: str
    body: bytes


@dataclass(frozen=True)
class Tally:
    """Requests answered and failed so far."""

    answered: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        return self.answered + self.failed


def answer_line(id: bytes, status: int, body: bytes, *, ok: bool, attempts: int, exhausted: bool) -> bytes:
    """A line of answers, in the shape of OpenAI's batch results.  ``body``: JSON without a line end."""
    return b'{"custom_id":"%b","ok":%b,"exhausted":%b,"attempts":%d,"response":{"status_code":%d,"body":%b}}\n' % (
        id,
        _word(ok),
        _word(exhausted),
        attempts,
        status,
        body,
    )


def error_line(id: bytes, error: dict[str, Any], *, attempts: int, exhausted: bool) -> bytes:
    """A line for a request of which no answer came at all."""
    return b'{"custom_id":"%b","ok":false,"exhausted":%b,"attempts":%d,"error":%b}\n' % (
        id,
        _word(exhausted),
        attempts,
        dumps(error, ensure_ascii=True).encode(),
    )


def is_exhausted(line: bytes) -> bool:
    """Whether the line is about a request that was asked as often as it may be."""
    return b',"exhausted":true,' in line[:_HEAD]


def _word(value: bool) -> bytes:
    return b"true" if value else b"false"


class Queue:
    """The folder of one task.  Raises OSError for what the disk refuses."""

    def __init__(self, folder: Path, task: str) -> None:
        self.task = task
        self.folder = folder / task
        self._new = self.folder / "requests.new"
        self._requests = self.folder / "requests.jsonl"
        self._answers = self.folder / "answers.jsonl"
        self._cancelled = self.folder / "cancelled"
        self._lock: int | None = None
        self._file: IO[bytes] | None = None

    # Made, looked at, removed

    def fill(self, source: Path) -> None:
        """Copy a shard here, durably, without starting anything."""
        make_folder(self.folder)
        try:
            with source.open("rb") as given, naming(self._new), self._new.open("wb") as new:
                shutil.copyfileobj(given, new, _CHUNK)
                new.flush()
                os.fsync(new.fileno())
        except OSError:
            self.remove()  # a full disk needs the room, and another attempt has another folder
            raise

    def start(self) -> None:
        """From here on it may be asked."""
        with naming(self._requests):
            self._new.replace(self._requests)
        flush_folder(self.folder)

    @property
    def exists(self) -> bool:
        return self._requests.exists()

    def cancel(self) -> None:
        self._cancelled.touch()
        flush_folder(self.folder)

    @property
    def cancelled(self) -> bool:
        return self._cancelled.exists()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def tally(self) -> Tally:
        """Read from disk how far it is."""
        seen: dict[bytes, bool] = {}
        for line in self._lines(self._answers):
            seen[line[ID]] = line[46:].startswith(_GOOD)
        answered = sum(seen.values())
        return Tally(answered, len(seen) - answered)

    def results(self, sink: Callable[[bytes], object]) -> None:
        """Every whole line of answers, as it lies here."""
        size = _whole(self._answers)
        with suppress(FileNotFoundError), self._answers.open("rb") as file:
            while size > 0 and (chunk := file.read(min(_CHUNK, size))):
                size -= len(chunk)
                sink(chunk)

    # Worked on

    def acquire(self) -> bool:
        """Become the one process that asks; False where another one is.  The lock goes with the process."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    @property
    def is_free(self) -> bool:
        """Whether no process asks, this one included."""
        if self._lock is not None or not self.acquire():
            return False
        self.release()
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            os.close(self._lock)
        self._file = self._lock = None

    def open(self) -> set[bytes]:
        """Make ready to append; returns the ids that are answered for.  A torn last line is cut off."""
        answered = {line[ID] for line in self._lines(self._answers)}
        self._answers.touch()
        os.truncate(self._answers, _whole(self._answers))
        self._file = self._answers.open("ab", buffering=0)
        flush_folder(self.folder)
        return answered

    def questions(self, answered: set[bytes]) -> Iterator[Question]:
        """What is still to be asked, in order.  The path is the same in all lines of a shard."""
        path, cut = "", 0
        for line in self._lines(self._requests):
            if not path:
                path = str(loads(line)["url"])
                cut = line.index(b'"body":') + len(b'"body":')
            if line[ID] not in answered:
                yield Question(line[ID], path, line[cut:-2])

    def append(self, lines: Iterable[bytes]) -> None:
        """Add answers, durably: all of them, or none where the disk refuses."""
        assert self._file is not None
        before = os.fstat(self._file.fileno()).st_size
        try:
            with naming(self._answers):
                _write(self._file, b"".join(lines))
                os.fsync(self._file.fileno())
        except OSError:  # half a line must not become the beginning of the next
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), before)
            raise

    @staticmethod
    def _lines(path: Path) -> Iterator[bytes]:
        """Whole lines, line ends included."""
        try:
            with path.open("rb", buffering=_CHUNK) as file:
                yield from (line for line in file if line.endswith(b"\n"))
        except FileNotFoundError:
            return


def _write(file: IO[bytes], data: bytes) -> None:
    """All of ``data``: an unbuffered write may take only a part."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _whole(path: Path) -> int:
    """The size of a file up to its last line end; 0 where there is none."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - _CHUNK)
                file.seek(start)
                at = file.read(end - start).rfind(b"\n")
                if at >= 0:
                    return start + at + 1
                end = start
    except FileNotFoundError:
        pass
    return 0
