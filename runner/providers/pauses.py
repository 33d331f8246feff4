"""When a platform wants to be asked again, within reason."""

from __future__ import annotations

from runner.edge.http import Reply, retry_after

LONGEST_PAUSE = 300.0
"""Seconds that a wished pause between two looks is told to be at most: a clock that is wrong may wish for years."""


def wished_pause(reply: Reply) -> float:
    """Seconds that the platform asks us to wait, as said beside an answer; 0 where it says nothing of it."""
    return min(retry_after(reply.headers) or 0.0, LONGEST_PAUSE)
