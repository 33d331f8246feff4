"""The Wanqing family over real HTTP, against a second reading of its document; and the registry that builds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.wanqing import BASE, KEY, MODEL, PROJECT, FakeWanqing, Handler

from runner.edge.http import Http
from runner.errors import Busy, CredentialsError, ProviderError, Refused, RunnerError, Unsure
from runner.model import Offer, Price
from runner.project import ProviderConfig, SecretRef
from runner.provider import Absent, Found, Job, Message, Part, Phase, Question, Unknown
from runner.providers.wanqing.models import parse_offers
from runner.providers.wanqing.provider import SIMULATOR, UPLOAD_URL, WANQING, Dialect, Wanqing, upload_address
from runner.registry import build

LINES = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n' * 3
HELLO = Question((Message("user", (Part("text", "hello"),)),))


@pytest.fixture
def fake() -> Iterator[FakeWanqing]:
    fake = FakeWanqing()
    yield fake
    fake.close()


@pytest.fixture
def http() -> Iterator[Http]:
    naps: list[float] = []
    http = Http(sleep=naps.append, clock=lambda: sum(naps))
    yield http
    http.close()


@pytest.fixture
def provider(fake: FakeWanqing, http: Http) -> Wanqing:
    return wanqing(fake, http)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    file = tmp_path / "shard.jsonl"
    file.write_bytes(LINES)
    return Job(task="t-1", name="nightly-7f3a", model="mi-9", requests=3, max_wait=86_400, file=file)


def wanqing(fake: FakeWanqing, http: Http, dialect: Dialect = WANQING, **settings: Any) -> Wanqing:
    settings = {"base_url": lambda: fake.url, "api_key": lambda: KEY, "project_id": PROJECT, **settings}
    return Wanqing("wq", dialect, http, **settings)


def started(provider: Wanqing, job: Job) -> Job:
    return replace(job, remote_id=provider.start(job, provider.stage(job)))


def says(status: int, code: Any, message: str = "so it is", data: Any = None) -> Callable[[Handler], None]:
    return lambda handler: handler.error(status, code, message, data)


def raw(status: int, body: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(status, body)


def collected(provider: Wanqing, job: Job) -> bytes:
    got = bytearray()
    provider.results(job, got.extend)
    return bytes(got)


# The whole way


def test_a_task_from_upload_to_results(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """Stage, start, check and results make the documented calls, in order, with the documented fields."""
    upload = provider.stage(job)
    assert fake.files == {upload.token: LINES}
    assert upload.marker == "nightly-7f3a.jsonl"
    job = replace(job, remote_id=provider.start(job, upload))
    progress = provider.check(job)
    assert (progress.phase, progress.total, progress.succeeded, progress.failed) == (Phase.SUCCEEDED, 3, 2, 1)
    assert progress.expires_at == "2026-01-09T03:04:05Z"
    assert collected(provider, job) == fake.output
    assert fake.names() == ["upload-url", "upload", "create", "detail", "download-url", "download"]
    assert fake.requests("upload-url")[0].query == {"fileName": "nightly-7f3a.jsonl", "projectId": PROJECT}
    assert json.loads(fake.requests("create")[0].body) == {
        "name": "nightly-7f3a",
        "projectId": PROJECT,
        "modelInstanceId": "mi-9",
        "accessType": "PUBLIC",
        "fileToken": upload.token,
        "fileName": "nightly-7f3a.jsonl",
        "maxWaitTime": 86_400,
    }


def test_the_key_goes_to_the_api_only(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """The gateway and the presigned address get no Authorization; the gateway gets bare bytes and a token."""
    collected(provider, started(provider, job))
    for call in fake.calls:
        expected = None if call.name in ("upload", "download") else f"Bearer {KEY}"
        assert call.headers["authorization"] == expected
    upload = fake.requests("upload")[0]
    assert upload.headers["content-type"] == "application/octet-stream"
    assert upload.headers["content-length"] == str(len(LINES))
    assert list(upload.query) == ["upload_token"]


@pytest.mark.parametrize("suffix", ["", "/", BASE, f"{BASE}/"])
def test_spellings_of_base_url(fake: FakeWanqing, http: Http, suffix: str) -> None:
    """With or without the API's path, with or without a slash at the end."""
    assert wanqing(fake, http, base_url=lambda: fake.url + suffix).offers()


@pytest.mark.parametrize("code", [None, "", "0", 0, "Success", "SUCCESS", "OK", "ok"])
def test_words_for_success(fake: FakeWanqing, provider: Wanqing, job: Job, code: Any) -> None:
    """ErrorCode absent, empty, zero or a word for success is no error."""
    fake.knobs.success_code = code
    assert provider.check(started(provider, job)).phase is Phase.SUCCEEDED


# Upload


@pytest.mark.parametrize(
    "endpoint", ["{host}", "{url}", "{url}/", "{host}/api/upload", "{url}/api/upload", "{url}/api/upload/"]
)
def test_spellings_of_the_upload_endpoint(fake: FakeWanqing, provider: Wanqing, job: Job, endpoint: str) -> None:
    """A bare host, a scheme and host, and a full URL all lead to the gateway."""
    fake.knobs.endpoint = endpoint
    provider.stage(job)
    assert list(fake.files.values()) == [LINES]


@pytest.mark.parametrize(
    ("endpoint", "override", "address"),
    [
        ("", "", UPLOAD_URL),
        ("up.example", "", "http://up.example/api/upload"),
        ("up.example:8080", "", "http://up.example:8080/api/upload"),
        ("https://up.example", "", "https://up.example/api/upload"),
        ("https://up.example/gw", "", "https://up.example/gw/api/upload"),
        ("up.example", "https://own.example", "https://own.example/api/upload"),
        ("up.example", "https://own.example/in", "https://own.example/in"),
        ("http://[", "", "http://[/api/upload"),
    ],
)
def test_upload_address(endpoint: str, override: str, address: str) -> None:
    """The project's own address wins, then the provider's, then the documented one; a bare host is reached by http."""
    assert upload_address(endpoint, override) == address


def test_the_override_is_used(fake: FakeWanqing, http: Http, job: Job) -> None:
    """upload_url replaces an endpoint that cannot be reached."""
    fake.knobs.endpoint = "127.0.0.1:1"
    wanqing(fake, http, upload_url=fake.url).stage(job)
    assert fake.files


def test_cleartext_is_said_once_and_only_where_it_is() -> None:
    """A project that uploads by http is told so, unless it has set an https address; the simulator's is not."""
    hands: dict[str, Any] = {"base_url": str, "api_key": str, "project_id": "p"}
    notes = Wanqing("wq", WANQING, Http(), **hands).notes
    assert len(notes) == 1
    assert "cleartext" in notes[0]
    assert Wanqing("wq", WANQING, Http(), upload_url="https://own.example", **hands).notes == ()
    assert Wanqing("sim", SIMULATOR, Http(), **hands).notes == ()


@pytest.mark.parametrize("result", [1, "1", 1.0])
def test_the_gateway_s_success(fake: FakeWanqing, provider: Wanqing, job: Job, result: Any) -> None:
    """One is success, as a number or as text."""
    fake.knobs.upload_result = result
    assert provider.stage(job).token


@pytest.mark.parametrize("result", [0, 2, "", None, True, -1])
def test_the_gateway_s_refusal(fake: FakeWanqing, provider: Wanqing, job: Job, result: Any) -> None:
    """Anything but one is a no, beside HTTP 200 as well."""
    fake.knobs.upload_result = result
    with pytest.raises(Refused, match="did not take the file"):
        provider.stage(job)


def test_staging_starts_over_with_a_new_token(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """An upload whose answer was lost is repeated with another token, since one may be good once only."""
    fake.knobs.files_once = True
    fake.knobs.lose = {"upload": 2}
    fake.knobs.fail = {"upload-url": [raw(500, b"")]}
    upload = provider.stage(job)
    assert fake.names().count("upload") == 3
    assert len({call.query["upload_token"] for call in fake.requests("upload")}) == 3
    assert fake.files[upload.token] == LINES


def test_no_token_is_unsure(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """An upload address without a token is an answer that settles nothing."""
    good = raw(200, b'{"ResponseMeta":{},"ResponseData":{"httpEndpoint":"x"}}')
    fake.knobs.fail = {"upload-url": [good] * 4}
    with pytest.raises(Unsure, match="fileToken"):
        provider.stage(job)


# Start


OUTCOMES: list[tuple[Callable[[Handler], None], type[ProviderError]]] = [
    (says(400, "InvalidParameter"), Refused),
    (says(200, "InvalidParameter"), Refused),
    (says(200, "ModelInstanceNotRunning"), Refused),
    (says(200, 40001), Unsure),
    (says(404, "0"), Refused),
    (says(401, "Unauthorized"), Refused),
    (says(200, "AccessDenied"), Refused),
    (raw(400, b"<html>"), Refused),
    (says(429, ""), Busy),
    (says(429, "InvalidParameter"), Busy),
    (says(400, "Throttling.User"), Busy),
    (says(200, "RequestLimitExceeded"), Busy),
    (says(200, "429"), Busy),
    (says(500, "InvalidParameter"), Unsure),
    (says(503, "Throttling"), Unsure),
    (says(408, ""), Unsure),
    (says(200, "InternalError"), Unsure),
    (says(400, "Service.Unavailable"), Unsure),
    (says(200, "500"), Unsure),
    (says(200, "Odd", data={"id": "brt-7"}), Unsure),
    (raw(200, b"{}"), Unsure),
    (raw(200, b"[]"), Unsure),
    (raw(200, b"<html>"), Unsure),
    (raw(200, b'{"ResponseMeta":{"ErrorCode":""},"ResponseData":null}'), Unsure),
    (raw(200, b'{"ResponseMeta":{"ErrorCode":""},"ResponseData":{}}'), Unsure),
    (raw(200, b'{"ResponseMeta":null,"ResponseData":{"id":""}}'), Unsure),
    (Handler.cut, Unsure),
]


@pytest.mark.parametrize(("script", "kind"), OUTCOMES)
def test_outcomes_of_start(
    fake: FakeWanqing, provider: Wanqing, job: Job, script: Callable[[Handler], None], kind: type[ProviderError]
) -> None:
    """A clear no is Refused, a clear not-now is Busy, everything else is Unsure; the call is made once all the same."""
    upload = provider.stage(job)
    fake.knobs.fail = {"create": [script]}
    with pytest.raises(ProviderError) as caught:
        provider.start(job, upload)
    assert type(caught.value) is kind
    assert fake.names().count("create") == 1
    assert fake.tasks == {}


def test_a_start_whose_answer_was_lost(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """The task exists, and the provider says that it does not know: the call is not repeated."""
    upload = provider.stage(job)
    fake.knobs.lose = {"create": 1}
    with pytest.raises(Unsure):
        provider.start(job, upload)
    assert len(fake.tasks) == 1


def test_a_start_that_cannot_connect_is_busy(http: Http, job: Job, provider: Wanqing) -> None:
    """Nothing was made where nobody listens."""
    gone = FakeWanqing()
    gone.close()
    upload = provider.stage(job)
    with pytest.raises(Busy):
        wanqing(gone, http).start(job, upload)


def test_an_error_beside_an_id_tells_the_id(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """A contradictory answer may have made a task: its id is in the message, for a person to adopt."""
    upload = provider.stage(job)
    fake.knobs.fail = {"create": [says(200, "Odd", data={"id": "brt-7"})]}
    with pytest.raises(Unsure, match="brt-7"):
        provider.start(job, upload)


def test_a_numeric_id_is_text(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """An id that comes as a number is kept as text."""
    upload = provider.stage(job)
    fake.knobs.fail = {"create": [raw(200, b'{"ResponseData":{"id":42}}')]}
    assert provider.start(job, upload) == "42"


@pytest.mark.parametrize(
    "script", [says(401, "Whatever"), says(403, ""), says(200, "InvalidApiKey"), says(200, "401"), raw(401, b"")]
)
def test_a_refused_key(fake: FakeWanqing, provider: Wanqing, script: Callable[[Handler], None]) -> None:
    """The hint says what the document says: the key must belong to the project.  It exits with 4."""
    fake.knobs.fail = {"models": [script]}
    with pytest.raises(Refused) as caught:
        provider.offers()
    assert caught.value.credentials
    assert caught.value.exit_code == 4
    assert f"must belong to project {PROJECT}" in caught.value.hint


def test_an_echoed_key_is_not_told(fake: FakeWanqing, http: Http) -> None:
    """The fake repeats the wrong key in its refusal; the error does not."""
    wrong = "wq-wrong-key-9876543210"
    with pytest.raises(Refused) as caught:
        wanqing(fake, http, api_key=lambda: wrong).offers()
    assert wrong not in repr(caught.value) + caught.value.hint
    assert "is not of this project" in caught.value.message


# Check, verify, find


@pytest.mark.parametrize(
    ("word", "phase"),
    [
        ("pending", Phase.QUEUED),
        ("Queued", Phase.QUEUED),
        ("RUNNING", Phase.RUNNING),
        ("succeeded", Phase.SUCCEEDED),
        ("Completed", Phase.SUCCEEDED),
        ("success", Phase.SUCCEEDED),
        ("failed", Phase.FAILED),
        ("expired", Phase.EXPIRED),
        ("timeout", Phase.EXPIRED),
        ("cancelled", Phase.CANCELLED),
        ("canceled", Phase.CANCELLED),
        ("stopped", Phase.CANCELLED),
        ("dreaming", Phase.RUNNING),
        ("", Phase.RUNNING),
        (None, Phase.RUNNING),
    ],
)
def test_status_words(fake: FakeWanqing, provider: Wanqing, job: Job, word: str | None, phase: Phase) -> None:
    """Any case; an unknown word is kept and means that the task goes on."""
    fake.knobs.task = {"status": word}
    progress = provider.check(started(provider, job))
    assert (progress.phase, progress.raw) == (phase, word or "")


@pytest.mark.parametrize(
    ("progress", "counts"),
    [
        ({"totalCount": "120", "succeededCount": "40", "failedCount": "1"}, (120, 40, 1)),
        ({"totalCount": 0, "succeededCount": None}, (0, None, None)),
        ({"totalCount": "many", "succeededCount": -1, "failedCount": True}, (None, None, None)),
        (None, (None, None, None)),
        ("", (None, None, None)),
    ],
)
def test_counts(fake: FakeWanqing, provider: Wanqing, job: Job, progress: Any, counts: tuple[int | None, ...]) -> None:
    """Counts come as numbers, as text, or not at all."""
    fake.knobs.task = {"progress": progress}
    got = provider.check(started(provider, job))
    assert (got.total, got.succeeded, got.failed) == counts


def test_the_reason_of_a_failure_is_kept_and_scrubbed(fake: FakeWanqing, http: Http, job: Job) -> None:
    """errorReason is shown; a key in it, ours or the one that the task object echoes, is not."""
    other = "wq-someone-elses-key-42"
    fake.knobs.task = {
        "status": "failed",
        "errorReason": f"bad\x1b[31m {KEY} {other}",
        "authorizations": {"apiKey": other},
    }
    provider = wanqing(fake, http)
    error = provider.check(started(provider, job)).error
    assert error == "bad [31m [hidden] [hidden]"


def test_check_is_patient(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """Looking is free, so a throttled or failing look is repeated, beside HTTP 200 too."""
    job = started(provider, job)
    fake.knobs.fail = {"detail": [says(500, ""), says(200, "Throttling"), Handler.cut]}
    assert provider.check(job).phase is Phase.SUCCEEDED
    fake.knobs.fail = {"detail": [says(404, "TaskNotFound")]}
    with pytest.raises(Refused):
        provider.check(job)


def test_verify(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """A task may be adopted when nothing it says of itself contradicts; each contradiction is named."""
    remote_id = started(provider, job).remote_id
    provider.verify(job, remote_id)
    fake.knobs.task = {"name": None, "modelInfo": None, "inputDataFile": {"file": {}}}
    provider.verify(job, remote_id)
    fake.knobs.task = {
        "name": "other",
        "modelInfo": {"modelInstanceId": "mi-8"},
        "inputDataFile": {"file": {"fileName": "x"}},
    }
    with pytest.raises(Refused) as caught:
        provider.verify(job, remote_id)
    for piece in (
        "name is other, not nightly-7f3a",
        "model instance is mi-8, not mi-9",
        "input file is x, not nightly-7f3a.jsonl",
    ):
        assert piece in caught.value.message
    with pytest.raises(Refused):
        provider.verify(job, "brt-99")


def test_real_wanqing_cannot_be_asked_for_a_task(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """No list is documented: the finding is Unknown, with a reason, and no call is made."""
    finding = provider.find(job)
    assert isinstance(finding, Unknown)
    assert finding.reason
    assert fake.calls == []
    assert not provider.traits.finds


def test_find_by_list(fake: FakeWanqing, http: Http, job: Job) -> None:
    """With a list: exactly one task of that very name is Found, none is Absent, two are Unknown."""
    fake.knobs.lists = True
    provider = wanqing(fake, http, SIMULATOR)
    started(provider, replace(job, name="nightly-7f3a-longer"))
    assert provider.find(job) == Absent()
    remote_id = started(provider, job).remote_id
    assert provider.find(job) == Found(remote_id)
    started(provider, job)
    assert isinstance(provider.find(job), Unknown)


@pytest.mark.parametrize(
    "data", [{"total": 5, "list": []}, {"list": []}, {}, {"total": 1, "list": [{"name": "nightly-7f3a"}]}]
)
def test_a_list_that_settles_nothing(fake: FakeWanqing, http: Http, job: Job, data: Any) -> None:
    """A list that is cut, or of another shape, proves no absence."""
    body = json.dumps({"ResponseMeta": {}, "ResponseData": data}).encode()
    fake.knobs.fail = {"list": [raw(200, body)]}
    assert isinstance(wanqing(fake, http, SIMULATOR).find(job), Unknown)


def test_cancel_is_not_documented(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """The task goes on: nothing is called, and the answer is no."""
    assert provider.cancel(job) is False
    assert not provider.traits.cancels
    assert fake.calls == []


# Results


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_a_failed_task_with_answers_is_collected(fake: FakeWanqing, provider: Wanqing, job: Job, status: str) -> None:
    """Whatever a task ended as, its output was paid for."""
    job = started(provider, job)
    fake.knobs.task = {"status": status}
    assert collected(provider, job) == fake.output


NO_OUTPUT = [
    says(404, "OutputNotFound"),
    raw(200, b'{"ResponseData":{"fileUrl":""}}'),
    raw(200, b'{"ResponseData":{}}'),
]


@pytest.mark.parametrize("script", NO_OUTPUT)
@pytest.mark.parametrize(
    "task",
    [
        {"status": "failed", "progress": {}},
        {"status": "failed", "progress": {"succeededCount": 0, "failedCount": 3}},
        {"status": "expired", "progress": {"succeededCount": 0}},
        {"status": "completed", "progress": {"succeededCount": 0, "failedCount": 3}},
    ],
)
def test_a_task_that_ended_without_results(
    fake: FakeWanqing, provider: Wanqing, job: Job, script: Callable[[Handler], None], task: Any
) -> None:
    """Where no answer was made, there is nothing to hand over and no error."""
    job = started(provider, job)
    fake.knobs.task = task
    fake.knobs.fail = {"download-url": [script]}
    assert collected(provider, job) == b""


@pytest.mark.parametrize("script", NO_OUTPUT)
@pytest.mark.parametrize(
    "task",
    [
        {"status": "succeeded"},
        {"status": "succeeded", "progress": None},
        {"status": "failed"},
        {"status": "running", "progress": None},
    ],
)
def test_paid_answers_that_are_not_given_out(
    fake: FakeWanqing, provider: Wanqing, job: Job, script: Callable[[Handler], None], task: Any
) -> None:
    """Where answers were made, or may have been, their absence is never taken for an empty result."""
    job = started(provider, job)
    fake.knobs.task = task
    fake.knobs.fail = {"download-url": [script]}
    with pytest.raises((Refused, Busy)):
        collected(provider, job)


def test_a_link_that_expired(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """A presigned address that refuses speaks of the file, not of the key, and its signature is not told."""
    job = started(provider, job)
    fake.knobs.fail = {"download": [raw(403, b"<Error>Request has expired</Error>")]}
    with pytest.raises(Refused, match="expired") as caught:
        collected(provider, job)
    assert not caught.value.credentials
    assert "presigned-secret-value" not in caught.value.message + caught.value.where


def test_a_cut_download_is_not_handed_over_twice(fake: FakeWanqing, provider: Wanqing, job: Job) -> None:
    """Each byte of the results comes once, though the server has neither ranges nor patience."""
    job = started(provider, job)
    fake.output = LINES * 1_000

    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(fake.output)))
        handler.end_headers()
        handler.wfile.write(fake.output[:50_000])
        handler.cut()

    fake.knobs.fail = {"download": [half, half]}
    assert collected(provider, job) == fake.output


def test_decode_scrubs_what_the_provider_repeats(http: Http, fake: FakeWanqing) -> None:
    """An error in a result line does not carry the key into outputs."""
    provider = wanqing(fake, http)
    provider.offers()
    line = json.dumps({"custom_id": "a", "error": {"code": f"x {KEY}", "message": f"\x1b[1mkey {KEY} is bad"}})
    failure = provider.decode(line.encode()).failure
    assert failure is not None
    assert (failure.code, failure.message) == ("x [hidden]", "[1mkey [hidden] is bad")


# Offers


def test_offers_are_asked_for_with_the_offline_tag(fake: FakeWanqing, provider: Wanqing) -> None:
    """The documented element becomes an offer in plain numbers; what it does not hold is unknown."""
    fake.knobs.models = [MODEL, "garbage", None, {}]
    assert list(provider.offers().offers) == [
        Offer(
            "mi-9",
            name="Qwen3-8B",
            tags=frozenset({"supportOffline"}),
            context=32_768,
            max_input=24_576,
            max_output=8_192,
            price=Price(0.002, 0.008, "CNY", upper_bound=True),
            notes=("no batch price is listed, or it has tiers: the dearest listed is taken",),
        )
    ]
    assert fake.requests("models")[0].query == {"customTags": "supportOffline"}


def offer(**changes: Any) -> Offer:
    (only,) = parse_offers([{**MODEL, **changes}])
    return only


def scene(name: str, *tiers: Any) -> dict[str, Any]:
    return {"usageScene": name, "pricingTiers": list(tiers)}


@pytest.mark.parametrize(
    ("infos", "price"),
    [
        (
            [scene("onlineInference", {"input": 2, "output": 8}), scene("batchInference", {"input": 1, "output": 4})],
            (1, 4, False),
        ),
        ([scene("offlineReasoning", {"input": "1", "output": [{"price": "4"}]})], (1, 4, False)),
        ([scene("onlineInference", {"input": 2, "output": 8})], (2, 8, True)),
        (
            [scene("batch", {"input": 1, "output": [{"mode": "a", "price": 4}, {"mode": "b", "price": 6}]})],
            (1, 6, True),
        ),
        ([scene("batch", {"input": 1, "output": 4}, {"input": 3, "output": 2})], (3, 4, True)),
        ([scene("batch", {"input": {"price": 1}, "output": {"price": 4}})], (1, 4, False)),
        ([{"usageScene": "batch", "input": 1, "output": 4}], (1, 4, False)),
        ([scene("batch"), scene("online", {"input": 2, "output": 8})], (2, 8, True)),
        ([scene("fineTuning", {"input": 2, "output": 8})], None),
        ([scene("batch", {"input": "free", "output": 1})], None),
        ([scene("batch", {"input": -1, "output": float("nan")})], None),
        (["x", None], None),
        (None, None),
    ],
)
def test_prices(infos: Any, price: tuple[float, float, bool] | None) -> None:
    """The batch scene if there is one, else the online one as an upper bound; of tiers and modes the dearest."""
    assert offer(priceInfo=infos).price == (price and Price(price[0], price[1], "CNY", upper_bound=price[2]))


@pytest.mark.parametrize(
    "value",
    [
        {"temperature": {"min": 0, "max": "2"}, "top_p": [0, 1], "stop": {"type": "string"}},
        [
            {"name": "temperature", "minimum": "0", "maximum": 2},
            {"parameterName": "top_p", "range": [0, 1]},
            {"min": 1},
            "x",
        ],
    ],
)
def test_parameters(value: Any) -> None:
    """Ranges in an object or a list, under any plausible name; what has none is left out."""
    assert offer(modelParameters=value).parameters == {"temperature": (0, 2), "top_p": (0, 1)}


@pytest.mark.parametrize(
    "value",
    [
        {"inputModalities": ["Text", "Image"], "output": ["text"], "capabilities": ["deepThinking"]},
        {
            "input": [{"name": "text"}, {"name": "image"}],
            "outputTypes": {"text": True, "audio": False},
            "deepThinking": True,
        },
    ],
)
def test_capabilities(value: Any) -> None:
    """Modalities in lower case, capabilities by name; thinking and functions are told from the names."""
    got = offer(capabilityOverview=value)
    assert (got.inputs, got.outputs) == (frozenset({"text", "image"}), frozenset({"text"}))
    assert (got.capabilities, got.thinking, got.functions) == (frozenset({"deepThinking"}), True, False)


@pytest.mark.parametrize("value", [None, [], {}, "", 7, {"x": None}])
def test_no_capabilities_are_unknown(value: Any) -> None:
    """Without a list of capabilities nothing is known of thinking, functions and modalities."""
    got = offer(capabilityOverview=value)
    assert (got.inputs, got.outputs, got.thinking, got.functions) == (None, None, None, None)


def test_capabilities_as_a_list() -> None:
    """Names, or objects that say whether they are supported."""
    got = offer(capabilityOverview=["toolCalling", {"name": "thinking", "supported": False}, {"type": "json"}])
    assert got.capabilities == {"toolCalling", "json"}
    assert (got.thinking, got.functions) == (False, True)


def test_instances() -> None:
    """A stopped instance is not available; several instances are several offers; one without an id is none."""
    assert not offer(modelInstance={"modelInstanceId": "mi-1", "status": "Stopped"}).available
    assert not offer(modelInstance={"modelInstanceId": "mi-1", "status": "error"}).available
    many = parse_offers([{**MODEL, "modelInstance": [{"modelInstanceId": "mi-1"}, {"modelInstanceId": "mi-2"}, {}]}])
    assert [o.id for o in many] == ["mi-1", "mi-2"]
    assert [o.id for o in parse_offers([{"modelInstanceId": "mi-3", "modelInstanceName": "M"}])] == ["mi-3"]


def test_models_that_take_no_batches_are_left_out() -> None:
    """Tags that lack supportOffline say so; no tags say nothing."""
    assert parse_offers([{**MODEL, "invisibleModelTags": {"customTags": ["x"]}}]) == []
    assert len(parse_offers([{**MODEL, "invisibleModelTags": None}])) == 1


def test_names_under_plausible_keys() -> None:
    """Family, vendor and date are read where they may be; control characters become blanks."""
    got = offer(series="Qwen3", manufacturer="Ali\x1bbaba ", createdAt="2025-04-29")
    assert (got.family, got.vendor, got.released) == ("Qwen3", "Ali baba", "2025-04-29")


# The registry


def config(type: str = "wanqing", **settings: Any) -> ProviderConfig:
    return ProviderConfig("prov", type, settings)


FOLDER = Path("nowhere")


def never(*_: Any) -> Any:
    raise AssertionError("not to be called")


def test_a_provider_is_built_without_a_secret_or_a_network(http: Http) -> None:
    """The pure half needs neither; the simulator's offers are part of the package."""
    real = build(
        config(project_id="p", api_key=SecretRef(env="K")), http=http, secret=never, simulator_url=never, folder=FOLDER
    )
    assert real.encode(Offer("mi-9"), HELLO)["model"] == "mi-9"
    assert real.frame(HELLO).before == b'{"custom_id":"'
    assert real.decode(b'{"custom_id":"a","output":"x"}').text == "x"
    assert real.traits.grace == 900
    assert not real.traits.lists_offline
    simulated = build(config("simulator"), http=http, secret=never, simulator_url=never, folder=FOLDER)
    assert simulated.traits.finds
    assert simulated.traits.lists_offline
    assert len(simulated.offers().offers) > 3
    for offered in simulated.offers().offers:
        assert offered.context
        assert offered.family
        assert "temperature" in offered.parameters


def test_the_secret_is_fetched_at_the_first_conversation(fake: FakeWanqing, http: Http) -> None:
    """And from where runner.yaml says; without an api_key the error exits 4."""
    settings = {"project_id": PROJECT, "base_url": fake.url}
    asked: list[SecretRef] = []
    provider = build(
        config(api_key=SecretRef(env="K"), **settings),
        http=http,
        secret=lambda ref: asked.append(ref) or KEY,
        simulator_url=never,
        folder=FOLDER,
    )
    assert provider.offers()
    assert asked == [SecretRef(env="K")]
    with pytest.raises(CredentialsError, match="has no api_key"):
        build(config(**settings), http=http, secret=never, simulator_url=never, folder=FOLDER).offers()


def test_a_simulator_elsewhere_is_asked(fake: FakeWanqing, http: Http) -> None:
    """With a base_url the simulator is a server like any other."""
    provider = build(
        config("simulator", base_url=fake.url, api_key=SecretRef(env="K")),
        http=http,
        secret=lambda _: KEY,
        simulator_url=never,
        folder=FOLDER,
    )
    assert not provider.traits.lists_offline
    assert [offer.id for offer in provider.offers().offers] == ["mi-9"]


def test_settings_of_a_task(http: Http) -> None:
    """max_requests, max_bytes and request_line arrive."""
    settings = {"project_id": "p", "max_requests": 7, "max_bytes": "5M", "request_line": "minimal"}
    provider = build(config(**settings), http=http, secret=never, simulator_url=never, folder=FOLDER)
    assert (provider.traits.shard.requests, provider.traits.shard.bytes) == (7, 5_000_000)
    assert provider.frame(HELLO).between == b'","body":'


def test_an_unknown_type_names_what_there_is(http: Http) -> None:
    """A type that is not there is an error that lists those that are."""
    with pytest.raises(RunnerError, match="there is no type telepathy; there are alaya, anthropic, online"):
        build(config("telepathy"), http=http, secret=never, simulator_url=never, folder=FOLDER)
