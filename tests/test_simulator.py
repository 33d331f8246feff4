"""The simulator speaks Wanqing's wire, remembers, bills, and misbehaves on request."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import InvalidDocuments, RunnerError
from runner.simulator import faults as words
from runner.simulator.answers import KnownAnswers
from runner.simulator.faults import Fault, Faults, parse_faults, read_faults
from runner.simulator.fit import fit
from runner.simulator.lifecycle import ENDED, PENDING, RUNNING, Course
from runner.simulator.memory import Memory
from runner.simulator.models import MODELS
from runner.simulator.pattern import sample
from runner.simulator.server import Simulator, default_data, read_bill

API = "/api/openapi/v1"
MODEL = "mi-9"
INSTANT = 1e6
"""A speed at which a task has ended by the time one can ask."""


def chat(text: str, **parameters: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **parameters}


def request_line(custom_id: str, body: dict[str, Any]) -> bytes:
    record = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(record).encode() + b"\n"


def batch(count: int = 3) -> bytes:
    return b"".join(request_line(f"row-{n}", chat(f"Question number {n}?")) for n in range(1, count + 1))


class Client:
    """The six calls, as a caller of Wanqing makes them."""

    def __init__(self, url: str, key: str = "key-1", project: str = "proj-1") -> None:
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=20)
        self.project = project

    def data(self, reply: httpx.Response) -> Any:
        assert reply.status_code == 200, reply.text
        assert reply.json()["ResponseMeta"]["ErrorCode"] == ""
        return reply.json()["ResponseData"]

    def upload_url(self) -> httpx.Response:
        query = {"fileName": "in.jsonl", "projectId": self.project}
        return self.http.get(f"{API}/batch-reasoning-tasks/upload/upload-url", params=query)

    def upload(self, content: Any) -> str:
        token = str(self.data(self.upload_url())["fileToken"])
        reply = httpx.post(f"{self.http.base_url}/api/upload", params={"upload_token": token}, content=content)
        assert reply.json() == {"result": 1}
        return token

    def order(self, token: str, **changes: Any) -> dict[str, Any]:
        return {
            "name": "nightly",
            "projectId": self.project,
            "modelInstanceId": MODEL,
            "accessType": "PUBLIC",
            "fileToken": token,
            "fileName": "in.jsonl",
            "maxWaitTime": 3600,
            **changes,
        }

    def post_task(self, order: dict[str, Any]) -> httpx.Response:
        return self.http.post(f"{API}/batch-reasoning-tasks", json=order)

    def create(self, content: Any, **changes: Any) -> str:
        return str(self.data(self.post_task(self.order(self.upload(content), **changes)))["id"])

    def path(self, task: str = "") -> str:
        return f"{API}/projects/{self.project}/batch-reasoning-tasks{'/' if task else ''}{task}"

    def detail(self, task: str) -> Any:
        return self.data(self.http.get(self.path(task)))

    def tasks(self, **query: Any) -> Any:
        return self.data(self.http.get(self.path(), params=query))

    def ended(self, task: str) -> Any:
        deadline = time.monotonic() + 10
        while (found := self.detail(task))["status"] in ("pending", "running") and time.monotonic() < deadline:
            time.sleep(0.005)
        return found

    def link(self, task: str) -> httpx.Response:
        return self.http.get(f"{self.path(task)}/download-url", params={"status": "output"})

    def raw_results(self, task: str) -> bytes:
        self.ended(task)
        reply = httpx.get(self.data(self.link(task))["fileUrl"])
        assert reply.status_code == 200
        return reply.content

    def results(self, task: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.raw_results(task).splitlines()]


@contextmanager
def simulated(folder: Path, **options: Any) -> Iterator[Client]:
    with Simulator(folder, **{"speed": INSTANT, **options}) as simulator:
        client = Client(simulator.url)
        with client.http:
            yield client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with simulated(tmp_path / "data") as ready:
        yield ready


def answer_text(line: dict[str, Any]) -> str:
    return str(line["response"]["body"]["choices"][0]["message"]["content"])


# --- the wire --------------------------------------------------------------------------------------------------------


def test_a_batch_goes_from_upload_to_results(client: Client) -> None:
    """Each row of the file is answered once, under its own custom_id, with usage and a readable answer."""
    lines = client.results(client.create(batch(3)))
    assert [line["custom_id"] for line in lines] == ["row-1", "row-2", "row-3"]
    for number, line in enumerate(lines, 1):
        assert line["error"] is None and line["response"]["status_code"] == 200
        body = line["response"]["body"]
        assert body["object"] == "chat.completion" and body["choices"][0]["finish_reason"] == "stop"
        assert f"Question number {number}?" in answer_text(line)
        assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


def test_an_ended_task_says_what_the_document_says(client: Client) -> None:
    """The task object has every documented field, counts as numbers, and echoes the caller's key."""
    task = client.ended(client.create(batch(3), name="nightly-7f3a"))
    documented = (
        "name description tags id projectId projectInfo createdBy createdAt updatedBy updatedAt modelInfo maxWaitTime"
        " authorizations inputDataFile outputDataFile status errorReason progress defaultTokenLimit"
    )
    assert set(task) == set(documented.split())
    assert task["status"] == "succeeded" and task["errorReason"] == "" and task["name"] == "nightly-7f3a"
    assert {k: v for k, v in task["progress"].items() if k.endswith("Count")} == {
        "totalCount": 3,
        "succeededCount": 3,
        "failedCount": 0,
    }
    assert task["authorizations"]["apiKey"] == "key-1"
    assert task["inputDataFile"]["file"]["fileName"] == "in.jsonl"
    assert task["modelInfo"]["modelInstanceId"] == MODEL and task["maxWaitTime"] == 3600


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer invalid-1"}, {"Authorization": "key-1"}])
def test_a_bad_key_is_refused_in_the_envelope(client: Client, header: dict[str, str]) -> None:
    """No key, a key that starts with `invalid`, and another scheme get 401 and an ErrorCode."""
    reply = httpx.get(f"{client.http.base_url}{API}/model-instances", headers=header)
    assert reply.status_code == 401
    assert reply.json()["ResponseMeta"]["ErrorCode"] == "Unauthorized" and reply.json()["ResponseData"] is None


def test_the_model_list_filters_by_tag(client: Client) -> None:
    """`customTags=supportOffline` leaves out the models that take no batches."""
    whole = client.data(client.http.get(f"{API}/model-instances"))
    offline = client.data(client.http.get(f"{API}/model-instances", params={"customTags": "supportOffline"}))
    assert whole["total"] == len(whole["list"]) == len(MODELS) > offline["total"] > 0
    assert all("supportOffline" in entry["invisibleModelTags"]["customTags"] for entry in offline["list"])


def test_the_models_cover_what_a_selector_may_meet() -> None:
    """Vendors, a vision model, a stopped instance, one without a price, batch and online prices, tiers."""
    scenes = [{info["usageScene"] for info in entry["priceInfo"]} for entry in MODELS]
    assert len({entry["vendor"] for entry in MODELS}) >= 3
    assert any("image" in entry["capabilityOverview"]["inputModalities"] for entry in MODELS)
    assert any(entry["modelInstance"]["status"] == "stopped" for entry in MODELS)
    assert set() in scenes and {"onlineInference"} in scenes and {"onlineInference", "batchInference"} in scenes
    assert all(isinstance(limit, str) for entry in MODELS for limit in entry["tokenLimit"].values())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"modelInstanceId": "mi-none"}, "ModelInstanceNotFound"),
        ({"modelInstanceId": "mi-5"}, "ModelInstanceNotRunning"),
        ({"modelInstanceId": "mi-7"}, "ModelInstanceNotSupported"),
        ({"fileToken": "tok-unknown"}, "FileNotFound"),
        ({"projectId": "proj-other"}, "FileNotFound"),
        ({"projectId": "../etc"}, "InvalidParameter"),
        ({"accessType": "PRIVATE"}, "InvalidParameter"),
        ({"maxWaitTime": "3600"}, "InvalidParameter"),
        ({"maxWaitTime": 0}, "InvalidParameter"),
        ({"maxWaitTime": True}, "InvalidParameter"),
        ({"name": ""}, "InvalidParameter"),
        ({"name": "line\nbreak"}, "InvalidParameter"),
        ({"fileName": None}, "InvalidParameter"),
    ],
)
def test_a_bad_order_is_refused_and_not_billed(client: Client, changes: dict[str, Any], code: str) -> None:
    """Each wrong field gets 400 with its ErrorCode, and no task comes of it."""
    reply = client.post_task(client.order(client.upload(batch(1)), **changes))
    assert (reply.status_code, reply.json()["ResponseMeta"]["ErrorCode"]) == (400, code)
    assert client.http.get("/simulator/bill").json()["tasks"] == []


def test_all_missing_fields_are_named_at_once(client: Client) -> None:
    """An empty order is answered with the list of what it lacks."""
    message = client.post_task({}).json()["ResponseMeta"]["ErrorMessage"]
    assert all(name in message for name in ("name", "projectId", "modelInstanceId", "fileToken", "maxWaitTime"))


def test_a_token_without_an_upload_makes_no_task(client: Client) -> None:
    """A minted token that nothing was uploaded with is no file."""
    token = client.data(client.upload_url())["fileToken"]
    assert client.post_task(client.order(token)).json()["ResponseMeta"]["ErrorCode"] == "FileNotFound"


def test_an_unknown_upload_token_fails_by_result(client: Client) -> None:
    """The gateway says no with `result` other than 1, under HTTP 200."""
    reply = client.http.post("/api/upload", params={"upload_token": "tok-none"}, content=b"x")
    assert reply.status_code == 200 and reply.json()["result"] != 1


def test_an_upload_may_be_chunked_and_may_be_repeated(client: Client) -> None:
    """A body of unknown length is taken whole, and the last upload with a token is the one that counts."""
    token = client.upload(batch(9))
    reply = client.http.post(
        "/api/upload", params={"upload_token": token}, content=iter([batch(2)[:50], batch(2)[50:]])
    )
    assert reply.json() == {"result": 1}
    task = client.data(client.post_task(client.order(token)))["id"]
    assert len(client.results(task)) == 2


def test_tasks_belong_to_their_project(client: Client) -> None:
    """Another project neither sees nor lists a task."""
    task = client.create(batch(1))
    client.project = "proj-2"
    assert client.http.get(client.path(task)).status_code == 404
    assert client.tasks()["list"] == []


def test_the_list_filters_by_name_and_pages_newest_first(client: Client) -> None:
    """`name` is exact, `page` counts from 1, `total` counts all."""
    ids = [client.create(batch(1), name=name) for name in ("a", "b", "a", "ab")]
    assert [task["id"] for task in client.tasks(name="a")["list"]] == [ids[2], ids[0]]
    second = client.tasks(page=2, size=3)
    assert second["total"] == 4 and [task["id"] for task in second["list"]] == [ids[0]]
    assert client.http.get(client.path(), params={"page": "0"}).status_code == 400


def test_results_can_be_fetched_in_ranges_without_a_key(client: Client) -> None:
    """A link works by itself, whole or in part; a changed signature does not."""
    task = client.create(batch(5))
    whole = client.raw_results(task)
    url = client.data(client.link(task))["fileUrl"]
    part = httpx.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(whole)}"
    assert httpx.get(url, headers={"Range": "bytes=10-"}).content == whole[10:]
    assert httpx.get(url, headers={"Range": "bytes=-7"}).content == whole[-7:]
    assert httpx.get(url, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416
    assert httpx.get(url + "0").status_code == 403


def test_nothing_is_downloaded_before_the_end(tmp_path: Path) -> None:
    """A running task refuses its download-url; one that failed whole has no output at all."""
    with simulated(tmp_path, speed=0.001) as client:
        assert client.link(client.create(batch(1))).json()["ResponseMeta"]["ErrorCode"] == "TaskNotFinished"
    with simulated(tmp_path) as client:
        task = client.create(b"not json\n")
        assert client.ended(task)["outputDataFile"] is None
        assert (client.link(task).status_code, client.link(task).json()["ResponseMeta"]["ErrorCode"]) == (
            404,
            "OutputNotFound",
        )


# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        {"custom_id": "r", "method": "POST", "url": "/v1/chat/completions", "body": chat("Why?")},
        {"custom_id": "r", "body": chat("Why?")},
        {"custom_id": "r", **chat("Why?")},
    ],
)
def test_request_lines_are_read_in_three_shapes(client: Client, line: dict[str, Any]) -> None:
    """The full line, one without method and url, and one with a flat body ask the same and are answered the same."""
    answers = [
        client.results(client.create(data)) for data in (json.dumps(line).encode(), request_line("r", chat("Why?")))
    ]
    assert answer_text(answers[0][0]) == answer_text(answers[1][0])


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (b"{not json\n", "line 2 of the input file is not JSON"),
        (b'{"body": {}}\n', "line 2 of the input file has no custom_id"),
        (b'{"custom_id": "x", "body": [1]}\n', "line 2 of the input file has a body that is not an object"),
        (b'{"custom_id": "x", "body": {"a": NaN}}\n', "line 2 of the input file is not JSON"),
        (b'{"custom_id": "\\ud800", "body": {}}\n', "line 2 of the input file has a custom_id with unprintable"),
        (b"\xff\xfe{}\n", "line 2 of the input file is not UTF-8"),
        (b"[" * 100_000 + b"\n", "line 2 of the input file is not JSON"),
        (request_line("row-1", chat("again")), "line 2 of the input file has the custom_id of line 1"),
    ],
)
def test_one_bad_line_fails_the_task_by_name(client: Client, bad: bytes, says: str) -> None:
    """The task is accepted, then fails with the line's number and what is wrong; nothing is billed."""
    task = client.ended(client.create(batch(1) + bad + request_line("row-9", chat("x"))))
    assert task["status"] == "failed" and says in task["errorReason"]
    assert client.http.get("/simulator/bill").json()["requests"] == 0


def test_an_empty_file_fails_the_task(client: Client) -> None:
    """A file without a request is accepted and fails."""
    assert "holds no request" in client.ended(client.create(b"\n \n"))["errorReason"]


def test_a_body_that_asks_nothing_fails_only_its_row(client: Client) -> None:
    """Its line has an error body under status 400, and the task succeeds all the same."""
    odd: list[dict[str, Any]] = [
        {"model": MODEL},
        {"messages": 5},
        {"messages": ["x"]},
        {"messages": [{"role": "user"}, 7]},
        {"prompt": {}},
    ]
    task = client.create(batch(1) + b"".join(request_line(f"odd-{n}", body) for n, body in enumerate(odd)))
    ended = client.ended(task)
    assert ended["status"] == "succeeded" and ended["progress"]["succeededCount"] == 1 + 1
    for line in client.results(task)[1:4]:
        assert line["response"]["status_code"] == 400
        assert line["response"]["body"]["error"]["code"] == "invalid_request_error"


def test_a_completion_body_gets_a_text_completion(client: Client) -> None:
    """A body with `prompt` is answered in the shape of /v1/completions."""
    line = client.results(client.create(request_line("r", {"prompt": "Once upon a time"})))[0]
    body = line["response"]["body"]
    assert body["object"] == "text_completion" and "Once upon a time" in body["choices"][0]["text"]


def test_max_tokens_cuts_the_answer(client: Client) -> None:
    """A cut answer says finish_reason `length` and uses exactly that many tokens."""
    body = client.results(client.create(request_line("r", chat("Tell me all.", max_tokens=3))))[0]["response"]["body"]
    assert body["choices"][0]["finish_reason"] == "length" and body["usage"]["completion_tokens"] == 3


def test_answers_follow_from_the_body_alone(client: Client) -> None:
    """The same body is answered alike in any task and under any custom_id; another body is not."""
    first, second = (client.results(client.create(request_line(name, chat("Why?"))))[0] for name in ("a", "b"))
    other = client.results(client.create(request_line("a", chat("Why not?"))))[0]
    assert answer_text(first) == answer_text(second) != answer_text(other)


# --- life and memory -------------------------------------------------------------------------------------------------


def test_the_life_of_a_task_is_a_function_of_time() -> None:
    """Pending, running with growing progress, ended; twice the speed, half the time."""
    course = Course(created=100.0, rows=1000)
    assert [course.at(t, 1.0).phase for t in (99.0, 100.1, 100.2, 101.4, 101.5)] == [
        PENDING,
        PENDING,
        RUNNING,
        RUNNING,
        ENDED,
    ]
    assert course.at(100.5, 1.0).done < course.at(101.0, 1.0).done < 1
    assert course.at(100.75, 2.0).phase == ENDED and course.at(100.7, 2.0).phase == RUNNING
    assert Course(created=100.0, rows=20).at(100.3, 1.0).phase == ENDED


@given(st.floats(0, 1e4), st.floats(0, 1e4), st.integers(0, 10**6), st.floats(1e-3, 1e6))
def test_time_never_takes_progress_back(one: float, other: float, rows: int, speed: float) -> None:
    """A later look finds a task as far as an earlier one, or further."""
    course = Course(created=0.0, rows=rows)
    order = (PENDING, RUNNING, ENDED)
    early, late = (course.at(t, speed) for t in sorted((one, other)))
    assert (order.index(early.phase), early.done) <= (order.index(late.phase), late.done)


def test_a_task_reports_its_progress(tmp_path: Path) -> None:
    """Counts are 0 while pending and grow while running; endedAt is empty until the end, files expire after 7 days."""
    now = [1_767_225_600.0]
    with simulated(tmp_path, speed=1.0, clock=lambda: now[0]) as client:
        task = client.create(batch(100))
        assert client.detail(task)["status"] == "pending" and client.detail(task)["progress"]["totalCount"] == 0
        now[0] += 0.825
        half = client.detail(task)
        assert half["status"] == "running" and half["progress"]["endedAt"] == ""
        assert 0 < half["progress"]["succeededCount"] < half["progress"]["totalCount"] == 100
        now[0] += 0.675
        done = client.detail(task)
        assert done["status"] == "succeeded" and done["progress"]["endedAt"] == "2026-01-01T00:00:01Z"
        assert done["outputDataFile"]["expiredAt"] == "2026-01-08T00:00:01Z"
        url = client.data(client.link(task))["fileUrl"]
        assert httpx.get(url).status_code == 200
        now[0] += 3601
        assert httpx.get(url).status_code == 403
        now[0] += 7 * 24 * 3600
        assert client.link(task).json()["ResponseMeta"]["ErrorCode"] == "FileExpired"


def test_a_slower_restart_does_not_take_an_end_back(tmp_path: Path) -> None:
    """What was said to have ended has ended, whatever the speed after a restart."""
    with simulated(tmp_path) as client:
        task = client.create(batch(1))
        ended = client.ended(task)
    with simulated(tmp_path, speed=1e-6) as client:
        assert client.detail(task)["progress"]["endedAt"] == ended["progress"]["endedAt"]
        assert len(client.results(task)) == 1


def start_process(folder: Path, *, speed: float = INSTANT) -> tuple[subprocess.Popen[str], str]:
    code = "from pathlib import Path; from runner.simulator.server import run; run(data=Path({!r}), speed={})"
    process = subprocess.Popen(
        [sys.executable, "-c", code.format(str(folder), speed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first.startswith("listening on http://127.0.0.1:"), first
    return process, first.split()[-1]


def test_a_killed_server_forgets_nothing(tmp_path: Path) -> None:
    """After SIGKILL and a restart: the same task, the same results, the same bill, and links go on to work."""
    process, url = start_process(tmp_path)
    client = Client(url)
    with client.http:
        task = client.create(batch(4))
        raw, token, bill = client.raw_results(task), client.upload(batch(2)), client.http.get("/simulator/bill").json()
        process.kill()
        process.communicate()
    assert read_bill(tmp_path) == bill
    with simulated(tmp_path) as client:
        assert client.raw_results(task) == raw
        assert len(client.results(client.data(client.post_task(client.order(token)))["id"])) == 2


def test_the_command_stops_cleanly(tmp_path: Path) -> None:
    """SIGTERM and SIGINT end it with exit code 0, even with an idle connection open."""
    for number in (signal.SIGTERM, signal.SIGINT):
        process, url = start_process(tmp_path)
        with Client(url).http as http:
            assert http.get("/simulator/faults").json() == []
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
        assert process.returncode == 0 and errors == f"memory in {tmp_path}\n"


def test_two_simulators_share_one_folder(tmp_path: Path) -> None:
    """Both see what either accepted, and the bill holds both."""
    with simulated(tmp_path) as one, simulated(tmp_path) as other:
        tasks = [client.create(batch(2), name=f"t{n}") for n, client in enumerate((one, other))]
        assert [len(one.results(task)) for task in tasks] == [2, 2] == [len(other.results(task)) for task in tasks]
        assert len(read_bill(tmp_path)["tasks"]) == 2


def test_the_default_folder_is_the_projects(tmp_path: Path) -> None:
    """Inside a project: .runner/simulator at its root.  Elsewhere: a new temporary folder."""
    inside = tmp_path / "project" / "deep"
    inside.mkdir(parents=True)
    (tmp_path / "project" / "runner.yaml").write_text("version: 1\n")
    assert default_data(inside) == tmp_path / "project" / ".runner" / "simulator"
    elsewhere = default_data(tmp_path)
    assert elsewhere.is_dir() and tmp_path not in elsewhere.parents
    elsewhere.rmdir()


# --- the bill --------------------------------------------------------------------------------------------------------


def test_the_bill_adds_up(client: Client) -> None:
    """Tokens are those of the results, cost is tokens by the batch price, and the key itself is not kept."""
    task = client.create(batch(3), name="billed")
    usage = [line["response"]["body"]["usage"] for line in client.results(task)]
    bill = client.http.get("/simulator/bill").json()
    entry = bill["tasks"][0]
    given, answered = sum(u["prompt_tokens"] for u in usage), sum(u["completion_tokens"] for u in usage)
    assert (entry["task"], entry["name"], entry["requests"], entry["billed"]) == (task, "billed", 3, 3)
    assert (entry["input_tokens"], entry["output_tokens"]) == (given, answered)
    assert entry["cost"] == pytest.approx(given * 0.00025 / 1000 + answered * 0.001 / 1000)
    assert (bill["requests"], bill["billed"], bill["duplicates"]) == (3, 3, [])
    assert "key-1" not in json.dumps(bill)
    rows = [json.loads(line) for line in client.http.get("/simulator/bill.jsonl").text.splitlines()]
    assert [(row["task"], row["custom_id"], row["billed"]) for row in rows] == [
        (task, f"row-{n}", True) for n in (1, 2, 3)
    ]


def test_a_request_billed_twice_is_on_the_bill(client: Client) -> None:
    """The same custom_id and body in two tasks is a duplicate; another body under that custom_id is not."""
    client.create(batch(2))
    client.create(request_line("row-2", chat("Question number 2?")) + request_line("row-1", chat("something else")))
    bill = client.http.get("/simulator/bill").json()
    assert [(entry["custom_id"], entry["times"]) for entry in bill["duplicates"]] == [("row-2", 2)]
    assert bill["duplicate_count"] == 1


def test_a_retry_of_failed_and_missing_rows_is_no_duplicate(tmp_path: Path) -> None:
    """Rows that got no answer were not billed, so that asking again bills each once."""
    faults = [
        {"on": "task", "do": "fail-rows", "rows": [1], "times": 1},
        {"on": "task", "do": "missing-rows", "rows": [2], "times": 1},
    ]
    with simulated(tmp_path, faults=faults) as client:
        client.create(batch(3))
        client.create(batch(2))
        bill = client.http.get("/simulator/bill").json()
    assert (bill["requests"], bill["billed"], bill["duplicates"]) == (5, 3, [])


# --- faults of calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["upload-url", "create", "detail", "list", "models", "download-url", "any"])
def test_a_status_fault_answers_before_any_effect(tmp_path: Path, call: str) -> None:
    """`do: 429` says so, with Retry-After and the wire's envelope, as often as asked; then the call works."""
    with simulated(tmp_path) as client:
        task, token = client.create(batch(1)), client.upload(batch(1))
        client.ended(task)
        rules = [{"on": call, "do": 429, "retry_after": 3, "times": 1, "code": "Slow", "message": "later"}]
        assert client.http.post("/simulator/faults", json=rules).status_code == 200
        calls: dict[str, Callable[[], httpx.Response]] = {
            "upload-url": client.upload_url,
            "create": lambda: client.post_task(client.order(token)),
            "detail": lambda: client.http.get(client.path(task)),
            "list": lambda: client.http.get(client.path()),
            "models": lambda: client.http.get(f"{API}/model-instances"),
            "download-url": lambda: client.link(task),
            "any": client.upload_url,
        }
        refused = calls[call]()
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "3")
        assert refused.json()["ResponseMeta"]["ErrorCode"] == "Slow"
        assert len(read_bill(tmp_path)["tasks"]) == 1
        assert calls[call]().status_code == 200


@pytest.mark.parametrize("do", ["500-after", "lost-reply", "cut", "garbage"])
def test_a_spoiled_reply_has_its_effect(tmp_path: Path, do: str) -> None:
    """The task is made and billed, but the caller does not learn its id; the list knows it."""
    with simulated(tmp_path, faults=[{"on": "create", "do": do, "times": 1}]) as client:
        token = client.upload(batch(1))
        if do in ("lost-reply", "cut"):
            with pytest.raises(httpx.RemoteProtocolError):
                client.post_task(client.order(token))
        else:
            reply = client.post_task(client.order(token))
            assert reply.status_code == (500 if do == "500-after" else 200)
            assert "brt-" not in reply.text
        assert client.tasks(name="nightly")["total"] == 1 == len(read_bill(tmp_path)["tasks"])


def test_a_cut_download_breaks_in_the_middle(tmp_path: Path) -> None:
    """Half of the bytes come, then the connection ends; the next download is whole."""
    with simulated(tmp_path, faults=[{"on": "download", "do": "cut", "times": 1}]) as client:
        task = client.create(batch(50))
        client.ended(task)
        got = b""
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("GET", client.data(client.link(task))["fileUrl"]) as reply,
        ):
            for chunk in reply.iter_bytes():
                got += chunk
        whole = client.raw_results(task)
        assert 0 < len(got) < len(whole) and whole.startswith(got)


def test_an_error_code_comes_with_status_200(tmp_path: Path) -> None:
    """`error-code` sets ErrorCode in an otherwise good reply, and nothing is made."""
    with simulated(tmp_path, faults=[{"on": "create", "do": "error-code", "code": "QuotaExceeded"}]) as client:
        reply = client.post_task(client.order(client.upload(batch(1))))
        assert reply.status_code == 200 and reply.json()["ResponseMeta"]["ErrorCode"] == "QuotaExceeded"
        assert read_bill(tmp_path)["tasks"] == []


def test_the_gateway_can_refuse(tmp_path: Path) -> None:
    """`refuse-result` answers with another result than 1, and a refused body leaves the connection usable."""
    with simulated(tmp_path, faults=[{"on": "upload", "do": "refuse-result", "result": 7, "times": 1}]) as client:
        token = client.data(client.upload_url())["fileToken"]
        for expected in (7, 1):
            reply = client.http.post("/api/upload", params={"upload_token": token}, content=b"x" * 1_000_000)
            assert reply.json()["result"] == expected


@pytest.mark.parametrize("spelling", ["bare", "scheme", "full"])
def test_the_endpoint_is_spelt_as_asked(tmp_path: Path, spelling: str) -> None:
    """`httpEndpoint` is a bare host by default, and may be an origin or a full URL."""
    with simulated(tmp_path, faults=[{"on": "upload-url", "do": "endpoint", "as": spelling}]) as client:
        url = str(client.http.base_url).rstrip("/")
        expected = {"bare": url.removeprefix("http://"), "scheme": url, "full": f"{url}/api/upload"}[spelling]
        assert client.data(client.upload_url())["httpEndpoint"] == expected


def test_the_task_object_is_spelt_as_asked(tmp_path: Path) -> None:
    """The other success word, counts as texts, and the other spelling of the duration."""
    faults = [
        {"on": "detail", "do": "word", "as": "completed"},
        {"on": "detail", "do": "strings"},
        {"on": "detail", "do": "duration", "as": "clock"},
    ]
    with simulated(tmp_path, faults=faults) as client:
        task = client.ended(client.create(batch(2)))
        assert task["status"] == "completed" and task["progress"]["runningDuration"] == "0h0m"
        assert task["progress"]["succeededCount"] == "2"


def test_a_lagging_list_hides_young_tasks(tmp_path: Path) -> None:
    """A task is not listed before it is `seconds` old, though its detail is there at once."""
    now = [1_767_225_600.0]
    faults = [{"on": "list", "do": "lag", "seconds": 60}]
    with simulated(tmp_path, faults=faults, clock=lambda: now[0]) as client:
        task = client.create(batch(1))
        assert client.tasks(name="nightly") == {"total": 0, "list": []} and client.detail(task)["id"] == task
        now[0] += 60
        assert client.tasks(name="nightly")["total"] == 1


def test_latency_delays_and_stop_does_not_wait_for_it(tmp_path: Path) -> None:
    """A caller gives up on a slow reply, and the simulator stops without waiting it out."""
    faults = [{"on": "models", "do": "latency", "seconds": 3600}]
    with simulated(tmp_path, faults=faults) as client, pytest.raises(httpx.ReadTimeout):
        client.http.get(f"{API}/model-instances", timeout=0.05)


def test_counters_say_when_a_rule_fires() -> None:
    """`after` skips, `every` thins out, `times` ends, and an ending rule hides the call from later ones."""

    def fires(calls: int, **rule: Any) -> list[int]:
        faults = Faults(parse_faults([{"on": "create", "do": 500, **rule}]))
        return [number for number in range(1, calls + 1) if faults.for_call("create")]

    assert fires(4) == [1, 2, 3, 4]
    assert parse_faults([{"on": "task", "do": "expire"}])[0].share == 0.5
    assert parse_faults([{"on": "task", "do": "expire", "share": 0}])[0].share == 0
    assert fires(4, times=2) == [1, 2] and fires(4, times=None, after=3) == [4]
    assert fires(7, every=3) == [3, 6] and fires(9, after=1, every=3, times=2) == [4, 7]
    two = Faults(parse_faults([{"on": "create", "do": 429, "times": 1}, {"on": "any", "do": 500}]))
    assert [rule.do for call in ("detail", "create", "create") for rule in two.for_call(call)] == ["500", "429", "500"]
    assert [(rule["seen"], rule["fired"]) for rule in two.to_json()] == [(2, 1), (2, 2)]


def test_faults_are_shown_and_replaced_while_it_runs(client: Client) -> None:
    """GET shows rules with counters, POST replaces them, and a bad rule changes nothing."""
    rule = {"on": "models", "do": "503", "times": 1}
    assert client.http.post("/simulator/faults", json=[rule]).json() == [{**rule, "seen": 0, "fired": 0}]
    assert client.http.get(f"{API}/model-instances").status_code == 503
    bad = client.http.post("/simulator/faults", json=[{"on": "modles", "do": 500}])
    assert bad.status_code == 400 and bad.json()["problems"][0]["hint"] == "did you mean models?"
    assert client.http.get("/simulator/faults").json() == [{**rule, "seen": 1, "fired": 1}]


# --- faults of tasks -------------------------------------------------------------------------------------------------


def faulty(folder: Path, *rules: dict[str, Any], rows: int = 10) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A task of ten rows under these rules: its detail and its result lines."""
    with simulated(folder, faults=[{"on": "task", **rule} for rule in rules]) as client:
        task = client.create(batch(rows))
        return client.ended(task), client.results(task)


def test_chosen_rows_fail_with_the_chosen_error(tmp_path: Path) -> None:
    """Their lines carry status and error body, the counts say how many, the rest is answered."""
    rule = {"do": "fail-rows", "rows": [1, 5], "status_code": 429, "code": "rate_limited", "message": "slow down"}
    task, lines = faulty(tmp_path, rule)
    failed = {line["custom_id"]: line["response"] for line in lines if line["response"]["status_code"] != 200}
    assert set(failed) == {"row-1", "row-5"} and len(lines) == 10
    assert failed["row-1"]["status_code"] == 429
    assert failed["row-1"]["body"]["error"] == {"code": "rate_limited", "message": "slow down", "type": "rate_limited"}
    assert (task["status"], task["progress"]["succeededCount"], task["progress"]["failedCount"]) == ("succeeded", 8, 2)


def test_rows_are_chosen_by_their_prompt(tmp_path: Path) -> None:
    """`match` hits the rows whose prompt holds the text."""
    _, lines = faulty(tmp_path, {"do": "missing-rows", "match": "number 7?"})
    assert [line["custom_id"] for line in lines] == [f"row-{n}" for n in (1, 2, 3, 4, 5, 6, 8, 9, 10)]


def test_a_share_of_rows_is_the_same_rows_every_time(tmp_path: Path) -> None:
    """`share` picks by custom_id: about that part, and the same in every run."""
    rule = {"do": "missing-rows", "share": 0.3}
    runs = [[line["custom_id"] for line in faulty(tmp_path / str(n), rule, rows=200)[1]] for n in (1, 2)]
    assert runs[0] == runs[1] and 100 < len(runs[0]) < 180


def test_an_expired_task_holds_partial_results(tmp_path: Path) -> None:
    """The word is `expired`, and the rows that were finished in time are there."""
    task, lines = faulty(tmp_path, {"do": "expire", "rows": [2, 4]})
    assert task["status"] == "expired" and len(lines) == 8 == task["progress"]["succeededCount"]


def test_a_task_whose_rows_all_failed_is_failed_with_an_output(tmp_path: Path) -> None:
    """`all-fail` ends as failed, and the lines say why."""
    task, lines = faulty(tmp_path, {"do": "all-fail", "status_code": 400})
    assert task["status"] == "failed" and [line["response"]["status_code"] for line in lines] == [400] * 10


def test_a_failed_task_has_a_reason_and_no_output(tmp_path: Path) -> None:
    """`fail` fails the tasks that its filters name, and no others."""
    rule = {"on": "task", "do": "fail", "message": "out of quota", "name": "night*", "model": MODEL, "times": 1}
    with simulated(tmp_path, faults=[rule]) as client:
        day, night, again = (client.ended(client.create(batch(1), name=n)) for n in ("day", "nightly", "nightly"))
        assert (night["status"], night["errorReason"]) == ("failed", "out of quota")
        assert day["status"] == again["status"] == "succeeded"
        assert client.link(night["id"]).status_code == 404
        assert client.http.get("/simulator/bill").json()["billed"] == 2


def test_result_lines_can_be_disordered(tmp_path: Path) -> None:
    """Shuffled, doubled, broken and foreign lines, on top of otherwise good results."""
    order = [f"row-{n}" for n in range(1, 11)]
    shuffled = [line["custom_id"] for line in faulty(tmp_path / "s", {"do": "shuffle"})[1]]
    assert sorted(shuffled) == sorted(order) and shuffled != order
    doubled = [line["custom_id"] for line in faulty(tmp_path / "d", {"do": "duplicate-lines", "rows": [2]})[1]]
    assert doubled == ["row-1", "row-2", *order[1:]]
    foreign = [line["custom_id"] for line in faulty(tmp_path / "u", {"do": "unknown-ids"})[1]]
    assert foreign[0] == "row-1" and foreign[1] not in order and foreign[2:] == order[1:]
    with simulated(tmp_path / "b", faults=[{"on": "task", "do": "broken-line", "rows": [3]}]) as client:
        raw = client.raw_results(client.create(batch(3))).splitlines()
        assert len(raw) == 3 and json.loads(raw[1])
        with pytest.raises(ValueError):
            json.loads(raw[2])


def test_a_task_can_run_for_long_or_for_ever(tmp_path: Path) -> None:
    """`slow` takes its seconds, `never-end` runs on at half its rows; the fate outlives a restart."""
    now = [1_767_225_600.0]
    rules = [
        {"on": "task", "do": "slow", "seconds": 500, "name": "slow"},
        {"on": "task", "do": "never-end", "name": "stuck"},
    ]
    with simulated(tmp_path, speed=1, faults=rules, clock=lambda: now[0]) as client:
        slow, stuck = client.create(batch(2), name="slow"), client.create(batch(2), name="stuck")
    now[0] += 499
    with simulated(tmp_path, speed=1, clock=lambda: now[0]) as client:
        assert client.detail(slow)["status"] == "running"
        now[0] += 1e6
        assert client.detail(slow)["status"] == "succeeded"
        assert client.detail(stuck)["status"] == "running" and client.detail(stuck)["progress"]["succeededCount"] == 1


# --- the faults file -------------------------------------------------------------------------------------------------


def test_a_faults_file_may_be_yaml_or_json(tmp_path: Path) -> None:
    """Both spellings give the same rules; `do` may be a number or a word."""
    rules = [{"on": "create", "do": 500, "times": 2}, {"on": "task", "do": "fail-rows", "share": 0.1}]
    (tmp_path / "f.json").write_text(json.dumps(rules))
    (tmp_path / "f.yaml").write_text("- {on: create, do: 500, times: 2}\n- on: task\n  do: fail-rows\n  share: 0.1\n")
    expected = (Fault("create", "500", times=2), Fault("task", "fail-rows", share=0.1))
    assert read_faults(tmp_path / "f.json") == read_faults(tmp_path / "f.yaml") == expected
    (tmp_path / "empty.yaml").write_text("")
    assert read_faults(tmp_path / "empty.yaml") == ()


def test_yaml_reads_a_bare_on_as_true(tmp_path: Path) -> None:
    """YAML 1.1 takes the key `on` for a boolean; the file means the word all the same."""
    (tmp_path / "f.yaml").write_text("- on: create\n  do: lost-reply\n")
    assert read_faults(tmp_path / "f.yaml") == (Fault("create", "lost-reply"),)


@pytest.mark.parametrize(
    ("rule", "says", "hint"),
    [
        ({"do": 500}, "`on` is missing", "one of upload-url"),
        ({"on": "creat", "do": 500}, "on: 'creat' is no call", "did you mean create?"),
        ({"on": "create"}, "`do` is missing", "one of latency"),
        (
            {"on": "create", "do": "lost-replies"},
            "do: lost-replies is no fault of on: create",
            "did you mean lost-reply?",
        ),
        ({"on": "create", "do": 200}, "do: 200 is no fault", ""),
        ({"on": "create", "do": "lag", "seconds": 1}, "do: lag works only with on: list", ""),
        ({"on": "task", "do": 500}, "do: 500 is no fault of on: task", ""),
        ({"on": "upload-url", "do": "endpoint"}, "do: endpoint needs `as`", "one of bare, scheme, full"),
        ({"on": "any", "do": "latency"}, "do: latency needs `seconds`", "seconds: 3"),
        ({"on": "create", "do": 500, "tiems": 1}, "unknown key 'tiems'", "did you mean times?"),
        ({"on": "create", "do": 500, "times": 0}, "times: 0 is not a whole number from 1", ""),
        ({"on": "task", "do": "fail-rows", "share": 1.5}, "share: 1.5 is not a number from 0 to 1", ""),
        ({"on": "task", "do": "fail-rows", "rows": [0]}, "rows: [0] is not a list", ""),
        ("create", "is not a mapping", "on: create"),
    ],
)
def test_a_bad_rule_is_explained(rule: Any, says: str, hint: str) -> None:
    """Each problem names the rule, what is wrong, and the way on."""
    with pytest.raises(InvalidDocuments) as caught:
        parse_faults([{"on": "create", "do": 500}, rule])
    problem = caught.value.problems[0]
    assert problem.message.startswith("rule 2: ") and says in problem.message and hint in problem.hint


def test_every_word_of_a_fault_is_documented() -> None:
    """Calls and faults that nobody can look up are used by nobody."""
    text = (Path(__file__).parents[1] / "docs/simulator.md").read_text("utf-8")
    faults = (*words.ENDING_CALL, *words.ALTERING_CALL, *words.WHOLE_TASK, *words.SOME_ROWS)
    assert [word for word in (*words.CALLS, *faults) if f"`{word}`" not in text] == []


def test_all_problems_of_a_file_come_at_once_with_their_lines(tmp_path: Path) -> None:
    """Two bad rules, two problems, each at its line."""
    path = tmp_path / "f.yaml"
    path.write_text("- {on: create, do: 500}\n- {on: nowhere, do: 500}\n\n- {on: create, do: nothing}\n")
    with pytest.raises(InvalidDocuments) as caught:
        read_faults(path)
    assert [problem.where for problem in caught.value.problems] == [f"{path}:2:3", f"{path}:4:3"]


@pytest.mark.parametrize(
    "content", [b"- {on: create\n", b"on: create\n", b"\xff", b"just a word", b"- !!python/name:os.system\n"]
)
def test_a_file_that_is_no_list_of_rules_is_refused(tmp_path: Path, content: bytes) -> None:
    """Broken YAML, a mapping, other bytes, and tags that run code are problems of the file."""
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidDocuments) as caught:
        read_faults(path)
    assert caught.value.problems[0].file == str(path)


# --- answers ---------------------------------------------------------------------------------------------------------


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_known_answers_are_found_whole_or_inside(tmp_path: Path) -> None:
    """An exact message first, else the longest known question inside it; short ones only as the whole message."""
    known = KnownAnswers({"capital of France": "Paris", "capital of France in 1850": "Paris, too", "1+1": "2"})
    assert known.find("1+1") == "2" and known.find("What is 1+1?") is None
    assert known.find("What is the capital of France?") == "Paris"
    assert known.find("问题：capital of France in 1850 请回答") == "Paris, too"
    assert known.find("capital of Spain") is None


def test_an_answers_file_answers(tmp_path: Path) -> None:
    """Rows with `question` (as in GSM8K) or `prompt` are used; other prompts get the usual text."""
    path = write_jsonl(
        tmp_path / "a.jsonl",
        [
            {"question": "How many eggs are left?", "answer": "16 - 7 = 9\n#### 9"},
            {"prompt": "Name it.", "answer": {"n": 1}},
        ],
    )
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    questions = [
        chat("How many eggs are left? Be brief."),
        chat("Name it."),
        chat("Something else entirely?"),
        chat("How many eggs are left?", response_format=wanted),
    ]
    with simulated(tmp_path / "data", answers=path) as client:
        content = b"".join(request_line(str(n), body) for n, body in enumerate(questions))
        texts = [answer_text(line) for line in client.results(client.create(content))]
    assert texts[0] == "16 - 7 = 9\n#### 9" and json.loads(texts[1]) == {"n": 1}
    assert texts[2].startswith("Simulated answer") and json.loads(texts[3]) == {"answer": 9}


def test_a_bad_answers_file_is_explained(tmp_path: Path) -> None:
    """Every bad line is a problem at its line; so is a file that is not there."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "x", "answer": "y"}\nnot json\n{"prompt": "x"}\n{"answer": "y"}\n')
    with pytest.raises(InvalidDocuments) as caught:
        KnownAnswers.read(path)
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4]
    with pytest.raises(InvalidDocuments):
        Simulator(tmp_path / "data", answers=tmp_path / "none.jsonl")


TREE = {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
    "name": {"type": "string", "minLength": 30}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "required": ["name", "children"], "additionalProperties": False}}}  # fmt: skip

SCHEMAS: list[Any] = [
    {"type": "string", "maxLength": 4},
    {"type": "string", "pattern": r"^[A-Z]{2}-\d{3,5}$"},
    {"type": "string", "pattern": r"^(?:yes|no)$"},
    {"type": "integer", "minimum": 3, "maximum": 3},
    {"type": "integer", "exclusiveMinimum": 3, "multipleOf": 4},
    {"type": "number", "minimum": -1, "exclusiveMaximum": 1},
    {"type": "integer", "maximum": -5},
    {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 5, "uniqueItems": True},
    {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "minItems": 2},
    {"type": ["null", "boolean"]},
    {"enum": ["positive", "negative", None]},
    {"const": {"a": 1}},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "null"}}}]},
    {"type": "object", "properties": {"d": {"type": "string", "format": "date"}}, "required": ["d", "e"]},
    {"properties": {"deep": {"properties": {"deeper": {"type": "array", "items": {"type": "boolean"}}}}}},
    TREE,
    True,
    {},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_a_made_up_value_fits_its_schema(schema: Any, seed: str) -> None:
    """What is made up is valid, is JSON, and is the same for the same seed."""
    value = fit(schema, seed)
    jsonschema.validate(json.loads(json.dumps(value)), schema)
    assert fit(schema, seed) == value


def test_seeds_vary_the_choices() -> None:
    """Over many requests every word of an enum comes up."""
    assert {fit({"enum": ["a", "b", "c"]}, str(seed)) for seed in range(50)} == {"a", "b", "c"}


DOUBLING = {"$ref": "#/$defs/0", "$defs": {
    str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(40)}}  # fmt: skip


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": 5},
        {"enum": 3},
        {"type": "string", "minLength": 10**9},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        DOUBLING,
        {"type": "array", "minItems": 10**9},
        {
            "type": "array",
            "minItems": 100,
            "items": {"type": "array", "minItems": 100, "items": {"type": "array", "minItems": 100}},
        },
    ],
)
def test_an_impossible_schema_is_refused(schema: Any, client: Client) -> None:
    """A malformed or an exorbitant schema fails its row with 400 and takes neither time nor memory."""
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    line = client.results(client.create(request_line("r", chat("x", response_format=wanted))))[0]
    assert line["response"]["status_code"] == 400 and "JSON schema" in line["response"]["body"]["error"]["message"]


def test_json_mode_gets_an_object(client: Client) -> None:
    """`json_object` without a schema is answered with some object."""
    body = chat("Say so.", response_format={"type": "json_object"})
    assert isinstance(json.loads(answer_text(client.results(client.create(request_line("r", body)))[0])), dict)


@given(st.from_regex(r"[a-c\d(|)\[\]{}*+?^$.\\,-]{0,12}", fullmatch=True))
def test_any_pattern_is_sampled_or_given_up(pattern: str) -> None:
    """Whatever the expression, the answer is a text or None, never an error."""
    assert isinstance(sample(pattern), str | None)


# --- HTTP ------------------------------------------------------------------------------------------------------------


def raw_exchange(client: Client, data: bytes) -> bytes:
    url = client.http.base_url
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /download/..%2F..%2Fetc%2Fpasswd?expires=1&signature=1 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /download/brt-1?expires=x&signature=%C3%A9 HTTP/1.1\r\nHost: x\r\n\r\n", b"403"),
        (b"PUT /api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", b"405"),
        (b"POST /simulator/faults HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /simulator/faults HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n[]", b"400"),
        (
            b"POST /simulator/faults HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n[]",
            b"400",
        ),
        (b"POST /simulator/faults HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", b"400"),
        (b"POST /simulator/faults HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{]}", b"400"),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET //[::1 HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"NONSENSE\r\n\r\n", b"400"),
    ],
)
def test_bad_http_is_answered(client: Client, data: bytes, status: bytes) -> None:
    """Unknown paths, foreign paths, other methods and lying lengths get a status, and the server lives on."""
    assert status in raw_exchange(client, data)[:200]
    assert client.http.get("/simulator/faults").status_code == 200


def test_an_upload_that_breaks_off_is_not_a_file(client: Client) -> None:
    """Half an upload leaves no file behind, and the token still waits for a whole one."""
    token = client.data(client.upload_url())["fileToken"]
    head = f"POST /api/upload?upload_token={token} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode()
    raw_exchange(client, head + b"half")
    assert client.post_task(client.order(token)).json()["ResponseMeta"]["ErrorCode"] == "FileNotFound"


def test_links_use_the_address_that_the_caller_used(client: Client) -> None:
    """Behind another name the upload endpoint and the links carry that name."""
    reply = client.http.get(
        f"{API}/batch-reasoning-tasks/upload/upload-url",
        params={"fileName": "f", "projectId": "p"},
        headers={"Host": "sim.example:8080"},
    )
    assert client.data(reply)["httpEndpoint"] == "sim.example:8080"


def test_expect_continue_is_answered_before_the_body(client: Client) -> None:
    """A caller that waits for `100 Continue` gets it."""
    token = client.data(client.upload_url())["fileToken"]
    url = client.http.base_url
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        headers = ("Host: x", "Content-Length: 2", "Expect: 100-continue", "", "")
        head = f"POST /api/upload?upload_token={token} HTTP/1.1\r\n"
        connection.sendall((head + "\r\n".join(headers)).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


# --- starting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(tmp_path: Path, speed: float) -> None:
    """Zero, negative and unbounded speeds are errors before anything is written."""
    with pytest.raises(RunnerError):
        Simulator(tmp_path / "data", speed=speed)
    assert not (tmp_path / "data").exists()


def test_a_port_in_use_is_an_expected_error(tmp_path: Path) -> None:
    """The error names the address."""
    with simulated(tmp_path / "a") as client:
        port = client.http.base_url.port
        assert port is not None
        with pytest.raises(RunnerError) as caught:
            Simulator(tmp_path / "b", port=port).start()
        assert caught.value.where == f"127.0.0.1:{port}"


def test_a_folder_that_cannot_be_used_is_an_expected_error(tmp_path: Path) -> None:
    """A file in the folder's place, and a broken database, are told with their place."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "memory.sqlite3").write_bytes(b"no database, for certain" * 100)
    for folder in (tmp_path / "file", tmp_path / "broken"):
        with pytest.raises(RunnerError) as caught:
            Memory(folder)
        assert caught.value.where == str(folder)


def test_importing_the_simulator_is_light() -> None:
    """Neither the HTTP client, nor the schema checker, nor the template engine, nor YAML comes with it."""
    code = "import sys, runner.simulator.server; print({'httpx', 'jsonschema', 'jinja2', 'yaml'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "set()"
