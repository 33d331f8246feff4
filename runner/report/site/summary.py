"""What a batch's rows come to, counted as they go by, in memory that does not grow with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from runner.report.site.entry import STATUSES, Entry
from runner.result import SUCCEEDED, Counts

_BITS = 7
"""Numbers are told apart by their highest bits, so many of them."""
_KINDS = 100
"""Kinds of errors, and of finish reasons, that are told apart."""
_OTHER = "other"


class Histogram:
    """How often each number occurred, to within one part in a hundred."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, value: int) -> None:
        shift = max(0, value.bit_length() - _BITS)
        self._counts[value >> shift << shift] += 1

    @property
    def total(self) -> int:
        return self._counts.total()

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Numbers in their order, each with how often there was one about as large."""
        return iter(sorted(self._counts.items()))

    def quantile(self, part: float) -> int:
        """The number that ``part`` of all do not exceed."""
        wanted, seen = part * self.total, 0
        for value, count in self:
            seen += count
            if seen >= wanted:
                return value
        return 0


@dataclass
class Group:
    """Failures with one code: how many, and the first one's words."""

    count: int = 0
    message: str = ""


@dataclass
class Summary:
    statuses: Counter[str] = field(default_factory=Counter)
    errors: dict[str, Group] = field(default_factory=dict)
    finishes: Counter[str] = field(default_factory=Counter)
    lengths: Histogram = field(default_factory=Histogram)
    input_tokens: Histogram = field(default_factory=Histogram)
    output_tokens: Histogram = field(default_factory=Histogram)

    def add(self, entry: Entry) -> None:
        self.statuses[entry.status] += 1
        if entry.status != SUCCEEDED:
            code = entry.code if entry.code in self.errors or len(self.errors) < _KINDS else _OTHER
            group = self.errors.setdefault(code, Group(0, entry.message))
            group.count += 1
        if entry.finish:
            known = entry.finish in self.finishes or len(self.finishes) < _KINDS
            self.finishes[entry.finish if known else _OTHER] += 1
        if entry.text is not None:
            self.lengths.add(len(entry.text))
        if entry.input_tokens is not None:
            self.input_tokens.add(max(0, entry.input_tokens))
        if entry.output_tokens is not None:
            self.output_tokens.add(max(0, entry.output_tokens))

    @property
    def counts(self) -> Counts:
        return Counts(*(self.statuses[status] for status in STATUSES))
