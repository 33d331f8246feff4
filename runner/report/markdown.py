"""A Plan as Markdown, for a pull request: the summary first, the details folded."""

from __future__ import annotations

import re

from runner.plan import Action, Change, Plan
from runner.report.text import money, plain, total_cost

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~@&])")
_MEANT = re.compile(r"(@|#|\bGH-|://|\bwww\.)(?=\S)", re.IGNORECASE)
"""What GitHub makes a mention, a reference or a link of in the finished text, where a backslash is long forgotten."""
_BLOCK = re.compile(r"^(\d*)(?=[-=.])")
"""How a heading, a rule or an item of a list would begin, were the text the first on its line."""
_MOST = 50


def plan_markdown(plan: Plan) -> str:
    """Every text that a spec could hold is escaped: it can be neither a link, nor a mention, nor a table cell's end."""
    lines = ["### runner plan", ""]
    lines += [f"> {inline(note)}" for note in plan.notes]
    lines += [f"> **Over a limit:** {inline(str(over))}" for over in plan.over]
    submits = plan.of(Action.SUBMIT)
    if not plan.changes:
        return "\n".join([*lines, "", "Nothing to do.", "", f"Digest `{plan.digest}`", ""])
    if submits:
        lines += [
            "",
            f"**{plan.requests:,} requests** to submit, {inline(total_cost(submits))}.",
            "",
            "| spec | requests | tasks | tokens in / out | cost at most | model | why |",
            "|---|--:|--:|--:|--:|---|---|",
            *[_row(change) for change in submits[:_MOST]],
        ]
        if len(submits) > _MOST:
            lines.append(f"| … {len(submits) - _MOST:,} more | | | | | | |")
    others = [change for change in plan.changes if change.action is not Action.SUBMIT]
    if others:
        lines += ["", f"<details><summary>{len(others):,} other steps</summary>", ""]
        lines += [
            f"- {change.action.value} {inline(change.spec)}"
            + (f" {_code(change.task)}" if change.task else "")
            + f": {inline(change.reason)}"
            for change in others[:_MOST]
        ]
        if len(others) > _MOST:
            lines.append(f"- … {len(others) - _MOST:,} more")
        lines += ["", "</details>"]
    return "\n".join([*lines, "", f"Digest `{plan.digest}`", ""])


def _row(change: Change) -> str:
    tokens = "unknown"
    if change.tokens:
        out = "unknown" if change.tokens.output is None else f"{change.tokens.output:,}"
        tokens = f"{change.tokens.input:,} / {out}"
    cost = f"{money(change.cost.estimate)} {inline(change.cost.currency)}" if change.cost else "unknown"
    model = inline(change.model or "to be chosen")
    cells = [
        inline(change.spec),
        f"{change.requests:,}",
        f"{change.shards:,}",
        tokens,
        cost,
        model,
        inline(change.reason),
    ]
    return "| " + " | ".join(cells) + " |"


def inline(text: str) -> str:
    """Text from elsewhere in a line of Markdown, as :func:`escape`, with nothing that a site makes a link of by itself.

    A space of no width, which GitHub is known to respect, stands behind what would begin a mention or an address.
    """
    return _BLOCK.sub(r"\1\\", _MEANT.sub(r"\1&#8203;", escape(text)))


def _code(text: str) -> str:
    return f"`{plain(text).replace('`', '')}`"


def escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", plain(text))
