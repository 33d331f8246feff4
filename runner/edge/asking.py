"""Many calls in flight at once, from one event loop: what is asked of a client, and what all of them need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Mapping
from typing import Protocol

from runner.edge.http import LARGEST_REPLY, Reply
from runner.errors import Unsure

LINGER = 0.25
"""Seconds for the line to end in good order, and so to be kept, once a stream has said that this was all."""


class Listener(Protocol):
    """Hears a stream of events."""

    def hear(self, packet: bytes) -> None: ...

    def end(self) -> None:
        """It came to an end in good order."""

    @property
    def done(self) -> bool:
        """The server said that this was all."""

    @property
    def complete(self) -> bool:
        """A whole answer was heard, even if the line breaks now."""


class Asker(Protocol):
    """Posts questions, many at once.  To be used and closed in one event loop."""

    async def ask(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        whole: float,
        listener: Listener | None = None,
    ) -> Reply:
        """One POST.  ``whole``: the most seconds until its last byte.

        A stream of events goes to ``listener`` packet by packet, and the reply has no data then.  It is read no further
        than to its last event, and how the line ends does not matter once the answer is complete.  Raises Refused, Busy
        or Unsure as :mod:`runner.edge.http` says, for what is no reply at all; a reply of any status is returned.
        """

    async def close(self) -> None: ...


async def whole_body(chunks: AsyncIterable[bytes], where: str, until: float) -> bytes:
    """All of them.  Raises Unsure for too many bytes, TimeoutError at ``until``, a time of the loop's clock."""
    data = bytearray()
    async with asyncio.timeout_at(until):
        async for chunk in chunks:
            data += chunk
            bound(len(data), where)
    return bytes(data)


async def hear_out(
    listener: Listener, chunks: AsyncIterable[bytes], where: str, until: float, broken: tuple[type[Exception], ...]
) -> None:
    """Let ``listener`` hear a stream; ``broken``: what a line that breaks or is silent raises."""
    size, lingers = 0, False
    try:
        async with asyncio.timeout_at(until) as patience:
            async for chunk in chunks:
                if lingers:
                    continue
                size += len(chunk)
                bound(size, where)
                listener.hear(chunk)
                if listener.done:
                    lingers = True
                    patience.reschedule(min(until, asyncio.get_running_loop().time() + LINGER))
    except broken:
        if not (listener.done or listener.complete):
            raise
    else:
        listener.end()


def is_events(headers: Mapping[str, str]) -> bool:
    """``headers`` with lower-case names."""
    return headers.get("content-type", "").startswith("text/event-stream")


def bound(size: int, where: str) -> None:
    """Raises Unsure for an answer of so many bytes, or more, that is past keeping."""
    if size > LARGEST_REPLY:
        raise Unsure(f"the answer is larger than {LARGEST_REPLY:,} bytes", where=where)
