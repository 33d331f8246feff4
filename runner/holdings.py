"""Holdings: which tasks hold the requests of each batch, and what of an approved batch has still to be sent."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from runner.digests import DigestMap
from runner.edge.world import World
from runner.known import identities
from runner.plan import Tokens
from runner.resolve import Resolved, measure, shard_limits
from runner.shard import cut
from runner.state import State
from runner.task import ABANDONED, COLLECTED, VOID, Task


class Holdings:
    """What this run knows of each batch beyond the state.  ``made`` are the tasks of this run, by batch."""

    def __init__(self, resolved: Iterable[Resolved]) -> None:
        self.resolved = {one.batch.spec.name: one for one in resolved}
        self.made: dict[str, list[str]] = {name: [] for name in self.resolved}
        self._whole = {name: _asks_nothing(one) for name, one in self.resolved.items()}

    def __iter__(self) -> Iterator[tuple[str, Resolved]]:
        return iter(self.resolved.items())

    def add(self, one: Resolved) -> None:
        """A batch that could not be resolved when the run began."""
        name = one.batch.spec.name
        self.resolved[name], self.made[name], self._whole[name] = one, [], _asks_nothing(one)

    def look_again(self, fresh: Resolved) -> None:
        """Learn which tasks hold the batch's requests by now.  What was approved to be sent stays what it was."""
        name = fresh.batch.spec.name
        before = self.resolved[name]
        if fresh.batch.fingerprint != before.batch.fingerprint:
            return  # edited since: the next apply's affair
        served = _asks_nothing(fresh)
        self._whole[name] = self._whole[name] or served
        demand = replace(before.demand, needs=fresh.demand.needs)
        self.resolved[name] = replace(
            before, demand=demand, seen=fresh.seen, distinct=fresh.distinct, borrows=before.borrows and not served
        )

    def is_whole(self, name: str) -> bool:
        """Whether every request of the batch is in some task."""
        return self._whole[name]

    def all_sent(self, name: str) -> None:
        """Every request that was the batch's own to send is in some task."""
        self._whole[name] = not self.resolved[name].borrows  # what others were to send is seen by looking again

    def needs(self, state: State, name: str) -> list[Task]:
        """The tasks that hold the batch's requests, by id."""
        one = self.resolved[name]
        ids = {*one.demand.needs, *self.made[name]}
        if self._covered(state, one):
            known = state.batches[name].covered
            ids |= set(known.needs if known else ())
        tasks = [state.tasks[id] for id in sorted(ids) if id in state.tasks]
        return [task for task in tasks if task.phase not in (VOID, ABANDONED)]

    def needed(self, state: State) -> set[str]:
        """Ids of all tasks that some batch needs, whatever batch they are filed under."""
        return {task.id for name in self.resolved for task in self.needs(state, name)}

    def publishable(self, state: State, name: str) -> bool:
        """None of its requests is on its way, and all that could be asked were, unless only a part was to be."""
        one, needs = self.resolved[name], self.needs(state, name)
        if any(task.on_its_way and task.stopped != "gave_up" for task in needs):
            return False
        if not any(task.phase == COLLECTED or task.stopped for task in needs):
            return False
        return self._whole[name] or self._covered(state, one) or not one.complete

    def _covered(self, state: State, one: Resolved) -> bool:
        """Whether the state's record of the batch is about the batch as it is now.  One without a key never is."""
        known = state.batches.get(one.batch.spec.name)
        return bool(one.batch.key and known and known.covered and known.covered.key == one.batch.key)

    def remaining(self, world: World, state: State, name: str, unstarted: Sequence[Task]) -> Resolved:
        """What was approved and is in no task yet, with the requests of starts that turned out not to have happened.

        Looks at the rows as they were approved: neither an edited file nor a failed answer adds to them.
        """
        one = self.resolved[name]
        alive = (state.tasks[id] for id in self.made[name] if id in state.tasks)
        sent = _requests(world, [task for task in alive if task.on_its_way or task.phase == COLLECTED])
        back = _requests(world, unstarted)
        ledger = one.ledger or measure(world, one.rendering)
        positions = array("I")
        seen = DigestMap()

        def left() -> Iterator[tuple[bytes, int]]:
            approved = iter(one.todo)
            position = next(approved, None)
            for at, (identity, size, _) in enumerate(ledger):
                wanted = at == position
                if wanted:
                    position = next(approved, None)
                if (wanted or identity in back) and identity not in sent and seen.add(identity):
                    positions.append(at)
                    yield identity, size

        shards = [shard.digest for shard in cut(left(), shard_limits(world, one.batch.spec))]
        demand = replace(
            one.demand,
            submit=len(positions),
            shards=len(shards),
            identity=hashlib.sha256("".join(shards).encode()).hexdigest(),
            tokens=_part(one.demand.tokens, len(positions), one.demand.submit),
        )
        return replace(one, ledger=ledger, todo=positions, demand=demand)


def _asks_nothing(one: Resolved) -> bool:
    return not one.demand.submit and not one.borrows


def _requests(world: World, tasks: Iterable[Task]) -> DigestMap:
    found = DigestMap()
    for task in tasks:
        for identity in identities(world.store.get(task.shard)):
            found.add(identity)
    return found


def _part(tokens: Tokens | None, part: int, whole: int) -> Tokens | None:
    """The estimate for so many of its requests."""
    if tokens is None or not whole:
        return None
    output = None if tokens.output is None else tokens.output * part // whole
    return Tokens(tokens.input * part // whole, output)
