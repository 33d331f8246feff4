"""A small Qianfan on loopback, with the corner of BOS that it needs, and a knob for what their documents leave open.

It shares no code with the simulator or with the client: the signature is checked by a second reading of the document.
A task is through as soon as it is made.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

ACCESS = "ALTAKfakeQwErTyUiOp"
SECRET = "fake-secret-AsDfGhJkLzXcVbNm"
BUCKET = "bkt"

MODELS: dict[str, Any] = {
    "commonModelList": [
        {
            "modelId": "am-1",
            "modelName": "M",
            "modelVersionList": [{"modelVersionId": "amv-1", "modelVersionName": "M-1"}],
        }
    ],
    "customModelList": None,
}


@dataclass
class Knobs:
    fail: dict[str, list[Callable[[Handler], None]]] = field(default_factory=dict)
    """Call name → what to do instead of answering, one per call, before any effect."""
    lose: dict[str, int] = field(default_factory=dict)
    """Call name → how many answers are lost after the effect."""
    now: Callable[[], float] = time.time
    task: dict[str, Any] = field(default_factory=dict)
    """Merged over the task object, in details and in lists; None takes a field out."""
    listed: bool = False
    """Results are objects, or lists of one."""
    models: Any = field(default_factory=lambda: MODELS)
    answered: int | None = None
    """So many rows have a result; None is all."""
    files: int = 1
    """Into so many files the results are split."""
    end: bytes = b"\n"
    """What the last line of a file of results ends with."""
    shuffle: bool = False
    hidden: int = 0
    """So many of the newest tasks are not in the list yet."""
    page: int = 100
    """The most tasks, and the most objects, in one piece of a list."""
    oldest_first: bool = False
    """pageReverse is not heeded."""
    next_marker: bool = True
    """A list of objects says where it goes on."""
    places: int = 20
    stop: Any = True
    stops: dict[str, Any] = field(default_factory=dict)
    """What a stop makes of the task."""


@dataclass(frozen=True)
class Call:
    """One request as it came in.  ``body`` is JSON for an action."""

    name: str
    path: str
    headers: Message
    query: dict[str, str]
    body: Any


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeQianfan

    def handle_any(self) -> None:
        fake = self.server
        parts = urlsplit(self.path)
        self.plain = unquote(parts.path)
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.call = self._name()
        is_action = self.plain == "/v2/batchinference"
        body = json.loads(self.body) if is_action else self.body
        fake.calls.append(Call(self.call, self.plain, self.headers, self.query, body))
        self.losable = False
        if faults := fake.knobs.fail.get(self.call):
            return faults.pop(0)(self)
        self.losable = True
        if complaint := fake.complaint_about(self):
            return self.error(403, *complaint)
        return fake.act(self, body) if is_action else fake.store(self)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

    def _name(self) -> str:
        if "Action" in self.query:
            return self.query["Action"]
        is_bucket = "/" not in self.plain.strip("/")
        return "objects" if is_bucket else self.command.lower()

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        if self.losable and self.server.knobs.lose.get(self.call, 0) > 0:
            self.server.knobs.lose[self.call] -= 1
            return self.cut()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return None

    def result(self, result: Any) -> None:
        if self.server.knobs.listed and isinstance(result, dict):
            result = [result]
        self.reply(200, json.dumps({"requestId": "q-1", "result": result}).encode())

    def error(self, status: int, code: str, message: str = "so it is") -> None:
        body = {"requestId": "q-1", "code": code, "message": message}
        self.reply(status, json.dumps(body).encode(), X_Bce_Error_Code=code, X_Bce_Error_Message=message)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        pass


class FakeQianfan(ThreadingHTTPServer):
    """Listens at once; ``calls`` holds every request in order, ``tasks`` and ``objects`` what it was made to keep."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.knobs = Knobs()
        self.calls: list[Call] = []
        self.objects: dict[str, bytes] = {}
        """By bucket/key."""
        self.tasks: dict[str, dict[str, Any]] = {}
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

    # Signatures

    def complaint_about(self, handler: Handler) -> tuple[str, str] | None:
        """Why a request is turned away: its signature is not right, or not in time."""
        given = handler.headers.get("authorization", "")
        match = re.fullmatch(r"bce-auth-v1/([^/]+)/([^/]+)/(\d+)/([^/]*)/([0-9a-f]{64})", given)
        if match is None:
            return "InvalidHTTPAuthHeader", f"not a signature: {given}"
        access, stamp, expires, names, signature = match.groups()
        if access != ACCESS:
            return "InvalidAccessKeyId", f"NotFound, cause: Could not find credential {access}."
        begun = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        if not begun - 300 <= self.knobs.now() <= begun + int(expires):
            return "RequestExpired", f"signed at {stamp}"
        key = hmac.new(SECRET.encode(), given.rsplit("/", 2)[0].encode(), hashlib.sha256).hexdigest()
        expected = hmac.new(key.encode(), canonical(handler, names).encode(), hashlib.sha256).hexdigest()
        return None if hmac.compare_digest(expected, signature) else ("SignatureDoesNotMatch", f"with {SECRET}")

    # The six actions, of which five are spoken

    def act(self, handler: Handler, order: dict[str, Any]) -> None:
        match handler.call:
            case "CreateBatchInferenceTask":
                self.create(handler, order)
            case "DescribeBatchInferenceTask" | "StopBatchInferenceTask" if order.get("taskId") not in self.tasks:
                handler.error(404, "NotFound", f"no task {order.get('taskId')}")
            case "DescribeBatchInferenceTask":
                handler.result(self.told(self.tasks[order["taskId"]]))
            case "StopBatchInferenceTask":
                self.tasks[order["taskId"]].update(self.knobs.stops)
                handler.result(self.knobs.stop)
            case "DescribeBatchInferenceTasks":
                handler.result(self.page(order))
            case "DescribeBatchInferenceModel":
                handler.result(self.knobs.models)
            case other:
                handler.error(400, "InvalidAction", other)

    def told(self, task: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in {**task, **self.knobs.task}.items() if value is not None}

    def create(self, handler: Handler, order: dict[str, Any]) -> None:
        if problem := self.problem_of(order):
            return handler.error(400, *problem)
        if sum(task["runStatus"] in ("Queuing", "Running", "Stopping") for task in self.tasks.values()) >= (
            self.knobs.places
        ):
            return handler.error(400, "TaskRunningNumberExceedLimit", "20 tasks at most")
        number = len(self.tasks) + 1
        folder = hashlib.sha256(b"%d" % number).hexdigest()[:24]
        made = datetime.fromtimestamp(self.knobs.now(), UTC) + timedelta(seconds=number)
        self.tasks[f"infer-{number}"] = {
            **{key: value for key, value in order.items() if key not in ("completion_window", "dataFormat")},
            "taskId": f"infer-{number}",
            "runStatus": "Done",
            "progress": self.answer(order, folder),
            "outputDir": folder,
            "createTime": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return handler.result({"taskId": f"infer-{number}"})

    def problem_of(self, order: dict[str, Any]) -> tuple[str, str] | None:
        """What the document forbids."""
        if not 2 <= len(order.get("name", "")) <= 20:
            return "InappropriateJSON", "name has 2 to 20 characters"
        if len(order.get("description", "")) > 500:
            return "InappropriateJSON", "description has at most 500 characters"
        if len({"endpoint", "modelId"} & order.keys()) != 1:
            return "InappropriateJSON", "exactly one of endpoint and modelId"
        if order.get("completion_window", "24h") != "24h":
            return "InappropriateJSON", "24h is the only window"
        for name in ("inputBosUri", "outputBosUri"):
            if not re.fullmatch(r"bos:/[^/]+/(.*/)?", order.get(name, "")):
                return "InvalidBosUri", order.get(name, "")
        if not self.inputs(order):
            return "InvalidBosUri", "no files"
        if not any(key.startswith(path(order["outputBosUri"])) for key in self.objects):
            return "InvalidBosUri", "the output folder does not exist"
        wanted = {"default": "query", "role": "messages"}[order.get("dataFormat", "default")]
        lines = [json.loads(line) for data in self.inputs(order).values() for line in data.splitlines()]
        if any(line.keys() != {"id", wanted} for line in lines) or len({line["id"] for line in lines}) != len(lines):
            return "InappropriateJSON", f"lines of id and {wanted}"
        return None

    def inputs(self, order: dict[str, Any]) -> dict[str, bytes]:
        return {key: data for key, data in self.objects.items() if key.startswith(path(order["inputBosUri"]))}

    def answer(self, order: dict[str, Any], folder: str) -> int:
        """Write the results; how many rows have one."""
        lines = [json.loads(line) for data in self.inputs(order).values() for line in data.splitlines()]
        lines = [{**line, "output": output(number)} for number, line in enumerate(lines, start=1)]
        lines = lines[: self.knobs.answered]
        if self.knobs.shuffle:
            lines.reverse()
        for number in range(self.knobs.files if lines else 0):
            data = b"\n".join(json.dumps(line).encode() for line in lines[number :: self.knobs.files])
            key = f"{path(order['outputBosUri'])}{folder}/part-{number}.jsonl"
            self.objects[key] = data + self.knobs.end if data else b""
        return len(lines)

    def page(self, order: dict[str, Any]) -> dict[str, Any]:
        """Tasks behind the marker, which is the last one that was listed."""
        ids = list(self.tasks)[: len(self.tasks) - self.knobs.hidden]
        if order.get("pageReverse") and not self.knobs.oldest_first:
            ids.reverse()
        start = ids.index(order["marker"]) + 1 if order.get("marker") else 0
        size = min(order.get("maxKeys", 10), 100, self.knobs.page)
        shown = ids[start : start + size]
        info = {"marker": shown[-1] if shown else "", "maxKeys": size, "isTruncated": start + size < len(ids)}
        return {"taskList": [self.told(self.tasks[id]) for id in shown], "pageInfo": info}

    # BOS

    def store(self, handler: Handler) -> None:
        name = handler.plain.removeprefix("/")
        if name.partition("/")[0] != BUCKET:
            handler.error(404, "NoSuchBucket", name)
        elif handler.call == "put":
            self.objects[name] = handler.body
            handler.reply(200, b"", ETag=etag(handler.body))
        elif handler.call == "objects":
            handler.reply(200, json.dumps(self.objects_in(handler.query)).encode(), Content_Type="application/json")
        elif name not in self.objects:
            handler.error(404, "NoSuchKey", name)
        else:
            self.give(handler, self.objects[name])

    def give(self, handler: Handler, data: bytes) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("range", ""))
        if match is None:
            return handler.reply(200, data, ETag=etag(data))
        start = int(match[1])
        extent = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return handler.reply(206, data[start:], ETag=etag(data), Content_Range=extent)

    def objects_in(self, query: dict[str, str]) -> dict[str, Any]:
        keys = sorted(name.removeprefix(f"{BUCKET}/") for name in self.objects)
        keys = [key for key in keys if key.startswith(query.get("prefix", "")) and key > query.get("marker", "")]
        size = min(int(query.get("maxKeys", 1_000)), self.knobs.page)
        shown = keys[:size]
        found: dict[str, Any] = {
            "name": BUCKET,
            "prefix": query.get("prefix", ""),
            "maxKeys": size,
            "isTruncated": len(keys) > size,
            "contents": [{"key": key, "size": len(self.objects[f"{BUCKET}/{key}"])} for key in shown],
        }
        if found["isTruncated"] and self.knobs.next_marker:
            found["nextMarker"] = shown[-1]
        return found


def canonical(handler: Handler, names: str) -> str:
    """What was signed, from the request as it came; ``names`` in whatever order they are."""
    usual = ("host", "content-length", "content-type", "content-md5")
    signed = set(names.split(";")) if names else set()
    lines = []
    for name, value in handler.headers.items():
        name, value = name.lower(), value.strip()
        if value and (name in signed or (not signed and (name in usual or name.startswith("x-bce-")))):
            lines.append(f"{quote(name, safe='')}:{quote(value, safe='')}")
    pairs = parse_qsl(urlsplit(handler.path).query, keep_blank_values=True)
    query = sorted(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in pairs if k.lower() != "authorization")
    return "\n".join([handler.command, quote(handler.plain, safe="/"), "&".join(query), *sorted(lines)])


def path(uri: str) -> str:
    return uri.removeprefix("bos:/")


def etag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def output(number: int) -> dict[str, Any]:
    return {
        "id": f"as-{number}",
        "object": "chat.completion",
        "created": 1767225600,
        "result": f"answer {number}",
        "finish_reason": "normal",
        "is_truncated": False,
        "need_clear_history": False,
        "usage": {"prompt_tokens": number, "completion_tokens": 2, "total_tokens": number + 2},
    }
