"""Checks: what the answers of a batch have to be as a whole, and what follows when they are not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from builders import a_plan
from helpers import Project

from runner.checks import OPENINGS, CheckResult, is_refusal
from runner.outcome import Outcome
from runner.report.github import Report
from runner.result import Counts
from runner.state import BatchState, Publication, State, dump, load

SCHEMA = {"type": "object", "required": ["grade"], "properties": {"grade": {"type": "integer"}}}


def answering(root: Path, answers: Mapping[str, Any], **spec: Any) -> Project:
    """A project whose model says what ``answers`` has it say to each row."""
    project = Project(root, {"demo": {"type": "simulator", "speed": 20, "answers": "answers.jsonl"}})
    say(project, answers)
    project.spec("answers", rows=list(answers), **spec)
    return project


def say(project: Project, answers: Mapping[str, Any]) -> None:
    project.write("answers.jsonl", "".join(json.dumps({"prompt": q, "answer": a}) + "\n" for q, a in answers.items()))


def billed(project: Project) -> int:
    return sum(task["billed"] for task in project.bill()["tasks"])


def results(project: Project, name: str = "answers") -> dict[str, Any]:
    (found,) = [spec for spec in project.call("status", "--json").json["specs"] if spec["name"] == name]
    return {result["name"]: result for result in found["checks"]}


def test_every_kind_of_check(tmp_path: Path) -> None:
    """Each counts what it is about, and no row that it cannot be about."""
    answers = {"one?": {"grade": 1}, "two?": {"grade": "two"}, "three?": {"grade": 3}}
    project = answering(
        tmp_path,
        answers,
        response={"schema": "answer.schema.json"},
        checks=[
            {"schema": {"min": 0.5}},
            {"failed": {"max": 0.7}},
            {"refusals": {"max": 0.4}},
            {"truncated": {"max": 0}},
            {"name": "graded", "expression": "parsed.grade is number and key == '1' and row.q == 'one?'"},
            {"expression": "text|length > 100", "min": 0.5, "severity": "warn"},
        ],
    )
    project.write("answer.schema.json", json.dumps(SCHEMA))
    project.providers["demo"]["faults"] = "faults.yaml"
    project.configure()
    project.write("faults.yaml", "- {on: task, do: refuse, match: 'three?'}\n")
    done = project.finish(code=7)  # for its failed rows
    found = results(project)
    assert {name: (one["count"], one["total"], one["holds"]) for name, one in found.items()} == {
        "schema": (1, 2, True),
        "failed": (2, 3, True),
        "refusals": (1, 3, True),
        "truncated": (0, 3, True),
        "graded": (1, 1, True),
        "expression": (0, 1, False),
    }
    assert found["schema"]["examples"] == ["2"]
    assert found["failed"]["examples"] == ["2", "3"]
    assert list(done["checks"]["answers"]) == list(found.values())


def test_a_failed_check_is_told_everywhere(tmp_path: Path) -> None:
    """By name, share, limit and example rows, with what to do next; and by 7, whatever was asked for."""
    project = answering(tmp_path, {"one?": "A", "two?": "B"}, checks=[{"name": "says-a", "expression": "text == 'A'"}])
    told = "answers fails its check `says-a`: 50% of the rows are as the expression says (1 of 2), at least 100% wanted"
    done = project.call("apply", "--yes", "--wait")
    assert done.code == 7
    assert f"{told}; rows 2\n" in done.out
    assert "    runner retry answers\n" in done.out
    assert told in project.call("status").out
    assert project.plan()["notes"] == [f"{told}; rows 2."]
    assert project.call("apply", "--yes").code == 7


def test_the_summary_of_a_workflow_tells_it() -> None:
    failed = CheckResult("few", "failed", "max", 0.1, "error", 1, 2, ("7",))
    report = Report("apply", outcome=Outcome(a_plan([]), checks={"a": (failed,)}, ready=["b"]))
    told = report.summary(10_000)
    assert "> **Error:** a fails its check" in told
    assert "at most 10% wanted; rows 7" in told
    assert "runner plan" in told


def test_a_warning_ends_nothing(tmp_path: Path) -> None:
    checks = [{"expression": "text == 'A'", "severity": "warn"}]
    project = answering(tmp_path, {"one?": "B"}, checks=checks)
    project.spec("judge", input={"batch": "answers"}, prompt={"user": "{{ row.answer }}"})
    project.finish()
    assert results(project)["expression"]["holds"] is False
    assert project.statuses("judge") == ["succeeded"]


def test_changing_only_checks_asks_nothing(tmp_path: Path) -> None:
    """They are in no digest of a request: the output is looked at anew, and that is all."""
    project = answering(tmp_path, {"one?": "A", "two?": "B"})
    project.finish()
    project.spec("answers", checks=[{"expression": "text in ['A', 'B']"}, {"failed": {"max": 0}}])
    plan = project.plan()
    assert [(change["action"], change["requests"]) for change in plan["changes"]] == [("publish", 0)]
    project.apply()
    assert [one["holds"] for one in results(project).values()] == [True, True]
    assert project.plan()["changes"] == []
    assert billed(project) == 2


def test_a_failed_check_stops_who_reads_the_answers(tmp_path: Path) -> None:
    """Until the prompt is mended, or the check is: then the same `apply` goes on."""
    checks = [{"name": "no-b", "expression": "text != 'B'"}]
    project = answering(tmp_path, {"one?": "A", "two?": "B", "two!": "C"}, checks=checks)
    project.rows(["one?", "two?"], "answers")
    project.spec("judge", input={"batch": "answers"}, prompt={"user": "{{ row.answer }} to {{ row.q }}"})
    project.finish(code=7)
    (change,) = project.plan()["changes"]
    assert (change["spec"], change["action"]) == ("judge", "wait")
    assert change["reason"].startswith("answers fails its check `no-b`: 50%")
    assert project.call("status", "--json").json["specs"][1]["waits_for"] == change["reason"]
    project.rows(["one?", "two!"], "answers")
    project.finish()
    assert project.statuses("judge") == ["succeeded"] * 2
    assert billed(project) == 3 + 2


def test_another_check_lets_it_go_on(tmp_path: Path) -> None:
    """One that is new is made first; one that only warns holds nobody up."""
    project = answering(tmp_path, {"one?": "B"}, checks=[{"expression": "text == 'A'"}])
    project.spec("judge", input={"batch": "answers"}, prompt={"user": "{{ row.answer }}"})
    project.finish(code=7)
    project.spec("answers", checks=[{"expression": "text == 'A'", "severity": "warn"}])
    assert {change["spec"]: change["action"] for change in project.plan()["changes"]}["judge"] == "submit"
    project.spec("answers", checks=[{"expression": "text == 'B'"}])
    reasons = {change["spec"]: change["reason"] for change in project.plan()["changes"]}
    assert reasons["judge"] == "waits for answers, whose checks are not made yet"
    project.finish()
    assert project.statuses("judge") == ["succeeded"]


def test_an_expression_that_cannot_be_evaluated_does_not_hold(tmp_path: Path) -> None:
    """Its rows count against it, with the reason; one that runs away is stopped."""
    checks = [
        {"name": "absent", "expression": "row.answer.x > 1", "severity": "warn"},
        {"name": "endless", "expression": "(range(99999)|map('string')|join)*99 == text", "severity": "warn"},
    ]
    project = answering(tmp_path, {"one?": "A"}, checks=checks)
    project.finish()
    found = results(project)
    assert (found["absent"]["count"], found["absent"]["note"]) == (0, "there is no 'answer'")
    assert found["endless"]["count"] == 0
    assert found["endless"]["note"]


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("parsed.answer is numeric", "there is no test 'numeric' in a prompt's template"),
        (
            "answer == 1",
            "a template does not know 'answer', only row, text, parsed, finish_reason, usage, key, vars and name",
        ),
        ("text ==", "the template cannot be read: "),
        ("vars.styl == 'x'", "`vars` has no 'styl'"),
    ],
)
def test_problems_of_expressions(tmp_path: Path, expression: str, problem: str) -> None:
    """At validate, with their place; and a plan does not go on with them."""
    project = Project(tmp_path)
    project.spec("job", rows=1, vars={"style": "x"}, checks=[{"failed": {"max": 0}}, {"expression": expression}])
    told = project.call("validate").out
    assert problem in told
    assert told.startswith("specs/job.yaml:18:15: ")
    assert problem in project.call("plan").err


@pytest.mark.parametrize("opening", OPENINGS)
def test_refusals_are_known_by_how_they_begin(opening: str) -> None:
    line = {"error": None, "finish_reason": "stop"}
    assert is_refusal({**line, "text": f"“{opening.capitalize()} do this."})
    assert not is_refusal({**line, "text": f"They said: {opening}"})


def test_the_providers_own_word_comes_first() -> None:
    line = {"text": None, "error": None, "finish_reason": "stop"}
    assert is_refusal({**line, "error": {"code": "content_filter"}})
    assert is_refusal({**line, "text": "", "finish_reason": "refusal"})
    assert is_refusal({**line, "text": "I’m sorry, but I can’t."})
    assert not is_refusal(line)


def test_what_holds() -> None:
    """A share at its limit does; of no rows, anything."""
    assert CheckResult("x", "schema", "min", 0.98, "error", 98, 100).holds
    assert not CheckResult("x", "schema", "min", 0.98, "error", 97, 100).holds
    assert CheckResult("x", "failed", "max", 0.1, "error", 1, 10).holds
    assert CheckResult("x", "failed", "max", 0.0, "error", 0, 0).holds


def test_the_state_keeps_what_checks_came_to() -> None:
    """And says nothing of them where there are none, so that older documents stay the bytes that they are."""
    result = CheckResult("x", "failed", "max", 0.0, "error", 1, 2, ("7",), "why")
    published = Publication("k", "p", "s", Counts(1, 1), 0.0, checks=(result,))
    state = State("l", batches={"a": BatchState(published=published)})
    assert load(dump(state)) == state
    none = State("l", batches={"a": BatchState(published=Publication("k", "p", "s", Counts(1, 1), 0.0))})
    assert b"checks" not in dump(none)
