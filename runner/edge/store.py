"""Where state lives: one document that is compared and swapped, and immutable blobs beside it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from runner.edge.files import TEMPORARY, Spooled, flush_folder, make_folder, naming, sha256_of, sweep, write_atomic
from runner.errors import RunnerError

STALE = 3600.0
"""Seconds after which nobody writes a temporary file any more."""


class Conflict(Exception):
    """The document is not the one that was read.  The write did not happen, or its reply was lost: read again."""


class Documents(Protocol):
    """Where one document lives.  Raises OSError for what the disk refuses, RunnerError for what lies elsewhere."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of a plan should know of how the document was read."""

    def read(self) -> bytes | None:
        """The document, None where there is none yet."""

    def swap(self, old: bytes | None, new: bytes) -> None:
        """Replace ``old`` by ``new``, durably.  Raises Conflict when the document is not ``old``."""

    def tidy(self, now: float) -> None:
        """Sweep what killed runs left behind.  ``now`` in Unix seconds."""


@dataclass(frozen=True)
class Probe:
    """``told``: in what the store was seen to be fit for a state, "" where nothing could be tried without touching it.
    ``skew``: seconds by which its clock is ahead of ours, None where it told no time."""

    told: str = ""
    skew: float | None = None


@runtime_checkable
class Probed(Protocol):
    """A document whose place can be tried without touching the document."""

    def probe(self) -> Probe:
        """Try whether writes are compared and swapped there.  Raises RunnerError where they are not, and OSError."""


class Blobs(Protocol):
    """Where immutable blobs live, each named by the sha256 of its bytes.

    What was put is durable once the next swap of the document is, and no sooner: nothing else speaks of it.
    """

    def get(self, name: str) -> bytes:
        """A blob's bytes.  Raises RunnerError when it is not there or not whole."""

    def put(self, data: bytes) -> str:
        """Keep a blob; returns its name."""

    def spool(self) -> Spooled:
        """A blob that is written piece by piece; hand it to `adopt`."""

    def adopt(self, spooled: Spooled) -> str:
        """Keep what was spooled; returns its name."""

    def local(self, name: str) -> Path:
        """A file on this machine with the blob's bytes, to be read at random.  Raises RunnerError as `get` does."""

    def tidy(self, now: float) -> None:
        """Sweep what killed runs left behind.  ``now`` in Unix seconds."""


class Store(Documents, Blobs, Protocol):
    """What every kind of store offers: a document, and the blobs that it speaks of."""


class Outlet(Protocol):
    """Where outputs go that are not to stay on this machine."""

    def deliver(self, files: Mapping[str, Path]) -> None:
        """Put files at paths there, in place of what lies there.  Raises RunnerError, OSError."""


class FolderBlobs:
    """Blobs in a folder.  Each is written once: whoever put it may have been killed before its name was flushed."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder

    def get(self, name: str) -> bytes:
        try:
            with naming(self._path(name)):
                data = self._path(name).read_bytes()
        except FileNotFoundError:
            raise self._lost(name) from None
        if hashlib.sha256(data).hexdigest() != name:
            raise _damaged(name)
        return data

    def put(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        path = self._path(name)
        if path.exists():
            make_folder(path.parent)
            flush_folder(path.parent)
        else:
            write_atomic(path, [data])
        return name

    def spool(self) -> Spooled:
        return Spooled(self._blobs)

    def adopt(self, spooled: Spooled) -> str:
        return spooled.keep(self._path)

    def local(self, name: str) -> Path:
        path = self._path(name)
        if not path.exists():
            raise self._lost(name)
        if sha256_of(path) != name:
            raise _damaged(name)
        return path

    def tidy(self, now: float) -> None:
        """Sweep what killed runs left: temporary files untouched for an hour."""
        for folder in (self._blobs, *self._blobs.glob("??")):
            sweep(folder, now - STALE)

    def _path(self, name: str) -> Path:
        return self._blobs / name[:2] / name

    def _lost(self, name: str) -> RunnerError:
        return lost(name, str(self._blobs.parent))


class FolderDocument:
    """``state.json`` in a folder.  A lock file orders the writers of one machine."""

    notes = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._document = folder / "state.json"
        self._flushed: bytes | None = None
        """The document whose name is known to be on the disk."""

    def read(self) -> bytes | None:
        """As it will be found after a power cut, too: whoever wrote it may not have come to flush its name."""
        try:
            with naming(self._document):
                document = self._document.read_bytes()
        except FileNotFoundError:
            return None
        if document != self._flushed:
            with suppress(OSError):  # a disk that is read-only has nothing to flush
                flush_folder(self.folder)
                self._flushed = document
        return document

    def swap(self, old: bytes | None, new: bytes) -> None:
        make_folder(self.folder)
        with locked(self.folder / "state.lock"):
            if self.read() != old:
                raise Conflict
            write_atomic(self._document, [new])
            self._flushed = new

    def probe(self) -> Probe:
        """With a document of its own in a folder that goes again: disks far away may neither lock nor tell our time."""
        near = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.is_dir())
        trial = FolderDocument(Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=near)))
        try:
            trial.swap(None, b"1")
            skew = trial._document.stat().st_mtime - time.time()
            with suppress(Conflict):
                trial.swap(None, b"2")
                raise RunnerError(f"{near} keeps no document against another writer", code="store-unfit")
            trial.swap(b"1", b"3")
            return Probe("a write is held against what is there", skew)
        finally:
            shutil.rmtree(trial.folder, ignore_errors=True)

    def tidy(self, now: float) -> None:
        sweep(self.folder, now - STALE)


class FolderStore(FolderDocument, FolderBlobs):
    """State in a folder: ``state.json`` and ``blobs/``."""

    def __init__(self, folder: Path) -> None:
        FolderDocument.__init__(self, folder)
        FolderBlobs.__init__(self, folder / "blobs")

    def tidy(self, now: float) -> None:
        FolderDocument.tidy(self, now)
        FolderBlobs.tidy(self, now)


class JoinedStore:
    """A document in one place and its blobs in another."""

    def __init__(self, documents: Documents, blobs: Blobs) -> None:
        self._documents, self._blobs = documents, blobs
        self.read, self.swap = documents.read, documents.swap
        self.get, self.put, self.local = blobs.get, blobs.put, blobs.local
        self.spool, self.adopt = blobs.spool, blobs.adopt

    @property
    def notes(self) -> Sequence[str]:
        return self._documents.notes

    def probe(self) -> Probe:
        return self._documents.probe() if isinstance(self._documents, Probed) else Probe()

    def tidy(self, now: float) -> None:
        self._documents.tidy(now)
        self._blobs.tidy(now)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The lock is the kernel's and goes with the process: a killed run leaves nothing to unlock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def lost(name: str, place: str) -> RunnerError:
    """A blob that the state speaks of is nowhere."""
    return RunnerError(
        f"the blob {name} is not in {place}, although the state speaks of it",
        hint="Restore the state from a backup, or remove the task that needs it: runner state rm TASK",
        code="blob-lost",
    )


def _damaged(name: str) -> RunnerError:
    return RunnerError(
        f"the blob {name} is damaged: its bytes do not have that digest",
        hint="Restore the state folder from a backup.",
        code="blob-lost",
    )
