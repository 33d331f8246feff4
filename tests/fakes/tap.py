"""A server in front of another that hands every request on, and keeps its method and address."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Tap

    def hand_on(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        behind = http.client.HTTPConnection(self.server.behind, timeout=30)
        behind.request(self.command, self.path, body, dict(self.headers.items()))
        reply = behind.getresponse()
        data = reply.read()
        behind.close()
        self.send_response_only(reply.status)
        for name in ("content-type", "location"):
            if value := reply.headers.get(name):
                self.send_header(name, value)
        self.send_header("date", self.server.date or self.date_time_string())
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = hand_on

    def log_message(self, *args: Any) -> None:
        pass


class Tap(ThreadingHTTPServer):
    """``asked`` holds every request in order; ``date`` is what it says the time is, "" for the truth."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(url).netloc
        self.asked: list[str] = []
        self.date = ""
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def tapped(url: str) -> Iterator[Tap]:
    tap = Tap(url)
    thread = threading.Thread(target=tap.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield tap
    finally:
        tap.shutdown()
        thread.join()
        tap.server_close()
