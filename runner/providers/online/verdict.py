"""What one reply of an endpoint means: an answer, a failure, another try, or that nothing more is to be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from json import dumps, loads
from typing import Any

from runner.edge.http import Reply, retry_after
from runner.edge.secrets import Scrubber
from runner.errors import Busy, ProviderError, Refused, RunnerError
from runner.providers.chat import decode_body, is_retryable
from runner.providers.loose import first_text, get
from runner.result import Failure, Usage

_NO_CREDIT = ("insufficientquota", "insufficientbalance", "billing", "arrear", "paymentrequired", "creditbalance")
"""In an error's code: the account is out of money, and asking on is vain."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"')
"""A string of JSON, as it is spelt there."""


@dataclass(frozen=True)
class Settled:
    """It came to something: an answer (``failure`` None), or a failure that the same bytes would meet again."""

    status: int
    body: bytes
    """JSON in one line."""
    usage: Usage = field(default_factory=Usage)
    failure: Failure | None = None


@dataclass(frozen=True)
class Again:
    """It may be answered at another try.

    ``turned_away``: nothing was made (429, overloaded); otherwise it may have been answered, and paid, unheard.
    ``unusable``: the endpoint did answer, but not the question.  ``settled`` is what to keep if there is no other try.
    """

    reason: str
    code: str
    pause: float | None = None
    turned_away: bool = False
    unusable: bool = False
    settled: Settled | None = None


@dataclass(frozen=True)
class Halt:
    """Nothing more is to be asked of this endpoint."""

    error: RunnerError


Verdict = Settled | Again | Halt


def judge(reply: Reply, body: Any) -> Verdict:
    """``body``: the reply's JSON, or the completion that its stream was put together to; None where it is neither."""
    error = get(body, "error")
    if 200 <= reply.status < 300 and not error:
        return _answer(reply, body)
    code = first_text(error, ("code", "type")) or first_text(body, ("code", "type")) or f"http_{reply.status}"
    said = _said(reply, body)
    message = f"answered {reply.status}: {said}".rstrip(": ")
    if reply.status == 402 or _speaks_of(code, _NO_CREDIT):
        return Halt(_stopped(f"the account has no credit: {message}", reply))
    if reply.status == 401:
        return Halt(Refused(f"the key was refused: {message}", where=reply.where, word=code, credentials=True))
    pause = retry_after(reply.headers)
    settled = Settled(reply.status, _complaint(reply, body, code, said), failure=Failure(code, message, False))
    if reply.status == 429:
        return Again(message, code, pause, turned_away=True, settled=settled)
    if is_retryable(code, reply.status, message):
        return Again(message, code, pause, turned_away=reply.status == 503, settled=settled)
    return settled


def _answer(reply: Reply, body: Any) -> Verdict:
    if not isinstance(body, dict):
        return Again(f"the answer is not JSON: {reply.text[:200]}", "unreadable_answer")
    result = decode_body("", body)
    settled = Settled(reply.status, _one_line(reply, body), result.usage, result.failure)
    if result.failure is not None and result.failure.retryable:
        return Again(result.failure.message, result.failure.code, unusable=True, settled=settled)
    return settled


def misfortune(error: ProviderError) -> Again:
    """What a call that came to no reply means."""
    if isinstance(error, Busy):
        return Again(error.message, "unreachable", error.retry_after, turned_away=True)
    return Again(error.message, "no_answer")


def casts_doubt(reply: Reply) -> bool:
    """Whether a no may be about the endpoint, such as a wrong path or model, rather than about the question."""
    return reply.status in (403, 404, 405) or 300 <= reply.status < 400


def cannot_go_on(reply: Reply, settled: Settled) -> RunnerError:
    """What such a no means where the endpoint never said anything else."""
    message = settled.failure.message if settled.failure else f"answered {reply.status}"
    hint = "compare base_url, the model and the key in runner.yaml with what the endpoint expects"
    if reply.status == 404:
        hint += (
            f"; asked was {reply.where}: where the address is another one, write base_url up to and with its version"
        )
    if reply.status == 403:
        return Refused(message, where=reply.where, hint=hint, credentials=True)
    return RunnerError(message, where=reply.where, hint=hint, code="endpoint-wrong")


def _speaks_of(code: str, words: tuple[str, ...]) -> bool:
    letters = "".join(filter(str.isalnum, code.lower()))
    return any(word in letters for word in words)


def _said(reply: Reply, body: Any) -> str:
    error = get(body, "error")
    said = error if isinstance(error, str) else first_text(error, ("message", "msg"))
    return said or first_text(body, ("message", "msg", "detail", "error_msg")) or reply.text[:300]


def _stopped(message: str, reply: Reply) -> RunnerError:
    return RunnerError(
        message, where=reply.where, hint="What was answered is kept: put it right and apply again.", code="no-credit"
    )


def _complaint(reply: Reply, body: Any, code: str, said: str) -> bytes:
    """An error's body, in OpenAI's shape where it came in another, such as `{"detail": …}` or a page for people."""
    if get(body, "error"):
        return _one_line(reply, body)
    return _written({**(body if isinstance(body, dict) else {}), "error": {"code": code, "message": said}})


def _one_line(reply: Reply, body: Any) -> bytes:
    """The body as it came where that is one line of JSON, else written anew."""
    data = reply.data
    if data.startswith(b"{") and not any(byte in data for byte in (b"\n", b"\r", b"\0")):
        return data
    return _written(body)


def _written(value: Any) -> bytes:
    return dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


def without_secrets(body: bytes, scrub: Scrubber) -> bytes:
    """``body``, JSON in one line, with secrets taken out of its strings and all else as it came."""

    def cleaned(string: re.Match[str]) -> str:
        said = loads(string[0], strict=False)
        clean = scrub.hidden_in(said)
        return string[0] if clean == said else dumps(clean)

    return _STRING.sub(cleaned, body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
