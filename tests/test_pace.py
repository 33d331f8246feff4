"""How many questions may be in flight: learnt from windows of answers, and what a server's headers say of waiting."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.providers.online.pace import LONGEST_PAUSE, LONGEST_WISH, START, Pace, seconds_of, used_up

MOST = 128


def played(pace: Pace, calls: int, refuses: Callable[[int], float], seed: int = 1) -> list[int]:
    """The limit after each of ``calls``; ``refuses``: the share turned away with so many in flight."""
    dice = random.Random(seed)
    limits = []
    for call in range(calls):
        pace.hear(call / 100, refused=dice.random() < refuses(pace.limit))
        limits.append(pace.limit)
    return limits


def test_a_clean_endpoint_gets_all_it_may() -> None:
    """Nobody is turned away: the limit doubles from its start to the most that is allowed, and stays."""
    pace = Pace(MOST)
    assert pace.limit == START
    limits = played(pace, 1_000, lambda _: 0.0)
    assert limits[-1] == MOST
    assert max(limits) == MOST
    assert sorted(limits) == limits


def test_few_are_allowed_few_at_once() -> None:
    """`concurrency: 4` is never exceeded, and never falls to none."""
    assert set(played(Pace(4), 500, lambda _: 0.0)) == {4}
    assert min(played(Pace(4), 500, lambda _: 1.0)) >= 1


def test_a_single_error_changes_nothing() -> None:
    """One refusal in a window is noise."""
    pace = Pace(MOST)
    before = pace.limit
    pace.hear(0.0, refused=True)
    assert (pace.limit, pace.not_before) == (before, 0.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_refusals_that_do_not_fall_with_concurrency_are_normal(share: float, seed: int) -> None:
    """A gateway that refuses one call in ten whatever is asked: concurrency is not driven to the floor."""
    pace = Pace(MOST)
    limits = played(pace, 30_000, lambda _: share, seed)
    settled = limits[len(limits) // 2 :]
    assert sum(settled) / len(settled) > MOST / 2
    assert min(settled) > pace.floor


@pytest.mark.parametrize("room", [24, 48, 96])
def test_an_endpoint_with_room_for_some_is_asked_about_that_many(room: int) -> None:
    """What is in flight beyond its room is turned away: the limit settles near the room, below it or a little above."""
    pace = Pace(MOST)
    limits = played(pace, 60_000, lambda limit: max(0.0, (limit - room) / limit))
    settled = limits[len(limits) // 2 :]
    average = sum(settled) / len(settled)
    assert room * 0.5 < average < room * 1.5


def test_it_comes_back_after_an_outage() -> None:
    """Once nobody is turned away any more, the limit climbs back to where it was."""
    pace = Pace(MOST)
    played(pace, 2_000, lambda _: 0.0)
    played(pace, 200, lambda _: 1.0)
    assert played(pace, 20_000, lambda _: 0.0)[-1] == MOST


def test_an_endpoint_that_lets_nobody_in_is_left_in_peace_for_ever_longer() -> None:
    """All turned away: the pauses double up to a bound, instead of ever fewer questions at once."""
    pace = Pace(16)
    ends, now = [], 0.0
    for _ in range(12):
        while pace.not_before <= now:
            pace.hear(now, refused=True)
        ends.append(pace.not_before - now)
        now = pace.not_before
    assert ends == sorted(ends)
    assert ends[0] <= 1.0
    assert ends[-1] == LONGEST_PAUSE
    assert pace.limit >= pace.floor


def test_a_wish_to_wait_is_bounded_and_never_shortened() -> None:
    """The longest of several wishes holds; none holds for more than ten minutes."""
    pace = Pace(16)
    pace.wait(100.0, 5.0)
    pace.wait(101.0, 1.0)
    assert pace.not_before == 105.0
    pace.wait(100.0, 86_400.0)
    assert pace.not_before == 100.0 + LONGEST_WISH


@given(st.integers(1, 10_000), st.lists(st.booleans(), max_size=2_000))
def test_the_limit_stays_within_its_bounds(most: int, calls: list[bool]) -> None:
    """Whatever is heard, at least one and at most ``most`` are in flight."""
    pace = Pace(most)
    for at, refused in enumerate(calls):
        pace.hear(float(at), refused=refused)
        assert 1 <= pace.floor <= pace.limit <= most


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("20ms", 0.02),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3_723.5),
        ("2h", 7_200.0),
        ("7.66s", 7.66),
        (" 30 ", 30.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1d", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("9" * 50, None),
    ],
)
def test_spans_as_gateways_spell_them(text: str, seconds: float | None) -> None:
    """Go's durations and bare numbers; anything else says nothing."""
    found = seconds_of(text)
    assert found == (None if seconds is None else pytest.approx(seconds))


@given(st.text(max_size=60) | st.from_regex(r"[0-9hms. ]{0,45}", fullmatch=True))
def test_no_span_is_too_odd(text: str) -> None:
    """A header is untrusted text: it is read as a finite number from 0, or not at all."""
    found = seconds_of(text)
    assert found is None or (found >= 0 and math.isfinite(found))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "9s"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}, 9.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "4s",
            },
            4.0,
        ),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "tomorrow"}, None),
    ],
)
def test_an_allowance_that_is_used_up(headers: dict[str, str], seconds: float | None) -> None:
    """The later of two resets counts, and only of an allowance of which nothing is left."""
    assert used_up(headers) == seconds
