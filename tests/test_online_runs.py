"""Endpoints without batches through the command line: killed, cut off, cancelled, shared, every row is asked once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.online import KEY, FakeOnline, Reply, as_json, busy, completion, error, html, silence
from fakes.wanqing import KEY as WANQING_KEY
from fakes.wanqing import PROJECT, FakeWanqing
from helpers import COMMAND, PATIENCE, Project, environment, finished, spawn

APPLY = ("apply", "--yes", "--json")
ROWS = 1_319
CONCURRENCY = 8


@pytest.fixture
def fake() -> Iterator[FakeOnline]:
    fake = FakeOnline()
    yield fake
    fake.close()


def online(fake: FakeOnline, **settings: Any) -> dict[str, Any]:
    return {"type": "online", "base_url": fake.url, "concurrency": CONCURRENCY, **settings}


@pytest.fixture
def project(fake: FakeOnline, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", {"demo": online(fake)})


def whole(project: Project, rows: int, name: str = "job") -> None:
    """Every row has its own answer."""
    assert [line["text"] for line in project.output(name)] == [f"re: {name} asks {at}?" for at in range(1, rows + 1)]


def queues(project: Project) -> list[Path]:
    return sorted((project.root / ".runner/online/demo").glob("*"))


# ---- a run ---------------------------------------------------------------------------------------------------------


def test_one_apply_does_it(fake: FakeOnline, project: Project) -> None:
    """Without `--wait`, apply asks until the queue is empty; a second one asks nothing, and nothing is left behind."""
    project.spec(rows=20, model="m")
    done = project.apply()
    assert done["rows"]["job"] == {"succeeded": 20, "failed": 0, "missing": 0, "pending": 0, "total": 20}
    whole(project, 20)
    assert project.output()[0]["usage"] == {"input_tokens": 7, "output_tokens": 3}
    assert queues(project) == []
    assert project.finish()["changes"] == []
    assert not fake.twice()


def test_extra_body_reaches_the_wire(fake: FakeOnline, project: Project) -> None:
    """What no one but the endpoint knows is passed on as it is."""
    project.spec(rows=1, model="m", parameters={"max_tokens": 5, "extra_body": {"stop_token_ids": [7, 8]}})
    project.apply()
    body = fake.asks[0].body
    assert (body["stop_token_ids"], body["max_tokens"], body["model"]) == ([7, 8], 5, "m")
    assert "extra_body" not in body


def test_shards_are_worked_through_in_order(fake: FakeOnline, project: Project) -> None:
    """`max_requests` cuts the rows into tasks; the first of them is done before the last is begun."""
    project.providers["demo"] = online(fake, max_requests=10, concurrency=2)
    project.spec(rows=45, model="m")
    project.apply()
    whole(project, 45)
    shards = [int(ask.question.split()[2][:-1]) - 1 for ask in fake.asks]
    assert all(abs(at - place) <= 2 for place, at in enumerate(shards))


def test_samples_are_asked_apart(fake: FakeOnline, project: Project) -> None:
    """`samples: 3` is three askings of a row, each with its own answer."""
    fake.on_ask = lambda ask: as_json(completion(f"{ask.question} {ask.nth}"))
    project.spec(rows=["a", "b"], model="m", samples=3)
    project.apply()
    assert fake.asked == {"a": 3, "b": 3}
    assert sorted(line["text"] for line in project.output()) == [f"{row} {nth}" for row in "ab" for nth in (1, 2, 3)]


def test_every_cell_of_a_matrix(fake: FakeOnline, project: Project) -> None:
    """Several batches share one endpoint in one run."""
    prompt = {"user": "{{ vars.tone }} {{ row.q }}"}
    project.spec(rows=["a", "b"], model="m", matrix={"tone": ["kind", "rude"]}, prompt=prompt)
    project.apply()
    assert [line["text"] for line in project.output("job-rude")] == ["re: rude a", "re: rude b"]
    assert fake.asked == {"kind a": 1, "kind b": 1, "rude a": 1, "rude b": 1}


# ---- killed, stopped, timed out ------------------------------------------------------------------------------------


def test_killed_again_and_again(fake: FakeOnline, project: Project, tmp_path: Path) -> None:
    """SIGKILL in the middle, three times, and a torn last line: only what was in flight is asked twice (F32).

    The output is, byte for byte, that of a run that nobody disturbed.
    """
    other = Project(tmp_path / "undisturbed", {"demo": online(fake, max_requests=600, concurrency=32)})
    other.spec(rows=ROWS, model="m")
    other.apply()
    fake.asked.clear()
    fake.asks.clear()
    project.providers["demo"] = online(fake, max_requests=600)
    project.spec(rows=ROWS, model="m")
    for asks in (200, 500, 900):
        process = spawn(*APPLY, "--wait", cwd=project.root)
        fake.wait_for(asks)
        process.kill()
        process.communicate(timeout=PATIENCE)
        project.state()
        with (max(queues(project), key=lambda queue: (queue / "answers.jsonl").exists()) / "answers.jsonl").open(
            "ab"
        ) as file:
            file.write(b'{"custom_id":"0123')
    done = project.run(*APPLY, "--wait")
    assert done.code == 0, done.err
    whole(project, ROWS)
    assert (project.root / "outputs/job.jsonl").read_bytes() == (other.root / "outputs/job.jsonl").read_bytes()
    assert sum(count - 1 for count in fake.asked.values()) <= 3 * CONCURRENCY
    assert len(fake.asked) == ROWS
    asks_so_far = len(fake.asks)
    assert project.finish()["changes"] == []
    assert len(fake.asks) == asks_so_far


def test_asked_to_stop(fake: FakeOnline, tmp_path: Path) -> None:
    """It ends soon, though the endpoint is silent; the state is whole, and the next apply goes on."""
    fake.on_ask = lambda ask: silence() if ask.nth == 1 and ask.question.endswith("5?") else None
    running = []
    for number in (signal.SIGTERM, signal.SIGINT):
        project = Project(tmp_path / number.name, {"demo": online(fake)})
        project.spec(number.name.lower(), rows=60, model="m")
        running.append((project, number, spawn(*APPLY, "--wait", cwd=project.root)))
    for _, number, process in running:
        fake.wait_for(15, number.name.lower())
        process.send_signal(number)
    for project, number, process in running:
        out, err = process.communicate(timeout=15)
        assert process.returncode == 130, (number, out, err)
        assert b"Traceback" not in err
        assert project.state()["serial"]
    fake.on_ask = lambda _: None
    for project, number, _ in running:
        project.finish()
        whole(project, 60, number.name.lower())
    assert all(question.endswith("5?") for question in fake.twice())


def test_a_timeout(fake: FakeOnline, project: Project) -> None:
    """`--timeout` leaves the rest for the next apply, which asks only that; `status` says how far it came."""
    fake.pause = 0.1
    project.spec(rows=400, model="m")
    project.apply("--timeout", "1s", code=8)
    came = len(fake.asks)
    assert 0 < came < 400
    (task,) = project.state()["tasks"].values()
    assert task["progress"] == [400, came, 0]
    assert "open (asking)" in project.call("status").out
    fake.pause = 0.0
    project.finish()
    whole(project, 400)
    assert not fake.twice()


def test_two_applies_at_once(fake: FakeOnline, project: Project) -> None:
    """Two processes share the work or leave it to one; nobody is asked twice, and both end well."""
    project.providers["demo"] = online(fake, max_requests=10)
    project.spec(rows=300, model="m")
    processes = [spawn(*APPLY, "--wait", cwd=project.root) for _ in range(2)]
    ends = [finished(process) for process in processes]
    assert [end.code for end in ends] == [0, 0], [end.err[-600:] for end in ends]
    assert [end.json["errors"] for end in ends] == [[], []]
    whole(project, 300)
    assert not fake.twice()


def test_a_second_apply_goes_on_when_the_first_is_killed(fake: FakeOnline, project: Project) -> None:
    """Whoever waits for a queue that another process asks takes it over when that process dies."""
    fake.pause = 0.02
    project.spec(rows=300, model="m")
    first = spawn(*APPLY, "--wait", cwd=project.root)
    fake.wait_for(20)
    second = spawn(*APPLY, "--wait", cwd=project.root)
    fake.wait_for(100)
    first.kill()
    first.communicate(timeout=PATIENCE)
    end = finished(second)
    assert end.code == 0, end.err
    whole(project, 300)
    assert len(fake.twice()) <= CONCURRENCY


# ---- the endpoint ails ---------------------------------------------------------------------------------------------


def test_nobody_listens(fake: FakeOnline, project: Project) -> None:
    """Connection refused from the start: a clear error, and the state is as it was."""
    project.spec(rows=10, model="m")
    fake.close()
    done = project.run(*APPLY)
    assert done.code == 1
    assert "cannot connect" in done.err
    fake.open()
    project.apply()
    whole(project, 10)


def test_it_goes_away_and_comes_back(fake: FakeOnline, project: Project) -> None:
    """While nobody listens nothing counts as an asking; then all goes on, and no row is lost."""
    fake.pause = 0.02
    project.spec(rows=200, model="m", retry={"attempts": 2})
    process = spawn(*APPLY, "--wait", cwd=project.root)
    fake.wait_for(50)
    fake.close()
    time.sleep(1.5)
    fake.open()
    done = finished(process)
    assert done.code == 0, done.err
    whole(project, 200)
    assert len(fake.twice()) <= CONCURRENCY


def test_a_refused_key(fake: FakeOnline, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 4, and nothing is laid to a row: with a good key the next apply goes on."""
    good = f"Bearer {KEY}"
    fake.on_ask = lambda ask: None if ask.headers["authorization"] == good else error(401, "invalid_api_key", "bad key")
    project.providers["demo"] = online(fake, api_key={"env": "DEMO_KEY"})
    project.spec(rows=30, model="m")
    monkeypatch.setenv("DEMO_KEY", "sk-a-bad-one-0123456789")
    done = project.call(*APPLY)
    assert done.code == 4
    assert "bad key" in done.err
    assert "sk-a-bad-one" not in done.err + done.out
    assert done.json["rows"]["job"]["pending"] == 30
    monkeypatch.setenv("DEMO_KEY", KEY)
    project.apply()
    whole(project, 30)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (error(404, "model_not_found", "no model m here"), "no model m here"),
        (error(402, "", "top up"), "no credit"),
        (error(429, "insufficient_quota", "top up"), "no credit"),
    ],
)
def test_what_ends_the_run(fake: FakeOnline, project: Project, reply: Reply, words: str) -> None:
    """Exit 1 with the endpoint's own words; every row is still to be asked."""
    fake.on_ask = lambda _: reply
    project.spec(rows=50, model="m")
    done = project.call(*APPLY)
    assert done.code == 1, (done.out, done.err)
    assert words in done.err
    assert "abandon" not in done.err
    assert done.json["rows"]["job"]["pending"] == 50
    assert len(fake.asks) <= 20 + CONCURRENCY
    fake.on_ask = lambda _: None
    project.apply()
    whole(project, 50)


def test_all_are_turned_away(fake: FakeOnline, project: Project) -> None:
    """429 to everybody: the run stops with exit 1, the rows stay to be asked, none is failed."""
    fake.on_ask = lambda _: busy()
    project.spec(rows=60, model="m", retry={"attempts": 1})
    done = project.call(*APPLY)
    assert done.code == 1
    assert "slow down" in done.err
    assert done.json["rows"]["job"] == {"succeeded": 0, "failed": 0, "missing": 0, "pending": 60, "total": 60}
    assert len(fake.asks) < 60
    fake.on_ask = lambda _: None
    project.apply()
    whole(project, 60)


def test_a_row_that_fails_and_is_retried(fake: FakeOnline, project: Project) -> None:
    """500s: asked as often as it may be, then failed; only `runner retry` asks again, whatever `attempts` says."""
    fake.on_ask = lambda ask: error(500, "boom") if ask.question == "bad" else None
    project.spec(rows=["bad", "good"], model="m", retry={"attempts": 2})
    assert project.finish(code=7)["rows"]["job"]["failed"] == 1
    bad, good = project.output()
    assert (bad["status"], bad["error"]["code"], bad["error"]["retryable"]) == ("failed", "boom", True)
    assert good["status"] == "succeeded"
    assert fake.asked == {"bad": 2, "good": 1}
    project.apply(code=7)
    project.spec(model="m", retry={"attempts": 5})
    project.apply(code=7)
    assert fake.asked == {"bad": 2, "good": 1}
    fake.on_ask = lambda _: None
    assert project.call("retry", "job").code == 0
    project.finish()
    assert project.statuses() == ["succeeded", "succeeded"]
    assert fake.asked == {"bad": 3, "good": 1}


def test_a_full_disk(fake: FakeOnline, project: Project) -> None:
    """Answers that cannot be written end the run with a clear error; on a roomier disk it goes on, and none is lost."""
    fake.on_ask = lambda ask: as_json(completion(f"re: {ask.question}", padding="x" * 2_000))
    project.spec(rows=200, model="m")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 200; exec "$@"', "sh", *COMMAND, *APPLY],
        cwd=project.root,
        env=environment(None),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1, done.stderr
    assert "answers cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    project.apply()
    whole(project, 200)
    assert len(fake.twice()) <= CONCURRENCY


def test_a_queue_that_is_gone(fake: FakeOnline, project: Project) -> None:
    """The folder was deleted, or the run began on another machine: a person decides whether to ask, and pay, again."""
    fake.pause = 0.1
    project.spec(rows=300, model="m")
    project.apply("--timeout", "1s", code=8)
    shutil.rmtree(project.root / ".runner/online")
    done = project.call(*APPLY, "--wait")
    assert "not on this machine" in done.out + done.err
    (task,) = project.state()["tasks"]
    assert f"runner state abandon {task}" in done.out + done.err
    assert project.call("state", "abandon", task).code == 0
    fake.pause = 0.0
    project.finish()
    whole(project, 300)


# ---- decisions -----------------------------------------------------------------------------------------------------


def test_cancelled_from_another_process(fake: FakeOnline, project: Project) -> None:
    """Asking ends soon; answered rows are kept and published, the others are missing until `retry` asks for them."""
    fake.pause = 0.05
    project.spec(rows=400, model="m")
    process = spawn(*APPLY, "--wait", cwd=project.root)
    fake.wait_for(30)
    assert project.call("cancel", "job").code == 0
    end = finished(process)
    assert end.code == 7, (end.out, end.err)
    came = len(fake.asks)
    assert came < 400
    assert project.statuses().count("succeeded") == came
    assert {line["error"]["code"] for line in project.output() if line["status"] == "missing"} == {"cancelled"}
    fake.pause = 0.0
    project.finish(code=7)
    assert len(fake.asks) == came
    assert project.call("retry", "job").code == 0
    project.finish()
    whole(project, 400)
    assert not fake.twice()


def test_giving_up(fake: FakeOnline, project: Project) -> None:
    """Past `wait.give_up` the rest is missing, what was answered is kept, and nothing more is asked."""
    fake.pause = 0.1
    project.spec(rows=400, model="m", wait={"max": "1s", "give_up": "2s"})
    project.finish(code=7)
    came = len(fake.asks)
    assert 0 < came < 400
    assert project.statuses().count("succeeded") == came
    assert {line["error"]["code"] for line in project.output() if line["status"] == "missing"} == {"gave_up"}
    assert not fake.twice()


@pytest.mark.parametrize("on_remove", ["keep", "cancel"])
def test_a_spec_that_was_removed(fake: FakeOnline, project: Project, on_remove: str) -> None:
    """Its open task is kept or stopped, as the spec said; put back, and retried where it was stopped, it goes on."""
    fake.pause = 0.1
    project.spec(rows=200, model="m", on_remove=on_remove)
    project.apply("--timeout", "1s", code=8)
    came = len(fake.asks)
    (project.root / "specs/job.yaml").unlink()
    project.apply()
    project.apply()
    assert len(fake.asks) == came
    project.spec(model="m", on_remove=on_remove)
    fake.pause = 0.0
    if on_remove == "cancel":
        project.call("retry", "job")
    project.finish()
    whole(project, 200)
    assert not fake.twice()


def test_beside_a_batch(fake: FakeOnline, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apply without `--wait` asks the endpoint to the end, and leaves the batch that still runs to the next one.

    The batch's platform is not asked after it at the pace of the endpoint's own queue.
    """
    platform = FakeWanqing()
    try:
        platform.knobs.task = {"status": "running"}
        monkeypatch.setenv("BATCH_KEY", WANQING_KEY)
        batch = {"type": "wanqing", "base_url": platform.url, "project_id": PROJECT, "api_key": {"env": "BATCH_KEY"}}
        project.providers["batch"] = batch
        project.spec("slow", rows=3, provider="batch", model="mi-9")
        project.spec(rows=80, model="m")
        fake.pause = 0.2
        done = project.apply()
    finally:
        platform.close()
    assert done["rows"]["job"]["succeeded"] == 80
    assert done["rows"]["slow"]["pending"] == 3
    whole(project, 80)
    assert len(platform.requests("detail")) <= 3


# ---- models --------------------------------------------------------------------------------------------------------

LISTED = as_json({"data": [{"id": "qwen3-32b"}, {"id": "qwen3-8b"}, {"id": "llama-4"}]})
FACTS = [
    {"id": "qwen3-8b", "family": "Qwen3", "context": "32k", "price": {"input": 1, "output": 2, "currency": "USD"}},
    {"id": "qwen3-32b", "family": "Qwen3", "context": "32k", "price": {"input": 3, "output": 4, "currency": "USD"}},
]


def test_a_model_that_is_not_listed(fake: FakeOnline, project: Project) -> None:
    """Where there is a list, a wrong name is an error with the nearest names, and nothing is asked."""
    fake.models = LISTED
    project.spec(rows=1, model="qwen3-32")
    done = project.call(*APPLY)
    assert done.code == 1
    assert "qwen3-32b" in done.err
    assert not fake.asks


@pytest.mark.parametrize("reply", [error(404), html(), html(501)])
def test_a_name_is_taken_as_given(fake: FakeOnline, project: Project, reply: Reply) -> None:
    """Where there is none, the endpoint itself will say."""
    fake.models = reply
    project.spec(rows=1, model="whatever")
    project.apply()
    assert fake.asks[0].body["model"] == "whatever"


def test_facts_of_runner_yaml(fake: FakeOnline, project: Project) -> None:
    """A list of bare names, and what the team knows: selectors and costs work, and `runner models` shows them."""
    fake.models = LISTED
    project.providers["demo"] = online(fake, models=FACTS)
    project.spec(rows=["a"], model={"select": {"family": "Qwen3", "prefer": "cheapest"}})
    (change,) = project.plan()["changes"]
    assert change["model"] == "qwen3-8b"
    assert change["cost"]["currency"] == "USD"
    assert change["cost"]["estimate"] > 0
    shown = project.call("models", "demo")
    assert shown.code == 0
    assert all(word in shown.out for word in ("qwen3-8b", "qwen3-32b", "llama-4"))
    project.apply()
    assert fake.asks[0].body["model"] == "qwen3-8b"


def test_planned_offline(fake: FakeOnline, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """`plan --offline` needs neither the key nor the endpoint, and its digest is that of the plan online."""
    project.providers["demo"] = online(fake, api_key={"env": "DEMO_KEY"})
    project.spec(rows=5, model="m")
    monkeypatch.delenv("DEMO_KEY", raising=False)
    offline = project.plan("--offline")
    assert not fake.listings
    monkeypatch.setenv("DEMO_KEY", KEY)
    assert project.plan()["digest"] == offline["digest"]
    assert fake.listings
    project.apply("--expect", offline["digest"])
    whole(project, 5)


# ---- size ----------------------------------------------------------------------------------------------------------


MEASURED = """
import sys, tracemalloc
import httpx, jinja2, jsonschema, runner.cli.apply, runner.connect, runner.load, runner.providers.online.provider
from runner.cli.main import _run
tracemalloc.start()
code = _run()
print(tracemalloc.get_traced_memory()[1], file=sys.stderr)
sys.exit(code)
"""


def peak(project: Project) -> int:
    """The most memory, in bytes, that one apply had allocated at any time."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *APPLY],
        cwd=project.root,
        env=environment(None),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


def test_memory_does_not_grow_with_rows(fake: FakeOnline, tmp_path: Path) -> None:
    """Three times as many rows, 6 MB more of questions and 6 MB more of answers, and hardly more memory."""
    answer = "y" * 30_000
    fake.on_ask = lambda _: as_json(completion(answer))
    peaks = []
    for rows in (100, 300):
        project = Project(tmp_path / str(rows), {"demo": online(fake, max_requests=25)})
        project.spec(rows=[f"{at} {'x' * 30_000}" for at in range(rows)], model="m")
        peaks.append(peak(project))
        assert project.output()[-1]["text"] == answer
    assert peaks[1] - peaks[0] < 4_000_000, peaks
