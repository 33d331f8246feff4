"""A Ledger: identity, size and token estimate of each row of a batch, 24 bytes a row.

It lets a second look at the same rows, by a later plan or by apply itself, skip the rendering.  Small ones stay in
memory; large ones lie in a cache on disk, where they are found again as long as the batch's key is the same.
"""

from __future__ import annotations

import os
import struct
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from runner.edge.files import TEMPORARY, naming, sweep

RECORD = struct.Struct(">16sII")
"""Identity, bytes of the request line, estimated tokens."""

_CHUNK = 4096
"""Records read or written at a time."""
_SMALL = 2 * _CHUNK
"""A ledger of up to so many records is as quick to make again as to read."""

_KEPT = 86_400.0
"""Seconds for which a ledger stays after it was replaced."""

Record = tuple[bytes, int, int]


class Ledger:
    """Read any number of times, in input order."""

    def __init__(self, records: bytes | Path | int) -> None:
        """``records`` themselves, the file that holds them, or the descriptor of one that is closed with the ledger."""
        self._records = records
        if isinstance(records, int):
            weakref.finalize(self, os.close, records)

    def __iter__(self) -> Iterator[Record]:
        if isinstance(self._records, bytes):
            yield from RECORD.iter_unpack(self._records)
        elif isinstance(self._records, Path):
            with self._records.open("rb", buffering=0) as file:
                yield from _unpack(file.fileno())
        else:
            yield from _unpack(self._records)


def _unpack(descriptor: int) -> Iterator[Record]:
    offset = 0
    while chunk := os.pread(descriptor, RECORD.size * _CHUNK, offset):
        yield from RECORD.iter_unpack(chunk)
        offset += len(chunk)


class LedgerCache:
    """Ledgers by batch and key.  A folder that cannot be written to costs time, never correctness."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, batch: str, key: str) -> Ledger | None:
        path = self._path(batch, key)
        return Ledger(path) if key and path.exists() else None

    def record(self, batch: str, key: str, records: Iterable[Record]) -> Ledger:
        """Run through ``records`` once and keep them.  A ledger without a key is not found again."""
        flow = iter(records)
        head = b"".join([RECORD.pack(*record) for record in islice(flow, _SMALL)])
        if len(head) < _SMALL * RECORD.size:
            return Ledger(head)
        handle, name = self._temporary()
        path = Path(name)
        try:
            with naming(path.parent), os.fdopen(handle, "wb", buffering=1 << 18) as file:
                file.write(head)
                for record in flow:
                    file.write(RECORD.pack(*record))
                file.flush()
                os.fsync(file.fileno())  # found again by its name, it has to be whole after a power cut too
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if key and path.parent == self._folder:
            path = path.replace(self._path(batch, key))
            self._forget(batch, path)
            return Ledger(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        path.unlink()  # nobody finds it again: it goes when it is closed
        return Ledger(descriptor)

    def _forget(self, batch: str, new: Path) -> None:
        """Drop the batch's older ledgers, but for those that another run may still be reading, and what was never
        finished."""
        with suppress(OSError):
            sweep(self._folder, new.stat().st_mtime - _KEPT)
        for old in self._folder.glob(f"{batch}.*.ledger"):
            with suppress(OSError):
                if new.stat().st_mtime - old.stat().st_mtime > _KEPT:
                    old.unlink()

    def _temporary(self) -> tuple[int, str]:
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            return tempfile.mkstemp(prefix=TEMPORARY, dir=self._folder)
        return tempfile.mkstemp(prefix=f"runner{TEMPORARY}")

    def _path(self, batch: str, key: str) -> Path:
        return self._folder / f"{batch}.{key[:32]}.ledger"
