"""What `runner doctor` has found, as lines."""

from __future__ import annotations

from collections.abc import Sequence

from runner.checkup import Finding, Status
from runner.report.text import Paint, no_paint, plain, width

_COLOURS = {Status.OK: "green", Status.WARN: "magenta", Status.FAIL: "red", Status.UNKNOWN: "cyan"}


def checkup_lines(findings: Sequence[Finding], paint: Paint = no_paint) -> list[str]:
    """A line for each finding; below one that is not ok, why it matters, what to do, and commands to copy."""
    room = max((width(plain(finding.about)) for finding in findings), default=0)
    lines = [line for finding in findings for line in _lines(finding, room, paint)]
    return [*lines, "", _summary(findings)] if findings else lines


def _lines(finding: Finding, room: int, paint: Paint) -> list[str]:
    about = plain(finding.about)
    word = paint(f"{finding.status.value:<7}", fg=_COLOURS[finding.status])
    lines = [f"{word}  {about}{' ' * (room - width(about))}  {plain(finding.what)}"]
    if finding.status is not Status.OK:
        lines += [f"{'':9}{plain(text)}" for text in (finding.why, finding.do) if text]
        lines += [f"{'':13}{plain(command)}" for command in finding.commands]
    return lines


def _summary(findings: Sequence[Finding]) -> str:
    counts = {status: sum(finding.status is status for finding in findings) for status in Status}
    return ", ".join(f"{count} {status.value}" for status, count in counts.items() if count) + "."
