"""A small Wanqing on loopback: the six documented calls, with a knob for everything the document leaves open.

It shares no code with the simulator, so that the client is judged by a second reading of the same document.
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
from urllib.parse import parse_qs, urlsplit

BASE = "/api/openapi/v1"
KEY = "wq-fake-key-0123456789"
PROJECT = "prj-01"

MODEL = {
    "modelName": "Qwen3-8B",
    "invisibleModelTags": {"customTags": ["supportOffline"]},
    "tokenLimit": {"contextLength": "32768", "maxInputTokens": "24576", "maxOutputTokens": "8192", "rpm": "60"},
    "priceInfo": [
        {
            "usageScene": "onlineInference",
            "pricingTiers": [{"input": "0.002", "output": [{"mode": "x", "price": "0.008"}]}],
        }
    ],
    "modelInstance": {"modelInstanceId": "mi-9", "status": "running"},
}


@dataclass
class Knobs:
    endpoint: str | None = "{host}"
    """``{host}`` and ``{url}`` are filled in; None leaves the field out."""
    success_code: Any = ""
    """ErrorCode of a success; None leaves it out."""
    upload_result: Any = 1
    files_once: bool = False
    """A token is good for one upload."""
    fail: dict[str, list[Callable[[Handler], None]]] = field(default_factory=dict)
    """Call name → what to do instead of answering, one per call, before any effect."""
    lose: dict[str, int] = field(default_factory=dict)
    """Call name → how many answers are lost after the effect."""
    task: dict[str, Any] = field(default_factory=dict)
    """Merged over the task object."""
    file_url: str | None = "{url}/out/{id}?sig=presigned-secret-value"
    lists: bool = False
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
    server: FakeWanqing

    def handle_any(self) -> None:
        fake = self.server
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        call, self.id = fake.route(self.command, parts.path)
        fake.calls.append(Call(call, self.headers, self.query, self.body))
        self.call = call
        if faults := fake.knobs.fail.get(call):
            faults.pop(0)(self)
        elif call not in ("upload", "download") and self.headers["authorization"] != f"Bearer {KEY}":
            self.error(401, "Unauthorized", f"key {self.headers['authorization']} is not of this project")
        else:
            getattr(fake, f"on_{call.replace('-', '_')}")(self)

    do_GET = do_POST = handle_any

    def reply(self, status: int, body: bytes) -> None:
        if self.server.knobs.lose.get(self.call, 0) > 0:
            self.server.knobs.lose[self.call] -= 1
            return self.cut()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def data(self, data: Any) -> None:
        code = self.server.knobs.success_code
        meta = {"RequestId": "r-1", "HostId": "h-1"} | ({} if code is None else {"ErrorCode": code, "ErrorMessage": ""})
        self.reply(200, json.dumps({"ResponseMeta": meta, "ResponseData": data}).encode())

    def error(self, status: int, code: Any, message: str = "so it is", data: Any = None) -> None:
        meta = {"RequestId": "r-1", "HostId": "h-1", "ErrorCode": code, "ErrorMessage": message}
        self.reply(status, json.dumps({"ResponseMeta": meta, "ResponseData": data}).encode())

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        pass


class FakeWanqing(ThreadingHTTPServer):
    """Listens at once; ``calls`` holds every request in order, ``tasks`` and ``files`` what it was made to keep."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.url = f"http://{self.host}"
        self.knobs = Knobs()
        self.calls: list[Call] = []
        self.tokens: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.output = b'{"custom_id":"a","response":{"status_code":200,"body":{"choices":[]}}}\n'
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

    @staticmethod
    def route(method: str, path: str) -> tuple[str, str]:
        fixed = {
            ("GET", f"{BASE}/model-instances"): "models",
            ("GET", f"{BASE}/batch-reasoning-tasks/upload/upload-url"): "upload-url",
            ("POST", "/api/upload"): "upload",
            ("POST", f"{BASE}/batch-reasoning-tasks"): "create",
            ("GET", f"{BASE}/projects/{PROJECT}/batch-reasoning-tasks"): "list",
        }
        if name := fixed.get((method, path)):
            return name, ""
        below = path.removeprefix(f"{BASE}/projects/{PROJECT}/batch-reasoning-tasks/").split("/")
        if method == "GET" and below[1:] == ["download-url"]:
            return "download-url", below[0]
        if method == "GET" and path.startswith("/out/"):
            return "download", path.removeprefix("/out/")
        return ("detail", below[0]) if method == "GET" and len(below) == 1 else ("unknown", path)

    def on_models(self, handler: Handler) -> None:
        handler.data({"total": len(self.knobs.models), "list": self.knobs.models})

    def on_upload_url(self, handler: Handler) -> None:
        token = f"tok-{len(self.tokens):04}-secret"
        self.tokens[token] = handler.query["fileName"]
        answer = {"fileToken": token}
        if self.knobs.endpoint is not None:
            answer["httpEndpoint"] = self.knobs.endpoint.format(host=self.host, url=self.url)
        handler.data(answer)

    def on_upload(self, handler: Handler) -> None:
        token = handler.query.get("upload_token", "")
        fresh = token in self.tokens and not (self.knobs.files_once and token in self.files)
        self.files[token] = handler.body
        result = self.knobs.upload_result if fresh else 0
        handler.reply(200, json.dumps({"result": result}).encode())

    def on_create(self, handler: Handler) -> None:
        order = json.loads(handler.body)
        if order["fileToken"] not in self.files:
            return handler.error(400, "FileNotFound")
        id = f"brt-{len(self.tasks) + 1}"
        self.tasks[id] = {
            "id": id,
            "name": order["name"],
            "status": "succeeded",
            "errorReason": "",
            "modelInfo": {"modelInstanceId": order["modelInstanceId"]},
            "authorizations": {"apiKey": KEY},
            "inputDataFile": {"file": {"fileName": order["fileName"]}},
            "outputDataFile": {"file": {"fileName": "out.jsonl"}, "expiredAt": "2026-01-09T03:04:05Z"},
            "progress": {
                "endedAt": "",
                "runningDuration": "4h10m",
                "totalCount": 3,
                "succeededCount": 2,
                "failedCount": 1,
            },
        }
        return handler.data({"id": id})

    def on_list(self, handler: Handler) -> None:
        if not self.knobs.lists:
            return handler.error(404, "NotFound")
        found = [task for task in self.tasks.values() if handler.query["name"] in task["name"]]
        return handler.data({"total": len(found), "list": found})

    def on_detail(self, handler: Handler) -> None:
        if handler.id not in self.tasks:
            return handler.error(404, "TaskNotFound")
        return handler.data({**self.tasks[handler.id], **self.knobs.task})

    def on_download_url(self, handler: Handler) -> None:
        if handler.query != {"status": "output"}:
            return handler.error(400, "InvalidParameter")
        url = self.knobs.file_url and self.knobs.file_url.format(url=self.url, id=handler.id)
        return handler.data({"fileUrl": url})

    def on_download(self, handler: Handler) -> None:
        handler.reply(200, self.output)

    def on_unknown(self, handler: Handler) -> None:
        handler.error(404, "NotFound")
