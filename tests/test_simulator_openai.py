"""The simulator's OpenAI wire: files, batches and single calls, and what providers of the same wire do otherwise."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.simulator.answers import answer
from runner.simulator.engine import Refusal
from runner.simulator.multipart import parts
from runner.simulator.questions import kind_of, read_question
from runner.simulator.server import Simulator, read_bill

MODEL = "mi-9"
INSTANT = 1e6
CHAT = "/v1/chat/completions"


def chat(text: str, **parameters: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **parameters}


def request_line(custom_id: str, body: dict[str, Any], url: str | None = CHAT) -> bytes:
    head = {"custom_id": custom_id} if url is None else {"custom_id": custom_id, "method": "POST", "url": url}
    return json.dumps({**head, "body": body}).encode() + b"\n"


def rows(count: int = 4) -> bytes:
    return b"".join(request_line(f"row-{n}", chat(f"Question number {n}?")) for n in range(1, count + 1))


class Client:
    """The calls of one provider's path."""

    def __init__(self, url: str, prefix: str = "/v1", headers: dict[str, str] | None = None) -> None:
        self.url = url
        headers = {"Authorization": "Bearer key-1"} if headers is None else headers
        self.http = httpx.Client(base_url=f"{url}{prefix}", headers=headers, timeout=20)

    def ok(self, reply: httpx.Response) -> Any:
        assert reply.status_code == 200, reply.text
        return reply.json()

    def post_file(self, content: bytes, purpose: str = "batch", name: str = "job-1.jsonl") -> httpx.Response:
        return self.http.post("/files", files={"file": (name, content)}, data={"purpose": purpose})

    def upload(self, content: bytes) -> str:
        return str(self.ok(self.post_file(content))["id"])

    def post_batch(self, file: str, **changes: Any) -> httpx.Response:
        order = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h", **changes}
        return self.http.post("/batches", json={key: value for key, value in order.items() if value is not None})

    def create(self, content: bytes, **changes: Any) -> Any:
        return self.ok(self.post_batch(self.upload(content), **changes))

    def detail(self, batch: str) -> Any:
        return self.ok(self.http.get(f"/batches/{batch}"))

    def ended(self, content: bytes, **changes: Any) -> Any:
        batch = self.create(content, **changes)["id"]
        deadline = time.monotonic() + 10
        while not (found := self.detail(batch))["usage"] and time.monotonic() < deadline:
            time.sleep(0.005)
        return found

    def raw(self, file: str | None) -> bytes:
        reply = self.http.get(f"/files/{file}/content")
        assert reply.status_code == 200, reply.text
        return reply.content

    def lines(self, file: str | None) -> list[Any]:
        return [json.loads(line) for line in self.raw(file).splitlines()]

    def bodies(self, content: bytes, **changes: Any) -> list[Any]:
        """What each row was answered with."""
        return [line["response"]["body"] for line in self.lines(self.ended(content, **changes)["output_file_id"])]

    def ask(self, path: str = "/chat/completions", **body: Any) -> httpx.Response:
        return self.http.post(path, json={"model": MODEL, **body})

    def faults(self, *rules: dict[str, Any]) -> None:
        self.ok(httpx.post(f"{self.url}/simulator/faults", json=rules))


@contextmanager
def simulated(folder: Path, prefix: str = "/v1", **options: Any) -> Iterator[Client]:
    with Simulator(folder, **{"speed": INSTANT, **options}) as simulator:
        client = Client(simulator.url, prefix)
        with client.http:
            yield client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with simulated(tmp_path / "data") as ready:
        yield ready


# --- files -----------------------------------------------------------------------------------------------------------


def form(*fields: tuple[str, str | None, bytes], boundary: bytes = b"XX") -> bytes:
    body = b""
    for name, file_name, value in fields:
        file = f'; filename="{file_name}"' if file_name is not None else ""
        head = f'Content-Disposition: form-data; name="{name}"{file}\r\n'
        body += b"--%b\r\n%b\r\n%b\r\n" % (boundary, head.encode(), value)
    return body + b"--%b--\r\n" % boundary


def read(body: bytes, size: int, boundary: str = "XX") -> list[tuple[str, str | None, bytes]]:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    found = parts(f"multipart/form-data; boundary={boundary}", pieces)
    return [(part.name, part.file_name, b"".join(part.chunks)) for part in found]


@given(
    st.lists(st.sampled_from([b"\r\n--XX", b"\r\n--X", b"--XX", b"\r", b"\n", b"abc", b""]), max_size=8),
    st.integers(1, 40),
)
def test_a_form_is_read_alike_in_whatever_pieces_it_comes(content: list[bytes], size: int) -> None:
    """Values that look like boundaries, cut anywhere, come out whole; only the boundary itself cannot be a value."""
    value = b"".join(content)
    if b"\r\n--XX" in b"\r\n" + value + b"\r\n":
        return
    fields = [("purpose", None, b"batch"), ("file", 'a"b.jsonl'.replace('"', ""), value), ("more", None, b"")]
    assert read(form(*fields), size) == fields


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--XX--\r\n"),
        ("multipart/form-data; boundary=XX", b"no form"),
        ("multipart/form-data; boundary=XX", b"--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XX--\r\n"),
        ("multipart/form-data; boundary=XX", form(("file", "a", b"x"))[:-8]),
        ("multipart/form-data; boundary=XX", b"--XX\r\n" + b"x" * 20_000),
    ],
)
def test_what_is_no_form_is_refused(client: Client, kind: str, body: bytes) -> None:
    """Another type, no boundary, no name, no end, no head: 400, and the connection lives on."""
    reply = client.http.post("/files", content=body, headers={"Content-Type": kind})
    assert reply.status_code == 400 and reply.json()["error"]["type"] == "invalid_request_error"
    assert client.ok(client.http.get("/files"))["data"] == []


def test_a_part_that_nobody_reads_is_skipped() -> None:
    """Reading the next part passes over what is left of the one before."""
    found = parts("multipart/form-data; boundary=XX", [form(("a", None, b"x" * 999), ("b", None, b"y"))])
    next(found)
    assert next(found).text() == "y"


def test_a_long_plain_field_is_refused() -> None:
    """A field that is no file is held in memory, and so is bounded."""
    found = parts("multipart/form-data; boundary=XX", [form(("purpose", None, b"x" * 70_000))])
    with pytest.raises(Refusal):
        next(found).text()


def test_files_are_paged_newest_first(client: Client) -> None:
    """`after`, `limit` and `purpose` choose; first_id, last_id and has_more say where one is."""
    made = [client.upload(b"x") for _ in range(3)]
    client.ok(client.post_file(b"x", purpose="user_data", name="x.txt"))
    page = client.ok(client.http.get("/files", params={"limit": 2, "purpose": "batch"}))
    assert [file["id"] for file in page["data"]] == made[:0:-1] == [page["first_id"], page["last_id"]]
    assert page["has_more"]
    rest = client.ok(client.http.get("/files", params={"after": page["last_id"], "purpose": "batch"}))
    assert [file["id"] for file in rest["data"]] == made[:1] and not rest["has_more"]
    assert client.http.get("/files", params={"limit": "0"}).status_code == 400


def test_results_are_files_only_once_there_are_some(client: Client) -> None:
    """A running batch made none; what an ended one made can be fetched in ranges and is no input."""
    done = client.ended(rows(2))
    whole = client.raw(done["output_file_id"])
    part = client.http.get(f"/files/{done['output_file_id']}/content", headers={"Range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, whole[3:10])
    assert client.post_batch(done["output_file_id"]).status_code == 400


# --- batches ---------------------------------------------------------------------------------------------------------


def test_the_life_of_a_batch(tmp_path: Path) -> None:
    """validating, in_progress with growing counts, finalizing, completed; each with its time, and files at the end."""
    now = [1_767_225_600.0]
    with simulated(tmp_path, speed=1.0, clock=lambda: now[0]) as client:
        batch = client.create(rows(100))
        seen = []
        for seconds in (0.0, 0.825, 0.65, 0.025):
            now[0] += seconds
            seen.append(client.detail(batch["id"]))
    assert [found["status"] for found in seen] == ["validating", "in_progress", "finalizing", "completed"]
    counts = [found["request_counts"]["completed"] for found in seen]
    assert counts == sorted(counts) and counts[0] == 0 and 0 < counts[1] < 100 and counts[3] == 100
    assert seen[0]["request_counts"]["total"] == 0 and seen[1]["request_counts"]["total"] == 100
    assert [bool(found["output_file_id"]) for found in seen] == [False, False, False, True]
    last = seen[-1]
    assert last["created_at"] <= last["in_progress_at"] <= last["completed_at"] < last["expires_at"]
    assert last["expires_at"] - last["created_at"] == 24 * 3600 and last["failed_at"] is last["cancelled_at"] is None


def test_files_expire_a_week_after_the_end(tmp_path: Path) -> None:
    """The batch still names its output; the content is gone."""
    now = [1_767_225_600.0]
    with simulated(tmp_path, clock=lambda: now[0]) as client:
        batch = client.create(rows(1))["id"]
        now[0] += 1
        file = client.detail(batch)["output_file_id"]
        assert client.raw(file)
        now[0] += 8 * 24 * 3600
        assert client.detail(batch)["output_file_id"] == file
        assert client.http.get(f"/files/{file}/content").status_code == 404


def test_lines_may_say_less(client: Client) -> None:
    """A line of custom_id and body goes to the batch's endpoint: to chat, embeddings, responses."""
    assert client.bodies(request_line("r", chat("x"), None))[0]["object"] == "chat.completion"
    embedded = client.bodies(request_line("r", {"model": MODEL, "input": ["a", "b"]}, None), endpoint="/v1/embeddings")
    assert embedded[0]["object"] == "list" and len(embedded[0]["data"]) == 2
    asked = {"model": MODEL, "input": [{"role": "user", "content": [{"type": "input_text", "text": "Why?"}]}]}
    told = client.bodies(request_line("r", asked, "/v1/responses"), endpoint="/v1/responses")[0]
    assert told["object"] == "response" and "to: Why?" in told["output"][0]["content"][0]["text"]
    cut = client.bodies(request_line("r", {**asked, "max_output_tokens": 2}, "/v1/responses"), endpoint="/v1/responses")
    assert cut[0]["status"] == "incomplete" and cut[0]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_baidus_path_has_baidus_words(tmp_path: Path) -> None:
    """Under /v2: CamelCase statuses, windows up to 672 hours, files up to 5,000 lines, ids that begin with infer-."""
    with simulated(tmp_path, "/v2", speed=1e-6) as client:
        batch = client.create(request_line("r", chat("x"), "/v2/chat/completions"), endpoint="/v2/chat/completions")
        assert batch["id"].startswith("infer-") and batch["status"] == "Queuing"
        assert client.http.post(f"/batches/{batch['id']}/cancel").json()["status"] == "Stopping"
    with simulated(tmp_path, "/v2") as client:
        assert client.post_batch(client.upload(rows(1)), completion_window="672h").status_code == 200
        assert client.post_batch(client.upload(rows(1)), completion_window="673h").status_code == 400
        assert client.ended(rows(1), metadata={"n": 1})["metadata"] == {"n": 1}
        failed = client.ended(rows(5001))
        assert failed["status"] == "Failed" and failed["errors"]["data"][0]["code"] == "too_many_tasks"


@pytest.mark.parametrize(("window", "seconds"), [("12h", 43200), ("7d", 604800), ("336h", 1209600), (None, 86400)])
def test_windows_are_hours_or_days(client: Client, window: str | None, seconds: int) -> None:
    """As Kimi, Groq and DashScope have them; without one it is a day, as with Zhipu."""
    batch = client.create(rows(1), completion_window=window)
    assert batch["expires_at"] - batch["created_at"] == seconds


def test_groqs_lists_have_a_cursor(tmp_path: Path) -> None:
    """Under /openai/v1 the next page may be asked for by `cursor`."""
    with simulated(tmp_path, "/openai/v1") as client:
        made = [client.create(rows(1))["id"] for _ in range(3)]
        page = client.ok(client.http.get("/batches", params={"limit": 2}))
        rest = client.ok(client.http.get("/batches", params={"cursor": page["paging"]["next_cursor"]}))
        assert [batch["id"] for batch in (*page["data"], *rest["data"])] == made[::-1]
        assert rest["paging"]["next_cursor"] is None


def test_paths_do_not_see_each_other(client: Client) -> None:
    """A file, a batch and a list belong to the path they were made under."""
    batch = client.create(rows(1))
    other = Client(client.url, "/openai/v1")
    with other.http:
        assert other.http.get(f"/batches/{batch['id']}").status_code == 404
        assert other.http.get(f"/files/{batch['input_file_id']}").status_code == 404
        assert other.ok(other.http.get("/batches"))["data"] == []
        assert other.post_batch(batch["input_file_id"]).status_code == 400


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"input_file_id": 5}', b'{"input_file_id": "file-none"}'])
def test_a_bad_order_is_refused(client: Client, body: bytes) -> None:
    """400, in OpenAI's error body, and nothing is made."""
    reply = client.http.post("/batches", content=body)
    assert reply.status_code == 400 and set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert client.ok(client.http.get("/batches"))["data"] == []


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic eA=="}, {"Authorization": "Bearer invalid-1"}])
def test_a_bad_key_is_refused_everywhere(client: Client, headers: dict[str, str]) -> None:
    """Every call of the wire asks for a key."""
    stranger = Client(client.url, headers=headers)
    with stranger.http as http:
        calls = [("GET", "/files"), ("POST", "/files"), ("GET", "/files/x"), ("DELETE", "/files/x")]
        calls += [("GET", "/files/x/content"), ("POST", "/batches"), ("GET", "/batches"), ("GET", "/batches/x")]
        calls += [("POST", "/batches/x/cancel"), ("GET", "/models"), ("GET", "/models/x")]
        calls += [("POST", path) for path in ("/chat/completions", "/completions", "/embeddings", "/responses")]
        replies = [http.request(method, path) for method, path in calls]
    assert {(reply.status_code, reply.json()["error"]["code"]) for reply in replies} == {(401, "invalid_api_key")}


@pytest.mark.parametrize("name", ["api-key", "x-api-key", "apiKey"])
def test_a_key_may_stand_in_a_header_of_its_own(client: Client, name: str) -> None:
    """As Azure and others have it."""
    other = Client(client.url, headers={name: "key-1"})
    with other.http:
        assert other.ok(other.http.get("/models"))["data"]


# --- cancelling ------------------------------------------------------------------------------------------------------


def test_a_cancel_settles_what_is_billed(tmp_path: Path) -> None:
    """Half of the rows were finished: they are answered and billed, the others neither, also after a restart."""
    now = [1_767_225_600.0]
    fails = [{"on": "task", "do": "fail-rows", "rows": [2]}]
    with simulated(tmp_path, speed=1.0, faults=fails, clock=lambda: now[0]) as client:
        batch = client.create(rows(100))["id"]
        assert read_bill(tmp_path)["billed"] == 99
        now[0] += 0.825
        assert client.ok(client.http.post(f"/batches/{batch}/cancel"))["status"] == "cancelling"
        now[0] += 0.05
        assert client.ok(client.http.post(f"/batches/{batch}/cancel"))["status"] == "cancelling"
    now[0] += 1
    with simulated(tmp_path, speed=1.0, clock=lambda: now[0]) as client:
        done = client.detail(batch)
        assert done["status"] == "cancelled" and done["request_counts"] == {"total": 100, "completed": 49, "failed": 1}
        output, errors = client.lines(done["output_file_id"]), client.lines(done["error_file_id"])
        assert len(output) == 49 and len(errors) == 51
        usage = [line["response"]["body"]["usage"]["completion_tokens"] for line in output]
    bill = read_bill(tmp_path)
    assert (bill["requests"], bill["billed"]) == (100, 49) and bill["tasks"][0]["output_tokens"] == sum(usage)


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_a_cancel_at_either_end(tmp_path: Path, seconds: float) -> None:
    """Before it runs nothing is billed; after the end nothing changes."""
    now = [1_767_225_600.0]
    with simulated(tmp_path, speed=1.0, clock=lambda: now[0]) as client:
        batch = client.create(rows(4))["id"]
        now[0] += seconds
        before = client.detail(batch)
        client.http.post(f"/batches/{batch}/cancel")
        now[0] += 1
        after = client.detail(batch)
    if seconds:
        assert after == before and after["status"] == "completed"
    else:
        assert after["status"] == "cancelled" and after["output_file_id"] is None
    assert read_bill(tmp_path)["billed"] == (4 if seconds else 0)


def test_rows_of_a_cancelled_batch_may_be_asked_again(tmp_path: Path) -> None:
    """Asking for the unanswered ones once more bills each once."""
    with simulated(tmp_path, faults=[{"on": "task", "do": "never-end", "times": 1}]) as client:
        batch = client.create(rows(4))["id"]
        client.ok(client.http.post(f"/batches/{batch}/cancel"))
        left = [line["custom_id"] for line in client.lines(client.detail(batch)["error_file_id"])]
        assert left == ["row-3", "row-4"]
        client.create(b"".join(line + b"\n" for line in rows(4).splitlines()[2:]))
    bill = read_bill(tmp_path)
    assert (bill["billed"], bill["duplicates"]) == (4, [])


# --- faults ----------------------------------------------------------------------------------------------------------

CALLS = {
    "upload": ("POST", "/files"),
    "files": ("GET", "/files"),
    "file": ("GET", "/files/{file}"),
    "create": ("POST", "/batches"),
    "list": ("GET", "/batches"),
    "detail": ("GET", "/batches/{batch}"),
    "cancel": ("POST", "/batches/{batch}/cancel"),
    "download": ("GET", "/files/{file}/content"),
    "delete": ("DELETE", "/files/{file}"),
    "models": ("GET", "/models"),
    "chat": ("POST", "/chat/completions"),
}


@pytest.mark.parametrize("call", CALLS)
def test_each_kind_of_call_can_fail(client: Client, call: str) -> None:
    """The same words as on every wire: a status comes before any effect, with OpenAI's code; then the call goes on."""
    batch = client.create(rows(1))
    method, path = CALLS[call]
    path = path.format(file=batch["input_file_id"], batch=batch["id"])
    bill = httpx.get(f"{client.url}/simulator/bill").json()
    client.faults({"on": call, "do": 429, "retry_after": 3, "times": 1}, {"on": call, "do": 503, "times": 1})
    refused, broken, good = (client.http.request(method, path) for _ in range(3))
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3")
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert (broken.status_code, broken.json()["error"]["type"]) == (503, "server_error")
    assert good.status_code in (200, 400)
    assert httpx.get(f"{client.url}/simulator/bill").json() == bill


@pytest.mark.parametrize("do", ["500-after", "lost-reply", "cut", "garbage", "empty-body"])
def test_a_spoiled_create_has_its_effect(client: Client, do: str) -> None:
    """The batch is made and billed, though the reply does not say so."""
    client.faults({"on": "create", "do": do, "times": 1})
    file = client.upload(rows(1))
    try:
        reply = client.post_batch(file)
        assert "batch_" not in reply.text
    except httpx.TransportError:
        assert do in ("lost-reply", "cut")
    listed = client.ok(client.http.get("/batches"))["data"]
    assert [batch["input_file_id"] for batch in listed] == [file]


def test_a_lagging_list_hides_young_batches(tmp_path: Path) -> None:
    """A batch is not listed before it is so old, though it can be asked after."""
    now = [1_767_225_600.0]
    with simulated(tmp_path, faults=[{"on": "list", "do": "lag", "seconds": 60}], clock=lambda: now[0]) as client:
        batch = client.create(rows(1))["id"]
        assert client.ok(client.http.get("/batches"))["data"] == [] and client.detail(batch)["id"] == batch
        now[0] += 60
        assert len(client.ok(client.http.get("/batches"))["data"]) == 1


def test_lines_of_results_can_be_disordered(client: Client) -> None:
    """Shuffled, doubled, broken, foreign and missing lines, as on every wire."""
    order = [f"row-{n}" for n in range(1, 11)]

    def ids(*rules: dict[str, Any]) -> list[str]:
        client.faults(*({"on": "task", **rule} for rule in rules))
        return [line["custom_id"] for line in client.lines(client.ended(rows(10))["output_file_id"])]

    shuffled = ids({"do": "shuffle"})
    assert sorted(shuffled) == sorted(order) and shuffled != order
    assert ids({"do": "duplicate-lines", "rows": [2]}) == ["row-1", "row-2", *order[1:]]
    assert ids({"do": "missing-rows", "rows": [1]}) == order[1:]
    assert set(ids({"do": "unknown-ids"})) - set(order)
    client.faults({"on": "task", "do": "broken-line", "rows": [10]})
    with pytest.raises(ValueError):
        json.loads(client.raw(client.ended(rows(10))["output_file_id"]).splitlines()[9])


def test_a_task_is_chosen_by_its_files_name(client: Client) -> None:
    """A fault's `name` is the uploaded file's, without its ending; so is the bill's."""
    client.faults({"on": "task", "do": "fail", "name": "job-*", "message": "no", "code": "quota"})
    failed = client.ended(rows(1))
    assert failed["status"] == "failed" and failed["errors"]["data"][0]["code"] == "quota"
    assert httpx.get(f"{client.url}/simulator/bill").json()["tasks"][0]["name"] == "job-1"


# --- single calls ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/chat/completions", {}, 400),
        ("/chat/completions", {"messages": "x"}, 400),
        ("/completions", {"prompt": {"a": 1}}, 400),
        ("/embeddings", {"input": [1, 2]}, 400),
        ("/responses", {"input": [5]}, 400),
        ("/responses", {"input": "x", "stream": True}, 400),
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}], "model": "mi-none"}, 404),
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}], "model": None}, 400),
    ],
)
def test_a_bad_question_is_refused_and_not_billed(client: Client, path: str, body: dict[str, Any], status: int) -> None:
    """Nothing to ask, nobody to ask, or a stream where there is none."""
    reply = client.ask(path, **body)
    assert reply.status_code == status and reply.json()["error"]["message"]
    assert httpx.get(f"{client.url}/simulator/bill").json()["online"]["requests"] == 0


def test_a_stream_as_it_is_on_the_wire(client: Client) -> None:
    """Server-sent events: data lines, a comment that says nothing, `[DONE]`; usage only where it is asked for."""
    body = chat("Stream it.", stream=True)
    with client.http.stream("POST", "/chat/completions", json=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        events = reply.read().decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""] and any(event.startswith(": ") for event in events)
    chunks = [json.loads(event[6:]) for event in events if event.startswith("data: {")]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"} and "usage" not in chunks[-1]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_online_calls_are_billed_before_they_are_answered(tmp_path: Path) -> None:
    """A reply that was lost is on the bill, at the online price, and the question asked again is a duplicate."""
    with simulated(tmp_path, faults=[{"on": "chat", "do": "lost-reply", "times": 1}]) as client:
        with pytest.raises(httpx.TransportError):
            client.ask(**chat("Pay me?"))
        assert read_bill(tmp_path)["online"]["billed"] == 1
        usage = client.ok(client.ask(**chat("Pay me?")))["usage"]
        batch = client.ended(request_line("r", chat("Pay me?")))
    bill = read_bill(tmp_path)
    assert (bill["requests"], bill["billed"], bill["duplicate_count"]) == (3, 3, 1)
    assert bill["duplicates"][0]["custom_id"] == "" and bill["duplicates"][0]["times"] == 2
    online = 2 * (usage["prompt_tokens"] * 0.0005 + usage["completion_tokens"] * 0.002) / 1000
    assert bill["online"]["cost"] == pytest.approx(online)
    assert bill["cost"] == pytest.approx(online + bill["tasks"][0]["cost"])
    assert batch["usage"]["total_tokens"] == usage["total_tokens"]


def test_many_may_ask_at_once(tmp_path: Path) -> None:
    """Eight threads on connections of their own: every answer is on the bill once."""
    with simulated(tmp_path) as client:

        def work(name: int) -> None:
            with Client(client.url).http as http:
                for n in range(20):
                    assert http.post("/chat/completions", json=chat(f"{name} asks {n}?")).status_code == 200

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    bill = read_bill(tmp_path)
    assert (bill["online"]["billed"], bill["duplicates"]) == (160, [])


# --- one question, one answer ----------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"b": {"type": "integer"}, "a": {"enum": ["x", "y", "z"]}}, "required": ["a"]}


def spelt(text: str, system: str, *, schema: bool) -> list[tuple[str, dict[str, Any]]]:
    """The same question in every shape that a wire has for it: (path, body)."""
    said = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    tool = {"name": "answer", "parameters": SCHEMA}
    forced = {"type": "function", "function": {"name": "answer"}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    told = {"role": "system", "content": f"Answer with JSON alone, which fits this JSON Schema: {json.dumps(SCHEMA)}"}
    blocks = [{"type": "text", "text": system}]
    response: dict[str, Any] = {"instructions": system, "input": text}
    message: dict[str, Any] = {"system": blocks, "messages": said[1:], "max_tokens": 500}
    if not schema:
        chats: list[dict[str, Any]] = [{}, {"temperature": 1}]
        bodies = [{"messages": said, **more} for more in chats]
    else:
        format_ = {"type": "json_schema", "name": "x", "schema": SCHEMA}
        response |= {"text": {"format": format_}}
        message |= {"tools": [{"name": "answer", "input_schema": SCHEMA}]}
        bodies = [
            {"messages": said, "response_format": wanted},
            {"messages": said, "tools": [{"type": "function", "function": tool}], "tool_choice": forced},
            {"messages": [told, *said], "response_format": {"type": "json_object"}},
            {"messages": [told, *said]},
        ]
    chats = [(CHAT, body) for body in bodies]
    return [*chats, ("/v1/responses", response), ("/v1/messages", message)]


@pytest.mark.parametrize("schema", [False, True])
@given(text=st.text(max_size=30), system=st.text(max_size=30))
def test_an_answer_depends_on_the_question_alone(text: str, system: str, schema: bool) -> None:
    """Whatever the shape, the model and the parameters: equal texts and equal tokens."""
    answers = [
        answer(read_question({"model": f"m-{at}", **body}, url))
        for at, (url, body) in enumerate(spelt(text, system, schema=schema))
    ]
    assert len({(found.text, found.input_tokens, found.output_tokens) for found in answers}) == 1
    if schema:
        assert json.loads(answers[0].text)["a"] in ("x", "y", "z")


WORDS = [
    "messages",
    "prompt",
    "input",
    "content",
    "text",
    "format",
    "type",
    "schema",
    "json_schema",
    "role",
    "response_format",
    "tools",
    "tool_choice",
    "function",
    "name",
    "parameters",
    "max_tokens",
    "system",
]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(["text", "json_schema", "user", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(st.sampled_from(["messages", "prompt", "input", "tools", "text", "system"]), JUNK),
    st.sampled_from(["", "/v1/embeddings", "/v1/responses", "/v1/messages"]),
)
def test_whatever_is_asked_is_answered_or_refused(body: dict[str, Any], url: str) -> None:
    """A body of any shape gets an answer, or a ValueError that says what is wrong with it."""
    try:
        given_ = answer(read_question({"max_tokens": 5, **body}, url))
    except ValueError as error:
        assert str(error)
    else:
        assert given_.input_tokens > 0


@pytest.mark.parametrize(
    ("url", "body", "kind"),
    [
        (CHAT, {"messages": [{}]}, "chat"),
        ("", {"messages": [{}], "prompt": "x"}, "chat"),
        (CHAT, {"prompt": "x"}, "text"),
        ("", {"input": "x"}, "responses"),
        ("/v1/embeddings", {"input": "x"}, "embeddings"),
        ("/v1/messages", {"messages": [{}]}, "messages"),
        ("", {}, "text"),
    ],
)
def test_the_path_or_the_keys_say_what_is_asked(url: str, body: dict[str, Any], kind: str) -> None:
    """The path where it is telling, else the body's own keys."""
    assert kind_of(url, body) == kind


# --- memory ----------------------------------------------------------------------------------------------------------


def test_a_memory_of_an_older_version_is_taken_over(tmp_path: Path) -> None:
    """Its tasks are still there, still billed, and new ones can be added."""
    with simulated(tmp_path) as client:
        client.ended(rows(2))
    with sqlite3.connect(tmp_path / "memory.sqlite3") as db:
        for column in ("wire", "extra", "error_code", "error_line", "finished", "cancelled", "deleted"):
            db.execute(f"ALTER TABLE tasks DROP COLUMN {column}")
        db.execute("DROP TABLE online")
        db.execute("DROP TABLE files")
    db.close()
    with simulated(tmp_path) as client:
        client.ended(rows(3))
    assert [task["billed"] for task in read_bill(tmp_path)["tasks"]] == [2, 3]
    assert [task["wire"] for task in read_bill(tmp_path)["tasks"]] == ["wanqing", "openai"]
