"""Models: what is asked for (Selector), what is on sale (Offer), how the one is chosen from the other."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from runner.errors import RunnerError

_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
_MISSED: Mapping[str, str] = {
    "<": "is not below",
    "<=": "is above",
    ">": "is not above",
    ">=": "is below",
    "=": "is not",
}


@dataclass(frozen=True)
class Bound:
    """A comparison such as ``>=32k``: ``op`` is one of ``< <= > >= =``, ``value`` a plain number."""

    op: str
    value: float

    def holds(self, value: float) -> bool:
        return _HOLDS[self.op](value, self.value)


@dataclass(frozen=True)
class Selector:
    """The model a spec asks for.  ``id`` names it outright; everything else narrows the offers.  None: do not care."""

    id: str | None = None
    family: str | None = None
    vendor: str | None = None
    name: str | None = None
    """A glob over the offer's name."""
    tags: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    thinking: bool | None = None
    functions: bool | None = None
    context: Bound | None = None
    """Tokens."""
    price_input: Bound | None = None
    """Per 1,000 tokens, in the provider's currency."""
    price_output: Bound | None = None
    prefer: str | None = None
    """cheapest | largest-context | newest"""
    embeds: bool | None = None
    """True: the spec asks for embeddings.  None, and never False, stands for no, so that older pins keep their key."""


@dataclass(frozen=True)
class Price:
    """Per 1,000 tokens.  ``upper_bound``: the provider lists no batch price and this is the online one."""

    input: float
    output: float
    currency: str
    upper_bound: bool = False

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """Money, in :attr:`currency`, for that many tokens."""
        return (input_tokens * self.input + output_tokens * self.output) / 1000


@dataclass(frozen=True)
class Offer:
    """A model on sale at one provider, in plain numbers.  None: the provider does not say."""

    id: str
    name: str = ""
    family: str | None = None
    vendor: str | None = None
    tags: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    inputs: frozenset[str] | None = None
    """Modalities such as text, image, video, audio."""
    outputs: frozenset[str] | None = None
    thinking: bool | None = None
    functions: bool | None = None
    context: int | None = None
    """Tokens, input and output together."""
    max_input: int | None = None
    max_output: int | None = None
    price: Price | None = None
    parameters: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """Parameter name → the least and greatest value that the model takes."""
    available: bool = True
    """False when the provider says that the model is stopped or failed."""
    released: str = ""
    """When it appeared, in a form that sorts; empty where unknown."""
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The id, and the name where it says more."""
        return f"{self.id} ({self.name})" if self.name not in ("", self.id) else self.id

    def to_json(self) -> dict[str, Any]:
        """What is known, as plain JSON: a field at its default is left out, sets become sorted lists."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != _default(f)}
        return {name: _plain(value) for name, value in values.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Offer:
        """The inverse of :meth:`to_json`.  Keys that this version does not know are ignored."""
        return cls(**{f.name: _typed(f.name, data[f.name]) for f in fields(cls) if f.name in data})


def _default(f: Field[Any]) -> Any:
    return f.default if f.default_factory is MISSING else f.default_factory()


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Price):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return {name: list(bounds) for name, bounds in sorted(value.items())}
    return list(value) if isinstance(value, tuple) else value


def _typed(name: str, value: Any) -> Any:
    if name in ("tags", "capabilities", "inputs", "outputs"):
        return None if value is None else frozenset(value)
    if name == "price":
        return None if value is None else Price(**{f.name: value[f.name] for f in fields(Price) if f.name in value})
    if name == "parameters":
        return {parameter: (least, most) for parameter, (least, most) in value.items()}
    return tuple(value) if name == "notes" else value


@dataclass(frozen=True)
class Catalogue:
    """What a provider says is on sale.  ``complete``: a model that is not in it is not on sale.

    Where it is not complete, because the provider has no list or one that leaves models out, a name that is not listed
    is taken as given.
    """

    offers: tuple[Offer, ...] = ()
    complete: bool = True

    def given(self, selector: Selector) -> Offer | None:
        """The model that is named by an id which an incomplete list leaves out."""
        listed = {word for offer in self.offers for word in (offer.id, offer.name)}
        return None if self.complete or selector.id is None or selector.id in listed else Offer(selector.id)

    def with_facts(self, declared: Sequence[Offer]) -> Catalogue:
        """The catalogue and what runner.yaml says of its models: it fills in what the provider does not say.

        A declared price counts before the provider's, which knows of no agreement, and is asked for online only.
        A declared model that a complete list leaves out is not on sale.
        """
        facts = {offer.id: offer for offer in declared}
        told = tuple(_filled(offer, facts.pop(offer.id, None) or facts.pop(offer.name, None)) for offer in self.offers)
        return self if not declared else Catalogue(told if self.complete else (*told, *facts.values()), self.complete)


def _filled(offer: Offer, facts: Offer | None) -> Offer:
    """``offer``, and from ``facts`` the price and whatever it leaves open."""
    if facts is None:
        return offer
    open_ = {"price"} | {f.name for f in fields(Offer) if getattr(offer, f.name) == _default(f)}
    said = {f.name: getattr(facts, f.name) for f in fields(Offer) if getattr(facts, f.name) != _default(f)}
    return replace(offer, **{name: value for name, value in said.items() if name in open_})


# What people write


_NUMBER = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[kKMG]?)", re.ASCII)
_BOUND = re.compile(r"(?P<op><=|>=|<|>|=)\s*(?P<rest>.*)")
_UNITS = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def _number(text: str) -> float:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a number such as 32000, 32k or 1M")
    return float(match["number"]) * _UNITS[match["unit"]]


def parse_size(text: str) -> int:
    """``32k`` → 32,000; ``1M`` → 1,000,000.

    A k is 1,000 and never 1,024, so that ``>=32k`` lets in the models of 32,768 tokens that are sold as 32k.
    Raises ValueError.
    """
    return round(_number(text))


def parse_bound(text: str) -> Bound:
    """``>=32k`` → Bound(">=", 32000).  A bare number is no comparison.  Raises ValueError."""
    match = _BOUND.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a comparison such as >=32k or <=0.01")
    return Bound(match["op"], _number(match["rest"]))


def _size(value: float) -> str:
    """The shortest spelling that :func:`parse_size` reads back: 32000 → 32k."""
    for unit, factor in (("M", 1_000_000), ("k", 1_000)):
        if value >= factor and value % (factor / 10) == 0:
            return f"{value / factor:.12g}{unit}"
    return f"{value:.0f}" if value == int(value) else f"{value:.12g}"


# Why an offer does not fit


def misfits(selector: Selector, offer: Offer) -> list[str]:
    """Every reason why ``offer`` is not what ``selector`` asks for, each to be read after the offer's name.

    What the provider does not say does not fit a selector that asks for it.  Words are compared without regard to case.
    """
    return [*_misfits(selector, offer)]


def _misfits(selector: Selector, offer: Offer) -> Iterator[str]:
    if not offer.available:
        yield "is stopped"
    if selector.id is not None and selector.id not in (offer.id, offer.name):
        yield f"is not {selector.id}"
    if selector.name is not None and not fnmatchcase(offer.name.lower(), selector.name.lower()):
        yield f"name is not like {selector.name}"
    yield from _other_word("family", selector.family, offer.family)
    yield from _other_word("vendor", selector.vendor, offer.vendor)
    yield from _lacking("tag", selector.tags, offer.tags)
    yield from _lacking("capability", selector.capabilities, offer.capabilities)
    yield from _lacking("input of", selector.inputs, offer.inputs)
    yield from _lacking("output of", selector.outputs, offer.outputs)
    yield from _other_kind(offer.outputs, embeds=bool(selector.embeds))
    yield from _other_flag("thinking", selector.thinking, offer.thinking)
    yield from _other_flag("functions", selector.functions, offer.functions)
    yield from _out_of_bound("context", selector.context, offer.context)
    price = offer.price
    yield from _out_of_bound("input price", selector.price_input, None if price is None else price.input)
    yield from _out_of_bound("output price", selector.price_output, None if price is None else price.output)


def _other_word(what: str, wanted: str | None, actual: str | None) -> Iterator[str]:
    if wanted is None:
        return
    if actual is None:
        yield f"{what} is not known"
    elif actual.casefold() != wanted.casefold():
        yield f"{what} is {actual}, not {wanted}"


def _lacking(what: str, wanted: Iterable[str], actual: frozenset[str] | None) -> Iterator[str]:
    has = {word.casefold() for word in actual or ()}
    yield from (f"no {what} {word}" for word in wanted if word.casefold() not in has)


def _other_kind(outputs: frozenset[str] | None, *, embeds: bool) -> Iterator[str]:
    """Between models that write and models that embed; one that does not say what it gives may do either."""
    if not outputs:
        return
    vectors = {word for word in outputs if "embed" in word.casefold() or "vector" in word.casefold()}
    if embeds and not vectors:
        yield f"gives {', '.join(sorted(outputs))}, and `embed` asks for embeddings"
    if not embeds and vectors == outputs:
        yield "gives embeddings only, which are asked for with `embed`"


def _other_flag(what: str, wanted: bool | None, actual: bool | None) -> Iterator[str]:
    if wanted is None or wanted == actual:
        return
    yield f"whether it has {what} is not known" if actual is None else f"has {what}" if actual else f"has no {what}"


def _out_of_bound(what: str, bound: Bound | None, actual: float | None) -> Iterator[str]:
    if bound is None:
        return
    if actual is None:
        yield f"{what} is not known"
    elif not bound.holds(actual):
        yield f"{what} {_amount(actual)} {_MISSED[bound.op]} {_size(bound.value)}"


def _amount(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def explain(selector: Selector, offers: Iterable[Offer]) -> list[tuple[Offer, list[str]]]:
    """Every offer with its misfits: those that fit first, then those that come nearest."""
    explained = [(offer, misfits(selector, offer)) for offer in offers]
    return sorted(explained, key=lambda pair: (len(pair[1]), pair[0].id))


# Choosing


def choose(selector: Selector, offers: Iterable[Offer], pinned: str | None = None) -> Offer:
    """The one offer that ``selector`` means.

    ``pinned`` is the id chosen earlier: it stays while it is on sale and fits, whatever else has come since.
    Raises RunnerError where no offer fits, or several do and ``prefer`` does not decide between them.
    """
    offers = list({offer.id: offer for offer in offers}.values())
    fitting = [offer for offer in offers if not misfits(selector, offer)]
    for id in (selector.id, pinned):
        for offer in fitting:
            if offer.id == id:
                return offer
    if not fitting:
        raise _none_fits(selector, offers)
    if selector.prefer is not None:
        return _PREFER[selector.prefer](fitting)
    if len(fitting) > 1:
        raise RunnerError(
            f"{len(fitting)} models fit: {_listing(offer.label for offer in fitting)}",
            hint=f"add prefer: {' | '.join(_PREFER)}, name one with id:, or narrow the selector",
            code="model-ambiguous",
        )
    return fitting[0]


def _cheapest(fitting: Sequence[Offer]) -> Offer:
    priced = [(offer.price, offer) for offer in fitting if offer.price is not None]
    if not priced:
        raise RunnerError(
            f"no fitting model has a price, so none is the cheapest: {_listing(offer.label for offer in fitting)}",
            hint="name one with id:, or prefer: largest-context | newest",
            code="model-unpriced",
        )
    currencies = sorted({price.currency for price, _ in priced})
    if len(currencies) > 1:
        raise RunnerError(
            f"prices in {' and '.join(currencies)} cannot be compared, so no model is the cheapest",
            hint="name one with id:, or narrow the selector",
            code="model-unpriced",
        )
    return min(priced, key=lambda pair: (pair[0].input + pair[0].output, pair[1].id))[1]


def _largest_context(fitting: Sequence[Offer]) -> Offer:
    return min(fitting, key=lambda offer: (-(offer.context or 0), offer.id))


def _newest(fitting: Sequence[Offer]) -> Offer:
    latest = max(offer.released for offer in fitting)  # "", unknown, is the least of all
    return min((offer for offer in fitting if offer.released == latest), key=lambda offer: offer.id)


_PREFER: Mapping[str, Callable[[Sequence[Offer]], Offer]] = {
    "cheapest": _cheapest,
    "largest-context": _largest_context,
    "newest": _newest,
}


def _none_fits(selector: Selector, offers: Sequence[Offer]) -> RunnerError:
    if not offers:
        hint = "name one with id:, or say under `models` of the provider in runner.yaml what it has"
        return RunnerError("the provider lists no models", hint=hint, code="model-missing")
    if selector.id is not None:
        named = [offer for offer in offers if selector.id in (offer.id, offer.name)]
        if not named:
            return _no_such_model(selector.id, offers)
        offers = named
    nearest = [f"{offer.label}: {', '.join(reasons)}" for offer, reasons in explain(selector, offers)[:3]]
    return RunnerError(
        f"no model fits; nearest: {_listing(nearest)}",
        hint="runner models --spec NAME says of every model why it does not fit",
        code="model-missing",
    )


def _no_such_model(id: str, offers: Sequence[Offer]) -> RunnerError:
    words = sorted({word for offer in offers for word in (offer.id, offer.name) if word})
    near = get_close_matches(id, words, n=3, cutoff=0.5) or words[:3]
    return RunnerError(
        f"no model {id}; nearest: {_listing(near)}",
        hint="runner models lists every model on sale",
        code="model-missing",
    )


def _listing(items: Iterable[str], most: int = 10) -> str:
    items = list(items)
    more = f"; and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more


# Whether an offer takes what a spec sends


_OUTPUT_CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def parameter_problems(offer: Offer, parameters: Mapping[str, Any]) -> list[str]:
    """Parameters outside the range that the provider documents for this model.  What it does not document passes."""
    numbers = {name: value for name, value in parameters.items() if type(value) in (int, float)}
    return [problem for name, value in numbers.items() for problem in _range_problems(offer, name, value)]


def _range_problems(offer: Offer, name: str, value: float) -> Iterator[str]:
    least, most = offer.parameters.get(name, (None, None))
    if name in _OUTPUT_CAPS and offer.max_output is not None:
        most = offer.max_output if most is None else min(most, offer.max_output)
    if least is not None and value < least:
        yield f"{name} {_amount(value)} is below {_amount(least)}, the least that {offer.label} takes"
    if most is not None and value > most:
        yield f"{name} {_amount(value)} is above {_amount(most)}, the most that {offer.label} takes"


def modality_problems(offer: Offer, kinds: Iterable[str]) -> list[str]:
    """Kinds of message part ("text", "image") that the model does not take.  A model that does not say takes all."""
    if offer.inputs is None:
        return []
    takes = {word.casefold() for word in offer.inputs}
    taken = ", ".join(sorted(offer.inputs)) or "nothing"
    return [f"{offer.label} takes {taken}, not {kind}" for kind in sorted(set(kinds)) if kind.casefold() not in takes]


@dataclass(frozen=True)
class Listed:
    """An offer, and what it lacks for the spec that was asked about (nothing, when none was)."""

    provider: str
    offer: Offer
    lacks: tuple[str, ...] = ()
