"""A folder of files that is written whole or not at all, in the place of an earlier one of its kind."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from runner.edge.files import TEMPORARY, make_folder, naming
from runner.edge.grounds import Grounds, folded
from runner.errors import RunnerError

MARKER = "report.json"
"""The file by which an earlier report is known."""
_MADE_BY = {"made_by": "runner report", "format": 1}
_TEMPORARY = f"{TEMPORARY}site_"
_STALE = 3600.0
"""Seconds after which nobody is writing a report any more: whoever was has been killed."""


class Site:
    """A report being written beside ``target``, which stays as it is until `keep`.

    ``names`` are the entries that a report has at its top: an earlier one with others in it was added to by somebody.
    """

    def __init__(self, target: Path, names: Collection[str]) -> None:
        self.target = target
        self._names = {*names, MARKER}
        _check(target, self._names)
        make_folder(target.parent)
        _sweep(target.parent)
        with naming(target):
            self._folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=target.parent))
        self._folders: set[str] = set()
        self.files = self.size = 0

    def write(self, path: str, data: bytes) -> None:
        """``path`` is relative, with forward slashes.  Raises OSError."""
        file = self._folder / path
        folder = path.rpartition("/")[0]
        with naming(self.target / path):
            if folder not in self._folders:
                file.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(folder)
            file.write_bytes(data)
        self.files += 1
        self.size += len(data)

    def forget(self, folder: str) -> None:
        """What was written under ``folder`` is not to be there."""
        shutil.rmtree(self._folder / folder, ignore_errors=True)
        self._folders = {one for one in self._folders if one != folder and not one.startswith(f"{folder}/")}

    @property
    def scratch(self) -> Path:
        """A folder on the same disk, for files that have no name."""
        return self._folder

    def keep(self) -> None:
        """Put it where it belongs; the earlier one goes.  Raises OSError, RunnerError."""
        self.write(MARKER, json.dumps(_MADE_BY).encode() + b"\n")
        _check(self.target, self._names)  # somebody may have put something there meanwhile
        self._folder.chmod(0o777 & ~_UMASK)
        with naming(self.target):
            if not self.target.exists():
                self._folder.replace(self.target)
                return
            earlier = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=self.target.parent))
            self.target.replace(earlier)
            try:
                self._folder.replace(self.target)
            except BaseException:
                earlier.replace(self.target)
                raise
        shutil.rmtree(earlier, ignore_errors=True)

    def drop(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


_UMASK = os.umask(0o077)
os.umask(_UMASK)


def check_place(target: Path, grounds: Grounds, kept: Collection[str]) -> None:
    """Raises RunnerError for a folder that is, holds or lies in what the project is made of.

    ``kept`` are folders of the project, relative to its root, in which nothing is written.
    """
    real = os.path.realpath(target)
    root = str(grounds.root)
    if os.path.commonpath([real, root]) == real:
        raise _refused(target, "it holds the project")
    if os.path.commonpath([real, root]) != root:
        return
    relative = os.path.relpath(real, root)
    compared = folded(relative)
    if reason := grounds.private(relative):
        raise _refused(target, f"it {reason}")
    for folder in kept:
        name = folded(os.path.normpath(folder))
        if f"{compared}/".startswith(f"{name}/") or f"{name}/".startswith(f"{compared}/"):
            raise _refused(target, "it is what the project is made of")


def _check(target: Path, names: Collection[str]) -> None:
    """Raises RunnerError unless nothing is there, or nothing but an earlier report."""
    if target.is_symlink():
        raise _refused(target, "it is a link")
    if not target.exists():
        return
    if not target.is_dir():
        raise _refused(target, "it is no folder")
    entries = sorted(entry.name for entry in target.iterdir())
    if not entries:
        return
    if not _is_report(target):
        raise _refused(target, f"it is no earlier report: it holds {entries[0]!r}")
    if strangers := [name for name in entries if name not in names]:
        raise _refused(target, f"it holds {strangers[0]!r} beside an earlier report")


def _is_report(folder: Path) -> bool:
    try:
        said = json.loads((folder / MARKER).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("made_by") == _MADE_BY["made_by"]


def _refused(target: Path, why: str) -> RunnerError:
    return RunnerError(
        f"no report is written into {target}: {why}",
        hint="Nothing was changed.  Name a folder that is not there yet, or that of an earlier report:",
        commands=["runner report --out DIR"],
    )


def _sweep(folder: Path) -> None:
    """Remove what a killed run left behind."""
    with suppress(OSError):
        for left in folder.glob(f"{_TEMPORARY}*"):
            if left.stat().st_mtime < time.time() - _STALE:
                shutil.rmtree(left, ignore_errors=True)
