"""A request's body as text that people read, and what differs between two of them."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from runner.report.text import plain

WIDEST = 200
"""Characters of a line.  A longer one is broken, never shortened: a change may be anywhere in it."""
COMPARED = 4_000
"""Lines of each side that are compared."""
CONTEXT = 3
"""Lines that are the same, around those that are not."""
SHOWN = 400
"""Lines of a difference that are shown."""

_LONGEST_PARTS = re.compile(rf"[^\n]{{1,{WIDEST}}}(?: |$)|[^\n]{{{WIDEST}}}")
"""A line in parts that end behind a word, or where there is none to end behind."""
_DATA = re.compile(r"data:([\w./+-]{0,80});base64,([A-Za-z0-9+/=]{100,})")


def body_lines(body: str) -> list[str]:
    """Messages under their roles, then everything else that is asked; what is no such body, line by line."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return _wrapped(body)
    if not isinstance(asked, dict):
        return _wrapped(body)
    lines = []
    if "system" in asked:
        lines += _message("system", asked["system"])
    if "prompt" in asked:
        lines += _message("prompt", asked["prompt"])
    messages = asked.get("messages")
    for message in messages if isinstance(messages, list) else ():
        role = message.get("role") if isinstance(message, dict) else None
        lines += _message(str(role), message.get("content")) if role else _wrapped(_spelt(message))
    if isinstance(asked.get("input"), str):
        lines += _message("input", asked.pop("input"))
    rest = sorted(asked.keys() - {"system", "prompt", "messages"})
    return lines + [line for name in rest for line in _wrapped(f"{name}: {_spelt(asked[name])}")]


def _message(role: str, content: Any) -> list[str]:
    parts = content if isinstance(content, list) else [content]
    return [plain(f"[{role}]"), *(line for part in parts for line in _wrapped(_part(part))), ""]


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        text: str = part["text"]
        return text
    return _spelt(part)


def _spelt(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _wrapped(text: str) -> list[str]:
    """Lines of harmless text, broken where they are wide; a file inside is named by its kind, length and digest."""
    lines = _DATA.sub(_described, text).replace("\r\n", "\n").split("\n")
    return [plain(part) for line in lines for part in _LONGEST_PARTS.findall(line) or [""]]


def _described(data: re.Match[str]) -> str:
    named = hashlib.sha256(data[2].encode()).hexdigest()[:12]
    return f"[{data[1] or 'a file'} of {len(data[2]):,} characters in base64, sha256 {named}]"


def changed_lines(before: str | None, after: str) -> tuple[str, ...]:
    """A unified diff of two bodies, or the second alone, all of it new.  Empty where nothing is to be seen of it."""
    old, new = _around([] if before is None else body_lines(before), body_lines(after))
    found = [*_diff(old[:COMPARED], new[:COMPARED])]
    more = len(found) - SHOWN
    if max(len(old), len(new)) > COMPARED:
        return (*found[:SHOWN], "… more, which is too much to compare")
    return (*found[:SHOWN], f"… {more:,} more lines") if more > 0 else tuple(found)


def _around(old: list[str], new: list[str]) -> tuple[list[str], list[str]]:
    """Both without what is the same at their beginnings and ends, but for a few lines that are to be seen."""
    if old == new:
        return [], []
    start, end = _alike(old, new), _alike(old[::-1], new[::-1])
    first, last = max(0, start - CONTEXT), max(0, min(end, len(old) - start, len(new) - start) - CONTEXT)
    return old[first : len(old) - last], new[first : len(new) - last]


def _alike(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines at the beginning are the same in both."""
    pairs = zip(old, new, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))


def _diff(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """What difflib says without its heads: no side is a file with a name, and lines are counted from a cut."""
    for line in islice(difflib.unified_diff(old, new, lineterm="", n=CONTEXT), 2, None):
        yield "@@" if line.startswith("@@") else line
