"""What travels in Qianfan's files: bodies as runner keeps them, request lines as Qianfan reads them, result lines.

Documented: a request line ``{"id", "query"}``; a result line, which is the request line with an ``output`` of
``{result, finish_reason, is_truncated, usage}``.  Parameters belong to the task, not to its lines.  Not documented, and
so written in the plainest way and read in every plausible one:

- the line of data format ``role``: written as ``{"id", "messages": [{"role", "content"}]}``;
- a failed row: a code and a message, spelled in one of the ways that Baidu has for them, in the line or in its output,
  or ``error`` as elsewhere; an output beside it is no answer;
- the output of endpoints that answer as OpenAI does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json import dumps, loads
from typing import Any

from runner.provider import Message, Question, no_embeddings
from runner.providers import chat
from runner.providers.loose import first_text, get, record_of, text
from runner.result import Failure, Result

_TRANSIENT = frozenset({"18", "336100", "500000"})
"""Codes after which Baidu's own client asks again: too many queries a second, try again, internal error."""
_FINE = frozenset({"", "0", "200"})
"""What stands in the place of an error's code where there is none."""
_SPELLINGS: Mapping[str, Sequence[str]] = {
    "error_code": ("error_msg",),
    "errorCode": ("errorMessage", "errorMsg", "errorReason"),
    "code": ("message",),
}
"""Names of an error's code, and of the message that goes with it."""


# Writing


def encode(question: Question, data_format: str) -> dict[str, Any]:
    """``{"query" | "messages", "parameters"}``.  ``data_format``: auto, default or role, as in runner.yaml.

    Raises ValueError for what Qianfan's lines cannot carry.
    """
    if question.embed is not None:
        raise no_embeddings("Qianfan's batch inference")
    if question.text is not None:
        raise ValueError("Qianfan documents no plain completion: write the prompt as a message instead of `text`")
    if question.schema is not None:
        if data_format == "default":
            raise ValueError(
                "Qianfan can be told response.schema only in a system message, which data_format: default lacks"
            )
        question = chat.with_instruction(question, chat.instruction(question.schema))
    body: dict[str, Any] = {"parameters": dict(question.parameters)}
    messages = [{"role": message.role, "content": _content(message)} for message in question.messages]
    if data_format != "role" and [message["role"] for message in messages] == ["user"]:
        return {**body, "query": messages[0]["content"]}
    if data_format == "default":
        raise ValueError("data_format: default carries one user message and nothing else: take it off, or ask so")
    return {**body, "messages": messages}


def _content(message: Message) -> str:
    if any(part.kind != "text" for part in message.parts):
        raise ValueError("Qianfan documents no images in batches")
    if len(message.parts) != 1:
        raise ValueError("Qianfan documents no message of several parts: write each message as one text")
    return message.parts[0].value


@dataclass(frozen=True)
class Manner:
    """How the lines of a task are to be read: the same for all of them, since all are of one spec."""

    data_format: str
    parameters: Mapping[str, Any]


def manner_of(line: bytes) -> Manner:
    """What a task is told of its lines, from one of them."""
    body = loads(line)["body"]
    return Manner("default" if "query" in body else "role", body["parameters"])


def wire_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Request lines of a shard as Qianfan reads them, one by one."""
    for line in lines:
        record = loads(line)
        body = {key: value for key, value in record["body"].items() if key != "parameters"}
        yield dumps({"id": record["custom_id"], **body}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


# Reading


def decode(line: bytes) -> Result:
    """One line of results.  Raises ValueError where it is no JSON object or names no request."""
    record = record_of(line)
    request, output = text(record.get("id")), record.get("output")
    if not request:
        return chat.decode_line(line)
    failure = _failure(output) or _failure(record)
    if failure is not None:
        return Result(request, failure=failure)
    is_error = record.get("error") or get(output, "error")
    if isinstance(output, dict) and isinstance(output.get("result"), str) and not is_error:
        return chat.decode_body(request, _completion(output))
    return chat.decode_line(line)


def _completion(output: Mapping[str, Any]) -> dict[str, Any]:
    """The documented output in OpenAI's shape.  ``normal`` is Qianfan's word for an answer that ended by itself."""
    finish = text(output.get("finish_reason"))
    if output.get("is_truncated") is True:
        finish = "length"
    choice = {"message": {"content": output["result"]}, "finish_reason": "stop" if finish == "normal" else finish}
    return {"choices": [choice], "usage": output.get("usage"), "model": output.get("model")}


def _failure(holder: Any) -> Failure | None:
    """The error that ``holder`` tells of itself, if it does."""
    for name, messages in _SPELLINGS.items():
        code = text(get(holder, name))
        if code not in _FINE:
            said = first_text(holder, messages) or f"Qianfan answered with error {code}"
            word = "" if code.isdigit() else code
            return Failure(code, said, code in _TRANSIENT or chat.is_retryable(word, None, said))
    return None
