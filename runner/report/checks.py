"""What speaks against the answers of batches, and what waits for others, as lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runner.checks import CheckResult, example_keys
from runner.report.lines import BAD, HEED, Line, command
from runner.report.text import plain
from runner.state import State, checks_of


def failed_checks(name: str, results: Iterable[CheckResult]) -> list[Line]:
    """The checks of a spec that fail, and what can be done about it."""
    failed = [result for result in results if not result.holds]
    lines = [
        Line(plain(f"{name} fails its check {result}{example_keys(result)}"), BAD if result.is_error else HEED, hang=2)
        for result in failed
    ]
    if any(result.is_error for result in failed):
        what = f"  Mend the prompt or the check, or ask again for the rows of {plain(name)} that failed:"
        lines += [Line(what, hang=2), command(f"runner retry {plain(name)}")]
    return lines


def remarks(state: State, names: Sequence[str], waits: Mapping[str, str]) -> list[Line]:
    """On these specs: checks that fail, and what ``waits`` for another, with the reason."""
    lines = [line for name in names for line in failed_checks(name, checks_of(state, name))]
    return [*lines, *(Line(plain(f"{name} {reason}"), hang=2) for name, reason in sorted(waits.items()))]
