"""One pass over a file of requests: is each line good, what will become of it, and what does it cost?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from runner.simulator.answers import Answer, KnownAnswers
from runner.simulator.fate import Problem, failure, row_outcome
from runner.simulator.lines import BadLine, Row, RowError, numbered_lines, read_row
from runner.simulator.memory import RequestRow, Task


@dataclass
class Screening:
    """What the pass found: every request, and the sums of those that are answered or fail."""

    requests: list[RequestRow] = field(default_factory=list)
    answered: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    problem: Problem | None = None
    """Why the whole file is refused; there are no requests then."""


def screen(path: Path, task: Task, known: KnownAnswers, *, strict: bool = False, most: int | None = None) -> Screening:
    """``task`` needs no counts yet.  ``strict``: each line has to be for the task's model and its endpoint."""
    found = Screening()
    seen: dict[str, int] = {}
    dead = failure(task.fate) is not None
    endpoint = str(task.extra.get("endpoint", ""))
    with path.open("rb") as file:
        for position, (number, line) in enumerate(numbered_lines(file), 1):
            try:
                row = read_row(line, position, task.model, endpoint)
                if (earlier := seen.setdefault(row.custom_id, number)) != number:
                    raise BadLine(f"has the custom_id of line {earlier}", "duplicate_custom_id")
                if strict:
                    _require_fitting(row, task.model, endpoint)
            except BadLine as error:
                return Screening(problem=Problem(f"line {number} of the input file {error}", error.code, number))
            if most is not None and position > most:
                return Screening(problem=Problem(f"the input file has more than {most} lines", "too_many_tasks"))
            _count(found, row, task, known, dead=dead)
    return found if found.requests else Screening(problem=Problem("the input file holds no request", "empty_file"))


def _require_fitting(row: Row, model: str, endpoint: str) -> None:
    if endpoint and row.url != endpoint:
        raise BadLine(f"goes to {row.url!r} and not to the batch's endpoint {endpoint}", "url_mismatch")
    if not row.body.get("model"):
        raise BadLine("names no model", "missing_required_parameter")
    if row.body["model"] != model:
        raise BadLine("is for another model than the first line", "mismatched_model")


def _count(found: Screening, row: Row, task: Task, known: KnownAnswers, *, dead: bool) -> None:
    given = answered = billed = 0
    outcome = None if dead else row_outcome(row, task, known)
    if isinstance(outcome, Answer):
        given, answered, billed = outcome.input_tokens, outcome.output_tokens, 1
        found.answered += 1
        found.input_tokens += given
        found.output_tokens += answered
    elif isinstance(outcome, RowError):
        found.failed += 1
    found.requests.append((row.position, row.custom_id, row.digest, given, answered, billed))
