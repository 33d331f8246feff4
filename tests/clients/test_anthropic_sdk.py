"""The official Anthropic client, which others wrote, talks to ``runner simulate`` and understands what it says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types.messages import MessageBatch
from helpers import Served, serving

MODEL = "mi-9"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("simulator")) as ready:
        yield ready


@pytest.fixture
def client(served: Served) -> Iterator[anthropic.Anthropic]:
    served.faults()
    with connect(served) as ready:
        yield ready


def connect(served: Served, key: str = "key-1", retries: int = 0) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=served.url, api_key=key, max_retries=retries, timeout=20)


def request(custom_id: str, text: str, **params: Any) -> Any:
    asked = {"model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": text}], **params}
    return {"custom_id": custom_id, "params": {key: value for key, value in asked.items() if value is not None}}


def create(client: anthropic.Anthropic, count: int = 3, *, about: str = "Question") -> MessageBatch:
    return client.messages.batches.create(requests=[request(f"row-{n}", f"{about} {n}?") for n in range(count)])


def ended(client: anthropic.Anthropic, batch: MessageBatch) -> MessageBatch:
    deadline = time.monotonic() + 20
    while (found := client.messages.batches.retrieve(batch.id)).processing_status != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def results(client: anthropic.Anthropic, batch: MessageBatch) -> dict[str, Any]:
    return {line.custom_id: line.result for line in client.messages.batches.results(batch.id)}


def test_a_batch_goes_from_requests_to_results(client: anthropic.Anthropic) -> None:
    """Create, poll, read: all requests processing at first, all succeeded at the end, each answered once."""
    batch = create(client, 5)
    assert batch.id.startswith("msgbatch_") and batch.results_url is None
    assert (batch.request_counts.processing, batch.request_counts.succeeded) == (5, 0)
    assert (batch.expires_at - batch.created_at).total_seconds() == 24 * 3600
    done = ended(client, batch)
    assert (done.request_counts.processing, done.request_counts.succeeded) == (0, 5) and done.ended_at
    found = results(client, done)
    assert list(found) == [f"row-{n}" for n in range(5)]
    message = found["row-3"].message
    assert "Question 3?" in message.content[0].text and message.stop_reason == "end_turn"
    assert message.model == MODEL and message.usage.input_tokens > 0 and message.usage.output_tokens > 0


def test_results_are_lines_of_json(served: Served, client: anthropic.Anthropic) -> None:
    """They lie at the URL that the batch names, whole or in ranges."""
    done = ended(client, create(client))
    assert done.results_url is not None and done.results_url.startswith(served.url)
    headers = {"x-api-key": "key-1", "anthropic-version": "2023-06-01"}
    reply = httpx.get(done.results_url, headers=headers)
    assert reply.headers["content-type"] == "application/x-jsonl" and len(reply.content.splitlines()) == 3
    assert httpx.get(done.results_url, headers={**headers, "Range": "bytes=5-9"}).content == reply.content[5:10]


def test_batches_are_listed_newest_first_both_ways(client: anthropic.Anthropic) -> None:
    """Pages by `after_id` and by `before_id`; the client's own paging finds each once."""
    made = [create(client, 1, about=f"List {n}").id for n in range(5)]
    assert [batch.id for batch in client.messages.batches.list(limit=2)][:5] == made[::-1]
    older = client.messages.batches.list(limit=2, after_id=made[4])
    assert [batch.id for batch in older.data] == [made[3], made[2]] and older.has_more
    newer = client.messages.batches.list(limit=2, before_id=made[1])
    assert [batch.id for batch in newer.data] == [made[3], made[2]] and newer.has_more


def test_a_cancelled_batch_keeps_what_was_done(served: Served, client: anthropic.Anthropic) -> None:
    """Half is answered and billed, half canceled; the counts add up; a second cancel changes nothing."""
    served.faults({"on": "task", "do": "never-end"})
    batch = create(client, 10)
    time.sleep(0.1)
    canceling = client.messages.batches.cancel(batch.id)
    assert canceling.processing_status == "canceling" and canceling.cancel_initiated_at
    assert canceling.request_counts.processing == 10
    done = ended(client, batch)
    assert (done.request_counts.succeeded, done.request_counts.canceled) == (5, 5)
    assert sorted(result.type for result in results(client, done).values()) == ["canceled"] * 5 + ["succeeded"] * 5
    assert client.messages.batches.cancel(batch.id) == done
    assert [task["billed"] for task in served.bill()["tasks"] if task["task"] == batch.id] == [5]


def test_an_ended_batch_can_be_deleted(served: Served, client: anthropic.Anthropic) -> None:
    """Not before its end; afterwards it is not found, and its bill stays."""
    served.faults({"on": "task", "do": "never-end", "times": 1})
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.delete(create(client).id)
    done = ended(client, create(client))
    assert client.messages.batches.delete(done.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(done.id)
    assert done.id in [task["task"] for task in served.bill()["tasks"]]


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [request("a b", "x")],
        [request("a" * 65, "x")],
        [request("a", "x"), request("a", "y")],
        [request("a", "x", model=None)],
        [request("a", "x"), request("b", "x", model="mi-1")],
    ],
)
def test_bad_requests_refuse_the_batch(client: anthropic.Anthropic, requests: Any) -> None:
    """An empty list, a bad or doubled custom_id, and no model are 400 with Anthropic's error body."""
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.batches.create(requests=requests)
    body: Any = caught.value.body
    assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error" and body["request_id"]


@pytest.mark.parametrize("params", [{"max_tokens": None}, {"max_tokens": 0}, {"messages": []}])
def test_bad_params_are_errors_of_their_row(client: anthropic.Anthropic, params: dict[str, Any]) -> None:
    """They are found only when the row is processed; the others are answered."""
    batch = client.messages.batches.create(requests=[request("bad", "x", **params), request("good", "x")])
    done = ended(client, batch)
    assert (done.request_counts.errored, done.request_counts.succeeded) == (1, 1)
    bad = results(client, done)["bad"]
    assert bad.type == "errored" and bad.error.error.type == "invalid_request_error"


def test_refusals_in_anthropics_words(served: Served, client: anthropic.Anthropic) -> None:
    """A bad key, a model that is not there, a batch that is not there, a missing version."""
    with connect(served, "invalid-1") as stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.models.list()
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.create(requests=[request("a", "x", model="mi-none")])
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve("msgbatch_none")
    reply = httpx.get(f"{served.url}/v1/messages/batches", headers={"x-api-key": "key-1"})
    assert reply.status_code == 400 and "anthropic-version" in reply.json()["error"]["message"]


def test_models_are_paged(client: anthropic.Anthropic) -> None:
    """The client's own paging finds every running model once, with what a selector asks for."""
    found = [model.id for model in client.models.list(limit=2)]
    assert len(found) == len(set(found)) > 4 and "mi-5" not in found
    one = client.models.retrieve(MODEL)
    assert one.display_name == "Qwen3-8B" and one.to_dict()["family"] == "Qwen3"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("mi-none")


SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["good", "bad"]}, "answer": {"type": "string"}},
    "required": ["verdict", "answer"],
}


def test_a_tool_is_called_with_what_its_schema_asks_for(client: anthropic.Anthropic) -> None:
    """A forced tool's input fits; a message asked alone gets the same as in a batch."""
    tool = {"name": "answer", "input_schema": SCHEMA}
    asked = request("r", "Judge it.", tools=[tool], tool_choice={"type": "tool", "name": "answer"})
    found = results(client, ended(client, client.messages.batches.create(requests=[asked])))["r"].message
    assert found.stop_reason == "tool_use" and found.content[0].name == "answer"
    assert found.content[0].input["verdict"] in ("good", "bad")
    assert client.messages.create(**asked["params"]).content[0].input == found.content[0].input


def test_max_tokens_cuts_the_answer(client: anthropic.Anthropic) -> None:
    """`max_tokens` as the reason, and exactly so many tokens."""
    batch = client.messages.batches.create(requests=[request("r", "Tell me all.", max_tokens=3)])
    message = results(client, ended(client, batch))["r"].message
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens == 3


def test_every_fate_of_a_row_is_told(served: Served, client: anthropic.Anthropic) -> None:
    """Errored by status, expired, refused; the counts add up to the number of requests."""
    served.faults(
        {"on": "task", "do": "fail-rows", "rows": [1], "status_code": 529},
        {"on": "task", "do": "fail-rows", "rows": [2], "status_code": 400, "code": "billing_error"},
        {"on": "task", "do": "expire", "rows": [3]},
        {"on": "task", "do": "refuse", "rows": [4]},
    )
    done = ended(client, create(client, 5))
    counts = done.request_counts
    assert (counts.errored, counts.expired, counts.succeeded, counts.processing) == (2, 1, 2, 0)
    found = results(client, done)
    assert [found[f"row-{n}"].error.error.type for n in (0, 1)] == ["overloaded_error", "billing_error"]
    assert found["row-2"].type == "expired" and found["row-3"].message.stop_reason == "refusal"


def test_an_overloaded_service_is_asked_again(served: Served) -> None:
    """529 and 429 in Anthropic's words; the client's own retries get through, and a lost reply makes a second batch."""
    served.faults({"on": "create", "do": 529, "times": 1}, {"on": "create", "do": 429, "times": 1, "retry_after": 0.01})
    with connect(served, retries=2) as client:
        ended(client, create(client))
        served.faults({"on": "create", "do": "lost-reply", "times": 1})
        before = len(client.messages.batches.list(limit=1000).data)
        create(client)
        assert len(client.messages.batches.list(limit=1000).data) == before + 2
    served.faults({"on": "create", "do": 529})
    with connect(served) as client, pytest.raises(anthropic.APIStatusError) as caught:
        create(client)
    body: Any = caught.value.body
    assert caught.value.status_code == 529 and body["error"]["type"] == "overloaded_error"
