"""Inputs in every format that is read: JSON Lines, a JSON array, CSV, TSV, Parquet, and each of them gzipped."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzzing.mutation import TOKENS, mutated_bytes, mutated_json, mutated_lines
from benchmarks.fuzzing.target import BELIEVED, Broken, Target
from runner.edge.grounds import Grounds
from runner.edge.rows import read
from runner.errors import RunnerError

ROWS: list[dict[str, Any]] = [
    {"id": "1", "q": 'one, "two"', "n": 1, "x": 0.5, "deep": {"a": [1, None, 3]}},
    {"id": "2", "q": "zwei\nZeilen", "n": -7, "x": 1e9, "deep": {"a": []}},
    {"id": "3", "q": "三 😀", "n": 2**40, "x": -0.0, "deep": {"a": [None]}},
]
SEPARATED_TOKENS = (*TOKENS, b'""', b'"\n', b",,,,", b"\t\t", b"\r", b'","', b"\x1a")
_HEAD = 1
"""The byte of an input that says which format the rest is in."""


def _separated(delimiter: str) -> bytes:
    lines = [("id", "q", "n"), *((row["id"], row["q"], str(row["n"])) for row in ROWS)]
    quoted = (delimiter.join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines)
    return "".join(f"{line}\n" for line in quoted).encode()


def _parquet() -> bytes:
    import pyarrow
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), file)
    return file.getvalue()


def _with_tokens(rng: Random, data: bytes) -> bytes:
    return mutated_bytes(rng, data, (), SEPARATED_TOKENS)


_JSON_LINES = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)
_KINDS: Mapping[str, tuple[Callable[[], bytes], Callable[[Random, bytes], bytes]]] = {
    ".jsonl": (lambda: _JSON_LINES, mutated_lines),
    ".json": (lambda: json.dumps(ROWS, indent=1).encode(), mutated_json),
    ".csv": (lambda: _separated(","), _with_tokens),
    ".tsv": (lambda: _separated("\t"), _with_tokens),
    ".parquet": (_parquet, mutated_bytes),
}
KINDS = (*_KINDS, *(f"{kind}.gz" for kind in _KINDS))


def _draw(rng: Random) -> bytes:
    at = rng.randrange(len(KINDS))
    good, change = _KINDS[KINDS[at].removesuffix(".gz")]
    data = change(rng, good())
    if KINDS[at].endswith(".gz"):
        data = gzip.compress(data, 1, mtime=0)
        data = mutated_bytes(rng, data) if rng.random() < 0.5 else data
    return bytes([at]) + data


@contextmanager
def rows(folder: Path) -> Iterator[Target]:
    grounds = Grounds(folder)

    def run(data: bytes) -> None:
        name = f"rows{KINDS[data[0] % len(KINDS)]}" if data else "rows.jsonl"
        (folder / name).write_bytes(data[_HEAD:])
        try:
            for row in read(grounds, name):
                if not isinstance(row, dict):
                    raise Broken(BELIEVED, f"a row is {type(row).__name__}")
                json.dumps(row, allow_nan=False)
        except RunnerError as error:
            if not error.where:
                raise Broken(BELIEVED, f"an error without a place: {error}") from error

    yield Target(_draw, run)
