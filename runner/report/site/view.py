"""A View: what is known of one batch when its page is written, and the questions that pages ask of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from runner.report.site.summary import Summary
from runner.report.status import CANCELLED, DONE, INCOMPLETE, READY, RUNNING, UNSETTLED, UNWRITTEN
from runner.result import Counts
from runner.spec import NAME, Spec
from runner.state import BatchState
from runner.task import Task


@dataclass(frozen=True)
class Table:
    """Rows that were written under ``data/PLACE/``.  ``input``: only tables about the same one can be compared."""

    place: str
    title: str
    batch: str
    page: str
    input: str
    rows: int
    samples: int


_CLASSES = {
    **dict.fromkeys((RUNNING, READY), "running"),
    **dict.fromkeys((UNSETTLED, CANCELLED), "missing"),
    DONE: "done",
    INCOMPLETE: "failed",
    UNWRITTEN: "pending",
}


@dataclass(frozen=True)
class View:
    """``word`` says where it stands, as `runner status` does.

    ``spec`` is None of a batch whose spec is gone; ``declared`` is its text, "" where it is not shown.  ``summary`` is
    None, and ``remark`` says why, where its rows could not be read.
    """

    name: str
    word: str
    state: BatchState
    tasks: Sequence[Task]
    counts: Counts
    spec: Spec | None = None
    declared: str = ""
    summary: Summary | None = None
    tables: Sequence[Table] = ()
    remark: str = ""
    words: bool = True
    """Whether words of providers may be shown."""

    @property
    def page(self) -> str:
        return page_name(self.name)

    @property
    def css(self) -> str:
        """The class in ``report.css`` of the word for where it stands."""
        return _CLASSES.get(self.word, "idle")

    @property
    def failure_rate(self) -> float | None:
        """Part of the rows that are through and have no answer."""
        through = self.counts.total - self.counts.pending
        return (self.counts.failed + self.counts.missing) / through if through else None

    @property
    def tokens(self) -> tuple[int, int]:
        return sum(task.tokens[0] for task in self.tasks), sum(task.tokens[1] for task in self.tasks)

    @property
    def seconds(self) -> float | None:
        """From its first task to its last result; None while it runs."""
        ends = [task.collected_at for task in self.tasks if task.collected_at is not None]
        if not ends or any(task.on_its_way for task in self.tasks):
            return None
        return max(ends) - min(task.begun_at for task in self.tasks)


@dataclass
class Money:
    """Amounts by currency; ``unknown`` tasks have no price."""

    amounts: dict[str, float] = field(default_factory=dict)
    unknown: int = 0

    def add(self, amount: float | None, currency: str) -> None:
        if amount is None:
            self.unknown += 1
        else:
            self.amounts[currency] = self.amounts.get(currency, 0.0) + amount


def estimated(tasks: Iterable[Task]) -> Money:
    """What the plans said that these tasks would cost."""
    money = Money()
    for task in tasks:
        money.add(task.cost, task.currency)
    return money


def actual(tasks: Iterable[Task]) -> Money:
    """What the answers of the collected ones come to, by the tokens that the providers counted."""
    money = Money()
    for task in tasks:
        if task.collected_at is not None:
            money.add(task.paid, task.currency)
    return money


def page_name(name: str) -> str:
    """A name as a file's; one that no spec could have, of a state that somebody else wrote, is digested."""
    return name if NAME.fullmatch(name) else f"_{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:16]}"


def moment(at: float | None) -> str:
    return "–" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """Two units at most: `3 d 4 h`, `12 min 5 s`."""
    if seconds is None:
        return "–"
    left, parts = max(0.0, seconds), []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if left >= size:
            parts.append(f"{int(left // size)} {unit}")
            left %= size
    if not parts and left < 10:
        return f"{left:.1f} s"
    return " ".join([*parts, f"{int(left)} s"][:2])
