"""Many calls in flight over pyreqwest (extra `[fast]`), whose connections are served outside Python's threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from runner.edge.asking import Listener, whole_body
from runner.edge.http import CONNECT_TIMEOUT, Reply, scrubbed
from runner.edge.urls import require_url, shown
from runner.errors import Busy, Refused, Unsure

if TYPE_CHECKING:
    from pyreqwest.exceptions import PyreqwestError
    from pyreqwest.response import Response


class PyreqwestAsker:
    """See :class:`runner.edge.asking.Asker`.  Hears no streams: of one that is cut it gives less than had come."""

    def __init__(self, most: int, scrub: Callable[..., str], silence: float) -> None:
        import certifi
        from pyreqwest.client import ClientBuilder

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
        until = asyncio.get_running_loop().time() + whole
        with scrubbed(self._scrub), _outcomes(where):
            call = self._client.post(url).headers(headers).body_bytes(body).build_streamed()
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout_at(until):
                        response = await stack.enter_async_context(call)
                    return await _read(response, where, until)
            except TimeoutError as error:
                if _is_its_own(error):
                    raise
                raise Unsure(f"no whole answer within {whole:g} s", where=where) from None

    async def close(self) -> None:
        await self._client.close()


@lru_cache(maxsize=64)
def _where(url: str) -> str:
    """How a URL is shown; there are few of them, and many questions.  Raises Refused for one that is none."""
    require_url(url)
    return f"POST {shown(url)}"


async def _read(response: Response, where: str, until: float) -> Reply:
    """Raises TimeoutError at ``until``, a time of the loop's clock, and whatever pyreqwest raises."""
    data = await whole_body(_chunks(response), where, until)
    return Reply(response.status, dict(response.headers.items()), data, where, keyed=True)


async def _chunks(response: Response) -> AsyncIterator[bytes]:
    reader = response.body_reader
    while (chunk := await reader.read_chunk()) is not None:
        yield bytes(chunk)


def _is_its_own(error: TimeoutError) -> bool:
    from pyreqwest.exceptions import PyreqwestError

    return isinstance(error, PyreqwestError)


@contextmanager
def _outcomes(where: str) -> Iterator[None]:
    """Turn what pyreqwest raises into Refused, Busy or Unsure."""
    from pyreqwest.exceptions import BuilderError, PyreqwestError

    try:
        yield
    except BuilderError as error:
        raise Refused(f"not a URL that can be called: {_words(error)}", where=where) from error
    except PyreqwestError as error:
        words = _words(error)
        if not _never_connected(error):
            raise Unsure(f"the connection failed half-way: {words}", where=where) from error
        if "certificate" in words.lower():
            hint = "SSL_CERT_FILE may name the certificates to trust"
            raise Refused(f"its certificate does not verify: {words}", where=where, hint=hint) from error
        raise Busy(f"cannot connect: {words}", where=where) from error


def _never_connected(error: PyreqwestError) -> bool:
    """Whether nothing was sent.  Its `ConnectError` is also raised for a line that is cut after the request was."""
    from pyreqwest.exceptions import ConnectError, ConnectTimeoutError, PoolTimeoutError

    if isinstance(error, ConnectTimeoutError | PoolTimeoutError):
        return True
    return isinstance(error, ConnectError) and "client error (Connect)" in _causes(error)


def _causes(error: PyreqwestError) -> list[str]:
    """What it tells of, the outermost first."""
    return [str(cause["message"]) for cause in getattr(error, "details", {}).get("causes") or []]


def _words(error: PyreqwestError) -> str:
    """The innermost cause: the outer ones repeat the address, whose query may be secret."""
    return next(reversed(_causes(error)), type(error).__name__)
