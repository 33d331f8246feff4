"""What one reply means: an answer, a failure, another try, or that nothing more is to be asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.online import completion, plain_completion
from hypothesis import given
from hypothesis import strategies as st

from runner.edge.http import Reply
from runner.edge.secrets import Scrubber
from runner.errors import Busy, Refused, Unsure
from runner.providers.chat import decode_line
from runner.providers.online.queue import answer_line
from runner.providers.online.verdict import (
    Again,
    Halt,
    Settled,
    Verdict,
    cannot_go_on,
    casts_doubt,
    judge,
    misfortune,
    without_secrets,
)


def said(status: int, body: Any, **headers: str) -> tuple[Reply, Any]:
    """A reply, and its body as it was read; text is sent as it is."""
    if isinstance(body, str):
        return Reply(status, headers, body.encode(), "POST http://x"), None
    return Reply(status, headers, json.dumps(body).encode(), "POST http://x"), body


def verdict(status: int, body: Any, **headers: str) -> Verdict:
    return judge(*said(status, body, **headers))


def complaint(code: str | None, message: str = "so it is", **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


@pytest.mark.parametrize("body", [completion("yes"), completion(""), plain_completion("yes")])
def test_an_answer(body: Any) -> None:
    """A completion is kept in the bytes that it came in, with its usage; an empty text is an answer, too."""
    found = verdict(200, body)
    assert isinstance(found, Settled)
    assert found.failure is None
    assert json.loads(found.body) == body
    assert (found.usage.input_tokens, found.usage.output_tokens) == (7, 3)


@pytest.mark.parametrize("form", ["indented", "carriage return", "utf-16", "surrogate", "streamed"])
def test_every_body_becomes_one_line(form: str) -> None:
    """Answers lie line by line: one that came over several lines, or in no bytes at all, is written anew."""
    body = completion("a\nb" + ("\udc00" if form == "surrogate" else ""))
    data = {
        "indented": json.dumps(body, indent=2).encode(),
        "carriage return": json.dumps(body).encode() + b"\r\n",
        "utf-16": json.dumps(body).encode("utf-16-le"),
        "surrogate": b"[" + json.dumps(body).encode() + b"]",
        "streamed": b"",
    }[form]
    found = judge(Reply(200, {}, data), body)
    assert isinstance(found, Settled)
    assert b"\n" not in found.body
    assert json.loads(found.body) == body


def test_an_answer_that_is_none_is_asked_for_again() -> None:
    """Neither text nor a call: the provider says success and gives nothing."""
    found = verdict(200, completion(None))
    assert isinstance(found, Again)
    assert found.code == "empty_answer"
    assert found.unusable
    assert not found.turned_away


@pytest.mark.parametrize("body", ["<html>Welcome</html>", "", "[1]", '"yes"', "null", "{"])
def test_gibberish_is_asked_for_again(body: str) -> None:
    """A page of some gateway with status 200 is no answer."""
    reply = Reply(200, {}, body.encode())
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    found = judge(reply, value)
    assert isinstance(found, Again)
    assert found.code == "unreadable_answer"
    assert not found.unusable  # nobody knows whether it ever reached the model
    assert not found.turned_away


@pytest.mark.parametrize(
    ("status", "body", "away"),
    [
        (429, complaint("rate_limit_exceeded"), True),
        (429, "slow down", True),
        (429, complaint("invalid_request"), True),
        (503, complaint(None, "warming up"), True),
        (529, complaint("overloaded_error"), False),
        (500, complaint("internal_server_error"), False),
        (500, "oops", False),
        (502, "<html>Bad Gateway</html>", False),
        (504, "", False),
        (408, complaint(None), False),
        (409, complaint(None), False),
        (400, complaint("engine_overloaded"), False),
        (200, complaint("server_error"), False),
        (200, complaint(None, "the model is overloaded"), False),
        (200, {"error": "timeout"}, False),
    ],
)
def test_what_another_try_may_cure(status: int, body: Any, away: bool) -> None:
    """``turned_away`` where nothing was made; what to keep, should there be no other try, is beside it."""
    found = verdict(status, body)
    assert isinstance(found, Again)
    assert found.turned_away == away
    assert found.settled is not None
    assert found.settled.status == status


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
    ],
)
def test_the_server_names_a_time(headers: dict[str, str], pause: float | None) -> None:
    """Milliseconds go before seconds; a date that is past means now."""
    found = judge(Reply(429, headers, b"{}"), {})
    assert isinstance(found, Again)
    assert found.pause == pause


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (400, complaint("invalid_prompt", "too long"), "invalid_prompt", "too long"),
        (400, complaint(None, "odd", type="invalid_request_error"), "invalid_request_error", "odd"),
        (422, {"detail": "field required"}, "http_422", "field required"),
        (400, {"object": "error", "message": "flat", "type": "BadRequestError", "code": 400}, "400", "flat"),
        (400, {"code": "content_filter", "msg": "no"}, "content_filter", "no"),
        (413, "<html>Too Large</html>", "http_413", "<html>Too Large</html>"),
        (400, {"error": "just words"}, "http_400", "just words"),
        (400, "", "http_400", ""),
        (200, complaint("context_length_exceeded", "too long"), "context_length_exceeded", "too long"),
        (500, complaint("invalid_image", "no image"), "invalid_image", "no image"),
    ],
)
def test_what_the_same_bytes_would_meet_again(status: int, body: Any, code: str, message: str) -> None:
    """A failure for good; whoever reads the results later is told the endpoint's own code and words."""
    found = verdict(status, body)
    assert isinstance(found, Settled)
    assert found.failure is not None
    assert found.failure.code == code
    line = answer_line(b"0" * 32, found.status, found.body, ok=False, attempts=1, exhausted=False)
    assert line.count(b"\n") == 1
    read = decode_line(line).failure
    assert read is not None
    assert read.code == code
    assert message in read.message


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (402, complaint(None, "pay first")),
        (402, "pay first"),
        (429, complaint("insufficient_quota")),
        (403, complaint("AccountArrears")),
        (400, complaint(None, type="billing_not_active")),
        (200, complaint("Insufficient Balance")),
    ],
)
def test_no_credit_ends_it(status: int, body: Any) -> None:
    """Asking on is vain, and would have every row fail."""
    found = verdict(status, body)
    assert isinstance(found, Halt)
    assert found.error.exit_code == 1
    assert "no credit" in found.error.message


def test_a_refused_key_ends_it() -> None:
    """401 is about the key and never about a row: exit 4."""
    found = verdict(401, complaint("invalid_api_key", "wrong key"))
    assert isinstance(found, Halt)
    assert found.error.exit_code == 4
    assert "wrong key" in found.error.message


@pytest.mark.parametrize(("status", "exit_code"), [(403, 4), (404, 1), (405, 1), (301, 1), (307, 1)])
def test_replies_that_may_speak_of_the_endpoint(status: int, exit_code: int) -> None:
    """No such address, model or method, or a redirect: where nothing else was ever said, nothing can be answered."""
    reply, body = said(status, complaint("nope", "no such model"))
    settled = judge(reply, body)
    assert isinstance(settled, Settled)
    assert casts_doubt(reply)
    error = cannot_go_on(reply, settled)
    assert error.exit_code == exit_code
    assert "no such model" in error.message
    assert error.hint


@pytest.mark.parametrize("status", [200, 400, 413, 422, 429, 500])
def test_replies_about_a_row(status: int) -> None:
    """They say nothing of the endpoint."""
    assert not casts_doubt(said(status, complaint("nope", "no"))[0])


def test_calls_without_a_reply() -> None:
    """No connection means that nothing was asked; a cut or silent one may have been answered."""
    away = misfortune(Busy("cannot connect", retry_after=2.0))
    assert (away.turned_away, away.code, away.pause) == (True, "unreachable", 2.0)
    unheard = misfortune(Unsure("silence"))
    assert (unheard.turned_away, unheard.code) == (False, "no_answer")
    assert isinstance(misfortune(Refused("no")), Again)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "code", "choices", "message"]), inner)
    ),
    max_leaves=8,
)


@given(st.sampled_from([200, 204, 301, 400, 401, 403, 404, 418, 429, 500, 503, 599]), JSON)
def test_any_reply_has_a_verdict(status: int, body: Any) -> None:
    """Whatever JSON comes, it means one of three things, and what is kept of it is one line that can be read."""
    found = judge(*said(status, body) if not isinstance(body, str) else (Reply(status, {}, b""), body))
    settled = found.settled if isinstance(found, Again) else found
    if isinstance(settled, Settled):
        line = answer_line(b"0" * 32, settled.status, settled.body, ok=False, attempts=1, exhausted=False)
        assert line.count(b"\n") == 1
        assert (decode_line(line).failure is None) == (settled.failure is None)


KEY = "sk-verdict-0123456789abcdef"


@given(JSON, st.booleans())
def test_secrets_are_taken_out_and_nothing_else(body: Any, ascii: bool) -> None:
    """Whatever the body, one without a secret stays byte for byte, and one with a secret differs in that alone."""
    scrub = Scrubber()
    scrub.hide(KEY)
    data = json.dumps(body, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    assert without_secrets(data, scrub) == data
    spelt = json.dumps([body, {KEY: f'"\\ {KEY}\n'}], ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    assert json.loads(without_secrets(spelt, scrub)) == json.loads(spelt.replace(KEY.encode(), b"[hidden]"))


def test_large_complaints_are_looked_through_in_no_time() -> None:
    """A server that repeats a question of megabytes, of one word or of many, keeps nobody waiting."""
    scrub = Scrubber()
    scrub.hide(KEY)
    data = json.dumps(["x" * 3_000_000, "x " * 300_000, '"' * 300_000, KEY]).encode()
    assert without_secrets(data, scrub) == data.replace(KEY.encode(), b"[hidden]")
