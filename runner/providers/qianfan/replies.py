"""What a reply of Qianfan's means.  Pure.

Documented are an HTTP error with ``{requestId, code, message}``, the same in the headers ``X-Bce-Error-Code`` and
``X-Bce-Error-Message``, and the older ``{error_code, error_msg}`` beside HTTP 200.  The codes are documented in part
only: one that is not known says no where HTTP does, and nothing where HTTP says yes.  A result is an object in the
samples and a list in the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from json import loads
from typing import Any, NoReturn

from runner.edge.http import Reply, judge_status, retry_after
from runner.errors import Busy, Refused, Unsure
from runner.providers.loose import get, text
from runner.providers.qianfan.bce import is_about_keys

_NO_PLACE = "runningnumberexceedlimit"
"""In a code, whatever the status: 20 tasks run, which is the most.  Nothing was made."""
_BUSY = ("ratelimit", "throttl", "toomany", "qps")
"""In a code: calls come too fast."""
_UNSURE = ("internal", "unavailable", "timeout", "tryagain")
_REFUSED: Sequence[str] = (
    *("invalid", "illegal", "malformed", "inappropriate", "missing", "required", "param"),
    *("notfound", "notexist", "notsupport", "unsupport", "denied", "permission", "forbidden"),
)
"""In a code or, beside HTTP 200, in its message: what is unsure goes before what is refused."""
_NUMBERS = {"18": "qps", "336100": "tryagain", "500000": "internal"}
"""Old codes that Baidu's own client asks again after."""


def judge(reply: Reply) -> None:
    """Raise for anything but a clear yes, which is a reply that holds a result and no error."""
    if reply.status in (408, 429) or 300 <= reply.status < 400:
        judge_status(reply)
    body = _json(reply)
    code, said = _complaint(body, reply)
    result = _unlisted(get(body, "result"))
    if code:
        if made := text(get(result, "taskId")):
            raise Unsure(f"the answer holds both error {code} and task {made}", word=code, where=reply.where)
        _raise_for(code, said, reply)
    judge_status(reply)
    if result is None:
        raise Unsure(f"the answer says neither yes nor no: {reply.text[:200]}", where=reply.where)


def result_of(reply: Reply) -> Any:
    """What a reply that passed :func:`judge` holds: an object, also where it comes in a list; else as it is."""
    return _unlisted(reply.json()["result"])


def _unlisted(result: Any) -> Any:
    return result[0] if isinstance(result, list) and len(result) == 1 else result


def _json(reply: Reply) -> Any:
    try:
        return loads(reply.data)
    except (ValueError, RecursionError):
        return None


def _complaint(body: Any, reply: Reply) -> tuple[str, str]:
    """Code and message; no code for a reply that does not complain."""
    for code, message in (("code", "message"), ("error_code", "error_msg")):
        if (found := text(get(body, code))) not in ("", "0"):
            return found, text(get(body, message))
    if get(body, "result") is not None:
        return "", ""
    return text(reply.headers.get("x-bce-error-code")), text(reply.headers.get("x-bce-error-message"))


def _raise_for(code: str, said: str, reply: Reply) -> NoReturn:
    message = f"{code}: {said}" if said else code
    word = _letters(_NUMBERS.get(code, code))
    words = word + _letters(said)
    if _NO_PLACE in word or (reply.status < 500 and any(busy in word for busy in _BUSY)):
        raise Busy(message, word=code, where=reply.where, retry_after=retry_after(reply.headers))
    if reply.status < 500 and (reply.status in (401, 403) or is_about_keys(code, said)):
        raise Refused(message, word=code, where=reply.where, credentials=True)
    is_unsure = reply.status >= 500 or any(unsure in word for unsure in _UNSURE)
    if reply.status < 300:
        is_unsure |= any(unsure in words for unsure in _UNSURE) or not any(refused in words for refused in _REFUSED)
    if is_unsure:
        raise Unsure(message, word=code, where=reply.where)
    raise Refused(message, word=code, where=reply.where)


def _letters(words: str) -> str:
    return "".join(filter(str.isalnum, words.lower()))
