"""What a power cut would leave of a folder: what was flushed, and by chance some of what was not.

Files and folders are told apart by their inodes, which a hard link keeps from being used again.  A file's bytes are
safe once it was flushed; its name is safe once its folder was.  What happened to either since may be kept or lost, each
by itself, and bytes appended to a file may be kept up to any length.  (A folder that was removed stays removed.)
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class Durable:
    """Remembers, in ``memory``, what of ``root`` is safe.  Both lie on one file system.

    Every process that writes to ``root`` reports what it flushed; the memory outlives them.
    """

    def __init__(self, root: Path, memory: Path) -> None:
        self._root = root
        self._memory = memory
        self._files = memory / "files"
        self._links = memory / "links"
        self._folders = memory / "folders"

    def begin(self) -> None:
        """All that is there now is safe."""
        shutil.rmtree(self._memory, ignore_errors=True)
        for folder in (self._files, self._links, self._folders):
            folder.mkdir(parents=True)
        for path in [self._root, *self._root.rglob("*")]:
            if path.is_dir():
                self.flushed_folder(path)
            else:
                self.flushed_file(path)

    def flushed_file(self, path: Path) -> None:
        with self._alone():
            inode = str(path.stat().st_ino)
            self._hold(path, inode)
            _write(self._files / inode, path.read_bytes())

    def flushed_folder(self, path: Path) -> None:
        with self._alone():
            entries = {}
            for entry in os.scandir(path):
                entries[entry.name] = entry.inode()
                if not entry.is_dir(follow_symlinks=False):
                    self._hold(Path(entry.path), str(entry.inode()))
            _write(self._folders / str(path.stat().st_ino), json.dumps(entries).encode())

    def made_folder(self, path: Path) -> None:
        """A new folder may have the inode of one that is gone."""
        (self._folders / str(path.stat().st_ino)).unlink(missing_ok=True)

    def cut(self, chance: random.Random) -> None:
        """Leave of ``root`` what the cut leaves; from then on that is safe."""
        after = self._memory.parent / f"{self._memory.name}.after"
        shutil.rmtree(after, ignore_errors=True)
        self._restore(self._root, after, chance)
        shutil.rmtree(self._root)
        after.rename(self._root)
        self.begin()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No thread of any process looks and writes at a time, so that no older look replaces a newer one."""
        with (self._memory / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _hold(self, path: Path, inode: str) -> None:
        """Another name for the file, so that it outlives its own."""
        try:
            os.link(path, self._links / inode, follow_symlinks=False)
        except FileExistsError:
            pass

    def _restore(self, folder: Path, to: Path, chance: random.Random) -> None:
        to.mkdir()
        now = {entry.name: entry.inode() for entry in os.scandir(folder)}
        for name, inode in sorted(_left(self._safe(folder), now, chance).items()):
            if now.get(name) == inode and (folder / name).is_dir():
                self._restore(folder / name, to / name, chance)
            elif now.get(name) == inode:
                (to / name).write_bytes(self._bytes_left(folder / name, inode, chance))
            elif (link := self._links / str(inode)).exists():  # its name was taken away, and that is lost
                (to / name).write_bytes(self._bytes_left(link, inode, chance))

    def _safe(self, folder: Path) -> Mapping[str, int]:
        known = self._folders / str(folder.stat().st_ino)
        names: dict[str, int] = json.loads(known.read_bytes()) if known.exists() else {}
        return names

    def _bytes_left(self, path: Path, inode: int, chance: random.Random) -> bytes:
        now = path.read_bytes()
        known = self._files / str(inode)
        safe = known.read_bytes() if known.exists() else b""
        if now == safe or not now.startswith(safe):
            return safe
        return now[: chance.choice((len(safe), len(now), chance.randint(len(safe), len(now))))]


def _left(safe: Mapping[str, int], now: Mapping[str, int], chance: random.Random) -> dict[str, int]:
    """The names of a folder: each as it was flushed, or as it is now."""
    names = {}
    for name in sorted(safe.keys() | now.keys()):
        inode = chance.choice((safe, now)).get(name)
        if inode is not None:
            names[name] = inode
    return names


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all: the process may be killed meanwhile, but not its machine."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data)
    new.replace(path)
