"""Work that goes on, in words."""

from __future__ import annotations

from runner.progress import UPLOADING, Awaited, Going, Picture, Step, Transfer, seconds_left
from runner.report.text import plain

_UNITS = ("B", "kB", "MB", "GB", "TB")
_SPANS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))


def size(count: float) -> str:
    """Bytes: "512 B", "12.3 MB"."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1_000, unit + 1
    return f"{count:,.0f} {_UNITS[unit]}" if count >= 99.5 or not unit else f"{count:.1f} {_UNITS[unit]}"


def span(seconds: float) -> str:
    """A duration in its two largest units: "5s", "12m 30s", "23h 10m", "2d 3h"."""
    whole = max(0, round(seconds))
    for large, name, small, lesser in _SPANS:
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large}{name} {rest}{lesser}" if rest else f"{whole // large}{name}"
    return f"{whole}s"


def rate(per_second: float) -> str:
    """ "31/s", or "4.2/min" of what is slow."""
    if per_second >= 1:
        return f"{per_second:,.{0 if per_second >= 10 else 1}f}/s"
    return f"{per_second * 60:,.{0 if per_second * 60 >= 10 else 1}f}/min"


def amount(going: Going) -> str:
    """How much is done, of how much where that is known."""
    what = going.what
    if isinstance(what, Transfer):
        return size(what.moved) + (f" of {size(what.total)}" if what.total else "")
    if what.total:
        return f"{what.done:,} of {what.total:,}"
    return f"{what.done:,}" if what.done else ""


def pace(going: Going) -> str:
    if going.rate is None:
        return ""
    return f"{size(going.rate)}/s" if isinstance(going.what, Transfer) else rate(going.rate)


def left(going: Going) -> str:
    seconds = seconds_left(going)
    return "" if seconds is None else f"{span(seconds)} left"


def expiry(until: float | None, now: float) -> str:
    """When a task has had its time."""
    if until is None:
        return ""
    return f"expires in {span(until - now).split()[0]}" if until > now else "overdue"


def name(going: Going) -> str:
    """What goes on, as part of one line."""
    match going.what:
        case Step(what=what):
            return plain(what)
        case Transfer(way=way):
            verb = "uploading" if way == UPLOADING else "downloading"
            return verb if going.files == 1 else f"{verb} {going.files} files"
        case Awaited(spec=spec):
            return plain(spec)


def step_line(going: Going) -> str:
    """Work, or bytes that travel, on one line."""
    parts = [part for part in (pace(going), left(going)) if part]
    return " ".join(filter(None, (name(going), amount(going)))) + (f" ({', '.join(parts)})" if parts else "")


def waiting_line(picture: Picture) -> str:
    """Everything that is waited for, on one line."""
    specs = [going.what for going in picture.awaited if isinstance(going.what, Awaited)]
    tasks = sum(spec.tasks for spec in specs)
    rates = [going.rate for going in picture.awaited if going.rate]
    total = Awaited("", tasks, sum(spec.done for spec in specs), sum(spec.total for spec in specs), picture.now)
    going = Going(total, sum(rates) or None)
    first = min((spec.until for spec in specs if spec.until is not None), default=None)
    words = [picture.tempo or pace(going), left(going), expiry(first, picture.now)]
    told = ", ".join(word for word in words if word)
    what = f"waiting for {tasks:,} task{'s' if tasks != 1 else ''}"
    return plain(f"{what}: {amount(going) or '0'} requests" + (f" ({told})" if told else ""))


def picture_line(picture: Picture) -> str:
    """The most telling of what goes on; empty while there is nothing to tell."""
    if picture.transfers:
        return step_line(picture.transfers[0])
    if picture.step is not None:
        return step_line(picture.step)
    return waiting_line(picture) if picture.awaited else ""
