"""What has to be looked at twice: stops that were not heard, queues that are full, work that nobody wants any more."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from everywhere import KEYS, providers
from helpers import Project, Served

from runner.simulator.server import Simulator


class Place(Project):
    """A project before a simulator of its own."""

    served: Served

    def age(self, seconds: float = 100.0) -> None:
        """Let so much time pass for every task."""
        state = self.state()
        for task in state["tasks"].values():
            task |= {name: task[name] - seconds for name in ("begun_at", "staged_at", "started_at") if name in task}
        (self.root / ".runner/state.json").write_text(json.dumps(state))

    def remote(self) -> list[str]:
        """What the provider says of each of its tasks."""
        reply = httpx.get(f"{self.served.url}/v1/batches", headers={"Authorization": "Bearer k"})
        return [batch["status"] for batch in reply.json()["data"]]

    def fired(self) -> list[int]:
        return [rule["fired"] for rule in self.served._ask("faults")]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """At OpenAI's wire, if the test asks for no other."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with Simulator(tmp_path / "simulator", speed=20) as simulator:
        made = Place(
            tmp_path / "project", {"demo": providers(simulator.url)[getattr(request, "param", "openai-openai")]}
        )
        made.served = Served(simulator.url)
        yield made


def on(call: str, do: str, **more: Any) -> dict[str, Any]:
    return {"on": call, "do": do, **more}


def test_a_start_that_is_found_after_its_cancel_is_stopped(place: Place) -> None:
    """The cancel came while nobody knew whether there was a task; once there is, it is told to stop."""
    place.served.faults(on("create", "lost-reply", times=1), on("task", "never-end"))
    place.spec(rows=3, model="mi-9")
    place.apply()
    place.call("cancel", "job")
    assert place.remote() == ["in_progress"]
    place.apply()
    assert place.remote()[0] in ("cancelling", "cancelled")


def test_a_stop_that_was_not_heard_is_asked_for_again(place: Place) -> None:
    """Given up by our clock, and the provider did not hear it: said as a warning, and tried until it has."""
    place.served.faults(on("task", "never-end"), on("cancel", "500"))
    place.spec(rows=3, model="mi-9", wait={"max": "1m", "give_up": "1m"})
    place.apply()
    place.age()
    for _ in range(2):
        assert "may go on, and be paid" in place.apply()["warnings"][0]
        assert place.remote() == ["in_progress"]
    assert place.plan()["changes"][0]["action"] == "cancel"
    place.served.faults(on("task", "never-end"))
    assert place.apply()["warnings"] == []
    assert place.remote()[0] in ("cancelling", "cancelled")
    assert [change for change in place.plan()["changes"] if change["action"] == "cancel"] == []


def test_a_full_queue_is_not_stormed(place: Place) -> None:
    """A provider that says "not now" without saying until when is tried later and later: each try uploads anew."""
    place.served.faults(on("create", "429"))
    place.spec(rows=2, model="mi-9")
    place.apply("--wait", "--timeout", "4s", code=8)
    assert place.fired()[0] <= 4
    place.served.faults()
    place.finish()
    assert place.statuses() == ["succeeded"] * 2


def test_results_do_not_outlast_the_timeout(place: Place) -> None:
    """Time is up while they come in: exit 8, and the next apply fetches them."""
    place.served.faults(on("download", "latency", seconds=3))
    place.spec(rows=2, model="mi-9")
    began = time.monotonic()
    place.apply("--wait", "--timeout", "2s", code=8)
    assert time.monotonic() - began < 30
    place.served.faults()
    place.finish()
    assert place.statuses() == ["succeeded"] * 2
    assert place.served.bill()["duplicates"] == []


def test_bodies_without_a_model_are_said_to_lack_it(place: Place) -> None:
    """Whoever reads them offline would take the empty name for what is sent."""
    place.spec(rows=1)
    done = place.call("render", "job")
    assert json.loads(done.out)["model"] == ""
    assert "No model is chosen yet for job" in done.err
    place.spec(rows=1, model="mi-9")
    assert place.call("render", "job").err == ""


@pytest.mark.parametrize(
    ("place", "model"),
    [("openai-openai", "mi-9"), ("qianfan", "amv-9"), ("anthropic", "mi-9"), ("online", "mi-9")],
    indirect=["place"],
)
def test_a_plan_is_the_same_offline(place: Place, model: str) -> None:
    """Also where only the provider's list has a price, of a model that is named: an approval holds in either case."""
    place.spec(rows=2, model=model)
    offline, online = place.plan("--offline"), place.plan()
    assert online["changes"][0]["cost"] is not None
    assert offline["digest"] == online["digest"]
    done = place.call("apply", "--expect", offline["digest"], "--json")
    assert done.code == 0, done.err


@pytest.mark.parametrize("place", ["online"], indirect=True)
def test_what_no_spec_asks_for_is_not_asked(place: Place) -> None:
    """A prompt is mended in the middle of a run: nothing more of the old one is sent, or paid; put back, it goes on."""
    place.providers["demo"]["concurrency"] = 2
    place.configure()
    place.served.faults(on("chat", "latency", seconds=0.05))
    place.spec(rows=200, model="mi-9")
    place.apply("--timeout", "2s", code=8)
    before = place.served.bill()["requests"]
    assert 0 < before < 150
    place.served.faults()
    place.spec(rows=200, model="mi-9", prompt={"user": "Mended: {{ row.q }}"})
    waits = [change["reason"] for change in place.plan()["changes"] if change["action"] == "wait"]
    assert waits == ["no spec asks for it any more: nothing of it is sent"]
    assert place.finish()["rows"]["job"]["succeeded"] == 200
    assert place.served.bill()["requests"] == before + 200
    place.spec(rows=200, model="mi-9")
    assert place.requests() == 0
    assert place.finish()["rows"]["job"]["succeeded"] == 200
    assert place.served.bill()["requests"] <= 400 + 2
    place.spec("other", rows=1, model="mi-9")
    assert place.finish()["rows"]["other"]["succeeded"] == 1


@pytest.mark.parametrize("place", ["alaya"], indirect=True)
def test_a_deployment_that_was_stopped_does_not_spoil_what_is_done(place: Place) -> None:
    """It is stopped once its work is done: a second apply has nothing to do, a deleted output is published again."""
    place.spec(rows=2, model="mi-9")
    place.finish()
    path = f"{place.served.url}/api/serverless-infer/v1/deployment/svc-1/cancel"
    assert httpx.post(path, headers={"Authorization": "plain Credential=a,Signature=b"}).json()["code"] == 0
    assert place.finish()["changes"] == []
    (place.root / "outputs/job.jsonl").unlink()
    place.finish()
    assert place.statuses() == ["succeeded"] * 2
    place.spec(rows=3, model="mi-9")
    assert "is stop" in place.call("apply", "--yes").err
