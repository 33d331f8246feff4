"""The packaged schemas, and how a document that does not fit one is told so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.document import Document, parse
from runner.errors import Problem
from runner.schema import SECRETS, answer_schema, check, nearest, schema_text, shown, validator

NAMES = ["batch", "project"]


def document(text: str) -> Document:
    (found,), problems = parse(text.encode(), "a.yaml")
    assert problems == []
    return found


def fields(schema: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema of a key, at any depth, by path."""
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from fields(item, f"{path}[{number}]")
    elif isinstance(schema, dict):
        for word, inner in schema.items():
            if word in ("properties", "$defs"):
                for key, value in inner.items():
                    yield f"{path}.{key}", value
                    yield from fields(value, f"{path}.{key}")
            elif word not in ("examples", "default", "enum", "const"):
                yield from fields(inner, f"{path}.{word}")


@pytest.mark.parametrize("name", NAMES)
def test_the_schemas_are_schemas(name: str) -> None:
    """Each is valid Draft 2020-12, says so, and holds no address but that."""
    text = schema_text(name)
    jsonschema.Draft202012Validator.check_schema(json.loads(text))
    assert json.loads(text)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_described(name: str) -> None:
    """An editor can say what each key means and give an example, following one reference at most."""
    schema = json.loads(schema_text(name))
    lacking = [
        f"{path}: {word}"
        for path, field in fields(schema)
        if not path.split(".")[-2].endswith("if") and field.keys() - {"const"}
        for word in ("description", "examples")
        if word not in {**schema["$defs"].get(str(field.get("$ref", "")).split("/")[-1], {}), **field}
    ]
    assert lacking == []


@pytest.mark.parametrize("name", NAMES)
def test_examples_fit_their_own_schema(name: str) -> None:
    """What an editor offers is accepted; an example of a part of `defaults` is one of the same key of a spec."""
    whole = json.loads(schema_text(name))
    for path, field in fields(whole):
        checked = jsonschema.Draft202012Validator({**field, "$defs": whole["$defs"]})
        for example in field.get("examples", ()):
            assert list(checked.iter_errors(example)) == [], path


def test_defaults_may_hold_every_key_of_a_spec_but_its_name_and_version() -> None:
    """The keys under `defaults` in one schema are those of the other."""
    defaults = json.loads(schema_text("project"))["properties"]["defaults"]["properties"]
    assert defaults.keys() == json.loads(schema_text("batch"))["properties"].keys() - {"name", "version"}


def test_every_provider_type_has_its_keys() -> None:
    """Each `type` leads to a definition of the same name, which knows `base_url` and `api_key`."""
    definitions = json.loads(schema_text("project"))["$defs"]
    types = definitions["provider"]["properties"]["type"]["enum"]
    assert [rule["then"]["$ref"].split("/")[-1] for rule in definitions["provider"]["allOf"]] == types
    for name in types:
        assert definitions[name]["properties"].keys() >= {"type", "base_url", "api_key"}
        assert definitions[name]["additionalProperties"] is False


def test_secrets_are_references_everywhere() -> None:
    """Every key that holds a secret takes a reference, and every key that takes one is known to hold a secret."""
    definitions = json.loads(schema_text("project"))["$defs"]
    takers = {path.split(".")[-1] for path, field in fields(definitions) if field.get("$ref") == "#/$defs/secret"}
    assert takers | {name for name, one in definitions.items() if one.get("$ref") == "#/$defs/secret"} == SECRETS


def test_a_validator_is_built_once() -> None:
    """Building costs more than checking."""
    assert validator("batch") is validator("batch")


@pytest.mark.parametrize("text", ['name: "a\\n"', 'wait: {max: "24h\\n"}', 'wait: {max: "24h\\n\\n"}'])
def test_a_pattern_ends_where_the_text_does(text: str) -> None:
    """A newline at the end does not slip through."""
    assert any("\\n" in problem.message for problem in check(document(text), validator("batch")))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "https://example.com/v1?api-version=2024-01-01",
        "https://[::1]:8000/",
        "http://localhost",
    ],
)
def test_addresses_that_are_taken(url: str) -> None:
    """An http or https URL, with or without port, path and query."""
    value = f"version: 1\nproviders: {{a: {{type: online, base_url: '{url}'}}}}"
    assert check(document(value), validator("project")) == []


@pytest.mark.parametrize(
    "url", ["ftp://x", "example.com", "https://", "https://u@x", "https://u:p@x/y", "file:///etc/passwd", "http://a b"]
)
def test_addresses_that_are_refused(url: str) -> None:
    """Anything else is refused, without repeating what may hold a password."""
    value = f"version: 1\nproviders: {{a: {{type: online, base_url: '{url}'}}}}"
    (problem,) = check(document(value), validator("project"))
    assert problem.message == "expected an http or https URL without credentials"
    assert "u:p" not in problem.message + problem.hint


@pytest.mark.parametrize(
    "state",
    [
        ".runner",
        "/var/lib/runner",
        "git:state",
        "git:git@github.com:org/repo#state",
        "git:ssh://git@example.com/r#b",
        "s3://bucket/prefix",
        "gs://b",
        "az://c",
        "https://example.com/state",
    ],
)
def test_states_that_are_taken(state: str) -> None:
    """A folder or an address; a user's name alone is no secret."""
    value = f"version: 1\nstate: '{state}'\nproviders: {{a: {{type: simulator}}}}"
    assert check(document(value), validator("project")) == []


SECRET = "hunter2hunter2"
VALUES = st.recursive(
    st.sampled_from([SECRET, f"https://u:{SECRET}@x", 7, None, True, f"Bearer {SECRET}", f"{SECRET}\n", ""]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["env", "file", SECRET]), inner, max_size=3)
    ),
    max_leaves=4,
)


@given(st.sampled_from(sorted(SECRETS)), VALUES, st.sampled_from(["alaya", "qianfan", "simulator", "x"]))
def test_no_problem_repeats_a_secret(key: str, value: Any, kind: str) -> None:
    """Whatever stands under a secret's key, and whatever is wrong with it, no part of it is said again."""
    text = json.dumps({"version": 1, "providers": {"a": {"type": kind, key: value}}})
    problems = check(document(text), validator("project"))
    assert not any(SECRET in f"{problem.message}{problem.hint}" for problem in problems)


def test_a_literal_secret_is_told_how_to_be_written() -> None:
    """The hint has the key's own name, ready to copy."""
    text = "version: 1\nproviders:\n  a:\n    type: online\n    api_key: sk-123\n"
    assert check(document(text), validator("project")) == [
        Problem(
            *("a.yaml", 5, 14, "a secret is never written here, only where it is found"),
            "write `api_key: {env: NAME}` or `api_key: {file: PATH}`",
        )
    ]


def test_one_problem_for_each_unknown_key() -> None:
    """Unknown keys are told one by one, each at its own place with the nearest key that is not there yet."""
    problems = check(document("retry: {attemps: 3, back: 1}\nnmae: a\n"), validator("batch"))
    unknown = [(problem.line, problem.column, problem.hint) for problem in problems if "unknown" in problem.message]
    assert unknown == [(1, 9, "did you mean `attempts`?"), (1, 21, "known: `attempts`"), (2, 1, "did you mean `name`?")]


def test_own_hints_for_keys_that_people_expect() -> None:
    """A hint that the caller gives is for the top level only."""
    hints = {"limits": "limits stand in runner.yaml only"}
    problems = check(document("limits: 1\nretry: {limits: 1}\n"), validator("batch"), hints)
    found = [problem.hint for problem in problems if "limits" in problem.message]
    assert found == ["limits stand in runner.yaml only", "known: `attempts`"]


def test_problems_are_bounded() -> None:
    """A document with thousands of mistakes is told of the first hundred."""
    unknown = "".join(f"k{number}: 1\n" for number in range(3_000))
    assert len(check(document(unknown), validator("batch"))) == 100


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("short", "`short`"),
        ("x" * 100, "`" + "x" * 59 + "…`"),
        ("a\x1b[31m\n\u202e", "`a\\x1b[31m\\n\\u202e`"),
        ("https://user:pass@example.com/x", "`https://…@example.com/x`"),
        (3, "`3`"),
        (True, "`true`"),
        (None, "nothing"),
        ({"a": 1}, "a mapping"),
        ([1], "a list"),
    ],
)
def test_values_are_shown_short_and_safe(value: Any, text: str) -> None:
    """No control character, no password of a URL, and no more than a line."""
    assert shown(value) == text


def test_nearest() -> None:
    """The nearest word whatever its case, else the words that there are."""
    assert nearest("Wanqng", ["wanqing", "online"]) == "did you mean `wanqing`?"
    assert nearest("zzz", ["b", "a"]) == "known: `a`, `b`"
    assert nearest("zzz", []) == ""


GOOD = [
    {},
    {"type": "object", "properties": {"x": {"type": "string", "pattern": "^[a-z]+$"}}},
    {"$defs": {"a/b": {"type": "string"}}, "properties": {"x": {"$ref": "#/$defs/a~1b"}}},
    {"properties": {"next": {"$ref": "#"}}},
    {"$id": "https://example.com/answer", "allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {}}},
    {"const": {"$ref": "https://example.com"}},
    {"prefixItems": [{}, {"$ref": "#/prefixItems/0"}]},
]


@pytest.mark.parametrize("schema", GOOD, ids=json.dumps)
def test_answer_schemas_that_are_taken(schema: Any) -> None:
    """A valid schema comes back as it was written, with a byte order mark too."""
    assert answer_schema(json.dumps(schema).encode(), "s.json") == (schema, None)
    assert answer_schema(json.dumps(schema).encode("utf-8-sig"), "s.json") == (schema, None)


@pytest.mark.parametrize(
    ("data", "where", "message"),
    [
        (b'{"type":\n object}', "s.json:2:2", "not valid JSON"),
        (b"\xff", "s.json:1:1", "can't decode"),
        (b"[1]", "s.json:1:1", "expected a JSON Schema, got a list"),
        (b'{"type": "strng"}', "s.json:1:1", "at $.type"),
        (b'{"items": [{"type": 1}]}', "s.json:1:1", "not a valid JSON Schema, at $.items"),
        (b'{"pattern": "("}', "s.json:1:1", "not a valid JSON Schema, at $.pattern"),
        (b'{"pattern": "a{99999999999}"}', "s.json:1:1", "without end"),
        (b'{"minimum": Infinity}', "s.json:1:1", "Infinity is not JSON"),
        (b'{"$ref": "https://example.com/s"}', "s.json:1:1", "refers only to itself"),
        (b'{"items": {"$ref": "other.json#/x"}}', "s.json:1:1", "refers only to itself"),
        (b'{"$dynamicRef": "//example.com"}', "s.json:1:1", "refers only to itself"),
        (b'{"items": {"$ref": "#/$defs/none"}}', "s.json:1:1", "leads nowhere"),
        (b'{"$ref": "#"}', "s.json:1:1", "without end"),
        (b'{"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}}', "s.json:1:1", "without end"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "s.json:1:1", "without end"),
        (b" " * 300_000, "s.json:1:1", "larger than 256 KiB"),
    ],
)
def test_answer_schemas_that_are_refused(data: bytes, where: str, message: str) -> None:
    """What is no schema, reaches out, or has no end, is a problem of the file."""
    schema, problem = answer_schema(data, "s.json")
    assert schema is None
    assert problem is not None
    assert problem.where == where
    assert message in problem.message


def test_references_do_not_multiply() -> None:
    """A schema of thirty lines that stands for a thousand million is refused before it is tried."""
    steps = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(30)}
    bomb = {"$defs": {**steps, "a30": {}}, "$ref": "#/$defs/a0"}
    schema, problem = answer_schema(json.dumps(bomb).encode(), "s.json")
    assert schema is None
    assert problem is not None
    assert "5,000 parts" in problem.message


def test_a_source_checkout_reads_its_own_schemas() -> None:
    """The text is that of the file at the top level, byte for byte."""
    root = Path(__file__).parent.parent
    for name in NAMES:
        assert schema_text(name) == (root / "schemas" / f"{name}.schema.json").read_text("utf-8")


def keys(name: str) -> list[str]:
    return sorted({path.split(".")[-1] for path, _ in fields(json.loads(schema_text(name)))})


def documents(name: str) -> st.SearchStrategy[Any]:
    """Values made of the words of a schema, most of which do not fit it."""
    words = [*keys(name), "simulator", "qianfan", "24h", ">=32k", "", "x\n", 0, 1, -2.5, True, None]
    return st.recursive(
        st.sampled_from(words),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(keys(name)), inner, max_size=5),
        max_leaves=12,
    )


@given(st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), documents(name))))
def test_whatever_does_not_fit_is_told(case: tuple[str, Any]) -> None:
    """There are problems exactly where the schema is not met, each with words and with a place in the text."""
    name, value = case
    text = json.dumps(value)
    for found in parse(text.encode(), "a.yaml")[0]:
        problems = check(found, validator(name))
        assert bool(problems) is not validator(name).is_valid(found.value)
        assert all(problem.message and 1 <= problem.column <= len(text) and problem.line == 1 for problem in problems)
