"""Good examples made bad: byte by byte, and node by node of a JSON value.  Whoever draws gives the chance.

A value is spelt by :func:`spelt` rather than by `json.dumps`, since much of what is wicked has no Python value: numbers
that are too large, keys that stand twice, nesting that no encoder would write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True)
class Raw:
    """A piece of JSON as it is written, right or wrong."""

    text: str


@dataclass(frozen=True)
class Pairs:
    """An object whose keys may stand twice."""

    items: tuple[tuple[str, Any], ...]


def nested(depth: int, kind: str = "[") -> Raw:
    """Lists or objects in one another."""
    opening, closing = ("[", "]") if kind == "[" else ('{"a":', "}")
    return Raw(opening * depth + "1" + closing * depth)


GARBAGE = (
    *(Raw(text) for text in ("null", "true", "[]", "{}", '""', "-1", "1e999", "-1e999", "NaN", "9" * 400, "0.5")),
    *(nested(200, kind) for kind in "[{"),
)
"""What no reply says in earnest in the place of an id, a status, a name, a time or a count."""

WICKED = (
    *GARBAGE,
    *(
        Raw(text)
        for text in ("false", "0", "1", "1e308", "Infinity", "1" * 5_000, "[[]]", "[null]", '{"":null}', "2e9")
    ),
    *(Raw(text) for text in ('"\\ud800"', '"\\u0000"', '"\\u202e\\u0007"', '"\\n"', '" "', '"-1"', '"1e999"', '"٣"')),
    *(Raw(text) for text in ('"2024-13-45"', '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"')),
    *(Raw(text) for text in ('"http://["', '"https://127.0.0.1:99999/"', '"file:///etc/passwd"', '"../../etc/passwd"')),
    Raw('"' + "x" * 20_000 + '"'),
    Raw('"' + "é%41" * 3_000 + '"'),
    *(nested(depth, kind) for depth in (60, 900, 990, 3_000, 100_000) for kind in "[{"),
    Raw("[" + "1," * 20_000 + "1]"),
    Raw("{" + ",".join(f'"k{n}":{n}' for n in range(5_000)) + "}"),
)

PAGES = (
    b"",
    b"null",
    b"[]",
    b"{}",
    b'""',
    b"0",
    b"<html><body>upstream is busy</body></html>",
    b"\x00" * 64,
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b'{"error":',
    b"[" * 100_000,
    b"OK\n",
)
"""Bodies in the place of a good one: pages for people, nothing, something of another kind."""

TOKENS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b"\n",
        b"\r\n",
        b"\0",
        b"\t",
        b" ",
        b"'",
        b"null",
        b"NaN",
        b"1e999",
    ),
    *(b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\ud800", b"\\u0000", b"9" * 400, b"-1", b"[" * 500),
)


LARGEST = 4_000_000
"""Bytes of one input."""


# ---- bytes ---------------------------------------------------------------------------------------------------------


def mutated_bytes(rng: Random, data: bytes, others: Sequence[bytes] = (), tokens: Sequence[bytes] = TOKENS) -> bytes:
    """``data`` after a few random changes.  ``others`` lend their parts."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = rng.choice(_BYTE_CHANGES)(rng, data, others or (data,), tokens)[:LARGEST]
    return data


def _span(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 1, 2, 4, 16, 64, 1_000)))


def _flip(rng: Random, data: bytes, _others: Sequence[bytes], _tokens: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: Random, data: bytes, _others: Sequence[bytes], _tokens: Sequence[bytes]) -> bytes:
    return data[: rng.randint(0, len(data))]


def _delete(rng: Random, data: bytes, _others: Sequence[bytes], _tokens: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _repeat(rng: Random, data: bytes, _others: Sequence[bytes], _tokens: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[start:end] * rng.choice((2, 3, 50, 1_000)) + data[end:]


def _insert(rng: Random, data: bytes, _others: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(tokens) + data[at:]


def _splice(rng: Random, data: bytes, others: Sequence[bytes], _tokens: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _scramble(rng: Random, data: bytes, _others: Sequence[bytes], _tokens: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + rng.randbytes(end - start) + data[end:]


_BYTE_CHANGES: Sequence[Callable[[Random, bytes, Sequence[bytes], Sequence[bytes]], bytes]] = (
    *(_flip, _flip, _cut, _delete, _repeat, _insert, _insert, _insert, _splice, _scramble),
)


# ---- values --------------------------------------------------------------------------------------------------------


def mutated_value(rng: Random, value: Any, wicked: Sequence[Any] = WICKED, *, times: int = 0) -> Any:
    """A copy of a JSON value with a few nodes replaced by something wicked, dropped, wrapped, doubled or moved."""
    value = _copied(value)
    for _ in range(times or rng.choice((1, 1, 1, 2, 4))):
        value = _changed(rng, value, wicked)
    return value


def with_garbage(rng: Random, value: Any) -> Any:
    """A copy with one node that says nothing.

    A list is never emptied, nor null, which some platforms write for an empty one: that would say something.
    """
    value = _copied(value)
    places = [(holder, key) for holder, key in _places(value) if not isinstance(holder, list)]
    if not places:
        return Raw(rng.choice(GARBAGE).text)
    holder, key = rng.choice(places)
    fitting = [one for one in GARBAGE if not (one.text in ("[]", "null") and isinstance(holder[key], list))]
    holder[key] = rng.choice(fitting)
    return value


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder and key at which something stands below ``value``."""
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value) if _is_list(value) else ()):
        yield value, key
        yield from _places(item)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _changed(rng: Random, value: Any, wicked: Sequence[Any]) -> Any:
    places = list(_places(value))
    if not places:
        return rng.choice(wicked)
    holder, key = rng.choice(places)
    old = holder[key]
    change = rng.randrange(12)
    if change < 7:
        holder[key] = rng.choice(wicked)
    elif change == 7:
        del holder[key]
    elif change == 8:
        holder[key] = rng.choice(
            ([old], {"": old}, json.dumps(spelt(old)), [old] * (300 if len(spelt(old)) < 2_000 else 1))
        )
    elif change == 9:
        other, at = rng.choice(places)
        holder[key] = _copied(other[at])
    elif isinstance(old, str) and old.startswith("{") and (inner := value_of(old.encode("utf-8", "replace"))):
        holder[key] = spelt(_changed(rng, inner, wicked))[:LARGEST]
    elif change == 10 and isinstance(holder, dict):
        holder[rng.choice(("", "id", "name", "unknown", "\ud800", "x" * 5_000, key + " "))] = old
    elif isinstance(old, dict):
        holder[key] = Pairs((*old.items(), *[(name, rng.choice(wicked)) for name in list(old)[:1]]))
    return value


def spelt(value: Any) -> str:
    """JSON, as far as the value has any."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Pairs | dict):
        items = value.items if isinstance(value, Pairs) else value.items()
        return "{" + ",".join(f"{json.dumps(key)}:{spelt(item)}" for key, item in items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelt, value)) + "]"
    return json.dumps(value)


def written(value: Any) -> bytes:
    return spelt(value).encode("utf-8", "surrogatepass")


def mutated_json(rng: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """A JSON text, changed in its bytes or in its value."""
    value = value_of(data)
    if value is None or rng.random() < 0.3:
        return mutated_bytes(rng, data, others)
    try:
        return written(mutated_value(rng, value))[:LARGEST]
    except RecursionError:  # it was nested deeply before
        return mutated_bytes(rng, data, others)


def value_of(data: bytes) -> Any:
    """The JSON value that ``data`` spells; None where it spells none, or one that is nested too deeply."""
    if data.count(b"[") + data.count(b"{") > 50_000:
        return None
    try:
        return _copied(json.loads(data))
    except (ValueError, RecursionError):
        return None


def mutated_lines(rng: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """JSON Lines, changed in their bytes, in the value of a line or two, or in their order."""
    if rng.random() < 0.3:
        return mutated_bytes(rng, data, others)
    lines = data.splitlines()
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines)) if lines else 0
        change = rng.randrange(8)
        if lines and change < 6:
            lines[at] = mutated_json(rng, lines[at]) if lines[at].startswith((b"{", b"[")) else rng.choice(PAGES)
        elif lines and change == 6:
            lines[at:at] = [rng.choice(lines)] * rng.choice((1, 2, 20))
        else:
            lines[at:at] = [rng.choice((*PAGES, b" " * 5_000, b"x" * 100_000))]
    return b"\n".join(lines) + rng.choice((b"\n", b"", b"\r\n", b"\n\n\0"))
