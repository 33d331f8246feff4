"""Rows of an input file, one at a time: JSON Lines, a JSON array, CSV, TSV or Parquet, and any of them gzipped.

A row is a mapping from column to JSON value.  Text files are UTF-8, with or without a byte order mark.  Of a key that
stands twice in one JSON object the last counts; looking for such would cost more than reading the row.
"""

from __future__ import annotations

import base64
import codecs
import csv
import gzip
import hashlib
import json
import math
import shutil
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterator
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from runner.edge.grounds import Grounds
from runner.edge.paths import inside
from runner.errors import RunnerError

Row = dict[str, Any]

MAX_ROW = 64 * 2**20
"""Bytes (in CSV and JSON arrays: characters) of one row."""
_BUFFER = 2**20
_KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


def fingerprint(grounds: Grounds, path: str) -> str:
    """Hex sha256 of the file's bytes.  Raises RunnerError for a file that is outside the project or cannot be read."""
    with _open(grounds, path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(grounds: Grounds, path: str) -> Generator[Row, None, None]:
    """The rows of the file at ``path``, relative to the project's root, in order.

    Its name says what it is, as in ``x.csv.gz``.

    Blank lines of JSON Lines and CSV are no rows.  All values of CSV and TSV are texts; their first line names the
    columns.  Raises RunnerError, with file, line and column where they are known, for a file that is outside the
    project, cannot be read, or is not what its name says.
    """
    name = path.lower()
    kind = Path(name.removesuffix(".gz")).suffix
    if kind not in _KINDS:
        _fail(
            path,
            f"{path} is of no kind that runner reads",
            hint=f"name it {', '.join(_KINDS)}, or one of them with .gz",
            code="file-kind",
        )
    with _open(grounds, path) as file:
        try:
            yield from _READERS[kind](_unzipped(file) if name.endswith(".gz") else file, path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            _fail(path, f"{path} is broken: {error}", hint="the file is cut short or is no gzip file: make it again")
        except OSError as error:
            _fail(path, f"{path} cannot be read: {error.strerror or error}", hint=_ACCESS, code="file-unreadable")


def _open(grounds: Grounds, path: str) -> BufferedReader:
    found = grounds.root / path if path in grounds.lent else inside(grounds, path)
    if not found.is_file():
        _fail(
            path,
            f"there is no file {path}",
            hint="an input's path is relative to the project's root",
            code="file-missing",
        )
    try:
        return BufferedReader(found.open("rb", buffering=0), _BUFFER)
    except OSError as error:
        _fail(path, f"{path} cannot be read: {error.strerror or error}", hint=_ACCESS, code="file-unreadable")


def _unzipped(file: BufferedReader) -> BufferedReader:
    return BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER)


_ACCESS = "see that this user may read it: `ls -l` shows whose it is"


def _fail(
    path: str, message: str, line: int = 1, column: int = 1, hint: str = "", *, code: str = "input-invalid"
) -> NoReturn:
    raise RunnerError(message, where=f"{path}:{line}:{column}", hint=hint, code=code)


# JSON


def no_constant(name: str) -> NoReturn:
    """For `parse_constant`: NaN and the infinities, which JSON has not.  Raises ValueError."""
    raise ValueError(f"{name} is no JSON number")


def finite(text: str) -> float:
    """For `parse_float`: a number that can be written again as JSON.  Raises ValueError."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


_JSON = json.JSONDecoder(parse_constant=no_constant, parse_float=finite)


def _json_lines(file: BufferedReader, path: str) -> Iterator[Row]:
    decode = _JSON.raw_decode
    for number, line in enumerate(_lines(file, path), start=1):
        try:
            text = line.decode().strip(" \t\r\n")
            if not text:
                continue
            row, end = decode(text)
        except (ValueError, RecursionError) as error:
            _not_json(path, number, line, error)
        if end != len(text):
            _fail(path, "there is more on the line after the row", number, end + 1, "write one JSON object per line")
        if type(row) is not dict:
            _fail(path, f"the line is {_kind(row)}, not an object", number, hint='a row looks like {"column": "value"}')
        yield row


def _lines(file: BufferedReader, path: str) -> Iterator[bytes]:
    """Lines with their ends; the byte order mark left out."""
    for number, line in enumerate(iter(partial(file.readline, MAX_ROW + 1), b""), start=1):
        if len(line) > MAX_ROW:
            _fail(path, f"the line is longer than {MAX_ROW // 2**20} MiB", number)
        yield line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


def _not_json(path: str, number: int, line: bytes, error: Exception) -> NoReturn:
    column, hint = 1, ""
    if isinstance(error, UnicodeDecodeError):
        column = len(line[: error.start].decode()) + 1
        why, hint = _not_utf8(error)
    elif isinstance(error, json.JSONDecodeError):
        column = error.pos + 1
        why = f"the line is no JSON: {_says(error)}"
        hint = "the file may be cut short: make it again, or mend the line" if error.msg in _CUT else ""
    else:
        why = f"the line is no JSON: {_reason(error)}"
    _fail(path, why, number, column, hint)


def _not_utf8(error: UnicodeDecodeError) -> tuple[str, str]:
    byte = error.object[error.start]
    return f"byte {byte:#04x} is no UTF-8", "save the file as UTF-8, for instance with `iconv -t UTF-8`"


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


_CUT = {"Unterminated string starting at": "a text in quotes has no end", "Expecting value": "a value is missing"}
"""What the standard library says where a text stops early, in words that stand for themselves."""


def _says(error: json.JSONDecodeError) -> str:
    return _CUT.get(error.msg, error.msg[:1].lower() + error.msg[1:])


def _kind(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


class _Array:
    """A JSON array of objects, of which no more than one object and one chunk are held."""

    def __init__(self, file: BufferedReader, path: str) -> None:
        self._file = file
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._line = 1
        self._column = 1
        self._ended = False

    def rows(self) -> Iterator[Row]:
        if self._peek() != "[":
            self._fail("the file is no array of rows", hint="begin it with `[`, or name it .jsonl for one row per line")
        self._at += 1
        if self._peek() == "]":
            self._at += 1
        else:
            yield self._row()
            while (mark := self._peek()) == ",":
                self._at += 1
                yield self._row()
            if mark != "]":
                self._fail(
                    "a comma or the array's end is missing" if mark else "the array has no end: the file is cut short"
                )
            self._at += 1
        if self._peek():
            self._fail("there is more after the array")

    def _peek(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            text = self._text
            while self._at < len(text) and text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(text):
                return text[self._at]
            if self._ended:
                return ""
            self._more(_BUFFER)

    def _row(self) -> Row:
        if (mark := self._peek()) != "{":
            self._fail(f"a row begins with `{{`, not with {mark!r}" if mark else "the file is cut short")
        while True:
            try:
                row, self._at = _JSON.raw_decode(self._text, self._at)
                return row  # type: ignore[no-any-return]
            except (ValueError, RecursionError) as error:
                held = len(self._text) - self._at
                if self._ended or held > MAX_ROW or not isinstance(error, json.JSONDecodeError):
                    self._broken(error, held)
                self._more(max(_BUFFER, held))

    def _broken(self, error: Exception, held: int) -> NoReturn:
        if held > MAX_ROW:
            self._fail(f"a row is broken, or longer than {MAX_ROW // 2**20} MiB")
        if isinstance(error, json.JSONDecodeError):
            self._at = error.pos
            self._fail(f"the file is no JSON: {_says(error)}")
        self._fail(f"the row is no JSON: {_reason(error)}")

    def _more(self, size: int) -> None:
        """Let go of what is read, and read on."""
        self._advance()
        self._text, self._at = self._text[self._at :], 0
        data = self._file.read(size)
        self._ended = not data
        try:
            self._text += self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            self._text += error.object[: error.start].decode()
            self._at = len(self._text)
            self._fail(*_not_utf8(error))

    def _advance(self) -> None:
        """Move line and column on to where reading stands."""
        passed = self._text[: self._at]
        lines = passed.count("\n")
        self._line += lines
        self._column = self._at - passed.rfind("\n") if lines else self._column + self._at

    def _fail(self, message: str, hint: str = "") -> NoReturn:
        self._advance()
        _fail(self._path, message, self._line, self._column, hint)


def _json_array(file: BufferedReader, path: str) -> Iterator[Row]:
    return _Array(file, path).rows()


# CSV and TSV


def _separated(file: BufferedReader, path: str, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(MAX_ROW)
    lines = _text_lines(file, path)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    row = 0
    try:
        columns = next(reader, [])
        _check_columns(path, columns)
        for fields in reader:
            if len(fields) == len(columns):
                row += 1
                yield dict(zip(columns, fields, strict=True))
            elif fields:
                what = f"row {row + 1:,} has {len(fields)} fields, and the first line names {len(columns)} columns"
                _fail(path, what, reader.line_num, hint="put a field that holds the separator in double quotes")
    except csv.Error as error:
        _fail(path, f"row {row + 1:,} cannot be read: {error}", max(reader.line_num, 1))


def _text_lines(file: BufferedReader, path: str) -> Iterator[str]:
    for number, line in enumerate(_lines(file, path), start=1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            why, hint = _not_utf8(error)
            _fail(path, why, number, len(line[: error.start].decode()) + 1, hint)
        if "\0" in text:
            _fail(path, "there is a NUL in the text", number, text.index("\0") + 1, "save the file as UTF-8 text")
        yield text


def _check_columns(path: str, columns: list[str]) -> None:
    if not columns:
        _fail(path, "the first line names no columns", hint="begin the file with a line of column names")
    for number, name in enumerate(columns, start=1):
        if name in columns[: number - 1]:
            _fail(path, f"two columns are named {name!r}", hint=f"rename column {number}")


# Parquet


def _parquet(file: BufferedReader, path: str) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        hint = "install pyarrow: pip install 'batch-runner[parquet]'"
        _fail(path, "reading Parquet needs pyarrow, which is not installed", hint=hint, code="extra-missing")
    with tempfile.TemporaryFile() as whole:
        if path.lower().endswith(".gz"):  # Parquet is read from its end
            shutil.copyfileobj(file, whole)
        try:
            table = ParquetFile(whole if whole.tell() else file)
            _check_columns(path, table.schema_arrow.names)
            for batch in table.iter_batches(batch_size=1024):
                yield from _as_rows(batch, path)
        except (ArrowException, ValueError, OverflowError) as error:  # of names, texts and times that are none
            _fail(path, f"{path} is no Parquet file, or is broken: {error}")


def _as_rows(batch: Any, path: str) -> Iterator[Row]:
    plain = {field.name for field in batch.schema if str(field.type) in _PLAIN_TYPES}
    others = [name for name in batch.schema.names if name not in plain]
    for row in batch.to_pylist():
        for name in others:
            row[name] = _as_json(row[name], path, name)
        yield row


_PLAIN_TYPES = {"string", "large_string", "bool", "null"} | {f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)}


def _as_json(value: Any, path: str, column: str) -> Any:
    """A Parquet value as JSON has it: times in ISO 8601, exact decimals as text, bytes in base64."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            _fail(path, f"{value} in column {column!r} is no JSON number", hint="write null instead")
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): _as_json(item, path, column) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item, path, column) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


_READERS: dict[str, Callable[[BufferedReader, str], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".json": _json_array,
    ".csv": partial(_separated, delimiter=","),
    ".tsv": partial(_separated, delimiter="\t"),
    ".parquet": _parquet,
}
