"""`embed:` in a spec: what it may stand beside, which models it may ask, what a plan says of it, what comes out."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import Project

from runner.batch import fingerprint_of
from runner.edge.http import Http
from runner.model import Offer, Selector, misfits
from runner.project import ProviderConfig
from runner.provider import EMBEDDING_DIALECTS
from runner.providers.openai.dialects import DIALECTS
from runner.registry import build
from runner.report.prompts import body_lines
from runner.resolve import selector_key
from runner.simulator.answers import answer
from runner.simulator.questions import read_question
from runner.spec import Input, Place, Spec, Template

NEITHER = {"prompt": None, "parameters": None}
"""Takes what is there without being asked for out of a spec."""
EMBED = {**NEITHER, "embed": "{{ row.q }}", "model": {"select": {"prefer": "cheapest"}}}
AT = Place("a.yaml")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# ---- the spec ------------------------------------------------------------------------------------------------------


def test_what_cannot_stand_beside_it(project: Project) -> None:
    """A schema, several samples, another question, and the key of the body that it becomes."""
    project.write("schemas/a.json", "{}")
    project.spec(rows=1, **{**EMBED, "parameters": {"input": "x"}}, response={"schema": "schemas/a.json"}, samples=2)
    project.spec("both", rows=1, **{**EMBED, "text": "Once"})
    done = project.call("validate")
    assert done.code == 1
    for said in (
        "`response` cannot stand beside `embed`",
        "`samples` cannot be more than 1 beside `embed`",
        "`input` may not be set in `parameters`",
        "exactly one of `prompt`, `messages`, `text` or `embed` is needed, not `text` and `embed` together",
    ):
        assert said in done.out


def test_one_sample_may_be_said(project: Project) -> None:
    """It is what is meant anyway."""
    project.spec(rows=1, **EMBED, samples=1)
    assert project.call("validate").code == 0


def test_it_takes_the_place_of_a_prompt_of_defaults(project: Project) -> None:
    """A prompt under `defaults` gives way, and `embed` may stand there itself."""
    project.configure(defaults={"provider": "demo", "prompt": {"user": "{{ row.q }}"}})
    project.spec(rows=1, **EMBED)
    assert json.loads(project.call("render", "job").out) == {"input": "job asks 1?", "model": "mi-8"}
    project.configure(defaults={"provider": "demo", "embed": "{{ row.id }}"})
    project.spec(**{**EMBED, "embed": None})
    assert json.loads(project.call("render", "job").out)["input"] == "1"


def test_a_template_in_a_file(project: Project) -> None:
    """As for `text` and `prompt`; a missing file is named."""
    project.write("prompts/passage.j2", "{{ row.q }} ({{ vars.language }})")
    project.spec(rows=1, **{**EMBED, "embed": {"file": "prompts/passage.j2"}}, vars={"language": "en"})
    assert json.loads(project.call("render", "job").out)["input"] == "job asks 1? (en)"
    project.spec(**{**EMBED, "embed": {"file": "prompts/passages.j2"}})
    assert "did you mean `prompts/passage.j2`?" in project.call("validate").out


def test_text_and_embed_differ_in_the_fingerprint_and_no_other_spec_does() -> None:
    """What was digested of texts and selectors before there was `embed` still is, so that no pin is chosen anew."""
    template = Template("{{ row.x }}", AT)
    plain = Spec("a", AT, "demo", Selector(id="m"), Input("rows.csv"), text=template)
    vector = Spec("a", AT, "demo", Selector(id="m"), Input("rows.csv"), embed=template)
    prompts = [fingerprint_of(spec, "m", "i", {"text": "{{ row.x }}"}, "e")["prompt"] for spec in (plain, vector)]
    assert prompts[0] == "17ff0e6f63872bbfbf84ea368b80c1ab243387af5cdf54c049b1c299e14b1928"
    assert prompts[0] != prompts[1]
    selector = Selector(family="Qwen3", prefer="cheapest")
    assert selector_key(selector) == "e5dd905c6314b5d17a65c23efc8cdee1a36b3922becb2df8d2a00a91615e8361"
    assert selector_key(replace(selector, embeds=True)) != selector_key(selector)


# ---- models and providers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "to_write", "to_embed"),
    [
        (None, True, True),
        ({"text"}, True, False),
        ({"embedding"}, False, True),
        ({"Embeddings"}, False, True),
        ({"text", "vectors"}, True, True),
    ],
)
def test_which_models_fit(outputs: set[str] | None, to_write: bool, to_embed: bool) -> None:
    """By what the provider says that they give; who says nothing may be asked for either."""
    offer = Offer("m", outputs=None if outputs is None else frozenset(outputs))
    assert (not misfits(Selector(), offer)) is to_write
    assert (not misfits(Selector(embeds=True), offer)) is to_embed


def test_a_model_of_the_other_kind(project: Project) -> None:
    """Named outright it is refused in the plan, where it stands, and why; the cheapest is never one."""
    project.spec("vectors", rows=1, **{**EMBED, "model": "mi-9"})
    done = project.call("plan")
    assert done.code == 1
    assert "specs/vectors.yaml:3:1: no model fits" in done.err
    assert "Qwen3-8B): gives text, and `embed` asks for embeddings" in done.err
    project.spec("vectors", rows=1, **EMBED)
    project.spec("texts", rows=1, model="mi-8")
    assert "gives embeddings only, which are asked for with `embed`" in project.call("plan").err
    project.spec("texts", rows=1, model={"select": {"prefer": "cheapest"}})
    assert {change["spec"]: change["model"] for change in project.plan()["changes"]} == {
        "texts": "mi-9",
        "vectors": "mi-8",
    }


def test_the_hint_names_the_dialects_that_embed() -> None:
    """Those whose row says so."""
    assert set(EMBEDDING_DIALECTS) == {name for name, dialect in DIALECTS.items() if dialect.embeds}


@pytest.mark.parametrize(
    ("dialect", "settings", "chats", "embeddings"),
    [("openai", {}, 50_000, 50_000), ("zhipu", {}, 50_000, 10_000), ("zhipu", {"max_requests": 500}, 500, 500)],
)
def test_fewer_may_travel_together(
    dialect: str, settings: dict[str, int], chats: int, embeddings: int, tmp_path: Path
) -> None:
    """Where the platform says so, also without an `endpoint`; what runner.yaml says wins."""
    config = ProviderConfig("it", "openai", {"dialect": dialect, "api_key": "", **settings})
    traits = build(config, http=Http(), secret=lambda _: "", simulator_url=lambda: "", folder=tmp_path).traits
    assert traits.limits_for(embeds=True).requests == embeddings
    assert traits.limits_for(embeds=False).requests == chats


# ---- plan and output -----------------------------------------------------------------------------------------------


def test_only_what_goes_in_costs(project: Project) -> None:
    """No token comes back, so that the bound on the cost is known without `max_tokens`."""
    project.spec(rows=40, **EMBED)
    (change,) = project.plan()["changes"]
    assert change["tokens"]["output"] == 0
    assert change["cost"]["estimate"] == pytest.approx(change["tokens"]["input"] * 0.00025 / 1000, abs=1e-6)


def test_the_vector_is_what_was_parsed(project: Project) -> None:
    """One line per row, its number of numbers as asked for; equal texts are asked once; a second apply does nothing."""
    project.spec(rows=["one", "two", "one"], **{**EMBED, "parameters": {"dimensions": 6}})
    assert project.requests() == 2
    project.finish()
    lines = project.output()
    assert [(line["status"], line["text"], len(line["parsed"])) for line in lines] == [("succeeded", None, 6)] * 3
    assert lines[0]["parsed"] == lines[2]["parsed"] != lines[1]["parsed"]
    assert project.plan()["changes"] == []


def test_a_vector_in_a_csv(project: Project) -> None:
    """As JSON, as everything there that is no text."""
    project.spec(rows=1, **EMBED, output={"path": "outputs/job.csv"})
    project.finish()
    with (project.root / "outputs/job.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert len(json.loads(row["parsed"])) == 8


def test_a_text_that_becomes_one_to_embed(project: Project) -> None:
    """Another question: it is asked, and the plan says why."""
    project.spec(rows=1, **NEITHER, text="{{ row.q }}")
    project.finish()
    project.spec(**EMBED)
    (change,) = project.plan()["changes"]
    assert change["requests"] == 1
    assert change["reason"] == "model changed, prompt changed"


def test_a_review_shows_the_text() -> None:
    """As text, and not as one long line of JSON."""
    assert body_lines('{"dimensions":3,"input":"one\\ntwo","model":"m"}') == [
        "[input]",
        "one",
        "two",
        "",
        "dimensions: 3",
        'model: "m"',
    ]


# ---- the simulator -------------------------------------------------------------------------------------------------


def vector(text: str, **parameters: Any) -> tuple[float, ...]:
    (found,) = answer(read_question({"input": text, **parameters}, "/v1/embeddings")).vectors
    return found


def closeness(one: str, other: str) -> float:
    pairs = zip(vector(one, dimensions=256), vector(other, dimensions=256), strict=True)
    return sum(a * b for a, b in pairs)


@pytest.mark.parametrize("text", ["a", "", " ", "a a", "深圳", "\ud800"])
@pytest.mark.parametrize("length", [1, 2, 8, 4096])
def test_a_simulated_vector(text: str, length: int) -> None:
    """Of length one, the same for the same text, with as many numbers as were asked for."""
    found = vector(text, dimensions=length)
    assert len(found) == length
    assert math.hypot(*found) == pytest.approx(1, abs=1e-4)
    assert found == vector(text, dimensions=length)


def test_like_texts_are_near() -> None:
    """So that a search over simulated vectors finds something."""
    near, far = (closeness("a kettle of steel", other) for other in ("Kettle (steel)", "lined notebook"))
    assert near > 0.5 > 0.3 > abs(far)
    assert vector("item 1") != vector("item 2")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": 4097}, "dimensions"),
        ({"dimensions": "8"}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_parameters_that_the_simulator_refuses(project: Project, parameters: dict[str, Any], said: str) -> None:
    """As a provider would: the row fails, with a reason, and is not asked again."""
    project.spec(rows=1, **{**EMBED, "parameters": parameters})
    project.finish(code=7)
    (line,) = project.output()
    assert said in line["error"]["message"]
    assert not line["error"]["retryable"]
