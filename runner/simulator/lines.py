"""Request lines and result lines in the shape of OpenAI's batch files.

What Wanqing's files look like is not documented; this shape is the common one.  Reading is tolerant: the usual line,
one without ``method`` and ``url``, and one with the body's keys beside ``custom_id``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from runner.simulator.answers import Answer
from runner.simulator.questions import Question, kind_of, read_question
from runner.simulator.replies import Stamp, reply

MAX_LINE_BYTES = 10 * 1024 * 1024


class BadLine(ValueError):
    """A line that no request can be read from; ``code`` is OpenAI's word for what is wrong."""

    def __init__(self, message: str, code: str = "invalid_json_line") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Row:
    """One request.  ``digest`` covers the model and the body, however its keys are ordered.

    ``question`` is what it asks, or why it asks nothing.
    """

    position: int
    custom_id: str
    url: str
    body: Mapping[str, Any]
    digest: bytes
    question: Question | str

    @property
    def prompt(self) -> str:
        return "" if isinstance(self.question, str) else self.question.prompt

    @property
    def identity(self) -> str:
        """What ids in its result begin with, so that they are the same whenever the result is written."""
        return self.digest.hex()[:24]


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row has no answer, as the provider would say it."""

    status_code: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A row that its task's end came before; ``word`` is ``expired`` or ``cancelled``."""

    word: str


Outcome = Answer | RowError | Unfinished


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_OUTSIDE_BODY = ("custom_id", "method", "url")


def read_row(line: bytes, position: int, model: str, endpoint: str = "") -> Row:
    """The request in ``line``.  ``endpoint`` is where it goes when it does not say so itself.  Raises BadLine."""
    try:
        record = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadLine("is not UTF-8") from None
    except (ValueError, RecursionError):
        raise BadLine("is not JSON") from None
    custom_id = record.get("custom_id") if isinstance(record, dict) else None
    if not isinstance(custom_id, str) or not custom_id:
        raise BadLine("has no custom_id", "missing_required_parameter")
    if not custom_id.isprintable():  # lone surrogates, which no file can hold, are among them
        raise BadLine("has a custom_id with unprintable characters", "invalid_request")
    body = record.get("body")
    if body is None:
        body = {key: value for key, value in record.items() if key not in _OUTSIDE_BODY}
    if not isinstance(body, dict):
        raise BadLine("has a body that is not an object", "invalid_request")
    url = record.get("url")
    url = url if isinstance(url, str) else endpoint
    try:
        return Row(position, custom_id, url, body, digest_of(model, body), _question(body, url))
    except RecursionError:
        raise BadLine("is nested too deeply") from None


def digest_of(model: str, body: Mapping[str, Any]) -> bytes:
    """Under which the bill finds the same question again.  Raises RecursionError."""
    return hashlib.sha256(f"{model}\n{_CANONICAL.encode(body)}".encode()).digest()[:16]


def _question(body: Mapping[str, Any], url: str) -> Question | str:
    try:
        return read_question(body, url)
    except ValueError as error:
        return str(error)


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The non-empty lines with their numbers.  A line over the bound is cut, and so is no longer JSON."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if line.strip():
            yield number, line


def rows(file: BinaryIO, model: str, endpoint: str = "") -> Iterator[Row]:
    """The requests of a file that was found good."""
    for position, (_, line) in enumerate(numbered_lines(file), 1):
        yield read_row(line, position, model, endpoint)


def shuffled_rows(file: BinaryIO, model: str, endpoint: str = "") -> Iterator[Row]:
    """The same in the order of their digests, holding no more than where each line begins."""
    places: list[tuple[bytes, int, int]] = []
    for position, (_, line) in enumerate(numbered_lines(file), 1):
        places.append((read_row(line, position, model).digest, position, file.tell() - len(line)))
    for _, position, start in sorted(places):
        file.seek(start)
        yield read_row(file.readline(), position, model, endpoint)


Writer = Callable[[Row, Outcome, Stamp, str], bytes]
"""(row, outcome, stamp, custom_id) → its line in a file of results, newline included; empty where it has none."""


def write_line(row: Row, outcome: Outcome, stamp: Stamp, custom_id: str) -> bytes:
    """The result line of an answered or failed row: OpenAI's, whatever came of it in one and the same file."""
    body: dict[str, Any]
    if isinstance(outcome, Unfinished):
        return b""
    if isinstance(outcome, Answer):
        status, body = 200, reply(kind_of(row.url, row.body), outcome, stamp)
    else:
        status = outcome.status_code
        body = {"error": {"code": outcome.code, "message": outcome.message, "type": outcome.code}}
    response = {"status_code": status, "request_id": f"req_{stamp.identity}", "body": body}
    return json_line({"id": f"batch_req_{stamp.identity}", "custom_id": custom_id, "response": response, "error": None})


def json_line(record: Mapping[str, Any]) -> bytes:
    return _COMPACT.encode(record).encode("utf-8", "replace") + b"\n"
