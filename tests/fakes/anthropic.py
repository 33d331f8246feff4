"""A small Anthropic on loopback: Message Batches and the model list, with a knob for every oddity.

Written from the shapes of Anthropic's client library; it shares no code with the simulator.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "sk-ant-fake-key-0123456789"
BATCHES = "/v1/messages/batches"
NOW = "2026-01-02T03:04:05.678901Z"

MODEL = {
    "type": "model",
    "id": "claude-x-1",
    "display_name": "Claude X 1",
    "created_at": "2025-11-24T00:00:00Z",
    "line": "opus",
    "lifecycle": "active",
    "max_input_tokens": 200_000,
    "max_tokens": 64_000,
    "capabilities": {
        "batch": {"supported": True},
        "image_input": {"supported": True},
        "pdf_input": {"supported": False},
        "thinking": {"supported": True, "types": {}},
    },
}


@dataclass
class Knobs:
    fail: dict[str, list[Callable[[Handler], None]]] = field(default_factory=dict)
    """Call name → what to do instead of answering, one per call, before any effect."""
    lose: dict[str, int] = field(default_factory=dict)
    """Call name → how many answers are lost after the effect."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every answer."""
    batch: dict[str, Any] = field(default_factory=dict)
    """Merged over every batch object that is told; "absent" drops a field."""
    page: int = 1_000
    """The most entries of one page of a list."""
    ends: bool = True
    """Lists say where they end."""
    oldest_first: bool = False
    circle: bool = False
    """Every page of a list is its first."""
    models: list[Any] = field(default_factory=lambda: [MODEL])


@dataclass(frozen=True)
class Call:
    """One request as it came in."""

    name: str
    headers: Message
    query: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeAnthropic

    def handle_any(self) -> None:
        fake = self.server
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.call, self.id = fake.route(self.command, parts.path)
        fake.calls.append(Call(self.call, self.headers, self.query, self.body))
        if faults := fake.knobs.fail.get(self.call):
            faults.pop(0)(self)
        elif self.call == "elsewhere":
            self.reply(200, fake.output)
        elif self.headers["anthropic-version"] != "2023-06-01":
            self.error(400, "invalid_request_error", "anthropic-version: header is required")
        elif self.headers["x-api-key"] != KEY:
            self.error(401, "authentication_error", f"invalid x-api-key {self.headers['x-api-key']}")
        else:
            getattr(fake, f"on_{self.call}")(self)

    do_GET = do_POST = handle_any

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        if self.server.knobs.lose.get(self.call, 0) > 0:
            self.server.knobs.lose[self.call] -= 1
            return self.cut()
        self.send_response(status)
        for name, value in {**self.server.knobs.headers, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def json(self, value: Any, status: int = 200, **headers: str) -> None:
        self.reply(status, json.dumps(value).encode(), **headers)

    def error(self, status: int, type: str, message: str = "so it is", **headers: str) -> None:
        error = {"type": "error", "error": {"type": type, "message": message}, "request_id": "req_1"}
        self.json(error, status, **headers)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        pass


class FakeAnthropic(ThreadingHTTPServer):
    """Listens at once; ``calls`` holds every request in order, ``batches`` what it was made to keep, newest last."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.knobs = Knobs()
        self.calls: list[Call] = []
        self.batches: dict[str, dict[str, Any]] = {}
        self.outputs: dict[str, bytes] = {}
        self.output = b'{"custom_id":"a","result":{"type":"expired"}}\n'
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *args: Any) -> None:
        pass

    def names(self) -> list[str]:
        return [call.name for call in self.calls]

    def requests(self, name: str) -> list[Call]:
        return [call for call in self.calls if call.name == name]

    def add(self, requests: int, created_at: str = NOW, **changes: Any) -> str:
        """A batch that is there already; its id."""
        id = f"msgbatch_{len(self.batches) + 1}"
        counts = {"processing": requests, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        self.batches[id] = {
            "id": id,
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": counts,
            "created_at": created_at,
            "expires_at": "2026-01-03T03:04:05.678901Z",
            "ended_at": None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": None,
            **changes,
        }
        return id

    def end(self, id: str, *, ids: Sequence[str] = (), **counts: int) -> None:
        """A batch that has ended, and as many lines of results as its counts say; ``ids`` are theirs."""
        batch = self.batches[id]
        batch["processing_status"] = "ended"
        batch["request_counts"] = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0, **counts}
        batch["results_url"] = f"{self.url}{BATCHES}/{id}/results"
        kinds = [kind for kind, number in counts.items() for _ in range(number)]
        names = ids or [f"r-{number}" for number in range(len(kinds))]
        lines = [{"custom_id": name, "result": {"type": kind}} for name, kind in zip(names, kinds, strict=True)]
        self.output = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        if ids:
            self.outputs[id] = self.output

    @staticmethod
    def route(method: str, path: str) -> tuple[str, str]:
        fixed = {("POST", BATCHES): "create", ("GET", BATCHES): "list", ("GET", "/v1/models"): "models"}
        if name := fixed.get((method, path)):
            return name, ""
        id, *below = path.removeprefix(f"{BATCHES}/").split("/")
        known = {("GET",): "detail", ("POST", "cancel"): "cancel", ("GET", "results"): "results"}
        if path.startswith(f"{BATCHES}/") and (name := known.get((method, *below))):
            return name, id
        return ("elsewhere", path) if path.startswith("/elsewhere") else ("unknown", path)

    def told(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in (batch | self.knobs.batch).items() if value != "absent"}

    def on_create(self, handler: Handler) -> None:
        requests = json.loads(handler.body)["requests"]
        assert all(set(request) == {"custom_id", "params"} for request in requests)
        handler.json(self.told(self.batches[self.add(len(requests))]))

    def on_detail(self, handler: Handler) -> None:
        if handler.id not in self.batches:
            return handler.error(404, "not_found_error")
        return handler.json(self.told(self.batches[handler.id]))

    def on_cancel(self, handler: Handler) -> None:
        if handler.id not in self.batches:
            return handler.error(404, "not_found_error")
        batch = self.batches[handler.id]
        if batch["processing_status"] == "ended":
            return handler.error(400, "invalid_request_error", "it has ended")
        batch |= {"processing_status": "canceling", "cancel_initiated_at": NOW}
        return handler.json(self.told(batch))

    def on_results(self, handler: Handler) -> None:
        handler.reply(200, self.outputs.get(handler.id, self.output))

    def on_list(self, handler: Handler) -> None:
        batches = [self.told(batch) for batch in self.batches.values()]
        self._list(handler, batches if self.knobs.oldest_first else batches[::-1])

    def on_models(self, handler: Handler) -> None:
        self._list(handler, self.knobs.models)

    def _list(self, handler: Handler, entries: list[Any]) -> None:
        ids = [entry["id"] if isinstance(entry, dict) and "id" in entry else None for entry in entries]
        after = None if self.knobs.circle else handler.query.get("after_id")
        begin = ids.index(after) + 1 if after is not None else 0
        size = min(self.knobs.page, int(handler.query.get("limit", 20)))
        page = {
            "data": entries[begin : begin + size],
            "first_id": None,
            "last_id": (ids[begin : begin + size] or [None])[-1],
        }
        if self.knobs.ends:
            page["has_more"] = self.knobs.circle or begin + size < len(entries)
        handler.json(page)

    def on_unknown(self, handler: Handler) -> None:
        handler.error(404, "not_found_error")
