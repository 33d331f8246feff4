"""`runner report` on real projects: what it writes, what it leaves out, and what it does not touch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import Project

from runner.cli.context import Context, open_project
from runner.errors import Interrupted
from runner.reporting import NAMES, Wanted, write_report

FAULTS = [
    {"on": "task", "do": "fail-rows", "rows": [2], "status_code": 400, "code": "refused", "message": "canary-error"},
    {"on": "task", "do": "missing-rows", "rows": [3]},
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Five rows, of which the second failed and the third is missing."""
    made = Project(tmp_path)
    made.write("faults.yaml", json.dumps(FAULTS))
    made.providers["demo"]["faults"] = "faults.yaml"
    made.spec(
        rows=[{"id": f"key-{at}", "q": f"canary-prompt {at}", "note": "canary-input"} for at in range(1, 6)],
        input={"path": "specs/data/job.jsonl", "key": "id"},
        description="What it is about",
        labels={"team": "evals"},
        retry={"attempts": 1},
    )
    made.finish(code=7)
    return made


def report(project: Project, *args: str, code: int = 0) -> Path:
    done = project.call("report", *args)
    assert done.code == code, done.err
    return project.root / "report"


def data(folder: Path, name: str) -> Any:
    text = (folder / "data" / f"{name}.js").read_text("utf-8")
    found = re.fullmatch(r"Report\.take\(\"([^\"]*)\",(.*)\);\n", text, re.DOTALL)
    assert found is not None
    assert found[1] == name
    return json.loads(found[2])


def texts(folder: Path) -> str:
    return "\n".join(file.read_text("utf-8") for file in folder.rglob("*") if file.is_file())


def test_it_shows_every_row(project: Project) -> None:
    """Prompt, answer, input and error of each, and the counts are those of the output."""
    folder = report(project)
    table = data(folder, "job/table")
    assert (table["rows"], table["pages"]) == (5, [0])
    rows = data(folder, "job/rows/0")
    columns = data(folder, "job/columns/0")
    assert columns["keys"] == [f"key-{at}" for at in range(1, 6)]
    answered = [row[0] for row in rows]
    assert answered == [line["text"] for line in project.output()]
    assert rows[1][2] == "canary-error"
    assert json.loads(rows[0][3])["messages"][-1]["content"] == "canary-prompt 1"
    assert json.loads(rows[0][4]) == {"id": "key-1", "q": "canary-prompt 1", "note": "canary-input"}
    page = (folder / "batches" / "job.html").read_text()
    for said in ("What it is about", "team: evals", "incomplete", "refused", "canary-error", "user: "):
        assert said in page
    overview = (folder / "index.html").read_text()
    assert "batches/job.html" in overview
    assert "3 succeeded, 1 failed, 1 missing" in overview


def test_every_file_that_a_page_names_is_there(project: Project) -> None:
    """And there is nothing at its top that a next report would not know as its own."""
    folder = report(project)
    named = 0
    for page in folder.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"#]+)', page.read_text()):
            named += 1
            assert (page.parent / link).is_file(), (page, link)
    assert named > 20
    assert {entry.name for entry in folder.iterdir()} == {*NAMES, "report.json"}
    for name in data(folder, "job/table")["pages"], data(folder, "job/table")["words"]:
        assert len(name) == 1


def test_it_is_the_same_again_but_for_the_time(project: Project) -> None:
    """Written in the place of the earlier one, and it submits and writes nothing else."""
    before = project.state()
    folder = report(project)

    def content() -> dict[str, str]:
        return {
            str(file.relative_to(folder)): re.sub(r"Made by runner on [-\d: ]+ UTC", "", file.read_text())
            for file in folder.rglob("*.*")
        }

    first = content()
    report(project)
    assert content() == first
    assert project.state() == before


def test_without_answers_there_are_none(project: Project) -> None:
    """Nor prompts, inputs, keys or words of the provider; what is left is what a public page may say."""
    folder = report(project, "--no-answers")
    said = texts(folder)
    for secret in ("canary", "key-", "row.q }}", "job asks"):
        assert secret not in said
    assert not (folder / "data").exists()
    assert not (folder / "answers.html").exists()
    page = (folder / "batches" / "job.html").read_text()
    assert "refused" in page
    assert "Length of answers" in page
    assert "answers.html" not in page


def test_dropped_prompts_are_not_shown(project: Project) -> None:
    """`blobs: {prompts: drop}`: neither as they were rendered, nor the row and the template that they come from."""
    project.configure(blobs={"prompts": "drop"})
    folder = report(project)
    rows = data(folder, "job/rows/0")
    assert rows[0][0]  # the answer, which in the simulator repeats the prompt
    assert [row[3:5] for row in rows] == [[None, None]] * 5
    said = texts(folder)
    assert "canary-input" not in said
    assert "row.q }}" not in said


def test_earlier_revisions_can_be_compared(project: Project) -> None:
    """The answers of before are read again, by the prompt of before, as many as are asked for."""
    project.spec(input={"path": "specs/data/job.jsonl", "key": "id"}, prompt={"user": "Please: {{ row.q }}"})
    project.finish(code=7)
    folder = report(project)
    assert [table["title"] for table in data(folder, "tables")] == ["job", "job, revision 1"]
    asked = [json.loads(data(folder, f"{place}/rows/0")[0][3])["messages"][-1] for place in ("job", "job.r1")]
    assert [message["content"] for message in asked] == ["Please: canary-prompt 1", "canary-prompt 1"]
    assert "prompt changed" in (folder / "batches" / "job.html").read_text()
    report(project, "--revisions", "0")
    assert [table["title"] for table in data(folder, "tables")] == ["job"]


def test_a_running_batch_has_a_report_too(tmp_path: Path) -> None:
    """Its rows are pending, and so is one that has never been sent; no provider is asked."""
    project = Project(tmp_path)
    project.providers["demo"]["speed"] = 0.001
    project.spec(rows=3)
    project.apply()
    project.spec("other", rows=2)
    folder = report(project)
    overview = (folder / "index.html").read_text()
    assert "running" in overview
    assert "not submitted" in overview
    assert "3 pending" in overview
    assert data(folder, "job/table")["codes"] == ["", "pending"]
    assert data(folder, "other/table")["codes"] == ["", "not_submitted"]


def test_a_batch_whose_rows_cannot_be_read_is_no_hindrance(project: Project) -> None:
    """An input that is gone says nothing against the other batches, nor against what the state knows."""
    project.spec("other", rows=2)
    (project.root / "specs/data/job.jsonl").rename(project.root / "specs/data/gone.jsonl")
    project.write("specs/data/job.jsonl", "no JSON\n")
    done = project.call("report")
    assert done.code == 0, done.err
    assert "job: The rows of job cannot be read" in done.err
    folder = project.root / "report"
    assert [table["place"] for table in data(folder, "tables")] == ["other"]
    assert not (folder / "data/job").exists()
    assert "cannot be read" in (folder / "batches/job.html").read_text()


def test_a_batch_without_a_spec_is_still_told_of(project: Project) -> None:
    """What was spent on it was spent."""
    (project.root / "specs/job.yaml").unlink()
    page = (report(project) / "batches/job.html").read_text()
    assert "Its spec is gone" in page
    assert "Actual cost" in page


def test_a_project_without_a_state_has_an_empty_report(tmp_path: Path) -> None:
    """The first page says so."""
    project = Project(tmp_path)
    project.configure()
    (tmp_path / "specs").mkdir()
    assert "no specs" in (report(project) / "index.html").read_text()


@pytest.mark.parametrize("answers", [True, False])
def test_a_signal_leaves_the_earlier_report(project: Project, answers: bool) -> None:
    """And nothing beside it: half a site would look like a whole one."""
    before = texts(report(project))
    beside = sorted(project.root.iterdir())
    with open_project(Context(project.root)) as (world, specs, journal):
        world.stop.set()
        with pytest.raises(Interrupted):
            write_report(world, specs, journal.state, project.root / "report", Wanted(answers))
    assert texts(project.root / "report") == before
    assert sorted(project.root.iterdir()) == beside


def test_the_pages_commands_print_what_it_says() -> None:
    """docs/report.md, walked through."""
    docs = Path(__file__).parent.parent / "docs"
    done = subprocess.run([sys.executable, docs / "walk.py", docs / "report.md"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("place", ["specs", "outputs", ".runner/x", ".", "mine"])
def test_it_writes_over_nothing_else(project: Project, place: str) -> None:
    """A wrong folder is an error that says what to do, and changes nothing."""
    project.write("mine/notes.txt", "mine")
    before = sorted(project.root.rglob("*"))
    done = project.call("report", "--out", str(project.root / place))
    assert done.code == 1
    assert "runner report --out DIR" in done.err
    assert sorted(project.root.rglob("*")) == before
