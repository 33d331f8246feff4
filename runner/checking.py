"""Hold a batch's answers against the checks of its spec, while they go by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from runner.checks import (
    EXAMPLES,
    LONGEST_KEY,
    Check,
    CheckResult,
    is_answered,
    is_misshapen,
    is_refusal,
    is_truncated,
)
from runner.expressions import Holds, compile_checks
from runner.joining import Line
from runner.result import SUCCEEDED
from runner.sandbox import limited_memory, watched
from runner.spec import Spec

_CHUNK = 64
"""Lines that are looked at together: setting the bounds of expressions for each would cost more than the look."""

Verdict = tuple[bool | None, str]
"""Whether a line is as the check wants it, None where it is not about the line; and why that cannot be said."""
Look = Callable[[Line], Verdict]


@dataclass
class _Count:
    """What one check has come to so far."""

    check: Check
    look: Look
    good: int = 0
    bad: int = 0
    examples: list[str] = field(default_factory=list)
    note: str = ""

    def see(self, line: Line) -> None:
        fits, note = self.look(line)
        if fits is None:
            return
        if fits:
            self.good += 1
            return
        self.bad += 1
        self.note = self.note or note
        if len(self.examples) < EXAMPLES:
            self.examples.append(line.output["key"][:LONGEST_KEY])

    def result(self) -> CheckResult:
        check = self.check
        count = self.good if check.bound == "min" else self.bad
        return CheckResult(
            check.name,
            check.kind,
            check.bound,
            check.limit,
            check.severity,
            count,
            self.good + self.bad,
            tuple(dict.fromkeys(self.examples)),
            self.note,
        )


class Checker:
    """The checks of one spec.  Raises InvalidDocuments for an expression that cannot be compiled."""

    def __init__(self, spec: Spec) -> None:
        expressions = compile_checks(spec) if any(check.expression for check in spec.checks) else {}
        self._counts = [_Count(check, _look(check, expressions)) for check in spec.checks]

    def watch(self, found: Iterator[Line]) -> Iterator[Line]:
        """The same lines, each seen by every check."""
        if not self._counts:
            yield from found
        while chunk := list(islice(found, _CHUNK)):
            with watched(), limited_memory():
                for line in chunk:
                    for count in self._counts:
                        count.see(line)
            yield from chunk

    def results(self) -> tuple[CheckResult, ...]:
        return tuple(count.result() for count in self._counts)


def _look(check: Check, expressions: Mapping[str, Holds]) -> Look:
    if check.kind == "expression":
        return partial(_expression, expressions[check.name])
    return _LOOKS[check.kind]


def _expression(holds: Holds, line: Line) -> Verdict:
    output = line.output
    if output["status"] != SUCCEEDED:
        return None, ""
    answer = {name: output[name] for name in ("text", "parsed", "finish_reason", "usage", "key")}
    return holds({"row": dict(line.row.values), **answer})


def _schema(line: Line) -> Verdict:
    misfit = is_misshapen(line.output)
    return (not misfit if misfit or line.output["status"] == SUCCEEDED else None), ""


def _failed(line: Line) -> Verdict:
    return (None if line.outcome == "pending" else line.outcome == SUCCEEDED), ""


def _refusals(line: Line) -> Verdict:
    refused = is_refusal(line.output)
    return (not refused if refused or is_answered(line.output) else None), ""


def _truncated(line: Line) -> Verdict:
    cut_off = is_truncated(line.output)
    return (not cut_off if cut_off or is_answered(line.output) else None), ""


_LOOKS: Mapping[str, Look] = {
    "schema": _schema,
    "failed": _failed,
    "refusals": _refusals,
    "truncated": _truncated,
}
