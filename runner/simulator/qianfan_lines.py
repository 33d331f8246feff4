"""Lines of Qianfan's batch files: requests read into the engine's shape, results written back into Qianfan's.

A request is ``{"id", "query"}``, or ``{"id", "messages"}`` in a task whose data format is ``role``; how the real
service spells the latter is not documented.  A result repeats the request beside its ``output``.  What a failed row
looks like is not documented either: here it has ``error_code`` and ``error_msg`` in the place of ``output``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.simulator.answers import Answer
from runner.simulator.lines import Outcome, Row, RowError, Unfinished, Writer, json_line, numbered_lines
from runner.simulator.replies import Stamp

ROLE = "role"

_BUSY, _BROKEN = 18, 336100
"""The error codes that the official SDK asks again for: too many questions, and a server in trouble."""


def requests(files: Sequence[Path], data_format: str, parameters: Mapping[str, Any]) -> Iterator[bytes]:
    """The lines of ``files``, one behind the other, with ``parameters`` in every body.

    Ids are unique within a file only, so those of several files get their file's number before them.  A line that
    cannot be read is handed on as it is, for the engine to refuse.
    """
    for number, path in enumerate(files):
        prefix = f"{number}/" if len(files) > 1 else ""
        with path.open("rb") as file:
            for _, line in numbered_lines(file):
                yield _request(line, prefix, data_format, parameters)


def _request(line: bytes, prefix: str, data_format: str, parameters: Mapping[str, Any]) -> bytes:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return line.rstrip(b"\r\n") + b"\n"
    identity = record.get("id") if isinstance(record, dict) else None
    if not isinstance(identity, str) or not identity:
        return b"{}\n"
    question = record.get("messages" if data_format == ROLE else "query")
    if isinstance(question, str):
        question = [{"role": "user", "content": question}]
    body = dict(parameters) if question is None else {**parameters, "messages": question}
    return json_line({"custom_id": prefix + identity, "body": body})


def result_writer(files: int, data_format: str) -> Writer:
    """Writes results of ``files`` input files into one, each line behind its file's number; see :func:`lines_of`."""

    def write(row: Row, outcome: Outcome, stamp: Stamp, custom_id: str) -> bytes:
        if isinstance(outcome, Unfinished):
            return b""
        number, _, _ = row.custom_id.partition("/") if files > 1 else ("0", "", "")
        record = {"id": custom_id.removeprefix(f"{number}/") if files > 1 else custom_id, **_asked(row, data_format)}
        record |= _failed(outcome) if isinstance(outcome, RowError) else {"output": _output(outcome, stamp)}
        return number.encode() + b"\t" + json_line(record)

    return write


def lines_of(number: int, results: Path) -> Iterator[bytes]:
    """The lines that belong to the input file of that ``number``."""
    tag = b"%d\t" % number
    with results.open("rb") as file:
        yield from (line[len(tag) :] for line in file if line.startswith(tag))


def in_pieces(lines: Iterable[bytes], size: int = 256 * 1024) -> Iterator[bytes]:
    """The same bytes, several lines at a time."""
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= size:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _asked(row: Row, data_format: str) -> dict[str, Any]:
    messages = row.body.get("messages")
    if data_format == ROLE:
        return {"messages": messages}
    first = messages[0] if isinstance(messages, list) and messages else None  # a parameter may be called so, too
    return {"query": first.get("content") if isinstance(first, dict) else None}


def _failed(error: RowError) -> dict[str, Any]:
    codes = {429: _BUSY}
    code = codes.get(error.status_code, _BROKEN if error.status_code >= 500 else error.status_code)
    return {"error_code": code, "error_msg": error.message}


def _output(given: Answer, stamp: Stamp) -> dict[str, Any]:
    if given.shown == "lost":
        return {}
    refused, cut = given.shown == "refused", given.finish_reason == "length"
    return {
        "id": f"as-{stamp.identity}",
        "object": "chat.completion",
        "created": stamp.created,
        "result": given.text,
        "finish_reason": "content_filter" if refused else "length" if cut else "normal",
        "is_truncated": cut,
        "need_clear_history": refused,
        "usage": {
            "prompt_tokens": given.input_tokens,
            "completion_tokens": given.output_tokens,
            "total_tokens": given.input_tokens + given.output_tokens,
        },
    }
