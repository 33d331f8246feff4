"""Write shards to disk, one behind the other, in one pass over a batch's rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from runner.edge.files import TEMPORARY, naming, sweep
from runner.edge.world import World
from runner.errors import Interrupted
from runner.rendering import Row, changed
from runner.request import custom_id, identify
from runner.resolve import Resolved, at_positions, shard_limits
from runner.shard import Shard, cut

_STALE = 86_400.0
"""Seconds after which a shard that a killed run left behind is swept."""


@dataclass(frozen=True)
class ShardFile:
    """A shard's request lines, complete and closed, in a file that the caller removes."""

    shard: Shard
    path: Path


def shards_of(world: World, resolved: Resolved) -> Iterator[Shard]:
    """The shards that `spool` will write, without their bodies."""
    assert resolved.ledger is not None
    records = ((identity, size) for identity, size, _ in at_positions(resolved.ledger, resolved.todo))
    return cut(records, shard_limits(world, resolved.batch.spec))


def spool(world: World, resolved: Resolved) -> Generator[ShardFile, None, None]:
    """Every shard of a batch, written when it is asked for.  The caller removes each file when it has left.

    Raises RunnerError when a row no longer renders to what was planned.
    """
    folder = world.cache / "spool"
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder, world.clock.now() - _STALE)
    with closing(_lines(world, resolved)) as lines:
        for shard in shards_of(world, resolved):
            # A name of its own: another run may be writing the same shard.
            path = folder / f"{TEMPORARY}{shard.digest[:16]}-{world.unique()}.jsonl"
            try:
                with naming(path), path.open("wb", buffering=1 << 20) as file:
                    for identity in shard:
                        found, line = next(lines, (b"", b""))
                        if found != identity:
                            raise changed(resolved.batch.spec)
                        file.write(line)
            except BaseException:
                path.unlink(missing_ok=True)  # a full disk needs the room
                raise
            yield ShardFile(shard, path)


def _lines(world: World, resolved: Resolved) -> Generator[tuple[bytes, bytes], None, None]:
    """Identity and request line of every request to submit, in order."""
    with closing(resolved.rendering.bodies()) as bodies:
        yield from _wanted_lines(world, resolved, bodies)


def _wanted_lines(world: World, resolved: Resolved, bodies: Iterator[tuple[Row, str]]) -> Iterator[tuple[bytes, bytes]]:
    salt, samples = resolved.batch.salt, resolved.batch.spec.samples
    frame = resolved.rendering.frame
    wanted = iter(resolved.todo)
    position = next(wanted, None)
    told = f"preparing {resolved.batch.spec.name}"
    for count, (_, text) in enumerate(bodies):
        if not count & 0xFFF:
            if world.stop.is_set():
                raise Interrupted
            world.progress(told, count, resolved.demand.rows)
        while position is not None and position < (count + 1) * samples:
            body = text.encode()
            identity = identify(salt, body, position - count * samples + 1)
            yield (
                identity,
                b"%b%b%b%b%b\n" % (frame.before, custom_id(identity).encode(), frame.between, body, frame.after),
            )
            position = next(wanted, None)
        if position is None:
            return
