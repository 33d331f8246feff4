"""Lay down the answers of a batch as the rows of those that read them, and resolve each batch after the one it reads.

The rows lie in a file under ``.runner/cache/chains``, named by all that they are made of.  For every other verb they
are an input like any: fingerprints, ledgers, limits and costs need not know where rows come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runner.batch import answers_key
from runner.chains import fails_check, in_order
from runner.checks import ERROR, failing
from runner.edge.files import Spooled, sweep
from runner.edge.world import World
from runner.errors import RunnerError
from runner.joining import lines
from runner.plan import Demand
from runner.resolve import Held, Knowledge, Options, Resolved, Resolver
from runner.result import SUCCEEDED
from runner.spec import Spec
from runner.state import BatchState, State

UPSTREAM = "upstream"
"""The column that holds what the new ones would hide."""
ADDED = ("answer", "parsed", "sample")
"""The columns that answers add, the last of them where there are several to a row."""
_KEPT = 86_400.0
"""Seconds for which rows stay after newer ones were laid down: another run may still be reading them."""


@dataclass(frozen=True)
class Waiting:
    """A batch that cannot be looked at before the one that it reads is through."""

    spec: Spec
    reason: str

    def demand(self, state: State) -> Demand:
        known = state.batches.get(self.spec.name)
        needs = known.covered.needs if known and known.covered else ()
        return Demand(self.spec.name, self.spec.provider, None, 0, 0, needs=needs, waits=self.reason)


@dataclass
class Found:
    """What specs came to.  ``left_out`` says of some batches how many answers of the one that they read are none."""

    resolved: list[Resolved] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    errors: list[RunnerError] = field(default_factory=list)
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)


class Chains:
    """Resolves specs of a project against one state.  ``specs`` are all there are, whichever are asked about."""

    def __init__(
        self,
        world: World,
        specs: Iterable[Spec],
        state: State,
        options: Options,
        knowledge: Knowledge | None = None,
    ) -> None:
        self._world = world
        self._specs = {spec.name: spec for spec in specs}
        self._state = state
        self._knowledge = knowledge or Knowledge(world, state)
        self._resolver = Resolver(world, state, options, self._knowledge)
        as_it_is = replace(options, sample=None, upgrade=False, no_rows=True)
        self._aside = Resolver(world, state, as_it_is, self._knowledge)
        """For batches that are only read: nothing that they would ask is anybody's plan."""
        self._known: dict[str, Resolved | None] = {}
        """Batches that others may read; None where one of them waits itself, or cannot be resolved."""
        self._found = Found()

    def resolve(self, chosen: Sequence[Spec]) -> Found:
        """Each of these specs in the order given, but after the one that it reads."""
        for count, spec in enumerate(in_order(chosen)):
            self._world.progress("reading specs", count, len(chosen))
            try:
                found = self._one(spec, self._resolver)
            except RunnerError as error:
                self._known[spec.name] = None
                self._found.errors.append(error)
                continue
            self._known[spec.name] = found if isinstance(found, Resolved) else None
            if isinstance(found, Resolved):
                self._found.resolved.append(found)
            else:
                self._found.waiting.append(Waiting(spec, found))
        return self._found

    def linked(self, spec: Spec) -> Spec:
        """The spec with the file that its rows lie in.  Raises RunnerError where they are not there yet."""
        found = self._linked(spec)
        if isinstance(found, str):
            raise RunnerError(
                f"{spec.name} has no rows yet: it {found}",
                where=str(spec.at("input")),
                hint=f"It reads {spec.input.named}, which have to be there first.  See what is missing:",
                commands=["runner status", f"runner plan --select {spec.input.batch}"],
                code="chain-waits",
            )
        return found

    def _one(self, spec: Spec, resolver: Resolver) -> Resolved | str:
        linked = self._linked(spec)
        return linked if isinstance(linked, str) else resolver.one(linked)

    def _linked(self, spec: Spec) -> Spec | str:
        """The spec with the file that its rows lie in, or why they are not there."""
        if not spec.input.batch or spec.input.path:
            return spec
        read = self._read(spec.input.batch)
        if read is None:
            return f"waits for {spec.input.batch}"
        if reason := self._unfinished(read):
            return reason
        rows = _laid_down(self._world, self._state, read, self._knowledge)
        if not rows.count:
            return f"waits for {spec.input.batch}: no row of it has an answer"
        if rows.left_out:
            self._found.left_out[spec.name] = (rows.left_out, spec.input.batch)
        self._world.grounds.lent.add(rows.path)
        label = read.batch.spec.input.key
        key = spec.input.key or (label if label not in (*ADDED, UPSTREAM) else None)
        return replace(spec, input=replace(spec.input, path=rows.path, key=key))

    def _read(self, name: str) -> Resolved | None:
        """A batch that another reads: as the plan has it, or as it stands where the plan is not about it."""
        if name not in self._known:
            found = self._one(self._specs[name], self._aside)
            self._known[name] = found if isinstance(found, Resolved) else None
        return self._known[name]

    def _unfinished(self, read: Resolved) -> str:
        """Why the answers of a batch are not to be read yet, "" when they are."""
        name, spec = read.batch.spec.name, read.batch.spec
        if not is_through(self._state, read):
            return f"waits for {name}" + (f", which is {read.held.value}" if read.held is not Held.NOT else "")
        if not read.demand.rows or not any(check.severity == ERROR for check in spec.checks):
            return ""
        published = self._state.batches.get(name, BatchState()).published
        if published is None or published.key != read.demand.publish_key:
            return f"waits for {name}, whose checks are not made yet"
        failed = failing(published.checks)
        return fails_check(name, failed) if failed else ""


def is_through(state: State, one: Resolved) -> bool:
    """Whether every request of a batch has come to something, and none of them is asked again by itself."""
    batch = one.batch
    covered = state.batches.get(batch.spec.name, BatchState()).covered
    sent = one.complete and not one.demand.submit and not one.borrows
    sent = sent or bool(covered and covered.current and batch.key and covered.key == batch.key)
    tasks = (state.tasks[id] for id in one.demand.needs)
    return sent and not any(task.on_its_way and task.stopped != "gave_up" for task in tasks)


# ---- the rows ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """``path`` is relative to the project's root."""

    path: str
    count: int
    left_out: int


def _laid_down(world: World, state: State, read: Resolved, knowledge: Knowledge) -> _Rows:
    """The answers of a batch as a file of rows: found, or written.  Raises OSError, RunnerError."""
    name = read.batch.spec.name
    key = answers_key(read.batch, [state.tasks[id] for id in read.demand.needs])[:32]
    folder = world.cache / "cache" / "chains"
    found = sorted(folder.glob(f"{name}.{key}.*-*.jsonl")) if read.batch.key else []
    if found:  # its name says all that it is made of, unless templates read files that no fingerprint knows
        return _rows(world, found[0])
    several = read.batch.spec.samples > 1
    count = left_out = 0
    spooled = Spooled(folder)
    try:
        for line in lines(world, read, knowledge.of(read.batch)):
            if line.output["status"] != SUCCEEDED:
                left_out += 1
                continue
            count += 1
            row = chained_row(line.row.values, line.output, several=several)
            spooled.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            if not count & 0xFFF:
                world.progress(f"reading the answers of {name}", count, None)
        path = folder / f"{name}.{key}.{count}-{left_out}.jsonl"
        spooled.keep(lambda _: path)
    except BaseException:
        spooled.drop()
        raise
    _forget(folder, name, path)
    return _rows(world, path)


def _rows(world: World, path: Path) -> _Rows:
    """What a file's name says."""
    count, left_out = path.name.split(".")[2].split("-")
    return _Rows(f"{path.relative_to(world.root)}", int(count), int(left_out))


def _forget(folder: Path, name: str, new: Path) -> None:
    """Drop a batch's older rows, and what was never finished."""
    with suppress(OSError):
        now = new.stat().st_mtime
        sweep(folder, now - _KEPT)
        for old in folder.glob(f"{name}.*.jsonl"):
            if now - old.stat().st_mtime > _KEPT:
                old.unlink()


def chained_row(values: Mapping[str, Any], output: Mapping[str, Any], *, several: bool) -> dict[str, Any]:
    """A row with its answer.  Columns whose names the answer takes are kept, as a mapping, in the column `upstream`."""
    added = {"answer": output["text"], "parsed": output["parsed"]}
    if several:
        added["sample"] = output["sample"]
    hidden = {name: value for name, value in values.items() if name in added or name == UPSTREAM}
    row = {name: value for name, value in values.items() if name not in hidden} | added
    return {**row, UPSTREAM: hidden} if hidden else row
