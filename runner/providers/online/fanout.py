"""Ask an endpoint all that some queues hold, in a thread of its own, so that the rest of a run can go on meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from threading import Lock, Thread
from typing import TypeVar, cast

from runner.edge.secrets import Scrubber
from runner.errors import ProviderError, Refused, RunnerError
from runner.provider import Job
from runner.providers.chat import PATHS
from runner.providers.online.asking import LOOK, Manner, Run, Work
from runner.providers.online.door import NotYet, Target
from runner.providers.online.queue import Question, Queue, Tally

T = TypeVar("T")

AHEAD = 64
"""So many tasks are held open at once: each of them takes files."""


class Fanout:
    """One endpoint's questions.  ``open_door``: where it is; ``scrub``: makes text from it fit to be shown."""

    def __init__(
        self,
        open_door: Callable[[], Target | NotYet],
        url: Callable[[Target, str], str],
        manner: Manner,
        scrub: Scrubber,
    ) -> None:
        self._open_door = open_door
        self._url = url
        self._manner = manner
        self._scrub = scrub
        self._lock = Lock()
        self._work: dict[str, Work] = {}
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._run: Run | None = None
        self._halted: RunnerError | None = None
        self._answers = 0
        self._word = ""

    # From any thread

    def work(self, jobs: Sequence[Job], folder: Path) -> None:
        """Take up those of ``jobs`` that nobody asks yet."""
        with self._lock:
            if self._halted is not None:
                return
            room = AHEAD - sum(not work.finished for work in self._work.values())
            for job in jobs:
                if room > 0 and job.task not in self._work and (taken := _taken_up(job, Queue(folder, job.task))):
                    self._work[job.task] = taken
                    room -= 1
            self._start()

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        if any(not work.finished for work in self._work.values()):
            self._run = Run(self._manner, self._works, self._scrub, self._answers)
            self._thread = Thread(target=self._main, name="asking", daemon=True)
            self._thread.start()

    def tally(self, task: str) -> Tally | None:
        """How far a task is that is worked on here; None for any other.  Raises RunnerError once all had to stop."""
        with self._lock:
            work = self._work.get(task)
            if work is None:
                return None
            if self._halted is not None and not work.finished:
                raise self._halted
            return Tally(work.answered, work.failed)

    def is_busy_with(self, task: str) -> bool:
        with self._lock:
            work = self._work.get(task)
            return work is not None and not work.finished and self._halted is None

    def is_through(self, task: str) -> bool:
        """Whether all that the queue of a task holds came to something."""
        with self._lock:
            work = self._work.get(task)
            return work is not None and work.finished

    @property
    def word(self) -> str:
        """The endpoint's own word while it is not there yet."""
        return self._word

    def tempo(self) -> str:
        run, word = self._run, self._word
        if word:
            return f"the endpoint is {word}"
        return run.tempo() if run is not None else ""

    def forget(self, task: str) -> None:
        with self._lock:
            if (work := self._work.pop(task, None)) is not None:
                work.queue.release()

    def rest(self, patience: float) -> None:
        """Ask nothing more; what is in flight gets ``patience`` seconds."""
        run, loop, thread = self._run, self._loop, self._thread
        if run is not None:
            run.rest(patience)
            if loop is not None:
                with suppress(RuntimeError):  # it ended by itself, or belongs to an earlier thread
                    loop.call_soon_threadsafe(run.wake)
        if thread is not None:
            thread.join(patience + 5)
        with self._lock:
            for work in self._work.values():
                work.queue.release()
            self._work.clear()

    # In the thread

    def _main(self) -> None:
        try:
            asyncio.run(self._asked())
        except Exception as error:
            with self._lock:
                self._halted = _final(error)
        finally:
            if self._run is not None:
                self._answers = self._run.answers
            self._run = None

    async def _asked(self) -> None:
        assert self._run is not None
        self._loop = asyncio.get_running_loop()
        target = await self._target(self._run)
        if target is not None:
            await self._run.all(target, self._url)

    def _works(self) -> list[Work]:
        with self._lock:
            return list(self._work.values())

    async def _target(self, run: Run) -> Target | None:
        """The endpoint, once it is there; None if asked to rest before.  Raises RunnerError if it does not come within
        the longest wait.max of its tasks, from now on."""
        begun = time.monotonic()
        while not run.resting:
            found = await _in_daemon(self._open_door)
            if isinstance(found, Target):
                self._word = ""
                return found
            self._word = found.word
            patience = max((work.job.max_wait for work in self._works()), default=0)
            if time.monotonic() - begun > patience:
                raise RunnerError(
                    f"{found.what} is still {found.word} after wait.max",
                    hint="See its console, then apply again.",
                    code="deployment-down",
                )
            await run.nap(LOOK)
        return None


async def _in_daemon(call: Callable[[], T]) -> T:
    """The call's outcome, from a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(cast(T, result))

    def run() -> None:
        result, failure = None, None
        try:
            result = call()
        except Exception as error:
            failure = error
        with suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(tell, result, failure)

    Thread(target=run, name="door", daemon=True).start()
    return await outcome


def _taken_up(job: Job, queue: Queue) -> Work | None:
    """A task that is ours to ask from now on; None while another process asks it, or where it need not be asked."""
    try:
        if not queue.exists or queue.cancelled or not queue.acquire():
            return None
        answered = queue.open()
    except FileNotFoundError:  # another process has just brought its results home
        queue.release()
        return None
    tally = queue.tally()
    return Work(job, queue, _sound(queue.questions(answered)), tally.answered, tally.failed)


def _sound(questions: Iterator[Question]) -> Iterator[Question]:
    """What can be read of a file that the disk may have spoilt.  A task that lacks some is not through, and says so,
    while the others go on."""
    with suppress(LookupError, RecursionError, TypeError, ValueError):
        yield from takewhile(lambda question: question.path in PATHS, questions)


def _final(error: Exception) -> RunnerError:
    """Why all had to stop, as an error that is not taken for a word on one task alone."""
    if isinstance(error, OSError):
        return _disk(error)
    if not isinstance(error, RunnerError):
        return RunnerError(
            f"asking stopped: {type(error).__name__}: {error}", hint="This is a bug in runner.", code="70"
        )
    if isinstance(error, ProviderError) and not (isinstance(error, Refused) and error.credentials):
        return RunnerError(error.message, where=error.where, hint=error.hint, code=error.code)
    return error


def _disk(error: OSError) -> RunnerError:
    return RunnerError(
        f"answers cannot be written: {error.strerror or error}",
        where=str(error.filename or ""),
        hint="What was written before is kept: mend the cause and apply again.",
        code="disk-refused",
    )
