"""A batch's rows as data files: columns to filter and sort by, pages of texts, and the words that rows are found by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from runner.report.site.entry import STATUSES, Entry
from runner.report.site.postings import Index, index_files, unsigned
from runner.report.site.script import File, data_file
from runner.report.site.summary import Summary
from runner.report.site.words import words

CHUNK = 8_192
"""Rows of one file of columns."""
PAGE_ROWS = 128
PAGE_SIZE = 1 << 16
"""Characters of texts after which a page ends."""
UNKNOWN = 0xFFFFFFFF
"""In the place of a number that nobody said."""
_NAMES = 200
"""Different codes, or finish reasons, that are told apart; what comes later is `_OTHER`."""
_OTHER = "…"


@dataclass
class Names:
    """Words of providers, each written as its place among those seen."""

    seen: dict[str, int] = field(default_factory=lambda: {"": 0})

    def place(self, name: str) -> int:
        if name not in self.seen and len(self.seen) >= _NAMES:
            name = _OTHER
        return self.seen.setdefault(name, len(self.seen))


class _Columns:
    def __init__(self) -> None:
        self.keys: list[str] = []
        self.small: dict[str, list[int]] = {name: [] for name in ("status", "code", "finish")}
        self.large: dict[str, list[int]] = {
            name: [] for name in ("number", "sample", "input", "output", "length", "answer", "prompt")
        }

    def add(self, entry: Entry, codes: Names, finishes: Names) -> None:
        self.keys.append(entry.key)
        small, large = self.small, self.large
        small["status"].append(STATUSES.index(entry.status))
        small["code"].append(codes.place(entry.code))
        small["finish"].append(finishes.place(entry.finish))
        large["number"].append(entry.number)
        large["sample"].append(entry.sample)
        large["input"].append(_number(entry.input_tokens))
        large["output"].append(_number(entry.output_tokens))
        large["length"].append(_number(None if entry.text is None else len(entry.text)))
        large["answer"].append(_sum(entry.text))
        large["prompt"].append(_sum(entry.body))

    def to_json(self) -> dict[str, Any]:
        small = {name: unsigned(values, "B") for name, values in self.small.items()}
        return {"keys": self.keys, **small, **{name: unsigned(values, "I") for name, values in self.large.items()}}


def _number(value: int | None) -> int:
    return UNKNOWN if value is None or not 0 <= value < UNKNOWN else value


def _sum(text: str | None) -> int:
    """Two texts with the same sum are taken for the same."""
    return 0 if text is None else crc32(text.encode("utf-8", "surrogatepass")) or 1


def row_files(entries: Iterable[Entry], place: str, index: Index, summary: Summary) -> Iterator[File]:
    """All files of a table under ``data/PLACE/``, a few of its rows in memory; `table.js` describes them."""
    columns, page = _Columns(), _Page()
    codes, finishes = Names(), Names()
    starts: list[int] = []
    chunks = count = 0
    for entry in entries:
        if not page.rows:
            starts.append(count)
        columns.add(entry, codes, finishes)
        page.add(entry)
        summary.add(entry)
        index.add(count, set().union(*map(words, entry.texts())))
        count += 1
        if page.full:
            yield page.file(place, len(starts) - 1)
            page = _Page()
        if len(columns.keys) == CHUNK:
            yield data_file(f"{place}/columns/{chunks}", columns.to_json())
            columns, chunks = _Columns(), chunks + 1
    if page.rows:
        yield page.file(place, len(starts) - 1)
    if columns.keys:
        yield data_file(f"{place}/columns/{chunks}", columns.to_json())
        chunks += 1
    firsts: list[str] = []
    yield from index_files(index, place, count, firsts)
    table = {"rows": count, "chunks": chunks, "pages": starts, "words": firsts}
    names = {"codes": [*codes.seen], "finishes": [*finishes.seen]}
    yield data_file(f"{place}/table", {**table, **names})


class _Page:
    def __init__(self) -> None:
        self.rows: list[tuple[str | None, ...]] = []
        self._size = 0

    def add(self, entry: Entry) -> None:
        row = (entry.text, entry.parsed, entry.message, entry.body, entry.input, entry.task, entry.model)
        self.rows.append(row)
        self._size += sum(len(text) for text in row if text)

    @property
    def full(self) -> bool:
        return len(self.rows) >= PAGE_ROWS or self._size >= PAGE_SIZE

    def file(self, place: str, number: int) -> File:
        return data_file(f"{place}/rows/{number}", self.rows)
