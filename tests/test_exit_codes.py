"""The exit code of every way in which a command can end, and what stands on stdout and stderr beside it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

import pytest
from helpers import COMMAND, Done, Project, Served, call, finished, run, serving, spawn

import runner.cli.commands
from runner.edge.store import FolderStore


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("fresh"))
    project.spec(rows=4)
    return project.root


@pytest.fixture
def project(fresh: Path, tmp_path: Path) -> Project:
    """A project of one spec that was never applied."""
    copytree(fresh, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def unbilled(project: Project) -> bool:
    return not (project.root / ".runner/simulator").exists() or project.bill()["requests"] == 0


# ---- 0 and 2 -------------------------------------------------------------------------------------------------------


def test_0_when_done_and_when_nothing_is_to_do(project: Project) -> None:
    """apply exits 0 when it has done its work, and again when there is none."""
    assert project.run("apply", "--yes", "--wait").code == 0
    again = project.run("apply", "--yes")
    assert again.code == 0
    assert "Nothing to do" in again.out


def test_2_when_a_plan_has_changes(project: Project) -> None:
    """plan --detailed-exitcode is 2 with changes and 0 without; plan alone is 0 with both."""
    assert project.run("plan").code == 0
    assert project.run("plan", "--detailed-exitcode").code == 2
    project.finish()
    assert project.call("plan", "--detailed-exitcode").code == 0


def test_waiting_is_no_change(project: Project, server: Served) -> None:
    """A plan whose tasks only have to be waited for has no changes: 0."""
    project.providers = {"demo": server.provider()}
    project.configure()
    project.spec("only-wait", rows=["Slow?"])
    (project.root / "specs/job.yaml").unlink()
    server.faults({"on": "task", "do": "slow", "seconds": 3000, "name": "only-wait-*"})
    project.apply()
    plan = project.call("plan", "--json", "--detailed-exitcode")
    assert (plan.code, [change["action"] for change in plan.json["changes"]]) == (0, ["wait"])


# ---- 1 -------------------------------------------------------------------------------------------------------------

USAGE: dict[str, tuple[str, ...]] = {
    "unknown command": ("aply",),
    "unknown option": ("plan", "--jsn"),
    "bad value": ("apply", "--timeout", "soon"),
    "bad number": ("apply", "--sample", "0"),
    "bad limit": ("apply", "--yes", "--allow", "patience=3"),
    "missing argument": ("render",),
    "too many arguments": ("status", "now"),
    "unknown spec": ("plan", "--select", "nobody"),
    "unknown task": ("state", "show", "t-0"),
    "missing saved plan": ("apply", "nowhere.json"),
    "missing file": ("state", "push", "nowhere.json"),
    "missing faults": ("simulate", "--faults", "nowhere.yaml"),
    "cancel nobody": ("cancel", "nobody"),
    "retry nobody": ("retry", "nobody"),
    "adopt nothing": ("state", "adopt", "t-0", "brt-1"),
    "abandon nothing": ("state", "abandon", "t-0"),
}


@pytest.mark.parametrize("args", USAGE.values(), ids=USAGE.keys())
def test_1_for_wrong_usage(project: Project, args: tuple[str, ...]) -> None:
    """Wrong usage is 1, not click's 2, with a word on stderr and nothing on stdout."""
    done = project.call(*args)
    assert (done.code, done.out) == (1, "")
    assert done.err.strip()


def test_1_for_wrong_usage_of_the_real_command(project: Project) -> None:
    """The same through a process of its own, whose exit status a script sees."""
    assert project.run("aply").code == 1
    assert project.run("plan", "--jsn").code == 1


def test_1_without_a_project(tmp_path: Path) -> None:
    """Outside any project commands say how to make one."""
    done = run("plan", cwd=tmp_path)
    assert done.code == 1
    assert "    runner init" in done.err.splitlines()


def test_1_for_what_is_not_a_saved_plan(project: Project) -> None:
    """A file that is no plan is an expected error."""
    for text in ("", "[]", "{}", '{"digest": 1}', "\0"):
        project.write("plan.json", text)
        assert project.call("apply", "plan.json").code == 1, text


def test_1_for_invalid_documents(project: Project) -> None:
    """Every problem of every file is on stderr at once, each with its place; validate says the same on stdout."""
    project.write("specs/job.yaml", "version: 1\nname: job\nmodle: mi-9\n")
    project.write("specs/other.yaml", "version: 2\n")
    for command in (("plan",), ("apply", "--yes"), ("status",)):
        done = project.call(*command)
        assert done.code == 1
        assert "specs/job.yaml:3:1: " in done.err
        assert "specs/other.yaml:1:" in done.err
    done = project.call("validate")
    assert done.code == 1
    assert "specs/job.yaml:3:1: " in done.out


def test_1_for_a_missing_input(project: Project) -> None:
    """A spec whose rows are not there is an expected error with its place."""
    (project.root / "specs/data/job.jsonl").unlink()
    done = project.call("apply", "--yes")
    assert done.code == 1
    assert "specs/job.yaml:" in done.err


def test_1_for_a_row_that_lacks_a_column(project: Project) -> None:
    """A column that a template needs and a row lacks is an error before anything is sent."""
    project.rows([{"id": 1, "q": "Here?"}, {"id": 2}])
    done = project.call("apply", "--yes")
    assert done.code == 1
    assert unbilled(project)


def test_1_without_approval_and_without_a_terminal(project: Project) -> None:
    """Without a terminal nothing prompts: apply without --yes says how to approve beforehand and does nothing."""
    done = project.run("apply")
    assert done.code == 1
    assert "    runner apply --yes" in done.err.splitlines()
    assert project.run("apply", "--json").code == 1
    assert unbilled(project)


def test_1_when_a_provider_refuses(project: Project, server: Served) -> None:
    """A clear no to the start is 1; nothing is remembered of it, and the next apply sends it again."""
    project.providers = {"demo": server.provider()}
    project.configure()
    project.spec(rows=["Refused by name?"])
    server.faults({"on": "create", "do": "400", "code": "InvalidParameter", "message": "no such thing", "times": 1})
    done = project.apply(code=1)
    assert done["changes"][0]["outcome"] == "refused"
    assert project.requests() == 1
    project.finish()
    assert project.statuses() == ["succeeded"]


# ---- 3 -------------------------------------------------------------------------------------------------------------

LIMITS: dict[str, dict[str, Any]] = {
    "requests": {"requests": 3},
    "tokens": {"tokens": 20},
    "cost": {"cost": 0.000001},
    "cost in a currency": {"cost": {"CNY": 0.000001}},
    "another currency": {"cost": {"USD": 1000}},
    "per spec": {"per_spec": {"requests": 3}},
}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS.keys())
def test_3_over_a_limit(project: Project, limits: dict[str, Any]) -> None:
    """Over a limit apply exits 3 and submits nothing; plan exits 0 or 2 and lists it under `limits`."""
    project.configure(limits=limits)
    assert [over["name"].split(".")[0] for over in project.plan()["limits"]] == [next(iter(limits))]
    assert project.call("plan", "--detailed-exitcode").code == 2
    done = project.call("apply", "--yes", "--wait", "--json")
    assert done.code == 3
    assert {change["outcome"] for change in done.json["changes"]} == {"skipped"}
    assert "runner apply --allow" in done.err
    assert unbilled(project)


def test_3_for_an_unknown_price(project: Project) -> None:
    """When cost is limited, a model without a price is over."""
    project.configure(limits={"cost": 1000})
    project.spec(model="mi-6")
    assert project.plan()["changes"][0]["cost"] is None
    assert project.call("apply", "--yes").code == 3
    assert unbilled(project)


def test_allow_lifts_one_limit_for_once(project: Project) -> None:
    """--allow replaces the limit it names, and no other."""
    project.configure(limits={"requests": 3, "cost": 0.000001})
    assert project.call("apply", "--yes", "--allow", "cost=80").code == 3
    assert project.call("apply", "--yes", "--allow", "cost=80", "--allow", "requests=4").code == 0
    assert project.bill()["requests"] == 4


# ---- 4 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "where"), [(None, "TEST_WANQING_KEY"), ("", "TEST_WANQING_KEY"), ("invalid-1", "p")])
def test_4_for_a_bad_key(project: Project, server: Served, key: str | None, where: str) -> None:
    """A secret that is missing, empty or refused is 4, names what is wrong and not the key; nothing is submitted."""
    project.providers = {"demo": server.wanqing()}
    project.configure()
    for command in (("plan",), ("apply", "--yes")):
        done = project.run(*command, env={"TEST_WANQING_KEY": key})
        assert done.code == 4, done.err
        assert where in done.err
        assert "invalid-1" not in done.err + done.out


def test_4_for_a_missing_secret_file(project: Project, server: Served) -> None:
    """A secret's file that is not there is 4 as well."""
    project.providers = {"demo": server.wanqing(api_key={"file": "keys/none"})}
    project.configure()
    assert project.call("apply", "--yes").code == 4


def test_a_provider_that_no_selected_spec_uses_needs_no_key(project: Project, server: Served) -> None:
    """Another provider's missing secret does not hinder a spec that does not use it."""
    project.providers["real"] = server.wanqing()
    project.configure()
    assert project.run("apply", "--yes", env={"TEST_WANQING_KEY": None}).code == 0


# ---- 5 -------------------------------------------------------------------------------------------------------------


def test_5_for_a_stale_saved_plan(project: Project) -> None:
    """A saved plan whose state has moved on since, or whose specs have, is stale; nothing is submitted."""
    assert project.call("plan", "--out", str(project.root / "plan.json")).code == 0
    project.rows(5)
    assert project.call("apply", str(project.root / "plan.json")).code == 5
    assert unbilled(project)
    project.rows(4)
    project.finish()
    assert project.call("apply", str(project.root / "plan.json")).code == 5
    assert project.bill()["requests"] == 4


def test_5_for_another_digest(project: Project) -> None:
    """--expect with another digest is 5 and nothing is submitted; with the plan's own it needs no --yes."""
    assert project.call("apply", "--expect", "sha256:" + "0" * 64).code == 5
    assert project.call("apply", "--yes", "--expect", "x").code == 5
    assert unbilled(project)
    assert project.call("apply", "--expect", project.plan()["digest"]).code == 0
    assert project.bill()["requests"] == 4


# ---- 6 -------------------------------------------------------------------------------------------------------------


def test_6_for_another_state(project: Project) -> None:
    """`state push` refuses a document of another lineage or an older serial, and --force overrules it."""
    project.finish()
    old = project.call("state", "pull").out
    project.rows(5)
    project.finish()
    file = str(project.write("state.json", old))
    assert project.call("state", "push", file).code == 6
    other = project.write("other.json", json.dumps({**json.loads(old), "lineage": "another", "serial": 99}))
    assert project.call("state", "push", str(other)).code == 6
    assert project.call("state", "push", file, "--force").code == 0
    assert project.state()["serial"] > json.loads(old)["serial"]


def test_6_when_the_state_is_replaced_under_a_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose state is replaced by another one stops with 6 and leaves the other as it is."""
    project.finish()
    project.rows(5)
    document = project.root / ".runner/state.json"
    stolen = json.dumps({**project.state(), "lineage": "another"}).encode()
    swap = FolderStore.swap

    def steal(self: FolderStore, old: bytes | None, new: bytes) -> None:
        document.write_bytes(stolen)
        swap(self, old, new)

    monkeypatch.setattr(FolderStore, "swap", steal)
    done = project.call("apply", "--yes")
    assert done.code == 6
    assert document.read_bytes() == stolen
    assert project.bill()["requests"] == 4


def test_6_when_the_state_never_holds_still(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that changes before every write is a conflict at last, and nothing was submitted."""
    project.finish()
    project.rows(5)
    document = project.root / ".runner/state.json"
    swap = FolderStore.swap

    def disturb(self: FolderStore, old: bytes | None, new: bytes) -> None:
        document.write_bytes(document.read_bytes() + b"\n")
        swap(self, old, new)

    monkeypatch.setattr(FolderStore, "swap", disturb)
    assert project.call("apply", "--yes").code == 6
    assert project.bill()["requests"] == 4


# ---- 7 -------------------------------------------------------------------------------------------------------------


def test_7_with_failed_rows(project: Project) -> None:
    """Rows that failed for good are 7 with --wait, and 7 again when nothing is left to do; without, 0 until then."""
    rules = [{"on": "task", "do": "fail-rows", "rows": [2], "status_code": 400}]
    project.providers = {"demo": {"type": "simulator", "speed": 20, "faults": "faults.json"}}
    project.write("faults.json", json.dumps(rules))
    project.configure()
    done = project.apply("--wait", code=7)
    assert done["rows"]["job"] == {"succeeded": 3, "failed": 1, "missing": 0, "pending": 0, "total": 4}
    assert project.run("apply", "--yes").code == 7
    assert project.run("apply", "--yes", "--wait").code == 7


# ---- 8 -------------------------------------------------------------------------------------------------------------


def test_8_at_the_timeout(project: Project, server: Served) -> None:
    """A task that still runs at --timeout is 8; its rows are pending, and it is asked after by the next apply."""
    project.providers = {"demo": server.provider()}
    project.configure()
    project.spec("sluggish", rows=["Slow?", "Slower?"])
    server.faults({"on": "task", "do": "slow", "seconds": 100_000, "name": "sluggish-*"})
    done = project.apply("--wait", "--timeout", "1s", "--select", "sluggish", code=8)
    assert done["rows"]["sluggish"] == {"succeeded": 0, "failed": 0, "missing": 0, "pending": 2, "total": 2}
    assert project.apply("--select", "sluggish", code=0)["changes"][0]["outcome"] == "waiting"
    assert server.answered("sluggish") == 2


# ---- 130 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_130_when_interrupted(tmp_path: Path, server: Served, number: signal.Signals) -> None:
    """SIGINT and SIGTERM end an apply that waits with 130 and a word on stderr; the next goes on from there (F23)."""
    name = f"stopped-{number}"
    project = Project(tmp_path, {"demo": server.provider()})
    project.spec(name, rows=3)
    server.faults({"on": "task", "do": "slow", "seconds": 100, "name": f"{name}-*"})
    process = spawn("apply", "--yes", "--wait", cwd=tmp_path)
    await_task(process, server, name)
    process.send_signal(number)
    done = finished(process)
    assert done.code == 130, done.err
    assert "the same command goes on from here" in done.err
    project.finish()
    assert project.statuses(name) == ["succeeded"] * 3
    assert server.answered(name) == 3


def await_task(process: Popen[bytes], server: Served, name: str) -> None:
    while not server.billed(name):
        assert process.poll() is None
        time.sleep(0.05)


def test_130_at_any_moment(tmp_path: Path, server: Served) -> None:
    """Interrupted at any moment, apply exits 130 without a traceback, and nothing is asked twice in the end."""
    project = Project(tmp_path, {"demo": server.provider(max_requests=2)})
    project.spec("anytime", rows=6)
    codes = []
    for moment in range(10):
        process = spawn("apply", "--yes", "--wait", cwd=tmp_path)
        time.sleep(0.12 * moment)
        process.send_signal(signal.SIGINT)
        process.wait()
        codes.append(process.returncode)
        assert b"Traceback" not in process.communicate()[1] or moment < 2  # Python itself may still be starting
    assert set(codes) <= {130, 0, -signal.SIGINT}
    project.finish()
    assert project.statuses("anytime") == ["succeeded"] * 6
    assert server.answered("anytime") == 6


# ---- 70 ------------------------------------------------------------------------------------------------------------


def test_70_for_a_bug(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What should not happen says that it is a bug, and tells neither a traceback nor the error's own text."""

    def broken(*_: object) -> None:
        raise AssertionError("sk-secret")

    monkeypatch.setattr(runner.cli.commands, "tidy", broken)
    done = project.call("plan")
    assert done.code == 70
    assert "bug in runner" in done.err
    assert "sk-secret" not in done.err


# ---- disks and pipes -----------------------------------------------------------------------------------------------


def test_a_state_that_cannot_be_read_is_an_expected_error(project: Project) -> None:
    """A damaged state document, and one of a later format, are expected errors; the file stays as it is."""
    for text in ("", "{}", "[]", "null", '{"format": 99}', '{"format": 1, "tasks": 3}', "\xff"):
        file = project.write(".runner/state.json", text)
        for command in (("plan",), ("apply", "--yes"), ("status",), ("state", "list")):
            done = project.call(*command)
            assert (done.code, bool(done.err)) == (1, True), (text, command, done)
        assert file.read_text(encoding="utf-8") == text


def test_a_closed_pipe_is_no_bug(project: Project) -> None:
    """`runner plan --json | head -0`: the reader is gone, which is neither a traceback nor a bug."""
    reading, writing = os.pipe()
    os.close(reading)
    process = Popen([*COMMAND, "plan", "--json"], cwd=project.root, stdout=writing, stderr=PIPE, stdin=DEVNULL)
    os.close(writing)
    err = process.communicate(timeout=30)[1].decode()
    assert process.returncode in (1, 141)
    assert "Traceback" not in err
    assert "bug" not in err


# ---- JSON ----------------------------------------------------------------------------------------------------------


def test_json_is_one_document(project: Project) -> None:
    """plan, apply, status and validate print one JSON document with the documented keys and nothing else."""
    plan = project.run("plan", "--json").json
    assert {"format_version", "digest", "state", "changes", "summary"} <= plan.keys()
    assert plan["format_version"] == 1
    assert plan["state"].keys() == {"lineage", "serial"}
    (change,) = plan["changes"]
    keys = {"spec", "action", "reason", "requests", "shards", "task", "model", "cost"}
    assert keys <= change.keys()
    assert change["cost"].keys() == {"estimate", "currency"}
    actions = {"settle", "collect", "cancel", "submit", "publish", "wait"}
    assert plan["summary"].keys() == actions | {"requests"}

    applied = project.run("apply", "--yes", "--wait", "--json").json
    assert applied["digest"] == plan["digest"]
    assert applied["changes"][0] | change == applied["changes"][0]
    assert {c["outcome"] for c in applied["changes"]} == {"done"}
    assert [c["action"] for c in applied["changes"]] == ["submit", "collect", "publish"]
    assert applied["rows"] == {"job": {"succeeded": 4, "failed": 0, "missing": 0, "pending": 0, "total": 4}}

    status = project.run("status", "--json").json
    (spec,) = status["specs"]
    assert (spec["name"], spec["rows"]) == ("job", applied["rows"]["job"])
    (task,) = spec["tasks"]
    assert {"task", "remote_id", "phase", "requests"} <= task.keys()
    assert (task["phase"], task["requests"]) == ("collected", 4)

    assert project.run("validate", "--format", "json").json == {"problems": []}
    project.write("specs/job.yaml", "version: 1\nnmae: job\n")
    done = project.run("validate", "--format", "json")
    assert done.code == 1
    assert {tuple(sorted(problem)) for problem in done.json["problems"]} == {
        ("code", "column", "file", "hint", "line", "message")
    }
    assert all(problem["line"] > 0 and problem["column"] > 0 for problem in done.json["problems"])


def test_github_annotations(project: Project) -> None:
    """validate --format github prints workflow commands with file, line and column."""
    project.write("specs/job.yaml", "version: 1\nname: job\nmodle: mi-9\n")
    done = project.call("validate", "--format", "github")
    assert done.code == 1
    assert "::error file=specs/job.yaml,line=3,col=1::" in done.out


def test_plan_writes_no_state(project: Project) -> None:
    """plan never writes state, and says in its first line when there is none."""
    done: Done = call("-C", str(project.root), "plan")
    assert done.out.splitlines()[0].startswith("There is no state yet")
    assert not (project.root / ".runner/state.json").exists()
