"""The project that `runner init` writes: it validates, and runs at once on the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runner.errors import RunnerError

_RUNNER_YAML = """\
version: 1
specs: specs
state: .runner
defaults:
  provider: demo
limits:
  requests: 100000
providers:
  demo:
    type: simulator # answers at no cost; replace it by a real provider when the specs are right
"""

_SPEC = """\
version: 1
name: capitals
description: One short answer per country
model:
  select:
    family: Qwen3
    prefer: cheapest
input:
  path: specs/data/countries.jsonl
  key: country
prompt:
  system: Answer with the name of the city and nothing else.
  user: What is the capital of {{ row.country }}?
parameters:
  temperature: 0
  max_tokens: 64
"""

_ROWS = """\
{"country": "France"}
{"country": "Japan"}
{"country": "Kenya"}
{"country": "Peru"}
{"country": "中国"}
"""

_IGNORED = """\
.runner/
outputs/
"""

FILES = {
    "runner.yaml": _RUNNER_YAML,
    "specs/capitals.yaml": _SPEC,
    "specs/data/countries.jsonl": _ROWS,
    ".gitignore": _IGNORED,
}


def write_project(folder: Path) -> Iterator[str]:
    """Write the files, none of them over another; yields the name of each.

    Raises RunnerError when the folder already holds a project.  A ``.gitignore`` that is there stays as it is.
    """
    if (folder / "runner.yaml").exists():
        raise RunnerError(f"{folder / 'runner.yaml'} is there already", hint="Nothing was written.")
    taken = [name for name in FILES if name != ".gitignore" and (folder / name).exists()]
    if taken:
        raise RunnerError(f"{folder / taken[0]} is there already", hint="Nothing was written.")
    for name, text in FILES.items():
        path = folder / name
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        yield name
