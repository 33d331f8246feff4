"""A Task: a shard sent to a provider, or about to be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from runner.provider import Phase

# What became of each request of a collected task: one letter per request, in the shard's order.
ANSWERED = ord("a")
FINAL = ord("f")
"""Failed, and the same bytes would fail again."""
RETRYABLE = ord("r")
LOST = ord("m")
"""No line came back for it; may be asked again."""

LATEST = 2.5e11
"""The last moment that a date can be made of (Unix seconds)."""

BEGUN = "begun"
"""We mean to send it.  Nothing costly was asked."""
STAGED = "staged"
"""From here on the start may have happened."""
OPEN = "open"
"""The provider has it."""
ENDED = "ended"
"""The provider is done with it; its results are not here yet."""
COLLECTED = "collected"
VOID = "void"
"""The start is known not to have happened."""
ABANDONED = "abandoned"
"""A person said that it is to be forgotten."""

LEFT = "left"
"""The word for where a task stands whose machine is gone, and with it the questions that it had not asked."""

ON_ITS_WAY = frozenset({BEGUN, STAGED, OPEN, ENDED})
PHASES = ON_ITS_WAY | {COLLECTED, VOID, ABANDONED}


ENDINGS = frozenset(phase.value for phase in Phase if phase.ended)


@dataclass(frozen=True)
class Claim:
    """Who works on a task, and until when (Unix seconds) that is believed without word from them."""

    by: str
    until: float


@dataclass(frozen=True)
class Task:
    """Times are Unix seconds, None for what has not happened.  Blobs are named by their sha256."""

    id: str
    batch: str
    provider: str
    model: str
    shard: str
    """Digest of the request identities; also the name of the blob that lists them."""
    requests: int
    max_wait: int
    give_up: int
    begun_at: float
    attempts: int = 3
    """How often a provider that asks one by one may ask a request."""
    phase: str = BEGUN
    attempt: int = 1
    """The how-manieth task for this shard."""
    claim: Claim | None = None
    staged_at: float | None = None
    marker: str = ""
    started_at: float | None = None
    remote_id: str = ""
    raw: str = ""
    """The provider's own word for where it stands."""
    progress: tuple[int | None, int | None, int | None] = (None, None, None)
    """Total, succeeded, failed."""
    ended_at: float | None = None
    ending: str = ""
    """One of ENDINGS."""
    error: str = ""
    expires: str = ""
    """When its results go away, as the provider spells it."""
    retryable: bool = True
    """Of a task that failed whole: whether sending the same bytes again may help."""
    parked: tuple[str, ...] = ()
    """Blobs of what came so far, of a task that one machine asks and others may have to take over."""
    parked_bytes: int = 0
    collected_at: float | None = None
    results: str = ""
    """Blob of the raw results, as they came."""
    outcomes: str = ""
    """Blob of what became of each request, in the shard's order."""
    counts: tuple[int, int, int] = (0, 0, 0)
    """Requests answered, failed, missing."""
    again: int = 0
    """Of those, how many may be asked again."""
    tokens: tuple[int, int] = (0, 0)
    """Input and output tokens of the answers, as the provider counted them."""
    cost: float | None = None
    """What the plan estimated."""
    currency: str = ""
    price: tuple[float, float] | None = None
    """Of 1,000 tokens, input and output."""
    bound: int | None = None
    """Tokens at most, as estimated, input and output together."""
    stopped: str = ""
    """"cancelled" or "gave_up": unanswered requests are not to be asked again."""
    stopping: bool = False
    """The provider has heard that it is to stop."""
    forgiven: str = ""
    """"failed" or "all": those outcomes no longer count, as `runner retry` asked."""

    @property
    def name(self) -> str:
        """What the provider's console shows: the batch, and enough of the shard's digest to recognise it."""
        return f"{self.batch[:40]}-{self.shard[:16]}-{self.attempt}"

    @property
    def paid(self) -> float | None:
        """What its answers come to by the tokens that the provider counted, None where the price is unknown."""
        if self.price is None:
            return None
        return sum(price * tokens for price, tokens in zip(self.price, self.tokens, strict=True)) / 1000

    @property
    def is_to_stop(self) -> bool:
        """Somebody, or the clock, said so, and the provider may not know it yet."""
        return self.phase == OPEN and bool(self.stopped) and not self.forgiven and not self.stopping

    @property
    def on_its_way(self) -> bool:
        return self.phase in ON_ITS_WAY

    @property
    def oddity(self) -> str:
        """What no task can have, "" where all is well: of a document that somebody else has written."""
        odd = [name for name in ("shard", "results", "outcomes") if not getattr(self, name).isprintable()]
        odd += ["requests"] if self.requests < 0 else []
        moments = ("begun_at", "staged_at", "started_at", "ended_at", "collected_at")
        odd += [name for name in moments if abs(getattr(self, name) or 0) > LATEST]
        return odd[0] if odd else ""

    def to_json(self) -> dict[str, Any]:
        """Only what differs from a field's default, so that the state stays readable."""
        data: dict[str, Any] = {}
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name == "id" or value == spec.default:
                continue
            if isinstance(value, Claim):
                value = {"by": value.by, "until": value.until}
            data[spec.name] = list(value) if isinstance(value, tuple) else value
        return data

    @classmethod
    def from_json(cls, id: str, data: Mapping[str, Any]) -> Task:
        """The inverse of :meth:`to_json`.  Raises ValueError, TypeError or AttributeError for what is no task."""
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        if "claim" in values:
            values["claim"] = Claim(**values["claim"])
        task = cls(id=id, **values)
        if task.phase not in PHASES or (task.phase == ENDED and task.ending not in ENDINGS):
            raise ValueError(f"task {id} cannot be {task.phase} {task.ending}".rstrip())
        return task


def task_id(shard: str, attempt: int) -> str:
    """The same shard sent the same time round has the same id in every run, so that two runs collide and notice."""
    return "t-" + hashlib.sha256(f"{shard}:{attempt}".encode()).hexdigest()[:12]
