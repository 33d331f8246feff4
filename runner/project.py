"""A Project: what `runner.yaml` says, as typed values.  Secrets are named here, never held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.spec import Place


@dataclass(frozen=True)
class SecretRef:
    """Where a secret is to be found when it is needed: an environment variable, or a file."""

    env: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class ProviderConfig:
    """One entry under ``providers``.  ``settings`` are the keys of its type, secrets among them as SecretRef."""

    name: str
    type: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    place: Place = Place("runner.yaml")


@dataclass(frozen=True)
class Limits:
    """The most that one apply may ask for.  None: no limit.  ``cost`` maps a currency, or "" for any single one, to money."""

    requests: int | None = None
    tokens: int | None = None
    cost: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Blobs:
    """``prompts``: keep or drop the rendered example of each revision.  ``store``: where raw results go, if not beside
    the state."""

    prompts: str = "keep"
    store: str | None = None


@dataclass(frozen=True)
class Project:
    place: Place
    specs: str = "specs"
    state: str = ".runner"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()
    per_spec: Limits = Limits()
    blobs: Blobs = Blobs()
    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)
