"""Open a project: its store, its providers, and the embedded simulators they may need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import RLock
from typing import Any

from runner.edge import secrets
from runner.edge.http import Http
from runner.edge.progress import Progress, Silent
from runner.edge.stores import open_outlet, open_store
from runner.edge.world import World
from runner.errors import Refused
from runner.project import Project, ProviderConfig, SecretRef
from runner.provider import Provider
from runner.registry import build


class Unnamed(Refused, KeyError):
    """The provider of a task is not in runner.yaml any more.  A KeyError too, as `get` and `in` of a Mapping expect."""


class Providers(Mapping[str, Provider]):
    """The providers of runner.yaml, each built when first needed: one without a key does not hinder the others."""

    def __init__(self, root: Path, project: Project, closing: ExitStack, progress: Progress | None = None) -> None:
        self._root = root
        self._queues = root / (project.state_folder or ".runner") / "online"
        self._configs = project.providers
        self._closing = closing
        self._progress = progress or Silent()
        self._built: dict[str, Provider] = {}
        self._https: dict[str, Http] = {}
        self._lock = RLock()

    def __getitem__(self, name: str) -> Provider:
        with self._lock:
            if name not in self._configs:
                raise Unnamed(
                    f"runner.yaml names no provider {name!r}",
                    hint="Name it again to reach its tasks.",
                    code="provider-unknown",
                )
            if name not in self._built:
                self._built[name] = self._build(self._configs[name])
            return self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._configs)

    def __len__(self) -> int:
        return len(self._configs)

    def skew(self, name: str) -> float | None:
        """Seconds by which a provider's clock was ahead of ours when it last answered; None where it told no time."""
        return self._https[name].skew if name in self._https else None

    def _build(self, config: ProviderConfig) -> Provider:
        def secret(ref: SecretRef) -> str:
            return secrets.resolve(ref, provider=config.name, environ=os.environ, root=self._root)

        http = self._https[config.name] = Http(progress=self._progress)
        self._closing.callback(http.close)
        return build(
            config,
            http=http,
            secret=secret,
            simulator_url=self._simulator(config.settings),
            folder=self._queues / config.name,
        )

    def _simulator(self, settings: Mapping[str, Any]) -> Callable[[], str]:
        """Starts the embedded simulator the first time its URL is asked for; its memory outlives the process."""
        started: list[str] = []

        def url() -> str:
            with self._lock:
                if not started:
                    from runner.simulator.faults import read_faults
                    from runner.simulator.server import Simulator

                    faults, answers = settings.get("faults"), settings.get("answers")
                    simulator = Simulator(
                        self._root / ".runner" / "simulator",
                        speed=float(settings.get("speed", 1.0)),
                        faults=read_faults(self._root / faults) if isinstance(faults, str) else faults or (),
                        answers=self._root / answers if answers else None,
                    )
                    self._closing.callback(simulator.stop)
                    started.append(simulator.start())
                return started[0]

        return url


def connect(
    root: Path, project: Project, closing: ExitStack, *, offline: bool = False, progress: Progress | None = None
) -> World:
    """The project's World.  What it opens is closed with ``closing``.  Raises RunnerError."""
    progress = progress or Silent()
    store = open_store(root, project, offline=offline)
    providers = Providers(root, project, closing, progress)
    return World(root, project, store, providers, open_outlet(root, project), progress=progress)
