"""What went wrong with the rows of an output, alike put together."""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST = 50
"""Groups that are told apart; what comes later is only counted."""
LONGEST = 200
"""Characters of a message that are looked at."""

_VARIES = re.compile(r"""https?://\S+|"[^"]*"|'[^']*'|`[^`]*`|\b[0-9a-fA-F]{8}[0-9a-fA-F-]*\b|\b\w*\d[\w.:-]*""")
"""What differs between two messages that say the same: addresses, quoted text, identifiers, numbers."""


def shape(message: str) -> str:
    """A message without what varies in it."""
    return " ".join(_VARIES.sub("…", message[:LONGEST]).split())


@dataclass
class Group:
    """Failures that say the same.  ``key`` labels the first row that came to it, ``message`` is what that one said."""

    code: str
    message: str
    key: str
    count: int = 1


class Failures:
    """Counts failures by code and shape, in bounded memory however many and however different they are."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Group] = {}
        self.others = 0
        """Failures beyond those groups."""

    def add(self, code: str, message: str, key: str) -> None:
        """``key`` labels the row."""
        alike = (code[:LONGEST], shape(message))
        group = self._groups.get(alike)
        if group is not None:
            group.count += 1
        elif len(self._groups) < MOST:
            self._groups[alike] = Group(alike[0], message[:LONGEST], key[:LONGEST])
        else:
            self.others += 1

    def most(self, count: int) -> tuple[list[Group], int]:
        """The largest groups, and how many failures are in none of them."""
        ranked = sorted(self._groups.values(), key=lambda group: (-group.count, group.code, group.message))
        return ranked[:count], self.others + sum(group.count for group in ranked[count:])

    @property
    def any(self) -> bool:
        return bool(self._groups)
