"""Many calls in flight at once, from one event loop.

An httpx pool looks at every connection for each request, so that one with a hundred of them is slower than ten with ten
each: the calls are spread over clients of a few connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from runner.edge.http import CONNECT_TIMEOUT, LARGEST_REPLY, LOOPBACK, Reply, outcomes, shown, ssl_context
from runner.errors import Unsure

if TYPE_CHECKING:
    import httpx

EACH = 8
"""Connections of one client."""


class Asker:
    """Posts questions, up to ``most`` at once.  To be used and closed in one event loop."""

    def __init__(self, most: int, scrub: Callable[..., str]) -> None:
        import httpx

        logging.getLogger("httpx").setLevel(logging.WARNING)  # below that it logs URLs
        context = ssl_context()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=EACH)
        self._scrub = scrub
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
        on_event: Callable[[bytes], object] | None = None,
    ) -> Reply:
        """One POST.  ``silence`` and ``whole``: the most seconds without a byte, and until the last one.

        A stream of events goes to ``on_event`` packet by packet, and the reply has no data then.  Raises Refused, Busy
        or Unsure as :mod:`runner.edge.http` says, for what is no reply at all; a reply of any status is returned.
        """
        import httpx

        where = f"POST {shown(url)}"
        at = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[at] += 1
        timeout = httpx.Timeout(silence, connect=CONNECT_TIMEOUT)
        try:
            with outcomes(where, self._scrub):
                try:
                    async with (
                        asyncio.timeout(whole),
                        self._clients[at].stream(
                            "POST", url, headers=dict(headers), content=body, timeout=timeout
                        ) as reply,
                    ):
                        return await _read(reply, where, on_event)
                except TimeoutError:
                    raise Unsure(f"no whole answer within {whole:g} s", where=where) from None
        finally:
            self._busy[at] -= 1

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


async def _read(response: httpx.Response, where: str, on_event: Callable[[bytes], object] | None) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    streams = on_event is not None and headers.get("content-type", "").startswith("text/event-stream")
    data = bytearray()
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > LARGEST_REPLY:
            raise Unsure(f"the answer is larger than {LARGEST_REPLY:,} bytes", where=where)
        if streams and on_event is not None:
            on_event(chunk)
        else:
            data += chunk
    return Reply(response.status_code, headers, bytes(data), where, keyed=True)
