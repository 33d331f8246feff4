"""Words and the rows they are in, more of them than there is memory for: sorted runs on disk, merged at the end."""

from __future__ import annotations

import heapq
import struct
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import IO

_HEAD = struct.Struct("<HI")
"""Bytes of a word, and how many rows follow it."""
_WORD = 40
"""What a word of its own takes, as so many rows."""

_Run = Iterator[tuple[bytes, str, "array[int]"]]


class Spill:
    """An index of words whose memory is bounded.  ``most``: rows of all words together before they go to disk."""

    def __init__(self, folder: Path, order: Callable[[str], bytes], most: int = 4_000_000) -> None:
        self._folder = folder
        self._order = order
        self._most = most
        self._lists: dict[str, array[int]] = {}
        self._held = 0
        self._runs: list[IO[bytes]] = []

    def add(self, row: int, words: Iterable[str]) -> None:
        """Rows have to come in their order."""
        lists, held = self._lists, self._held
        for word in words:
            rows = lists.get(word)
            if rows is None:
                lists[word] = array("I", (row,))
                held += _WORD
            else:
                rows.append(row)
                held += 1
        self._held = held
        if held > self._most:
            self._write_run()

    def _write_run(self) -> None:
        run = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  open until `close`
        self._runs.append(run)
        for _, word, rows in self._sorted():
            name = word.encode()
            run.write(_HEAD.pack(len(name), len(rows)) + name)
            rows.tofile(run)
        self._lists, self._held = {}, 0

    def _sorted(self) -> _Run:
        keyed = sorted((self._order(word), word) for word in self._lists)
        return ((key, word, self._lists[word]) for key, word in keyed)

    def _read_run(self, run: IO[bytes]) -> _Run:
        run.seek(0)
        while head := run.read(_HEAD.size):
            size, count = _HEAD.unpack(head)
            word = run.read(size).decode()
            rows = array("I")
            rows.frombytes(run.read(count * rows.itemsize))
            yield self._order(word), word, rows

    def merged(self) -> Iterator[tuple[str, array[int]]]:
        """Every word in order, with its rows in theirs."""
        runs = [*map(self._read_run, self._runs), self._sorted()]
        for _, same in groupby(heapq.merge(*runs, key=lambda part: part[0]), key=lambda part: part[0]):
            parts = [(word, rows) for _, word, rows in same]
            word, rows = parts[0]
            for _, more in parts[1:]:
                rows += more
            yield word, rows

    def close(self) -> None:
        for run in self._runs:
            run.close()
