"""The simulated service itself: files become tasks, tasks become results, and everything is billed.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from runner.simulator import lifecycle, models
from runner.simulator.answers import NO_ANSWERS, Answer, KnownAnswers
from runner.simulator.fate import Problem, answered, failure, result_lines
from runner.simulator.faults import Fault, Faults
from runner.simulator.lines import RowError, Writer, digest_of, rows, shuffled_rows, write_line
from runner.simulator.memory import Memory, Task
from runner.simulator.questions import read_question
from runner.simulator.screening import Screening, screen

KEPT_SECONDS = 7 * 24 * 3600
"""How long files are kept after a task ended, as in the samples of Wanqing's document."""
LINK_SECONDS = 3600

PENDING, RUNNING, CANCELLING = lifecycle.PENDING, lifecycle.RUNNING, lifecycle.CANCELLING
SUCCEEDED, FAILED, EXPIRED, CANCELLED = "succeeded", "failed", "expired", "cancelled"

_BILLED_UNIT = 1000  # tokens per price


class Refusal(Exception):
    """What the service will not do.  ``kind`` is one of the words that each wire's table of errors has."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Order:
    """What a caller asks for when it creates a task.

    ``project`` is who sees the task, in words that no other wire uses.  ``key`` is the caller's key; only its digest is
    kept.  The task's id begins with ``prefix``, and it gives ``extra`` (JSON) back, whose ``endpoint`` is where lines
    go that do not say it themselves.  With ``validated_later`` every line has to go there, and to ``model``, and a
    model that takes no batches fails the task rather than being refused at once.  So do more than ``most_rows`` lines.
    """

    name: str
    project: str
    model: str
    file_name: str
    max_wait: float
    key: str
    wire: str = "wanqing"
    prefix: str = "brt-"
    extra: Mapping[str, Any] = field(default_factory=dict)
    validated_later: bool = False
    most_rows: int | None = None


@dataclass(frozen=True)
class View:
    """A task as it stands now.  Times are seconds since 1970, None for what has not happened.

    ``status`` is one of the words above; ``done`` is the share of its rows that are finished.
    """

    task: Task
    status: str
    started: float | None
    ended: float | None
    total: int
    succeeded: int
    failed: int
    has_output: bool
    done: float


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
        self.speed = speed
        self._known = known

    # files

    def keep(self, chunks: Iterable[bytes]) -> str:
        """Keep the bytes; returns the digest that names them from now on."""
        digest = hashlib.sha256()
        with _written(self.memory.files) as (file, name):
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
            name(digest.hexdigest())
        return digest.hexdigest()

    def kept(self, digest: str) -> Path:
        """Where the bytes of this digest lie."""
        return self.memory.files / digest

    def mint(self, project: str, file_name: str) -> str:
        """A token for one upload."""
        token = f"tok-{secrets.token_urlsafe(24)}"
        self.memory.add_upload(token, project, file_name, self.clock())
        return token

    def receive(self, token: str, chunks: Iterable[bytes]) -> None:
        """Keep what is uploaded with ``token``.  A second upload with it replaces the first for later tasks."""
        if not self.memory.has_upload(token):
            raise Refusal("unknown-file", "the upload token is not known")
        self.memory.fill_upload(token, self.keep(chunks))

    def received(self, token: str, project: str) -> str:
        """The digest of what was uploaded with ``token``."""
        digest = self.memory.uploaded(token, project)
        if digest is None:
            raise Refusal("unknown-file", "the file token is not known, or nothing was uploaded with it")
        return digest

    # tasks

    def create(self, order: Order, digest: str) -> Task:
        """Accept a task over the file ``digest``: screen it, bill its requests, remember both.

        The file holds one request per line, ``{"custom_id", "body"}`` at the least.
        """
        unfit = _unfit_for_batches(order.model)
        if unfit and not order.validated_later:
            raise unfit
        fate = self.faults.for_task(order.name, order.model)
        task = Task(
            id=f"{order.prefix}{secrets.token_hex(12)}",
            name=order.name,
            project=order.project,
            model=order.model,
            file_name=order.file_name,
            digest=digest,
            max_wait=order.max_wait,
            key=hashlib.sha256(order.key.encode("utf-8", "surrogateescape")).hexdigest()[:16],
            created=self.clock(),
            rows=0,
            answered=0,
            failed=0,
            input_tokens=0,
            output_tokens=0,
            cost=None,
            error="",
            fate=fate,
            wire=order.wire,
            extra=order.extra,
        )
        found = screen(self.kept(digest), task, self._known, strict=order.validated_later, most=order.most_rows)
        if unfit and not found.problem:
            found = Screening(problem=Problem(unfit.message, "model_not_found"))
        task = replace(_counted(task, found), rows=len(found.requests))
        if problem := found.problem or failure(fate):
            task = replace(task, error=problem.message, error_code=problem.code, error_line=problem.line)
        self.memory.add_task(task, found.requests)
        return task

    def cancel(self, project: str, identity: str) -> View:
        """Stop a task.  Rows that are finished stay answered and billed, the others never are."""
        view = self.task(project, identity)
        task = view.task
        if view.ended is None and task.cancelled is None and not task.error:
            finished = int(task.rows * view.done)
            cut = replace(task, finished=finished, cancelled=self.clock())
            self.memory.mark_cancelled(_counted(cut, screen(self.kept(task.digest), cut, self._known)))
        return self.task(project, identity)

    def delete(self, project: str, identity: str) -> None:
        """Forget a task that has ended; its bill stays."""
        if self.task(project, identity).ended is None:
            raise Refusal("not-finished", "only a task that has ended can be deleted")
        self.memory.delete_task(identity)

    def task(self, project: str, identity: str) -> View:
        return self.view(self._task(project, identity))

    def tasks(self, project: str, name: str | None, page: int, size: int, lag: float = 0) -> tuple[int, list[View]]:
        """The total, and one page of the tasks, newest first; those younger than ``lag`` seconds are left out."""
        total, tasks = self.memory.tasks(project, name, self.clock() - lag, page, size)
        return total, [self.view(task) for task in tasks]

    def tasks_beside(
        self, project: str, mark: str | None, size: int, lag: float = 0, *, newer: bool = False
    ) -> tuple[list[View], bool]:
        """Up to ``size`` tasks behind the task ``mark`` (from the newest without one), and whether there are more.

        With ``newer`` they are those just before it.  Newest first in either case.
        """
        found = self.memory.tasks_beside(project, mark, self.clock() - lag, size + 1, newer=newer)
        page = found[-size:] if newer else found[:size]
        return [self.view(task) for task in page], len(found) > size

    def _task(self, project: str, identity: str) -> Task:
        task = self.memory.task(identity)
        if task is None or task.project != project:
            raise Refusal("unknown-task", f"the project has no task {identity}")
        return task

    def view(self, task: Task) -> View:
        slow = task.suffers("slow")
        course = lifecycle.Course(
            created=task.created,
            rows=task.rows,
            seconds=slow.seconds if slow else None,
            endless=task.suffers("never-end") is not None,
            rejected=task.rows == 0,
            cancelled=task.cancelled,
        )
        if task.ended is not None:
            moment = lifecycle.Moment(lifecycle.ENDED, task.created, task.ended, 1.0)
        else:
            moment = course.at(self.clock(), self.speed)
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
            done=moment.done,
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

    def results(self, view: View, part: str = "", write: Writer = write_line) -> Path:
        """A file of results, made when it is first asked for and then kept.

        Without more it has OpenAI's lines for all rows that were answered or failed.  A wire with other lines, or with
        several files, gives its own ``write`` and a word for the ``part``.
        """
        self.require_output(view)
        task = view.task
        path = self.memory.results / f"{task.id}{part}.jsonl"
        if not path.exists():
            with self.kept(task.digest).open("rb") as source, _written(self.memory.results) as (file, name):
                in_order = shuffled_rows if task.suffers("shuffle") else rows
                for row in in_order(source, task.model, str(task.extra.get("endpoint", ""))):
                    file.writelines(result_lines(row, task, self._known, write))
                name(path.name)
        return path

    # online

    def ask(
        self, model: str, body: Mapping[str, Any], *, wire: str, url: str = "", spoilt: Sequence[Fault] = ()
    ) -> Answer | RowError:
        """The answer to one online question, on the bill before it is given.

        ``url`` is the path it was asked at, ``spoilt`` the rules of the call that may alter the answer.  Raises Refusal
        for a model that is not there.
        """
        entry = _running_model(model)
        try:
            digest, question = digest_of(model, body), read_question(body, url)
        except (ValueError, RecursionError) as error:
            return RowError(400, "invalid_request_error", str(error))
        hitting = [rule for rule in spoilt if rule.hits(0, digest.hex(), question.prompt)]
        given = answered(question, self._known, hitting)
        if isinstance(given, RowError):
            return given
        cost = _cost(models.online_price(entry), given.input_tokens, given.output_tokens)
        self.memory.add_online(
            wire, model, self.clock(), (0, "", digest, given.input_tokens, given.output_tokens, 1), cost
        )
        return given


def _running_model(instance: str) -> models.Entry:
    entry = models.model(instance)
    if entry is None:
        raise Refusal("unknown-model", f"there is no model instance {instance}")
    if entry["modelInstance"]["status"] != "running":
        raise Refusal("stopped-model", f"the model instance {instance} is {entry['modelInstance']['status']}")
    return entry


def _unfit_for_batches(instance: str) -> Refusal | None:
    try:
        entry = _running_model(instance)
    except Refusal as refusal:
        return refusal
    if models.OFFLINE_TAG not in entry["invisibleModelTags"]["customTags"]:
        return Refusal("online-model", f"the model instance {instance} takes no batch tasks")
    return None


def _counted(task: Task, found: Screening) -> Task:
    """The task with the sums of what was found in its file, and what they cost."""
    entry = models.model(task.model)
    return replace(
        task,
        answered=found.answered,
        failed=found.failed,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        cost=_cost(models.price(entry) if entry else None, found.input_tokens, found.output_tokens),
    )


def _cost(price: tuple[float, float] | None, given: int, answered: int) -> float | None:
    return None if price is None else round((given * price[0] + answered * price[1]) / _BILLED_UNIT, 8)


def _final_status(task: Task) -> str:
    if task.error:
        return FAILED
    if task.cancelled is not None:
        return CANCELLED
    if task.suffers("expire"):
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
