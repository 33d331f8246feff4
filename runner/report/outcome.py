"""What an apply came to: rows by outcome, outputs, what went wrong, what it cost, and where to go from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runner.failures import Group
from runner.outcome import Outcome, Used
from runner.plan import Action
from runner.report.checks import failed_checks
from runner.report.lines import BAD, FAINT, GOOD, HEAD, HEED, Line, command, texts
from runner.report.text import MOST, decision, money, padded, plain, read_on, width
from runner.result import Counts

GROUPS = 5
"""Kinds of failure that are shown of a spec."""
NAMED = 3
"""Specs that are named in commands; from more on, there is one command for all."""
LONGEST = 120
"""Characters of a failure's message that are shown."""


def outcome_lines(outcome: Outcome) -> list[str]:
    """What apply did, as plain lines."""
    lines = [*warnings(outcome), *rows(outcome.rows), *afterwards(outcome, "runner apply --yes --wait")]
    return texts(lines)


def warnings(outcome: Outcome) -> list[Line]:
    return [Line(f"Warning: {plain(warning)}", HEED, hang=2) for warning in dict.fromkeys(outcome.warnings)]


def rows(counted: Mapping[str, Counts]) -> list[Line]:
    """One line per spec: the four counts add up to the rows."""
    shown, more = rows_shown(counted)
    columns = max((width(plain(name)) for name, _ in shown), default=0)
    lines = [Line(f"{padded(name, columns)}  {counts_words(counts)}", tone(counts)) for name, counts in shown]
    return [*lines, Line(more)] if more else lines


def rows_lines(counted: Mapping[str, Counts]) -> list[str]:
    return texts(rows(counted))


def rows_shown(counted: Mapping[str, Counts]) -> tuple[list[tuple[str, Counts]], str]:
    """By name as many as are shown, and a line that sums up all; empty where all are shown."""
    shown = sorted(counted.items())[:MOST]
    if len(shown) == len(counted):
        return shown, ""
    succeeded = sum(counts.succeeded for counts in counted.values())
    total = sum(counts.total for counts in counted.values())
    rest = len(counted) - len(shown)
    return shown, f"… and {rest:,} more specs; all together {succeeded:,} of {total:,} rows succeeded"


def counts_words(counts: Counts) -> str:
    parts = [f"{counts.succeeded:,} succeeded", f"{counts.failed:,} failed", f"{counts.missing:,} missing"]
    if counts.pending:
        parts.append(f"{counts.pending:,} pending")
    return f"{', '.join(parts)} of {counts.total:,} rows"


def tone(counts: Counts) -> str:
    if counts.succeeded == counts.total:
        return GOOD
    return HEED if counts.pending else BAD


def afterwards(outcome: Outcome, go_on: str) -> list[Line]:
    """Everything but rows and warnings.  ``go_on``: the command that waits for what is still on its way."""
    lines = [*_written(outcome), *_failures(outcome), *_used(outcome.used)]
    for name, results in sorted(outcome.checks.items()):
        lines += failed_checks(name, results)
    for task in outcome.unresolved:
        lines += decision(task.batch, task.id, task.name)
    return [*lines, *next_steps(outcome, go_on)]


def _written(outcome: Outcome) -> list[Line]:
    paths = [detail for _, detail in outcome.done(Action.PUBLISH)]
    more = [Line(f"… and {len(paths) - MOST:,} more outputs")] if len(paths) > MOST else []
    return [Line(f"wrote {plain(path)}", hang=2) for path in paths[:MOST]] + more


def _failures(outcome: Outcome) -> list[Line]:
    """The largest groups of what went wrong, by spec."""
    lines = []
    failed = [(name, *found.most(GROUPS)) for name, found in sorted(outcome.failures.items()) if found.any]
    for name, groups, others in failed[:MOST]:
        lines.append(Line(plain(f"Rows of {name} without an answer:"), HEAD))
        columns = max(len(f"{group.count:,}") for group in groups)
        lines += [_group(group, columns) for group in groups]
        if others:
            lines.append(Line(f"  {others:>{columns},} for other reasons", FAINT))
    if len(failed) > MOST:
        lines.append(Line(f"… and {len(failed) - MOST:,} more specs have rows without an answer"))
    return lines + read_on(group.code for _, groups, _ in failed[:MOST] for group in groups)


def _group(group: Group, columns: int) -> Line:
    message = group.message if len(group.message) <= LONGEST else f"{group.message[:LONGEST]}…"
    said = f"{group.code}: {message}" if message else group.code
    return Line(f"  {group.count:>{columns},} {plain(said)} (such as row {plain(group.key)})", BAD, hang=columns + 3)


def _used(used: Used) -> list[Line]:
    """Tokens that were brought home, and what they cost as far as the price is known."""
    if not used.input and not used.output:
        return []
    text = f"Used {used.input:,} input and {used.output:,} output tokens"
    for currency, paid, estimate in used.paid:
        text += f", {money(paid)} {plain(currency)} of at most {money(estimate)}"
    return [Line(f"{text}.")]


def next_steps(outcome: Outcome, go_on: str) -> list[Line]:
    """A command for each thing that there is to do now."""
    lines = []
    pending = [] if outcome.partial else outcome.on_their_way
    if pending and not outcome.unresolved:
        lines += [Line(f"Still on the way: {_some(pending)}.  Go on with:"), command(go_on)]
        lines += [Line("Or watch it with:"), command("runner status --watch")]
    if outcome.ready:
        lines += [Line(f"The answers that {_some(outcome.ready)} waited for are here.  Go on with:")]
        lines += [command("runner plan")]
    unsuccessful = sorted(name for name, counts in outcome.rows.items() if counts.failed or counts.missing)
    return [*lines, *retries(unsuccessful)]


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(map(plain, names[:8]))}{' …' if len(names) > 8 else ''}"


def retries(names: Sequence[str]) -> list[Line]:
    """How to look at rows without an answer, and how to ask for them again."""
    if not names:
        return []
    lines = [Line("Look at rows without an answer:")]
    lines += [command(f"runner output {plain(name)} --failed") for name in names[:NAMED]]
    again = [plain(name) for name in names] if len(names) <= NAMED else ["'*'"]
    return [*lines, Line("Ask for them again:"), *(command(f"runner retry {name}") for name in again)]
