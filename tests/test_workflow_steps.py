"""What a step of a workflow is told: outputs for the next one and a summary, whatever the command came to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import a_plan, a_submit
from helpers import Project

from runner.errors import RunnerError
from runner.outcome import Outcome
from runner.plan import Action, Change, Cost, Plan
from runner.report.github import SUMMARY, Report
from runner.result import Counts
from runner.review import Example, Prompts, Review


class Step:
    """The files of one step."""

    def __init__(self, folder: Path) -> None:
        self.output, self.summary = folder / "output", folder / "summary"

    @property
    def outputs(self) -> dict[str, str]:
        """As a workflow would read them: lines of NAME=VALUE, the last one of a name counts."""
        return dict(line.split("=", 1) for line in self.output.read_text().splitlines())

    @property
    def told(self) -> str:
        return self.summary.read_text()


@pytest.fixture
def step(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Step:
    step = Step(tmp_path_factory.mktemp("step"))
    monkeypatch.setenv("GITHUB_OUTPUT", str(step.output))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step.summary))
    return step


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path, {"demo": {"type": "simulator", "speed": 1_000}})
    project.spec(rows=3)
    return project


UNKNOWN = dict.fromkeys(("changes", "requests", "cost", "approval", "over", "digest", "pending", "failed"), "")


def test_a_plan_and_an_apply(project: Project, step: Step) -> None:
    """Every figure, before, with work done, and when nothing is left."""
    digest = project.plan()["digest"]
    cost = step.outputs["cost"]
    assert step.outputs == {
        "changes": "true",
        "requests": "3",
        "cost": cost,
        "approval": "true",
        "over": "false",
        "digest": digest,
        "pending": "0",
        "failed": "0",
    }
    amount, currency = cost.split(" ")
    assert (float(amount) > 0, currency) == (True, "CNY")
    assert "+job asks 1?" in step.told
    project.finish()
    assert step.outputs == {
        "changes": "true",
        "requests": "3",
        "cost": cost,
        "approval": "true",
        "over": "false",
        "digest": digest,
        "pending": "0",
        "failed": "0",
    }
    nothing = project.plan()["digest"]
    assert step.outputs == {
        "changes": "false",
        "requests": "0",
        "cost": "0",
        "approval": "false",
        "over": "false",
        "digest": nothing,
        "pending": "0",
        "failed": "0",
    }


def test_the_summary_of_an_apply(project: Project, step: Step) -> None:
    """Rows by spec, what was done, and the digest."""
    project.finish()
    digest = step.outputs["digest"]
    lines = step.told.splitlines()
    assert lines[:6] == [
        "### runner apply",
        "",
        "| spec | succeeded | failed | missing | pending | rows |",
        "|---|--:|--:|--:|--:|--:|",
        "| job | 3 | 0 | 0 | 0 | 3 |",
        "| **total** | 3 | 0 | 0 | 0 | 3 |",
    ]
    assert "- submit job: done" in step.told
    assert "- publish job: done (outputs/job.jsonl)" in step.told
    assert f"Digest `{digest}`" in lines


def test_rows_on_their_way(tmp_path: Path, step: Step) -> None:
    """Counted as pending by apply and by the plan after it, with the command that goes on."""
    project = Project(tmp_path, {"demo": {"type": "simulator", "speed": 0.001}})
    project.spec(rows=3)
    project.apply()
    assert step.outputs["pending"] == "3"
    assert "runner apply --yes --wait" in step.told
    project.plan()
    assert (step.outputs["changes"], step.outputs["pending"]) == ("false", "3")


def test_rows_that_failed(tmp_path: Path, step: Step) -> None:
    """Counted with those that are missing, and how to ask again."""
    faults = [{"on": "task", "do": "fail-rows", "status_code": 400}]
    project = Project(tmp_path, {"demo": {"type": "simulator", "speed": 20, "faults": "faults.json"}})
    project.write("faults.json", json.dumps(faults))
    project.spec(rows=3, retry={"attempts": 1})
    code = project.call("apply", "--yes", "--wait").code
    assert (code, step.outputs["failed"], step.outputs["pending"]) == (7, "3", "0")
    assert "runner retry job" in step.told


def test_over_a_limit(project: Project, step: Step) -> None:
    """Exit 3 is told like any end: in bold by the plan, as an error by apply, with the figures that were too large."""
    project.configure(limits={"requests": 2})
    project.plan()
    assert r"> **Over a limit: requests 3 \> 2**" in step.told
    assert project.call("apply", "--yes").code == 3
    assert step.outputs["requests"] == "3"
    assert "> **Error:** over the limits of runner.yaml" in step.told
    assert "runner apply --allow requests=3" in step.told


def test_a_stale_plan(project: Project, step: Step) -> None:
    """Exit 5: the error, and what would be done instead."""
    assert project.call("apply", "--expect", "sha256:" + "0" * 64).code == 5
    assert "> **Error:** what apply would do is not what was approved" in step.told
    assert "| job | 3 |" in step.told
    assert step.outputs["digest"].startswith("sha256:")


@pytest.mark.parametrize("command", [["plan"], ["apply", "--yes"]])
def test_a_project_that_is_none(tmp_path: Path, step: Step, command: list[str]) -> None:
    """No figure is known, and the reasons are told, all problems among them."""
    project = Project(tmp_path)
    project.spec(colour="red")
    assert project.call(*command).code == 1
    assert step.outputs == UNKNOWN
    assert step.told.startswith(f"### runner {command[0]}\n")
    assert "- specs/job.yaml:" in step.told
    assert "colour" in step.told


def test_files_that_cannot_be_written(
    project: Project, step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning: the work is done all the same."""
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path))
    done = project.call("apply", "--yes", "--wait")
    assert done.code == 0
    assert "Warning: the workflow's step was told nothing" in done.err
    assert project.statuses() == ["succeeded"] * 3


def test_what_was_written_before_stays(project: Project, step: Step) -> None:
    """Both files belong to the step, which may tell things of its own."""
    step.output.write_text("mine=1\n")
    step.summary.write_text("# Mine\n")
    project.plan()
    assert step.outputs["mine"] == "1"
    assert step.told.startswith("# Mine\n<!-- runner: . -->\n")


@pytest.mark.parametrize("before", [0, 999_000, 1_000_000, 5_000_000])
def test_a_full_summary(project: Project, step: Step, before: int) -> None:
    """GitHub drops a summary that is too large: one that is full is left alone."""
    step.summary.write_bytes(b"x" * before)
    done = project.call("plan")
    size = step.summary.stat().st_size
    assert (done.code, before <= size <= max(before, SUMMARY)) == (0, True)
    assert ("summary is full" in done.err) == (size == before)


# ---- the report alone ------------------------------------------------------------------------------------------------


def big(count: int) -> Plan:
    steps = [Change(f"w{number}", Action.WAIT, "é" * 100) for number in range(count)]
    return a_plan([*(a_submit(f"s{number}", reason="中" * 100) for number in range(count)), *steps])


def test_a_summary_has_its_bound_in_bytes() -> None:
    """Of a plan, of an apply and of errors, with characters of three bytes: within it, cut at whole lines, and told."""
    plan = big(4_000)
    prompts = Prompts(tuple(Example(f"s{number}", "row 1", ("+" + "中" * 900,)) for number in range(200)))
    rows = {f"s{number}": Counts(1) for number in range(10_000)}
    errors = [RunnerError("中" * 200 + str(number)) for number in range(2_000)]
    outcome = Outcome(plan, [*plan.changes], ["done"] * 8_000, ["中" * 20] * 8_000, rows, errors=errors)
    review = Review.of(plan, prompts=prompts)
    for report in (
        Report("plan", review),
        Report("plan", review, errors=errors),
        Report("plan", errors=errors),
        Report("apply", review, outcome=outcome),
    ):
        text = report.summary(SUMMARY)
        assert 400_000 < len(text.encode()) <= SUMMARY
        assert "**Left out: " in text
        assert "The rest is in the log." in text
        assert text.count("<details>") == text.count("</details>")


@pytest.mark.parametrize(
    ("costs", "told"),
    [
        ([], "0"),
        ([Cost(1, "CNY"), Cost(0.25, "CNY")], "1.25 CNY"),
        ([Cost(1_234.5, "USD"), Cost(0.001, "CNY")], "0.001 CNY + 1234.50 USD"),
        ([Cost(1, "CNY"), None], ""),
        ([Cost(1, "CNY\nchanges=false")], "1.00 CNY changes=false"),
    ],
)
def test_the_cost_for_a_program(costs: list[Cost | None], told: str) -> None:
    """Amounts without separators, by currency; empty where any is unknown; never a second line."""
    report = Report("plan", Review.of(a_plan([a_submit(cost=cost) for cost in costs])))
    assert report.outputs().split("\n")[2] == f"cost={told}"
    assert report.outputs().count("\n") == 8
