"""Chains: batches that read the answers of others, in which order, and what one of them waits for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from runner.checks import CheckResult, failing
from runner.spec import Spec
from runner.state import BatchState, State


def cycles(reads: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Every circle of batches that wait for one another, each told once.

    ``reads`` says of each batch which one it reads, "" for none; each reads at most one.
    """
    settled: set[str] = set()
    for start in reads:
        path: dict[str, None] = {}
        name = start
        while name in reads and name not in settled and name not in path:
            path[name] = None
            name = reads[name]
        if name in path:
            names = list(path)
            yield tuple(names[names.index(name) :])
        settled.update(path)


def in_order(specs: Iterable[Spec]) -> list[Spec]:
    """The specs in the order given, but each after the one whose answers it reads."""
    by_name = {spec.name: spec for spec in specs}
    found: dict[str, Spec] = {}
    for spec in by_name.values():
        above = [spec]
        while (read := above[-1].input.batch) in by_name and read not in found:
            above.append(by_name[read])
        found |= {one.name: one for one in reversed(above)}
    return list(found.values())


def fails_check(name: str, result: CheckResult) -> str:
    return f"{name} fails its check {result}"


def waits_for(specs: Sequence[Spec], state: State) -> dict[str, str]:
    """Of each batch that cannot go on before another has: why, as far as the state alone tells."""
    by_name = {spec.name: spec for spec in specs}
    found: dict[str, str] = {}
    for spec in in_order(specs):
        read = spec.input.batch
        if read in by_name and (reason := _reason(read, state, waits=read in found)):
            found[spec.name] = reason
    return found


def _reason(read: str, state: State, *, waits: bool) -> str:
    known = state.batches.get(read, BatchState())
    covered = known.covered
    moving = covered is not None and any(
        state.tasks[id].on_its_way and state.tasks[id].stopped != "gave_up" for id in covered.needs if id in state.tasks
    )
    if waits or covered is None or not covered.current or moving:
        return f"waits for {read}"
    failed = failing(known.published.checks) if known.published else None
    return fails_check(read, failed) if failed else ""
