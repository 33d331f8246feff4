"""Batches that read the answers of others: what they ask, when, and how often."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import Project

from runner.chaining import chained_row
from runner.chains import cycles

JUDGE = {"input": {"batch": "answers"}, "prompt": {"user": "Is '{{ row.answer }}' good for '{{ row.q }}'?"}}


def chained(root: Path, rows: int = 3) -> Project:
    """A batch and its judge."""
    project = Project(root)
    project.spec("answers", rows=rows, input={"path": "specs/data/answers.jsonl", "key": "id"})
    project.spec("judge", **JUDGE)
    return project


def asked(project: Project, name: str) -> list[int]:
    """Requests of each task of a batch, oldest first."""
    tasks = [task for task in project.state()["tasks"].values() if task["batch"] == name]
    return [task["requests"] for task in sorted(tasks, key=lambda task: task["begun_at"])]


def test_a_judge_is_asked_once_its_rows_are_answered(tmp_path: Path) -> None:
    """It waits in the plan, is asked in the same `apply --wait`, and then there is nothing left to do."""
    project = chained(tmp_path)
    changes = {change["spec"]: change for change in project.plan()["changes"]}
    assert (changes["judge"]["action"], changes["judge"]["reason"]) == ("wait", "waits for answers")
    done = project.finish()
    assert project.statuses("judge") == ["succeeded"] * 3
    assert [line["key"] for line in project.output("judge")] == ["1", "2", "3"]
    told = [(change["spec"], change["action"], change["outcome"]) for change in done["changes"]]
    assert ("judge", "submit", "done") in told
    assert ("judge", "wait", "done") in told
    assert done["rows"]["judge"]["succeeded"] == 3
    assert project.plan()["changes"] == []
    assert asked(project, "judge") == [3]


def test_what_a_judge_reads(tmp_path: Path) -> None:
    project = chained(tmp_path, rows=1)
    project.finish()
    (answer,) = project.output("answers")
    (body,) = project.call("render", "judge").out.splitlines()
    said = json.loads(body)["messages"][-1]["content"]
    assert said == f"Is '{answer['text']}' good for 'answers asks 1?'?"


def test_one_changed_row_asks_the_judge_once(tmp_path: Path) -> None:
    """Only the row whose answer changed is judged again: the others are the requests that they were."""
    project = chained(tmp_path, rows=4)
    project.finish()
    rows = [f"answers asks {number}?" for number in range(1, 5)]
    project.rows([*rows[:2], "something else?", rows[3]], "answers")
    plan = {change["spec"]: change for change in project.plan()["changes"]}
    assert (plan["answers"]["requests"], plan["judge"]["action"]) == (1, "wait")
    project.finish()
    assert asked(project, "answers") == [4, 1]
    assert asked(project, "judge") == [4, 1]
    assert [line["key"] for line in project.output("judge")] == ["1", "2", "3", "4"]


def test_two_levels_in_one_run(tmp_path: Path) -> None:
    """Each step is planned when the one above it is through, whatever the specs' order; nothing is asked twice."""
    project = chained(tmp_path)
    project.spec(
        "a-verdict", input={"batch": "judge"}, prompt={"user": "{{ row.answer }} on {{ row.upstream.answer }}"}
    )
    done = project.finish()
    assert project.statuses("a-verdict") == ["succeeded"] * 3
    assert sorted(done["rows"]) == ["a-verdict", "answers", "judge"]
    assert [asked(project, name) for name in ("answers", "judge", "a-verdict")] == [[3], [3], [3]]
    assert project.finish()["changes"] == []


def test_without_wait_the_next_apply_goes_on(tmp_path: Path) -> None:
    project = chained(tmp_path)
    for _ in range(50):
        if not project.apply()["changes"]:
            break
    assert project.statuses("judge") == ["succeeded"] * 3
    assert asked(project, "judge") == [3]


def test_what_was_approved_by_digest_is_all_that_is_sent(tmp_path: Path) -> None:
    """An approval covers the plan that was read: the judge, which nobody has seen a plan of, is the next step."""
    project = chained(tmp_path)
    digest = project.plan()["digest"]
    done = project.finish("--expect", digest)
    assert done["ready"] == ["judge"]
    assert asked(project, "judge") == []
    told = project.call("apply", "--expect", project.plan()["digest"], "--wait")
    assert (told.code, asked(project, "judge")) == (0, [3])


def test_the_next_step_is_named(tmp_path: Path) -> None:
    project = chained(tmp_path)
    told = project.call("apply", "--expect", project.plan()["digest"], "--wait").out
    assert "The answers that judge waited for are here.  Go on with:\n    runner plan\n" in told


def test_limits_hold_for_what_arises_in_the_run(tmp_path: Path) -> None:
    """The steps of one apply count together; what is over is left, and says so by its own exit code."""
    project = chained(tmp_path)
    project.configure(limits={"requests": 5})
    done = project.finish(code=3)
    (change,) = [one for one in done["changes"] if (one["spec"], one["action"]) == ("judge", "submit")]
    assert (change["outcome"], change["requests"]) == ("skipped", 3)
    assert asked(project, "judge") == []
    assert project.statuses("answers") == ["succeeded"] * 3
    project.finish()  # an apply of its own
    assert asked(project, "judge") == [3]


def test_rows_without_an_answer_are_left_out(tmp_path: Path) -> None:
    """The plan says how many; the judge's rows keep the keys of those whose answers it reads."""
    project = Project(tmp_path, {"demo": {"type": "simulator", "speed": 20, "faults": "faults.yaml"}})
    project.write("faults.yaml", "- {on: task, do: refuse, match: 'asks 2'}\n")
    project.spec("answers", rows=3, input={"path": "specs/data/answers.jsonl", "key": "id"}, retry={"attempts": 1})
    project.spec("judge", **JUDGE)
    project.finish(code=7)
    assert project.statuses("answers") == ["succeeded", "failed", "succeeded"]
    assert [line["key"] for line in project.output("judge")] == ["1", "3"]
    assert "judge leaves out 1 row of answers without an answer." in project.plan()["notes"]


def test_a_part_of_the_plan_takes_the_other_batch_as_it_is(tmp_path: Path) -> None:
    """`--select judge` asks nothing of `answers`, and waits while that has something left to ask."""
    project = chained(tmp_path)
    (change,) = project.plan("--select", "judge")["changes"]
    assert (change["action"], change["reason"]) == ("wait", "waits for answers")
    project.finish("--select", "answers")
    assert asked(project, "judge") == []
    assert project.requests("--select", "judge") == 3
    project.finish("--select", "judge")
    assert asked(project, "judge") == [3]


def test_offline(tmp_path: Path) -> None:
    """The same plan, by its digest, needs nobody; and so does a render."""
    project = chained(tmp_path)
    project.finish("--select", "answers")
    assert project.plan("--offline")["digest"] == project.plan()["digest"]
    assert len(project.call("render", "judge").out.splitlines()) == 3


def test_rendering_before_there_are_rows(tmp_path: Path) -> None:
    done = chained(tmp_path).call("render", "judge")
    assert done.code == 1
    assert "Error: specs/judge.yaml:7:1: judge has no rows yet: it waits for answers" in done.err
    assert "    runner plan --select answers" in done.err


def test_status_says_who_waits(tmp_path: Path) -> None:
    project = chained(tmp_path)
    project.apply()
    status = project.call("status", "--json").json
    assert {spec["name"]: spec["waits_for"] for spec in status["specs"]} == {
        "answers": None,
        "judge": "waits for answers",
    }
    assert "judge waits for answers" in project.call("status").out
    project.finish()
    assert [spec["waits_for"] for spec in project.call("status", "--json").json["specs"]] == [None, None]


def test_each_cell_of_a_matrix_has_its_own_judge(tmp_path: Path) -> None:
    project = Project(tmp_path)
    prompt = {"user": "{{ row.q }} {{ vars.style }}"}
    matrix = {"style": ["brief", "long"]}
    project.spec("answers", rows=2, prompt=prompt, matrix=matrix)
    project.spec("judge", input={"batch": "answers-{{ vars.style }}"}, prompt=JUDGE["prompt"], matrix=matrix)
    project.finish()
    texts = {line["text"] for style in matrix["style"] for line in project.output(f"judge-{style}")}
    assert len(texts) == 4


def test_samples_are_rows(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.spec("answers", rows=2, samples=2)
    project.spec("judge", input={"batch": "answers"}, prompt={"user": "{{ row.sample }}: {{ row.answer }} {{ row.q }}"})
    project.finish()
    assert len(project.output("judge")) == 4


def test_a_condition_that_keeps_no_row_is_no_mistake(tmp_path: Path) -> None:
    """Nobody knows before what answers a judge of bad ones will find; who reads that judge waits, and says why."""
    project = chained(tmp_path)
    project.spec("judge", **{**JUDGE, "input": {"batch": "answers", "where": "'bad' in row.answer"}})
    project.spec("last", input={"batch": "judge"}, prompt={"user": "{{ row.answer }}"})
    project.finish()
    (change,) = project.plan()["changes"]
    assert (change["spec"], change["reason"]) == ("last", "waits for judge: no row of it has an answer")


def test_answers_that_are_gone_are_asked_and_judged_again(tmp_path: Path) -> None:
    """`runner retry --all` upstream: the judge waits for the new answers, and equal ones are judged no second time."""
    project = chained(tmp_path)
    project.finish()
    project.call("retry", "answers", "--all")
    actions = {change["spec"]: change["action"] for change in project.plan()["changes"]}
    assert actions == {"answers": "submit", "judge": "wait"}
    project.finish()
    assert asked(project, "answers") == [3, 3]
    assert asked(project, "judge") == [3]  # the simulator says the same every time


@pytest.mark.parametrize(
    ("values", "several", "expected"),
    [
        ({"q": 1}, False, {"q": 1, "answer": "A", "parsed": [2]}),
        ({"q": 1}, True, {"q": 1, "answer": "A", "parsed": [2], "sample": 3}),
        ({"sample": 1}, False, {"sample": 1, "answer": "A", "parsed": [2]}),
        ({"answer": 1, "q": 2}, False, {"q": 2, "answer": "A", "parsed": [2], "upstream": {"answer": 1}}),
        ({"upstream": 1}, False, {"answer": "A", "parsed": [2], "upstream": {"upstream": 1}}),
    ],
)
def test_no_column_is_lost(values: dict[str, Any], several: bool, expected: dict[str, Any]) -> None:
    """The new names win, and what they would hide is kept under `upstream`."""
    assert chained_row(values, {"text": "A", "parsed": [2], "sample": 3}, several=several) == expected


def test_rows_are_laid_down_once(tmp_path: Path) -> None:
    """The file is the same bytes whoever writes it, and no spec may name it as its input."""
    project = chained(tmp_path)
    project.finish()
    (laid_down,) = (tmp_path / ".runner/cache/chains").iterdir()
    before = laid_down.read_bytes()
    laid_down.unlink()
    assert project.plan()["changes"] == []
    assert laid_down.read_bytes() == before
    project.spec("thief", input={"path": str(laid_down.relative_to(tmp_path))})
    assert "belongs to runner's state" in project.call("validate").out


def test_circles() -> None:
    reads = {"a": "b", "b": "c", "c": "b", "d": "d", "e": "", "f": "a", "g": "gone"}
    assert list(cycles(reads)) == [("b", "c"), ("d",)]


@pytest.mark.parametrize("page", ["chaining", "checks"])
def test_what_the_pages_say(page: str) -> None:
    """Every command of them prints what stands there."""
    docs = Path(__file__).parent.parent / "docs"
    done = subprocess.run([sys.executable, docs / "walk.py", docs / f"{page}.md"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
