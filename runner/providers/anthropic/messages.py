"""Anthropic's Messages: a question as the parameters of one message, a line of batch results as a Result.

Shapes are those of Anthropic's own client library (``MessageCreateParams``, ``MessageBatchIndividualResponse``).
Written strictly: system messages at the top, images as base64 or by URL, a schema as the only tool that may be called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from runner.provider import Frame, Message, Part, Question, no_embeddings
from runner.providers import chat
from runner.providers.loose import count, first_text, get, items, record_of, text
from runner.result import Failure, Result

DEFAULT_MAX_TOKENS = 4096
"""``max_tokens`` is required, so that a spec that names none needs one."""
MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
TOOL = "answer"

FRAME = Frame(b'{"custom_id":"', b'","params":', b"}")


# Writing


def encode(model: str, question: Question) -> dict[str, Any]:
    """The parameters of one message.

    Every system message goes to the top-level ``system``, wherever it stood.  Without ``max_tokens`` the answer may
    have 4,096.  Raises ValueError for what a message cannot carry.
    """
    if question.embed is not None:
        raise no_embeddings("Anthropic")
    if question.text is not None:
        raise ValueError("Anthropic has no plain completions: write it as prompt: {user: …}")
    turns = [message for message in question.messages if message.role != "system"]
    if not turns:
        raise ValueError("Anthropic needs a message of the user beside those of the system")
    asked: dict[str, Any] = {"messages": [_turn(message) for message in turns]}
    system = [part for message in question.messages if message.role == "system" for part in message.parts]
    if system:
        asked["system"] = [_system_block(part) for part in system]
    if question.schema is not None:
        asked |= _only_tool(question.schema)
    for field in sorted(asked.keys() & question.parameters.keys()):
        raise ValueError(f"parameters set {field}, and so does the prompt or response.schema")
    return {"max_tokens": DEFAULT_MAX_TOKENS, **question.parameters, **asked, "model": model}


def _turn(message: Message) -> dict[str, Any]:
    if message.role not in ("user", "assistant"):
        raise ValueError(f"Anthropic has no messages of role {message.role}, only of system, user and assistant")
    if [part.kind for part in message.parts] == ["text"]:
        return {"role": message.role, "content": message.parts[0].value}
    return {"role": message.role, "content": [_block(part) for part in message.parts]}


def _system_block(part: Part) -> dict[str, Any]:
    if part.kind != "text":
        raise ValueError(f"Anthropic takes text in a system message, not {part.kind}")
    return _block(part)


def _block(part: Part) -> dict[str, Any]:
    if part.kind == "text":
        return {"type": "text", "text": part.value}
    if part.kind == "image":
        return {"type": "image", "source": _source(part.value)}
    raise ValueError(f"a message part of kind {part.kind} cannot be sent")


def _source(address: str) -> dict[str, Any]:
    scheme, _, rest = address.partition(":")
    if scheme.casefold() == "data":
        return _base64_source(rest)
    if scheme.casefold() in ("http", "https"):
        return {"type": "url", "url": address}
    # No row has filled this slot yet, and whether a row will bring a URL or an image decides the shape of the source.
    # Left out, it cannot be taken for a text that is placed whole, so that bodies are built row by row.
    return {"type": "url", "url": ""}


def _base64_source(rest: str) -> dict[str, Any]:
    head, _, data = rest.partition(",")
    media_type, *attributes = [word.strip().casefold() for word in head.split(";")]
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    if "base64" not in attributes:
        raise ValueError("Anthropic takes an image as base64: a data URL without it cannot be sent")
    if media_type not in MEDIA_TYPES:
        raise ValueError(f"Anthropic takes JPEG, PNG, GIF and WebP images, not {media_type[:60] or 'one of no type'}")
    return {"type": "base64", "media_type": media_type, "data": data}


def _only_tool(schema: Mapping[str, Any]) -> dict[str, Any]:
    if schema.get("type") != "object":
        raise ValueError("Anthropic takes a response.schema only as the input of a tool: it has to say type: object")
    tool = {"name": TOOL, "description": "Give the answer.", "input_schema": schema}
    return {"tools": [tool], "tool_choice": {"type": "tool", "name": TOOL}}


# Reading


FINISH: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}
"""Stop reasons in the words that other families use; any other stays as it is."""

RETRYABLE: Mapping[str, bool] = {
    "api_error": True,
    "overloaded_error": True,
    "rate_limit_error": True,
    "timeout_error": True,
    "invalid_request_error": False,
    "authentication_error": False,
    "billing_error": True,
    "permission_error": False,
    "not_found_error": False,
    "request_too_large": False,
}
"""Whether the same request, asked again, may be answered, by the type of its error.  Accounts get topped up."""


def decode_line(line: bytes) -> Result:
    """One line of batch results: ``{custom_id, result: {type, message | error}}``.

    Tokens written to and read from the cache count as input.  Raises ValueError where the line is no JSON object or
    names no request.
    """
    record = record_of(line)
    request, result = text(get(record, "custom_id")), get(record, "result")
    if not request:
        raise ValueError("a line of results names no request")
    kind = text(get(result, "type"))
    if isinstance(get(result, "message"), dict) and kind in ("succeeded", ""):
        return _answer(request, result["message"])
    return Result(request, failure=_UNASKED.get(kind) or _error(kind, get(result, "error")))


_UNASKED: Mapping[str, Failure] = {
    "expired": Failure("expired", "the batch expired before this request was answered", retryable=True),
    "canceled": Failure("canceled", "the batch was cancelled before this request was answered", retryable=True),
    "succeeded": Failure("empty_answer", "the provider reports success and gives no answer", retryable=True),
}


def _error(kind: str, error: Any) -> Failure:
    """The error of a request, by itself or within the envelope that the API answers with."""
    error = get(error, "error") or error
    code = first_text(error, ("type", "code")) or kind or "error"
    message = first_text(error, ("message",)) or text(error) or "the provider reports an error"
    retryable = RETRYABLE.get(code)
    return Failure(code, message, chat.is_retryable(code, None, message) if retryable is None else retryable)


def _answer(request: str, message: Mapping[str, Any]) -> Result:
    """A message, read as the completion that says the same."""
    content = items(message.get("content"))
    calls = [block for block in content if get(block, "type") == "tool_use"]
    answers = [block for block in calls if get(block, "name") == TOOL]
    stop = text(message.get("stop_reason"))
    said = {
        "content": [] if answers else content,
        "tool_calls": [
            {"function": {"name": get(call, "name"), "arguments": get(call, "input")}} for call in answers[:1] or calls
        ],
    }
    completion = {
        "model": message.get("model"),
        "choices": [{"message": said, "finish_reason": FINISH.get(stop, stop)}],
        "usage": _usage(message.get("usage")),
    }
    result = chat.decode_body(request, completion)
    return replace(result, failure=_shortcoming(message, stop) or result.failure)


def _shortcoming(message: Mapping[str, Any], stop: str) -> Failure | None:
    """Why a message is no whole answer, where its stop reason says so."""
    if stop == "refusal":
        said = first_text(message.get("stop_details"), ("explanation", "category"))
        return Failure("refusal", f"the model refused to answer: {said}".removesuffix(": "), retryable=False)
    if stop == "pause_turn":
        return Failure("pause_turn", "the model paused, and a batch cannot let it go on", retryable=False)
    return None


def _usage(usage: Any) -> dict[str, int | None]:
    given = _counts(usage, ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"))
    return {"input_tokens": sum(given) if given else None, "output_tokens": count(get(usage, "output_tokens"))}


def _counts(holder: Any, keys: Iterable[str]) -> list[int]:
    return [found for key in keys if (found := count(get(holder, key))) is not None]
