"""A task: its name, its id, its counts, and the few words of it that the state keeps."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from builders import a_task
from hypothesis import given
from hypothesis import strategies as st

from runner.task import (
    ABANDONED,
    BEGUN,
    COLLECTED,
    ENDED,
    ENDINGS,
    OPEN,
    PHASES,
    STAGED,
    VOID,
    Claim,
    Task,
    task_id,
)

TEXT = st.text(max_size=9)
TIME = st.none() | st.floats(0, 2e9)
COUNT = st.integers(0, 10**6)

TASKS = st.builds(
    Task,
    **dict.fromkeys(("id", "batch", "provider", "model", "shard", "marker", "remote_id", "raw", "error"), TEXT),
    **dict.fromkeys(("results", "outcomes", "currency", "stopped", "forgiven"), TEXT),
    **dict.fromkeys(("requests", "max_wait", "give_up", "attempt", "again"), COUNT),
    **dict.fromkeys(("staged_at", "started_at", "ended_at", "collected_at", "cost"), TIME),
    begun_at=st.floats(0, 2e9),
    phase=st.sampled_from(sorted(PHASES)),
    ending=st.sampled_from(sorted(ENDINGS)),
    claim=st.none() | st.builds(Claim, TEXT, st.floats(0, 2e9)),
    retryable=st.booleans(),
    progress=st.tuples(*[st.none() | COUNT] * 3),
    counts=st.tuples(*[COUNT] * 3),
    tokens=st.tuples(*[COUNT] * 2),
)


@given(TASKS)
def test_json_and_back(task: Task) -> None:
    """Through JSON text, any task comes back equal."""
    assert Task.from_json(task.id, json.loads(json.dumps(task.to_json()))) == task


def test_only_what_differs_from_a_default_is_kept() -> None:
    """A task just begun is a short line, without its id, which is the line's key."""
    assert a_task().to_json() == {
        "batch": "a",
        "provider": "demo",
        "model": "m",
        "shard": a_task().shard,
        "requests": 3,
        "max_wait": 86_400,
        "give_up": 172_800,
        "begun_at": 1_000.0,
    }


def test_every_field_is_kept_when_it_differs() -> None:
    """No field is forgotten: each one, set to something else, is in the document."""
    other: dict[str, Any] = {
        "phase": OPEN,
        "attempt": 2,
        "attempts": 5,
        "claim": Claim("host/1", 9.0),
        "staged_at": 1.0,
        "marker": "f",
        "started_at": 2.0,
        "remote_id": "r",
        "raw": "w",
        "progress": (3, 2, None),
        "ended_at": 3.0,
        "ending": "failed",
        "error": "e",
        "expires": "2026-12-01T00:00:00Z",
        "retryable": False,
        "collected_at": 4.0,
        "results": "x",
        "outcomes": "y",
        "counts": (1, 2, 0),
        "again": 1,
        "tokens": (5, 6),
        "cost": 0.0,
        "currency": "CNY",
        "price": (0.1, 0.2),
        "bound": 7,
        "parked": ("z",),
        "parked_bytes": 8,
        "stopped": "cancelled",
        "stopping": True,
        "forgiven": "all",
    }
    data = a_task(**other).to_json()
    assert set(data) == {field.name for field in fields(Task)} - {"id"}
    assert {name: data[name] for name in other} == {
        **other,
        "claim": {"by": "host/1", "until": 9.0},
        "progress": [3, 2, None],
        "counts": [1, 2, 0],
        "tokens": [5, 6],
        "price": [0.1, 0.2],
        "parked": ["z"],
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"phase": "asleep"},
        {"phase": ENDED},
        {"phase": ENDED, "ending": "bored"},
        {"claim": None},
        {"claim": {"by": "x"}},
        {"colour": "red"},
    ],
)
def test_what_is_no_task(changes: dict[str, Any]) -> None:
    """A phase, an ending, a claim or a key that there is not: refused, since later steps count on them."""
    with pytest.raises((ValueError, TypeError, AttributeError)):
        Task.from_json("t-1", {**a_task().to_json(), **changes})


def test_ids_are_the_same_in_every_run() -> None:
    """Two runs that send the same shard the same time round collide, and notice."""
    assert task_id("ab", 1) == "t-20748351557f"
    assert len({task_id("ab", 1), task_id("ab", 2), task_id("ac", 1)}) == 3


def test_a_name_tells_batch_shard_and_attempt() -> None:
    """What a person looks for in a console; a long batch name is cut so that the digest still shows."""
    assert a_task(batch="gsm8k", shard="0123456789abcdef" * 4, attempt=2).name == "gsm8k-0123456789abcdef-2"
    assert a_task(batch="b" * 63, shard="0123456789abcdef" * 4).name == "b" * 40 + "-0123456789abcdef-1"


@pytest.mark.parametrize("phase", [BEGUN, STAGED, OPEN, ENDED, COLLECTED, VOID, ABANDONED])
def test_on_its_way_by_phase(phase: str) -> None:
    """Until its results are here, or it is known not to stand for its requests."""
    assert a_task(phase=phase).on_its_way == (phase in (BEGUN, STAGED, OPEN, ENDED))
