"""Money guards as a user meets them: budgets that runs share, repeated work, emptiness, and what holds submits back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from helpers import Project, Served, finished, serving, spawn

from benchmarks.faults.places import provider
from runner.connect import connect
from runner.journal import Journal
from runner.load import load
from runner.outcome import Outcome
from runner.workflow import Prepared, Request, carry_out, prepare

ROWS = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.spec("job", ROWS)
    return made


# ---- budgets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", ["per_day", "per_month"])
def test_a_budget_outlives_the_apply(project: Project, period: str) -> None:
    """What one apply has begun counts against the next, which exits 3 and submits nothing, until it is allowed."""
    project.configure(limits={period: {"requests": ROWS + 4}})
    project.finish()
    project.rows(ROWS + 5)
    plan = project.plan()
    assert plan["limits"] == [{"name": f"{period}.requests", "limit": 14, "actual": 15, "currency": None}]
    refused = project.call("apply", "--yes", "--wait")
    assert refused.code == 3
    assert f"runner apply --allow {period}.requests=15" in refused.err
    assert project.bill()["requests"] == ROWS
    project.finish("--allow", f"{period}.requests=15")
    assert project.bill()["requests"] == ROWS + 5


def test_a_budget_of_money(project: Project) -> None:
    """Estimates are reserved, and replaced by what the answers came to once they are here."""
    estimate = project.plan()["changes"][0]["cost"]["estimate"]
    project.configure(limits={"per_day": {"cost": estimate * 1.5}})
    project.finish()
    (task,) = project.state()["tasks"].values()
    came_to = sum(price * tokens for price, tokens in zip(task["price"], task["tokens"], strict=True)) / 1000
    assert 0 < came_to < estimate / 2
    project.rows([f"another {number}?" for number in range(ROWS)])
    assert project.plan()["limits"] == []
    project.configure(limits={"per_day": {"cost": came_to}})
    assert [over["name"] for over in project.plan()["limits"]] == ["per_day.cost"]


def test_a_lifted_limit_is_recorded(project: Project) -> None:
    """Which, to what, and by whom; not where nothing was submitted."""
    project.configure(limits={"requests": 1})
    project.finish("--allow", "requests=80")
    (lift,) = project.state()["lifts"]
    assert (lift["name"], lift["value"]) == ("requests", 80)
    assert lift["by"]
    project.finish("--allow", "requests=90")
    assert len(project.state()["lifts"]) == 1


def test_two_that_planned_before_either_began(tmp_path: Path, server: Served) -> None:
    """Each within the budget, together over it: the second is told as it is about to begin; nothing is overspent."""
    project = two_specs(tmp_path, server, requests=ROWS + 4)
    with ExitStack() as closing:
        first, second = (planned(project, name, closing) for name in ("one", "two"))
        done, late = first(), second()
    assert (done.exit_code(wait=False), late.exit_code(wait=False)) == (0, 3)
    assert late.outcomes == ["skipped"]
    assert "the budget is used up: per_day.requests 20 > 14" in late.errors[0].message
    assert (server.answered("one"), server.answered("two")) == (ROWS, 0)
    assert [task["batch"] for task in project.state()["tasks"].values()] == ["one"]


def test_what_still_fits_is_begun(tmp_path: Path, server: Served) -> None:
    """In tasks of three and one, a budget of fourteen holds the first run's ten and two tasks of the second's."""
    project = two_specs(tmp_path, server, requests=ROWS + 4, max_requests=3)
    with ExitStack() as closing:
        first, second = (planned(project, name, closing) for name in ("one", "two"))
        first()
        late = second()
    assert late.exit_code(wait=True) == 3
    begun = sum(task["requests"] for task in project.state()["tasks"].values())
    assert begun == ROWS + 3 + 1
    project.configure(limits={})
    project.finish()
    assert (project.statuses("one"), project.statuses("two")) == (["succeeded"] * ROWS, ["succeeded"] * ROWS)
    assert server.answered("two") == ROWS


def test_two_applies_at_once_do_not_overspend(tmp_path: Path, server: Served) -> None:
    """As two CI runs do it, six times over: whatever they meet, no more is begun than the budget has."""
    for turn in range(6):
        project = two_specs(tmp_path / str(turn), server, requests=ROWS + 4, prefix=f"turn{turn}-")
        runs = [spawn("apply", "--yes", "--select", f"turn{turn}-{name}", cwd=project.root) for name in ("one", "two")]
        codes = sorted(finished(process).code for process in runs)
        assert codes == [0, 3]
        billed = [server.answered(f"turn{turn}-{name}") for name in ("one", "two")]
        assert sum(task["requests"] for task in project.state()["tasks"].values()) == ROWS
        assert sum(billed) <= ROWS


def two_specs(folder: Path, server: Served, *, requests: int, prefix: str = "", **settings: Any) -> Project:
    project = Project(folder, {"demo": server.provider(**settings)})
    for name in ("one", "two"):
        project.spec(f"{prefix}{name}", [f"{folder} {name} {number}?" for number in range(ROWS)])
    project.configure(limits={"per_day": {"requests": requests}})
    return project


def planned(project: Project, name: str, closing: ExitStack) -> Callable[[], Outcome]:
    """What carries out a plan for one spec that was made here and now."""
    found, specs = load(project.root)
    world = connect(project.root, found, closing)
    journal = Journal(world.store, world.unique)
    request = Request((name,))
    prepared: Prepared = prepare(world, specs, journal.state, request)
    assert not prepared.plan.over
    return lambda: carry_out(world, journal, prepared, request, wait=False, timeout=None)


# ---- work that was done --------------------------------------------------------------------------------------------


def test_an_edited_prompt_over_many_answers(project: Project) -> None:
    """The share that is asked again has a limit of its own; rows that are new do not count."""
    project.configure(limits={"repeat": 0.3})
    project.finish()
    project.rows(ROWS * 2)
    assert project.plan()["limits"] == []
    project.finish()
    project.spec("job", prompt={"user": "{{ row.q }} Be brief."})
    assert project.plan()["limits"] == [{"name": "repeat", "limit": 0.3, "actual": 1.0, "currency": None}]
    assert project.call("apply", "--yes").code == 3
    assert project.bill()["requests"] == ROWS * 2
    project.finish("--allow", "repeat=1")
    assert project.bill()["requests"] == ROWS * 4


# ---- emptiness -----------------------------------------------------------------------------------------------------


def test_a_glob_that_fits_no_spec(project: Project) -> None:
    """An error that lists the specs, unless it is allowed: then there is nothing to do."""
    for command in (("plan",), ("apply", "--yes")):
        refused = project.call(*command, "--select", "jobs-*")
        assert (refused.code, "no spec is named 'jobs-*'" in refused.err) == (1, True)
        allowed = project.call(*command, "--select", "jobs-*", "--allow", "no_specs=1")
        assert (allowed.code, "Nothing to do" in allowed.out) == (0, True)


def test_an_input_without_rows(project: Project) -> None:
    """An error that says what to do, unless it is allowed: then the others are asked."""
    project.spec("empty", [])
    refused = project.call("plan")
    assert refused.code == 1
    assert "the input specs/data/empty.jsonl has no rows" in refused.err
    assert "    runner apply --allow no_rows=1" in refused.err.splitlines()
    project.finish("--allow", "no_rows=1")
    assert project.statuses() == ["succeeded"] * ROWS


# ---- held back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["suspend", "paused"])
def test_nothing_is_submitted_while_held_back(project: Project, how: str) -> None:
    """A spec with `suspend`, or all of a project with `paused`, asks nothing; nobody waits for it, and nobody fails."""
    hold(project, how, on=True)
    plan = project.plan("--offline")
    assert plan["summary"]["submit"] == 0
    assert any("nothing" in note and "submitted" in note for note in plan["notes"])
    assert project.finish()["rows"]["job"] == rows(pending=ROWS)
    assert not (project.root / ".runner/simulator").exists() or project.bill()["requests"] == 0
    hold(project, how, on=False)
    assert project.finish()["rows"]["job"] == rows(succeeded=ROWS)


@pytest.mark.parametrize("how", ["suspend", "paused"])
def test_what_is_on_its_way_is_collected(project: Project, how: str) -> None:
    """Held back after a submit: answers come home and are published, new rows wait."""
    project.apply()
    project.rows(ROWS + 2)
    hold(project, how, on=True)
    assert project.finish()["rows"]["job"] == rows(succeeded=ROWS, pending=2)
    assert project.statuses() == ["succeeded"] * ROWS + ["missing"] * 2
    assert {line["error"]["code"] for line in project.output()[ROWS:]} == {"not_submitted"}
    assert project.plan()["changes"] == []
    hold(project, how, on=False)
    assert project.finish()["rows"]["job"] == rows(succeeded=ROWS + 2)
    assert project.bill()["requests"] == ROWS + 2


def hold(project: Project, how: str, *, on: bool) -> None:
    if how == "paused":
        project.configure(paused=on)
    else:
        project.spec("job", suspend=on)


def rows(succeeded: int = 0, pending: int = 0) -> dict[str, int]:
    total = succeeded + pending
    return {"succeeded": succeeded, "failed": 0, "missing": 0, "pending": pending, "total": total}


def test_the_digest_knows_nothing_of_it(project: Project) -> None:
    """Holding back is no change of what is asked: what was approved before and after is the same."""
    before = project.plan()["digest"]
    hold(project, "suspend", on=True)
    hold(project, "suspend", on=False)
    assert project.plan()["digest"] == before


# ---- what takes no approval ------------------------------------------------------------------------------------------


def test_collecting_alone(project: Project) -> None:
    """`apply --collect` asks nobody: it brings home and publishes what has finished, and submits nothing."""
    project.apply()
    project.spec("more", 3)
    done = project.call("apply", "--collect", "--wait", "--json")
    assert done.code == 0, done
    assert {change["spec"]: change["outcome"] for change in done.json["changes"] if change["action"] == "submit"} == {
        "more": "skipped"
    }
    assert project.statuses() == ["succeeded"] * ROWS
    assert project.bill()["requests"] == ROWS
    project.finish()
    assert project.bill()["requests"] == ROWS + 3


def test_collecting_alone_stops_nothing(tmp_path: Path, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose spec is gone runs on until an apply that was approved."""
    monkeypatch.setenv("FAULTS_KEY", "key-0")
    server.faults({"on": "task", "do": "never-end"})
    project = Project(tmp_path, {"demo": {**provider("openai-openai", server.url), "max_requests": ROWS}})
    project.spec("job", ROWS, on_remove="cancel", model="mi-9")
    project.apply()
    (tmp_path / "specs/job.yaml").unlink()
    assert project.call("apply", "--collect").code == 0
    (task,) = project.state()["tasks"].values()
    assert (task["phase"], "stopped" in task) == ("open", False)
    project.apply()
    (task,) = project.state()["tasks"].values()
    assert task["stopped"] == "cancelled"
    server.faults()


def test_collecting_is_not_held_back_by_a_limit(project: Project) -> None:
    """Over a limit it ends as if there were none: nothing was to be submitted."""
    project.apply()
    project.configure(limits={"requests": 1})
    project.spec("more", 3)
    assert project.call("apply", "--collect", "--wait").code == 0
    assert project.statuses() == ["succeeded"] * ROWS
