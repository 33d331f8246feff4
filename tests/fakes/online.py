"""A small endpoint without batches on loopback, which counts how often each question was asked.

``on_ask`` decides what a question comes to; every oddity of a real endpoint is a :class:`Reply` that can be spelt.  It
shares no code with the simulator.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

KEY = "sk-online-0123456789abcdef"


@dataclass(frozen=True)
class Ask:
    """One question as it came in.  ``nth`` counts the askings of this very question from 1, ``number`` those of all."""

    path: str
    headers: Mapping[str, str]
    body: Any
    question: str
    nth: int
    number: int


@dataclass(frozen=True)
class Reply:
    """What is sent back.  ``chunks`` travel one by one, ``pause`` seconds apart; ``cut``: then the line breaks;
    ``hold``: then nothing more is said, and the line stays open."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Sequence[bytes] | None = None
    delay: float = 0.0
    pause: float = 0.0
    cut: bool = False
    hold: bool = False


Script = Callable[[Ask], Reply | None]
"""None: the usual answer."""


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"content-type": "application/json", **headers})


def error(status: int, code: str = "", message: str = "so it is", **headers: str) -> Reply:
    """An error in OpenAI's shape."""
    return as_json({"error": {"message": message, "type": code or None, "code": code or None}}, status, **headers)


def busy(**headers: str) -> Reply:
    return error(429, "rate_limit_exceeded", "slow down", **headers)


def html(status: int = 200) -> Reply:
    return Reply(status, b"<html><h1>Welcome</h1></html>", {"content-type": "text/html"})


def silence(seconds: float = 30.0) -> Reply:
    """Not a word, and then a cut."""
    return Reply(delay=seconds, cut=True)


def completion(text: str | None, model: str = "m", **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def plain_completion(text: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return {
        "object": "text_completion",
        "model": "m",
        "choices": [{"index": 0, "text": text, "finish_reason": "stop"}],
        "usage": usage,
    }


def events(*data: Any, end: bytes = b"\n", done: bool = True) -> bytes:
    """Server-sent events, each one JSON or a text as it is."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in data] + ["[DONE]"] * done
    return b"".join(b"data: " + text.encode() + end + end for text in texts)


def streamed(*packets: bytes, **how: Any) -> Reply:
    return Reply(200, headers={"content-type": "text/event-stream"}, chunks=packets, **how)


def delta(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of a streamed chat completion."""
    said = ({} if content is None else {"content": content}) | more
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [{"index": 0, "delta": said, "finish_reason": finish}],
    }


USAGE_CHUNK = {"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def usual(ask: Ask) -> Reply:
    """``re: QUESTION``, in one piece or streamed, as it was asked for."""
    text = f"re: {ask.question}"
    if ask.path.endswith("/chat/completions"):
        if ask.body.get("stream"):
            middle = len(text) // 2
            parts = [delta("", role="assistant"), delta(text[:middle]), delta(text[middle:]), delta(finish="stop")]
            return streamed(events(*parts, USAGE_CHUNK))
        return as_json(completion(text, ask.body.get("model", "")))
    return as_json(plain_completion(text))


def question_of(body: Any) -> str:
    """The last text that the user says."""
    if "prompt" in body and "messages" not in body:
        return str(body["prompt"])
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else next(part["text"] for part in content if part["type"] == "text")


class Handler(socketserver.StreamRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        fake = self.server.fake
        fake.connections.add(self.connection)
        fake.opened += 1
        with suppress(OSError):
            while self._one(fake):
                pass
        fake.connections.discard(self.connection)

    def _one(self, fake: FakeOnline) -> bool:
        """One request and its reply; whether the connection is kept."""
        start = self.rfile.readline().decode("latin-1").split()
        if len(start) != 3:
            return False
        headers = {}
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        if start[0] == "GET":
            fake.listings.append((start[1], headers))
            return self._send(fake.models if start[1].endswith("/models") else error(404, "not_found"))
        with fake.in_flight():
            return self._send(fake.answer(start[1], headers, json.loads(body)))

    def _send(self, reply: Reply) -> bool:
        if reply.delay:
            self.server.fake.closing.wait(reply.delay)
        if reply.cut and reply.chunks is None and not reply.body:
            return False
        length = reply.chunks is None
        head = {"content-length": str(len(reply.body))} if length else {"transfer-encoding": "chunked"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in (head | dict(reply.headers)).items())
        start = f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode("latin-1")
        if reply.chunks is None:
            self.wfile.write(start + (reply.body[: len(reply.body) // 2] if reply.cut else reply.body))
            return not reply.cut
        self.wfile.write(start)
        for chunk in reply.chunks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            if reply.pause and self.server.fake.closing.wait(reply.pause):
                return False
        if reply.hold:
            self.server.fake.closing.wait(60)
        elif not reply.cut:
            self.wfile.write(b"0\r\n\r\n")
        return not (reply.cut or reply.hold)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, fake: FakeOnline, port: int) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, *args: Any) -> None:
        pass


class FakeOnline:
    """Listens at once.  ``asked`` counts each question, ``asks`` holds all in order, ``most`` is how many at once."""

    def __init__(self) -> None:
        self.on_ask: Script = lambda ask: None
        self.models = html(404)
        self.asked: Counter[str] = Counter()
        self.asks: list[Ask] = []
        self.listings: list[tuple[str, Mapping[str, str]]] = []
        self.most = 0
        self.pause = 0.0
        """Seconds that every answer takes."""
        self.connections: set[socket.socket] = set()
        self.opened = 0
        """Connections so far."""
        self.closing = threading.Event()
        self._flying = 0
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Listen, at the same port as before."""
        self.closing.clear()
        self._server = _Server(self, self.port)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Vanish: nothing listens any more, and every connection is cut."""
        if self._server is None:
            return
        server, self._server = self._server, None
        self.closing.set()
        server.shutdown()
        self._thread.join()
        server.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def answer(self, path: str, headers: Mapping[str, str], body: Any) -> Reply:
        question = question_of(body)
        with self._lock:
            self.asked[question] += 1
            ask = Ask(path, headers, body, question, self.asked[question], len(self.asks) + 1)
            self.asks.append(ask)
        if self.pause:
            self.closing.wait(self.pause)
        return self.on_ask(ask) or usual(ask)

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        with self._lock:
            self._flying += 1
            self.most = max(self.most, self._flying)
        try:
            yield
        finally:
            with self._lock:
                self._flying -= 1

    def wait_for(self, asks: int, of: str = "", patience: float = 30.0) -> None:
        """Until so many askings have come in, of questions that begin with ``of``."""
        end = time.monotonic() + patience
        while (came := sum(ask.question.startswith(of) for ask in list(self.asks))) < asks:
            assert time.monotonic() < end, f"only {came} of {asks} came in"
            time.sleep(0.005)

    def twice(self) -> dict[str, int]:
        """Questions that were asked more than once."""
        return {question: count for question, count in self.asked.items() if count > 1}
