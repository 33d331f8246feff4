"""Schedules from a seed: every effect of every place upset in each way it can be, and lives that meet with more."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from benchmarks.faults.places import HASTY, TROUBLES, UNHEARD_OF
from benchmarks.faults.schedule import Point, Run, Schedule, Upset

Table = Mapping[str, Sequence[Point]]
"""Place → the effects of a whole apply there."""

LAGS = (0.0, 0.0, 20.0, 400.0)
"""Seconds until a new task is listed: within the quarter of an hour after which an absence is believed."""
SKEWS = (0.0, 0.0, -240.0, -60.0, 60.0, 240.0)
"""Seconds between the provider's clock and ours: with those below within the five minutes that are put up with."""
OUR_SKEWS = (0.0, -50.0, 50.0)
"""Seconds between the clocks of two machines of ours."""


def singles(table: Table) -> list[Schedule]:
    """One upset each: every effect of every place, in every manner."""
    return [
        Schedule(place, rounds=((Run((Upset(point, manner),)),),))
        for place, points in table.items()
        for point in points
        for manner in point.manners
    ]


def schedules(seed: int, table: Table) -> Iterator[Schedule]:
    """For ever: one upset alone, and a life with several, in turns; then such lives only."""
    chance = random.Random(seed)
    alone = singles(table)
    chance.shuffle(alone)
    numbers = itertools.count(seed * 1_000_000)
    for single in alone:
        yield replace(single, number=next(numbers))
        yield _life(chance, next(numbers), table)
    for number in numbers:
        yield _life(chance, number, table)


def _life(chance: random.Random, number: int, table: Table) -> Schedule:
    place, away = chance.choice(list(table)), chance.random() < 0.3
    return Schedule(
        place,
        number,
        tuple(_round(chance, table[place], away=away) for _ in range(chance.choice((1, 1, 2, 3)))),
        lag=0.0 if place in HASTY else chance.choice(LAGS),
        skew=0.0 if place in HASTY else chance.choice(SKEWS),
        away=away,
        shared=chance.random() < 0.3,
        trouble=_trouble(chance, place) if chance.random() < 0.3 else "",
    )


def _trouble(chance: random.Random, place: str) -> str:
    return chance.choice([trouble for trouble in TROUBLES if (place, trouble) not in UNHEARD_OF])


def _round(chance: random.Random, points: Sequence[Point], *, away: bool) -> tuple[Run, ...]:
    """One run, or two side by side; in the same room they share a power supply, and their clock."""
    if chance.random() < 0.75:
        return (_run(chance, points, cuts=True, away=away),)
    return tuple(_run(chance, points, cuts=False, away=away) for _ in range(2))


def _run(chance: random.Random, points: Sequence[Point], *, cuts: bool, away: bool) -> Run:
    """``cuts``: the machine may lose its power, which no run beside this one would outlive."""
    return Run(
        tuple(_upset(chance, points, cuts=cuts) for _ in range(chance.choice((0, 1, 1, 2)))),
        wait=chance.random() < 0.7,
        ahead=chance.choice(OUR_SKEWS) if away else 0,
    )


def _upset(chance: random.Random, points: Sequence[Point], *, cuts: bool) -> Upset:
    """As often over HTTP as on a file, although those are many more."""
    over_http = chance.random() < 0.5
    point = chance.choice([point for point in points if point.over_http == over_http])
    manners = [manner for manner in point.manners if cuts or not manner.startswith("cut-")]
    return Upset(point, chance.choice(manners))
