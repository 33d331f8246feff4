"""Every kind of store, by its name, and the server that it needs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks import servers
from runner.edge.store import FolderStore, Store, locked
from runner.edge.stores import open_named

Environ = dict[str, str]


@dataclass(frozen=True)
class Kind:
    """``open`` is given the folder of this machine, and the one that stands for the store, whoever opens it.

    ``server`` yields the variables by which it is found.
    """

    open: Callable[[Path, Path], Store]
    server: Callable[[], AbstractContextManager[Environ]] = lambda: nullcontext({})


def open_store(kind: str, folder: Path, machine: str | None = None) -> Store:
    """The store that ``folder`` stands for, as another machine would open it, or the one named ``machine``."""
    folder.mkdir(parents=True, exist_ok=True)
    here = Path(tempfile.mkdtemp(prefix="machine-", dir=folder)) if machine is None else folder / machine
    return {**KINDS, **PEERS}[kind].open(here, folder)


@contextmanager
def served(kind: str) -> Iterator[None]:
    """The server of ``kind``, named in the environment of this process."""
    with KINDS[kind].server() as environ:
        before = {name: os.environ.get(name) for name in environ}
        os.environ.update(environ)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def _git(machine: Path, folder: Path) -> Store:
    repository = folder / "repository.git"
    with locked(folder / "repository.lock"):
        subprocess.run(["git", "init", "--quiet", "--bare", str(repository)], check=True)
    return open_named(machine, f"git:{repository}#state", "git")


def _objects(scheme: str) -> Callable[[Path, Path], Store]:
    def opened(machine: Path, folder: Path) -> Store:
        prefix = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        return open_named(machine, f"{scheme}://{servers.BUCKET}/{prefix}")

    return opened


KINDS = {
    "folder": Kind(lambda _, folder: FolderStore(folder)),
    "git": Kind(_git),
    "s3": Kind(_objects("s3"), servers.s3),
}
"""What is tried wherever stores are tried.  A new kind is one line here."""
PEERS = {"az": Kind(_objects("az"), servers.azure)}
"""What needs a server that has to be installed first."""
