"""Read what is known of each row of a batch, by its spec's name: no secret, no network, nothing written but caches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from runner.batch import Batch
from runner.chaining import Chains
from runner.edge.paths import data_url
from runner.edge.rows import fingerprint as input_fingerprint
from runner.edge.world import World
from runner.errors import RunnerError
from runner.joining import Line, Tally, lines
from runner.plan import Demand
from runner.prompt import compile_prompt
from runner.rendering import Rendering
from runner.resolve import Knowledge, Options, Resolved
from runner.result import Failure
from runner.revision import Kept, Revision, read
from runner.spec import Spec
from runner.state import State

_OFFLINE = Options(offline=True, no_rows=True)
_NOT_THEN = Failure("not_in_revision", "the row was not asked in that revision, or is another by now", False)


class Reader:
    """The batches of a project as they stand in ``state``, each resolved when it is first asked for."""

    def __init__(self, world: World, specs: Sequence[Spec], state: State) -> None:
        self._world = world
        self._specs = {spec.name: spec for spec in specs}
        self._state = state
        self._knowledge = Knowledge(world, state)
        self._resolved: dict[str, Resolved] = {}

    def lines(
        self, name: str, *, bodies: bool = False, revision: int | None = None, tally: Tally | None = None
    ) -> Iterator[Line]:
        """Every row and sample of the batch in input order, whether it has ended or not.

        With ``revision``, the rows of today are asked as they were then, and the answers of that time are found again;
        a row that was not asked in that way is ``missing``, with the code ``not_in_revision``.  Raises RunnerError,
        such as for an input that is gone, which says nothing against the other batches.
        """
        resolved = self.resolved(name) if revision is None else self._as_in(name, revision)
        unsent = None if revision is None else _NOT_THEN
        known = self._knowledge.of(resolved.batch)
        return lines(self._world, resolved, known, bodies=bodies, tally=tally, unsent=unsent)

    def revisions(self, name: str) -> tuple[Revision, ...]:
        """Those that the state remembers, oldest first."""
        known = self._state.batches.get(self._spec(name).name)
        return known.revisions if known else ()

    def kept(self, name: str, number: int) -> Kept:
        """How revision ``number`` asked.  Raises RunnerError where it is not known, or was not kept."""
        known = self.revisions(name)
        found = next((one for one in known if one.number == number), None)
        if found is None:
            there = ", ".join(str(one.number) for one in known)
            hint = (
                f"The state remembers: {there}" if there else "One is written whenever all of its rows have been sent."
            )
            raise RunnerError(f"{name} has no revision {number}", hint=hint, code="revision-unreadable")
        if not found.blob:
            raise RunnerError(
                f"revision {number} of {name} cannot be read: how it asked was not kept",
                hint="The next ones are, unless runner.yaml has `blobs: {prompts: drop}`.",
                code="revision-unreadable",
            )
        try:
            return read(self._world.store.get(found.blob))
        except ValueError:
            raise RunnerError(
                f"revision {number} of {name} cannot be read: the blob {found.blob} is not one of this version",
                hint="Use a runner at least as new as the one that wrote it.",
                code="revision-unreadable",
            ) from None

    def _as_in(self, name: str, number: int) -> Resolved:
        kept = self.kept(name, number)
        spec, grounds = kept.applied_to(self._chains().linked(self._spec(name))), self._world.grounds
        prompt = compile_prompt(spec, load=partial(_kept_template, kept.templates), image=partial(data_url, grounds))
        batch = Batch(spec, kept.offer, {"input": input_fingerprint(grounds, spec.input.path)}, key="")
        rendering = Rendering(grounds, batch, prompt, self._world.providers[spec.provider])
        return Resolved(batch, Demand(name, spec.provider, batch.model, rows=0, submit=0), rendering)

    def resolved(self, name: str) -> Resolved:
        """The batch as its spec and its input are today.  Raises RunnerError."""
        if name not in self._resolved:
            chains = self._chains()
            found = chains.resolve([chains.linked(self._spec(name))])
            if found.errors:
                raise found.errors[0]
            self._resolved[name] = found.resolved[0]
        return self._resolved[name]

    def _chains(self) -> Chains:
        return Chains(self._world, self._specs.values(), self._state, _OFFLINE, self._knowledge)

    def _spec(self, name: str) -> Spec:
        if name not in self._specs:
            names = ", ".join(sorted(self._specs)[:20]) or "none"
            raise RunnerError(f"no spec is named {name!r}", hint=f"The specs are: {names}", code="spec-unknown")
        return self._specs[name]


def _kept_template(templates: Mapping[str, str], name: str) -> str:
    if name not in templates:
        raise RunnerError(f"the template {name} was not kept", code="revision-unreadable")
    return templates[name]
