"""A Review as Markdown, for a pull request: what it costs first, then how prompts change, the rest folded."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote

from runner.plan import Action, Change
from runner.report.text import money, plain, total_cost
from runner.review import HERE, Example, Review

COMMENT = 60_000
"""Characters of a comment; GitHub takes 65,536."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~@&])")
_MEANT = re.compile(r"(@|#|\bGH-|://|\bwww\.)(?=\S)", re.IGNORECASE)
"""What GitHub makes a mention, a reference or a link of in the finished text, where a backslash is long forgotten."""
_DOLLAR = "&#36;"
"""GitHub sets what stands between two dollars as mathematics, large and in colours if it says so."""
_BLOCK = re.compile(r"^(\d*)(?=[-=.])")
"""How a heading, a rule or an item of a list would begin, were the text the first on its line."""
_TABLE = ("| spec | requests | tasks | tokens in / out | cost at most | model | why |", "|---|--:|--:|--:|--:|---|---|")
_FOR_LEFT_OUT = 400
"""Room that is kept for the line which says what is left out."""


class Page:
    """Text that grows by whole entries while there is room; what finds none is counted."""

    def __init__(self, room: int, size: Callable[[str], int] = len) -> None:
        self.lines: list[str] = []
        self.room = room
        self.left: dict[str, int] = {}
        """How many entries of each kind, named in the plural, found no room."""
        self._size = size

    def add(
        self, kind: str, entries: Iterable[str], head: Sequence[str] = (), foot: Sequence[str] = (), share: float = 1
    ) -> None:
        """``entries`` between ``head`` and ``foot``, as many as fit into ``share`` of the room; no section for none."""
        room = int(self.room * share) - self._cost([*head, *foot])
        taken: list[str] = []
        for entry in entries:
            cost = self._cost([entry])
            if cost <= room:
                room -= cost
                taken.append(entry)
            else:
                self.left[kind] = self.left.get(kind, 0) + 1
        if taken:
            section = [*head, *taken, *foot]
            self.lines += section
            self.room -= self._cost(section)

    def _cost(self, lines: Iterable[str]) -> int:
        return sum(self._size(line) + 1 for line in lines)

    def left_out(self, where: str) -> list[str]:
        """A line that says what found no room, and where it is."""
        if not self.left:
            return []
        told = ", ".join(f"{count:,} {kind if count > 1 else kind[:-1]}" for kind, count in self.left.items())
        return ["", f"**Left out: {told}.** {where}"]


def plan_markdown(
    review: Review, most: int = COMMENT, size: Callable[[str], int] = len, rest: str = "The rest is in the job summary."
) -> str:
    """At most ``most`` of what ``size`` counts.  Every text that a spec could hold is escaped: it can be neither a
    link, nor a mention, nor a table cell's end, nor the end of the block that it stands in."""
    title = "### runner plan" + (f" of {inline(review.project)}" if review.project != HERE else "")
    head, foot = [marker(review.project), title], _foot(review)
    page = Page(most - size("\n".join([*head, *foot])) - _FOR_LEFT_OUT, size)
    page.add("limits", [f"> **Over a limit: {inline(str(over))}**" for over in review.over], [""], share=0.3)
    page.add("notes", [f"> {inline(note)}" for note in review.notes], [""], share=0.3)
    submits = [change for change in review.changes if change.action is Action.SUBMIT]
    if submits:
        page.add("submits", map(_row, submits), ["", *_amount(submits), "", *_TABLE], [_total(submits)], share=0.7)
    _add_prompts(page, review)
    others = [change for change in review.changes if change.action is not Action.SUBMIT]
    summary = f"<details><summary>{len(others):,} other step{'s' if len(others) != 1 else ''}</summary>"
    page.add("other steps", map(_step, others), ["", summary, ""], ["", "</details>"])
    return "\n".join([*head, *page.lines, *page.left_out(rest), *foot])


def marker(name: str) -> str:
    """The line, hidden in a comment, by which the comment of a project is found again."""
    return f"<!-- runner: {quote(name, safe='/._ ', errors='replace').replace('--', '-%2D')} -->"


def _foot(review: Review) -> list[str]:
    if not review.changes:
        return ["", "Nothing to do.", "", f"Digest `{review.digest}`", ""]
    command = f"runner apply --expect {review.digest}"
    return ["", f"Digest `{review.digest}`; to approve this and nothing else:", "", *fenced([command], "sh"), ""]


def _amount(submits: Sequence[Change]) -> list[str]:
    requests = sum(change.requests for change in submits)
    return [f"**{requests:,} request{'s' if requests != 1 else ''}** to submit, {inline(total_cost(submits))}."]


def _row(change: Change) -> str:
    cost = f"{money(change.cost.estimate)} {inline(change.cost.currency)}" if change.cost else "unknown"
    model = inline(change.model or "to be chosen")
    cells = [
        inline(change.spec),
        f"{change.requests:,}",
        f"{change.shards:,}",
        _tokens([change]),
        cost,
        model,
        inline(change.reason),
    ]
    return "| " + " | ".join(cells) + " |"


def _total(submits: Sequence[Change]) -> str:
    cost = inline(total_cost(submits)).replace("at most ", "").replace("cost unknown", "unknown")
    sums = [sum(change.requests for change in submits), sum(change.shards for change in submits)]
    cells = [f"**{text}**" for text in ("total", *(f"{count:,}" for count in sums), _tokens(submits), cost)]
    return "| " + " | ".join(cells) + " | | |"


def _tokens(submits: Sequence[Change]) -> str:
    """In and out together; unknown where one of them is."""
    known = [change.tokens for change in submits if change.tokens]
    if len(known) < len(submits):
        return "unknown"
    out = [tokens.output for tokens in known if tokens.output is not None]
    told = f"{sum(out):,}" if len(out) == len(known) else "unknown"
    return f"{sum(tokens.input for tokens in known):,} / {told}"


def _add_prompts(page: Page, review: Review) -> None:
    prompts = review.prompts
    page.add("notes", [inline(prompts.remark)] if prompts.remark else [], [""])
    shown = [example for example in prompts.examples if example.lines]
    page.add("prompts", map(_example, shown), ["", "One row of each prompt that is new or asks otherwise:"])
    bare = [example for example in prompts.examples if not example.lines]
    page.add("prompts", [f"- {inline(example.spec)}: {inline(example.note)}" for example in bare], [""])


def _example(example: Example) -> str:
    summary = f"<details><summary>{_markup(example.spec)}: {_markup(example.note)}</summary>"
    return "\n".join(["", summary, "", *fenced(example.lines, "diff"), "", "</details>"])


def _step(change: Change) -> str:
    task = f" {_code(change.task)}" if change.task else ""
    return f"- {change.action.value} {inline(change.spec)}{task}: {inline(change.reason)}"


def fenced(lines: Iterable[str], language: str = "") -> list[str]:
    """A block of code that no line of it can end."""
    safe = [plain(line) for line in lines]
    runs = (len(run) for line in safe for run in re.findall("`+", line))
    fence = "`" * max(3, 1 + max(runs, default=0))
    return [fence + language, *safe, fence]


def inline(text: str) -> str:
    """Text from elsewhere in a line of Markdown, as :func:`escape`, with nothing that a site makes a link of by itself.

    A space of no width, which GitHub is known to respect, stands behind what would begin a mention or an address.
    """
    return _BLOCK.sub(r"\1\\", _MEANT.sub(r"\1&#8203;", escape(text))).replace("$", _DOLLAR)


def _markup(text: str) -> str:
    """As :func:`inline`, in a line of HTML, where a backslash is one."""
    return html.escape(_MEANT.sub("\\1\u200b", plain(text))).replace("\u200b", "&#8203;").replace("$", _DOLLAR)


def _code(text: str) -> str:
    return f"`{plain(text).replace('`', '')}`"


def escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", plain(text))
