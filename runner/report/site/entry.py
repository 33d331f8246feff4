"""An Entry: one sample of one row as the site shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runner.result import FAILED, MISSING, SUCCEEDED

PENDING = "pending"
STATUSES = (SUCCEEDED, FAILED, MISSING, PENDING)
"""A status is written as its place in here."""


@dataclass(frozen=True)
class Shown:
    """What may be in the site.  Without ``answers`` there are no rows at all, nor any words of a provider."""

    prompts: bool = True
    answers: bool = True


@dataclass(frozen=True)
class Entry:
    """``parsed`` and ``input`` are JSON; ``body`` is the request's own.  None: there is none, or it is not shown."""

    number: int
    sample: int
    key: str
    status: str
    code: str
    message: str
    finish: str
    input_tokens: int | None
    output_tokens: int | None
    text: str | None
    parsed: str | None
    body: str | None
    input: str | None
    task: str
    model: str

    def texts(self) -> Iterator[str]:
        """All that it is searched by."""
        yield self.key
        if self.body is not None:
            yield from prompt_texts(self.body)
        yield from (text for text in (self.text, self.message) if text)


def entry_of(
    number: int, values: Mapping[str, Any], status: str, body: str | None, output: Mapping[str, Any], shown: Shown
) -> Entry:
    """A row's ``output`` line beside what was asked of it; ``status`` is one of STATUSES."""
    error, usage = output["error"] or {}, output["usage"]
    parsed = output["parsed"]
    return Entry(
        number,
        output["sample"],
        output["key"],
        status,
        error.get("code", ""),
        error.get("message", ""),
        output["finish_reason"] or "",
        usage["input_tokens"],
        usage["output_tokens"],
        output["text"],
        None if parsed is None else _json(parsed),
        body if shown.prompts else None,
        _json(values) if shown.prompts else None,
        output["task"] or "",
        output["model"] or "",
    )


_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


def prompt_texts(body: str) -> Iterator[str]:
    """The texts of a request's body that are its prompt."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return
    if not isinstance(asked, dict):
        return
    for content in (asked.get("system"), asked.get("prompt"), asked.get("input")):
        yield from _content(content)
    messages = asked.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            yield from _content(message.get("content"))


def _content(content: Any) -> Iterator[str]:
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text
