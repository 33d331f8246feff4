"""Which paths lie inside the project, links followed, and which of those a spec may read."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

MAX_PATH = 1_000
_PRIVATE = ".git"
_CACHES = ".runner"


def folded(path: str) -> str:
    """A path as the most forgiving file system compares it: neither case nor composition count."""
    return unicodedata.normalize("NFC", path).casefold()


class Grounds:
    """The project's folder.  ``kept`` are folders of its state and blobs, ``secrets`` are files that hold one."""

    def __init__(self, root: Path, kept: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        self.root = Path(os.path.realpath(root))
        self._base = str(self.root)
        self._folders = [_CACHES, *map(self._folded, kept)]
        self.lent: set[str] = set()
        """Files in which runner itself has laid down rows, relative to the root: to be read as inputs, and not else."""
        self._secrets = {self._folded(secret) for secret in secrets}

    def _folded(self, path: str) -> str:
        """The real path of what runner.yaml names, which may lie anywhere, relative to the root."""
        try:
            return folded(os.path.relpath(os.path.realpath(self.root / Path(path).expanduser()), self._base))
        except (ValueError, RuntimeError):  # a null byte, or the home of a user that there is none: no file at all
            return folded(path)

    @property
    def state_is_root(self) -> bool:
        """Whether the state lies among everything else, so that nothing can be told from it."""
        return "." in self._folders

    def inside(self, path: str) -> str:
        """The real path of ``path``, relative to the root.

        Raises ValueError, to be read after the path, for one that is not plainly relative or leads out of the project.
        """
        if len(path) > MAX_PATH:
            raise ValueError(f"is longer than {MAX_PATH:,} characters")
        if not path.isprintable():
            raise ValueError("holds a character that no path should")
        if "\\" in path:
            raise ValueError("has to use forward slashes")
        if path.startswith("/") or re.match("[A-Za-z]:", path):
            raise ValueError("is absolute; paths are relative to the project's root")
        real = os.path.realpath(f"{self._base}/{path}")
        if os.path.commonpath([self._base, real]) != self._base:
            raise ValueError("leads out of the project")
        return os.path.relpath(real, self._base)

    def readable(self, path: str) -> str:
        """As :meth:`inside`, for a path that a spec reads: not what git or runner keep, nor a secret."""
        relative = self.inside(path)
        if reason := self.private(relative):
            raise ValueError(reason)
        return relative

    def private(self, relative: str) -> str:
        """Why a real path is no business of a spec's, or nothing."""
        compared = folded(relative)
        if _PRIVATE in compared.split("/"):
            return "belongs to git"
        if any(f"{compared}/".startswith(f"{folder}/") for folder in self._folders):
            return "belongs to runner's state"
        return "holds a secret" if compared in self._secrets else ""
