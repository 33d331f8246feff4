"""What a platform says of its tasks: one of them, a page of them, and the search for one whose start was not heard.

OpenAI's object is ``{id, status, request_counts, errors, input_file_id, output_file_id, error_file_id, metadata}``.
It is read in every shape that a platform is known to give it: words in any case (Azure, Together) and Baidu's own,
counts as text, null (Azure) or a percentage (Together), errors as an object, a list (Groq) or a sentence (Together),
times as numbers or dates; xAI's counters without a status, DigitalOcean's ``edges``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from runner.provider import Absent, Finding, Found, Job, Phase, Progress, Unknown
from runner.providers import chat
from runner.providers.loose import (
    count,
    first_identity,
    first_text,
    get,
    identity,
    items,
    moment,
    number,
    since_platforms,
    text,
)
from runner.providers.openai.dialects import Dialect

PHASES: Mapping[str, Phase] = {
    "validating": Phase.QUEUED,
    "queued": Phase.QUEUED,
    "queuing": Phase.QUEUED,
    "pending": Phase.QUEUED,
    "inprogress": Phase.RUNNING,
    "progress": Phase.RUNNING,
    "running": Phase.RUNNING,
    "finalizing": Phase.RUNNING,
    "cancelling": Phase.RUNNING,
    "canceling": Phase.RUNNING,
    "stopping": Phase.RUNNING,
    "completed": Phase.SUCCEEDED,
    "done": Phase.SUCCEEDED,
    "succeeded": Phase.SUCCEEDED,
    "partiallycompleted": Phase.SUCCEEDED,  # Bedrock's and Gemini's, which gateways stand in front of
    "partiallysucceeded": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "expired": Phase.EXPIRED,
    "cancelled": Phase.CANCELLED,
    "canceled": Phase.CANCELLED,
    "stopped": Phase.CANCELLED,
}
"""By a status word's letters.  A word that is not here is taken to mean that the task goes on."""

INPUT_FILE = ("input_file_id", "file_id")

STOPPING = frozenset({"cancelling", "canceling", "stopping"})

FIXES: Mapping[str, str] = {
    "invalidjsonline": "its line is no JSON: this is a bug in runner",
    "toomanytasks": "set max_requests of the provider lower",
    "urlmismatch": "compare `endpoint` and `dialect` of the provider with what the platform documents",
    "modelnotfound": "the model takes no batches here, or its name is another: on Azure it is the deployment's",
    "duplicatecustomid": "two lines carry one id: this is a bug in runner",
    "emptyfile": "the file arrived empty: apply again",
    "emptybatch": "the file arrived empty: apply again",
    "modelmismatch": "the lines name another model than the platform takes for this file",
    "invalidrequest": "compare `parameters` and the prompt with what the model takes",
    "inputmodified": "the uploaded file was changed: let nobody touch it",
    "inputnopermissions": "the key may not read the uploaded file",
}
"""Codes of a failed validation (Azure's list, which OpenAI shares), by their letters: what a person can do.  The same
bytes would fail again."""

_FULL = ("tokenlimitexceeded", "enqueuedtoken")
MOST_PAGES = 1_000
TOLERANCE = 3_600.0
"""Seconds by which a platform's clock may differ, and more."""


def letters_of(word: str) -> str:
    return "".join(filter(str.isalnum, word.casefold()))


def is_queue_full(code: str, message: str) -> bool:
    """The account has too many tokens waiting: the same bytes are taken later."""
    return any(word in letters_of(said) for word in _FULL for said in (code, message))


# One task


def word_of(batch: Any) -> str:
    """The status, in the platform's own word; for xAI, which has none, the one that its counters spell."""
    if found := text(get(batch, "status")):
        return found
    total, pending = count(get(batch, "state", "num_requests")), count(get(batch, "state", "num_pending"))
    if text(get(batch, "cancel_time")):
        return "failed" if get(batch, "cancel_by_xai_message") else "cancelled"
    if total is None:
        return ""
    return "validating" if total == 0 else "completed" if pending == 0 else "in_progress"


def progress_of(batch: Any, requests: int, scrub: Callable[[str, int], str]) -> Progress:
    """How a task of ``requests`` goes.

    ``expires_at`` is the platform's, of the task: how long its files are kept is not said there.
    """
    word = word_of(batch)
    phase = PHASES.get(letters_of(word), Phase.RUNNING)
    problems = problems_of(batch)
    total, succeeded, failed = _counts(batch, requests, ended=phase.ended)
    has_results = bool(succeeded or failed or any(file_ids(batch)) or inline_results(batch))
    return Progress(
        phase,
        raw=scrub(word, 60),
        total=total,
        succeeded=succeeded,
        failed=failed,
        error=scrub(told(problems), 600),
        retryable=phase is not Phase.FAILED or all(map(_may_do_better, problems)),
        turned_away=phase is Phase.FAILED and not has_results and _is_for_want_of_room(problems),
        expires_at=first_text(batch, ("expires_at", "expire_time")),
    )


_COUNTS: Sequence[tuple[str, str, str]] = (
    ("total", "completed", "failed"),
    ("num_requests", "num_success", "num_error"),
)


def _counts(batch: Any, requests: int, *, ended: bool) -> tuple[int | None, int | None, int | None]:
    """Total, succeeded and failed; of Together's bare percentage, while it runs, what it comes to."""
    for holder in (get(batch, "request_counts"), get(batch, "state"), batch):
        for names in _COUNTS:
            total, succeeded, failed = (count(get(holder, name)) for name in names)
            if (total, succeeded, failed) != (None, None, None):
                return total, succeeded, failed
    percent = number(get(batch, "progress"))
    if percent is None or ended or not 0 <= percent <= 100:
        return None, None, None
    return requests, int(requests * percent / 100), None


@dataclass(frozen=True)
class Problem:
    """Why a task failed, or one reason of several.  ``line`` counts from 1 in the uploaded file."""

    code: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}: "
        said = ": ".join(filter(None, (self.code, self.message)))
        fix = FIXES.get(letters_of(self.code))
        return f"{where}{said} ({fix})" if fix else where + said


def problems_of(batch: Any) -> list[Problem]:
    """The reasons for a failure, in every shape: ``{data: [...]}``, a list, one object, a sentence."""
    return [one for key in ("errors", "error", "cancel_by_xai_message") for one in _problems(get(batch, key))]


def _problems(value: Any) -> Iterator[Problem]:
    if isinstance(get(value, "data"), list):
        value = value["data"]
    for entry in value if isinstance(value, list) else [value]:
        said = first_text(entry, ("message", "msg")) or text(entry)
        problem = Problem(first_text(entry, ("code", "type")), said, count(get(entry, "line")))
        if problem.code or problem.message:
            yield problem


def told(problems: Sequence[Problem], most: int = 3) -> str:
    more = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(map(str, problems[:most])) + more


def _is_for_want_of_room(problems: Sequence[Problem]) -> bool:
    return bool(problems) and all(is_queue_full(problem.code, problem.message) for problem in problems)


def _may_do_better(problem: Problem) -> bool:
    if is_queue_full(problem.code, problem.message):
        return True
    return letters_of(problem.code) not in FIXES and chat.is_retryable(problem.code, None, problem.message)


def file_ids(batch: Any) -> tuple[str, str]:
    """The files of answers and of errors; an empty id, like null, means that there is none."""
    return identity(get(batch, "output_file_id")), identity(get(batch, "error_file_id"))


def inline_results(batch: Any) -> list[Any]:
    """Results that a gateway put into the task itself, where it names no file for them."""
    listed = (items(get(batch, key)) for key in ("results", "outputs", "output"))
    return [entry for entries in listed for entry in entries if isinstance(entry, dict)]


def input_file_of(batch: Any) -> str:
    return first_identity(batch, INPUT_FILE)


# A list of them


class Search:
    """Looks for the task that a start made, in page after page of the platform's list.

    It is the one that names our file; where none does, the one that carries our name.  The search ends early where the
    list has been seen to run from new to old, and has come to tasks from before ``job`` was begun.
    """

    def __init__(self, dialect: Dialect, job: Job) -> None:
        self._dialect = dialect
        self._job = job
        self._by_file: set[str] = set()
        self._by_name: set[str] = set()
        self._times: list[float | None] = []
        self._cursors: set[str] = set()
        self.trouble = ""
        """Why the list, as far as it was seen, may not be all of it."""

    def take(self, page: Any) -> str:
        """Look through one page.  Returns the cursor of the next, empty when no other need be read."""
        entries = _entries(page)
        if entries is None:
            self.trouble = "the answer to a request for the list of tasks holds none"
            return ""
        for entry in entries:
            self._look_at(entry)
        cursor = _next(page, entries, self._dialect)
        if cursor == "" or self._is_past():
            return ""
        if cursor is None:
            self.trouble = "the provider's list of tasks may go on, and does not say from where"
            return ""
        if cursor in self._cursors:
            self.trouble = "the provider's list of tasks goes round in circles"
            return ""
        self._cursors.add(cursor)
        return cursor

    def finding(self) -> Finding:
        found = sorted((self._by_file or self._by_name) - self._job.taken)
        if len(found) == 1:
            return Found(found[0])
        if found:
            return Unknown(f"{len(found)} listed tasks may be it: {', '.join(found[:5])}")
        if self.trouble:
            return Unknown(self.trouble)
        if self._dialect.hides:
            return Unknown("it is not listed, and this list may leave tasks out: see in the platform's console")
        return Absent()

    def _look_at(self, entry: Any) -> None:
        job, id = self._job, first_identity(entry, (self._dialect.id, "id", "batch_id"))
        file, name = input_file_of(entry), text(get(entry, *self._dialect.marker)) if self._dialect.marker else ""
        made = since_platforms(_moment(first_text(entry, ("created_at", "create_time"))))
        self._times.append(made)
        is_of_file, is_of_name = bool(job.staged) and file == job.staged, name == job.name
        if not id and (is_of_file or is_of_name):
            self.trouble = "our task is listed, and without an id"
        elif is_of_file:
            self._by_file.add(id)
        elif is_of_name:
            self._by_name.add(id)
        elif not (file or name or id in job.taken or self._is_before(made)) and self._is_spoilt(entry, id):
            self.trouble = "a task is listed that cannot be told from ours"

    def _is_spoilt(self, entry: Any, id: str) -> bool:
        """Whether something else stands where an entry has its id, its file or its name."""
        holder = get(entry, *self._dialect.marker[:-1]) if self._dialect.marker else None
        name = get(holder, *self._dialect.marker[-1:])
        has_file = bool(self._job.staged) and isinstance(entry, dict) and not entry.keys().isdisjoint(INPUT_FILE)
        return not id or has_file or name is not None

    def _is_before(self, made: float | None) -> bool:
        """Whether that is a time at which our start had not been thought of."""
        return made is not None and bool(self._job.begun_at) and made < self._job.begun_at - TOLERANCE

    def _is_past(self) -> bool:
        times = [moment for moment in self._times if moment is not None]
        if len(times) < len(self._times) or not times:
            return False
        falls = all(earlier >= later for earlier, later in pairwise(times)) and times[0] > times[-1]
        return falls and self._is_before(times[-1])


def _entries(page: Any) -> list[Any] | None:
    edges = get(page, "edges")
    if isinstance(edges, list):
        return [get(edge, "node") for edge in edges]
    return next((found for found in (get(page, "data"), get(page, "batches"), page) if isinstance(found, list)), None)


def _next(page: Any, entries: Sequence[Any], dialect: Dialect) -> str | None:
    """Where the next page begins; empty after the last; None where there may be one, and it cannot be asked for.

    Where pages begin after a task, one that has tasks and says nothing of the next may not be the last.
    """
    info, has_more = get(page, "page_info"), get(page, "has_more")
    if isinstance(info, dict):
        goes_on, cursor = get(info, "hasNextPage") is not False, text(get(info, "endCursor"))
    elif not isinstance(has_more, bool | None):
        return None
    elif cursor := text(get(page, "paging", "next_cursor")) or text(get(page, "pagination_token")):
        goes_on = True
    elif dialect.cursor == "after":
        goes_on = has_more is True or (bool(entries) and has_more is not False)
        last = entries[-1] if entries else None
        cursor = text(get(page, "last_id")) or first_identity(last, (dialect.id, "id", "batch_id"))
    else:
        goes_on = has_more is True
    if not goes_on:
        return ""
    return (cursor if dialect.cursor else "") or None


def _moment(written: str) -> float | None:
    """Unix seconds, from a number or a date.  A bare day is taken for its end: who is older than it, is so for sure."""
    seconds = number(written)
    if seconds is not None:
        return seconds
    found = moment(written)
    return found + 86_400 if found is not None and len(written) == 10 else found
