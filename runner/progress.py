"""Work that goes on, as values: how far it is, how fast, and how long it may still take."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

UPLOADING, DOWNLOADING = "uploading", "downloading"


@dataclass(frozen=True)
class Step:
    """One kind of work.  ``total``: how much of it there is, where that is known."""

    what: str
    done: int = 0
    total: int | None = None

    @property
    def phase(self) -> str:
        """What kind of work it is: "rendering a" and "rendering b" are one."""
        return self.what.partition(" ")[0]


@dataclass(frozen=True)
class Transfer:
    """Bytes that travel.  ``total``: None where nobody says how many there will be."""

    way: str
    moved: int = 0
    total: int | None = None


@dataclass(frozen=True)
class Awaited:
    """A spec whose rows are on their way.  Times are Unix seconds.

    ``until``: when the first of its tasks has had the time that its provider was given.
    """

    spec: str
    tasks: int
    done: int
    total: int
    since: float
    until: float | None = None


@dataclass(frozen=True)
class Going:
    """Something with how fast it goes, per second; None while nothing can be said."""

    what: Step | Transfer | Awaited
    rate: float | None = None
    files: int = 1
    """How many transfers it is the sum of."""


@dataclass(frozen=True)
class Picture:
    """Everything that goes on at a moment.  ``tempo``: the words of those that ask one by one."""

    now: float
    """Unix seconds."""
    step: Going | None = None
    transfers: tuple[Going, ...] = ()
    awaited: tuple[Going, ...] = ()
    tempo: str = ""


class Pace:
    """How fast something goes, by looks at it over the last ``span`` seconds of any one clock."""

    def __init__(self, span: float) -> None:
        self._span = span
        self._looks: deque[tuple[float, int]] = deque(maxlen=1_000)

    def saw(self, at: float, done: int) -> None:
        """That so much is done.  Less than before: something else has begun."""
        if self._looks and done < self._looks[-1][1]:
            self._looks.clear()
        if len(self._looks) > 1 and at - self._looks[-2][0] < self._span / 100:
            self._looks.pop()
        self._looks.append((at, done))
        while len(self._looks) > 2 and at - self._looks[0][0] > self._span:
            self._looks.popleft()

    @property
    def rate(self) -> float | None:
        """Per second; None before two looks at different moments, and while nothing moves."""
        if not self._looks:
            return None
        (begun, before), (at, done) = self._looks[0], self._looks[-1]
        return (done - before) / (at - begun) if at > begun and done > before else None


def average(awaited: Awaited, now: float) -> float | None:
    """Rows a second since its first task was started."""
    return awaited.done / (now - awaited.since) if awaited.done and now > awaited.since else None


def seconds_left(going: Going) -> float | None:
    """How long it takes to its end if it goes on like that."""
    what = going.what
    done = what.moved if isinstance(what, Transfer) else what.done
    if not going.rate or not what.total or done >= what.total:
        return None
    return (what.total - done) / going.rate


def summed(transfers: Sequence[Transfer]) -> Transfer:
    """All transfers of one way as one; its total is known where all of theirs are."""
    totals = [transfer.total for transfer in transfers]
    known = [total for total in totals if total is not None]
    total = sum(known) if len(known) == len(totals) else None
    return Transfer(transfers[0].way, sum(transfer.moved for transfer in transfers), total)
