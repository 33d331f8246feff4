"""A Review: a plan with what a person needs to judge it, also from a file that somebody may have forged."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.conform import misfit
from runner.limits import Over
from runner.plan import FORMAT, Action, Change, Cost, Plan, Tokens

HERE = "."
"""The project at the root of its repository."""
LONGEST = 100_000
"""Characters of one text of a plan: a note may name every spec."""
LONGEST_NAME = 4_096
"""Characters of a project's name, which may be a folder."""
MANY = 100_000
"""Entries of one list of a plan."""
MOST = 10**15
"""Of what a plan counts."""
DEEPEST = 10
"""Levels of a plan's document."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Misshapen(ValueError):
    """What is no plan: the message says where it first is none, and why."""


@dataclass(frozen=True)
class Example:
    """What a spec asks of one row: ``lines`` are a unified diff of it, ``note`` says of what."""

    spec: str
    note: str
    lines: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"spec": self.spec, "note": self.note, "lines": list(self.lines)}


@dataclass(frozen=True)
class Prompts:
    """How prompts change.  ``remark``: why not all that change are among the examples."""

    examples: tuple[Example, ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class Review:
    """``project`` names it among others of its repository: its folder there, or what a person chose to call it."""

    digest: str
    changes: tuple[Change, ...] = ()
    over: tuple[Over, ...] = ()
    notes: tuple[str, ...] = ()
    project: str = HERE
    prompts: Prompts = Prompts()

    @classmethod
    def of(cls, plan: Plan, project: str = HERE, prompts: Prompts = Prompts()) -> Review:
        return cls(plan.digest, plan.changes, plan.over, plan.notes, project, prompts)

    @property
    def has_changes(self) -> bool:
        return any(change.is_work for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        """What a saved plan holds of it beside the plan."""
        examples = [example.to_json() for example in self.prompts.examples]
        return {"project": self.project, "examples": examples, "remark": self.prompts.remark}


# ---- from a file -----------------------------------------------------------------------------------------------------


def read_review(document: Any) -> Review:
    """The review in a saved plan's document, every type and size in it checked.  Raises Misshapen.

    What the document says of its digest is taken as said: the digest covers more than the document holds.
    """
    if _deeper(document, DEEPEST):
        raise Misshapen(f"it is nested more than {DEEPEST} levels deep")
    if not isinstance(document, dict) or not _is_format(document.get("format_version")):
        raise Misshapen(f"format_version is not {FORMAT}")
    try:
        review = Review(
            digest=document["digest"],
            changes=_each(document, "changes", _change),
            over=_each(document, "limits", _over),
            notes=_each(document, "notes"),
            **(_shown(document["review"]) if "review" in document else {}),
        )
    except KeyError as error:
        raise Misshapen(f"{error.args[0]!r} is missing") from None
    except (TypeError, AttributeError):
        raise Misshapen("a list or a mapping is missing where one belongs") from None
    where = misfit(review, Review)
    if where is None:
        where = next((place for place, fits in _bounds(review) if not fits), None)
    if where is not None:
        raise Misshapen(f"{where.lstrip('.')} is not what belongs there")
    return review


def _is_format(value: Any) -> bool:
    return type(value) is int and value == FORMAT


def _shown(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"project": data["project"], "prompts": Prompts(_each(data, "examples", _example), data["remark"])}


def _deeper(value: Any, levels: int) -> bool:
    found = [value]
    for _ in range(levels):
        found = [inner for one in found for inner in _inside(one)]
        if not found:
            return False
    return True


def _inside(value: Any) -> Sequence[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()


def _each(document: Mapping[str, Any], name: str, read: Callable[[Any], Any] = lambda item: item) -> tuple[Any, ...]:
    items = document[name]
    if not isinstance(items, list) or len(items) > MANY:
        raise Misshapen(f"{name} is no list of at most {MANY:,} entries")
    return tuple(read(item) for item in items)


def _change(data: Mapping[str, Any]) -> Change:
    try:
        action = Action(data["action"])
    except ValueError:
        raise Misshapen("an action is none that runner knows") from None
    cost, tokens = data["cost"], data.get("tokens")
    return Change(
        data["spec"],
        action,
        data["reason"],
        requests=data["requests"],
        shards=data["shards"],
        task=data["task"],
        provider=data.get("provider", ""),
        model=data["model"],
        cost=None if cost is None else Cost(cost["estimate"], cost["currency"], cost.get("upper_bound", False)),
        tokens=None if tokens is None else Tokens(tokens["input"], tokens["output"]),
    )


def _over(data: Mapping[str, Any]) -> Over:
    currency = data["currency"]
    return Over(data["name"], data["limit"], data["actual"], "" if currency is None else currency)


def _example(data: Mapping[str, Any]) -> Example:
    return Example(data["spec"], data["note"], _each(data, "lines"))


def _bounds(review: Review) -> Iterator[tuple[str, bool]]:
    """Every place whose value has bounds beside its type, and whether it keeps them."""
    yield "digest", bool(_DIGEST.fullmatch(review.digest))
    yield "review.project", len(review.project) <= LONGEST_NAME
    yield "review.remark", len(review.prompts.remark) <= LONGEST
    yield "notes", all(len(note) <= LONGEST for note in review.notes)
    for at, change in enumerate(review.changes):
        texts = [change.spec, change.reason, change.task or "", change.provider, change.model or ""]
        yield f"changes.{at}", max(map(len, texts)) <= LONGEST and _is_counted(change)
    for at, over in enumerate(review.over):
        yield f"limits.{at}", max(len(over.name), len(over.currency)) <= LONGEST
    for at, example in enumerate(review.prompts.examples):
        texts = [example.spec, example.note, *example.lines]
        yield f"review.examples.{at}", max(len(texts), *map(len, texts)) <= LONGEST


def _is_counted(change: Change) -> bool:
    """Whether its numbers are such as counts and costs can be."""
    cost, tokens = change.cost, change.tokens
    numbers = [change.requests, change.shards, *((tokens.input, tokens.output or 0) if tokens else ())]
    return 0 <= min(numbers) <= max(numbers) <= MOST and (
        cost is None or (cost.estimate >= 0 and len(cost.currency) <= LONGEST)
    )
