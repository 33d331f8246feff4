"""What becomes of rows: pure functions of a question and of the rules that its task, or its call, was given."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from runner.simulator.answers import Answer, KnownAnswers, answer, halved, lost, refused
from runner.simulator.faults import Fault
from runner.simulator.lines import Outcome, Row, RowError, Unfinished, Writer
from runner.simulator.memory import Task
from runner.simulator.questions import Question
from runner.simulator.replies import Stamp

_ROW_CODES = {400: "invalid_request_error", 401: "invalid_api_key", 429: "rate_limit_exceeded"}
_FAILING = ("fail-rows", "all-fail", "error-file-only")
_ALTERING: Mapping[str, Callable[[Answer], Answer]] = {
    "finish-length": halved,
    "refuse": refused,
    "empty-body": lost,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a whole task fails.  ``code`` is OpenAI's word for it, ``line`` the line that is to blame."""

    message: str
    code: str = ""
    line: int | None = None


def failure(fate: Sequence[Fault]) -> Problem | None:
    """Why a task with this fate fails without results, None when it does not."""
    for rule in fate:
        if rule.do == "fail":
            return Problem(rule.message or "simulated failure of the task", rule.code or "")
        if rule.do == "token-limit":
            message = (
                "Enqueued token limit reached. Please try again once some in_progress batches have been completed."
            )
            return Problem(rule.message or message, rule.code or "token_limit_exceeded")
    return None


def row_outcome(row: Row, task: Task, known: KnownAnswers) -> Outcome | None:
    """What becomes of one row of ``task``; None where nothing will be heard of it."""
    if task.finished is not None and row.position > task.finished:
        return Unfinished("cancelled")
    hitting = [rule for rule in task.fate if rule.hits(row.position, row.custom_id, row.prompt)]
    for rule in hitting:
        if rule.do == "missing-rows":
            return None
        if rule.do == "expire":
            return Unfinished("expired")
        if rule.do in _FAILING:
            status = rule.status_code or 500
            code = rule.code or _ROW_CODES.get(status, "internal_error")
            return RowError(status, code, rule.message or "simulated failure")
    return answered(row.question, known, hitting)


def answered(question: Question | str, known: KnownAnswers, hitting: Sequence[Fault]) -> Answer | RowError:
    """The answer, altered by the rules that hit it.  ``question`` may be why there is nothing to answer."""
    if isinstance(question, str):
        return RowError(400, "invalid_request_error", question)
    try:
        given = answer(question, known)
    except ValueError as error:
        return RowError(400, "invalid_request_error", str(error))
    for rule in hitting:
        given = _ALTERING.get(rule.do, _untouched)(given)
    return given


def _untouched(given: Answer) -> Answer:
    return given


def result_lines(row: Row, task: Task, known: KnownAnswers, write: Writer) -> Iterator[bytes]:
    """The lines of one row in a file of results: one as a rule, none or more where the fate has it so."""
    given = row_outcome(row, task, known)
    if given is None:
        return
    stamp = Stamp(row.identity, task.model, int(task.created))
    line = write(row, given, stamp, row.custom_id)
    if not line:
        return
    hit = {rule.do for rule in task.fate if rule.hits(row.position, row.custom_id, row.prompt)}
    yield line[: len(line) // 2] + b"\n" if "broken-line" in hit else line
    if "duplicate-lines" in hit:
        yield line
    if "unknown-ids" in hit:
        yield write(row, given, stamp, hashlib.sha256(row.digest).hexdigest()[:32])
