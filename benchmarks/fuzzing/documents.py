"""What teams and their pull requests feed: runner.yaml, specs, templates, schemas, faults files, answers files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import yaml

from benchmarks.fuzzing.mutation import TOKENS, mutated_bytes, mutated_json, mutated_lines, mutated_value, written
from benchmarks.fuzzing.target import Target
from runner.errors import InvalidDocuments, RunnerError
from runner.load import load, problems
from runner.simulator.answers import KnownAnswers
from runner.simulator.faults import CALLS, read_faults
from runner.simulator.faults import Faults as FaultsInForce

PROJECT: dict[str, Any] = {
    "version": 1,
    "specs": "specs",
    "state": ".runner",
    "defaults": {"provider": "demo", "wait": {"max": "12h"}},
    "limits": {"requests": 100_000, "cost": {"CNY": 50}, "per_spec": {"tokens": 10}},
    "providers": {
        "demo": {"type": "simulator", "speed": 2, "faults": "faults.yaml"},
        "wanqing": {"type": "wanqing", "project_id": "p", "api_key": {"env": "KEY"}, "max_bytes": "10M"},
        "maas": {"type": "online", "base_url": "https://maas.example/v1", "api_key": {"file": "key"}, "concurrency": 3},
        "cloud": {
            "type": "openai",
            "dialect": "azure",
            "api_key": {"env": "KEY"},
            "models": [{"id": "m", "context": "32k"}],
        },
        "baidu": {
            "type": "qianfan",
            "access_key": {"env": "A"},
            "secret_key": {"env": "S"},
            "bos": {"endpoint": "https://bj.bcebos.com", "bucket": "b", "prefix": "p"},
        },
    },
}

SPEC: dict[str, Any] = {
    "version": 1,
    "name": "job",
    "description": "Fuzzed",
    "labels": {"team": "evals"},
    "model": {
        "select": {
            "family": "Qwen3",
            "context": ">=32k",
            "price": {"input": "<=0.01"},
            "tags": ["a"],
            "prefer": "cheapest",
        }
    },
    "input": {"path": "specs/rows.jsonl", "key": "id", "where": "row.id != '9'", "limit": 10},
    "vars": {"style": "brief", "list": [1, 2.5, None]},
    "prompt": {
        "system": "You are {{ vars.style }}.",
        "user": "{{ row.q }}: {% for x in vars.list %}{{ x }}{% endfor %}",
    },
    "parameters": {"temperature": 0, "max_tokens": 64, "extra_body": {"a": {"b": 1}}},
    "response": {"schema": "schemas/answer.json"},
    "samples": 2,
    "matrix": {"style": ["brief", "long"]},
    "wait": {"max": "24h", "give_up": "48h"},
    "retry": {"attempts": 3},
    "on_remove": "keep",
    "output": {"path": "outputs/{{ name }}.jsonl", "include": ["input"]},
}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"answer": {"type": "string", "pattern": "^a+$", "maxLength": 9}, "n": {"$ref": "#/$defs/n"}},
    "required": ["answer"],
    "$defs": {"n": {"type": "number", "multipleOf": 0.5, "minimum": 0}},
}

FAULTS: list[Any] = [
    {"on": "create", "do": 429, "times": 2, "retry_after": 1},
    {"on": "task", "do": "fail-rows", "rows": [1, 2], "status_code": 500, "name": "job-*"},
    {"on": "detail", "do": "word", "as": "completed", "every": 2},
    {"on": "chat", "do": "latency", "seconds": 0.5, "match": "x", "share": 0.5},
]

TEMPLATES = (
    "{{ row.q }}",
    "{% for w in row.q.split() %}{{ loop.index }}: {{ w | upper | truncate(9) }}{% endfor %}",
    "{% macro m(a, b=2) %}{{ a ~ b }}{% endmacro %}{{ m(row.id) }}{% set ns = namespace(x=1) %}{{ ns.x }}",
    "{% if row.q is defined and row.q | length > 3 %}{{ row.q[1:] }}{% else %}{{ vars.style }}{% endif %}",
    "{{ row | tojson }} {{ [1, 2] | sum }} {{ '%s' | format(row.q) }} {{ range(9) | join(',') }} {{ 2 ** 5 }}",
    "{% include 'other.j2' %}{% filter upper %}x{% endfilter %}{# note #}{% raw %}{{ x }}{% endraw %}",
)
TEMPLATE_TOKENS = tuple(
    word.encode()
    for word in (
        *(
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "#}",
            "|",
            "~",
            "**",
            "(",
            ")",
            "[",
            "]",
            "'",
            ".",
            "-",
            "not ",
            " if ",
            " in ",
        ),
        *("loop", "row", "vars", "self", "super()", "namespace(", "range(", "cycle(", "| map(", "| groupby(", "| sort"),
        *("__class__", "__globals__", "| attr('", ".format(", ".join(", "9" * 30, "{% for x in ", "{% endfor %}"),
        *("{% macro ", "{% call ", "{% block b %}", "{% extends ", "{% import ", "{% set ", "|e", " * 1000000000"),
        *("(" * 200, "[" * 200, "{{ row", " is ", "-" * 300, "not " * 300, "\\ud800", "| indent(999999999)"),
    )
)
YAML_TOKENS = (
    *TOKENS,
    *(b"&a ", b"*a", b"<<: *a", b"!!python/object:os.system ", b"!!binary ", b"| \n", b">-\n", b"- ", b"? ", b"---\n"),
    *(b"%YAML 1.1\n", b"...\n", b"# ", b"on: ", b"0o17", b".inf", b"2001-01-01", b"{a: *a}", b"- - - - - - - - ", b"!"),
    *(b"\xc2\x85", b"\xe2\x80\xa8", b"&b [*a, *a, *a, *a, *a, *a, *a, *a]\n"),
)
ROWS = b'{"id": "1", "q": "one two three"}\n{"id": "2", "q": "four"}\n'


class _Folder:
    """A small good project, of which one file at a time is another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.good: dict[str, bytes] = {
            "runner.yaml": _yaml(PROJECT),
            "specs/job.yaml": _yaml(SPEC),
            "specs/rows.jsonl": ROWS,
            "specs/prompt.j2": TEMPLATES[0].encode(),
            "schemas/answer.json": json.dumps(SCHEMA).encode(),
        }
        for path, data in self.good.items():
            self.put(path, data)

    def put(self, path: str, data: bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def look(self, path: str, data: bytes) -> None:
        """All that is read of a project, with ``data`` in the place of the file at ``path``."""
        self.put(path, data)
        try:
            problems(self.root)
            try:
                load(self.root)
            except InvalidDocuments:
                pass
        finally:
            self.put(path, self.good[path])


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()


def _draw_yaml(value: Any) -> Callable[[Random], bytes]:
    """From one document, in its bytes as YAML or in its value as JSON, which is YAML too."""
    good = _yaml(value)

    def draw(rng: Random) -> bytes:
        if rng.random() < 0.5:
            return mutated_bytes(rng, good, (), YAML_TOKENS)
        changed = mutated_value(rng, value)
        try:
            return written(changed) if rng.random() < 0.8 else _yaml(changed)
        except yaml.YAMLError:  # what is wicked has no YAML of its own
            return written(changed)

    return draw


@contextmanager
def spec(folder: Path) -> Iterator[Target]:
    project = _Folder(folder)
    yield Target(_draw_yaml(SPEC), lambda data: project.look("specs/job.yaml", data))


@contextmanager
def project(folder: Path) -> Iterator[Target]:
    whole = _Folder(folder)
    yield Target(_draw_yaml(PROJECT), lambda data: whole.look("runner.yaml", data))


@contextmanager
def template(folder: Path) -> Iterator[Target]:
    project = _Folder(folder)
    del (simple := dict(SPEC))["matrix"]
    project.good["specs/job.yaml"] = _yaml({**simple, "prompt": {"file": "specs/prompt.j2"}})
    project.put("specs/job.yaml", project.good["specs/job.yaml"])
    corpus = [text.encode() for text in TEMPLATES]

    def draw(rng: Random) -> bytes:
        return mutated_bytes(rng, rng.choice(corpus), corpus, TEMPLATE_TOKENS)

    yield Target(draw, lambda data: project.look("specs/prompt.j2", data))


@contextmanager
def schema(folder: Path) -> Iterator[Target]:
    project = _Folder(folder)
    good = json.dumps(SCHEMA).encode()
    yield Target(lambda rng: mutated_json(rng, good), lambda data: project.look("schemas/answer.json", data))


@contextmanager
def faults(folder: Path) -> Iterator[Target]:
    path = folder / "faults.yaml"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            in_force = FaultsInForce(read_faults(path))
        except RunnerError:
            return
        for call in CALLS:
            in_force.for_call(call)
        in_force.for_task("job-1", "mi-9")
        json.dumps(in_force.to_json())

    yield Target(_draw_yaml(FAULTS), run)


@contextmanager
def answers(folder: Path) -> Iterator[Target]:
    path = folder / "answers.jsonl"
    pairs: Sequence[Any] = [{"prompt": "What is it, then?", "answer": 1}, {"question": "q", "answer": {"a": ["b"]}}]
    good = b"".join(json.dumps(pair).encode() + b"\n" for pair in pairs)

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            KnownAnswers.read(path).find("What is it, then? And so on")
        except RunnerError:
            return

    yield Target(lambda rng: mutated_lines(rng, good), run)
