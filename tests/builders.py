"""Values that several tests need, each with no more in it than its type asks for."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from runner.model import Selector
from runner.plan import Action, Change, Cost, Plan, Tokens
from runner.spec import Input, MessageTemplate, Output, PartTemplate, Place, Spec, Template
from runner.task import Task

PLACE = Place("specs/a.yaml", 3, 1)


def a_task(id: str = "t-1", **changes: Any) -> Task:
    values: dict[str, Any] = {
        "id": id,
        "batch": "a",
        "provider": "demo",
        "model": "m",
        "shard": hashlib.sha256(id.encode("utf-8", "replace")).hexdigest(),
        "requests": 3,
        "max_wait": 86_400,
        "give_up": 172_800,
        "begun_at": 1_000.0,
    }
    return Task(**{**values, **changes})


def a_spec(name: str = "a", **changes: Any) -> Spec:
    question = MessageTemplate("user", (PartTemplate("text", Template("{{ row.q }}", PLACE)),))
    spec = Spec(
        name=name,
        place=PLACE,
        provider="demo",
        model=Selector(id="m"),
        input=Input("rows.jsonl"),
        messages=(question,),
        output=Output(f"outputs/{name}.jsonl"),
    )
    return replace(spec, **changes)


def a_submit(spec: str = "a", **changes: Any) -> Change:
    change = Change(
        spec,
        Action.SUBMIT,
        "new",
        requests=10,
        shards=1,
        provider="demo",
        model="m",
        cost=Cost(0.42, "CNY"),
        tokens=Tokens(1_000, 2_000),
        identity="d",
    )
    return replace(change, **changes)


def a_plan(changes: Sequence[Change] = (), **others: Any) -> Plan:
    return Plan(tuple(changes), **{"lineage": "L", "serial": 4, **others})


def identity(number: int) -> bytes:
    """A request's identity, spread as real ones are."""
    return hashlib.sha256(b"%d" % number).digest()[:16]


def counter(prefix: str = "u") -> Callable[[], str]:
    """In the place of uuids: u1, u2, …"""
    numbers = itertools.count(1)
    return lambda: f"{prefix}{next(numbers)}"
