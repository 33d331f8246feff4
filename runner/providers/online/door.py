"""Where an endpoint is and how it is knocked at: what tells one kind of online endpoint from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from runner.model import Catalogue


@dataclass(frozen=True)
class Target:
    """An endpoint that can be asked now.  ``base_url`` with or without ``/v1``; ``headers`` carry the key."""

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NotYet:
    """An endpoint that is on its way."""

    word: str
    """The platform's own, such as "starting"."""
    what: str = field(default="the endpoint", compare=False)
    """Its name for people."""


class Door(Protocol):
    """Finds an endpoint.  Its calls raise ProviderError, and RunnerError for an endpoint that will not come up."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should know before anything is sent."""

    def open(self) -> Target | NotYet:
        """The endpoint as it stands now.  Asked for at the start of a run, and again while it is not there yet."""

    def accepts(self) -> str:
        """What was given for our credentials at no cost, and only for them; "" where nothing would tell."""

    def catalogue(self) -> Catalogue:
        """The models that it serves."""
