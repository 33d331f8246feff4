"""Plots as inline SVG.  Every one says in words what it shows, for who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from runner.provider import Phase
from runner.report.site.entry import STATUSES
from runner.report.site.markup import Child, Html, tag
from runner.report.site.summary import Histogram
from runner.report.site.view import duration, moment
from runner.report.text import money
from runner.result import Counts
from runner.task import Task

_WIDTH, _HEIGHT, _WIDE = 420, 150, 860
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 22
_BARS = 24
_RANKED = 7
_TIMELINE = 40
"""Tasks that a timeline has room for: the latest ones."""
_SHARE = 0.99
"""The part of all numbers that a distribution shows one by one; the greatest share its last bar."""


def outcome(counts: Counts) -> Html:
    """A batch's rows by outcome, as one bar."""
    parts = [(status, getattr(counts, status)) for status in STATUSES]
    bars, at = [], 0.0
    for status, count in parts:
        size = 100 * count / (counts.total or 1)
        if count:
            bars.append(tag("rect", class_=status, x=_short(at), y=0, width=_short(size), height=8))
        at += size
    said = ", ".join(f"{count:,} {status}" for status, count in parts if count) or "no rows"
    return tag(
        "svg", bars, class_="outcome", viewBox="0 0 100 8", preserveAspectRatio="none", role="img", aria_label=said
    )


def distribution(title: str, histogram: Histogram, unit: str) -> Html | None:
    """How often which number occurred; None for no numbers at all."""
    if not histogram.total:
        return None
    half, most = histogram.quantile(0.5), histogram.quantile(_SHARE)
    step = _nice(max(1, most / _BARS))
    bars = [0] * (int(most / step) + 2)
    for value, count in histogram:
        bars[min(int(value / step), len(bars) - 1)] += count
    if not bars[-1]:
        bars.pop()
    labels = [f"{at * step:,.0f} to {(at + 1) * step - 1:,.0f} {unit}" for at in range(len(bars))]
    if bars[-1] and len(bars) > int(most / step) + 1:
        labels[-1] = f"{(len(bars) - 1) * step:,.0f} {unit} or more"
    said = f"{title}: half have {half:,} {unit} or fewer, 95 in 100 have {histogram.quantile(0.95):,} or fewer"
    ends = ("0", f"{len(bars) * step:,.0f} {unit}")
    caption = (tag("strong", title), f": median {half:,}, 95th percentile {histogram.quantile(0.95):,} {unit}")
    return _figure(caption, _bars(said, bars, labels, ends))


def frequencies(title: str, numbers: Sequence[tuple[str, int]]) -> Html | None:
    """How often each word occurred; None for no words at all."""
    total = sum(count for _, count in numbers)
    return ranking(title, [(word, count, f"{count:,} ({_percent(count / total)})") for word, count in numbers])


def ranking(title: str, numbers: Sequence[tuple[str, float, str]]) -> Html | None:
    """The greatest of some numbers as bars, each with its name and how it is spelt; None where there are none."""
    shown = sorted((one for one in numbers if one[1] > 0), key=lambda one: -one[1])[:_RANKED]
    if not shown:
        return None
    most = shown[0][1]
    parts: list[Html] = []
    for at, (word, value, spelt) in enumerate(shown):
        y, width = 18 * at + 14, _short(max(1, 190 * value / most))
        parts += [
            tag("text", _clipped(word, 16), x=0, y=y),
            tag("rect", class_="bar", x=112, y=y - 10, width=width, height=12, rx=2),
            tag("text", spelt, x=118 + width, y=y),
        ]
    said = f"{title}: " + ", ".join(f"{word} {spelt}" for word, _, spelt in shown)
    return _figure(tag("strong", title), _svg(said, parts, height=18 * max(len(shown), 7) + 4))


def spending(points: Sequence[tuple[float, float]], currency: str) -> Html | None:
    """Money spent, summed up over time.  ``points``: when, and how much then."""
    spent = [(at, amount) for at, amount in sorted(points) if amount > 0]
    if not spent:
        return None
    first, last = spent[0][0], spent[-1][0]
    total = sum(amount for _, amount in spent)
    span = max(last - first, 1.0)
    path, so_far = [f"M{_LEFT} {_y(0, total)}"], 0.0
    for at, amount in spent:
        x = _short(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (at - first) / span)
        path.append(f"H{x}")
        so_far += amount
        path.append(f"V{_y(so_far, total)}")
    path.append(f"H{_WIDTH - _RIGHT}")
    line = "".join(path)
    said = f"{money(total)} {currency} spent from {moment(first)} to {moment(last)} UTC"
    parts = [
        tag("path", class_="area", d=f"{line}V{_y(0, total)}Z"),
        tag("path", class_="curve", d=line),
        *_axes(money(total), (moment(first), moment(last))),
    ]
    caption = (tag("strong", "Spent over time"), f": {money(total)} {currency} by usage and price")
    return _figure(caption, _svg(said, parts))


def timeline(tasks: Sequence[Task]) -> Html | None:
    """Tasks as bars from their beginning to their results, latest last."""
    shown = sorted(tasks, key=lambda task: (task.begun_at, task.id))[-_TIMELINE:]
    if not shown:
        return None
    first = min(task.begun_at for task in shown)
    last = max(max(_moments(task)) for task in shown)
    span, room = max(last - first, 1.0), _WIDE - 130 - 10

    def x(at: float) -> float:
        return 130 + room * (at - first) / span

    parts: list[Html] = []
    for at, task in enumerate(shown):
        y = 16 * at + 4
        parts.append(tag("text", task.id, x=0, y=y + 9))
        for css, start, end in _stretches(task, last):
            width = _short(max(2.0, x(end) - x(start)))
            words = f"{task.id} {css}: {moment(start)} to {moment(end)} UTC"
            bar = tag("title", words)
            parts.append(tag("rect", bar, class_=css, x=_short(x(start)), y=y, width=width, height=10, rx=2))
    bottom = 16 * len(shown) + 18
    parts += [
        tag("line", class_="axis", x1=130, x2=850, y1=bottom - 12, y2=bottom - 12),
        tag("text", moment(first), x=130, y=bottom),
        tag("text", moment(last), x=850, y=bottom, text_anchor="end"),
    ]
    said = f"{len(shown):,} tasks in {duration(last - first)}, from {moment(first)} UTC"
    more = f" (the latest {len(shown):,} of {len(tasks):,})" if len(shown) < len(tasks) else ""
    caption = (tag("strong", "Tasks over time"), f"{more}: grey until the provider had it, then coloured by its end")
    return _figure(caption, _svg(said, parts, width=_WIDE, height=bottom + 4), whole=True)


def _stretches(task: Task, last: float) -> list[tuple[str, float, float]]:
    """Parts of a task's time, each with the class it is drawn in.  What is open lasts as long as anything is known."""
    if task.started_at is None:
        return [("waiting", task.begun_at, max(_moments(task)))]
    end = task.collected_at or task.ended_at or last
    css = {Phase.SUCCEEDED: "collected", "": "running"}.get(task.ending, "failed")
    return [("waiting", task.begun_at, task.started_at), (css, task.started_at, max(end, task.started_at))]


def _moments(task: Task) -> list[float]:
    known = (task.begun_at, task.staged_at, task.started_at, task.ended_at, task.collected_at)
    return [at for at in known if at is not None]


# ---- pieces --------------------------------------------------------------------------------------------------------


def _figure(caption: Child, svg: Html, *, whole: bool = False) -> Html:
    """``whole``: as wide as the page, and on a narrow one to be moved to and fro."""
    css, stop = ("whole", 0) if whole else (None, None)
    return tag("figure", tag("figcaption", caption), svg, class_=css, tabindex=stop)


def _svg(said: str, parts: Sequence[Html], width: int = _WIDTH, height: int = _HEIGHT) -> Html:
    return tag("svg", parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=said)


def _bars(said: str, bars: Sequence[int], labels: Sequence[str], ends: tuple[str, str]) -> Html:
    most, room = max(bars), (_WIDTH - _LEFT - _RIGHT) / len(bars)
    parts = []
    for at, (count, label) in enumerate(zip(bars, labels, strict=True)):
        if count:
            top = _y(count, most)
            parts.append(
                tag(
                    "rect",
                    tag("title", f"{label}: {count:,}"),
                    class_="bar",
                    x=_short(_LEFT + at * room + 0.5),
                    y=top,
                    width=_short(max(1, room - 1)),
                    height=_short(max(1, _HEIGHT - _BOTTOM - top)),
                )
            )
    return _svg(said, [*parts, *_axes(f"{most:,}", ends)])


def _axes(most: str, ends: tuple[str, str]) -> list[Html]:
    bottom = _HEIGHT - _BOTTOM
    return [
        tag("line", class_="axis", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=bottom, y2=bottom),
        tag("line", class_="axis", x1=_LEFT, x2=_LEFT, y1=_TOP, y2=bottom),
        tag("text", most, x=_LEFT - 6, y=_TOP + 8, text_anchor="end"),
        tag("text", "0", x=_LEFT - 6, y=bottom, text_anchor="end"),
        tag("text", ends[0], x=_LEFT, y=_HEIGHT - 6),
        tag("text", ends[1], x=_WIDTH - _RIGHT, y=_HEIGHT - 6, text_anchor="end"),
    ]


def _y(value: float, most: float) -> float:
    return round(_HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * value / (most or 1), 2)


def _nice(least: float) -> float:
    """The least of 1, 2, 5, 10, 20, … that is no smaller."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)


def _short(value: float) -> float:
    return round(value, 2)


def _percent(part: float) -> str:
    return f"{part:.1%}" if part < 0.995 else f"{part:.0%}"


def _clipped(text: str, size: int) -> str:
    return text if len(text) <= size else f"{text[: size - 1]}…"
