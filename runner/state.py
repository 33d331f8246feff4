"""State: everything we believe about tasks, folded from events.

The document is JSON, one line per task and batch, and holds no secret, no prompt and no result.  :func:`fold` is the
one place where an event changes a belief; :func:`forbids` says which events have been overtaken by another run.
"""

from __future__ import annotations

import json.encoder
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, assert_never

from runner.checks import CheckResult
from runner.conform import misfit
from runner.errors import RunnerError
from runner.fingerprint import Fingerprint
from runner.model import Offer
from runner.provider import Progress
from runner.result import Counts
from runner.revision import Revision, Revisions, revised
from runner.task import ABANDONED, BEGUN, COLLECTED, ENDED, OPEN, STAGED, VOID, Claim, Task

FORMAT = 1


# ---- beliefs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pin:
    """The model chosen for a batch, and the selector that it was chosen for."""

    selector: str
    offer: Offer


@dataclass(frozen=True)
class Coverage:
    """Every request of the batch as it stood at ``key`` is in some task: nothing is left to submit.

    Rows are counted with samples; ``needs`` are the tasks that hold the batch's requests.
    """

    key: str
    fingerprint: Fingerprint
    rows: int
    requests: int
    needs: tuple[str, ...]
    attempts: int = 0
    """What `retry.attempts` was: a greater one may allow more.  0 is unknown: the first documents did not say."""
    revision: str = ""
    """Blob with how it asks and one rendered example, "" when they are dropped."""
    current: bool = True
    """False once something happened that may leave requests to be asked again."""


@dataclass(frozen=True)
class Publication:
    """The output as last written.  ``key`` digests all that went into it."""

    key: str
    path: str
    sha256: str
    counts: Counts
    at: float
    to: str = ""
    """Where `outputs:` of runner.yaml had it delivered, "" for the project's own folder."""
    checks: tuple[CheckResult, ...] = ()
    """What the spec's checks came to."""


@dataclass(frozen=True)
class BatchState:
    """``on_remove`` is what the spec said last, for the day on which there is no spec any more.

    ``cancelled``: a person said so; nothing of it is submitted before `runner retry`.
    """

    on_remove: str = "keep"
    cancelled: bool = False
    pin: Pin | None = None
    covered: Coverage | None = None
    published: Publication | None = None
    revisions: Revisions = ()
    """How it asked from time to time, oldest first."""


@dataclass(frozen=True)
class Lift:
    """A limit that somebody lifted for one apply, by `--allow NAME=VALUE`.  ``at`` in Unix seconds."""

    name: str
    value: float
    at: float
    by: str


LIFTS = 50
"""Lifts that are remembered."""


@dataclass(frozen=True)
class State:
    """``serial`` grows by one with every write; ``writer`` names the write, so that a lost reply can be recognised."""

    lineage: str | None = None
    serial: int = 0
    writer: str = ""
    batches: Mapping[str, BatchState] = field(default_factory=dict)
    tasks: Mapping[str, Task] = field(default_factory=dict)
    lifts: tuple[Lift, ...] = ()
    """The latest, oldest first."""

    @property
    def blobs(self) -> list[str]:
        """Names of all blobs that it speaks of."""
        names = {name for task in self.tasks.values() for name in (task.shard, task.results, task.outcomes)}
        names |= {name for task in self.tasks.values() for name in task.parked}
        names |= {batch.covered.revision for batch in self.batches.values() if batch.covered is not None}
        names |= {revision.blob for batch in self.batches.values() for revision in batch.revisions}
        return sorted(names - {""})

    def of(self, batch: str) -> list[Task]:
        return [task for task in self.tasks.values() if task.batch == batch]


def checks_of(state: State, name: str, key: str | None = None) -> tuple[CheckResult, ...]:
    """What a batch's checks came to when its output was last written; with a ``key``, only if that was made of it."""
    known = state.batches.get(name)
    published = known.published if known else None
    return published.checks if published and key in (None, published.key) else ()


# ---- events --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pinned:
    batch: str
    pin: Pin


@dataclass(frozen=True)
class Declared:
    batch: str
    on_remove: str


@dataclass(frozen=True)
class Lifted:
    lift: Lift


@dataclass(frozen=True)
class Begun:
    """What we mean to do, with who claims it and until when.  Written before anything is sent."""

    task: Task


@dataclass(frozen=True)
class Renewed:
    """Whatever ``by`` claims is its own until then; at 0, no longer."""

    by: str
    until: float


@dataclass(frozen=True)
class Claimed:
    """Open tasks that only ``by`` goes on with, as long as it lives."""

    tasks: tuple[str, ...]
    by: str
    until: float


@dataclass(frozen=True)
class Parked:
    """What an open task was answered since the last time lies in ``blob``; ``size``: bytes of it all by now."""

    task: str
    blob: str
    size: int


@dataclass(frozen=True)
class Staged:
    """Durable before the costly call: from here on it may have happened."""

    task: str
    by: str
    at: float
    marker: str


@dataclass(frozen=True)
class Submitted:
    """The provider has it: by its own answer, by having been found, or by a person's word."""

    task: str
    remote_id: str
    at: float


@dataclass(frozen=True)
class Voided:
    """The start is known not to have happened.  ``phase`` is where the task stood when that was known."""

    task: str
    reason: str
    phase: str = BEGUN


@dataclass(frozen=True)
class Abandoned:
    task: str


@dataclass(frozen=True)
class Checked:
    task: str
    progress: Progress
    at: float


@dataclass(frozen=True)
class Collected:
    task: str
    at: float
    results: str
    outcomes: str
    counts: tuple[int, int, int]
    again: int
    tokens: tuple[int, int]


@dataclass(frozen=True)
class Stopped:
    """Unanswered requests of these tasks are not to be asked again: ``why`` is "cancelled" or "gave_up".

    ``batches`` are held back as a whole until they are forgiven.
    """

    tasks: tuple[str, ...]
    why: str
    batches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stopping:
    """The provider has heard that these tasks are to stop."""

    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Forgiven:
    """`runner retry`: ``scope`` is "failed" or "all"."""

    tasks: tuple[str, ...]
    scope: str
    batches: tuple[str, ...] = ()


@dataclass(frozen=True)
class Covered:
    """``seen`` says in what condition each of the needed tasks was when the rows were held against them.

    ``at`` and ``model`` are for the revision that it may be.
    """

    batch: str
    coverage: Coverage
    seen: Mapping[str, str]
    at: float = 0.0
    model: str = ""


@dataclass(frozen=True)
class Published:
    batch: str
    publication: Publication


@dataclass(frozen=True)
class Removed:
    tasks: tuple[str, ...]
    batches: tuple[str, ...] = ()


Event = (
    Pinned
    | Declared
    | Lifted
    | Begun
    | Renewed
    | Claimed
    | Parked
    | Staged
    | Submitted
    | Voided
    | Abandoned
    | Checked
    | Collected
    | Stopped
    | Stopping
    | Forgiven
    | Covered
    | Published
    | Removed
)


def fold(state: State, event: Event) -> State:
    """The state after ``event``.

    An event that has been overtaken changes nothing: its task is gone, or another run has already taken it further.
    """
    match event:
        case Pinned(batch, pin):
            return _batch(state, batch, pin=pin)
        case Declared(batch, on_remove):
            return _batch(state, batch, on_remove=on_remove)
        case Lifted(lift):
            return state if lift in state.lifts else replace(state, lifts=(*state.lifts, lift)[-LIFTS:])
        case Begun(task):
            return replace(state, tasks={**state.tasks, task.id: task})
        case Renewed(by, until):
            claim = Claim(by, until) if until else None
            claimed = {t.id: replace(t, claim=claim) for t in state.tasks.values() if _held(t, by)}
            return replace(state, tasks={**state.tasks, **claimed})
        case Claimed(ids, by, until):
            for id in ids:
                if _phase(state, id) == OPEN:
                    state = _task(state, id, claim=Claim(by, until))
            return state
        case Parked(id, blob, size):
            parked = state.tasks[id].parked_bytes if _phase(state, id) in (OPEN, ENDED) else size
            if size <= parked:
                return state
            return _task(state, id, parked=(*state.tasks[id].parked, blob), parked_bytes=size)
        case Staged(id, _, at, marker):
            return _task(state, id, phase=STAGED, staged_at=at, marker=marker)
        case Submitted(id, remote_id, at):
            if _phase(state, id) not in (STAGED, VOID):
                return state
            return _task(state, id, phase=OPEN, remote_id=remote_id, started_at=at, claim=None)
        case Voided(id, reason, phase):
            if _phase(state, id) != phase:
                return state  # above all not a task that its owner, thought dead, has staged and starts right now
            if phase == BEGUN:
                return fold(state, Removed((id,)))  # nothing was sent: nothing to remember
            return _reopen(_task(state, id, phase=VOID, error=reason, claim=None), (id,))
        case Abandoned(id):
            if id not in state.tasks or not state.tasks[id].on_its_way:
                return state  # its answers came in meanwhile
            return _reopen(_task(state, id, phase=ABANDONED, claim=None), (id,))
        case Checked(id, progress, at):
            return _checked(state, id, progress, at)
        case Collected(id, at, results, outcomes, counts, again, tokens):
            if _phase(state, id) != ENDED:
                return state
            state = _task(
                state,
                id,
                phase=COLLECTED,
                claim=None,
                collected_at=at,
                results=results,
                outcomes=outcomes,
                counts=counts,
                again=again,
                tokens=tokens,
            )
            return _reopen(state, (id,)) if again else state
        case Stopped(ids, why, batches):
            for id in ids:
                state = _task(state, id, stopped=why, forgiven="")
            for batch in batches:
                state = _batch(state, batch, cancelled=True)
            return state
        case Stopping(ids):
            for id in ids:
                state = _task(state, id, stopping=True)
            return state
        case Forgiven(ids, scope, batches):
            for id in ids:
                state = _task(state, id, forgiven=scope)
            for batch in batches:
                state = _batch(state, batch, cancelled=False)
            return _reopen(state, ids)
        case Covered(batch, coverage, seen, at, model):
            # What has happened to a task since may leave requests to be asked again: then the rows are looked at anew.
            current = all(condition(state.tasks.get(id)) == seen.get(id) for id in coverage.needs)
            revisions = _revisions(state.batches.get(batch, BatchState()), coverage, at, model)
            return _batch(state, batch, covered=replace(coverage, current=current), revisions=revisions)
        case Published(batch, publication):
            return _batch(state, batch, published=publication)
        case Removed(ids, batches):
            state = _reopen(state, ids)
            return replace(
                state,
                tasks={id: task for id, task in state.tasks.items() if id not in ids},
                batches={name: batch for name, batch in state.batches.items() if name not in batches},
            )
    assert_never(event)


def forbids(state: State, event: Event) -> str:
    """Why ``event`` no longer holds because of what another run wrote meanwhile; "" when it does."""
    match event:
        case Begun(task):
            known = state.tasks.get(task.id)
            if known is not None and known.claim != task.claim:
                return f"task {task.id} was begun by another run"
            if task.batch in state.batches and state.batches[task.batch].cancelled:
                return f"{task.batch} was cancelled meanwhile"
        case Staged(id, by, at, _):
            begun = state.tasks.get(id)
            if begun is None or begun.claim is None or begun.claim.by != by:
                return f"the claim on task {id} was lost"
            if (begun.phase, begun.staged_at) == (STAGED, at):
                return ""  # our own write, whose reply was lost
            if begun.phase != BEGUN:
                return f"task {id} is {begun.phase} already"
            if begun.stopped:
                return f"task {id} was {begun.stopped} meanwhile"
        case _:
            pass
    return ""


ON_THE_WAY = "on its way"


def condition(task: Task | None) -> str:
    """What a look at a task's requests depends on, as one word: equal words, equal looks."""
    if task is None:
        return "gone"
    outcome = ON_THE_WAY if task.on_its_way else f"{task.phase} {task.outcomes}"
    return f"{outcome} {task.stopped} {task.forgiven}".rstrip()


def _held(task: Task, by: str) -> bool:
    return task.claim is not None and task.claim.by == by and task.on_its_way


def _phase(state: State, id: str) -> str:
    return state.tasks[id].phase if id in state.tasks else ""


def _task(state: State, id: str, **changes: Any) -> State:
    if id not in state.tasks:
        return state
    return replace(state, tasks={**state.tasks, id: replace(state.tasks[id], **changes)})


def _batch(state: State, name: str, **changes: Any) -> State:
    return replace(state, batches={**state.batches, name: replace(state.batches.get(name, BatchState()), **changes)})


def _revisions(before: BatchState, new: Coverage, at: float, model: str) -> Revisions:
    found = Revision(0, at, model, "", new.rows, new.requests, new.revision)
    old = None if before.covered is None else before.covered.fingerprint
    return revised(before.revisions, old, new.fingerprint, found)


def _reopen(state: State, tasks: Iterable[str]) -> State:
    """Requests of these tasks may have to be asked again: batches that rely on them are no longer covered."""
    touched = set(tasks)
    changed = {
        name: replace(batch, covered=replace(batch.covered, current=False))
        for name, batch in state.batches.items()
        if batch.covered is not None and batch.covered.current and touched.intersection(batch.covered.needs)
    }
    return replace(state, batches={**state.batches, **changed}) if changed else state


def _checked(state: State, id: str, progress: Progress, at: float) -> State:
    task = state.tasks.get(id)
    if task is None or task.phase != OPEN:
        return state
    counts = (progress.total, progress.succeeded, progress.failed)
    if not progress.phase.ended:
        return _task(state, id, raw=progress.raw, progress=counts)
    return _task(
        state,
        id,
        phase=ENDED,
        ended_at=at,
        raw=progress.raw,
        progress=counts,
        ending=progress.phase.value,
        error=progress.error,
        expires=progress.expires_at,
        retryable=progress.retryable,
    )


# ---- the document --------------------------------------------------------------------------------------------------

UPGRADES: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
"""``UPGRADES[n]`` turns a document of format n+1 into one of format n+2."""


class Unreadable(RunnerError):
    """The state document is not one that this version can read."""

    code = "state-damaged"


_RESTORE = (
    "Nothing was done.  Keep it, and put a sound one in its place: from a backup, or a version that its store keeps."
)


def _why(error: Exception) -> str:
    """What is wrong with the document's text: where it stops making sense, or which key is to blame."""
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON from line {error.lineno}, column {error.colno} on"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return f"{type(error).__name__}: {error}"


def dump(state: State) -> bytes:
    """The document, one line per batch and task, keys in a fixed order: small diffs, and quick to write."""
    head = {"format": FORMAT, "lineage": state.lineage, "serial": state.serial, "writer": state.writer}
    body = ",\n".join(
        f"{_dumps(name)}: {{\n{rows}\n}}" if rows else f"{_dumps(name)}: {{}}"
        for name, rows in (
            ("batches", _rows(state.batches, _batch_line)),
            ("tasks", _rows(state.tasks, _task_line)),
        )
    )
    if state.lifts:
        lifts = ",\n".join(_dumps(asdict(lift)) for lift in state.lifts)
        body = f'"lifts": [\n{lifts}\n],\n{body}'
    # Half a surrogate pair, which a provider's words may hold, is escaped as JSON would: UTF-8 has no bytes for it.
    return f"{_dumps(head)[:-1]},\n{body}\n}}\n".encode("utf-8", "backslashreplace")


def load(data: bytes) -> State:
    """Raises Unreadable for what is not a state document, or one of a newer version."""
    try:
        document = json.loads(data)
        format = document["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unreadable(f"the state document cannot be read: {_why(error)}", hint=_RESTORE) from None
    if type(format) is not int or not 1 <= format <= FORMAT:
        raise Unreadable(
            f"the state document has format {format!r}; this runner reads formats 1 to {FORMAT}",
            hint="Nothing was done.  Use a runner at least as new as the one that wrote it:",
            commands=["pip install --upgrade batch-runner"],
            code="state-newer",
        )
    for upgrade in UPGRADES[format - 1 :]:
        document = upgrade(document)
    try:
        state = State(
            lineage=document["lineage"],
            serial=document["serial"],
            writer=document["writer"],
            batches={name: _batch_from(data) for name, data in document["batches"].items()},
            tasks={id: Task.from_json(id, data) for id, data in document["tasks"].items()},
            lifts=tuple(Lift(**data) for data in document.get("lifts", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"the state document is damaged: {_why(error)}", hint=_RESTORE) from None
    where = misfit(state, State) or next(
        (f"tasks.{task.id}.{task.oddity}" for task in state.tasks.values() if task.oddity), None
    )
    if where is not None:
        raise Unreadable(f"the state document is damaged: {where.lstrip('.')} is not what belongs there", hint=_RESTORE)
    return state


_quote: Callable[[str], str] = json.encoder.encode_basestring
"""As `_dumps` of a text, at a tenth of the cost: names are quoted in every write."""


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _rows(items: Mapping[str, Any], line: Callable[[Any], str]) -> str:
    return ",\n".join([f"{_quote(name)}: {line(value)}" for name, value in sorted(items.items())])


def _task_line(task: Task) -> str:
    """Serialised once per value: a state of a thousand tasks is written hundreds of times, and few of them change."""
    cached: str | None = task.__dict__.get("_line")
    if cached is None:
        cached = _dumps(task.to_json())
        object.__setattr__(task, "_line", cached)
    return cached


def _batch_line(batch: BatchState) -> str:
    cached: str | None = batch.__dict__.get("_line")
    if cached is None:
        data: dict[str, Any] = {"on_remove": batch.on_remove} if batch.on_remove != "keep" else {}
        if batch.cancelled:
            data["cancelled"] = True
        if batch.pin is not None:
            data["pin"] = {"selector": batch.pin.selector, "offer": batch.pin.offer.to_json()}
        if batch.covered is not None:
            data["covered"] = {**vars(batch.covered), "needs": list(batch.covered.needs)}
        if batch.revisions:
            data["revisions"] = [vars(revision) for revision in batch.revisions]
        if batch.published is not None:
            said = {key: value for key, value in vars(batch.published).items() if key not in ("to", "checks") or value}
            data["published"] = {**said, "counts": batch.published.counts.to_json()}
            if batch.published.checks:
                data["published"]["checks"] = [result.to_json() for result in batch.published.checks]
        cached = _dumps(data)
        object.__setattr__(batch, "_line", cached)
    return cached


def _batch_from(data: Mapping[str, Any]) -> BatchState:
    pin, covered, published = data.get("pin"), data.get("covered"), data.get("published")
    if published is not None:
        counts = {key: value for key, value in published["counts"].items() if key != "total"}
        checks = tuple(CheckResult.from_json(result) for result in published.get("checks", ()))
        published = Publication(**{**published, "counts": Counts(**counts), "checks": checks})
    return BatchState(
        on_remove=data.get("on_remove", "keep"),
        cancelled=data.get("cancelled", False),
        pin=None if pin is None else Pin(pin["selector"], Offer.from_json(pin["offer"])),
        covered=None if covered is None else Coverage(**{**covered, "needs": tuple(covered["needs"])}),
        published=published,
        revisions=tuple(Revision(**revision) for revision in data.get("revisions", ())),
    )
