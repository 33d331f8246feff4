"""Bring results home: raw lines first, kept as they came; then what became of each request; then rows ⋈ results."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2.exceptions import SecurityError

from runner.digests import WIDTH, DigestMap
from runner.edge.files import Spooled, naming
from runner.edge.outputs import write_output
from runner.edge.paths import inside
from runner.edge.world import World
from runner.errors import Elsewhere, Interrupted, RunnerError
from runner.known import OUTCOME, Known, Verdict, outcome_at
from runner.provider import Provider
from runner.providers.loose import bounded_loads
from runner.refresh import job_of
from runner.rendering import Row, check_unchanged, rows_of
from runner.request import custom_id
from runner.resolve import Held, Resolved, measure
from runner.result import MISSING, Counts, Failure, Result
from runner.sandbox import EACH, Allowance, attempt, limited_memory, watched
from runner.schema import answer_validator
from runner.spec import Spec
from runner.state import Collected, Publication, Published
from runner.task import ANSWERED, COLLECTED, FINAL, LOST, RETRYABLE, Task

Judge = Callable[[Result], Result]
"""Holds an answer against the batch's response schema."""


def judge_for(schema: Mapping[str, Any] | None) -> Judge:
    """A check of answers against ``schema``: parsed where they fit, failed (and not to be retried) where they do not.

    An answer cut off at its token limit is told apart from a misshapen one: the cure is another.
    """
    if schema is None:
        return lambda result: result
    fits = _bounded(_misfit_of(schema))

    def judge(result: Result) -> Result:
        if result.failure is not None or result.text is None:
            return result
        if result.finish_reason == "length":
            return replace(result, failure=Failure("truncated", "the answer was cut off at its token limit", False))
        try:
            parsed = bounded_loads(result.text, parse_constant=_no_constant, parse_float=_finite)
        except ValueError as error:
            return replace(result, failure=Failure("schema_mismatch", f"the answer is not JSON: {error}", False))
        misfit = fits(parsed, len(result.text))
        if misfit:
            return replace(result, failure=Failure("schema_mismatch", misfit, False))
        return replace(result, parsed=parsed)

    return judge


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    """A number that can be written again as JSON."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _misfit_of(schema: Mapping[str, Any]) -> Callable[[Any], str]:
    """Why an answer does not fit, "" when it does."""
    from jsonschema.exceptions import best_match

    validator = answer_validator(schema)

    def misfit(parsed: Any) -> str:
        worst = best_match(validator.iter_errors(parsed))
        if worst is None:
            return ""
        where = "/".join(str(part) for part in worst.absolute_path) or "the answer"
        return f"{where[:200]}: {worst.message[:200]}"

    return misfit


_PATIENCE = 6.0
"""Processor time that the answers of one batch may take to be checked, beside what each of them brings along."""
_CHARACTER = 2e-5
"""What each character of an answer brings along: many times what an ordinary schema takes for it."""


def _bounded(check: Callable[[Any], str]) -> Callable[[Any, int], str]:
    """``check`` of a value that was so many characters, within the bounds of a template.

    A pattern in a schema can take for ever over a text.  Where some answers took all the time, no further one is tried.
    """
    allowance = Allowance(_PATIENCE)

    def bounded(value: Any, size: int) -> str:
        try:
            with limited_memory():
                return attempt(check, value, allowance=allowance, worth=EACH + size * _CHARACTER)
        except SecurityError as error:
            return f"the schema cannot be checked: {error}"
        except Exception as error:  # such as jsonschema's own, of a number too large to divide
            return f"the schema cannot be checked: {type(error).__name__}: {str(error)[:100]}"

    return bounded


class NoResults(RunnerError):
    """What was handed over as a task's results holds not one of them."""


class OutOfTime(RunnerError):
    """`--timeout` was over before all of a task's results were here."""


# ---- one task ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What a task's raw results hold; ``unreadable`` lines and ``strangers`` (ids never asked) stay in the raw blob."""

    event: Collected
    unreadable: int
    strangers: int


def fetch(world: World, task: Task, deadline: float | None = None) -> Spooled:
    """An ended task's raw results, on disk: the provider's, or what a machine that asked it has left for others.

    Raises ProviderError, OSError, Interrupted; OutOfTime where they are not all here at ``deadline`` (Unix seconds).
    """
    spooled = world.store.spool()

    def keep(data: bytes) -> None:
        if world.stop.is_set():
            raise Interrupted
        if deadline is not None and world.clock.now() > deadline:
            raise OutOfTime("--timeout was over before all of its results were here")
        spooled.write(data)

    try:
        try:
            world.providers[task.provider].results(job_of(task), keep)
        except Elsewhere:
            if not world.parks:
                raise
            for name in task.parked:
                spooled.write(world.store.get(name))
    except BaseException:
        spooled.drop()
        raise
    return spooled


def read_results(world: World, task: Task, spooled: Spooled, judge: Judge) -> Reading:
    """Say what became of each request, and keep the raw results.  Raises NoResults, OSError.

    To be called in the main thread, where a check that runs away can be stopped.
    """
    try:
        with watched():
            return _read(world, task, world.providers[task.provider], spooled, judge)
    except BaseException:
        spooled.drop()
        raise


def _read(world: World, task: Task, provider: Provider, spooled: Spooled, judge: Judge) -> Reading:
    requests = world.store.get(task.shard)
    if len(requests) != task.requests * WIDTH:
        raise RunnerError(
            f"the state is damaged: task {task.id} is said to have {task.requests:,} requests, and its list "
            "has another number of them",
            hint="Restore the state from a backup.",
        )
    positions = DigestMap(4)
    for position in range(task.requests):
        positions.add(requests[position * WIDTH : (position + 1) * WIDTH], position)
    records = bytearray(OUTCOME.pack(LOST, 0, 0) * task.requests)
    unreadable = foreign = strangers = tokens_in = tokens_out = 0
    for offset, line in _numbered_lines(spooled):
        try:
            result = provider.decode(line)
        except (ValueError, RecursionError):
            unreadable += 1
            foreign += not line.lstrip().startswith(b"{")
            continue
        result = judge(result)
        found = _position(positions, result.request)
        if found is None:
            strangers += 1
            continue
        letter = _letter(result)
        if _outranks(letter, records[found * OUTCOME.size]):
            OUTCOME.pack_into(records, found * OUTCOME.size, letter, offset, len(line))
            tokens_in += result.usage.input_tokens or 0
            tokens_out += result.usage.output_tokens or 0
    letters = bytes(records[:: OUTCOME.size])
    if letters.count(LOST) == task.requests:
        # A page of some gateway, say, or another task's results.  Were they taken for these, every row would be asked,
        # and paid, again.
        if strangers:
            raise NoResults(f"all {strangers:,} results handed over are for requests that were never in it")
        if foreign and foreign == unreadable:
            raise NoResults(f"none of the {foreign:,} lines handed over is a result")
    answered, lost, retryable = letters.count(ANSWERED), letters.count(LOST), letters.count(RETRYABLE)
    again = (lost if task.retryable else 0) + retryable
    if not task.retryable:
        records[:: OUTCOME.size] = letters.replace(bytes([LOST]), bytes([FINAL]))
    event = Collected(
        task.id,
        world.clock.now(),
        results=world.store.adopt(spooled),
        outcomes=world.store.put(bytes(records)),
        counts=(answered, task.requests - answered - lost, lost),
        again=again,
        tokens=(tokens_in, tokens_out),
    )
    return Reading(event, unreadable, strangers)


def _numbered_lines(spooled: Spooled) -> Iterator[tuple[int, bytes]]:
    """Every non-empty line with its offset."""
    file = spooled.file
    with naming(spooled.path.parent):
        file.flush()
    file.seek(0)
    offset = 0
    for line in file:
        if line.strip():
            yield offset, line.rstrip(b"\r\n")
        offset += len(line)
    file.seek(0, io.SEEK_END)


def _position(positions: DigestMap, request: str) -> int | None:
    try:
        identity = bytes.fromhex(request)
    except ValueError:
        return None
    return positions.get(identity) if len(identity) == WIDTH else None


def _letter(result: Result) -> int:
    if result.failure is None:
        return ANSWERED
    return RETRYABLE if result.failure.retryable and not result.exhausted else FINAL


_RANK = {LOST: 0, RETRYABLE: 1, FINAL: 2, ANSWERED: 3}


def _outranks(letter: int, held: int) -> bool:
    """An answer beats any failure; of two equal lines the first counts."""
    return _RANK[letter] > _RANK[held]


# ---- one output ----------------------------------------------------------------------------------------------------


_HANDLES = 64


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


def publish(world: World, resolved: Resolved, known: Known, key: str) -> Published:
    """Write a batch's output whole, one line per row and sample in input order.  Raises OSError, RunnerError."""
    spec = resolved.batch.spec
    answers = Answers(world, known, judge_for(spec.schema))
    tally = _Tally()
    path = inside(world.grounds, spec.output.path)
    try:
        with watched():
            sha = write_output(path, _output_lines(world, resolved, answers, tally))
    finally:
        answers.close()
    at, to = world.clock.now(), world.project.outputs
    return Published(spec.name, Publication(key, spec.output.path, sha, tally.counts(), at, to))


@dataclass
class _Tally:
    succeeded: int = 0
    failed: int = 0
    missing: int = 0
    pending: int = 0

    def counts(self) -> Counts:
        return Counts(self.succeeded, self.failed, self.missing, self.pending)


def _output_lines(world: World, resolved: Resolved, answers: Answers, tally: _Tally) -> Iterator[dict[str, Any]]:
    spec = resolved.batch.spec
    ledger = iter(resolved.ledger or measure(world, resolved.rendering))
    include_input = "input" in spec.output.include
    for count, row in enumerate(rows_of(world.grounds, spec)):
        if not count & 0xFFF:
            if world.stop.is_set():
                raise Interrupted
            world.progress(f"writing {spec.output.path}", count, None)
        key = row_key(spec, row)
        for sample in range(1, spec.samples + 1):
            identity, _, _ = next(ledger, _NO_RECORD)
            line = {"key": key, "sample": sample, **_answer(identity, answers, tally, held=resolved.held)}
            if include_input:
                line["input"] = row.values
            yield line
    check_unchanged(world.grounds, resolved.batch)


_NO_RECORD = (bytes(WIDTH), 0, 0)
"""Of a row that was not there when the batch was fingerprinted; the output is then not kept."""


def row_key(spec: Spec, row: Row) -> str:
    """What labels a row in the output: the key column's value as text, else the row's number."""
    if spec.input.key is None:
        return str(row.number)
    value = row.values.get(spec.input.key)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _answer(identity: bytes, answers: Answers, tally: _Tally, *, held: Held) -> dict[str, Any]:
    task, result, verdict = answers.of(identity)
    if result is None:
        failure = _absence(task, verdict, held=held)
        if failure.code in ("not_submitted", "pending"):
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


def _absence(task: Task | None, verdict: Verdict | None, *, held: Held) -> Failure:
    """Why no line answers a request."""
    if task is None or verdict is None or verdict.new:
        if held is Held.SUSPENDED:
            return Failure("not_submitted", "its spec, or the project, is suspended", True)
        if held:
            return Failure("cancelled", "its batch was cancelled before it was sent", False)
        return Failure("not_submitted", "it has not been sent yet", True)
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
