"""A response schema and the answer that it meets are both hostile: no check runs away, in time or in memory."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import Project

from runner import judging, sandbox
from runner.judging import judge_for
from runner.result import Result
from runner.sandbox import watched
from runner.schema import answer_schema

BOMB = "^(([a-z])+.)+[A-Z]([a-z])+$"
WORD = "a" * 60

RUNAWAYS: dict[str, tuple[Any, Any]] = {
    "pattern": ({"pattern": BOMB}, WORD),
    "pattern of alternatives": ({"pattern": "^(a|a|a|a)*$"}, WORD + "!"),
    "pattern with a reference back": ({"pattern": r"^(a*)*\1b$"}, WORD),
    "patternProperties": ({"patternProperties": {BOMB: False}}, {WORD: 1}),
    "names that additionalProperties has to know": (
        {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
        {WORD + "!": 1},
    ),
    "propertyNames": ({"propertyNames": {"pattern": BOMB}}, {WORD: 1}),
    "unevaluatedProperties": (
        {"allOf": [{"patternProperties": {"(a+)+!": {}}}], "unevaluatedProperties": False},
        {WORD: 1},
    ),
    "contains": ({"contains": {"pattern": BOMB}}, [WORD]),
    "many patterns, each compiled anew": (
        {"allOf": [{"pattern": f"(?i)[a-\U0010ffff]{n}|a"} for n in range(1_000)]},
        "a",
    ),
    "uniqueItems of mappings": ({"uniqueItems": True}, [{"a": n} for n in range(20_000)]),
    "uniqueItems of all kinds": ({"uniqueItems": True}, [*range(20_000), "a", None]),
    "branches over branches": (
        {
            "$defs": {"a": {"anyOf": [{"items": {"$ref": "#/$defs/a"}, "minItems": n} for n in (2, 2, 2)]}},
            "$ref": "#/$defs/a",
        },
        json.loads("[" * 40 + "]" * 40),
    ),
    "oneOf of equal branches": (
        {"$defs": {"a": {"oneOf": [{"items": {"$ref": "#/$defs/a"}}] * 2}}, "$ref": "#/$defs/a"},
        json.loads("[" * 40 + "]" * 40),
    ),
    "an enum of long texts": (
        {"items": {"enum": [["x" * 50, n] for n in range(4_000)]}},
        [["x" * 50, -1]] * 4_000,
    ),
}


def answered(value: Any) -> Result:
    return Result("00", text=value if isinstance(value, str) else json.dumps(value))


def failure(schema: Any, text: str) -> str:
    """Why an answer is turned down; it is never to be asked again, and its text is kept."""
    with watched():
        result = judge_for(schema)(Result("00", text=text))
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable, result.text) == ("schema_mismatch", False, text)
    assert len(result.failure.message) < 500
    return result.failure.message


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # others run out of memory here, too
@pytest.mark.parametrize("name", RUNAWAYS)
def test_a_check_that_runs_away_is_stopped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row fails, and says that nobody knows whether the answer fits."""
    monkeypatch.setattr(judging, "_PATIENCE", 0.05)
    monkeypatch.setattr(judging, "_CHARACTER", 0.0)
    schema, value = RUNAWAYS[name]
    assert failure(schema, json.dumps(value)).startswith("the schema cannot be checked: ")


def test_answers_that_each_stay_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand answers of 1.9 s each are five hours: together they have seconds, and the rest is not tried."""
    monkeypatch.setattr(judging, "_PATIENCE", 0.5)
    judge = judge_for({"pattern": "^(a*)*b$"})
    answer = Result("00", text=json.dumps("a" * 21))
    with watched():
        verdicts = [judge(answer).failure for _ in range(1_000)]
    assert verdicts[0] is not None
    assert verdicts[0].message.endswith("does not match '^(a*)*b$'")
    assert verdicts[-1] is not None
    assert (
        verdicts[-1].message == "the schema cannot be checked: what was tried before it took all the time that there is"
    )


def test_one_batch_does_not_use_up_the_time_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers of an honest batch, in the same run, are judged as ever: each schema has a time of its own."""
    monkeypatch.setattr(judging, "_PATIENCE", 0.05)
    failure({"pattern": BOMB}, json.dumps(WORD))
    with watched():
        assert judge_for({"type": "string"})(answered('"fine"')).failure is None


def test_honest_answers_earn_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many long answers to an ordinary schema take longer than any fixed limit, and all of them are judged."""
    monkeypatch.setattr(judging, "_PATIENCE", 0.1)
    step = {"type": "object", "required": ["a"], "properties": {"a": {"maxLength": 50}, "b": {"enum": ["x", "y"]}}}
    judge = judge_for({"type": "object", "properties": {"steps": {"type": "array", "items": step}}})
    answer = answered({"steps": [{"a": "hello", "b": "y"}] * 200})
    began = time.process_time()
    with watched():
        while time.process_time() - began < 0.7:
            assert judge(answer).failure is None


def test_the_errors_of_an_answer_have_room_for_so_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each branch of `anyOf` keeps an error for each item: memory is bounded too."""
    monkeypatch.setattr(sandbox, "MEMORY", 48 * 2**20)
    monkeypatch.setattr(judging, "EACH", 60.0)  # it is about memory, however slow that is where others want it, too
    monkeypatch.setattr(sandbox, "_LOOKS", 1_000)
    branches = [{"items": {"type": kind}} for kind in ("string", "boolean", "null")]
    message = failure({"anyOf": branches}, json.dumps([1] * 400_000))
    assert message == "the schema cannot be checked: it takes too much memory"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000,
        "9" * 100_000,
        "-" + "9" * 5_000,
        "1e999999999",
        "NaN",
        "-Infinity",
        "",
        "\x00",
        '"\x1b]0;title\x07"',
        "{} {}",
        "```json\n{}\n```",
    ],
)
def test_answers_that_are_hardly_json(text: str) -> None:
    """Too deep, too large, no JSON at all: the row fails, and nothing else does."""
    failure({"type": "object", "multipleOf": 0.3}, text)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"multipleOf": 1e-300}, "1e300"),
        ({"multipleOf": 0.1}, "9" * 4_000),
        ({"minimum": 10**400}, "1.5"),
        ({"maxLength": 1}, json.dumps("\ud800\udc00" * 2)),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}, "minItems": 1}}}, "[" * 300 + "]" * 300),
        ({"$dynamicAnchor": "a", "items": {"$dynamicRef": "#a"}, "minItems": 1}, "[" * 300 + "]" * 300),
        ({"const": {"a": [1, 2]}}, '{"a": [1, true]}'),
        ({"maxProperties": 1}, json.dumps({str(n): n for n in range(50_000)})),
        ({"type": "string"}, json.dumps(["\x1b[31m\u202e"] * 50_000)),
    ],
)
def test_odd_schemas_and_odd_answers(schema: Any, text: str) -> None:
    """Overflows, recursion, huge mappings: a short reason, whatever the answer holds."""
    failure(schema, text)


def test_formats_are_not_run() -> None:
    """`format` is a word for people: no expression of any checker's own is matched against an answer."""
    with watched():
        for name in ("regex", "email", "idn-email", "uri", "iri", "uri-template", "date-time", "duration", "ipv6"):
            assert judge_for({"format": name})(answered(json.dumps("(((a+)+)+$" * 1_000))).failure is None


# Schemas that reach out


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """An address that somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def reaching(address: str) -> dict[str, Any]:
    """Schemas whose references begin with `#/`, and mean a part of what is at ``address``."""
    inner = {"$id": address, "$ref": "#/$defs/y"}
    dynamic = {"$id": address, "$dynamicRef": "#/$defs/y"}
    aside = {"$defs": {"y": {}}, "$ref": "#/unknown"}
    return {
        "an id behind an unknown keyword": {**aside, "unknown": {"allOf": [inner]}},
        "an id that only an answer leads to": {**aside, "unknown": {"properties": {"a": inner}}},
        "an id in data": {**aside, "$ref": "#/examples/0", "examples": [{"properties": {"a": inner}}]},
        "an old spelling": {
            **aside,
            "unknown": {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "properties": {"a": {"id": address, "$ref": "#/$defs/y"}},
            },
        },
        "a dynamic reference": {
            **aside,
            "unknown": {"properties": {"a": dynamic}},
        },
    }


@pytest.mark.parametrize("kind", reaching(""))
def test_no_schema_fetches_another(kind: str, listener: socket.socket) -> None:
    """It is refused when it is read, and were it not, no answer would make anybody call: not by http, not a file."""
    host, port = listener.getsockname()
    for address in (f"http://{host}:{port}/x", "file:///etc/hostname"):
        schema = reaching(address)[kind]
        _, problem = answer_schema(json.dumps(schema).encode(), "schemas/a.json")
        assert problem is not None
        assert "may stand at the schema's root only" in problem.message
        with watched():
            judge_for(schema)(answered({"a": 1}))
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_pattern_that_takes_minutes_to_compile(tmp_path: Path) -> None:
    """Ranges over all of Unicode whose case is folded: a problem of the file, after two seconds."""
    project = Project(tmp_path)
    project.spec(rows=1, response={"schema": "schemas/a.json"})
    project.write("schemas/a.json", json.dumps({"pattern": "(?i)" + "[a-\U0010ffff]" * 10_000}))
    done = project.call("validate")
    assert done.code == 1
    assert done.out.startswith("schemas/a.json:1:1: the schema cannot be read: it takes more than 2 s")
