"""The simulator speaks Alaya's wires: deployments that are looked up, and the models that they serve."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from runner.simulator.deployments import LOADING_SECONDS, STARTING_SECONDS, STOPPING_SECONDS
from runner.simulator.server import Simulator

BASE = "/api/serverless-infer/v1/deployment"
CREDENTIALS = "plain Credential=AK,Signature=SK"
CHAT = {"model": "mi-9", "messages": [{"role": "user", "content": "What is the matter?"}]}


class Clock:
    """Stands still until it is moved on."""

    def __init__(self) -> None:
        self.now = 1767225600.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Looks deployments up, and asks what they serve."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.http = httpx.Client(base_url=url, timeout=20)
        self.url, self.clock = url, clock

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(f"{BASE}/{path}", params=query, headers={"Authorization": CREDENTIALS})

    def detail(self, service: str) -> Any:
        """The deployment, without its envelope where it has one."""
        reply = self.get(service)
        assert reply.status_code == 200, reply.text
        return reply.json().get("data", reply.json())

    def rows(self, **query: Any) -> list[Any]:
        reply = self.get("list", **query)
        assert (reply.status_code, reply.json()["code"]) == (200, "0")
        return list(reply.json()["data"]["rows"])

    def names(self, **query: Any) -> list[str]:
        return [row["serviceId"] for row in self.rows(**query)]

    def cancel(self, service: str) -> httpx.Response:
        return self.http.post(f"{BASE}/{service}/cancel", headers={"Authorization": CREDENTIALS})

    def ask(
        self, service: str, path: str = "chat/completions", key: str | None = None, **changes: Any
    ) -> httpx.Response:
        found = self.detail(service)
        headers = {"apiKey": found["apikey"] if key is None else key}
        return self.http.post(f"{found['serviceUrl']}/v1/{path}", json={**CHAT, **changes}, headers=headers)


@contextmanager
def simulated(folder: Path, **options: Any) -> Iterator[Client]:
    clock = Clock()
    with Simulator(folder, clock=clock, **options) as simulator:
        client = Client(simulator.url, clock)
        with client.http:
            yield client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with simulated(tmp_path) as ready:
        yield ready


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer key",
        "plain Credential=AK",
        "plain Credential=invalid-1,Signature=SK",
        "plain Credential=A,Signature=invalid",
    ],
)
def test_credentials_are_plain_and_not_invalid(client: Client, authorization: str) -> None:
    """The secret itself is the signature; its absence is told in the envelope."""
    reply = client.http.get(f"{BASE}/svc-1", headers={"Authorization": authorization})
    assert reply.status_code == 401
    assert reply.json() == {"code": -1, "data": None, "msg": "the credentials are missing or not valid"}


# --- what a deployment looks like ------------------------------------------------------------------------------------


def test_a_quick_start_tells_all_that_a_caller_needs(client: Client) -> None:
    """Where it is, the key in clear, what its model is called, and that it is ready."""
    reply = client.get("svc-1").json()
    assert reply["code"] == 0
    told = {
        "serviceId": "svc-1",
        "serviceUrl": f"{client.url}/alaya/svc-1",
        "status": "running",
        "servedName": ["mi-9"],
        "mode": "quickStart",
        "type": "base",
        "expert": None,
    }
    assert told.items() <= reply["data"].items()
    assert reply["data"]["apikey"]
    assert [each["baseModelReady"] for each in reply["data"]["instance"]] == [True]


def test_an_expert_deployment_does_not_say_what_it_serves(client: Client) -> None:
    """As the sample of its document; the service itself has to be asked."""
    found = client.detail("svc-expert")
    assert "servedName" not in found
    assert (found["mode"], found["quickStart"]) == ("expert", None)
    assert found["expert"].keys() == {"headConfig", "workerConfig"}
    models = client.http.get(f"{found['serviceUrl']}/v1/models", headers={"apiKey": found["apikey"]}).json()
    (model,) = models["data"]
    assert (models["object"], model["id"], model["family"]) == ("list", "mi-9", "Qwen3")


def test_a_lora_deployment_comes_without_an_envelope(client: Client) -> None:
    """As the sample of its document, with the name as a text."""
    found = client.get("svc-lora").json()
    assert "data" not in found
    assert (found["serviceId"], found["servedName"], found["baseServiceId"]) == ("svc-lora", "mi-9", "svc-1")


def test_other_endings_are_told_in_the_words_of_some_document(client: Client) -> None:
    """One of them misspelt."""
    assert client.detail("svc-stopped")["status"] == "stoped"
    assert client.detail("svc-failed")["status"] == "failed"


def test_a_deployment_starts_then_runs_then_is_ready(client: Client) -> None:
    """The clock begins with the first look; until the model is there the service refuses to answer."""
    seen = []
    for seconds in (0, STARTING_SECONDS, LOADING_SECONDS):
        client.clock.now += seconds
        found = client.detail("svc-starting")
        seen.append((found["status"], found["instance"][0]["baseModelReady"], client.ask("svc-starting").status_code))
    assert seen == [("starting", False, 503), ("running", False, 503), ("running", True, 200)]


def test_a_faster_simulator_starts_deployments_faster(tmp_path: Path) -> None:
    """As it does everything."""
    with simulated(tmp_path, speed=10) as client:
        client.detail("svc-starting")
        client.clock.now += (STARTING_SECONDS + LOADING_SECONDS) / 10
        assert client.ask("svc-starting").status_code == 200


# --- lists -----------------------------------------------------------------------------------------------------------


def test_deployments_are_listed_in_pages(client: Client) -> None:
    """With how many there are in all."""
    assert client.names() == ["svc-1", "svc-expert", "svc-lora", "svc-starting", "svc-stopped", "svc-failed"]
    assert client.names(page=2, size=4) == ["svc-stopped", "svc-failed"]
    assert client.get("list", size=1).json()["data"]["count"] == 6
    assert client.names(page=9) == []
    for bad in ({"page": 0}, {"size": "x"}):
        assert (client.get("list", **bad).status_code, client.get("list", **bad).json()["code"]) == (400, -1)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"name": "quick"}, ["svc-1"]),
        ({"name": "nothing"}, []),
        ({"status": "stopped"}, ["svc-stopped"]),
        ({"status": "starting"}, ["svc-starting"]),
        ({"model": "lora"}, ["svc-lora"]),
        ({"model": "expert", "status": "failed"}, ["svc-failed"]),
        ({"extensions.owner": "nobody"}, []),
        ({"extensions.owner": "simulator", "name": "lora"}, ["svc-lora"]),
    ],
)
def test_a_list_can_be_narrowed(client: Client, query: dict[str, str], names: list[str]) -> None:
    """By any of the documented filters, and by several at once."""
    assert client.names(**query) == names


def test_a_list_spells_what_starts_in_its_own_way(client: Client) -> None:
    """The document on lists has `staring` still."""
    assert [row["status"] for row in client.rows(status="starting")] == ["staring"]
    assert client.detail("svc-starting")["status"] == "starting"


# --- cancelling ------------------------------------------------------------------------------------------------------


def test_a_cancelled_deployment_stops(client: Client) -> None:
    """It takes a moment, and its model answers no more from the beginning of it."""
    assert client.cancel("svc-1").json() == {"code": 0, "data": {"serviceId": "svc-1"}, "msg": ""}
    assert client.detail("svc-1")["status"] == "stopping"
    assert client.ask("svc-1").status_code == 503
    client.clock.now += STOPPING_SECONDS
    assert client.detail("svc-1")["status"] == "stoped"
    assert client.ask("svc-expert").status_code == 200


def test_what_does_not_run_cannot_be_cancelled(client: Client) -> None:
    """Which comes with HTTP 200 and a code."""
    reply = client.cancel("svc-failed")
    assert (reply.status_code, reply.json()["code"]) == (200, -1)
    assert "svc-failed" in reply.json()["msg"]


def test_there_is_no_such_service(client: Client) -> None:
    """For either wire, in its own shape."""
    for reply in (client.get("svc-0"), client.cancel("svc-0")):
        assert (reply.status_code, reply.json()["code"], reply.json()["data"]) == (404, -1, None)
    reply = client.http.post("/alaya/svc-0/v1/chat/completions", json=CHAT, headers={"apiKey": "k"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


# --- asking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["svc-1", "svc-expert", "svc-lora"])
def test_a_ready_service_answers(client: Client, service: str) -> None:
    """Alike, since all serve one model."""
    reply = client.ask(service)
    assert reply.status_code == 200, reply.text
    (choice,) = reply.json()["choices"]
    assert choice["message"]["content"].endswith("to: What is the matter?")


def test_a_service_answers_in_a_stream(client: Client) -> None:
    """In the pieces that OpenAI's clients expect."""
    reply = client.ask("svc-1", stream=True)
    events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    deltas = [choice["delta"].get("content") or "" for event in events for choice in json.loads(event)["choices"]]
    assert "".join(deltas) == client.ask("svc-1").json()["choices"][0]["message"]["content"]


def test_a_service_completes_texts(client: Client) -> None:
    """By the older call, with the same answer."""
    reply = client.ask("svc-1", "completions", prompt="What is the matter?", messages=None)
    assert reply.json()["choices"][0]["text"] == client.ask("svc-1").json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("key", ["", "a-key-of-another"])
def test_a_service_wants_its_own_key(client: Client, key: str) -> None:
    """In the header apiKey; that of another does not do, and neither does a bearer."""
    assert client.ask("svc-1", key=key).status_code == 401
    found = client.detail("svc-1")
    bearer = {"Authorization": f"Bearer {found['apikey']}"}
    for path in ("chat/completions", "completions"):
        assert client.http.post(f"{found['serviceUrl']}/v1/{path}", json=CHAT, headers=bearer).status_code == 401
    assert client.http.get(f"{found['serviceUrl']}/v1/models", headers=bearer).status_code == 401


def test_a_service_serves_one_model(client: Client) -> None:
    """A model of the simulator that it does not serve is not there; a body without one is malformed."""
    reply = client.ask("svc-1", model="mi-1")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found")
    assert client.ask("svc-1", model=None).status_code == 400
    found = client.detail("svc-1")
    for content in (b"[1]", b"{", b""):
        reply = client.http.post(
            f"{found['serviceUrl']}/v1/chat/completions", content=content, headers={"apiKey": found["apikey"]}
        )
        assert reply.status_code == 400


def test_answers_are_billed_and_refusals_are_not(client: Client) -> None:
    """A question that was asked twice shows."""
    for service in ("svc-1", "svc-expert"):
        assert client.ask(service).status_code == 200
    client.ask("svc-1", key="wrong")
    client.ask("svc-1", model="mi-1")
    client.ask("svc-stopped")
    bill = client.http.get("/simulator/bill").json()
    assert bill["online"]["billed"] == 2
    assert bill["duplicate_count"] == 1


# --- faults ----------------------------------------------------------------------------------------------------------


def test_calls_go_wrong_by_the_words_of_every_wire(tmp_path: Path) -> None:
    """Each in the shape of its wire."""
    faults = [
        {"on": "detail", "do": "error-code", "message": "try later", "times": 1},
        {"on": "list", "do": "500", "times": 1},
        {"on": "cancel", "do": "403", "times": 1},
        {"on": "models", "do": "garbage", "times": 1},
        {"on": "chat", "do": "429", "retry_after": 3, "times": 1},
    ]
    with simulated(tmp_path, faults=faults) as client:
        assert client.get("svc-1").json() == {"code": -1, "data": None, "msg": "try later"}
        assert (client.get("list").status_code, client.cancel("svc-1").status_code) == (500, 403)
        found = client.detail("svc-1")
        models = client.http.get(f"{found['serviceUrl']}/v1/models", headers={"apiKey": found["apikey"]})
        assert models.headers["Content-Type"].startswith("text/html")
        busy = client.ask("svc-1")
        assert (busy.status_code, busy.headers["Retry-After"]) == (429, "3")
        assert busy.json()["error"]["code"] == "rate_limit_exceeded"
        assert client.ask("svc-1").status_code == 200
