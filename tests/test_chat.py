"""OpenAI's bodies: how a question is written, and every shape in which a result line is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.fingerprint import canonical
from runner.provider import Message, Part, Question
from runner.providers.chat import LINE_SHAPES, SCHEMA_WAYS, decode_line, encode, frame, is_retryable
from runner.result import Failure, Result, Usage

ID = "0123456789abcdef0123456789abcdef"
HELLO = (Message("user", (Part("text", "hello"),)),)


def completion(**message: Any) -> dict[str, Any]:
    return {
        "id": "c-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


def openai(body: Any, status: Any = 200, error: Any = None) -> dict[str, Any]:
    return {
        "id": "b-1",
        "custom_id": ID,
        "response": {"status_code": status, "request_id": "r", "body": body},
        "error": error,
    }


def read(record: Any) -> Result:
    return decode_line(json.dumps(record).encode())


def failure(record: Any) -> Failure:
    result = read(record)
    assert result.request == ID
    assert result.failure is not None
    return result.failure


def test_encode_messages() -> None:
    """A lone text is a plain string; several parts, or an image, are a list; parameters stand beside them."""
    parts = (Part("text", "what is this?"), Part("image", "data:image/png;base64,AA=="))
    question = Question((Message("system", (Part("text", "brief"),)), Message("user", parts)), parameters={"top_k": 3})
    assert encode("mi-9", question) == {
        "model": "mi-9",
        "top_k": 3,
        "messages": [
            {"role": "system", "content": "brief"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
            },
        ],
    }


def test_encode_text_and_prompt() -> None:
    """A plain completion has a prompt; a parameter called prompt may stand beside messages, never replace the text."""
    assert encode("m", Question(text="once", parameters={"max_tokens": 9})) == {
        "model": "m",
        "prompt": "once",
        "max_tokens": 9,
    }
    assert encode("m", Question(HELLO, parameters={"prompt": "x"}))["prompt"] == "x"
    assert encode("m", Question(text="once", parameters={"prompt": "x"}))["prompt"] == "once"


def test_parameters_never_replace_the_question() -> None:
    """Whatever parameters hold, the model and the messages are ours."""
    body = encode("m", Question(HELLO, parameters={"model": "other", "messages": []}))
    assert (body["model"], body["messages"]) == ("m", [{"role": "user", "content": "hello"}])


def test_encode_schema() -> None:
    """The answer's schema becomes a strict response format; two formats at once are refused."""
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    assert encode("m", Question(HELLO, schema=schema))["response_format"] == wanted
    with pytest.raises(ValueError, match="response_format"):
        encode("m", Question(HELLO, schema=schema, parameters={"response_format": {"type": "text"}}))


def test_encode_refuses_an_unknown_part() -> None:
    """A kind of part that the wire does not have is an error, not a silent loss."""
    with pytest.raises(ValueError, match="hologram"):
        encode("m", Question((Message("user", (Part("hologram", "x"),)),)))


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_strings_stand_in_the_body_whole_and_once(system: str, user: str) -> None:
    """Each string of a question is one JSON string of the body, so that bodies can be spliced."""
    question = Question(
        (Message("system", (Part("text", f"<1{system}>"),)), Message("user", (Part("text", f"<2{user}>"),)))
    )
    body = canonical(encode("m", question))
    for text in (f"<1{system}>", f"<2{user}>"):
        assert body.count(canonical(text)) == 1


@pytest.mark.parametrize("shape", LINE_SHAPES)
def test_frame_makes_a_request_line(shape: str) -> None:
    """The frame around an id and a body is one JSON line, with the path that fits the question where it has one."""
    for question, url in ((Question(HELLO), "/v1/chat/completions"), (Question(text="x"), "/v1/completions")):
        around = frame(question, shape)
        line = around.before + ID.encode() + around.between + b'{"a":1}' + around.after
        more = {"method": "POST", "url": url} if shape == "openai" else {}
        assert json.loads(line) == {"custom_id": ID, "body": {"a": 1}, **more}


SHAPES: dict[str, dict[str, Any]] = {
    "openai": openai(completion(content="hi")),
    "status as text": openai(completion(content="hi"), status="200"),
    "no status": {"custom_id": ID, "response": {"body": completion(content="hi")}},
    "body at the top": {"custom_id": ID, "body": completion(content="hi")},
    "completion as response": {"custom_id": ID, "response": completion(content="hi")},
    "bare completion": {"custom_id": ID, **completion(content="hi")},
    "camel case": {"customId": ID, "output": completion(content="hi")},
    "body as text": openai(json.dumps(completion(content="hi"))),
    "empty error": openai(completion(content="hi"), error={}),
    "list of parts": openai(
        completion(content=[{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "h"}, "i", {"type": "text"}])
    ),
    "reasoning beside": openai(completion(content="hi", reasoning_content="hm")),
    "plain completion": openai({**completion(), "choices": [{"text": "hi", "finish_reason": "stop"}]}),
}


@pytest.mark.parametrize("record", SHAPES.values(), ids=SHAPES.keys())
def test_shapes_of_success(record: dict[str, Any]) -> None:
    """The same answer in every known shape reads the same."""
    assert read(record) == Result(ID, text="hi", finish_reason="stop", usage=Usage(3, 4), model="m")


@pytest.mark.parametrize("key", ["output", "result", "response"])
def test_bare_strings(key: str) -> None:
    """A line may hold nothing but the text."""
    assert read({"id": ID, key: '{"a": 1}'}) == Result(ID, text='{"a": 1}')


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": "3", "completion_tokens": None}, Usage(3, None)),
        ({"input_tokens": 3, "output_tokens": 4.0}, Usage(3, 4)),
        ({"prompt_tokens": True, "completion_tokens": -1}, Usage(None, None)),
        ({"prompt_tokens": float("inf"), "completion_tokens": "many"}, Usage(None, None)),
        (None, Usage(None, None)),
        ([], Usage(None, None)),
        ({"prompt_tokens": 0, "input_tokens": 9}, Usage(0, None)),
    ],
)
def test_usage(usage: Any, expected: Usage) -> None:
    """Counts come as numbers, as text or not at all."""
    assert read(openai({**completion(content="hi"), "usage": usage})).usage == expected


@pytest.mark.parametrize(
    ("record", "code", "retryable"),
    [
        (openai({"error": {"code": "bad_param", "message": "m"}}, status=400), "bad_param", False),
        (openai({"message": "m"}, status=404), "http_404", False),
        (openai(None, status=422), "http_422", False),
        (openai(None, status="429"), "http_429", True),
        (openai(None, status=408), "http_408", True),
        (openai(None, status=503), "http_503", True),
        (openai(None, status=400, error={"type": "BadRequestError", "message": "m", "code": 400}), "400", False),
        (
            {"custom_id": ID, "response": None, "error": {"code": "batch_expired", "message": "m"}},
            "batch_expired",
            True,
        ),
        ({"custom_id": ID, "error": {"code": "RateLimitExceeded"}}, "RateLimitExceeded", True),
        ({"custom_id": ID, "error": {"type": "server_error"}}, "server_error", True),
        (
            {"custom_id": ID, "error": {"code": "content_filter"}, "response": {"status_code": 500}},
            "content_filter",
            False,
        ),
        ({"custom_id": ID, "error": {"code": 429}}, "429", True),
        ({"custom_id": ID, "error": "upstream timeout"}, "error", True),
        ({"custom_id": ID, "error": "no idea"}, "error", False),
        ({"custom_id": ID, "status_code": 500}, "http_500", True),
        (openai({**completion(content="hi"), "error": {"code": "x"}}), "x", False),
    ],
)
def test_failures(record: dict[str, Any], code: str, retryable: bool) -> None:
    """An error anywhere in the line, or a status beside 2xx with ``error: null``, is a failure; a table says which is
    worth another try."""
    failed = failure(record)
    assert (failed.code, failed.retryable) == (code, retryable)
    assert failed.message


def test_the_servers_words_are_kept() -> None:
    """The message of the error is the failure's message."""
    assert (
        failure(openai({"error": {"message": "max_tokens is too large"}}, status=400)).message
        == "max_tokens is too large"
    )
    assert failure({"custom_id": ID, "error": "upstream timeout"}).message == "upstream timeout"


@pytest.mark.parametrize(
    "body", [None, {}, "", [], {"choices": []}, {"choices": None}, {"choices": ["x"]}, completion(), 7]
)
def test_success_without_an_answer(body: Any) -> None:
    """Status 200 with nothing in it is no answer, and worth another try."""
    failed = failure(openai(body))
    assert (failed.code, failed.retryable) == ("empty_answer", True)


def test_an_empty_string_is_an_answer() -> None:
    """A model that chose to say nothing has answered; asking again would cost and change nothing."""
    result = read(openai(completion(content="")))
    assert (result.text, result.failure) == ("", None)


def test_tool_calls_are_an_answer_without_text() -> None:
    """Content is null beside tool calls."""
    result = read(openai(completion(content=None, tool_calls=[{"id": "t"}])))
    assert (result.text, result.failure) == (None, None)


def test_refusals_filters_and_cut_answers() -> None:
    """A refusal, a filtered and an all-thought answer are failures that are not asked again; what was said is kept."""
    refused = read(openai(completion(content=None, refusal="I cannot")))
    assert (refused.text, refused.failure and refused.failure.code) == ("I cannot", "refusal")
    for finish, code, content in (("content_filter", "content_filter", "half"), ("length", "truncated", "")):
        body = completion(content=content)
        body["choices"][0]["finish_reason"] = finish
        result = read(openai(body))
        assert (result.text, result.finish_reason) == (content, finish)
        assert result.failure is not None
        assert (result.failure.code, result.failure.retryable) == (code, False)


@pytest.mark.parametrize("finish", ["abort", "error", "insufficient_system_resource"])
def test_an_answer_that_the_server_broke_off(finish: str) -> None:
    """Half an answer is none and worth another try, and what was said is kept."""
    body = completion(content="half")
    body["choices"][0]["finish_reason"] = finish
    result = read(openai(body))
    assert result.text == "half"
    assert result.failure is not None
    assert (result.failure.code, result.failure.retryable) == ("interrupted", True)


def test_a_cut_answer_with_text_is_kept_as_success() -> None:
    """Whether a cut answer will do is decided by whoever knows the schema."""
    body = completion(content="half")
    body["choices"][0]["finish_reason"] = "length"
    result = read(openai(body))
    assert (result.text, result.finish_reason, result.failure) == ("half", "length", None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"{}",
        b'{"custom_id": ""}',
        b'{"custom_id": "\xff"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
    ],
)
def test_lines_that_cannot_be_read(line: bytes) -> None:
    """A line that is no object, or names no request, is a ValueError and nothing worse."""
    with pytest.raises(ValueError):
        decode_line(line)


def test_lone_surrogates_are_replaced() -> None:
    """JSON can spell half a character that UTF-8 cannot hold; the answer can be written all the same."""
    result = decode_line(b'{"custom_id": "a\\ud800", "output": "x\\udc00y \\ud83d\\ude00"}')
    assert result.text == "x\ufffdy \U0001f600"
    assert result.request == "a\ufffd"


KEYS = st.sampled_from(
    [
        "custom_id",
        "id",
        "response",
        "status_code",
        "body",
        "error",
        "code",
        "message",
        "choices",
        "content",
        "text",
        "usage",
        "prompt_tokens",
        "type",
        "output",
        "refusal",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_any_object_reads_or_is_a_value_error(record: dict[str, Any]) -> None:
    """Whatever a provider writes, decoding ends in a Result that UTF-8 can hold or a ValueError."""
    try:
        result = read({"custom_id": ID, **record})
    except ValueError:
        return
    repr(result).encode()
    assert isinstance(result.text, str | None)


def test_verdicts() -> None:
    """The code decides before the status, the status before the message; nothing known is not retryable."""
    assert is_retryable("invalid_request", 500) is False
    assert is_retryable("odd", 500) is True
    assert is_retryable("odd", 400, "timeout") is False
    assert is_retryable("odd", None, "Service Unavailable") is True
    assert is_retryable("odd", None) is False


# ---- an answer's schema ----------------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}


@pytest.mark.parametrize("way", sorted(SCHEMA_WAYS))
def test_every_way_to_ask_for_a_schema(way: str) -> None:
    """The schema is in the body whichever way the provider has, and the question is untouched."""
    body = encode("m", Question(HELLO, schema=SCHEMA), way)
    assert body["messages"][-1] == {"role": "user", "content": "hello"}
    told = json.dumps(SCHEMA, sort_keys=True) in body["messages"][0]["content"]
    assert {
        "json_schema": body.get("response_format", {}).get("json_schema", {}).get("schema") == SCHEMA,
        "json_object": body.get("response_format") == {"type": "json_object"} and told,
        "tool": body.get("tools", [{}])[0].get("function", {}).get("parameters") == SCHEMA,
        "prompt": told and body.keys() == {"model", "messages"},
    }[way]


@pytest.mark.parametrize(("way", "field"), [("json_schema", "response_format"), ("tool", "tools")])
def test_a_schema_does_not_overwrite_parameters(way: str, field: str) -> None:
    """Two answers to one question are an error before anything is sent."""
    with pytest.raises(ValueError, match=f"parameters set {field}"):
        encode("m", Question(HELLO, parameters={field: 1}, schema=SCHEMA), way)


def test_a_plain_completion_cannot_be_told_a_schema() -> None:
    """There is no message to put it into."""
    with pytest.raises(ValueError, match="cannot be put into words"):
        encode("m", Question(text="Once", schema=SCHEMA), "prompt")


@pytest.mark.parametrize("arguments", ['{"answer": 3}', {"answer": 3}])
def test_an_answer_given_as_a_call(arguments: Any) -> None:
    """What the only function was called with is the answer; any other call is not text."""
    call = {"type": "function", "function": {"name": "answer", "arguments": arguments}}
    assert read(openai(completion(content=None, tool_calls=[call]))).text == '{"answer": 3}'
    other = {"type": "function", "function": {"name": "search", "arguments": "{}"}}
    result = read(openai(completion(content=None, tool_calls=[other])))
    assert (result.text, result.failure) == (None, None)
