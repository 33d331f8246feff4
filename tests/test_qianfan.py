"""The Qianfan family over real HTTP, signatures and BOS included, against a second reading of its documents."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.qianfan import ACCESS, BUCKET, MODELS, SECRET, FakeQianfan, Handler, etag

from runner.edge.http import Http
from runner.errors import Busy, CredentialsError, ProviderError, Refused, Unsure
from runner.model import Offer, Price
from runner.project import ProviderConfig, SecretRef
from runner.provider import Absent, Found, Job, Message, Part, Phase, Question, Unknown
from runner.providers.qianfan.bce import Keys
from runner.providers.qianfan.bos import Place, parse_place
from runner.providers.qianfan.provider import PATH, Qianfan
from runner.registry import build
from runner.result import Result, Usage

NOW = 1_767_323_045.0
CREATE, DETAIL, LIST = "CreateBatchInferenceTask", "DescribeBatchInferenceTask", "DescribeBatchInferenceTasks"
STOP, MODEL_LIST = "StopBatchInferenceTask", "DescribeBatchInferenceModel"

FOLDER = f"{BUCKET}/runs/nightly-7f3a-1"
URI = f"bos:/{FOLDER}/in/"


@pytest.fixture
def fake() -> Iterator[FakeQianfan]:
    fake = FakeQianfan()
    fake.knobs.now = lambda: NOW
    yield fake
    fake.close()


@pytest.fixture
def http() -> Iterator[Http]:
    naps: list[float] = []
    http = Http(sleep=naps.append, clock=lambda: sum(naps))
    yield http
    http.close()


@pytest.fixture
def provider(fake: FakeQianfan, http: Http) -> Qianfan:
    return qianfan(fake, http)


def qianfan(fake: FakeQianfan, http: Http, **settings: Any) -> Qianfan:
    settings = {
        "keys": lambda: Keys(ACCESS, SECRET),
        "folder": Place(BUCKET, "runs/"),
        "base_url": fake.url,
        "bos_url": fake.url,
        "now": lambda: NOW,
        **settings,
    }
    return Qianfan("qf", http, **settings)


def asked(*messages: tuple[str, str], **more: Any) -> Question:
    return Question(tuple(Message(role, (Part("text", words),)) for role, words in messages), **more)


def shard(provider: Qianfan, folder: Path, *questions: Question) -> Path:
    """Request lines as runner writes them."""
    file = folder / "shard.jsonl"
    with file.open("wb") as lines:
        for number, question in enumerate(questions, start=1):
            frame, body = provider.frame(question), provider.encode(Offer("ernie-x"), question)
            spelled = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
            lines.write(frame.before + f"{number:032x}".encode() + frame.between + spelled + frame.after + b"\n")
    return file


@pytest.fixture
def job(provider: Qianfan, tmp_path: Path) -> Job:
    questions = [asked(("user", words), parameters={"temperature": 0.5}) for words in ("hello", "你好\u2028", '"q"\n')]
    return Job(
        task="t-0123456789ab",
        name="nightly-7f3a-1",
        model="ernie-x",
        requests=3,
        max_wait=86_400,
        file=shard(provider, tmp_path, *questions),
        begun_at=NOW,
    )


def started(provider: Qianfan, job: Job) -> Job:
    upload = provider.stage(job)
    return replace(job, staged=upload.marker, remote_id=provider.start(job, upload))


def collected(provider: Qianfan, job: Job) -> bytes:
    got = bytearray()
    provider.results(job, got.extend)
    return bytes(got)


def results(provider: Qianfan, job: Job) -> dict[str, Result]:
    return {result.request: result for result in map(provider.decode, collected(provider, job).splitlines())}


def ids(*numbers: int) -> set[str]:
    return {f"{number:032x}" for number in numbers}


def says(status: int, code: str, message: str = "so it is") -> Callable[[Handler], None]:
    return lambda handler: handler.error(status, code, message)


def raw(status: int, body: Any, **headers: str) -> Callable[[Handler], None]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler: handler.reply(status, data, **headers)


# The whole way


def test_a_task_from_upload_to_results(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """Each step makes the documented calls with the documented fields; every row comes back with its answer."""
    job = started(provider, job)
    assert fake.objects[f"{FOLDER}/out/"] == b""
    lines = fake.objects[f"{FOLDER}/in/part-0.jsonl"].decode()
    assert [json.loads(line) for line in lines.split("\n") if line] == [
        {"id": f"{1:032x}", "query": "hello"},
        {"id": f"{2:032x}", "query": "你好\u2028"},
        {"id": f"{3:032x}", "query": '"q"\n'},
    ]
    assert fake.requests(CREATE)[0].body == {
        "name": "t-0123456789ab",
        "description": "runner nightly-7f3a-1",
        "endpoint": "ernie-x",
        "inputBosUri": URI,
        "outputBosUri": f"bos:/{FOLDER}/out/",
        "dataFormat": "default",
        "inferenceParams": {"temperature": 0.5},
        "completion_window": "24h",
    }
    progress = provider.check(job)
    assert (progress.phase, progress.raw, progress.total, progress.succeeded) == (Phase.SUCCEEDED, "Done", 3, 3)
    found = results(provider, job)
    assert found.keys() == ids(1, 2, 3)
    assert found[f"{2:032x}"] == Result(f"{2:032x}", "answer 2", "stop", Usage(2, 2))
    assert fake.names() == ["put", "put", CREATE, DETAIL, DETAIL, "objects", "get"]
    assert {call.path for call in fake.requests(CREATE)} == {PATH}


def test_nothing_stays_on_disk(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """The rewritten shard is removed, uploaded or not."""
    assert job.file is not None
    provider.stage(job)
    fake.knobs.fail = {"put": [says(400, "X")]}
    with pytest.raises(Refused):
        provider.stage(job)
    assert list(job.file.parent.iterdir()) == [job.file]


def test_an_upload_is_repeated(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """F49: uploading is free, so that a lost answer, an error or a throttle is met with another try."""
    fake.knobs.lose = {"put": 1}
    fake.knobs.fail = {"put": [says(500, "InternalError"), says(429, "SlowDown")]}
    upload = provider.stage(job)
    assert upload.marker == URI
    assert fake.names().count("put") == 5
    assert provider.stage(job) == upload


def test_the_secret_does_not_travel(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """Neither in the clear in any call, nor in what `start` is handed, nor in what the state keeps."""
    upload = provider.stage(job)
    provider.start(job, upload)
    spoken = [f"{call.path} {call.query} {call.headers} {call.body}" for call in fake.calls]
    assert not [words for words in [*spoken, repr(upload)] if SECRET in words]
    assert ACCESS not in repr(upload)


@pytest.mark.parametrize("suffix", ["", "/", "/v2", PATH])
def test_spellings_of_base_url(fake: FakeQianfan, http: Http, suffix: str) -> None:
    """With or without the path of the API."""
    assert qianfan(fake, http, base_url=fake.url + suffix).offers().offers


def test_results_in_lists(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """The document's tables have a list of one object for a result, its samples the object itself."""
    fake.knobs.listed = True
    assert provider.offers().offers
    job = started(provider, job)
    assert provider.check(job).phase is Phase.SUCCEEDED
    assert provider.find(job) == Found(job.remote_id)


# What is asked


def test_one_user_message_is_a_query(provider: Qianfan) -> None:
    """Parameters stand in the body, so that other parameters are another request."""
    body = provider.encode(Offer("m"), asked(("user", "hi"), parameters={"top_p": 0.8}))
    assert body == {"query": "hi", "parameters": {"top_p": 0.8}}
    assert provider.frame(asked()).between == b'","body":'


@pytest.mark.parametrize(
    "messages", [[("system", "be brief"), ("user", "hi")], [("user", "a"), ("assistant", "b"), ("user", "c")]]
)
def test_more_than_that_is_a_role_line(
    fake: FakeQianfan, provider: Qianfan, http: Http, job: Job, messages: list[tuple[str, str]]
) -> None:
    """And the task says so; `data_format: default` refuses it, in words."""
    expected = [{"role": role, "content": words} for role, words in messages]
    assert provider.encode(Offer("m"), asked(*messages)) == {"messages": expected, "parameters": {}}
    assert job.file is not None
    started(provider, replace(job, file=shard(provider, job.file.parent, asked(*messages))))
    assert json.loads(fake.objects[f"{FOLDER}/in/part-0.jsonl"]) == {"id": f"{1:032x}", "messages": expected}
    order = fake.requests(CREATE)[0].body
    assert (order["dataFormat"], order["inferenceParams"]) == ("role", {})
    with pytest.raises(ValueError, match="data_format: default carries one user message"):
        qianfan(fake, http, data_format="default").encode(Offer("m"), asked(*messages))


def test_role_lines_throughout(fake: FakeQianfan, http: Http) -> None:
    """`data_format: role` makes a role line of a single message as well."""
    body = qianfan(fake, http, data_format="role").encode(Offer("m"), asked(("user", "hi")))
    assert body == {"messages": [{"role": "user", "content": "hi"}], "parameters": {}}


def test_a_schema_is_told_in_a_system_message(fake: FakeQianfan, http: Http, provider: Qianfan) -> None:
    """The question stays whole; where there is no system message, it cannot be told."""
    question = asked(("user", "hi"), schema={"type": "object"})
    first, second = provider.encode(Offer("m"), question)["messages"]
    assert first["role"] == "system"
    assert '{"type": "object"}' in first["content"]
    assert second == {"role": "user", "content": "hi"}
    with pytest.raises(ValueError, match=r"response\.schema"):
        qianfan(fake, http, data_format="default").encode(Offer("m"), question)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (Question(text="Once upon"), "no plain completion"),
        (Question((Message("user", (Part("image", "https://x/y.png"),)),)), "no images"),
        (Question((Message("user", (Part("text", "see"), Part("image", "https://x/y.png"))),)), "no images"),
        (Question((Message("user", (Part("text", "a"), Part("text", "b"))),)), "several parts"),
    ],
)
def test_what_cannot_be_asked(provider: Qianfan, question: Question, words: str) -> None:
    """What no document describes is refused before anything is paid."""
    with pytest.raises(ValueError, match=words):
        provider.encode(Offer("m"), question)


def test_what_a_person_should_know(fake: FakeQianfan, http: Http, provider: Qianfan) -> None:
    """The shape of role lines is a guess: it is said, unless it cannot happen."""
    assert "role" in provider.notes[0]
    assert qianfan(fake, http, data_format="default").notes == ()


# Start


ERRORS: list[tuple[Callable[[Handler], None], type[ProviderError]]] = [
    (says(400, "InvalidBosUri"), Refused),
    (says(400, "InappropriateJSON"), Refused),
    (says(404, "NotFound"), Refused),
    (says(403, "AccessDenied"), Refused),
    (says(400, "SomethingNew"), Refused),
    (says(200, "InvalidBosUri"), Refused),
    (raw(400, b"<html>"), Refused),
    (raw(200, {"error_code": 336003, "error_msg": "invalid argument"}), Refused),
    (says(400, "TaskRunningNumberExceedLimit"), Busy),
    (says(200, "TaskRunningNumberExceedLimit"), Busy),
    (says(500, "TaskRunningNumberExceedLimit"), Busy),
    (says(429, ""), Busy),
    (raw(200, {"error_code": 18, "error_msg": "Open api qps request limit reached"}), Busy),
    (says(500, "InternalError"), Unsure),
    (says(400, "InternalError"), Unsure),
    (says(503, "AccessDenied"), Unsure),
    (says(503, "TooManyRequests"), Unsure),
    (says(400, "TooManyRequests"), Busy),
    (says(408, "AccessDenied"), Unsure),
    (says(200, "SomethingNew"), Unsure),
    (raw(200, {"error_code": 336100, "error_msg": "invalid, please try again"}), Unsure),
    (raw(200, {"error_code": "500000", "error_msg": "internal error"}), Unsure),
    (raw(200, {"error_code": 336000, "error_msg": "internal error, invalid state"}), Unsure),
    (raw(200, {"error_code": 99, "error_msg": ""}), Unsure),
    (raw(200, {"requestId": "q", "result": {"taskId": ""}}), Unsure),
    (raw(200, {"requestId": "q", "result": {}}), Unsure),
    (raw(200, {"requestId": "q", "result": None}), Unsure),
    (raw(200, {"requestId": "q", "result": [{}, {}]}), Unsure),
    (raw(200, {"requestId": "q"}), Unsure),
    (raw(200, {"requestId": "q", "code": "Odd", "result": {"taskId": "infer-7"}}), Unsure),
    (raw(200, {"requestId": "q", "code": "InvalidX", "result": {"taskId": "infer-7"}}), Unsure),
    (raw(400, {"code": "InvalidX", "result": [{"taskId": "infer-7"}]}), Unsure),
    (raw(200, []), Unsure),
    (raw(200, b"<html>"), Unsure),
    (raw(200, b""), Unsure),
    (Handler.cut, Unsure),
]


@pytest.mark.parametrize(("script", "kind"), ERRORS)
def test_outcomes_of_start(
    fake: FakeQianfan, provider: Qianfan, job: Job, script: Callable[[Handler], None], kind: type[ProviderError]
) -> None:
    """A clear no is Refused, a clear not-now Busy, everything else Unsure; the call is made once all the same."""
    upload = provider.stage(job)
    fake.knobs.fail = {CREATE: [script]}
    with pytest.raises(ProviderError) as caught:
        provider.start(job, upload)
    assert type(caught.value) is kind
    assert fake.names().count(CREATE) == 1
    assert fake.tasks == {}


def test_all_places_taken(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """F16: twenty tasks run already.  The shard waits; nothing failed, and it starts once there is a place."""
    fake.knobs.places = 0
    upload = provider.stage(job)
    with pytest.raises(Busy, match="TaskRunningNumberExceedLimit"):
        provider.start(job, upload)
    fake.knobs.places = 1
    assert provider.start(job, upload)


def test_the_error_of_the_gateway(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """An error told in headers alone is one."""
    upload = provider.stage(job)
    headers = {"X_Bce_Error_Code": "InvalidParameter", "X_Bce_Error_Message": "name is wrong"}
    fake.knobs.fail = {CREATE: [raw(200, b"", **headers), raw(400, b"{}", **headers)]}
    for _ in range(2):
        with pytest.raises(Refused, match="InvalidParameter: name is wrong"):
            provider.start(job, upload)


def test_an_error_beside_an_id_tells_the_id(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """A contradictory answer may have made a task: its id is in the message, for a person to adopt."""
    upload = provider.stage(job)
    fake.knobs.fail = {CREATE: [raw(200, {"code": "InvalidX", "result": {"taskId": "infer-7"}})]}
    with pytest.raises(Unsure, match="infer-7"):
        provider.start(job, upload)


def test_a_version_of_a_model_is_named_otherwise(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """Ids of versions go to modelId, names of endpoints to endpoint, never both."""
    started(provider, replace(job, model="amv-1"))
    order = fake.requests(CREATE)[0].body
    assert order["modelId"] == "amv-1"
    assert "endpoint" not in order


def test_longest_names_fit(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """The name within 20 characters, the description within 500, whatever the batch is called."""
    started(provider, replace(job, name=f"{'x' * 40}-{'0' * 16}-{10**9}"))


def test_a_start_that_cannot_connect_is_busy(http: Http, job: Job, provider: Qianfan) -> None:
    """Nothing was made where nobody listens."""
    gone = FakeQianfan()
    gone.close()
    upload = provider.stage(job)
    with pytest.raises(Busy):
        qianfan(gone, http).start(job, upload)


# Keys


@pytest.mark.parametrize(
    ("keys", "at"), [(Keys("ALTAKother", SECRET), NOW), (Keys(ACCESS, "no"), NOW), (Keys(ACCESS, SECRET), NOW - 9_999)]
)
def test_refused_keys(fake: FakeQianfan, http: Http, job: Job, keys: Keys, at: float) -> None:
    """They exit with 4; the hint names the two policies; neither key nor the secret that is repeated is told."""
    provider = qianfan(fake, http, keys=lambda: keys, now=lambda: at)
    http.hide(SECRET)
    with pytest.raises(Refused) as caught:
        provider.offers()
    assert caught.value.exit_code == 4
    assert "QianfanServiceOperateAccessPolicy" in caught.value.hint
    assert "BOSFullControlAccessPolicy" in caught.value.hint
    assert not [key for key in (keys.access, SECRET) if key in caught.value.message]
    with pytest.raises(Refused) as caught:
        provider.stage(job)
    assert caught.value.exit_code == 4
    assert "BOSFullControlAccessPolicy" in caught.value.hint


@pytest.mark.parametrize(
    "script",
    [
        says(400, "InvalidHTTPAuthHeader"),
        says(403, "OptInRequired"),
        raw(401, b""),
        raw(400, b"", X_Bce_Error_Code="NotFound", X_Bce_Error_Message="NotFound, cause: Could not find credential."),
    ],
)
def test_ways_to_refuse_keys(fake: FakeQianfan, provider: Qianfan, script: Callable[[Handler], None]) -> None:
    """By status, by code, by the gateway's headers."""
    fake.knobs.fail = {MODEL_LIST: [script]}
    with pytest.raises(Refused) as caught:
        provider.offers()
    assert caught.value.credentials


def test_no_such_bucket(http: Http, fake: FakeQianfan, job: Job) -> None:
    """The hint says which one, and where it is written."""
    with pytest.raises(Refused, match="nowhere") as caught:
        qianfan(fake, http, folder=Place("nowhere", "")).stage(job)
    assert "create the bucket nowhere" in caught.value.hint


# Lost starts


def test_a_lost_start_is_found(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """F25: the answer to the creation was lost; the task is found by its input, and not made twice."""
    upload = provider.stage(job)
    fake.knobs.lose = {CREATE: 1}
    with pytest.raises(Unsure):
        provider.start(job, upload)
    assert provider.find(replace(job, staged=upload.marker)) == Found("infer-1")
    assert fake.names().count(CREATE) == 1
    assert fake.requests(LIST)[0].body == {"runStatus": [], "maxKeys": 100, "pageReverse": True}


@pytest.mark.parametrize(
    "task",
    [
        {"description": None},
        {"description": None, "inputBosUri": URI.rstrip("/")},
        {"description": None, "inputBosUri": URI.replace("bos:/", "bos://")},
        {"inputBosUri": None},
        {"inputBosUri": "", "createTime": "yesterday"},
        {"createTime": None},
    ],
)
def test_either_mark_is_enough(fake: FakeQianfan, provider: Qianfan, job: Job, task: Any) -> None:
    """The input folder however it is spelled, or the description."""
    job = started(provider, job)
    fake.knobs.task = task
    assert provider.find(job) == Found("infer-1")


def test_a_list_that_lags(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """F28: what is not in the list yet is Absent, which is believed after a quarter of an hour, and Found then."""
    job = started(provider, job)
    fake.knobs.hidden = 1
    assert provider.find(job) == Absent()
    assert provider.traits.grace >= 900
    fake.knobs.hidden = 0
    assert provider.find(job) == Found("infer-1")


def test_a_list_of_many_pieces_is_read_to_its_end(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """Also where the oldest come first, though the newest were asked for."""
    job = started(provider, job)
    for number in range(5):
        started(provider, replace(job, name=f"other-{number}", staged=""))
    fake.knobs.page = 2
    for oldest_first in (False, True):
        fake.knobs.oldest_first = oldest_first
        assert provider.find(job) == Found("infer-1")
        assert provider.find(replace(job, name="never", staged="")) == Absent()


def test_old_tasks_are_not_read(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """The newest first, down to an hour before the start, is all that can matter."""
    for number in range(6):
        started(provider, replace(job, name=f"old-{number}"))
    fake.knobs.page = 2
    assert provider.find(replace(job, begun_at=NOW + 4_000, name="never")) == Absent()
    assert fake.names().count(LIST) == 1


def test_two_tasks_of_one_shard(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """Which of them is ours cannot be told, unless the other is known to be another task."""
    first, second = started(provider, job), started(provider, job)
    assert isinstance(provider.find(job), Unknown)
    assert provider.find(replace(job, taken=frozenset({first.remote_id}))) == Found(second.remote_id)


def test_a_task_from_before_this_start(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """The same shard, sent by a state that was lost: it is neither adopted nor overlooked."""
    started(provider, job)
    finding = provider.find(replace(job, begun_at=NOW + 7_200))
    assert isinstance(finding, Unknown)
    assert "infer-1" in finding.reason


@pytest.mark.parametrize(
    "result",
    [
        {"taskList": [], "pageInfo": {"marker": "x", "isTruncated": True}},
        {"taskList": [], "pageInfo": {"marker": "", "isTruncated": True}},
        {"taskList": [], "pageInfo": None},
        {"taskList": "none", "pageInfo": {"isTruncated": False}},
        {"pageInfo": {"isTruncated": False}},
        {"taskList": [{"inputBosUri": URI}], "pageInfo": {"isTruncated": False}},
        "none",
        [],
    ],
)
def test_a_list_that_settles_nothing(fake: FakeQianfan, provider: Qianfan, job: Job, result: Any) -> None:
    """F28: a list that does not end, or is none, proves no absence."""
    fake.knobs.fail = {LIST: [raw(200, {"result": result})] * 3}
    assert isinstance(provider.find(job), Unknown)


def test_a_list_without_end(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """Reading stops some time, and nothing is settled."""

    def page(number: int) -> Callable[[Handler], None]:
        info = {"marker": f"m-{number}", "isTruncated": True}
        return raw(200, {"result": {"taskList": [], "pageInfo": info}})

    fake.knobs.fail = {LIST: [page(number) for number in range(1_000)]}
    assert isinstance(provider.find(job), Unknown)


def test_an_empty_list_may_be_null(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """As the list of custom models is where there are none."""
    fake.knobs.fail = {LIST: [raw(200, {"result": {"taskList": None, "pageInfo": {"isTruncated": False}}})]}
    assert provider.find(job) == Absent()


# Check, verify, cancel


@pytest.mark.parametrize(
    ("word", "phase"),
    [
        ("Queuing", Phase.QUEUED),
        ("Running", Phase.RUNNING),
        ("Stopping", Phase.RUNNING),
        ("Done", Phase.SUCCEEDED),
        ("DONE", Phase.SUCCEEDED),
        ("Stopped", Phase.CANCELLED),
        ("Failed", Phase.FAILED),
        ("expired", Phase.EXPIRED),
        ("Dreaming", Phase.RUNNING),
        (None, Phase.RUNNING),
    ],
)
def test_status_words(fake: FakeQianfan, provider: Qianfan, job: Job, word: str | None, phase: Phase) -> None:
    """F36: any case; an unknown word is kept and means that the task goes on."""
    fake.knobs.task = {"runStatus": word}
    progress = provider.check(started(provider, job))
    assert (progress.phase, progress.raw) == (phase, word or "")


@pytest.mark.parametrize(
    ("given", "read"), [(2, 2), ("2", 2), (0, 0), (None, None), ("", None), ("2/3", None), (-1, None)]
)
def test_rows_processed(fake: FakeQianfan, provider: Qianfan, job: Job, given: Any, read: int | None) -> None:
    """F38: a number, text, or nothing; the total is what was sent."""
    fake.knobs.task = {"progress": given}
    progress = provider.check(started(provider, job))
    assert (progress.total, progress.succeeded, progress.failed) == (3, read, None)


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ({"errorCode": 336, "errorReason": f"bad\x1b[31m {SECRET}"}, "336: bad [31m [hidden]"),
        ({"errorCode": 336, "errorMessage": "bad"}, "336: bad"),
        ({"errorCode": "X"}, "X"),
        ({"errorReason": "bad"}, "bad"),
        ({"errorCode": 0, "errorReason": None}, ""),
    ],
)
def test_the_reason_of_a_failure(fake: FakeQianfan, provider: Qianfan, job: Job, task: Any, error: str) -> None:
    """Under the names that were seen, scrubbed."""
    fake.knobs.task = {"runStatus": "Failed", **task}
    assert provider.check(started(provider, job)).error == error


def test_check_is_patient(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """F29: looking is free, so a failing look is repeated, and a 500 is no ending; a clear no is."""
    job = started(provider, job)
    again = raw(200, {"error_code": 18, "error_msg": "qps"})
    fake.knobs.fail = {DETAIL: [says(500, "InternalError"), again, Handler.cut]}
    assert provider.check(job).phase is Phase.SUCCEEDED
    with pytest.raises(Refused, match="NotFound"):
        provider.check(replace(job, remote_id="infer-9"))
    fake.knobs.fail = {DETAIL: [raw(200, {"result": True})]}
    with pytest.raises(Unsure, match="no task"):
        provider.check(job)


def test_verify(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """A task may be adopted when nothing it says of itself contradicts; each contradiction is named."""
    job = started(provider, job)
    provider.verify(job, job.remote_id)
    fake.knobs.task = {"name": None, "description": None, "inputBosUri": None, "endpoint": "https://x/chat/ernie-x"}
    provider.verify(job, job.remote_id)
    provider.verify(replace(job, model="https://x/chat/ernie-x"), job.remote_id)
    fake.knobs.task = {"name": "other", "description": "d", "inputBosUri": "bos:/b/c/", "endpoint": "ernie-y"}
    with pytest.raises(Refused) as caught:
        provider.verify(job, job.remote_id)
    for piece in (
        "name is other, not t-0123456789ab",
        "description is d, not runner nightly-7f3a-1",
        "model is ernie-y, not ernie-x",
        f"input is bos:/b/c/, not {URI}",
    ):
        assert piece in caught.value.message
    with pytest.raises(Refused):
        provider.verify(job, "infer-9")


@pytest.mark.parametrize(
    ("answer", "stops", "stopped"),
    [
        (True, {"runStatus": "Stopping"}, True),
        (False, {"runStatus": "Stopping"}, True),
        (False, {"runStatus": "Done"}, True),
        (False, {"runStatus": "Stopped"}, True),
        (False, {"runStatus": "Running"}, False),
        ({}, {"runStatus": "Running"}, False),
        ("true", {"runStatus": "Queuing"}, False),
    ],
)
def test_cancel(
    fake: FakeQianfan, provider: Qianfan, job: Job, answer: Any, stops: dict[str, Any], stopped: bool
) -> None:
    """F17, F24: a stop that is answered with no, beside HTTP 200, is looked into."""
    job = started(provider, job)
    fake.knobs.stop, fake.knobs.stops = answer, stops
    assert provider.cancel(job) is stopped


def test_cancel_of_an_ended_task_may_be_refused(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """F17: it has ended, which is what was wanted.  Refused keys are another matter."""
    job = started(provider, job)
    fake.knobs.fail = {STOP: [says(400, "InvalidStatus"), says(403, "AccessDenied")]}
    assert provider.cancel(job) is True
    with pytest.raises(Refused, match="AccessDenied"):
        provider.cancel(job)


# Results


@pytest.mark.parametrize("status", ["Expired", "Stopped", "Failed"])
def test_paid_answers_of_a_task_cut_short(fake: FakeQianfan, provider: Qianfan, job: Job, status: str) -> None:
    """F01, F21, F22: whatever a task ended as, the rows that it came to are handed over; the others are missing."""
    fake.knobs.answered = 2
    job = started(provider, job)
    fake.knobs.task = {"runStatus": status}
    assert results(provider, job).keys() == ids(1, 2)


@pytest.mark.parametrize("status", ["Expired", "Stopped", "Failed"])
def test_a_task_that_ended_without_answers(fake: FakeQianfan, provider: Qianfan, job: Job, status: str) -> None:
    """F08, F61: there is nothing to hand over, and no error."""
    fake.knobs.answered = 0
    job = started(provider, job)
    fake.knobs.task = {"runStatus": status, "outputDir": None}
    assert collected(provider, job) == b""


@pytest.mark.parametrize("task", [{}, {"outputDir": None}, {"runStatus": "Running"}, {"runStatus": "Stopping"}])
def test_results_that_are_not_there_yet(fake: FakeQianfan, provider: Qianfan, job: Job, task: Any) -> None:
    """A task that is done has results, and one that goes on has none yet: both are asked for again later."""
    fake.knobs.answered = 0
    job = started(provider, job)
    fake.knobs.task = task
    with pytest.raises(Busy):
        collected(provider, job)


def held_back(fake: FakeQianfan) -> dict[str, bytes]:
    """Take the files of results out of BOS."""
    names = [name for name in fake.objects if "/out/" in name and name.endswith(".jsonl")]
    return {name: fake.objects.pop(name) for name in sorted(names)}


@pytest.mark.parametrize("status", ["Done", "Expired", "Stopped", "Failed"])
def test_results_that_are_late(fake: FakeQianfan, provider: Qianfan, job: Job, status: str) -> None:
    """F46: BOS is another service than the list of tasks: as long as it holds fewer lines than rows were processed,
    nothing is collected, whatever the task ended as."""
    fake.knobs.files = 3
    job = replace(started(provider, job), ended_at=NOW - 1)
    fake.knobs.task = {"runStatus": status}
    late = held_back(fake)
    with pytest.raises(Busy):
        collected(provider, job)
    for number, (name, data) in enumerate(late.items()):
        if number:
            with pytest.raises(Unsure, match=f"{number} lines for 3 rows"):
                collected(provider, job)
        fake.objects[name] = data
    assert results(provider, job).keys() == ids(1, 2, 3)


def test_an_empty_file_of_results(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """F46: it is not what became of rows that were processed."""
    job = started(provider, job)
    fake.objects |= dict.fromkeys(held_back(fake), b"")
    with pytest.raises(Busy):
        collected(provider, job)


def test_a_count_is_not_believed_for_ever(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """The answers that are here do not wait for others that may not exist; that there is none at all is never
    believed."""
    fake.knobs.answered = 2
    job = started(provider, job)
    fake.knobs.task = {"progress": 3}
    with pytest.raises(Unsure):
        collected(provider, replace(job, ended_at=NOW - 899))
    job = replace(job, ended_at=NOW - 900)
    assert results(provider, job).keys() == ids(1, 2)
    held_back(fake)
    with pytest.raises(Busy):
        collected(provider, job)


def test_a_task_that_counts_nothing(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """What is there is handed over where nobody says how much it has to be."""
    job = started(provider, job)
    fake.knobs.task = {"progress": None}
    assert results(provider, job).keys() == ids(1, 2, 3)


def test_results_in_no_order(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """F41: a result says which request it answers."""
    fake.knobs.shuffle = True
    job = started(provider, job)
    found = results(provider, job)
    assert list(found) == [f"{number:032x}" for number in (3, 2, 1)]
    assert {id: result.text for id, result in found.items()} == {f"{n:032x}": f"answer {n}" for n in (1, 2, 3)}


@pytest.mark.parametrize("next_marker", [True, False])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_results_in_many_files(fake: FakeQianfan, provider: Qianfan, job: Job, end: bytes, next_marker: bool) -> None:
    """All of them, by a list in pieces; the last line of each is closed, so that it does not run into the next."""
    fake.knobs.files, fake.knobs.page, fake.knobs.end, fake.knobs.next_marker = 3, 1, end, next_marker
    job = started(provider, job)
    data = collected(provider, job)
    assert data.count(b"\n") == 3
    assert results(provider, job).keys() == ids(1, 2, 3)


@pytest.mark.parametrize(
    "task",
    [
        {"outputDir": None},
        {"outputBosUri": None},
        {"outputBosUri": None, "outputDir": ""},
        {"outputBosUri": f"bos:/{FOLDER}/out"},
    ],
)
def test_where_results_are(fake: FakeQianfan, provider: Qianfan, job: Job, task: Any) -> None:
    """By what the task says, else in the folder that was named for them."""
    job = started(provider, job)
    fake.knobs.task = task
    assert results(provider, job).keys() == ids(1, 2, 3)


def test_the_folder_of_results_as_a_whole_address(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """Its last step is the folder."""
    job = started(provider, job)
    folder = fake.tasks[job.remote_id]["outputDir"]
    fake.knobs.task = {"outputDir": f"bos:/{FOLDER}/out/{folder}/"}
    assert results(provider, job).keys() == ids(1, 2, 3)


def test_results_of_another_task_are_left_alone(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """A folder whose name begins in the same way is another one."""
    job = started(provider, job)
    folder = fake.tasks[job.remote_id]["outputDir"]
    fake.objects[f"{FOLDER}/out/{folder}0/part-0.jsonl"] = b'{"id":"stranger"}\n'
    assert results(provider, job).keys() == ids(1, 2, 3)


def test_settings_may_change_under_a_task(fake: FakeQianfan, http: Http, provider: Qianfan, job: Job) -> None:
    """Results are looked for where the task was sent to, not where the next one would be."""
    job = started(provider, job)
    moved = qianfan(fake, http, folder=Place("elsewhere", "now/"))
    fake.knobs.task = {"outputBosUri": None}
    assert results(moved, job).keys() == ids(1, 2, 3)
    assert moved.find(job) == Found(job.remote_id)
    moved.verify(job, job.remote_id)


def test_a_cut_download(fake: FakeQianfan, provider: Qianfan, job: Job) -> None:
    """F46: it goes on where it stopped, and each byte comes once."""
    job = started(provider, job)
    name = next(name for name in fake.objects if "/out/" in name and name.endswith(".jsonl"))
    data = fake.objects[name] = fake.objects[name] * 2_000

    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("ETag", etag(data))
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:50_000])
        handler.cut()

    fake.knobs.fail = {"get": [half]}
    assert collected(provider, job) == data
    assert "range" in fake.requests("get")[1].headers


@pytest.mark.parametrize(
    "page",
    [
        {"contents": []},
        {"isTruncated": True, "contents": []},
        {"isTruncated": True, "contents": [{"key": "a"}], "nextMarker": "z"},
        "none",
    ],
)
def test_a_list_of_objects_that_is_none(fake: FakeQianfan, provider: Qianfan, job: Job, page: Any) -> None:
    """It is never taken for the end of the results."""
    job = started(provider, job)
    fake.knobs.fail = {"objects": [raw(200, page)] * 3}
    with pytest.raises(Unsure):
        collected(provider, job)


# Lines of results


def line(output: Any = None, **more: Any) -> bytes:
    record = {"id": "a", "query": "hi", **more} | ({} if output is None else {"output": output})
    return json.dumps(record).encode()


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ({"result": "x", "finish_reason": "normal"}, Result("a", "x", "stop")),
        ({"result": "x", "finish_reason": "stop", "is_truncated": False}, Result("a", "x", "stop")),
        ({"result": "x", "finish_reason": "length"}, Result("a", "x", "length")),
        ({"result": "x", "finish_reason": "normal", "is_truncated": True}, Result("a", "x", "length")),
        ({"result": "x", "finish_reason": "function_call"}, Result("a", "x", "function_call")),
        ({"result": "x"}, Result("a", "x")),
        ({"result": "", "model": "m"}, Result("a", "", model="m")),
        ({"result": "x", "usage": {"prompt_tokens": "3", "completion_tokens": None}}, Result("a", "x", usage=Usage(3))),
        (
            {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}},
            Result("a", "x", "stop", Usage(3)),
        ),
        ("x", Result("a", "x")),
    ],
)
def test_answers(provider: Qianfan, given: Any, result: Result) -> None:
    """The documented output, with its own words for how it ended; OpenAI's; a bare string."""
    assert provider.decode(line(given)) == result


@pytest.mark.parametrize(
    ("given", "failure"),
    [
        (line({"error_code": 336003, "error_msg": "invalid argument"}), ("336003", "invalid argument", False)),
        (line(error_code=18, error_msg="limit reached"), ("18", "limit reached", True)),
        (line(error_code="336100", error_msg="try again"), ("336100", "try again", True)),
        (line({"error_code": 500000}), ("500000", "Qianfan answered with error 500000", True)),
        (line({"error_code": "RateLimitExceeded"}), ("RateLimitExceeded", None, True)),
        (line(error={"code": "invalid_request", "message": "no"}), ("invalid_request", "no", False)),
        (line({"error": {"code": "server_error", "message": "no"}}), ("server_error", "no", True)),
        (line({"code": "invalid_x", "message": "boom"}), ("invalid_x", "boom", False)),
        (line({"code": 336100, "message": "boom"}), ("336100", "boom", True)),
        (line(code="InternalError", message="boom"), ("InternalError", "boom", True)),
        (line(errorCode="18", errorMessage="qps"), ("18", "qps", True)),
        (line({"errorCode": 7, "errorMsg": "boom"}), ("7", "boom", False)),
        (line("so far", errorCode="7", errorMessage="boom"), ("7", "boom", False)),
        (line("so far", code="x", message="boom"), ("x", "boom", False)),
        (line("so far", error={"code": "x", "message": "boom"}), ("x", "boom", False)),
        (line({"result": ""}, error={"code": "x", "message": "boom"}), ("x", "boom", False)),
        (line({"result": "", "error": {"code": "x", "message": "boom"}}), ("x", "boom", False)),
        (line(), ("empty_answer", None, True)),
        (line({}), ("empty_answer", None, True)),
        (line({"result": None}), ("empty_answer", None, True)),
        (line({"result": "", "finish_reason": "content_filter"}), ("content_filter", None, False)),
        (line({"result": "", "is_truncated": True}), ("truncated", None, False)),
    ],
)
def test_failed_rows(provider: Qianfan, given: bytes, failure: tuple[str, str | None, bool]) -> None:
    """F05, F54: in every plausible shape, each with whether another try may help."""
    found = provider.decode(given).failure
    assert found is not None
    assert (found.code, found.retryable) == (failure[0], failure[2])
    assert failure[1] in (None, found.message)


@pytest.mark.parametrize(
    "more",
    [
        {"code": 0, "message": "success"},
        {"code": 200, "message": "OK"},
        {"error_code": "0", "error_msg": ""},
        {"errorCode": None, "errorMessage": None},
        {"error": None},
    ],
)
@pytest.mark.parametrize("output", ["x", {"result": "x"}])
def test_words_of_success_are_no_error(provider: Qianfan, output: Any, more: Any) -> None:
    """A code that says that all is well takes nothing from the answer beside it."""
    assert provider.decode(line(output, **more)) == Result("a", "x")


@pytest.mark.parametrize("given", [b"", b"[]", b"{", b"{}", b'"x"', b'{"query":"x"}', b"\xff", b"[" * 100_000])
def test_lines_that_cannot_be_read(provider: Qianfan, given: bytes) -> None:
    """F06: a ValueError for that line, whatever it is."""
    with pytest.raises(ValueError):
        provider.decode(given)


def test_decode_scrubs_what_the_provider_repeats(provider: Qianfan, http: Http) -> None:
    """An error in a result line does not carry a key into outputs."""
    http.hide(SECRET)
    failure = provider.decode(line(error_code=7, error_msg=f"\x1b[1mkey {SECRET} is bad")).failure
    assert failure is not None
    assert failure.message == "[1mkey [hidden] is bad"


# Offers


def test_offers(fake: FakeQianfan, provider: Qianfan) -> None:
    """Each version is an offer; what is not in the list may be an endpoint and is taken as given."""
    catalogue = provider.offers()
    assert catalogue.offers == (Offer("amv-1", name="M-1"),)
    assert not catalogue.complete


def test_custom_models_and_more_that_is_told(fake: FakeQianfan, provider: Qianfan) -> None:
    """Both lists; a version's name that says little is led by its model's; facts of either are read."""
    version = {
        "modelVersionId": "amv-2",
        "modelVersionName": "V2",
        "batch_price": {"input": 1, "output": 2, "currency": "CNY"},
    }
    tuned = {"modelId": "am-2", "modelName": "Mine", "family": "Ernie", "contextLength": 8_192, "max_model_len": 8_192}
    fake.knobs.models = {
        **MODELS,
        "customModelList": [
            {**tuned, "modelVersionList": [version, {"modelVersionId": "amv-3"}, {}, None, "x"]},
            {"modelVersionList": None},
            {},
            None,
        ],
    }
    assert provider.offers().offers[1:] == (
        Offer("amv-2", name="Mine V2", family="Ernie", context=8_192, price=Price(1, 2, "CNY")),
        Offer("amv-3", name="Mine", family="Ernie", context=8_192),
    )


@pytest.mark.parametrize("models", [{}, [], {"commonModelList": None}, "none"])
def test_no_models(fake: FakeQianfan, provider: Qianfan, models: Any) -> None:
    """A list in no known shape is an empty one: a model that is named is taken as given all the same."""
    fake.knobs.models = models
    assert provider.offers().offers == ()


# Places


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("bos:/b/x/y/", Place("b", "x/y/")),
        ("bos:/b/x/y", Place("b", "x/y/")),
        ("bos://b/x/", Place("b", "x/")),
        ("bos:/b", Place("b", "")),
        ("bos:/b/", Place("b", "")),
        ("", None),
        ("bos:", None),
        ("s3:/b/x/", None),
        ("/b/x/", None),
    ],
)
def test_addresses(uri: str, place: Place | None) -> None:
    """One slash, as documented, or two, as people write."""
    assert parse_place(uri) == place


# The registry


def never(*_: Any) -> Any:
    raise AssertionError("not to be called")


def built(http: Http, secret: Callable[[SecretRef], str] = never, **settings: Any) -> Any:
    config = ProviderConfig("qf", "qianfan", settings)
    return build(config, http=http, secret=secret, simulator_url=never, folder=Path("nowhere"))


def test_a_provider_is_built_without_a_secret_or_a_network(http: Http) -> None:
    """The pure half needs neither, and the limits are the platform's, or ours."""
    provider = built(http, bos={"bucket": "b"})
    assert provider.encode(Offer("m"), asked(("user", "hi")))["query"] == "hi"
    assert provider.decode(line("x")).text == "x"
    assert provider.traits.cancels
    assert provider.traits.finds
    assert provider.traits.shard.bytes < 300_000_000
    limits = built(http, bos={"bucket": "b"}, max_requests=7, max_bytes=5_000_000).traits.shard
    assert (limits.requests, limits.bytes) == (7, 5_000_000)
    with pytest.raises(CredentialsError, match="has no access_key"):
        provider.offers()


@pytest.mark.parametrize(("prefix", "folder"), [("/a//b/", f"{BUCKET}/a/b/"), ("", f"{BUCKET}/"), (None, f"{BUCKET}/")])
def test_settings_arrive(fake: FakeQianfan, http: Http, job: Job, prefix: str | None, folder: str) -> None:
    """Keys by reference, addresses, the folder in the bucket, however its slashes are."""
    fake.knobs.now = time.time
    provider = built(
        http,
        secret=lambda ref: {"A": ACCESS, "S": SECRET}[ref.env or ""],
        access_key=SecretRef(env="A"),
        secret_key=SecretRef(env="S"),
        base_url=fake.url,
        bos={"endpoint": f"{fake.url}/", "bucket": BUCKET} | ({} if prefix is None else {"prefix": prefix}),
        data_format="default",
    )
    assert provider.stage(job).marker == f"bos:/{folder}nightly-7f3a-1/in/"
    assert list(fake.objects) == [f"{folder}nightly-7f3a-1/in/part-0.jsonl", f"{folder}nightly-7f3a-1/out/"]
    assert provider.notes == ()
