"""Provider types by name.  Nothing of a family is loaded before one of its providers is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import RunnerError
from runner.project import ProviderConfig, SecretRef
from runner.provider import Provider

if TYPE_CHECKING:
    from runner.edge.http import Http

FAMILIES: Mapping[str, str] = {
    "simulator": "wanqing.provider:simulator",
    "wanqing": "wanqing.provider:wanqing",
    "online": "online.provider:online",
    "alaya": "alaya:alaya",
    "qianfan": "qianfan.provider:qianfan",
    "openai": "openai.provider:openai",
    "anthropic": "anthropic.provider:anthropic",
}
"""Type → the module under ``providers`` and the function in it that builds one from its settings and its hands."""


def build(
    config: ProviderConfig,
    *,
    http: Http,
    secret: Callable[[SecretRef], str],
    simulator_url: Callable[[], str],
    folder: Path,
) -> Provider:
    """The provider that ``config`` describes, without a word to it yet.

    ``folder``: where it may keep what has to outlive a run.  Raises RunnerError for a type that there is not.
    """
    from runner.providers.hands import Hands

    if config.type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise RunnerError(
            f"provider {config.name}: there is no type {config.type}; there are {known}", code="provider-unknown"
        )
    module, _, function = FAMILIES[config.type].partition(":")
    make = getattr(import_module(f"runner.providers.{module}"), function)
    provider: Provider = make(config, Hands(http, secret, simulator_url, folder))
    return provider
