"""A Project: what `runner.yaml` says, as typed values.  Secrets are named here, never held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.document import Document
from runner.limits import Limit, Limits
from runner.model import Offer, parse_size
from runner.schema import SECRETS
from runner.spec import Place, parse_duration

_TOP = Place("runner.yaml")


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
    place: Place = _TOP
    models: tuple[Offer, ...] = ()
    """What the team knows of models of which the provider's own list says less, or nothing."""


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
    limits: Limits = field(default_factory=Limits)
    paused: bool = False
    """Nothing is submitted; what is on its way is collected."""
    blobs: Blobs = Blobs()
    outputs: str = ""
    """Where outputs are delivered, "" for the project's own folder."""
    providers: Mapping[str, ProviderConfig] = field(default_factory=dict)

    @property
    def state_folder(self) -> str | None:
        """The folder that holds the state, None for a store elsewhere."""
        return folder_of(self.state)

    @property
    def kept(self) -> list[str]:
        """Folders that hold the state and its blobs."""
        return folders_of(self.state, self.blobs.store)

    @property
    def secret_files(self) -> list[str]:
        """Files that hold a secret of some provider."""
        settings = [value for provider in self.providers.values() for value in provider.settings.values()]
        return [value.file for value in settings if isinstance(value, SecretRef) and value.file is not None]


def misplaced(state: str, blobs: str | None) -> tuple[str, str]:
    """Why raw results cannot be kept as ``blobs`` says where the state is ``state``, and what to do; "" where they can.

    A branch may be public, and Terraform's protocol keeps one document: neither takes results without being told.
    """
    on_branch, of_terraform = state.startswith("git:"), state.startswith(("http://", "https://"))
    if blobs is None and (on_branch or of_terraform):
        same = ", or `blobs: {store: git}` for the state's own branch" if on_branch else ""
        why = "results lie on a branch only if it is said" if on_branch else "Terraform's protocol keeps one document"
        return (f"raw results need a place of their own: {why}", f"add `blobs: {{store: s3://BUCKET/PREFIX}}`{same}")
    if blobs == "git" and not on_branch:
        return (
            "`git` stands for the state's branch, and the state is on none",
            "name a place such as s3://BUCKET/PREFIX",
        )
    if blobs is not None and blobs.startswith(("http://", "https://")):
        return "Terraform's protocol keeps no results", "name an object store, git:URL#BRANCH or a folder"
    return "", ""


def folders_of(state: str, blobs: str | None) -> list[str]:
    """The folders that ``state`` and ``blobs: {store: …}`` of runner.yaml name."""
    return [folder for place in (state, blobs) if place not in (None, "git") and (folder := folder_of(str(place)))]


def folder_of(state: str) -> str | None:
    """The folder that ``state`` of runner.yaml names, None where it names a store elsewhere."""
    return None if state.startswith("git:") or "://" in state else state


def from_document(document: Document) -> Project:
    """What a valid runner.yaml says.

    In the settings of a provider a secret is a SecretRef, ``timeout`` is in seconds and ``max_bytes`` in bytes; the
    rest is as it was written.
    """
    value = document.value
    limits = value.get("limits", {})
    blobs = value.get("blobs", {})
    return Project(
        place=Place(*document.mark),
        specs=value.get("specs", Project.specs),
        state=value.get("state", Project.state),
        defaults=value.get("defaults", {}),
        limits=Limits(
            _limit(limits), *(_limit(limits.get(scope, {})) for scope in ("per_spec", "per_day", "per_month"))
        ),
        paused=value.get("paused", False),
        outputs=value.get("outputs", ""),
        blobs=Blobs(prompts=blobs.get("prompts", Blobs.prompts), store=blobs.get("store")),
        providers={name: _provider(document, name) for name in value["providers"]},
    )


def _limit(value: Mapping[str, Any]) -> Limit:
    cost = value.get("cost")
    return Limit(
        requests=_whole(value["requests"]) if "requests" in value else None,
        tokens=_whole(value["tokens"]) if "tokens" in value else None,
        cost=cost if isinstance(cost, dict | None) else {"": cost},
        repeat=value.get("repeat"),
    )


def _provider(document: Document, name: str) -> ProviderConfig:
    settings = {key: _setting(key, value) for key, value in document.value["providers"][name].items()}
    place = Place(*document.locate(("providers", name), key=True))
    models = tuple(_model(model) for model in settings.pop("models", ()))
    return ProviderConfig(name, settings.pop("type"), settings, place, models)


def _model(value: Mapping[str, Any]) -> Offer:
    sizes = {key: _whole(value[key]) for key in ("context", "max_input", "max_output") if key in value}
    return Offer.from_json({**value, **sizes})


def _setting(key: str, value: Any) -> Any:
    if key in SECRETS:
        return SecretRef(**value)
    if key == "timeout":
        return parse_duration(value)
    return _whole(value) if key in ("max_bytes", "max_requests", "concurrency") else value


def _whole(value: str | float) -> int:
    """A size such as ``32k``, or a whole number that YAML may spell ``1000.0``."""
    return parse_size(value) if isinstance(value, str) else int(value)
