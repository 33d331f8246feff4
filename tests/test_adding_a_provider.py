"""The worked example of `runner/providers/README.md`, run as it stands there against a small Mistral on loopback."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from runner.edge.http import Http
from runner.model import Offer
from runner.project import ProviderConfig, SecretRef
from runner.provider import Absent, Found, Job, Message, Part, Phase, Provider, Question
from runner.providers.hands import Hands

README = Path(__file__).parent.parent / "runner" / "providers" / "README.md"
IDS = [f"{number:032x}" for number in (1, 2)]
HELLO = Question((Message("user", (Part("text", "hello"),)),), parameters={"max_tokens": 9})
JOB = Job("t-1", "nightly-7f3a-1", "mistral-small", requests=2, max_wait=86_400)


class FakeMistral(ThreadingHTTPServer):
    """Files, and jobs that are done at once: the first line is answered, any other fails."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.jobs: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def file(self, data: bytes) -> str:
        self.files[f"file-{len(self.files)}"] = data
        return f"file-{len(self.files) - 1}"

    def answer(self, method: str, path: str, body: bytes) -> Any:
        path, _, query = path.removeprefix("/v1").partition("?")
        if (method, path) == ("POST", "/files"):
            return {"id": self.file(re.search(rb"\r\n\r\n(\{.*?\n)\r\n--", body, re.DOTALL)[1])}  # type: ignore[index]
        if path.endswith("/content"):
            return self.files[path.split("/")[2]]
        if path == "/models":
            return {"data": [{"id": "mistral-small", "max_context_length": 32_768}]}
        if (method, path) == ("POST", "/batch/jobs"):
            return self.create(json.loads(body))
        if path == "/batch/jobs":
            return {"data": [job for job in self.jobs if job["metadata"]["runner"] in query], "total": len(self.jobs)}
        job = next(job for job in self.jobs if job["id"] == path.split("/")[3])
        return job | {"status": "CANCELLED"} if path.endswith("/cancel") else job

    def create(self, order: dict[str, Any]) -> dict[str, Any]:
        first, *others = [json.loads(line)["custom_id"] for line in self.files[order["input_files"][0]].splitlines()]
        body = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
        good = {"custom_id": first, "response": {"status_code": 200, "body": body}, "error": None}
        bad = [{"custom_id": one, "response": None, "error": {"code": "internal", "message": "oh"}} for one in others]
        job = {
            **order,
            "id": f"job-{len(self.jobs)}",
            "status": "SUCCESS",
            "total_requests": 1 + len(others),
            "succeeded_requests": 1,
            "failed_requests": len(others),
            "output_file": self.file(json.dumps(good).encode() + b"\n"),
            "error_file": self.file(b"".join(json.dumps(line).encode() + b"\n" for line in bad)),
        }
        self.jobs.append(job)
        return job


class _Handler(BaseHTTPRequestHandler):
    server: FakeMistral

    def do_GET(self) -> None:
        assert self.headers["authorization"] == "Bearer key-of-a-test"
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        answer = self.server.answer(self.command, self.path, body)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[FakeMistral]:
    with FakeMistral() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def provider(fake: FakeMistral, tmp_path: Path) -> Iterator[Provider]:
    (source,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    module = ModuleType("mistral")
    exec(compile(source, str(README), "exec"), vars(module))
    http = Http(sleep=lambda _: None)
    settings = {"base_url": fake.url, "api_key": SecretRef(env="K"), "max_requests": 7}
    hands = Hands(http, lambda _: "key-of-a-test", lambda: "", tmp_path)
    yield module.mistral(ProviderConfig("m", "mistral", settings), hands)
    http.close()


def test_the_worked_example_works(fake: FakeMistral, provider: Provider, tmp_path: Path) -> None:
    """Every method of the contract, from the list of models to the last line of results."""
    (offer,) = provider.offers().offers
    assert (offer.id, offer.context, provider.traits.shard.requests) == ("mistral-small", 32_768, 7)
    body, frame = json.dumps(provider.encode(offer, HELLO)).encode(), provider.frame(HELLO)
    file = tmp_path / "shard.jsonl"
    file.write_bytes(b"".join(frame.before + id.encode() + frame.between + body + frame.after + b"\n" for id in IDS))
    job = Job(**{**vars(JOB), "file": file})
    assert provider.find(job) == Absent()
    upload = provider.stage(job)
    remote_id = provider.start(job, upload)
    assert fake.files[upload.token] == file.read_bytes()
    assert (
        fake.jobs[0].items()
        >= {
            "model": "mistral-small",
            "endpoint": "/v1/chat/completions",
            "timeout_hours": 24,
            "metadata": {"runner": job.name},
        }.items()
    )
    job = Job(**{**vars(job), "remote_id": remote_id, "file": None})
    assert provider.find(job) == Found(remote_id)
    progress = provider.check(job)
    assert (progress.phase, progress.total, progress.succeeded, progress.failed) == (Phase.SUCCEEDED, 2, 1, 1)
    raw = bytearray()
    provider.results(job, raw.extend)
    results = [provider.decode(line) for line in raw.splitlines()]
    assert [(one.request, one.text, one.status) for one in results] == [
        (IDS[0], "hi", "succeeded"),
        (IDS[1], None, "failed"),
    ]
    assert provider.cancel(job)
    provider.verify(job, remote_id)


def test_the_example_encodes_for_the_job(provider: Provider) -> None:
    """The model stands on the job, not in each line."""
    assert provider.encode(Offer("m"), HELLO) == {"max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
