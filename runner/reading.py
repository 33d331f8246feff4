"""Read what is known of each row of a batch, by its spec's name: no secret, no network, nothing written but caches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner.edge.world import World
from runner.errors import RunnerError
from runner.joining import Line, Tally, lines
from runner.resolve import Knowledge, Options, Resolved, resolve
from runner.spec import Spec
from runner.state import State

_OFFLINE = Options(offline=True, no_rows=True)


class Reader:
    """The batches of a project as they stand in ``state``, each resolved when it is first asked for."""

    def __init__(self, world: World, specs: Sequence[Spec], state: State) -> None:
        self._world = world
        self._specs = {spec.name: spec for spec in specs}
        self._state = state
        self._knowledge = Knowledge(world, state)
        self._resolved: dict[str, Resolved] = {}

    def lines(self, name: str, *, bodies: bool = False, tally: Tally | None = None) -> Iterator[Line]:
        """Every row and sample of the batch in input order, whether it has ended or not.

        Raises RunnerError, such as for an input that is gone, which says nothing against the other batches.
        """
        resolved = self.resolved(name)
        yield from lines(self._world, resolved, self._knowledge.of(resolved.batch), bodies=bodies, tally=tally)

    def resolved(self, name: str) -> Resolved:
        """The batch as its spec and its input are today.  Raises RunnerError."""
        if name not in self._resolved:
            found, errors = resolve(self._world, [self._spec(name)], self._state, _OFFLINE, self._knowledge)
            if errors:
                raise errors[0]
            self._resolved[name] = found[0]
        return self._resolved[name]

    def _spec(self, name: str) -> Spec:
        if name not in self._specs:
            names = ", ".join(sorted(self._specs)[:20]) or "none"
            raise RunnerError(f"no spec is named {name!r}", hint=f"The specs are: {names}")
        return self._specs[name]
