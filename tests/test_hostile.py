"""A spec is untrusted text: what it may not read, and what it may not make runner do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers import Project

from runner.judging import judge_for
from runner.result import Failure, Result
from runner.sandbox import watched

SECRET = "wq-very-secret-key-0123456789"


@pytest.fixture
def made(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.providers["real"] = {"type": "wanqing", "project_id": "p", "api_key": {"file": "keys/wanqing.txt"}}
    project.write("keys/wanqing.txt", SECRET)
    return project


@pytest.mark.parametrize("path", ["keys/wanqing.txt", "./keys/../keys/wanqing.txt", "linked.txt", ".runner/state.json"])
def test_a_template_reads_neither_a_secret_nor_the_state(made: Project, path: str) -> None:
    """Included by its name, in a roundabout way, or through a link: refused, and not a piece of it is said."""
    made.write(".runner/state.json", "")
    (made.root / "linked.txt").symlink_to("keys/wanqing.txt")
    made.spec(rows=1, prompt={"user": f"{{% include '{path}' %}}"})
    (made.root / ".runner/state.json").unlink()
    for command in (["validate"], ["render", "job"], ["plan"]):
        done = made.call(*command)
        assert done.code == 1
        assert SECRET[:8] not in done.out + done.err


def test_a_row_names_no_secret_as_its_image(made: Project) -> None:
    """Nor a pipe, which would be waited for."""
    os.mkfifo(made.root / "pipe.png")
    parts = [{"text": "what is this?"}, {"image": "{{ row.path }}"}]
    document = made.spec(rows=[{"path": "keys/wanqing.txt"}], messages=[{"role": "user", "content": parts}])
    del document["prompt"]
    made.write("specs/job.yaml", json.dumps({**document, "model": "mi-3"}))
    assert "holds a secret" in made.call("render", "job").err
    made.rows([{"path": "pipe.png"}])
    assert "there is no image 'pipe.png'" in made.call("render", "job").err


def test_a_pattern_that_runs_away_is_stopped() -> None:
    """A regular expression of exponential cost in an answer schema: its rows fail, and the rest is not tried."""
    judge = judge_for({"properties": {"a": {"type": "string", "pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}}})
    answer = Result("00", text=json.dumps({"a": "a" * 60}))
    with watched():
        first, second = judge(answer), judge(answer)
    assert first == second
    assert first.failure == Failure("schema_mismatch", "the schema cannot be checked: it takes more than 2 s", False)


@pytest.mark.parametrize("text", ["1" * 400, "NaN", "Infinity", "-" + "9" * 5000])
def test_a_number_that_the_schema_cannot_divide(text: str) -> None:
    """Too large, or none at all: the row fails, and nothing else does."""
    judge = judge_for({"type": "number", "multipleOf": 0.5})
    result = judge(Result("00", text=text))
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("schema_mismatch", False)
