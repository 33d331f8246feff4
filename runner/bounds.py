"""What a template may hold on its way to a text: plain data of a bearable size; and the filters that keep it so.

Every step of a template ends here before its value goes on.  No value is large enough that one more step over it could
run away inside the interpreter, where no timer can stop it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial, wraps
from itertools import islice
from string import Formatter
from types import NoneType
from typing import Any, NoReturn

from jinja2 import StrictUndefined, Undefined
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.filters import FILTERS, do_indent, make_attrgetter, sync_do_sum
from jinja2.tests import TESTS
from jinja2.utils import missing, pass_environment
from markupsafe import Markup

MAX_TEXT = 16_000_000
"""Characters of any text on the way; also the bytes that one row may come to."""
MAX_ITEMS = 1_000_000
MAX_DEPTH = 100
MAX_BITS = 20_000
MAX_WIDTH = 9_999
MAX_PATTERN = 100
"""Characters of a text to be stripped, or searched for from the right: CPython takes quadratic time for both."""

_SCALARS = frozenset({bool, int, float, NoneType})
_PLAIN = _SCALARS | {str, list, tuple, dict, range}


class AbsentError(UndefinedError):
    """Something was used that is not there: ``name`` is not in ``of`` (``missing``: it is no variable at all)."""

    def __init__(self, message: str, *, of: Any, name: Any) -> None:
        super().__init__(message)
        self.of = of
        self.name = name


class Absent(StrictUndefined):
    """Jinja's strict undefined, whose error keeps what was looked for, and in what."""

    __slots__ = ()

    def __init__(self, hint: str | None = None, obj: Any = missing, name: Any = None, exc: Any = AbsentError) -> None:
        error: Any = partial(exc, of=obj, name=name)
        super().__init__(hint, obj, name, error)


def words(*lines: str) -> frozenset[str]:
    """The words of ``lines``."""
    return frozenset(" ".join(lines).split())


def refuse(why: str) -> NoReturn:
    """Raise SecurityError: the template asked for what no template is given."""
    raise SecurityError(why)


def text_of(value: Any) -> str:
    """The text that ``{{ value }}`` becomes.  Raises SecurityError for what has no repeatable text."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if value is None:
        return ""
    if kind not in _SCALARS:
        weigh(value)
    return str(value)


def weigh(value: Any) -> None:
    """Refuse a value that is too large, too deep, or made of anything but plain data.

    A part that is held twice counts twice: of twenty lists, each holding the one before it twice, the last is a million
    items to whoever prints or compares it.
    """
    budget, depth, level = MAX_TEXT, 0, [value]
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            refuse(f"a value is nested more than {MAX_DEPTH} levels deep")
        below: list[Any] = []
        for item in level:
            budget -= 1
            if type(item) is str:
                budget -= len(item)
            elif isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list | tuple):
                below.extend(item)
            elif type(item) not in _SCALARS:
                _not_data(item)
            if len(below) > budget:
                refuse(f"a value is larger than {MAX_TEXT:,} characters")
        level = below


def settle(value: Any) -> Any:
    """What a step gave, now known to be plain data within bounds; a lazy sequence becomes a list."""
    if isinstance(value, Markup):
        value = str(value)
    elif isinstance(value, Iterator):
        value = list(islice(value, MAX_ITEMS + 1))
        if len(value) > MAX_ITEMS:
            refuse(f"a sequence has more than {MAX_ITEMS:,} items")
    if type(value) is str:
        room(len(value))
    elif type(value) is int:
        if value.bit_length() > MAX_BITS:
            refuse(f"a number has more than {MAX_BITS:,} bits")
    elif isinstance(value, list | tuple | dict):
        weigh(value)
    elif type(value) not in _PLAIN and not isinstance(value, Undefined):
        _not_data(value)
    return value


def given(values: Iterable[Any]) -> None:
    """Refuse functions, modules and the like as arguments: their texts hold addresses."""
    for value in values:
        if type(value) not in _PLAIN and not isinstance(value, Undefined | tuple):
            _not_data(value)


def _not_data(value: Any) -> NoReturn:
    if isinstance(value, Undefined):
        str(value)  # raises what is missing
    kind = "function" if callable(value) else type(value).__name__
    refuse(f"a {kind} is not data, and has no text of its own")


def room(size: int) -> None:
    """Refuse a text of so many characters, before it is built."""
    if size > MAX_TEXT:
        refuse(f"a text is longer than {MAX_TEXT:,} characters")


def narrow(values: Iterable[Any]) -> None:
    """Refuse a large width, count or precision."""
    if any(type(value) is int and abs(value) > MAX_WIDTH for value in values):
        refuse(f"a width, count or precision is larger than {MAX_WIDTH:,}")


def short(values: Iterable[Any]) -> None:
    """Refuse a long text to strip or to search for from the right."""
    if any(type(value) is str and len(value) > MAX_PATTERN for value in values):
        refuse(f"a text to strip or to search for is longer than {MAX_PATTERN} characters")


# Steps that build a text


_CONVERSION = re.compile(r"%(?:\([^)]*\))?([^a-zA-Z%]*)")
_NESTED = re.compile(r"%\([^)]*\(")
_WIDTH = re.compile(r"\*|\d+")


def _narrow_format(pattern: str) -> None:
    for width in _WIDTH.findall(pattern):
        if width == "*" or len(width) > 4:
            refuse(f"a width in a format is larger than {MAX_WIDTH:,}, or taken from a value")


def percent(pattern: str, values: Any) -> str:
    """``pattern % values``, with widths that are written out and small."""
    if _NESTED.search(pattern):
        refuse("a key in a format may not hold parentheses")
    for conversion in _CONVERSION.findall(pattern):
        _narrow_format(conversion)
    given((values,))
    weigh(values)
    return str(pattern % values)


class _Format(Formatter):
    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        if "." in field_name or "[" in field_name:
            refuse("a format may not look inside its values")
        return super().get_field(field_name, args, kwargs)  # type: ignore[no-any-return]

    def format_field(self, value: Any, format_spec: str) -> str:
        _narrow_format(format_spec)
        weigh(value)
        return str(super().format_field(value, format_spec))


def braces(pattern: str, *args: Any, **kwargs: Any) -> str:
    """``pattern.format(…)``, with small widths, and without a way into the values' attributes."""
    return _Format().vformat(pattern, args, kwargs)


def replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    whole, old, new = text_of(text), text_of(old), text_of(new)
    times = whole.count(old)
    count = times if count is None or count < 0 else min(times, count)
    room(len(whole) + count * len(new))
    return whole.replace(old, new, count)


def join(items: Iterable[Any], separator: Any = "") -> str:
    texts = [text_of(item) for item in items]
    between = text_of(separator)
    room(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def concat(parts: Iterable[str]) -> str:
    """The pieces of a rendering, joined."""
    parts = list(parts)
    room(sum(map(len, parts)))
    return "".join(parts)


def product(left: Any, right: Any) -> Any:
    """``left * right``."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str | list | tuple) and isinstance(other, int):
            room(len(one) * other)
    return left * right


def power(base: Any, exponent: Any) -> Any:
    """``base ** exponent``."""
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > MAX_BITS:
        refuse(f"a number has more than {MAX_BITS:,} bits")
    return base**exponent


# Filters and tests


@pass_environment
def _join(environment: Any, items: Iterable[Any], d: Any = "", attribute: str | int | None = None) -> str:
    return join(map(make_attrgetter(environment, attribute), items) if attribute is not None else items, d)


@pass_environment
def _sum(environment: Any, items: Iterable[Any], attribute: str | int | None = None, start: float = 0) -> Any:
    if not isinstance(start, int | float):
        refuse("`sum` adds numbers")
    return sync_do_sum(environment, items, attribute, start)


def _indent(text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text, margin = text_of(text), width if isinstance(width, str) else " " * width
    room(len(text) + (text.count("\n") + 1) * len(margin))
    return do_indent(text, margin, first, blank)


def _format(pattern: Any, *args: Any, **kwargs: Any) -> str:
    return percent(text_of(pattern), kwargs or args)


def _tojson(value: Any, indent: int | None = None) -> str:
    weigh(value)
    indent = min(indent, 16) if indent is not None else None
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, indent=indent)


def _bounded(name: str, function: Any) -> Callable[..., Any]:
    """``function`` between two checks: what goes in is data, and what comes out is data within bounds."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        values = (*args[first:], *kwargs.values())
        given(values)
        if name in _NARROW:
            narrow(values)
        elif name in _SHORT:
            short(values[1:])
        return settle(function(*args, **kwargs))

    return call


_NARROW = words("batch center indent round slice")
_SHORT = words("trim wordwrap")
_OF_JINJA = words(
    "abs batch capitalize center count d default dictsort e escape filesizeformat first float forceescape groupby int",
    "items last length list lower map max min reject rejectattr reverse round safe select selectattr slice sort string",
    "striptags title trim truncate unique upper urlencode wordcount wordwrap",
)
_UNREPEATABLE = words("callable escaped sameas")
_OWN: Mapping[str, Callable[..., Any]] = {
    "format": _format, "indent": _indent, "join": _join, "replace": replace, "sum": _sum, "tojson": _tojson,
}  # fmt: skip

filters: dict[str, Any] = {name: _bounded(name, FILTERS[name]) for name in sorted(_OF_JINJA)}
filters.update({name: _bounded(name, function) for name, function in _OWN.items()})
tests: dict[str, Any] = {name: _bounded(name, TESTS[name]) for name in TESTS.keys() - _UNREPEATABLE}
