"""One run over the questions of an endpoint, in an event loop: what is in flight, what waits for another try.

An answer counts once it is on disk: only then is its place in flight given to another question.  So a process that is
killed at any moment leaves no more questions to be asked a second time than were in flight.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from runner.edge.asking import Asker
from runner.edge.http import Reply
from runner.edge.secrets import Scrubber
from runner.errors import Busy, ProviderError, Refused, RunnerError
from runner.provider import Job
from runner.providers.loose import bounded_loads
from runner.providers.online.book import Book
from runner.providers.online.door import Target
from runner.providers.online.pace import LONGEST_PAUSE, LONGEST_WISH, Pace, used_up
from runner.providers.online.queue import Question, Queue, answer_line, error_line
from runner.providers.online.sse import ANSWER, Stream
from runner.providers.online.tempo import Tempo
from runner.providers.online.verdict import (
    Again,
    Halt,
    Settled,
    Verdict,
    cannot_go_on,
    casts_doubt,
    judge,
    misfortune,
    without_secrets,
)
from runner.providers.vectors import EMBEDDINGS_PATH

BACK_OFF = 0.5
"""Seconds before the second try; doubled for each further one, times 0.5 to 1.5."""
LONGEST_BACK_OFF = 60.0
TURNED_AWAY = 10
"""So many times its attempts a question may be turned away while others are answered."""
LATELY = 1.0
"""Seconds before a question was asked in which another one's answer still shows that others are answered."""
UNREACHABLE = (15.0, 120.0)
"""Seconds without a connection after which it is given up: before the first answer, and after it."""
LANDING = 30.0
"""Seconds that what is in flight may still take once nothing more is to be asked."""
LOOK = 2.0
"""Seconds between two looks at an endpoint that is not there yet, and at whether a task was cancelled."""


@dataclass(frozen=True)
class Manner:
    """How an endpoint is asked.  Times in seconds."""

    concurrency: int
    stream: bool
    timeout: float
    """Until a whole answer is there."""
    silence: float
    """Without a byte."""


@dataclass
class Work:
    """A task that is being worked on."""

    job: Job
    queue: Queue
    feed: Iterator[Question]
    answered: int = 0
    failed: int = 0
    in_flight: int = 0
    """Asked, or waiting for another try."""
    fed: bool = False
    """All that it holds has been taken up."""

    @property
    def finished(self) -> bool:
        return self.fed and not self.in_flight


@dataclass(order=True)
class Try:
    """A question in its so-manieth asking, due at a time of the monotonic clock."""

    due: float
    number: int
    work: Work = field(compare=False)
    question: Question = field(compare=False)
    asked: int = field(default=0, compare=False)
    """Askings that count."""
    turned_away: int = field(default=0, compare=False)
    since: float = field(default=math.inf, compare=False)
    """When its last asking ended, or its first began."""


@dataclass(frozen=True)
class Doubt:
    """A failure that may be the endpoint's rather than its row's.  ``error``: what it means if it is."""

    one: Try
    line: bytes
    reason: str
    error: RunnerError | None = None


class Run:
    """The event loop's side: what is in flight, what waits for another try, what is being written."""

    def __init__(self, manner: Manner, works: Callable[[], list[Work]], scrub: Scrubber, answers: int = 0) -> None:
        """``answers``: of this endpoint, before this run."""
        self._manner = manner
        self._works = works
        self._scrub = scrub
        self._pace = Pace(manner.concurrency)
        self._again: list[Try] = []
        self._flying: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._number = 0
        self.answers = answers
        self._answered_at = -math.inf
        self._doubtful: list[Doubt] = []
        """Failures since the last answer."""
        self._unreachable_since: float | None = None
        self._tempo = Tempo(time.monotonic())
        self._halt: Exception | None = None
        self._last_look = 0.0
        self._book = Book()
        self._ends_at = math.inf

    def rest(self, patience: float) -> None:
        """Ask nothing more, and drop what is in flight after so long.  From any thread; :meth:`wake` makes it heard."""
        self._ends_at = time.monotonic() + patience

    @property
    def resting(self) -> bool:
        return self._ends_at < math.inf

    def wake(self) -> None:
        self._changed.set()

    async def nap(self, seconds: float) -> None:
        """Sleep, or until something happens."""
        self._changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), max(0.0, seconds))

    async def all(self, target: Target, url: Callable[[Target, str], str]) -> None:
        """Ask until nothing is left, or until told to rest.  Raises RunnerError for what waiting does not cure."""
        asker = Asker(self._manner.concurrency, self._scrub)
        writer = asyncio.create_task(self._book.write())
        try:
            while not self.resting and self._halt is None:
                if writer.done():
                    break
                now = time.monotonic()
                one = self._next(now)
                if one is None:
                    if not self._flying and not self._again and all(work.fed for work in self._works()):
                        await self._conclude()
                        break
                    await self.nap(self._pause(now))
                    continue
                flight = asyncio.create_task(self._fly(asker, target, url, one))
                self._flying.add(flight)
                flight.add_done_callback(self._landed)
            await self._let_land()
        finally:
            self._book.close()
            await writer
            await asker.close()
        if self._halt is not None:
            raise self._halt

    async def _let_land(self) -> None:
        """Give what is in flight its time, then drop it: it will be asked again."""
        until = time.monotonic() + LANDING
        while self._flying and (left := min(until, self._ends_at) - time.monotonic()) > 0:
            await self.nap(left)
        for flight in list(self._flying):
            flight.cancel()
        if self._flying:
            await asyncio.wait(self._flying)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flying.discard(flight)
        if not flight.cancelled() and (error := flight.exception()) is not None:
            self._halt = self._halt or (
                error if isinstance(error, Exception) else RunnerError(f"asking stopped: {error!r}", code="70")
            )
        self._changed.set()

    # What is next

    def _next(self, now: float) -> Try | None:
        """The next question to ask now, if any may be asked."""
        if len(self._flying) >= self._pace.limit or now < self._pace.not_before:
            return None
        if self._again and self._again[0].due <= now:
            return heapq.heappop(self._again)
        works = self._works()
        if now - self._last_look > LOOK:
            self._last_look = now
            self._drop_cancelled(works)
        for work in works:
            if work.fed:
                continue
            question = next(work.feed, None)
            if question is not None:
                work.in_flight += 1
                self._number += 1
                return Try(now, self._number, work, question)
            work.fed = True
        return None

    def _drop_cancelled(self, works: Sequence[Work]) -> None:
        for work in works:
            if work.finished or not work.queue.cancelled:
                continue
            work.fed = True
            waiting = [one for one in self._again if one.work is work]
            self._again = [one for one in self._again if one.work is not work]
            heapq.heapify(self._again)
            self._let_go(work, len(waiting))

    @staticmethod
    def _let_go(work: Work, count: int = 1) -> None:
        """So many questions of it are no longer on their way."""
        work.in_flight -= count
        if work.finished:
            work.queue.release()

    def _pause(self, now: float) -> float:
        """How long nothing can be asked, as far as can be told; whatever lands ends the pause."""
        if len(self._flying) >= self._pace.limit:
            return LOOK
        due = min([one.due for one in self._again[:1]], default=now + LOOK)
        return min(LOOK, max(due, self._pace.not_before) - now)

    # One asking

    async def _fly(self, asker: Asker, target: Target, url: Callable[[Target, str], str], one: Try) -> None:
        reply: Reply | None = None
        one.since = min(one.since, time.monotonic())
        try:
            reply, body = await self._ask(asker, target, url, one.question)
            verdict: Verdict = judge(reply, body)
        except Refused:
            raise
        except ProviderError as error:
            verdict = self._unheard(error)
        if reply is not None:
            self._unreachable_since = None
            if (wait := used_up(reply.headers)) is not None:
                self._pace.wait(time.monotonic(), min(wait, LONGEST_PAUSE))
        if isinstance(verdict, Settled) and reply is not None and casts_doubt(reply):
            self._doubt(one, reply, verdict)
            return
        await self._act(one, verdict)

    async def _ask(
        self, asker: Asker, target: Target, url: Callable[[Target, str], str], question: Question
    ) -> tuple[Reply, Any]:
        body = question.body
        stream = Stream() if self._manner.stream and not question.path.endswith(EMBEDDINGS_PATH) else None
        if stream is not None:
            body = b'%b,"stream":true,"stream_options":{"include_usage":true}}' % body[:-1]
        reply = await asker.ask(
            url(target, question.path),
            target.headers,
            body,
            silence=self._manner.silence,
            whole=self._manner.timeout,
            listener=stream,
        )
        return reply, _json(reply.data) if reply.data or stream is None else stream.body()

    def _unheard(self, error: ProviderError) -> Verdict:
        """A call that came to no reply.  No connection for long ends the run."""
        if isinstance(error, Busy):
            now = time.monotonic()
            since = self._unreachable_since = self._unreachable_since or now
            if now - since > UNREACHABLE[self.answers > 0]:
                hint = "What was answered is kept: apply again once it can be reached."
                return Halt(RunnerError(error.message, where=error.where, hint=hint, code="unreachable"))
            self._pace.wait(now, min(8.0, 0.5 + (now - since) / 2))
        return misfortune(error)

    def _doubt(self, one: Try, reply: Reply, settled: Settled) -> None:
        """A no that may be about the endpoint rather than the question: about the endpoint, if it never answers."""
        self._pace.hear(time.monotonic(), refused=False)
        error = self._scrubbed(cannot_go_on(reply, settled))
        self._set_aside(Doubt(one, self._line(one, settled), error.message, error))

    # What it came to

    async def _act(self, one: Try, verdict: Verdict) -> None:
        if isinstance(verdict, Halt):
            self._halt = self._halt or self._scrubbed(verdict.error)
            return
        now = time.monotonic()
        if isinstance(verdict, Settled):
            self._pace.hear(now, refused=False)
            await self._keep(one, verdict)
            return
        others_answered = self._answered_at > one.since - LATELY
        one.since = now
        if verdict.code != "unreachable":  # nothing was sent then, and `_unheard` says when to knock again
            self._pace.hear(now, refused=not verdict.unusable)
            if verdict.turned_away and not others_answered and verdict.pause is not None:
                self._pace.wait(now, verdict.pause)
            if verdict.turned_away and others_answered and one.turned_away < TURNED_AWAY * one.work.job.attempts:
                one.turned_away += 1
            else:
                one.asked += 1
        if one.asked >= one.work.job.attempts:
            await self._give_up(one, verdict)
            return
        one.due = now + self._back_off(one, verdict)
        heapq.heappush(self._again, one)

    def _back_off(self, one: Try, verdict: Again) -> float:
        jitter = 0.5 + random.random()  # noqa: S311 - spreads load, keeps no secret
        own = min(LONGEST_BACK_OFF, BACK_OFF * 2.0 ** max(0, one.asked + min(one.turned_away, 4) - 1)) * jitter
        return own if verdict.pause is None else min(verdict.pause, LONGEST_WISH) + 0.1 * own

    async def _give_up(self, one: Try, verdict: Again) -> None:
        """Tried as often as it may be.  That is believed once another question was answered, or none is left.

        An endpoint that answers nobody is not well: it is not asked on, and none of its failures is laid to a row.
        """
        line = self._failure_line(one, verdict)
        if verdict.unusable:  # it was answered, and perhaps paid
            await self._record(one, line, ok=False)
        else:
            self._set_aside(Doubt(one, line, verdict.reason))

    def _set_aside(self, doubt: Doubt) -> None:
        self._doubtful.append(doubt)
        if len(self._doubtful) >= max(20, self._manner.concurrency):
            self._halt = (
                self._halt
                or self._wrong_door()
                or RunnerError(
                    f"the last {len(self._doubtful)} questions all came to nothing: {self._scrub(doubt.reason)}",
                    hint="What was answered is kept, the rest is not asked: apply again once the endpoint is well.",
                    code="endpoint-unwell",
                )
            )

    def _wrong_door(self) -> RunnerError | None:
        """What the doubts amount to where no question was ever answered, in this run or before."""
        if self.answers or any(work.answered for work in self._works()):
            return None
        return next((doubt.error for doubt in self._doubtful if doubt.error is not None), None)

    async def _conclude(self) -> None:
        """Nothing is left to ask."""
        self._halt = self._halt or self._wrong_door()
        if self._halt is None:
            await self._believe_failures()

    async def _believe_failures(self) -> None:
        doubtful, self._doubtful = self._doubtful, []
        await asyncio.gather(*[self._record(doubt.one, doubt.line, ok=False) for doubt in doubtful])

    def _failure_line(self, one: Try, verdict: Again) -> bytes:
        id, settled = one.question.id, verdict.settled
        if settled is not None:
            body = without_secrets(settled.body, self._scrub)
            return answer_line(id, settled.status, body, ok=False, attempts=one.asked, exhausted=True)
        error = {"code": verdict.code, "message": self._scrub(verdict.reason, 1_000)}
        return error_line(id, error, attempts=one.asked, exhausted=True)

    async def _keep(self, one: Try, settled: Settled) -> None:
        await self._record(one, self._line(one, settled), ok=settled.failure is None)
        self.answers += 1
        self._answered_at = time.monotonic()
        self._tempo.count(settled.usage, self._answered_at)
        await self._believe_failures()

    def _line(self, one: Try, settled: Settled) -> bytes:
        ok, id = settled.failure is None, one.question.id
        body = settled.body if ok else without_secrets(settled.body, self._scrub)
        return answer_line(id, settled.status, body, ok=ok, attempts=one.asked + 1, exhausted=False)

    async def _record(self, one: Try, line: bytes, *, ok: bool) -> None:
        """Returns when the line is on disk."""
        await self._book.enter(one.work.queue, line)
        one.work.answered += ok
        one.work.failed += not ok
        self._let_go(one.work)

    def _scrubbed(self, error: RunnerError) -> RunnerError:
        error.message = self._scrub(error.message, 600)
        error.args = (error.message,)
        return error

    def tempo(self) -> str:
        return self._tempo.words(time.monotonic())


def _json(data: bytes) -> Any:
    try:
        return bounded_loads(data, ANSWER)
    except ValueError:
        return None
