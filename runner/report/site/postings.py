"""Which rows a word is in, written small."""

from __future__ import annotations

from array import array
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

from runner.report.site.script import File, data_file

SHARD = 1 << 17
"""Characters of one file of the index: what one search loads at least."""
_DENSE = 10
"""A word that is in every so-manieth row takes a bit for every row."""


class Index(Protocol):
    """Collects words, row by row, and gives them back in the order of :func:`order`."""

    def add(self, row: int, words: Iterable[str]) -> None: ...

    def merged(self) -> Iterator[tuple[str, Sequence[int]]]: ...


def encoded(rows: Sequence[int], total: int) -> str:
    """``a``: all rows.  ``b``: a bit for each row, the first one highest.  ``g``: gaps, seven bits to a byte."""
    if len(rows) == total:
        return "a"
    if len(rows) * _DENSE > total:
        mask = bytearray(b"0" * (total + -total % 8))
        for row in rows:
            mask[row] = 49
        return "b" + _base64(int(mask, 2).to_bytes(len(mask) // 8, "big"))
    return "g" + _base64(_gaps(rows))


def _gaps(rows: Sequence[int]) -> bytes:
    gaps = [rows[0], *(after - before for before, after in pairwise(rows))]
    if max(gaps) < 128:
        return bytes(gaps)
    found = bytearray()
    for gap in gaps:
        while gap > 127:
            found.append(gap & 127 | 128)
            gap >>= 7
        found.append(gap)
    return bytes(found)


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def index_files(index: Index, place: str, total: int, firsts: list[str]) -> Iterator[File]:
    """The index in files of about one size; the first word of each is added to ``firsts``."""
    shard: list[tuple[str, str]] = []
    size = 0
    for word, rows in index.merged():
        text = encoded(rows, total)
        if size > SHARD:
            yield data_file(f"{place}/words/{len(firsts) - 1}", shard)
            shard, size = [], 0
        if not shard:
            firsts.append(word)
        shard.append((word, text))
        size += len(word) + len(text) + 8
    if shard:
        yield data_file(f"{place}/words/{len(firsts) - 1}", shard)


def unsigned(values: Iterable[int], kind: str) -> str:
    """Numbers as base64 of little-endian bytes; ``kind`` is array's: B or I."""
    import sys

    numbers = array(kind, values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return _base64(numbers.tobytes())
