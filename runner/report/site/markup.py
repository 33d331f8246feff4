"""HTML and SVG as text in which nothing from elsewhere is markup: whatever is no :class:`Html` is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import TypeAlias


class Html(str):
    """Text that is markup already.  Only :func:`tag` and :func:`join` make it."""

    __slots__ = ()


Child: TypeAlias = "str | int | Iterable[Child] | None"

_VOID = frozenset({"meta", "link", "br", "input", "col"})
_STRANGE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""What would be obeyed or passed over instead of being shown: controls, turns of direction, halves of characters."""


def visible(text: str) -> str:
    """Text with its control characters spelt out."""
    return _STRANGE.sub(lambda found: f"⟨{ord(found[0]):04X}⟩", text)


def tag(name: str, /, *children: Child, **attributes: str | int | float | None) -> Html:
    """An element.  ``class_`` is class, ``aria_label`` is aria-label; an attribute that is None is left out."""
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(visible(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{head}>")
    return Html(f"<{name}{head}>{join(*children)}</{name}>")


def join(*children: Child) -> Html:
    """Children one after the other."""
    return Html("".join(_texts(children)))


def _texts(children: Iterable[Child]) -> Iterator[str]:
    for child in children:
        if isinstance(child, Html):
            yield str(child)
        elif isinstance(child, str | int):
            yield escape(visible(str(child)))
        elif child is not None:
            yield from _texts(child)
