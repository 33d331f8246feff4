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

from benchmarks import servers, state_servers
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
    return EVERY[kind].open(here, folder)


@contextmanager
def served(kind: str) -> Iterator[None]:
    """The server of ``kind``, named in the environment of this process."""
    with EVERY[kind].server() as environ:
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


def _git_over_http(machine: Path, folder: Path) -> Store:
    """Repositories lie where the server looks for them, each named after the folder that stands for its store."""
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    repository = Path(os.environ[GIT_ROOT], f"{name}.git")
    with locked(folder / "repository.lock"):
        subprocess.run(["git", "init", "--quiet", "--bare", str(repository)], check=True)
    return open_named(machine, f"git:{os.environ[GIT_URL]}/{name}.git#state", "git")


@contextmanager
def _git_server() -> Iterator[Environ]:
    with tempfile.TemporaryDirectory(prefix="repositories-") as root, state_servers.git_http(Path(root)) as server:
        yield {GIT_ROOT: root, GIT_URL: server.url}


def _terraform(machine: Path, folder: Path) -> Store:
    """The document behind Terraform's protocol, blobs in a folder that all share."""
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return open_named(machine, f"{os.environ[TERRAFORM_URL]}/{name}", str(folder / "shared"))


@contextmanager
def _terraform_server(served: Callable[[], state_servers.Terraform]) -> Iterator[Environ]:
    with state_servers.terraform(served()) as server:
        yield {TERRAFORM_URL: server.url}


GIT_ROOT, GIT_URL, TERRAFORM_URL = "RACES_GIT_ROOT", "RACES_GIT_URL", "RACES_TERRAFORM_URL"

KINDS = {
    "folder": Kind(lambda _, folder: FolderStore(folder)),
    "git": Kind(_git),
    "git-http": Kind(_git_over_http, _git_server),
    "terraform": Kind(_terraform, lambda: _terraform_server(state_servers.Terraform)),
    "terraform-etags": Kind(
        _terraform, lambda: _terraform_server(lambda: state_servers.Terraform(locks=False, etags=True))
    ),
    "s3": Kind(_objects("s3"), servers.s3),
}
"""What is tried wherever stores are tried.  A new kind is one line here."""
PEERS = {"az": Kind(_objects("az"), servers.azure)}
"""What needs a server that has to be installed first."""
EVERY = {**KINDS, **PEERS}
