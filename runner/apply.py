"""Make it so: carry out a plan's steps in their order, each recorded before the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import replace

from runner.batch import publish_key
from runner.collect import NoResults, OutOfTime, Reading, fetch, read_results
from runner.continuing import Dependants, Woken
from runner.covering import coverage_events
from runner.edge.files import Spooled
from runner.edge.pool import as_they_come
from runner.edge.world import World
from runner.errors import Interrupted, ProviderError, Refused, RunnerError
from runner.holdings import Holdings
from runner.journal import Journal
from runner.judging import judge_for
from runner.limits import Limits, over_error
from runner.outcome import Outcome, Used
from runner.parking import Parking
from runner.plan import Action, Change, Plan, Unsettled, gave_up, task_change
from runner.polling import Polling, Sparingly
from runner.provider import Traits
from runner.publishing import Publishing
from runner.refresh import News, is_claimed, refresh
from runner.resolve import Held, Options, Resolved, resolve
from runner.result import Counts
from runner.state import (
    Checked,
    Declared,
    Event,
    Lift,
    Lifted,
    Pinned,
    State,
    Stopped,
    Stopping,
    Voided,
    checks_of,
    fold,
)
from runner.stopping import cancel_task
from runner.submit import Report, Submission
from runner.tally import awaited, estimate_counts
from runner.task import ABANDONED, COLLECTED, ENDED, ON_ITS_WAY, OPEN, STAGED, VOID, Task
from runner.workers import Workers, needs_us

_AT_ONCE = 8
_PROGRESS_EVERY = 10.0
"""Seconds between two writes of the state that tell of nothing but progress."""
_NO_ROOM = 60.0
"""Seconds after which what a provider had no room for is sent again."""
_LONGEST_PAUSE = 300.0
"""Seconds between two tries at a provider that stays busy."""
_GROUP = 16
"""Events of finished collects that travel in one write of the state."""


def _any(_task: Task) -> bool:
    return True


class Apply:
    """One apply, from the plan that was approved to the last output it can write."""

    def __init__(
        self,
        world: World,
        journal: Journal,
        plan: Plan,
        believed: State,
        resolved: Sequence[Resolved],
        news: News,
        *,
        selected: Callable[[Task], bool],
        options: Options,
        deadline: float | None = None,
        submits: bool = True,
        resubmits: bool = True,
        collects: bool = False,
        limits: Limits,
        allow: Mapping[str, float] | None = None,
        dependants: Dependants,
        continues: bool = False,
    ) -> None:
        """``deadline``: when `--timeout` is over (Unix seconds).  ``submits``: false over a limit.  ``collects``:
        do only what takes no approval.  ``allow``: what of ``limits`` was lifted for this run, by name.

        ``resubmits``: a start that turns out not to have happened is made again in this run, which an approval by
        digest does not cover.  ``continues``: so are ``dependants``, once what they wait for is here.
        """
        self._world = world
        self._journal = journal
        self._believed = believed
        self._holdings = Holdings(resolved)
        self._news = news
        self._selected = selected
        self._options = options
        self._deadline = deadline
        self._submits = submits
        self._resubmits = submits and resubmits
        self._collects = collects
        self._limits = limits
        self._allow = allow or {}
        self._left: set[str] = set()
        """Batches of which something approved may still be unsent."""
        self._unstarted: list[Task] = []
        """Starts that turned out, in this run, not to have happened."""
        self._skipped: set[str] = set()
        self._mute = set(news.errors)
        """Providers that cannot be asked."""
        self._busy = 0
        """Rounds in a row in which a provider was busy."""
        self._not_before = 0.0
        """When a busy provider may be asked again (Unix seconds)."""
        self._waits_for_all = True
        self._polling = Polling()
        self._workers = Workers(world)
        self._parking = Parking(world, journal)
        self._done: dict[str, int] = {}
        """Requests done by task, by the latest word: the state is not told each time."""
        self._progress_told = Sparingly(_PROGRESS_EVERY)
        self._began = world.clock.now()
        self._asked_to_stop: set[str] = set()
        self._refused = set(news.refused)
        """Tasks of which the provider says nothing more, and ended ones whose results it will not give."""
        self._undecided: set[str] = set()
        """Interrupted starts that were looked for, and that the looking did not settle."""
        self._dependants = dependants
        self._continues = submits and continues
        self._judges = {name: judge_for(one.batch.spec.schema) for name, one in self._holdings}
        self._judges |= {name: judge_for(one.spec.schema) for name, one in dependants.waiting.items()}
        self.outcome = Outcome(plan, list(plan.changes), ["waiting"] * len(plan.changes), [""] * len(plan.changes))
        self.outcome.partial = options.sample is not None or collects
        self.outcome.suspended = {name for name, one in self._holdings if one.held is Held.SUSPENDED}
        self._publishing = Publishing(world, journal, self._holdings, self.outcome)

    # ---- steps -----------------------------------------------------------------------------------------------------

    def once(self) -> None:
        """Every step, once.  Raises Interrupted, StateConflict, OSError."""
        self._world.store.tidy(self._world.clock.now())
        state = self._journal.state
        self._workers.forget(task for task in state.tasks.values() if task.phase in (COLLECTED, VOID, ABANDONED))
        self._journal.write(*_news(state, [*self._news.events, *self._declarations(state)]))
        self._settled(self._news.unsettled)
        self.outcome.warnings += self._news.warnings
        self._collect()
        self._cancel()
        if self._submits:
            self._submit([one for _, one in self._holdings])
        else:
            self._skip_submits()
        self._cover()
        self._publishing.run()
        self._go_on()

    def until_quiet(self, *, all: bool = True) -> None:
        """Look again and again until nothing is on its way; past the deadline the rest is left.

        ``all``: false to wait only for tasks that make progress only while this run lives.
        """
        self._waits_for_all = all
        while self._waits_for():
            now = self._world.clock.now()
            if self._is_over():
                self.outcome.timed_out = True
                return
            if not self._collects:
                self._workers.work(self._parking.ours(self._wanted()))
                self._parking.park()
            self._tell_waiting()
            pause = self._pause()
            self._world.clock.sleep(min(pause, self._deadline - now) if self._deadline else pause, self._world.stop)
            self._check_stop()
            self._look_again()

    def _is_over(self) -> bool:
        return self._deadline is not None and self._world.clock.now() >= self._deadline

    def rest(self) -> None:
        """Ask nothing more where it is we who ask; what was answered is on disk then."""
        self._workers.rest()
        if worked := self._workers.names:
            with suppress(RunnerError, OSError):  # it only tells how far they came
                before = self._journal.state
                news = refresh(self._world, before, only=lambda task: task.provider in worked)
                self._journal.write(*self._parking.last_words(), *_news(before, news.events))

    def finish(self) -> Outcome:
        """Count rows and what they used, and name what only a person can settle."""
        state = self._journal.state
        for name, one in self._holdings:
            self.outcome.rows[name] = self._count(state, name)
            if checks := checks_of(state, name, publish_key(one.batch, self._holdings.needs(state, name))):
                self.outcome.checks[name] = checks
        collected = [change.task or "" for change, _ in self.outcome.done(Action.COLLECT)]
        self.outcome.used = Used.of(state.tasks[id] for id in collected if id in state.tasks)
        if not self._continues:
            self.outcome.ready = self._dependants.ready(state)
        self.outcome.unresolved = [task for task in self._tasks(STAGED) if self._is_unresolved(task)]
        return self.outcome

    # ---- settle, collect, cancel -----------------------------------------------------------------------------------

    def _declarations(self, state: State) -> list[Event]:
        events = self._declared(state, [one for _, one in self._holdings])
        if self._allow and self._submits and self.outcome.plan.of(Action.SUBMIT):
            at = self._world.clock.now()
            events += [Lifted(Lift(name, value, at, self._world.who)) for name, value in sorted(self._allow.items())]
        return events

    def _declared(self, state: State, batches: Iterable[Resolved]) -> list[Event]:
        """What specs say that the state does not know yet."""
        events: list[Event] = []
        for one in batches:
            name = one.batch.spec.name
            known = state.batches.get(name)
            if one.pin is not None and self._submits:
                events.append(Pinned(name, one.pin))
            if one.batch.spec.on_remove != (known.on_remove if known else "keep"):
                events.append(Declared(name, one.batch.spec.on_remove))
        return events

    def _settled(self, unsettled: Mapping[str, Unsettled]) -> None:
        words = {"found": "done", "absent": "done", "turned away": "done", "young": "waiting"}
        unknown = {id for id, what in unsettled.items() if what.verdict == "unknown"}
        self._undecided = (self._undecided - unsettled.keys()) | unknown  # not all providers are asked in each round
        for id, what in unsettled.items():
            task = self._journal.state.tasks.get(id)
            if task is not None:
                self.outcome.note(
                    task_change(task, Action.SETTLE, what.verdict), words.get(what.verdict, "unsure"), what.detail
                )

    def _tasks(self, *phases: str) -> list[Task]:
        about = self._about()
        return [task for task in self._journal.state.tasks.values() if task.phase in phases and about(task)]

    def _about(self) -> Callable[[Task], bool]:
        """Tasks of the selected batches, and those of others that hold requests of these."""
        needed = self._holdings.needed(self._journal.state)
        return lambda task: self._selected(task) or task.id in needed

    def _collect(self, due: Callable[[Task], bool] = _any) -> None:
        ended = [task for task in self._tasks(ENDED) if task.id not in self._refused and due(task)]
        tasks = [task for task in ended if not (self._world.parks and is_claimed(self._world, task))]
        events: list[Event] = []
        try:
            with closing(as_they_come(self._fetch, tasks, at_once=_AT_ONCE)) as calls:
                for count, (task, call) in enumerate(calls, start=1):
                    events += self._collected(task, call)
                    if len(events) >= _GROUP:
                        self._journal.write(*events)
                        events = []
                    self._world.progress("collecting", count, len(tasks))
        finally:
            self._journal.write(*events)
        collected = self._journal.state.tasks
        self._workers.forget(task for task in tasks if task.id in collected and collected[task.id].phase == COLLECTED)

    def _fetch(self, task: Task) -> Spooled:
        if self._world.stop.is_set():
            raise Interrupted
        return fetch(self._world, task, self._deadline)

    def _collected(self, task: Task, call: Future[Spooled]) -> list[Event]:
        change = task_change(task, Action.COLLECT, task.ending)
        judge = self._judges.get(task.batch, judge_for(None))
        try:
            reading = read_results(self._world, task, call.result(), judge)
        except (Refused, NoResults) as error:
            if self._is_home(task):
                return []
            self._refused.add(task.id)
            self.outcome.note(change, "refused", error.message)
            self.outcome.errors.append(_no_results(task, error))
            return []
        except (ProviderError, OutOfTime) as error:
            self.outcome.timed_out = self.outcome.timed_out or isinstance(error, OutOfTime)
            self.outcome.note(change, "busy", error.message)
            self.outcome.warnings.append(f"results of task {task.id} ({task.batch}): {error.message}")
            return []
        self.outcome.note(change, "done", self._remarks(task, reading))
        return [reading.event]

    def _is_home(self, task: Task) -> bool:
        """Whether another run has collected it meanwhile, which is why there is nothing left to be had."""
        now = self._journal.refresh().tasks.get(task.id)
        return now is None or now.phase != ENDED

    def _remarks(self, task: Task, reading: Reading) -> str:
        remarks = []
        if reading.unreadable:
            remarks.append(f"{reading.unreadable:,} unreadable result lines")
        if reading.strangers:
            remarks.append(f"{reading.strangers:,} results for requests that were never in it")
        if remarks:
            self.outcome.warnings.append(f"task {task.id} ({task.batch}): {', '.join(remarks)}; the raw lines are kept")
        return ", ".join(remarks)

    def _cancel(self) -> None:
        """Stop what the plan says, what has had its time, and what may not have heard yet that it is to stop.

        Each is asked for once in a run, and again in the next until the provider has heard it.
        """
        now = self._world.clock.now()
        tasks = [task for task in self._tasks(OPEN) if task.id not in self._asked_to_stop]
        late = {task.id for task in tasks if gave_up(task, now) and not task.stopped}
        planned = set() if self._collects else {change.task for change in self.outcome.plan.of(Action.CANCEL)}
        heard = []
        for task in tasks:
            can = task.provider in self._world.providers and self._world.providers[task.provider].traits.cancels
            if task.id in planned or (can and (task.id in late or task.is_to_stop)):
                self._asked_to_stop.add(task.id)
                outcome, detail = cancel_task(self._world, task)
                self.outcome.note(task_change(task, Action.CANCEL, "longer than wait.give_up"), outcome, detail)
                heard += [task.id] if outcome == "done" else []
                if can and outcome != "done":
                    self.outcome.warnings.append(f"task {task.id} ({task.batch}) may go on, and be paid: {detail}")
        removed = tuple(task.id for task in tasks if task.id in planned - late and not task.stopped)
        events: list[Event] = [Stopped(tuple(late), "gave_up")] if late else []
        events += [Stopped(removed, "cancelled")] if removed else []
        self._journal.write(*events, *([Stopping(tuple(heard))] if heard else []))

    # ---- submit ----------------------------------------------------------------------------------------------------

    def _submit(self, batches: Sequence[Resolved]) -> None:
        wanted = [one for one in batches if one.demand.submit]
        if not wanted:
            return
        made = self._holdings.made
        ours = [id for ids in made.values() for id in ids]
        submission = Submission(self._world, self._journal, self._believed, self._coverage, self._limits, ours)
        try:
            report = submission.run(wanted)
        finally:
            for name, ids in submission.report.tasks.items():
                made[name] += ids
        self._be_patient(report)
        self._left |= {name for name, outcome in report.outcomes.items() if outcome in ("busy", "unsure")}
        self._skipped |= {name for name, outcome in report.outcomes.items() if outcome == "skipped"}
        for name in report.whole:
            self._holdings.all_sent(name)
        for name, outcome in report.outcomes.items():
            self.outcome.note(Change(name, Action.SUBMIT, ""), outcome, report.details.get(name, ""))
            if outcome not in ("done", "refused"):
                self.outcome.warnings.append(f"{name}: {report.details.get(name, outcome)}")
        self.outcome.errors += report.errors

    def _be_patient(self, report: Report) -> None:
        """A provider that was busy is tried again later and later: every try uploads anew."""
        self._busy = self._busy + 1 if "busy" in report.outcomes.values() else 0
        pause = min(_LONGEST_PAUSE, 0.5 * 2.0**self._busy) if self._busy else 0.0
        self._not_before = self._world.clock.now() + max(pause, report.retry_after or 0.0)

    def _submit_left(self) -> None:
        """A provider was busy, or a start did not happen: send what was approved and is in no task."""
        left, self._left = sorted(self._left), set()
        state = self._journal.state
        again = []
        for name in left:
            unstarted = [task for task in self._unstarted if task.batch == name]
            try:
                again.append(self._holdings.remaining(self._world, state, name, unstarted))
            except RunnerError as error:
                self.outcome.errors.append(error)
        self._submit(again)
        self._cover()

    def _skip_submits(self) -> None:
        for change in self.outcome.plan.of(Action.SUBMIT):
            self.outcome.note(change, "skipped")

    def _coverage(self, resolved: Resolved, tasks: Iterable[str]) -> list[Event]:
        made = {*self._holdings.made[resolved.batch.spec.name], *tasks}
        return coverage_events(self._world, self._journal.state, resolved, made)

    def _cover(self) -> None:
        """Batches that asked for nothing more are covered too: the next plan need not look at their rows."""
        relying = [one.batch.spec for name, one in self._holdings if one.borrows or name in self._skipped]
        if relying:  # what they count on another to send has been sent by now, or has not
            again, errors = resolve(self._world, relying, self._journal.state, self._options)
            self.outcome.errors += errors
            for one in again:
                self._holdings.look_again(one)
        events: list[Event] = []
        for name, one in self._holdings:
            known = self._journal.state.batches.get(name)
            current = known and known.covered and known.covered.current and known.covered.key == one.batch.key
            whole = one.complete and self._holdings.is_whole(name)
            if one.ledger is not None and whole and not current:
                events += self._coverage(one, ())
        self._journal.write(*_news(self._journal.state, events))

    # ---- dependants ------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Plan and send what waited for answers that are here by now, and what waited for that in turn."""
        while self._continues and self._dependants:
            woken = self._dependants.wake(self._journal.state, self.outcome.plan, self._meant(), self._limits)
            self.outcome.errors += woken.errors
            if not woken.resolved:
                return
            for change in woken.changes:
                self.outcome.note(change, "waiting")
            for one in woken.resolved:
                self.outcome.note(Change(one.batch.spec.name, Action.WAIT, ""), "done")
            if woken.over:
                self._leave_out(woken)
                continue
            for one in woken.resolved:
                self._holdings.add(one)
            self._journal.write(*_news(self._journal.state, self._declared(self._journal.state, woken.resolved)))
            self._submit(woken.resolved)
            self._cover()
            self._publishing.run()

    def _meant(self) -> list[Change]:
        """Everything that this run has submitted, or means to."""
        return [change for change in self.outcome.changes if change.action is Action.SUBMIT]

    def _leave_out(self, woken: Woken) -> None:
        for change in woken.changes:
            self.outcome.note(change, "skipped")
        names = ", ".join(one.batch.spec.name for one in woken.resolved)
        self.outcome.errors.append(over_error(woken.over, f"Nothing of {names}"))

    # ---- waiting ---------------------------------------------------------------------------------------------------

    def _wanted(self) -> list[Task]:
        """Open tasks that hold requests of a batch as it is now: of others nothing more is asked, or paid."""
        needed = self._holdings.needed(self._journal.state)
        return [task for task in self._tasks(OPEN) if task.id in needed]

    def _look_again(self) -> None:
        """One more round."""
        before, due = self._journal.refresh(), self._due()
        news = refresh(self._world, before, only=due)
        if self._overtaken(before, news.refused):
            return
        self.outcome.errors += [error for name, error in news.errors.items() if name not in self._mute]
        self._mute |= set(news.errors)
        self._refused |= news.refused
        self.outcome.warnings += news.warnings
        self._polling.obey(news.events, before.tasks, self._world.clock.now())
        events = _news(before, news.events)
        self._journal.write(*self._worth_writing(events))
        if self._resubmits:
            unstarted = [before.tasks[event.task] for event in events if isinstance(event, Voided)]
            self._unstarted += unstarted
            self._left |= {task.batch for task in unstarted if task.batch in self._holdings.resolved}
            if any(what.verdict == "turned away" for what in news.unsettled.values()):
                self._not_before = self._world.clock.now() + _NO_ROOM
        self._settled(news.unsettled)
        self._collect(due)
        self._cancel()
        if self._left and self._submits and self._world.clock.now() >= self._not_before:
            self._submit_left()
        self._publishing.run()
        self._go_on()

    def _overtaken(self, before: State, refused: frozenset[str]) -> bool:
        """Whether a provider knows nothing more of some tasks because another run has meanwhile brought them home."""
        if not refused:
            return False
        after = self._journal.refresh()
        return any(after.tasks.get(id) != before.tasks.get(id) for id in refused)

    def _due(self) -> Callable[[Task], bool]:
        """Tasks that this run is about and whose provider may politely be asked again."""
        tasks, about = self._tasks(*ON_ITS_WAY), self._about()
        due = self._polling.due(tasks, self._traits(), self._world.clock.now())
        return lambda task: task.provider in due and about(task)

    def _pause(self) -> float:
        """Seconds until there is somebody to ask, or something to send."""
        now = self._world.clock.now()
        waiting = [task for task in self._tasks(*ON_ITS_WAY) if self._worth(task.provider)]
        pause = self._polling.pause(waiting, self._traits(), now)
        return max(0.05, min(pause, self._not_before - now) if self._left else pause)

    def _traits(self) -> dict[str, Traits]:
        names = {task.provider for task in self._journal.state.tasks.values()} & set(self._world.providers)
        return {name: self._world.providers[name].traits for name in names}

    def _worth(self, provider: str) -> bool:
        return self._waits_for_all or needs_us(self._world, provider)

    def _providers_of_left(self) -> set[str]:
        return {self._holdings.resolved[name].batch.spec.provider for name in self._left}

    def _worth_writing(self, events: Sequence[Event]) -> list[Event]:
        """All but progress, which is written now and then: a store may be far away."""
        checked = [event for event in events if isinstance(event, Checked)]
        self._done |= {event.task: (event.progress.succeeded or 0) + (event.progress.failed or 0) for event in checked}
        if checked and self._progress_told.is_due(self._world.clock.now()):
            return list(events)
        return [event for event in events if not isinstance(event, Checked) or event.progress.phase.ended]

    def _waits_for(self) -> bool:
        if self._submits and any(map(self._worth, self._providers_of_left())):
            return True
        state = self._journal.state
        return any(
            task.on_its_way and self._worth(task.provider) and not self._is_hopeless(task)
            for task in (state.tasks[id] for id in self._holdings.needed(state))
        )

    def _is_hopeless(self, task: Task) -> bool:
        """On its way, and nothing that this run could wait for."""
        silent = task.id in self._refused or task.provider in self._mute
        silent = silent or (self._collects and needs_us(self._world, task.provider))
        late = task.stopped == "gave_up" and not needs_us(self._world, task.provider)  # what is ours stops at once
        return silent or late or self._is_unresolved(task)

    def _is_unresolved(self, task: Task) -> bool:
        """A start of which only a person can say whether it happened."""
        if task.phase != STAGED:
            return False
        named = task.provider in self._world.providers
        return not named or not self._world.providers[task.provider].traits.finds or task.id in self._undecided

    def _tell_waiting(self) -> None:
        tasks = [
            task for task in self._tasks(OPEN, ENDED, COLLECTED) if (task.collected_at or self._began) >= self._began
        ]
        self._world.progress.waiting(awaited(tasks, self._done), self._workers.tempo())

    def _check_stop(self) -> None:
        if self._world.stop.is_set():
            raise Interrupted

    # ---- counting --------------------------------------------------------------------------------------------------

    def _count(self, state: State, name: str) -> Counts:
        one = self._holdings.resolved[name]
        known = state.batches.get(name)
        needs = self._holdings.needs(state, name)
        if known and known.published and known.published.key == publish_key(one.batch, needs):
            return known.published.counts
        counts = estimate_counts(needs, one.demand.rows)
        held = one.held is Held.CANCELLED or (known is not None and known.cancelled)
        if held and not any(task.on_its_way for task in needs):  # what was not sent is not going to be
            return replace(counts, missing=counts.missing + counts.pending, pending=0)
        return counts


def _news(state: State, events: Iterable[Event]) -> list[Event]:
    """The events that change a belief: progress that stands still is not worth a write."""
    found = []
    for event in events:
        after = fold(state, event)
        if after != state:
            found.append(event)
        state = after
    return found


def _no_results(task: Task, error: RunnerError) -> RunnerError:
    """The provider refuses what it owes: a person decides whether to ask for it again."""
    failed = RunnerError(
        f"the results of task {task.id} of {task.batch} cannot be had: {error.message}",
        hint="Mend the cause and apply again; or give them up, and let its requests be sent (and paid) again:",
        commands=[f"runner state abandon {task.id}"],
        code="results-refused" if error.code == Refused.code else error.code,
    )
    failed.exit_code = error.exit_code
    return failed
