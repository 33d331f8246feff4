"""Go on, in the same run, with batches that waited for the answers of another once these are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner.chaining import Chains, Found, Waiting
from runner.edge.world import World
from runner.errors import RunnerError
from runner.limits import Limits, Over
from runner.plan import Action, Change, Facts, Plan, make_plan, over_limits
from runner.resolve import Options, Resolved
from runner.spec import Spec
from runner.state import BatchState, State


@dataclass(frozen=True)
class Woken:
    """Batches that can go on, what that takes, and which limits it exceeds together with what was sent before."""

    resolved: tuple[Resolved, ...] = ()
    changes: tuple[Change, ...] = ()
    over: tuple[Over, ...] = ()
    errors: tuple[RunnerError, ...] = ()


class Dependants:
    """The batches of a plan that wait.  ``base`` is the state that it was made from, ``specs`` are all there are."""

    def __init__(
        self, world: World, specs: Sequence[Spec], waiting: Sequence[Waiting], base: State, options: Options
    ) -> None:
        self._world = world
        self._specs = {spec.name: spec for spec in specs}
        self._base = base
        self._options = options
        self.waiting = {one.spec.name: one for one in waiting}
        self._seen = {name: self._of_upstream(base, name) for name in self.waiting}

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def wake(self, state: State, plan: Plan, sent: Sequence[Change], limits: Limits) -> Woken:
        """Those whose upstream is through by now; each is looked at once, whether there is room for it or not.

        ``sent``: what this run has submitted, or means to.
        """
        found = self._look(state)
        if not found.resolved and not found.errors:
            return Woken()
        demands = [one.demand for one in found.resolved]
        now = self._world.clock.now()
        made = make_plan(demands, state, Facts(selected=frozenset()), now)
        changes = tuple(made.of(Action.SUBMIT))
        whole = replace(plan, changes=(*sent, *changes))
        # Reckoned from the state that the run began with, to which all that it sends is added.
        over = over_limits(whole, demands, self._base, limits, now) if changes else ()
        return Woken(tuple(found.resolved), changes, over, tuple(found.errors))

    def ready(self, state: State) -> list[str]:
        """Those that could go on now, in a run of their own."""
        found = self._look(state)
        return sorted(one.batch.spec.name for one in found.resolved)

    def _look(self, state: State) -> Found:
        """Resolve those whose upstream has come further since they were last looked at."""
        moved = [name for name in self.waiting if self._of_upstream(state, name) != self._seen[name]]
        if not moved:
            return Found()
        for name in moved:
            self._seen[name] = self._of_upstream(state, name)
        chains = Chains(self._world, self._specs.values(), state, self._options)
        found = chains.resolve([self._specs[name] for name in moved])
        for one in found.resolved:
            del self.waiting[one.batch.spec.name]
        self.waiting |= {one.spec.name: one for one in found.waiting}
        return found

    def _of_upstream(self, state: State, name: str) -> BatchState:
        return state.batches.get(self._specs[name].input.batch, BatchState())
