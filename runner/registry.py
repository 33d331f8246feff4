"""Provider types by name.  Nothing of a family is loaded before one of its providers is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runner.errors import CredentialsError, RunnerError
from runner.model import parse_size
from runner.project import ProviderConfig, SecretRef
from runner.provider import Provider, ShardLimits

if TYPE_CHECKING:
    from runner.edge.http import Http
    from runner.providers.wanqing import Dialect


@dataclass(frozen=True)
class Hands:
    """What a provider is lent.  ``secret`` and ``simulator_url`` are called at its first conversation, not before."""

    http: Http
    secret: Callable[[SecretRef], str]
    simulator_url: Callable[[], str]
    """Starts the embedded simulator if it is not running yet."""


Family = Callable[[ProviderConfig, Hands], Provider]


def _wanqing(config: ProviderConfig, hands: Hands) -> Provider:
    from runner.providers.wanqing import DEFAULT_URL, WANQING, Wanqing

    url = config.settings.get("base_url", DEFAULT_URL)
    return Wanqing(
        config.name,
        _limited(WANQING, config),
        hands.http,
        base_url=lambda: url,
        api_key=_key(config, hands),
        project_id=config.settings["project_id"],
        upload_url=config.settings.get("upload_url", ""),
        request_line=_request_line(config),
    )


def _simulator(config: ProviderConfig, hands: Hands) -> Provider:
    from runner.providers.wanqing import SIMULATOR, Wanqing

    url = config.settings.get("base_url")
    return Wanqing(
        config.name,
        _limited(SIMULATOR, config),
        hands.http,
        base_url=hands.simulator_url if url is None else lambda: url,
        api_key=_key(config, hands) if "api_key" in config.settings else lambda: "any-key-will-do",
        project_id="simulator",
        request_line=_request_line(config),
        catalogue=_simulated_models if url is None else None,
    )


def _simulated_models() -> Iterable[Mapping[str, Any]]:
    from runner.simulator.models import MODELS

    return MODELS


FAMILIES: dict[str, Family] = {
    "simulator": _simulator,
    "wanqing": _wanqing,
}


def build(
    config: ProviderConfig,
    *,
    http: Http,
    secret: Callable[[SecretRef], str],
    simulator_url: Callable[[], str],
) -> Provider:
    """The provider that ``config`` describes, without a word to it yet.  Raises RunnerError for a type not built in."""
    family = FAMILIES.get(config.type)
    if family is None:
        raise RunnerError(
            f"provider {config.name}: type {config.type} is not built yet; available: {', '.join(sorted(FAMILIES))}",
            where=str(config.place),
        )
    return family(config, Hands(http, secret, simulator_url))


def _key(config: ProviderConfig, hands: Hands) -> Callable[[], str]:
    def key() -> str:
        ref = config.settings.get("api_key")
        if not isinstance(ref, SecretRef):
            raise CredentialsError(
                f"provider {config.name} has no api_key", where=str(config.place), hint="api_key: {env: NAME} names one"
            )
        return hands.secret(ref)

    return key


def _limited(dialect: Dialect, config: ProviderConfig) -> Dialect:
    """``dialect`` with the limits of a task that ``max_requests`` and ``max_bytes`` set."""
    built_in = dialect.traits.shard
    requests = config.settings.get("max_requests", built_in.requests)
    limits = ShardLimits(requests, parse_size(str(config.settings.get("max_bytes", built_in.bytes))))
    return replace(dialect, traits=replace(dialect.traits, shard=limits))


def _request_line(config: ProviderConfig) -> str:
    from runner.providers.chat import LINE_SHAPES

    shape: str = config.settings.get("request_line", "openai")
    if shape not in LINE_SHAPES:
        raise RunnerError(
            f"provider {config.name}: request_line {shape} is not built yet; available: {', '.join(LINE_SHAPES)}",
            where=str(config.place),
        )
    return shape
