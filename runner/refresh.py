"""Ask after every task that is not at rest: how it goes, and, after an interrupted start, whether it began at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from runner.edge.world import World
from runner.errors import Busy, Elsewhere, ProviderError, Refused, RunnerError
from runner.plan import Unsettled
from runner.provider import Absent, Found, Job, Phase, Progress, Provider, Unknown
from runner.state import Checked, Event, State, Submitted, Voided, fold
from runner.task import BEGUN, LEFT, OPEN, STAGED, Task

_AT_ONCE = 8


@dataclass(frozen=True)
class News:
    """Events to fold into the state, and what they do not say.

    ``busy`` names the tasks under another run's living claim; ``warnings`` are for a person.
    """

    events: tuple[Event, ...] = ()
    unsettled: dict[str, Unsettled] = field(default_factory=dict)
    busy: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refused: frozenset[str] = frozenset()
    """Tasks of which their provider refuses to say anything."""
    errors: dict[str, RunnerError] = field(default_factory=dict)
    """Why a provider could not be asked at all, such as for want of a key, by its name."""


def job_of(task: Task) -> Job:
    """The task as a provider is told of it, when its shard has left or never will."""
    return Job(
        task=task.id,
        name=task.name,
        model=task.model,
        requests=task.requests,
        max_wait=task.max_wait,
        remote_id=task.remote_id,
        staged=task.marker,
        begun_at=task.begun_at,
        ended_at=task.ended_at,
        attempts=task.attempts,
    )


def _all(_task: Task) -> bool:
    return True


def refresh(world: World, state: State, *, offline: bool = False, only: Callable[[Task], bool] = _all) -> News:
    """What is new of every task.  Reads only; offline it asks nobody, and tells claims from the state alone."""
    events: list[Event] = []
    news = News()
    asked: list[Task] = []
    for task in filter(only, state.tasks.values()):
        if (task.phase in (BEGUN, STAGED) or world.parks) and task.on_its_way and is_claimed(world, task):
            news.busy[task.id] = task.claim.by.rpartition("/")[0] if task.claim else ""
        elif task.phase == BEGUN:
            events.append(Voided(task.id, "it never left"))
        elif task.phase == STAGED and offline:
            news.unsettled[task.id] = Unsettled(task.id, "")
        elif task.phase in (STAGED, OPEN) and not offline:
            asked.append(task)
    warnings = []
    errors: dict[str, RunnerError] = {}
    refused = set()
    for task, answer in _ask_all(world, state, asked):
        if isinstance(answer, str | RunnerError):
            if isinstance(answer, Refused) and not answer.credentials:
                refused.add(task.id)
                warnings.append(_trouble(task, answer))
            elif isinstance(answer, str):
                warnings.append(answer)
            else:
                errors.setdefault(task.provider, answer)
            if task.phase == STAGED:
                news.unsettled[task.id] = Unsettled(task.id, "", str(answer))
            continue
        found, unsettled = answer
        events += found
        if unsettled is not None:
            news.unsettled[task.id] = unsettled
    return News(tuple(events), news.unsettled, news.busy, tuple(warnings), frozenset(refused), errors)


def fold_all(state: State, events: Iterable[Event]) -> State:
    for event in events:
        state = fold(state, event)
    return state


def is_claimed(world: World, task: Task) -> bool:
    """Whether another run, alive as far as can be told, is at work on the task."""
    claim, now = task.claim, world.clock.now()
    return claim is not None and claim.by != world.who and claim.until > now and not world.is_gone(claim.by)


_Answer = tuple[list[Event], Unsettled | None]


def _ask_all(world: World, state: State, tasks: list[Task]) -> Iterable[tuple[Task, _Answer | str | RunnerError]]:
    if not tasks:
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for count, pair in enumerate(pool.map(lambda task: (task, _ask(world, state, task)), tasks)):
            if len(tasks) > _AT_ONCE:
                world.progress("asking after tasks", count + 1, len(tasks))
            yield pair


def _ask(world: World, state: State, task: Task) -> _Answer | str | RunnerError:
    if task.provider not in world.providers:
        return f"task {task.id} of {task.batch} is at provider {task.provider!r}, which runner.yaml no longer names"
    try:
        provider = world.providers[task.provider]
        return _settle(world, provider, state, task) if task.phase == STAGED else _check(world, provider, task)
    except Elsewhere as error:
        return _taken_over(world, task) if world.parks else error
    except ProviderError as error:
        return error if isinstance(error, Refused) else _trouble(task, error)
    except RunnerError as error:
        return error


def _trouble(task: Task, error: ProviderError) -> str:
    about = f"task {task.id} of {task.batch}: {task.provider}"
    if isinstance(error, Refused):
        return f"{about} refuses to say: {error.message}.  If it is gone for good: runner state abandon {task.id}"
    return f"{about} {'is busy' if isinstance(error, Busy) else 'gave no clear answer'}: {error.message}"


def _check(world: World, provider: Provider, task: Task) -> _Answer:
    progress = provider.check(job_of(task))
    if progress.turned_away and not task.stopped:
        reason = progress.error or "no room"
        return [Voided(task.id, reason, OPEN)], Unsettled(task.id, "turned away", reason)
    return [Checked(task.id, progress, world.clock.now())], None


def _taken_over(world: World, task: Task) -> _Answer:
    """A task that a machine asked which is there no more: what it left counts, and the rest is asked anew."""
    why = "the machine that asked it is gone; what it left is collected"
    return [Checked(task.id, Progress(Phase.FAILED, LEFT, task.requests, error=why), world.clock.now())], None


def _identities(world: World, task: Task) -> bytes:
    """Those of the task's requests; none where the store has lost them, which is no reason not to look for it."""
    try:
        return world.store.get(task.shard)
    except RunnerError:
        return b""


def _settle(world: World, provider: Provider, state: State, task: Task) -> _Answer:
    """Found: adopt.  Absent and old enough: it did not happen.  Anything else leaves it as it is."""
    others = [other for other in state.tasks.values() if other.provider == task.provider and other.id != task.id]
    job = replace(
        job_of(task),
        taken=frozenset(other.remote_id for other in others if other.remote_id),
        rivals=sum(other.phase == STAGED and other.requests == task.requests for other in others),
        identities=_identities(world, task),
    )
    now = world.clock.now()
    age = now - (task.staged_at or task.begun_at)
    match provider.find(job):
        case Found(remote_id):
            started = task.staged_at or now
            progress = provider.check(replace(job_of(task), remote_id=remote_id))
            found = Unsettled(task.id, "found", f"it is {remote_id}")
            return [Submitted(task.id, remote_id, started), Checked(task.id, progress, now)], found
        case Absent() if age > provider.traits.grace:
            return [Voided(task.id, "not found at the provider", STAGED)], Unsettled(task.id, "absent")
        case Absent():
            left = max(1, round(provider.traits.grace - age))
            return [], Unsettled(task.id, "young", f"that is believed in {left} s")
        case Unknown(reason):
            return [], Unsettled(task.id, "unknown", reason)
