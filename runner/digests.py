"""Millions of request digests in little memory: 16 bytes each, plus a small value where one is wanted.

A Python dict of a million digests takes some 150 MB; this takes 30.  Records lie in buckets by their digest's first
bits, each bucket a bytearray searched by `find`, which runs at memory speed over the few hundred bytes of a bucket.
"""

from __future__ import annotations

from collections.abc import Iterator

WIDTH = 16
"""Bytes of a sha256 that make a request's identity: its custom_id is these, in hex."""

_SHIFT = 3
"""Buckets are named by the first 13 bits: large enough to waste little, small enough to be searched quickly."""


class DigestMap:
    """A mapping from 16-byte digests to integers of ``value_bytes`` bytes; with none, a set.

    Digests have to be evenly spread, as those of sha256 are.
    """

    def __init__(self, value_bytes: int = 0) -> None:
        self._value_bytes = value_bytes
        self._stride = WIDTH + value_bytes
        self._buckets: dict[int, bytearray] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, digest: bytes) -> bool:
        bucket = self._buckets.get((digest[0] << 8 | digest[1]) >> _SHIFT)
        return bucket is not None and self._offset(bucket, digest) >= 0

    def get(self, digest: bytes) -> int | None:
        bucket = self._buckets.get((digest[0] << 8 | digest[1]) >> _SHIFT)
        if bucket is None:
            return None
        offset = self._offset(bucket, digest)
        if offset < 0:
            return None
        return int.from_bytes(bucket[offset + WIDTH : offset + self._stride], "big")

    def add(self, digest: bytes, value: int = 0) -> bool:
        """Whether ``digest`` was not there before.  If it was, its value stays as it is."""
        key = (digest[0] << 8 | digest[1]) >> _SHIFT
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = bytearray()
        elif self._offset(bucket, digest) >= 0:
            return False
        bucket += digest + value.to_bytes(self._value_bytes, "big") if self._value_bytes else digest
        self._count += 1
        return True

    def put(self, digest: bytes, value: int) -> None:
        """Set the value of ``digest``, whether it was there or not."""
        if not self.add(digest, value):
            bucket = self._buckets[(digest[0] << 8 | digest[1]) >> _SHIFT]
            at = self._offset(bucket, digest) + WIDTH
            bucket[at : at + self._value_bytes] = value.to_bytes(self._value_bytes, "big")

    def items(self) -> Iterator[tuple[bytes, int]]:
        """All records, in no particular order."""
        for bucket in self._buckets.values():
            for at in range(0, len(bucket), self._stride):
                value = bucket[at + WIDTH : at + self._stride]
                yield bytes(bucket[at : at + WIDTH]), int.from_bytes(value, "big")

    def _offset(self, bucket: bytearray, digest: bytes) -> int:
        """Where the record starts, or -1.  A match that straddles two records is none: look on behind it."""
        at = bucket.find(digest)
        while at > 0 and at % self._stride:
            at = bucket.find(digest, at + 1)
        return at
