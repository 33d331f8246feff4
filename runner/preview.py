"""Look before paying: the exact bodies of a spec, and the models that fit it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice

from runner.batch import Batch
from runner.chaining import Chains
from runner.edge.world import World
from runner.errors import RunnerError
from runner.joining import row_key
from runner.model import Listed, Offer, explain
from runner.rendering import Rendering, compile_in
from runner.resolve import Offers, Options, pick_offer
from runner.spec import Spec
from runner.state import State


def model_of(world: World, spec: Spec, state: State) -> Offer | None:
    """The model that a spec's requests go to, as far as that is known without asking anybody."""
    return pick_offer(spec, state, Offers(world, offline=True), offline=True, upgrade=False)[0]


def bodies(
    world: World, specs: Sequence[Spec], spec: Spec, state: State, *, key: str | None, limit: int | None
) -> Iterator[str]:
    """Request bodies of ``spec``, one of ``specs``, in row order, without asking anybody: a model not chosen yet is
    shown as an empty name."""
    spec = Chains(world, specs, state, Options(offline=True, no_rows=True)).linked(spec)
    batch = Batch(spec, model_of(world, spec, state) or Offer(id=""), {}, "")
    rendering = Rendering(world.grounds, batch, compile_in(world.grounds, spec), world.providers[spec.provider])
    with closing(rendering.bodies()) as rows:
        found = (body for row, body in rows if key is None or row_key(spec, row) == key)
        yield from islice(found, limit)


def listed(world: World, provider: str | None) -> list[Listed]:
    """Offers of one provider, or of all.  Raises RunnerError."""
    if provider is not None and provider not in world.providers:
        raise RunnerError(
            f"runner.yaml names no provider {provider!r}",
            hint=f"It names: {', '.join(sorted(world.providers))}",
            code="provider-unknown",
        )
    names = [provider] if provider else sorted(world.providers)
    offers = Offers(world, offline=False)
    return [Listed(name, offer) for name in names for offer in offers.sure_of(name).offers]


def fitting(world: World, spec: Spec) -> list[Listed]:
    """Offers of the spec's provider, those that fit first, each with what it lacks."""
    found = explain(spec.model, Offers(world, offline=False).sure_of(spec.provider).offers)
    rows = [Listed(spec.provider, offer, tuple(lacks)) for offer, lacks in found]
    return sorted(rows, key=lambda row: (len(row.lacks), row.offer.id))
