"""Qianfan's wire: one path, six actions, every call signed, and files that lie in BOS.

After https://cloud.baidu.com/doc/qianfan-api/s/Tmo1ftuwg and its neighbours.  Where they are silent (codes of errors,
what a marker points at, when a task may be deleted) this module makes a choice; docs/simulator.md lists them.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from runner.simulator import listing, models
from runner.simulator.bce import CODES, account, fail, refuser, request_id, signed
from runner.simulator.bce_auth import Credentials
from runner.simulator.engine import (
    CANCELLED,
    CANCELLING,
    EXPIRED,
    FAILED,
    KEPT_SECONDS,
    PENDING,
    RUNNING,
    SUCCEEDED,
    Engine,
    Order,
    Refusal,
    View,
)
from runner.simulator.objects import Object, Objects
from runner.simulator.qianfan_lines import in_pieces, lines_of, requests, result_writer
from runner.simulator.web import Reply, Request, Route, Wire, json_reply

PATH = "/v2/batchinference"
MAX_ACTIVE = 20
MAX_FILES = 100
MAX_INPUT_BYTES = 300_000_000
WINDOW = "24h"
WINDOW_SECONDS = 24 * 3600
PAGE_SIZE = 10
MAX_PAGE_SIZE = 100
WALKED = 100

_STATUSES = {
    PENDING: "Queuing",
    RUNNING: "Running",
    CANCELLING: "Stopping",
    SUCCEEDED: "Done",
    FAILED: "Failed",
    EXPIRED: "Expired",
    CANCELLED: "Stopped",
}
_FAILED_CODE = 500000
"""The errorCode of every task that failed; real ones are not documented."""

_ERRORS = {
    "invalid": (400, "MalformedJSON"),
    "inappropriate": (400, "InappropriateJSON"),
    "bad-uri": (400, "InvalidBosUri"),
    "busy": (400, "TaskRunningNumberExceedLimit"),
    "unknown-action": (400, "InvalidAction"),
    "unknown-model": (400, "ModelNotFound"),
    "stopped-model": (400, "ModelNotRunning"),
    "online-model": (400, "ModelNotSupported"),
    "unknown-task": (404, "TaskNotFound"),
    "too-large": (413, "RequestEntityTooLarge"),
}
"""Refusal kind → HTTP status and code.  Only the first four are documented or were seen."""

_URI = re.compile(r"bos:/(?P<bucket>[^/]+)/(?P<folder>.*)")


def wire(engine: Engine) -> Wire:
    """The actions, as data."""
    credentials = account()
    calls = _Calls(engine, credentials)
    actions = {
        "CreateBatchInferenceTask": ("create", calls.create),
        "DescribeBatchInferenceTasks": ("list", calls.list),
        "DescribeBatchInferenceTask": ("detail", calls.detail),
        "StopBatchInferenceTask": ("cancel", calls.stop),
        "DeleteBatchInferenceTask": ("delete", calls.delete),
        "DescribeBatchInferenceModel": ("models", calls.models),
    }
    routes = [
        Route("POST", f"{PATH}?Action={action}", call, signed(handle, credentials, engine.clock))
        for action, (call, handle) in actions.items()
    ]
    unknown = Route("POST", PATH, "", signed(calls.unknown, credentials, engine.clock))
    return Wire([*routes, unknown], refuser(_ERRORS), _fail, CODES)


def _good(result: Any) -> Reply:
    identity = request_id()
    return json_reply(200, {"requestId": identity, "result": result}, {"x-bce-request-id": identity})


def _fail(status: int, code: str, message: str) -> Reply:
    """With HTTP 200 in the old way, whose codes are numbers."""
    if status == 200:
        number = int(code) if code.isdecimal() else _FAILED_CODE
        return json_reply(200, {"error_code": number, "error_msg": message, "log_id": request_id()})
    return fail(status, code, message)


class _Calls:
    def __init__(self, engine: Engine, credentials: Credentials) -> None:
        self._engine = engine
        self._objects = Objects(engine.memory.files, engine.keep, engine.clock)
        self._key = credentials.access_key
        self._project = f"qianfan {credentials.access_key}"
        self._creating = threading.Lock()

    def unknown(self, request: Request) -> Reply:
        raise Refusal("unknown-action", f"there is no action {request.query.get('Action', '')!r}")

    def models(self, request: Request) -> Reply:
        _read(request)
        found = [_model(entry) for entry in models.MODELS if _takes_batches(entry)]
        return _good({"commonModelList": found, "customModelList": None})

    def create(self, request: Request) -> Reply:
        data = _read(request)
        order = _order(data, self._project, self._key)
        inputs = self._inputs(order.extra["inputBosUri"])
        self._require_folder(order.extra["outputBosUri"])
        folder = _folder(order.extra["inputBosUri"])[1]
        names = [each.key.removeprefix(folder) for each in inputs]
        order = replace(order, file_name=names[0], extra={**order.extra, "files": names})
        contents = [self._objects.content(each) for each in inputs]
        lines = requests(contents, order.extra["dataFormat"], order.extra["inferenceParams"])
        digest = self._engine.keep(in_pieces(lines))
        with self._creating:  # or two callers could both take the last place
            active = sum(view.ended is None for view in self._walk(None))
            if active >= MAX_ACTIVE:
                raise Refusal("busy", f"{active} tasks are queuing, running or stopping; {MAX_ACTIVE} is the most")
            task = self._engine.create(order, digest)
        return _good({"taskId": task.id})

    def list(self, request: Request) -> Reply:
        data = _read(request)
        wanted = data.get("runStatus") or []
        size = data.get("maxKeys", PAGE_SIZE)
        marker = data.get("marker") or None
        if not isinstance(wanted, list) or not set(map(str, wanted)) <= set(_STATUSES.values()):
            raise Refusal("inappropriate", f"runStatus has to be a list of {', '.join(_STATUSES.values())}")
        if not _is_whole(size) or size < 1:
            raise Refusal("inappropriate", "maxKeys has to be a whole number from 1")
        if marker is not None and not isinstance(marker, str):
            raise Refusal("inappropriate", "marker has to be a text")
        size = min(size, MAX_PAGE_SIZE)
        lag = request.fault("lag")
        walk = self._walk(marker, (lag.seconds or 0) if lag else 0, oldest_first=not data.get("pageReverse"))
        found = list(islice((view for view in walk if not wanted or _STATUSES[view.status] in wanted), size + 1))
        page = found[:size]
        info = {
            "marker": page[-1].task.id if page else "",
            "maxKeys": size,
            "isTruncated": len(found) > size,
        }
        return _good({"taskList": [self._task(view) for view in page], "pageInfo": info})

    def detail(self, request: Request) -> Reply:
        task = self._task(self._view(request))
        return _good({**task, "runStatus": request.worded(task["runStatus"])})

    def stop(self, request: Request) -> Reply:
        view = self._view(request)
        if view.ended is not None:
            return _good(False)
        self._engine.cancel(self._project, view.task.id)
        return _good(True)

    def delete(self, request: Request) -> Reply:
        view = self._view(request)
        if view.ended is None:
            return _good(False)
        self._engine.delete(self._project, view.task.id)
        return _good(True)

    def _view(self, request: Request) -> View:
        identity = _read(request).get("taskId")
        if not isinstance(identity, str) or not identity:
            raise Refusal("inappropriate", "taskId is missing")
        return self._engine.task(self._project, identity)

    def _walk(self, mark: str | None, lag: float = 0, *, oldest_first: bool = False) -> Iterator[View]:
        """Every task behind the task ``mark``, read in pieces."""
        more = True
        while more:
            found, more = self._engine.tasks_beside(self._project, mark, WALKED, lag, newer=oldest_first)
            yield from reversed(found) if oldest_first else found
            if found:
                mark = found[0 if oldest_first else -1].task.id

    # files

    def _inputs(self, uri: str) -> Sequence[Object]:
        """The files in the input folder and below, in the order of their keys."""
        bucket, folder = _folder(uri)
        found: list[Object] = []
        for each in self._objects.under(bucket, folder):
            if not each.key.endswith("/"):  # such an object only marks a folder
                found.append(each)
            if len(found) > MAX_FILES:
                raise Refusal("bad-uri", f"{uri} holds more than {MAX_FILES} files")
        if not found:
            raise Refusal("bad-uri", f"{uri} holds no file")
        if sum(each.size for each in found) > MAX_INPUT_BYTES:
            raise Refusal("bad-uri", f"the files in {uri} have more than {MAX_INPUT_BYTES} bytes")
        return found

    def _require_folder(self, uri: str) -> None:
        bucket, folder = _folder(uri)
        exists = next(self._objects.under(bucket, folder), None) if folder else self._objects.has_bucket(bucket)
        if not exists:
            raise Refusal("bad-uri", f"there is no folder {uri}")

    def _publish(self, view: View) -> None:
        """Put the results of a task that ended into its output folder, once, and unless they have expired."""
        task = view.task
        expires = (view.ended or 0) + KEPT_SECONDS
        if not view.has_output or self._engine.clock() > expires or self._objects.is_published(task.id):
            return
        names, data_format = task.extra["files"], task.extra["dataFormat"]
        results = self._engine.results(view, "-qianfan", result_writer(len(names), data_format))
        bucket, folder = _folder(task.extra["outputBosUri"])
        self._objects.publish(
            task.id,
            [
                self._objects.kept(
                    bucket, f"{folder}{task.extra['outputDir']}/{name}", in_pieces(lines_of(at, results))
                )
                for at, name in enumerate(names)
            ],
        )

    def _task(self, view: View) -> dict[str, Any]:
        self._publish(view)
        return _task(view)


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(request: Request) -> Mapping[str, Any]:
    data = request.body.json()
    if not isinstance(data, Mapping):
        raise Refusal("inappropriate", "the body is not a JSON object")
    return data


def _order(data: Mapping[str, Any], project: str, key: str) -> Order:
    name = _text(data, "name", 2, 20)
    if not name.isprintable():
        raise Refusal("inappropriate", "name has to be printable")
    if data.get("afsConfig") is not None:
        raise Refusal("inappropriate", "the simulator knows no afsConfig")
    if data.get("completion_window", WINDOW) != WINDOW:
        raise Refusal("inappropriate", f"completion_window has to be {WINDOW}")
    data_format = data.get("dataFormat", "default")
    if data_format not in ("default", "role"):
        raise Refusal("inappropriate", "dataFormat has to be default or role; the simulator knows no src_tgt")
    parameters = data.get("inferenceParams") or {}
    if not isinstance(parameters, dict):
        raise Refusal("inappropriate", "inferenceParams has to be an object")
    return Order(
        name=name,
        project=project,
        model=_instance(data),
        file_name="",
        max_wait=WINDOW_SECONDS,
        key=key,
        wire="qianfan",
        prefix="infer-",
        extra={
            "description": _text(data, "description", 0, 500),
            "service": {name: data[name] for name in ("endpoint", "modelId") if data.get(name)},
            "inferenceParams": parameters,
            "inputBosUri": _uri(data, "inputBosUri"),
            "outputBosUri": _uri(data, "outputBosUri"),
            "outputDir": secrets.token_hex(12),
            "dataFormat": data_format,
        },
    )


def _text(data: Mapping[str, Any], name: str, least: int, most: int) -> str:
    value = data.get(name)
    if value is None and least == 0:
        return ""
    if not isinstance(value, str) or not least <= len(value) <= most:
        raise Refusal("inappropriate", f"{name} has to be a text of {least} to {most} characters")
    return value


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _uri(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value.isprintable() or not _URI.fullmatch(value):
        raise Refusal("bad-uri", f"{name} has to be bos:/BUCKET/FOLDER/, with one slash behind the colon")
    return value


def _folder(uri: str) -> tuple[str, str]:
    """The bucket, and what the keys in the folder begin with."""
    match = _URI.fullmatch(uri)
    assert match, uri
    folder = match["folder"]
    return match["bucket"], folder if folder == "" or folder.endswith("/") else f"{folder}/"


def _instance(data: Mapping[str, Any]) -> str:
    """The model instance behind an ``endpoint``, by its id or its model's name, or behind a ``modelId``."""
    endpoint, version = data.get("endpoint"), data.get("modelId")
    if bool(endpoint) == bool(version):
        raise Refusal("inappropriate", "exactly one of endpoint and modelId has to be there")
    wanted = str(version or endpoint).rsplit("/", 1)[-1]  # older documents have a whole URL for an endpoint
    for entry in models.MODELS:
        instance = entry["modelInstance"]["modelInstanceId"]
        names = (_version(entry),) if version else (instance, entry["modelName"].lower())
        if wanted in names:
            return str(instance)
    raise Refusal("unknown-model", f"there is no model {wanted}")


def _version(entry: models.Entry) -> str:
    """The id of a model's only version."""
    return str(entry["modelInstance"]["modelInstanceId"]).replace("mi-", "amv-")


def _takes_batches(entry: models.Entry) -> bool:
    running = entry["modelInstance"]["status"] == "running"
    return running and models.writes(entry) and models.OFFLINE_TAG in entry["invisibleModelTags"]["customTags"]


# --- writing ---------------------------------------------------------------------------------------------------------


def _model(entry: models.Entry) -> dict[str, Any]:
    """A model with its only version.  What else is told of the version is the simulator's own."""
    told = listing.openai_model(entry)
    version = {
        **{name: value for name, value in told.items() if name not in ("id", "object")},
        "modelVersionId": _version(entry),
        "modelVersionName": entry["modelName"],
    }
    identity = _version(entry).replace("amv-", "am-")
    return {"modelId": identity, "modelName": entry["modelName"], "modelVersionList": [version]}


def _task(view: View) -> dict[str, Any]:
    """The task object.  Which field holds the number of all rows is not documented, so there is none."""
    task, extra = view.task, view.task.extra
    status = _STATUSES[view.status]
    described = {
        "taskId": task.id,
        "name": task.name,
        "description": extra["description"],
        **extra["service"],
        "inferenceParams": extra["inferenceParams"],
        "runStatus": status,
        "inputBosUri": extra["inputBosUri"],
        "outputBosUri": extra["outputBosUri"],
        "outputDir": extra["outputDir"],
        "dataFormat": extra["dataFormat"],
        "progress": view.succeeded + view.failed,
        "creator": "simulator",
        "createTime": _time(task.created),
    }
    if view.ended is not None:
        described["finishTime"] = _time(view.ended)
    if status == "Done":
        described |= {"inputTokenUsage": task.input_tokens, "outputTokenUsage": task.output_tokens}
    if status == "Failed":
        reason = task.error.replace("custom_id", "id") or "no row could be answered"
        described |= {"errorCode": _FAILED_CODE, "errorReason": reason}
    return described


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
