"""Bodies and result lines of embeddings and responses, and which path takes which question."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.provider import Inexpressible, Message, Part, Question
from runner.providers.openai.endpoints import asked_in, decode, encode, kind_of, openai_line, usual
from runner.result import Failure, Result, Usage

HELLO = Question((Message("user", (Part("text", "hello"),)),))
SCHEMA = {"type": "object"}
EMBED, RESPOND = "/v1/embeddings", "/v1/responses"


def asking(*messages: Message, schema: Mapping[str, Any] | None = None, **parameters: Any) -> Question:
    return Question(messages or HELLO.messages, parameters=parameters, schema=schema)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/chat/completions", "/chat/completions"),
        ("/chat/completions", "/chat/completions"),
        ("/v1/completions", "/completions"),
        ("/v4/embeddings", "/embeddings"),
        ("/v1/responses", "/responses"),
        ("/v1/chat/ds-test", "/chat/completions"),
        ("", "/chat/completions"),
    ],
)
def test_kinds(path: str, kind: str) -> None:
    """By the end of the path; an unknown one takes chats."""
    assert kind_of(path) == kind


def test_usual_paths() -> None:
    """By the question, with the platform's prefix."""
    assert usual(HELLO, "/v4") == "/v4/chat/completions"
    assert usual(Question(text="x"), "/v1") == "/v1/completions"
    assert usual(Question(embed="x"), "/v4") == "/v4/embeddings"


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ({"url": "/v4/chat/completions", "body": {}}, "/v4/chat/completions"),
        ({"body": {"messages": []}}, "/v1/chat/completions"),
        ({"body": {"messages": [], "prompt": "x"}}, "/v1/chat/completions"),
        ({"body": {"prompt": "x"}}, "/v1/completions"),
    ],
)
def test_the_path_of_a_line(line: Any, path: str) -> None:
    """What it says, else what its body looks like."""
    assert asked_in(json.dumps(line).encode(), "/v1") == path


# Writing


@pytest.mark.parametrize("question", [HELLO, Question(text="hello"), Question(embed="hello")])
def test_an_embedding(question: Question) -> None:
    """The one text there is, whole, and parameters as they are named."""
    asked = replace(question, parameters={"dimensions": 3})
    assert encode(EMBED, "m", asked) == {"model": "m", "input": "hello", "dimensions": 3}


@pytest.mark.parametrize(
    "question",
    [
        asking(Message("system", (Part("text", "x"),)), *HELLO.messages),
        asking(Message("system", (Part("text", "x"),))),
        asking(Message("user", (Part("text", "x"), Part("image", "data:x")))),
        asking(Message("user", (Part("image", "data:x"),))),
        asking(schema=SCHEMA),
    ],
)
def test_what_cannot_be_embedded(question: Question) -> None:
    """More than one text, an image, a schema."""
    with pytest.raises(ValueError, match=r"/v1/embeddings takes one text|response\.schema cannot be asked"):
        encode(EMBED, "m", question)


def test_a_path_and_a_question_of_another_kind() -> None:
    """A chat path takes no text, a completions path no messages."""
    with pytest.raises(ValueError, match="takes messages"):
        encode("/v1/chat/completions", "m", Question(text="x"))
    with pytest.raises(ValueError, match="takes a `text`"):
        encode("/v1/completions", "m", HELLO)
    assert encode("/v1/completions", "m", Question(text="x")) == {"model": "m", "prompt": "x"}
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses"):
        with pytest.raises(Inexpressible, match=f"{path} takes no `embed`") as caught:
            encode(path, "m", Question(embed="x"))
        assert "runner.yaml" in caught.value.hint


def test_a_response() -> None:
    """A lone text is content; several parts are input parts, whatever the parameters."""
    image = Message("user", (Part("text", "see"), Part("image", "https://x/y.png")))
    question = asking(Message("system", (Part("text", "be brief"),)), image, max_output_tokens=5)
    assert encode(RESPOND, "m", question) == {
        "model": "m",
        "max_output_tokens": 5,
        "input": [
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
                ],
            },
        ],
    }
    assert encode(RESPOND, "m", Question(text="x")) == {"model": "m", "input": "x"}
    with pytest.raises(ValueError, match="audio"):
        encode(RESPOND, "m", asking(Message("user", (Part("audio", "x"),))))


@pytest.mark.parametrize(
    ("way", "fields", "told"),
    [
        (
            "json_schema",
            {"text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}},
            False,
        ),
        ("json_object", {"text": {"format": {"type": "json_object"}}}, True),
        (
            "tool",
            {
                "tools": [
                    {
                        "type": "function",
                        "name": "answer",
                        "description": "Give the answer.",
                        "parameters": SCHEMA,
                    }
                ],
                "tool_choice": {"type": "function", "name": "answer"},
            },
            False,
        ),
        ("prompt", {}, True),
    ],
)
def test_a_response_s_schema(way: str, fields: dict[str, Any], told: bool) -> None:
    """In the body's own field, as the only tool, or in words."""
    body = encode(RESPOND, "m", asking(schema=SCHEMA), way)
    assert {key: value for key, value in body.items() if key not in ("model", "input")} == fields
    assert len(body["input"]) == 1 + told
    assert body["input"][-1] == {"role": "user", "content": "hello"}


def test_a_schema_beside_the_same_field() -> None:
    """A spec that sets the field, too, is told so."""
    with pytest.raises(ValueError, match="parameters set text"):
        encode(RESPOND, "m", asking(schema=SCHEMA, text={"verbosity": "low"}))


# Reading


def line(body: Any, status: int = 200, error: Any = None) -> bytes:
    return json.dumps({"custom_id": "a", "response": {"status_code": status, "body": body}, "error": error}).encode()


USAGE = {"prompt_tokens": 7, "total_tokens": 7}


@pytest.mark.parametrize(
    ("vectors", "parsed"),
    [
        ([[1, 2]], [1, 2]),
        ([[1], [2]], [[1], [2]]),
        (["AACAPwAAAMA="], [1.0, -2.0]),
        (["AACAPw==", "AAAAQA=="], [[1.0], [2.0]]),
    ],
)
def test_vectors(vectors: list[Any], parsed: Any) -> None:
    """One vector, or several in the order of their index, as numbers or in base64; there is no text, and that is no
    failure."""
    data = [{"index": n, "embedding": vector} for n, vector in enumerate(vectors)][::-1]
    found = decode(line({"object": "list", "data": data, "model": "e", "usage": USAGE}), EMBED)
    assert found == Result("a", parsed=parsed, usage=Usage(7, None), model="e")


SPOILT = (
    [],
    [None],
    ["1"],
    [True],
    [float("nan")],
    [float("inf")],
    [10**400],
    [[1]],
    "",
    "AACAP",
    "AACA",
    "AADAfw==",
    {},
)
"""None of them a vector: empty, not of numbers, numbers that JSON cannot hold, and base64 of such or of none."""


@pytest.mark.parametrize(
    "body", [{"data": []}, *[{"data": [{"embedding": one}]} for one in SPOILT], {"data": None}, {}, None, "x"]
)
def test_no_vectors(body: Any) -> None:
    """An answer without one is a failure that may be asked again; text is not taken for a vector (F06)."""
    found = decode(line(body), EMBED)
    assert found.request == "a"
    assert found.parsed is None
    assert body == "x" or (found.failure and found.failure.retryable)


def test_one_spoilt_vector_among_several() -> None:
    """Which vector is whose cannot be told any more: none is kept."""
    found = decode(line({"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": "?"}]}), EMBED)
    assert (found.parsed, found.failure and found.failure.code) == (None, "empty_answer")


def response(*output: Any, status: str | None = "completed", **more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 4}
    return {"object": "response", "status": status, "model": "g", "output": list(output), "usage": usage, **more}


def said(*parts: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def test_a_text() -> None:
    """The texts of all messages, without what was thought aloud."""
    body = response(
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "content": None},
        said({"type": "output_text", "text": "one "}, {"type": "output_text", "text": "two"}),
        said({"type": "output_text", "text": "!"}),
    )
    assert decode(line(body), RESPOND) == Result(
        "a", text="one two!", finish_reason="stop", usage=Usage(3, 4), model="g"
    )


def test_a_cut_response() -> None:
    """The reason is spelt as chats spell it, and the text is kept."""
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    found = decode(line(response(said({"type": "output_text", "text": "on"}), **cut)), RESPOND)
    assert (found.text, found.finish_reason, found.failure) == ("on", "length", None)
    empty = decode(line(response(**cut)), RESPOND)
    assert empty.failure == Failure("truncated", "the token limit was reached before any text", retryable=False)


def test_a_filtered_or_refused_response() -> None:
    """Neither is an answer, and neither is asked again (F62)."""
    filtered = decode(line(response(status="incomplete", incomplete_details={"reason": "content_filter"})), RESPOND)
    refused = decode(line(response(said({"type": "refusal", "refusal": "I cannot"}))), RESPOND)
    assert [found.failure and (found.failure.code, found.failure.retryable) for found in (filtered, refused)] == [
        ("content_filter", False),
        ("refusal", False),
    ]
    assert refused.text == "I cannot"


def test_an_answer_as_a_tool_call() -> None:
    """Where the schema was the only tool, its arguments are the answer."""
    call = {"type": "function_call", "name": "answer", "arguments": '{"n": 1}', "call_id": "c"}
    found = decode(line(response(call)), RESPOND)
    assert (found.text, found.failure) == ('{"n": 1}', None)


@pytest.mark.parametrize(
    ("body", "code", "retryable"),
    [
        (response(status="failed", error={"code": "server_error", "message": "m"}), "server_error", True),
        (response(status="failed"), "response_failed", False),
        (response(status="cancelled"), "response_cancelled", True),
        (response(), "empty_answer", True),
        ({"object": "response"}, "empty_answer", True),
    ],
)
def test_a_response_that_failed(body: Any, code: str, retryable: bool) -> None:
    """By its own reason, else by its state; one that says nothing may be asked again (F06)."""
    failure = decode(line(body), RESPOND).failure
    assert failure
    assert (failure.code, failure.retryable) == (code, retryable)


@pytest.mark.parametrize("path", [EMBED, RESPOND, ""])
def test_failed_rows_of_any_endpoint(path: str) -> None:
    """An error, a status, an expired row: the same everywhere (F01, F05)."""
    rejected = {"error": {"code": "bad_param", "message": "m"}}
    rows = [line(rejected, status=400), line(None, error={"code": "batch_expired", "message": "m"})]
    failures = [decode(row, path).failure for row in rows]
    assert failures == [Failure("bad_param", "m", retryable=False), Failure("batch_expired", "m", retryable=True)]


@pytest.mark.parametrize("path", [EMBED, RESPOND, ""])
def test_a_row_of_a_local_runner(path: str) -> None:
    """vLLM writes failures into the file of answers, without a body (F07)."""
    response = {"status_code": 400, "request_id": "r", "body": None}
    row = {"id": "vllm-1", "custom_id": "a", "response": response, "error": "max_tokens must be at least 1"}
    found = decode(json.dumps(row).encode(), path)
    assert (found.request, found.text) == ("a", None)
    assert found.failure
    assert (found.failure.message, found.failure.retryable) == ("max_tokens must be at least 1", False)


@pytest.mark.parametrize("path", ["", RESPOND])
def test_a_finish_reason_that_was_dropped(path: str) -> None:
    """There is none, and that is no failure (F58)."""
    chat = {"choices": [{"message": {"content": "hi"}}]}
    body = response(said({"type": "output_text", "text": "hi"}), status=None) if path else chat
    found = decode(line(body), path)
    assert (found.text, found.finish_reason, found.failure) == ("hi", None, None)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff{}", b"{}", b"[" * 100_000])
@pytest.mark.parametrize("path", [EMBED, RESPOND, ""])
def test_lines_that_cannot_be_read(data: bytes, path: str) -> None:
    """Cut, no object, not UTF-8, without an id, too deep: a ValueError, and no other row suffers (F06)."""
    with pytest.raises(ValueError, match=r"."):
        decode(data, path)


def test_unsound_text() -> None:
    """A lone surrogate, which JSON can spell, does not get into an output."""
    found = decode(line(response(said({"type": "output_text", "text": "a\ud800"}))), RESPOND)
    assert found.text == "a\ufffd"


# xAI


CHAT = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": USAGE}


@pytest.mark.parametrize(
    "result",
    [
        {"batch_result": {"response": {"chat_get_completion": CHAT}}},
        {"batch_result": {"response": CHAT, "error": None}},
        {"response": {"chat_get_completion": CHAT}},
        {"batch_result": {"response": {"chat_get_completion": CHAT}}, "error_message": ""},
    ],
)
def test_a_result_of_xai(result: dict[str, Any]) -> None:
    """The completion under the one key named after its endpoint, wherever it stands."""
    found = decode(openai_line(json.dumps({"batch_request_id": "a", **result}).encode()))
    assert (found.request, found.text, found.failure, found.usage.input_tokens) == ("a", "hi", None, 7)


@pytest.mark.parametrize(
    ("result", "code", "retryable"),
    [
        ({"batch_result": {"error": {"code": "invalid-argument", "message": "m"}}}, "invalid-argument", False),
        ({"batch_result": {"error": {"code": 429, "message": "m"}}}, "429", True),
        ({"error_message": "rate limited, ratelimit"}, "error", True),
        ({"batch_result": {"response": {}}}, "empty_answer", True),
        ({}, "empty_answer", True),
    ],
)
def test_a_failure_of_xai(result: dict[str, Any], code: str, retryable: bool) -> None:
    """With a code, a sentence, or nothing at all."""
    failure = decode(openai_line(json.dumps({"batch_request_id": "a", **result}).encode())).failure
    assert failure
    assert (failure.code, failure.retryable) == (code, retryable)


@pytest.mark.parametrize("data", [b"[]", b"{", b"1"])
def test_a_result_of_xai_that_is_none(data: bytes) -> None:
    """A ValueError, like any line that cannot be read."""
    with pytest.raises(ValueError, match=r"."):
        decode(openai_line(data))


# Whatever comes


NAMES = (
    "custom_id response status_code body error output content type text refusal arguments name status usage data index "
    "embedding incomplete_details reason batch_request_id batch_result choices message error_message"
)
KEYS = st.sampled_from(NAMES.split())
WORD = st.sampled_from(["a", "output_text", "function_call", "answer", "failed", "completed", "9", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=30,
)


@given(JSON, JSON)
def test_no_line_is_too_odd(record: Any, body: Any) -> None:
    """Any JSON at all comes to a result, or to a ValueError."""
    for made in (record, {"custom_id": "a", "response": {"body": body}}, {"batch_request_id": "a", "response": body}):
        data = json.dumps(made).encode()
        for path in ("", EMBED, RESPOND):
            with suppress(ValueError):
                assert isinstance(decode(data, path), Result)
        with suppress(ValueError):
            assert isinstance(decode(openai_line(data)), Result)
