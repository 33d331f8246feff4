"""The `online` provider against an endpoint over real HTTP: what travels, what is asked again, and when it stops."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from builders import identity
from fakes import online as fake_online
from fakes.online import KEY, Ask, FakeOnline, Reply, as_json, busy, completion, delta, error, events, html, streamed
from hypothesis import given
from hypothesis import strategies as st

from runner.edge.http import Http
from runner.errors import CredentialsError, Refused, RunnerError
from runner.model import Offer
from runner.project import ProviderConfig, SecretRef
from runner.provider import Absent, Found, Job, Message, Part, Phase, Progress, Question
from runner.providers.listing import parse_listing
from runner.providers.online import asking
from runner.providers.online.door import Target
from runner.providers.online.provider import Online, header_of, url_of
from runner.registry import build
from runner.result import Result

CHAT, TEXT, LIST = "/v1/chat/completions", "/v1/completions", "/v1/models"
MODEL = Offer("m")


@pytest.fixture
def fake() -> Iterator[FakeOnline]:
    fake = FakeOnline()
    yield fake
    fake.close()


def ask(text: str) -> Question:
    return Question((Message("user", (Part("text", text),)),))


Make = Callable[..., Online]


@pytest.fixture
def make(fake: FakeOnline, tmp_path: Path) -> Iterator[Make]:
    """Builds providers from settings as runner.yaml says them, once they were read; puts them to rest at the end."""
    made: list[tuple[Online, Http]] = []

    def secret(ref: SecretRef) -> str:
        if ref.env != "GOOD":
            raise CredentialsError(f"{ref.env} is not set")
        return KEY

    def make_one(**settings: Any) -> Online:
        config = ProviderConfig("demo", "online", {"base_url": fake.url, **settings})
        http = Http()
        one = cast(Online, build(config, http=http, secret=secret, simulator_url=str, folder=tmp_path / "online"))
        made.append((one, http))
        return one

    yield make_one
    fake.close()
    for one, http in made:
        one.rest(0.0)
        http.close()


@dataclass
class Desk:
    """Tasks at a provider, given in and waited for."""

    online: Online
    folder: Path
    jobs: list[Job] = field(default_factory=list)

    def give(self, questions: Sequence[Question | str], task: str = "t-1", *, attempts: int = 3) -> Job:
        """Stage and start one task.  Its custom_ids count from 0 over all tasks."""
        given = [ask(question) if isinstance(question, str) else question for question in questions]
        before = sum(job.requests for job in self.jobs)
        lines = []
        for at, question in enumerate(given, start=before):
            frame = self.online.frame(question)
            body = json.dumps(self.online.encode(MODEL, question)).encode()
            lines.append(frame.before + identity(at).hex().encode() + frame.between + body + frame.after + b"\n")
        shard = self.folder / f"{task}.jsonl"
        shard.write_bytes(b"".join(lines))
        job = Job(task, task, "m", len(given), 600, file=shard, attempts=attempts, begun_at=time.time())
        assert self.online.start(job, self.online.stage(job)) == task
        self.jobs.append(job)
        return job

    def work(self, until: Callable[[], bool] | None = None) -> list[Progress]:
        """Work on all of them until each has ended, or until ``until`` holds."""
        end = time.monotonic() + 30
        while True:
            self.online.work(self.jobs)
            progress = [self.online.check(job) for job in self.jobs]
            if until() if until else all(one.phase.ended for one in progress):
                return progress
            assert time.monotonic() < end, progress
            time.sleep(0.01)

    def results(self, job: Job | None = None) -> list[Result]:
        """What was answered, in the order of the questions."""
        data = bytearray()
        for one in [job] if job else self.jobs:
            self.online.results(one, data.extend)
        order = {identity(at).hex(): at for at in range(sum(one.requests for one in self.jobs))}
        return sorted(map(self.online.decode, bytes(data).splitlines()), key=lambda result: order[result.request])


Open = Callable[..., Desk]


@pytest.fixture
def desk(make: Make, tmp_path: Path) -> Open:
    return lambda **settings: Desk(make(**settings), tmp_path)


def answered(desk: Desk, questions: Sequence[Question | str], **more: Any) -> list[Result]:
    desk.give(questions, **more)
    desk.work()
    return desk.results()


def texts(results: Iterable[Result]) -> list[str | None]:
    return [result.text for result in results]


def failures(results: Iterable[Result]) -> list[tuple[str, bool, bool]]:
    """Code, retryable, exhausted."""
    return [(one.failure.code, one.failure.retryable, one.exhausted) for one in results if one.failure]


# ---- where it is and who asks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "chat", "models"),
    [
        ("http://h", "http://h/v1/chat/completions", "http://h/v1/models"),
        ("http://h/", "http://h/v1/chat/completions", "http://h/v1/models"),
        ("http://h/v1", "http://h/v1/chat/completions", "http://h/v1/models"),
        ("http://h/v1/", "http://h/v1/chat/completions", "http://h/v1/models"),
        ("http://h/api/paas/v4", "http://h/api/paas/v4/chat/completions", "http://h/api/paas/v4/models"),
        ("http://h/v1beta/openai", "http://h/v1beta/openai/chat/completions", "http://h/v1beta/openai/models"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions", "http://h/v1/models"),
        ("http://h/v1/chat/completions/", "http://h/v1/chat/completions", "http://h/v1/models"),
        ("http://h/chat/completions", "http://h/chat/completions", "http://h/models"),
        ("http://h/v1/completions", "http://h/v1/chat/completions", "http://h/v1/models"),
        ("http://h/v1/embeddings", "http://h/v1/chat/completions", "http://h/v1/models"),
        ("http://h/gateway", "http://h/gateway/v1/chat/completions", "http://h/gateway/v1/models"),
        ("http://h/v1beta", "http://h/v1beta/chat/completions", "http://h/v1beta/models"),
        ("http://h/v1/openai", "http://h/v1/openai/chat/completions", "http://h/v1/openai/models"),
        ("http://h/v2/svc-1", "http://h/v2/svc-1/v1/chat/completions", "http://h/v2/svc-1/v1/models"),
        ("http://h/api/v1/task-7/", "http://h/api/v1/task-7/v1/chat/completions", "http://h/api/v1/task-7/v1/models"),
        ("http://h/openai", "http://h/openai/v1/chat/completions", "http://h/openai/v1/models"),
        ("http://v1", "http://v1/v1/chat/completions", "http://v1/v1/models"),
        ("http://[::1/v1", "http://[::1/v1/chat/completions", "http://[::1/v1/models"),
        ("http://h/v1?version=3", "http://h/v1/chat/completions?version=3", "http://h/v1/models?version=3"),
        ("http://v1.h/vision", "http://v1.h/vision/v1/chat/completions", "http://v1.h/vision/v1/models"),
    ],
)
def test_base_urls(base: str, chat: str, models: str) -> None:
    """With a version at the end or without, down to the very address of completions: people paste what they find."""
    target = Target(base)
    assert url_of(target, CHAT) == chat
    assert url_of(target, LIST) == models
    assert url_of(target, TEXT) == chat.replace("/chat", "")


@pytest.mark.parametrize(
    ("setting", "header"),
    [
        ("Authorization: Bearer", {"authorization": "Bearer k"}),
        ("Authorization", {"authorization": "k"}),
        ("apiKey", {"apikey": "k"}),
        ("X-Api-Key:", {"x-api-key": "k"}),
        ("Authorization: Token", {"authorization": "Token k"}),
    ],
)
def test_headers_that_carry_a_key(setting: str, header: dict[str, str]) -> None:
    """A header's name, and the word before the key where there is one."""
    assert header_of(setting, "k") == header


@pytest.mark.parametrize(
    ("settings", "header", "value"),
    [
        ({"api_key": SecretRef(env="GOOD")}, "authorization", f"Bearer {KEY}"),
        ({"api_key": SecretRef(env="GOOD"), "auth_header": "apiKey"}, "apikey", KEY),
        ({}, "authorization", None),
    ],
)
def test_the_key_travels(
    fake: FakeOnline, desk: Open, settings: dict[str, Any], header: str, value: str | None
) -> None:
    """With every question and with the list of models; without a key there is no header at all."""
    one = desk(**settings)
    answered(one, ["a"])
    one.online.offers()
    assert fake.asks[0].headers.get(header) == value
    assert fake.listings[0][1].get(header) == value
    assert fake.asks[0].headers["content-type"] == "application/json"


def test_a_key_that_is_nowhere(fake: FakeOnline, desk: Open) -> None:
    """A secret that cannot be had ends the asking with exit 4, before a question is sent."""
    one = desk(api_key=SecretRef(env="MISSING"))
    one.give(["a"])
    with pytest.raises(CredentialsError):
        one.work()
    assert not fake.asks


def test_without_a_base_url(make: Make) -> None:
    """The error says which key of runner.yaml is missing."""
    online = make(base_url=None)
    with pytest.raises(RunnerError, match="no base_url"):
        online.offers()


# ---- what travels --------------------------------------------------------------------------------------------------


def test_chat_text_and_images(fake: FakeOnline, desk: Open) -> None:
    """Messages go to chat completions, images among them as they are; a text goes to plain completions."""
    picture = Part("image", "data:image/png;base64,iVBORw0KGgo=")
    vision = Question((Message("system", (Part("text", "look"),)), Message("user", (Part("text", "what?"), picture))))
    one = desk()
    one.give([vision, ask("b")])
    one.give([Question(text="Once", parameters={"max_tokens": 3})], "t-2")
    one.work()
    assert texts(one.results()) == ["re: what?", "re: b", "re: Once"]
    by_question = {ask.question: ask for ask in fake.asks}
    assert by_question["what?"].path == CHAT
    assert by_question["what?"].body["messages"][1]["content"][1]["image_url"] == {"url": picture.value}
    assert by_question["Once"].path == TEXT
    assert by_question["Once"].body == {"max_tokens": 3, "prompt": "Once", "model": "m"}


@pytest.mark.parametrize("way", ["json_schema", "json_object", "tool", "prompt"])
def test_a_schema_in_every_way(fake: FakeOnline, desk: Open, way: str) -> None:
    """`schema_as` decides how the schema is told; what comes back is the text of the answer in each."""
    schema = {"type": "object", "required": ["n"]}
    call = {"id": "c", "type": "function", "function": {"name": "answer", "arguments": '{"n": 1}'}}
    by_tool = completion(None, tool_calls=[call])
    fake.on_ask = lambda _: as_json(by_tool if way == "tool" else completion('{"n": 1}'))
    question = Question((Message("user", (Part("text", "count"),)),), schema=schema)
    assert texts(answered(desk(schema_as=way), [question])) == ['{"n": 1}']
    body = fake.asks[0].body
    told = json.dumps(body["messages"])
    expected = {
        "json_schema": body.get("response_format", {}).get("json_schema", {}).get("schema") == schema,
        "json_object": body.get("response_format") == {"type": "json_object"} and "required" in told,
        "tool": body.get("tools", [{"function": {}}])[0]["function"].get("parameters") == schema,
        "prompt": "required" in told and not body.keys() & {"response_format", "tools"},
    }
    assert expected[way]


def test_the_connections_are_kept_and_bounded(fake: FakeOnline, desk: Open) -> None:
    """`concurrency` at once, and never more."""
    fake.pause = 0.02
    results = answered(desk(concurrency=5), [f"q{at}" for at in range(60)])
    assert texts(results) == [f"re: q{at}" for at in range(60)]
    assert fake.most == 5
    assert not fake.twice()


# ---- streams -------------------------------------------------------------------------------------------------------


def by_byte(ask: Ask) -> Reply:
    stream = events(delta("Grü"), delta("ße"), delta(finish="stop"), fake_online.USAGE_CHUNK, end=b"\r\n")
    return streamed(*(stream[at : at + 1] for at in range(len(stream))))


def test_streams(fake: FakeOnline, desk: Open) -> None:
    """Both kinds of completion are asked for as streams, with their usage, and come out as if they were none."""
    one = desk(stream=True)
    one.give(["a", "b"])
    one.give([Question(text="c")], "t-2")
    one.work()
    results = one.results()
    assert texts(results) == ["re: a", "re: b", "re: c"]
    assert [result.usage.output_tokens for result in results] == [3, 3, 3]
    assert all(ask.body["stream"] and ask.body["stream_options"] == {"include_usage": True} for ask in fake.asks)


def test_a_stream_in_single_bytes(fake: FakeOnline, desk: Open) -> None:
    """Packets that end inside a character or a line end."""
    fake.on_ask = by_byte
    assert texts(answered(desk(stream=True), ["a"])) == ["Grüße"]


def test_a_server_that_does_not_stream(fake: FakeOnline, desk: Open) -> None:
    """It ignores `stream` and answers in one piece."""
    fake.on_ask = lambda ask: as_json(completion(f"whole {ask.question}"))
    assert texts(answered(desk(stream=True), ["a"])) == ["whole a"]


HALF = events(delta("half "), done=False)


@pytest.mark.parametrize(
    "first",
    [
        streamed(HALF),
        streamed(HALF, cut=True),
        streamed(HALF, events({"error": {"message": "out of memory", "type": "server_error"}})),
        streamed(HALF, b'data: {"choices": [{"del\n\n', events(delta("end", finish="stop"))),
        streamed(),
        busy(),
        html(),
        error(500),
    ],
)
def test_a_stream_that_failed_is_asked_again(fake: FakeOnline, desk: Open, first: Reply) -> None:
    """Cut, garbled, or broken off by an error: half an answer is none."""
    fake.on_ask = lambda ask: first if ask.nth == 1 else None
    assert texts(answered(desk(stream=True), ["a"])) == ["re: a"]
    assert fake.asked == {"a": 2}


WHOLE = events(delta("whole"), delta(finish="stop"), done=False)
DONE = events(fake_online.USAGE_CHUNK)


@pytest.mark.parametrize(
    "reply",
    [
        streamed(WHOLE, DONE, cut=True),
        streamed(WHOLE + DONE, cut=True),
        streamed(WHOLE, DONE, hold=True),
        streamed(events(delta("whole")), hold=True),
        streamed(WHOLE, DONE, events({"error": {"message": "too late"}}), cut=True),
        streamed(WHOLE, cut=True),
        streamed(WHOLE, DONE[:9], cut=True),
        streamed(WHOLE, hold=True),
    ],
)
def test_a_whole_stream_that_ends_untidily(fake: FakeOnline, desk: Open, reply: Reply) -> None:
    """What was said whole is not asked, and paid, again, whatever becomes of the line afterwards.

    After `[DONE]` nobody waits for its end; without one, for as long as a stream may be silent.
    """
    fake.on_ask = lambda _: reply
    patience = {} if b"[DONE]" in b"".join(reply.chunks or ()) else {"timeout": 1}
    assert texts(answered(desk(stream=True, **patience), ["a"])) == ["whole"]
    assert fake.asked == {"a": 1}


def test_lines_of_streams_are_kept(fake: FakeOnline, desk: Open) -> None:
    """One connection carries many streams, one after the other."""
    answered(desk(stream=True, concurrency=1), [f"q{at}" for at in range(20)])
    assert fake.opened == 1


# ---- another try ---------------------------------------------------------------------------------------------------


FLEETING = {
    "busy": busy(),
    "busy for a moment": busy(**{"retry-after": "0"}),
    "busy for milliseconds": busy(**{"retry-after-ms": "20"}),
    "used up": busy(**{"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}),
    "500": error(500),
    "503": error(503),
    "a page": html(),
    "a page of a gateway": html(502),
    "empty": as_json(completion(None)),
    "cut at once": Reply(cut=True),
    "cut in the middle": Reply(200, b'{"choices": []}', cut=True),
    "an error with 200": as_json({"error": {"message": "overloaded"}}),
}


@pytest.mark.parametrize("first", FLEETING.values(), ids=FLEETING)
def test_what_passes_is_asked_again(fake: FakeOnline, desk: Open, first: Reply) -> None:
    """The second asking is answered, and only the row that failed is asked twice."""
    fake.on_ask = lambda ask: first if (ask.question, ask.nth) == ("b", 1) else None
    assert texts(answered(desk(), ["a", "b", "c"])) == ["re: a", "re: b", "re: c"]
    assert fake.asked == {"a": 1, "b": 2, "c": 1}


LASTING = {
    "500": (error(500, "boom"), "boom"),
    "a page": (html(), "unreadable_answer"),
    "empty": (as_json(completion(None)), "empty_answer"),
    "cut": (Reply(cut=True), "no_answer"),
    "busy": (busy(), "rate_limit_exceeded"),
    "no code": (Reply(502, b""), "http_502"),
}


@pytest.mark.parametrize(("reply", "code"), LASTING.values(), ids=LASTING)
def test_what_lasts_fails_in_the_end(fake: FakeOnline, desk: Open, reply: Reply, code: str) -> None:
    """Asked `retry.attempts` times, no more and no less; then failed, exhausted, and for a person to retry."""
    fake.on_ask = lambda ask: reply if ask.question.startswith("bad") else None
    results = answered(desk(), ["bad 1", "bad 2", "good"], attempts=2)
    assert failures(results) == [(code, True, True)] * 2
    assert texts(results)[2] == "re: good"
    turned_away = reply.status == 429  # that counts only while nobody else is answered
    assert fake.asked["bad 1"] > 2 if turned_away else fake.asked["bad 1"] == 2
    assert fake.asked["good"] == 1


def test_one_bad_row_among_good_ones(fake: FakeOnline, desk: Open) -> None:
    """A 400 is that row's own: it is asked once, failed for good, and the others are answered."""
    fake.on_ask = lambda ask: error(400, "invalid_prompt", "too long") if ask.question == "b" else None
    results = answered(desk(), ["a", "b", "c"])
    assert failures(results) == [("invalid_prompt", False, False)]
    assert results[1].failure is not None
    assert results[1].failure.message == "too long"
    assert not fake.twice()


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_was_broken_off(fake: FakeOnline, desk: Open, stream: bool) -> None:
    """The server says by finish_reason that it gave up in the middle: half an answer is asked for again."""
    body = completion("half")
    body["choices"][0]["finish_reason"] = "abort"
    half = streamed(events(delta("half", finish="abort"))) if stream else as_json(body)
    fake.on_ask = lambda ask: half if ask.nth == 1 or ask.question == "b" else None
    results = answered(desk(stream=stream), ["a", "b"], attempts=2)
    assert texts(results) == ["re: a", "half"]
    assert failures(results) == [("interrupted", True, True)]


def test_answers_that_are_none_are_rows_own(fake: FakeOnline, desk: Open) -> None:
    """The endpoint does answer, and is perhaps paid for it: however many rows, each is asked so often, then failed."""
    fake.on_ask = lambda _: as_json(completion(None))
    results = answered(desk(concurrency=8), [f"q{at}" for at in range(50)], attempts=2)
    assert failures(results) == [("empty_answer", True, True)] * 50
    assert set(fake.asked.values()) == {2}


def test_a_page_for_people_is_no_endpoint(fake: FakeOnline, desk: Open) -> None:
    """A login page in answer to everything: the rest is not asked, and no row is failed for it."""
    fake.on_ask = lambda _: html()
    one = desk(concurrency=8)
    job = one.give([f"q{at}" for at in range(50)], attempts=1)
    stopped(one, match="all came to nothing: the answer is not JSON")
    assert one.online.check(job).failed == 0


def test_a_wish_to_be_left_alone(fake: FakeOnline, desk: Open) -> None:
    """Retry-After while nobody is answered: no other row is asked either."""
    fake.on_ask = lambda _: busy(**{"retry-after": "30"})
    one = desk(concurrency=4)
    one.give([f"q{at}" for at in range(40)])
    one.work(until=lambda: len(fake.asks) >= 4)
    time.sleep(0.3)
    one.online.rest(0.1)
    assert len(fake.asks) == 4


def test_a_wish_about_one_row(fake: FakeOnline, desk: Open) -> None:
    """Retry-After while others are answered holds that row back alone, even one for days."""
    fake.on_ask = lambda ask: busy(**{"retry-after": "999999"}) if ask.question == "q20" else None
    one = desk(concurrency=2)
    job = one.give([f"q{at}" for at in range(200)])
    one.work(until=lambda: one.online.check(job).succeeded == 199)
    one.online.rest(0.1)
    assert fake.asked["q20"] == 1


@pytest.mark.parametrize("stream", [False, True])
def test_silence_and_trickles(fake: FakeOnline, desk: Open, stream: bool) -> None:
    """Not a byte for `timeout`, or a byte now and then without an end: both are given up and asked again."""
    slow = {"silent": fake_online.silence(), "trickle": streamed(*[b" "] * 500, pause=0.1)}
    fake.on_ask = lambda ask: slow.get(ask.question) if ask.nth == 1 else None
    assert texts(answered(desk(timeout=1, stream=stream), ["silent", "trickle", "a"])) == [
        "re: silent",
        "re: trickle",
        "re: a",
    ]
    assert fake.asked == {"silent": 2, "trickle": 2, "a": 1}


def test_one_in_ten_is_turned_away(fake: FakeOnline, desk: Open) -> None:
    """A gateway that answers 429 to every tenth call: every row is answered, none is failed for it."""
    fake.on_ask = lambda ask: busy() if ask.number % 10 == 0 else None
    results = answered(desk(concurrency=32), [f"q{at}" for at in range(400)], attempts=2)
    assert texts(results) == [f"re: q{at}" for at in range(400)]
    assert sum(fake.asked.values()) == len(fake.asks) < 500


# ---- when it stops -------------------------------------------------------------------------------------------------


def stopped(desk: Desk, *, match: str) -> RunnerError:
    """Asking has to stop with an error; then nothing is asked any more."""
    with pytest.raises(RunnerError, match=match) as caught:
        desk.work()
    assert not isinstance(caught.value, Refused) or caught.value.credentials
    desk.online.rest(1.0)
    return caught.value


STOPS = {
    "a refused key": (error(401, "invalid_api_key", f"not good: {KEY}"), 4, "not good"),
    "no right": (error(403, "forbidden"), 4, "so it is"),
    "no such model": (error(404, "model_not_found", "no model m"), 1, "no model m"),
    "no such method": (html(405), 1, "405"),
    "elsewhere": (Reply(302, headers={"location": "http://x/login"}), 1, "302"),
    "no credit": (error(402, "", "pay"), 1, "no credit.*pay"),
    "no quota": (error(429, "insufficient_quota", "pay"), 1, "no credit.*pay"),
}


@pytest.mark.parametrize(("reply", "exit_code", "words"), STOPS.values(), ids=STOPS)
def test_what_is_about_the_endpoint_ends_all(
    fake: FakeOnline, desk: Open, reply: Reply, exit_code: int, words: str
) -> None:
    """Nobody is answered here: that is seen after some rows at most, nothing is recorded, and no key is repeated."""
    fake.on_ask = lambda _: reply
    one = desk(api_key=SecretRef(env="GOOD"), concurrency=2)
    job = one.give([f"q{at}" for at in range(50)])
    found = stopped(one, match=words)
    assert found.exit_code == exit_code
    assert KEY not in found.message
    assert len(fake.asks) <= 22
    assert one.online.check(job).succeeded == one.online.check(job).failed == 0
    fake.on_ask = lambda _: None
    again = desk()
    again.jobs = one.jobs
    again.work()
    assert len(again.results()) == 50


@pytest.mark.parametrize(("status", "exit_code"), [(403, 4), (404, 1)])
def test_a_wrong_address_with_few_rows(fake: FakeOnline, desk: Open, status: int, exit_code: int) -> None:
    """All of a few rows are told no: it is the endpoint's no, and the error says what was asked, and what to do."""
    fake.on_ask = lambda ask: error(status, "nope") if ask.question != "b" else error(500)
    one = desk()
    job = one.give(["a", "b", "c"], attempts=1)
    found = stopped(one, match=f"answered {status}")
    assert found.exit_code == exit_code
    assert "base_url" in found.hint
    assert (f"POST {fake.url}/v1/chat/completions" in found.hint) == (status == 404)
    assert one.online.check(job).failed == 0
    assert fake.asked == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("status", [403, 404])
def test_a_no_to_the_very_first_row(fake: FakeOnline, desk: Open, status: int) -> None:
    """It may be about that row alone: others are asked before it is decided, one at a time if need be."""
    fake.on_ask = lambda ask: error(status, "moderation") if ask.question == "first" else None
    results = answered(desk(concurrency=1), ["first", "b", "c"])
    assert failures(results) == [("moderation", False, False)]
    assert texts(results)[1:] == ["re: b", "re: c"]
    assert not fake.twice()


def test_a_no_after_answers_of_an_earlier_task(fake: FakeOnline, desk: Open) -> None:
    """Tasks come one by one: what the endpoint answered before in this process speaks for it."""
    fake.on_ask = lambda ask: error(403, "moderation") if ask.question == "alone" else None
    one = desk()
    one.give(["a"])
    one.work()
    one.online.forget(one.jobs)
    one.jobs = []
    one.give(["alone"], "t-2")
    assert one.work()[0].failed == 1


@pytest.mark.parametrize("reply", [busy(), Reply(cut=True)], ids=["429", "cut"])
def test_an_endpoint_that_answers_nobody_is_not_asked_on(fake: FakeOnline, desk: Open, reply: Reply) -> None:
    """Twenty rows in a row came to nothing: the rest is not asked, and none of them is laid to its row."""
    fake.on_ask = lambda _: reply
    one = desk(concurrency=4)
    job = one.give([f"q{at}" for at in range(100)], attempts=1)
    stopped(one, match="all came to nothing")
    assert 20 <= len(fake.asks) <= 24
    assert one.online.check(job).failed == 0


def test_few_rows_are_believed(fake: FakeOnline, desk: Open) -> None:
    """All of a few rows fail: each was asked `retry.attempts` times, exactly, and is recorded as failed."""
    fake.on_ask = lambda _: busy()
    results = answered(desk(), ["a", "b", "c"], attempts=2)
    assert failures(results) == [("rate_limit_exceeded", True, True)] * 3
    assert fake.asked == {"a": 2, "b": 2, "c": 2}


def test_failures_before_the_first_answer_are_kept_back(fake: FakeOnline, desk: Open) -> None:
    """Some failures, and then an answer: they were rows' own, and are recorded."""
    fake.on_ask = lambda ask: error(500) if ask.number < 10 else None
    one = desk(concurrency=1)
    results = answered(one, [f"q{at}" for at in range(15)], attempts=1)
    assert len(failures(results)) == 9
    assert len(results) == 15


@pytest.mark.parametrize("status", [403, 404])
def test_a_no_to_one_row_where_others_are_answered(fake: FakeOnline, desk: Open, status: int) -> None:
    """An endpoint that answers has nothing against its address or key: the row has failed, even as the last one."""
    fake.on_ask = lambda ask: error(status, "moderation") if ask.question == "last" else None
    one = desk(concurrency=1)
    job = one.give(["a", "b", "last"])
    assert (one.work()[0].failed, failures(one.results())) == (1, [("moderation", False, False)])
    fake.on_ask = lambda ask: error(status, "moderation") if ask.question == "alone" else None
    again = desk(concurrency=1)
    again.give(["c", "alone"], "t-2")
    again.work(lambda: again.online.check(again.jobs[0]).succeeded == 1)
    again.online.rest(1.0)
    later = desk(concurrency=1)
    later.jobs = again.jobs
    assert later.work()[0].failed == 1
    assert one.online.check(job).phase is Phase.SUCCEEDED


def test_an_endpoint_that_vanishes(fake: FakeOnline, desk: Open) -> None:
    """Its model is gone half-way: the rest is not asked, and no row is failed for it."""
    fake.on_ask = lambda ask: error(404, "model_not_found") if ask.number > 5 else None
    one = desk(concurrency=1)
    job = one.give([f"q{at}" for at in range(100)])
    stopped(one, match="all came to nothing")
    assert len(fake.asks) < 40
    assert (one.online.check(job).succeeded, one.online.check(job).failed) == (5, 0)


def test_a_queue_that_lacks_requests(fake: FakeOnline, desk: Open) -> None:
    """Whoever shortened the file: it is said, and not waited for without end."""
    one = desk()
    job = one.give(["a", "b", "c"])
    (file,) = one.folder.rglob("requests.jsonl")
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(Refused, match=f"queue of task {job.task} is damaged"):
        one.work()


def test_nobody_listens_any_more(fake: FakeOnline, desk: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection for long it gives up; no question counts as asked for it, and none is failed."""
    monkeypatch.setattr(asking, "UNREACHABLE", (1.0, 1.0))
    one = desk(concurrency=4)
    job = one.give(["a", "b", "c"], attempts=1)
    fake.close()
    stopped(one, match="cannot connect")
    assert one.online.check(job).failed == 0
    fake.open()
    again = desk()
    again.jobs = one.jobs
    again.work()
    assert texts(again.results()) == ["re: a", "re: b", "re: c"]


def test_a_pause_in_the_middle(fake: FakeOnline, desk: Open) -> None:
    """It vanishes and comes back soon: it is asked on soon, too, as no refused connection counts as an overload."""
    one = desk(concurrency=8)
    one.give([f"q{at}" for at in range(40)], attempts=1)
    fake.close()
    one.online.work(one.jobs)
    time.sleep(0.5)
    fake.open()
    one.work()
    assert texts(one.results()) == [f"re: q{at}" for at in range(40)]
    assert not fake.twice()


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_all(fake: FakeOnline, desk: Open) -> None:
    """An answer that cannot be written does not count; what was written before stays, and the rest goes on later."""
    one = desk(concurrency=4)
    job = one.give([f"q{at}" for at in range(200)])
    with small_disk(20_000):
        stopped(one, match="cannot be written")
    kept = one.online.check(job).succeeded
    assert kept is not None
    assert 0 < kept < 200
    again = desk()
    again.jobs = one.jobs
    again.work()
    assert texts(again.results()) == [f"re: q{at}" for at in range(200)]
    assert len(fake.twice()) <= 4


# ---- several tasks, several processes ------------------------------------------------------------------------------


def test_tasks_in_their_order(fake: FakeOnline, desk: Open) -> None:
    """The oldest task is finished first, so that answers come home shard by shard."""
    one = desk(concurrency=1)
    for task in range(3):
        one.give([f"{task}-{at}" for at in range(10)], f"t-{task}")
    one.work()
    assert [ask.question for ask in fake.asks] == [f"{task}-{at}" for task in range(3) for at in range(10)]


def test_hundreds_of_tasks_with_few_files(fake: FakeOnline, desk: Open) -> None:
    """A process may have 1,024 files open, and a project more tasks than that."""
    one = desk()
    for task in range(140):
        one.give([f"q{task}"], f"t-{task:03}")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len([*Path("/proc/self/fd").iterdir()]) + 230, before[1]))
    try:
        one.work()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(one.results()) == 140
    assert not fake.twice()


def test_two_at_one_queue(fake: FakeOnline, desk: Open) -> None:
    """Only one of them asks; the other sees how far it is, and goes on when the first one rests."""
    fake.pause = 0.005
    first, second = desk(concurrency=2), desk(concurrency=2)
    first.give([f"q{at}" for at in range(60)])
    second.jobs = first.jobs
    first.work(until=lambda: len(fake.asks) > 10)
    second.work(until=lambda: len(fake.asks) > 30)
    first.online.rest(1.0)
    second.work()
    assert len(second.results()) == 60
    assert not fake.twice()


def test_resting_keeps_what_was_answered(fake: FakeOnline, desk: Open) -> None:
    """At rest nothing is asked; what is in flight too long is dropped, and only that is asked again."""
    fake.on_ask = lambda ask: fake_online.silence() if ask.question.startswith("slow") and ask.nth == 1 else None
    one = desk(concurrency=4)
    job = one.give(["a", "slow 1", "b", "slow 2", "c"])
    one.work(until=lambda: one.online.check(job).succeeded == 3)
    one.online.rest(0.1)
    assert one.online.check(job).phase == Phase.RUNNING
    again = desk(concurrency=4)
    again.jobs = one.jobs
    again.work()
    assert texts(again.results()) == ["re: a", "re: slow 1", "re: b", "re: slow 2", "re: c"]
    assert fake.twice() == {"slow 1": 2, "slow 2": 2}


def test_rest_at_any_moment(fake: FakeOnline, desk: Open, make: Make) -> None:
    """Told to rest while it is only just beginning, it does: nothing comes in afterwards, nothing is lost."""
    desk().give([f"q{at}" for at in range(300)])
    job = Job("t-1", "t-1", "m", 300, 600, begun_at=time.time())
    for pause in (0.0, 0.0, 0.001, 0.003, 0.01, 0.03, 0.1):
        online = make(concurrency=4)
        online.work([job])
        time.sleep(pause)
        online.rest(2.0)
        came = len(fake.asks)
        assert online.check(job).succeeded == came
    assert not fake.twice()


def test_a_stop_from_outside(fake: FakeOnline, desk: Open) -> None:
    """Cancelled by another process: asking ends soon, and what was answered stays."""
    fake.pause = 0.05
    one, other = desk(concurrency=2), desk()
    job = one.give([f"q{at}" for at in range(500)])
    one.work(until=lambda: len(fake.asks) > 4)
    assert other.online.cancel(job)
    progress = one.work()[0]
    assert progress.phase == Phase.CANCELLED
    assert progress.succeeded == len(one.results()) == len(fake.asks) < 500


def test_what_is_known_of_a_task(fake: FakeOnline, desk: Open) -> None:
    """A start is found by its queue; a task that was begun on another machine is not to be had here."""
    one = desk()
    job = one.give(["a"])
    stranger = Job("t-2", "t-2", "m", 1, 600)
    assert one.online.find(job) == Found("t-1")
    assert one.online.find(stranger) == Absent()
    one.online.verify(job, "t-1")
    for call in (
        lambda: one.online.verify(job, "t-2"),
        lambda: one.online.check(stranger),
        lambda: one.online.results(stranger, print),
    ):
        with pytest.raises(Refused, match="not on this machine"):
            call()
    one.online.forget([job])
    assert one.online.find(job) == Absent()


def test_an_echoed_key_is_not_repeated(fake: FakeOnline, desk: Open) -> None:
    """Endpoints that put the key into their complaint."""
    fake.on_ask = lambda _: error(400, "invalid", f"the key {KEY} may not ask that")
    (result,) = answered(desk(api_key=SecretRef(env="GOOD")), ["a"])
    assert result.failure is not None
    assert "may not ask that" in result.failure.message
    assert KEY not in result.failure.message


@pytest.mark.parametrize("status", [400, 404, 500, 200])
def test_an_echoed_key_is_nowhere_on_disk(fake: FakeOnline, desk: Open, status: int) -> None:
    """Complaints are written without it: a later run, with another key, could not tell that it is one."""
    told = {"code": "odd", "message": f"x-key {KEY} \u00e9\n", "more": [{KEY: f"Bearer {KEY}"}]}
    fake.on_ask = lambda ask: as_json({"error": told, "n": 1.50}, status) if ask.question == "bad" else None
    one = desk(api_key=SecretRef(env="GOOD"))
    results = answered(one, ["bad", f"good {KEY}"], attempts=1)
    data = bytearray()
    one.online.results(one.jobs[0], data.extend)
    bad, good = sorted(map(json.loads, data.splitlines()), key=lambda line: line["ok"])
    assert KEY not in json.dumps(bad)
    assert bad["response"]["body"]["error"]["message"] == "x-key [hidden] \u00e9\n"
    assert bad["response"]["body"]["n"] == 1.5
    assert good["response"]["body"]["choices"][0]["message"]["content"] == f"re: good {KEY}"
    assert texts(results)[1] == f"re: good {KEY}"


# ---- what it serves ------------------------------------------------------------------------------------------------


def test_a_list_is_complete(fake: FakeOnline, make: Make) -> None:
    """What `/v1/models` lists is what there is."""
    fake.models = as_json({"object": "list", "data": [{"id": "a"}, {"id": "b", "max_model_len": 4096}]})
    catalogue = make(base_url=f"{fake.url}/v1/").offers()
    assert catalogue.complete
    assert [(offer.id, offer.context) for offer in catalogue.offers] == [("a", None), ("b", 4096)]
    assert fake.listings[0][0] == LIST


@pytest.mark.parametrize(
    "reply",
    [
        *map(html, (200, 400, 403, 404, 405, 406, 410, 422, 501)),
        error(403, "missing_scope"),
        as_json({"object": "what?"}),
        as_json("no"),
        Reply(200),
    ],
)
def test_without_a_list(fake: FakeOnline, make: Make, reply: Reply) -> None:
    """No list, or a page in its place: nothing is known, and any model may be there."""
    fake.models = reply
    catalogue = make().offers()
    assert (catalogue.offers, catalogue.complete) == ((), False)


@pytest.mark.parametrize(("status", "exit_code"), [(401, 4), (302, 1), (409, 1)])
def test_a_list_that_is_refused(fake: FakeOnline, make: Make, status: int, exit_code: int) -> None:
    """A refused key is a refused key here, too."""
    fake.models = error(status)
    with pytest.raises(Refused) as caught:
        make(api_key=SecretRef(env="GOOD")).offers()
    assert caught.value.exit_code == exit_code


@pytest.mark.parametrize("url", ["http://[::1/v1", "http://x..y/v1", "http://127.0.0.1:abc", "http://127.0.0.1:99999"])
def test_a_mistyped_base_url(desk: Open, url: str) -> None:
    """A clear no, for the list and for a question."""
    one = desk(base_url=url)
    with pytest.raises(Refused, match="not a URL"):
        one.online.offers()
    one.give(["a"])
    stopped(one, match="not a URL")


def test_models_as_gateways_describe_them() -> None:
    """Context, prices and dates in the spellings in use, per 1,000 tokens each."""
    listing = [
        {"id": "v", "created": 1_700_000_000, "owned_by": "vllm", "max_model_len": 32_768},
        {"id": "r", "context_length": "131072", "pricing": {"prompt": "0.0000007", "completion": "0.0000028"}},
        {"id": "s", "family": "Qwen3", "price": {"input": 0.1, "output": 0.2, "currency": "CNY"}, "tags": ["batch", 1]},
        {"model": "n", "pricing": {"prompt": "-1", "completion": "-1"}, "created_at": "2025-04-29T10:00:00Z"},
        {"object": "nothing"},
        "text",
    ]
    found = parse_listing({"data": listing})
    assert found is not None
    v, r, s, n = found
    assert (v.context, v.vendor, v.released) == (32_768, "vllm", "2023-11-14")
    assert r.context == 131_072
    assert r.price is not None
    assert (r.price.input, r.price.output, r.price.currency) == (0.0007, 0.0028, "USD")
    assert s.price is not None
    assert (s.family, s.price.output, s.tags) == ("Qwen3", 0.2, {"batch", "1"})
    assert (n.id, n.price, n.released) == ("n", None, "2025-04-29")
    assert parse_listing(listing) == parse_listing({"models": listing}) == found


KEYS = st.sampled_from(
    [
        *("data", "models", "id", "name", "price", "pricing", "input", "output", "currency", "prompt", "completion"),
        *("created", "tags", "context_length", "max_output_tokens", "owned_by", "input_modalities"),
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=12,
)


@given(ANYTHING)
def test_any_listing(answer: Any) -> None:
    """A list is untrusted: whatever its shape, it is read, or seen to be none."""
    found = parse_listing(answer)
    assert found is None or all(offer.id for offer in found)


@given(st.lists(st.dictionaries(KEYS, ANYTHING, max_size=8).map(lambda entry: {"id": "m", **entry}), max_size=3))
def test_any_entries(entries: list[Any]) -> None:
    """Every field of an entry may be anything, and its offer can be written down."""
    for offer in parse_listing({"data": entries}) or ():
        assert Offer.from_json(json.loads(json.dumps(offer.to_json()))).id == offer.id
