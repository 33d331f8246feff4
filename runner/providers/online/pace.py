"""How many questions may be in flight at once: learnt in windows of answers, never from a single error.

A window in which too many calls were turned away lowers the limit.  If the next one, with fewer in flight, is turned
away as often, then refusals do not fall with concurrency (a gateway that refuses one call in ten, say): the limit goes
back up, and as many refusals are taken to be normal.  A clean window raises the limit again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

START = 32
"""In flight at first, if so many are allowed; a clean window doubles it."""
SHRINK = 0.7
TOLERATED = 0.03
"""The share of refusals that is noise."""
DOUBT = 2.0
"""So many standard deviations above what is expected are chance."""
SAME = 0.75
"""A share of refusals that fell to no less than this part of what it was did not fall."""
CROWD = 0.5
"""A greater share of refusals comes of asking too many at once, however slowly it falls."""
SHUT = 0.9
"""With so many turned away, nobody is let in: then it is better to wait than to ask fewer at once."""
LONGEST_PAUSE = 60.0
"""Seconds, of our own accord."""
LONGEST_WISH = 600.0
"""Seconds, where the endpoint asks for it."""


@dataclass
class Pace:
    """``most``: the greatest number in flight; it falls to an eighth of that at the least.  Times are seconds of any
    clock."""

    most: int
    limit: int = 0
    not_before: float = 0.0
    """Nothing new is asked before this time."""
    _grows_fast: bool = True
    _heard: int = 0
    _refused: int = 0
    _before: tuple[int, float] | None = None
    """The limit and the share of refusals that led to the last cut."""
    _normal: float = 0.0
    """The share of refusals that does not fall with concurrency."""
    _shut: int = 0
    """Windows in a row in which nobody was let in."""
    floor: int = field(init=False)

    def __post_init__(self) -> None:
        self.limit = self.limit or min(self.most, START)
        self.floor = max(1, min(self.limit, self.most // 8))

    def hear(self, now: float, *, refused: bool) -> None:
        """A call ended; ``refused``: turned away for now, by a 429, a 5xx or silence."""
        self._heard += 1
        self._refused += refused
        share = self._refused / self._heard
        full = self._heard >= max(40, 2 * self.limit)
        if full or (self._heard >= 10 and share > 0.5):
            self._learn(share, now)
            self._heard = self._refused = 0

    def wait(self, now: float, seconds: float) -> None:
        """The endpoint asks that nothing be asked for so long."""
        self.not_before = max(self.not_before, now + min(seconds, LONGEST_WISH))

    def _learn(self, share: float, now: float) -> None:
        self._shut = self._shut + 1 if share >= SHUT else 0
        if self._shut:
            self.wait(now, min(LONGEST_PAUSE, 2.0 ** min(self._shut, 10) / 2))
        if share <= self._expected():
            self._normal -= max(0.0, self._normal - share) / 8
            self._before = None
            self._grow()
        elif share == 1:
            self._before = None  # fewer at once would fare no better
        elif self._before is not None and SAME * self._before[1] <= share <= CROWD:
            self.limit = max(self.limit, self._before[0])
            self._normal, self._before = share, None
        else:
            self._before = (self.limit, share)
            self._grows_fast = False
            self.limit = max(self.floor, int(self.limit * SHRINK))

    def _expected(self) -> float:
        """The greatest share of refusals in this window that says nothing new."""
        usual = max(TOLERATED, self._normal)
        return usual + DOUBT * math.sqrt(usual * (1 - usual) / self._heard)

    def _grow(self) -> None:
        more = self.limit if self._grows_fast else max(1, self.limit // 8)
        self.limit = min(self.most, self.limit + more)


_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def used_up(headers: Mapping[str, str]) -> float | None:
    """Seconds until a used-up allowance comes back, from `x-ratelimit-remaining-*` and `-reset-*`; None: there is some
    left, or nothing is said.  ``headers`` have lower-case names."""
    waits = []
    for what in ("requests", "tokens"):
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() in ("0", "0.0"):
            span = seconds_of(headers.get(f"x-ratelimit-reset-{what}", ""))
            if span is not None:
                waits.append(span)
    return max(waits, default=None)


def seconds_of(text: str) -> float | None:
    """``1s``, ``6m0s``, ``20ms`` or a bare number of seconds; None for anything else."""
    text = text.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return float(text)
    match = _SPAN.fullmatch(text)
    if not text or match is None or len(text) > 40:
        return None
    hours, minutes, seconds, thousandths = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000
