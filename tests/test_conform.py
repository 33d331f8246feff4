"""Values held against annotations: what fits, and where something first does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from runner.conform import misfit


@dataclass(frozen=True)
class Leaf:
    name: str
    weight: float | None = None


@dataclass(frozen=True)
class Tree:
    leaves: Mapping[str, Leaf] = field(default_factory=dict)
    best: Leaf | None = None
    height: int = 1
    green: bool = True
    names: tuple[str, ...] = ()
    pair: tuple[int | None, float] = (1, 1.0)
    tags: frozenset[str] | None = None


LEAF = Leaf("a", 0.5)


@pytest.mark.parametrize(
    "tree",
    [
        Tree(),
        Tree({"a": LEAF, "b": Leaf("b", 3)}, LEAF, 0, False, ("x", "y"), (None, -1), frozenset({"t"})),
    ],
)
def test_what_fits(tree: Tree) -> None:
    """All the way down; a whole number is a float too."""
    assert misfit(tree, Tree) is None


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"height": "1"}, ".height"),
        ({"height": 1.0}, ".height"),
        ({"height": True}, ".height"),
        ({"height": None}, ".height"),
        ({"green": 1}, ".green"),
        ({"leaves": []}, ".leaves"),
        ({"leaves": {"a": LEAF, "b": None}}, ".leaves.b"),
        ({"leaves": {"a": Leaf(5)}}, ".leaves.a.name"),  # type: ignore[arg-type]
        ({"best": Leaf("a", float("nan"))}, ".best.weight"),
        ({"best": Leaf("a", float("inf"))}, ".best.weight"),
        ({"best": Leaf("a", 10**400)}, ".best.weight"),
        ({"best": Leaf("a", True)}, ".best.weight"),
        ({"best": {"name": "a"}}, ".best"),
        ({"names": ["x"]}, ".names"),
        ({"names": "x"}, ".names"),
        ({"names": ("x", 5)}, ".names.1"),
        ({"pair": (1,)}, ".pair"),
        ({"pair": (1, 2.0, 3)}, ".pair"),
        ({"pair": (1, None)}, ".pair.1"),
        ({"pair": 1}, ".pair"),
        ({"tags": {"t"}}, ".tags"),
        ({"tags": frozenset({5})}, ".tags"),
    ],
)
def test_where_it_does_not(changes: dict[str, Any], where: str) -> None:
    """The path to the first value that is something else."""
    assert misfit(Tree(**changes), Tree) == where


def test_something_else_altogether() -> None:
    """Has no path: the value itself is at fault."""
    assert misfit({"height": 1}, Tree) == ""
