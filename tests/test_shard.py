"""Requests cut into what may travel together: nothing lost, nothing moved, nothing over a limit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from builders import identity
from hypothesis import given
from hypothesis import strategies as st

from runner.provider import ShardLimits
from runner.shard import Shard, TooLarge, cut


def sizes(shards: list[list[int]]) -> list[Shard]:
    """Shards of the requests with these numbers."""
    return [Shard(b"".join(map(identity, numbers))) for numbers in shards]


@pytest.mark.parametrize(
    ("weights", "limits", "expected"),
    [
        ([], ShardLimits(2, 10), []),
        ([10], ShardLimits(2, 10), [[0]]),
        ([1, 1, 1, 1, 1], ShardLimits(2, 10), [[0, 1], [2, 3], [4]]),
        ([1, 1, 1, 1], ShardLimits(2, 10), [[0, 1], [2, 3]]),
        ([5, 5, 5, 6, 4], ShardLimits(9, 10), [[0, 1], [2], [3, 4]]),
        ([9, 2, 9, 1], ShardLimits(9, 10), [[0], [1], [2, 3]]),
        ([0, 0, 10, 0], ShardLimits(9, 10), [[0, 1, 2, 3]]),
        ([4, 4, 4], ShardLimits(1, 10), [[0], [1], [2]]),
    ],
)
def test_cut(weights: list[int], limits: ShardLimits, expected: list[list[int]]) -> None:
    """Greedily, in order: a shard is closed when the next request would exceed either limit."""
    requests = ((identity(number), weight) for number, weight in enumerate(weights))
    assert list(cut(requests, limits)) == sizes(expected)


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 9), st.integers(50, 200))
def test_shards_are_the_input(weights: list[int], most: int, room: int) -> None:
    """One behind the other they are what was cut; each is within both limits, and none could have taken more."""
    requests = [(identity(number), weight) for number, weight in enumerate(weights)]
    shards = list(cut(requests, ShardLimits(most, room)))

    assert [found for shard in shards for found in shard] == [found for found, _ in requests]
    weight_of = dict(requests)
    weigh = [sum(weight_of[found] for found in shard) for shard in shards]
    assert all(0 < shard.count <= most for shard in shards)
    assert all(weight <= room for weight in weigh)
    for before, weight, after in zip(shards, weigh, shards[1:], strict=False):
        assert before.count == most or weight + weight_of[next(iter(after))] > room


def test_a_request_that_fits_nowhere() -> None:
    """TooLarge names both sizes; the shards before it have been handed out."""
    shards = cut([(identity(0), 4), (identity(1), 1_001), (identity(2), 4)], ShardLimits(1, 1_000))
    with pytest.raises(TooLarge) as caught:
        list(shards)
    assert caught.value.size == 1_001
    assert str(caught.value) == "a request line of 1,001 bytes exceeds the provider's 1,000 bytes per task"


def test_the_whole_input_is_not_held() -> None:
    """One shard is in memory at a time: the second is not read before the first is taken."""
    seen: list[int] = []

    def requests() -> Iterator[tuple[bytes, int]]:
        for number in range(9):
            seen.append(number)
            yield identity(number), 1

    shards = cut(requests(), ShardLimits(2, 10))
    next(shards)
    assert seen == [0, 1, 2]


def test_a_shard_is_known_by_its_requests() -> None:
    """The digest is the sha256 of the identities, and so also the name of the blob that lists them."""
    shard = Shard(identity(1) + identity(2))
    assert (shard.count, list(shard)) == (2, [identity(1), identity(2)])
    assert shard.digest == hashlib.sha256(identity(1) + identity(2)).hexdigest()
    assert shard.digest != Shard(identity(2) + identity(1)).digest
