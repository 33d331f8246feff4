"""Many calls in flight over httpx, which is always there.

An httpx pool looks at every connection for each request, so that one with a hundred of them is slower than ten with ten
each: the calls are spread over clients of a few connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from runner.edge.asking import Listener, hear_out, is_events, whole_body
from runner.edge.http import CONNECT_TIMEOUT, Reply, outcomes
from runner.edge.surroundings import LOOPBACK, proxies, ssl_context
from runner.edge.urls import require_url, shown
from runner.errors import Unsure

if TYPE_CHECKING:
    import httpx

EACH = 8
"""Connections of one client."""


class HttpxAsker:
    """See :class:`runner.edge.asking.Asker`."""

    def __init__(self, most: int, scrub: Callable[..., str], silence: float) -> None:
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
                    timeout=httpx.Timeout(silence, connect=CONNECT_TIMEOUT),
                )
                for _ in range(-(-most // EACH))
            ]
        self._busy = [0] * len(self._clients)

    async def ask(
        self, url: str, headers: Mapping[str, str], body: bytes, *, whole: float, listener: Listener | None = None
    ) -> Reply:
        where = f"POST {shown(url)}"
        at = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[at] += 1
        until = asyncio.get_running_loop().time() + whole
        try:
            with outcomes(where, self._scrub):
                require_url(url)
                call = self._clients[at].stream("POST", url, headers=dict(headers), content=body)
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
    import httpx

    headers = {name.lower(): value for name, value in response.headers.items()}
    data = b""
    if listener is not None and is_events(headers):
        await hear_out(listener, response.aiter_bytes(), where, until, (httpx.HTTPError, TimeoutError))
    else:
        data = await whole_body(response.aiter_bytes(), where, until)
    return Reply(response.status_code, headers, data, where, keyed=True)
