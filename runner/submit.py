"""Submit: events around the one costly call, for a few shards at a time.

::

    Begun       what we mean to do, with who claims it and until when
    stage       upload: free, repeatable; an orphan harms nobody
    Staged      durable; from here on it may have happened
    start       THE call that costs money; never repeated
    Submitted   the provider's id for it, written as soon as it is known
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from runner.digests import DigestMap
from runner.edge.files import naming
from runner.edge.world import World
from runner.errors import Busy, Interrupted, LimitExceeded, ProviderError, Refused, RunnerError
from runner.heartbeat import LEASE
from runner.journal import Guard, Journal, Overtaken
from runner.known import identities
from runner.limits import Limits, intended, over_budget
from runner.parking import claim
from runner.provider import Job, Provider, Upload
from runner.refresh import job_of
from runner.resolve import Resolved
from runner.spool import ShardFile, spool
from runner.state import Begun, Removed, Staged, State, Submitted, Voided
from runner.state import Event as StateEvent
from runner.task import COLLECTED, Claim, Task, task_id
from runner.workers import needs_us

AT_ONCE = 4
"""How many tasks may be between Staged and Submitted."""
_LAST_WORDS = 4.0
"""Seconds that starts under way may still take once this run was asked to stop."""


@dataclass
class Report:
    """What became of the submits, by spec.  ``errors`` are clear noes; ``tasks`` are those made in this run."""

    tasks: dict[str, list[str]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    """Specs all of whose shards have left, started or perhaps started."""
    errors: list[RunnerError] = field(default_factory=list)
    retry_after: float | None = None

    def note(self, spec: str, outcome: str, detail: str) -> None:
        """The worst outcome of a spec's shards stands for it."""
        order = ("done", "skipped", "busy", "unsure", "refused")
        if order.index(outcome) > order.index(self.outcomes.get(spec, "done")):
            self.outcomes[spec], self.details[spec] = outcome, detail


@dataclass(frozen=True)
class _Item:
    resolved: Resolved
    file: ShardFile
    last: bool

    @property
    def spec(self) -> str:
        return self.resolved.batch.spec.name


class Submission:
    """One pass over everything there is to submit.

    ``base`` is the state that it was planned from, ``ours`` are tasks made by this run since; ``covered`` makes the
    events that follow a batch's last shard.
    """

    def __init__(
        self,
        world: World,
        journal: Journal,
        base: State,
        covered: Callable[[Resolved, Sequence[str]], Iterable[StateEvent]],
        limits: Limits,
        ours: Iterable[str] = (),
    ) -> None:
        self._world = world
        self._journal = journal
        self._base = base
        self._covered = covered
        self._limits = limits
        self._exhausted = False
        """Whether another run has used up the budget that was left when this one was planned."""
        self._ours = set(ours)
        self._foreign: dict[str, DigestMap] = {}
        self._closed: dict[str, str] = {}
        self._sent: dict[str, int] = {}
        """Shards by spec that the provider has, or may have."""
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="submit")
        self.report = Report()

    def run(self, batches: Sequence[Resolved]) -> Report:
        """Raises Interrupted when asked to stop, after what was under way is recorded."""
        total = sum(resolved.demand.shards for resolved in batches)
        sent = 0
        with closing(self._items(batches)) as items:
            while group := _group(items):
                self._world.progress("submitting tasks", sent, total)
                self._send(group)
                sent += len(group)
        self._pool.shutdown(wait=False)
        return self.report

    def _items(self, batches: Sequence[Resolved]) -> Generator[_Item, None, None]:
        """Shards to send, batch by batch; a provider that said no, or not now, is not asked for more."""
        for resolved in batches:
            spec = resolved.batch.spec
            self.report.tasks.setdefault(spec.name, [])
            self.report.outcomes.setdefault(spec.name, "done")
            if spec.provider in self._closed:
                self.report.note(spec.name, self._closed[spec.provider], "not tried: see above")
                continue
            if self._exhausted:
                self.report.note(spec.name, "skipped", "the budget is used up")
                continue
            try:
                with closing(spool(self._world, resolved)) as files:
                    for count, file in enumerate(files, start=1):
                        yield _Item(resolved, file, last=count == resolved.demand.shards)
                        if spec.provider in self._closed or self._exhausted:
                            break
            except RunnerError as error:
                self._refuse(spec.name, error)

    # ---- a group of shards -----------------------------------------------------------------------------------------

    def _send(self, group: list[_Item]) -> None:
        try:
            tasks = {item.file.shard.digest: self._task(item) for item in group}
            begun = self._begin(group, tasks)
            if begun:
                self._start(*self._stage(begun))
                self._finish(begun)
        finally:
            for item in group:
                item.file.path.unlink(missing_ok=True)

    def _task(self, item: _Item) -> Task:
        spec, shard, demand = item.resolved.batch.spec, item.file.shard, item.resolved.demand
        attempt = 1
        while task_id(shard.digest, attempt) in self._journal.state.tasks:
            attempt += 1
        now = self._world.clock.now()
        return Task(
            id=task_id(shard.digest, attempt),
            batch=spec.name,
            provider=spec.provider,
            model=item.resolved.batch.model or "",
            shard=self._world.store.put(shard.requests),
            requests=shard.count,
            max_wait=spec.wait.max,
            give_up=spec.wait.give_up,
            attempts=spec.attempts,
            begun_at=now,
            attempt=attempt,
            claim=Claim(self._world.who, now + LEASE),
            cost=_share(item.resolved, shard.count),
            currency=demand.price.currency if demand.price else "",
            price=(demand.price.input, demand.price.output) if demand.price else None,
            bound=_bound(item.resolved, shard.count),
        )

    def _begin(self, group: list[_Item], tasks: dict[str, Task]) -> list[tuple[_Item, Task]]:
        """Write Begun for those that no other run has begun meanwhile."""
        pairs = [(item, tasks[item.file.shard.digest]) for item in group]
        try:
            self._journal.write(*[Begun(task) for _, task in pairs], guard=self._guard(group, tasks))
        except (Overtaken, LimitExceeded) as error:
            if len(group) > 1:  # one of them is taken, or too much: find out which
                return [pair for item in group for pair in self._begin([item], tasks)]
            self.report.note(group[0].spec, "skipped", error.message)
            if isinstance(error, LimitExceeded) and not self._exhausted:
                self._exhausted = True
                self.report.errors.append(error)
            return []
        for item, task in pairs:
            self._ours.add(task.id)
            self.report.tasks[item.spec].append(task.id)
        return pairs

    def _guard(self, group: list[_Item], tasks: Mapping[str, Task]) -> Guard:
        """Two runs may cut the same requests into different shards: compare request by request.

        And they may both have planned within what was left of a budget: what is begun is reckoned in the very state
        that is swapped.  Raises LimitExceeded.
        """
        ours = [tasks[item.file.shard.digest] for item in group]
        begun = {task.id for task in ours}

        def guard(state: State) -> str:
            others = [task for task in state.tasks.values() if task.id not in begun]
            if over := over_budget(self._limits, others, intended(ours), self._world.clock.now()):
                raise LimitExceeded(
                    f"the budget is used up: {'; '.join(map(str, over))}",
                    hint="Another run began some of it since this one was planned.  The rest was not submitted.",
                    commands=[f"runner apply --allow {one.name}=VALUE" for one in over],
                )
            for task in state.tasks.values():
                if task.id in self._ours or not _alive(task) or _alive(self._base.tasks.get(task.id)):
                    continue
                theirs = self._requests_of(task)
                if any(identity in theirs for item in group for identity in item.file.shard):
                    return f"another run has begun some of the same requests, as task {task.id}"
            return ""

        return guard

    def _requests_of(self, task: Task) -> DigestMap:
        """The requests of another run's task, read once."""
        if task.shard not in self._foreign:
            self._foreign[task.shard] = DigestMap()
            for identity in identities(self._world.store.get(task.shard)):
                self._foreign[task.shard].add(identity)
        return self._foreign[task.shard]

    def _stage(self, begun: list[tuple[_Item, Task]]) -> tuple[float, list[tuple[_Item, Task, Upload]]]:
        """Upload, and record what may now be started, and when that was."""
        staged = []
        events: list[StateEvent] = []
        answers = self._answers([partial(self._stage_one, item, task) for item, task in begun])
        for (item, task), answer in zip(begun, answers, strict=True):
            if isinstance(answer, Upload):
                staged.append((item, task, answer))
            else:  # uploading is free and was not seen to succeed: nothing costly was asked
                events.append(Voided(task.id, _why(answer)))
                self._trouble(item, answer, "the upload")
        now = self._world.clock.now()
        events += [Staged(task.id, self._world.who, now, upload.marker) for _, task, upload in staged]
        if self._world.stop.is_set():
            self._journal.write(*[Voided(task.id, "interrupted before its start") for _, task in begun])
            raise Interrupted
        try:
            self._journal.write(*events)
        except Overtaken:  # of one of them at least: find out which
            self._journal.write(*[event for event in events if isinstance(event, Voided)])
            staged = [one for one in staged if self._stage_alone(now, *one)]
        return now, staged

    def _stage_one(self, item: _Item, task: Task) -> Upload:
        with naming(item.file.path.parent):  # beside the shard lies what it is turned into on its way
            return self._provider(task).stage(_job(item, task))

    def _stage_alone(self, at: float, item: _Item, task: Task, upload: Upload) -> bool:
        """Whether the task is still ours to start: neither cancelled, nor claimed by another run."""
        try:
            self._journal.write(Staged(task.id, self._world.who, at, upload.marker))
        except Overtaken as error:
            self.report.note(item.spec, "skipped", error.message)
            left = self._journal.state.tasks.get(task.id)
            if left is not None and left.claim == task.claim:
                self._journal.write(Voided(task.id, error.message))
            return False
        return True

    def _start(self, staged_at: float, staged: list[tuple[_Item, Task, Upload]]) -> None:
        """Start them all at once; every id is written as soon as it is there, however long the others take."""
        calls = {
            self._pool.submit(self._start_one, staged_at, item, task, upload): (item, task)
            for item, task, upload in staged
        }
        answers: list[tuple[_Item, object]] = []
        unwritten: dict[str, str] = {}
        trouble: Exception | None = None
        for done in self._as_they_come(set(calls)):
            news = [(*calls[call], call.exception() or call.result()) for call in done]
            answers += [(item, answer) for item, _, answer in news]
            unwritten |= {task.id: answer for _, task, answer in news if isinstance(answer, str)}
            # A clear no: nothing was made, nothing to remember.  Anything else stays Staged, to be settled.
            refused = [Removed((task.id,)) for _, task, answer in news if isinstance(answer, Refused | Busy)]
            at = self._world.clock.now()
            try:
                state = self._journal.write(*self._begun_at(at, unwritten), *refused)
                unwritten = {id: remote for id, remote in unwritten.items() if not _knows(state, id, remote)}
                trouble = None
            except (OSError, RunnerError) as error:
                trouble = error
        answers += [(item, None) for call, (item, _) in calls.items() if not call.done()]
        if unwritten:
            raise _unrecorded(unwritten, trouble)
        if trouble is not None:
            raise trouble
        for item, answer in answers:
            if not isinstance(answer, Refused | Busy):
                self._sent[item.spec] = self._sent.get(item.spec, 0) + 1
            if not isinstance(answer, str):
                self._trouble(item, answer, "the start")

    def _begun_at(self, at: float, started: Mapping[str, str]) -> list[StateEvent]:
        """That they were started, and, of those that only this run goes on with, that it does."""
        tasks = [self._journal.state.tasks[id] for id in started if id in self._journal.state.tasks]
        ours = [task.id for task in tasks if self._world.parks and needs_us(self._world, task.provider)]
        events: list[StateEvent] = [Submitted(id, remote, at) for id, remote in started.items()]
        return [*events, *([claim(self._world, ours)] if ours else [])]

    def _as_they_come(self, left: set[Future[str]]) -> Iterator[set[Future[str]]]:
        """Calls as they end.  Asked to stop, it waits a little longer; those left behind stay Staged."""
        patience = _LAST_WORDS
        while left and patience > 0:
            done, left = wait(left, timeout=0.2, return_when=FIRST_COMPLETED)
            if done:
                yield done
            if self._world.stop.is_set():
                patience -= 0.2

    def _start_one(self, staged_at: float, item: _Item, task: Task, upload: Upload) -> str:
        """Start, unless this process slept so long that another run may have looked for the start and not found it."""
        if self._world.clock.now() - staged_at > LEASE:
            raise Busy("this run was held up before its start, and did not start it")
        return self._provider(task).start(_job(item, task), upload)

    def _finish(self, begun: list[tuple[_Item, Task]]) -> None:
        """Batches all of whose shards have left are covered."""
        events: list[StateEvent] = []
        for item, _ in begun:
            resolved = item.resolved
            if item.last and self._sent.get(item.spec) == resolved.demand.shards:
                self.report.whole.add(item.spec)
                if resolved.complete and not resolved.borrows:
                    events += self._covered(resolved, self.report.tasks[item.spec])
        self._journal.write(*events)
        if self._world.stop.is_set():
            raise Interrupted

    # ---- conversations ---------------------------------------------------------------------------------------------

    def _provider(self, task: Task) -> Provider:
        return self._world.providers[task.provider]

    def _answers(self, calls: Sequence[Callable[[], object]]) -> list[object]:
        """What each call came to: its value, its exception, or None for one left behind as we were asked to stop."""
        futures = [self._pool.submit(call) for call in calls]
        left = set(futures)
        patience = _LAST_WORDS
        while left and patience > 0:
            left = wait(left, timeout=0.2).not_done
            if self._world.stop.is_set():
                patience -= 0.2
        return [None if future in left else future.exception() or future.result() for future in futures]

    def _trouble(self, item: _Item, error: object, what: str) -> None:
        provider = item.resolved.batch.spec.provider
        match error:
            case Refused():
                self._refuse(item.spec, error)
                if error.credentials:
                    self._closed[provider] = "refused"
            case Busy(retry_after=seconds):
                self.report.note(item.spec, "busy", f"{what}: {error.message}")
                self.report.retry_after = max(self.report.retry_after or 0.0, seconds or 0.0)
                self._closed[provider] = "busy"
            case ProviderError():
                outcome = "unsure" if what == "the start" else "busy"
                self.report.note(item.spec, outcome, f"{what}: {error.message}")
                self._closed[provider] = "busy"
            case None:
                self.report.note(item.spec, "unsure", f"{what} was interrupted")
            case BaseException():
                raise error

    def _refuse(self, spec: str, error: RunnerError) -> None:
        self.report.note(spec, "refused", error.message)
        self.report.errors.append(error)


def _group(items: Iterator[_Item]) -> list[_Item]:
    """The next few; if one of them cannot be spooled, the others leave nothing behind on what may be a full disk."""
    group: list[_Item] = []
    try:
        group.extend(islice(items, AT_ONCE))  # which keeps those that came before an error
    except BaseException:
        for item in group:
            item.file.path.unlink(missing_ok=True)
        raise
    return group


def _alive(task: Task | None) -> bool:
    """Whether a task stands for its requests: they are on their way, or came to something."""
    return task is not None and (task.on_its_way or task.phase == COLLECTED)


def _job(item: _Item, task: Task) -> Job:
    return replace(job_of(task), file=item.file.path)


def _knows(state: State, id: str, remote_id: str) -> bool:
    """Whether the id of a started task is in the state: not so if a person removed the task meanwhile."""
    return id in state.tasks and state.tasks[id].remote_id == remote_id


def _unrecorded(started: Mapping[str, str], error: Exception | None) -> RunnerError:
    """The disk refused the record of what was started: a person gets the ids, which are known nowhere else."""
    why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error or "removed meanwhile"
    return RunnerError(
        f"{len(started)} tasks were started, and the state does not hold them: {why}",
        hint="Once it can be written, adopt them:",
        commands=[f"runner state adopt {id} {remote_id}" for id, remote_id in started.items()],
        code="start-unrecorded",
    )


def _why(error: object) -> str:
    return error.message[:300] if isinstance(error, RunnerError) else "interrupted"


def _share(resolved: Resolved, requests: int) -> float | None:
    """A shard's part of the estimate, by its number of requests."""
    demand = resolved.demand
    if demand.price is None or demand.tokens is None or demand.tokens.output is None:
        return None
    return round(demand.price.cost(demand.tokens.input, demand.tokens.output) * requests / demand.submit, 9)


def _bound(resolved: Resolved, requests: int) -> int | None:
    """A shard's part of the tokens, input and output, by its number of requests; rounded up."""
    tokens = resolved.demand.tokens
    if tokens is None or tokens.output is None:
        return None
    return -(-(tokens.input + tokens.output) * requests // resolved.demand.submit)
