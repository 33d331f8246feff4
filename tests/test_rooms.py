"""The rooms of the package keep their order: each imports only from those above it, and none in a circle."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "runner"
HANDS = ["edge", "simulator", "providers", "registry"]
"""Between the nouns and the verbs; the map in ``runner/__init__.py`` tells of them in prose."""
CORE = {"yaml", "jsonschema", "httpx", "click", "jinja2", "rich"}
NOUN_IMPORTS = {"os", "socket", "random", "secrets", "subprocess", "tempfile", "time", "uuid", "httpx", "threading"}
"""What gives a module a clock, a disk, a network, randomness or an environment."""


def rooms() -> tuple[list[str], list[str]]:
    """Nouns and verbs in the order of the map."""
    text = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))) or ""
    nouns, verbs = text.split("Verbs:")
    return [re.findall(r"^``(\w+)/?``", part, re.MULTILINE) for part in (nouns, verbs)]  # type: ignore[return-value]


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the package by its dotted name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text("utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    """Absolute names of all modules imported anywhere in ``tree``, in functions too; what `runner` gives is a room."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (
                (f"runner.{alias.name}" for alias in node.names) if node.module == "runner" else [node.module or ""]
            )


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_the_map_names_every_room() -> None:
    """A module that stands in no place of the map has no place in the order either."""
    nouns, verbs = rooms()
    found = {room_of(name) for name, _ in modules()} - {"", "__main__"}
    assert found == {*nouns, *HANDS, *verbs}


def test_each_room_imports_only_from_those_above_it() -> None:
    """A noun knows no verb, and no room reaches downwards, not even inside a function."""
    nouns, verbs = rooms()
    order = {room: place for place, room in enumerate([*nouns, *HANDS, *verbs])}
    downwards = [
        f"{name} imports {target}"
        for name, tree in modules()
        for target in imports(tree)
        if target.startswith("runner.") and room_of(name) in order and order[room_of(target)] > order[room_of(name)]
    ]
    assert downwards == []


def test_no_module_imports_itself_in_a_circle() -> None:
    """The graph of imports, those in functions included, has a topological order."""
    names = {name for name, _ in modules()}
    graph = {name: {target for target in imports(tree) if target in names} for name, tree in modules()}
    list(TopologicalSorter(graph).static_order())


def test_nouns_have_no_hands() -> None:
    """No noun has a clock, a disk, a network, randomness or the environment within reach.

    ``report`` is text only; ``document``, ``schema`` and the sandbox are looked at by their own tests.
    """
    nouns, _ = rooms()
    free = {"schema", "sandbox"}  # packaged schemas are read; templates run in a process of their own
    reaching = [
        f"{name} imports {target}"
        for name, tree in modules()
        if room_of(name) in set(nouns) - free
        for target in imports(tree)
        if target.partition(".")[0] in NOUN_IMPORTS
    ]
    assert reaching == []


@pytest.mark.parametrize("name", ["runner", "runner.cli"])
def test_the_first_import_is_light(name: str) -> None:
    """What every command pays for at its start holds none of the packages that only some commands need."""
    top = {
        target.partition(".")[0]
        for module, tree in modules()
        if module == name or (name == "runner.cli" and module in ("runner.cli.commands", "runner.cli.context"))
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for target in imports(ast.Module([node], []))
    }
    assert not top & (CORE - {"click"})


def test_the_core_stands_on_six_packages() -> None:
    """Beside the standard library, the package imports its six dependencies and, for Parquet, pyarrow.

    markupsafe is Jinja's own, and referencing jsonschema's.
    """
    third = {
        target.partition(".")[0]
        for _, tree in modules()
        for target in imports(tree)
        if target.partition(".")[0] not in {*sys.stdlib_module_names, "runner"}
    }
    assert third == CORE | {"markupsafe", "obstore", "pyarrow", "referencing"}
