"""How a task goes, as a pure function of when it was created, how large it is, and what time it is."""

from __future__ import annotations

from dataclasses import dataclass

PENDING = "pending"
RUNNING = "running"
CANCELLING = "cancelling"
ENDED = "ended"

SMALL_ROWS = 20
SMALL_SECONDS = 0.3
SECONDS = 1.5
PENDING_SHARE = 0.1
"""The part of its life that a task spends pending."""
CANCELLING_SECONDS = 0.1


@dataclass(frozen=True)
class Moment:
    """Where a task stands.  ``done`` is the share of its rows that are finished, from 0 to 1."""

    phase: str
    started: float | None = None
    ended: float | None = None
    done: float = 0.0


@dataclass(frozen=True)
class Course:
    """What decides how long a task takes.  ``seconds`` replaces the usual duration; all are divided by ``speed``."""

    created: float
    rows: int
    seconds: float | None = None
    endless: bool = False
    rejected: bool = False
    """Its file was found bad: it ends when others begin to run."""
    cancelled: float | None = None
    """When it was cancelled: the rows that will ever be finished are finished by then."""

    def at(self, now: float, speed: float) -> Moment:
        usual = SMALL_SECONDS if self.rows <= SMALL_ROWS else SECONDS
        duration = (usual if self.seconds is None else self.seconds) / speed
        started = self.created + duration * PENDING_SHARE
        if self.cancelled is not None:
            return self._cancelled_at(now, min(started, self.cancelled), self.cancelled + CANCELLING_SECONDS / speed)
        ended = started if self.rejected else self.created + duration
        if now < started:
            return Moment(PENDING)
        if self.endless:
            return Moment(RUNNING, started, None, 0.5)
        if now < ended:
            return Moment(RUNNING, started, None, (now - started) / (ended - started))
        return Moment(ENDED, started, ended, 1.0)

    def _cancelled_at(self, now: float, started: float, ended: float) -> Moment:
        return Moment(CANCELLING, started, None, 1.0) if now < ended else Moment(ENDED, started, ended, 1.0)
