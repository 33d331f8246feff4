"""Streamed answers: any split of the bytes gives the same completion, and a stream that was cut gives none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from fakes.online import USAGE_CHUNK, delta, events
from hypothesis import given
from hypothesis import strategies as st

from runner.providers.online.sse import Assembly, Events

WHOLE = [delta("", role="assistant"), delta("Grüße, "), delta("世界 🌍"), delta(finish="stop"), USAGE_CHUNK]
TEXT = "Grüße, 世界 🌍"


def read(packets: Iterable[bytes]) -> list[str]:
    """The data of all events of a stream that came in these packets."""
    reader = Events()
    found = [data for packet in packets for data in reader.feed(packet)]
    return [*found, *reader.end()]


def assembled(packets: Iterable[bytes]) -> Assembly:
    assembly = Assembly()
    for data in read(packets):
        assembly.add(data)
    return assembly


def cut_at(stream: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def text_of(assembly: Assembly) -> Any:
    return assembly.body()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_split_at_every_byte(end: bytes) -> None:
    """A packet may end inside a character, inside a line end, anywhere: the answer is the same."""
    stream = events(*WHOLE, end=end)
    expected = assembled([stream]).body()
    assert expected["choices"][0]["message"]["content"] == TEXT
    assert expected["usage"] == USAGE_CHUNK["usage"]
    for at in range(len(stream) + 1):
        assembly = assembled([stream[:at], stream[at:]])
        assert assembly.complete
        assert assembly.body() == expected
    assert assembled([stream[at : at + 1] for at in range(len(stream))]).body() == expected


@given(
    st.lists(st.text(max_size=20), max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(0, 2_000), max_size=20),
    st.booleans(),
)
def test_any_text_in_any_packets(pieces: list[str], end: bytes, places: list[int], done: bool) -> None:
    """Whatever the model says, in whatever pieces and packets: the body is that of the same text in one piece."""
    stream = events(*map(delta, pieces), delta(finish="stop"), USAGE_CHUNK, end=end, done=done)
    assembly = assembled(cut_at(stream, [min(place, len(stream)) for place in places]))
    assert assembly.complete
    assert (text_of(assembly) or "") == "".join(pieces)
    assert assembly.body()["usage"] == USAGE_CHUNK["usage"]


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_any_bytes_at_all(packets: list[bytes]) -> None:
    """Gibberish is no answer, and raises nothing."""
    assembly = assembled([*packets, b"\n\ndata: {}\n\n"])
    assert isinstance(assembly.complete, bool)
    json.dumps(assembly.body())


def test_fields_of_the_standard() -> None:
    """Comments, other fields and `data:` without a blank are as the standard has them; data of many lines is joined."""
    stream = b': ping\n\nevent: x\nid: 7\nretry: 10\ndata:{"a":\ndata: 1}\n\n: ping\ndata:  two blanks\n\n'
    assert read([stream]) == ['{"a":\n1}', " two blanks"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_chunk_over_several_lines(end: str) -> None:
    """A chunk that is spread over `data:` lines is one chunk, even if a packet ends within a line end."""
    spread = json.dumps(delta("hello", finish="stop"), indent=1).replace("\n", f"{end}data: ")
    stream = f"data: {spread}{end}{end}".encode()
    assert text_of(assembled([stream])) == "hello"
    assert text_of(assembled([stream[at : at + 1] for at in range(len(stream))])) == "hello"


def test_the_last_event_needs_no_empty_line() -> None:
    """A server that closes right after its last line has said it."""
    assert assembled([events(delta("hi", finish="stop"), done=False).rstrip(b"\n")]).complete
    assert assembled([events(delta("hi")).rstrip(b"\n")]).done


def test_done_or_a_finish_reason_ends_it() -> None:
    """Some servers leave out `[DONE]`, others the finish_reason; a stream with neither was cut."""
    assert assembled([events(delta("hi", finish="stop"), done=False)]).complete
    assert assembled([events(delta("hi"))]).complete
    assert not assembled([events(delta("hi"), done=False)]).complete
    assert not assembled([b""]).complete


def test_a_garbled_chunk_spoils_the_answer() -> None:
    """Of a chunk that cannot be read nobody knows what it said: an answer without it would pass for whole."""
    good = [delta("one "), delta("three", finish="stop")]
    garbled = events(good[0], '{"choices": [{"delta": {"content": "two', good[1])
    assert not assembled([garbled]).complete
    deep = events(good[0], '{"a":' * 100_000, good[1])
    assert not assembled([deep]).complete


def test_keep_alives_that_are_no_json() -> None:
    """Data that is not even meant to be a chunk keeps the line busy, and no more."""
    stream = events(delta("one "), "ping", "", "[1]", "null", delta("two", finish="stop"))
    assembly = assembled([stream])
    assert assembly.complete
    assert text_of(assembly) == "one two"


@pytest.mark.parametrize("error", [{"message": "overloaded", "type": "server_error"}, "overloaded"])
def test_an_error_in_the_middle(error: Any) -> None:
    """What was said before an error is no answer, even when the stream then ends in good order."""
    assembly = assembled([events(delta("half"), {"error": error}, delta(finish="stop"))])
    assert assembly.error == error
    assert not assembly.complete


@pytest.mark.parametrize(
    "error",
    [
        {"object": "error", "message": "engine died", "type": "ServerError", "code": 500},
        {"object": "error"},
        {"code": 50001, "message": "engine died"},
        {"code": "overloaded", "message": "engine died"},
    ],
)
def test_an_error_without_a_wrapper(error: Any) -> None:
    """As vLLM, FastChat and some gateways report it; `[DONE]` after it makes no answer of what was said before."""
    assembly = assembled([events(delta("half"), error)])
    assert assembly.error == error
    assert not assembly.complete


def test_chunks_that_only_look_like_errors() -> None:
    """A code beside choices, or a message alone, is no error."""
    chunks = ({**delta("one "), "code": 0, "message": "ok"}, {"message": "ping"}, {"code": 0, "message": ""})
    assert text_of(assembled([events(*chunks, delta("two", finish="stop"))])) == "one two"


def test_a_null_error_is_none() -> None:
    """Servers that send `error: null` with every chunk report nothing."""
    assembly = assembled([events({**delta("hi", finish="stop"), "error": None})])
    assert assembly.complete
    assert assembly.error is None


def test_calls_of_a_function_come_in_pieces() -> None:
    """Pieces of two calls, interleaved, are put together by their index."""

    def piece(index: int, arguments: str, **function: str) -> dict[str, Any]:
        return delta(tool_calls=[{"index": index, "function": {"arguments": arguments, **function}}])

    stream = events(
        piece(0, "", name="answer"),
        piece(1, '{"b":', name="other"),
        piece(0, '{"a":'),
        piece(0, "1}"),
        piece(1, "2}"),
        delta(finish="tool_calls"),
    )
    body = assembled([stream]).body()
    calls = body["choices"][0]["message"]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "answer", "arguments": '{"a":1}'},
        {"name": "other", "arguments": '{"b":2}'},
    ]
    assert body["choices"][0]["message"]["content"] is None


def test_a_refusal_is_kept_apart() -> None:
    """A model that refuses does so in a field of its own."""
    message = assembled([events(delta(refusal="I "), delta(refusal="won't"), delta(finish="stop"))]).body()
    assert message["choices"][0]["message"]["refusal"] == "I won't"


def test_plain_completions() -> None:
    """`/v1/completions` streams texts instead of deltas."""
    chunks = [{"model": "m", "choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in ("a", "b")]
    last = {
        "model": "m",
        "choices": [{"index": 0, "text": "", "finish_reason": "length"}],
        "usage": {"prompt_tokens": 1},
    }
    body = assembled([events(*chunks, last)]).body()
    assert body["object"] == "text_completion"
    assert body["choices"] == [{"index": 0, "finish_reason": "length", "text": "ab"}]
    assert body["usage"] == {"prompt_tokens": 1}


def test_an_answer_without_a_word_has_no_text() -> None:
    """No content at all is told apart from an empty text: only the latter is an answer."""
    assert text_of(assembled([events(delta(finish="stop"))])) is None
    assert text_of(assembled([events(delta("", finish="stop"))])) == ""
