"""Bodies and result lines of the endpoints that a batch may be for; those of all but responses are :mod:`.chat`'s.

An endpoint is known by the end of its path: ``/embeddings``, ``/responses``, ``/completions``; any other one takes
chats.  The shape of responses is that of OpenAI's own client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from json import dumps, loads
from typing import Any

from runner.provider import Inexpressible, Message, Part, Question
from runner.providers import chat, vectors
from runner.providers.loose import count, get, items, record_of, text
from runner.result import Failure, Result

CHAT = "/chat/completions"
TEXT = "/completions"
EMBEDDINGS = "/embeddings"
RESPONSES = "/responses"


def usual(question: Question, prefix: str) -> str:
    """The path that answers ``question``, where runner.yaml names none."""
    if question.embed is not None:
        return prefix + EMBEDDINGS
    return prefix + (CHAT if question.text is None else TEXT)


def kind_of(path: str) -> str:
    """The one of the four above whose questions ``path`` takes."""
    return next((kind for kind in (CHAT, TEXT, EMBEDDINGS, RESPONSES) if path.endswith(kind)), CHAT)


def asked_in(line: bytes, prefix: str) -> str:
    """The path that a request line is for: what it says, else what its body looks like."""
    request = loads(line)
    body = get(request, "body")
    return text(get(request, "url")) or prefix + (TEXT if "prompt" in body and "messages" not in body else CHAT)


# Writing


def encode(path: str, model: str, question: Question, schema_as: str = "json_schema") -> dict[str, Any]:
    """The body of one request to ``path``.  Raises ValueError for a question that it does not take."""
    if question.embed is not None and kind_of(path) != EMBEDDINGS:
        raise Inexpressible(
            f"{path} takes no `embed`",
            "take `endpoint` of this provider in runner.yaml off, or name a second provider without it",
        )
    return _ENCODERS[kind_of(path)](path, model, question, schema_as)


def _encode_chat(path: str, model: str, question: Question, schema_as: str) -> dict[str, Any]:
    if question.text is not None:
        raise ValueError(f"{path} takes messages, not a `text`")
    return chat.encode(model, question, schema_as)


def _encode_text(path: str, model: str, question: Question, schema_as: str) -> dict[str, Any]:
    if question.text is None:
        raise ValueError(f"{path} takes a `text`, not messages")
    return chat.encode(model, question, schema_as)


def _encode_embeddings(path: str, model: str, question: Question, _schema_as: str) -> dict[str, Any]:
    return vectors.encode(model, _only_text(path, question), question)


def _only_text(path: str, question: Question) -> str:
    bare = question.text if question.embed is None else question.embed
    if bare is not None:
        return bare
    match question.messages:
        case (Message("user", (Part("text", value),)),):
            return value
    raise ValueError(f"{path} takes one text: an `embed`, a `text`, or a single user message without images")


def _encode_responses(_path: str, model: str, question: Question, schema_as: str) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    if question.schema is not None:
        asked, told = _RESPONSE_SCHEMA_WAYS[schema_as](question.schema)
        for field in asked.keys() & question.parameters.keys():
            raise ValueError(f"parameters set {field}, and response.schema asks for another one")
        question = chat.with_instruction(question, told) if told else question
    asked["input"] = question.text
    if question.text is None:
        asked["input"] = [chat.message(message, _part) for message in question.messages]
    return {**question.parameters, **asked, "model": model}


def _part(part: Part) -> dict[str, Any]:
    """``input_text`` and ``input_image`` are for what the model is told."""
    if part.kind == "text":
        return {"type": "input_text", "text": part.value}
    if part.kind == "image":
        return {"type": "input_image", "image_url": part.value, "detail": "auto"}
    raise ValueError(f"a message part of kind {part.kind} cannot be sent")


_Way = Callable[[Mapping[str, Any]], tuple[dict[str, Any], str]]


def _as_json_schema(schema: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    return {"text": {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}}}, ""


def _as_json_object(schema: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    return {"text": {"format": {"type": "json_object"}}}, chat.instruction(schema)


def _as_tool(schema: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    tool = {"type": "function", "name": "answer", "description": "Give the answer.", "parameters": schema}
    return {"tools": [tool], "tool_choice": {"type": "function", "name": "answer"}}, ""


def _as_prompt(schema: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    return {}, chat.instruction(schema)


_RESPONSE_SCHEMA_WAYS: Mapping[str, _Way] = {
    "json_schema": _as_json_schema,
    "json_object": _as_json_object,
    "tool": _as_tool,
    "prompt": _as_prompt,
}
_ENCODERS: Mapping[str, Callable[[str, str, Question, str], dict[str, Any]]] = {
    CHAT: _encode_chat,
    TEXT: _encode_text,
    EMBEDDINGS: _encode_embeddings,
    RESPONSES: _encode_responses,
}


# Reading


def decode(line: bytes, path: str = "") -> Result:
    """One line of results of a batch for ``path``.  Raises ValueError where it cannot be read."""
    read = _DECODERS.get(kind_of(path))
    if read is None:
        return chat.decode_line(line)
    record = record_of(line)
    body = get(record, "response", "body") or get(record, "body") or record
    if _is_failure(record, body):
        return chat.decode_line(line)
    found = read(body)
    return chat.decode_line(line) if found is None else replace(found, request=_request_of(line, record))


def _is_failure(record: Any, body: Any) -> bool:
    status = count(get(record, "response", "status_code"))
    return bool(get(record, "error") or get(body, "error")) or (status is not None and not 200 <= status < 300)


def _request_of(line: bytes, record: Any) -> str:
    return text(get(record, "custom_id")) or chat.decode_line(line).request


def _read_response(body: Any) -> Result | None:
    """A response, told as the completion that says the same.  None where it is no response."""
    if not isinstance(get(body, "output"), list):
        return None
    parts = [part for item in body["output"] for part in items(get(item, "content"))]
    texts = [part for part in parts if get(part, "type") in ("output_text", "text")]
    calls = [{"function": item} for item in body["output"] if get(item, "type") == "function_call"]
    refusal = next((found for part in parts if (found := text(get(part, "refusal")))), None)
    message = {"content": texts or None, "tool_calls": calls, "refusal": refusal}
    choice = {"message": message, "finish_reason": _finish_reason(body)}
    told = {"choices": [choice], "model": get(body, "model"), "usage": get(body, "usage")}
    return _with_state(chat.decode_body("", told), text(get(body, "status")))


_FINISH_REASONS: Mapping[str, str] = {"max_output_tokens": "length"}


def _finish_reason(body: Any) -> str | None:
    reason = text(get(body, "incomplete_details", "reason"))
    if reason:
        return _FINISH_REASONS.get(reason, reason)
    return "stop" if text(get(body, "status")) == "completed" else None


def _with_state(result: Result, state: str) -> Result:
    if state not in ("failed", "cancelled"):
        return result
    return replace(result, failure=Failure(f"response_{state}", f"the response is {state}", state == "cancelled"))


_DECODERS: Mapping[str, Callable[[Any], Result | None]] = {RESPONSES: _read_response}


def openai_line(line: bytes) -> bytes:
    """A result of xAI, ``{batch_request_id, batch_result: {response: {KIND: body} | error}}``, as a line of OpenAI's.

    Raises ValueError where it is no JSON object.
    """
    record = record_of(line)
    result = record.get("batch_result") or record
    error = get(result, "error") or record.get("error_message")
    answer = None if error else {"status_code": 200, "body": _body_in(get(result, "response"))}
    return dumps({"custom_id": record.get("batch_request_id"), "response": answer, "error": error}).encode()


def _body_in(response: Any) -> Any:
    """The body under the one key that is named after its endpoint; or the response itself, where it is the body."""
    if not isinstance(response, dict) or "choices" in response:
        return response
    return next((value for value in response.values() if isinstance(value, dict)), None)
