"""What a step of a workflow lends: files to append to, named by the environment.  And where a project lies."""

from __future__ import annotations

import os
from pathlib import Path


def append(path: Path, text: str) -> None:
    """Raises OSError."""
    with path.open("ab") as file:
        file.write(text.encode())


def size(path: Path) -> int:
    """Bytes of a file, none where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def place_in_repository(root: Path) -> str:
    """A project's folder, relative to that of the repository it lies in; "." at its root, or outside of any."""
    root = root.resolve()
    for folder in (root, *root.parents):
        if os.path.lexists(folder / ".git"):  # a folder, or the file that a worktree has
            return root.relative_to(folder).as_posix()
    return "."
