"""Batches that read the answers of others: what they ask, when, and how often."""

from __future__ import annotations

import json
from pathlib import Path

from helpers import Project

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
