"""Thousands of disturbed applies, judged by the bill.

``python -m benchmarks.faults --schedules 10000 --seed 1``

Each schedule is the life of a small project at one provider type: runs of `runner apply` that are killed, lied to, cut
off from their disk or raced by another one; then undisturbed runs until all is quiet.  A failing schedule is printed
with the command that plays it again.  Takes about half an hour on two cores, no network, and nothing but the standard
library and what runner needs.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice

from benchmarks.faults.company import company
from benchmarks.faults.draw import Table, schedules, singles
from benchmarks.faults.places import ONLINE, PLACES, TAGLESS
from benchmarks.faults.schedule import Run, Schedule, parse
from benchmarks.faults.theatre import Story

SHOWN = 10
"""Failing schedules that are printed."""
TELL_EVERY = 10.0
"""Seconds between two words on how far it is."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="schedules played side by side")
    parser.add_argument("--place", action="append", choices=PLACES, help="only this provider type; may be repeated")
    parser.add_argument("--replay", metavar="SCHEDULE", help="play one schedule, as a failing one is printed")
    parser.add_argument("--times", type=int, default=1, help="how often to play it: threads are not told when to run")
    options = parser.parse_args()
    with company(options.jobs) as players:
        if options.replay:
            return _replay(players.replay(parse(options.replay), options.times))
        table = _table(players.play(Schedule(place, rounds=((Run(),),)) for place in options.place or PLACES))
        wanted = islice(schedules(options.seed, table), options.schedules)
        stories = list(_told(players.play(wanted), options.schedules))
    return _report(stories, len(singles(table)))


def _table(stories: Iterable[Story]) -> Table:
    """The effects of an undisturbed apply at each place."""
    table = {}
    for story in stories:
        if story.breaches:
            raise SystemExit(f"{story.schedule.place} fails undisturbed: {story.breaches}")
        table[story.schedule.place] = sorted(set(story.trace))
    return table


def _told(stories: Iterable[Story], total: int) -> Iterator[Story]:
    """Say now and then, on standard error, how far it is."""
    begun = told = time.monotonic()
    for count, story in enumerate(stories, start=1):
        if time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            left = (told - begun) / count * (total - count)
            print(f"{count:,} of {total:,} schedules, {left:.0f} s left", file=sys.stderr, flush=True)
        if story.breaches:
            print(f"\n{_failing(story)}", file=sys.stderr, flush=True)
        yield story


# ---- what came of it -----------------------------------------------------------------------------------------------

_COLUMNS = ("schedules", "upsets", "kills", "power cuts", "duplicates", "lost", "unresolved", "asked again", "broken")


def _report(stories: Iterable[Story], alone: int) -> int:
    stories = list(stories)
    by_place: dict[str, Counter[str]] = defaultdict(Counter)
    for story in stories:
        by_place[story.schedule.place] += _figures(story)
    total = sum(by_place.values(), Counter())
    print(f"{'':<20}{''.join(f'{column:>13}' for column in _COLUMNS)}")
    for place in [place for place in PLACES if place in by_place]:
        _line(place, by_place[place])
    _line("all", total)
    struck = len({upset for story in stories for upset in story.schedule.upsets if _is_alone(story)})
    print(f"\n{struck:,} of {alone:,} single upsets played (an effect of a provider, in one of its manners)")
    for places, what in ((TAGLESS, "unresolved"), (ONLINE, "asked again")):
        print(f"{what} at {', '.join(places)}: {sum(by_place[name][what] for name in places):,}")
    _show([story for story in stories if story.breaches])
    print(
        f"schedules {total['schedules']}, duplicates {total['duplicates']}, lost {total['lost']}, "
        f"unresolved {total['unresolved']}, broken promises {total['broken']}"
    )
    return 1 if total["broken"] else 0


def _is_alone(story: Story) -> bool:
    return len(story.schedule.upsets) == 1


def _figures(story: Story) -> Counter[str]:
    return Counter(
        {
            "schedules": 1,
            "upsets": story.struck,
            "kills": story.kills,
            "power cuts": story.cuts,
            "duplicates": story.verdict.duplicates,
            "lost": story.verdict.lost,
            "unresolved": story.operated,
            "asked again": story.verdict.again,
            "broken": bool(story.breaches),
        }
    )


def _line(name: str, figures: Counter[str]) -> None:
    print(f"{name:<20}{''.join(f'{figures[column]:>13,}' for column in _COLUMNS)}")


def _show(failing: list[Story]) -> None:
    for story in failing[:SHOWN]:
        print(f"\n{_failing(story)}")
    if len(failing) > SHOWN:
        print(f"\nand {len(failing) - SHOWN:,} more")
    print()


def _failing(story: Story) -> str:
    """What went wrong, and the command that plays it again."""
    replay = f"python -m benchmarks.faults --replay {shlex.quote(str(story.schedule))}"
    return f"{story.schedule.place}: {'; '.join(story.breaches)}\n    {replay}"


def _replay(story: Story) -> int:
    for point in story.trace:
        struck = [upset.manner for upset in story.schedule.upsets if upset.point == point]
        print(f"  {point.effect}  #{point.nth}{'  <-- ' + ', '.join(struck) if struck else ''}")
    for words in story.said:
        print(f"\n{words}")
    verdict = story.verdict
    print(f"duplicates {verdict.duplicates}, lost {verdict.lost}, asked again {verdict.again}, struck {story.struck}")
    for breach in story.breaches:
        print(breach)
    return 1 if story.breaches else 0


if __name__ == "__main__":
    sys.exit(main())
