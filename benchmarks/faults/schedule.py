"""What is to go wrong in one project's life, as plain values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

FATAL = ("before", "middle", "after", "cut-before", "cut-middle", "cut-after")
"""The process is killed before, half-way through or after the effect; ``cut``: and the machine loses its power."""
DISK = ("full", "read-only", "io-error")
"""The disk is full, or read-only, from then on; or one call to it fails."""
REPLY = ("refused", "429", "lost", "torn", "500")
"""No connection; turned away; done, and then no reply, half a reply, or an error in its place."""
SIGNALS = ("SIGINT", "SIGTERM")

MANNERS = (*FATAL, *DISK, *REPLY, *SIGNALS)


@dataclass(frozen=True, order=True)
class Point:
    """An effect of a run, such as ``POST /v1/batches`` or ``write FILE``: the ``nth`` (from 1) of its like."""

    effect: str
    nth: int

    @property
    def over_http(self) -> bool:
        return self.effect.partition(" ")[0].isupper()

    @property
    def manners(self) -> tuple[str, ...]:
        """The ways in which this effect can go wrong."""
        if self.over_http:
            return (*FATAL, *REPLY, *SIGNALS)
        halves = self.effect.startswith("write ")
        return tuple(manner for manner in (*FATAL, *DISK, *SIGNALS) if halves or not manner.endswith("middle"))


@dataclass(frozen=True)
class Upset:
    """One effect, and how it goes wrong."""

    point: Point
    manner: str

    @property
    def is_cut(self) -> bool:
        return self.manner.startswith("cut-")


@dataclass(frozen=True)
class Run:
    """One `runner apply`.  ``wait``: with `--wait`; ``ahead``: seconds that its own clock is ahead of the others'."""

    upsets: tuple[Upset, ...] = ()
    wait: bool = True
    ahead: float = 0


@dataclass(frozen=True)
class Schedule:
    """Rounds of runs, those of a round side by side, and what the world is like meanwhile.

    ``lag``: seconds until a new task is listed; ``skew``: seconds that the provider's clock is ahead of ours;
    ``away``: each run on a machine of its own, so that nobody can tell whether another one still lives; ``shared``: two
    specs that ask some of the same; ``trouble``: what the provider does to a task or a question.  ``number`` seeds what
    a power cut leaves.
    """

    place: str
    number: int = 0
    rounds: tuple[tuple[Run, ...], ...] = ()
    lag: float = 0
    skew: float = 0
    away: bool = False
    shared: bool = False
    trouble: str = ""

    @property
    def upsets(self) -> tuple[Upset, ...]:
        return tuple(upset for runs in self.rounds for run in runs for upset in run.upsets)

    def __str__(self) -> str:
        """One line of JSON; `parse` is its inverse."""
        return json.dumps({**vars(self), "rounds": [[_to_json(run) for run in runs] for runs in self.rounds]})


def _to_json(run: Run) -> list[Any]:
    upsets = [[upset.point.effect, upset.point.nth, upset.manner] for upset in run.upsets]
    return [run.wait, upsets, *([run.ahead] if run.ahead else [])]


def parse(text: str) -> Schedule:
    """What `str` of a schedule says.  Raises ValueError, KeyError, TypeError for anything else."""
    data = json.loads(text)
    rounds = tuple(tuple(_run(*run) for run in runs) for runs in data.pop("rounds"))
    return Schedule(rounds=rounds, **data)


def _run(wait: bool, upsets: list[list[Any]], ahead: float = 0) -> Run:
    return Run(tuple(Upset(Point(effect, nth), manner) for effect, nth, manner in upsets), wait, ahead)
