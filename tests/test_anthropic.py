"""Anthropic's Message Batches: bodies and result lines by value, conversations against a fake over real HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.anthropic import KEY, MODEL, NOW, FakeAnthropic, Handler

from runner.edge.http import Http
from runner.edge.urls import same_origin
from runner.errors import Busy, ProviderError, Refused, Unsure
from runner.fingerprint import canonical
from runner.model import Offer, Price
from runner.project import ProviderConfig, SecretRef
from runner.provider import Absent, Found, Job, Message, Part, Phase, Question, ShardLimits, Unknown
from runner.providers.anthropic.batches import Batch, parse_batch
from runner.providers.anthropic.messages import decode_line, encode
from runner.providers.anthropic.provider import Anthropic, write_body
from runner.registry import build
from runner.request import body_writer
from runner.result import Result, Usage

BEGUN = datetime.fromisoformat(NOW).timestamp()
LINES = b"".join(
    b'{"custom_id":"%032x","params":{"model":"m","messages":[]}}\n' % number for number in range(3)
)  # one line for each of three requests
PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture
def fake() -> Iterator[FakeAnthropic]:
    fake = FakeAnthropic()
    yield fake
    fake.close()


@pytest.fixture
def http() -> Iterator[Http]:
    naps: list[float] = []
    http = Http(sleep=naps.append, clock=lambda: sum(naps))
    yield http
    http.close()


@pytest.fixture
def provider(fake: FakeAnthropic, http: Http) -> Anthropic:
    return anthropic(fake, http)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    file = tmp_path / ".tmp-shard.jsonl"
    file.write_bytes(LINES)
    return Job(task="t-1", name="nightly-7f3a", model="m", requests=3, max_wait=86_400, file=file, begun_at=BEGUN)


def anthropic(fake: FakeAnthropic, http: Http, **settings: Any) -> Anthropic:
    return Anthropic("claude", http, **{"base_url": fake.url, "api_key": lambda: KEY, **settings})


def started(provider: Anthropic, job: Job) -> Job:
    return replace(job, remote_id=provider.start(job, provider.stage(job)))


def says(status: int, type: str, message: str = "so it is", **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.error(status, type, message, **headers)


def raw(status: int, body: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(status, body)


def collected(provider: Anthropic, job: Job) -> bytes:
    got = bytearray()
    provider.results(job, got.extend)
    return bytes(got)


def question(*messages: tuple[str, str], **rest: Any) -> Question:
    return Question(tuple(Message(role, (Part("text", said),)) for role, said in messages), **rest)


# Writing


def test_a_question_as_a_message() -> None:
    """System messages go to the top as text blocks, turns keep their order, parameters keep their names."""
    asked = encode(
        "claude-x-1",
        question(
            ("system", "Be kind."),
            ("user", "hi"),
            ("assistant", "hello"),
            ("system", "Be brief."),
            ("user", "go on"),
            parameters={"max_tokens": 9, "stop_sequences": ["x"]},
        ),
    )
    assert asked == {
        "model": "claude-x-1",
        "max_tokens": 9,
        "stop_sequences": ["x"],
        "system": [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": "go on"},
        ],
    }


def test_max_tokens_is_always_there() -> None:
    """It is required; a spec that names none gets 4,096.  Without system messages there is no `system`."""
    assert encode("m", question(("user", "hi"))) == {
        "model": "m",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_a_schema_is_the_only_tool() -> None:
    """An answer that fits a schema is asked for as the input of the tool `answer`, which has to be called."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    asked = encode("m", question(("user", "hi"), schema=schema))
    (tool,) = asked["tools"]
    assert (tool["name"], tool["input_schema"]) == ("answer", schema)
    assert asked["tool_choice"] == {"type": "tool", "name": "answer"}


def image(address: str) -> Any:
    asked = encode("m", Question((Message("user", (Part("text", "see"), Part("image", address))),)))
    assert asked["messages"][0]["content"][0] == {"type": "text", "text": "see"}
    return asked["messages"][0]["content"][1]["source"]


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("https://x.example/a.png", {"type": "url", "url": "https://x.example/a.png"}),
        ("HTTP://x.example/a.png", {"type": "url", "url": "HTTP://x.example/a.png"}),
        (PNG, {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}),
        ("DATA:IMAGE/JPG;x=y;BASE64,AA==", {"type": "base64", "media_type": "image/jpeg", "data": "AA=="}),
    ],
)
def test_images(address: str, source: Any) -> None:
    """A web address stays one; a data URL is taken apart into its type and its base64."""
    assert image(address) == source


def test_an_image_slot_is_built_row_by_row() -> None:
    """Web addresses and data URLs in one column: each row gets the source it needs, and not the shape of another."""

    def build(texts: Sequence[str]) -> dict[str, Any]:
        parts = (Part("text", texts[0]), Part("image", texts[1]))
        return encode("m", Question((Message("user", parts),)))

    write = body_writer(build, 2)
    for address in (PNG, "https://x.example/a.png", PNG.replace("png", "webp")):
        assert write(["see", address]).encode() == canonical(build(["see", address]))
        assert json.loads(write(["see", address]))["messages"][0]["content"][1]["source"] == image(address)


def test_texts_are_spliced() -> None:
    """Texts, a system message's too, appear whole and once, so that a body is not built anew for every row."""
    built = []

    def build(texts: Sequence[str]) -> dict[str, Any]:
        built.append(texts)
        return encode("m", question(("system", texts[0]), ("user", texts[1])))

    write = body_writer(build, 2)
    for texts in (['a"', "b\n"], ["c", "d"]):
        assert json.loads(write(texts))["system"][0]["text"] == texts[0]
        assert json.loads(write(texts))["messages"][0]["content"] == texts[1]
    assert len(built) == 1


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Question(text="Once upon"), "prompt: {user: …}"),
        (question(("system", "alone")), "message of the user"),
        (question(("user", "x"), ("tool", "y")), "role tool"),
        (Question((Message("system", (Part("image", PNG),)), Message("user", (Part("text", "x"),)))), "not image"),
        (Question((Message("user", (Part("video", "x"),)),)), "kind video"),
        (Question((Message("user", (Part("image", "data:image/png,raw"),)),)), "base64"),
        (Question((Message("user", (Part("image", "data:image/tiff;base64,AA=="),)),)), "image/tiff"),
        (Question((Message("user", (Part("image", "data:;base64,AA=="),)),)), "no type"),
        (question(("user", "x"), schema={"type": "array"}), "type: object"),
        (question(("user", "x"), schema={"anyOf": []}), "type: object"),
        (question(("user", "x"), schema={"type": "object"}, parameters={"tools": []}), "parameters set tools"),
        (question(("system", "x"), ("user", "x"), parameters={"system": "y"}), "parameters set system"),
    ],
)
def test_what_cannot_be_said(asked: Question, why: str) -> None:
    """Each is refused with a sentence that names what is wrong."""
    with pytest.raises(ValueError, match=why):
        encode("m", asked)


def test_the_frame_makes_a_line(provider: Anthropic) -> None:
    """Around an id and a body it is one JSON object of custom_id and params."""
    frame = provider.frame(question(("user", "hi")))
    line = frame.before + b"abc" + frame.between + b'{"x":1}' + frame.after
    assert json.loads(line) == {"custom_id": "abc", "params": {"x": 1}}


# Reading


def line(result: Any, custom_id: Any = "a") -> bytes:
    return json.dumps({"custom_id": custom_id, "result": result}).encode()


def answered(*content: Any, stop: Any = "end_turn", **rest: Any) -> Result:
    usage = {"input_tokens": 5, "output_tokens": 7}
    message = {"model": "claude-x-1", "content": list(content), "stop_reason": stop, "usage": usage, **rest}
    return decode_line(line({"type": "succeeded", "message": message}))


def said(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def test_an_answer() -> None:
    """Text blocks are joined, what was thought is left out; tokens, model and reason are kept."""
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    assert answered(thought, said("one "), hidden, said("two")) == Result(
        "a", text="one two", finish_reason="stop", usage=Usage(5, 7), model="claude-x-1"
    )


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"input_tokens": 5, "output_tokens": 7}, Usage(5, 7)),
        (
            {
                "input_tokens": 5,
                "cache_creation_input_tokens": 20,
                "cache_read_input_tokens": 300,
                "output_tokens": 7,
            },
            Usage(325, 7),
        ),
        ({"input_tokens": "5", "cache_read_input_tokens": None}, Usage(5, None)),
        ({}, Usage(None, None)),
        (None, Usage(None, None)),
    ],
)
def test_tokens(usage: Any, tokens: Usage) -> None:
    """What went through the cache is input as well; what is not said is not known."""
    assert answered(said("x"), usage=usage).usage == tokens


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("new_reason", "new_reason"),
        (None, None),
    ],
)
def test_stop_reasons(stop: Any, finish: str | None) -> None:
    """In the words of other families; one that is not known stays as it is."""
    result = answered(said("x"), stop=stop)
    assert (result.finish_reason, result.failure) == (finish, None)


def test_an_answer_by_tool() -> None:
    """What the tool `answer` was called with is the answer, as JSON, whatever was said beside it."""
    call = {"type": "tool_use", "id": "t", "name": "answer", "input": {"n": 1, "who": "é"}}
    for content in ([call], [said("Here it is:"), call], [call, {**call, "input": {"n": 2}}]):
        result = answered(*content, stop="tool_use")
        assert (result.text, result.finish_reason, result.failure) == ('{"n": 1, "who": "é"}', "stop", None)


def test_a_call_of_another_tool() -> None:
    """A tool that parameters brought along is no answer to a schema, and no failure."""
    result = answered(said("Let me see."), {"type": "tool_use", "name": "look", "input": {}}, stop="tool_use")
    assert (result.text, result.failure) == ("Let me see.", None)


@pytest.mark.parametrize(
    ("content", "rest", "code", "retryable", "text"),
    [
        ([said("I must")], {"stop": "refusal"}, "refusal", False, "I must"),
        ([], {"stop": "refusal", "stop_details": {"explanation": "harm"}}, "refusal", False, None),
        ([said("so far")], {"stop": "pause_turn"}, "pause_turn", False, "so far"),
        ([], {"stop": "max_tokens"}, "truncated", False, None),
        ([{"type": "thinking", "thinking": "long"}], {"stop": "max_tokens"}, "truncated", False, ""),
        ([], {}, "empty_answer", True, None),
    ],
)
def test_messages_that_are_no_answer(content: Any, rest: Any, code: str, retryable: bool, text: str | None) -> None:
    """A refusal, a pause, and limits reached before any text; what text there is was paid for and is kept."""
    result = answered(*content, **rest)
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable, result.text) == (code, retryable, text)
    assert result.usage == Usage(5, 7)


def test_why_it_refused() -> None:
    """The explanation of a refusal is told where there is one."""
    explained = answered(stop="refusal", stop_details={"category": "bio", "explanation": None})
    assert explained.failure is not None
    assert explained.failure.message == "the model refused to answer: bio"
    plain = answered(stop="refusal", stop_details=None)
    assert plain.failure is not None
    assert plain.failure.message == "the model refused to answer"


@pytest.mark.parametrize(
    ("type", "retryable"),
    [
        ("invalid_request_error", False),
        ("authentication_error", False),
        ("permission_error", False),
        ("billing_error", True),
        ("not_found_error", False),
        ("request_too_large", False),
        ("api_error", True),
        ("overloaded_error", True),
        ("rate_limit_error", True),
        ("timeout_error", True),
        ("brand_new_error", False),
        ("brand_new_timeout", True),
    ],
)
def test_errors(type: str, retryable: bool) -> None:
    """F53, F54: the type decides about another try, within the API's envelope of errors and without it."""
    error = {"type": type, "message": "so it is"}
    for told in (error, {"type": "error", "error": error, "request_id": "r"}):
        failure = decode_line(line({"type": "errored", "error": told})).failure
        assert failure is not None
        assert (failure.code, failure.message, failure.retryable) == (type, error["message"], retryable)


@pytest.mark.parametrize(
    ("result", "code", "retryable"),
    [
        ({"type": "expired"}, "expired", True),
        ({"type": "canceled"}, "canceled", True),
        ({"type": "succeeded"}, "empty_answer", True),
        ({"type": "succeeded", "message": "hi"}, "empty_answer", True),
        ({"type": "errored"}, "errored", False),
        ({"type": "errored", "error": "bad"}, "errored", False),
        ({"type": "errored", "message": {"content": [said("hi")]}}, "errored", False),
        ({"type": "errored", "error": {"type": "error", "error": None}}, "error", False),
        ({"type": "lost_in_space"}, "lost_in_space", False),
        (None, "error", False),
        ("odd", "error", False),
    ],
)
def test_results_without_a_message(result: Any, code: str, retryable: bool) -> None:
    """Requests that were not asked may be asked again; a shape that is not known is a failure, and no crash."""
    failure = decode_line(line(result)).failure
    assert failure is not None
    assert (failure.code, failure.retryable) == (code, retryable)


@pytest.mark.parametrize(
    "bad", [b"", b"{", b"[]", b'"a"', b"{}", line({"type": "expired"}, None), b"\xff", b"[" * 100_000]
)
def test_lines_that_cannot_be_read(bad: bytes) -> None:
    """No JSON object, or one that names no request."""
    with pytest.raises(ValueError):
        decode_line(bad)


def test_decode_scrubs_what_the_provider_repeats(provider: Anthropic) -> None:
    """A key in an error of a result line does not get into outputs."""
    provider.offers()
    failure = provider.decode(
        line({"type": "errored", "error": {"type": f"x {KEY}", "message": f"\x1b[1mkey {KEY} is bad"}})
    ).failure
    assert failure is not None
    assert (failure.code, failure.message) == ("x [hidden]", "[1mkey [hidden] is bad")


COUNTS = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}


@pytest.mark.parametrize(
    ("value", "phase"),
    [
        ({"processing_status": "in_progress", "request_counts": {**COUNTS, "processing": 3}}, Phase.RUNNING),
        ({"processing_status": "canceling", "cancel_initiated_at": NOW}, Phase.RUNNING),
        ({"processing_status": "paused"}, Phase.RUNNING),
        ({}, Phase.RUNNING),
        (None, Phase.RUNNING),
        ({"processing_status": "ended", "request_counts": {**COUNTS, "succeeded": 3}}, Phase.SUCCEEDED),
        ({"processing_status": "Ended", "request_counts": {**COUNTS, "succeeded": 1, "errored": 2}}, Phase.SUCCEEDED),
        ({"processing_status": "ended", "request_counts": {**COUNTS, "succeeded": 1, "expired": 2}}, Phase.SUCCEEDED),
        ({"processing_status": "ended", "request_counts": {**COUNTS, "errored": 1, "expired": 2}}, Phase.SUCCEEDED),
        ({"processing_status": "ended", "request_counts": {**COUNTS, "expired": 3}}, Phase.EXPIRED),
        ({"processing_status": "ended", "request_counts": {**COUNTS, "errored": 3}}, Phase.FAILED),
        (
            {
                "processing_status": "ended",
                "cancel_initiated_at": NOW,
                "request_counts": {**COUNTS, "canceled": 2, "succeeded": 1},
            },
            Phase.CANCELLED,
        ),
        (
            {
                "processing_status": "ended",
                "cancel_initiated_at": NOW,
                "request_counts": {**COUNTS, "succeeded": 3},
            },
            Phase.CANCELLED,
        ),
        ({"processing_status": "ended", "request_counts": None}, Phase.SUCCEEDED),
    ],
)
def test_phases(value: Any, phase: Phase) -> None:
    """Only `ended` ends; then the counts, and whether a stop was asked for, say how."""
    assert parse_batch(value).phase is phase


@pytest.mark.parametrize(
    ("counts", "total"),
    [
        ({**COUNTS, "processing": 2, "succeeded": 3}, 5),
        ({**COUNTS, "processing": "2"}, 2),
        ({**COUNTS, "expired": None}, None),
        ({"succeeded": 3}, None),
        (None, None),
    ],
)
def test_totals(counts: Any, total: int | None) -> None:
    """The total is the sum of all five counts, and unknown where one is missing."""
    assert parse_batch({"request_counts": counts}).total == total


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T00:01:00.5+00:00", 60.5),
        ("1970-01-01T01:01:00+01:00", 60.0),
        ("1970-01-01T00:01:00", 60.0),
        ("soon", None),
        ("", None),
        (None, None),
        (60, None),
    ],
)
def test_times(moment: Any, seconds: float | None) -> None:
    """RFC 3339, with any zone or with none."""
    assert parse_batch({"created_at": moment}).created_at == seconds


# The whole way


def test_a_batch_from_start_to_results(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """One call carries all the requests; every call carries the key and the version."""
    job = started(provider, job)
    assert provider.check(job).phase is Phase.RUNNING
    fake.end(job.remote_id, succeeded=1, errored=1, expired=1)
    progress = provider.check(job)
    assert (progress.phase, progress.raw) == (Phase.SUCCEEDED, "ended")
    assert (progress.total, progress.succeeded, progress.failed) == (3, 1, 2)
    assert collected(provider, job) == fake.output
    assert fake.names() == ["create", "detail", "detail", "detail", "results"]
    sent = json.loads(fake.requests("create")[0].body)
    assert sent == {"requests": [json.loads(line) for line in LINES.splitlines()]}
    for call in fake.calls:
        assert (call.headers["x-api-key"], call.headers["anthropic-version"]) == (KEY, "2023-06-01")


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_spellings_of_base_url(fake: FakeAnthropic, http: Http, suffix: str) -> None:
    """With or without the version, with or without a slash at the end."""
    assert anthropic(fake, http, base_url=fake.url + suffix).offers().offers


@pytest.mark.parametrize("lines", [b'{"a":1}\n', b'{"a":1}\n{"a":2}\n', b'{"a":1}\n{"a":2}', b""])
def test_one_body_of_many_lines(tmp_path: Path, lines: bytes) -> None:
    """The body is one JSON object that holds every line once, in order, whether or not the last one is closed."""
    source, body = tmp_path / "lines", tmp_path / "body"
    source.write_bytes(lines)
    write_body(source, body)
    assert json.loads(body.read_bytes()) == {"requests": [json.loads(line) for line in lines.splitlines()]}
    assert body.stat().st_size <= len(lines) + 20


def test_a_body_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """A half-written body is taken away again."""
    with pytest.raises(OSError):
        write_body(tmp_path / "missing", tmp_path / "body")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", [None, says(400, "invalid_request_error"), says(429, "rate_limit_error")])
def test_the_body_goes_when_it_was_sent(
    fake: FakeAnthropic, provider: Anthropic, job: Job, script: Callable[[Handler], None] | None
) -> None:
    """It lies beside the shard, under a name that a sweep finds if the run is killed, until the one start."""
    assert job.file is not None
    upload = provider.stage(job)
    assert upload.marker == ""
    assert Path(upload.token).parent == job.file.parent
    assert Path(upload.token).name.startswith(".tmp-")
    assert fake.calls == []
    if script:
        fake.knobs.fail = {"create": [script]}
        with pytest.raises(ProviderError):
            provider.start(job, upload)
    else:
        provider.start(job, upload)
    assert list(job.file.parent.iterdir()) == [job.file]


# Start


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (says(400, "invalid_request_error"), Refused),
        (says(402, "billing_error"), Refused),
        (says(403, "permission_error"), Refused),
        (says(404, "not_found_error"), Refused),
        (says(413, "request_too_large"), Refused),
        (raw(400, b"<html>"), Refused),
        (says(429, "rate_limit_error"), Busy),
        (says(500, "api_error"), Unsure),
        (says(504, "timeout_error"), Unsure),
        (says(529, "overloaded_error"), Unsure),
        (says(408, "timeout_error"), Unsure),
        (raw(200, b"{}"), Unsure),
        (raw(200, b'{"id":""}'), Unsure),
        (raw(200, b"[]"), Unsure),
        (raw(200, b"<html>"), Unsure),
        (Handler.cut, Unsure),
    ],
)
def test_outcomes_of_start(
    fake: FakeAnthropic, provider: Anthropic, job: Job, script: Callable[[Handler], None], kind: type[ProviderError]
) -> None:
    """A clear no is Refused, 429 is Busy, everything else, an overload too, is Unsure; the call is made once."""
    upload = provider.stage(job)
    fake.knobs.fail = {"create": [script]}
    with pytest.raises(ProviderError) as caught:
        provider.start(job, upload)
    assert type(caught.value) is kind
    assert fake.names() == ["create"]
    assert fake.batches == {}


def test_a_start_whose_answer_was_lost(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """The batch exists, the provider says that it does not know, and finds it."""
    fake.knobs.lose = {"create": 1}
    with pytest.raises(Unsure):
        started(provider, job)
    assert fake.names() == ["create"]
    assert provider.find(job) == Found(*fake.batches)


def test_nobody_listens(http: Http, provider: Anthropic, job: Job) -> None:
    """Nothing was made where nobody listens: that is Busy."""
    gone = FakeAnthropic()
    gone.close()
    upload = provider.stage(job)
    with pytest.raises(Busy):
        anthropic(gone, http).start(job, upload)


def test_too_large_a_batch_says_what_to_set(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """413 hints at max_bytes."""
    fake.knobs.fail = {"create": [says(413, "request_too_large")]}
    with pytest.raises(Refused) as caught:
        started(provider, job)
    assert (caught.value.word, "max_bytes of provider claude" in caught.value.hint) == ("request_too_large", True)


def test_a_refused_key(fake: FakeAnthropic, http: Http) -> None:
    """It exits with 4, says which setting, and does not repeat the key that the answer repeats."""
    wrong = "sk-ant-wrong-key-9876543210"
    with pytest.raises(Refused) as caught:
        anthropic(fake, http, api_key=lambda: wrong).offers()
    assert (caught.value.credentials, caught.value.exit_code) == (True, 4)
    assert "api_key of provider claude" in caught.value.hint
    assert wrong not in repr(caught.value) + caught.value.hint
    assert caught.value.word == "authentication_error"


def test_a_429_names_its_pause(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """The seconds of `retry-after` are handed on."""
    fake.knobs.fail = {"create": [says(429, "rate_limit_error", **{"retry-after": "17"})]}
    with pytest.raises(Busy) as caught:
        started(provider, job)
    assert caught.value.retry_after == 17


# Find


LONG_AGO = "2026-01-01T00:00:00Z"
JUST_BEFORE = "2026-01-02T03:00:00Z"
AFTER = "2026-01-02T04:00:00Z"
LATER = "2026-01-02T05:05:00Z"
"""More than two hours after the start was begun."""


def test_nothing_is_there(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """Batches from before, of other sizes, and those known to be others are none of ours."""
    assert provider.find(job) == Absent()
    fake.add(3, LONG_AGO)
    fake.add(3, LATER)
    fake.add(3, "2026-01-05T09:00:00Z")
    fake.add(4)
    other = fake.add(3)
    assert provider.find(replace(job, taken=frozenset({other}))) == Absent()


@pytest.mark.parametrize("created_at", [NOW, JUST_BEFORE, AFTER])
def test_the_only_one_is_found(fake: FakeAnthropic, provider: Anthropic, job: Job, created_at: str) -> None:
    """One batch of as many requests in the two hours since the start, or up to five minutes before by a clock that
    differs."""
    fake.add(3, LONG_AGO)
    fake.add(3, LATER)
    id = fake.add(3, created_at)
    fake.add(30, AFTER)
    assert provider.find(job) == Found(id)


def test_counts_of_an_ended_batch_add_up(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """A batch that has ended meanwhile is found all the same."""
    id = fake.add(3)
    fake.end(id, succeeded=1, errored=1, canceled=1)
    assert provider.find(job) == Found(id)


def reason(finding: object) -> str:
    assert isinstance(finding, Unknown)
    return finding.reason


def test_what_could_be_another_is_left_to_a_person(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """Two candidates, or one beside a rival start: they are named, and the command that settles it."""
    one = fake.add(3)
    assert one in reason(provider.find(replace(job, rivals=1)))
    two = fake.add(3)
    told = reason(provider.find(job))
    for piece in (one, two, "runner state adopt t-1"):
        assert piece in told
    assert provider.find(replace(job, taken=frozenset({one}))) == Found(two)


OURS, THEIRS = ["aa" * 16, "ab" * 16, "ac" * 16], ["ba" * 16, "bb" * 16, "bc" * 16]


@pytest.fixture
def known(job: Job) -> Job:
    """The job, with the identities of its three requests."""
    return replace(job, identities=bytes.fromhex("".join(OURS)))


def test_what_has_ended_tells_whose_it_is(fake: FakeAnthropic, provider: Anthropic, known: Job) -> None:
    """Of several batches of a size, results say which is ours, however many rival starts there are."""
    going_on, theirs, ours = fake.add(3), fake.add(3), fake.add(3)
    fake.end(theirs, ids=THEIRS, succeeded=3)
    assert going_on in reason(provider.find(replace(known, rivals=1)))
    fake.end(ours, ids=OURS[::-1], succeeded=1, expired=2)
    assert provider.find(replace(known, rivals=1)) == Found(ours)


def test_somebody_elses_results_are_an_absence(fake: FakeAnthropic, provider: Anthropic, known: Job) -> None:
    """The only batch of that size has other requests: ours was never made."""
    fake.end(fake.add(3), ids=THEIRS, succeeded=3)
    assert provider.find(known) == Absent()


def test_our_requests_twice_are_left_to_a_person(fake: FakeAnthropic, provider: Anthropic, known: Job) -> None:
    """Two batches with the same requests, of which only one can be this start's."""
    for id in (fake.add(3), fake.add(3)):
        fake.end(id, ids=OURS, succeeded=3)
    assert "msgbatch_1" in reason(provider.find(known))


@pytest.mark.parametrize(
    "output", [b"", b"<html>\n", b'{"custom_id":7}\n', b'{"custom_id":"\xff"}\n', b'{"custom_id":"zz"}']
)
def test_results_that_tell_nothing(fake: FakeAnthropic, provider: Anthropic, known: Job, output: bytes) -> None:
    """No page in place of results is taken for a word on whose they are."""
    one = fake.add(3)
    fake.end(one, ids=OURS, succeeded=3)
    fake.outputs[one] = output
    assert provider.find(replace(known, rivals=1)) != Found(one)


def test_results_that_cannot_be_had_tell_nothing(fake: FakeAnthropic, provider: Anthropic, known: Job) -> None:
    """Refused or archived: as before, by its size."""
    one = fake.add(3)
    fake.end(one, ids=THEIRS, succeeded=3)
    fake.knobs.fail = {"results": [says(404, "not_found_error")] * 9}
    assert provider.find(known) == Found(one)
    fake.knobs.batch = {"archived_at": NOW}
    assert provider.find(known) == Found(one)


@pytest.mark.parametrize("batch", [{"request_counts": None}, {"created_at": None}, {"created_at": "absent"}])
def test_what_says_too_little_is_left_to_a_person(
    fake: FakeAnthropic, provider: Anthropic, job: Job, batch: Any
) -> None:
    """A batch without counts, or without a time, may be ours: neither found nor absent."""
    id = fake.add(3)
    fake.knobs.batch = batch
    assert id in reason(provider.find(job))


def test_pages_back_to_the_start(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """The list is read page by page until it is older than the start, and no further."""
    for _ in range(4):
        fake.add(9, LONG_AGO)
    id = fake.add(3)
    for _ in range(3):
        fake.add(7, AFTER)
    fake.knobs.page = 2
    assert provider.find(job) == Found(id)
    queries = [call.query for call in fake.requests("list")]
    assert [query.get("after_id") for query in queries] == [None, "msgbatch_7", "msgbatch_5"]
    assert {query["limit"] for query in queries} == {"1000"}


def test_another_order_is_read_to_its_end(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """Nothing promises the newest first: an old batch ends the search only where all before it were newer."""
    fake.knobs.oldest_first, fake.knobs.page = True, 1
    fake.add(9, JUST_BEFORE)
    fake.add(9, AFTER)
    fake.add(9, LONG_AGO)
    id = fake.add(3)
    assert provider.find(job) == Found(id)


def test_a_list_in_a_circle_proves_nothing(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """A list that never ends is no proof of absence, nor that the one found is the only one."""
    fake.add(9)
    fake.knobs.circle = True
    assert "does not reach back" in reason(provider.find(job))
    id = fake.add(3)
    assert reason(provider.find(job)).count(id) == 1


def test_a_list_that_does_not_say_where_it_ends(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """A page shorter than asked for is the last one where nothing says otherwise."""
    fake.knobs.ends = False
    assert provider.find(job) == Absent()
    id = fake.add(3)
    assert provider.find(job) == Found(id)
    assert fake.names() == ["list", "list"]


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"data":null}', b"<html>"])
def test_no_list_is_no_absence(fake: FakeAnthropic, provider: Anthropic, job: Job, body: bytes) -> None:
    """An answer of another shape settles nothing."""
    fake.knobs.fail = {"list": [raw(200, body)] * 4}
    with pytest.raises(Unsure):
        provider.find(job)


# Check, verify, cancel


def test_check_tells_why_all_failed(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """A batch of which every request came to an error has failed, and says so."""
    job = started(provider, job)
    fake.end(job.remote_id, errored=3)
    progress = provider.check(job)
    assert (progress.phase, progress.error) == (Phase.FAILED, "all 3 requests came to an error")


def test_the_end_of_processing_is_not_the_end_of_the_results(
    fake: FakeAnthropic, provider: Anthropic, job: Job
) -> None:
    """`expires_at` is when unanswered requests expire; how long results are kept is not told."""
    job = started(provider, job)
    fake.end(job.remote_id, succeeded=3)
    assert provider.check(job).expires_at == ""


@pytest.mark.parametrize(
    ("headers", "pause"),
    [({"retry-after": "10"}, 10), ({"retry-after-ms": "1500"}, 1.5), ({"retry-after": "99999"}, 300), ({}, 0)],
)
def test_a_wished_pause_is_told(
    fake: FakeAnthropic, provider: Anthropic, job: Job, headers: dict[str, str], pause: float
) -> None:
    """`retry-after` beside a success says when to look again; no server can put that off for hours."""
    job = started(provider, job)
    fake.knobs.headers = headers
    assert provider.check(job).look_again == pause
    fake.end(job.remote_id, succeeded=3)
    assert provider.check(job).look_again == 0


def test_check_is_patient(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """Looking is free, so a failing look is repeated; a batch that is not there is not lost, but another key's."""
    job = started(provider, job)
    fake.knobs.fail = {"detail": [says(500, "api_error"), says(529, "overloaded_error"), Handler.cut]}
    assert provider.check(job).phase is Phase.RUNNING
    with pytest.raises(Refused) as caught:
        provider.check(replace(job, remote_id="msgbatch_99"))
    assert "key of the workspace" in caught.value.message


def test_verify(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """A batch may be adopted when its size and its age do not contradict; each contradiction is named."""
    provider.verify(job, fake.add(3))
    provider.verify(job, fake.add(3, JUST_BEFORE))
    provider.verify(job, fake.add(3, "soon", request_counts=None))
    with pytest.raises(Refused) as caught:
        provider.verify(job, fake.add(4, LONG_AGO))
    for piece in ("it has 4 requests, not 3", "made before this one began"):
        assert piece in caught.value.message
    with pytest.raises(Refused):
        provider.verify(job, "msgbatch_99")


def test_cancel(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """A running batch is asked to stop, and goes on until it has; one that has ended needs no stop."""
    job = started(provider, job)
    assert provider.cancel(job) is True
    progress = provider.check(job)
    assert (progress.phase, progress.raw) == (Phase.RUNNING, "canceling")
    fake.end(job.remote_id, succeeded=1, canceled=2)
    assert provider.check(job).phase is Phase.CANCELLED
    assert provider.cancel(job) is True
    assert collected(provider, job) == fake.output


def test_a_cancel_that_is_refused(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """Where the batch goes on, a refusal is not taken for a stop; nor is a refused key."""
    job = started(provider, job)
    for script in (says(400, "invalid_request_error"), says(403, "permission_error")):
        fake.knobs.fail = {"cancel": [script]}
        with pytest.raises(Refused):
            provider.cancel(job)


# Results


def test_results_that_are_lost(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """Archived results are gone: that is a clear no, which says so."""
    job = started(provider, job)
    fake.end(job.remote_id, succeeded=3)
    fake.knobs.batch = {"archived_at": "2026-02-01T00:00:00Z"}
    assert provider.check(job).phase is Phase.SUCCEEDED
    with pytest.raises(Refused, match="lost: archived at 2026-02-01"):
        collected(provider, job)
    assert "results" not in fake.names()


@pytest.mark.parametrize("counts", [{"succeeded": 3}, {"errored": 3}])
def test_results_without_an_address(fake: FakeAnthropic, provider: Anthropic, job: Job, counts: Any) -> None:
    """Where answers or errors were made, a missing address is never taken for an empty result."""
    job = started(provider, job)
    with pytest.raises(Busy):
        collected(provider, job)
    fake.end(job.remote_id, **counts)
    fake.knobs.batch = {"results_url": None}
    with pytest.raises(Busy):
        collected(provider, job)


def test_a_batch_that_ended_without_results(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """Nothing was asked, so that nothing is handed over."""
    job = started(provider, job)
    fake.end(job.remote_id, canceled=2, expired=1)
    fake.knobs.batch = {"results_url": None}
    assert collected(provider, job) == b""


@pytest.mark.parametrize("counts", [None, {}, COUNTS])
def test_an_ended_batch_that_says_nothing(fake: FakeAnthropic, provider: Anthropic, job: Job, counts: Any) -> None:
    """Without counts and without an address, nothing is known of the answers, least of all that there are none."""
    job = started(provider, job)
    fake.end(job.remote_id, succeeded=3)
    fake.knobs.batch = {"request_counts": counts, "results_url": None}
    with pytest.raises(Busy):
        collected(provider, job)
    fake.knobs.batch = {"request_counts": counts}
    assert collected(provider, job) == fake.output


def to_the_end_of_the_connection(handler: Handler) -> None:
    """The way of HTTP/1.0: nothing says how long the answer is, or that it was cut."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(b"".join(handler.server.output.splitlines(keepends=True)[:2]))
    handler.close_connection = True


@pytest.mark.parametrize("counts", [{"succeeded": 3}, {"errored": 3}, {"succeeded": 1, "expired": 2}])
def test_a_stream_that_ends_early(fake: FakeAnthropic, provider: Anthropic, job: Job, counts: Any) -> None:
    """F46: every request has a line, whatever came of it; as long as some are missing, nothing is collected."""
    job = replace(started(provider, job), ended_at=time.time())
    fake.end(job.remote_id, **counts)
    fake.knobs.fail = {"results": [to_the_end_of_the_connection, raw(200, b"")]}
    with pytest.raises(Unsure, match="2 lines for 3 requests"):
        collected(provider, job)
    with pytest.raises(Busy):
        collected(provider, job)
    assert collected(provider, job) == fake.output


def test_a_count_is_not_believed_for_ever(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """A quarter of an hour after the end, the answers that are here do not wait for lines that may not exist; that
    there is none at all is never believed."""
    job = replace(started(provider, job), ended_at=time.time() - 901)
    fake.end(job.remote_id, succeeded=3)
    fake.knobs.fail = {"results": [to_the_end_of_the_connection, raw(200, b"")]}
    assert collected(provider, job).count(b"\n") == 2
    with pytest.raises(Busy):
        collected(provider, job)


def test_the_key_goes_to_the_api_only(fake: FakeAnthropic, http: Http, provider: Anthropic, job: Job) -> None:
    """Results at another origin are fetched without the key."""
    job = started(provider, job)
    fake.end(job.remote_id, succeeded=3)
    fake.knobs.batch = {"results_url": fake.url.replace("127.0.0.1", "localhost") + "/elsewhere/out.jsonl?sig=x"}
    assert collected(provider, job) == fake.output
    (call,) = fake.requests("elsewhere")
    assert call.headers["x-api-key"] is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/x", "https://a.example", True),
        ("https://A.example:443/x", "https://a.example", True),
        ("http://a.example:80/x", "http://a.example", True),
        ("http://a.example/x", "https://a.example", False),
        ("https://a.example:8443/x", "https://a.example", False),
        ("https://a.example.evil.example/x", "https://a.example", False),
        ("https://a.example@evil.example/x", "https://a.example", False),
        ("/x", "https://a.example", False),
        ("https://[", "https://a.example", False),
        ("https://[", "https://[", False),
        ("https://a.example:99999/", "https://a.example", False),
    ],
)
def test_origins(one: str, other: str, same: bool) -> None:
    """Scheme, host and port, as the web has it."""
    assert same_origin(one, other) is same


def test_the_last_line_is_closed(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """A file without a newline at its end gets one; one that has it stays as it is."""
    job = started(provider, job)
    fake.end(job.remote_id, succeeded=2)
    for output, expected in ((b"a\nb", b"a\nb\n"), (b"a\nb\n", b"a\nb\n")):
        fake.output = output
        assert collected(provider, job) == expected


def test_a_cut_download_is_not_handed_over_twice(fake: FakeAnthropic, provider: Anthropic, job: Job) -> None:
    """Each byte of the results comes once."""
    job = started(provider, job)
    fake.end(job.remote_id, succeeded=3)
    fake.output = LINES * 1_000

    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(fake.output)))
        handler.end_headers()
        handler.wfile.write(fake.output[:50_000])
        handler.cut()

    fake.knobs.fail = {"results": [half, half]}
    assert collected(provider, job) == fake.output


# Offers, and building one


def test_offers(fake: FakeAnthropic, provider: Anthropic) -> None:
    """What the list tells of a model; one that takes no batches is left out, one that says nothing is not."""
    fake.knobs.models = [
        MODEL,
        {**MODEL, "id": "no-batches", "capabilities": {"batch": {"supported": False}}},
        {**MODEL, "id": "text-only", "lifecycle": "retired", "capabilities": {"image_input": {"supported": False}}},
        {"id": "bare", "created_at": "1970-01-01T00:00:00Z", "capabilities": None},
        "garbage",
        None,
        {},
    ]
    catalogue = provider.offers()
    assert not catalogue.complete  # aliases are not in it
    assert list(catalogue.offers) == [
        Offer(
            "claude-x-1",
            name="Claude X 1",
            family="opus",
            capabilities=frozenset({"batch", "image_input", "thinking"}),
            inputs=frozenset({"text", "image"}),
            thinking=True,
            context=200_000,
            max_input=200_000,
            max_output=64_000,
            released="2025-11-24",
        ),
        Offer(
            "text-only",
            name="Claude X 1",
            family="opus",
            inputs=frozenset({"text"}),
            context=200_000,
            max_input=200_000,
            max_output=64_000,
            released="2025-11-24",
            available=False,
        ),
        Offer("bare"),
    ]


def test_a_gateway_may_say_more(fake: FakeAnthropic, provider: Anthropic) -> None:
    """What a server adds in the words of other lists is kept: a price, a family, a context of its own."""
    added = {"vendor": "V", "family": "F", "max_model_len": 9, "price": {"input": 1, "output": 2, "currency": "USD"}}
    fake.knobs.models = [{**MODEL, **added}]
    (offer,) = provider.offers().offers
    assert (offer.vendor, offer.family, offer.context, offer.max_input) == ("V", "F", 9, 200_000)
    assert offer.price == Price(1, 2, "USD", upper_bound=True)


def test_all_pages_of_models(fake: FakeAnthropic, provider: Anthropic) -> None:
    """The list is read to its end."""
    fake.knobs.models = [{"id": f"m-{number}"} for number in range(5)]
    fake.knobs.page = 2
    assert [offer.id for offer in provider.offers().offers] == ["m-0", "m-1", "m-2", "m-3", "m-4"]
    assert [call.query.get("after_id") for call in fake.requests("models")] == [None, "m-1", "m-3"]


def never(*_: Any) -> Any:
    raise AssertionError("not to be called")


def test_a_provider_is_built_without_a_secret_or_a_network(http: Http) -> None:
    """The pure half needs neither; limits come from runner.yaml where it has them."""

    def made(**settings: Any) -> Any:
        config = ProviderConfig("claude", "anthropic", {"api_key": SecretRef(env="K"), **settings})
        return build(config, http=http, secret=never, simulator_url=never, folder=Path("nowhere"))

    provider = made()
    assert provider.encode(Offer("claude-x-1"), question(("user", "hi")))["model"] == "claude-x-1"
    assert (provider.traits.cancels, provider.traits.finds, provider.traits.grace) == (True, True, 900)
    assert provider.traits.shard == ShardLimits(100_000, 250_000_000)
    assert provider.notes == ()
    assert made(max_requests=10_000, max_bytes=5_000_000).traits.shard == ShardLimits(10_000, 5_000_000)


def test_a_batch_by_default_says_nothing() -> None:
    """What is not told is not known, rather than zero."""
    assert parse_batch({}) == Batch("", "")
    assert parse_batch({}).unanswered is None
