"""Write answers to disk: all that came in while the last ones were being flushed go together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from runner.providers.online.queue import Queue

_Entry = tuple[Queue, bytes, "asyncio.Future[None]"]


class Book:
    """Takes lines from one event loop, and says when each is on disk."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._wake = asyncio.Event()
        self._closed = False

    async def enter(self, queue: Queue, line: bytes) -> None:
        """Returns when the line is on disk.  Raises OSError."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._entries.append((queue, line, done))
        self._wake.set()
        await asyncio.shield(done)

    def close(self) -> None:
        self._closed = True
        self._wake.set()

    async def write(self) -> None:
        while self._entries or not self._closed:
            await self._wake.wait()
            self._wake.clear()
            entries, self._entries = self._entries, []
            if not entries:
                continue
            error = await asyncio.to_thread(_append, entries)
            for _, _, done in entries:
                if done.cancelled():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)


def _append(entries: Sequence[_Entry]) -> OSError | None:
    by_queue: dict[str, tuple[Queue, list[bytes]]] = {}
    for queue, line, _ in entries:
        by_queue.setdefault(queue.task, (queue, []))[1].append(line)
    try:
        for queue, lines in by_queue.values():
            queue.append(lines)
    except OSError as error:
        return error
    return None
