"""All targets by name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from importlib import import_module
from pathlib import Path

from benchmarks.fuzzing import callers, commands, conversations, documents, leftovers, lines, questions, rows
from benchmarks.fuzzing.target import Opener, Target


def _family(name: str, folder: Path) -> AbstractContextManager[Target]:
    return conversations.conversations(folder, name)


TARGETS: Mapping[str, Opener] = {
    "spec": documents.spec,
    "project": documents.project,
    "template": documents.template,
    "schema": documents.schema,
    "faults": documents.faults,
    "answers": documents.answers,
    "rows": rows.rows,
    "lines": lines.lines,
    "callers": callers.callers,
    "questions": questions.questions,
    "states": commands.states,
    "plans": commands.plans,
    "queues": commands.queues,
    "results": commands.results,
    "leftovers": leftovers.leftovers,
    **{f"{name}-conversations": partial(_family, name) for name in conversations.FAMILIES},
}


def opener(name: str) -> Opener:
    """The target called ``name``; or, as ``MODULE:FUNCTION``, one that is not among them."""
    if name in TARGETS:
        return TARGETS[name]
    module, _, function = name.partition(":")
    found: Opener = getattr(import_module(module), function)
    return found
