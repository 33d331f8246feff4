"""What is behind each code: of an error, of a row's `error` in an output, and of a command's exit.

The texts lie beside this module, one file for each part of the program that an error can be about::

    # input-empty: No row is left to ask

    What it means, in a few sentences.

    Causes:
    - one line each

    Do:
    - one line each

        a command, below the line that it belongs to

    Lost: whether answers or money are lost.

    Page: docs/identity.md, where there is one that says more

    Hint: enough        (where the error's own words say it all, so that it does not point here)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

FAMILIES = (
    "project",
    "templates",
    "inputs",
    "models",
    "plans",
    "secrets",
    "network",
    "providers",
    "tasks",
    "state",
    "machine",
    "rows",
    "exits",
)
"""The files, in the order in which they are listed."""


@dataclass(frozen=True)
class Explanation:
    """``actions``: what to do, each with the commands for it.  ``page``: the document that says more, if one does."""

    code: str
    title: str
    family: str
    means: str
    causes: tuple[str, ...]
    actions: tuple[tuple[str, tuple[str, ...]], ...]
    lost: str
    page: str = ""
    hint_is_enough: bool = False

    @property
    def commands(self) -> tuple[str, ...]:
        return tuple(command for _, commands in self.actions for command in commands)


@cache
def explanations() -> Mapping[str, Explanation]:
    """All of them by code, in the order of their files."""
    found: dict[str, Explanation] = {}
    for family in FAMILIES:
        for explanation in parse(files(__name__).joinpath(f"{family}.md").read_text("utf-8"), family):
            if explanation.code in found:
                raise ValueError(f"{explanation.code} is explained twice")
            found[explanation.code] = explanation
    return found


def says_more(code: str) -> bool:
    """Whether somebody who has read the error learns something from its explanation."""
    explanation = explanations().get(code)
    return explanation is not None and not explanation.hint_is_enough


def nearest_codes(word: str) -> list[str]:
    """Codes that may have been meant by ``word``, the likeliest first."""
    word = word.lower()
    alike = get_close_matches(word, explanations(), n=3, cutoff=0.6)
    parts = {part for part in re.split(r"[-_ ]", word) if len(part) > 2}
    sharing = [code for code in explanations() if parts & set(re.split(r"[-_]", code))]
    return list(dict.fromkeys([*alike, *sharing]))[:5]


_HEAD = re.compile(r"^# (?P<code>[a-z0-9]+(?:[-_][a-z0-9]+)*): (?P<title>.+)$", re.MULTILINE)
_SECTION = re.compile(r"^(Causes|Do|Lost|Page|Hint):[ \n]", re.MULTILINE)


def parse(text: str, family: str) -> Iterator[Explanation]:
    """The explanations of one file.  Raises ValueError for one that lacks a section."""
    heads = [*_HEAD.finditer(text)]
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for head, end in zip(heads, ends, strict=True):
        parts = _SECTION.split(text[head.end() : end])
        sections = dict(zip(parts[1::2], parts[2::2], strict=True))
        means = _joined(parts[0])
        lacking = [name for name in ("Causes", "Do", "Lost") if not sections.get(name, "").strip()]
        if lacking or not means:
            raise ValueError(f"{family}.md: {head['code']} does not say {', '.join(lacking) or 'what it means'}")
        yield Explanation(
            head["code"],
            head["title"],
            family,
            means,
            tuple(text for text, _ in _points(sections["Causes"])),
            tuple(_points(sections["Do"])),
            _joined(sections["Lost"]),
            _joined(sections.get("Page", "")),
            _joined(sections.get("Hint", "")) == "enough",
        )


def _points(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each line of a list, with the commands that are indented below it."""
    for point in re.split(r"^- ", text, flags=re.MULTILINE)[1:]:
        lines = point.split("\n")
        commands = tuple(line.strip() for line in lines if line.startswith("    "))
        yield _joined("\n".join(line for line in lines if not line.startswith("    "))), commands


def _joined(text: str) -> str:
    return " ".join(text.split())
