"""The simulator's Anthropic wire: Message Batches, single messages, models."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.simulator.jsonlist import elements
from runner.simulator.server import Simulator, read_bill

MODEL = "mi-9"
INSTANT = 1e6
HEADERS = {"x-api-key": "key-1", "anthropic-version": "2023-06-01"}


def request(custom_id: str, text: str, **params: Any) -> dict[str, Any]:
    body = {"model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": text}], **params}
    return {"custom_id": custom_id, "params": body}


def requests(count: int = 4) -> list[dict[str, Any]]:
    return [request(f"row-{n}", f"Question number {n}?") for n in range(1, count + 1)]


class Client:
    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=f"{url}/v1", headers=HEADERS, timeout=20)

    def ok(self, reply: httpx.Response) -> Any:
        assert reply.status_code == 200, reply.text
        return reply.json()

    def post(self, asked: Any) -> httpx.Response:
        return self.http.post("/messages/batches", json={"requests": asked})

    def create(self, asked: Any) -> str:
        return str(self.ok(self.post(asked))["id"])

    def detail(self, batch: str) -> Any:
        return self.ok(self.http.get(f"/messages/batches/{batch}"))

    def ended(self, asked: Any) -> Any:
        batch = self.create(asked)
        deadline = time.monotonic() + 10
        while (found := self.detail(batch))["processing_status"] != "ended" and time.monotonic() < deadline:
            time.sleep(0.005)
        return found

    def raw(self, batch: str) -> bytes:
        reply = self.http.get(f"/messages/batches/{batch}/results")
        assert reply.status_code == 200, reply.text
        return reply.content

    def results(self, asked: Any) -> list[Any]:
        return [json.loads(line) for line in self.raw(self.ended(asked)["id"]).splitlines()]

    def faults(self, *rules: dict[str, Any]) -> None:
        self.ok(httpx.post(f"{self.url}/simulator/faults", json=rules))


@contextmanager
def simulated(folder: Path, **options: Any) -> Iterator[Client]:
    with Simulator(folder, **{"speed": INSTANT, **options}) as simulator:
        client = Client(simulator.url)
        with client.http:
            yield client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with simulated(tmp_path / "data") as ready:
        yield ready


# --- a body that is never held whole ---------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(
    wanted=st.lists(JSON, max_size=5),
    before=st.dictionaries(st.text(max_size=3), JSON, max_size=2),
    after=st.dictionaries(st.text(max_size=3), JSON, max_size=2),
    size=st.integers(1, 50),
    indent=st.sampled_from([None, 2]),
    ascii_only=st.booleans(),
)
def test_a_list_is_read_alike_in_whatever_pieces_it_comes(
    wanted: list[Any], before: dict[str, Any], after: dict[str, Any], size: int, indent: int | None, ascii_only: bool
) -> None:
    """Each element comes out as it went in, whatever stands around the list, cut anywhere."""
    document = {**before, "requests": wanted, **after}
    try:
        text = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    assert list(elements(pieces, "requests")) == wanted


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"{",
        b'{"requests"}',
        b'{"requests": 5}',
        b'{"requests": [1',
        b'{"requests": [1,',
        b'{"requests": [1 2]}',
        b'{"requests": [1,]}',
        b'{"requests": [{"a": ]}]}',
        b'{"requests": ["\xff"]}',
        b'{"requests": []} more',
        b'{"requests": [] "x": 1}',
        b'{"requests": [nul]}',
        b'{5: [], "requests": []}',
        b'{"requests": [' + b"[" * 100_000,
        b'{"requests": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
    ],
)
def test_what_is_no_such_list_is_refused(client: Client, text: bytes) -> None:
    """Broken, cut, of another shape, nested too deeply: 400 in Anthropic's words, and nothing is made."""
    with pytest.raises(ValueError):
        list(elements([text], "requests"))
    reply = client.http.post("/messages/batches", content=text)
    assert reply.status_code == 400 and reply.json()["error"]["type"] == "invalid_request_error"
    assert client.ok(client.http.get("/messages/batches"))["data"] == []


def test_one_element_has_a_bound() -> None:
    """An endless text is given up rather than held."""
    pieces = (b'{"requests": ["' if at == 0 else b"x" * 1024 * 1024 for at in range(100))
    with pytest.raises(ValueError, match="longer"):
        list(elements(pieces, "requests"))


# --- batches ---------------------------------------------------------------------------------------------------------


def test_the_life_of_a_batch(tmp_path: Path) -> None:
    """All are processing until the end; then every row has a line, and a week later the results are archived."""
    now = [1_767_225_600.0]
    with simulated(tmp_path, speed=1.0, clock=lambda: now[0]) as client:
        batch = client.create(requests(100))
        seen = []
        for seconds in (0.0, 0.825, 0.7, 8 * 24 * 3600.0):
            now[0] += seconds
            seen.append(client.detail(batch))
        gone = client.http.get(f"/messages/batches/{batch}/results")
    assert [found["processing_status"] for found in seen] == ["in_progress", "in_progress", "ended", "ended"]
    assert [found["request_counts"]["processing"] for found in seen] == [100, 100, 0, 0]
    assert [found["request_counts"]["succeeded"] for found in seen] == [0, 0, 100, 100]
    assert [bool(found["results_url"]) for found in seen] == [False, False, True, False]
    assert seen[2]["archived_at"] is None and seen[3]["archived_at"] == "2026-01-08T00:00:01.500Z"
    assert seen[0]["created_at"] == "2026-01-01T00:00:00.000Z" and seen[0]["expires_at"] == "2026-01-02T00:00:00.000Z"
    assert gone.status_code == 404 and gone.json()["error"]["type"] == "not_found_error"


def test_results_are_not_there_before_the_end(tmp_path: Path) -> None:
    """404, as for a batch that is not there."""
    with simulated(tmp_path, speed=1e-6) as client:
        for batch in (client.create(requests(1)), "msgbatch_none"):
            assert client.http.get(f"/messages/batches/{batch}/results").status_code == 404


def test_the_bill_has_the_batch(tmp_path: Path) -> None:
    """Tokens are those of the results, at the batch price, under the wire's name."""
    with simulated(tmp_path) as client:
        usage = [line["result"]["message"]["usage"] for line in client.results(requests(3))]
    (task,) = read_bill(tmp_path)["tasks"]
    assert (task["wire"], task["requests"], task["billed"]) == ("anthropic", 3, 3)
    assert task["input_tokens"] == sum(each["input_tokens"] for each in usage)
    assert task["cost"] == pytest.approx((task["input_tokens"] * 0.00025 + task["output_tokens"] * 0.001) / 1000)


def test_a_failed_batch_ends_without_results(client: Client) -> None:
    """There is no such status here: it has ended, and every request errored."""
    client.faults({"on": "task", "do": "fail"})
    done = client.ended(requests(2))
    assert done["results_url"] is None and done["request_counts"]["errored"] == 2
    assert client.http.get(f"/messages/batches/{done['id']}/results").status_code == 404


def test_missing_rows_count_as_errored(client: Client) -> None:
    """Their lines are not there, and yet the counts add up to the number of requests."""
    client.faults({"on": "task", "do": "missing-rows", "rows": [1]})
    done = client.ended(requests(4))
    assert sum(done["request_counts"].values()) == 4 and len(client.raw(done["id"]).splitlines()) == 3


def test_an_answer_that_got_lost_is_an_empty_message(client: Client) -> None:
    """It succeeded, and it is billed."""
    client.faults({"on": "task", "do": "empty-body", "rows": [1]})
    assert client.results(requests(1))[0]["result"] == {"type": "succeeded", "message": {}}


def test_a_cut_tool_call_has_no_input(client: Client) -> None:
    """What was cut is no JSON; the stop reason says why."""
    tool = {"name": "answer", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
    asked = request("r", "Fill it.", tools=[tool], max_tokens=1)
    message = client.results([asked])[0]["result"]["message"]
    assert message["stop_reason"] == "max_tokens" and message["content"][0]["input"] == {}


def test_system_words_belong_at_the_top(client: Client) -> None:
    """A system message among the messages is an error of its row; `system` beside them is heard."""
    bad = request("bad", "x", messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "x"}])
    good = request("good", "x", system=[{"type": "text", "text": "s" * 400}])
    found = {line["custom_id"]: line["result"] for line in client.results([bad, good])}
    assert found["bad"]["error"]["error"]["type"] == "invalid_request_error"
    assert found["good"]["message"]["usage"]["input_tokens"] > 100


def test_pictures_cost_tokens(client: Client) -> None:
    """An image block counts like an image of any other wire."""
    picture = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    asked = request("r", "", messages=[{"role": "user", "content": [picture, {"type": "text", "text": "What?"}]}])
    assert client.results([asked])[0]["result"]["message"]["usage"]["input_tokens"] > 256


# --- calls -----------------------------------------------------------------------------------------------------------

CALLS = {
    "create": ("POST", "/messages/batches"),
    "list": ("GET", "/messages/batches"),
    "detail": ("GET", "/messages/batches/{batch}"),
    "cancel": ("POST", "/messages/batches/{batch}/cancel"),
    "download": ("GET", "/messages/batches/{batch}/results"),
    "delete": ("DELETE", "/messages/batches/{batch}"),
    "chat": ("POST", "/messages"),
    "models": ("GET", "/models"),
}


@pytest.mark.parametrize("call", CALLS)
def test_each_kind_of_call_can_fail(client: Client, call: str) -> None:
    """A status comes before any effect; all but the shared list of models say it in Anthropic's words."""
    method, path = CALLS[call]
    path = path.format(batch=client.ended(requests(1))["id"])
    client.faults({"on": call, "do": 429, "retry_after": 3, "times": 1}, {"on": call, "do": 529, "times": 1})
    refused, overloaded, good = (client.http.request(method, path) for _ in range(3))
    assert (refused.status_code, refused.headers["Retry-After"], overloaded.status_code) == (429, "3", 529)
    if call != "models":
        assert refused.json()["type"] == "error" and refused.json()["error"]["type"] == "rate_limit_error"
        assert overloaded.json()["error"]["type"] == "overloaded_error"
    assert good.status_code in (200, 400)


@pytest.mark.parametrize("do", ["500-after", "lost-reply", "cut", "garbage", "empty-body"])
def test_a_spoiled_create_has_its_effect(client: Client, do: str) -> None:
    """The batch is made, though the reply does not say so; the list has it."""
    client.faults({"on": "create", "do": do, "times": 1})
    try:
        assert "msgbatch_" not in client.post(requests(2)).text
    except httpx.TransportError:
        assert do in ("lost-reply", "cut")
    (batch,) = client.ok(client.http.get("/messages/batches"))["data"]
    assert sum(batch["request_counts"].values()) == 2


def test_a_lagging_list_hides_young_batches(tmp_path: Path) -> None:
    """A batch is not listed before it is so old."""
    now = [1_767_225_600.0]
    with simulated(tmp_path, faults=[{"on": "list", "do": "lag", "seconds": 60}], clock=lambda: now[0]) as client:
        client.create(requests(1))
        assert client.ok(client.http.get("/messages/batches"))["data"] == []
        now[0] += 60
        assert len(client.ok(client.http.get("/messages/batches"))["data"]) == 1


def test_wires_do_not_see_each_others_tasks(client: Client) -> None:
    """A batch of Anthropic's is none of OpenAI's, though both lie under /v1."""
    batch = client.create(requests(1))
    headers = {"Authorization": "Bearer key-1"}
    assert httpx.get(f"{client.url}/v1/batches/{batch}", headers=headers).status_code == 404
    assert httpx.get(f"{client.url}/v1/batches", headers=headers).json()["data"] == []


def test_one_path_has_two_lists_of_models(client: Client) -> None:
    """The version's header makes the difference, also for what a refusal looks like."""
    theirs = client.ok(client.http.get("/models", params={"limit": 3}))
    others = client.ok(httpx.get(f"{client.url}/v1/models", headers={"Authorization": "Bearer key-1"}))
    assert theirs["has_more"] and theirs["data"][0]["type"] == "model" and others["data"][0]["object"] == "model"
    before = client.ok(client.http.get("/models", params={"before_id": theirs["last_id"], "limit": 1}))
    assert before["data"] == [theirs["data"][1]] and before["has_more"]
    for query in ({"after_id": "mi-none"}, {"limit": "x"}):
        refused = client.http.get("/models", params=query)
        assert refused.status_code == 400 and refused.json()["type"] == "error"
    assert client.http.get("/models", headers={"x-api-key": "invalid"}).json()["type"] == "error"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": None}, 400),
        ({"model": "mi-none"}, 404),
        ({"max_tokens": None}, 400),
        ({"messages": []}, 400),
        ({"stream": True}, 400),
    ],
)
def test_a_bad_message_is_refused_and_not_billed(client: Client, body: dict[str, Any], status: int) -> None:
    """Each in Anthropic's words."""
    reply = client.http.post("/messages", json={**request("r", "x")["params"], **body})
    assert reply.status_code == status and reply.json()["type"] == "error"
    assert httpx.get(f"{client.url}/simulator/bill").json()["online"]["requests"] == 0


def test_a_message_asked_alone_is_billed(client: Client) -> None:
    """It gets the same answer as in a batch, and stands on the bill as an online call."""
    alone = client.ok(client.http.post("/messages", json=request("r", "Alone?")["params"]))
    batched = client.results([request("r", "Alone?")])[0]["result"]["message"]
    assert alone["content"] == batched["content"] and alone["usage"] == batched["usage"]
    bill = httpx.get(f"{client.url}/simulator/bill").json()
    assert (bill["online"]["billed"], bill["duplicates"]) == (1, [])
