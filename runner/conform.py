"""Whether a value read from JSON is what its annotations say, all the way down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

_MOST = 1e300
"""Beyond any time, amount or count; whole numbers of more digits could not be reckoned with as floats."""


def misfit(value: Any, kind: Any) -> str | None:
    """Where ``value`` first differs from the annotated type ``kind`` (".tasks.t-1.requests"), None where it does not.

    Knows dataclasses, unions, tuples, frozensets, mappings and plain types.  A whole number is a float too, a truth
    value is no number, and neither NaN nor an infinity is anything: JSON has none of them.
    """
    if is_dataclass(kind):
        return _first(_fields(value, kind)) if isinstance(value, kind) else ""  # type: ignore[arg-type]
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        found = [misfit(value, one) for one in inner]
        return None if None in found else max((where for where in found if where is not None), key=len)
    if origin is tuple:
        kinds = inner[:1] * len(value) if isinstance(value, tuple) and inner[1:] == (...,) else inner
        if not isinstance(value, tuple) or len(value) != len(kinds):
            return ""
        return _first((f".{at}", one, hint) for at, (one, hint) in enumerate(zip(value, kinds, strict=True)))
    if origin is frozenset:
        return _first(("", one, inner[0]) for one in value) if isinstance(value, frozenset) else ""
    if origin is Mapping:
        return _first((f".{key}", one, inner[1]) for key, one in value.items()) if isinstance(value, Mapping) else ""
    if kind is float:
        return None if type(value) in (int, float) and abs(value) < _MOST else ""
    return None if type(value) is kind else ""


def _first(parts: Iterable[tuple[str, Any, Any]]) -> str | None:
    for place, value, kind in parts:
        where = misfit(value, kind)
        if where is not None:
            return place + where
    return None


def _fields(value: Any, kind: type) -> Iterable[tuple[str, Any, Any]]:
    """Fields that need a closer look: a state of a thousand tasks has ten thousands whose type says it all."""
    for name, hint, plain in _hints(kind):
        part = getattr(value, name)
        if type(part) not in plain:
            yield f".{name}", part, hint


@cache
def _hints(kind: type) -> list[tuple[str, Any, frozenset[type]]]:
    """Name, annotation, and the types that fit it without a closer look, of each field."""
    simple = {str, int, bool, type(None)}
    hints = get_type_hints(kind).items()
    options = [(name, hint, get_args(hint) if isinstance(hint, UnionType) else (hint,)) for name, hint in hints]
    return [(name, hint, frozenset(simple.intersection(kinds))) for name, hint, kinds in options]
