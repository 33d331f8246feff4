"""Embeddings on OpenAI's wire: what asks for a vector, and vectors in an answer, whichever way they are spelt."""

from __future__ import annotations

from array import array
from base64 import b64decode
from math import isfinite
from sys import byteorder
from typing import Any

from runner.provider import Question
from runner.providers.loose import get, items, number

EMBEDDINGS_PATH = "/v1/embeddings"
WIDTH = 4
"""Bytes of a number in base64: little-endian float32."""


def encode(model: str, text: str, question: Question) -> dict[str, Any]:
    """The body that asks for the vector of ``text``.  Raises ValueError where a schema is asked for as well."""
    if question.schema is not None:
        raise ValueError("an embedding is a list of numbers: response.schema cannot be asked of it")
    return {**question.parameters, "input": text, "model": model}


def vectors_in(body: Any) -> list[list[float]]:
    """The vectors of an answer, in the order of their index; none where any of them cannot be read."""
    entries = sorted(items(get(body, "data")), key=lambda entry: number(get(entry, "index")) or 0)
    found = [_vector(get(entry, "embedding")) for entry in entries]
    return [vector for vector in found if vector] if all(found) else []


def _vector(value: Any) -> list[float] | None:
    """Numbers that can be written again as JSON; None for anything else, and for none at all."""
    vector = _unpacked(value) if isinstance(value, str) else value
    if not isinstance(vector, list) or not vector:
        return None
    return vector if all(type(one) in (int, float) and _is_sound(one) for one in vector) else None


def _is_sound(one: float) -> bool:
    try:
        return isfinite(one)
    except OverflowError:  # a whole number beyond what a float can be
        return False


def _unpacked(text: str) -> list[float] | None:
    """The numbers of a vector that was asked for with ``encoding_format: base64``."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    if len(data) % WIDTH:
        return None
    numbers = array("f", data)
    if byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
