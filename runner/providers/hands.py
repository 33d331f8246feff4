"""What a provider is lent when it is built, and how settings of runner.yaml are read for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner.edge.http import Http
from runner.errors import CredentialsError
from runner.model import parse_size
from runner.project import ProviderConfig, SecretRef
from runner.provider import ShardLimits


@dataclass(frozen=True)
class Hands:
    """``secret`` and ``simulator_url`` are called at the provider's first conversation, not before."""

    http: Http
    secret: Callable[[SecretRef], str]
    simulator_url: Callable[[], str]
    """Starts the embedded simulator if it is not running yet."""
    folder: Path
    """Where a provider may keep what has to outlive this run.  It need not exist yet."""


def secret_of(config: ProviderConfig, hands: Hands, setting: str = "api_key") -> Callable[[], str]:
    """A secret of runner.yaml, found when it is asked for.  Raises CredentialsError where it is not named at all."""

    def find() -> str:
        ref = config.settings.get(setting)
        if not isinstance(ref, SecretRef):
            hint = f"{setting}: {{env: NAME}} names one"
            raise CredentialsError(
                f"provider {config.name} has no {setting}", where=str(config.place), hint=hint, code="setting-missing"
            )
        return hands.secret(ref)

    return find


def limits_of(config: ProviderConfig, built_in: ShardLimits) -> ShardLimits:
    """The limits of a task, with those that ``max_requests`` and ``max_bytes`` set."""
    requests = config.settings.get("max_requests", built_in.requests)
    return ShardLimits(requests, parse_size(str(config.settings.get("max_bytes", built_in.bytes))))
