"""Anthropic's Message Batches, single messages, and the list of models.

Not documented, and chosen here: a batch is refused at once when its model is not there or its requests are for several
models, and results that are not there yet are 404.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from runner.simulator import engine as states
from runner.simulator import listing
from runner.simulator.answers import Answer
from runner.simulator.engine import KEPT_SECONDS, Engine, Order, Refusal, View
from runner.simulator.jsonlist import elements
from runner.simulator.keys import key_of, keyed
from runner.simulator.lines import Outcome, Row, RowError, Unfinished, json_line
from runner.simulator.questions import MESSAGES
from runner.simulator.replies import Stamp, reply
from runner.simulator.web import Handler, Reply, Request, Route, Wire, json_reply

VERSION_HEADER = "anthropic-version"
PROJECT = "anthropic"
ENDPOINT = "/v1/messages"
BATCHES = f"{ENDPOINT}/batches"
DAY = 24 * 3600.0
MAX_REQUESTS = 100_000
MAX_BODY_BYTES = 256 * 1024 * 1024
LISTED, MAX_LISTED = 20, 1000

_CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

CODES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""HTTP status → type of error."""

_STATUSES: Mapping[str, int] = {
    "unauthorized": 401,
    "unknown-model": 404,
    "stopped-model": 404,
    "unknown-task": 404,
    "not-finished": 400,
    "no-output": 404,
    "file-expired": 404,
    "too-large": 413,
}
"""Refusal kind → HTTP status; 400 for the others."""


def wire(engine: Engine) -> Wire:
    """The calls, as data.  ``GET /v1/models`` is not among them: it shares its path with OpenAI's."""
    calls = _Calls(engine)
    one = f"{BATCHES}/{{id}}"
    routes = (
        Route("POST", BATCHES, "create", _versioned(calls.create)),
        Route("GET", BATCHES, "list", _versioned(calls.list)),
        Route("GET", one, "detail", _versioned(calls.show)),
        Route("DELETE", one, "delete", _versioned(calls.delete)),
        Route("POST", f"{one}/cancel", "cancel", _versioned(calls.cancel)),
        Route("GET", f"{one}/results", "download", _versioned(calls.results)),
        Route("POST", ENDPOINT, "chat", _versioned(calls.message)),
    )
    return Wire(routes, refuse, fail, CODES)


def fail(status: int, code: str, message: str) -> Reply:
    """The body of an error; ``code`` is its type."""
    trace = f"req_{secrets.token_hex(12)}"
    error = {"type": "error", "error": {"type": code, "message": message}, "request_id": trace}
    return json_reply(status, error, {"request-id": trace})


def refuse(refusal: Refusal) -> Reply:
    status = _STATUSES.get(refusal.kind, 400)
    return fail(status, CODES[status], refusal.message)


def _versioned(handle: Handler) -> Handler:
    """``handle`` behind a check of the key, and of the header that names the API's version."""

    def checked(request: Request) -> Reply:
        if VERSION_HEADER not in request.headers:
            raise Refusal("invalid", f"{VERSION_HEADER}: header is required")
        return handle(request)

    return keyed(checked)


# Models


def models(request: Request) -> Reply:
    """The list, for a caller that says which version of this API it means."""
    return _refusing(request, lambda: listing.anthropic_page(request.query, LISTED, MAX_LISTED))


def model(request: Request) -> Reply:
    """One of the list."""
    return _refusing(request, lambda: _found(request.params["id"]))


def _refusing(request: Request, make: Callable[[], dict[str, Any]]) -> Reply:
    """For calls whose route belongs to another wire: refusals in this one's words."""
    try:
        return keyed(lambda _: json_reply(200, make()))(request)
    except Refusal as refusal:
        return refuse(refusal)


def _found(wanted: str) -> dict[str, Any]:
    for entry in listing.writing():
        if listing.identity(entry) == wanted:
            return listing.anthropic_model(entry)
    raise Refusal("unknown-model", f"model: {wanted}")


# Messages and batches


class _Calls:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def message(self, request: Request) -> Reply:
        body = request.body.json()
        name = body.get("model") if isinstance(body, Mapping) else None
        if not isinstance(body, Mapping) or not isinstance(name, str) or not name:
            raise Refusal("invalid", "model: Field required")
        if body.get("stream") is True:
            raise Refusal("invalid", "the simulator does not stream here")
        spoilt = [rule for rule in request.faults if rule.do in ("finish-length", "refuse")]
        given = self._engine.ask(name, body, wire="anthropic", url=ENDPOINT, spoilt=spoilt)
        if isinstance(given, RowError):
            return fail(given.status_code, error_type(given), given.message)
        stamp = Stamp(secrets.token_hex(12), name, int(self._engine.clock()))
        return json_reply(200, reply(MESSAGES, given, stamp))

    def create(self, request: Request) -> Reply:
        intake = _Intake()
        try:
            digest = self._engine.keep(intake.lines(elements(request.body.chunks(MAX_BODY_BYTES), "requests")))
        except ValueError as error:
            raise Refusal("invalid", str(error)) from None
        order = Order(
            name="",
            project=PROJECT,
            model=intake.model,
            file_name="",
            max_wait=DAY,
            key=key_of(request),
            wire="anthropic",
            prefix="msgbatch_",
            extra={"endpoint": ENDPOINT},
        )
        return self._shown(self._engine.view(self._engine.create(order, digest)), request)

    def list(self, request: Request) -> Reply:
        query, lag = request.query, request.fault("lag")
        size = listing.limit(query, LISTED, MAX_LISTED)
        newer = "before_id" in query
        mark = query.get("before_id" if newer else "after_id")
        views, more = self._engine.tasks_beside(PROJECT, mark, size, lag.seconds or 0 if lag else 0, newer=newer)
        return json_reply(200, listing.page([self._batch(view, request) for view in views], more=more))

    def show(self, request: Request) -> Reply:
        return self._shown(self._engine.task(PROJECT, request.params["id"]), request)

    def cancel(self, request: Request) -> Reply:
        return self._shown(self._engine.cancel(PROJECT, request.params["id"]), request)

    def delete(self, request: Request) -> Reply:
        identity = request.params["id"]
        self._engine.delete(PROJECT, identity)
        return json_reply(200, {"id": identity, "type": "message_batch_deleted"})

    def results(self, request: Request) -> Reply:
        view = self._engine.task(PROJECT, request.params["id"])
        if view.ended is None:
            raise Refusal("no-output", "the batch has not ended: there are no results yet")
        return Reply(200, self._engine.results(view, "-results", result_line), "application/x-jsonl")

    def _shown(self, view: View, request: Request) -> Reply:
        return json_reply(200, self._batch(view, request))

    def _batch(self, view: View, request: Request) -> dict[str, Any]:
        task, ended = view.task, view.ended
        gone = ended is not None and self._engine.clock() > ended + KEPT_SECONDS
        there = view.has_output and not gone
        return {
            "id": task.id,
            "type": "message_batch",
            "processing_status": request.worded(_status(view)),
            "request_counts": _counts(view),
            "created_at": _time(task.created),
            "expires_at": _time(task.created + task.max_wait),
            "ended_at": _time(ended),
            "cancel_initiated_at": _time(task.cancelled),
            "archived_at": _time(ended + KEPT_SECONDS) if gone and ended is not None else None,
            "results_url": f"{request.base}{BATCHES}/{task.id}/results" if there else None,
        }


class _Intake:
    """A batch's requests on their way into a file of lines; ``model`` is what they are all for."""

    def __init__(self) -> None:
        self.model = ""
        self._seen: set[str] = set()

    def lines(self, requests: Iterator[Any]) -> Iterator[bytes]:
        """Raises ValueError for what cannot be accepted, which refuses the whole batch."""
        for at, request in enumerate(requests):
            if at >= MAX_REQUESTS:
                raise ValueError(f"requests: List should have at most {MAX_REQUESTS} items")
            yield json_line(self._line(at, request))
        if not self._seen:
            raise ValueError("requests: List should have at least 1 item")

    def _line(self, at: int, request: Any) -> dict[str, Any]:
        where = f"requests.{at}"
        custom_id = request.get("custom_id") if isinstance(request, dict) else None
        if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
            raise ValueError(f"{where}.custom_id: String should match pattern '^{_CUSTOM_ID.pattern}$'")
        if custom_id in self._seen:
            raise ValueError(f"{where}.custom_id: {custom_id} is there already")
        params = request.get("params")
        model = params.get("model") if isinstance(params, dict) else None
        if not isinstance(model, str) or not model:
            raise ValueError(f"{where}.params.model: Field required")
        if self.model not in ("", model):
            raise ValueError(f"{where}.params.model: the simulator takes one model per batch")
        self.model = model
        self._seen.add(custom_id)
        return {"custom_id": custom_id, "body": params}


def _status(view: View) -> str:
    if view.ended is not None:
        return "ended"
    return "canceling" if view.status == states.CANCELLING else "in_progress"


def _counts(view: View) -> dict[str, int]:
    """All are processing until the end; their sum is always the number of requests."""
    task = view.task
    counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
    if view.ended is None:
        return counts | {"processing": task.rows}
    rest = task.rows - task.answered - task.failed
    unheard = {states.CANCELLED: "canceled", states.EXPIRED: "expired"}.get(view.status, "errored")
    counts |= {"succeeded": task.answered, "errored": task.failed}
    counts[unheard] += rest
    return counts


def result_line(row: Row, outcome: Outcome, stamp: Stamp, custom_id: str) -> bytes:
    """One line of the results: every request has one, whatever came of it."""
    result: dict[str, Any]
    if isinstance(outcome, Answer):
        result = {"type": "succeeded", "message": reply(MESSAGES, outcome, stamp)}
    elif isinstance(outcome, Unfinished):
        result = {"type": {"cancelled": "canceled"}.get(outcome.word, outcome.word)}
    else:
        error = {"type": error_type(outcome), "message": outcome.message}
        result = {"type": "errored", "error": {"type": "error", "error": error, "request_id": f"req_{row.identity}"}}
    return json_line({"custom_id": custom_id, "result": result})


def error_type(error: RowError) -> str:
    """The type of a row's error: its code where that is one, else by its status."""
    if error.code in CODES.values():
        return error.code
    return CODES.get(error.status_code) or CODES[400 if error.status_code < 500 else 500]


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
