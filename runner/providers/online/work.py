"""What there is to ask: tasks, their questions, and how often each was asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from runner.errors import RunnerError
from runner.provider import Job
from runner.providers.online.queue import Question, Queue


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
    """Asked, waiting for another try, or answered and not on disk yet."""
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
