"""The verbs in order: what each command does, as a short tuple of steps.

::

    plan    load → refresh → resolve → make_plan
    apply   plan → approve → collect, cancel, submit, publish → (with --wait) look again until quiet
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from runner.apply import Apply
from runner.chaining import Chains, Found, Waiting
from runner.chains import fails_check
from runner.checks import example_keys
from runner.continuing import Dependants
from runner.edge.files import write_atomic
from runner.edge.world import World
from runner.errors import RunnerError, StalePlan
from runner.heartbeat import Heartbeat
from runner.journal import Journal
from runner.limits import Limits, over_error
from runner.outcome import Outcome
from runner.plan import Demand, Facts, Plan, make_plan, over_limits
from runner.refresh import News, fold_all, refresh
from runner.resolve import Held, Options, Resolved, together
from runner.review import Review
from runner.spec import Spec
from runner.state import State, checks_of
from runner.task import OPEN, Task
from runner.workers import needs_us


@dataclass(frozen=True)
class Request:
    """What a person asked for on the command line."""

    select: tuple[str, ...] = ()
    options: Options = field(default_factory=Options)
    allow: Mapping[str, float] = field(default_factory=dict)
    """Limits that are lifted for once, by name."""

    def limits(self, world: World) -> Limits:
        """Those of runner.yaml, with what is allowed.  Raises RunnerError for names that there are not."""
        return world.project.limits.lifted(self.allow)


@dataclass(frozen=True)
class Prepared:
    """A plan, and what is needed to carry it out."""

    plan: Plan
    believed: State
    """The state with the news folded in: what the plan was made from."""
    resolved: tuple[Resolved, ...]
    news: News
    selected: Callable[[Task], bool]
    errors: tuple[RunnerError, ...] = ()
    """Specs that could not be resolved, providers that could not be asked: no plan is whole while there are any."""
    waiting: tuple[Waiting, ...] = ()
    """Batches that read the answers of another which are not all here."""
    specs: tuple[Spec, ...] = ()
    """All that there are."""

    def check(self) -> None:
        """Raises what stands in the way of a whole plan."""
        if self.errors:
            raise together(self.errors)


def prepare(world: World, specs: Sequence[Spec], state: State, request: Request) -> Prepared:
    """Plan: reads the world, changes nothing in it but caches.

    Errors are handed back, so that apply can still collect what others have paid for.
    """
    chosen = select(specs, request.select, allow_none="no_specs" in request.allow)
    names = frozenset(spec.name for spec in chosen) if request.select else None

    lent = {id for name in names or () for id in _needs(state, name)}

    def selected(task: Task) -> bool:
        return names is None or task.batch in names or task.id in lent

    news = refresh(world, state, offline=request.options.offline, only=selected)
    believed = fold_all(state, news.events)
    found = Chains(world, specs, believed, request.options).resolve(chosen)
    resolved, errors = found.resolved, found.errors
    declared = {spec.name for spec in specs}
    demands = [*(one.demand for one in resolved), *(one.demand(believed) for one in found.waiting)]
    facts = Facts(
        unsettled=news.unsettled,
        busy=news.busy,
        removed={name: batch.on_remove for name, batch in believed.batches.items() if name not in declared},
        parked=_parked(world, believed, demands),
        cancels=frozenset(name for name, provider in world.providers.items() if provider.traits.cancels),
        selected=names,
    )
    notes = [*_notes(world, state, resolved, request.options), *_chain_notes(found, believed)]
    plan = make_plan(demands, believed, facts, world.clock.now(), notes)
    plan = replace(plan, lineage=state.lineage, serial=state.serial)
    plan = replace(plan, over=over_limits(plan, demands, believed, request.limits(world), world.clock.now()))
    failed = (*errors, *news.errors.values())
    return Prepared(plan, believed, tuple(resolved), news, selected, failed, tuple(found.waiting), tuple(specs))


def _parked(world: World, state: State, demands: Sequence[Demand]) -> frozenset[str]:
    """Open tasks that go on only while we work on them, and that no batch needs as it is now."""
    needed = {id for demand in demands for id in demand.needs}
    open_ = (task for task in state.tasks.values() if task.phase == OPEN and task.id not in needed)
    return frozenset(task.id for task in open_ if needs_us(world, task.provider))


def _needs(state: State, name: str) -> tuple[str, ...]:
    known = state.batches.get(name)
    return known.covered.needs if known and known.covered else ()


def select(specs: Sequence[Spec], patterns: Sequence[str], *, allow_none: bool = False) -> list[Spec]:
    """Specs whose name fits one of the globs, or all without any.

    Raises RunnerError for a glob that fits none, unless that is allowed.
    """
    unmatched = [glob for glob in patterns if not any(fnmatchcase(spec.name, glob) for spec in specs)]
    if unmatched and not allow_none:
        names = ", ".join(sorted(spec.name for spec in specs)[:20]) or "none"
        raise RunnerError(
            f"no spec is named {', '.join(map(repr, unmatched))}", hint=f"The specs are: {names}", code="spec-unknown"
        )
    return [spec for spec in specs if not patterns or any(fnmatchcase(spec.name, glob) for glob in patterns)]


def _notes(world: World, state: State, resolved: Sequence[Resolved], options: Options) -> list[str]:
    notes = [*world.store.notes]
    if state.lineage is None and not notes:
        notes.append("There is no state yet: everything counts as new, so the counts are upper bounds.")
    if options.offline:
        notes.append("Offline: no provider was asked; tasks are shown as they were last seen.")
    unpinned = sorted(one.batch.spec.name for one in resolved if one.batch.offer is None)
    if unpinned:
        notes.append(f"No model is chosen yet for {', '.join(unpinned)}: that takes the provider's list.")
    notes += ["The project is paused: nothing is submitted."] if world.project.paused else []
    for one in sorted(resolved, key=lambda one: one.batch.spec.name):
        name = one.batch.spec.name
        if one.held is Held.CANCELLED:
            notes.append(f"{name} is cancelled: nothing of it is submitted before `runner retry {name}`.")
        elif one.held is Held.SUSPENDED and not world.project.paused:
            notes.append(f"{name} is suspended: nothing of it is submitted.")
    bounds = sorted({one.batch.spec.provider for one in resolved if one.demand.price and one.demand.price.upper_bound})
    notes += [f"{name} lists no batch price: costs there are the online price, an upper bound." for name in bounds]
    used = sorted({one.batch.spec.provider for one in resolved if one.demand.submit})
    notes += [note for name in used for note in world.providers[name].notes]
    return notes


def _chain_notes(found: Found, state: State) -> list[str]:
    """What is left out of chains, and which checks fail."""
    notes = []
    for name, (count, read) in sorted(found.left_out.items()):
        notes.append(f"{name} leaves out {count:,} row{'s' if count != 1 else ''} of {read} without an answer.")
    for one in sorted(found.resolved, key=lambda one: one.batch.spec.name):
        for result in checks_of(state, one.batch.spec.name, one.demand.publish_key):
            if not result.holds:
                notes.append(f"{fails_check(one.batch.spec.name, result)}{example_keys(result)}.")
    return notes


# ---- apply ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Approval:
    """``digest``: what was reviewed.  ``lineage`` and ``serial``: the state that a saved plan was made from."""

    digest: str | None = None
    saved: bool = False
    lineage: str | None = None
    serial: int = 0
    file: str = "FILE"


def check_approval(plan: Plan, approval: Approval) -> None:
    """Raises StalePlan when ``plan`` is not what was approved.  An approval by digest outlives unrelated collects."""
    if approval.saved and (approval.lineage, approval.serial) != (plan.lineage, plan.serial):
        raise StalePlan(
            f"the saved plan is stale: the state has changed since it was made (serial {approval.serial} then, "
            f"{plan.serial} now)",
            hint="Nothing was done.  Make the plan again, look at it, and apply that:",
            commands=[f"runner plan --out {approval.file}", f"runner apply {approval.file}"],
        )
    if approval.digest is not None and approval.digest != plan.digest:
        raise StalePlan(
            f"what apply would do is not what was approved: the digest is {plan.digest}, not {approval.digest}",
            hint="Nothing was done.  Review the plan again:",
            commands=["runner plan"],
        )


def carry_out(
    world: World,
    journal: Journal,
    prepared: Prepared,
    request: Request,
    *,
    wait: bool,
    timeout: float | None,
    resubmits: bool = True,
    collects: bool = False,
) -> Outcome:
    """Apply an approved plan.  Over a limit, everything but the submits is done, and LimitExceeded is in the errors.

    ``resubmits``: what arises in the run may be submitted too, which an approval by digest does not cover.
    ``collects``: do only what takes no approval; nothing is submitted, and nothing that runs is stopped.
    """
    plan = prepared.plan
    deadline = None if timeout is None else world.clock.now() + timeout
    apply = Apply(
        world,
        journal,
        plan,
        prepared.believed,
        prepared.resolved,
        prepared.news,
        selected=prepared.selected,
        options=request.options,
        deadline=deadline,
        submits=not plan.over and not prepared.errors and not collects,
        resubmits=resubmits,
        collects=collects,
        limits=request.limits(world),
        allow=request.allow,
        dependants=Dependants(world, prepared.specs, prepared.waiting, prepared.believed, request.options),
        continues=wait and resubmits,
    )
    apply.outcome.errors += prepared.errors
    if plan.over and not collects:
        apply.outcome.errors.append(over_error(plan.over))
    try:
        with Heartbeat(world, journal):
            apply.once()
            apply.until_quiet(all=wait)
    finally:
        apply.rest()
    return apply.finish()


# ---- saved plans -----------------------------------------------------------------------------------------------------


def save_plan(plan: Plan, request: Request, path: Path, review: Review | None = None) -> None:
    """Keep a plan with what it was asked with, for :func:`load_plan`, and what a review of it shows.

    It holds no secret, and no prompt but one row's of each spec in the review.
    """
    asked = {"select": list(request.select), "upgrade": request.options.upgrade}
    shown = {"review": review.to_json()} if review else {}
    document = {**plan.to_json(), "request": asked, **shown}
    write_atomic(path, [json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"])


def load_plan(path: Path, request: Request, expect: str | None) -> tuple[Approval, Request]:
    """The approval that a saved plan is, and the request that it was made with.  Raises RunnerError."""
    try:
        document = json.loads(path.read_bytes())
        state, asked = document["state"], document["request"]
        approval = Approval(str(document["digest"]), True, state["lineage"], int(state["serial"]), str(path))
        options = replace(request.options, upgrade=bool(asked["upgrade"]))
        globs = tuple(glob for glob in list(asked["select"]) if isinstance(glob, str))
        if expect not in (None, approval.digest):
            raise StalePlan(f"the plan in {path} has the digest {approval.digest}, not {expect}")
        return approval, replace(request, select=globs, options=options)
    except OSError as error:
        raise RunnerError(f"the plan {path} cannot be read: {error.strerror}", code="plan-unreadable") from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise RunnerError(
            f"{path} is not a plan that this version of runner saved",
            commands=["runner plan --out FILE"],
            code="plan-unreadable",
        ) from None
