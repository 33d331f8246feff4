"""Servers that keep state, for tests and races: Terraform's HTTP protocol, and git over HTTP.  On loopback, in threads.

Each is a context manager that yields the server.  The Terraform one can be told to lack locks or ETags, and to fail on
purpose: to store and answer 500, or to turn a write away.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


# ---- Terraform's protocol --------------------------------------------------------------------------------------------


@dataclass
class Terraform:
    """What a server of Terraform's protocol holds, by path.  ``fate`` says of each write what is to go wrong with it:
    "lost" (stored, then 500), "away" (409) or nothing."""

    url: str = ""
    locks: bool = True
    etags: bool = False
    heeds: bool = True
    """Whether conditions are heeded, where there are ETags."""
    user: str = ""
    password: str = ""
    fate: Callable[[], str] = lambda: ""
    documents: dict[str, bytes] = field(default_factory=dict)
    holders: dict[str, dict[str, str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    writes: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def terraform(served: Terraform | None = None) -> Iterator[Terraform]:
    """A server of Terraform's HTTP protocol; every path is a state of its own."""
    held = served or Terraform()

    class Handler(_Quiet):
        def handle_call(self) -> None:
            data, parts = self.body(), urlsplit(self.path)
            given = {key: values[0] for key, values in parse_qs(parts.query).items()}
            with held.guard:
                held.calls.append(self.command)
                status, reply = self.turn(parts.path, given.get("ID", ""), data)
                document = held.documents.get(parts.path)
            tag = hashlib.sha256(document).hexdigest() if document is not None and held.etags else ""
            self.answer(status, reply, **({"ETag": f'"{tag}"'} if tag else {}))

        do_GET = do_POST = do_DELETE = do_LOCK = do_UNLOCK = handle_call

        def turn(self, path: str, lock: str, data: bytes) -> tuple[int, bytes]:
            if held.user and not self._is_let_in():
                return 401, b"who are you?"
            match self.command:
                case "GET":
                    document = held.documents.get(path)
                    return (404, b"") if document is None else (200, document)
                case "LOCK" | "UNLOCK" if not held.locks:
                    return 405, b""
                case "LOCK":
                    if path in held.holders:
                        return 423, json.dumps(held.holders[path]).encode()
                    held.holders[path] = json.loads(data)
                    return 200, b""
                case "UNLOCK":
                    if json.loads(data).get("ID") == held.holders.get(path, {}).get("ID"):
                        held.holders.pop(path, None)
                        return 200, b""
                    return 409, b"not the lock that is held"
                case "DELETE":
                    held.documents.pop(path, None)
                    return 200, b""
                case _:
                    return self.write(path, lock, data)

        def write(self, path: str, lock: str, data: bytes) -> tuple[int, bytes]:
            if held.locks and held.holders.get(path, {}).get("ID") != lock:
                return 409, b"locked by another"
            if held.etags and held.heeds and not self._is_met(held.documents.get(path)):
                return 412, b""
            fate = held.fate()
            if fate == "away":
                return 409, b"try again"
            if base64.b64decode(self.headers["content-md5"]) != hashlib.md5(data).digest():
                return 400, b"damaged on its way"
            held.documents[path] = data
            held.writes += 1
            return (500, b"the reply is lost") if fate == "lost" else (200, b"")

        def _is_met(self, document: bytes | None) -> bool:
            if self.headers.get("if-none-match") == "*":
                return document is None
            wanted = self.headers.get("if-match")
            return wanted is None or (document is not None and wanted == f'"{hashlib.sha256(document).hexdigest()}"')

        def _is_let_in(self) -> bool:
            key = base64.b64encode(f"{held.user}:{held.password}".encode()).decode()
            return self.headers.get("authorization") == f"Basic {key}"

    with _serving(Handler) as held.url:
        yield held


# ---- git over HTTP ---------------------------------------------------------------------------------------------------


@dataclass
class GitHttp:
    """``key``: the Authorization that it takes, "" for anybody's."""

    url: str = ""
    key: str = ""
    lost: int = 0
    """Calls whose answer was lost."""
    _loss: tuple[str, str, int] = ("", "", 0)

    def lose(self, when: str, call: str, times: int) -> None:
        """Answer 502 "before" or "after" the next calls whose path holds ``call`` have their effect."""
        self._loss, self.lost = (when, call, times), 0

    def fate(self, path: str) -> str:
        when, call, times = self._loss
        if self.lost < times and call in path and "info/refs" not in path:
            self.lost += 1
            return when
        return ""


@contextmanager
def git_http(root: Path) -> Iterator[GitHttp]:
    """All repositories under ``root``, read and pushed to through `git http-backend`."""
    served = GitHttp()

    class Handler(_Quiet):
        def handle_call(self) -> None:
            parts = urlsplit(self.path)
            data = self._whole_body()
            if served.key and self.headers.get_all("authorization") != [served.key]:
                return self.answer(401, b"", WWW_Authenticate='Basic realm="git"')
            fate = served.fate(parts.path)
            if fate == "before":
                return self.answer(502, b"")
            environ = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "CONTENT_TYPE": self.headers.get("content-type", ""),
                "CONTENT_LENGTH": str(len(data)),
                "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
                "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
                "REMOTE_USER": "somebody",
                "REMOTE_ADDR": "127.0.0.1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "http.receivepack",
                "GIT_CONFIG_VALUE_0": "true",
            }
            done = subprocess.run(["git", "http-backend"], input=data, env=environ, capture_output=True)
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
            status = int(fields.pop("Status", "200 OK").split()[0]) if done.returncode == 0 else 500
            if fate == "after":
                return self.answer(502, b"")
            return self.answer(status, body, **{name.replace("-", "_"): value for name, value in fields.items()})

        do_GET = do_POST = handle_call

        def _whole_body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.body()
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data

    with _serving(Handler) as served.url:
        yield served
