"""A Plan as Markdown, for a pull request: the summary first, the details folded."""

from __future__ import annotations

import re

from runner.plan import Action, Change, Plan
from runner.report.text import money, plain, total_cost

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~@])")
_MOST = 50


def plan_markdown(plan: Plan) -> str:
    """Every text that a spec could hold is escaped: it can be neither a link, nor a mention, nor a table cell's end."""
    lines = ["### runner plan", ""]
    lines += [f"> {escape(note)}" for note in plan.notes]
    lines += [f"> **Over a limit:** {escape(str(over))}" for over in plan.over]
    submits = plan.of(Action.SUBMIT)
    if not plan.changes:
        return "\n".join([*lines, "", "Nothing to do.", "", f"Digest `{plan.digest}`", ""])
    if submits:
        lines += [
            "",
            f"**{plan.requests:,} requests** to submit, {total_cost(submits)}.",
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
            f"- {change.action.value} {escape(change.spec)}"
            + (f" `{change.task}`" if change.task else "")
            + f": {escape(change.reason)}"
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
    cost = f"{money(change.cost.estimate)} {escape(change.cost.currency)}" if change.cost else "unknown"
    model = escape(change.model or "to be chosen")
    cells = [
        escape(change.spec),
        f"{change.requests:,}",
        f"{change.shards:,}",
        tokens,
        cost,
        model,
        escape(change.reason),
    ]
    return "| " + " | ".join(cells) + " |"


def escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", plain(text))
