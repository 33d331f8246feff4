"""What runner asks of a provider: two pure questions and six conversations.

A provider module implements :class:`Provider` for one wire family.  Deviations between platforms that share a wire are
rows of that module's dialect table, never an ``if`` on a platform's name.

A conversation raises only :class:`~runner.errors.Refused` (a clear no), :class:`~runner.errors.Busy` (a clear not-now)
or :class:`~runner.errors.Unsure` (nobody knows).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from runner.digests import WIDTH
from runner.model import Catalogue, Offer
from runner.result import Result


@dataclass(frozen=True)
class Part:
    """One piece of a message: ``text``, or the address of an image (http, https or data)."""

    kind: str
    value: str


@dataclass(frozen=True)
class Message:
    role: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Question:
    """The neutral prompt, filled for one row, that every family encodes in its own way.

    Exactly one of ``messages`` (chat), ``text`` (plain completion) and ``embed`` (a text to be turned into a vector) is
    set.  ``schema`` is the JSON Schema that the answer has to fit.  ``parameters`` hold ``temperature`` and the like,
    as the provider names them.
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    embed: str | None = None


class Inexpressible(ValueError):
    """What a provider cannot be asked.  ``hint``: what to do instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


EMBEDDING_DIALECTS = ("openai", "dashscope", "zhipu", "doubleword", "litellm")
"""Of type openai, for hints: those whose documents name embeddings among what a batch may be for."""


def no_embeddings(whose: str) -> Inexpressible:
    """Of a provider that documents no way to embed a text."""
    return Inexpressible(
        f"{whose} documents no embeddings, so that `embed` cannot be asked of it",
        f"use a provider of type online, or of type openai in one of the dialects {', '.join(EMBEDDING_DIALECTS)}",
    )


@dataclass(frozen=True)
class Frame:
    """A request line without its two variable parts: ``before`` custom_id ``between`` body ``after``, no newline."""

    before: bytes
    between: bytes
    after: bytes


@dataclass(frozen=True)
class ShardLimits:
    """The most that may travel in one task."""

    requests: int
    bytes: int


@dataclass(frozen=True)
class Traits:
    """What a provider can and cannot do, as data.  Durations in seconds."""

    cancels: bool
    """A running task can be stopped."""
    finds: bool
    """A start whose answer was lost can be looked for."""
    grace: float
    """How old a start must be before "not in the list" is believed."""
    poll: float
    """A polite pause between two looks at a task that has been running for long."""
    shard: ShardLimits
    poll_young: float = 1.0
    """The same for a task that has just begun: the pause grows with its age from here to :attr:`poll`."""
    lists_offline: bool = False
    """Its offers are part of the package: known without asking."""
    needs_us: bool = False
    """Its tasks make progress only while a run of ours lives, as on an endpoint without batches."""
    embeddings: ShardLimits | None = None
    """What may travel in one task of embeddings, where that is less than :attr:`shard`."""

    def limits_for(self, *, embeds: bool) -> ShardLimits:
        return self.embeddings if embeds and self.embeddings is not None else self.shard


@dataclass(frozen=True)
class Job:
    """What a provider needs to know of a task.  All of it is fixed before the first byte is sent.

    ``name`` holds the shard's digest, so that a person can recognise the task in the provider's console.
    """

    task: str
    name: str
    model: str
    requests: int
    max_wait: int
    """Seconds that the provider may take."""
    file: Path | None = None
    """Request lines, complete and closed; None once the shard has left."""
    remote_id: str = ""
    staged: str = ""
    """The public part of what `stage` returned."""
    begun_at: float = 0.0
    ended_at: float | None = None
    """When we learnt that it ended (Unix seconds)."""
    attempts: int = 3
    """How often a request may be asked, where the asking is ours."""
    taken: frozenset[str] = frozenset()
    """Remote ids at this provider that are known to be other tasks."""
    rivals: int = 0
    """Other interrupted starts at this provider with as many requests: whichever is found may be theirs."""
    identities: bytes = b""
    """Those of its requests, 16 bytes each, given where its start is to be found; empty where they are not known."""

    def asks(self, custom_id: str) -> bool:
        """Whether one of its requests has that ``custom_id``, as far as :attr:`identities` tell."""
        try:
            wanted = bytes.fromhex(custom_id)
        except ValueError:
            return False
        return wanted in (self.identities[at : at + WIDTH] for at in range(0, len(self.identities), WIDTH))


@dataclass(frozen=True)
class Upload:
    """A staged shard.  ``token`` is handed to `start` and forgotten; ``marker`` is public and kept in the state."""

    token: str
    marker: str = ""


class Phase(Enum):
    """A remote task, in our words.  Every ended phase may hold paid answers, so every one is collected."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self not in (Phase.QUEUED, Phase.RUNNING)


@dataclass(frozen=True)
class Progress:
    """The answer to "how is it going?".  ``raw`` is the provider's own word for the phase."""

    phase: Phase
    raw: str = ""
    total: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    error: str = ""
    retryable: bool = True
    """Of a failed task: whether the same bytes, sent again, may do better."""
    look_again: float = 0.0
    """Seconds that the provider asks us to wait before the next look."""
    turned_away: bool = False
    """It was taken and then given back whole for want of room, as by a limit on tokens in the queue: nothing was asked,
    and the same requests may be sent again when others have ended."""
    expires_at: str = ""
    """When the results go away, as the provider spells it."""


@dataclass(frozen=True)
class Found:
    """The start did happen; the remote task is ``remote_id``."""

    remote_id: str


@dataclass(frozen=True)
class Absent:
    """The provider answered, and knows of no such task.  Believed only after :attr:`Traits.grace`."""


@dataclass(frozen=True)
class Unknown:
    """The provider cannot be asked, or its answer settles nothing."""

    reason: str = ""


Finding = Found | Absent | Unknown


class Provider(Protocol):
    """One configured provider of runner.yaml."""

    name: str
    traits: Traits

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know before anything is sent, such as that uploads travel in clear text."""

    def offers(self) -> Catalogue:
        """The models on sale, from the provider's own list where it has one."""

    def encode(self, offer: Offer, question: Question) -> dict[str, Any]:
        """The request body.  Pure.  Strings of the question appear in it whole and once, so that it can be spliced.

        Raises ValueError for what this provider cannot express; :class:`Inexpressible` where it knows another way.
        """

    def frame(self, question: Question) -> Frame:
        """The request line around custom_id and body.  Pure."""

    def decode(self, line: bytes) -> Result:
        """One line of results.  Pure.  Raises ValueError for a line that cannot be read."""

    def stage(self, job: Job) -> Upload:
        """Bring the shard to the provider.  Free and repeatable."""

    def start(self, job: Job, upload: Upload) -> str:
        """THE call that costs money; returns the remote id.  Never repeated by the HTTP layer."""

    def find(self, job: Job) -> Finding:
        """Did a start whose answer was lost happen?"""

    def check(self, job: Job) -> Progress:
        """How is it going?"""

    def results(self, job: Job, sink: Callable[[bytes], object]) -> None:
        """Hand every byte of the results to ``sink``, as it came: success and error files alike, one line per result.

        A task that ended without results hands over nothing.
        """

    def cancel(self, job: Job) -> bool:
        """Ask the provider to stop the task; False where it cannot."""

    def verify(self, job: Job, remote_id: str) -> None:
        """Hold a remote task against what is known of ``job``.  Raises Refused, naming the difference."""


class Worker(Provider, Protocol):
    """A provider whose tasks go on only while a run of ours works on them (:attr:`Traits.needs_us`).

    What it has asked and been answered lies on this machine's disk; `check` and `results` read it there.  `check`
    raises RunnerError once the work had to stop for a reason that waiting does not cure.
    """

    def work(self, jobs: Sequence[Job]) -> None:
        """Ask what these tasks still have to ask, in their order; returns at once.  May be called again at any time."""

    def tempo(self) -> str:
        """How fast it goes, in words: "31 rows/s, 2,400 tokens/s"; empty while nothing can be said."""

    def rest(self, patience: float) -> None:
        """Ask nothing more.  What is in flight gets ``patience`` seconds; every answer is on disk on return."""

    def forget(self, jobs: Iterable[Job]) -> None:
        """Drop what is kept of tasks whose results were collected, or that a person gave up."""


@runtime_checkable
class Vouching(Protocol):
    """A provider that can be asked, at no cost, whether it takes our credentials.  None has to be."""

    def accepts(self) -> str:
        """Ask for what only a good key is given; returns what that was, such as "the list of batches".

        Returns "" where nothing that is free to ask would tell.  Raises as any conversation does.
        """
