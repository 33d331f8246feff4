"""Show how prompts change: of each spec that asks otherwise than before, one row before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from runner.edge.world import World
from runner.errors import RunnerError
from runner.report.prompts import changed_lines
from runner.resolve import Resolved
from runner.review import Example, Prompts
from runner.state import Coverage, State

LARGEST = 1_000_000
"""Characters of all examples of a plan together."""

_ASKED = ("prompt", "vars", "parameters", "model", "response", "encoding")
"""The parts of a fingerprint whose change shows in any row; the others are about which rows there are."""
_DROPPED = "No prompts are shown: runner.yaml has `blobs: {prompts: drop}`."


def prompts(world: World, state: State, resolved: Sequence[Resolved], most: int | None = None) -> Prompts:
    """An example of every new spec and of every one whose requests are asked otherwise, as far as there is room.

    ``most``: how many examples are wanted at most.
    """
    changed = sorted(
        (one for one in resolved if _asks_otherwise(one, _covered(state, one))), key=lambda one: one.batch.spec.name
    )
    if changed and world.project.blobs.prompts == "drop":
        return Prompts(remark=_DROPPED)
    found: list[Example] = []
    size = 0
    for example in _examples(world, state, changed):
        size += sum(map(len, example.lines)) + len(example.lines)
        if size > LARGEST or len(found) == most:
            return Prompts(tuple(found), f"{len(changed) - len(found):,} more specs ask otherwise: there are too many.")
        found.append(example)
    return Prompts(tuple(found))


def _covered(state: State, one: Resolved) -> Coverage | None:
    known = state.batches.get(one.batch.spec.name)
    return known.covered if known else None


def _asks_otherwise(one: Resolved, covered: Coverage | None) -> bool:
    if not one.demand.submit:
        return False
    new = one.batch.fingerprint
    return covered is None or any(covered.fingerprint.get(part) != new.get(part) for part in _ASKED)


def _examples(world: World, state: State, changed: Sequence[Resolved]) -> Iterator[Example]:
    for count, one in enumerate(changed):
        world.progress("showing prompts", count, len(changed))
        yield _example(world, one, _covered(state, one))


def _example(world: World, one: Resolved, covered: Coverage | None) -> Example:
    name = one.batch.spec.name
    before, why_not = (None, "") if covered is None else _kept(world, covered.revision)
    try:
        found = one.rendering.example(before["row"] if before else 1)
    except (RunnerError, OSError) as error:
        return Example(name, f"it cannot be shown ({_words(error)})")
    if found is None:
        return Example(name, "it cannot be shown: the input has no rows any more")
    row, body = found
    if before is None:
        what = f"row {row.number:,}, new" if covered is None else f"row {row.number:,} as it will be; {why_not}"
        return Example(name, what, changed_lines(None, body))
    what = f"row {row.number:,}"
    if row.number != before["row"]:
        what = f"row {before['row']:,}, which is gone, before, and row {row.number:,} after"
    lines = changed_lines(before["example"], body)
    if not lines:
        what += ", the same before and after" + ("" if before["example"] == body else " but for what cannot be shown")
    return Example(name, what, lines)


def _kept(world: World, revision: str) -> tuple[dict[str, Any] | None, str]:
    """The example that was kept of what was last asked, or why there is none."""
    if not revision:
        return None, "how it was is not known: it was not kept"
    try:
        kept = json.loads(world.store.get(revision))
        example = {"row": int(kept["row"]), "example": str(kept["example"])}
    except (RunnerError, OSError) as error:
        return None, f"how it was is not known ({_words(error)})"
    except (ValueError, KeyError, TypeError):
        return None, "how it was is not known: what was kept of it cannot be read"
    return example, ""


def _words(error: RunnerError | OSError) -> str:
    return error.message if isinstance(error, RunnerError) else error.strerror or type(error).__name__
