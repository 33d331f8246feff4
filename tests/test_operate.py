"""What a person does between applies: cancel, retry, remove, give up, sample, select, approve, look after the state."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import Project, Served, serving

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server"), speed=1) as server:
        yield server


@pytest.fixture
def name() -> str:
    """A spec's name that no other test uses, so that a shared server's bill can be told apart."""
    return f"o{next(NUMBERS)}"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project on the embedded simulator."""
    return Project(tmp_path)


@pytest.fixture
def slow(tmp_path: Path, server: Served) -> Project:
    """A project at a server whose tasks take as long as a test says."""
    server.faults()
    return Project(tmp_path, {"demo": server.provider()})


def lasting(name: str, seconds: float) -> dict[str, Any]:
    return {"on": "task", "do": "slow", "seconds": seconds, "name": f"{name}-*"}


def endless(name: str) -> dict[str, Any]:
    return {"on": "task", "do": "never-end", "name": f"{name}-*"}


def failing(**rules: Any) -> str:
    return json.dumps([{"on": "task", "do": "fail-rows", "rows": [2], "times": 1, **rules}])


def actions(plan: Any) -> list[str]:
    return [change["action"] for change in plan["changes"]]


def await_results(project: Project) -> Any:
    """Plan until there is something to collect; returns that plan."""
    while "collect" not in actions(plan := project.plan()):
        time.sleep(0.1)
    return plan


# ---- cancel and retry ----------------------------------------------------------------------------------------------


def test_cancel_submits_nothing_more_before_retry(slow: Project, server: Served, name: str) -> None:
    """cancel says that the task goes on where it cannot be stopped, still collects it, and submits nothing more."""
    server.faults(lasting(name, 1), {"on": "task", "do": "missing-rows", "rows": [3], "times": 1})
    slow.spec(name, rows=3)
    slow.apply()
    done = slow.call("cancel", name)
    assert done.code == 0
    assert "goes on and is paid" in done.out
    slow.rows([f"{name} asks {number}?" for number in range(1, 4)] + ["One more?"], name)
    assert slow.requests() == 0
    rows = slow.finish(code=7)["rows"][name]
    assert (rows["succeeded"], rows["total"]) == (2, 4)
    assert slow.requests() == 0
    assert server.answered(name) == 2
    assert slow.call("retry", name).code == 0
    assert slow.requests() == 2
    slow.finish()
    assert slow.statuses(name) == ["succeeded"] * 4
    assert server.answered(name) == 4


def test_cancel_before_anything_was_sent(project: Project) -> None:
    """Cancelled before its first apply, a spec submits nothing before retry: its rows are missing, not waited for."""
    project.spec(rows=2)
    assert project.call("cancel", "job").code == 0
    assert project.requests() == 0
    assert project.finish(code=7)["rows"]["job"]["missing"] == 2
    assert project.call("retry", "job").code == 0
    assert project.requests() == 2


def test_retry_asks_failed_and_missing_rows_afresh(project: Project) -> None:
    """retry lets exhausted rows, and those that failed for good, be asked again; answered ones are kept."""
    project.providers["demo"]["faults"] = "faults.json"
    project.write("faults.json", failing(status_code=400))
    project.spec(rows=4)
    project.finish(code=7)
    before = {line["key"]: line["text"] for line in project.output()}
    assert project.requests() == 0
    project.write("faults.json", "[]")
    assert project.call("retry", "job", "--failed").code == 0
    assert project.requests() == 1
    project.finish()
    assert project.statuses() == ["succeeded"] * 4
    assert {line["key"]: line["text"] for line in project.output() if line["key"] != "2"} == {
        key: text for key, text in before.items() if key != "2"
    }
    assert project.bill()["requests"] == 5


def test_retry_counts_attempts_afresh(project: Project) -> None:
    """After retry a row may fail `retry.attempts` times again."""
    project.providers["demo"]["faults"] = "faults.json"
    project.write("faults.json", json.dumps([{"on": "task", "do": "fail-rows", "status_code": 500}]))
    project.spec(rows=1, retry={"attempts": 2})
    for _ in range(3):
        project.finish(code=7)
    assert project.bill()["requests"] == 2
    project.call("retry", "job")
    for _ in range(3):
        project.finish(code=7)
    assert project.bill()["requests"] == 4


def test_retry_all_asks_everything(project: Project) -> None:
    """retry --all asks answered rows too, once."""
    project.spec(rows=3)
    project.finish()
    assert project.call("retry", "job", "--all").code == 0
    assert project.requests() == 3
    project.finish()
    assert project.statuses() == ["succeeded"] * 3
    assert project.bill()["requests"] == 6
    assert project.requests() == 0


def test_retry_of_nothing_changes_nothing(project: Project) -> None:
    """retry of a spec without failures leaves nothing to do."""
    project.spec(rows=2)
    project.finish()
    assert project.call("retry", "job").code == 0
    assert project.requests() == 0


# ---- specs that go -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_remove", ["keep", "cancel"])
def test_a_removed_spec(slow: Project, server: Served, name: str, on_remove: str) -> None:
    """A spec that disappears submits nothing; what it had running is paid, and is collected when it comes back."""
    server.faults(lasting(name, 0.5))
    slow.spec("stays-" + name, rows=1)
    slow.spec(name, rows=2, on_remove=on_remove)
    slow.apply()
    spec = slow.root / f"specs/{name}.yaml"
    text = spec.read_text(encoding="utf-8")
    spec.unlink()
    assert slow.requests() == 0
    slow.finish()
    while {task["phase"] for task in slow.state()["tasks"].values()} != {"collected"}:
        slow.apply()
    assert name in [spec["name"] for spec in slow.call("status", "--json").json["specs"]]
    spec.write_text(text, encoding="utf-8")
    assert slow.requests() == 0
    slow.finish()
    assert slow.statuses(name) == ["succeeded"] * 2
    assert server.answered(name) == 2


def test_giving_up(slow: Project, server: Served, name: str) -> None:
    """After wait.give_up unanswered rows are missing, `gave_up`, and not asked again; a late result still counts."""
    server.faults(lasting(name, 4))
    slow.spec(name, rows=2, wait={"max": "1s", "give_up": "1s"})
    slow.apply()
    time.sleep(1.1)
    rows = slow.apply("--wait", code=7)["rows"][name]
    assert (rows["missing"], rows["pending"]) == (2, 0)
    assert [line["error"] | {"message": ""} for line in slow.output(name)] == [
        {"code": "gave_up", "message": "", "retryable": False}
    ] * 2
    assert slow.requests() == 0
    await_results(slow)
    slow.finish()
    assert slow.statuses(name) == ["succeeded"] * 2
    assert server.answered(name) == 2


def test_giving_up_within_one_wait(slow: Project, server: Served, name: str) -> None:
    """A task that never ends does not hold up apply --wait longer than wait.give_up; retry asks anew."""
    server.faults(endless(name))
    slow.spec(name, rows=2, wait={"max": "1s", "give_up": "1s"})
    rows = slow.finish(code=7)["rows"][name]
    assert rows["missing"] == 2
    assert slow.apply("--wait", code=7)["rows"][name]["missing"] == 2
    server.faults(lasting(name, 0.1))
    slow.call("retry", name)
    assert slow.requests() == 2
    slow.finish()
    assert slow.statuses(name) == ["succeeded"] * 2


def test_a_provider_that_runner_yaml_no_longer_names(slow: Project, server: Served, name: str) -> None:
    """Tasks at a provider that is gone from runner.yaml are warned of, hinder nobody, and are reached again with it."""
    server.faults(lasting(name, 0.1))
    slow.spec(name, rows=2)
    slow.apply()
    (task,) = slow.state()["tasks"]
    demo = slow.providers.pop("demo")
    slow.providers["embedded"] = {"type": "simulator", "speed": 20}
    slow.configure(defaults={"provider": "embedded"})
    (slow.root / f"specs/{name}.yaml").unlink()
    slow.spec("another-" + name, rows=1)
    assert any("no longer names" in warning for warning in slow.finish()["warnings"])
    for command in (("cancel", name), ("state", "show", task), ("status",), ("retry", name)):
        assert slow.call(*command).code == 0, command
    slow.providers = {"demo": demo}
    slow.configure(defaults={"provider": "demo"})
    (slow.root / f"specs/another-{name}.yaml").unlink()
    slow.spec(name)
    slow.finish()
    assert slow.statuses(name) == ["succeeded"] * 2
    assert server.answered(name) == 2


# ---- parts of a project --------------------------------------------------------------------------------------------


def test_a_sample_is_the_first_rows(project: Project) -> None:
    """--sample N submits the first N rows of each spec; a whole apply then asks only the rest."""
    project.spec("a", rows=6)
    project.spec("b", rows=2, samples=2)
    done = project.finish("--sample", "3")
    assert done["summary"]["requests"] == 3 + 4
    assert project.bill()["requests"] == 7
    assert project.statuses("a")[:3] == ["succeeded"] * 3
    assert (done["rows"]["a"]["succeeded"], done["rows"]["a"]["total"]) == (3, 6)
    assert project.requests() == 3
    project.finish()
    assert project.statuses("a") == ["succeeded"] * 6
    assert project.bill()["requests"] == 10


def test_a_sample_has_room_below_a_limit(project: Project) -> None:
    """Limits count what is submitted, so that a sample of a job over its limit runs."""
    project.configure(limits={"requests": 3})
    project.spec(rows=6)
    project.finish("--sample", "3")
    assert project.bill()["requests"] == 3


def test_select_touches_nothing_else(project: Project) -> None:
    """--select takes names and globs, and repeats; other specs are neither submitted nor published."""
    for name in ("a-1", "a-2", "b-1", "b-2"):
        project.spec(name, rows=1)
    assert project.requests("--select", "a-*") == 2
    project.finish("--select", "a-*", "--select", "b-2")
    assert sorted(path.stem for path in (project.root / "outputs").iterdir()) == ["a-1", "a-2", "b-2"]
    assert project.requests() == 1


# ---- approvals -----------------------------------------------------------------------------------------------------


def test_a_saved_plan_is_applied_as_it_is(project: Project) -> None:
    """`plan --out FILE`, then `apply FILE`, without --yes: exactly what was reviewed, and once.

    It shows a prompt of each spec to whoever reviews it, unless `blobs: {prompts: drop}` says not to.
    """
    project.configure(blobs={"prompts": "drop"})
    project.spec("a", rows=2)
    project.spec("b", rows=2)
    file = str(project.root / "plan.json")
    assert project.call("plan", "--out", file, "--select", "a").code == 0
    assert "a asks" not in Path(file).read_text(encoding="utf-8")
    assert project.call("apply", file, "--wait").code == 0
    assert project.bill()["requests"] == 2
    assert project.requests() == 2
    assert project.call("apply", file).code == 5


def test_a_digest_outlives_what_time_does(slow: Project, server: Served, name: str) -> None:
    """The digest covers submits and cancels: not the tasks that ended since, and it is the same offline."""
    server.faults(lasting(name, 2))
    slow.spec(name, rows=2)
    slow.apply()
    slow.rows(3, name)
    plan = slow.plan()
    assert slow.plan("--offline")["digest"] == plan["digest"]
    later = await_results(slow)
    assert (actions(plan), actions(later)) == (["submit", "wait"], ["collect", "submit"])
    assert later["digest"] == plan["digest"]
    slow.rows(4, name)
    assert slow.plan()["digest"] != plan["digest"]
    slow.rows(3, name)
    assert slow.call("apply", "--expect", plan["digest"]).code == 0
    assert server.answered(name) == 3


def test_a_digest_is_the_same_offline_before_the_first_apply(project: Project) -> None:
    """On the embedded simulator, whose models are known offline, so is the digest of a new spec."""
    project.spec(rows=2)
    assert project.plan("--offline")["digest"] == project.plan()["digest"]


def test_offline_needs_neither_secret_nor_network(tmp_path: Path) -> None:
    """plan --offline with no key and nobody at base_url: a selector without a pin has neither model nor cost."""
    config = {
        "type": "wanqing",
        "base_url": "http://127.0.0.1:9",
        "project_id": "p",
        "api_key": {"env": "TEST_NO_SUCH_KEY"},
    }
    project = Project(tmp_path, {"demo": config})
    project.spec("chosen", rows=2)
    project.spec("given", rows=3, model="mi-9")
    for args in (("plan", "--offline", "--json"), ("validate",), ("render", "given"), ("status",)):
        assert project.run(*args, env={"TEST_NO_SUCH_KEY": None}).code == 0, args
    plan = project.plan("--offline")
    assert [(change["model"], change["cost"]) for change in plan["changes"]] == [(None, None), ("mi-9", None)]
    assert plan["summary"]["requests"] == 5
    assert not (tmp_path / ".runner/state.json").exists()


def test_an_offline_plan_shows_tasks_as_last_seen(slow: Project, server: Served, name: str) -> None:
    """Offline, tasks under way are waited for and pinned models are known."""
    server.faults(lasting(name, 0.1))
    slow.spec(name, rows=2)
    slow.apply()
    assert actions(await_results(slow)) == ["collect", "publish"]
    assert actions(slow.plan("--offline")) == ["wait"]


# ---- the state -----------------------------------------------------------------------------------------------------


def test_the_state_commands(project: Project) -> None:
    """list, show and pull tell what is there; rm forgets a task, so that its rows are asked again; push restores."""
    project.spec(rows=2)
    assert project.call("state", "list").code == 0
    assert project.call("state", "pull").out == ""
    project.finish()
    (task,) = project.state()["tasks"]
    listed = project.call("state", "list").out
    assert task in listed
    assert "collected" in listed
    assert project.call("state", "show").json == project.state()
    shown = project.call("state", "show", task).json
    assert (shown["task"], shown["batch"]) == (task, "job")
    pulled = project.call("state", "pull").out
    assert json.loads(pulled) == project.state()

    assert project.call("state", "rm", task).code == 0
    assert project.state()["tasks"] == {}
    assert project.requests() == 2
    file = project.write("state.json", pulled)
    assert project.call("state", "push", str(file)).code == 6
    assert project.call("state", "push", str(file), "--force").code == 0
    assert project.plan()["changes"] == []
    assert project.bill()["requests"] == 2


def test_pushing_what_is_no_state(project: Project) -> None:
    """A file that is no state document is refused, and the state stays as it is."""
    project.spec(rows=1)
    project.finish()
    before = project.state()
    for text in ("", "[]", "{}", '{"format": 7}'):
        assert project.call("state", "push", str(project.write("state.json", text)), "--force").code == 1, text
    assert project.state() == before


def test_only_what_is_interrupted_is_adopted_or_abandoned(project: Project) -> None:
    """adopt and abandon refuse a task that is at rest."""
    project.spec(rows=1)
    project.finish()
    (task,) = project.state()["tasks"]
    before = project.state()
    assert project.call("state", "adopt", task, "brt-1").code == 1
    assert project.call("state", "abandon", task).code == 1
    assert project.state() == before


def test_status_tells_of_specs_and_tasks(slow: Project, server: Served, name: str) -> None:
    """status counts rows by spec and lists tasks that are on their way, without asking the provider."""
    server.faults(endless(name))
    slow.spec(name, rows=2)
    assert slow.call("status").code == 0
    slow.apply()
    server.faults({"on": "any", "do": "500"})
    done = slow.call("status", "--json").json
    (spec,) = done["specs"]
    assert spec["rows"] == {"succeeded": 0, "failed": 0, "missing": 0, "pending": 2, "total": 2}
    assert [(task["phase"], task["requests"], bool(task["remote_id"])) for task in spec["tasks"]] == [("open", 2, True)]
    assert name in slow.call("status").out
