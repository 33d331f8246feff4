"""The official OpenAI client, which others wrote, talks to ``runner simulate`` and understands what it says."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from helpers import Served, serving
from openai.types import Batch

MODEL = "mi-9"
PREFIXES = ["/v1", "/openai/v1", "/compatible-mode/v1", "/api/paas/v4", "/v2"]
ENDED = {"completed", "failed", "expired", "cancelled", "Done", "Failed", "Expired", "Stopped"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("simulator")) as ready:
        yield ready


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    served.faults()
    with connect(served) as ready:
        yield ready


def connect(served: Served, prefix: str = "/v1", key: str = "key-1", retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}{prefix}", api_key=key, max_retries=retries, timeout=20)


def request_line(custom_id: str, text: str, endpoint: str = "/v1/chat/completions", **body: Any) -> bytes:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": text}], **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": endpoint, "body": asked}).encode() + b"\n"


def upload(client: openai.OpenAI, content: bytes, name: str = "job-1.jsonl") -> str:
    return client.files.create(file=(name, io.BytesIO(content)), purpose="batch").id


def create(client: openai.OpenAI, content: bytes, **more: Any) -> Batch:
    order: dict[str, Any] = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **more}
    return client.batches.create(input_file_id=upload(client, content), **order)


def ended(client: openai.OpenAI, batch: Batch) -> Batch:
    deadline = time.monotonic() + 20
    while (found := client.batches.retrieve(batch.id)).status not in ENDED and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def lines(client: openai.OpenAI, file: str | None) -> list[dict[str, Any]]:
    assert file
    return [json.loads(line) for line in client.files.content(file).text.splitlines()]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_batch_goes_from_upload_to_results(served: Served, prefix: str) -> None:
    """Under each provider's path: upload, create, poll, download, each row answered once."""
    served.faults()
    endpoint = "/v2/chat/completions" if prefix == "/v2" else "/v1/chat/completions"
    with connect(served, prefix) as client:
        content = b"".join(request_line(f"row-{n}", f"{prefix} asks {n}?", endpoint) for n in range(5))
        batch = create(client, content, endpoint=endpoint, metadata={"runner": "job-1"})
        assert batch.object == "batch" and batch.output_file_id is None and isinstance(batch.created_at, int)
        done = ended(client, batch)
        assert done.status == ("Done" if prefix == "/v2" else "completed") and done.metadata == {"runner": "job-1"}
        assert done.request_counts is not None and done.errors is None and done.error_file_id is None
        assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (5, 5, 0)
        found = lines(client, done.output_file_id)
        assert [line["custom_id"] for line in found] == [f"row-{n}" for n in range(5)]
        assert all(line["response"]["status_code"] == 200 and line["error"] is None for line in found)
        assert f"{prefix} asks 3?" in found[3]["response"]["body"]["choices"][0]["message"]["content"]


def test_files_are_listed_shown_and_deleted(client: openai.OpenAI) -> None:
    """An upload has its size and name; a deleted file is gone; results are files, too."""
    content = request_line("r", "Who?")
    done = ended(client, create(client, content))
    file = client.files.retrieve(done.input_file_id)
    assert (file.bytes, file.filename, file.purpose, file.status) == (len(content), "job-1.jsonl", "batch", "processed")
    assert client.files.content(file.id).content == content
    assert done.output_file_id is not None
    output = client.files.retrieve(done.output_file_id)
    assert output.bytes == len(client.files.content(output.id).content) and output.purpose == "batch_output"
    assert {file.id, output.id} <= {found.id for found in client.files.list()}
    assert client.files.delete(output.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(output.id)
    assert ended(client, done).output_file_id == output.id


def test_a_large_upload_arrives_whole(client: openai.OpenAI) -> None:
    """Megabytes that look like boundaries and line ends come back byte by byte."""
    content = request_line("r", "x" * 3_000_000 + "\r\n--boundary\r\n" * 1000) + b"\r\n--\r\n"
    assert client.files.content(upload(client, content)).content == content


def test_batches_are_listed_newest_first_over_pages(client: openai.OpenAI) -> None:
    """The client's own paging finds every batch once."""
    made = [create(client, request_line("r", f"List {n}?")).id for n in range(5)]
    assert [batch.id for batch in client.batches.list(limit=2)][:5] == made[::-1]
    page = client.batches.list(limit=2, after=made[4])
    assert [batch.id for batch in page.data] == [made[3], made[2]] and page.has_more


def test_a_cancelled_batch_keeps_what_was_done(served: Served, client: openai.OpenAI) -> None:
    """The rows finished by then are answered and billed, the others are in the error file; a second cancel is none."""
    served.faults({"on": "task", "do": "never-end"})
    batch = create(client, b"".join(request_line(f"row-{n}", f"Cancel {n}?") for n in range(10)))
    while client.batches.retrieve(batch.id).status != "in_progress":
        time.sleep(0.01)
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")  # a moment later it is
    done = ended(client, batch)
    assert done.status == "cancelled" and done.cancelling_at and done.cancelled_at
    assert len(lines(client, done.output_file_id)) == 5
    assert {line["error"]["code"] for line in lines(client, done.error_file_id)} == {"batch_cancelled"}
    assert client.batches.cancel(batch.id).status == "cancelled"
    assert [task["billed"] for task in served.bill()["tasks"] if task["task"] == batch.id] == [5]


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"{not json\n", "invalid_json_line", 1),
        (b'\xef\xbb\xbf{"custom_id": "r"}\n', "invalid_json_line", 1),
        (request_line("r", "a") * 2, "duplicate_custom_id", 2),
        (request_line("r", "a", "/v1/completions"), "url_mismatch", 1),
        (request_line("r", "a") + request_line("s", "b", model="mi-1"), "mismatched_model", 2),
        (request_line("r", "a", model="mi-none"), "model_not_found", None),
        (request_line("r", "a", model="mi-7"), "model_not_found", None),
        (request_line("r", "a", model=None), "missing_required_parameter", 1),
        (b"\n", "empty_file", None),
    ],
)
def test_a_bad_file_fails_after_the_create(client: openai.OpenAI, content: bytes, code: str, line: int | None) -> None:
    """Create says yes; later the batch is `failed`, and `errors` says which line and why."""
    done = ended(client, create(client, content))
    assert done.status == "failed" and done.errors is not None and done.errors.data is not None
    assert (done.errors.data[0].code, done.errors.data[0].line) == (code, line)
    assert done.output_file_id is None and done.error_file_id is None and done.failed_at


@pytest.mark.parametrize(
    "changes",
    [
        {"completion_window": "soon"},
        {"completion_window": "0h"},
        {"endpoint": "chat"},
        {"metadata": {str(n): "x" for n in range(17)}},
        {"metadata": {"a": "x" * 513}},
        {"input_file_id": "file-none"},
    ],
)
def test_a_bad_order_is_refused(client: openai.OpenAI, changes: dict[str, Any]) -> None:
    """Wrong fields are 400 with OpenAI's error body, and no batch comes of it."""
    order = {"input_file_id": upload(client, request_line("r", "x")), "endpoint": "/v1/chat/completions"}
    before = client.batches.list(limit=1).data
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(**{"completion_window": "24h", **order, **changes})
    assert caught.value.type == "invalid_request_error" and caught.value.code
    assert client.batches.list(limit=1).data == before


@pytest.mark.parametrize(("name", "purpose"), [("job.txt", "batch"), ("job.jsonl", "nonsense")])
def test_a_bad_upload_is_refused(client: openai.OpenAI, name: str, purpose: Any) -> None:
    """A batch's file has to end with .jsonl, and have a purpose that is known."""
    with pytest.raises(openai.BadRequestError):
        client.files.create(file=(name, b"x"), purpose=purpose)


def test_a_bad_key_is_refused(served: Served) -> None:
    """401, in the words that the client makes an AuthenticationError of; as in Azure's header."""
    with connect(served, key="invalid-1") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"
    headers = {"Authorization": "", "api-key": "key-1"}
    with openai.OpenAI(base_url=f"{served.url}/openai/v1", api_key="unused", default_headers=headers) as azure:
        assert azure.models.list().data


def test_models_carry_what_a_selector_asks_for(client: openai.OpenAI) -> None:
    """Those that run, with family, limits and price; one of them by its id."""
    found = {model.id: model.to_dict() for model in client.models.list()}
    assert "mi-5" not in found and found[MODEL]["family"] == "Qwen3" and found[MODEL]["max_model_len"] == 32768
    assert found[MODEL]["price"] == {"input": 0.0005, "output": 0.002, "currency": "CNY"}
    assert found["mi-6"]["price"] is None
    assert client.models.retrieve(MODEL).owned_by == "Alibaba"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("mi-none")


# --- online ----------------------------------------------------------------------------------------------------------


def ask(client: openai.OpenAI, text: str, **parameters: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **parameters)


def streamed(client: openai.OpenAI, text: str, **parameters: Any) -> list[Any]:
    return list(ask(client, text, stream=True, **parameters))


def test_a_stream_says_the_same_as_the_whole(client: openai.OpenAI) -> None:
    """Pieces add up to the answer; usage comes at the end when it is asked for."""
    whole = ask(client, "Tell me all about streams, please?")
    chunks = streamed(client, "Tell me all about streams, please?", stream_options={"include_usage": True})
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content and len(pieces) > 3
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-1].usage == whole.usage
    text = client.completions.create(model=MODEL, prompt="Tell me all about streams, please?", stream=True)
    assert "".join(chunk.choices[0].text for chunk in text) == whole.choices[0].message.content


SCHEMA = {
    "type": "object",
    "properties": {"verdict": {"enum": ["good", "bad"]}, "answer": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["verdict", "answer"],
}


def test_one_question_has_one_answer_on_every_way(client: openai.OpenAI) -> None:
    """The same text asked as chat, stream, completion, response and batch, and at other models and parameters."""
    text = "Why is it so?"
    other = client.chat.completions.create(
        model="mi-1", temperature=1, messages=[{"role": "user", "content": [{"type": "text", "text": text}]}]
    )
    batch = ended(client, create(client, request_line("r", text, temperature=0.5)))
    answers = {
        ask(client, text).choices[0].message.content,
        other.choices[0].message.content,
        client.completions.create(model=MODEL, prompt=text).choices[0].text,
        client.responses.create(model=MODEL, input=text).output_text,
        lines(client, batch.output_file_id)[0]["response"]["body"]["choices"][0]["message"]["content"],
    }
    assert len(answers) == 1


def test_one_schema_has_one_answer_on_every_way(client: openai.OpenAI) -> None:
    """As response_format, as a forced tool (streamed, too), as text.format, and told in words."""
    text = "Judge it."
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    tool: Any = {"type": "function", "function": {"name": "answer", "parameters": SCHEMA}}
    choice: Any = {"type": "function", "function": {"name": "answer"}}
    told = f"Answer with JSON alone, which fits this JSON Schema: {json.dumps(SCHEMA, sort_keys=True)}"
    called = ask(client, text, tools=[tool], tool_choice=choice).choices[0]
    chunks = streamed(client, text, tools=[tool], tool_choice=choice)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    form: Any = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}}
    answers = {
        ask(client, text, response_format=wanted).choices[0].message.content,
        called.message.tool_calls[0].function.arguments,
        "".join(delta.tool_calls[0].function.arguments for delta in deltas if delta.tool_calls),
        client.responses.create(model=MODEL, input=text, text=form).output_text,
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "system", "content": told}, {"role": "user", "content": text}]
        )
        .choices[0]
        .message.content,
    }
    assert len(answers) == 1 and called.finish_reason == "tool_calls"
    assert json.loads(answers.pop())["verdict"] in ("good", "bad")


def test_embeddings_are_small_and_the_same_each_time(client: openai.OpenAI) -> None:
    """One vector per text, as floats and as the client's usual base64."""
    one = client.embeddings.create(model=MODEL, input=["a", "b"], encoding_format="float").data
    again = client.embeddings.create(model=MODEL, input="a").data
    assert len(one) == 2 and one[0].embedding != one[1].embedding
    assert again[0].embedding == pytest.approx(one[0].embedding, abs=1e-6)


def test_errors_of_single_calls(client: openai.OpenAI) -> None:
    """A model that is not there, a stopped one, and a body that asks nothing."""
    for model in ("mi-none", "mi-5"):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=[])


def test_every_online_answer_is_billed_once(served: Served, client: openai.OpenAI) -> None:
    """The bill counts calls with their tokens, and names the question that was paid twice."""
    before = served.bill()
    usage = [ask(client, text).usage for text in ("Bill me one?", "Bill me two?", "Bill me two?")]
    after = served.bill()
    assert after["online"]["billed"] - before["online"]["billed"] == 3
    assert after["online"]["input_tokens"] - before["online"]["input_tokens"] == sum(u.prompt_tokens for u in usage)
    assert after["online"]["cost"] > before["online"]["cost"]
    assert after["duplicate_count"] - before["duplicate_count"] == 1


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_busy_answer_is_asked_again(served: Served) -> None:
    """429 with Retry-After each second time: the client waits and goes on."""
    served.faults({"on": "chat", "do": 429, "every": 2, "retry_after": 0.01})
    with connect(served, retries=3) as client:
        assert [bool(ask(client, f"Busy {n}?").choices) for n in range(4)] == [True] * 4
    with connect(served) as client, pytest.raises(openai.RateLimitError) as caught:
        for _ in range(2):
            ask(client, "Busy?")
    assert caught.value.code == "rate_limit_exceeded" and caught.value.response.headers["retry-after"] == "0.01"


def test_a_cut_stream_breaks_in_the_middle(served: Served, client: openai.OpenAI) -> None:
    """Some pieces come, then the connection ends without the last chunk; the next stream is whole."""
    served.faults({"on": "chat", "do": "cut", "times": 1})
    pieces = []
    with pytest.raises(openai.APIConnectionError):
        for chunk in ask(client, "Cut me off in the middle, please?", stream=True):
            pieces.append(chunk)
    assert 0 < len(pieces) < len(streamed(client, "Cut me off in the middle, please?"))


def test_answers_may_be_truncated_refused_or_lost(served: Served, client: openai.OpenAI) -> None:
    """`finish-length` halves, `refuse` refuses (in a stream, too), `empty-body` answers 200 with nothing."""
    whole = ask(client, "Say it in full?").choices[0]
    served.faults({"on": "chat", "do": "finish-length", "match": "full"})
    half = ask(client, "Say it in full?").choices[0]
    assert half.finish_reason == "length" and whole.message.content.startswith(half.message.content)
    assert ask(client, "Say it in short?").choices[0].finish_reason == "stop"
    served.faults({"on": "chat", "do": "refuse"})
    assert (
        ask(client, "Say it?").choices[0].message.refusal and ask(client, "Say it?").choices[0].message.content is None
    )
    assert "".join(c.choices[0].delta.refusal or "" for c in streamed(client, "Say it?"))
    served.faults({"on": "chat", "do": "empty-body"})
    assert (
        client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": "x"}]
        ).http_response.content
        == b""
    )


def test_a_lost_create_is_found_in_the_list(served: Served, client: openai.OpenAI) -> None:
    """The batch is made though nobody was told; its input file says which it is."""
    served.faults({"on": "create", "do": "lost-reply", "times": 1})
    file = upload(client, request_line("r", "Lost?"))
    with pytest.raises(openai.APIConnectionError):
        client.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")
    assert [batch.input_file_id for batch in client.batches.list(limit=100)].count(file) == 1


def task(served: Served, client: openai.OpenAI, *rules: dict[str, Any], rows: int = 4) -> Batch:
    served.faults(*({"on": "task", **rule} for rule in rules))
    return ended(client, create(client, b"".join(request_line(f"row-{n}", f"Ask {n}?") for n in range(rows))))


def test_failed_rows_are_in_the_error_file(served: Served, client: openai.OpenAI) -> None:
    """Rows in = lines of both files."""
    done = task(served, client, {"do": "fail-rows", "rows": [2], "status_code": 400})
    assert done.status == "completed" and len(lines(client, done.output_file_id)) == 3
    (failed,) = lines(client, done.error_file_id)
    assert failed["custom_id"] == "row-1" and failed["response"]["status_code"] == 400 and failed["error"] is None


def test_an_expired_batch_has_both_files(served: Served, client: openai.OpenAI) -> None:
    """Answers that were made in time, and `batch_expired` for the others."""
    done = task(served, client, {"do": "expire", "rows": [1, 2]})
    assert done.status == "expired" and done.expired_at and len(lines(client, done.output_file_id)) == 2
    assert [line["error"]["code"] for line in lines(client, done.error_file_id)] == ["batch_expired"] * 2


def test_a_batch_of_failures_has_no_output(served: Served, client: openai.OpenAI) -> None:
    """`error-file-only`: completed, and every line is in the error file."""
    done = task(served, client, {"do": "error-file-only"})
    assert done.status == "completed" and done.output_file_id is None
    assert len(lines(client, done.error_file_id)) == 4


def test_a_full_queue_fails_the_batch(served: Served, client: openai.OpenAI) -> None:
    """`token-limit` is told by the batch's errors, not by a status of HTTP."""
    done = task(served, client, {"do": "token-limit"})
    assert done.status == "failed" and done.errors is not None and done.errors.data is not None
    assert done.errors.data[0].code == "token_limit_exceeded"


@pytest.mark.parametrize("spelling", ["bytes", "text"])
def test_no_failures_may_be_said_in_odd_ways(served: Served, client: openai.OpenAI, spelling: str) -> None:
    """An error file of no bytes, or an id of no letters."""
    done = task(served, client, {"do": "empty-error-file", "as": spelling})
    assert done.error_file_id is not None and bool(done.error_file_id) == (spelling == "bytes")
    if spelling == "bytes":
        assert client.files.content(done.error_file_id).content == b""


def test_a_batch_is_spelt_as_asked(served: Served, client: openai.OpenAI) -> None:
    """Upper case, counts as texts or null, times as texts."""
    served.faults(*({"on": "task", "do": do} for do in ("upper-case", "string-counts", "iso-times")))
    batch = create(client, request_line("r", "Spell?"))
    assert batch.status in ("VALIDATING", "IN_PROGRESS") and str(batch.created_at).endswith("Z")
    assert batch.request_counts is not None and str(batch.request_counts.total) == "0"
    served.faults(
        {"on": "task", "do": "null-counts"}, {"on": "create", "do": "wrapped"}, {"on": "list", "do": "bare-list"}
    )
    reply = client.batches.with_raw_response.create(
        input_file_id=upload(client, request_line("r", "x")), endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert json.loads(reply.text)["job"]["request_counts"] == {"total": None, "completed": None, "failed": None}
    assert isinstance(json.loads(client.batches.with_raw_response.list().text), list)


def test_a_file_may_have_to_be_waited_for(served: Served, client: openai.OpenAI) -> None:
    """`slow-file`: pending at first, and no batch can be made of it."""
    served.faults({"on": "upload", "do": "slow-file", "seconds": 3600})
    file = upload(client, request_line("r", "x"))
    assert client.files.retrieve(file).to_dict()["status"] == "pending"
    with pytest.raises(openai.BadRequestError, match="not processed"):
        client.batches.create(input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h")


def test_rows_may_be_refused_truncated_or_empty(served: Served, client: openai.OpenAI) -> None:
    """The same spoilt answers as online, by row."""
    rules = [{"do": do, "rows": [n]} for n, do in enumerate(("refuse", "finish-length", "empty-body"), 1)]
    done = task(served, client, *rules)
    bodies = [line["response"]["body"] for line in lines(client, done.output_file_id)]
    assert bodies[0]["choices"][0]["message"]["refusal"] and bodies[1]["choices"][0]["finish_reason"] == "length"
    assert bodies[2] == {} and bodies[3]["choices"][0]["finish_reason"] == "stop"


def test_a_served_folder_is_where_helpers_think(tmp_path: Path) -> None:
    """Two servers on two folders do not see each other's batches."""
    with (
        serving(tmp_path / "a") as one,
        serving(tmp_path / "b") as other,
        connect(one) as first,
        connect(other) as second,
    ):
        create(first, request_line("r", "x"))
        assert len(first.batches.list().data) == 1 and second.batches.list().data == []
