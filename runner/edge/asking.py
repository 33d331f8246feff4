"""Many calls in flight at once, from one event loop.

An httpx pool looks at every connection for each request, so that one with a hundred of them is slower than ten with ten
each: the calls are spread over clients of a few connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from runner.edge.http import CONNECT_TIMEOUT, LARGEST_REPLY, Reply, outcomes
from runner.edge.surroundings import LOOPBACK, proxies, ssl_context
from runner.edge.urls import require_url, shown
from runner.errors import Unsure

if TYPE_CHECKING:
    import httpx

EACH = 8
"""Connections of one client."""
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


class Asker:
    """Posts questions, up to ``most`` at once.  To be used and closed in one event loop."""

    def __init__(self, most: int, scrub: Callable[..., str]) -> None:
        import httpx

        logging.getLogger("httpx").setLevel(logging.WARNING)  # below that it logs URLs
        context = ssl_context()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=EACH)
        self._scrub = scrub
        with proxies():
            self._clients = [
                httpx.AsyncClient(
                    verify=context,
                    limits=limits,
                    mounts=dict.fromkeys(LOOPBACK),  # a proxy of the environment cannot reach this machine
                    headers={"user-agent": "batch-runner", "content-type": "application/json"},
                )
                for _ in range(-(-most // EACH))
            ]
        self._busy = [0] * len(self._clients)

    async def ask(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        silence: float,
        whole: float,
        listener: Listener | None = None,
    ) -> Reply:
        """One POST.  ``silence`` and ``whole``: the most seconds without a byte, and until the last one.

        A stream of events goes to ``listener`` packet by packet, and the reply has no data then.  It is read no further
        than to its last event, and how the line ends does not matter once the answer is complete.  Raises Refused, Busy
        or Unsure as :mod:`runner.edge.http` says, for what is no reply at all; a reply of any status is returned.
        """
        import httpx

        where = f"POST {shown(url)}"
        at = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[at] += 1
        timeout = httpx.Timeout(silence, connect=CONNECT_TIMEOUT)
        until = asyncio.get_running_loop().time() + whole
        try:
            with outcomes(where, self._scrub):
                require_url(url)
                call = self._clients[at].stream("POST", url, headers=dict(headers), content=body, timeout=timeout)
                try:
                    async with AsyncExitStack() as stack:
                        async with asyncio.timeout_at(until):
                            response = await stack.enter_async_context(call)
                        return await _read(response, where, until, listener)
                except TimeoutError:
                    raise Unsure(f"no whole answer within {whole:g} s", where=where) from None
        finally:
            self._busy[at] -= 1

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


async def _read(response: httpx.Response, where: str, until: float, listener: Listener | None) -> Reply:
    """Raises TimeoutError at ``until``, a time of the loop's clock, and whatever httpx raises."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    if listener is not None and headers.get("content-type", "").startswith("text/event-stream"):
        await _listen(response, where, until, listener)
        return Reply(response.status_code, headers, b"", where, keyed=True)
    data = bytearray()
    async with asyncio.timeout_at(until):
        async for chunk in response.aiter_bytes():
            data += chunk
            _bound(len(data), where)
    return Reply(response.status_code, headers, bytes(data), where, keyed=True)


async def _listen(response: httpx.Response, where: str, until: float, listener: Listener) -> None:
    import httpx

    size, lingers = 0, False
    try:
        async with asyncio.timeout_at(until) as patience:
            async for chunk in response.aiter_bytes():
                if lingers:
                    continue
                size += len(chunk)
                _bound(size, where)
                listener.hear(chunk)
                if listener.done:
                    lingers = True
                    patience.reschedule(min(until, asyncio.get_running_loop().time() + LINGER))
    except (httpx.HTTPError, TimeoutError):
        if not (listener.done or listener.complete):
            raise
    else:
        listener.end()


def _bound(size: int, where: str) -> None:
    if size > LARGEST_REPLY:
        raise Unsure(f"the answer is larger than {LARGEST_REPLY:,} bytes", where=where)
