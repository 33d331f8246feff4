"""Output files: JSON Lines, CSV and Parquet, each written whole or not at all, one record at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from runner.edge.files import Spooled, sha256_of, sweep, write_atomic
from runner.errors import RunnerError

Line = dict[str, Any]

_GROUP = 10_000
"""Rows of one Parquet row group."""
_STALE = 3600.0
"""Seconds without a further line after which nobody is writing an output any more: whoever was has been killed."""


def write_output(path: Path, lines: Iterable[Line]) -> str:
    """Write ``lines`` in the format of ``path``'s ending; returns the sha256 of the file.

    What a killed run left of an output in the same folder goes.  Raises OSError, and RunnerError where Parquet is asked
    for without its extra.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".csv":
            sha = write_atomic(path, _csv(lines))
        case ".parquet":
            sha = _write_parquet(path, lines)
        case _:
            sha = write_atomic(path, _jsonl(lines))
    sweep(path.parent, path.stat().st_mtime - _STALE)  # by the clock of that disk
    return sha


def _jsonl(lines: Iterable[Line]) -> Iterator[bytes]:
    for line in lines:
        yield json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _csv(lines: Iterable[Line]) -> Iterator[bytes]:
    """Texts as they are, other values as JSON; ``input``, when asked for, is the last column."""
    for number, line in enumerate(lines):
        if not number:
            yield _csv_row(line)
        yield _csv_row(map(_cell, line.values()))


def _csv_row(cells: Iterable[Any]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)  # ending its lines with \r\n, it quotes cells that hold either of the two
    return (buffer.getvalue().removesuffix("\r\n") + "\n").encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write_parquet(path: Path, lines: Iterable[Line]) -> str:
    """The sample's number, and texts; other values as JSON text, since their shape may differ from row to row."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise RunnerError(
            f"writing {path.name} needs the extra for Parquet",
            hint="Install it, or choose an output that ends in .jsonl or .csv.",
            commands=["pip install 'batch-runner[parquet]'"],
            code="extra-missing",
        ) from None
    columns = ({name: _column(name, value) for name, value in line.items()} for line in lines)
    spooled = Spooled(path.parent)
    writer = None
    try:
        while group := list(islice(columns, _GROUP)):
            if writer is None:
                types = [(name, pyarrow.int64() if name == "sample" else pyarrow.string()) for name in group[0]]
                writer = parquet.ParquetWriter(spooled.file, pyarrow.schema(types))
            writer.write_table(pyarrow.Table.from_pylist(group, schema=writer.schema))
        if writer is not None:
            writer.close()
        spooled.keep(lambda _: path)
    except BaseException:
        with suppress(Exception):
            if writer is not None:
                writer.close()  # or it would write to the closed file once it is collected
        spooled.drop()
        raise
    return sha256_of(path)


def _column(name: str, value: Any) -> Any:
    if name == "sample" or value is None:
        return value
    return _cell(value).encode("utf-8", "replace").decode()
