"""What is known of each request at one provider and model: answered, on its way, given up, or to be asked again."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from runner.digests import WIDTH, DigestMap
from runner.errors import RunnerError
from runner.task import ANSWERED, COLLECTED, FINAL, LEFT, LOST, Task

OUTCOME = struct.Struct(">BQI")
"""One record per request of a collected task: outcome letter, offset and length of its line in the raw results."""

_MEDIUM = 0xFFFFFF
_NEW, _RETRY, _GIVEN_UP, _PENDING, _ANSWERED = range(5)


@dataclass
class Known:
    """Tasks of one provider and model, and what they say of every request in them."""

    tasks: Sequence[Task]
    map: DigestMap

    def needs_asking(self, digest: bytes, attempts: int) -> bool:
        """Whether a request is new, or failed in a way that ``attempts`` in all still allow to try again."""
        value = self.map.get(digest)
        if value is None:
            return True
        state, made = value >> 56, value >> 48 & 0xFF
        return state == _NEW or (state == _RETRY and made < attempts)

    def verdict(self, digest: bytes) -> Verdict | None:
        value = self.map.get(digest)
        return None if value is None else unpack(value)


@dataclass(frozen=True)
class Verdict:
    """``task`` is an index into `Known.tasks`, ``position`` counts that task's requests from 0."""

    state: int
    attempts: int
    task: int
    position: int

    @property
    def answered(self) -> bool:
        return self.state == _ANSWERED

    @property
    def pending(self) -> bool:
        return self.state == _PENDING

    @property
    def new(self) -> bool:
        """Never asked, or forgiven."""
        return self.state == _NEW


def unpack(value: int) -> Verdict:
    return Verdict(value >> 56, value >> 48 & 0xFF, value >> 24 & _MEDIUM, value & _MEDIUM)


def gather(tasks: Iterable[Task], blob: Callable[[str], bytes]) -> Known:
    """Read the tasks' request lists and outcomes, oldest task first.  ``blob`` gives the bytes of a blob by name."""
    known = Known(sorted(tasks, key=lambda task: (task.begun_at, task.id)), DigestMap(8))
    for index, task in enumerate(known.tasks):
        if task.on_its_way or task.phase == COLLECTED:
            _add(known.map, index, task, blob)
    return known


def _add(map: DigestMap, index: int, task: Task, blob: Callable[[str], bytes]) -> None:
    requests = blob(task.shard)
    letters = outcome_letters(blob(task.outcomes)) if task.phase == COLLECTED else None
    if letters is not None and len(letters) * WIDTH != len(requests):
        raise RunnerError(
            f"the state is damaged: task {task.id} has not as many outcomes as requests",
            hint="Restore the state from a backup.",
            code="state-damaged",
        )
    pending = _PENDING
    if task.stopped == "gave_up":
        pending = _NEW if task.forgiven else _GIVEN_UP
    for position in range(len(requests) // WIDTH):
        digest = requests[position * WIDTH : position * WIDTH + WIDTH]
        state = pending if letters is None else _state(letters[position], task)
        attempts = 0 if letters is not None and letters[position] == LOST and task.raw == LEFT else 1
        if not map.add(digest, _pack(state, attempts, index, position)):
            before = unpack(map.get(digest) or 0)
            made = min(before.attempts + attempts, 255)
            if state == _NEW or (before.answered and state != _ANSWERED):
                continue
            if before.pending and state in (_RETRY, _GIVEN_UP):
                # By the clock of another machine a task may have begun before the one whose failures it asks again.
                map.put(digest, _pack(before.state, made, before.task, before.position))
            else:
                map.put(digest, _pack(state, made, index, position))


def _pack(state: int, attempts: int, index: int, position: int) -> int:
    attempts = 0 if state == _NEW else attempts
    return state << 56 | attempts << 48 | index << 24 | position


def _state(letter: int, task: Task) -> int:
    if letter == ANSWERED:
        return _NEW if task.forgiven == "all" else _ANSWERED
    if task.forgiven:
        return _NEW
    if letter == FINAL or task.stopped:
        return _GIVEN_UP
    return _RETRY


def outcome_letters(outcomes: bytes) -> bytes:
    return outcomes[:: OUTCOME.size]


def outcome_at(outcomes: bytes, position: int) -> tuple[int, int, int]:
    """Letter, offset and length of the ``position``-th request of a task."""
    letter, offset, length = OUTCOME.unpack_from(outcomes, position * OUTCOME.size)
    return letter, offset, length


def identities(requests: bytes) -> Iterator[bytes]:
    return (requests[at : at + WIDTH] for at in range(0, len(requests), WIDTH))
