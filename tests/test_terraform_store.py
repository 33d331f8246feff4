"""State behind Terraform's HTTP protocol: locks that are left, servers without locks, replies that are lost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.state_servers import Terraform, terraform
from runner.edge.process import whoami
from runner.edge.store import Conflict
from runner.edge.stores import open_named, open_store
from runner.edge.stores.far import OutOfReach
from runner.edge.stores.terraform import OPERATION, TerraformState
from runner.errors import CredentialsError, RunnerError, StateConflict
from runner.journal import Journal
from runner.project import Blobs, Project
from runner.spec import Place
from runner.state import Declared, load


@pytest.fixture
def server() -> Iterator[Terraform]:
    with terraform() as served:
        yield served


def state(server: Terraform, **options: Any) -> TerraformState:
    return TerraformState(f"{server.url}/it", **options)


def held(server: Terraform, **info: str) -> None:
    """Somebody holds the lock."""
    server.holders["/it"] = {"ID": "lock-9", "Operation": "apply", "Who": "somebody", "Created": "today", **info}


@contextmanager
def passing() -> Iterator[Callable[[float], object]]:
    """A sleep that takes no time, and counts."""
    slept: list[float] = []
    yield slept.append
    assert sum(slept) < 1_000


def test_a_write_is_four_calls(server: Terraform) -> None:
    """LOCK, GET, POST with the lock's id, UNLOCK: nothing is held for longer than that."""
    state(server).swap(None, b'{"serial": 1}')
    assert server.calls == ["LOCK", "GET", "POST", "UNLOCK"]
    assert server.holders == {}
    assert server.documents == {"/it": b'{"serial": 1}'}


def test_a_reader_needs_no_lock(server: Terraform) -> None:
    """What is there can be read while somebody writes; an empty answer is no document."""
    state(server).swap(None, b"one")
    held(server)
    assert state(server).read() == b"one"
    server.documents["/it"] = b""
    assert state(server).read() is None


def test_a_lock_of_another_program(server: Terraform) -> None:
    """It is waited for, then told of, and never broken; released meanwhile, the write goes on."""
    held(server)
    with passing() as sleep, pytest.raises(StateConflict, match=r"locked by somebody for apply since today .*lock-9"):
        state(server, sleep=sleep).swap(None, b"one")
    assert server.holders["/it"]["ID"] == "lock-9"
    assert server.documents == {}
    naps = itertools.count()

    def sleep_then_release(_seconds: float) -> None:
        if next(naps) == 3:
            server.holders.clear()

    state(server, sleep=sleep_then_release).swap(None, b"one")
    assert server.documents == {"/it": b"one"}


def test_a_lock_that_a_killed_run_left(server: Terraform) -> None:
    """Once it has stood for longer than a write can take it is broken, and not before."""
    held(server, Operation=OPERATION)
    slept: list[float] = []
    state(server, sleep=slept.append).swap(None, b"one")
    assert 90 <= sum(slept) < 95
    assert server.documents == {"/it": b"one"}
    assert server.holders == {}


def test_locks_of_ours_that_come_and_go(server: Terraform) -> None:
    """Others of us write all the while: a lock that is another one each time is nobody's who is dead."""
    turns = itertools.count()

    def sleep(_seconds: float) -> None:
        turn = next(turns)
        held(server, Operation=OPERATION, ID=f"lock-{turn // 10}")
        if turn > 1_000:
            server.holders.clear()

    held(server, Operation=OPERATION)
    state(server, sleep=sleep).swap(None, b"one")
    assert "UNLOCK" not in server.calls[:-1]


def test_our_own_lock_whose_answer_was_lost(server: Terraform) -> None:
    """It says whose it is, so that nobody waits for it."""
    one = state(server)
    held(server, Operation=OPERATION, Who=one._who)
    one.swap(None, b"one")
    assert server.documents == {"/it": b"one"}
    assert one._who.startswith(whoami())


@pytest.mark.parametrize("fate", ["lost", "away"])
def test_each_event_is_written_once(server: Terraform, tmp_path: Path, fate: str) -> None:
    """Every other write is stored and answered 500, or turned away by 409: the journal knows its own."""
    fates = itertools.cycle([fate, ""])
    server.fate = lambda: next(fates)
    store = open_named(tmp_path, f"{server.url}/it", "blobs")
    journal = Journal(store, (f"w-{n}" for n in itertools.count()).__next__, back_off=lambda _: None)
    for number in range(10):
        journal.write(Declared(f"b-{number}", "cancel"))
    written = load(server.documents["/it"])
    assert (written.serial, len(written.batches), server.writes) == (10, 10, 10)


@pytest.mark.parametrize("old", [None, b"one"])
def test_a_server_without_locks_or_conditions_is_refused(old: bytes | None) -> None:
    """Whether it ignores conditions or has none: two runs could overwrite each other, so that none writes."""
    for kind in (Terraform(locks=False), Terraform(locks=False, etags=True, heeds=False)):
        with terraform(kind) as server:
            if old is not None:
                server.documents["/it"] = old
            with pytest.raises(RunnerError, match="neither locks nor conditional writes") as caught:
                state(server).swap(old, b"two")
            assert "TF_HTTP_LOCK_ADDRESS" in caught.value.hint
            if old is not None:
                assert server.documents["/it"] == old


def test_a_server_with_etags_alone_is_good_enough() -> None:
    """Conditions are tried once, and relied on from then on."""
    with terraform(Terraform(locks=False, etags=True)) as server:
        one, other = state(server), state(server)
        one.swap(None, b"one")
        assert other.read() == b"one"
        other.swap(b"one", b"two")
        with pytest.raises(Conflict):
            one.swap(b"one", b"three")
        assert server.documents["/it"] == b"two"


def test_credentials_are_terraforms(server: Terraform, monkeypatch: pytest.MonkeyPatch) -> None:
    """TF_HTTP_USERNAME and TF_HTTP_PASSWORD; refused, it is 4, and the password is not told."""
    server.user, server.password = "somebody", "a-long-password"
    with pytest.raises(CredentialsError, match="answered 401") as caught:
        state(server, environ={}).read()
    assert "TF_HTTP_PASSWORD" in caught.value.hint
    wrong = {"TF_HTTP_USERNAME": "somebody", "TF_HTTP_PASSWORD": "another-password"}
    with pytest.raises(CredentialsError) as caught:
        state(server, environ=wrong).read()
    assert "another-password" not in f"{caught.value} {caught.value.hint}"
    right = {"TF_HTTP_USERNAME": "somebody", "TF_HTTP_PASSWORD": "a-long-password"}
    state(server, environ=right).swap(None, b"one")


def test_the_lock_has_an_address_and_methods_of_its_own(server: Terraform) -> None:
    """As the environment names them, or as GitLab and Gitea have them."""
    named = {f"TF_HTTP_{name}": f"{server.url}/locks" for name in ("LOCK_ADDRESS", "UNLOCK_ADDRESS")}
    TerraformState(f"{server.url}/it", environ=named)._take()
    assert [*server.holders] == ["/locks"]
    for address in ("/api/v4/projects/7/terraform/state/it", "/api/packages/us/terraform/state/it"):
        like = TerraformState(f"{server.url}{address}", environ={})
        assert like._locking == ("POST", f"{server.url}{address}/lock")
        assert like._unlocking == ("DELETE", f"{server.url}{address}/lock")


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """Out of reach, with the address and how to go on."""
    with pytest.raises(OutOfReach, match=r"the store http://127.0.0.1:9/it is out of reach") as caught:
        open_named(tmp_path, "http://127.0.0.1:9/it", "blobs").read()
    assert "run the same command again" in caught.value.hint


def test_planned_offline_from_what_was_last_read(server: Terraform, tmp_path: Path) -> None:
    """A document that this machine has seen is kept for a day without a network, and a note says which it is."""
    address = f"{server.url}/it"
    project = Project(Place("runner.yaml"), state=address, blobs=Blobs(store="blobs"))
    document = json.dumps({"serial": 1}).encode()
    open_store(tmp_path, project).swap(None, document)
    offline = open_store(tmp_path, project, offline=True)
    assert (offline.read(), offline.notes) == (document, ())
    server.user = "somebody"
    assert offline.read() == document
    assert "is out of reach" in offline.notes[0]
    assert "this is the one last read" in offline.notes[0]
    elsewhere = open_store(tmp_path / "elsewhere", project, offline=True)
    assert elsewhere.read() is None
    assert "was never read here" in elsewhere.notes[0]
