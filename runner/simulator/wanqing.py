"""Wanqing's wire: the six documented calls, the upload gateway, and one list call that the real one lacks.

Where the document is silent (HTTP statuses and codes of errors, what a file token does after its first use, links'
lifetimes) this module makes a choice; docs/simulator.md lists them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from runner.simulator import models
from runner.simulator.engine import KEPT_SECONDS, SUCCEEDED, Engine, Order, Refusal, View
from runner.simulator.web import Handler, Reply, Request, Route, Wire, json_reply

BASE = "/api/openapi/v1"
UPLOAD_PATH = "/api/upload"
DOWNLOAD_PATH = "/download"
PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
MAX_TEXT = 256

_IDENTIFIER = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_ORDER_FIELDS = ("name", "projectId", "modelInstanceId", "accessType", "fileToken", "fileName", "maxWaitTime")

_ERRORS = {
    "invalid": (400, "InvalidParameter"),
    "unauthorized": (401, "Unauthorized"),
    "unknown-model": (400, "ModelInstanceNotFound"),
    "stopped-model": (400, "ModelInstanceNotRunning"),
    "online-model": (400, "ModelInstanceNotSupported"),
    "unknown-file": (400, "FileNotFound"),
    "unknown-task": (404, "TaskNotFound"),
    "not-finished": (400, "TaskNotFinished"),
    "no-output": (404, "OutputNotFound"),
    "file-expired": (410, "FileExpired"),
    "bad-link": (403, "AccessDenied"),
    "too-large": (413, "PayloadTooLarge"),
}
"""Refusal kind → HTTP status and ErrorCode.  The real codes are not documented."""


def wire(engine: Engine) -> Wire:
    """The calls, as data."""
    calls = _Calls(engine)
    tasks, project = f"{BASE}/batch-reasoning-tasks", f"{BASE}/projects/{{projectId}}/batch-reasoning-tasks"
    routes = (
        Route("GET", f"{BASE}/model-instances", "models", _signed(calls.models)),
        Route("GET", f"{tasks}/upload/upload-url", "upload-url", _signed(calls.upload_url)),
        Route("POST", UPLOAD_PATH, "upload", calls.upload),
        Route("POST", tasks, "create", _signed(calls.create)),
        Route("GET", project, "list", _signed(calls.list)),
        Route("GET", f"{project}/{{taskId}}", "detail", _signed(calls.detail)),
        Route("GET", f"{project}/{{taskId}}/download-url", "download-url", _signed(calls.download_url)),
        Route("GET", f"{DOWNLOAD_PATH}/{{taskId}}", "download", calls.download),
    )
    return Wire(routes, _refuse, _fail)


def _envelope(data: Any, code: str = "", message: str = "") -> dict[str, Any]:
    meta = {"RequestId": secrets.token_hex(16), "HostId": "simulator", "ErrorCode": code, "ErrorMessage": message}
    return {"ResponseMeta": meta, "ResponseData": data}


def _good(data: Any) -> Reply:
    return json_reply(200, _envelope(data))


def _fail(status: int, code: str, message: str) -> Reply:
    return json_reply(status, _envelope(None, code, message))


def _refuse(refusal: Refusal) -> Reply:
    status, code = _ERRORS[refusal.kind]
    return _fail(status, code, refusal.message)


def _signed(handle: Handler) -> Handler:
    """``handle`` behind a check of the key: any is good that does not start with ``invalid``."""

    def checked(request: Request) -> Reply:
        key = _key(request)
        if not key or key.startswith("invalid"):
            raise Refusal("unauthorized", "the API key is missing or not valid for this project")
        return handle(request)

    return checked


def _key(request: Request) -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


class _Calls:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def models(self, request: Request) -> Reply:
        wanted = set(filter(None, request.query.get("customTags", "").split(",")))
        found = [entry for entry in models.MODELS if wanted <= set(entry["invisibleModelTags"]["customTags"])]
        return _good({"total": len(found), "list": found})

    def upload_url(self, request: Request) -> Reply:
        project = _identifier(request.query.get("projectId"), "projectId")
        token = self._engine.mint(project, _text(request.query.get("fileName"), "fileName"))
        rule = request.fault("endpoint")
        spelling = rule.spelling if rule else "bare"
        endpoint = {"bare": urlsplit(request.base).netloc, "scheme": request.base}.get(
            spelling or "", request.base + UPLOAD_PATH
        )
        return _good({"httpEndpoint": endpoint, "fileToken": token})

    def upload(self, request: Request) -> Reply:
        """The gateway has no envelope: ``result`` other than 1 is a failure, whatever the HTTP status."""
        if rule := request.fault("refuse-result"):
            return json_reply(200, {"result": rule.result or 0, "error_msg": rule.message or "simulated failure"})
        try:
            self._engine.receive(request.query.get("upload_token", ""), request.body.chunks())
        except Refusal as refusal:
            status = 413 if refusal.kind == "too-large" else 200
            return json_reply(status, {"result": 0, "error_msg": refusal.message})
        return json_reply(200, {"result": 1})

    def create(self, request: Request) -> Reply:
        order = request.body.json()
        accepted = _order(order, _key(request))
        digest = self._engine.received(_text(order["fileToken"], "fileToken"), accepted.project)
        return _good({"id": self._engine.create(accepted, digest).id})

    def list(self, request: Request) -> Reply:
        page = _count(request.query.get("page", "1"), "page", 1_000_000)
        size = _count(request.query.get("size", str(PAGE_SIZE)), "size", 1_000_000)
        lag = request.fault("lag")
        total, views = self._engine.tasks(
            _identifier(request.params["projectId"], "projectId"),
            request.query.get("name"),
            page,
            min(size, MAX_PAGE_SIZE),
            (lag.seconds or 0) if lag else 0,
        )
        return _good({"total": total, "list": [_task(view, request) for view in views]})

    def detail(self, request: Request) -> Reply:
        return _good(_task(self._view(request), request))

    def download_url(self, request: Request) -> Reply:
        if request.query.get("status") != "output":
            raise Refusal("invalid", "status has to be output")
        view = self._view(request)
        self._engine.require_output(view)
        query = urlencode(self._engine.sign(view.task))
        return _good({"fileUrl": f"{request.base}{DOWNLOAD_PATH}/{view.task.id}?{query}"})

    def download(self, request: Request) -> Reply:
        query = request.query
        identity = _identifier(request.params["taskId"], "taskId")
        path = self._engine.linked(identity, query.get("expires", ""), query.get("signature", ""))
        return Reply(200, path, "application/octet-stream")

    def _view(self, request: Request) -> View:
        project = _identifier(request.params["projectId"], "projectId")
        return self._engine.task(project, _identifier(request.params["taskId"], "taskId"))


# --- reading ---------------------------------------------------------------------------------------------------------


def _order(data: Any, key: str) -> Order:
    if not isinstance(data, Mapping):
        raise Refusal("invalid", "the body is not a JSON object")
    missing = [name for name in _ORDER_FIELDS if data.get(name) in (None, "")]
    if missing:
        raise Refusal("invalid", f"missing: {', '.join(missing)}")
    if data["accessType"] != "PUBLIC":
        raise Refusal("invalid", "accessType has to be PUBLIC")
    wait = data["maxWaitTime"]
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 < wait < 1e9:
        raise Refusal("invalid", "maxWaitTime has to be a number of seconds above 0")
    return Order(
        name=_text(data["name"], "name"),
        project=_identifier(data["projectId"], "projectId"),
        model=_text(data["modelInstanceId"], "modelInstanceId"),
        file_name=_text(data["fileName"], "fileName"),
        max_wait=float(wait),
        key=key,
    )


def _identifier(value: Any, name: str) -> str:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise Refusal("invalid", f"{name} is missing or malformed")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise Refusal("invalid", f"{name} has to be a text of 1 to {MAX_TEXT} printable characters")
    return value


def _count(value: str, name: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value) or not 1 <= int(value) <= most:
        raise Refusal("invalid", f"{name} has to be a whole number from 1")
    return int(value)


# --- writing ---------------------------------------------------------------------------------------------------------


def _task(view: View, request: Request) -> dict[str, Any]:
    """The task object.  It echoes the caller's key, as the real one does: a client has to scrub it."""
    task = view.task
    entry = models.model(task.model) or {}
    user = {"userId": "simulator", "userRole": "user", "itTenantId": "tenant-1", "userName": "simulator"}
    limits = entry.get("tokenLimit", {})
    updated = view.ended or view.started or task.created
    return {
        "name": task.name,
        "description": "",
        "tags": {},
        "id": task.id,
        "projectId": task.project,
        "projectInfo": {"projectName": task.project},
        "createdBy": user,
        "createdAt": _time(task.created),
        "updatedBy": user,
        "updatedAt": _time(updated),
        "modelInfo": {
            "modelId": entry.get("modelId", ""),
            "modelName": entry.get("modelName", ""),
            "modelInstanceId": task.model,
            "modelInstanceName": entry.get("modelName", ""),
            "modelServiceName": "",
            "accessType": "API",
            "deploymentType": "",
            "modelRegion": "",
            "loraId": "",
            "canExperience": False,
            "supportApiProtocols": ["openai"],
        },
        "maxWaitTime": int(task.max_wait) if task.max_wait.is_integer() else task.max_wait,
        "authorizations": {"apiKey": _key(request), "accessLevel": "", "quotaLimit": ""},
        "inputDataFile": _file(task.file_name, task.created),
        "outputDataFile": _file(f"{task.id}.jsonl", view.ended) if view.has_output else None,
        "status": _word(view, request),
        "errorReason": task.error if view.ended is not None else "",
        "progress": _progress(view, request),
        "defaultTokenLimit": {name: int(limits.get(name, 0)) for name in ("maxInputTokens", "maxOutputTokens")}
        | {"maxTotalTokens": int(limits.get("contextLength", 0))},
    }


def _word(view: View, request: Request) -> str:
    rule = request.fault("word")
    return rule.spelling if view.status == SUCCEEDED and rule and rule.spelling else request.worded(view.status)


def _progress(view: View, request: Request) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "totalCount": view.total,
        "succeededCount": view.succeeded,
        "failedCount": view.failed,
    }
    if request.fault("strings"):
        counts = {name: str(count) for name, count in counts.items()}
    rule = request.fault("duration")
    seconds = int((view.ended or 0) - (view.started or 0)) if view.ended else 0
    spelling = rule.spelling if rule else "seconds"
    return {
        "startedAt": _time(view.started),
        "endedAt": _time(view.ended),
        "runningDuration": _duration(max(seconds, 0), spelling),
        **counts,
    }


def _duration(seconds: int, spelling: str | None) -> str:
    """The three spellings that the document's table and samples allow for."""
    if spelling == "clock":
        return f"{seconds // 3600}h{seconds % 3600 // 60}m"
    return "" if spelling == "empty" else str(seconds)


def _file(name: str, since: float | None) -> dict[str, Any]:
    return {"file": {"fileName": name}, "expiredAt": _time(since + KEPT_SECONDS if since is not None else None)}


def _time(seconds: float | None) -> str:
    """UTC, whole seconds; empty for what has not happened."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
