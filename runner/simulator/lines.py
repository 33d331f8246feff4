"""Request lines and result lines in the shape of OpenAI's batch files.

What Wanqing's files look like is not documented; this shape is the common one.  Reading is tolerant: the usual line,
one without ``method`` and ``url``, and one with the body's keys beside ``custom_id``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from runner.simulator.answers import Answer, completion, prompt_of

MAX_LINE_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One request.  ``digest`` covers the model and the body, however its keys are ordered."""

    position: int
    custom_id: str
    body: Mapping[str, Any]
    digest: bytes

    @property
    def prompt(self) -> str:
        return prompt_of(self.body) or ""


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row has no answer, as the provider would say it."""

    status_code: int
    code: str
    message: str


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_OUTSIDE_BODY = ("custom_id", "method", "url")


def read_row(line: bytes, position: int, model: str) -> Row:
    """The request in ``line``.  Raises ValueError that says what is wrong with it."""
    try:
        record = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    custom_id = record.get("custom_id") if isinstance(record, dict) else None
    if not isinstance(custom_id, str) or not custom_id:
        raise ValueError("has no custom_id")
    if not custom_id.isprintable():  # lone surrogates, which no file can hold, are among them
        raise ValueError("has a custom_id with unprintable characters")
    body = record.get("body")
    if body is None:
        body = {key: value for key, value in record.items() if key not in _OUTSIDE_BODY}
    if not isinstance(body, dict):
        raise ValueError("has a body that is not an object")
    try:
        asked = f"{model}\n{_CANONICAL.encode(body)}"
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    return Row(position, custom_id, body, hashlib.sha256(asked.encode()).digest()[:16])


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The non-empty lines with their numbers.  A line over the bound is cut, and so is no longer JSON."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if line.strip():
            yield number, line


def rows(file: BinaryIO, model: str) -> Iterator[Row]:
    """The requests of a file that was found good."""
    for position, (_, line) in enumerate(numbered_lines(file), 1):
        yield read_row(line, position, model)


def shuffled_rows(file: BinaryIO, model: str) -> Iterator[Row]:
    """The same in the order of their digests, holding no more than where each line begins."""
    places: list[tuple[bytes, int, int]] = []
    for position, (_, line) in enumerate(numbered_lines(file), 1):
        places.append((read_row(line, position, model).digest, position, file.tell() - len(line)))
    for _, position, start in sorted(places):
        file.seek(start)
        yield read_row(file.readline(), position, model)


def write_line(
    row: Row, outcome: Answer | RowError, *, model: str, created: int, custom_id: str | None = None
) -> bytes:
    """The result line of ``row``, newline included.  ``custom_id`` replaces the row's own."""
    identity = row.digest.hex()[:24]
    body: dict[str, Any]
    if isinstance(outcome, Answer):
        status, body = 200, completion(row.body, outcome, identity=identity, model=model, created=created)
    else:
        status = outcome.status_code
        body = {"error": {"code": outcome.code, "message": outcome.message, "type": outcome.code}}
    record = {
        "id": f"batch_req_{identity}",
        "custom_id": custom_id or row.custom_id,
        "response": {"status_code": status, "request_id": f"req_{identity}", "body": body},
        "error": None,
    }
    return _COMPACT.encode(record).encode("utf-8", "replace") + b"\n"
