"""How fast an endpoint answers, over the last half minute or so."""

from __future__ import annotations

from collections import deque

from runner.result import Usage

SPAN = 30.0
"""Seconds that are looked back on."""


class Tempo:
    """Counts answers.  Times are seconds of one clock."""

    def __init__(self, now: float) -> None:
        self._steps: deque[tuple[float, int, int]] = deque([(now, 0, 0)], maxlen=600)
        """When half a second began, and the answers and tokens of it."""

    def count(self, usage: Usage, now: float) -> None:
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
        began, rows, before = self._steps[-1]
        if now - began < 0.5 and len(self._steps) > 1:
            self._steps[-1] = (began, rows + 1, before + tokens)
        else:
            self._steps.append((now, 1, tokens))

    def words(self, now: float) -> str:
        """ "31 rows/s, 2,400 tokens/s"; empty while nothing can be said.  From any thread."""
        recent = [step for step in list(self._steps) if now - step[0] < SPAN]
        if len(recent) < 2:
            return ""
        span = max(now - recent[0][0], 0.5)
        rows, tokens = sum(step[1] for step in recent) / span, sum(step[2] for step in recent) / span
        return f"{rows:,.{0 if rows >= 10 else 1}f} rows/s, {tokens:,.0f} tokens/s"
