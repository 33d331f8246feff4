"""The texts of a new project: a runner.yaml and a spec that teach, a README, what git need not keep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.scaffold_choices import Choice

DEMO = "demo"
"""The simulator's name in every new project."""
FIRST_ROWS = 100
"""So many rows of somebody's own file are asked at first."""
IGNORED = (".runner/", "outputs/", "report/")

_SAMPLE_ROWS = """\
{"country": "France"}
{"country": "Japan"}
{"country": "Kenya"}
{"country": "Peru"}
{"country": "中国"}
"""


@dataclass(frozen=True)
class Data:
    """The rows of a new spec.  ``column`` goes into the prompt, ``key`` labels the rows, if one does."""

    path: str
    column: str | None
    key: str | None
    columns: Sequence[str] = ()
    text: str | None = None
    """Of sample rows: what the file is to hold."""


SAMPLE = Data("specs/data/countries.jsonl", "country", "country", ("country",), _SAMPLE_ROWS)


@dataclass(frozen=True)
class Wishes:
    """What a new project is to be.  ``variables``: setting → name of an environment variable, of ``choice``."""

    name: str = "capitals"
    data: Data = SAMPLE
    choice: Choice | None = None
    variables: Mapping[str, str] | None = None
    github: bool = False

    @property
    def spec_path(self) -> str:
        return f"specs/{self.name}.yaml"


def project_files(wishes: Wishes) -> dict[str, str]:
    """Path → text of what makes the project, schemas and workflows aside."""
    files = {
        "runner.yaml": runner_yaml(wishes),
        wishes.spec_path: spec_yaml(wishes),
        ".gitignore": "".join(f"{line}\n" for line in IGNORED),
        "README.md": readme(wishes),
    }
    return files | ({wishes.data.path: wishes.data.text} if wishes.data.text is not None else {})


def runner_yaml(wishes: Wishes) -> str:
    choice = wishes.choice
    switch = f"; write {choice.name} here to ask the real one" if choice else ""
    lines = [
        "# yaml-language-server: $schema=schemas/project.schema.json",
        "version: 1",
        "specs: specs",
        "state: .runner # what was asked and answered, on this machine",
        *_shared_state(wishes),
        "defaults:",
        f"  provider: {DEMO} # for every spec that names no other{switch}",
        "limits: # of one apply; over a limit nothing is submitted before somebody lifts it",
        "  requests: 1000",
        "  # cost: 50 # in the provider's currency; a model without a known price counts as over it",
        "  # per_day: {requests: 10000} # of all applies of a day together",
        "providers:",
        f"  {DEMO}:",
        "    type: simulator # answers at once, at no cost and without a key; what it says is made up",
    ]
    if choice:
        lines += [
            f"  {choice.name}:",
            f"    type: {choice.type}",
            *(f"    {key}: {{env: {name}}}" for key, name in (wishes.variables or {}).items()),
            *(f"    {line}" for line in choice.lines),
        ]
    return "".join(f"{line}\n" for line in lines)


def _shared_state(wishes: Wishes) -> list[str]:
    if not wishes.github:
        return ["# state: s3://BUCKET/PREFIX # for a team; or gs://, az://, git:BRANCH, http://"]
    return [
        "# The workflows need it on a branch: a machine of GitHub forgets.  Write this in its place before you push:",
        "# state: git:batch-state",
        "# blobs: {store: git} # raw results on that branch too: whoever reads the repository reads them",
        "# outputs: git:batch-outputs",
    ]


def spec_yaml(wishes: Wishes) -> str:
    return _sample_spec(wishes) if wishes.data.text is not None else _own_spec(wishes)


def _head(wishes: Wishes, description: str) -> list[str]:
    select = [
        "model:",
        "  select: # what it has to be; `runner models` lists what there is",
        "    family: Qwen3",
        "    prefer: cheapest # chosen once, then kept",
    ]
    if wishes.choice and not wishes.choice.family:
        select.append(
            f"  # id: NAME # instead of `select`, for {wishes.choice.name}: `runner models {wishes.choice.name}`"
        )
    return [
        "# yaml-language-server: $schema=../schemas/batch.schema.json",
        "version: 1",
        f"name: {_quoted(wishes.name)}",
        f"description: {description}",
        *select,
    ]


def _tail(wishes: Wishes) -> list[str]:
    return [
        "parameters: # as the provider names them",
        *(["  temperature: 0"] if wishes.choice is None or wishes.choice.steers else []),
        "  max_tokens: 256 # also what a plan takes for the most that an answer can cost",
        "# wait: {max: 24h} # how long the answers may take",
    ]


def _sample_spec(wishes: Wishes) -> str:
    lines = [
        *_head(wishes, "One short answer per country"),
        "input:",
        f"  path: {wishes.data.path} # one request per row; also .json, .csv, .tsv, .parquet",
        "  key: country # labels the rows of the output",
        "prompt: # Jinja templates; `row` has the columns of the file",
        "  system: Answer with the name of the city and nothing else.",
        "  user: What is the capital of {{ row.country }}?",
        *_tail(wishes),
    ]
    return "".join(f"{line}\n" for line in lines)


def _own_spec(wishes: Wishes) -> str:
    data = wishes.data
    keyed = (
        f"  key: {_quoted(data.key)} # labels the rows of the output"
        if data.key
        else "  # key: COLUMN # labels the rows"
    )
    lines = [
        *_head(wishes, _quoted(f"One answer per row of {data.path}")),
        "input:",
        f"  path: {_quoted(data.path)}",
        keyed,
        f"  limit: {FIRST_ROWS} # the first rows only; take this away when the answers are right",
        *_columns(data.columns),
        "prompt: # Jinja templates; `row` has the columns of the file",
        "  system: Answer briefly.",
        "  user: |",
        f"    {_reference(data.column)}",
        *_tail(wishes),
    ]
    return "".join(f"{line}\n" for line in lines)


def _columns(columns: Sequence[str]) -> list[str]:
    shown = ", ".join(name for name in columns[:12] if name.isprintable())
    more = ", …" if len(columns) > 12 else ""
    return [f"# The columns: {shown[:200]}{more}"] if shown else []


def _reference(column: str | None) -> str:
    """How a template refers to a column; without one, to the row as a whole."""
    if column is None:
        return "{{ row | tojson }}"
    return f"{{{{ row.{column} }}}}" if plain_name(column) else f'{{{{ row["{column}"] }}}}'


def plain_name(column: str) -> bool:
    """Whether a column can follow a dot in a template.  Methods of a mapping come before columns there."""
    return column.isascii() and column.isidentifier() and not column.startswith("_") and column not in dir({})


def can_be_referred_to(column: str) -> bool:
    """Whether a template can name the column as it stands."""
    return bool(column) and column.isprintable() and len(column) <= 100 and not set(column) & set('"\\{}%#')


def _quoted(text: str) -> str:
    """As YAML spells any text on one line: bare where that is plain, else as JSON does."""
    bare = all(char.isascii() and (char.isalnum() or char in "_-./") for char in text)
    words = {"true", "false", "null", "yes", "no", "on", "off", "~", "y", "n"}
    is_text = text[:1].isalpha() and text.lower() not in words
    return text if bare and is_text else json.dumps(text, ensure_ascii=False)


def readme(wishes: Wishes) -> str:
    return (
        f"# {wishes.name}\n\n"
        "LLM batch jobs, run by `runner`: one spec per job in `specs/`, providers and limits in `runner.yaml`.\n"
        "`runner plan` shows what a change would ask and cost; a changed prompt asks all rows, a new row only itself.\n"
        "`runner apply --wait` asks it, once, and writes `outputs/`. `runner doctor` says what a machine still lacks.\n"
    )
