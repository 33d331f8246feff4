"""A provider that misbehaves in every way the simulator knows: each row is accounted for, and nothing paid twice."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import Project, Rules, Served, serving

KEY = "sk-0123456789abcdef"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def name() -> str:
    """A spec's name that no other test uses, so that a shared server's bill can be told apart."""
    return f"t{next(NUMBERS)}"


@pytest.fixture
def project(tmp_path: Path, server: Served) -> Project:
    """A project at the server, which lists its tasks."""
    return Project(tmp_path, {"demo": server.provider()})


@pytest.fixture
def real(tmp_path: Path, server: Served, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project at the server by the real Wanqing's wire, which cannot list tasks."""
    monkeypatch.setenv("TEST_WANQING_KEY", KEY)
    return Project(tmp_path, {"demo": server.wanqing()})


def on_task(do: str, **more: Any) -> dict[str, Any]:
    return {"on": "task", "do": do, **more}


def on(call: str, do: str, **more: Any) -> dict[str, Any]:
    return {"on": call, "do": do, "times": 1, **more}


def counts(succeeded: int = 0, failed: int = 0, missing: int = 0, pending: int = 0) -> dict[str, int]:
    total = succeeded + failed + missing + pending
    return {"succeeded": succeeded, "failed": failed, "missing": missing, "pending": pending, "total": total}


def spent(project: Project, name: str) -> None:
    """One more apply finds nothing to do, and does nothing."""
    assert project.plan()["changes"] == [], project.plan()["changes"]


# ---- results -------------------------------------------------------------------------------------------------------


def test_shuffled_failed_missing_and_broken_lines(project: Project, server: Served, name: str) -> None:
    """One task with everything wrong: each row gets its own answer or reason, and only what may succeed is retried."""
    server.faults(
        on_task("shuffle", times=1),
        on_task("fail-rows", rows=[2, 9], status_code=500, times=1),
        on_task("fail-rows", rows=[4], status_code=400),
        on_task("missing-rows", rows=[6], times=1),
        on_task("broken-line", rows=[8], times=1),
        on_task("duplicate-lines", rows=[1, 2], times=1),
        on_task("unknown-ids", rows=[3], times=1),
    )
    project.spec(name, rows=[f"Question number {number}?" for number in range(1, 13)])
    done = project.finish(code=7)
    assert done["rows"][name] == counts(succeeded=7, failed=3, missing=2)
    assert any("unreadable" in warning for warning in done["warnings"])
    lines = project.output(name)
    for line in lines:
        assert (line["status"] == "succeeded") == (f"Question number {line['key']}?" in (line["text"] or ""))
    reasons = {line["key"]: (line["status"], line["error"]["retryable"]) for line in lines if line["error"]}
    retryable = dict.fromkeys(("2", "9"), ("failed", True)) | dict.fromkeys(("6", "8"), ("missing", True))
    assert reasons == retryable | {"4": ("failed", False)}

    assert project.requests() == 4  # not the permanent failure
    server.faults()
    again = project.finish(code=7)
    assert again["rows"][name] == counts(succeeded=11, failed=1)
    assert [task["requests"] for task in server.billed(name)] == [12, 4]
    assert [line["status"] for line in project.output(name)].index("failed") == 3
    spent(project, name)


def test_attempts_are_bounded(project: Project, server: Served, name: str) -> None:
    """A row that always fails is asked `retry.attempts` times in all, once per apply, and then no more."""
    server.faults(on_task("fail-rows", rows=[1], status_code=500))
    project.spec(name, rows=1, retry={"attempts": 3})
    asked = []
    for _ in range(5):
        project.finish(code=7)
        asked.append(len(server.billed(name)))
    assert asked == [1, 2, 3, 3, 3]
    assert project.statuses(name) == ["failed"]
    spent(project, name)


def test_attempts_count_missing_rows_too(project: Project, server: Served, name: str) -> None:
    """A row whose line never comes is asked `retry.attempts` times as well."""
    server.faults(on_task("missing-rows", match="One"))
    project.spec(name, rows=["One?", "Two?"], retry={"attempts": 2})
    for _ in range(4):
        project.finish(code=7)
    assert [task["requests"] for task in server.billed(name)] == [2, 1]
    assert project.statuses(name) == ["missing", "succeeded"]


def test_a_permanent_failure_is_not_retried(project: Project, server: Served, name: str) -> None:
    """A row refused with 400 is asked once."""
    server.faults(on_task("fail-rows", status_code=400))
    project.spec(name, rows=3)
    project.finish(code=7)
    project.finish(code=7)
    assert [task["requests"] for task in server.billed(name)] == [3]
    spent(project, name)


def test_an_expired_task_keeps_its_answers(project: Project, server: Served, name: str) -> None:
    """Of a task that expired, what was answered is kept and paid once; the rest is asked again."""
    server.faults(on_task("expire", times=1))
    project.spec(name, rows=8)
    first = project.finish(code=7)["rows"][name]
    assert first["succeeded"] > 0
    assert first["missing"] > 0
    assert first["succeeded"] + first["missing"] == 8
    codes = {line["error"]["code"] for line in project.output(name) if line["error"]}
    assert codes == {"expired"}
    assert project.requests() == first["missing"]
    assert project.finish()["rows"][name] == counts(succeeded=8)
    assert server.answered(name) == 8


def test_a_task_that_fails_whole(project: Project, server: Served, name: str) -> None:
    """A task that fails without an output leaves its rows missing, with the provider's reason; they are asked again."""
    server.faults(on_task("fail", message="the cluster is down", times=1))
    project.spec(name, rows=3)
    assert project.finish(code=7)["rows"][name] == counts(missing=3)
    assert {line["error"]["message"] for line in project.output(name)} == {"the cluster is down"}
    assert project.finish()["rows"][name] == counts(succeeded=3)
    assert server.answered(name) == 3


def test_a_task_whose_every_row_fails(project: Project, server: Served, name: str) -> None:
    """Every row failed, so that the task reads `failed`: its output is read all the same."""
    server.faults(on_task("all-fail", status_code=400, message="too rude"))
    project.spec(name, rows=3)
    assert project.finish(code=7)["rows"][name] == counts(failed=3)
    assert {line["error"]["message"] for line in project.output(name)} == {"too rude"}
    spent(project, name)


# ---- reads ---------------------------------------------------------------------------------------------------------

READS: dict[str, Rules] = {
    "429 on models": [on("models", "429", retry_after=0.1)],
    "500 on models": [on("models", "500")],
    "429 on detail": [on("detail", "429")],
    "500 on detail": [on("detail", "503", times=2)],
    "garbage on detail": [on("detail", "garbage")],
    "cut detail": [on("detail", "cut")],
    "another word": [on("detail", "word", **{"as": "completed"}, times=99)],
    "texts for numbers": [on("detail", "strings", times=99)],
    "500 on download-url": [on("download-url", "500")],
    "429 on download": [on("download", "429")],
    "cut downloads": [on("download", "cut", times=2)],
    "lost download": [on("download", "lost-reply")],
    "ErrorCode on detail": [on("detail", "error-code", code="InternalError")],
    "429 on upload-url": [on("upload-url", "429")],
    "lost upload": [on("upload", "lost-reply")],
    "500 on upload": [on("upload", "500")],
}


@pytest.mark.parametrize("rules", READS.values(), ids=READS.keys())
def test_what_may_be_repeated_is_repeated(project: Project, server: Served, name: str, rules: Rules) -> None:
    """Trouble with a call that may be repeated costs some patience and nothing else."""
    server.faults(*rules)
    project.spec(name, rows=3)
    assert project.finish()["rows"][name] == counts(succeeded=3)
    assert server.answered(name) == 3
    spent(project, name)


@pytest.mark.parametrize("call", ["detail", "download-url", "download"])
def test_a_read_that_keeps_failing_only_waits(project: Project, server: Served, name: str, call: str) -> None:
    """When a read is refused all day, apply says so without losing anything; once it works again, apply goes on."""
    project.spec(name, rows=3)
    server.faults(on(call, "404" if call == "download" else "403", times=99))
    project.apply()
    done = project.call("apply", "--yes", "--json")
    assert done.code in (0, 1, 4), done
    assert done.err or done.json["warnings"]
    server.faults()
    assert project.finish()["rows"][name] == counts(succeeded=3)
    assert server.answered(name) == 3


# ---- the start -----------------------------------------------------------------------------------------------------


def test_429_on_create_is_busy(project: Project, server: Served, name: str) -> None:
    """A 429 on the start made nothing: the change is busy, apply exits 0, and the next apply sends it."""
    server.faults(on("create", "429", retry_after=1))
    project.spec(name, rows=3)
    done = project.apply()
    assert [change["outcome"] for change in done["changes"]] == ["busy"]
    assert server.billed(name) == []
    assert project.requests() == 3
    assert project.finish()["rows"][name] == counts(succeeded=3)
    assert server.answered(name) == 3


def test_429_on_create_is_waited_for(project: Project, server: Served, name: str) -> None:
    """With --wait, the same apply sends again what the provider was too busy for."""
    project.providers = {"demo": server.provider(max_requests=2)}
    server.faults(on("create", "429", retry_after=0.2, after=1, times=3))
    project.spec(name, rows=12)
    assert project.finish()["rows"][name] == counts(succeeded=12)
    assert server.answered(name) == 12


STARTS = [
    on("create", "500-after"),
    on("create", "lost-reply"),
    on("create", "cut"),
    on("create", "garbage"),
    on("create", "500"),
    on("create", "error-code", code="InternalError"),
]


@pytest.mark.parametrize("rule", STARTS, ids=lambda rule: rule["do"])
def test_an_unsure_start_settles_by_itself(project: Project, server: Served, name: str, rule: dict[str, Any]) -> None:
    """Where tasks can be listed, a start whose answer was lost is settled within one --wait, and billed once."""
    project.providers = {"demo": server.provider(max_requests=2)}
    server.faults(rule)
    project.spec(name, rows=11)
    assert project.finish()["rows"][name] == counts(succeeded=11)
    assert server.answered(name) == 11
    spent(project, name)


def test_a_lagging_list_is_not_believed(project: Project, server: Served, name: str) -> None:
    """A task that is not listed yet is no proof that it was never made: its requests are not sent a second time."""
    server.faults(on("create", "lost-reply"), on("list", "lag", seconds=1.5, times=99))
    project.spec(name, rows=3)
    assert project.finish()["rows"][name] == counts(succeeded=3)
    assert server.answered(name) == 3


@pytest.mark.parametrize("rule", STARTS, ids=lambda rule: rule["do"])
def test_an_unsure_start_at_wanqing_is_left_to_a_person(
    real: Project, server: Served, name: str, rule: dict[str, Any]
) -> None:
    """Where tasks cannot be listed, an unsure start stays: listed with both commands, 0 without --wait and 7 with."""
    server.faults(rule)
    real.spec(name, rows=3)
    done = real.call("apply", "--yes")
    assert done.code == 0, done.err
    (task,) = real.state()["tasks"]
    assert f"    runner state adopt {task} REMOTE_ID" in done.out.splitlines()
    assert f"    runner state abandon {task}" in done.out.splitlines()
    made = len(server.billed(name))

    plan = real.plan()
    assert (plan["summary"]["settle"], plan["summary"]["requests"]) == (1, 0)
    later = real.apply("--wait", code=7)
    assert [unresolved["task"] for unresolved in later["unresolved"]] == [task]
    assert [change["outcome"] for change in later["changes"]] == ["unsure"]
    assert len(server.billed(name)) == made


def test_adopting_a_start_that_happened(real: Project, server: Served, name: str) -> None:
    """`state adopt` takes the task that was made, refuses any other, and nothing is sent a second time."""
    real.spec("other-" + name, rows=["Another?"])
    real.apply()
    (other,) = server.billed("other-" + name)
    server.faults(on("create", "lost-reply"))
    real.spec(name, rows=3)
    real.apply()
    (task,) = [id for id, task in real.state()["tasks"].items() if task["batch"] == name]
    (made,) = server.billed(name)
    for wrong in (other["task"], "brt-nothing", "../../x", ""):
        done = real.call("state", "adopt", task, wrong)
        assert (done.code, done.out) == (1, ""), wrong
    assert real.call("state", "adopt", task, made["task"]).code == 0
    until_written(real, name)
    assert real.statuses(name) == ["succeeded"] * 3
    assert server.answered(name) == 3
    assert real.call("state", "adopt", task, made["task"]).code == 1


def test_abandoning_a_start_that_did_not_happen(real: Project, server: Served, name: str) -> None:
    """`state abandon` lets the requests be sent again, in the next apply."""
    server.faults(on("create", "500"))
    real.spec(name, rows=3)
    real.apply()
    (task,) = real.state()["tasks"]
    assert real.requests() == 0
    assert real.call("state", "abandon", task).code == 0
    assert real.requests() == 3
    until_written(real, name)
    assert real.statuses(name) == ["succeeded"] * 3
    assert [entry["requests"] for entry in server.billed(name)] == [3]


def test_one_unsure_start_does_not_hold_up_the_rest(real: Project, server: Served, name: str) -> None:
    """Beside an unsure start, other tasks are submitted, collected and counted; only its own rows are pending."""
    real.providers = {"demo": server.wanqing(max_requests=2)}
    real.spec(name, rows=10)
    server.faults(on("create", "lost-reply", after=1))
    for _ in range(4):
        done = real.apply()
    assert done["rows"][name]["pending"] == 2
    assert done["rows"][name]["succeeded"] == 8
    assert len(done["unresolved"]) == 1
    assert server.answered(name) == 10


def until_written(project: Project, name: str, rounds: int = 20) -> None:
    """`apply`, as a schedule would, until the output is there."""
    for _ in range(rounds):
        project.apply()
        if (project.root / f"outputs/{name}.jsonl").exists():
            return
    raise AssertionError("the output was never written")


# ---- errors that HTTP does not show --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "exit_code", "outcome", "sent_again"),
    [
        ("InvalidParameter", 1, "refused", 3),
        ("Throttling.User", 0, "busy", 3),
    ],
)
def test_an_error_code_beside_http_200(
    real: Project, server: Served, name: str, code: str, exit_code: int, outcome: str, sent_again: int
) -> None:
    """`ErrorCode` decides what a start came to, whatever the HTTP status says."""
    server.faults(on("create", "error-code", code=code, message="so it is"))
    real.spec(name, rows=3)
    done = real.apply(code=exit_code)
    assert [change["outcome"] for change in done["changes"]] == [outcome]
    assert server.billed(name) == []
    assert real.requests() == sent_again


def test_an_upload_that_is_not_taken(project: Project, server: Served, name: str) -> None:
    """`result` other than 1 is a failed upload: nothing is started, and the next apply sends it."""
    server.faults(on("upload", "refuse-result", result=0))
    project.spec(name, rows=3)
    project.apply(code=1)
    assert server.billed(name) == []
    assert project.finish()["rows"][name] == counts(succeeded=3)


def test_nothing_listens(tmp_path: Path) -> None:
    """With nothing at base_url plan and apply are expected errors that name the address, within seconds."""
    project = Project(tmp_path, {"demo": {"type": "simulator", "base_url": "http://127.0.0.1:9"}})
    project.spec(rows=2)
    done = project.call("plan")
    assert done.code == 1
    assert "127.0.0.1:9" in done.err
    assert project.call("plan", "--offline").code == 0


def test_faults_over_many_tasks(project: Project, server: Served, name: str) -> None:
    """A job of many tasks under a rain of faults ends with every row answered and none paid twice."""
    project.providers = {"demo": server.provider(max_requests=5)}
    rain: Sequence[dict[str, Any]] = [
        {"on": "create", "do": "lost-reply", "every": 4, "times": 2},
        {"on": "create", "do": "429", "every": 5, "times": 2},
        {"on": "detail", "do": "500", "every": 7},
        {"on": "download", "do": "cut", "every": 3, "times": 5},
        {"on": "task", "do": "shuffle"},
        {"on": "task", "do": "fail-rows", "share": 0.2, "status_code": 500, "times": 5},
        {"on": "task", "do": "missing-rows", "share": 0.1, "times": 4},
    ]
    server.faults(*rain)
    project.spec(name, rows=60, retry={"attempts": 20})
    for _ in range(8):
        done = project.call("apply", "--yes", "--wait", "--json")
        rows = done.json["rows"][name]
        assert sum(rows[kind] for kind in ("succeeded", "failed", "missing", "pending")) == 60
        if done.code == 0:
            break
    assert rows == counts(succeeded=60)
    assert [json.loads(json.dumps(line))["key"] for line in project.output(name)] == [str(n) for n in range(1, 61)]
    assert server.answered(name) == 60
