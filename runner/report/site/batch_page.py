"""One batch: what was declared, what it asked whom, what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from runner.checks import CheckResult, percent
from runner.provider import Phase
from runner.report.site.markup import Child, Html, join, tag
from runner.report.site.overview import amounts, spending_plots, tiles
from runner.report.site.plots import distribution, frequencies, timeline
from runner.report.site.shell import Frame, page
from runner.report.site.view import View, actual, duration, estimated, moment, page_name
from runner.report.text import money
from runner.task import Task

_TASKS = 500
"""Tasks that are listed: the latest ones."""


def batch_page(frame: Frame, view: View) -> bytes:
    spec = view.spec
    sections = (section(view) for section in SECTIONS)
    return page(
        frame,
        f"batches/{view.page}.html",
        view.name,
        tag("p", tag("a", "Overview", href="../index.html"), " / ", class_="quiet"),
        tag("h1", view.name, " ", tag("span", view.word, class_=f"badge {view.css}")),
        tag("p", spec.description) if spec and spec.description else None,
        tag("ul", [tag("li", f"{name}: {value}") for name, value in spec.labels.items()], class_="labels")
        if spec and spec.labels
        else None,
        tag("p", "Reads the answers of ", tag("a", spec.input.batch, href=f"{page_name(spec.input.batch)}.html"))
        if spec and spec.input.batch
        else None,
        tag("p", "Its spec is gone: this is what the state knows.", class_="note") if spec is None else None,
        tag("p", view.remark, class_="note") if view.remark else None,
        *sections,
        base="../",
    )


def _numbers(view: View) -> Html:
    counts, rate = view.counts, view.failure_rate
    return tiles(
        ("Rows", f"{counts.total:,}", f"{counts.pending:,} pending"),
        ("Succeeded", f"{counts.succeeded:,}", ""),
        ("Failed", f"{counts.failed:,}", f"{counts.missing:,} missing"),
        ("Failure rate", "–" if rate is None else f"{rate:.1%}", ""),
        ("Actual cost", amounts(actual(view.tasks)), f"estimated {amounts(estimated(view.tasks))}"),
        ("Tokens", f"{sum(view.tokens):,}", f"{view.tokens[0]:,} in, {view.tokens[1]:,} out"),
        ("Time to finish", duration(view.seconds), ""),
    )


def _checks(view: View) -> Child:
    """What was wanted of the answers as a whole, and what they came to when the output was written."""
    results = view.state.published.checks if view.state.published else ()
    if not results:
        return None
    table = view.tables[0].place if view.tables else None

    def cells(one: CheckResult) -> tuple[Child, ...]:
        css, word = ("done", "holds") if one.holds else ("failed", "fails") if one.is_error else ("missing", "warns")
        share = "no row" if one.share is None else percent(one.share)
        wanted = f"at {'least' if one.bound == 'min' else 'most'} {percent(one.limit)}"
        rows = [
            [" ", tag("a", key, href=_answers_link(table, q=f'key:"{key}"')) if table else key]
            for key in (one.examples if view.words else ())
        ]
        badge = tag("span", word, class_=f"badge {css}")
        return (one.name, one.kind, badge, share, wanted, f"{one.count:,} of {one.total:,}", [rows, " ", one.note])

    heads = ("Check", "Kind", "Outcome", "Share", "Wanted", "Rows", "Against it")
    shown = [cells(one) if view.words else cells(one)[:-1] for one in results]
    return _section("Checks", _table("Checks", heads if view.words else heads[:-1], shown, numeric={3, 4, 5}))


def _answers(view: View) -> Child:
    if not view.tables:
        return None
    links = [
        tag("li", tag("a", f"Answers: {table.title}", href=_answers_link(table.place)), f" ({table.rows:,} rows)")
        for table in view.tables
    ]
    if len(view.tables) > 1:
        now, *earlier = view.tables
        links += [
            tag("li", tag("a", f"Compare with {table.title}", href=_compare_link(table.place, now.place)))
            for table in earlier
        ]
    return _section("Answers", tag("ul", links))


def _answers_link(place: str, **filters: str) -> str:
    return f"../answers.html#{_query(batch=place, **filters)}"


def _compare_link(left: str, right: str) -> str:
    return f"../compare.html#{_query(left=left, right=right)}"


def _query(**values: str) -> str:
    """What comes behind the # of a link; half a character, which no link can hold, leads nowhere."""
    return urlencode(values, errors="replace")


def _errors(view: View) -> Child:
    if view.summary is None or not view.summary.errors:
        return None
    groups = sorted(view.summary.errors.items(), key=lambda item: (-item[1].count, item[0]))

    def code(name: str) -> Child:
        place = view.tables[0].place if view.tables else None
        return tag("a", name, href=_answers_link(place, code=name)) if place else name

    rows = [(code(name), f"{group.count:,}", *([group.message[:500]] if view.words else [])) for name, group in groups]
    heads = ("Code", "Rows", *(["The first one says"] if view.words else []))
    return _section("What has no answer", _table("What has no answer", heads, rows, numeric={1}))


def _plots(view: View) -> Child:
    summary = view.summary
    if summary is None:
        return None
    found = [
        distribution("Length of answers", summary.lengths, "characters"),
        distribution("Tokens of answers", summary.output_tokens, "tokens"),
        distribution("Tokens of prompts", summary.input_tokens, "tokens"),
        frequencies("Finish reasons", summary.finishes.most_common()),
        *spending_plots(view.tasks),
    ]
    shown = [plot for plot in found if plot is not None]
    return _section("Distributions", tag("div", shown, class_="plots")) if shown else None


def _model(view: View) -> Child:
    pin = view.state.pin
    asked = sorted({(task.provider, task.model) for task in view.tasks})
    if pin is None and not asked:
        return None
    offer = pin.offer if pin else None
    price = offer.price if offer else None
    said = [
        ("Pinned model", offer.label if offer else None),
        ("Family", offer.family if offer else None),
        ("Context", f"{offer.context:,} tokens" if offer and offer.context else None),
        (
            "Price of 1,000 tokens",
            f"{money(price.input)} in, {money(price.output)} out, {price.currency}" if price else None,
        ),
        ("Asked", ", ".join(f"{model} at {provider}" for provider, model in asked)),
    ]
    return _section(
        "Model and price",
        tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in said if value], class_="facts"),
    )


def _cost(view: View) -> Child:
    """Estimate against usage, by model: the two columns that an invoice is held against."""
    groups: dict[tuple[str, str], list[Task]] = {}
    for task in view.tasks:
        groups.setdefault((task.provider, task.model), []).append(task)
    if not groups:
        return None
    rows = [
        (
            f"{model} at {provider}",
            f"{sum(task.requests for task in tasks):,}",
            f"{sum(task.tokens[0] for task in tasks):,}",
            f"{sum(task.tokens[1] for task in tasks):,}",
            amounts(estimated(tasks)),
            amounts(actual(tasks)),
        )
        for (provider, model), tasks in sorted(groups.items())
    ]
    heads = ("Model", "Requests", "Tokens in", "Tokens out", "Estimated", "Actual")
    note = tag("p", "Actual: tokens as the provider counted them, times the price at the time.", class_="quiet")
    return _section("Cost", _table("Cost", heads, rows, numeric={1, 2, 3, 4, 5}), note)


def _tasks(view: View) -> Child:
    if not view.tasks:
        return None
    latest = sorted(view.tasks, key=lambda task: (task.begun_at, task.id))[-_TASKS:]
    heads: tuple[str, ...] = (
        "Task",
        "Phase",
        "Requests",
        "Answered",
        "Failed",
        "Missing",
        "Begun",
        "Took",
        "Remote id",
    )
    rows: list[tuple[str, ...]] = [
        (
            task.id,
            task.phase + (f" ({task.ending})" if task.ending not in ("", Phase.SUCCEEDED) else ""),
            f"{task.requests:,}",
            *(f"{count:,}" for count in task.counts),
            moment(task.begun_at),
            duration(None if task.collected_at is None else task.collected_at - task.begun_at),
            task.remote_id or "–",
        )
        for task in latest
    ]
    if view.words and any(task.error for task in latest):
        heads = (*heads, "Says")
        rows = [(*row, task.error[:500]) for row, task in zip(rows, latest, strict=True)]
    more = f"The latest {len(latest):,} of {len(view.tasks):,}." if len(latest) < len(view.tasks) else None
    return _section(
        "Tasks",
        timeline(view.tasks),
        tag("p", more, class_="quiet") if more else None,
        _table("Tasks", heads, rows, numeric={2, 3, 4, 5, 7}),
    )


def _revisions(view: View) -> Child:
    if not view.state.revisions:
        return None
    rows = [
        (f"{one.number}", moment(one.at), one.what, one.model, f"{one.rows:,}", f"{one.requests:,}")
        for one in reversed(view.state.revisions)
    ]
    heads = ("Revision", "Sent", "What changed", "Model", "Rows", "Requests")
    return _section("Revisions", _table("Revisions", heads, rows, numeric={4, 5}))


def _declared(view: View) -> Child:
    if view.spec is None:
        return None
    place = tag("p", tag("code", str(view.spec.place)), class_="quiet")
    text = (
        tag("pre", view.declared, tabindex=0) if view.declared else tag("p", "Its text is not shown.", class_="quiet")
    )
    return _section("Spec as declared", place, text)


SECTIONS: tuple[Callable[[View], Child], ...] = (
    *(_numbers, _answers, _checks, _errors, _plots, _model, _cost, _tasks, _revisions, _declared),
)
"""What stands on the page, from top to bottom; each is left out where there is nothing to say."""


def _section(title: str, *content: Child) -> Html:
    return join(tag("h2", title), *content)


def _table(name: str, heads: tuple[str, ...], rows: Sequence[tuple[Child, ...]], numeric: set[int]) -> Html:
    def css(column: int) -> str | None:
        return "numeric" if column in numeric else None

    head = [tag("th", text, scope="col", class_=css(column)) for column, text in enumerate(heads)]
    body = [
        tag(
            "tr",
            [
                tag("th", cell, scope="row") if not column else tag("td", cell, class_=css(column))
                for column, cell in enumerate(cells)
            ],
        )
        for cells in rows
    ]
    table = tag("table", tag("thead", tag("tr", head)), tag("tbody", body))
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=f"Table: {name}")
