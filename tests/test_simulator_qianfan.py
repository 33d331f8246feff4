"""The simulator speaks Qianfan's wire and BOS's: every call signed, files in buckets, tasks over folders."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.simulator import qianfan
from runner.simulator.bce_auth import Credentials, Message, verify
from runner.simulator.engine import Refusal
from runner.simulator.objects import Object, Objects
from runner.simulator.server import Simulator

DEMO = Credentials("AKDEMO", "SKDEMO")
NEW_YEAR = 1767225600.0
"""2026-01-01T00:00:00Z"""
VECTOR = (
    "bce-auth-v1/AKDEMO/2026-01-01T00:00:00Z/1800/host;x-bce-date/"
    "c604ad30bd17169b2a1c95b417be135111e86912c0e0cbacfc7258891403a848"
)
INSTANT = 1e6
"""A speed at which a task has ended by the time one can ask."""


# --- the signature ---------------------------------------------------------------------------------------------------


def message(method: str, target: str, authorization: str, **headers: str) -> Message:
    dashed = {name.replace("_", "-"): value for name, value in headers.items()}
    return Message(method, target, {"Authorization": authorization, "x-bce-date": "2026-01-01T00:00:00Z", **dashed})


LISTED = message("POST", f"{qianfan.PATH}?Action=DescribeBatchInferenceTasks", VECTOR, Host="qianfan.baidubce.com")


def refusal(found: Message, credentials: Credentials = DEMO, now: float = NEW_YEAR) -> str:
    with pytest.raises(Refusal) as caught:
        verify(found, credentials, now)
    return caught.value.kind


def test_known_signatures_are_good() -> None:
    """Three that were made with the official SDK: listed headers, the usual ones, and a query to be sorted."""
    prefix = "bce-auth-v1/AKDEMO/2026-01-01T00:00:00Z/1800//"
    put = message(
        "PUT",
        "/a%20b/c%2Bd.jsonl",
        f"{prefix}1ea64917618b25002d2f121a629cd54e403a8ceb2dfbe5fab3df8f8113fb299b",
        Host="bkt.bj.bcebos.com",
        Content_Type="application/octet-stream",
        Content_Length="11",
    )
    get = message(
        "GET",
        "/bkt?uploads=&prefix=out%2Fx%20y&maxKeys=10",
        f"{prefix}0f88f08e09e8505c454b23ad3f8cea15c6b2057275beb4a2553a05f6896dd377",
        Host="bj.bcebos.com",
    )
    for found in (LISTED, put, get):
        verify(found, DEMO, NEW_YEAR)


def test_the_order_of_signed_headers_does_not_matter() -> None:
    """The official SDK lists them in an order that no one can foretell."""
    turned = VECTOR.replace("host;x-bce-date", "x-bce-date;host")
    verify(message(LISTED.method, LISTED.target, turned, host="qianfan.baidubce.com"), DEMO, NEW_YEAR)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        (message("GET", LISTED.target, VECTOR, Host="qianfan.baidubce.com"), "bad-signature"),
        (message("POST", f"{LISTED.target}&x=1", VECTOR, Host="qianfan.baidubce.com"), "bad-signature"),
        (message("POST", LISTED.target, VECTOR, Host="elsewhere"), "bad-signature"),
        (message("POST", LISTED.target, VECTOR.replace("1800", "1801"), Host="qianfan.baidubce.com"), "bad-signature"),
        (message("POST", LISTED.target, VECTOR.replace("AKDEMO", "OTHER"), Host="qianfan.baidubce.com"), "unknown-key"),
        (message("POST", LISTED.target, VECTOR[:-1], Host="qianfan.baidubce.com"), "bad-authorization"),
        (message("POST", LISTED.target, VECTOR.replace("-01-01T", "-13-01T"), Host="h"), "bad-authorization"),
        (message("POST", LISTED.target, "Bearer key", Host="qianfan.baidubce.com"), "bad-authorization"),
        (Message("POST", LISTED.target, {}), "unsigned"),
    ],
)
def test_what_was_not_signed_so_is_refused(changed: Message, kind: str) -> None:
    """Method, query, host, validity and key are all covered."""
    assert refusal(changed) == kind


def test_a_wrong_secret_is_a_bad_signature() -> None:
    """A key that is known does not suffice."""
    assert refusal(LISTED, Credentials("AKDEMO", "WRONG")) == "bad-signature"


def test_a_signature_is_good_from_a_little_before_its_time_until_it_expires() -> None:
    """Clocks differ somewhat; beyond that a signature is not to be used."""
    for now in (NEW_YEAR - 900, NEW_YEAR + 1800):
        verify(LISTED, DEMO, now)
    for now in (NEW_YEAR - 901, NEW_YEAR + 1801):
        assert refusal(LISTED, now=now) == "expired-signature"


# --- a caller --------------------------------------------------------------------------------------------------------


def encoded(text: str, safe: str = "") -> str:
    return quote(text, safe=f"-._~{safe}")


def digest(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def authorization(
    method: str,
    target: str,
    terms: str,
    headers: Mapping[str, str],
    now: float,
    access: str = "AKDEMO",
    secret: str = "SKDEMO",
) -> str:
    """The signature over ``headers``; ``target`` and ``terms`` are encoded, and the terms sorted."""
    prefix = f"bce-auth-v1/{access}/{datetime.fromtimestamp(now, UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}/1800"
    covered = "\n".join(sorted(f"{encoded(name.lower())}:{encoded(value)}" for name, value in headers.items()))
    signature = digest(digest(secret, prefix), "\n".join([method, target, terms, covered]))
    return f"{prefix}/{';'.join(name.lower() for name in headers)}/{signature}"


class Client:
    """Signs the host, as the document says, and speaks both wires."""

    def __init__(
        self, url: str, access: str = "AKDEMO", secret: str = "SKDEMO", clock: Callable[[], float] = time.time
    ) -> None:
        self.http = httpx.Client(timeout=20)
        self.url, self.access, self.secret, self.clock = url, access, secret, clock

    def call(
        self, method: str, path: str, query: dict[str, str] | None = None, content: bytes = b"", **headers: str
    ) -> httpx.Response:
        target = encoded(path, "/")
        terms = "&".join(sorted(f"{encoded(k)}={encoded(v)}" for k, v in (query or {}).items()))
        return self.http.request(
            method,
            f"{self.url}{target}?{terms}" if terms else f"{self.url}{target}",
            content=content,
            headers={"Authorization": self.authorization(method, target, terms), **headers},
        )

    def authorization(self, method: str, target: str, terms: str = "") -> str:
        host = httpx.URL(self.url).netloc.decode()
        return authorization(method, target, terms, {"host": host}, self.clock(), self.access, self.secret)

    def action(self, action: str, **body: Any) -> httpx.Response:
        return self.call("POST", qianfan.PATH, {"Action": f"{action}"}, json.dumps(body).encode())

    def result(self, action: str, **body: Any) -> Any:
        reply = self.action(action, **body)
        assert reply.status_code == 200, reply.text
        return reply.json()["result"]

    def put(self, key: str, content: bytes = b"", bucket: str = "demo") -> None:
        reply = self.call("PUT", f"/{bucket}/{key}", content=content)
        assert reply.status_code == 200, reply.text

    def get(self, key: str) -> bytes:
        reply = self.call("GET", f"/demo/{key}")
        assert reply.status_code == 200, reply.text
        return reply.content

    def listing(self, **query: Any) -> Any:
        reply = self.call("GET", "/demo", {name: str(value) for name, value in query.items()})
        assert reply.status_code == 200, reply.text
        return reply.json()

    def keys(self, **query: Any) -> list[str]:
        return [each["key"] for each in self.listing(**query)["contents"]]

    def folder(self, *files: bytes) -> None:
        """``in/`` with these files, and an empty ``out/``."""
        for number, content in enumerate(files):
            self.put(f"in/part-{number}.jsonl", content)
        self.put("out/")

    def order(self, **changes: Any) -> dict[str, Any]:
        order = {
            "name": "nightly",
            "endpoint": "mi-9",
            "inputBosUri": "bos:/demo/in/",
            "outputBosUri": "bos:/demo/out/",
            **changes,
        }
        return {name: value for name, value in order.items() if value is not None}

    def create(self, **changes: Any) -> str:
        return str(self.result("CreateBatchInferenceTask", **self.order(**changes))["taskId"])

    def task(self, identity: str) -> Any:
        return self.result("DescribeBatchInferenceTask", taskId=identity)

    def tasks(self, **body: Any) -> Any:
        return self.result("DescribeBatchInferenceTasks", **body)

    def ended(self, identity: str) -> Any:
        deadline = time.monotonic() + 10
        while "finishTime" not in (found := self.task(identity)) and time.monotonic() < deadline:
            time.sleep(0.005)
        return found

    def outputs(self, identity: str) -> list[list[Any]]:
        """The lines of each output file of the task."""
        folder = f"out/{self.ended(identity)['outputDir']}/"
        return [[json.loads(line) for line in self.get(key).splitlines()] for key in self.keys(prefix=folder)]


@contextmanager
def simulated(folder: Path, **options: Any) -> Iterator[Client]:
    clock = options.get("clock", time.time)
    with Simulator(folder, **{"speed": INSTANT, **options}) as simulator:
        client = Client(simulator.url, clock=clock)
        with client.http:
            yield client


class Clock:
    """Stands still until it is moved on."""

    def __init__(self) -> None:
        self.now = NEW_YEAR

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with simulated(tmp_path / "data") as ready:
        yield ready


def lines(count: int = 3, start: int = 1) -> bytes:
    numbers = range(start, start + count)
    return b"".join(json.dumps({"id": f"row-{n}", "query": f"Question {n}?"}).encode() + b"\n" for n in numbers)


@given(
    st.text(),
    st.dictionaries(st.text(min_size=1), st.text(), max_size=5),
    st.dictionaries(st.sampled_from(["host", "x-bce-a", "X-Bce-B", "referer"]), st.text("a %/é\x7f", min_size=1)),
)
def test_whatever_is_signed_by_the_document_is_good(path: str, query: dict[str, str], headers: dict[str, str]) -> None:
    """Any path, any query and any headers, as they come over the wire: bytes, and those of headers read as Latin-1."""
    target = "/" + encoded(path, "/")
    terms = "&".join(sorted(f"{encoded(k)}={encoded(v)}" for k, v in query.items() if k != "authorization"))
    trimmed = {name: value.strip() for name, value in headers.items() if value.strip()} or {"host": "h"}
    signature = authorization("GET", target, terms, trimmed, NEW_YEAR)
    wire = {name: f" {value} ".encode().decode("latin-1") for name, value in trimmed.items()}
    verify(Message("GET", f"{target}?{terms}", {"Authorization": signature, **wire}), DEMO, NEW_YEAR)


# --- who may call ----------------------------------------------------------------------------------------------------


def test_a_wrong_secret_is_refused_in_the_body_and_in_the_headers(client: Client) -> None:
    """Both wires say why, as the gateway in front of them does."""
    stranger = Client(client.url, secret="WRONG")
    with stranger.http:
        for reply in (stranger.action("DescribeBatchInferenceTasks"), stranger.call("GET", "/demo/in/x")):
            assert reply.status_code == 403
            assert reply.json().keys() == {"requestId", "code", "message"}
            assert reply.json()["code"] == reply.headers["X-Bce-Error-Code"] == "SignatureDoesNotMatch"
            assert reply.headers["X-Bce-Error-Message"] == reply.json()["message"]


def test_the_account_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each account has tasks of its own."""
    with simulated(tmp_path) as demo:
        demo.folder(lines())
        task = demo.create()
    monkeypatch.setenv("QIANFAN_ACCESS_KEY", "AK2")
    monkeypatch.setenv("QIANFAN_SECRET_KEY", "SK2")
    with simulated(tmp_path) as demo:
        assert demo.action("DescribeBatchInferenceTasks").json()["code"] == "InvalidAccessKeyId"
        other = Client(demo.url, "AK2", "SK2")
        with other.http:
            assert other.tasks()["taskList"] == []
            assert other.action("DescribeBatchInferenceTask", taskId=task).status_code == 404


def test_an_unsigned_call_learns_only_whether_there_is_such_a_bucket(client: Client) -> None:
    """A mistyped path of another wire reads as not found, though BOS has every path."""
    for path, status, code in [
        ("/nowhere", 404, "NoSuchBucket"),
        ("/api/openapi/v1/mistyped", 404, "NoSuchBucket"),
        ("/demo", 403, "AccessDenied"),
        ("/demo/key", 403, "AccessDenied"),
    ]:
        reply = httpx.get(client.url + path)
        assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert httpx.post(f"{client.url}{qianfan.PATH}?Action=DescribeBatchInferenceTasks").status_code == 403


# --- buckets and objects ---------------------------------------------------------------------------------------------


def test_an_object_is_put_looked_at_read_and_removed(client: Client) -> None:
    """Whatever its key is made of; its ETag is the MD5 of what was put."""
    key, content = "a b/ü+?&=%2F/~c.jsonl", b"0123456789"
    etag = f'"{hashlib.md5(content).hexdigest()}"'
    put = client.call("PUT", f"/demo/{key}", content=content, **{"Content-Type": "text/x-test"})
    assert (put.status_code, put.headers["ETag"]) == (200, etag)
    head = client.call("HEAD", f"/demo/{key}")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == "10"
    got = client.call("GET", f"/demo/{key}")
    assert (got.content, got.headers["ETag"], got.headers["Content-Type"]) == (content, etag, "text/x-test")
    assert got.headers["x-bce-request-id"]
    part = client.call("GET", f"/demo/{key}", Range="bytes=2-4")
    assert (part.status_code, part.content) == (206, b"234")
    assert client.call("DELETE", f"/demo/{key}").status_code == 204
    for method in ("GET", "HEAD", "DELETE"):
        assert client.call(method, f"/demo/{key}").status_code == 404


def test_an_object_replaces_the_one_with_its_key(client: Client) -> None:
    """Also where a key is the beginning of another's: folders are but a way to read keys."""
    for key, content in [("a", b"1"), ("a/", b""), ("a/b", b"2"), ("a", b"3")]:
        client.put(key, content)
    assert client.get("a") == b"3"
    assert client.get("a/b") == b"2"
    assert client.keys() == ["a", "a/", "a/b"]


def test_objects_outlive_a_restart(tmp_path: Path) -> None:
    """They lie in the simulator's folder."""
    with simulated(tmp_path) as client:
        client.put("kept", b"here")
    with simulated(tmp_path) as client:
        assert client.get("kept") == b"here"


def test_content_that_does_not_fit_its_checksum_is_not_kept(client: Client) -> None:
    """Either checksum is compared when it comes along."""
    good = {"x-bce-content-crc32": str(zlib.crc32(b"x")), "Content-MD5": base64.b64encode(hashlib.md5(b"x").digest())}
    for name, value in good.items():
        reply = client.call("PUT", "/demo/k", content=b"y", **{name: value})
        assert (reply.status_code, reply.json()["code"]) == (400, "BadDigest")
    assert client.keys() == []
    assert client.call("PUT", "/demo/k", content=b"x", **good).status_code == 200


def test_buckets_are_made_once(client: Client) -> None:
    """A bucket's name is checked, and belongs to one."""
    assert client.call("HEAD", "/bkt-1").status_code == 404
    assert client.call("PUT", "/bkt-1").status_code == 200
    assert client.call("HEAD", "/bkt-1/").status_code == 200
    assert client.call("PUT", "/bkt-1").json()["code"] == "BucketAlreadyExists"
    assert client.call("PUT", "/Bad_Name").json()["code"] == "InvalidBucketName"
    assert client.call("PUT", "/bkt-2/key").status_code == 200  # a bucket is made by putting something into it


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("PUT", "/demo/key", {"partNumber": "1", "uploadId": "x"}),
        ("GET", "/demo", {"uploads": ""}),
        ("PUT", "/demo", {"acl": ""}),
        ("GET", "/demo/key", {"acl": ""}),
    ],
)
def test_a_call_that_is_not_there_is_not_mistaken_for_another(
    client: Client, method: str, path: str, query: dict[str, str]
) -> None:
    """One part of an upload must not become the object."""
    client.put("key", b"old")
    assert client.call(method, path, query, b"new").json()["code"] == "NotImplemented"
    assert client.get("key") == b"old"


@pytest.mark.parametrize("key", ["a/../b", "./a", "x" * 1025])
def test_keys_that_bos_refuses_are_refused(client: Client, key: str) -> None:
    """No part of a key is a dot or two, and it is not longer than 1,024 bytes."""
    url, target = httpx.URL(client.url), f"/demo/{key}"
    with closing(HTTPConnection(url.host, url.port)) as raw:  # since httpx would walk the dots itself
        raw.request("PUT", target, headers={"Authorization": client.authorization("PUT", target)})
        reply = raw.getresponse()
        assert (reply.status, json.loads(reply.read())["code"]) == (400, "InvalidURI")


def test_a_listing_goes_on_behind_its_marker(client: Client) -> None:
    """Pages together hold every key once, in order."""
    for key in ("b", "in/2", "in/1", "in/3", "inside"):
        client.put(key, b"x")
    page = client.listing(prefix="in/", maxKeys=2)
    assert [(each["key"], each["size"]) for each in page["contents"]] == [("in/1", 1), ("in/2", 1)]
    assert (page["isTruncated"], page["nextMarker"], page["maxKeys"], page["name"]) == (True, "in/2", 2, "demo")
    rest = client.listing(prefix="in/", maxKeys=2, marker="in/2")
    assert [each["key"] for each in rest["contents"]] == ["in/3"]
    assert rest["isTruncated"] is False
    assert client.listing(maxKeys=5000)["maxKeys"] == 1000
    assert client.call("GET", "/demo", {"maxKeys": "0"}).json()["code"] == "InvalidArgument"


def test_a_delimiter_groups_what_lies_behind_it(client: Client) -> None:
    """Groups count as entries, and come once though the pages end between their keys."""
    for key in ("a/1", "a/2", "b", "c/1", "d"):
        client.put(key, b"x")
    seen: list[str] = []
    query: dict[str, Any] = {"delimiter": "/", "maxKeys": 1}
    while True:
        page = client.listing(**query)
        seen += [each["key"] for each in page["contents"]] + [each["prefix"] for each in page["commonPrefixes"]]
        if not page["isTruncated"]:
            break
        query["marker"] = page["nextMarker"]
    assert seen == ["a/", "b", "c/", "d"]


def test_a_long_folder_is_listed_whole(tmp_path: Path) -> None:
    """The index is read in pieces, of which one may end exactly at the end."""
    objects = Objects(tmp_path / "files", lambda chunks: "", lambda: NEW_YEAR)
    found = [Object("demo", f"k{n:05}", "d", "e", 1, NEW_YEAR) for n in range(2000)]
    objects.publish("all", found)
    assert list(objects.under("demo", "k")) == found
    assert list(objects.under("demo", "k", "k01998")) == found[-1:]
    objects.publish("all", [Object("demo", "again", "d", "e", 1, NEW_YEAR)])
    assert objects.get("demo", "again") is None


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_a_task_goes_from_folder_to_folder(client: Client) -> None:
    """The results lie in a folder of random name, each beside its question."""
    client.folder(lines())
    identity = client.create(description="runner nightly", inferenceParams={"temperature": 0.2})
    assert identity.startswith("infer-")
    task = client.ended(identity)
    told = {
        "taskId": identity,
        "name": "nightly",
        "description": "runner nightly",
        "endpoint": "mi-9",
        "inferenceParams": {"temperature": 0.2},
        "runStatus": "Done",
        "inputBosUri": "bos:/demo/in/",
        "outputBosUri": "bos:/demo/out/",
        "progress": 3,
        "dataFormat": "default",
    }
    assert told.items() <= task.items()
    assert len(task["outputDir"]) == 24
    assert client.keys(prefix="out/") == ["out/", f"out/{task['outputDir']}/part-0.jsonl"]
    (found,) = client.outputs(identity)
    assert [(line["id"], line["query"]) for line in found] == [(f"row-{n}", f"Question {n}?") for n in (1, 2, 3)]
    output = found[0]["output"]
    assert output["result"].endswith("to: Question 1?")
    assert (output["object"], output["finish_reason"], output["is_truncated"]) == ("chat.completion", "normal", False)
    assert output["usage"].keys() == {"prompt_tokens", "completion_tokens", "total_tokens"}
    used = [sum(line["output"]["usage"][f"{kind}_tokens"] for line in found) for kind in ("prompt", "completion")]
    assert [task["inputTokenUsage"], task["outputTokenUsage"]] == used


def test_role_lines_hold_whole_conversations(client: Client) -> None:
    """They come back as they were sent, and parameters of the task hold for every line."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who goes there tonight?"}]
    client.folder(json.dumps({"id": "1", "messages": messages}).encode())
    identity = client.create(dataFormat="role", inferenceParams={"max_tokens": 2})
    ((line,),) = client.outputs(identity)
    assert line["messages"] == messages
    assert (line["output"]["finish_reason"], line["output"]["is_truncated"]) == ("length", True)
    assert len(line["output"]["result"]) == 8


def test_each_input_file_has_an_output_file(client: Client) -> None:
    """Ids have to be unique only within a file, and files may lie in folders below."""
    client.folder(lines(2))
    client.put("in/below/part-0.jsonl", lines(2, start=2))
    client.put("in/below/")
    identity = client.create()
    task = client.ended(identity)
    folder = f"out/{task['outputDir']}/"
    assert client.keys(prefix=folder) == [f"{folder}below/part-0.jsonl", f"{folder}part-0.jsonl"]
    below, beside = client.outputs(identity)
    assert [line["query"] for line in below] == ["Question 2?", "Question 3?"]
    assert [line["id"] for line in beside] == ["row-1", "row-2"]
    assert beside[1]["output"]["result"] == below[0]["output"]["result"]


def test_a_large_file_is_read_and_written_in_pieces(client: Client) -> None:
    """And is whole in the end."""
    client.folder(lines(4000))
    ((*found,),) = client.outputs(client.create())
    assert [line["id"] for line in found] == [f"row-{n}" for n in range(1, 4001)]


def test_results_are_put_once(client: Client) -> None:
    """What the owner removed stays removed, however often the task is looked at."""
    client.folder(lines())
    task = client.ended(client.create())
    key = f"out/{task['outputDir']}/part-0.jsonl"
    assert client.call("DELETE", f"/demo/{key}").status_code == 204
    client.task(task["taskId"])
    assert client.keys(prefix=key) == []


def test_results_come_from_what_the_folder_held_when_the_task_was_created(client: Client) -> None:
    """A file that changes later changes nothing."""
    client.folder(lines(1))
    identity = client.create()
    client.put("in/part-0.jsonl", lines(1, start=7))
    assert [[line["id"] for line in file] for file in client.outputs(identity)] == [["row-1"]]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "n"}, "InappropriateJSON"),
        ({"name": "n" * 21}, "InappropriateJSON"),
        ({"name": None}, "InappropriateJSON"),
        ({"name": "two\nlines"}, "InappropriateJSON"),
        ({"description": "d" * 501}, "InappropriateJSON"),
        ({"endpoint": None}, "InappropriateJSON"),
        ({"modelId": "amv-9"}, "InappropriateJSON"),
        ({"inferenceParams": [1]}, "InappropriateJSON"),
        ({"dataFormat": "src_tgt"}, "InappropriateJSON"),
        ({"completion_window": "48h"}, "InappropriateJSON"),
        ({"afsConfig": {"userName": "u"}}, "InappropriateJSON"),
        ({"endpoint": "nothing"}, "ModelNotFound"),
        ({"endpoint": "mi-5"}, "ModelNotRunning"),
        ({"endpoint": "mi-7"}, "ModelNotSupported"),
        ({"inputBosUri": "bos://demo/in/"}, "InvalidBosUri"),
        ({"inputBosUri": None}, "InvalidBosUri"),
        ({"inputBosUri": "bos:/demo/empty/"}, "InvalidBosUri"),
        ({"inputBosUri": "bos:/other/in/"}, "InvalidBosUri"),
        ({"outputBosUri": "bos:/demo/missing/"}, "InvalidBosUri"),
        ({"outputBosUri": "bos:/other/"}, "InvalidBosUri"),
    ],
)
def test_a_task_that_breaks_a_rule_is_not_created(client: Client, changes: dict[str, Any], code: str) -> None:
    """Each documented bound, and what the folders have to be."""
    client.folder(lines())
    reply = client.action("CreateBatchInferenceTask", **client.order(**changes))
    assert (reply.status_code, reply.json()["code"]) == (400, code)
    assert client.tasks()["taskList"] == []


def test_the_bounds_themselves_are_good(client: Client) -> None:
    """2 and 20 characters, 500 of description, the documented window, and folders without a slash at the end."""
    client.folder(lines())
    for name in ("ab", "n" * 20):
        client.create(name=name, description="d" * 500, completion_window="24h")
    client.create(inputBosUri="bos:/demo/in", outputBosUri="bos:/demo/out", endpoint=None, modelId="amv-9")
    client.create(outputBosUri="bos:/demo/", endpoint="https://aip.baidubce.com/rpc/2.0/chat/qwen3-8b")


def test_a_folder_may_hold_so_many_files_and_so_many_bytes(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred files, and 300 MB, of which the test takes less."""
    client.folder(*(lines(1) for _ in range(100)))
    client.create()
    client.put("in/one-more.jsonl", lines(1))
    assert client.action("CreateBatchInferenceTask", **client.order()).json()["code"] == "InvalidBosUri"
    client.call("DELETE", "/demo/in/one-more.jsonl")
    monkeypatch.setattr(qianfan, "MAX_INPUT_BYTES", 100 * len(lines(1)) - 1)
    assert client.action("CreateBatchInferenceTask", **client.order()).json()["code"] == "InvalidBosUri"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lines(2) + b"not JSON\n", "line 3 of the input file is not JSON"),
        (lines(1) + b'{"query": "no id"}\n', "line 2 of the input file has no id"),
        (b'{"id": 7, "query": "a number"}\n', "line 1 of the input file has no id"),
        (lines(1) + lines(1), "line 2 of the input file has the id of line 1"),
    ],
)
def test_a_file_that_cannot_be_read_fails_the_task(client: Client, content: bytes, reason: str) -> None:
    """It is accepted first: the file is read only then."""
    client.folder(content)
    task = client.ended(client.create())
    assert (task["runStatus"], task["errorReason"]) == ("Failed", reason)
    assert isinstance(task["errorCode"], int)
    assert client.keys(prefix="out/") == ["out/"]


def test_a_line_that_asks_nothing_fails_alone(client: Client) -> None:
    """In the place of an output it has a code and a message, and its question is none."""
    client.folder(lines(1) + b'{"id": "odd"}\n')
    ((good, bad),) = client.outputs(client.create())
    assert "output" in good
    assert bad.keys() == {"id", "query", "error_code", "error_msg"}
    assert isinstance(bad["error_code"], int)


def test_no_more_than_twenty_tasks_are_under_way(tmp_path: Path) -> None:
    """The next has to wait until one of them has ended."""
    with simulated(tmp_path, faults=[{"on": "task", "do": "never-end"}]) as client:
        client.folder(lines(1))
        tasks = [client.create() for _ in range(20)]
        reply = client.action("CreateBatchInferenceTask", **client.order())
        assert (reply.status_code, reply.json()["code"]) == (400, "TaskRunningNumberExceedLimit")
        assert client.result("StopBatchInferenceTask", taskId=tasks[0]) is True
        assert client.ended(tasks[0])["runStatus"] == "Stopped"
        client.create()


def test_tasks_that_ended_take_no_place(client: Client) -> None:
    """However many there are."""
    client.folder(lines(1))
    for _ in range(21):
        client.ended(client.create())


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def seven(client: Client) -> list[str]:
    """Seven tasks that ended, oldest first."""
    client.folder(lines(1))
    tasks = [client.create(name=f"task-{n}") for n in range(7)]
    for task in tasks:
        client.ended(task)
    return tasks


def walk(client: Client, **query: Any) -> list[list[str]]:
    """The ids on each page."""
    pages: list[list[str]] = []
    while True:
        found = client.tasks(**query)
        pages.append([task["taskId"] for task in found["taskList"]])
        if not found["pageInfo"]["isTruncated"]:
            return pages
        query["marker"] = found["pageInfo"]["marker"]


def test_tasks_are_listed_in_pages_from_either_end(client: Client, seven: list[str]) -> None:
    """Each once, the oldest first unless the page is reversed."""
    assert walk(client, maxKeys=3) == [seven[:3], seven[3:6], seven[6:]]
    newest = seven[::-1]
    assert walk(client, maxKeys=3, pageReverse=True) == [newest[:3], newest[3:6], newest[6:]]
    assert walk(client, maxKeys=7) == [seven]


def test_a_list_has_ten_tasks_and_never_more_than_a_hundred(client: Client) -> None:
    """More are asked for in vain."""
    client.folder(lines(1))
    for _ in range(101):
        client.create()
        client.tasks(maxKeys=1, pageReverse=True)
    assert client.tasks()["pageInfo"].items() >= {"maxKeys": 10, "isTruncated": True}.items()
    found = client.tasks(maxKeys=1000)
    assert len(found["taskList"]) == found["pageInfo"]["maxKeys"] == 100
    pages = walk(client, maxKeys=100)
    assert [len(page) for page in pages] == [100, 1]
    assert walk(client, maxKeys=100, pageReverse=True) == [pages[1] + pages[0][:0:-1], pages[0][:1]]
    for bad in ({"maxKeys": 0}, {"maxKeys": True}, {"marker": 7}):
        assert client.action("DescribeBatchInferenceTasks", **bad).json()["code"] == "InappropriateJSON"


def test_a_list_can_be_narrowed_to_statuses(tmp_path: Path) -> None:
    """Pages count what fits, not what was looked through."""
    faults = [{"on": "task", "do": "fail", "name": "bad-*"}]
    with simulated(tmp_path, faults=faults) as client:
        client.folder(lines(1))
        tasks = [client.create(name=f"{word}-{n}") for n in range(3) for word in ("bad", "good")]
        for task in tasks:
            client.ended(task)
        assert walk(client, runStatus=["Failed"], maxKeys=2) == [[tasks[0], tasks[2]], [tasks[4]]]
        assert walk(client, runStatus=["Failed", "Done"]) == walk(client, runStatus=[]) == [tasks]
        assert client.action("DescribeBatchInferenceTasks", runStatus=["failed"]).status_code == 400


def test_a_young_task_may_be_missing_from_the_list(tmp_path: Path) -> None:
    """A list can lag behind what was created."""
    with simulated(tmp_path, faults=[{"on": "list", "do": "lag", "seconds": 60, "times": 1}]) as client:
        client.folder(lines(1))
        client.create()
        assert [len(client.tasks()["taskList"]) for _ in range(2)] == [0, 1]


def test_a_deleted_task_is_gone_and_its_bill_is_not(tmp_path: Path) -> None:
    """Only one that has ended can be deleted."""
    clock = Clock()
    with simulated(tmp_path, speed=1, clock=clock) as client:
        client.folder(lines())
        task = client.create()
        assert client.result("DeleteBatchInferenceTask", taskId=task) is False
        clock.now += 1
        assert client.result("DeleteBatchInferenceTask", taskId=task) is True
        assert client.action("DescribeBatchInferenceTask", taskId=task).status_code == 404
        assert client.tasks()["taskList"] == []
        assert httpx.get(f"{client.url}/simulator/bill").json()["billed"] == 3


# --- endings ---------------------------------------------------------------------------------------------------------


def test_a_stopped_task_keeps_what_it_had(tmp_path: Path) -> None:
    """Stopping takes a moment; rows that were finished are answered and billed, the others neither."""
    clock = Clock()
    with simulated(tmp_path, speed=1, clock=clock) as client:
        client.folder(lines(10))
        identity = client.create()
        assert client.task(identity)["runStatus"] == "Queuing"
        clock.now += 0.03 + 0.27 / 2
        task = client.task(identity)
        assert (task["runStatus"], task["progress"]) == ("Running", 5)
        assert client.result("StopBatchInferenceTask", taskId=identity) is True
        assert client.task(identity)["runStatus"] == "Stopping"
        assert client.keys(prefix="out/") == ["out/"]
        clock.now += 1
        assert client.task(identity)["runStatus"] == "Stopped"
        assert client.result("StopBatchInferenceTask", taskId=identity) is False
        assert [len(file) for file in client.outputs(identity)] == [5]
        assert httpx.get(f"{client.url}/simulator/bill").json()["billed"] == 5


def test_results_expire(tmp_path: Path) -> None:
    """Whoever looks only after a week finds the task, and no results."""
    clock = Clock()
    with simulated(tmp_path, clock=clock) as client:
        client.folder(lines())
        early, late = client.create(), client.create()
        clock.now += 1
        first = client.task(early)["outputDir"]
        clock.now += 8 * 24 * 3600
        assert client.task(late)["runStatus"] == "Done"
        assert client.keys(prefix="out/") == ["out/", f"out/{first}/part-0.jsonl"]


@pytest.mark.parametrize(
    ("fault", "status", "ids"),
    [
        ({"do": "expire", "rows": [2, 3]}, "Expired", ["row-1"]),
        ({"do": "missing-rows", "rows": [1]}, "Done", ["row-2", "row-3"]),
        ({"do": "duplicate-lines", "rows": [3]}, "Done", ["row-1", "row-2", "row-3", "row-3"]),
        ({"do": "all-fail"}, "Failed", ["row-1", "row-2", "row-3"]),
    ],
)
def test_faults_of_tasks_work(tmp_path: Path, fault: dict[str, Any], status: str, ids: list[str]) -> None:
    """The lines that the fault leaves are in the output folder."""
    with simulated(tmp_path, faults=[{"on": "task", **fault}]) as client:
        client.folder(lines())
        identity = client.create()
        (found,) = client.outputs(identity)
        assert client.task(identity)["runStatus"] == status
        assert [line["id"] for line in found] == ids


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"do": "finish-length"}, {"finish_reason": "length", "is_truncated": True, "need_clear_history": False}),
        ({"do": "refuse"}, {"finish_reason": "content_filter", "is_truncated": False, "need_clear_history": True}),
        ({"do": "empty-body"}, {}),
    ],
)
def test_answers_may_be_cut_refused_or_lost(tmp_path: Path, fault: dict[str, Any], told: dict[str, Any]) -> None:
    """Each in the words that a client has to understand."""
    with simulated(tmp_path, faults=[{"on": "task", "rows": [1], **fault}]) as client:
        client.folder(lines(1))
        ((line,),) = client.outputs(client.create())
        assert told.items() <= line["output"].items()
        assert bool(told) == bool(line["output"])


@pytest.mark.parametrize(("status", "code"), [(429, 18), (500, 336100), (503, 336100), (404, 404)])
def test_a_failed_row_has_a_code_of_its_own(tmp_path: Path, status: int, code: int) -> None:
    """Those that the official client knows, where one fits."""
    fault = {"on": "task", "do": "fail-rows", "rows": [2], "status_code": status, "message": "no"}
    with simulated(tmp_path, faults=[fault]) as client:
        client.folder(lines(2))
        ((good, bad),) = client.outputs(client.create())
        assert "output" in good
        assert bad == {"id": "row-2", "query": "Question 2?", "error_code": code, "error_msg": "no"}


def test_strangers_broken_lines_and_another_order(tmp_path: Path) -> None:
    """All in one task of two files, each of which gets its own lines."""
    faults = [
        {"on": "task", "do": "shuffle"},
        {"on": "task", "do": "unknown-ids", "rows": [1]},
        {"on": "task", "do": "broken-line", "rows": [8]},
    ]
    with simulated(tmp_path, faults=faults) as client:
        client.folder(lines(6), lines(6))
        folder = f"out/{client.ended(client.create())['outputDir']}/"
        first, second = (client.get(key).splitlines() for key in client.keys(prefix=folder))
        ids = [json.loads(line)["id"] for line in first]
        assert len(set(ids) - {f"row-{n}" for n in range(1, 7)}) == 1
        assert ids != sorted(ids)
        assert (len(first), len(second)) == (7, 6)
        broken = [line for line in second if not line.endswith(b"}")]
        assert len(broken) == 1
        assert broken[0].startswith(b'{"id":"row-2"')


def test_a_lost_answer_leaves_a_task_that_the_list_has(tmp_path: Path) -> None:
    """By its input folder and its description it can be found again."""
    with simulated(tmp_path, faults=[{"on": "create", "do": "lost-reply"}]) as client:
        client.folder(lines())
        with pytest.raises(httpx.RemoteProtocolError):
            client.action("CreateBatchInferenceTask", **client.order(description="mark"))
        (task,) = client.tasks(pageReverse=True)["taskList"]
        assert (task["description"], task["inputBosUri"]) == ("mark", "bos:/demo/in/")


def test_calls_go_wrong_by_the_words_of_every_wire(tmp_path: Path) -> None:
    """Actions share a path, yet have faults of their own; an error may come with HTTP 200 in the old way."""
    faults = [
        {"on": "create", "do": "429", "retry_after": 2, "times": 1},
        {"on": "detail", "do": "error-code", "code": "18", "times": 1},
        {"on": "download", "do": "cut", "times": 1},
        {"on": "upload", "do": "500", "times": 1},
    ]
    with simulated(tmp_path, faults=faults) as client:
        assert client.call("PUT", "/demo/in/part-0.jsonl").status_code == 500
        client.folder(lines())
        busy = client.action("CreateBatchInferenceTask", **client.order())
        assert (busy.status_code, busy.headers["Retry-After"]) == (429, "2")
        assert busy.headers["x-bce-request-id"] == busy.json()["requestId"]
        task = client.create()
        old = client.action("DescribeBatchInferenceTask", taskId=task)
        assert (old.status_code, old.json()["error_code"]) == (200, 18)
        with pytest.raises(httpx.RemoteProtocolError):
            client.call("GET", "/demo/in/part-0.jsonl")
        assert client.get("in/part-0.jsonl") == lines()


def test_the_bill_finds_a_question_that_was_asked_twice(client: Client) -> None:
    """Over two tasks of one input folder."""
    client.folder(lines())
    for _ in range(2):
        client.create()
    bill = httpx.get(f"{client.url}/simulator/bill").json()
    assert [task["wire"] for task in bill["tasks"]] == ["qianfan"] * 2
    assert bill["duplicate_count"] == 3


# --- the rest --------------------------------------------------------------------------------------------------------


def test_models_are_listed_with_their_versions(client: Client) -> None:
    """By which they can be asked; there are no models of one's own, which is null and not an empty list."""
    found = client.result("DescribeBatchInferenceModel")
    assert found["customModelList"] is None
    (model,) = [model for model in found["commonModelList"] if model["modelName"] == "Qwen3-8B"]
    (version,) = model["modelVersionList"]
    assert (model["modelId"], version["modelVersionId"]) == ("am-9", "amv-9")
    assert (version["family"], version["price"]["currency"]) == ("Qwen3", "CNY")
    client.folder(lines(1))
    for each in found["commonModelList"]:
        client.create(endpoint=None, modelId=each["modelVersionList"][0]["modelVersionId"])


def test_what_is_no_action_no_task_or_no_object_is_refused(client: Client) -> None:
    """With the envelope of every error."""
    for reply, status, code in [
        (client.action("Dance"), 400, "InvalidAction"),
        (client.call("POST", qianfan.PATH), 400, "InvalidAction"),
        (client.action("StopBatchInferenceTask", taskId="infer-0"), 404, "TaskNotFound"),
        (client.action("DescribeBatchInferenceTask"), 400, "InappropriateJSON"),
        (
            client.call("POST", qianfan.PATH, {"Action": "DescribeBatchInferenceTask"}, b"[]"),
            400,
            "InappropriateJSON",
        ),
        (client.call("POST", qianfan.PATH, {"Action": "DescribeBatchInferenceTask"}, b"{"), 400, "MalformedJSON"),
    ]:
        assert (reply.status_code, reply.json()["code"]) == (status, code)
        assert reply.json()["requestId"]
