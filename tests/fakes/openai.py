"""Small platforms of OpenAI's files and batches on loopback, one at a time, as picky as their documents let one be.

Written from batch-providers (1A to 1F, 2.1) and seed-providers (B.6), the notes on platforms; it shares no code with
the client or the simulator.  A task is done at once, unless a knob says otherwise.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "sk-fake-key-0123456789"
CREATED = 1_767_225_600
MODELS = [{"id": "m-1", "object": "model", "created": CREATED, "owned_by": "them"}, {"id": "m-2"}]


@dataclass(frozen=True)
class Platform:
    """What one platform documents; the defaults are OpenAI's."""

    version: str = "/v1"
    key: tuple[str, str] = ("authorization", f"Bearer {KEY}")
    purpose: str | None = "batch"
    """None: no upload by form, but an address to put bytes to."""
    line: frozenset[str] = frozenset({"custom_id", "method", "url", "body"})
    url: str = "/v1/chat/completions"
    window: str | None = "24h"
    """A pattern, None for no such field."""
    order: frozenset[str] = frozenset({"input_file_id", "endpoint", "completion_window", "metadata"})
    id: str = "id"
    file: str = "input_file_id"
    wrapped: bool = False
    word: Callable[[str], str] = str.lower
    iso: bool = False
    counts: str = "ints"
    """ints, null, percent, or num for xAI's."""
    paging: str = "after"
    """after, cursor, token or array."""
    results: str = "files"
    cancel: str = "/cancel"
    polls: int = 0
    """How often a new file is looked at before it is processed."""
    empty_error_file: bool = False


BAIDU = {"completed": "Done", "in_progress": "Running", "cancelled": "Stopped", "validating": "Queuing"}
PLATFORMS: dict[str, Platform] = {
    "openai": Platform(),
    "azure": Platform(
        "/openai/v1",
        key=("api-key", KEY),
        word=str.capitalize,
        iso=True,
        counts="null",
        polls=2,
        empty_error_file=True,
    ),
    "groq": Platform("/openai/v1", window="24h|[2-7]d|[0-9]+h", paging="cursor"),
    "together": Platform(
        purpose="batch-api",
        line=frozenset({"custom_id", "body"}),
        order=frozenset({"input_file_id", "endpoint", "completion_window"}),
        wrapped=True,
        word=str.upper,
        iso=True,
        counts="percent",
        paging="array",
    ),
    "kimi": Platform(window="1[2-9]h|[2-9][0-9]h|1[0-6][0-9]h|[1-7]d"),
    "dashscope": Platform("/compatible-mode/v1", window="[0-9]+h|[0-9]+d"),
    "zhipu": Platform(
        "/api/paas/v4",
        url="/v4/chat/completions",
        order=frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "auto_delete_input_file"}),
    ),
    "siliconflow": Platform(order=frozenset({"input_file_id", "endpoint", "completion_window"})),
    "doubleword": Platform(window="24h|1h"),
    "litellm": Platform(),
    "qianfan": Platform(
        "/v2", url="/v2/chat/completions", window="[1-9][0-9]{0,2}h", word=lambda word: BAIDU.get(word, word.title())
    ),
    "xai": Platform(
        window=None,
        order=frozenset({"name", "input_file_id"}),
        id="batch_id",
        iso=True,
        counts="num",
        paging="token",
        results="pages",
        cancel=":cancel",
    ),
    "digitalocean": Platform(
        purpose=None,
        order=frozenset({"file_id", "provider", "endpoint", "completion_window", "request_id"}),
        id="batch_id",
        file="file_id",
        iso=True,
        results="links",
    ),
}


@dataclass
class Knobs:
    fail: dict[str, list[Callable[[Handler], None]]] = field(default_factory=dict)
    """Call → what to do instead of answering, one per call, before any effect."""
    lose: dict[str, int] = field(default_factory=dict)
    """Call → how many answers are lost after the effect."""
    task: dict[str, Any] = field(default_factory=dict)
    """Merged over the task object."""
    hidden: bool = False
    """The list leaves all tasks out."""
    page: int = 2
    """Tasks or results of one page at most."""
    new_files_unknown: int = 0
    """How many creations find the file not known yet."""
    models: Any = field(default_factory=lambda: {"object": "list", "data": MODELS})


@dataclass(frozen=True)
class Call:
    """One request as it came in."""

    name: str
    headers: Message
    query: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeOpenAI

    def handle_any(self) -> None:
        fake = self.server
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.call, self.id = fake.route(self.command, parts.path)
        fake.calls.append(Call(self.call, self.headers, self.query, self.body))
        name, value = fake.platform.key
        if faults := fake.knobs.fail.get(self.call):
            faults.pop(0)(self)
        elif self.call not in ("put", "get") and self.headers[name] != value:
            self.error(401, "invalid_api_key", f"Incorrect API key provided: {self.headers[name]}")
        else:
            getattr(fake, f"on_{self.call}")(self)

    do_GET = do_POST = do_PUT = handle_any

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
        self.reply(200, json.dumps(data).encode())

    def error(self, status: int, code: str | None, message: str) -> None:
        body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
        self.reply(status, json.dumps(body).encode())

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        pass


class FakeOpenAI(ThreadingHTTPServer):
    """Listens at once.  ``calls`` holds every request in order, ``files`` and ``batches`` what it was made to keep."""

    daemon_threads = True

    def __init__(self, platform: str = "openai") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.platform = PLATFORMS[platform]
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.knobs = Knobs()
        self.calls: list[Call] = []
        self.forms: list[dict[str, str]] = []
        self.files: dict[str, bytes] = {}
        self.looks: dict[str, int] = {}
        self.batches: dict[str, dict[str, Any]] = {}
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

    def route(self, method: str, path: str) -> tuple[str, str]:
        for name, (verb, pattern) in {
            "presign": ("POST", r"{v}/batches/files"),
            "upload": ("POST", r"{v}/files"),
            "file": ("GET", r"{v}/files/([^/]+)"),
            "content": ("GET", r"{v}/files/([^/]+)/content"),
            "create": ("POST", r"{v}/batches"),
            "list": ("GET", r"{v}/batches"),
            "batch": ("GET", r"{v}/batches/([^/]+)"),
            "cancel": ("POST", r"{v}/batches/([^/]+){cancel}"),
            "results": ("GET", r"{v}/batches/([^/]+)/results"),
            "models": ("GET", r"{v}/models"),
            "put": ("PUT", r"/put/([^/]+)"),
            "get": ("GET", r"/get/([^/]+)"),
        }.items():
            pattern = pattern.replace("{v}", self.platform.version).replace("{cancel}", self.platform.cancel)
            if method == verb and (match := re.fullmatch(pattern, path)):
                return name, unquote(match[1]) if match.groups() else ""
        return "unknown", path

    def keep(self, data: bytes, id: str = "") -> str:
        id = id or f"file-{len(self.files) + 1}"
        self.files[id] = data
        return id

    # Files

    def on_upload(self, handler: Handler) -> None:
        boundary = handler.headers["content-type"].partition("boundary=")[2].encode()
        content, form = b"", {}
        for part in handler.body.split(b"--" + boundary)[1:-1]:
            head, _, value = part[2:-2].partition(b"\r\n\r\n")
            name = re.search(rb'name="([^"]*)"', head)
            if file := re.search(rb'filename="([^"]*)"', head):
                content, form["filename"] = value, file[1].decode()
            elif name:
                form[name[1].decode()] = value.decode()
        self.forms.append(form)
        if form.get("purpose") != self.platform.purpose:
            return handler.error(400, "invalid_purpose", f"purpose {form.get('purpose')} is not known")
        if not form["filename"].endswith(".jsonl") or content.startswith(b"\xef\xbb\xbf") or b"\r" in content:
            return handler.error(400, "invalid_file", "the file must be .jsonl in utf-8")
        id = self.keep(content)
        return handler.data(
            {"id": id, "object": "file", "bytes": len(content), "status": "pending", "purpose": "batch"}
        )

    def on_presign(self, handler: Handler) -> None:
        if not json.loads(handler.body)["file_name"].endswith(".jsonl"):
            return handler.error(400, "invalid_file", "the file must be .jsonl")
        id = f"file-{len(self.files) + 1}"
        handler.data({"file_id": id, "upload_url": f"{self.url}/put/{id}?sig=presigned-secret", "expires_at": "…"})
        return None

    def on_put(self, handler: Handler) -> None:
        if handler.headers["authorization"] or handler.query.get("sig") != "presigned-secret":
            return handler.error(403, "SignatureDoesNotMatch", "no")
        self.keep(handler.body, handler.id)
        return handler.reply(200, b"")

    def on_get(self, handler: Handler) -> None:
        if handler.headers["authorization"] or handler.query.get("sig") != "presigned-secret":
            return handler.error(403, "SignatureDoesNotMatch", "no")
        return handler.reply(200, self.files[handler.id])

    def on_file(self, handler: Handler) -> None:
        self.looks[handler.id] = self.looks.get(handler.id, 0) + 1
        done = self.looks[handler.id] > self.platform.polls
        handler.data({"id": handler.id, "object": "file", "status": "processed" if done else "pending"})

    def on_content(self, handler: Handler) -> None:
        if handler.id not in self.files:
            return handler.error(404, None, f"No such File object: {handler.id}")
        return handler.reply(200, self.files[handler.id])

    # Batches

    def on_create(self, handler: Handler) -> None:
        order, platform = json.loads(handler.body), self.platform
        if self.knobs.new_files_unknown > 0:
            self.knobs.new_files_unknown -= 1
            return handler.error(400, None, f"File {order[platform.file]} not found")
        if complaint := self.complaint(order):
            return handler.error(400, "invalid_request", complaint)
        lines = [json.loads(line) for line in self.files[order[platform.file]].splitlines()]
        output = "".join(json.dumps(answer(line)) + "\n" for line in lines).encode()
        made: dict[str, Any] = {
            platform.id: f"batch_{len(self.batches) + 1}",
            "object": "batch",
            **{key: value for key, value in order.items() if key in ("endpoint", "metadata", "name", "request_id")},
            platform.file: order[platform.file],
            "completion_window": order.get("completion_window"),
            "output_file_id": self.keep(output),
            "error_file_id": self.keep(b"") if platform.empty_error_file else None,
            "errors": None,
            "lines": len(lines),
            "created": CREATED + len(self.batches),
            "status": "completed",
        }
        self.batches[made[platform.id]] = made
        shown = self.shown(made)
        return handler.data({"job": shown, "warning": ""} if platform.wrapped else shown)

    def complaint(self, order: dict[str, Any]) -> str:
        """What this platform has against an order and its file."""
        platform = self.platform
        if strange := order.keys() - platform.order:
            return f"unknown fields {strange}"
        if order.get(platform.file) not in self.files:
            return "there is no such input"
        if platform.polls and self.looks.get(order[platform.file], 0) <= platform.polls:
            return "the file is not processed"
        if platform.window and not re.fullmatch(platform.window, order.get("completion_window", "")):
            return f"window {order.get('completion_window')}"
        for line in map(json.loads, self.files[order[platform.file]].splitlines()):
            if line.keys() != platform.line:
                return f"line {line}"
            if "url" in line and line["url"] != order.get("endpoint", platform.url):
                return "url_mismatch"
        if "endpoint" in platform.order and not order.get("endpoint", "").startswith(platform.url.partition("/ch")[0]):
            return f"endpoint {order.get('endpoint')}"
        return ""

    def shown(self, made: dict[str, Any]) -> dict[str, Any]:
        """A task in this platform's own shape."""
        platform = self.platform
        shown = {key: value for key, value in made.items() if key not in ("lines", "created", "status")}
        iso = f"2026-01-01T00:{made['created'] - CREATED:02}:00Z"
        shown["create_time" if platform.counts == "num" else "created_at"] = iso if platform.iso else made["created"]
        total = made["lines"]
        if platform.counts == "num":
            shown["state"] = {"num_requests": total, "num_pending": 0, "num_success": total, "num_error": 0}
        else:
            shown["status"] = platform.word(made["status"])
        if platform.counts == "ints":
            shown["request_counts"] = {"total": total, "completed": total, "failed": 0}
        elif platform.counts == "null":
            shown["request_counts"] = {"total": None, "completed": None, "failed": None}
        elif platform.counts == "percent":
            shown["progress"] = 100
        if platform.results != "files":
            del shown["output_file_id"], shown["error_file_id"]
        return {**shown, **self.knobs.task}

    def on_batch(self, handler: Handler) -> None:
        if handler.id not in self.batches:
            return handler.error(404, None, f"No batch found with id '{handler.id}'.")
        return handler.data(self.shown(self.batches[handler.id]))

    def on_list(self, handler: Handler) -> None:
        """Newest first, a few on a page."""
        ids = [] if self.knobs.hidden else list(self.batches)[::-1]
        all_ = [self.shown(self.batches[id]) for id in ids]
        if self.platform.paging == "array":
            return handler.data(all_)
        name = {"after": "after", "cursor": "cursor", "token": "pagination_token"}[self.platform.paging]
        cursor = handler.query.get(name, "")
        start = ids.index(cursor) + 1 if cursor else 0
        page, more = all_[start : start + self.knobs.page], start + self.knobs.page < len(ids)
        last = page[-1][self.platform.id] if page else None
        if self.platform.paging == "token":
            return handler.data({"batches": page, "pagination_token": last if more else None})
        body: dict[str, Any] = {"object": "list", "data": page}
        if self.platform.paging == "cursor":
            return handler.data({**body, "paging": {"next_cursor": last if more else None}})
        return handler.data({**body, "first_id": page[0][self.platform.id] if page else None, "has_more": more})

    def on_cancel(self, handler: Handler) -> None:
        made = self.batches[handler.id]
        if made["status"] in ("completed", "failed", "expired", "cancelled"):
            return handler.error(409, None, f"Cannot cancel a batch with status '{made['status']}'.")
        made["status"] = "cancelling"
        return handler.data(self.shown(made))

    def on_results(self, handler: Handler) -> None:
        output = self.files[self.batches[handler.id]["output_file_id"]]
        if self.platform.results == "links":
            id = self.batches[handler.id]["output_file_id"]
            link = {"presigned_url": f"{self.url}/get/{id}?sig=presigned-secret", "expires_at": "2026-01-01T00:15:00Z"}
            return handler.data({"download": link, "output_file_id": id})
        start = int(handler.query.get("pagination_token", "0"))
        size = min(self.knobs.page, int(handler.query["limit"]))
        results = [xai_result(json.loads(line)) for line in output.splitlines()]
        more = start + size < len(results)
        page = {"results": results[start : start + size], "pagination_token": str(start + size) if more else None}
        return handler.data(page)

    def on_models(self, handler: Handler) -> None:
        handler.data(self.knobs.models)

    def on_unknown(self, handler: Handler) -> None:
        handler.error(404, None, f"Unknown request URL: {handler.command} {handler.id}")


def answer(line: dict[str, Any]) -> dict[str, Any]:
    """The line of results that answers a request line."""
    message = {"role": "assistant", "content": f"answer to {line['custom_id']}"}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
    response = {"status_code": 200, "request_id": "r-1", "body": body}
    return {"id": "batch_req_1", "custom_id": line["custom_id"], "response": response, "error": None}


def xai_result(line: dict[str, Any]) -> dict[str, Any]:
    """The same as xAI's list of results has it."""
    response = line["response"]
    result = {"response": {"chat_get_completion": response["body"]}} if response else {"error": line["error"]}
    return {"batch_request_id": line["custom_id"], "batch_result": result}
