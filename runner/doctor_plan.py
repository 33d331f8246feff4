"""What `runner doctor` finds out of the next plan: models, parameters, limits, and room on the disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

from runner.checkup import Finding, Status, counted
from runner.edge.machine import free_bytes
from runner.edge.world import World
from runner.errors import InvalidDocuments, RunnerError
from runner.limits import Limit
from runner.model import Offer, modality_problems, parameter_problems
from runner.refresh import fold_all
from runner.resolve import Offers, Options, Resolved, at_positions, pick_offer
from runner.spec import Spec
from runner.state import Pinned, State
from runner.workflow import Prepared, Request, prepare

_SHOWN = 20
"""Findings of one kind that are told one by one."""
_MARGIN = 100_000_000
"""Bytes to spare."""


@dataclass
class _Models:
    """What was found for each spec, and the choices that the next plan would make."""

    good: Counter[str] = field(default_factory=Counter)
    troubles: list[Finding] = field(default_factory=list)
    choices: list[Pinned] = field(default_factory=list)


def plan_findings(
    world: World, specs: Sequence[Spec], state: State, willing: Set[str], *, offline: bool
) -> Iterator[Finding]:
    """``willing``: the providers that can be asked.  Of the others their own findings have told."""
    found = _look_for_models(world, specs, state, willing, offline=offline)
    if found.good:
        told = ", ".join(f"{model} for {counted(count, 'spec')}" for model, count in found.good.most_common(5))
        more = ", …" if len(found.good) > 5 else ""
        yield Finding("models", Status.OK, f"on sale, with all parameters in range: {told}{more}")
    yield from _some(found.troubles)
    try:
        options = Options(offline=True, no_rows=True)
        prepared = prepare(world, specs, fold_all(state, found.choices), Request(options=options))
    except RunnerError as error:
        yield Finding.of("plan", error)
        return
    told_already = {finding.what for finding in found.troubles}
    errors = [finding for error in prepared.errors for finding in _errors(error) if finding.what not in told_already]
    yield from _some(errors)
    yield from _limits(world, prepared)
    yield from _room(world, prepared.resolved)


def _some(findings: Sequence[Finding]) -> Iterator[Finding]:
    yield from findings[:_SHOWN]
    if len(findings) > _SHOWN:
        rest = findings[_SHOWN:]
        worst = Status.FAIL if any(one.status is Status.FAIL for one in rest) else rest[0].status
        yield Finding(rest[0].about, worst, f"and {len(rest):,} more of the kind")


def _errors(error: RunnerError) -> Iterator[Finding]:
    if isinstance(error, InvalidDocuments):
        yield from (Finding("plan", Status.FAIL, f"{one.where}: {one.message}", do=one.hint) for one in error.problems)
    else:
        yield Finding.of("plan", error)


# ---- models ----------------------------------------------------------------------------------------------------------


def _look_for_models(world: World, specs: Sequence[Spec], state: State, willing: Set[str], *, offline: bool) -> _Models:
    offers = Offers(world, offline=offline)
    found = _Models()
    for spec in specs:
        about = f"model of {spec.name}"
        if spec.provider not in willing:
            what = f"{spec.provider} gave no list of models"
            found.troubles.append(Finding(about, Status.UNKNOWN, what, f"See above, at provider {spec.provider}."))
            continue
        try:
            catalogue = offers.of(spec.provider)
            offer, pin = pick_offer(spec, state, offers, offline=offline or catalogue is None, upgrade=False)
        except RunnerError as error:
            found.troubles.append(Finding.of(about, error))
            continue
        if pin is not None:
            found.choices.append(Pinned(spec.name, pin))
        before = state.batches[spec.name].pin if spec.name in state.batches else None
        listed = catalogue is not None and any(one.id == offer.id for one in catalogue.offers) if offer else False
        troubles = list(_of_offer(about, spec, offer, listed=listed))
        if offer and pin and before and before.selector == pin.selector and before.offer.id != offer.id:
            troubles.append(_gone(about, spec, before.offer, offer))
        found.troubles += troubles
        if offer and not troubles:
            found.good[offer.id] += 1
    return found


def _of_offer(about: str, spec: Spec, offer: Offer | None, *, listed: bool) -> Iterator[Finding]:
    if offer is None:
        yield Finding(about, Status.UNKNOWN, "which one it will be takes the provider's list, which was not to be had")
        return
    kinds = {part.kind for message in spec.messages for part in message.parts}
    for problem in parameter_problems(offer, spec.parameters):
        yield Finding(
            about, Status.FAIL, f"{spec.at('parameters')}: {problem}", do="Change the parameter, or the model."
        )
    for problem in modality_problems(offer, kinds):
        yield Finding(about, Status.FAIL, f"{spec.at('messages')}: {problem}", do="Choose another model.")
    if not listed:
        yield Finding(about, Status.UNKNOWN, f"whether {offer.id} is on sale: no list that was to be had names it")


def _gone(about: str, spec: Spec, before: Offer, now: Offer) -> Finding:
    return Finding(
        about,
        Status.WARN,
        f"{before.label}, chosen earlier, is not on sale any more; the next plan takes {now.label}",
        "Another model means that every row is asked, and paid, again.",
        f"To keep what is answered, name a model in {spec.at('model')} or suspend the spec.  To see the difference:",
        (f"runner plan --select {spec.name}",),
    )


# ---- limits and room -------------------------------------------------------------------------------------------------


def _limits(world: World, prepared: Prepared) -> Iterator[Finding]:
    plan = prepared.plan
    if plan.over:
        yield Finding(
            "limits",
            Status.WARN,
            f"the next plan is over a limit: {'; '.join(map(str, plan.over))}",
            "Apply would submit nothing of it.",
            "Select fewer specs, raise the limit, or lift it for once.  To see the plan:",
            ("runner plan",),
        )
    elif world.project.limits.apply == Limit() and _costs(world, prepared.resolved):
        yield Finding(
            "limits",
            Status.WARN,
            "there are none for one apply",
            "A spec that is wrong can ask, and cost, anything.",
            "In runner.yaml, write what is the most: limits: {requests: 10000, cost: 50}",
        )
    else:
        yield Finding("limits", Status.OK, f"the next plan asks {counted(plan.requests, 'request')}, within them")


def _costs(world: World, resolved: Sequence[Resolved]) -> bool:
    return any(not world.providers[one.batch.spec.provider].traits.lists_offline for one in resolved)


def _room(world: World, resolved: Sequence[Resolved]) -> Iterator[Finding]:
    """What is spooled, and as much again for the answers."""
    needed = sum(size for one in resolved if one.ledger for _, size, _ in at_positions(one.ledger, one.todo))
    free = free_bytes(world.cache)
    told = f"{_megabytes(free)} free below {world.cache}, {_megabytes(needed)} of requests in the next plan"
    if free < needed:
        yield Finding("disk", Status.FAIL, told, "Requests are written to the disk before they are sent.", "Make room.")
    elif free < 2 * needed + _MARGIN:
        yield Finding("disk", Status.WARN, told, "The answers take room, too.", "Make room.")
    else:
        yield Finding("disk", Status.OK, told)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"
