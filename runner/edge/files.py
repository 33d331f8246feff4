"""Files that survive a power cut: written beside, flushed, then renamed into place."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

TEMPORARY = ".tmp-runner_"
"""How names of files begin that are not finished.  Outputs lie in folders of others, whose own must not be swept."""

_UMASK = os.umask(0o077)
os.umask(_UMASK)  # asked for once, since asking sets it, for all threads


def write_atomic(path: Path, chunks: Iterable[bytes]) -> str:
    """Write ``path`` whole or not at all; returns the sha256 of its bytes.  Raises OSError."""
    make_folder(path.parent)
    sha = hashlib.sha256()
    with naming(path):
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with naming(path), os.fdopen(handle, "wb", buffering=1 << 20) as file:
            for chunk in chunks:
                sha.update(chunk)
                file.write(chunk)
            _flush(file)
        with naming(path):
            Path(name).chmod(0o666 & ~_UMASK)
            Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    flush_folder(path.parent)
    return sha.hexdigest()


def make_folder(folder: Path) -> None:
    """A folder, durably: its entry in the one above it, too, and so on up.

    One that is there already may have been made by a process that was killed before it could flush that entry, so each
    is looked at once by each process.  Raises OSError.
    """
    try:
        inode = _inode(folder)
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent)
        _SAFE.add(_inode(folder))
        return
    if inode in _SAFE:
        return
    if folder.parent != folder and os.access(folder.parent, os.W_OK):  # else nothing of ours was ever made there
        make_folder(folder.parent)
        with suppress(OSError):  # far up lie file systems of all kinds
            flush_folder(folder.parent)
    _SAFE.add(inode)


_SAFE: set[tuple[int, int]] = set()
"""Device and inode of folders whose entries are known to be flushed."""


def _inode(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return found.st_dev, found.st_ino


def flush_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with naming(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes.  Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(folder: Path, older_than: float) -> None:
    """Remove temporary files that a killed run left behind: those last written before ``older_than`` (Unix seconds)."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(TEMPORARY):
                continue
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < older_than:
                    Path(entry).unlink()


class Spooled:
    """A file being written under a temporary name, that is kept only when `keep` is called.

    One that is dropped goes at once, and so does one that nobody holds any more: a full disk needs the room.
    """

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        with naming(folder):
            handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
        self.path = Path(name)
        self.file: IO[bytes] = os.fdopen(handle, "w+b", buffering=1 << 20)
        self._discard = weakref.finalize(self, _discard, self.path, self.file)
        self.size = 0
        self._sha = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._sha.update(data)
        self.size += len(data)
        with naming(self.path.parent):
            self.file.write(data)

    @property
    def sha256(self) -> str:
        return self._sha.hexdigest()

    def keep(self, place: Callable[[str], Path]) -> str:
        """Flush, and move to ``place(sha256)``; returns the sha256."""
        target = place(self.sha256)
        with naming(target):
            _flush(self.file)
            self.file.close()
            self.path.chmod(0o666 & ~_UMASK)
            make_folder(target.parent)
            self.path.replace(target)
        self._discard.detach()
        flush_folder(target.parent)
        return self.sha256

    def drop(self) -> None:
        self._discard()


def _discard(path: Path, file: IO[bytes]) -> None:
    with suppress(OSError):  # what a full disk has no room for need not be written any more
        file.close()
    with suppress(OSError):
        path.unlink()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An error of the disk in here that names no file, or a temporary one, is about ``path``.

    The kernel's own errors name nothing once a file is open.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and not os.path.basename(error.filename).startswith(TEMPORARY):  # noqa: PTH119
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
