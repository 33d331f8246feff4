"""Rows ⋈ results: the one way to read a batch row by row, whoever wants to know what became of it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from runner.digests import WIDTH
from runner.edge.world import World
from runner.errors import Interrupted
from runner.judging import Judge, judge_for
from runner.known import Known, Verdict, outcome_at
from runner.rendering import Row, check_unchanged, rows_of
from runner.request import custom_id, identify
from runner.resolve import Held, Resolved, measure
from runner.result import MISSING, Counts, Failure, Result
from runner.sandbox import limited_memory, watched
from runner.spec import Spec
from runner.task import COLLECTED, Task

_CHUNK = 64
"""Lines that are made at a time: bounds on templates and schemas hold while they are made, not while they are used."""
_HANDLES = 64


@dataclass(frozen=True)
class Line:
    """One sample of one row, and what became of it.

    ``body`` is the canonical JSON of the request, where it was asked for.  ``output`` is the line of the output file,
    without ``input``, which is ``row.values``.
    """

    row: Row
    sample: int
    identity: bytes
    body: str | None
    output: dict[str, Any]

    @property
    def outcome(self) -> str:
        """The word under which it is counted: that of ``status``, or ``pending`` for what may still come."""
        pending = self.output["status"] == MISSING and self.output["error"]["code"] in _PENDING
        return "pending" if pending else str(self.output["status"])


_PENDING = frozenset({"not_submitted", "pending"})
"""Codes of what is missing only for now."""


@dataclass
class Tally:
    """Counts the lines that went by."""

    succeeded: int = 0
    failed: int = 0
    missing: int = 0
    pending: int = 0

    def counts(self) -> Counts:
        return Counts(self.succeeded, self.failed, self.missing, self.pending)


def lines(
    world: World,
    resolved: Resolved,
    known: Known,
    *,
    bodies: bool = False,
    tally: Tally | None = None,
    unsent: Failure | None = None,
) -> Iterator[Line]:
    """Every row and sample of a batch in input order, one chunk of them in memory.

    ``known`` is what is known of the requests of its provider and model.  The batch may be still running: what is not
    here yet is ``missing``, with the code ``not_submitted`` or ``pending``.  ``unsent``: what to say of requests that
    were never sent, instead of why they are still to be.  Raises OSError, Interrupted; RunnerError too where the input
    changes while it is read.
    """
    answers = Answers(world, known, judge_for(resolved.batch.spec.schema))
    flow = _joined(world, resolved, answers, tally or Tally(), unsent or _unsent(resolved.held), bodies=bodies)
    with closing(answers):
        while True:
            with watched(), limited_memory():
                chunk = list(islice(flow, _CHUNK))
            if not chunk:
                return
            yield from chunk


def _joined(
    world: World, resolved: Resolved, answers: Answers, tally: Tally, unsent: Failure, *, bodies: bool
) -> Iterator[Line]:
    spec, rendering = resolved.batch.spec, resolved.rendering
    salt = resolved.batch.salt
    renders = bodies or (resolved.ledger is None and not resolved.batch.key)  # a ledger without a key is not kept
    ledger = iter(()) if renders else iter(resolved.ledger or measure(world, rendering))
    for count, row in enumerate(rows_of(world.grounds, spec)):
        if not count & 0xFFF and world.stop.is_set():
            raise Interrupted
        key = row_key(spec, row)
        body = rendering.body(row) if renders else None
        for sample in range(1, spec.samples + 1):
            if body is None:
                identity, _, _ = next(ledger, _NO_RECORD)
            else:
                identity = identify(salt, body.encode(), sample)
            answer = _answer(identity, answers, tally, unsent)
            yield Line(row, sample, identity, body if bodies else None, {"key": key, "sample": sample, **answer})
    check_unchanged(world.grounds, resolved.batch)


_NO_RECORD = (bytes(WIDTH), 0, 0)
"""Of a row that was not there when the batch was fingerprinted; it is an error at the end of the rows."""


def row_key(spec: Spec, row: Row) -> str:
    """What labels a row in the output: the key column's value as text, else the row's number."""
    if spec.input.key is None:
        return str(row.number)
    value = row.values.get(spec.input.key)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _answer(identity: bytes, answers: Answers, tally: Tally, unsent: Failure) -> dict[str, Any]:
    task, result, verdict = answers.of(identity)
    if result is None:
        failure = _absence(task, verdict, unsent)
        if failure.code in _PENDING:
            tally.pending += 1
        else:
            tally.missing += 1
        result = Result(custom_id(identity), failure=failure)
        status = MISSING
    elif result.failure is None:
        tally.succeeded += 1
        status = result.status
    else:
        tally.failed += 1
        status = result.status
    return {
        "status": status,
        "text": result.text,
        "parsed": result.parsed,
        "finish_reason": result.finish_reason,
        "usage": {"input_tokens": result.usage.input_tokens, "output_tokens": result.usage.output_tokens},
        "model": result.model or (task and task.model),
        "task": task and task.id,
        "error": result.failure
        and {
            "code": result.failure.code,
            "message": result.failure.message,
            "retryable": result.failure.retryable,
        },
    }


def _unsent(held: Held) -> Failure:
    """Why a request is in no task."""
    if held is Held.SUSPENDED:
        return Failure("not_submitted", "its spec, or the project, is suspended", True)
    if held:
        return Failure("cancelled", "its batch was cancelled before it was sent", False)
    return Failure("not_submitted", "it has not been sent yet", True)


def _absence(task: Task | None, verdict: Verdict | None, unsent: Failure) -> Failure:
    """Why no line answers a request."""
    if task is None or verdict is None or verdict.new:
        return unsent
    if task.stopped == "gave_up":
        return Failure("gave_up", "no answer came within wait.give_up", False)
    if verdict.pending:
        return Failure("pending", "its task has not ended yet", True)
    if task.stopped == "cancelled":
        return Failure("cancelled", "its task was cancelled", False)
    if task.ending == "expired":
        return Failure("expired", task.error or "the task expired before it was answered", True)
    if task.ending == "failed":
        return Failure("task_failed", task.error or "the task failed as a whole", task.retryable)
    return Failure("missing", "the results hold no line for it", True)


class Answers:
    """Looks up and decodes the line that answers a request, in the raw results of the tasks that hold it."""

    def __init__(self, world: World, known: Known, judge: Judge) -> None:
        self._world = world
        self._known = known
        self._judge = judge
        self._outcomes: dict[int, bytes] = {}
        self._paths: dict[int, Path] = {}
        self._files: dict[int, io.FileIO] = {}

    def of(self, identity: bytes) -> tuple[Task | None, Result | None, Verdict | None]:
        """The deciding task, its decoded line when there is one, and what is known of the request."""
        verdict = self._known.verdict(identity)
        if verdict is None:
            return None, None, None
        task = self._known.tasks[verdict.task]
        if task.phase != COLLECTED:
            return task, None, verdict
        if verdict.task not in self._outcomes:
            self._outcomes[verdict.task] = self._world.store.get(task.outcomes)
            self._paths[verdict.task] = self._world.store.local(task.results)
        _, offset, length = outcome_at(self._outcomes[verdict.task], verdict.position)
        if not length:
            return task, None, verdict
        line = os.pread(self._file(verdict.task).fileno(), length, offset)
        return task, self._judge(self._world.providers[task.provider].decode(line)), verdict

    def _file(self, task: int) -> io.FileIO:
        """One handle per task, the last few of them: a batch may have more tasks than a process may have files."""
        file = self._files.pop(task, None) or self._paths[task].open("rb", buffering=0)
        self._files[task] = file
        if len(self._files) > _HANDLES:
            self._files.pop(next(iter(self._files))).close()
        return file

    def close(self) -> None:
        for file in self._files.values():
            file.close()
