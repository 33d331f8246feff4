"""HTTP as providers need it: every call comes to a reply or to Refused, Busy or Unsure.

=============================================================  =======  =========================================
what happened                                                  raised   why
=============================================================  =======  =========================================
no connection: refused, unresolved, timed out, no proxy        Busy     nothing was sent, so nothing was made
429                                                            Busy     the server says so
a certificate that does not verify, a URL that is none, 3xx,   Refused  nothing was made, and trying again is vain
any other 4xx
408, 5xx, a cut or silent connection, an answer past reading   Unsure   it may have had its effect
=============================================================  =======  =========================================

Only what may be repeated is repeated (``retry=True``): a call that costs money is sent once, over a connection of its
own, because a kept one that the server has just closed would leave nobody knowing.  httpx is loaded at the first call.
"""

from __future__ import annotations

import hashlib
import io
import logging
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from json import dumps, loads
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from runner.edge.progress import Moved, Progress, Silent
from runner.edge.secrets import Scrubber
from runner.edge.surroundings import LOOPBACK, proxies, proxy_for, ssl_context
from runner.edge.urls import require_url, same_origin, shown, with_query
from runner.errors import Busy, ProviderError, Refused, Unsure
from runner.progress import DOWNLOADING, UPLOADING

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
CONNECTIONS = 10
"""An httpx pool looks at every connection for each request: it slows down from about 20 on."""
LARGEST_REPLY = 64_000_000
"""Bytes.  Results are not replies: they are streamed by :meth:`Http.download`."""
SIGNED = 8
"""Characters from which on a value in a link's query may be a signature."""
REDIRECTS = 5
"""Of one download."""
PAUSES = (0.5, 1.0, 3.0)
"""Seconds between tries, each times 0.5 to 1.5."""
PATIENCE = 10.0
"""No new try begins later than this many seconds after the first."""

_KEY_HEADERS = frozenset({"authorization", "apikey", "api-key", "x-api-key"})


@dataclass(frozen=True)
class Reply:
    """A whole answer.  ``headers`` have lower-case names; ``keyed``: the request carried a key."""

    status: int
    headers: Mapping[str, str]
    data: bytes
    where: str = ""
    """The method and the URL without its query, for messages."""
    keyed: bool = False

    def json(self) -> Any:
        """The body as JSON.  Raises Unsure: whoever answers gibberish may have done anything."""
        try:
            return loads(self.data)
        except (ValueError, RecursionError):
            raise Unsure(f"the answer ({self.status}) is not JSON: {self.text}", where=self.where) from None

    @property
    def text(self) -> str:
        return self.data[:4_000].decode("utf-8", errors="replace")


def judge_status(reply: Reply) -> None:
    """Raise for any status but 2xx, as the table at the top has it."""
    status = reply.status
    if 200 <= status < 300:
        return
    code, said = _complaint(reply)
    message = f"answered {status}: {said}" if said else f"answered {status}"
    if status == 429:
        raise Busy(message, word=code, where=reply.where, retry_after=retry_after(reply.headers))
    if status == 408 or status >= 500:
        raise Unsure(message, word=code, where=reply.where)
    if 300 <= status < 400:
        message, hint = (
            f"answered {status}, a redirect to {shown(reply.headers.get('location', ''))}",
            "correct base_url in runner.yaml",
        )
        raise Refused(message, word=code, where=reply.where, hint=hint, code="url-invalid")
    raise Refused(message, word=code, where=reply.where, credentials=reply.keyed and status in (401, 403))


def _complaint(reply: Reply) -> tuple[str, str]:
    """The server's own code and words, from the error shapes in use; its plain text where it has no shape."""
    try:
        body = loads(reply.data)
    except (ValueError, RecursionError):
        return str(reply.status), reply.text
    error = (body.get("error") or body.get("ResponseMeta") or body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(reply.status), str(error) if error else ""
    code = next((error[key] for key in ("code", "type", "ErrorCode") if error.get(key)), reply.status)
    said = next((error[key] for key in ("message", "msg", "detail", "ErrorMessage") if error.get(key)), "")
    return str(code), str(said)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the server asks: ``retry-after-ms``, or ``Retry-After`` in seconds or as a date.  None: it
    does not."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if re.fullmatch(r"\d{1,9}(\.\d*)?", headers.get(name, "").strip()):
            return float(headers[name]) * unit
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


class Http:
    """One pool of connections for one run; safe to share between threads.

    Every error it raises has been through :attr:`scrub`.  Make known with ``hide`` what must not be told.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        progress: Progress | None = None,
    ) -> None:
        """``progress`` is told of every file that is sent or received."""
        self.scrub = Scrubber()
        self.hide = self.scrub.hide
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter
        self.heard: tuple[str, float] | None = None
        """The `Date` of the last whole answer, "" without one, and when it came by our clock (Unix seconds)."""
        self._progress = progress or Silent()
        self._lock = Lock()
        self._clients: dict[bool, httpx.Client] = {}

    def call(
        self,
        method: str,
        url: str,
        *,
        retry: bool,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | Path | None = None,
        timeout: float = READ_TIMEOUT,
        judge: Callable[[Reply], None] = judge_status,
        in_json: bool = False,
    ) -> Reply:
        """Send one request and read the whole answer.

        ``content`` as a path is streamed from that file with its length announced.  ``timeout``: seconds of silence.
        ``judge`` raises for a reply that is no success.  ``retry``: the call may be made twice without harm.
        ``in_json``: a success that is not JSON, such as a gateway's page, is none.
        """
        url = with_query(url, params)
        headers = {name.lower(): value for name, value in (headers or {}).items()}
        if json is not None:
            content = dumps(json, ensure_ascii=False, allow_nan=False).encode()
            headers.setdefault("content-type", "application/json")

        def strictly(reply: Reply) -> None:
            judge(reply)
            reply.json()

        def ask() -> Reply:
            return self._once(method, url, headers, content, timeout, strictly if in_json else judge, keep=retry)

        return self.patiently(ask) if retry else ask()

    def patiently(self, ask: Callable[[], T]) -> T:
        """Ask again, a few times within about ten seconds, while the outcome is Busy or Unsure."""
        begun = self._clock()
        for pause in PAUSES:
            try:
                return ask()
            except (Busy, Unsure) as error:
                wished = error.retry_after if isinstance(error, Busy) else None
                wait = max(wished or 0.0, pause * (0.5 + self._jitter()))
                if self._clock() - begun + wait > PATIENCE:
                    raise
            self._sleep(wait)
        return ask()

    def download(
        self,
        url: str,
        sink: Callable[[bytes], object],
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = READ_TIMEOUT,
    ) -> None:
        """Hand the bytes behind ``url`` to ``sink``, each once and in order, in bounded memory.

        After a cut the download goes on where it stopped, as long as it moves at all.  A server that cannot resume is
        read from the start again, and the bytes already handed over are compared instead of handed over twice; Unsure
        is raised where they differ.  Redirects are followed, to another host without the ``headers``, which may hold a
        key.
        """
        headers = {name.lower(): value for name, value in (headers or {}).items()}
        with self._progress.transfer(DOWNLOADING) as moved:
            transfer = _Transfer(sink, moved)
            while True:
                before = transfer.offset
                try:
                    return self.patiently(lambda: self._fetch(url, headers, timeout, transfer))
                except (Busy, Unsure):
                    if transfer.offset == before:
                        raise

    @property
    def skew(self) -> float | None:
        """Seconds by which the clock of whoever answered last is ahead of ours; None where it told no time."""
        try:
            return None if self.heard is None else parsedate_to_datetime(self.heard[0]).timestamp() - self.heard[1]
        except (ValueError, OverflowError):
            return None

    def hide_link(self, url: str) -> None:
        """Keep out of messages what makes a link from a platform work: any value of its query may be a signature."""
        for pair in url.partition("?")[2].partition("#")[0].split("&"):
            value = pair.partition("=")[2]
            if len(value) >= SIGNED:
                self.hide(value)

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | Path | None,
        timeout: float,
        judge: Callable[[Reply], None],
        *,
        keep: bool,
    ) -> Reply:
        where = f"{method} {shown(url)}"
        with outcomes(where, self.scrub), ExitStack() as stack:
            require_url(url)
            body = self._sent(content, stack) if isinstance(content, Path) else content
            client = self._client(keep=keep)
            response = stack.enter_context(
                client.stream(method, url, headers=headers, content=body, timeout=_timeout(timeout))
            )
            reply = _reply(response, where, keyed=is_keyed(headers))
            self.heard = reply.headers.get("date", ""), time.time()
            judge(reply)
            return reply

    def _sent(self, file: Path, stack: ExitStack) -> _Sent:
        return stack.enter_context(_Sent(file, stack.enter_context(self._progress.transfer(UPLOADING))))

    def _fetch(self, url: str, headers: Mapping[str, str], timeout: float, transfer: _Transfer) -> None:
        for _ in range(REDIRECTS + 1):
            target = self._fetch_from(url, headers, timeout, transfer)
            if target is None:
                return
            headers = headers if same_origin(url, target) else {}
            url = target
            self.hide_link(url)
        raise Refused(f"more than {REDIRECTS} redirects", where=f"GET {shown(url)}", code="url-invalid")

    def _fetch_from(self, url: str, headers: Mapping[str, str], timeout: float, transfer: _Transfer) -> str | None:
        """Receive what is at ``url``; where it is instead, if it redirects."""
        where = f"GET {shown(url)}"
        asked = {**headers, "accept-encoding": "identity", **transfer.resume_headers}
        with outcomes(where, self.scrub):
            require_url(url)
        with (
            outcomes(where, self.scrub),
            self._client(keep=True).stream("GET", url, headers=asked, timeout=_timeout(timeout)) as response,
        ):
            if response.next_request is not None:
                return str(response.next_request.url)
            if transfer.is_whole(response):
                return None
            if response.status_code not in (200, 206):
                judge_status(_reply(response, where, keyed=is_keyed(headers)))
                raise Unsure(f"answered {response.status_code} to a download", where=where)
            transfer.receive(response, where)
            return None

    def _client(self, *, keep: bool) -> httpx.Client:
        """The client whose connections are kept for the next call, or the one that opens one for each call."""
        import httpx

        with self._lock:
            if not self._clients:
                logging.getLogger("httpx").setLevel(logging.WARNING)  # below that it logs URLs, tokens included
                context = ssl_context()
                with proxies():
                    self._clients = {
                        kept: httpx.Client(
                            verify=context,
                            limits=httpx.Limits(
                                max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS if kept else 0
                            ),
                            mounts=dict.fromkeys(LOOPBACK),  # a proxy of the environment cannot reach this machine
                            headers={"user-agent": "batch-runner"},
                        )
                        for kept in (True, False)
                    }
            return self._clients[keep]


@contextmanager
def outcomes(where: str, scrub: Callable[..., str]) -> Iterator[None]:
    """Turn what httpx raises into Refused, Busy or Unsure, and scrub whatever ProviderError leaves."""
    import httpx

    try:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                hint = "nothing was sent.  If the server is the right one, let SSL_CERT_FILE name its certificates"
                raise Refused(
                    f"its certificate does not verify: {error}", where=where, hint=hint, code="tls-untrusted"
                ) from error
            through = proxy_for(where.partition(" ")[2])
            what = f"cannot connect through the proxy that {through} names" if through else "cannot connect"
            suspects = "the network, the proxy and" if through else "the network and"
            hint = f"nothing was sent, so nothing is lost: see that {suspects} base_url are right"
            raise Busy(f"{what}: {_words(error)}", where=where, hint=hint, code="unreachable") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise Refused(f"not a URL that can be called: {error}", where=where, code="url-invalid") from error
        except httpx.HTTPError as error:
            raise Unsure(f"the connection failed half-way: {_words(error)}", where=where) from error
    except ProviderError as error:
        error.message = scrub(error.message)
        error.word = scrub(error.word)
        error.args = (error.message,)
        raise


class _Sent(io.FileIO):
    """A file that tells how much of it has been read."""

    def __init__(self, path: Path, moved: Moved) -> None:
        super().__init__(path, "rb")
        self._moved = moved
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self._moved(self.tell(), self._size)
        return data


@dataclass
class _Transfer:
    """A download in progress: what has been handed over, and how to tell that a second answer is the same file."""

    sink: Callable[[bytes], object]
    moved: Moved
    offset: int = 0
    """Bytes handed over."""
    validator: str = ""
    """What If-Range takes: a strong ETag, else a date.  Empty: the server cannot be asked for a part."""
    _seen: Any = field(default_factory=hashlib.sha256)

    @property
    def resume_headers(self) -> dict[str, str]:
        if not (self.offset and self.validator):
            return {}
        return {"range": f"bytes={self.offset}-", "if-range": self.validator}

    def is_whole(self, response: httpx.Response) -> bool:
        """The cut came after the last byte, and the server says that nothing follows it."""
        return response.status_code == 416 and response.headers.get("content-range", "") == f"bytes */{self.offset}"

    def receive(self, response: httpx.Response, where: str) -> None:
        """Take in a 200 or 206, from wherever it starts.  Raises Unsure if it does not join up or ends early."""
        encoded = response.headers.get("content-encoding", "identity") != "identity"
        if self.offset == 0:  # the file of which bytes were handed over, never one that came later
            self.validator = "" if encoded else _validator(response)
        position, total = _extent(response)
        if position not in (0, self.offset):
            raise Unsure(f"asked for bytes from {self.offset} on, got them from {position} on", where=where)
        again = hashlib.sha256()
        for chunk in response.iter_bytes() if encoded else response.iter_raw():
            known = chunk[: max(0, self.offset - position)]
            again.update(known)
            position += len(known)
            if known and position == self.offset and again.digest() != self._seen.digest():
                raise Unsure("the file has changed during the download", where=where)
            self._hand_over(chunk[len(known) :])
            self.moved(self.offset, None if encoded else total)
            position += len(chunk) - len(known)
        if position < self.offset or (not encoded and total is not None and position != total):
            raise Unsure(f"the download ended at byte {position} of {total}", where=where)

    def _hand_over(self, fresh: bytes) -> None:
        if fresh:
            self.sink(fresh)
            self._seen.update(fresh)
            self.offset += len(fresh)


def _validator(response: httpx.Response) -> str:
    etag: str = response.headers.get("etag", "")
    modified: str = response.headers.get("last-modified", "")
    return modified if etag.startswith("W/") else etag or modified


def _extent(response: httpx.Response) -> tuple[int, int | None]:
    """Where the body begins in the file, and how long the file is, if the server says."""
    if response.status_code == 206:
        match = re.fullmatch(
            r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", response.headers.get("content-range", "").strip()
        )
        if match is None:
            return -1, None
        return int(match[1]), None if match[2] == "*" else int(match[2])
    length = response.headers.get("content-length", "")
    return 0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None


def _reply(response: httpx.Response, where: str, *, keyed: bool) -> Reply:
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > LARGEST_REPLY:
            raise Unsure(f"the answer is larger than {LARGEST_REPLY:,} bytes", where=where)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, bytes(data), where, keyed)


def _timeout(read: float) -> httpx.Timeout:
    import httpx

    return httpx.Timeout(read, connect=CONNECT_TIMEOUT)


def is_keyed(headers: Mapping[str, str]) -> bool:
    return not _KEY_HEADERS.isdisjoint(headers)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
