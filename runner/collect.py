"""Bring results home: raw lines first, kept as they came; then what became of each request."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from runner.digests import WIDTH, DigestMap
from runner.edge.files import Spooled, naming
from runner.edge.world import World
from runner.errors import Elsewhere, Interrupted, RunnerError
from runner.judging import Judge
from runner.known import OUTCOME
from runner.provider import Provider
from runner.refresh import job_of
from runner.result import Result
from runner.sandbox import watched
from runner.state import Collected
from runner.task import ANSWERED, FINAL, LOST, RETRYABLE, Task


class NoResults(RunnerError):
    """What was handed over as a task's results holds not one of them."""

    code = "results-foreign"


class OutOfTime(RunnerError):
    """`--timeout` was over before all of a task's results were here."""

    code = "8"


@dataclass(frozen=True)
class Reading:
    """What a task's raw results hold; ``unreadable`` lines and ``strangers`` (ids never asked) stay in the raw blob."""

    event: Collected
    unreadable: int
    strangers: int


def fetch(world: World, task: Task, deadline: float | None = None) -> Spooled:
    """An ended task's raw results, on disk: the provider's, or what a machine that asked it has left for others.

    Raises ProviderError, OSError, Interrupted; OutOfTime where they are not all here at ``deadline`` (Unix seconds).
    """
    spooled = world.store.spool()

    def keep(data: bytes) -> None:
        if world.stop.is_set():
            raise Interrupted
        if deadline is not None and world.clock.now() > deadline:
            raise OutOfTime("--timeout was over before all of its results were here")
        spooled.write(data)

    try:
        try:
            world.providers[task.provider].results(job_of(task), keep)
        except Elsewhere:
            if not world.parks:
                raise
            for name in task.parked:
                spooled.write(world.store.get(name))
    except BaseException:
        spooled.drop()
        raise
    return spooled


def read_results(world: World, task: Task, spooled: Spooled, judge: Judge) -> Reading:
    """Say what became of each request, and keep the raw results.  Raises NoResults, OSError.

    To be called in the main thread, where a check that runs away can be stopped.
    """
    try:
        with watched():
            return _read(world, task, world.providers[task.provider], spooled, judge)
    except BaseException:
        spooled.drop()
        raise


def _read(world: World, task: Task, provider: Provider, spooled: Spooled, judge: Judge) -> Reading:
    requests = world.store.get(task.shard)
    if len(requests) != task.requests * WIDTH:
        raise RunnerError(
            f"the state is damaged: task {task.id} is said to have {task.requests:,} requests, and its list "
            "has another number of them",
            hint="Restore the state from a backup.",
            code="state-damaged",
        )
    positions = DigestMap(4)
    for position in range(task.requests):
        positions.add(requests[position * WIDTH : (position + 1) * WIDTH], position)
    records = bytearray(OUTCOME.pack(LOST, 0, 0) * task.requests)
    unreadable = foreign = strangers = tokens_in = tokens_out = 0
    for offset, line in _numbered_lines(spooled):
        try:
            result = provider.decode(line)
        except (ValueError, RecursionError):
            unreadable += 1
            foreign += not line.lstrip().startswith(b"{")
            continue
        result = judge(result)
        found = _position(positions, result.request)
        if found is None:
            strangers += 1
            continue
        letter = _letter(result)
        if _outranks(letter, records[found * OUTCOME.size]):
            OUTCOME.pack_into(records, found * OUTCOME.size, letter, offset, len(line))
            tokens_in += result.usage.input_tokens or 0
            tokens_out += result.usage.output_tokens or 0
    letters = bytes(records[:: OUTCOME.size])
    if letters.count(LOST) == task.requests:
        # A page of some gateway, say, or another task's results.  Were they taken for these, every row would be asked,
        # and paid, again.
        if strangers:
            raise NoResults(f"all {strangers:,} results handed over are for requests that were never in it")
        if foreign and foreign == unreadable:
            raise NoResults(f"none of the {foreign:,} lines handed over is a result")
    answered, lost, retryable = letters.count(ANSWERED), letters.count(LOST), letters.count(RETRYABLE)
    again = (lost if task.retryable else 0) + retryable
    if not task.retryable:
        records[:: OUTCOME.size] = letters.replace(bytes([LOST]), bytes([FINAL]))
    event = Collected(
        task.id,
        world.clock.now(),
        results=world.store.adopt(spooled),
        outcomes=world.store.put(bytes(records)),
        counts=(answered, task.requests - answered - lost, lost),
        again=again,
        tokens=(tokens_in, tokens_out),
    )
    return Reading(event, unreadable, strangers)


def _numbered_lines(spooled: Spooled) -> Iterator[tuple[int, bytes]]:
    """Every non-empty line with its offset."""
    file = spooled.file
    with naming(spooled.path.parent):
        file.flush()
    file.seek(0)
    offset = 0
    for line in file:
        if line.strip():
            yield offset, line.rstrip(b"\r\n")
        offset += len(line)
    file.seek(0, io.SEEK_END)


def _position(positions: DigestMap, request: str) -> int | None:
    try:
        identity = bytes.fromhex(request)
    except ValueError:
        return None
    return positions.get(identity) if len(identity) == WIDTH else None


def _letter(result: Result) -> int:
    if result.failure is None:
        return ANSWERED
    return RETRYABLE if result.failure.retryable and not result.exhausted else FINAL


_RANK = {LOST: 0, RETRYABLE: 1, FINAL: 2, ANSWERED: 3}


def _outranks(letter: int, held: int) -> bool:
    """An answer beats any failure; of two equal lines the first counts."""
    return _RANK[letter] > _RANK[held]
