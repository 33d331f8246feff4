"""Answers in the shape that each kind of question is answered in: chat, text, embeddings, responses, messages."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from struct import pack
from typing import Any

from runner.simulator.answers import Answer
from runner.simulator.questions import CHAT, EMBEDDINGS, MESSAGES, RESPONSES, TEXT

STREAMED_CHARACTERS = 24
"""How much of an answer one event of a stream carries."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a reply carries beside the answer: an id without its prefix, the model, and seconds since 1970."""

    identity: str
    model: str
    created: int


def reply(kind: str, given: Answer, stamp: Stamp) -> Json:
    """The whole reply to a question of ``kind``; empty where the answer got lost."""
    return {} if given.shown == "lost" else _SHAPES[kind](given, stamp)


def _chat(given: Answer, stamp: Stamp) -> Json:
    choice = {"index": 0, "message": _chat_message(given), "finish_reason": _chat_finish(given), "logprobs": None}
    return _completion("chat.completion", "chatcmpl", [choice], stamp) | {"usage": _usage(given)}


def _chat_message(given: Answer) -> Json:
    if given.shown == "refused":
        return {"role": "assistant", "content": None, "refusal": given.text}
    if given.tool:
        return {"role": "assistant", "content": None, "tool_calls": [_call(given.tool, given.text)]}
    return {"role": "assistant", "content": given.text}


def _chat_finish(given: Answer) -> str:
    called = given.tool and given.finish_reason == "stop" and given.shown == "told"
    return "tool_calls" if called else given.finish_reason


def _call(name: str, arguments: str) -> Json:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


def _text(given: Answer, stamp: Stamp) -> Json:
    refused = given.shown == "refused"
    finish = "content_filter" if refused else given.finish_reason
    choice = {"index": 0, "text": "" if refused else given.text, "finish_reason": finish, "logprobs": None}
    return _completion("text_completion", "cmpl", [choice], stamp) | {"usage": _usage(given)}


def _completion(kind: str, prefix: str, choices: Sequence[Json], stamp: Stamp) -> Json:
    head = {"id": f"{prefix}-{stamp.identity}", "object": kind, "created": stamp.created, "model": stamp.model}
    return {**head, "choices": choices}


def _usage(given: Answer) -> Json:
    total = given.input_tokens + given.output_tokens
    return {
        "prompt_tokens": given.input_tokens,
        "completion_tokens": given.output_tokens,
        "total_tokens": total,
    }


def _embeddings(given: Answer, stamp: Stamp) -> Json:
    spelt = map(_packed, given.vectors) if given.packed else given.vectors
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(spelt)]
    usage = {"prompt_tokens": given.input_tokens, "total_tokens": given.input_tokens}
    return {"object": "list", "data": data, "model": stamp.model, "usage": usage}


def _packed(vector: Sequence[float]) -> str:
    """As ``encoding_format: base64`` spells it: little-endian float32."""
    return b64encode(pack(f"<{len(vector)}f", *vector)).decode()


def _response(given: Answer, stamp: Stamp) -> Json:
    refused, cut = given.shown == "refused", given.finish_reason == "length"
    told = {"type": "output_text", "text": given.text, "annotations": []}
    part = {"type": "refusal", "refusal": given.text} if refused else told
    status = "incomplete" if cut else "completed"
    message = {"id": f"msg_{stamp.identity}", "type": "message", "role": "assistant", "status": status}
    usage = {
        "input_tokens": given.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": given.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": given.input_tokens + given.output_tokens,
    }
    return {
        "id": f"resp_{stamp.identity}",
        "object": "response",
        "created_at": stamp.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "model": stamp.model,
        "output": [{**message, "content": [part]}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }


def _message(given: Answer, stamp: Stamp) -> Json:
    """Anthropic's message.  A tool's input that was cut is no JSON any more, and so is empty."""
    content: Json = {"type": "text", "text": given.text}
    reason = {"stop": "end_turn", "length": "max_tokens"}[given.finish_reason]
    if given.shown == "refused":
        reason = "refusal"
    elif given.tool:
        whole = given.finish_reason == "stop"
        reason = "tool_use" if whole else reason
        held = json.loads(given.text) if whole else {}
        content = {"type": "tool_use", "id": f"toolu_{stamp.identity}", "name": given.tool, "input": held}
    return {
        "id": f"msg_{stamp.identity}",
        "type": "message",
        "role": "assistant",
        "model": stamp.model,
        "content": [content],
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": given.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": given.output_tokens,
        },
    }


_SHAPES: Mapping[str, Callable[[Answer, Stamp], Json]] = {
    CHAT: _chat,
    TEXT: _text,
    EMBEDDINGS: _embeddings,
    RESPONSES: _response,
    MESSAGES: _message,
}


# Streams


def events(kind: str, given: Answer, stamp: Stamp, *, usage: bool) -> tuple[bytes, ...]:
    """A chat or text completion as server-sent events, a comment among them, the end marked by ``[DONE]``."""
    chunks = [*_chunks(kind, given, stamp)]
    if usage:
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks.append({**chunks[-1], "choices": [], "usage": _usage(given)})
    told = [f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n" for chunk in chunks]
    lines = [told[0], ": the answer follows\n\n", *told[1:], "data: [DONE]\n\n"]
    return tuple(line.encode("utf-8", "replace") for line in lines)


def _chunks(kind: str, given: Answer, stamp: Stamp) -> Iterator[Json]:
    pieces = [given.text[at : at + STREAMED_CHARACTERS] for at in range(0, len(given.text), STREAMED_CHARACTERS)]
    if given.shown == "lost":
        pieces = []
    name, prefix = ("chat.completion.chunk", "chatcmpl") if kind == CHAT else ("text_completion", "cmpl")

    def chunk(finish: str | None = None, **held: Any) -> Json:
        return _completion(name, prefix, [{"index": 0, "finish_reason": finish, **held}], stamp)

    if kind == CHAT:
        yield chunk(delta={"role": "assistant", "content": ""})
        for number, piece in enumerate(pieces):
            yield chunk(delta=_delta(given, piece, first=number == 0))
        yield chunk(_chat_finish(given), delta={})
    else:
        for piece in pieces if given.shown == "told" else []:
            yield chunk(text=piece)
        yield chunk("content_filter" if given.shown == "refused" else given.finish_reason, text="")


def _delta(given: Answer, piece: str, *, first: bool) -> Json:
    if given.shown == "refused":
        return {"refusal": piece}
    if not given.tool:
        return {"content": piece}
    call = {"index": 0, "function": {"arguments": piece}}
    if first:
        call = {"index": 0, **_call(given.tool, piece)}
    return {"tool_calls": [call]}
