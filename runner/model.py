"""Models: what is asked for (Selector), what is on sale (Offer), how the one is chosen from the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bound:
    """A comparison such as ``>=32k``: ``op`` is one of ``< <= > >= =``, ``value`` a plain number."""

    op: str
    value: float


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


@dataclass(frozen=True)
class Price:
    """Per 1,000 tokens.  ``upper_bound``: the provider lists no batch price and this is the online one."""

    input: float
    output: float
    currency: str
    upper_bound: bool = False


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

    def to_json(self) -> dict[str, Any]:
        raise NotImplementedError
