"""The hands that verbs are lent: everything a run may touch outside its own values."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from runner.edge.clock import Clock, SystemClock
from runner.edge.grounds import Grounds
from runner.edge.ledger import LedgerCache
from runner.edge.process import is_gone, whoami
from runner.edge.progress import Progress, Silent
from runner.edge.store import Outlet, Store
from runner.project import Project
from runner.provider import Provider


def _unique() -> str:
    return str(uuid.uuid4())


@dataclass
class World:
    """``root`` is the project's folder; ``cache`` lies under it whatever the store.

    ``outlet`` takes outputs where they do not stay in the project's folder.

    ``progress`` is told of long work; ``stop`` is set when a signal asked this run to end.
    """

    root: Path
    project: Project
    store: Store
    providers: Mapping[str, Provider]
    outlet: Outlet | None = None
    clock: Clock = field(default_factory=SystemClock)
    who: str = field(default_factory=whoami)
    unique: Callable[[], str] = _unique
    is_gone: Callable[[str], bool] = is_gone
    progress: Progress = field(default_factory=Silent)
    stop: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.grounds = Grounds(self.root, self.project.kept, self.project.secret_files)
        """What specs may read of the project's folder."""

    @property
    def parks(self) -> bool:
        """Whether other machines share the state, and may have to take over what only this one has."""
        return self.project.state_folder is None

    @property
    def cache(self) -> Path:
        return self.root / ".runner"

    @property
    def ledgers(self) -> LedgerCache:
        return LedgerCache(self.cache / "cache" / "ledgers")
