"""The first page: all batches, what they came to and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runner.report.site.markup import Child, Html, join, tag
from runner.report.site.plots import outcome, ranking, spending
from runner.report.site.shell import Frame, page
from runner.report.site.view import Money, View, actual, duration, estimated
from runner.report.text import money
from runner.result import Counts
from runner.task import Task

_COLUMNS = (
    *("Batch", "State", "Outcome", "Rows", "Succeeded", "Failed", "Missing", "Pending"),
    *("Failure rate", "Tokens", "Cost", "Time"),
)
_TEXTS = 3
"""Columns on the left that hold no numbers."""


def overview_page(frame: Frame, views: Sequence[View]) -> bytes:
    tasks = [task for view in views for task in view.tasks]
    counts = _sum(view.counts for view in views)
    return page(
        frame,
        "index.html",
        "Overview",
        tag("h1", frame.project),
        tag("p", f"{len(views):,} batch{'es' if len(views) != 1 else ''}", class_="quiet"),
        tiles(
            ("Rows", f"{counts.total:,}", f"{counts.succeeded:,} succeeded"),
            ("Failed or missing", f"{counts.failed + counts.missing:,}", f"{counts.pending:,} pending"),
            ("Spent", amounts(actual(tasks)), f"estimated {amounts(estimated(tasks))}"),
            ("Tokens in", f"{sum(task.tokens[0] for task in tasks):,}", ""),
            ("Tokens out", f"{sum(task.tokens[1] for task in tasks):,}", ""),
            ("Tasks", f"{len(tasks):,}", f"{sum(task.on_its_way for task in tasks):,} on their way"),
        ),
        tag("div", spending_plots(tasks), _ranked(views), class_="plots"),
        tag("h2", "Batches"),
        _table(views) if views else tag("p", "There are no specs, and the state knows of no batch."),
        scripts=("base", "overview"),
    )


def _table(views: Sequence[View]) -> Html:
    heads = [
        tag("th", name, scope="col", class_="numeric" if at >= _TEXTS else None) for at, name in enumerate(_COLUMNS)
    ]
    box = tag("input", id="q", type="search", placeholder="Filter by name or label ( / )", aria_label="Filter batches")
    return join(
        tag("div", tag("form", box, role="search"), class_="tools"),
        tag("p", f"{len(views):,} of {len(views):,}", id="count", class_="quiet", role="status", aria_live="polite"),
        tag(
            "div",
            tag("table", tag("thead", tag("tr", heads)), tag("tbody", map(_row, views)), id="batches"),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_label="Batches",
        ),
    )


def _ranked(views: Sequence[View]) -> list[Child]:
    """Which batches cost most, in each currency, and which lack most answers."""
    costs: dict[str, list[tuple[str, float, str]]] = {}
    for view in views:
        for currency, amount in actual(view.tasks).amounts.items():
            costs.setdefault(currency, []).append((view.name, amount, f"{money(amount)} {currency}"))
    lacking = [(view.name, view.counts.failed + view.counts.missing) for view in views]
    return [
        *(ranking(f"Spent by batch, {currency}", found) for currency, found in sorted(costs.items())),
        ranking("Rows failed or missing by batch", [(name, count, f"{count:,}") for name, count in lacking]),
    ]


def _row(view: View) -> Html:
    counts, rate = view.counts, view.failure_rate
    cost = actual(view.tasks)
    labels = " ".join(f"{name} {value}" for name, value in (view.spec.labels if view.spec else {}).items())

    def number(text: str, value: float) -> Html:
        return tag("td", text, class_="numeric", data_value=f"{value:.6f}")

    return tag(
        "tr",
        tag("th", tag("a", view.name, href=f"batches/{view.page}.html"), scope="row"),
        tag("td", tag("span", view.word, class_=f"badge {view.css}")),
        tag("td", outcome(counts)),
        *(
            number(f"{value:,}", value)
            for value in (counts.total, counts.succeeded, counts.failed, counts.missing, counts.pending)
        ),
        number("–" if rate is None else f"{rate:.1%}", -1 if rate is None else rate),
        number(f"{sum(view.tokens):,}", sum(view.tokens)),
        number(amounts(cost), sum(cost.amounts.values())),
        number(duration(view.seconds), -1 if view.seconds is None else view.seconds),
        data_text=f"{view.name} {view.word} {labels}",
    )


# ---- shared with a batch's page ------------------------------------------------------------------------------------


def tiles(*said: tuple[str, str, str]) -> Html:
    """Numbers that matter: name, value, and what to know beside."""
    return tag(
        "dl",
        [
            tag("div", tag("dt", name), tag("dd", value, tag("small", more) if more else None), class_="tile")
            for name, value, more in said
        ],
        class_="tiles",
    )


def amounts(sums: Money) -> str:
    known = " + ".join(f"{money(amount)} {currency}".rstrip() for currency, amount in sorted(sums.amounts.items()))
    if sums.unknown:
        return f"{known} + unknown" if known else "unknown"
    return known or "0"


def spending_plots(tasks: Iterable[Task]) -> list[Child]:
    """One for each currency."""
    points: dict[str, list[tuple[float, float]]] = {}
    for task in tasks:
        if task.collected_at is not None and task.paid is not None:
            points.setdefault(task.currency, []).append((task.collected_at, task.paid))
    return [spending(found, currency) for currency, found in sorted(points.items())]


def _sum(all_counts: Iterable[Counts]) -> Counts:
    found = list(all_counts)
    return Counts(
        sum(counts.succeeded for counts in found),
        sum(counts.failed for counts in found),
        sum(counts.missing for counts in found),
        sum(counts.pending for counts in found),
    )
