"""Alaya NeW's deployments: looked up over real HTTP, in every shape that its documents have, and asked online."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.alaya import AK, BASE, KEY, PASSWORD, SK, FakeAlaya, Handler

from runner.edge.http import Http
from runner.errors import Busy, CredentialsError, ProviderError, Refused, RunnerError, Unsure
from runner.model import Catalogue, Offer
from runner.project import ProviderConfig, SecretRef
from runner.provider import Job, Message, Part, Phase, Question
from runner.providers.alaya import AlayaDoor, Deployment, alaya, parse_deployment, secrets_in, unwrap
from runner.providers.hands import Hands
from runner.providers.online import fanout
from runner.providers.online.door import NotYet, Target
from runner.registry import build

SECRETS = {"AK": AK, "SK": SK, "OWN": "own-key-of-ours-1234"}


@pytest.fixture
def fake() -> Iterator[FakeAlaya]:
    fake = FakeAlaya()
    yield fake
    fake.close()


@pytest.fixture
def http() -> Iterator[Http]:
    naps: list[float] = []
    http = Http(sleep=naps.append, clock=lambda: sum(naps))
    yield http
    http.close()


@pytest.fixture
def door(fake: FakeAlaya, http: Http) -> AlayaDoor:
    return door_to(fake, http)


def config(fake: FakeAlaya, **settings: Any) -> ProviderConfig:
    usual = {
        "base_url": fake.url,
        "service_id": "svc-1",
        "access_key": SecretRef(env="AK"),
        "secret_key": SecretRef(env="SK"),
    }
    return ProviderConfig("nine", "alaya", {**usual, **settings})


def hands(http: Http, folder: Path = Path("nowhere"), **secrets: str) -> Hands:
    known = SECRETS | secrets
    return Hands(http, lambda ref: known[ref.env or ""], never, folder)


def never(*_: Any) -> Any:
    raise AssertionError("not to be called")


def door_to(fake: FakeAlaya, http: Http, **settings: Any) -> AlayaDoor:
    return AlayaDoor(config(fake, **settings), hands(http))


def says(status: int, code: Any, msg: str = "so it is", data: Any = None) -> Callable[[Handler], None]:
    return lambda handler: handler.says(status, code, msg, data)


def raw(status: int, body: bytes) -> Callable[[Handler], None]:
    return lambda handler: handler.reply(status, body)


# Where it is


def test_a_running_deployment_is_a_target(fake: FakeAlaya, door: AlayaDoor) -> None:
    """Its address and its own key; the control plane is asked with the secret itself as the signature."""
    fake.add()
    assert door.open() == Target(f"{fake.url}/svc/svc-1", {"apikey": KEY})
    (call,) = fake.calls
    assert (call.name, call.headers["authorization"]) == ("detail", f"plain Credential={AK},Signature={SK}")
    assert door.notes == ()


@pytest.mark.parametrize("suffix", ["", "/", BASE, f"{BASE}/"])
def test_spellings_of_base_url(fake: FakeAlaya, http: Http, suffix: str) -> None:
    """With or without the API's path, with or without a slash at the end."""
    fake.add()
    assert isinstance(door_to(fake, http, base_url=fake.url + suffix).open(), Target)


@pytest.mark.parametrize(
    ("header", "sent"),
    [
        ("apiKey", {"apikey": KEY}),
        ("Authorization: Bearer", {"authorization": f"Bearer {KEY}"}),
        ("X-Key:", {"x-key": KEY}),
    ],
)
def test_auth_header(fake: FakeAlaya, http: Http, header: str, sent: dict[str, str]) -> None:
    """The setting says in which header the key travels."""
    fake.add()
    assert door_to(fake, http, auth_header=header).open() == Target(f"{fake.url}/svc/svc-1", sent)


def test_a_key_of_ours_takes_the_place_of_the_deployment_s(fake: FakeAlaya, http: Http) -> None:
    """`api_key` of runner.yaml wins over the one that the control plane tells."""
    fake.add()
    door = door_to(fake, http, api_key=SecretRef(env="OWN"))
    assert door.open() == Target(f"{fake.url}/svc/svc-1", {"apikey": "own-key-of-ours-1234"})
    assert http.scrub("own-key-of-ours-1234") == "[hidden]"


@pytest.mark.parametrize(
    ("told", "headers"),
    [({"apikey": "absent", "apiKey": KEY}, {"apikey": KEY}), ({"apikey": "absent"}, {}), ({"apikey": None}, {})],
)
def test_spellings_of_the_key(fake: FakeAlaya, door: AlayaDoor, told: Any, headers: dict[str, str]) -> None:
    """`apikey`, `apiKey` as the tables have it, or none at all."""
    fake.add(**told)
    assert door.open() == Target(f"{fake.url}/svc/svc-1", headers)


@pytest.mark.parametrize("code", [0, "0", "", None])
def test_codes_of_success(fake: FakeAlaya, door: AlayaDoor, code: Any) -> None:
    """Zero as a number, as text, or not at all."""
    fake.add()
    fake.knobs.code = code
    assert isinstance(door.open(), Target)


def test_a_lora_s_detail_has_no_envelope(fake: FakeAlaya, door: AlayaDoor) -> None:
    """The deployment itself is the answer."""
    fake.add(mode="absent", baseServiceId="svc-0", servedName="m-lora", quickStart="absent", instance="absent")
    fake.knobs.envelope = False
    assert isinstance(door.open(), Target)
    assert door.catalogue() == Catalogue((Offer("m-lora"),))


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("starting", "starting"),
        ("staring", "starting"),
        ("STARTING", "starting"),
        ("Pending", "pending"),
        ("", "in no state that it tells"),
        (None, "in no state that it tells"),
    ],
)
def test_a_deployment_on_its_way(fake: FakeAlaya, door: AlayaDoor, status: Any, word: str) -> None:
    """In any case and spelling; a word that is not known is one of a way, too."""
    fake.add(status=status)
    assert door.open() == NotYet(word)


@pytest.mark.parametrize(
    ("status", "told", "todo"),
    [
        ("stopping", "is stopping", "once it has stopped"),
        ("stoping", "is stopping", "once it has stopped"),
        ("stopped", "is stopped", "Start it"),
        ("Stoped", "is stopped", "Start it"),
        ("FAILED", "is failed", "deploy it again"),
    ],
)
def test_a_deployment_that_is_down(fake: FakeAlaya, door: AlayaDoor, status: str, told: str, todo: str) -> None:
    """It will not come up by itself: the error names it, its status and what to do."""
    fake.add(status=status)
    with pytest.raises(RunnerError) as caught:
        door.open()
    assert not isinstance(caught.value, ProviderError)
    assert "svc-1 (eval-svc-1) of provider nine" in caught.value.message
    assert told in caught.value.message
    assert todo in caught.value.hint
    assert caught.value.where.startswith("runner.yaml:1:1")


@pytest.mark.parametrize(
    ("instances", "ready"),
    [
        ([{"baseModelReady": True}], True),
        ([{"baseModelReady": "true"}], True),
        ([{"baseModelReady": False}, {"baseModelReady": True}], True),
        ([{"baseModelReady": False}], False),
        ([{"baseModelReady": "false"}, {}], False),
        ([{"name": "i-0"}], True),
        ([{"baseModelReady": None}], True),
        ([], True),
        (None, True),
        ("absent", True),
    ],
)
def test_readiness(fake: FakeAlaya, door: AlayaDoor, instances: Any, ready: bool) -> None:
    """One instance with its model loaded is enough; where no instance says anything, the status alone decides."""
    fake.add(instance=instances, status="Running")
    assert isinstance(door.open(), Target) is ready
    if not ready:
        assert door.open() == NotYet("running, but its model is not loaded yet")


@pytest.mark.parametrize(
    ("url", "target"),
    [("x.example", "https://x.example"), ("http://x.example/a", "http://x.example/a"), ("", None), (None, None)],
)
def test_addresses(fake: FakeAlaya, door: AlayaDoor, url: Any, target: str | None) -> None:
    """A bare host is reached by https; without an address there is nothing to ask yet."""
    fake.add(serviceUrl=url)
    expected = NotYet("running, but has no address yet") if target is None else Target(target, {"apikey": KEY})
    assert door.open() == expected


# Whose it is, when it is not there


@pytest.mark.parametrize(
    "missing",
    [
        None,
        says(200, -1, "service does not exist"),
        says(200, "-1", ""),
        says(400, -1, "bad id"),
        says(200, 0, "", {}),
        says(200, 0, "", None),
        raw(404, b"<html>"),
    ],
)
@pytest.mark.parametrize("counts", [True, False])
def test_a_name_in_place_of_an_id(
    fake: FakeAlaya, http: Http, missing: Callable[[Handler], None] | None, counts: bool
) -> None:
    """What is no id may be a name: exactly that one, though the list has others that contain it.  It is asked once."""
    fake.add("s-1", name="eval")
    for number in range(2, 6):
        fake.add(f"s-{number}", name=f"eval-{number}")
    fake.knobs.missing, fake.knobs.counts = missing, counts
    door = door_to(fake, http, service_id="eval")
    assert door.open() == Target(f"{fake.url}/svc/s-1", {"apikey": KEY})
    assert fake.calls[1].query == {"name": "eval", "page": "1", "size": "100"}
    assert door.open() == Target(f"{fake.url}/svc/s-1", {"apikey": KEY})
    assert fake.names() == ["detail", "list", "detail", "detail"]


def test_a_name_on_a_later_page(fake: FakeAlaya, http: Http) -> None:
    """The list is read to its end."""
    for number in range(5):
        fake.add(f"s-{number}", name="eval" if number == 4 else f"eval-{number}")
    fake.knobs.page = 2
    assert door_to(fake, http, service_id="eval").open() == Target(f"{fake.url}/svc/s-4", {"apikey": KEY})
    assert [call.query["page"] for call in fake.calls if call.name == "list"] == ["1", "2", "3"]


def test_two_of_one_name(fake: FakeAlaya, http: Http) -> None:
    """Nothing says that names are unique: a person has to choose."""
    fake.add("s-1", name="eval")
    fake.add("s-2", name="eval")
    with pytest.raises(Refused, match=r"2 deployments are called eval: s-1, s-2") as caught:
        door_to(fake, http, service_id="eval").open()
    assert "service_id" in caught.value.hint


def test_no_such_deployment(fake: FakeAlaya, door: AlayaDoor) -> None:
    """Neither an id nor a name: the platform's own words, and where to look."""
    fake.knobs.missing = says(200, -1, "no such service")
    with pytest.raises(Refused, match="no such service") as caught:
        door.open()
    assert "service_id" in caught.value.hint
    assert not caught.value.credentials


def test_odd_ids_stay_one_step_of_the_path(fake: FakeAlaya, http: Http) -> None:
    """An id is quoted, so that it leads nowhere else."""
    fake.add("a/../b?c")
    assert isinstance(door_to(fake, http, service_id="a/../b?c").open(), Target)


# Answers that are none


@pytest.mark.parametrize(
    "script",
    [
        says(401, -1, "whatever"),
        says(403, -1, ""),
        says(401, 0, ""),
        raw(403, b""),
        says(401, -1, "internal error"),
        says(200, -1, "Invalid Credential"),
        says(200, -1, "the Signature does not match"),
        says(200, -1, "Access Key is disabled"),
        says(200, "-1", "鉴权失败"),
        says(400, -1, "Unauthorized"),
    ],
)
def test_a_refused_key_pair(fake: FakeAlaya, door: AlayaDoor, script: Callable[[Handler], None]) -> None:
    """By the status, or by the words beside -1; no name is looked for, and the error exits with 4."""
    fake.knobs.fail = {"detail": [script]}
    with pytest.raises(Refused) as caught:
        door.open()
    assert caught.value.credentials
    assert caught.value.exit_code == 4
    assert "access_key and secret_key of provider nine" in caught.value.hint
    assert fake.names() == ["detail"]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (says(429, -1, "slow down"), Busy),
        (says(200, -1, "Too many requests"), Busy),
        (says(200, -1, "请求过于频繁"), Busy),
        (says(500, -1, "oops"), Unsure),
        (says(200, -1, "internal error"), Unsure),
        (says(400, -1, "service unavailable"), Unsure),
        (raw(200, b"<html>"), Unsure),
        (Handler.cut, Unsure),
    ],
)
def test_a_moment_that_passes(
    fake: FakeAlaya, door: AlayaDoor, script: Callable[[Handler], None], kind: type[ProviderError]
) -> None:
    """Looking is free: it is tried again, and told as what it was if it does not pass."""
    fake.add()
    fake.knobs.fail = {"detail": [script]}
    assert isinstance(door.open(), Target)
    fake.knobs.fail = {"detail": [script] * 4}
    with pytest.raises(ProviderError) as caught:
        door.open()
    assert type(caught.value) is kind


@pytest.mark.parametrize("body", [b"[]", b"1", b'{"x":1}'])
def test_an_answer_of_no_shape(fake: FakeAlaya, door: AlayaDoor, body: bytes) -> None:
    """JSON that is neither an envelope nor a deployment settles nothing."""
    fake.knobs.fail = {"detail": [raw(200, body)]}
    with pytest.raises(Unsure):
        door.open()


def test_a_pair_that_is_not_named(fake: FakeAlaya, http: Http) -> None:
    """Without a secret key in runner.yaml nothing is asked."""
    settings = dict(config(fake).settings)
    del settings["secret_key"]
    with pytest.raises(CredentialsError, match="no secret_key"):
        AlayaDoor(ProviderConfig("nine", "alaya", settings), hands(http)).open()
    assert fake.calls == []


# Secrets that come back


def test_what_comes_back_in_clear_is_not_shown(fake: FakeAlaya, door: AlayaDoor, http: Http) -> None:
    """The deployment's key and the password of its registry are hidden from the first answer on, an error's too."""
    fake.add(expert={"headConfig": {"imagePullSecret": {"username": "u", "password": PASSWORD}}})
    door.open()
    assert http.scrub(f"{KEY} {PASSWORD}") == "[hidden] [hidden]"
    late = "a-key-in-an-error-77"
    fake.knobs.fail = {"detail": [says(200, -1, f"deployment with {late} and {SK} is odd", {"apiKey": late})] * 2}
    with pytest.raises(Refused) as caught:
        door.open()
    assert caught.value.message == "answered -1: deployment with [hidden] and [hidden] is odd"


def test_a_wrong_pair_is_not_repeated(fake: FakeAlaya, http: Http) -> None:
    """The fake repeats the header in its refusal; the error does not."""
    wrong = "sk-wrong-secret-5555"
    with pytest.raises(Refused) as caught:
        AlayaDoor(config(fake), hands(http, SK=wrong)).open()
    assert wrong not in repr(caught.value)
    assert AK not in repr(caught.value)
    assert "is not known" in caught.value.message


def test_secrets_are_found_however_deep() -> None:
    """Keys and passwords in lists and objects, in any spelling; what is no text is none."""
    deep: Any = {"password": "p"}
    for _ in range(5_000):
        deep = [deep]
    value = {"apikey": "a", "x": [{"apiKey": "b", "api_key": "c"}, {"password": 7}], "deep": deep, "name": "n"}
    assert set(secrets_in(value)) == {"a", "b", "c", "p"}
    assert list(secrets_in(None)) == []


# Shapes, by value


@pytest.mark.parametrize(
    ("data", "served"),
    [
        ({"servedName": ["m", "n", "m", "", None]}, ("m", "n")),
        ({"servedName": "m"}, ("m",)),
        ({"servedName": None, "quickStart": {"servedName": ["m"]}}, ("m",)),
        ({"quickStart": None, "expert": {"servedName": "m"}}, ("m",)),
        ({"servedName": []}, ()),
        ({"servedName": {}}, ()),
        ({}, ()),
        (None, ()),
    ],
)
def test_served_names(data: Any, served: tuple[str, ...]) -> None:
    """A list in QuickStart, a text in lists and LoRA, missing in Expert."""
    assert parse_deployment(data).served == served


@pytest.mark.parametrize("data", [None, {}, [], "x", {"instance": {}, "status": 7, "serviceUrl": []}])
def test_a_deployment_of_another_shape(data: Any) -> None:
    """Nothing is known of it, and nothing breaks."""
    deployment = parse_deployment(data)
    assert replace(deployment, status="") == Deployment("")
    assert not deployment.ready


@pytest.mark.parametrize(
    ("body", "data"),
    [
        ({"code": 0, "data": {"a": 1}, "msg": ""}, {"a": 1}),
        ({"data": {"a": 1}}, {"a": 1}),
        ({"code": 0, "data": None}, {}),
        ({"code": 0}, {}),
        ({"serviceId": "s"}, {"serviceId": "s"}),
        ({"rows": []}, {"rows": []}),
        ({"x": 1}, None),
        ([], None),
        (None, None),
    ],
)
def test_envelopes(body: Any, data: Any) -> None:
    """The data of an envelope, or the thing itself where there is none."""
    assert unwrap(body) == data


# Models


def test_models_are_the_served_names(fake: FakeAlaya, door: AlayaDoor) -> None:
    """Each with what the endpoint's own list says of it; what is only in that list is not on sale."""
    fake.add(servedName=["m", "n"])
    fake.knobs.models = {"data": [{"id": "m", "max_model_len": 32_768}, {"id": "other"}]}
    assert door.catalogue() == Catalogue((Offer("m", context=32_768), Offer("n")))
    call = fake.calls[-1]
    assert (call.name, call.headers["apiKey"], call.headers["authorization"]) == ("models", KEY, None)


@pytest.mark.parametrize("models", [404, 500, 401, {"x": 1}])
def test_names_alone(fake: FakeAlaya, door: AlayaDoor, models: Any) -> None:
    """Nothing promises a list of models: without one the names are what is known."""
    fake.add()
    fake.knobs.models = models
    assert door.catalogue() == Catalogue((Offer("m"),))


@pytest.mark.parametrize("status", ["stopped", "stoping", "failed"])
def test_a_deployment_that_is_down_has_no_models(fake: FakeAlaya, door: AlayaDoor, status: str) -> None:
    """A plan for it could not be carried out, so that it is an error before anything is begun."""
    fake.add(status=status)
    with pytest.raises(RunnerError, match=r"deployment .* is (stopped|stopping|failed)"):
        door.catalogue()


@pytest.mark.parametrize(
    "told", [{"status": "starting"}, {"instance": [{"baseModelReady": False}]}, {"serviceUrl": ""}]
)
def test_an_endpoint_that_is_not_there_is_not_asked(fake: FakeAlaya, door: AlayaDoor, told: Any) -> None:
    """A plan may be made while the deployment starts."""
    fake.add(**told)
    assert door.catalogue() == Catalogue((Offer("m"),))
    assert fake.names() == ["detail"]


@pytest.mark.parametrize(
    ("models", "catalogue"),
    [
        ({"data": [{"id": "m", "max_model_len": 32_768}]}, Catalogue((Offer("m", context=32_768),))),
        (404, Catalogue((), complete=False)),
        (503, Catalogue((), complete=False)),
        ({"x": 1}, Catalogue((), complete=False)),
    ],
)
def test_without_served_names(fake: FakeAlaya, door: AlayaDoor, models: Any, catalogue: Catalogue) -> None:
    """An Expert deployment tells none: the endpoint's list, or else any name is taken as given."""
    fake.add(servedName="absent", mode="expert", quickStart=None, expert={"headConfig": {}, "workerConfig": {}})
    fake.knobs.models = models
    assert door.catalogue() == catalogue


def test_the_catalogue_of_no_deployment(fake: FakeAlaya, door: AlayaDoor) -> None:
    """Is an error, as its address is."""
    with pytest.raises(Refused):
        door.catalogue()


# The whole way


def test_questions_are_asked_of_the_deployment(fake: FakeAlaya, http: Http, tmp_path: Path) -> None:
    """Through the door to the endpoint and back: two questions, two answers, the key in its header."""
    fake.add()
    provider = alaya(config(fake), hands(http, tmp_path / "queues"))
    assert provider.offers().offers == (Offer("m", context=32_768),)
    file = tmp_path / "shard.jsonl"
    asked = [Question((Message("user", (Part("text", f"hi {number}"),)),)) for number in range(2)]
    frame = provider.frame(asked[0])
    with file.open("wb") as lines:
        for number, question in enumerate(asked):
            body = json.dumps(provider.encode(Offer("m"), question)).encode()
            lines.write(frame.before + b"%032x" % number + frame.between + body + frame.after + b"\n")
    job = Job("t-1", "n", "m", 2, max_wait=60, file=file, begun_at=time.time())
    job = replace(job, remote_id=provider.start(job, provider.stage(job)))
    try:
        provider.work([job])
        until = time.monotonic() + 20
        while not provider.check(job).phase.ended and time.monotonic() < until:
            time.sleep(0.01)
        assert provider.check(job).phase is Phase.SUCCEEDED
    finally:
        provider.rest(1)
    got = bytearray()
    provider.results(job, got.extend)
    answers = {result.request: result.text for result in map(provider.decode, got.splitlines())}
    assert answers == {f"{n:032x}": f"echo: hi {n}" for n in range(2)}
    assert {call.headers["apiKey"] for call in fake.calls if call.name == "chat"} == {KEY}


def test_how_long_a_deployment_may_take(
    fake: FakeAlaya, http: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wait.max counts from when this run began to wait, however old the task; the error names the deployment."""
    monkeypatch.setattr(fanout, "LOOK", 0.1)
    fake.add(status="starting")
    provider = alaya(config(fake), hands(http, tmp_path / "queues"))
    file = tmp_path / "shard.jsonl"
    file.write_bytes(b'{"custom_id":"%032x","method":"POST","url":"/v1/chat/completions","body":{}}\n' % 1)
    job = Job("t-1", "n", "m", 1, max_wait=1, file=file, begun_at=time.time() - 100_000)
    provider.start(job, provider.stage(job))
    provider.work([job])
    until = time.monotonic() + 20
    told = r"deployment svc-1 \(eval-svc-1\) of provider nine is still starting after wait\.max"
    with pytest.raises(RunnerError, match=told):
        while time.monotonic() < until:
            provider.check(job)
            time.sleep(0.01)
    provider.rest(1)
    assert fake.names().count("detail") > 3


def test_a_provider_is_built_without_a_secret_or_a_network(fake: FakeAlaya, http: Http) -> None:
    """What it can do is known before anything is asked; the keys of an online endpoint are its keys as well."""
    made = build(
        config(fake, concurrency=3, stream=True, timeout=60.0, schema_as="tool"),
        http=http,
        secret=never,
        simulator_url=never,
        folder=Path("nowhere"),
    )
    assert made.traits.needs_us
    assert fake.calls == []
