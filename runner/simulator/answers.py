"""What the simulated model answers: a function of the request body, and of nothing else.

A request with a JSON schema gets JSON that fits it; one whose prompt is in the answers file gets the answer found
there; any other gets a short text that repeats a few words of the question.
Tokens are counted as one per four characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import InvalidDocuments, Problem
from runner.simulator.fit import fit

CHARACTERS_PER_TOKEN = 4
IMAGE_TOKENS = 256
ECHOED_WORDS = 10
ECHOED_CHARACTERS = 80
KEY_LENGTH = 8
"""An entry of the answers file shorter than this has to be the whole message; a longer one may be part of it."""

_FINAL = re.compile(r"####\s*(.+?)\s*$")
"""GSM8K's way to mark the final answer."""


@dataclass(frozen=True)
class Answer:
    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int


class KnownAnswers:
    """True answers by question, found when the question is a message, or a part of one."""

    def __init__(self, pairs: Mapping[str, Any]) -> None:
        self._exact = dict(pairs)
        self._by_key: dict[str, list[str]] = {}
        for question in sorted(pairs, key=len, reverse=True):
            if len(question) >= KEY_LENGTH:
                self._by_key.setdefault(question[:KEY_LENGTH], []).append(question)

    @classmethod
    def read(cls, path: Path) -> KnownAnswers:
        """From JSON lines with ``prompt`` (or ``question``) and ``answer``.  Raises InvalidDocuments."""
        pairs: dict[str, Any] = {}
        problems: list[Problem] = []
        hint = 'each line is {"prompt": "…", "answer": "…"}'
        try:
            with path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    if line.strip() and (message := _add_answer(line, pairs)):
                        problems.append(Problem(str(path), number, 1, message, hint))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            problems.append(Problem(str(path), 1, 1, f"cannot be read: {reason}", hint))
        if problems:
            raise InvalidDocuments(problems)
        return cls(pairs)

    def find(self, message: str) -> Any:
        """The answer to the longest known question at the earliest place in ``message``, None where there is none."""
        if (exact := self._exact.get(message)) is not None:
            return exact
        if not (by_key := self._by_key):
            return None
        for start in range(len(message) - KEY_LENGTH + 1):
            for question in by_key.get(message[start : start + KEY_LENGTH], ()):
                if message.startswith(question, start):
                    return self._exact[question]
        return None


NO_ANSWERS = KnownAnswers({})


def _add_answer(line: str, pairs: dict[str, Any]) -> str | None:
    """Adds one line's pair; returns what is wrong with the line instead where something is."""
    try:
        row = json.loads(line)
    except ValueError:
        return "is not JSON"
    if not isinstance(row, dict) or row.get("answer") is None:
        return "has no `answer`"
    question = row.get("prompt", row.get("question"))
    if not isinstance(question, str) or not question:
        return "has no `prompt` or `question` text"
    pairs[question] = row["answer"]
    return None


# --- reading a body --------------------------------------------------------------------------------------------------


def prompt_of(body: Mapping[str, Any]) -> str | None:
    """The last user message's text, or the text to complete; None when the body asks nothing."""
    if messages := _messages(body):
        users = [message for message in messages if message.get("role") == "user"]
        return "".join(_texts((users or messages)[-1]))
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        prompt = "\n".join(part for part in prompt if isinstance(part, str))
    return prompt if isinstance(prompt, str) else None


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


def _input_tokens(body: Mapping[str, Any], prompt: str) -> int:
    if not (messages := _messages(body)):
        return _tokens(len(prompt))
    characters = sum(len(text) for message in messages for text in _texts(message))
    contents = [message["content"] for message in messages if isinstance(message.get("content"), list)]
    images: int = sum(
        isinstance(part, dict) and part.get("type") == "image_url" for parts in contents for part in parts
    )
    return _tokens(characters) + images * IMAGE_TOKENS


def _tokens(characters: int) -> int:
    return max(1, -(-characters // CHARACTERS_PER_TOKEN))


# --- answering -------------------------------------------------------------------------------------------------------


def answer(body: Mapping[str, Any], digest: bytes, known: KnownAnswers = NO_ANSWERS) -> Answer:
    """The answer to ``body``, whose digest is ``digest``.  Raises ValueError when the body cannot be answered."""
    prompt = prompt_of(body)
    if prompt is None:
        raise ValueError("the body holds neither messages nor a prompt")
    text = _text(body, prompt, digest, known.find(prompt))
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    finish = "stop"
    if isinstance(most, int) and not isinstance(most, bool) and 0 < most < _tokens(len(text)):
        text, finish = text[: most * CHARACTERS_PER_TOKEN], "length"
    return Answer(text, finish, _input_tokens(body, prompt), _tokens(len(text)))


def _text(body: Mapping[str, Any], prompt: str, digest: bytes, known: Any) -> str:
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_schema":
        holder = wanted.get("json_schema") if isinstance(wanted, dict) else None
        schema = holder.get("schema", {}) if isinstance(holder, dict) else {}
        return json.dumps(_instance(schema, digest, known), ensure_ascii=False)
    if known is not None:
        return known if isinstance(known, str) else json.dumps(known, ensure_ascii=False)
    words = " ".join(prompt[: 4 * ECHOED_CHARACTERS].split()[:ECHOED_WORDS])[:ECHOED_CHARACTERS]
    text = f"Simulated answer {int.from_bytes(digest[:2], 'big')} to: {words}"
    return json.dumps({"answer": text}, ensure_ascii=False) if kind == "json_object" else text


def _instance(schema: Any, digest: bytes, known: Any) -> Any:
    """A value that fits; a known answer is taken whole when it is data, else put where ``answer`` stands."""
    if isinstance(known, dict | list):
        return known
    value = fit(schema, digest.hex())
    if known is None or not isinstance(value, dict) or "answer" not in value:
        return value
    final = match[1] if (match := _FINAL.search(str(known))) else str(known)
    if isinstance(value["answer"], str):
        value["answer"] = final
    elif isinstance(value["answer"], int | float) and not isinstance(value["answer"], bool):
        try:
            number = float(final.replace(",", ""))
        except ValueError:
            return value
        value["answer"] = int(number) if isinstance(value["answer"], int) or number.is_integer() else number
    return value


def completion(body: Mapping[str, Any], given: Answer, *, identity: str, model: str, created: int) -> dict[str, Any]:
    """The answer in the shape that the body asks for: a chat completion, or a text completion."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": given.finish_reason, "logprobs": None}
    if _messages(body):
        kind, prefix = "chat.completion", "chatcmpl"
        choice["message"] = {"role": "assistant", "content": given.text}
    else:
        kind, prefix = "text_completion", "cmpl"
        choice["text"] = given.text
    return {
        "id": f"{prefix}-{identity}",
        "object": kind,
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": given.input_tokens,
            "completion_tokens": given.output_tokens,
            "total_tokens": given.input_tokens + given.output_tokens,
        },
    }
