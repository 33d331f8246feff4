"""A server on loopback that says what it is told to say, and nothing that it knows."""

from __future__ import annotations

import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = b"@@HOST@@"
"""Stands for the server's own address wherever it was told."""
_HOP = frozenset({"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"})


@dataclass(frozen=True)
class Call:
    """What was asked.  ``target`` is the path with its query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(frozen=True)
class Answer:
    """What is said.  ``cut``: so many bytes of the body come, and then the connection breaks."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    cut: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "headers": [list(header) for header in self.headers],
            "body": b64encode(self.body).decode(),
            "cut": self.cut,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Answer:
        headers = tuple((str(name), str(value)) for name, value in data["headers"])
        return cls(data["status"], headers, b64decode(data["body"]), data["cut"])


NOTHING = Answer(404, (), b"")


class Scripted:
    """``answer`` is whoever answers the next calls."""

    def __init__(self) -> None:
        self.answer: Callable[[Call], Answer] = lambda _: NOTHING
        script = self

        class Handler(_Handler):
            owner = script

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.authority = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.authority}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def neutral(self, data: bytes) -> bytes:
        return data.replace(self.authority.encode(), HOST)

    def ours(self, data: bytes) -> bytes:
        return data.replace(HOST, self.authority.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that does not like what it hears goes away."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    try:
        yield server
    finally:
        server.close()


class _Handler(BaseHTTPRequestHandler):
    """Writes heads by hand: what is said need not be sound HTTP."""

    protocol_version = "HTTP/1.1"
    owner: Scripted
    timeout = 30

    def _respond(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self._chunks()
        answer = self.owner.answer(Call(self.command, self.path, dict(self.headers.items()), body))
        content = self.owner.ours(answer.body)
        headers = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        head = f"HTTP/1.1 {answer.status} So it is\r\n{headers}"
        if "content-length" not in {name.lower() for name, _ in answer.headers}:
            head += f"Content-Length: {len(content)}\r\n"
        said = self.owner.ours(f"{head}\r\n".encode("latin-1", "replace"))
        self.wfile.write(said + (content if answer.cut is None else content[: answer.cut]))
        self.close_connection = answer.cut is not None

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _respond

    def _chunks(self) -> bytes:
        pieces = b""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                pieces += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return pieces

    def log_message(self, *_: Any) -> None:
        pass


def passed_on(call: Call, url: str) -> Answer:
    """What the server at ``url`` answers to ``call``."""
    connection = HTTPConnection(url.partition("://")[2], timeout=30)
    try:
        headers = {name: value for name, value in call.headers.items() if name.lower() not in _HOP}
        connection.request(call.method, call.target, call.body or None, headers)
        response = connection.getresponse()
        kept = tuple((name, value) for name, value in response.getheaders() if name.lower() not in _HOP)
        return Answer(response.status, kept, response.read())
    finally:
        connection.close()
