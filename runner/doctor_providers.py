"""What `runner doctor` asks a provider: whether our credentials are there, and whether it takes them."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from runner.checkup import Finding, Status
from runner.edge import secrets
from runner.edge.world import World
from runner.errors import Busy, CredentialsError, RunnerError, Unsure
from runner.project import ProviderConfig, SecretRef
from runner.provider import Provider, Vouching
from runner.scaffold_choices import BLANK

_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def provider_findings(world: World, name: str, *, used: bool, offline: bool) -> Generator[Finding, None, bool]:
    """Returns whether the provider can be asked for more.

    ``used``: some spec names it, or the person did.  What another lacks hinders nobody yet.
    """
    config = world.project.providers[name]
    about = f"provider {name}"
    lacking = Status.FAIL if used else Status.WARN
    blanks = [key for key, value in config.settings.items() if _is_blank(value)]
    if blanks:
        what = f"{', '.join(blanks)} in runner.yaml still {'says' if len(blanks) == 1 else 'say'} {BLANK}"
        yield Finding(about, lacking, what, do=f"Fill it in, at {config.place}.")
    named = _named(config)
    missing = [error for _, ref in named if (error := _trouble(world, name, ref))]
    for error in missing:
        unused = "" if used else "No spec asks this provider yet."
        yield Finding(about, lacking, error.message, unused, error.hint, credentials=True)
    if missing or blanks:
        return False
    if named:
        yield Finding(about, Status.OK, f"there: {', '.join(_source(ref) for _, ref in named)}")
    yield from _cleartext(about, config, has_secrets=bool(named))
    try:
        provider = world.providers[name]
        yield from (Finding(about, Status.WARN, note.removeprefix(f"{name}: ")) for note in provider.notes)
        yield from _acceptance(about, provider, has_secrets=bool(named), offline=offline)
        return True
    except (Busy, Unsure) as error:
        # A server that answers, if only "not now", is in reach.
        reached = isinstance(error, Busy) and bool(error.word)
        yield Finding.of(about, error, Status.UNKNOWN if reached else lacking)
    except RunnerError as error:
        refused = error.exit_code == CredentialsError.exit_code
        yield Finding.of(about, error, Status.FAIL if refused else lacking)
    return False


def _acceptance(about: str, provider: Provider, *, has_secrets: bool, offline: bool) -> Iterator[Finding]:
    if provider.traits.lists_offline:
        yield Finding(about, Status.OK, "it is part of runner: it takes no key and costs nothing")
        return
    if offline:
        yield Finding(about, Status.UNKNOWN, "whether it takes our credentials was not asked: --offline")
        return
    told = provider.accepts() if isinstance(provider, Vouching) else _listed(provider)
    if told:
        subject = "it takes our credentials" if has_secrets else "it answers"
        yield Finding(about, Status.OK, f"{subject}: it gave {told}")
    elif has_secrets:
        yield Finding(
            about,
            Status.UNKNOWN,
            "whether it takes our credentials cannot be asked at no cost",
            "The first request will tell.",
            "Ask little at first:",
            ("runner apply --sample 1",),
        )
    else:
        yield Finding(about, Status.OK, "runner.yaml names no credentials for it")


def _listed(provider: Provider) -> str:
    """Of a provider that cannot vouch for a key, whether it is in reach."""
    provider.offers()
    return ""


def _cleartext(about: str, config: ProviderConfig, *, has_secrets: bool) -> Iterator[Finding]:
    url = urlsplit(str(config.settings.get("base_url", "")))
    if has_secrets and url.scheme == "http" and url.hostname not in _HERE:
        yield Finding(
            about,
            Status.WARN,
            f"base_url is an http address, at {config.place}",
            "The key travels in clear text.",
            "Write https, unless the network is yours alone.",
        )


def _named(config: ProviderConfig) -> list[tuple[str, SecretRef]]:
    return [(key, value) for key, value in config.settings.items() if isinstance(value, SecretRef)]


def _trouble(world: World, name: str, ref: SecretRef) -> CredentialsError | None:
    """What is wrong with a secret, which is looked at and not kept."""
    try:
        secrets.resolve(ref, provider=name, environ=os.environ, root=world.root)
    except CredentialsError as error:
        return error
    return None


def _source(ref: SecretRef) -> str:
    return ref.env if ref.env is not None else f"the file {ref.file}"


def _is_blank(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_is_blank(inner) for inner in value.values())
    return isinstance(value, str) and BLANK in value
