"""OpenAI's bodies for chat, plain completions and embeddings, which most platforms share.

They are written strictly and read tolerantly.

A line of results is read in every shape that is known from a platform or a local batch runner:

- OpenAI's ``{custom_id, response: {status_code, body}, error}``, with ``error: null`` beside a 4xx as well;
- the same without a body, or with the body directly under ``body``;
- a bare completion that also holds a ``custom_id``;
- ``{custom_id, output | result | response: "text"}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from json import dumps
from typing import Any

from runner.provider import Frame, Message, Part, Question
from runner.providers import vectors
from runner.providers.loose import bounded_loads, count, get, items, record_of
from runner.result import Failure, Result, Usage

CHAT_PATH = "/v1/chat/completions"
TEXT_PATH = "/v1/completions"
PATHS = frozenset({CHAT_PATH, TEXT_PATH, vectors.EMBEDDINGS_PATH})
"""Where OpenAI's wire asks, whatever is asked."""


# Writing


def encode(model: str, question: Question, schema_as: str = "json_schema") -> dict[str, Any]:
    """The body of one request.  ``schema_as``: how an answer's schema is asked for, one of :data:`SCHEMA_WAYS`.

    Raises ValueError for a question that this wire cannot carry.
    """
    if question.embed is not None:
        return vectors.encode(model, question.embed, question)
    asked: dict[str, Any] = {}
    if question.schema is not None:
        fields, told = SCHEMA_WAYS[schema_as](question.schema)
        for field in fields.keys() & question.parameters.keys():
            raise ValueError(f"parameters set {field}, and response.schema asks for another one")
        asked |= fields
        question = with_instruction(question, told) if told else question
    if question.text is not None:
        asked["prompt"] = question.text
    else:
        asked["messages"] = [message(one, _part) for one in question.messages]
    return {**question.parameters, **asked, "model": model}


def instruction(schema: Mapping[str, Any]) -> str:
    """The answer's schema as words, for a model that has no other way to be told."""
    return f"Answer with JSON alone, which fits this JSON Schema: {dumps(schema, ensure_ascii=False, sort_keys=True)}"


def with_instruction(question: Question, told: str) -> Question:
    """``question``, led by a system message that says ``told``.  Raises ValueError for a plain completion."""
    if question.text is not None:
        raise ValueError("response.schema cannot be put into words in a `text`: say in the text itself what to answer")
    return replace(question, messages=(Message("system", (Part("text", told),)), *question.messages))


_Way = Callable[[Mapping[str, Any]], tuple[dict[str, Any], str]]


def _as_json_schema(schema: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    wanted = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}, ""


def _as_json_object(schema: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    return {"response_format": {"type": "json_object"}}, instruction(schema)


def _as_tool(schema: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    function = {"name": "answer", "description": "Give the answer.", "parameters": schema}
    chosen = {"type": "function", "function": {"name": "answer"}}
    return {"tools": [{"type": "function", "function": function}], "tool_choice": chosen}, ""


def _as_prompt(schema: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    return {}, instruction(schema)


SCHEMA_WAYS: Mapping[str, _Way] = {
    "json_schema": _as_json_schema,
    "json_object": _as_json_object,
    "tool": _as_tool,
    "prompt": _as_prompt,
}
"""Fields of the body, and words of the prompt, that ask for an answer that fits a schema."""


def message(message: Message, part: Callable[[Part], dict[str, Any]]) -> dict[str, Any]:
    """A lone text is plain content, which every role takes; anything else is a list of what ``part`` makes of each."""
    if [one.kind for one in message.parts] == ["text"]:
        return {"role": message.role, "content": message.parts[0].value}
    return {"role": message.role, "content": [part(one) for one in message.parts]}


def _part(part: Part) -> dict[str, Any]:
    if part.kind == "text":
        return {"type": "text", "text": part.value}
    if part.kind == "image":
        return {"type": "image_url", "image_url": {"url": part.value}}
    raise ValueError(f"a message part of kind {part.kind} cannot be sent")


LINE_SHAPES: Mapping[str, str] = {
    "openai": '","method":"POST","url":"$url","body":',
    "minimal": '","body":',
}
"""What stands between custom_id and body in a request line: OpenAI's batch line, and the least that can be said."""


def frame(question: Question, shape: str = "openai", url: str = "") -> Frame:
    """The request line around custom_id and body, in one of the :data:`LINE_SHAPES`.  ``url`` replaces the usual."""
    return Frame(b'{"custom_id":"', LINE_SHAPES[shape].replace("$url", url or path_of(question)).encode(), b"}")


def path_of(question: Question) -> str:
    """Where OpenAI's wire asks a question of this kind."""
    if question.embed is not None:
        return vectors.EMBEDDINGS_PATH
    return CHAT_PATH if question.text is None else TEXT_PATH


# Reading


RETRYABLE_STATUSES = frozenset({408, 409, 425, 429})
"""Beside every 5xx.  409 is how a busy queue answers; the others say it themselves."""

RETRYABLE_WORDS: Sequence[tuple[str, bool]] = (
    ("contentfilter", False),
    ("contentpolicy", False),
    ("contextlength", False),
    ("invalid", False),
    ("notfound", False),
    ("permission", False),
    ("authentication", False),
    ("expired", True),
    ("cancel", True),
    ("ratelimit", True),
    ("toomany", True),
    ("throttl", True),
    ("quota", True),
    ("overloaded", True),
    ("unavailable", True),
    ("busy", True),
    ("timeout", True),
    ("timedout", True),
    ("servererror", True),
    ("internal", True),
)
"""What a failure's code says of another try.  The first word that occurs in the code decides."""


def decode_line(line: bytes) -> Result:
    """One line of batch results.  Raises ValueError where it is no JSON object or names no request."""
    record = record_of(line)
    request = next((id for key in _IDS if (id := _word(record.get(key)))), None)
    if request is None:
        raise ValueError("a line of results names no request")
    response = record.get("response")
    status = count(get(response, "status_code")) or count(record.get("status_code"))
    body = _body(record)
    error = record.get("error") or get(body, "error")
    if error or (status is not None and not 200 <= status < 300):
        return _failed(request, body, status, error)
    return decode_body(request, body)


def decode_body(request: str, body: Any) -> Result:
    """A completion, chat or plain, a bare string, or embeddings, as the answer to ``request``.

    An embedding is the result's ``parsed``: one vector, or a list of them where several were asked for in one request.
    """
    if isinstance(body, str):
        return Result(request, text=_sound(body))
    if found := vectors.vectors_in(body):
        parsed = found[0] if len(found) == 1 else found
        return Result(request, parsed=parsed, usage=_usage(get(body, "usage")), model=_word(get(body, "model")))
    choice = next(iter(items(get(body, "choices"))), None)
    message = get(choice, "message")
    text = _text(get(message, "content"))
    if text is None:
        text = next((word for holder in (choice, body) if (word := _text(get(holder, "text"))) is not None), None)
    calls = items(get(message, "tool_calls"))
    if not text:
        text = _arguments(calls) or text
    refusal = _text(get(message, "refusal"))
    finish = _word(get(choice, "finish_reason"))
    return Result(
        request,
        text=refusal if text is None else text,
        finish_reason=finish,
        usage=_usage(get(body, "usage")),
        model=_word(get(body, "model")),
        failure=_shortcoming(text, refusal, finish, calls=bool(calls)),
    )


def _arguments(calls: Sequence[Any]) -> str | None:
    """What the one function was called with, where a schema was asked for as a tool."""
    if len(calls) != 1 or get(calls[0], "function", "name") != "answer":
        return None
    arguments = get(calls[0], "function", "arguments")
    return _sound(dumps(arguments, ensure_ascii=False)) if isinstance(arguments, dict) else _text(arguments)


INTERRUPTED = ("abort", "error", "insufficient_system_resource")
"""As finish_reason: vLLM's, OpenRouter's and DeepSeek's word for an answer that the server broke off."""


def _shortcoming(text: str | None, refusal: str | None, finish: str | None, *, calls: bool) -> Failure | None:
    """Why an answer that came is none, or only half of one."""
    if finish == "content_filter":
        return Failure("content_filter", "the provider's filter stopped the answer", retryable=False)
    if refusal:
        return Failure("refusal", "the model refused to answer", retryable=False)
    if finish in INTERRUPTED:
        return Failure("interrupted", f"the answer broke off: finish_reason is {finish}", retryable=True)
    if not text and finish == "length":
        return Failure("truncated", "the token limit was reached before any text", retryable=False)
    if text is None and not calls:
        return Failure("empty_answer", "the provider reports success and gives no answer", retryable=True)
    return None


_IDS = ("custom_id", "customId", "id", "request_id")


def _body(record: Mapping[str, Any]) -> Any:
    """The completion inside a line, wherever it is."""
    response = record.get("response")
    for candidate in (get(response, "body"), record.get("body")):
        if candidate:
            return _unpacked(candidate)
    if "choices" in record:
        return record
    return next((record[key] for key in ("output", "result", "response") if record.get(key) is not None), None)


def _unpacked(body: Any) -> Any:
    """A body that was sent as text holding JSON."""
    if not isinstance(body, str):
        return body
    try:
        value = bounded_loads(body)
    except ValueError:
        return body
    return value if isinstance(value, dict) and value.keys() & {"choices", "error"} else body


def _failed(request: str, body: Any, status: int | None, error: Any) -> Result:
    code = _word(get(error, "code")) or _word(get(error, "type")) or (f"http_{status}" if status else "error")
    said = _word(error) or _word(get(error, "message")) or _word(get(error, "msg"))
    message = said or (f"the provider answered {status}" if status else "the provider reports an error")
    model = _word(get(body, "model"))
    return Result(request, model=model, failure=Failure(code, message, is_retryable(code, status, message)))


def is_retryable(code: str, status: int | None, message: str = "") -> bool:
    """Whether the same bytes, asked again, may be answered: by the code, else the status, else the message."""
    by_code = _verdict(code)
    if by_code is not None:
        return by_code
    status = status if status is not None and status >= 400 else count(code)
    if status is not None and status >= 400:
        return status in RETRYABLE_STATUSES or status >= 500
    return _verdict(message) or False


def _verdict(words: str) -> bool | None:
    letters = "".join(filter(str.isalnum, words.lower()))
    return next((verdict for word, verdict in RETRYABLE_WORDS if word in letters), None)


def _text(content: Any) -> str | None:
    """A message's content: a string, or the text parts of a list; what was thought aloud is not part of it."""
    if isinstance(content, str):
        return _sound(content)
    if isinstance(content, list):
        return "".join(_part_texts(content)) if content else None
    return None


def _part_texts(parts: Iterable[Any]) -> Iterable[str]:
    for part in parts:
        if isinstance(part, str):
            yield _sound(part)
        elif get(part, "type") in (None, "text", "output_text") and isinstance(get(part, "text"), str):
            yield _sound(part["text"])


def _usage(usage: Any) -> Usage:
    return Usage(
        _first_count(usage, ("prompt_tokens", "input_tokens")),
        _first_count(usage, ("completion_tokens", "output_tokens")),
    )


def _first_count(holder: Any, keys: Iterable[str]) -> int | None:
    return next((found for key in keys if (found := count(get(holder, key))) is not None), None)


def _word(value: Any) -> str | None:
    """A string, or a number as text; None where there is nothing."""
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        return None
    return _sound(str(value))


def _sound(text: str) -> str:
    """``text`` without lone surrogates, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
