"""Object stores on loopback, each in a process of its own, and a proxy that lies about one of them.

Each is a context manager that yields the variables of the environment by which this process and others find it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import itertools
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import certifi

Environ = dict[str, str]

BUCKET = "bucket"
"""The one that each of them has."""
PATIENCE = 60
"""Seconds within which a server has to be there, or gone."""

_TRUST = {"SSL_CERT_FILE": certifi.where()}
"""obstore does not start without any certificate, even where it needs none."""

_MOTO = """
import sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

app, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()

def serialised(environ, start_response):
    with turn:
        return list(app(environ, start_response))

server = make_server("127.0.0.1", 0, serialised, threaded=True)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
"""
"""moto checks a condition and writes in two steps, which S3 does in one: it gets one request at a time.

It ends with its input, and so when whoever started it is killed.
"""


@contextmanager
def s3() -> Iterator[Environ]:
    """moto's S3."""
    process = subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        environ = aws(f"http://127.0.0.1:{int(process.stdout.readline())}")
        signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
        _put(f"{environ['AWS_ENDPOINT_URL']}/{BUCKET}", {"Authorization": signed})  # moto checks no signature
        yield environ
    finally:
        process.communicate(timeout=PATIENCE)


def aws(url: str, key: str = "test") -> Environ:
    """Of somebody with an account at the S3 server ``url``."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": key,
        "AWS_REGION": "us-east-1",
        **_TRUST,
    }


@contextmanager
def s3rver() -> Iterator[Environ]:
    """An S3 server that ignores the conditions of writes; S3RVER in the environment is its command."""
    with tempfile.TemporaryDirectory(prefix="s3rver-") as folder, _free_port() as port:
        options = ("--address", "127.0.0.1", "--directory", folder, "--configure-bucket", BUCKET)
        with _running([*_command("S3RVER"), "--silent", "--port", str(port), *options], port):
            yield aws(f"http://127.0.0.1:{port}", key="S3RVER")


@contextmanager
def azure() -> Iterator[Environ]:
    """Azurite's blobs; AZURITE in the environment is its command (`azurite-blob`)."""
    with _free_port() as port:
        options = ("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry")
        with _running([*_command("AZURITE"), "--silent", "--blobPort", str(port), *options], port):
            environ = {
                "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{_ACCOUNT}",
                "AZURE_STORAGE_ACCOUNT_NAME": _ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": _ACCOUNT_KEY,
                **_TRUST,
            }
            _make_container(environ["AZURE_STORAGE_ENDPOINT"])
            yield environ


_ACCOUNT = "devstoreaccount1"
_ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""What every Azurite knows ("Well-known storage account and key" in its documentation)."""


def _make_container(endpoint: str) -> None:
    """By a call of Azure that obstore does not make, signed as in "Authorize with Shared Key"."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    named = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    text = "PUT" + "\n" * 12 + f"{named}/{_ACCOUNT}/{_ACCOUNT}/{BUCKET}\nrestype:container"
    signature = hmac.digest(base64.b64decode(_ACCOUNT_KEY), text.encode(), hashlib.sha256)
    signed = f"SharedKey {_ACCOUNT}:{base64.b64encode(signature).decode()}"
    _put(f"{endpoint}/{BUCKET}?restype=container", {**headers, "Authorization": signed})


def _put(url: str, headers: Mapping[str, str]) -> None:
    request = urllib.request.Request(url, b"", {**headers, "Content-Type": ""}, method="PUT")
    urllib.request.urlopen(request, timeout=PATIENCE).close()


# ---- processes -------------------------------------------------------------------------------------------------------


def _command(name: str) -> list[str]:
    return shlex.split(os.environ[name])


@contextmanager
def _free_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    yield port


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    """A server, from the moment that it takes connections.  Raises RuntimeError for one that does not come up."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(process, port)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    late = time.monotonic() + PATIENCE
    while time.monotonic() < late and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not come up")


# ---- lies ------------------------------------------------------------------------------------------------------------

CONDITIONS = ("if-match", "if-none-match")


@dataclass(frozen=True)
class Lie:
    """What a client is told: ``status`` and ``code``, whether or not its request was carried out."""

    status: int
    code: str
    carried_out: bool = False


LOST = Lie(500, "InternalError", carried_out=True)
BUSY = Lie(409, "ConditionalRequestConflict")


@dataclass(frozen=True)
class Asked:
    """A request, and the conditions that it came with: names of headers in small letters."""

    method: str
    path: str
    conditions: frozenset[str]


Fate = Callable[[Asked], Lie | None]
"""What is told instead of the truth."""


def now_and_then(lies: Mapping[int, Lie], count: int) -> Fate:
    """Of each ``count`` PUTs, but those that probe a store, the ones with the numbers in ``lies`` are lied about."""
    puts = itertools.count()

    def fate(asked: Asked) -> Lie | None:
        return lies.get(next(puts) % count) if asked.method == "PUT" and "/probe-" not in asked.path else None

    return fate


class Proxy:
    """What stands between a client and the S3 server ``upstream``, and passes the conditions in ``deaf_to`` not on."""

    def __init__(self, upstream: str, fate: Fate, deaf_to: Iterable[str]) -> None:
        self.upstream = urllib.parse.urlsplit(upstream)
        self.deaf_to = frozenset(deaf_to)
        self.asked: list[Asked] = []
        self.told: Counter[Lie] = Counter()
        """The lies."""
        self._fate = fate
        self._lock = threading.Lock()

    def judge(self, asked: Asked) -> Lie | None:
        with self._lock:
            self.asked.append(asked)
            lie = self._fate(asked)
            if lie:
                self.told[lie] += 1
            return lie


@contextmanager
def lying(
    environ: Environ, fate: Fate = lambda _: None, deaf_to: Iterable[str] = ()
) -> Iterator[tuple[Environ, Proxy]]:
    """A proxy in front of the S3 server that ``environ`` names."""
    proxy = Proxy(environ["AWS_ENDPOINT_URL"], fate, deaf_to)

    class Handler(_Handler):
        def __init__(self, *args: object) -> None:
            self.proxy = proxy
            super().__init__(*args)  # type: ignore[arg-type]

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield {**environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}, proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a client that was killed has left its connection open

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is killed is no error."""


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        conditions = frozenset(name for name in CONDITIONS if name in self.headers)
        lie = self.proxy.judge(Asked(self.command, self.path, conditions))
        if lie is None:
            self._pass_on(*self._truth(body))
            return
        if lie.carried_out:
            self._truth(body)
        self._pass_on(lie.status, {}, f"<Error><Code>{lie.code}</Code><Message>A lie.</Message></Error>".encode())

    def _truth(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        left_out = {"connection", "content-length", *self.proxy.deaf_to}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        upstream = http.client.HTTPConnection(
            self.proxy.upstream.hostname or "", self.proxy.upstream.port, timeout=PATIENCE
        )
        try:
            upstream.request(self.command, self.path, body, headers)
            reply = upstream.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            upstream.close()

    def _pass_on(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = _answer

    def log_message(self, *args: object) -> None:
        pass
