"""Canonical bytes, digests, and what differs between two fingerprints, by name.

A digest decides whether two things are the same; a fingerprint is a digest with named parts, so that a difference can
be explained ("prompt changed") and not only noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Fingerprint = Mapping[str, str]
"""Part name → hex sha256 of that part."""


def canonical(value: Any) -> bytes:
    """The one spelling of a JSON value: keys sorted, no spaces, UTF-8.

    Raises ValueError for NaN, infinities and lone surrogates, which no provider accepts.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")  # UnicodeEncodeError is a ValueError


def digest(data: bytes) -> str:
    """Hex sha256."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: Any) -> str:
    """Hex sha256 of a JSON value's canonical bytes."""
    return digest(canonical(value))


WORDS = {
    "model": "model changed",
    "prompt": "prompt changed",
    "vars": "vars changed",
    "parameters": "parameters changed",
    "response": "response schema changed",
    "samples": "samples changed",
}
"""The parts that say how a batch asks its rows: each explains a change by itself.  "encoding" follows from these,
unless it changed alone; the others are about which rows there are."""


def changes(old: Fingerprint, new: Fingerprint) -> list[str]:
    """How the asking differs, in words."""
    return [WORDS[part] for part in differences(old, new) if part in WORDS]


def differences(old: Fingerprint, new: Fingerprint) -> list[str]:
    """Names of the parts that are not the same in both, in alphabetical order."""
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
