"""Digests in little memory: what a dict or a set would say, in a fraction of their bytes."""

from __future__ import annotations

import tracemalloc

import pytest
from builders import identity
from hypothesis import given
from hypothesis import strategies as st

from runner.digests import WIDTH, DigestMap

NARROW = st.builds(
    lambda head, tail: bytes([7, 7, *head]) + bytes([tail]) * 12, st.tuples(*[st.integers(0, 1)] * 2), st.integers(0, 2)
)
"""Digests out of so few bytes, all in one bucket, that one often begins in the middle of two others."""
DIGESTS = st.one_of(NARROW, st.binary(min_size=WIDTH, max_size=WIDTH))


@given(st.lists(DIGESTS), st.lists(DIGESTS))
def test_a_map_without_values_is_a_set(added: list[bytes], asked: list[bytes]) -> None:
    """Held against a set: what was new, what is in, how many, and all of them."""
    model: set[bytes] = set()
    held = DigestMap()
    for digest in added:
        assert held.add(digest) == (digest not in model)
        model.add(digest)

    assert len(held) == len(model)
    assert sorted(held.items()) == sorted((digest, 0) for digest in model)
    assert [digest in held for digest in asked] == [digest in model for digest in asked]


@given(
    width=st.sampled_from([1, 2, 4, 8]),
    steps=st.lists(st.tuples(st.sampled_from(["add", "put"]), DIGESTS, st.integers(0, 2**64 - 1))),
    asked=st.lists(DIGESTS),
)
def test_a_map_with_values_is_a_dict(width: int, steps: list[tuple[str, bytes, int]], asked: list[bytes]) -> None:
    """Held against a dict in every width: `add` keeps the value that is there, `put` replaces it."""
    model: dict[bytes, int] = {}
    held = DigestMap(width)
    for what, digest, number in steps:
        value = number % 256**width
        if what == "add":
            assert held.add(digest, value) == (digest not in model)
            model.setdefault(digest, value)
        else:
            held.put(digest, value)
            model[digest] = value

    assert dict(held.items()) == model
    assert len(held) == len(model)
    assert [held.get(digest) for digest in [*model, *asked]] == [model.get(digest) for digest in [*model, *asked]]


@pytest.mark.parametrize("width", [0, 1, 8])
def test_a_match_that_straddles_two_records_is_none(width: int) -> None:
    """A digest whose bytes happen to stand across the border of two others is not in the map, and can be added."""
    first, second = b"\7\7" + b"\1" * 4 + b"\7\7" + b"\2" * 8, b"\7\7" + b"\3" * 14
    value = b"\4" * width
    straddling = (first + value + second)[6 : 6 + WIDTH]
    held = DigestMap(width)
    held.add(first, int.from_bytes(value, "big"))
    held.add(second, 0)

    assert (straddling in held, held.get(straddling)) == (False, None)
    assert held.add(straddling, 0)
    assert not held.add(straddling, 0)
    assert sorted(digest for digest, _ in held.items()) == sorted([first, second, straddling])


def test_records_of_one_byte_value_after_another() -> None:
    """All sixteen bytes alike: every offset in the bucket but the right one looks like a match."""
    held = DigestMap(1)
    held.add(b"\0" * 15 + b"\1", 0)
    assert b"\0" * 16 not in held
    held.add(b"\0" * 16, 5)
    assert (held.get(b"\0" * 16), held.get(b"\0" * 15 + b"\1")) == (5, 0)


def test_a_value_too_wide_is_refused_and_leaves_the_map_whole() -> None:
    """OverflowError, and everything that was there is there as before."""
    held = DigestMap(1)
    held.add(identity(1), 255)
    with pytest.raises(OverflowError):
        held.add(identity(2), 256)
    with pytest.raises(OverflowError):
        held.put(identity(1), 256)
    assert list(held.items()) == [(identity(1), 255)]


def test_memory() -> None:
    """Under 45 bytes a digest at 200,000 of them, with the widest values in use; a dict takes some 150."""
    count = 200_000
    digests = [identity(number) for number in range(count)]
    held = DigestMap(8)
    tracemalloc.start()
    try:
        for digest in digests:
            held.add(digest, 7)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(held) == count
    assert used / count < 45
