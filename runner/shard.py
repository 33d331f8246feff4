"""A Shard: requests that travel together, within the provider's limits, known by the digest of their identities."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runner.digests import WIDTH
from runner.provider import ShardLimits


@dataclass(frozen=True)
class Shard:
    """``requests`` holds the identities one behind the other, in input order."""

    requests: bytes

    @property
    def count(self) -> int:
        return len(self.requests) // WIDTH

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.requests).hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        return (self.requests[at : at + WIDTH] for at in range(0, len(self.requests), WIDTH))


class TooLarge(ValueError):
    """A single request exceeds what one task may carry; ``size`` in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a request line of {size:,} bytes exceeds the provider's {limit:,} bytes per task")
        self.size = size


def cut(requests: Iterable[tuple[bytes, int]], limits: ShardLimits) -> Iterator[Shard]:
    """Cut (identity, bytes of its line) pairs greedily, in order.  Raises TooLarge for one that fits nowhere."""
    held = bytearray()
    weight = 0
    for identity, size in requests:
        if size > limits.bytes:
            raise TooLarge(size, limits.bytes)
        if held and (len(held) // WIDTH >= limits.requests or weight + size > limits.bytes):
            yield Shard(bytes(held))
            held, weight = bytearray(), 0
        held += identity
        weight += size
    if held:
        yield Shard(bytes(held))
