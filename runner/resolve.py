"""Resolve specs against the world: fingerprint inputs, choose models, find out which requests are still to be asked."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum

from runner.batch import Batch, explain, fingerprint_of, publish_key
from runner.digests import DigestMap
from runner.edge.ledger import Ledger, Record
from runner.edge.rows import fingerprint as input_fingerprint
from runner.edge.world import World
from runner.errors import Busy, CredentialsError, InvalidDocuments, Problem, RunnerError, Unsure
from runner.estimate import tokens as estimate_tokens
from runner.expressions import check_problems
from runner.fingerprint import Fingerprint, digest_of
from runner.inputs import check_key
from runner.known import Known, gather, unpack
from runner.model import Catalogue, Offer, Selector, choose, modality_problems, parameter_problems
from runner.plan import Demand, Tokens
from runner.prompt import Prompt
from runner.provider import Provider, ShardLimits
from runner.rendering import Rendering, check_unchanged, compile_in, inexpressible
from runner.request import identify
from runner.shard import TooLarge, cut
from runner.spec import Spec
from runner.state import BatchState, Coverage, Pin, Publication, State, condition
from runner.task import ABANDONED, VOID


class Held(Enum):
    """Why a batch submits nothing: a person cancelled it until `runner retry`, or its spec or project says not now."""

    NOT = ""
    CANCELLED = "cancelled"
    SUSPENDED = "suspended"

    def __bool__(self) -> bool:
        return self is not Held.NOT


@dataclass(frozen=True)
class Options:
    """``sample``: only the first so many rows of each spec are submitted.  ``no_rows``: an input may be empty."""

    offline: bool = False
    upgrade: bool = False
    sample: int | None = None
    no_rows: bool = False


@dataclass(frozen=True)
class Resolved:
    """A batch and what it wants.  ``todo`` holds the ledger positions of requests to submit, ascending."""

    batch: Batch
    demand: Demand
    rendering: Rendering
    ledger: Ledger | None = None
    todo: array[int] = field(default_factory=lambda: array("I"))
    pin: Pin | None = None
    """A choice that is not in the state yet."""
    complete: bool = True
    """Whether `todo` is all that is left to ask: not so in a sample."""
    seen: Mapping[str, str] = field(default_factory=dict)
    """Condition of each of the needed tasks when the rows were held against them."""
    held: Held = Held.NOT
    """Why what is left to ask is not asked."""
    borrows: bool = False
    """Whether another spec of the same plan submits some of its requests."""
    distinct: int = 0


class Offers:
    """Offers by provider, asked for at most once a run."""

    def __init__(self, world: World, *, offline: bool) -> None:
        self._world = world
        self._offline = offline
        self._asked: dict[str, Catalogue | RunnerError] = {}

    def of(self, provider: str) -> Catalogue | None:
        """None when they cannot be known: offline, or the provider did not answer.  Raises any other trouble."""
        if provider not in self._asked:
            self._asked[provider] = self._ask(self._world.providers[provider])
        catalogue = self._asked[provider]
        if isinstance(catalogue, RunnerError):
            if self._offline or isinstance(catalogue, Busy | Unsure):
                return None
            raise catalogue
        return catalogue

    def taken_as_given(self, provider: str, id: str) -> Offer:
        """A model that nobody was asked about, with what runner.yaml says of it."""
        found = Catalogue((Offer(id),)).with_facts(self._world.project.providers[provider].models)
        return found.offers[0]

    def sure_of(self, provider: str) -> Catalogue:
        """Raises RunnerError where they cannot be known."""
        found = self.of(provider)
        if found is None:
            raise self.why_not(provider)
        return found

    def why_not(self, provider: str) -> RunnerError:
        error = self._asked[provider]
        assert isinstance(error, RunnerError)
        return error

    def _ask(self, provider: Provider) -> Catalogue | RunnerError:
        if self._offline and not provider.traits.lists_offline:
            return RunnerError("offers are not asked for offline", code="model-missing")
        try:
            return provider.offers().with_facts(self._world.project.providers[provider.name].models)
        except RunnerError as error:
            return error


class Resolver:
    """Resolves specs one after another, so that none of them plans what another does already.

    ``knowledge``: what was gathered of the same state before.
    """

    def __init__(self, world: World, state: State, options: Options, knowledge: Knowledge | None = None) -> None:
        self._world = world
        self._state = state
        self._options = options
        self._offers = Offers(world, offline=options.offline)
        self._planned = _Planned()
        self._knowledge = knowledge or Knowledge(world, state)

    def one(self, spec: Spec) -> Resolved:
        """Raises RunnerError."""
        return _resolve(self._world, spec, self._state, self._options, self._offers, self._knowledge, self._planned)


def resolve(
    world: World, specs: Sequence[Spec], state: State, options: Options
) -> tuple[list[Resolved], list[RunnerError]]:
    """Every spec that can be resolved, in the order given, and why the others cannot.

    Those that read the answers of others know by now which file these lie in.
    """
    resolver = Resolver(world, state, options)
    resolved = []
    errors = []
    for spec in specs:
        try:
            resolved.append(resolver.one(spec))
        except RunnerError as error:
            errors.append(error)
    return resolved, errors


def together(errors: Sequence[RunnerError]) -> RunnerError:
    """One error that says all: problems of files in one list, the gravest exit code."""
    errors = list(dict.fromkeys(errors))
    if len(errors) == 1:
        return errors[0]
    problems = [problem for error in errors if isinstance(error, InvalidDocuments) for problem in error.problems]
    others = [error for error in errors if not isinstance(error, InvalidDocuments)]
    if not others:
        return InvalidDocuments(problems)
    lines = [f"{problem.where}: {problem.message}" for problem in problems]
    lines += [f"{error.where}: {error.message}" if error.where else error.message for error in others]
    merged = RunnerError("\n".join(lines), hint=others[0].hint, commands=others[0].commands, code=others[0].code)
    merged.exit_code = max(error.exit_code for error in others)
    return merged


def pick_offer(
    spec: Spec, state: State, offers: Offers, *, offline: bool, upgrade: bool
) -> tuple[Offer | None, Pin | None]:
    """The model for a spec, and the pin to write if it is a new choice.

    A pin made for the same selector is kept while the model is on sale, whatever else has come since.
    """
    selector = selector_key(spec.model)
    known = state.batches.get(spec.name)
    pin = known.pin if known and known.pin and known.pin.selector == selector else None
    try:
        catalogue = offers.of(spec.provider)
    except RunnerError as error:  # such as a deployment that is down: what was chosen may have nothing left to ask
        if pin is None or error.exit_code == CredentialsError.exit_code:
            raise
        catalogue = None
    if catalogue is None:
        if pin is not None:
            return pin.offer, None
        if offline:
            return (offers.taken_as_given(spec.provider, spec.model.id) if spec.model.id else None), None
        raise offers.why_not(spec.provider)
    try:
        pinned = None if upgrade or pin is None else pin.offer.id
        offer = catalogue.given(spec.model) or choose(spec.model, catalogue.offers, pinned)
    except RunnerError as error:
        error.where = error.where or str(spec.at("model"))
        raise
    return offer, None if pin is not None and pin.offer == offer else Pin(selector, offer)


def selector_key(selector: Selector) -> str:
    return digest_of({key: value for key, value in asdict(selector).items() if value not in (None, (), [])})


def _needs(state: State, *ids: Iterable[str]) -> tuple[str, ...]:
    """The tasks that hold a batch's requests, those among them whose answers others have overtaken."""
    gone = (VOID, ABANDONED)
    found = {id for some in ids for id in some if id in state.tasks and state.tasks[id].phase not in gone}
    return tuple(sorted(found))


def _still_holds(covered: Coverage, key: str, spec: Spec) -> bool:
    return covered.current and covered.key == key and covered.attempts == spec.attempts


class Knowledge:
    """What is known of requests, per provider and model, gathered when first needed."""

    def __init__(self, world: World, state: State) -> None:
        self._world = world
        self._state = state
        self._known: dict[tuple[str, str | None], Known] = {}

    def of(self, batch: Batch) -> Known:
        pair = (batch.spec.provider, batch.model)
        if pair not in self._known:
            tasks = [task for task in self._state.tasks.values() if (task.provider, task.model) == pair]
            self._known[pair] = gather(tasks, self._world.store.get)
        return self._known[pair]


def _resolve(
    world: World,
    spec: Spec,
    state: State,
    options: Options,
    offers: Offers,
    knowledge: Knowledge,
    planned: _Planned,
) -> Resolved:
    provider = world.providers[spec.provider]
    prompt = compile_in(world.grounds, spec)
    if problems := check_problems(spec):  # found out once the answers are here, it would be too late
        raise InvalidDocuments(problems)
    if spec.embed is not None:  # where the provider cannot, its models are not to blame
        _encoding(spec, provider, Offer(""), prompt)
    offer, pin = pick_offer(spec, state, offers, offline=options.offline, upgrade=options.upgrade)
    if offer is not None:
        _check_expressible(spec, offer)
    fingerprint = fingerprint_of(
        spec,
        offer.id if offer else None,
        input_fingerprint(world.grounds, spec.input.path),
        prompt.sources,
        _encoding(spec, provider, offer, prompt),
    )
    key = "" if prompt.local_images else digest_of(fingerprint)
    batch = Batch(spec, offer, fingerprint, key)
    rendering = Rendering(world.grounds, batch, prompt, provider)
    before = state.batches.get(spec.name)
    covered = before.covered if before else None
    if covered and key and _still_holds(covered, key, spec) and not options.sample:
        needs = _needs(state, covered.needs)
        demand = _finish(
            world,
            state,
            batch,
            Demand(spec.name, spec.provider, batch.model, covered.rows, 0, needs=needs, answered=covered.requests),
        )
        return Resolved(batch, demand, rendering, pin=pin, distinct=covered.requests)
    ledger = measure(world, rendering)
    held = _held(world, spec, before)
    look = _Look(knowledge.of(batch), _Planned() if held else planned.by_next(), spec, 0 if held else options.sample)
    try:
        shards = [shard.digest for shard in cut(look.run(ledger), shard_limits(world, spec))]
    except TooLarge as error:
        raise RunnerError(
            f"in {spec.input.named}: {error}", where=str(spec.at("input")), code="row-too-large"
        ) from None
    if not look.rows and not options.no_rows and not spec.input.batch:
        what = "Mend `where`" if spec.input.where else "Fill the file"
        raise RunnerError(
            f"the input {spec.input.path} has no rows" + (" that `where` keeps" if spec.input.where else ""),
            where=str(spec.at("input")),
            hint=f"{what}, or remove the spec; or, if it is meant to be empty:",
            commands=["runner apply --allow no_rows=1"],
            code="input-empty",
        )
    needs = _needs(state, look.needs, covered.needs if covered and key and covered.key == key else ())
    demand = Demand(
        spec.name,
        spec.provider,
        batch.model,
        look.rows,
        submit=len(look.todo),
        shards=len(shards),
        identity=hashlib.sha256("".join(shards).encode()).hexdigest() if shards else "",
        reason=explain(covered.fingerprint if covered else None, fingerprint, look.fresh, look.again),
        tokens=Tokens(look.tokens, _output_bound(spec, offer, len(look.todo))) if look.todo else None,
        price=offer.price if offer else None,
        firm=pin is None or provider.traits.lists_offline or not spec.model.id or _is_declared(offers, spec, offer),
        needs=needs,
        repeats=_repeats(covered, fingerprint, look),
        answered=covered.requests if covered else 0,
    )
    return Resolved(
        batch,
        _finish(world, state, batch, demand),
        rendering,
        ledger,
        look.todo,
        pin,
        seen={id: condition(state.tasks.get(id)) for id in needs},
        complete=options.sample is None and not held,
        held=held,
        borrows=look.borrowed,
        distinct=look.distinct,
    )


def _held(world: World, spec: Spec, known: BatchState | None) -> Held:
    if known is not None and known.cancelled:
        return Held.CANCELLED
    return Held.SUSPENDED if spec.suspend or world.project.paused else Held.NOT


def _repeats(covered: Coverage | None, fingerprint: Fingerprint, look: _Look) -> int:
    """How many of the requests to submit ask again, in other words, what the version before had sent.

    A row that was edited cannot be told from one that is new, but for the number of them.
    """
    if covered is None or covered.fingerprint == fingerprint:
        return 0
    return min(covered.requests, max(0, look.fresh - max(0, look.distinct - covered.requests)))


def _is_declared(offers: Offers, spec: Spec, offer: Offer | None) -> bool:
    """Whether runner.yaml says what the model costs, so that nobody needs to be asked for it."""
    return offer is not None and offers.taken_as_given(spec.provider, offer.id).price == offer.price


def _finish(world: World, state: State, batch: Batch, demand: Demand) -> Demand:
    """Add what the output would be made of, and whether it lies there as published."""
    key = publish_key(batch, [state.tasks[id] for id in demand.needs])
    before = state.batches.get(batch.spec.name)
    published = before.published if before else None
    current = False
    if published is not None and published.key == key:
        current = is_delivered(world, published)
    return replace(demand, publish_key=key, output_current=current, output=batch.spec.output.path)


def is_delivered(world: World, published: Publication) -> bool:
    """Whether the output still is where it belongs: in the project's folder, or where it was delivered once."""
    if world.project.outputs:
        return published.to == world.project.outputs
    return (world.root / published.path).is_file()


def shard_limits(world: World, spec: Spec) -> ShardLimits:
    """The most of a spec's requests that may travel together."""
    return world.providers[spec.provider].traits.limits_for(embeds=spec.embed is not None)


# ---- rows ----------------------------------------------------------------------------------------------------------


def measure(world: World, rendering: Rendering) -> Ledger:
    """The batch's ledger: from the cache, or by rendering every row once."""
    batch = rendering.batch
    found = world.ledgers.find(batch.spec.name, batch.key)
    return found or world.ledgers.record(batch.spec.name, batch.key, _records(world, rendering))


def _records(world: World, rendering: Rendering) -> Iterator[Record]:
    spec = rendering.batch.spec
    salt, samples, key = rendering.batch.salt, spec.samples, spec.input.key
    limit = rendering.batch.offer.max_input if rendering.batch.offer else None
    name = f"rendering {rendering.batch.spec.name}"
    frame = rendering.frame
    extra = len(frame.before) + 32 + len(frame.between) + len(frame.after) + 1
    sha256 = hashlib.sha256
    for count, (row, text) in enumerate(rendering.bodies()):
        if key is not None and key not in row.values:
            check_key(spec, row.values, row.number)
        try:
            body = text.encode()
        except UnicodeEncodeError:
            raise _row_error(
                rendering, row.number, "its text holds half a surrogate pair, which is not Unicode"
            ) from None
        size = len(body)
        tokens = estimate_tokens(len(text), size)
        if limit is not None and tokens > limit and _surely_longer(text, size, limit):
            raise _row_error(rendering, row.number, f"its prompt is longer than the model's {limit:,} input tokens")
        if not count & 0x3FFF:
            world.progress(name, count, None)
        yield sha256(salt + body).digest()[:16], size + extra, tokens
        for sample in range(2, samples + 1):
            yield identify(salt, body, sample), size + extra, tokens
    check_unchanged(world.grounds, rendering.batch)


class _Planned:
    """The requests that this plan submits, each with the number of its spec, so that none is planned twice."""

    def __init__(self) -> None:
        self._by = DigestMap(3)
        self._number = 0

    def by_next(self) -> _Planned:
        self._number += 1
        return self

    def add(self, digest: bytes) -> bool:
        """Whether no spec planned it yet; this one does now."""
        return self._by.add(digest, self._number)

    def by_other(self, digest: bytes) -> bool:
        return self._by.get(digest) != self._number


class _Look:
    """Sorts the requests of a ledger by what is known of each."""

    def __init__(self, known: Known, planned: _Planned, spec: Spec, sample: int | None) -> None:
        self.todo = array("I")
        self.rows = self.fresh = self.again = self.tokens = 0
        self.borrowed = False
        self._known = known
        self._planned = planned
        self._attempts = spec.attempts
        self._last = None if sample is None else sample * spec.samples
        self._seen = DigestMap()
        self._needed: set[int] = set()

    def run(self, ledger: Ledger) -> Iterator[tuple[bytes, int]]:
        """Identity and size of each request to submit, once, in order."""
        known = self._known
        get, needs_asking = (known.map.get if len(known.map) else None), known.needs_asking
        add, plan, todo = self._seen.add, self._planned.add, self.todo
        last, attempts = self._last, self._attempts
        count = tokens = again = 0
        for digest, size, estimate in ledger:
            count += 1
            value = get(digest) if get else None
            if value is not None:
                if add(digest):
                    self._needed.add(unpack(value).task)
                if not needs_asking(digest, attempts):
                    continue
            if last is not None and count > last:
                continue
            if plan(digest):
                todo.append(count - 1)
                tokens += estimate
                again += value is not None
                yield digest, size
            elif not self.borrowed:
                self.borrowed = self._planned.by_other(digest)
        self.rows, self.tokens, self.again, self.fresh = count, tokens, again, len(todo) - again

    @property
    def distinct(self) -> int:
        return len(self._seen) + self.fresh

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that hold requests of the batch."""
        return tuple(sorted(self._known.tasks[index].id for index in self._needed))


def at_positions(ledger: Ledger, positions: Iterable[int]) -> Iterator[Record]:
    """The ledger's records at ascending ``positions``."""
    wanted = iter(positions)
    position = next(wanted, None)
    for at, record in enumerate(ledger):
        if at == position:
            yield record
            position = next(wanted, None)
            if position is None:
                return


# ---- checks before anything is sent --------------------------------------------------------------------------------


def _encoding(spec: Spec, provider: Provider, offer: Offer | None, prompt: Prompt) -> str:
    if offer is None:
        return ""
    try:
        return digest_of(provider.encode(offer, prompt.shape))
    except ValueError as error:
        raise inexpressible(spec, error) from None


def _check_expressible(spec: Spec, offer: Offer) -> None:
    kinds = {part.kind for message in spec.messages for part in message.parts}
    found = [
        Problem(*_at(spec, "parameters"), text, code="prompt-unfit")
        for text in parameter_problems(offer, spec.parameters)
    ]
    found += [Problem(*_at(spec, "messages"), text, code="prompt-unfit") for text in modality_problems(offer, kinds)]
    if found:
        raise together([RunnerError(problem.message, where=problem.where, code=problem.code) for problem in found])


def _at(spec: Spec, key: str) -> tuple[str, int, int]:
    place = spec.at(key)
    return place.file, place.line, place.column


def _output_bound(spec: Spec, offer: Offer | None, requests: int) -> int | None:
    """The most tokens that may come back: `max_tokens` of the spec, else the model's output limit.

    A vector is not billed by the token.
    """
    if spec.embed is not None:
        return 0
    each = spec.parameters.get("max_tokens") or spec.parameters.get("max_completion_tokens")
    if not isinstance(each, int):
        each = offer.max_output if offer else None
    return None if each is None else each * requests


def _surely_longer(text: str, size: int, limit: int) -> bool:
    from runner.estimate import least_tokens

    return least_tokens(len(text), size) > limit


def _row_error(rendering: Rendering, number: int, what: str) -> RunnerError:
    spec = rendering.batch.spec
    return RunnerError(
        f"row {number:,} of {spec.input.named}: {what}", where=str(spec.at("prompt")), code="row-too-large"
    )
