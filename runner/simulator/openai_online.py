"""OpenAI's calls that are answered at once: models, chat and text completions, embeddings, responses."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from runner.simulator import anthropic, listing
from runner.simulator.engine import Engine, Refusal
from runner.simulator.keys import keyed
from runner.simulator.lines import RowError
from runner.simulator.openai_errors import CODES, HOMES, Home, fail, refuse
from runner.simulator.questions import CHAT, EMBEDDINGS, RESPONSES, TEXT
from runner.simulator.replies import Stamp, events, reply
from runner.simulator.web import Handler, Reply, Request, Route, Wire, json_reply

ENDPOINTS = {
    CHAT: "/chat/completions",
    TEXT: "/completions",
    EMBEDDINGS: "/embeddings",
    RESPONSES: "/responses",
}
"""Kind of question → where it is asked, below the version's path."""
_REQUIRED = {CHAT: "messages", TEXT: "prompt", EMBEDDINGS: "input", RESPONSES: "input"}
_STREAMED = (CHAT, TEXT)
ALTERATIONS = ("finish-length", "refuse")
"""Rules of a call that alter its answer."""


def wire(engine: Engine) -> Wire:
    """The same calls under each of the paths that providers have them at."""
    return Wire([route for home in HOMES for route in _routes(engine, home)], refuse, fail, CODES)


def _routes(engine: Engine, home: Home) -> tuple[Route, ...]:
    online = Online(engine, "openai")
    models = f"{home.prefix}/models"
    return (
        Route("GET", models, "models", online.models),
        Route("GET", f"{models}/{{id}}", "models", online.model),
        *(Route("POST", f"{home.prefix}{path}", "chat", keyed(online.asked(kind))) for kind, path in ENDPOINTS.items()),
    )


class Online:
    """The calls, for whichever wire has them; ``wire`` is what the bill calls it."""

    def __init__(self, engine: Engine, wire: str) -> None:
        self._engine = engine
        self._wire = wire

    def models(self, request: Request) -> Reply:
        """Anthropic has its list at the same path; its clients say which version of its API they mean."""
        if anthropic.VERSION_HEADER in request.headers:
            return anthropic.models(request)
        return keyed(_models)(request)

    def model(self, request: Request) -> Reply:
        if anthropic.VERSION_HEADER in request.headers:
            return anthropic.model(request)
        return keyed(_model)(request)

    def asked(self, kind: str) -> Handler:
        """The handler of one kind of question.  Checking the key is left to its caller."""
        return lambda request: self._asked(kind, request)

    def _asked(self, kind: str, request: Request) -> Reply:
        body = request.body.json()
        model = _required(body, kind)
        streamed = body.get("stream") is True
        if streamed and kind not in _STREAMED:
            raise Refusal("invalid", "the simulator does not stream here")
        spoilt = [rule for rule in request.faults if rule.do in ALTERATIONS]
        given = self._engine.ask(model, body, wire=self._wire, url=f"/v1{ENDPOINTS[kind]}", spoilt=spoilt)
        if isinstance(given, RowError):
            return fail(given.status_code, given.code, given.message)
        stamp = Stamp(secrets.token_hex(12), model, int(self._engine.clock()))
        if not streamed:
            return json_reply(200, reply(kind, given, stamp))
        options = body.get("stream_options")
        usage = isinstance(options, Mapping) and options.get("include_usage") is True
        return Reply(200, events(kind, given, stamp, usage=usage), "text/event-stream; charset=utf-8")


def _required(body: Any, kind: str) -> str:
    """The model that is asked.  Raises Refusal for a body that lacks what each has to have."""
    if not isinstance(body, Mapping):
        raise Refusal("invalid", "the body is not a JSON object")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal("invalid", "you must provide a model parameter")
    if not body.get(_REQUIRED[kind]):
        raise Refusal("invalid", f"Missing required parameter: '{_REQUIRED[kind]}'.")
    return model


def _models(_request: Request) -> Reply:
    data = [listing.openai_model(entry) for entry in listing.offered()]
    return json_reply(200, {"object": "list", "data": data})


def _model(request: Request) -> Reply:
    wanted = request.params["id"]
    for entry in listing.offered():
        if listing.identity(entry) == wanted:
            return json_reply(200, listing.openai_model(entry))
    raise Refusal("unknown-model", f"The model '{wanted}' does not exist")
