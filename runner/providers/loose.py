"""Reading JSON that may not have the promised shape: whatever is not as expected is simply not there."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from json import loads
from typing import Any

DEEPEST = 200
"""Levels of nesting of a line of results."""
LONGEST_TEXT = 16_384
"""Characters of one word, address or message; whoever says more is not listened to any longer."""
LONGEST_ID = 512
_MOST = 2**53
"""No platform counts beyond it, and up to it every whole number is one that floats have, too."""
_LARGEST = 1e30
"""Beyond any price, limit or range: what is larger could be written into the state, and not be read again."""
_EARLIEST = 1_420_070_400.0
"""2015, in Unix seconds: what is said to be older than every platform is a word for "unknown"."""


def bounded_loads(data: bytes | str, deepest: int = DEEPEST, **options: Any) -> Any:
    """A JSON value; ``options`` are those of `json.loads`.  Raises ValueError for what is none, or is nested deeper.

    How deep Python itself can go depends on who calls: a line that was understood when it was collected has to be so,
    and has to be one that can be written again, whenever it is read anew.
    """
    try:
        value = loads(data, **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    marks: tuple[Any, Any] = ("[", "{") if isinstance(data, str) else (b"[", b"{")
    if sum(map(data.count, marks)) > deepest and _is_deeper(value, deepest):
        raise ValueError("it is nested too deeply")
    return value


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def record_of(line: bytes) -> dict[str, Any]:
    """A line that has to be one JSON object.  Raises ValueError for any other."""
    record = bounded_loads(line)
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
    return "".join(c if c.isprintable() else " " for c in str(value)[:LONGEST_TEXT]).strip()


def identity(value: Any, most: int = LONGEST_ID) -> str:
    """What has to come back as it was given, such as an id, an address or a token; anything else is empty.

    A number is one only where it is whole: no platform calls a task NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    found = str(value).strip()
    return found if len(found) <= most and found.isprintable() and " " not in found else ""


def address(value: Any) -> str:
    """A URL, or a token, which may be longer than an id; anything else is empty."""
    return identity(value, LONGEST_TEXT)


def number(value: Any) -> float | None:
    """A number that may have come as text, whole ones as int; None for one of no earthly use, as an infinity is."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    if not abs(found) < _LARGEST:
        return None
    return int(found) if found.is_integer() else found


def count(value: Any) -> int | None:
    """A whole number from 0 that may have come as text; None for one that counts nothing there is."""
    found = number(value)
    return found if isinstance(found, int) and 0 <= found <= _MOST else None


def moment(written: Any) -> float | None:
    """Unix seconds of an ISO 8601 time; one without a zone is taken for UTC."""
    try:
        found = datetime.fromisoformat(text(written))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def since_platforms(seconds: float | None) -> float | None:
    """``seconds``, unless that was before any platform: zero and the like stand for a time that is not known."""
    return seconds if seconds is not None and seconds >= _EARLIEST else None


def first_text(holder: Any, keys: Iterable[str]) -> str:
    """The first of ``keys`` under which ``holder`` has text."""
    return next((found for key in keys if (found := text(get(holder, key)))), "")


def first_identity(holder: Any, keys: Iterable[str]) -> str:
    """The first of ``keys`` under which ``holder`` has an id."""
    return next((found for key in keys if (found := identity(get(holder, key)))), "")


def first_number(holder: Any, keys: Iterable[str]) -> float | None:
    """The first of ``keys`` under which ``holder`` has a number."""
    return next((found for key in keys if (found := number(get(holder, key))) is not None), None)
