"""Output files: JSON Lines, CSV and Parquet, each written whole or not at all, one record at a time."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

from runner.edge.files import Spooled, sha256_of, sweep, write_atomic
from runner.errors import RunnerError

Line = dict[str, Any]

_GROUP = 10_000
"""Rows of one Parquet row group."""
_STALE = 3600.0
"""Seconds without a further line after which nobody is writing an output any more: whoever was has been killed."""


FORMATS = ("jsonl", "csv", "parquet")


def format_of(path: Path) -> str:
    """The format that a file's ending names; JSON Lines where it names none."""
    ending = path.suffix.lower().removeprefix(".")
    return ending if ending in FORMATS else "jsonl"


def write_output(
    path: Path, lines: Iterable[Line], format: str | None = None, columns: Sequence[str] | None = None
) -> str:
    """Write ``lines`` in ``format``, else that of ``path``'s ending; returns the sha256 of the file.

    ``columns``: the keys of every line, for formats with a head, should there be no line to take them from.  What a
    killed run left of an output in the same folder goes.  Raises OSError, and RunnerError where Parquet is asked for
    without its extra.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    format = format or format_of(path)
    if format == "parquet":
        sha = _parquet_file(path, lines, columns)
    else:
        sha = write_atomic(path, text_of(format, lines, columns))
    sweep(path.parent, path.stat().st_mtime - _STALE)  # by the clock of that disk
    return sha


def text_of(format: str, lines: Iterable[Line], columns: Sequence[str] | None = None) -> Iterator[bytes]:
    """``lines`` as JSON Lines or CSV, each in UTF-8."""
    return _csv(lines, columns) if format == "csv" else _jsonl(lines)


def _jsonl(lines: Iterable[Line]) -> Iterator[bytes]:
    for line in lines:
        yield json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _csv(lines: Iterable[Line], columns: Sequence[str] | None) -> Iterator[bytes]:
    """Texts as they are, other values as JSON; ``input``, when asked for, is the last column."""
    if columns is not None:
        yield _csv_row(columns)
    for line in lines:
        if columns is None:
            columns = list(line)
            yield _csv_row(columns)
        yield _csv_row(map(_cell, line.values()))


def _csv_row(cells: Iterable[Any]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)  # ending its lines with \r\n, it quotes cells that hold either of the two
    return (buffer.getvalue().removesuffix("\r\n") + "\n").encode("utf-8", "replace")


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _parquet_file(path: Path, lines: Iterable[Line], columns: Sequence[str] | None) -> str:
    spooled = Spooled(path.parent)
    try:
        write_parquet(spooled.file, lines, columns, name=path.name)
        spooled.keep(lambda _: path)
    except BaseException:
        spooled.drop()
        raise
    return sha256_of(path)


def write_parquet(
    file: IO[bytes], lines: Iterable[Line], columns: Sequence[str] | None = None, *, name: str = "it"
) -> None:
    """The sample's number, and texts; other values as JSON text, since their shape may differ from row to row."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise RunnerError(
            f"writing {name} needs the extra for Parquet",
            hint="Install it, or choose an output that ends in .jsonl or .csv.",
            commands=["pip install 'batch-runner[parquet]'"],
            code="extra-missing",
        ) from None
    flow = ({name: _column(name, value) for name, value in line.items()} for line in lines)
    writer = None
    try:
        while (group := list(islice(flow, _GROUP))) or (writer is None and columns is not None):
            if writer is None:
                names = columns or list(group[0])
                types = [(name, pyarrow.int64() if name == "sample" else pyarrow.string()) for name in names]
                writer = parquet.ParquetWriter(file, pyarrow.schema(types))
            writer.write_table(pyarrow.Table.from_pylist(group, schema=writer.schema))
        if writer is not None:
            writer.close()
    except BaseException:
        with suppress(Exception):
            if writer is not None:
                writer.close()  # or it would write to the closed file once it is collected
        raise


def _column(name: str, value: Any) -> Any:
    if name == "sample" or value is None:
        return value
    return _cell(value).encode("utf-8", "replace").decode()
