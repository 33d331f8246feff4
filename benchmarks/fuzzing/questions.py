"""Endpoints without batches: one question, asked of a server that answers whatever an input says, streamed or not.

The task has to come to an end or to an error that says why, and what it hands over has to be lines that can be read,
for requests that were asked.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.faults.places import ONLINE
from benchmarks.fuzzing.conversations import HEADERS, STATUSES
from benchmarks.fuzzing.lines import CHAT, PARTS
from benchmarks.fuzzing.mutation import PAGES, mutated_bytes, mutated_json, value_of
from benchmarks.fuzzing.recording import IDS, built, write_shard
from benchmarks.fuzzing.scripted import Answer, Call, Scripted, scripted
from benchmarks.fuzzing.target import BELIEVED, TRACEBACK, Broken, Target
from runner.errors import RunnerError
from runner.provider import Job

PATIENCE = 10.0
"""Seconds in which one question comes to something."""
DEPLOYMENT: dict[str, Any] = {
    "code": 0,
    "data": {
        "serviceId": "svc-1",
        "name": "n",
        "status": "running",
        "serviceUrl": "http://@@HOST@@",
        "apikey": "key-of-a-deployment",
        "instance": [{"baseModelReady": True}],
        "servedName": ["mi-9"],
    },
}
LIST = {"data": [{"id": "mi-9", "max_model_len": 4096, "pricing": {"prompt": "0.1", "completion": "0.2"}}]}
ERROR = {"error": {"code": "rate_limit", "message": "slow down"}}


def _stream(body: Any) -> bytes:
    choice = body["choices"][0]
    delta = {"choices": [{"delta": choice["message"], "finish_reason": None}], "model": "m"}
    last = {"choices": [{"delta": {}, "finish_reason": choice["finish_reason"]}], "usage": body.get("usage")}
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in (delta, last)) + b"data: [DONE]\n\n"


GOOD: Sequence[bytes] = (
    *(json.dumps(body).encode() for body in (CHAT, PARTS, ERROR)),
    *(_stream(body) for body in (CHAT, PARTS)),
)
STREAM_TOKENS = (b"data: ", b"\n\n", b"\r", b": ping\n", b"event: error\n", b"data: [DONE]\n\n", b"data:{}\n\n", b"\0")


def _draw(rng: Random) -> bytes:
    """Three answers: what the control plane says, the list of models, and what becomes of the question."""
    texts = [json.dumps(DEPLOYMENT).encode(), json.dumps(LIST).encode(), rng.choice(GOOD)]
    at = rng.choice((0, 1, 2, 2, 2, 2))
    answers = [Answer(200, (("Content-Type", "application/json"),), text) for text in texts]
    answers[at] = _spoilt(rng, answers[at])
    return json.dumps({"place": rng.choice(ONLINE), "told": [answer.to_json() for answer in answers]}).encode()


def _spoilt(rng: Random, answer: Answer) -> Answer:
    body = answer.body
    if rng.random() < 0.8:
        is_json = value_of(body) is not None
        body = mutated_json(rng, body, GOOD) if is_json else mutated_bytes(rng, body, GOOD, STREAM_TOKENS)
    elif rng.random() < 0.5:
        body = rng.choice(PAGES)
    status = rng.choice((200, 200, 200, *STATUSES))
    cut = rng.choice((None, None, None, rng.randint(0, len(body))))
    extra = (rng.choice(HEADERS),) if rng.random() < 0.2 else ()
    return Answer(status, (*answer.headers, *extra), body, len(body) if extra and cut is None else cut)


def _asked(server: Scripted, folder: Path, data: bytes) -> None:
    script = json.loads(data)
    deployment, listed, answered = (Answer.from_json(answer) for answer in script["told"])

    def answer(call: Call) -> Answer:
        if "/deployment" in call.path:
            return deployment
        return listed if call.path.endswith("/models") else answered

    server.answer = answer
    provider: Any = built(script["place"], server.url, folder / "queues")
    job = Job("t-1", "job-1", "mi-9", 1, 60, begun_at=time.time(), attempts=1)
    job = replace(job, file=write_shard(provider, folder / "shard.jsonl", 1))
    try:
        _look_around(provider)
        job = replace(job, remote_id=provider.start(job, provider.stage(job)))
        provider.work([job])
        _wait(provider, job)
    finally:
        provider.rest(0.0)
        provider._http.close()
        shutil.rmtree(folder / "queues", ignore_errors=True)


def _look_around(provider: Any) -> None:
    try:
        provider.offers()
    except RunnerError:
        pass


def _wait(provider: Any, job: Job) -> None:
    end = time.monotonic() + PATIENCE
    while not _is_over(provider, job) and not provider.tempo().startswith("the endpoint is "):
        if time.monotonic() > end:
            raise Broken(BELIEVED, "a question comes to nothing, and nobody says why")
        time.sleep(0.002)
    provider.rest(0.0)
    taken = bytearray()
    provider.results(job, taken.extend)
    for line in bytes(taken).split(b"\n")[:-1]:
        if provider.decode(line).request not in IDS[:1]:
            raise Broken(BELIEVED, f"a line of results is for nobody: {line[:200]!r}")


def _is_over(provider: Any, job: Job) -> bool:
    try:
        ended: bool = provider.check(job).phase.ended
        return ended
    except RunnerError as error:
        if "bug in runner" in error.hint:
            raise Broken(TRACEBACK, error.message) from error
        return True


@contextmanager
def questions(folder: Path) -> Iterator[Target]:
    with scripted() as server:
        yield Target(_draw, lambda data: _asked(server, folder, data))
