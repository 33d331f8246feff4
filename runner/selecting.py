"""Lines of a batch, as somebody wants to see them: those with some outcomes, and some of what is in each."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from runner.errors import RunnerError
from runner.joining import Line

OUTCOMES = ("succeeded", "failed", "missing", "pending")
FAILED = frozenset({"failed", "missing"})
COLUMNS = ("key", "sample", "status", "text", "parsed", "finish_reason", "usage", "model", "task", "error")
"""Those of every line of an output file."""
_MORE = ("input", "prompt")
"""The row, and the body of its request."""


def chosen(lines: Iterable[Line], outcomes: Collection[str]) -> Iterator[Line]:
    """Those lines that count under one of ``outcomes``; all of them where none is named."""
    return (line for line in lines if line.outcome in outcomes) if outcomes else iter(lines)


def check_columns(columns: Sequence[str]) -> None:
    """Raises RunnerError for a column that no line has.  What is below one may differ from row to row."""
    known = (*COLUMNS, *_MORE)
    unknown = [column for column in columns if column.partition(".")[0] not in known]
    if unknown or not columns:
        what = f"no line has the column {', '.join(map(repr, unknown))}" if unknown else "no column is named"
        raise RunnerError(
            what,
            hint=f"The columns are: {', '.join(known)}; below them, such as `input.question`.",
            code="column-unknown",
        )


def needs_bodies(columns: Sequence[str]) -> bool:
    return any(column.partition(".")[0] == "prompt" for column in columns)


def picked(line: Line, columns: Sequence[str]) -> dict[str, Any]:
    """The values at ``columns``, which are dotted paths into the line; None where it has nothing there."""
    whole = {**line.output, "input": line.row.values}
    if line.body is not None:
        whole["prompt"] = json.loads(line.body)
    return {column: whole[column] if column in whole else _at(whole, column) for column in columns}


def _at(value: Any, path: str) -> Any:
    """What lies at ``path``.  A key may hold dots itself; the entries of a list are counted from 0."""
    if isinstance(value, Mapping):
        if path in value:
            return value[path]
        head, dot, rest = path.partition(".")
        while dot:
            if head in value:
                return _at(value[head], rest)
            more, dot, rest = rest.partition(".")
            head = f"{head}.{more}"
        return None
    head, _, rest = path.partition(".")
    if not isinstance(value, list) or not (head.isascii() and head.isdigit()) or len(head) > 9:
        return None
    if int(head) >= len(value):
        return None
    return _at(value[int(head)], rest) if rest else value[int(head)]
