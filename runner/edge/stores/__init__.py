"""Open the store that a project names: a document in one place, and its blobs beside it or in another."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runner.edge.store import Blobs, Documents, FolderBlobs, FolderDocument, FolderStore, JoinedStore, Outlet, Store
from runner.edge.stores.far import Depot, Far, FarBlobs, FarDocument, FarOutlet, Vault
from runner.errors import RunnerError
from runner.project import Project, misplaced

if TYPE_CHECKING:
    from runner.edge.stores.git import GitBranch
    from runner.edge.stores.objects import Bucket

OBJECTS = ("s3://", "gs://", "az://")
TERRAFORM = ("http://", "https://")


def open_store(root: Path, project: Project, *, offline: bool = False) -> Store:
    """The store that ``state:`` and ``blobs:`` name.  ``offline``: be content with the document as it was last read.

    Raises RunnerError for a kind whose package is not installed, or that does not fit the other.
    """
    return _Opening(root, project.state, project.blobs.store, str(project.place), offline).store()


def open_named(root: Path, state: str, blobs: str | None = None) -> Store:
    """As :func:`open_store`, of a store that is named elsewhere than in runner.yaml."""
    return _Opening(root, state, blobs, "", False).store()


def open_outlet(root: Path, project: Project) -> Outlet | None:
    """Where ``outputs:`` has them delivered, None for the project's own folder.  Raises RunnerError."""
    if not project.outputs:
        return None
    opening = _Opening(root, project.state, project.blobs.store, str(project.place), False)
    return FarOutlet(opening.depot(project.outputs), project.outputs)


@dataclass(frozen=True)
class _Opening:
    root: Path
    state: str
    blobs: str | None
    where: str
    offline: bool

    def store(self) -> Store:
        why, hint = misplaced(self.state, self.blobs)
        if why:
            raise self._error(f"state: {self.state}: {why}", hint)
        beside = self.blobs in (None, "git")
        if beside and not _is_far(self.state):
            return FolderStore(self._folder(self.state))
        document, vault = self._document()
        if beside and vault is not None:
            return JoinedStore(document, self._far_blobs(vault, self.state))
        assert self.blobs is not None
        return JoinedStore(document, self._blobs(self.blobs))

    def depot(self, place: str) -> Depot:
        return self._branch(place, eager=True) if place.startswith("git:") else self._bucket(place)

    def _document(self) -> tuple[Documents, Vault | None]:
        if not _is_far(self.state):
            return FolderDocument(self._folder(self.state)), None
        far, vault = self._far(self.state, eager=False)
        if far is None:
            raise self._error(f"state: {self.state} cannot hold a state", "Name another store.")
        return FarDocument(far, self.state, copy_of(self.root, self.state), offline=self.offline), vault

    def _blobs(self, place: str) -> Blobs:
        if not _is_far(place):
            return FolderBlobs(self._folder(place) / "blobs")
        _, vault = self._far(place, eager=True)
        assert vault is not None
        return self._far_blobs(vault, place)

    def _far_blobs(self, vault: Vault, place: str) -> Blobs:
        return FarBlobs(vault, place, self._cache("blobs", place))

    def _far(self, place: str, *, eager: bool) -> tuple[Far | None, Vault | None]:
        if place.startswith("git:"):
            branch = self._branch(place, eager=eager)
            return branch, branch
        if place.startswith(OBJECTS):
            bucket = self._bucket(place)
            return bucket, bucket
        if place.startswith(TERRAFORM):
            from runner.edge.stores.terraform import TerraformState

            return TerraformState(place, offline=self.offline), None
        raise self._error(
            f"{place} is a kind of store that there is not", "Use a folder, git:, s3://, gs://, az:// or http(s)://."
        )

    def _branch(self, place: str, *, eager: bool) -> GitBranch:
        from runner.edge.stores.git import GitBranch, parse_address

        try:
            address = parse_address(place)
        except ValueError as error:
            raise self._error(f"{place} {error}", "Write git:BRANCH or git:URL#BRANCH.") from None
        return GitBranch(self.root, address, self._cache("git", place), eager=eager)

    def _bucket(self, place: str) -> Bucket:
        from runner.edge.stores.objects import Bucket

        return Bucket(place, offline=self.offline)

    def _cache(self, kind: str, place: str) -> Path:
        return _cache(self.root, kind, place)

    def _folder(self, place: str) -> Path:
        return self.root / place

    def _error(self, message: str, hint: str) -> RunnerError:
        return RunnerError(message, where=self.where, hint=hint, code="store-address")


def copy_of(root: Path, state: str) -> Path:
    """Where the document of a store far away lies as it was last seen here."""
    return _cache(root, "state", state).with_suffix(".json")


def _cache(root: Path, kind: str, place: str) -> Path:
    return root / ".runner" / "cache" / kind / hashlib.sha256(place.encode()).hexdigest()[:16]


def _is_far(place: str) -> bool:
    return place.startswith("git:") or "://" in place
