"""The project's own names, for a shell that completes a word.

It reads files of this machine, few and in part, runs nothing that they hold, and asks nobody.  Whatever goes wrong is
silence: nothing may be said between two keystrokes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import click

_FILES = 2_000
_HEAD = 8_192
"""Bytes of a spec in which its name is looked for."""
_LARGEST = 4_000_000
"""Bytes of a state that is read between two keystrokes."""
_NAME = re.compile(rb"^name:[ \t]*[\"']?([a-z0-9][a-z0-9-]{0,62})[\"']?[ \t]*(?:#.*)?\r?$", re.MULTILINE)
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
"""What a shell takes as one plain word.  Anything else in a file that calls itself a name is not offered."""
_SETTING = {"specs": "specs", "state": ".runner"}

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def _completer(names: Callable[[Path], Iterable[str]]) -> Completer:
    def complete(context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
        with suppress(Exception):
            root = _root(context)
            found = {name for name in (names(root) if root else ()) if _SAFE.fullmatch(name)}
            return sorted(name for name in found if name.startswith(typed))
        return []

    return complete


def _root(context: click.Context) -> Path | None:
    """The project's folder, by -C as it was typed so far."""
    start = (context.find_root().params.get("folder") or Path.cwd()).resolve()
    return next((folder for folder in (start, *start.parents) if (folder / "runner.yaml").is_file()), None)


def _specs(root: Path) -> Iterator[str]:
    """Names as the files spell them, and those that the state knows: of a spec with a matrix only it knows them all."""
    known = _state(root).get("batches", {})
    yield from known
    folder = root / _setting(root, "specs")
    paths = (path for path in sorted(folder.rglob("*.y*ml")) if path.suffix in (".yaml", ".yml") and path.is_file())
    for path in islice(paths, _FILES):
        with path.open("rb") as file:
            head = file.read(_HEAD)
        several = b"\nmatrix:" in head
        for name in (found[1].decode() for found in _NAME.finditer(head)):
            if not (several and any(one.startswith(f"{name}-") for one in known)):
                yield name


def _tasks(root: Path) -> Iterator[str]:
    yield from _state(root).get("tasks", {})


def _providers(root: Path) -> Iterator[str]:
    import yaml

    text = (root / "runner.yaml").read_bytes()
    if len(text) <= _HEAD * 4:
        yield from yaml.safe_load(text)["providers"]


def _setting(root: Path, key: str) -> str:
    """A plain top-level setting of runner.yaml, else its default."""
    text = (root / "runner.yaml").read_bytes()[: _HEAD * 4].decode("utf-8", "replace")
    found = re.search(rf"^{key}:[ \t]*[\"']?([\w./~][^\s\"'#]*)", text, re.MULTILINE)
    return found[1] if found else _SETTING[key]


def _state(root: Path) -> dict[str, dict[str, Any]]:
    """The parts of the state's document, or of the copy of one that lies elsewhere, of when it was last read here."""
    place = _setting(root, "state")
    if place.startswith("git:") or "://" in place:
        from runner.edge.stores import copy_of

        path = copy_of(root, place)
    else:
        path = root / place / "state.json"
    if not path.is_file() or os.path.getsize(path) > _LARGEST:  # noqa: PTH202
        return {}
    with suppress(ValueError, OSError):  # the names in the files are there all the same
        document = json.loads(path.read_bytes())
        return {key: part for key, part in document.items() if isinstance(part, dict)}
    return {}


spec_names = _completer(_specs)
task_ids = _completer(_tasks)
provider_names = _completer(_providers)
