"""Projects to measure with: rows of about 120 bytes, one spec or many."""

from __future__ import annotations

import shutil
from pathlib import Path

_RUNNER_YAML = """\
version: 1
defaults: {provider: demo}
providers:
  demo: {type: simulator}
"""

_SPEC = """\
version: 1
name: NAME
model:
  select: {family: Qwen3, prefer: cheapest}
input:
  path: rows/FILE
  key: id
prompt:
  system: You are a careful tutor.
  user: "{{ row.question }} Answer briefly."
parameters: {temperature: 0, max_tokens: 64}
"""

_WORDS = ["apples", "trains", "pages", "litres", "coins", "metres", "minutes", "tickets"]


def row(number: int) -> str:
    """A line of about 120 bytes, different for every number."""
    word, other = _WORDS[number % 8], _WORDS[number // 8 % 8]
    question = f"There are {number} {word} and {number % 97} {other}; how many remain if half are gone?"
    return f'{{"id": "{number:08d}", "question": "{question}"}}\n'


def one_spec(folder: Path, rows: int) -> None:
    """A project in ``folder``, made anew, with one spec of so many rows."""
    _project(folder)
    _rows(folder / "rows" / "rows.jsonl", 0, rows)
    (folder / "specs" / "bench.yaml").write_text(_SPEC.replace("NAME", "bench").replace("FILE", "rows.jsonl"))


def many_specs(folder: Path, specs: int, rows: int) -> None:
    """A project in ``folder``, made anew, with so many specs of so many rows each, all of them different."""
    _project(folder)
    for number in range(specs):
        name = f"bench-{number:05d}"
        _rows(folder / "rows" / f"{name}.jsonl", number * rows, rows)
        text = _SPEC.replace("NAME", name).replace("FILE", f"{name}.jsonl")
        (folder / "specs" / f"{name}.yaml").write_text(text)


def _project(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("specs", "rows"):
        (folder / name).mkdir(parents=True)
    (folder / "runner.yaml").write_text(_RUNNER_YAML)


def _rows(path: Path, first: int, count: int) -> None:
    with path.open("w") as file:
        file.writelines(row(number) for number in range(first, first + count))
