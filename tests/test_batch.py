"""A spec resolved: what its fingerprint notices, what it ignores, and how a change is put into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from builders import PLACE, a_spec, a_task
from hypothesis import given
from hypothesis import strategies as st

from runner.batch import Batch, explain, fingerprint_of, publish_key
from runner.fingerprint import Fingerprint, differences, digest_of
from runner.model import Offer, Selector
from runner.request import salt
from runner.spec import Input, MessageTemplate, Output, PartTemplate, Place, Spec, Template, Wait
from runner.task import COLLECTED, OPEN

SPEC = a_spec(
    vars={"style": "brief"},
    parameters={"max_tokens": 8},
    input=Input("rows.jsonl", key="id", where=Template("row.n > 1", PLACE), limit=5),
)
TEMPLATES = {"specs/a.yaml:3:1": "{{ row.q }}"}


def fingerprint(spec: Spec = SPEC, **changes: Any) -> Fingerprint:
    values: dict[str, Any] = {"model": "m", "input_digest": "i", "templates": TEMPLATES, "encoding": "e"}
    return fingerprint_of(spec, **{**values, **changes})


def message(role: str, kind: str = "text") -> MessageTemplate:
    return MessageTemplate(role, (PartTemplate(kind, Template("{{ row.q }}", PLACE)),))


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        (fingerprint(model="other"), "model"),
        (fingerprint(replace(SPEC, provider="other")), "model"),
        (fingerprint(templates={"specs/a.yaml:3:1": "{{ row.q }}!"}), "prompt"),
        (fingerprint(templates={**TEMPLATES, "prompts/x.j2": ""}), "prompt"),
        (fingerprint(replace(SPEC, messages=(message("system"),))), "prompt"),
        (fingerprint(replace(SPEC, messages=(message("user", "image"),))), "prompt"),
        (fingerprint(replace(SPEC, text=Template("{{ row.q }}", PLACE))), "prompt"),
        (fingerprint(replace(SPEC, vars={"style": "long"})), "vars"),
        (fingerprint(replace(SPEC, parameters={"max_tokens": 9})), "parameters"),
        (fingerprint(replace(SPEC, schema={"type": "object"})), "response"),
        (fingerprint(replace(SPEC, samples=2)), "samples"),
        (fingerprint(encoding="other"), "encoding"),
        (fingerprint(input_digest="other"), "input"),
        (fingerprint(replace(SPEC, input=replace(SPEC.input, path="else.jsonl"))), "rows"),
        (fingerprint(replace(SPEC, input=replace(SPEC.input, where=None))), "rows"),
        (fingerprint(replace(SPEC, input=replace(SPEC.input, limit=6))), "rows"),
    ],
)
def test_a_fingerprint_names_what_changed(changed: Fingerprint, part: str) -> None:
    """Each thing that could ask something else is in one part, and in no other."""
    assert differences(fingerprint(), changed) == [part]


@pytest.mark.parametrize(
    "changes",
    [
        {"description": "other"},
        {"labels": {"team": "evals"}},
        {"wait": Wait(1, 2)},
        {"attempts": 9},
        {"on_remove": "cancel"},
        {"output": Output("else.csv", ("input",))},
        {"model": Selector(family="f")},
        {"place": Place("specs/b.yaml")},
        {"input": replace(SPEC.input, key=None)},
    ],
)
def test_a_fingerprint_ignores_what_asks_nothing(changes: dict[str, Any]) -> None:
    """What the batch is called, how long it may wait, where its output goes: none of it reaches the model."""
    assert fingerprint(replace(SPEC, **changes)) == fingerprint()


def test_swapped_prompts_are_another_prompt() -> None:
    """The same two sources in each other's place."""
    two = {"a:1:1": "x", "a:2:1": "y"}
    assert fingerprint(templates=two) != fingerprint(templates={"a:1:1": "y", "a:2:1": "x"})
    assert fingerprint(templates=two) == fingerprint(templates=dict(reversed(two.items())))


# ---- in words --------------------------------------------------------------------------------------------------------

OLD = dict.fromkeys(("model", "prompt", "vars", "parameters", "response", "samples", "encoding", "input", "rows"), "1")


def changed(*parts: str) -> Mapping[str, str]:
    return {**OLD, **dict.fromkeys(parts, "2")}


@pytest.mark.parametrize(
    ("old", "new", "fresh", "again", "words"),
    [
        (None, OLD, 5, 0, "new"),
        (None, OLD, 0, 0, ""),
        (None, OLD, 5, 2, "new, retry of 2 failed or missing"),
        (OLD, OLD, 0, 1_200, "retry of 1,200 failed or missing"),
        (OLD, OLD, 7, 0, "7 not sent yet"),
        (OLD, OLD, 7, 1, "7 not sent yet, retry of 1 failed or missing"),
        (OLD, changed("prompt"), 5, 0, "prompt changed"),
        (OLD, changed("model"), 5, 0, "model changed"),
        (OLD, changed("vars"), 5, 0, "vars changed"),
        (OLD, changed("parameters"), 5, 0, "parameters changed"),
        (OLD, changed("response"), 5, 0, "response schema changed"),
        (OLD, changed("samples"), 5, 0, "samples changed"),
        (OLD, changed("prompt", "model", "encoding"), 5, 0, "model changed, prompt changed"),
        (OLD, changed("encoding"), 5, 0, "the request's encoding changed"),
        (OLD, changed("input"), 1, 0, "1 row new or changed"),
        (OLD, changed("input", "rows"), 1_001, 0, "1,001 rows new or changed"),
        (OLD, changed("input", "prompt"), 3, 0, "prompt changed"),
        (OLD, changed("prompt"), 0, 3, "retry of 3 failed or missing"),
        (OLD, changed("prompt"), 2, 3, "prompt changed, retry of 3 failed or missing"),
    ],
)
def test_explain(old: Fingerprint | None, new: Fingerprint, fresh: int, again: int, words: str) -> None:
    """Why there is something to submit, in a few words."""
    assert explain(old, new, fresh, again) == words


@given(st.sets(st.sampled_from(sorted(OLD))), st.integers(1, 9), st.integers(0, 9))
def test_there_is_always_a_reason(parts: set[str], fresh: int, again: int) -> None:
    """No submit without one, whatever combination of parts changed."""
    assert explain(OLD, changed(*parts), fresh, again)
    assert explain(None, changed(*parts), fresh, again)


# ---- a batch ---------------------------------------------------------------------------------------------------------


def test_model_and_salt() -> None:
    """Of the offer chosen; a batch without one salts with an empty name."""
    batch = Batch(SPEC, Offer("mi-9", name="Qwen3"), fingerprint(), "k")
    assert (batch.model, batch.salt) == ("mi-9", salt("demo", "mi-9"))
    unpinned = replace(batch, offer=None)
    assert (unpinned.model, unpinned.salt) == (None, salt("demo", ""))


TASKS = [a_task("t-1", phase=COLLECTED, results="r", outcomes="o"), a_task("t-2", phase=OPEN)]


def key(spec: Spec = SPEC, tasks: list[Any] = TASKS, **changes: Any) -> str:
    return publish_key(Batch(spec, Offer("m"), fingerprint(spec, **changes), ""), tasks)


@pytest.mark.parametrize(
    "other",
    [
        key(input_digest="other"),
        key(replace(SPEC, output=Output("else.jsonl"))),
        key(replace(SPEC, output=replace(SPEC.output, include=("input",)))),
        key(replace(SPEC, input=replace(SPEC.input, key="other"))),
        key(tasks=TASKS[:1]),
        *(
            key(tasks=[task, TASKS[1]])
            for task in (
                replace(TASKS[0], results="x"),
                replace(TASKS[0], outcomes="x"),
                replace(TASKS[0], stopped="cancelled"),
                replace(TASKS[0], forgiven="all"),
                replace(TASKS[0], phase=OPEN),
                replace(TASKS[0], id="t-0"),
            )
        ),
    ],
)
def test_what_makes_another_output(other: str) -> None:
    """Rows, columns, path, and every result that is known of the tasks."""
    assert other != key()


@pytest.mark.parametrize(
    "changes", [{"progress": (3, 1, 1)}, {"raw": "x"}, {"tokens": (1, 1)}, {"claim": None}, {"collected_at": 9.0}]
)
def test_what_leaves_the_output_as_it_is(changes: dict[str, Any]) -> None:
    """How far a task has come, or when, is not in the file."""
    assert key(tasks=[replace(TASKS[0], **changes), TASKS[1]]) == key()


def test_keys_are_digests() -> None:
    """Nothing of the spec can be read from it."""
    assert len(key()) == len(digest_of(0)) == 64
