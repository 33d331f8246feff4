"""The simulated service itself: uploads become tasks, tasks become results, and everything is billed.

It knows no wire.  A wire hands it plain values and renders what comes back; what it will not do it says with
:class:`Refusal`, whose ``kind`` a wire translates into its own status and error code.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runner.simulator import lifecycle, models
from runner.simulator.answers import NO_ANSWERS, Answer, KnownAnswers, answer
from runner.simulator.faults import Fault, Faults
from runner.simulator.lines import Row, RowError, numbered_lines, read_row, rows, shuffled_rows, write_line
from runner.simulator.memory import Memory, RequestRow, Task

KEPT_SECONDS = 7 * 24 * 3600
"""How long files are kept after a task ended, as in the samples of Wanqing's document."""
LINK_SECONDS = 3600

PENDING, RUNNING, SUCCEEDED, FAILED, EXPIRED = "pending", "running", "succeeded", "failed", "expired"

_ROW_CODES = {400: "invalid_request_error", 401: "invalid_api_key", 429: "rate_limit_exceeded"}
_BILLED_UNIT = 1000  # tokens per price


class Refusal(Exception):
    """What the service will not do.  ``kind`` is one of the words that each wire's table of errors has."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Order:
    """What a caller asks for when it creates a task.  ``key`` is the caller's key; only its digest is kept."""

    name: str
    project: str
    model: str
    token: str
    file_name: str
    max_wait: float
    key: str


@dataclass(frozen=True)
class View:
    """A task as it stands now.  Times are seconds since 1970, None for what has not happened."""

    task: Task
    status: str
    started: float | None
    ended: float | None
    total: int
    succeeded: int
    failed: int
    has_output: bool


@dataclass
class _Screening:
    """What one pass over an uploaded file found."""

    requests: list[RequestRow]
    answered: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    error: str = ""


class Engine:
    """One simulated account.  ``speed`` divides every duration; ``clock`` returns seconds since 1970."""

    def __init__(
        self,
        memory: Memory,
        faults: Faults,
        *,
        speed: float = 1.0,
        known: KnownAnswers = NO_ANSWERS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.memory = memory
        self.faults = faults
        self.clock = clock
        self._speed = speed
        self._known = known

    # uploads

    def mint(self, project: str, file_name: str) -> str:
        """A token for one upload."""
        token = f"tok-{secrets.token_urlsafe(24)}"
        self.memory.add_upload(token, project, file_name, self.clock())
        return token

    def receive(self, token: str, chunks: Iterable[bytes]) -> None:
        """Keep the bytes under their digest.  A second upload with one token replaces the first for later tasks."""
        if not self.memory.has_upload(token):
            raise Refusal("unknown-file", "the upload token is not known")
        digest = hashlib.sha256()
        with _written(self.memory.files) as (file, keep):
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            keep(digest.hexdigest())
        self.memory.fill_upload(token, digest.hexdigest())

    # tasks

    def create(self, order: Order) -> Task:
        """Accept a task: screen its file, bill its requests, remember both."""
        entry = _model_for_batches(order.model)
        digest = self.memory.uploaded(order.token, order.project)
        if digest is None:
            raise Refusal("unknown-file", "the file token is not known, or nothing was uploaded with it")
        fate = self.faults.for_task(order.name, order.model)
        found = self._screen(digest, order.model, fate)
        price = models.price(entry)
        cost = None
        if price is not None:
            cost = round((found.input_tokens * price[0] + found.output_tokens * price[1]) / _BILLED_UNIT, 8)
        task = Task(
            id=f"brt-{secrets.token_hex(12)}",
            name=order.name,
            project=order.project,
            model=order.model,
            file_name=order.file_name,
            digest=digest,
            max_wait=order.max_wait,
            key=hashlib.sha256(order.key.encode("utf-8", "surrogateescape")).hexdigest()[:16],
            created=self.clock(),
            rows=len(found.requests),
            answered=found.answered,
            failed=found.failed,
            input_tokens=found.input_tokens,
            output_tokens=found.output_tokens,
            cost=cost,
            error=found.error or _failure_of(fate),
            fate=fate,
        )
        self.memory.add_task(task, found.requests)
        return task

    def _screen(self, digest: str, model: str, fate: tuple[Fault, ...]) -> _Screening:
        """Read every line once: is it good, what will become of it, what does it cost?"""
        found = _Screening([])
        seen: dict[str, int] = {}
        dead = _failure_of(fate) != ""
        with (self.memory.files / digest).open("rb") as file:
            for position, (number, line) in enumerate(numbered_lines(file), 1):
                try:
                    row = read_row(line, position, model)
                    if (earlier := seen.setdefault(row.custom_id, number)) != number:
                        raise ValueError(f"has the custom_id of line {earlier}")
                except ValueError as error:
                    return _Screening([], error=f"line {number} of the input file {error}")
                self._count(found, row, None if dead else self._outcome(row, fate))
        return found if found.requests else _Screening([], error="the input file holds no request")

    def _count(self, found: _Screening, row: Row, outcome: Answer | RowError | None) -> None:
        given = answered = billed = 0
        if isinstance(outcome, Answer):
            given, answered, billed = outcome.input_tokens, outcome.output_tokens, 1
            found.answered += 1
            found.input_tokens += given
            found.output_tokens += answered
        elif outcome is not None:
            found.failed += 1
        found.requests.append((row.position, row.custom_id, row.digest, given, answered, billed))

    def _outcome(self, row: Row, fate: tuple[Fault, ...]) -> Answer | RowError | None:
        """What becomes of one row: an answer, a reason, or nothing at all."""
        for rule in fate:
            if rule.do in ("missing-rows", "expire") and rule.hits(row.position, row.custom_id, row.prompt):
                return None
            if rule.do in ("fail-rows", "all-fail") and rule.hits(row.position, row.custom_id, row.prompt):
                status = rule.status_code or 500
                code = rule.code or _ROW_CODES.get(status, "internal_error")
                return RowError(status, code, rule.message or "simulated failure")
        try:
            return answer(row.body, row.digest, self._known)
        except ValueError as error:
            return RowError(400, "invalid_request_error", str(error))

    def task(self, project: str, identity: str) -> View:
        return self.view(self._task(project, identity))

    def tasks(self, project: str, name: str | None, page: int, size: int, lag: float = 0) -> tuple[int, list[View]]:
        """The total, and one page of the tasks, newest first; those younger than ``lag`` seconds are left out."""
        total, tasks = self.memory.tasks(project, name, self.clock() - lag, page, size)
        return total, [self.view(task) for task in tasks]

    def _task(self, project: str, identity: str) -> Task:
        task = self.memory.task(identity)
        if task is None or task.project != project:
            raise Refusal("unknown-task", f"the project has no task {identity}")
        return task

    def view(self, task: Task) -> View:
        course = lifecycle.Course(
            created=task.created,
            rows=task.rows,
            seconds=next((rule.seconds for rule in task.fate if rule.do == "slow"), None),
            endless=any(rule.do == "never-end" for rule in task.fate),
            rejected=task.rows == 0,
        )
        if task.ended is not None:
            moment = lifecycle.Moment(lifecycle.ENDED, task.created, task.ended, 1.0)
        else:
            moment = course.at(self.clock(), self._speed)
            if moment.ended is not None:
                self.memory.mark_ended(task, moment.ended)
        return View(
            task=task,
            status=_final_status(task) if moment.ended is not None else moment.phase,
            started=moment.started,
            ended=moment.ended,
            total=0 if moment.phase == lifecycle.PENDING else task.rows,
            succeeded=int(task.answered * moment.done),
            failed=int(task.failed * moment.done),
            has_output=moment.ended is not None and not task.error,
        )

    # results

    def sign(self, task: Task) -> dict[str, str]:
        """The query of a link that lets anybody download the task's results for an hour."""
        expires = str(int(self.clock()) + LINK_SECONDS)
        return {"expires": expires, "signature": self._signature(task.id, expires)}

    def _signature(self, identity: str, expires: str) -> str:
        return hmac.new(self.memory.secret, f"{identity} {expires}".encode(), hashlib.sha256).hexdigest()

    def linked(self, identity: str, expires: str, signature: str) -> Path:
        """The results that such a link leads to."""
        good = hmac.compare_digest(signature.encode(), self._signature(identity, expires).encode())
        task = self.memory.task(identity) if good else None
        if task is None:
            raise Refusal("bad-link", "the link's signature does not fit")
        if int(expires) < self.clock():
            raise Refusal("bad-link", "the link has expired")
        return self.results(self.view(task))

    def require_output(self, view: View) -> None:
        """Raises Refusal when there is nothing to download: not yet, not any more, or never."""
        if view.ended is None:
            raise Refusal("not-finished", f"the task is {view.status}")
        if not view.has_output:
            raise Refusal("no-output", "the task ended without an output file")
        if self.clock() > view.ended + KEPT_SECONDS:
            raise Refusal("file-expired", "the output file has expired")

    def results(self, view: View) -> Path:
        """The result file, produced when it is first asked for and then kept."""
        self.require_output(view)
        task = view.task
        path = self.memory.results / f"{task.id}.jsonl"
        if not path.exists():
            with (self.memory.files / task.digest).open("rb") as source, _written(self.memory.results) as (file, keep):
                in_order = shuffled_rows if any(rule.do == "shuffle" for rule in task.fate) else rows
                for row in in_order(source, task.model):
                    file.writelines(self._result_lines(row, task))
                keep(path.name)
        return path

    def _result_lines(self, row: Row, task: Task) -> Iterator[bytes]:
        outcome = self._outcome(row, task.fate)
        if outcome is None:
            return
        line = write_line(row, outcome, model=task.model, created=int(task.created))
        hit = {rule.do for rule in task.fate if rule.hits(row.position, row.custom_id, row.prompt)}
        yield line[: len(line) // 2] + b"\n" if "broken-line" in hit else line
        if "duplicate-lines" in hit:
            yield line
        if "unknown-ids" in hit:
            stranger = hashlib.sha256(row.digest).hexdigest()[:32]
            yield write_line(row, outcome, model=task.model, created=int(task.created), custom_id=stranger)


def _model_for_batches(instance: str) -> models.Entry:
    entry = models.model(instance)
    if entry is None:
        raise Refusal("unknown-model", f"there is no model instance {instance}")
    if entry["modelInstance"]["status"] != "running":
        raise Refusal("stopped-model", f"the model instance {instance} is {entry['modelInstance']['status']}")
    if models.OFFLINE_TAG not in entry["invisibleModelTags"]["customTags"]:
        raise Refusal("online-model", f"the model instance {instance} takes no batch tasks")
    return entry


def _failure_of(fate: tuple[Fault, ...]) -> str:
    """Why the whole task fails without results, empty when it does not."""
    return next((rule.message or "simulated failure of the task" for rule in fate if rule.do == "fail"), "")


def _final_status(task: Task) -> str:
    if task.error:
        return FAILED
    if any(rule.do == "expire" for rule in task.fate):
        return EXPIRED
    return SUCCEEDED if task.answered else FAILED


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[tuple[BinaryIO, Callable[[str], None]]]:
    """A new file that appears in ``folder`` under the name given to the second value, whole or not at all."""
    names: list[str] = []
    handle, path = tempfile.mkstemp(dir=folder, prefix=".new-")
    new = Path(path)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file, names.append
        for name in names:
            new.replace(folder / name)
    finally:
        new.unlink(missing_ok=True)
