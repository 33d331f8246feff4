"""Files and batches over real HTTP, against every platform's fake: the whole way, and each way to go wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import a_task
from fakes.openai import CREATED, KEY, PLATFORMS, FakeOpenAI, Handler

from runner.edge.http import Http
from runner.errors import Busy, CredentialsError, ProviderError, Refused, RunnerError, Unsure
from runner.model import Offer
from runner.polling import politely
from runner.project import ProviderConfig, SecretRef
from runner.provider import Absent, Found, Job, Message, Part, Phase, Provider, Question, Unknown, Upload
from runner.providers.openai.dialects import DIALECTS, Window
from runner.providers.openai.wire import root_of
from runner.registry import build
from runner.task import OPEN

HELLO = Question((Message("user", (Part("text", "hello"),)),))
IDS = [f"{n:032x}" for n in range(3)]
NAME = "nightly-0123456789abcdef-1"
NO_ROW = {"litellm", "siliconflow"}
"""Their lists may leave tasks out."""


@pytest.fixture
def http() -> Iterator[Http]:
    naps: list[float] = []
    http = Http(sleep=naps.append, clock=lambda: sum(naps))
    yield http
    http.close()


@pytest.fixture(params=list(PLATFORMS))
def platform(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def fakes() -> Iterator[Callable[[str], FakeOpenAI]]:
    made: list[FakeOpenAI] = []

    def make(platform: str) -> FakeOpenAI:
        made.append(FakeOpenAI(platform))
        return made[-1]

    yield make
    for fake in made:
        fake.close()


@pytest.fixture
def fake(fakes: Callable[[str], FakeOpenAI]) -> FakeOpenAI:
    return fakes("openai")


@pytest.fixture
def provider(fake: FakeOpenAI, http: Http) -> Provider:
    return provider_at(fake, http)


@pytest.fixture
def job(tmp_path: Path, provider: Provider) -> Job:
    return job_of(provider, tmp_path)


def never(*_: Any) -> Any:
    raise AssertionError("not to be called")


def provider_of(
    http: Http, dialect: str = "openai", secret: Callable[..., str] = lambda _: KEY, **settings: Any
) -> Any:
    config = ProviderConfig("prov", "openai", {"dialect": dialect, "api_key": SecretRef(env="K"), **settings})
    return build(config, http=http, secret=secret, simulator_url=never, folder=Path("nowhere"))


def provider_at(fake: FakeOpenAI, http: Http, dialect: str = "openai", **settings: Any) -> Any:
    return provider_of(http, dialect, base_url=fake.url, **settings)


def lines_of(provider: Provider, question: Question = HELLO) -> bytes:
    frame = provider.frame(question)
    body = json.dumps(provider.encode(Offer("m-1"), question)).encode()
    return b"".join(frame.before + id.encode() + frame.between + body + frame.after + b"\n" for id in IDS)


def job_of(provider: Provider, folder: Path, question: Question = HELLO) -> Job:
    file = folder / "shard.jsonl"
    file.write_bytes(lines_of(provider, question))
    return Job("t-1", NAME, "m-1", requests=3, max_wait=86_400, file=file, begun_at=float(CREATED))


def started(provider: Provider, job: Job) -> Job:
    upload = provider.stage(job)
    return replace(job, remote_id=provider.start(job, upload), staged=upload.marker)


def collected(provider: Provider, job: Job) -> bytes:
    got = bytearray()
    provider.results(job, got.extend)
    return bytes(got)


def says(status: int, message: str = "so it is", code: str | None = None) -> Callable[[Handler], None]:
    return lambda handler: handler.error(status, code, message)


def raw(status: int, body: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(status, body)


# The whole way, at every platform


def test_a_task_from_upload_to_answers(
    fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, platform: str
) -> None:
    """Every dialect brings a shard to a platform that takes nothing but what it documents, and its answers home."""
    fake = fakes(platform)
    provider = provider_at(fake, http, platform)
    job = started(provider, job_of(provider, tmp_path))
    progress = provider.check(job)
    assert (progress.phase, progress.error, progress.retryable) == (Phase.SUCCEEDED, "", True)
    lines = collected(provider, job).splitlines()
    results = [provider.decode(line) for line in lines]
    assert [(result.request, result.text, result.failure) for result in results] == [
        (id, f"answer to {id}", None) for id in IDS
    ]
    assert {result.usage.output_tokens for result in results} == {4}
    provider.verify(job, job.remote_id)
    assert "unknown" not in fake.names()
    assert [path.name for path in tmp_path.iterdir()] == ["shard.jsonl"]


ORDERS: dict[str, dict[str, Any]] = {
    "openai": {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"runner": NAME},
    },
    "dashscope": {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"ds_name": NAME},
    },
    "zhipu": {
        "input_file_id": "file-1",
        "endpoint": "/v4/chat/completions",
        "completion_window": "24h",
        "metadata": {"runner": NAME},
        "auto_delete_input_file": False,
    },
    "qianfan": {
        "input_file_id": "file-1",
        "endpoint": "/v2/chat/completions",
        "completion_window": "24h",
        "metadata": {"runner": NAME},
    },
    "together": {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
    "siliconflow": {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
    "xai": {"input_file_id": "file-1", "name": NAME},
    "digitalocean": {
        "file_id": "file-1",
        "provider": "openai",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "request_id": NAME,
    },
}
"""Platforms that are not named here take OpenAI's."""


def test_orders_and_lines(fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, platform: str) -> None:
    """The body that makes a task and a line of its file, whole, at every platform; both name one path (F11, F63)."""
    fake = fakes(platform)
    provider = provider_at(fake, http, platform)
    started(provider, job_of(provider, tmp_path))
    assert fake.requests("create")[0].json == ORDERS.get(platform, ORDERS["openai"])
    more = {"method": "POST", "url": fake.platform.url} if platform != "together" else {}
    body = {"model": "m-1", "messages": [{"role": "user", "content": "hello"}]}
    assert [json.loads(line) for line in fake.files["file-1"].splitlines()] == [
        {"custom_id": id, **more, "body": body} for id in IDS
    ]


def test_a_plain_completion_is_made_for_its_own_path(
    fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, platform: str
) -> None:
    """A shard of `text` questions is a task for completions, also where lines name no path."""
    fake = fakes(platform)
    provider = provider_at(fake, http, platform)
    job = job_of(provider, tmp_path, Question(text="once upon"))
    upload = provider.stage(job)
    fake.knobs.fail = {"create": [says(400)]}
    with pytest.raises(Refused):
        provider.start(job, upload)
    prefix = fake.platform.url.removesuffix("/chat/completions")
    assert fake.requests("create")[0].json.get("endpoint") in (None if platform == "xai" else f"{prefix}/completions",)


def test_a_lost_start_is_found_by_what_the_platform_keeps(
    fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, platform: str
) -> None:
    """The task exists and its answer is lost: Unsure, called once, and found again on a later page (F25, F26)."""
    fake = fakes(platform)
    provider = provider_at(fake, http, platform)
    job = job_of(provider, tmp_path)
    upload = provider.stage(job)
    fake.knobs.lose = {"create": 1}
    with pytest.raises(Unsure):
        provider.start(job, upload)
    assert fake.names().count("create") == len(fake.batches) == 1
    for n in range(4):
        started(provider, replace(job, name=f"other-{n}"))
    lost = replace(job, staged=upload.marker, file=None)
    assert provider.find(lost) == Found("batch_1")
    fake.knobs.hidden = True
    assert isinstance(provider.find(lost), Unknown) if platform in NO_ROW else provider.find(lost) == Absent()


def test_a_stop_is_asked_for(fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, platform: str) -> None:
    """A running task is asked to stop at the platform's own address; asking again, or too late, is no error (F17)."""
    fake = fakes(platform)
    provider = provider_at(fake, http, platform)
    job = started(provider, job_of(provider, tmp_path))
    assert provider.cancel(job) is True
    fake.batches[job.remote_id]["status"] = "in_progress"
    assert provider.cancel(job) is True
    assert fake.batches[job.remote_id]["status"] == "cancelling"
    assert fake.names().count("cancel") == 2


def test_the_key_goes_to_the_api_alone(
    fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, platform: str
) -> None:
    """The platform's header carries it; presigned addresses get none."""
    fake = fakes(platform)
    provider = provider_at(fake, http, platform)
    collected(provider, started(provider, job_of(provider, tmp_path)))
    name, value = fake.platform.key
    for call in fake.calls:
        assert call.headers[name] == (None if call.name in ("put", "get") else value)


def test_a_wrong_key(fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, platform: str) -> None:
    """The platform repeats it; we do not.  The error says what to compare, and exits with 4."""
    fake = fakes(platform)
    provider = provider_at(fake, http, platform, secret=lambda _: "sk-wrong-key-9876543210")
    with pytest.raises(Refused) as caught:
        provider.stage(job_of(provider, tmp_path))
    assert caught.value.exit_code == 4
    assert "sk-wrong" not in repr(caught.value)
    assert "compare api_key" in caught.value.hint


def test_every_dialect_of_the_schema_has_a_row() -> None:
    """The names that runner.yaml may use, the rows and the fakes are the same."""
    schema = json.loads((Path(__file__).parent.parent / "schemas" / "project.schema.json").read_text())
    named = schema["$defs"]["openai"]["properties"]["dialect"]["enum"]
    assert set(named) == set(DIALECTS) == set(PLATFORMS)


# Where it is


@pytest.mark.parametrize("ending", ["", "/"])
def test_spellings_of_base_url(
    fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, platform: str, ending: str
) -> None:
    """With or without the version, with or without a slash at the end."""
    fake = fakes(platform)
    for url in (fake.url + ending, fake.url + fake.platform.version + ending):
        provider = provider_of(http, platform, base_url=url)
        provider.stage(job_of(provider, tmp_path))
    assert "unknown" not in fake.names()


@pytest.mark.parametrize(
    ("base", "version", "root"),
    [
        ("https://x.openai.azure.com", "/openai/v1", "https://x.openai.azure.com/openai/v1"),
        ("https://x.openai.azure.com/openai", "/openai/v1", "https://x.openai.azure.com/openai/v1"),
        ("https://x.openai.azure.com/openai/v1/", "/openai/v1", "https://x.openai.azure.com/openai/v1"),
        ("https://gw.example/team", "/v1", "https://gw.example/team/v1"),
        ("https://gw.example/team/v3", "/v1", "https://gw.example/team/v3"),
        ("https://v1.example", "/v1", "https://v1.example/v1"),
        ("https://d.example/compatible-mode", "/compatible-mode/v1", "https://d.example/compatible-mode/v1"),
    ],
)
def test_root_of(base: str, version: str, root: str) -> None:
    """What of the version is there is not said twice; another version in the path is taken as meant."""
    assert root_of(base, version) == root


@pytest.mark.parametrize("dialect", ["azure", "litellm"])
def test_a_platform_without_an_address_of_its_own(http: Http, dialect: str) -> None:
    """Where it is differs from customer to customer: the error says which key is missing, in a plan already."""
    provider = provider_of(http, dialect)
    for ask in (provider.offers, lambda: provider.check(Job("t", "n", "m", 1, 1, remote_id="b"))):
        with pytest.raises(RunnerError, match="no base_url") as caught:
            ask()
        assert "base_url:" in caught.value.hint


# Windows and limits


@pytest.mark.parametrize(
    ("dialect", "hours", "window"),
    [
        ("openai", 1, "24h"),
        ("openai", 100, "24h"),
        ("groq", 1, "24h"),
        ("groq", 30, "30h"),
        ("groq", 48, "2d"),
        ("groq", 1_000, "7d"),
        ("kimi", 1, "12h"),
        ("kimi", 36, "36h"),
        ("kimi", 169, "7d"),
        ("dashscope", 1, "24h"),
        ("dashscope", 48, "48h"),
        ("dashscope", 1_000, "336h"),
        ("qianfan", 0.5, "1h"),
        ("qianfan", 1_000, "672h"),
        ("doubleword", 0.5, "1h"),
        ("doubleword", 23, "1h"),
        ("doubleword", 24, "24h"),
    ],
)
def test_windows(dialect: str, hours: float, window: str) -> None:
    """The longest window that is not longer than the wait, within what the platform takes."""
    found = DIALECTS[dialect].window
    assert isinstance(found, Window)
    assert found.of(int(hours * 3600)) == window


def test_limits(http: Http) -> None:
    """Of the platform, in plain megabytes (F48); fewer for some endpoints; settings win."""
    assert provider_of(http).traits.shard.bytes == 200_000_000
    assert provider_of(http, "siliconflow").traits.shard.requests == 5_000
    assert provider_of(http, "zhipu").traits.shard.requests == 50_000
    assert provider_of(http, "zhipu", endpoint="/v4/embeddings").traits.shard.requests == 10_000
    shard = provider_of(http, "groq", max_requests=7, max_bytes="5M").traits.shard
    assert (shard.requests, shard.bytes) == (7, 5_000_000)


def test_parameters_that_a_platform_does_not_take(http: Http) -> None:
    """Kimi's batches take no sampling parameters: said when the body is built."""
    question = replace(HELLO, parameters={"temperature": 0, "max_tokens": 5})
    with pytest.raises(ValueError, match="temperature"):
        provider_of(http, "kimi").encode(Offer("m"), question)
    assert provider_of(http).encode(Offer("m"), question)["temperature"] == 0


# Upload


def test_the_form(fake: FakeOpenAI, http: Http, job: Job) -> None:
    """Purpose, further fields, a name in .jsonl, the bytes as they are, and their length announced (F14, F15)."""
    provider = provider_at(fake, http, upload_fields={"custom_llm_provider": 'open"ai', 'odd"\r\nname': "x"})
    provider.stage(job)
    assert fake.forms == [
        {
            "purpose": "batch",
            "custom_llm_provider": 'open"ai',
            "odd%22%0D%0Aname": "x",
            "filename": f"{NAME}.jsonl",
        }
    ]
    assert fake.files["file-1"] == lines_of(provider)
    upload = fake.requests("upload")[0]
    assert upload.headers["content-length"] == str(len(upload.body))
    assert upload.headers["transfer-encoding"] is None


def test_the_purpose_of_together(fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path) -> None:
    """Another word than OpenAI's (F15)."""
    fake = fakes("together")
    provider = provider_at(fake, http, "together")
    provider.stage(job_of(provider, tmp_path))
    assert fake.forms[0]["purpose"] == "batch-api"


def test_an_upload_is_repeated(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """It is free: a lost answer, a 5xx and a 429 are met with another try (F49)."""
    fake.knobs.lose = {"upload": 3}
    fake.knobs.fail = {"upload": [says(500), says(429)]}
    upload = provider.stage(job)
    assert fake.names() == ["upload"] * 4
    assert fake.files[upload.token] == lines_of(provider)


def test_a_presigned_upload_is_begun_anew(fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path) -> None:
    """An address may have run out: another one is asked for (F49)."""
    fake = fakes("digitalocean")
    provider = provider_at(fake, http, "digitalocean")
    fake.knobs.fail = {"put": [says(503)], "presign": [says(500)]}
    upload = provider.stage(job_of(provider, tmp_path))
    assert fake.names() == ["presign", "presign", "put", "presign", "put"]
    assert fake.files[upload.token] == lines_of(provider)
    fake.knobs.fail = {"presign": [raw(200, b"{}")] * 4}
    with pytest.raises(Unsure, match="upload address"):
        provider.stage(job_of(provider, tmp_path))


@pytest.mark.parametrize(
    "script", [says(413, "Payload Too Large"), says(400, "File is too large: 209 MB"), says(400, "x", "file_too_large")]
)
def test_a_file_that_is_too_large(
    fake: FakeOpenAI, provider: Provider, job: Job, script: Callable[[Handler], None]
) -> None:
    """Refused, with the setting that helps (F48, F52)."""
    fake.knobs.fail = {"upload": [script]}
    with pytest.raises(Refused) as caught:
        provider.stage(job)
    assert "max_bytes" in caught.value.hint


def test_an_account_full_of_files(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Refused, in the platform's own words; nothing is said of sizes (F52)."""
    fake.knobs.fail = {"upload": [says(400, "exceeded the number of files: 500")]}
    with pytest.raises(Refused, match="number of files") as caught:
        provider.stage(job)
    assert caught.value.hint == ""


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"id": ""}', b'{"id": null}'])
def test_an_upload_without_an_id(fake: FakeOpenAI, provider: Provider, job: Job, body: bytes) -> None:
    """An answer that settles nothing."""
    fake.knobs.fail = {"upload": [raw(200, body)] * 4}
    with pytest.raises(Unsure, match="no id of a file"):
        provider.stage(job)


def test_a_file_is_processed_first(fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path) -> None:
    """Azure's files are looked at until they are; the start after it is taken at once (F51)."""
    fake = fakes("azure")
    provider = provider_at(fake, http, "azure")
    started(provider, job_of(provider, tmp_path))
    assert fake.names() == ["upload", "file", "file", "file", "create"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"status": "Error", "status_details": "not jsonl"}', Refused),
        (b'{"status": "deleted"}', Refused),
        (b'{"status": "pending"}', Busy),
        (b'{"status": "dreaming"}', Busy),
    ],
)
def test_a_file_that_is_never_processed(
    fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, body: bytes, kind: type[ProviderError]
) -> None:
    """A clear failure is Refused; the waiting for anything else has an end (F51)."""
    fake = fakes("azure")
    fake.knobs.fail = {"file": [raw(200, body)] * 1_000}
    provider = provider_at(fake, http, "azure")
    with pytest.raises(kind):
        provider.stage(job_of(provider, tmp_path))
    assert fake.names().count("file") < 100


# Start


OUTCOMES: list[tuple[Callable[[Handler], None], type[ProviderError]]] = [
    (says(400, "bad window"), Refused),
    (says(401), Refused),
    (says(403), Refused),
    (says(404, "Unknown request URL"), Refused),
    (says(400, "the user profile was not found"), Refused),
    (says(429), Busy),
    (says(400, "Enqueued token limit reached for m-1"), Busy),
    (says(403, "x", "token_limit_exceeded"), Busy),
    (says(408), Unsure),
    (says(500), Unsure),
    (says(503, "file not found"), Unsure),
    (raw(200, b"{}"), Unsure),
    (raw(200, b"[]"), Unsure),
    (raw(200, b"<html>"), Unsure),
    (raw(200, b'{"error": {"code": "x"}}'), Unsure),
    (raw(200, b'{"id": null}'), Unsure),
    (raw(302, b""), Refused),
    (Handler.cut, Unsure),
]


@pytest.mark.parametrize(("script", "kind"), OUTCOMES)
def test_outcomes_of_start(
    fake: FakeOpenAI, provider: Provider, job: Job, script: Callable[[Handler], None], kind: type[ProviderError]
) -> None:
    """A clear no is Refused, a clear not-now is Busy, all else is Unsure; the call is made once all the same (F26)."""
    upload = provider.stage(job)
    fake.knobs.fail = {"create": [script]}
    with pytest.raises(ProviderError) as caught:
        provider.start(job, upload)
    assert type(caught.value) is kind
    assert fake.names().count("create") == 1
    assert fake.batches == {}


def test_a_start_that_cannot_connect_is_busy(http: Http, job: Job) -> None:
    """Nothing was made where nobody listens."""
    gone = FakeOpenAI()
    gone.close()
    with pytest.raises(Busy):
        provider_at(gone, http).start(job, Upload("file-1"))


def test_a_file_that_is_not_known_yet(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """That one no is asked again, and the task is made once (F50)."""
    upload = provider.stage(job)
    fake.knobs.new_files_unknown = 2
    assert provider.start(job, upload) == "batch_1"
    assert fake.names().count("create") == 3
    assert len(fake.batches) == 1


def test_a_file_that_stays_unknown(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Asked a bounded number of times, then a not-now, so that another apply uploads it anew (F50)."""
    upload = provider.stage(job)
    fake.knobs.new_files_unknown = 1_000
    with pytest.raises(Busy, match="not found"):
        provider.start(job, upload)
    assert fake.names().count("create") < 10


UNKNOWN_FILE = [
    says(404, "No such File object: file-1"),
    says(400, "file-1 could not be found", "invalid_request"),
    says(404, "it does not exist", "file_not_found"),
    says(400, "no such file", "invalid_file"),
]
OTHER_NOES = [
    says(404, "The model m does not exist (line 1 of the input file)", "model_not_found"),
    says(404, "The model m does not exist (line 1 of file-1)", "model_not_found"),
    says(404, "The model m does not exist (line 1 of file-1)"),
    says(400, "no such deployment as file-1 asks for", "invalid_deployment"),
    says(404, "404 - File or directory not found."),
    says(404, "file-10 does not exist"),
    says(404, "it does not exist", "user_profile_not_found"),
    says(404, "it does not exist", "model_file_not_found"),
    says(400, "file-1 is no JSON in line 1", "invalid_file"),
]


@pytest.mark.parametrize(
    ("script", "again"), [(no, n < len(UNKNOWN_FILE)) for n, no in enumerate(UNKNOWN_FILE + OTHER_NOES)]
)
def test_which_no_is_about_an_unknown_file(
    fake: FakeOpenAI, provider: Provider, job: Job, script: Callable[[Handler], None], again: bool
) -> None:
    """It names our file, or has a code of files; any other no stays one, whatever words it uses (F50, F60)."""
    upload = provider.stage(job)
    fake.knobs.fail = {"create": [script] * 100}
    with pytest.raises(Busy if again else Refused):
        provider.start(job, upload)
    assert (fake.names().count("create") > 1) is again


@pytest.mark.parametrize(("after", "kind"), [(says(500), Unsure), (Handler.cut, Unsure), (says(429), Busy)])
def test_after_an_unknown_file_nothing_else_is_asked_again(
    fake: FakeOpenAI, provider: Provider, job: Job, after: Callable[[Handler], None], kind: type[ProviderError]
) -> None:
    """The second answer may have been a yes that was lost: it is not repeated (F26, F50)."""
    upload = provider.stage(job)
    fake.knobs.fail = {"create": [says(400, "No such File object: file-1"), after]}
    with pytest.raises(ProviderError) as caught:
        provider.start(job, upload)
    assert type(caught.value) is kind
    assert fake.names().count("create") == 2


def test_a_gateway_that_counts_batches_as_calls(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Not now, in the gateway's own words and for as long as it says; nothing was made (F20)."""
    upload = provider.stage(job)

    def limited(handler: Handler) -> None:
        body = b'{"error": {"message": "Rate limit: 9000000 of 100000 TPM", "code": "429"}}'
        handler.send_response(429)
        handler.send_header("Retry-After", "60")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    fake.knobs.fail = {"create": [limited]}
    with pytest.raises(Busy, match="of 100000 TPM") as caught:
        provider.start(job, upload)
    assert caught.value.retry_after == 60
    assert fake.names().count("create") == 1


# Find


def test_a_search_stops_where_the_list_is_older_than_the_start(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Newest first, as seen: pages from before the start are not read, those within an hour of it are."""
    for n in range(8):
        started(provider, replace(job, name=f"other-{n}"))
    lost = replace(job, staged="file-x")
    assert provider.find(replace(lost, begun_at=CREATED + 20_000.0)) == Absent()
    assert fake.names().count("list") == 1
    assert provider.find(replace(lost, begun_at=CREATED + 1_800.0)) == Absent()
    assert fake.names().count("list") == 1 + 4


def test_others_tasks_are_not_found(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """One that is known to be another task is not it; two that might be it are named."""
    upload = provider.stage(job)
    first, second = provider.start(job, upload), provider.start(job, upload)
    lost = replace(job, staged=upload.marker)
    finding = provider.find(lost)
    assert isinstance(finding, Unknown)
    assert first in finding.reason
    assert second in finding.reason
    assert provider.find(replace(lost, taken=frozenset({first}))) == Found(second)


def test_a_name_that_was_used_before(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Of two tasks of one name, the one with our file is ours; without a file known, the name has to do."""
    old, new = started(provider, job), started(provider, job)
    assert old.staged != new.staged
    assert provider.find(new) == Found(new.remote_id)
    assert provider.find(replace(old, staged="", taken=frozenset({new.remote_id}))) == Found(old.remote_id)


@pytest.mark.parametrize(
    "script",
    [
        raw(200, b"{}"),
        raw(200, b'{"data": null}'),
        raw(200, b'{"data": [{"id": "b"}], "has_more": true, "last_id": "b"}'),
        says(404),
        says(405),
        says(400),
    ],
)
def test_a_list_that_proves_nothing(
    fake: FakeOpenAI, provider: Provider, job: Job, script: Callable[[Handler], None]
) -> None:
    """None, one without an end, or a no: whether the start happened stays open (F28)."""
    fake.knobs.fail = {"list": [script] * 4}
    finding = provider.find(replace(job, staged="file-1"))
    assert isinstance(finding, Unknown)
    assert finding.reason


def test_a_list_that_fails(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """A 5xx says nothing of the task; a refused key is told as such (F28)."""
    fake.knobs.fail = {"list": [says(500)] * 4}
    with pytest.raises(Unsure):
        provider.find(job)
    fake.knobs.fail = {"list": [says(401)]}
    with pytest.raises(Refused) as caught:
        provider.find(job)
    assert caught.value.credentials


def test_a_list_without_an_end(fake: FakeOpenAI, provider: Provider, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bounded number of pages the question stays open, unless the task was seen on one of them (F28)."""
    monkeypatch.setattr("runner.providers.openai.provider.MOST_PAGES", 3)

    def pages(name: str) -> list[Callable[[Handler], None]]:
        entries = [{"id": f"b-{n}", "metadata": {"runner": name if n == 2 else "x"}} for n in range(9)]
        return [raw(200, json.dumps({"data": [entry], "has_more": True}).encode()) for entry in entries]

    fake.knobs.fail = {"list": pages("x")}
    assert isinstance(provider.find(job), Unknown)
    assert fake.names().count("list") == 3
    fake.knobs.fail = {"list": pages(NAME)}
    assert provider.find(job) == Found("b-2")


def test_a_page_without_a_word_of_the_next(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Where has_more is left out, the list has ended when a page is empty."""
    one = raw(200, b'{"data": [{"id": "b", "metadata": {"runner": "x"}}]}')
    fake.knobs.fail = {"list": [one, raw(200, b'{"data": []}')]}
    assert provider.find(job) == Absent()
    assert [call.query.get("after") for call in fake.requests("list")] == [None, "b"]


def test_the_edges_of_digitalocean(fakes: Callable[[str], FakeOpenAI], http: Http, job: Job) -> None:
    """Its Go client is given a list of another shape than its reference shows: both are read."""
    fake = fakes("digitalocean")
    provider = provider_at(fake, http, "digitalocean")

    def page(id: str, name: str, more: bool) -> Callable[[Handler], None]:
        edge = {"cursor": f"c-{id}", "node": {"batch_id": id, "request_id": name, "status": "queued"}}
        info = {"endCursor": f"c-{id}", "hasNextPage": more}
        return raw(200, json.dumps({"edges": [edge], "page_info": info}).encode())

    fake.knobs.fail = {"list": [page("b-1", "other", True), page("b-2", NAME, False)]}
    assert provider.find(job) == Found("b-2")
    assert fake.requests("list")[1].query["after"] == "c-b-1"


# Check


def test_a_task_that_is_not_there(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """It is not taken for lost: the key may be another account's (F27)."""
    with pytest.raises(Refused, match="another account") as caught:
        provider.check(replace(job, remote_id="batch_99"))
    assert "api_key" in caught.value.hint
    assert not caught.value.credentials


def test_a_task_that_cannot_be_looked_at(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """A 5xx, or a page for people, says nothing of it; a look is repeated (F29)."""
    job = started(provider, job)
    fake.knobs.fail = {"batch": [says(500, "no api key")] * 4}
    with pytest.raises(Unsure):
        provider.check(job)
    for body in (b"{}", b"[]", b"null", b"<html>", b'{"id": "batch_1"}'):
        fake.knobs.fail = {"batch": [raw(200, body)] * 4}
        with pytest.raises(Unsure):
            provider.check(job)
    fake.knobs.fail = {"batch": [says(500), says(429), Handler.cut]}
    assert provider.check(job).phase is Phase.SUCCEEDED


def test_a_look_says_when_the_next_is_welcome(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Retry-After beside a 200 is passed on (F35)."""

    def polite(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Retry-After", "10")
        handler.send_header("Content-Length", "25")
        handler.end_headers()
        handler.wfile.write(b'{"status": "in_progress"}')

    fake.knobs.fail = {"batch": [polite]}
    progress = provider.check(replace(job, remote_id="b"))
    assert (progress.phase, progress.look_again) == (Phase.RUNNING, 10)


def test_what_a_platform_says_is_scrubbed(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """A key, or a sequence for the terminal, in a reason or a word is not passed on."""
    job = started(provider, job)
    fake.knobs.task = {"status": "failed\x1b[31m", "errors": {"data": [{"code": "x", "message": f"\x1b {KEY}"}]}}
    progress = provider.check(job)
    assert progress.error == "x: [hidden]"
    assert progress.raw == "failed [31m"
    failed = provider.decode(json.dumps({"custom_id": "a", "error": {"code": "x", "message": f"no {KEY}"}}).encode())
    assert failed.failure
    assert failed.failure.message == "no [hidden]"


# Verify, cancel


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"metadata": {"runner": "other"}}, "name is other"),
        ({"metadata": None, "input_file_id": "file-9"}, "input file is file-9, not file-1"),
        ({"endpoint": "/v1/responses"}, "endpoint is /v1/responses"),
        ({"request_counts": {"total": 7}}, "number of requests is 7, not 3"),
    ],
)
def test_a_task_that_is_another(
    fake: FakeOpenAI, provider: Provider, job: Job, task: dict[str, Any], said: str
) -> None:
    """Whatever it says of itself has to agree."""
    job = started(provider, job)
    fake.knobs.task = task
    with pytest.raises(Refused, match=said):
        provider.verify(job, job.remote_id)


@pytest.mark.parametrize(
    "task",
    [
        {"metadata": None, "endpoint": None, "request_counts": None, "input_file_id": None},
        {"input_file_id": "litellm-encoded-id"},
        {"endpoint": "/v1/completions"},
        {"request_counts": {"total": 0}},
    ],
)
def test_a_task_that_may_be_it(fake: FakeOpenAI, provider: Provider, job: Job, task: dict[str, Any]) -> None:
    """What is not said does not contradict; a gateway may spell ids its own way beside our name."""
    job = started(provider, job)
    fake.knobs.task = task
    provider.verify(job, job.remote_id)


@pytest.mark.parametrize(
    ("status", "stopped"), [("failed", True), ("expired", True), ("cancelling", True), ("in_progress", False)]
)
def test_a_stop_that_is_refused(fake: FakeOpenAI, provider: Provider, job: Job, status: str, stopped: bool) -> None:
    """A no is fine where nothing is left to stop; otherwise the task goes on, and that is said (F17)."""
    job = started(provider, job)
    fake.knobs.task = {"status": status}
    fake.knobs.fail = {"cancel": [says(400, "token_limit_exceeded", "token_limit_exceeded")]}
    assert provider.cancel(job) is stopped


def test_a_stop_with_a_wrong_key(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """That is told, not taken for an ended task."""
    job = started(provider, job)
    fake.knobs.fail = {"cancel": [says(401)]}
    with pytest.raises(Refused):
        provider.cancel(job)


# Results


def failed_row(id: str, code: str) -> dict[str, Any]:
    return {"id": "r", "custom_id": id, "response": None, "error": {"code": code, "message": "m"}}


def ended(fake: FakeOpenAI, job: Job, output: bytes | None, errors: bytes | None, **task: Any) -> None:
    """Make the task end with these files; None for a file that there is not."""
    ids = [None if data is None else fake.keep(data) for data in (output, errors)]
    fake.knobs.task = {"output_file_id": ids[0], "error_file_id": ids[1], **task}


def counts(completed: Any, failed: Any, total: Any = 3) -> dict[str, Any]:
    return {"total": total, "completed": completed, "failed": failed}


LINE = b'{"custom_id":"a","response":{"status_code":200,"body":{"choices":[{"message":{"content":"x"}}]}}}'


@pytest.mark.parametrize("status", ["expired", "cancelled", "failed", "completed"])
def test_both_files_of_any_ending(fake: FakeOpenAI, provider: Provider, job: Job, status: str) -> None:
    """Answers are kept whatever the task ended as; what expired may be asked again (F01, F04, F21, F22)."""
    job = started(provider, job)
    expired = json.dumps(failed_row("b", "batch_expired")).encode()
    ended(fake, job, LINE, expired, status=status, request_counts=counts(1, 2))
    got = collected(provider, job)
    assert got == LINE + b"\n" + expired + b"\n"
    rows = [provider.decode(line) for line in got.splitlines()]
    assert rows[0].text == "x"
    assert rows[1].failure
    assert rows[1].failure.retryable


@pytest.mark.parametrize("tally", [counts(0, 3), counts("0", "3"), counts(None, None), None])
def test_all_rows_failed(fake: FakeOpenAI, provider: Provider, job: Job, tally: Any) -> None:
    """`completed` with an error file alone (F02, F38)."""
    job = started(provider, job)
    ended(fake, job, None, LINE + b"\n", request_counts=tally)
    assert collected(provider, job) == LINE + b"\n"


@pytest.mark.parametrize("none", [None, "", 0])
def test_no_error_file(fake: FakeOpenAI, provider: Provider, job: Job, none: Any) -> None:
    """null, an empty id, and a file of 0 bytes mean that no row failed (F03)."""
    job = started(provider, job)
    ended(fake, job, LINE + b"\n", None, request_counts=counts(1, 0))
    fake.knobs.task["error_file_id"] = fake.keep(b"") if none == 0 else none
    assert collected(provider, job) == LINE + b"\n"
    assert [call.name for call in fake.calls].count("content") == (2 if none == 0 else 1)


def test_a_task_with_nothing_in_it(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Failed in validation, or expired before it began: nothing, and no error (F08, F61)."""
    job = started(provider, job)
    for status in ("failed", "expired", "cancelled"):
        for tally in (counts(0, 0, 0), counts(0, 3), None):
            ended(fake, job, None, None, status=status, request_counts=tally)
            assert collected(provider, job) == b""


@pytest.mark.parametrize(
    "task",
    [
        {"status": "completed", "request_counts": counts(2, 1)},
        {"status": "completed", "request_counts": None},
        {"status": "expired", "request_counts": counts("2", "0")},
        {"status": "cancelled", "request_counts": counts(1, 0)},
        {"status": "Completed", "request_counts": counts(None, None)},
    ],
)
def test_answers_that_are_owed(fake: FakeOpenAI, provider: Provider, job: Job, task: dict[str, Any]) -> None:
    """A task that reports answers and names no file is never taken for an empty one (F45)."""
    job = started(provider, job)
    ended(fake, job, None, None, **task)
    with pytest.raises(Busy, match="names no results"):
        collected(provider, job)


def test_an_error_file_does_not_stand_for_answers(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Two rows were answered, and only the failed one's file is named: the answers are owed (F45)."""
    job = started(provider, job)
    ended(fake, job, None, LINE + b"\n", request_counts=counts(2, 1))
    with pytest.raises(Busy):
        collected(provider, job)


def test_results_inside_the_task(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """A gateway answered a small task in place, and names no file (F45)."""
    job = started(provider, job)
    ended(fake, job, None, None, request_counts=counts(1, 0), results=[json.loads(LINE)])
    assert [json.loads(line) for line in collected(provider, job).splitlines()] == [json.loads(LINE)]


def test_a_file_with_too_few_lines(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Fewer lines than answers were counted: the file is not whole (F46)."""
    job = started(provider, job)
    ended(fake, job, LINE + b"\n", None, request_counts=counts(2, 1))
    with pytest.raises(Unsure, match="1 lines for 2 answers"):
        collected(provider, job)
    ended(fake, job, b"", None, request_counts=counts(2, 1))
    with pytest.raises(Busy):
        collected(provider, job)


def test_a_wrong_count_is_not_believed_for_ever(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Answers that are here do not wait for others that may not exist; while the count is fresh, they do (F21)."""
    job = started(provider, job)
    ended(fake, job, LINE + b"\n", None, request_counts=counts(2, 1))
    with pytest.raises(Unsure):
        collected(provider, replace(job, ended_at=time.time() - 60))
    assert collected(provider, replace(job, ended_at=time.time() - 3_600)) == LINE + b"\n"


def test_rows_in_neither_file(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Counted as failed and found nowhere: the rest is handed over, and they are missing (F21)."""
    job = started(provider, job)
    ended(fake, job, LINE + b"\n", None, status="cancelled", request_counts=counts(1, 2))
    assert collected(provider, job) == LINE + b"\n"


def test_a_cut_download(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """Each byte comes once, though the server knows no ranges (F46)."""
    job = started(provider, job)
    whole = (LINE + b"\n") * 1_000
    ended(fake, job, whole, None, request_counts=counts(1_000, 0))

    def half(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(whole)))
        handler.end_headers()
        handler.wfile.write(whole[:50_000])
        handler.cut()

    fake.knobs.fail = {"content": [half, half]}
    assert collected(provider, job) == whole


def test_a_long_and_odd_file_id(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """It is passed on as it came, as one step of a path, and only to download (F44)."""
    id = "bGl0ZWxsbV9wcm94eTo/" * 20 + "..;a=b+c%2F"
    job = started(provider, job)
    fake.keep(LINE, id)
    fake.knobs.task = {"output_file_id": id, "request_counts": counts(1, 0)}
    assert collected(provider, job) == LINE + b"\n"
    assert fake.names()[-2:] == ["batch", "content"]


def test_results_that_are_gone(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """A deleted output is told as such, and nothing is handed over as if it were empty (F47)."""
    job = started(provider, job)
    fake.knobs.fail = {"content": [says(410, "the file was deleted")]}
    with pytest.raises(Refused, match=r"file file-2 of task batch_1 cannot be had.*deleted"):
        collected(provider, job)


@pytest.mark.parametrize("platform", ["openai", "xai", "digitalocean"])
def test_a_key_that_is_refused_for_results(
    fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, platform: str
) -> None:
    """That is told as such: the results are not gone."""
    fake = fakes(platform)
    provider = provider_at(fake, http, platform)
    job = started(provider, job_of(provider, tmp_path))
    fake.knobs.fail = {call: [says(403)] for call in ("content", "results")}
    with pytest.raises(Refused) as caught:
        collected(provider, job)
    assert caught.value.credentials


def test_an_error_file_that_is_gone(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """The paid answers come home without it; its rows are missing (F47)."""
    job = started(provider, job)
    ended(fake, job, LINE, LINE, request_counts=counts(1, 2))
    fake.files.popitem()
    assert collected(provider, job) == LINE + b"\n"
    ended(fake, job, None, LINE, request_counts=counts(0, 3))
    fake.files.popitem()
    with pytest.raises(Refused):
        collected(provider, job)


def test_results_of_a_running_task(fake: FakeOpenAI, provider: Provider, job: Job) -> None:
    """There are none yet, even if a file is named already (F40)."""
    job = started(provider, job)
    fake.knobs.task = {"status": "in_progress"}
    with pytest.raises(Busy, match="in_progress"):
        collected(provider, job)


def test_pages_that_go_round(fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path) -> None:
    """xAI's results, page by page, end; and a list that does not is an error."""
    fake = fakes("xai")
    provider = provider_at(fake, http, "xai")
    job = started(provider, job_of(provider, tmp_path))
    assert len(collected(provider, job).splitlines()) == 3
    assert [call.query for call in fake.requests("results")] == [
        {"limit": "100"},
        {"limit": "100", "pagination_token": "2"},
    ]
    fake.knobs.fail = {"results": [raw(200, b'{"results": [{}], "pagination_token": "2"}')] * 2}
    with pytest.raises(Unsure, match="circles"):
        collected(provider, job)


def test_links_that_are_not_there_yet(fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path) -> None:
    """412, or a result that is not available: later, where answers are owed; nothing, where none are."""
    fake = fakes("digitalocean")
    provider = provider_at(fake, http, "digitalocean")
    job = started(provider, job_of(provider, tmp_path))
    for script in (says(412, "not ready"), raw(200, b'{"result_available": false}')):
        fake.knobs.fail = {"results": [script]}
        with pytest.raises(Busy):
            collected(provider, job)
        fake.knobs.task = {"status": "failed", "request_counts": counts(0, 0)}
        fake.knobs.fail = {"results": [script]}
        assert collected(provider, job) == b""
        fake.knobs.task = {}
    errors = fake.keep(LINE)
    links = {"download": {"presigned_url": f"{fake.url}/get/file-2?sig=presigned-secret"}}
    links["errors"] = {"presigned_url": f"{fake.url}/get/{errors}?sig=presigned-secret"}
    fake.knobs.fail = {"results": [raw(200, json.dumps(links).encode())]}
    assert collected(provider, job).endswith(b'"x"}}]}}}\n')


@pytest.mark.parametrize("call", ["put", "get"])
def test_a_link_is_not_told(fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, call: str) -> None:
    """A store repeats the address that it refuses: who reads the error cannot use its signature."""
    fake = fakes("digitalocean")
    provider = provider_at(fake, http, "digitalocean")

    def echo(handler: Handler) -> None:
        handler.error(403, "SignatureDoesNotMatch", f"not as signed: {handler.path}&more=presigned%2dsecret")

    fake.knobs.fail = {call: [echo]}
    with pytest.raises(Refused, match="not as signed") as caught:
        collected(provider, started(provider, job_of(provider, tmp_path)))
    assert "sig=[hidden]&more=[hidden]" in caught.value.message


@pytest.mark.parametrize("link", ["http://[::1/x?sig=presigned-secret", "https://x..y/?a=presigned-secret", "http://"])
def test_a_link_that_is_none(fakes: Callable[[str], FakeOpenAI], http: Http, tmp_path: Path, link: str) -> None:
    """An address that nobody can call is an error of that task's, never a bug of ours."""
    fake = fakes("digitalocean")
    provider = provider_at(fake, http, "digitalocean")
    job = started(provider, job_of(provider, tmp_path))
    fake.knobs.fail = {"results": [raw(200, json.dumps({"output": link}).encode())]}
    with pytest.raises(ProviderError):
        collected(provider, job)


# Offers


def test_offers(fakes: Callable[[str], FakeOpenAI], http: Http, platform: str) -> None:
    """The platform's list.  Only OpenAI's is known to leave no model out, and Azure's is of other things."""
    fake = fakes(platform)
    catalogue = provider_at(fake, http, platform).offers()
    assert [offer.id for offer in catalogue.offers] == ([] if platform == "azure" else ["m-1", "m-2"])
    assert catalogue.complete == (platform == "openai")


@pytest.mark.parametrize("script", [says(404), says(405), says(501), raw(200, b"<html>"), raw(200, b'{"data": 1}')])
def test_a_platform_without_a_list_of_models(
    fake: FakeOpenAI, provider: Provider, script: Callable[[Handler], None]
) -> None:
    """A model's name is taken as given."""
    fake.knobs.fail = {"models": [script] * 4}
    catalogue = provider.offers()
    assert (catalogue.offers, catalogue.complete) == ((), False)


def test_a_list_of_models_that_fails(fake: FakeOpenAI, provider: Provider) -> None:
    """That is not the same as none."""
    for status, kind in ((500, Unsure), (401, Refused)):
        fake.knobs.fail = {"models": [says(status)] * 4}
        with pytest.raises(kind):
            provider.offers()


# Endpoints


def test_an_endpoint_of_its_own(fake: FakeOpenAI, http: Http, tmp_path: Path) -> None:
    """`endpoint` stands in every line and in the order, whatever characters it has (F11)."""
    for path in ("/v1/embeddings", "/v1/responses", '/v1/chat/ds-test?a="b"\\'):
        provider = provider_at(fake, http, endpoint=path)
        job = job_of(provider, tmp_path)
        upload = provider.stage(job)
        fake.knobs.fail = {"create": [says(400)]}
        with pytest.raises(Refused):
            provider.start(job, upload)
        assert fake.requests("create")[-1].json["endpoint"] == path
        assert {json.loads(line)["url"] for line in fake.files[upload.token].splitlines()} == {path}


def test_no_secret_and_no_network_for_the_pure_half(http: Http) -> None:
    """Bodies, frames and results need neither; without an api_key the first conversation exits with 4."""
    provider = provider_of(http, secret=never)
    assert provider.encode(Offer("m"), HELLO) == {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    assert provider.frame(HELLO).between == b'","method":"POST","url":"/v1/chat/completions","body":'
    assert provider.decode(LINE).text == "x"
    assert provider.notes == ()
    assert (provider.traits.cancels, provider.traits.finds, provider.traits.grace) == (True, True, 900)
    keyless = ProviderConfig("prov", "openai", {"base_url": "http://127.0.0.1:1"})
    with pytest.raises(CredentialsError, match="has no api_key"):
        build(keyless, http=http, secret=never, simulator_url=never, folder=Path("nowhere")).offers()


def test_a_young_task_at_azure_is_left_alone_for_a_minute(http: Http) -> None:
    """Its document allows no faster look; elsewhere a task that has just begun is looked at soon."""
    task = a_task(phase=OPEN, started_at=1_000.0)
    assert politely([task], provider_of(http, "azure").traits, 1_001.0) == 60
    assert politely([task], provider_of(http).traits, 1_001.0) == 1
