"""What is the same request, and what is a new one: `plan --json` after a first apply, edit by edit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import yaml
from fakes.wanqing import KEY, MODEL, PROJECT, FakeWanqing
from helpers import Project

ROWS = [f"What is {number} and {number}?" for number in range(1, 7)]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("answered"))
    project.spec(rows=ROWS)
    project.finish()
    return project.root


@pytest.fixture
def project(answered: Path, tmp_path: Path) -> Project:
    """A project whose one spec has been answered."""
    copytree(answered, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def test_nothing_is_left_after_an_apply(project: Project) -> None:
    """After an apply that finished, a plan has no change at all."""
    plan = project.plan()
    assert plan["changes"] == []
    assert set(plan["summary"].values()) == {0}


def test_an_appended_row_is_one_request(project: Project) -> None:
    """A row more is a request more, and the plan says that a row is new."""
    project.rows([*ROWS, "One more?"])
    plan = project.plan()
    assert plan["summary"]["requests"] == 1
    assert "1 row new" in plan["changes"][0]["reason"]


def test_reordered_rows_are_only_published(project: Project) -> None:
    """The order of rows changes the output file and asks nothing."""
    before = project.output()
    project.rows([{"id": at, "q": ROWS[at - 1]} for at in (6, 2, 3, 4, 5, 1)])
    plan = project.plan()
    assert (plan["summary"]["requests"], plan["summary"]["publish"]) == (0, 1)
    project.finish()
    assert [line["text"] for line in project.output()] == [before[at - 1]["text"] for at in (6, 2, 3, 4, 5, 1)]
    assert project.bill()["requests"] == len(ROWS)


def test_edited_rows_are_as_many_requests(project: Project) -> None:
    """Three rows edited are three requests."""
    project.rows([f"{row} Please." if at in (0, 2, 5) else row for at, row in enumerate(ROWS)])
    assert project.requests() == 3


def test_a_column_that_no_prompt_reads_asks_nothing(project: Project) -> None:
    """Only what reaches the model counts: another column is at most a new output."""
    project.rows([{"id": at, "q": row, "note": "seen"} for at, row in enumerate(ROWS, start=1)])
    assert project.requests() == 0


def test_removed_rows_ask_nothing(project: Project) -> None:
    """Fewer rows submit nothing; the output gets shorter."""
    project.rows(ROWS[:2])
    assert project.plan()["summary"] | {"publish": 1, "requests": 0} == project.plan()["summary"]
    project.finish()
    assert len(project.output()) == 2


ALL: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": {"user": "{{ row.q }} Be brief."}},
    "system": {"prompt": {"system": "Be kind.", "user": "{{ row.q }}"}},
    "parameter": {"parameters": {"max_tokens": 65}},
    "extra body": {"parameters": {"max_tokens": 64, "extra_body": {"top_k": 5}}},
    "model": {"model": "mi-1"},
    "response": {"response": {"schema": "schemas/a.json"}},
}


@pytest.mark.parametrize("changes", ALL.values(), ids=ALL.keys())
def test_what_reaches_the_model_asks_all_rows_anew(project: Project, changes: dict[str, Any]) -> None:
    """A changed prompt, parameter, model or response schema is a new request for every row."""
    project.write("schemas/a.json", json.dumps({"type": "object", "properties": {"a": {"type": "string"}}}))
    project.spec(**changes)
    assert project.requests() == len(ROWS)


NONE: dict[str, dict[str, Any]] = {
    "wait": {"wait": {"max": "1h", "give_up": "2h"}},
    "labels": {"labels": {"team": "evals"}},
    "description": {"description": "Another one"},
    "retry": {"retry": {"attempts": 5}},
    "on_remove": {"on_remove": "cancel"},
    "output path": {"output": {"path": "outputs/else.jsonl"}},
    "output include": {"output": {"path": "outputs/job.jsonl", "include": ["input"]}},
    "key": {"input": {"path": "specs/data/job.jsonl", "key": "id"}},
    "unused vars": {"vars": {"style": "brief"}},
    "model by id": {"model": "mi-9"},
}


@pytest.mark.parametrize("changes", NONE.values(), ids=NONE.keys())
def test_what_does_not_reach_the_model_asks_nothing(project: Project, changes: dict[str, Any]) -> None:
    """A changed wait, label, description, output path or the like submits nothing, and apply bills nothing."""
    project.spec(**changes)
    assert project.requests() == 0
    project.finish()
    assert project.bill()["requests"] == len(ROWS)
    assert project.plan()["changes"] == []


def reformatted(text: str) -> str:
    document = yaml.safe_load(text)
    document["parameters"] = dict(reversed(document["parameters"].items()))
    return yaml.safe_dump(dict(reversed(document.items())), sort_keys=False)


REFORMATS: dict[str, Callable[[str], str]] = {
    "comments": lambda text: "# Why this is so\n" + text.replace("version: 1", "version: 1  # the first"),
    "newlines": lambda text: text.replace("\nname:", "\n\n\nname:") + "\n\n",
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "key order": reformatted,
    "quotes": lambda text: text.replace("name: job", 'name: "job"'),
}


@pytest.mark.parametrize("reformat", REFORMATS.values(), ids=REFORMATS.keys())
def test_how_a_spec_is_written_asks_nothing(tmp_path: Path, reformat: Callable[[str], str]) -> None:
    """Comments, newlines, quotes and the order of keys, of parameters too, change nothing at all."""
    project = Project(tmp_path)
    project.spec(rows=ROWS, parameters={"max_tokens": 64, "temperature": 0, "top_p": 0.5})
    project.finish()
    file = tmp_path / "specs/job.yaml"
    file.write_bytes(reformat(file.read_text(encoding="utf-8")).encode())
    assert project.plan()["changes"] == []


def test_a_duplicate_row_is_one_request(project: Project) -> None:
    """Two equal rows are one request, in a first apply as in a later one; both lines get the answer."""
    project.rows([*ROWS, ROWS[0], ROWS[0]])
    assert project.requests() == 0
    project.spec("twins", rows=["Same?", "Same?", "Other?"])
    assert project.requests() == 2
    project.finish()
    first, second, _ = project.output("twins")
    assert (first["text"], first["status"]) == (second["text"], "succeeded")
    assert len(project.output()) == len(ROWS) + 2
    assert project.bill()["requests"] == len(ROWS) + 2


def test_three_samples_are_two_more_requests_per_row(project: Project) -> None:
    """From 1 to 3 samples, two more per row are asked; the first ones are kept."""
    before = {line["key"]: line["text"] for line in project.output()}
    project.spec(samples=3)
    assert project.requests() == 2 * len(ROWS)
    project.finish()
    lines = project.output()
    assert [(line["key"], line["sample"]) for line in lines] == [(str(k), s) for k in range(1, 7) for s in (1, 2, 3)]
    assert {line["key"]: line["text"] for line in lines if line["sample"] == 1} == before
    project.spec(samples=1)
    assert project.requests() == 0


def test_a_renamed_spec_asks_nothing(project: Project) -> None:
    """The batch's name is no part of a request: a renamed spec only publishes its output."""
    (project.root / "specs/job.yaml").unlink()
    project.spec("renamed", input={"path": "specs/data/job.jsonl"})
    plan = project.plan()
    assert (plan["summary"]["requests"], plan["summary"]["publish"]) == (0, 1)
    project.finish()
    assert project.statuses("renamed") == ["succeeded"] * len(ROWS)


def test_two_specs_that_ask_the_same_ask_once(tmp_path: Path) -> None:
    """Two specs with the same rows and prompt share their requests, and both get their outputs in one apply."""
    project = Project(tmp_path)
    project.spec("a", rows=ROWS)
    project.spec("b", input={"path": "specs/data/a.jsonl"})
    assert project.requests() == len(ROWS)
    done = project.finish()
    assert done["rows"]["a"] == done["rows"]["b"]
    assert project.statuses("a") == project.statuses("b") == ["succeeded"] * len(ROWS)
    assert project.bill()["requests"] == len(ROWS)
    assert project.plan()["changes"] == []


def test_a_spec_that_joins_requests_under_way_waits_for_them(tmp_path: Path) -> None:
    """A second spec with the same requests, added while they run, asks nothing and is published when they end."""
    project = Project(tmp_path, {"demo": {"type": "simulator", "speed": 0.4}})
    project.spec("a", rows=ROWS)
    project.apply()
    project.spec("b", input={"path": "specs/data/a.jsonl"})
    assert project.requests() == 0
    project.finish()
    assert project.statuses("b") == ["succeeded"] * len(ROWS)


def test_another_providers_name_is_another_request(project: Project) -> None:
    """The provider's name in runner.yaml belongs to the identity; its type's settings do not."""
    project.providers["demo"] = {"type": "simulator", "speed": 30}
    project.providers["other"] = {"type": "simulator"}
    project.configure()
    assert project.requests() == 0
    project.spec(provider="other")
    assert project.requests() == len(ROWS)


# ---- pins ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Project, FakeWanqing]]:
    """A project on a Wanqing whose models a test may change, its requests already sent, and not yet answered."""
    fake = FakeWanqing()
    fake.knobs.task = {"status": "running"}
    monkeypatch.setenv("FAKE_KEY", KEY)
    settings = {"type": "wanqing", "base_url": fake.url, "project_id": PROJECT, "api_key": {"env": "FAKE_KEY"}}
    project = Project(tmp_path, {"demo": settings})
    project.spec(rows=ROWS, model={"select": {"name": "Qwen3-*", "prefer": "cheapest"}})
    project.apply()
    yield project, fake
    fake.close()


def on_sale(instance: str, price: str, **changes: Any) -> dict[str, Any]:
    tier = {"input": price, "output": [{"mode": "x", "price": price}]}
    return {
        **MODEL,
        "priceInfo": [{"usageScene": "onlineInference", "pricingTiers": [tier]}],
        "modelInstance": {"modelInstanceId": instance, "status": "running"},
        **changes,
    }


def test_a_pin_outlives_a_cheaper_model(market: tuple[Project, FakeWanqing]) -> None:
    """A cheaper model that appears changes no plan; `--upgrade` takes it, in plan as in apply."""
    project, fake = market
    fake.knobs.models = [on_sale("mi-cheap", "0.00001"), MODEL]
    assert project.requests() == 0
    project.apply()
    plan = project.plan("--upgrade")
    assert [change["model"] for change in plan["changes"] if change["action"] == "submit"] == ["mi-cheap"]
    assert plan["summary"]["requests"] == len(ROWS)
    project.apply("--upgrade")
    assert [task["modelInfo"]["modelInstanceId"] for task in fake.tasks.values()] == ["mi-9", "mi-cheap"]
    assert project.requests() == 0


def test_an_edited_selector_chooses_anew(market: tuple[Project, FakeWanqing]) -> None:
    """Editing the selector gives up the pin, even where the new one would fit the old model too."""
    project, fake = market
    fake.knobs.models = [on_sale("mi-cheap", "0.00001"), MODEL]
    project.spec(model={"select": {"name": "Qwen3-?B", "prefer": "cheapest"}})
    assert {change["model"] for change in project.plan()["changes"] if change["action"] == "submit"} == {"mi-cheap"}


def test_a_model_without_a_price_is_never_the_cheapest(market: tuple[Project, FakeWanqing]) -> None:
    """A model whose price is unknown loses to any that has one."""
    project, fake = market
    fake.knobs.models = [on_sale("mi-free", "0", priceInfo=[]), on_sale("mi-dear", "9")]
    project.spec("second", rows=["One?"], model={"select": {"name": "Qwen3-*", "prefer": "cheapest"}})
    assert project.plan("--select", "second")["changes"][0]["model"] == "mi-dear"
