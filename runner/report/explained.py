"""Explanations for a terminal, and as a page of the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from runner.explanations import Explanation
from runner.report.text import Paint, no_paint

_HEADINGS = {
    "project": "Files of the project",
    "templates": "Prompts and templates",
    "inputs": "Inputs",
    "models": "Models",
    "plans": "Plans, approvals and limits",
    "secrets": "Secrets and keys",
    "network": "The network",
    "providers": "Providers and endpoints",
    "tasks": "Tasks, starts and results",
    "state": "The state and its store",
    "machine": "The machine",
    "rows": "Errors of rows",
    "exits": "Exit codes",
}
_WIDTH = 96


def explanation_lines(one: Explanation, paint: Paint = no_paint) -> list[str]:
    """One of them, wrapped; commands stand on lines of their own, ready to copy."""
    lines = [paint(f"{one.code}: {one.title}", bold=True), "", *_wrapped(one.means)]
    lines += ["", paint("Usual causes", bold=True), *_list(one.causes)]
    lines += ["", paint("What to do", bold=True)]
    for action, commands in one.actions:
        lines += [*_list([action]), *(f"      {command}" for command in commands)]
    lines += ["", paint("What is lost", bold=True), *_wrapped(one.lost)]
    return lines + (["", f"More: {one.page}"] if one.page else [])


def listing_lines(all_of_them: Iterable[Explanation], paint: Paint = no_paint) -> list[str]:
    """Every code with its title, by family."""
    lines: list[str] = []
    for family, members in _by_family(all_of_them):
        lines += [*([""] if lines else []), paint(_HEADINGS[family], bold=True)]
        columns = max(len(one.code) for one in members)
        lines += [f"  {one.code:<{columns}}  {one.title}" for one in members]
    return lines


def explanations_markdown(all_of_them: Iterable[Explanation]) -> str:
    """All of them as sections, whose anchors are the codes."""
    text = ""
    for family, members in _by_family(all_of_them):
        text += f"\n## {_HEADINGS[family]}\n" + "".join(map(_section, members))
    return text


def _section(one: Explanation) -> str:
    text = f"\n### {one.code}\n\n**{one.title}.** {one.means}\n\nUsual causes:\n\n"
    text += "".join(f"* {cause}\n" for cause in one.causes)
    text += "\nWhat to do:\n\n"
    for action, commands in one.actions:
        text += f"* {action}\n"
        if commands:
            text += "\n  ```sh\n" + "".join(f"  {command}\n" for command in commands) + "  ```\n\n"
    text = text.rstrip("\n") + f"\n\nWhat is lost: {one.lost}\n"
    return text + (f"\nMore: [{one.page}]({_from_docs(one.page)})\n" if one.page else "")


def _from_docs(page: str) -> str:
    return page.removeprefix("docs/") if page.startswith("docs/") else f"../{page}"


def _by_family(all_of_them: Iterable[Explanation]) -> Iterator[tuple[str, list[Explanation]]]:
    families: dict[str, list[Explanation]] = {}
    for one in all_of_them:
        families.setdefault(one.family, []).append(one)
    yield from families.items()


def _wrapped(text: str) -> list[str]:
    return _filled(text, "  ", "  ")


def _list(points: Iterable[str]) -> list[str]:
    return [line for point in points for line in _filled(point, "  - ", "    ")]


def _filled(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
