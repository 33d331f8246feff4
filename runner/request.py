"""A Request: one question to one model at one provider, known by the digest of what is asked.

Two equal rows are one request.  Only what reaches the model is in the digest, so that a changed label, wait or output
asks nothing anew.  (design: provider's name in runner.yaml, model's id, body, and the sample's number from the second.)
"""

from __future__ import annotations

import hashlib
import json.encoder
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runner.digests import WIDTH
from runner.fingerprint import canonical

_quote: Callable[[str], str] = json.encoder.encode_basestring


def salt(provider: str, model: str) -> bytes:
    """What sets apart the same body at another provider or model: 32 bytes that every digest begins from."""
    return hashlib.sha256(canonical([provider, model])).digest()


def identify(salt: bytes, body: bytes, sample: int = 1) -> bytes:
    """The request's 16-byte identity.

    ``body`` is canonical JSON, in which a NUL cannot stand, so that the suffix of a further sample is unambiguous.
    """
    if sample > 1:
        body = b"%b\0%d" % (body, sample)
    return hashlib.sha256(salt + body).digest()[:WIDTH]


def custom_id(identity: bytes) -> str:
    """32 hex digits: inside the narrowest rule for ids of any provider."""
    return identity.hex()


Writer = Callable[[Sequence[str]], str]
"""Texts of a row, in order → the canonical JSON of its body."""


def _placed_once(skeleton: str, mark: str) -> bool:
    """Whether the text is a value of its own: a key would have to be sorted anew in every row."""
    return skeleton.count(mark) == 1 and f'"{mark}"' in skeleton and f'"{mark}":' not in skeleton


def body_writer(build: Callable[[Sequence[str]], Mapping[str, Any]], slots: int) -> Writer:
    """Compile ``build``, which makes a body from ``slots`` texts, into a splice of constant JSON and quoted texts.

    A body differs from row to row in a few strings; serialising the rest again for each row would be most of the
    cost of a plan.  A ``build`` that does more with a text than to place it whole is called for every row instead.
    """
    marks = [hashlib.sha256(b"slot %d" % n).hexdigest() for n in range(slots)]
    skeleton = canonical(build(marks)).decode()
    found = [skeleton.find(f'"{mark}"') for mark in marks]
    if not all(_placed_once(skeleton, mark) for mark in marks):
        return lambda texts: canonical(build(texts)).decode()
    order = sorted(range(slots), key=found.__getitem__)
    constants = []
    start = 0
    for slot in order:
        constants.append(skeleton[start : found[slot]])
        start = found[slot] + len(marks[slot]) + 2
    tail = skeleton[start:]
    if slots == 1:
        head = constants[0]
        return lambda texts: f"{head}{_quote(texts[0])}{tail}"
    if slots == 2:
        (first, second), (one, two) = order, constants
        return lambda texts: f"{one}{_quote(texts[first])}{two}{_quote(texts[second])}{tail}"
    pairs = list(zip(constants, order, strict=True))
    return lambda texts: (
        "".join([piece for constant, slot in pairs for piece in (constant, _quote(texts[slot]))]) + tail
    )
