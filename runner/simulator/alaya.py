"""Alaya NeW's wires: its deployments, and the models that they serve in OpenAI's way.

After https://docs.alayanew.com/en/docs/serverless/modelservice/.  The documents' ambiguities are all here, one in each
place that they leave open: codes as numbers and as texts, misspelt words, a reply without an envelope, a service that
runs before its model answers.  Keys come in clear, as the real service tells them.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runner.simulator import listing
from runner.simulator.deployments import DEPLOYMENTS, SERVED, STARTING, STOPPED, Deployment, Fleet
from runner.simulator.engine import Engine, Refusal
from runner.simulator.openai_errors import CODES, fail, refuse
from runner.simulator.openai_online import ENDPOINTS, Online
from runner.simulator.questions import CHAT, TEXT
from runner.simulator.web import MAX_JSON_BYTES, Body, Handler, Reply, Request, Route, Wire, json_reply

BASE = "/api/serverless-infer/v1/deployment"
SERVICES = "/alaya"
PAGE_SIZE = 10
MAX_PAGE_SIZE = 100
EXTENSIONS: Mapping[str, str] = {"owner": "simulator"}

_CREDENTIALS = re.compile(r"plain Credential=(?P<access>[^,\s]+),\s*Signature=(?P<secret>\S+)")
_MISSPELT = {STARTING: "staring", STOPPED: "stoped"}
"""Words as the older documents, and the one on lists, have them."""
_ERRORS = {
    "unauthorized": 401,
    "unknown-service": 404,
    "invalid": 400,
    "ended": 200,
}
"""Refusal kind → HTTP status; the code is -1 for each."""


def wires(engine: Engine) -> tuple[Wire, Wire]:
    """The deployments', and the models'."""
    fleet = Fleet(engine.clock, engine.speed)
    return _deployments(fleet), _services(engine, fleet)


def _find(request: Request) -> Deployment:
    wanted = request.params["serviceId"]
    for deployment in DEPLOYMENTS:
        if deployment.id == wanted:
            return deployment
    raise Refusal("unknown-service", f"there is no service {wanted}")


# --- deployments -----------------------------------------------------------------------------------------------------


def _deployments(fleet: Fleet) -> Wire:
    calls = _Calls(fleet)
    routes = (
        Route("GET", f"{BASE}/list", "list", _known(calls.list)),
        Route("GET", f"{BASE}/{{serviceId}}", "detail", _known(calls.detail)),
        Route("POST", f"{BASE}/{{serviceId}}/cancel", "cancel", _known(calls.cancel)),
    )
    return Wire(routes, lambda refusal: _fail(_ERRORS[refusal.kind], "", refusal.message), _fail)


def _fail(status: int, _code: str, message: str) -> Reply:
    return json_reply(status, {"code": -1, "data": None, "msg": message})


def _good(data: Any, code: int | str = 0) -> Reply:
    return json_reply(200, {"code": code, "data": data, "msg": ""})


def _known(handle: Handler) -> Handler:
    """``handle`` behind a check of the credentials: any are good of which neither starts with ``invalid``."""

    def checked(request: Request) -> Reply:
        found = _CREDENTIALS.fullmatch(request.headers.get("Authorization", "").strip())
        if not found or any(part.startswith("invalid") for part in found.groups()):
            raise Refusal("unauthorized", "the credentials are missing or not valid")
        return handle(request)

    return checked


class _Calls:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def list(self, request: Request) -> Reply:
        page, size = _count(request, "page", 1), min(_count(request, "size", PAGE_SIZE), MAX_PAGE_SIZE)
        rows = [_row(each, self._fleet.standing(each).status, request.base) for each in DEPLOYMENTS]
        wanted = {name: value for name, value in request.query.items() if name not in ("page", "size")}
        found = [row for row in rows if all(_fits(row, name, value) for name, value in wanted.items())]
        shown = [{name: value for name, value in row.items() if name != "model"} for row in found]
        return _good({"count": len(found), "rows": shown[(page - 1) * size : page * size]}, code="0")

    def detail(self, request: Request) -> Reply:
        deployment = _find(request)
        found = _detail(deployment, self._fleet, request.base)
        return json_reply(200, found) if deployment.mode == "lora" else _good(found)

    def cancel(self, request: Request) -> Reply:
        deployment = _find(request)
        if not self._fleet.cancel(deployment):
            raise Refusal("ended", f"the service {deployment.id} does not run")
        return _good({"serviceId": deployment.id})


def _count(request: Request, name: str, usual: int) -> int:
    value = request.query.get(name, str(usual))
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < 1:
        raise Refusal("invalid", f"{name} has to be a whole number from 1")
    return int(value)


def _fits(row: Mapping[str, Any], name: str, value: str) -> bool:
    """Whether a row has ``value`` under ``name``; a misspelt status goes by its right name, too."""
    if name.startswith("extensions."):
        return EXTENSIONS.get(name.partition(".")[2]) == value
    return value == row.get(name) or _MISSPELT.get(value, value) == row.get(name)


def _row(deployment: Deployment, status: str, base: str) -> dict[str, Any]:
    """What the list tells, and ``model``, by which it can be narrowed and which it does not tell."""
    return {
        **_facts(deployment, base),
        "status": _MISSPELT[STARTING] if status == STARTING else status,
        "servedName": SERVED,
        "model": deployment.mode.lower(),
    }


def _facts(deployment: Deployment, base: str) -> dict[str, Any]:
    """What the list and the detail both tell."""
    return {
        "serviceId": deployment.id,
        "serviceUrl": f"{base}{SERVICES}/{deployment.id}",
        "apikey": deployment.key,
        "vksId": "vks-1",
        "namespace": "default",
        "name": deployment.name,
        "modelId": SERVED.replace("mi-", "md-"),
        "type": deployment.kind,
    }


def _detail(deployment: Deployment, fleet: Fleet, base: str) -> dict[str, Any]:
    standing = fleet.standing(deployment)
    return {
        **_facts(deployment, base),
        "status": _MISSPELT[STOPPED] if standing.status == STOPPED else standing.status,
        "instance": [{"instanceId": f"{deployment.id}-0", "baseModelReady": standing.ready}],
        "extensions": EXTENSIONS,
        **_PARTS[deployment.mode],
    }


_RESOURCE = {"cpu": 4, "mem": 32, "gpu": {"gpuType": "simulated", "count": 1}}
_HEAD = {
    "image": "registry.example/vllm:1",
    "resource": _RESOURCE,
    "imagePullSecret": {"username": "simulator", "password": "password-of-the-registry"},
}
_BACKEND = {"backend": "vllm", "backendVersion": "1", "backendArgs": [], "resource": {"workers": 1, **_RESOURCE}}
_PARTS: Mapping[str, Mapping[str, Any]] = {
    "quickStart": {"mode": "quickStart", "servedName": [SERVED], "quickStart": _BACKEND, "expert": None},
    "expert": {"mode": "expert", "quickStart": None, "expert": {"headConfig": _HEAD, "workerConfig": {"workers": 0}}},
    "lora": {"baseServiceId": "svc-1", "servedName": SERVED},
}
"""How each mode's detail differs: the expert's names no served model, LoRA's has one as a text."""


# --- models ----------------------------------------------------------------------------------------------------------


def _services(engine: Engine, fleet: Fleet) -> Wire:
    online = Online(engine, "alaya")

    def ready(handle: Handler) -> Handler:
        """``handle`` behind a check of the deployment's key, and of whether its model answers."""

        def checked(request: Request) -> Reply:
            deployment = _find(request)
            if request.headers.get("apiKey") != deployment.key:
                return fail(401, "invalid_api_key", "the header apiKey is missing or not the service's")
            if not fleet.standing(deployment).ready:
                return fail(503, "service_unavailable", f"the service {deployment.id} has no model that answers")
            return handle(request)

        return checked

    path = f"{SERVICES}/{{serviceId}}/v1"
    routes = [
        Route("POST", path + ENDPOINTS[kind], "chat", ready(_for_served(online.asked(kind)))) for kind in (CHAT, TEXT)
    ]
    routes.append(Route("GET", f"{path}/models", "models", ready(_served)))
    return Wire(routes, _refuse, fail, CODES)


def _refuse(refusal: Refusal) -> Reply:
    return fail(404, "not_found", refusal.message) if refusal.kind == "unknown-service" else refuse(refusal)


def _served(_request: Request) -> Reply:
    data = [listing.openai_model(entry) for entry in listing.offered() if listing.identity(entry) == SERVED]
    return json_reply(200, {"object": "list", "data": data})


def _for_served(handle: Handler) -> Handler:
    """``handle`` for questions to the model that is served, and to no other."""

    def checked(request: Request) -> Reply:
        content = b"".join(request.body.chunks(MAX_JSON_BYTES))
        request = replace(request, body=Body(io.BytesIO(content), len(content)))
        try:
            model = json.loads(content).get("model")
        except (ValueError, RecursionError, AttributeError):
            return handle(request)  # which says what is wrong
        if model not in (None, SERVED):
            raise Refusal("unknown-model", f"The model `{model}` does not exist.")
        return handle(request)

    return checked
