"""bce-auth-v1 against vectors made by others, and over the wire against a second reading of its document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest
from fakes.qianfan import ACCESS, BUCKET, SECRET, FakeQianfan

from runner.providers.qianfan.bce import Keys, is_about_keys, sign, signed

DEMO = {"access_key": "AKDEMO", "secret_key": "SKDEMO", "at": 1767225600.0}
PREFIX = "bce-auth-v1/AKDEMO/2026-01-01T00:00:00Z/1800"
DATE = {"x-bce-date": "2026-01-01T00:00:00Z"}

SDK: dict[str, Any] = {
    "access_key": "ALTAKexample0123456789",
    "secret_key": "s3cret/KEY+with=signs",
    "at": 1767323045.9,
}
SDK_PREFIX = "bce-auth-v1/ALTAKexample0123456789/2026-01-02T03:04:05Z"
SDK_DATE = {"x-bce-date": "2026-01-02T03:04:05Z"}


def test_a_call_of_qianfan() -> None:
    """Named headers are signed and listed; the query is signed."""
    headers = {"host": "qianfan.baidubce.com", **DATE, "accept": "*/*"}
    query = {"Action": "DescribeBatchInferenceTasks"}
    given = sign("POST", "/v2/batchinference", query, headers, signed=["x-bce-date", "Host"], **DEMO)
    assert given == f"{PREFIX}/host;x-bce-date/c604ad30bd17169b2a1c95b417be135111e86912c0e0cbacfc7258891403a848"


def test_an_upload() -> None:
    """Without named headers the usual ones are signed, and none is listed; the path is percent-encoded."""
    headers = {
        "Host": "bkt.bj.bcebos.com",
        **DATE,
        "Content-Type": "application/octet-stream",
        "Content-Length": "11",
        "User-Agent": "x",
    }
    given = sign("put", "/a b/c+d.jsonl", {}, headers, **DEMO)
    assert given == f"{PREFIX}//1ea64917618b25002d2f121a629cd54e403a8ceb2dfbe5fab3df8f8113fb299b"


def test_a_list_of_objects() -> None:
    """The query is sorted, encoded down to its slashes, and keeps the sign of equality of an empty value."""
    query = {"uploads": "", "prefix": "out/x y", "maxKeys": "10", "authorization": "not signed"}
    given = sign("GET", "/bkt", query, {"host": "bj.bcebos.com", **DATE}, **DEMO)
    assert given == f"{PREFIX}//0f88f08e09e8505c454b23ad3f8cea15c6b2057275beb4a2553a05f6896dd377"


FROM_BAIDUS_CLIENT = [
    (
        ("POST", "/v2/batchinference", {"Action": "CreateBatchInferenceTask"}),
        {"Host": "127.0.0.1:8765", "Content-Type": "application/json", **SDK_DATE},
        {"expires": 300, "signed": ["content-type", "host", "x-bce-date"]},
        f"{SDK_PREFIX}/300/content-type;host;x-bce-date/8d83b981f6120ed19ab8c737c43930c6eb9c1b9c04df3145c303dd69f38e7b63",
    ),
    (
        ("GET", "/bücket/ä b~c!*'()/%41", {"marker": "ä&=+ ~", "maxKeys": "1000", "prefix": ""}),
        {"Host": "bj.bcebos.com", **SDK_DATE},
        {"signed": ["host", "x-bce-date"]},
        f"{SDK_PREFIX}/1800/host;x-bce-date/fa96348ef5a87d41ab4e3a1bec0aac757427c3b29188f272a08c09d7902b6264",
    ),
    (
        ("PUT", "/b/k", {}),
        {
            "Host": "bj.bcebos.com",
            **SDK_DATE,
            "Content-Length": "0",
            "Content-Type": "  application/octet-stream ",
            "X-Bce-Meta-Unusual": "Value:1",
            "Range": "bytes=0-",
            "x-bce-empty": " ",
        },
        {"expires": 86_400},
        f"{SDK_PREFIX}/86400//29be39b7717d249990c7c680f4addad8e98d396227ed35e94d3ecd9205d1126a",
    ),
]
"""Signatures that bce-python-sdk 0.9.79 makes of the same requests."""


@pytest.mark.parametrize(("request_", "headers", "options", "authorization"), FROM_BAIDUS_CLIENT)
def test_baidus_client_signs_the_same(
    request_: tuple[str, str, Mapping[str, str]], headers: Mapping[str, str], options: Any, authorization: str
) -> None:
    """Text outside ASCII, reserved characters, blanks around values and empty headers are treated as it treats them."""
    assert sign(*request_, headers, **SDK, **options) == authorization


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": "/v2/other"},
        {"query": {"Action": "B"}},
        {"headers": {"host": "g", **DATE}},
        {"secret_key": "SKDEMo"},
        {"access_key": "AKDEMo"},
        {"at": 1767225601.0},
        {"expires": 1801},
    ],
)
def test_every_part_is_signed(change: Mapping[str, Any]) -> None:
    """Whatever of a request is another, its signature is."""
    plain: dict[str, Any] = {
        "method": "POST",
        "path": "/v2/batchinference",
        "query": {"Action": "A"},
        "headers": {"host": "h", **DATE},
        "signed": ["host", "x-bce-date"],
        **DEMO,
    }
    first, second = (sign(**parts).rpartition("/")[2] for parts in (plain, {**plain, **change}))
    assert first != second


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://bj.bcebos.com", "bj.bcebos.com"),
        ("https://BJ.bcebos.com:443/", "bj.bcebos.com"),
        ("http://127.0.0.1:80", "127.0.0.1"),
        ("http://127.0.0.1:443", "127.0.0.1:443"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_host_is_what_travels(base_url: str, host: str) -> None:
    """The host is signed with its port, where that is not the usual one, and sent as it was signed."""
    request = signed("GET", base_url, "/b/k", keys=Keys("AK", "SK"), at=0)
    assert request.headers["host"] == host
    assert httpx.Request("GET", request.url, headers=request.headers).headers["host"] == host


def test_what_is_sent_is_what_was_signed() -> None:
    """The URL survives the client unchanged, and says what was asked for."""
    query = {"prefix": "ä b/c+d~", "marker": "", "maxKeys": "10"}
    request = signed("GET", "https://h/gate way/", "/b/é %41+~", query, keys=Keys("AK", "SK"), at=0)
    assert str(httpx.URL(request.url)) == request.url
    parts = urlsplit(request.url)
    assert unquote(parts.path) == "/gate way/b/é %41+~"
    assert dict(parse_qsl(parts.query, keep_blank_values=True)) == query
    assert "SK" not in repr(Keys("AK", "SK"))


@pytest.fixture
def fake() -> Iterator[FakeQianfan]:
    fake = FakeQianfan()
    fake.knobs.now = lambda: 1_000_000.0
    yield fake
    fake.close()


@pytest.mark.parametrize(
    ("keys", "at", "status"),
    [
        (Keys(ACCESS, SECRET), 1_000_000.0, 200),
        (Keys(ACCESS, SECRET), 998_201.0, 200),
        (Keys(ACCESS, SECRET), 998_199.0, 403),
        (Keys(ACCESS, SECRET), 1_000_400.0, 403),
        (Keys(ACCESS, "wrong"), 1_000_000.0, 403),
        (Keys("wrong", SECRET), 1_000_000.0, 403),
    ],
)
def test_a_server_believes_it(fake: FakeQianfan, keys: Keys, at: float, status: int) -> None:
    """Over the wire, with the right keys and in time; else it does not."""
    query = {"prefix": "a b/ü~+", "maxKeys": "10"}
    request = signed("GET", fake.url, f"/{BUCKET}", query, keys=keys, at=at)
    reply = httpx.get(request.url, headers=dict(request.headers))
    assert reply.status_code == status
    assert fake.calls[0].query == query


@pytest.mark.parametrize(
    ("code", "message", "about"),
    [
        ("InvalidAccessKeyId", "", True),
        ("AccessDenied", "", True),
        ("accessDenied", "", True),
        ("NotFound", "NotFound, cause: Could not find credential.", True),
        ("X", "SignatureDoesNotMatch, so it is", True),
        ("NotFound", "no such task", False),
        ("InvalidBosUri", "bos://", False),
    ],
)
def test_errors_that_speak_of_the_key(code: str, message: str, about: bool) -> None:
    """By code or by message."""
    assert is_about_keys(code, message) is about
