"""The specs of this repository, unchanged but for `provider:`, at every type and dialect: the same outputs everywhere.

Each place is a `runner simulate` of its own, a process that listens on loopback and is told the true answers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from everywhere import KEYS, NAMES, ONLINE, providers
from helpers import Project, Served, serving

REPOSITORY = Path(__file__).parent.parent
ANSWERS = REPOSITORY / "specs/data/gsm8k_test.jsonl"
QUESTIONS = 1_319
LIMIT = 40
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
SAME = ("key", "sample", "status", "text", "parsed", "finish_reason", "usage", "error")
"""What is equal wherever a line was answered; the model's id and the task are not."""

SPECS = ("gsm8k", "gsm8k-styles", "twice", "plain", "image")
REQUESTS = {"gsm8k": LIMIT, "gsm8k-styles": 8, "twice": 6, "plain": 3, "image": 1}
CANNOT: Mapping[str, Mapping[str, str]] = {
    "qianfan": {"plain": "documents no plain completion", "image": "documents no images"},
    "anthropic": {"plain": "has no plain completions"},
    "alaya": {"image": "no model fits"},
    "openai-kimi": {"gsm8k": "do not take the parameter temperature", "gsm8k-styles": "the parameter temperature"},
}
"""Place → spec → what `plan` says of it.  Alaya's deployment serves one model, which sees no images."""
FAMILIES = ("wanqing", "online", "qianfan", "anthropic", "openai-openai")


def whole(name: str) -> str:
    """A spec of this repository."""
    return (REPOSITORY / f"specs/{name}.yaml").read_text("utf-8")


def shortened(name: str) -> str:
    """The same for a few rows."""
    path = "  path: specs/data/gsm8k_test.jsonl\n"
    text = whole(name).replace("  limit: 50\n", "")
    assert text.count(path) == 1
    return text.replace(path, f"{path}  limit: {LIMIT if name == 'gsm8k' else 4}\n")


def at(text: str, provider: str) -> str:
    """The spec with one more line, which says where it is to be asked."""
    head, line, rest = text.partition("version: 1\n")
    assert line
    return f"{head}{line}provider: {provider}\n{rest}"


def make(folder: Path, url: str = "http://127.0.0.1:9") -> Project:
    """A project with the data of this repository, every place in its runner.yaml, and no spec."""
    answers = {"type": "simulator", "speed": 1000, "answers": "specs/data/gsm8k_test.jsonl"}
    project = Project(folder, {"demo": answers, **providers(url)})
    project.configure()
    project.write("specs/data/gsm8k_test.jsonl", ANSWERS.read_text("utf-8"))
    schema = "specs/schemas/math-answer.schema.json"
    project.write(schema, (REPOSITORY / schema).read_text("utf-8"))
    return project


def write(project: Project, name: str, provider: str) -> None:
    """One of SPECS, to be asked at ``provider``."""
    if name.startswith("gsm8k"):
        project.write(f"specs/{name}.yaml", at(shortened(name), provider))
        return
    model = {"select": {"family": "Qwen3", "prefer": "cheapest"}}
    about: dict[str, Any] = {
        "twice": {"samples": 2, "prompt": {"user": "{{ row.q }}"}},
        "plain": {"text": "Go on: {{ row.q }}"},
        "image": {
            "model": {"select": {"family": "Qwen2.5-VL"}},
            "messages": [{"role": "user", "content": [{"text": "What is it?"}, {"image": "{{ row.q }}"}]}],
        },
    }[name]
    source = {"path": f"specs/data/{name}.jsonl"}
    document = {"version": 1, "name": name, "provider": provider, "model": model, "input": source, **about}
    project.write(f"specs/{name}.yaml", yaml.safe_dump(document, sort_keys=False))
    project.rows([PIXEL] if name == "image" else 3, name)


def finish(project: Project) -> None:
    """`apply`, as a schedule would, until every row has succeeded; then once more, which does nothing."""
    for _ in range(50):
        done = project.apply()
        if not any(rows["pending"] for rows in done["rows"].values()):
            break
        time.sleep(0.02)
    assert all(rows["succeeded"] == rows["total"] for rows in done["rows"].values()), done["rows"]
    assert project.apply()["changes"] == []


def outputs(project: Project) -> dict[str, list[dict[str, Any]]]:
    """By file: its lines, as far as they have to be equal."""
    return {
        path.stem: [{key: line[key] for key in SAME} for line in project.output(path.stem)]
        for path in (project.root / "outputs").glob("*.jsonl")
    }


def assert_asked_once(server: Served, requests: int, *, samples: int = 0) -> None:
    """The bill has so many requests, each billed once.

    A single question has no id, so that the second sample of a row looks like a duplicate there.
    """
    bill = server.bill()
    assert (bill["requests"], bill["billed"]) == (requests, requests)
    assert len(bill["duplicates"]) == samples


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What the embedded simulator answers."""
    project = make(tmp_path_factory.mktemp("reference"))
    for name in SPECS:
        write(project, name, "demo")
    finish(project)
    return outputs(project)


def test_the_reference_is_true(reference: dict[str, list[dict[str, Any]]]) -> None:
    """Each question of GSM8K has its own answer, which fits the schema where there is one."""
    answers = [json.loads(line)["answer"] for line in ANSWERS.read_text("utf-8").splitlines()]
    assert [line["text"] for line in reference["gsm8k"]] == answers[:LIMIT]
    assert {len(reference[f"gsm8k-graded-{style}"]) for style in ("brief", "long")} == {4}
    for line in reference["gsm8k-graded-brief"]:
        assert line["parsed"].keys() == {"reasoning", "answer"}
    assert [(line["key"], line["sample"]) for line in reference["twice"]] == [(k, n) for k in "123" for n in (1, 2)]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_everywhere(name: str, tmp_path: Path, reference: dict[str, list[dict[str, Any]]]) -> None:
    """GSM8K, a schema and a matrix, two samples, a plain text and an image: wherever they can be asked, the outputs are
    equal, a second apply asks nothing, and the bill has each request once (F11, F12, F57)."""
    specs = [spec for spec in SPECS if spec not in CANNOT.get(name, {})]
    with serving(tmp_path / "server", speed=1000, answers=ANSWERS) as server:
        project = make(tmp_path / "project", server.url)
        for spec in specs:
            write(project, spec, name)
        finish(project)
        assert_asked_once(server, sum(REQUESTS[spec] for spec in specs), samples=3 if name in ONLINE else 0)
    found = outputs(project)
    assert found == {output: lines for output, lines in reference.items() if output in found}
    assert len(found) == len(specs) + ("gsm8k-styles" in specs)


@pytest.mark.parametrize(("name", "spec", "said"), [(n, *one) for n, two in CANNOT.items() for one in two.items()])
def test_what_cannot_be_said_is_an_error_in_the_plan(name: str, spec: str, said: str, tmp_path: Path) -> None:
    """Before anything is sent, `plan` says what a provider does not take, and in which file (F09)."""
    with serving(tmp_path / "server", speed=1000) as server:
        project = make(tmp_path / "project", server.url)
        write(project, spec, name)
        done = project.call("plan")
        assert done.code == 1, done
        assert said in done.err
        assert f"specs/{spec}.yaml" in done.err
        assert project.call("apply", "--yes").code == 1
        assert server.bill()["requests"] == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_all_of_gsm8k(name: str, tmp_path: Path) -> None:
    """All of it, by the command itself, with one more line in the spec: 1,319 true answers, each paid once."""
    with serving(tmp_path / "server", speed=1000, answers=ANSWERS) as server:
        project = make(tmp_path / "project", server.url)
        project.write("specs/gsm8k.yaml", at(whole("gsm8k"), name))
        done = project.run("apply", "--yes", "--wait", "--json")
        assert done.code == 0, done
        assert done.json["rows"]["gsm8k"]["succeeded"] == QUESTIONS
        assert "Nothing to do" in project.run("apply", "--yes").out
        assert_asked_once(server, QUESTIONS)
    answers = [json.loads(line)["answer"] for line in ANSWERS.read_text("utf-8").splitlines()]
    assert [line["text"] for line in project.output("gsm8k")] == answers


def test_one_word_moves_a_job(tmp_path: Path, reference: dict[str, list[dict[str, Any]]]) -> None:
    """The spec names no provider: another word behind `defaults.provider`, and the job is asked there instead (F30)."""
    with serving(tmp_path / "server", speed=1000, answers=ANSWERS) as server:
        project = make(tmp_path / "project", server.url)
        project.write("specs/gsm8k.yaml", shortened("gsm8k"))
        text = (project.root / "runner.yaml").read_text("utf-8")
        assert text.count("provider: demo\n") == 1
        for count, name in enumerate(("wanqing", "qianfan", "anthropic", "openai-groq"), start=1):
            project.write("runner.yaml", text.replace("provider: demo\n", f"provider: {name}\n"))
            assert project.requests() == LIMIT
            finish(project)
            assert outputs(project) == {"gsm8k": reference["gsm8k"]}
            assert server.bill()["billed"] == count * LIMIT
