"""Reading JSON that may not have the promised shape: whatever is not as expected is simply not there."""

from __future__ import annotations

import math
from collections.abc import Iterable
from json import loads
from typing import Any


def record_of(line: bytes) -> dict[str, Any]:
    """A line that has to be one JSON object.  Raises ValueError for any other."""
    try:
        record = loads(line)
    except RecursionError:
        raise ValueError("a line of results is nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError("a line of results is not a JSON object")
    return record


def get(holder: Any, *path: str) -> Any:
    """What lies at ``path`` in nested objects; None where any step is missing or no object."""
    for key in path:
        holder = holder.get(key) if isinstance(holder, dict) else None
    return holder


def items(value: Any) -> list[Any]:
    """A list; anything else is an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """Text, or a number as text, trimmed, with a blank for what cannot be printed; anything else is empty."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    return "".join(c if c.isprintable() else " " for c in str(value)).strip()


def number(value: Any) -> float | None:
    """A finite number that may have come as text, whole ones as int."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(found):
        return None
    return int(found) if found.is_integer() else found


def count(value: Any) -> int | None:
    """A whole number from 0 that may have come as text."""
    found = number(value)
    return None if found is None or found < 0 else int(found)


def first_text(holder: Any, keys: Iterable[str]) -> str:
    """The first of ``keys`` under which ``holder`` has text."""
    return next((found for key in keys if (found := text(get(holder, key)))), "")


def first_number(holder: Any, keys: Iterable[str]) -> float | None:
    """The first of ``keys`` under which ``holder`` has a number."""
    return next((found for key in keys if (found := number(get(holder, key))) is not None), None)
