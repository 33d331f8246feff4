"""Write answers to disk: what is written outlives this process, and what is flushed a power cut, too.

Lines are written at the end of the turn of the event loop in which they came.  They are flushed in a thread: all that
were written while the last ones were being flushed go together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from runner.providers.online.queue import Queue


class Entry(NamedTuple):
    """A line for the answers of ``queue``, and what to do once it is on disk."""

    queue: Queue
    line: bytes
    then: Callable[[], None]


class Book:
    """Takes lines from one event loop, in which it has to be made.  ``changed`` is called after every step of them."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = changed
        self._moved = asyncio.Event()
        self._unwritten: list[Entry] = []
        self._written: list[Entry] = []
        self._flushing: list[Entry] = []
        self._batches: SimpleQueue[list[Entry]] = SimpleQueue()
        self._thread = Thread(target=self._serve, name="flushing", daemon=True)
        self._thread.start()
        self.error: OSError | None = None
        """What the disk refused; nothing more is written then."""

    @property
    def unwritten(self) -> int:
        """Lines that this process takes with it if it is killed now."""
        return len(self._unwritten)

    @property
    def unflushed(self) -> int:
        """Lines that a power cut may take, the unwritten among them."""
        return len(self._unwritten) + len(self._written) + len(self._flushing)

    def enter(self, queue: Queue, line: bytes, then: Callable[[], None]) -> None:
        if not self._unwritten:
            self._loop.call_soon(self._write)
        self._unwritten.append(Entry(queue, line, then))

    async def close(self) -> None:
        """Returns when every line is on disk, or the disk has refused one."""
        while self.error is None and self.unflushed:
            self._moved.clear()
            await self._moved.wait()
        self._batches.put([])
        self._thread.join()

    def _write(self) -> None:
        if self.error is not None:
            return
        entries, self._unwritten = self._unwritten, []
        by_queue: dict[Queue, list[bytes]] = {}
        for queue, line, _ in entries:
            by_queue.setdefault(queue, []).append(line)
        try:
            for queue, lines in by_queue.items():
                queue.write(lines)
        except OSError as error:
            self.error = error
        else:
            self._written += entries
            self._flush()
        self._tell()

    def _flush(self) -> None:
        if self._written and not self._flushing:
            self._flushing, self._written = self._written, []
            self._batches.put(self._flushing)

    def _serve(self) -> None:
        """In the thread."""
        while entries := self._batches.get():
            error = _flushed({entry.queue for entry in entries})
            self._loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: OSError | None) -> None:
        entries, self._flushing = self._flushing, []
        if error is not None:
            self.error = self.error or error
        else:
            for entry in entries:
                entry.then()
            self._flush()
        self._tell()

    def _tell(self) -> None:
        self._moved.set()
        self._changed()


def _flushed(queues: Iterable[Queue]) -> OSError | None:
    try:
        for queue in queues:
            queue.flush()
    except OSError as error:
        return error
    return None
