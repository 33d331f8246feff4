"""Many calls in flight over pyreqwest (extra `[fast]`), whose connections are served outside Python's threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from pathlib import Path

import certifi
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import (
    PoolTimeoutError,
    PyreqwestError,
    RequestTimeoutError,
)
from pyreqwest.response import Response

from runner.edge.asking import Listener, bound
from runner.edge.http import CONNECT_TIMEOUT, Reply, scrubbed
from runner.edge.urls import require_url, shown
from runner.errors import Busy, ProviderError, Refused, Unsure

NEVER_CONNECTED = "client error (Connect)"
"""Among the causes of an error: there was no connection, and so nothing was sent."""


class PyreqwestAsker:
    """See :class:`runner.edge.asking.Asker`.  Hears no streams: of one that is cut it gives less than had come.

    A call that is cancelled goes on unheard until its time is up, or the process ends: pyreqwest does not hang up then.
    """

    def __init__(self, most: int, scrub: Callable[..., str], silence: float) -> None:
        self._scrub = scrub
        self._client = (
            ClientBuilder()
            .http1_only()
            .no_proxy()
            .follow_redirects(False)
            .connect_timeout(timedelta(seconds=CONNECT_TIMEOUT))
            .read_timeout(timedelta(seconds=silence))
            .pool_max_idle_per_host(most)
            .user_agent("batch-runner")
            .add_root_certificate_pem(Path(certifi.where()).read_bytes())  # a machine may have none; httpx trusts these
            .default_headers({"content-type": "application/json"})
            .build()
        )

    async def ask(
        self, url: str, headers: Mapping[str, str], body: bytes, *, whole: float, listener: Listener | None = None
    ) -> Reply:
        assert listener is None
        where = _where(url)
        try:
            request = self._client.post(url).headers(headers).body_bytes(body).timeout(timedelta(seconds=whole))
            async with request.build_streamed() as response:
                data = await _body(response, where)
                return Reply(response.status, response.headers, data, where, keyed=True)
        except (PyreqwestError, ValueError) as error:
            with scrubbed(self._scrub):
                raise _outcome(error, where, whole) from error

    async def close(self) -> None:
        await self._client.close()


@lru_cache(maxsize=64)
def _where(url: str) -> str:
    """How a URL is shown; there are few of them, and many questions.  Raises Refused for one that is none."""
    require_url(url)
    return f"POST {shown(url)}"


async def _body(response: Response, where: str) -> bytes:
    """All of it.  Raises Unsure for too much, and whatever pyreqwest raises."""
    reader, data = response.body_reader, bytearray()
    while (chunk := await reader.read_chunk()) is not None:
        data += chunk
        bound(len(data), where)
    return bytes(data)


def _outcome(error: PyreqwestError | ValueError, where: str, whole: float) -> ProviderError:
    """What pyreqwest raised, as Refused, Busy or Unsure.

    The class of an error does not tell whether anything was sent: its `ConnectTimeoutError` stands for a server that is
    silent, too, and its `ConnectError` for a line that is cut after the question.
    """
    causes = _causes(error)
    words = next(reversed(causes), str(error))  # the outer ones repeat the address, whose query may be secret
    if isinstance(error, ValueError):
        return Refused(f"not a URL that can be called: {words}", where=where)
    if isinstance(error, PoolTimeoutError) or NEVER_CONNECTED in causes:
        if "certificate" in words.lower():
            hint = "SSL_CERT_FILE may name the certificates to trust"
            return Refused(f"its certificate does not verify: {words}", where=where, hint=hint)
        return Busy(f"cannot connect: {words}", where=where)
    if isinstance(error, RequestTimeoutError):
        return Unsure(f"no whole answer within {whole:g} s", where=where)
    return Unsure(f"the connection failed half-way: {words}", where=where)


def _causes(error: Exception) -> list[str]:
    """What it tells of, the outermost first."""
    details = getattr(error, "details", None) or {}
    return [str(cause["message"]) for cause in details.get("causes") or []]
