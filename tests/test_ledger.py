"""Ledgers: what was measured once is read again to the byte, and a cache that fails costs time only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import identity
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.edge.ledger import RECORD, Ledger, LedgerCache, Record

SMALL, LARGE = 8_191, 8_192
"""The most records that stay in memory, and the fewest that go to disk."""
KEY = "k" * 64


def records(count: int) -> Iterator[Record]:
    return ((identity(number), number % 2**32, number * 7 % 2**32) for number in range(count))


@pytest.fixture
def cache(tmp_path: Path) -> LedgerCache:
    return LedgerCache(tmp_path / "ledgers")


@pytest.mark.parametrize("count", [0, 1, SMALL, LARGE, LARGE + 1, 20_000])
def test_a_ledger_is_what_was_recorded(cache: LedgerCache, count: int) -> None:
    """Any number of times, from memory or from disk, in order."""
    ledger = cache.record("a", KEY, records(count))
    assert list(ledger) == list(records(count))
    assert list(ledger) == list(records(count))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), *[st.integers(0, 2**32 - 1)] * 2)))
def test_any_records(found: list[Record]) -> None:
    """Whatever the bytes of an identity, and up to the widest numbers."""
    assert list(LedgerCache(Path("never-made")).record("a", KEY, found)) == found
    assert not Path("never-made").exists()


def test_a_large_one_is_found_again(cache: LedgerCache, tmp_path: Path) -> None:
    """By batch and key, in another process too: 24 bytes a row, and no temporary file beside it."""
    cache.record("a", KEY, records(LARGE))
    found = LedgerCache(tmp_path / "ledgers").find("a", KEY)
    assert found is not None
    assert list(found) == list(records(LARGE))
    assert [path.stat().st_size for path in (tmp_path / "ledgers").iterdir()] == [LARGE * RECORD.size]


@pytest.mark.parametrize(("batch", "key"), [("b", KEY), ("a", "x" * 64), ("a", "")])
def test_another_batch_or_key_is_not_found(cache: LedgerCache, batch: str, key: str) -> None:
    """Rows, prompt or model have changed: measured anew."""
    cache.record("a", KEY, records(LARGE))
    assert cache.find(batch, key) is None


def test_a_small_one_is_made_again(cache: LedgerCache, tmp_path: Path) -> None:
    """It is as quick to render as to read, and leaves nothing on disk."""
    cache.record("a", KEY, records(SMALL))
    assert cache.find("a", KEY) is None
    assert not (tmp_path / "ledgers").exists()


def test_old_ledgers_of_a_batch_go(cache: LedgerCache, tmp_path: Path) -> None:
    """Once a new one is a day younger: until then another run may be reading it.  Other batches' stay."""
    keys = {"old": "o" * 64, "recent": "r" * 64}
    for batch in ("a", "a-b"):
        for key in keys.values():
            cache.record(batch, key, records(LARGE))
    for path in (tmp_path / "ledgers").glob("*.oooo*"):
        os.utime(path, (1, 1))
    cache.record("a", KEY, records(LARGE))

    found = {batch: [name for name, key in keys.items() if cache.find(batch, key)] for batch in ("a", "a-b")}
    assert found == {"a": ["recent"], "a-b": ["old", "recent"]}
    assert cache.find("a", KEY) is not None


def test_a_ledger_without_a_key_is_read_but_not_found(cache: LedgerCache) -> None:
    """Equal keys would not promise equal rows."""
    ledger = cache.record("a", "", records(LARGE))
    assert list(ledger) == list(records(LARGE))
    assert cache.find("a", "") is None


def test_a_row_that_fails_leaves_nothing(cache: LedgerCache, tmp_path: Path) -> None:
    """Neither a ledger that lacks rows, nor a temporary file."""

    def failing() -> Iterator[Record]:
        yield from records(LARGE + 9)
        raise ValueError("row 8,202")

    with pytest.raises(ValueError, match="row"):
        cache.record("a", KEY, failing())
    assert cache.find("a", KEY) is None
    assert list((tmp_path / "ledgers").iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs time, never correctness: the ledger lies elsewhere, is not found again, and leaves nothing behind."""
    (tmp_path / "file").write_bytes(b"")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    cache = LedgerCache(tmp_path / "file" / "ledgers")
    ledger = cache.record("a", KEY, records(LARGE))
    assert list(ledger) == list(records(LARGE))
    assert cache.find("a", KEY) is None
    assert list(elsewhere.iterdir()) == []


def test_reading_does_not_hold_the_file(cache: LedgerCache) -> None:
    """Two that read at once, and one that stops half way, each begin at the first row."""
    ledger = cache.record("a", KEY, records(LARGE))
    one, other = iter(ledger), iter(ledger)
    assert [next(one), next(one), next(other)] == [*list(records(2)), *list(records(1))]
    del one, other
    assert next(iter(ledger)) == next(records(1))


def test_a_ledger_in_memory_is_its_bytes() -> None:
    """The record is fixed: identity, bytes of the line, tokens."""
    data = b"\1" * 16 + (5).to_bytes(4, "big") + (6).to_bytes(4, "big")
    assert list(Ledger(data)) == [(b"\1" * 16, 5, 6)]
