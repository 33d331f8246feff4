"""A text that matches a regular expression, for the common part of the language.

Literals, escapes, classes, groups, alternatives, counts and anchors are understood.  Look-around, back references and
word boundaries are not.  No expression is ever searched for, so a hostile one costs nothing.
"""

from __future__ import annotations

import re

_ESCAPES = {"d": "5", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a", "n": "\n", "t": "\t", "r": "\r"}
_RANGES = {
    "d": [("0", "9")],
    "w": [("a", "z"), ("A", "Z"), ("0", "9"), ("_", "_")],
    "s": [(" ", " "), ("\t", "\r")],
    "S": [("!", "~")],
}
_COUNT = re.compile(r"\{(\d*)(?:,(\d*))?\}")
_GROUP_HEAD = re.compile(r"\?(?::|P?<\w+>)")
_CANDIDATES = "a5A0-_ .:/@1zZ#\n"
MAX_LENGTH = 2000


def sample(pattern: str) -> str | None:
    """The shortest simple text that matches ``pattern``, None where the pattern is not understood."""
    try:
        text, end = _alternatives(pattern, 0)
    except (IndexError, ValueError, RecursionError, StopIteration):
        return None
    return text if end == len(pattern) else None


def _alternatives(pattern: str, at: int) -> tuple[str, int]:
    """The first alternative from ``at`` to the group's end; the others are read and dropped."""
    first, at = _sequence(pattern, at)
    while at < len(pattern) and pattern[at] == "|":
        _, at = _sequence(pattern, at + 1)
    return first, at


def _sequence(pattern: str, at: int) -> tuple[str, int]:
    parts: list[str] = []
    while at < len(pattern) and pattern[at] not in "|)":
        atom, at = _atom(pattern, at)
        least, at = _count(pattern, at)
        if least * len(atom) > MAX_LENGTH:
            raise ValueError("too long")
        parts.append(atom * least)
    return "".join(parts), at


def _atom(pattern: str, at: int) -> tuple[str, int]:
    char = pattern[at]
    if char in "^$":
        return "", at + 1
    if char == ".":
        return "a", at + 1
    if char == "\\":
        return _escape(pattern[at + 1]), at + 2
    if char == "[":
        return _class(pattern, at)
    if char == "(":
        return _group(pattern, at + 1)
    return char, at + 1


def _escape(letter: str) -> str:
    if letter.isalnum() and letter not in _ESCAPES:
        raise ValueError("not understood")
    return _ESCAPES.get(letter, letter)


def _group(pattern: str, at: int) -> tuple[str, int]:
    """The group whose inside begins at ``at``."""
    if pattern[at] == "?":
        head = _GROUP_HEAD.match(pattern, at)
        if head is None:
            raise ValueError("not understood")
        at = head.end()
    text, at = _alternatives(pattern, at)
    if pattern[at] != ")":
        raise ValueError("a group without an end")
    return text, at + 1


def _class(pattern: str, at: int) -> tuple[str, int]:
    """A character of the class that begins at ``at``, and the place behind its ``]``."""
    at += 1
    negated = pattern[at] == "^"
    at += negated
    ranges: list[tuple[str, str]] = []
    while pattern[at] != "]" or not ranges:
        low, at = _members(pattern, at, negated)
        if pattern[at] == "-" and pattern[at + 1] != "]":
            high, at = _members(pattern, at + 1, negated)
            low = [(low[0][0], high[-1][1])]
        ranges += low
    candidates = (*_CANDIDATES, *(low for low, _ in ranges))
    return next(c for c in candidates if any(low <= c <= high for low, high in ranges) != negated), at + 1


def _members(pattern: str, at: int, negated: bool) -> tuple[list[tuple[str, str]], int]:
    """The ranges that one member of a class stands for."""
    char = pattern[at]
    if char != "\\":
        return [(char, char)], at + 1
    letter = pattern[at + 1]
    if negated and letter in "DWS":
        raise ValueError("not understood")
    escaped = _escape(letter)
    return _RANGES.get(letter, [(escaped, escaped)]), at + 2


def _count(pattern: str, at: int) -> tuple[int, int]:
    """How often the atom before ``at`` has to come at least, and the place behind the count."""
    if at < len(pattern) and pattern[at] in "*+?":
        least, at = (1 if pattern[at] == "+" else 0), at + 1
    elif match := _COUNT.match(pattern, at):
        least, at = int(match[1] or 0), match.end()
    else:
        return 1, at
    return least, at + (1 if pattern[at : at + 1] in ("?", "+") else 0)
