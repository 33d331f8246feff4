"""What this machine has to say of itself: versions, a repository, room on the disk, proxies by name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from runner.edge.surroundings import PROXIES

DISTRIBUTION = "batch-runner"
OLDEST_PYTHON = (3, 11)
_PATIENCE = 20.0


def python_version() -> tuple[int, int, int]:
    return sys.version_info[:3]


def own_version() -> str:
    """ "" in a checkout that was never installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class Requirement:
    """A package that the core stands on; ``found`` is None where it is not installed."""

    name: str
    least: str
    found: str | None

    @property
    def holds(self) -> bool:
        return self.found is not None and _numbers(self.found) >= _numbers(self.least)


def requirements() -> Iterator[Requirement]:
    """Those of the core, as the installed package names them."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        named = re.fullmatch(r"([\w.-]+)\s*>=\s*([\d.]+)", line.strip())
        if named:
            yield Requirement(named[1], named[2], installed(named[1]))


def installed(name: str) -> str | None:
    """The version of a package, None where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", version.partition("+")[0])[:3]]


def proxies_named() -> list[str]:
    """Variables that name a proxy.  Their values may hold a password, and are nobody's business."""
    return [name for one in PROXIES for name in (one, one.lower()) if os.environ.get(name)]


def free_bytes(folder: Path) -> int:
    """Room on the disk of ``folder``, or of what is there of the way to it."""
    there = next(near for near in (folder, *folder.absolute().parents) if near.exists())
    return shutil.disk_usage(there).free


# ---- git -------------------------------------------------------------------------------------------------------------


def git_version() -> str | None:
    """None where git is not installed."""
    told = _git(None, "--version")
    return None if told is None else told.removeprefix("git version ").strip()


def in_repository(folder: Path) -> bool:
    return (_git(folder, "rev-parse", "--is-inside-work-tree") or "").strip() == "true"


def tracked(folder: Path, *paths: str) -> list[str]:
    """The files among ``paths``, or below them, that git keeps."""
    return (_git(folder, "ls-files", "-z", "--", *paths) or "").split("\0")[:-1]


def changed(folder: Path, *paths: str) -> list[str]:
    """The files among ``paths``, or below them, that differ from the last commit, new ones among them."""
    told = _git(folder, "status", "--porcelain", "-z", "--untracked-files=all", "--", *paths) or ""
    return [entry[3:] for entry in told.split("\0") if len(entry) > 3]


def is_ignored(folder: Path, path: str) -> bool:
    return _git(folder, "check-ignore", "--quiet", "--", path) is not None


def _git(folder: Path | None, *args: str) -> str | None:
    """What git says, None where it says no or is not there.  A repository's own hooks and monitors are not called."""
    at = [] if folder is None else ["-C", str(folder), "-c", "core.fsmonitor=false"]
    try:
        done = subprocess.run(
            ["git", *at, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            env={**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="surrogateescape") if done.returncode == 0 else None
