"""Connections of HTTP: requests come in, the app answers, and replies go out whole, in parts, or event by event."""

from __future__ import annotations

import logging
import re
import socket
import socketserver
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from runner.simulator.web import App, Body, Cut, Reply, Request, json_reply

IDLE_SECONDS = 300

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")
_LOG = logging.getLogger("runner.simulator")


class Connection(BaseHTTPRequestHandler):
    """One connection, kept alive between requests."""

    protocol_version = "HTTP/1.1"
    server_version = "runner-simulator"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    timeout = IDLE_SECONDS
    server: Server

    def handle_expect_100(self) -> bool:
        go_on = super().handle_expect_100()
        self.wfile.flush()
        return go_on

    def _respond(self) -> None:
        body = self._body()
        if body is None:
            self._send(json_reply(400, {"error": "the body's length cannot be told"}))
            self.close_connection = True
            return
        request = Request(
            self.headers,  # type: ignore[arg-type]
            {},
            {},
            body,
            f"http://{self._host()}",
            method=self.command,
            target=self.path,
        )
        try:
            reply = self.server.app.answer(self.command, self.path, request)
            body.drain()
            if not body.finished:
                self.close_connection = True
            self._send(reply)
        except Cut as cut:
            self.close_connection = True
            if cut.reply is not None:
                self._send(cut.reply, half=True)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _respond

    def _body(self) -> Body | None:
        """None when its length cannot be told for certain."""
        length, coding = self.headers.get_all("Content-Length"), self.headers.get("Transfer-Encoding")
        if coding is not None:
            return Body(self.rfile, None) if coding.lower() == "chunked" and not length else None  # type: ignore[arg-type]
        if not length:
            return Body(self.rfile, 0)  # type: ignore[arg-type]
        good = len(length) == 1 and re.fullmatch(r"[0-9]{1,15}", length[0])
        return Body(self.rfile, int(length[0])) if good else None  # type: ignore[arg-type]

    def _host(self) -> str:
        host = self.headers.get("Host", "")
        return host if _HOST.fullmatch(host) else self.server.authority

    def _send(self, reply: Reply, *, half: bool = False) -> None:
        content = reply.content
        if isinstance(content, bytes):
            self._send_head(reply.status, reply.kind, len(content), reply.headers)
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if half else content)
            return
        if isinstance(content, tuple):
            self._send_events(reply, content[: len(content) // 2] if half else content, whole=not half)
            return
        with content.open("rb") as file:
            size = content.stat().st_size
            span = _span(self.headers.get("Range"), size)
            if span is None:
                self._send_head(416, reply.kind, 0, {"Content-Range": f"bytes */{size}"})
                return
            start, end = span
            partial = {"Content-Range": f"bytes {start}-{end - 1}/{size}"} if end - start < size else {}
            headers = {"Accept-Ranges": "bytes", **reply.headers, **partial}
            self._send_head(206 if partial else reply.status, reply.kind, end - start, headers)
            self.wfile.flush()
            count = (end - start) // 2 if half else end - start
            if count and self.command != "HEAD":
                self.connection.sendfile(file, start, count)

    def _send_events(self, reply: Reply, events: Sequence[bytes], *, whole: bool) -> None:
        """Each event in a chunk of its own, as soon as it is there."""
        self._send_head(reply.status, reply.kind, None, reply.headers)
        for event in events:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            self.wfile.flush()
        if whole:
            self.wfile.write(b"0\r\n\r\n")

    def _send_head(self, status: int, kind: str, length: int | None, headers: Mapping[str, str]) -> None:
        """``length`` is None where the body comes in chunks."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        _LOG.debug(format, *args)


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """The half-open range asked for; the whole when none is, or none that can be read; None: outside the file."""
    match = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", header or "")
    if not match or not (match[1] or match[2]):
        return 0, size
    if not match[1]:
        return (max(size - int(match[2]), 0), size) if int(match[2]) and size else None
    start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    if match[2] and int(match[2]) < start:
        return 0, size
    return (start, end) if start < size else None


class Server(ThreadingHTTPServer):
    """A thread per connection, and a way to end them all."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], app: App) -> None:
        self.app = app
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Connection)
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.authority = f"{host}:{self.server_address[1]}"

    def server_bind(self) -> None:
        """Without the look-up of the host's full name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._open.discard(request)
                self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        """A caller that went away is no news."""
        _LOG.debug("a connection broke", exc_info=True)

    def settle(self, patience: float) -> bool:
        """Wait until every caller so far is gone and what it asked is carried out; False if that takes too long."""
        with socket.create_connection(self.socket.getsockname()[:2], patience) as knock:  # callers come in in order
            knock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while knock.recv(1 << 16):
                pass
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout=patience)

    def close(self) -> None:
        """Stop listening, end every connection, and wait for the calls under way."""
        self.app.stopping.set()
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # already gone
            self._changed.wait_for(lambda: not self._open, timeout=10)
