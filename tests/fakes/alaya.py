"""A small Alaya NeW on loopback: the look-up of deployments, and the endpoints that they lead to.

Written from the facts about its documents; it shares no code with the simulator.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BASE = "/api/serverless-infer/v1"
AK = "ak-fake-0123456789"
SK = "sk-fake-9876543210"
KEY = "k3y-4711-4711-4711"
PASSWORD = "registry-password-0815"


@dataclass
class Knobs:
    code: Any = 0
    """Of a success."""
    envelope: bool = True
    missing: Callable[[Handler], None] | None = None
    """How a deployment that is not there is told; None: HTTP 404."""
    fail: dict[str, list[Callable[[Handler], None]]] = field(default_factory=dict)
    """Call name → what to do instead of answering, one per call."""
    page: int = 100
    """The most rows of one page."""
    counts: bool = True
    """A list says how many there are."""
    models: Any = field(default_factory=lambda: {"data": [{"id": "m", "max_model_len": 32_768}]})
    """What `/v1/models` answers; a number is a bare status."""


@dataclass(frozen=True)
class Call:
    """One request as it came in."""

    name: str
    headers: Message
    query: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeAlaya

    def handle_any(self) -> None:
        fake = self.server
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name, self.id = fake.route(self.command, parts.path)
        fake.calls.append(Call(name, self.headers, self.query, self.body))
        if faults := fake.knobs.fail.get(name):
            faults.pop(0)(self)
        elif name in ("chat", "models") and self.headers["apiKey"] != KEY:
            self.reply(401, b'{"error":{"message":"no such key"}}')
        elif name in ("detail", "list") and self.headers["authorization"] != f"plain Credential={AK},Signature={SK}":
            self.says(401, -1, f"{self.headers['authorization']} is not known")
        else:
            getattr(fake, f"on_{name}")(self)

    do_GET = do_POST = handle_any

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def json(self, value: Any, status: int = 200) -> None:
        self.reply(status, json.dumps(value, ensure_ascii=False).encode())

    def says(self, status: int, code: Any, msg: str, data: Any = None) -> None:
        self.json({"code": code, "data": data, "msg": msg}, status)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        pass


class FakeAlaya(ThreadingHTTPServer):
    """Listens at once; ``deployments`` are told as they are, ``{url}`` in them filled in."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.knobs = Knobs()
        self.calls: list[Call] = []
        self.deployments: dict[str, dict[str, Any]] = {}
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

    def add(self, id: str = "svc-1", **changes: Any) -> None:
        """A QuickStart deployment that is ready; a change to "absent" drops a field."""
        told = {
            "serviceId": id,
            "serviceUrl": f"{self.url}/svc/{id}",
            "apikey": KEY,
            "status": "running",
            "mode": "quickStart",
            "name": f"eval-{id}",
            "servedName": ["m"],
            "modelId": "md-1",
            "quickStart": {"backend": "vllm", "backenArgs": []},
            "expert": None,
            "instance": [{"name": "i-0", "baseModelReady": True}],
            **changes,
        }
        self.deployments[id] = {name: value for name, value in told.items() if value != "absent"}

    @staticmethod
    def route(method: str, path: str) -> tuple[str, str]:
        path = unquote(path)
        if path == f"{BASE}/deployment/list":
            return "list", ""
        if path.startswith(f"{BASE}/deployment/"):
            return "detail", path.removeprefix(f"{BASE}/deployment/")
        _, _, id, *rest = [*path.split("/", 3), ""]
        known = {("GET", "v1/models"): "models", ("POST", "v1/chat/completions"): "chat"}
        return known.get((method, rest[0]), "unknown"), id

    def on_detail(self, handler: Handler) -> None:
        found = self.deployments.get(handler.id)
        if found is not None:
            self._tell(handler, found)
        elif self.knobs.missing is not None:
            self.knobs.missing(handler)
        else:
            handler.says(404, -1, "service not found")

    def on_list(self, handler: Handler) -> None:
        """Names are filtered by what they contain, which is more than what was asked for."""
        kept = [told for told in self.deployments.values() if handler.query["name"] in told["name"]]
        size = min(int(handler.query["size"]), self.knobs.page)
        begin = (int(handler.query["page"]) - 1) * size
        rows = [{name: told[name] for name in told.keys() - {"instance"}} for told in kept[begin : begin + size]]
        self._tell(handler, {"rows": rows} | ({"count": len(kept)} if self.knobs.counts else {}))

    def _tell(self, handler: Handler, data: Any) -> None:
        handler.json({"code": self.knobs.code, "data": data, "msg": ""} if self.knobs.envelope else data)

    def on_models(self, handler: Handler) -> None:
        models = self.knobs.models
        handler.reply(models, b"") if isinstance(models, int) else handler.json(models)

    def on_chat(self, handler: Handler) -> None:
        asked = json.loads(handler.body)
        message = {"role": "assistant", "content": f"echo: {asked['messages'][-1]['content']}"}
        usage = {"prompt_tokens": 1, "completion_tokens": 2}
        handler.json(
            {
                "id": "c",
                "model": asked["model"],
                "choices": [{"message": message, "finish_reason": "stop"}],
                "usage": usage,
            }
        )

    def on_unknown(self, handler: Handler) -> None:
        handler.says(404, -1, "no such route")
