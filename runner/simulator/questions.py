"""What a request body asks, read alike from every wire's shape, so that one question gets one answer everywhere.

A :class:`Question` holds no model, no parameter but the bound on the answer's length, and nothing of the wire but the
``kind`` of reply that it expects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CHAT, TEXT, EMBEDDINGS, RESPONSES, MESSAGES = "chat", "text", "embeddings", "responses", "messages"

SCHEMA_MARK = "JSON Schema:"
"""Behind it a system message may hold the schema that the answer has to fit."""
TOOL = "answer"
"""A tool of this name is how an answer's schema is asked for, also where the body does not force it."""

MAX_DIMENSIONS = 4_096
"""Numbers that a vector may be asked to have."""

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Form:
    """The shape that the answer has to have: JSON that fits ``schema``, or some JSON object where it is None.

    ``tool`` names the tool that is called with the answer, where it is asked for so.
    """

    schema: Any = None
    tool: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """``prompt`` is the last user message's text, ``characters`` the length of all texts that were said.

    ``form`` is None for a free text; ``most`` bounds the answer's tokens; ``texts`` are what to embed, in vectors of so
    many ``dimensions``, ``packed`` in base64.
    """

    kind: str
    prompt: str
    characters: int
    images: int = 0
    form: Form | None = None
    most: int | None = None
    texts: tuple[str, ...] = ()
    dimensions: int | None = None
    packed: bool = False


def kind_of(url: str, body: Body) -> str:
    """Which reply a body expects, by the path it goes to, else by its keys."""
    for ending in (EMBEDDINGS, RESPONSES, MESSAGES):
        if url.endswith(f"/{ending}"):
            return ending
    if _dicts(body.get("messages")):
        return CHAT
    return RESPONSES if "input" in body and "prompt" not in body else TEXT


def read_question(body: Body, url: str = "") -> Question:
    """Raises ValueError where the body asks nothing."""
    return _READERS[kind_of(url, body)](body)


# Chat completions, and text completions


def _read_chat(body: Body) -> Question:
    return _asked(CHAT, _dicts(body.get("messages")), _chat_form(body), body)


def _chat_form(body: Body) -> Form | None:
    chosen = _at(body, "tool_choice", "function", "name")
    for tool in _dicts(body.get("tools")):
        if (name := _at(tool, "function", "name")) and name in (chosen, TOOL):
            return Form(_at(tool, "function", "parameters") or {}, name)
    return _format_form(_at(body, "response_format"), "json_schema", "schema")


def _format_form(wanted: Any, *path: str) -> Form | None:
    kind = _at(wanted, "type")
    if kind == "json_schema":
        schema = _at(wanted, *path)
        return Form({} if schema is None else schema)
    return Form() if kind == "json_object" else None


def _read_text(body: Body) -> Question:
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        prompt = "\n".join(part for part in prompt if isinstance(part, str))
    if not isinstance(prompt, str):
        raise ValueError("the body holds neither messages nor a prompt")
    return Question(TEXT, prompt, len(prompt), most=_most(body), form=_chat_form(body))


# OpenAI's responses, and embeddings


def _read_responses(body: Body) -> Question:
    given, said = body.get("input"), body.get("instructions")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else _dicts(given)
    if isinstance(said, str):
        messages = [{"role": "system", "content": said}, *messages]
    if not any(_role(message) != "system" for message in messages):
        raise ValueError("the body holds no input")
    return _asked(RESPONSES, messages, _format_form(_at(body, "text", "format"), "schema"), body)


def _read_embeddings(body: Body) -> Question:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("the body holds no input to embed")
    dimensions, spelling = body.get("dimensions"), body.get("encoding_format", "float")
    if dimensions is not None and (type(dimensions) is not int or not 1 <= dimensions <= MAX_DIMENSIONS):
        raise ValueError(f"dimensions has to be a whole number from 1 to {MAX_DIMENSIONS:,}")
    if spelling not in ("float", "base64"):
        raise ValueError("encoding_format has to be float or base64")
    said = sum(map(len, texts))
    return Question(EMBEDDINGS, texts[-1], said, texts=tuple(texts), dimensions=dimensions, packed=spelling == "base64")


# Anthropic's messages


def _read_messages(body: Body) -> Question:
    messages = _dicts(body.get("messages"))
    if not messages:
        raise ValueError("messages: at least one message is required")
    most = body.get("max_tokens")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ValueError(
            "max_tokens: Field required" if most is None else "max_tokens: has to be a whole number from 1"
        )
    if any(_role(message) == "system" for message in messages):
        raise ValueError('messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter')
    if (system := body.get("system")) is not None:
        messages = [{"role": "system", "content": system}, *messages]
    return _asked(MESSAGES, messages, _messages_form(body), body)


def _messages_form(body: Body) -> Form | None:
    chosen = _at(body, "tool_choice", "name")
    for tool in _dicts(body.get("tools")):
        if (name := tool.get("name")) and name in (chosen, TOOL):
            return Form(tool.get("input_schema") or {}, name)
    return _format_form(_at(body, "output_config", "format"), "schema")


_READERS: Mapping[str, Callable[[Body], Question]] = {
    CHAT: _read_chat,
    TEXT: _read_text,
    EMBEDDINGS: _read_embeddings,
    RESPONSES: _read_responses,
    MESSAGES: _read_messages,
}


# What they share


def _asked(kind: str, messages: list[dict[str, Any]], form: Form | None, body: Body) -> Question:
    """The neutral question in ``messages``.  A system message that tells the schema is not part of what is said."""
    told: Any = None
    texts: list[str] = []
    for message in messages:
        words = list(_texts(message))
        if _role(message) == "system" and (schema := _told_schema(words)) is not None:
            told = schema
        else:
            texts += words
    if told is not None and (form is None or form.schema is None):
        form = Form(told)
    users = [message for message in messages if message.get("role") == "user"]
    prompt = "".join(_texts((users or messages)[-1]))
    return Question(kind, prompt, sum(map(len, texts)), sum(map(_images, messages)), form, _most(body))


def _told_schema(words: list[str]) -> Any:
    """The schema that a system message tells in words, None where it tells none."""
    for text in words:
        _, mark, rest = text.partition(SCHEMA_MARK)
        start = rest.find("{")
        if mark and start >= 0:
            try:
                return json.JSONDecoder().raw_decode(rest, start)[0]
            except (ValueError, RecursionError):
                continue
    return None


def _most(body: Body) -> int | None:
    """How many tokens the answer may have."""
    for key in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        most = body.get(key)
        if isinstance(most, int) and not isinstance(most, bool) and most > 0:
            return most
    return None


def _role(message: Body) -> Any:
    role = message.get("role")
    return "system" if role == "developer" else role


def _texts(message: Body) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    for part in _dicts(content):
        if isinstance(part.get("text"), str):
            yield part["text"]


def _images(message: Body) -> int:
    kinds = ("image_url", "input_image", "image")
    return sum(part.get("type") in kinds for part in _dicts(message.get("content")))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _at(value: Any, *path: str) -> Any:
    """What lies at ``path``, None where the way ends early."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
