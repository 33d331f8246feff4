"""What mutated answers have brought to light in whole conversations with a provider, each as small as it could be."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzzing.recording import built, write_shard
from benchmarks.fuzzing.scripted import Answer, Call, Scripted, passed_on, scripted
from runner.errors import Refused, RunnerError, Unsure
from runner.provider import Absent, Found, Job, Provider, Unknown
from runner.providers.pauses import LONGEST_PAUSE
from runner.simulator.server import Simulator

NOW = time.time()
JOB = Job("t-1", "job-1", "mi-9", 2, 3_600, staged="file-1", remote_id="b-1", begun_at=NOW)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


Ask = Callable[..., Provider]


@pytest.fixture
def at(server: Scripted, tmp_path: Path) -> Iterator[Ask]:
    """A provider at a server that answers everything with one value."""
    made: list[Any] = []

    def ask(place: str, value: Any, **headers: str) -> Provider:
        body = json.dumps(value).encode()
        server.answer = lambda _: Answer(200, tuple(headers.items()), body)
        made.append(built(place, server.url, tmp_path / place))
        return made[-1]  # type: ignore[no-any-return]

    yield ask
    for provider in made:
        provider._http.close()


ENVELOPE = {"ResponseMeta": {"ErrorCode": ""}}
UPLOAD = {"fileToken": "t", "httpEndpoint": "@@HOST@@"}
STARTS: dict[str, Callable[[Any], Any]] = {
    "wanqing": lambda id: {
        **ENVELOPE,
        "ResponseData": {"id": id, "fileToken": "t", "httpEndpoint": "@@HOST@@"},
        "result": 1,
    },
    "openai-openai": lambda id: {"id": id, "object": "batch"},
    "anthropic": lambda id: {"id": id, "type": "message_batch"},
    "qianfan": lambda id: {"result": {"taskId": id}},
}


@pytest.mark.parametrize("place", STARTS)
@pytest.mark.parametrize("id", [None, float("nan"), 1e999, 0.5, True, {}, "a\0b", "x" * 20_000])
def test_a_start_whose_answer_holds_no_id(at: Ask, tmp_path: Path, place: str, id: Any) -> None:
    """Nobody knows whether it was made: neither a clear no, nor a task of that name."""
    provider = at(place, STARTS[place]("file-1"))
    job = Job("t-1", "job-1", "mi-9", 2, 3_600, write_shard(provider, tmp_path / "shard.jsonl", 2), begun_at=NOW)
    upload = provider.stage(job)
    at(place, STARTS[place](id))
    with pytest.raises(Unsure):
        provider.start(job, upload)
    upload = provider.stage(job) if place == "anthropic" else upload
    at(place, STARTS[place]("b-1"))
    assert provider.start(job, upload) == "b-1"


def of_wanqing(*entries: Any, total: Any) -> Any:
    return {**ENVELOPE, "ResponseData": {"list": list(entries), "total": total}}


@pytest.mark.parametrize("total", [1, None, 0.5, "?"])
@pytest.mark.parametrize("entry", [None, 7, {}, {"name": None}, {"name": float("nan")}, {"name": ""}])
def test_a_listed_task_without_a_name_may_be_ours(at: Ask, entry: Any, total: Any) -> None:
    assert isinstance(at("simulator", of_wanqing(entry, total=total)).find(JOB), Unknown)


def test_no_list_is_no_absence(at: Ask) -> None:
    """Nor is half a task."""
    page = of_wanqing(total=0)
    assert isinstance(at("simulator", page).find(JOB), Absent)
    assert isinstance(at("simulator", of_wanqing(total=0.5)).find(JOB), Unknown)
    page["ResponseData"]["list"] = {"a": 1}
    assert isinstance(at("simulator", page).find(JOB), Unknown)


@pytest.mark.parametrize("id", [None, "", 0.5, [], "a\0b"])
def test_a_listed_batch_without_an_id_may_be_ours(at: Ask, id: Any) -> None:
    """It is neither found nor absent."""
    counts = {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    batch = {
        "id": id,
        "processing_status": "in_progress",
        "request_counts": counts,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW)),
    }
    page = {"data": [batch], "has_more": False}
    assert isinstance(at("anthropic", page).find(JOB), Unknown)
    batch["id"] = "b-7"
    assert at("anthropic", page).find(JOB) == Found("b-7")


def test_an_empty_page_that_is_not_the_last(at: Ask) -> None:
    assert isinstance(at("anthropic", {"data": [], "has_more": True}).find(JOB), Unknown)
    assert isinstance(at("anthropic", {"data": [], "has_more": False}).find(JOB), Absent)


@pytest.mark.parametrize("task", [None, 7, {}, {"taskId": "x", "inputBosUri": 7, "description": None}])
def test_a_listed_task_that_says_nothing_may_be_ours(at: Ask, task: Any) -> None:
    def page(*tasks: Any) -> Any:
        return {"result": {"taskList": list(tasks), "pageInfo": {"isTruncated": False}}}

    other = {"taskId": "x", "inputBosUri": "bos:/b/other/in/", "description": "runner other"}
    assert isinstance(at("qianfan", page(other)).find(JOB), Absent)
    assert isinstance(at("qianfan", page(other, task)).find(JOB), Unknown)


SPOILT = (b"[1]", b"null", b"\xff", b"[" * 100_000, b'{"url": 7}', b'{"custom_id": "", "url": "http://[", "body": {}}')


@pytest.mark.parametrize("spoilt", SPOILT)
def test_questions_that_a_bad_disk_has_spoilt(at: Ask, tmp_path: Path, spoilt: bytes) -> None:
    """Their task says so, and the others of its endpoint are answered."""
    provider: Any = at("online", {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]})
    shard = write_shard(provider, tmp_path / "shard.jsonl", 2)
    jobs = [replace(JOB, task=task, remote_id=task, file=shard, attempts=1) for task in ("t-1", "t-2")]
    for job in jobs:
        provider.start(job, provider.stage(job))
    (file,) = tmp_path.rglob("t-1/requests.jsonl")
    file.write_bytes(spoilt + b"\n" + file.read_bytes())
    provider.work(jobs)
    ends = time.monotonic() + 30
    while not provider.check(jobs[1]).phase.ended and time.monotonic() < ends:
        time.sleep(0.01)
    try:
        with pytest.raises(Refused, match="queue of task t-1 is damaged"):
            provider.check(jobs[0])
        assert provider.check(jobs[1]).succeeded == 2
    finally:
        provider.rest(0.0)


@pytest.mark.parametrize("wish", ["Fri, 31 Dec 9999 23:59:59 GMT", "9" * 9, "5"])
@pytest.mark.parametrize("place", ["openai-openai", "anthropic"])
def test_a_platform_may_not_wish_for_years(at: Ask, place: str, wish: str) -> None:
    """Nobody can sleep so long, not even for the asking."""
    task = {"id": "b-1", "status": "in_progress", "processing_status": "in_progress"}
    found = at(place, task, **{"Retry-After": wish}).check(JOB)
    assert found.look_again == min(float(wish) if wish.isdigit() else LONGEST_PAUSE, LONGEST_PAUSE)


def test_the_simulator_is_asked_for_half_a_character(tmp_path: Path, server: Scripted) -> None:
    """It knows no such task, which is no bug in it."""
    heard: list[int] = []
    with Simulator(tmp_path / "simulator") as simulator:

        def answer(call: Call) -> Answer:
            found = passed_on(replace(call, body=b'{"taskId": "\\ud800"}'), simulator.url)
            heard.append(found.status)
            return found

        server.answer = answer
        provider: Any = built("qianfan", server.url, tmp_path)
        with pytest.raises(RunnerError):
            provider._task("half")
        provider._http.close()
    assert heard
    assert all(400 <= status < 500 for status in heard)
