"""The deployments that Alaya's wire tells of, as data: one for each way in which the documents describe them.

A deployment is read, never made, and all of them answer with one model.  What changes is where each stands: one needs
time to start, and any may be cancelled.  The simulator forgets both when it stops.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

STARTING, RUNNING, STOPPING, STOPPED, FAILED = "starting", "running", "stopping", "stopped", "failed"

STARTING_SECONDS = 1.0
LOADING_SECONDS = 0.5
"""How long a deployment that runs already has no model to answer with."""
STOPPING_SECONDS = 0.2

SERVED = "mi-9"
"""The model instance behind all of them, and the name that it is asked by."""


@dataclass(frozen=True)
class Deployment:
    """``mode`` is ``quickStart``, ``expert`` or ``lora``; ``status`` is where it stands for good."""

    id: str
    name: str
    mode: str
    status: str = RUNNING
    starts: bool = False
    """It begins to start when it is first asked for."""

    @property
    def key(self) -> str:
        """What callers of the model show.  The real service tells it in clear, too."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:32]

    @property
    def kind(self) -> str:
        return "lora" if self.mode == "lora" else "base"


DEPLOYMENTS = (
    Deployment("svc-1", "quick", "quickStart"),
    Deployment("svc-expert", "expert", "expert"),
    Deployment("svc-lora", "lora", "lora"),
    Deployment("svc-starting", "starting", "quickStart", starts=True),
    Deployment("svc-stopped", "stopped", "quickStart", STOPPED),
    Deployment("svc-failed", "failed", "expert", FAILED),
)


@dataclass(frozen=True)
class Standing:
    """Where a deployment stands: ``ready`` says that its model answers."""

    status: str
    ready: bool


class Fleet:
    """All deployments, as they are now.  ``speed`` divides every duration; ``clock`` returns seconds since 1970."""

    def __init__(self, clock: Callable[[], float], speed: float) -> None:
        self._clock = clock
        self._speed = speed
        self._lock = threading.Lock()
        self._asked: dict[str, float] = {}
        self._cancelled: dict[str, float] = {}

    def standing(self, deployment: Deployment) -> Standing:
        """As it is at this moment; asking is what lets one begin to start."""
        now = self._clock()
        with self._lock:
            asked = self._asked.setdefault(deployment.id, now)
            cancelled = self._cancelled.get(deployment.id)
        if cancelled is not None:
            return Standing(STOPPING if self._since(cancelled, now) < STOPPING_SECONDS else STOPPED, ready=False)
        if not deployment.starts:
            return Standing(deployment.status, ready=deployment.status == RUNNING)
        passed = self._since(asked, now)
        if passed < STARTING_SECONDS:
            return Standing(STARTING, ready=False)
        return Standing(RUNNING, ready=passed >= STARTING_SECONDS + LOADING_SECONDS)

    def cancel(self, deployment: Deployment) -> bool:
        """Stop it; False where it neither starts nor runs."""
        if self.standing(deployment).status not in (STARTING, RUNNING):
            return False
        with self._lock:
            self._cancelled.setdefault(deployment.id, self._clock())
        return True

    def _since(self, before: float, now: float) -> float:
        return (now - before) * self._speed
