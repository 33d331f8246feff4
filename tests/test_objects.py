"""State in object stores: what only they promise, against moto's S3 and a proxy that lies about it."""

from __future__ import annotations

import itertools
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import Project, Served, serving
from machines import two_at_once, whole_cycle

from benchmarks.races import race
from benchmarks.servers import (
    BUCKET,
    BUSY,
    CONDITIONS,
    LOST,
    Environ,
    Fate,
    Lie,
    Proxy,
    aws,
    lying,
    now_and_then,
)
from runner.edge.store import Conflict
from runner.edge.stores import open_named
from runner.edge.stores.far import OutOfReach
from runner.edge.stores.objects import Bucket
from runner.errors import CredentialsError, RunnerError
from runner.journal import Journal
from runner.state import Declared, load

Servers = Callable[[str], Environ]


@pytest.fixture
def s3(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Environ:
    """The server, found by whoever looks into the environment."""
    environ = servers("s3")
    tell(monkeypatch, environ)
    return environ


def tell(monkeypatch: pytest.MonkeyPatch, environ: Environ) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def liar(s3: Environ, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Proxy]]:
    """Puts a proxy in front of the server."""
    proxies = []

    def between(fate: Fate = lambda _: None, deaf_to: tuple[str, ...] = ()) -> Proxy:
        proxies.append(lying(s3, fate, deaf_to))
        environ, proxy = proxies[-1].__enter__()
        tell(monkeypatch, environ)
        return proxy

    yield between
    for proxy in proxies:
        proxy.__exit__(None, None, None)


@pytest.fixture
def place(tmp_path: Path) -> str:
    """An address that no other test writes to."""
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "simulator") as server:
        yield server


def objects(s3: Environ, place: str) -> list[str]:
    """What lies at ``place``, as the server lists it."""
    prefix = place.removeprefix(f"s3://{BUCKET}/") + "/"
    with urllib.request.urlopen(f"{s3['AWS_ENDPOINT_URL']}/{BUCKET}?list-type=2&prefix={prefix}") as reply:
        return [key.removeprefix(prefix) for key in re.findall(r"<Key>([^<]+)</Key>", reply.read().decode())]


# ---- the document ----------------------------------------------------------------------------------------------------


def test_what_lies_where(s3: Environ, place: str, tmp_path: Path) -> None:
    """As the contract says, and nothing of the probe is left."""
    store = open_named(tmp_path, place)
    store.swap(None, b"{}")
    name = store.put(b"x")
    assert objects(s3, place) == [f"blobs/{name[:2]}/{name}", "state.json"]


def test_a_bucket_without_a_prefix(s3: Environ, tmp_path: Path) -> None:
    """And one with slashes to spare are places, too."""
    for place, same in ((f"s3://{BUCKET}", f"s3://{BUCKET}/"), (f"s3://{BUCKET}//p//q", f"s3://{BUCKET}/p/q/")):
        Bucket(place).swap(None, b"{}")
        assert Bucket(same).read() == b"{}"


@pytest.mark.parametrize("place", ["s3://", "s3:///p", "gs://bucket/../p", "az://bucket/p/."])
def test_no_place(place: str, tmp_path: Path) -> None:
    """Said before anybody is asked."""
    with pytest.raises(RunnerError, match="names no place in a bucket"):
        open_named(tmp_path, place)


@pytest.mark.parametrize(
    "lies", [{1: LOST}, {1: BUSY}, {0: LOST, 2: BUSY}], ids=["stored, and a 500", "409", "both by turns"]
)
def test_replies_that_lie(lies: dict[int, Lie], liar: Callable[..., Proxy], place: str, tmp_path: Path) -> None:
    """Every fourth write is stored and answered by 500, or turned away by 409: each event is written exactly once."""
    proxy = liar(now_and_then(lies, 4))
    store, names = open_named(tmp_path, place), map(str, itertools.count())
    journal = Journal(store, lambda: next(names))
    for number in range(9):
        journal.write(Declared(f"batch-{number}", "cancel"))
    state = load(store.read() or b"")
    assert (state.serial, len(state.batches)) == (9, 9)
    assert all(proxy.told[lie] >= 2 for lie in lies.values()), proxy.told


def test_many_writers_and_replies_that_lie(liar: Callable[..., Proxy], tmp_path: Path) -> None:
    """Five processes at once, each of whose stores lies as well: every event of each is in the state once."""
    proxy = liar(now_and_then({1: LOST, 4: BUSY}, 6))
    end = race("s3", tmp_path / "store", "events", writers=5, increments=6, seed=1)
    assert end.events == 30
    assert min(proxy.told[LOST], proxy.told[BUSY]) >= 5


def test_nobody_writes_without_a_condition(liar: Callable[..., Proxy], place: str) -> None:
    """Not once is the document put so that it could overwrite another's."""
    proxy = liar()
    bucket = Bucket(place)
    for old, new in ((None, b"1"), (b"1", b"2"), (b"2", b"3")):
        bucket.swap(old, new)
    puts = [asked for asked in proxy.asked if asked.method == "PUT" and asked.path.endswith("/state.json")]
    assert [set(put.conditions) for put in puts] == [{"if-none-match"}, {"if-match"}, {"if-match"}]


# ---- stores that cannot be trusted -----------------------------------------------------------------------------------

_UNMET = Lie(412, "PreconditionFailed")
_UNKNOWN = Lie(501, "NotImplemented")
UNFIT: dict[str, tuple[Fate, tuple[str, ...], str]] = {
    "ignores every condition": (lambda _: None, CONDITIONS, "it writes what it was told not to write"),
    "ignores If-None-Match": (lambda _: None, ("if-none-match",), "it writes what it was told not to write"),
    "ignores If-Match": (lambda _: None, ("if-match",), "it writes what it was told not to write"),
    "knows no ETag of its own": (
        lambda asked: _UNMET if "if-match" in asked.conditions else None,
        (),
        "it does not know the versions that it names itself",
    ),
    "does not know conditions": (lambda asked: _UNKNOWN if asked.conditions else None, (), "501 Not Implemented"),
}


@pytest.mark.parametrize("way", UNFIT)
def test_a_store_that_does_not_keep_to_conditions(
    way: str, s3: Environ, liar: Callable[..., Proxy], place: str, tmp_path: Path
) -> None:
    """Is refused before the first state is written, and nothing is left there."""
    fate, deaf_to, why = UNFIT[way]
    liar(fate, deaf_to)
    store = open_named(tmp_path, place)
    with pytest.raises(RunnerError, match="does not keep to the conditions of a write") as caught:
        store.swap(None, b"{}")
    assert why in caught.value.message
    assert "pay twice" in caught.value.hint
    assert objects(s3, place) == []


def test_the_probe_is_made_once(liar: Callable[..., Proxy], place: str) -> None:
    """Where a document lies, nothing is tried out."""
    Bucket(place).swap(None, b"1")
    proxy = liar()
    bucket = Bucket(place)
    with pytest.raises(Conflict):
        bucket.swap(None, b"2")
    bucket.swap(b"1", b"2")
    assert [asked.path for asked in proxy.asked if "/probe-" in asked.path] == []


@pytest.mark.parametrize("lie", [LOST, BUSY], ids=lambda lie: lie.code)
@pytest.mark.parametrize("number", range(5))
def test_the_probe_is_told_one_lie(
    number: int, lie: Lie, liar: Callable[..., Proxy], place: str, tmp_path: Path
) -> None:
    """Whichever of its writes is lied about, the store is found fit, and the document is written once."""
    puts = itertools.count()
    proxy = liar(lambda asked: lie if asked.method == "PUT" and next(puts) == number else None)
    journal = Journal(open_named(tmp_path, place), lambda: "u")
    assert journal.write(Declared("a", "cancel")).serial == 1
    assert (proxy.told[lie], load(Bucket(place).read() or b"").serial) == (1, 1)


# ---- what can be wrong -----------------------------------------------------------------------------------------------


def test_a_bucket_that_is_not_there(s3: Environ, tmp_path: Path) -> None:
    """Is told from a document that is not there, whatever is asked."""
    store = open_named(tmp_path, "s3://nobodys-bucket/p")
    for ask in (store.read, lambda: store.swap(None, b"{}"), lambda: store.swap(b"1", b"2"), lambda: store.put(b"x")):
        with pytest.raises(RunnerError, match="there is no bucket nobodys-bucket"):
            ask()


@pytest.mark.parametrize(
    "lie",
    [Lie(403, "InvalidAccessKeyId"), Lie(401, "Unauthorized"), Lie(400, "ExpiredToken")],
    ids=lambda lie: lie.code,
)
def test_keys_that_are_refused(lie: Lie, liar: Callable[..., Proxy], place: str, tmp_path: Path) -> None:
    """Exit 4, with the server's own word for it and the variables to set."""
    liar(lambda _: lie)
    project = Project(tmp_path)
    project.configure(state=place)
    project.spec(rows=1)
    done = project.call("plan")
    assert done.code == 4
    assert f"{place} does not let us in: {lie.status} " in done.err
    assert lie.code in done.err
    assert "AWS_ACCESS_KEY_ID" in done.err


@pytest.fixture
def metadata(liar: Callable[..., Proxy], monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """A machine without keys in its environment, and its service that has none to give."""
    proxy = liar(lambda _: Lie(404, "NotHere"))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    return proxy


def test_no_keys(metadata: Proxy, place: str) -> None:
    """The machine is asked for some, and then it is told which variables to set."""
    with pytest.raises(CredentialsError, match="there are no keys for it") as caught:
        Bucket(place).read()
    assert "AWS_ROLE_ARN" in caught.value.hint
    assert metadata.asked


def test_no_keys_offline(metadata: Proxy, s3: Environ, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan offline asks no machine for keys, and reads what everybody may."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3["AWS_ENDPOINT_URL"])
    assert Bucket(place, offline=True).read() is None
    assert metadata.asked == []


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_is_gone(s3: Environ, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known, which is no conflict: whoever wrote may ask again later."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        tell(monkeypatch, aws(f"http://127.0.0.1:{free.getsockname()[1]}"))
    for ask in (Bucket(place).read, lambda: Bucket(place).swap(None, b"{}")):
        with pytest.raises(OutOfReach, match="Connection refused"):
            ask()
    with pytest.raises(OutOfReach, match=f"the store {place} is out of reach: Connection refused"):
        open_named(tmp_path, place).read()


def test_a_server_that_hangs(s3: Environ, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is given up, and sooner by a plan offline."""
    with silent() as url:
        tell(monkeypatch, aws(url))
        for offline in (True, False):
            with pytest.raises(OutOfReach, match="no answer in time"):
                Bucket(place, offline=offline).read()


def test_a_machine_without_certificates(
    s3: Environ, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As slim containers are."""
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with pytest.raises(RunnerError, match="trusts no certificate") as caught:
        Bucket(place).read()
    assert "ca-certificates" in caught.value.hint


def test_obstore_is_not_installed(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expected error that says what to install."""
    for name in ("obstore", "obstore.store", "obstore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    project = Project(tmp_path)
    project.configure(state=place)
    project.spec(rows=1)
    done = project.call("plan")
    assert (done.code, "pip install 'batch-runner[objectstore]'" in done.err) == (1, True)


# ---- blobs -----------------------------------------------------------------------------------------------------------

BIG = 80_000_000
_MOVE = f"""
import os, re, sys
from pathlib import Path
from runner.edge.stores import open_named

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

root, place, way = Path(sys.argv[1]), *sys.argv[2:]
store = open_named(root, place)
store.read()
before = peak()
if way == "send":
    spooled = store.spool()
    for _ in range({BIG // 1_000_000}):
        spooled.write(os.urandom(1_000_000))
    print(store.adopt(spooled))
else:
    print(store.local(way).stat().st_size)
print(peak() - before)
"""


def moved(root: Path, place: str, way: str) -> tuple[str, int]:
    """What a process of its own says of a large blob, and how far its memory grew."""
    done = subprocess.run([sys.executable, "-c", _MOVE, str(root), place, way], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, grown = done.stdout.split()
    return said, int(grown)


def test_a_large_blob_goes_through_little_memory(s3: Environ, place: str, tmp_path: Path) -> None:
    """Sent and fetched in pieces: 80 MB, and less than half of that in memory at any time."""
    name, sending = moved(tmp_path / "here", place, "send")
    size, fetching = moved(tmp_path / "there", place, name)
    assert int(size) == BIG
    assert max(sending, fetching) < BIG // 2, (sending, fetching)


def test_a_blob_that_is_another(s3: Environ, place: str, tmp_path: Path) -> None:
    """What somebody else put in its place is never taken for it."""
    name = open_named(tmp_path / "here", place).put(b"ours")
    (tmp_path / "theirs").write_bytes(b"theirs")
    Bucket(place).send(name, tmp_path / "theirs")
    with pytest.raises(RunnerError, match="damaged"):
        open_named(tmp_path / "there", place).get(name)


# ---- whole cycles ----------------------------------------------------------------------------------------------------


def test_two_machines_share_a_state(s3: Environ, place: str, served: Served, tmp_path: Path) -> None:
    """What one of them applied is done for the other."""
    whole_cycle(tmp_path, served, place)


def test_two_machines_at_once(s3: Environ, place: str, served: Served, tmp_path: Path) -> None:
    """Nothing is paid twice."""
    two_at_once(tmp_path, served, place)


def test_two_machines_at_once_and_replies_that_lie(
    liar: Callable[..., Proxy], place: str, served: Served, tmp_path: Path
) -> None:
    """Nor where every sixth write is stored and answered by 500, and every sixth turned away by 409."""
    proxy = liar(now_and_then({1: LOST, 4: BUSY}, 6))
    two_at_once(tmp_path, served, place)
    assert min(proxy.told[LOST], proxy.told[BUSY]) > 0
