"""Lines of results, as every provider decodes them: anything comes to a Result, or to ValueError."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults.places import PLACES
from benchmarks.fuzzing.mutation import mutated_json
from benchmarks.fuzzing.recording import IDS, built
from benchmarks.fuzzing.target import BELIEVED, Broken, Target
from runner.conform import misfit
from runner.result import Failure, Result, Usage

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
CHAT = {"id": "c", "model": "m", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE}
PARTS = {"choices": [{"message": {"content": [{"type": "text", "text": "Hi"}]}, "finish_reason": "length"}]}
CALL = {
    "choices": [
        {"message": {"tool_calls": [{"function": {"name": "answer", "arguments": {"a": 1}}}]}, "finish_reason": "stop"}
    ]
}
MESSAGE = {
    "content": [{"type": "text", "text": "Hi"}, {"type": "tool_use", "name": "answer", "input": {"a": [1]}}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 1, "output_tokens": 5},
    "model": "m",
}
RESPONSES = {
    "object": "response",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}],
    "usage": {"input_tokens": 3, "output_tokens": 5},
}
BODIES: tuple[Any, ...] = (
    {"response": {"status_code": 200, "request_id": "r", "body": CHAT}, "error": None},
    {"response": {"status_code": 200, "body": PARTS}, "error": None},
    {"response": {"status_code": 200, "body": CALL}},
    {"response": {"status_code": 200, "body": RESPONSES}},
    {"response": {"status_code": 200, "body": {"data": [{"embedding": [0.1, 0.2]}], "usage": USAGE}}},
    {"response": {"status_code": 429, "body": {"error": {"code": "rate_limit", "message": "slow down"}}}},
    {"response": None, "error": {"code": "batch_expired", "message": "too late"}},
    {"output": {"result": "Hi", "finish_reason": "normal", "is_truncated": False, "usage": USAGE}},
    {"error_code": 336100, "error_msg": "try again"},
    {"result": {"type": "succeeded", "message": MESSAGE}},
    {"result": {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}}},
    {"ok": False, "exhausted": True, "attempts": 3, "error": {"code": "no_answer", "message": "x"}},
)
CORPUS = tuple(json.dumps({key: IDS[0], **body}).encode() for body in BODIES for key in ("custom_id", "id"))


def _draw(rng: Random) -> bytes:
    return rng.randbytes(1) + mutated_json(rng, rng.choice(CORPUS), CORPUS)


@contextmanager
def lines(folder: Path) -> Iterator[Target]:
    providers = [built(place, "http://127.0.0.1:9", folder) for place in PLACES]

    def run(data: bytes) -> None:
        provider = providers[data[0] % len(providers) if data else 0]
        try:
            result = provider.decode(data[1:].replace(b"\n", b" "))
        except ValueError:
            return
        _hold(result)

    yield Target(_draw, run)


def _hold(result: Result) -> None:
    """What is made of a line can be written down again, as it is, and has the types that it says."""
    texts = [result.text, result.finish_reason, result.model]
    fits = [misfit(text, str | None) for text in texts] + [misfit(result.request, str)]
    fits += [misfit(result.usage, Usage), misfit(result.failure, Failure | None)]
    if any(where is not None for where in fits):
        raise Broken(BELIEVED, f"a result has other types than it says: {str(result)[:300]}")
    usage = (result.usage.input_tokens or 0, result.usage.output_tokens or 0)
    if min(usage) < 0 or max(usage) >= 2**63:
        raise Broken(BELIEVED, f"tokens are {str(usage)[:100]}")
    failure = result.failure
    json.dumps([result.request, *texts, failure and failure.message], ensure_ascii=False).encode()
