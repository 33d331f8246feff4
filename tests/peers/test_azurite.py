"""A server that nobody here wrote: Azurite, Microsoft's own emulator of Azure Blob Storage.

AZURITE in the environment is its command; `npm install azurite` brings `node_modules/.bin/azurite-blob`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_journal
import test_store
from helpers import Served, serving
from machines import two_at_once, whole_cycle

from benchmarks.servers import BUCKET, azure
from runner.edge.stores import open_named
from runner.edge.stores.objects import Bucket
from runner.errors import CredentialsError, RunnerError

_AZURITE = os.environ["AZURITE"]
"""Read before the guards take away whatever is called after a cloud."""


@pytest.fixture(scope="module")
def azurite() -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURITE", _AZURITE)
        with azure() as environ:
            yield environ


@pytest.fixture
def kind(azurite: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """In place of all the kinds that the contract is held against elsewhere."""
    for name, value in azurite.items():
        monkeypatch.setenv(name, value)
    return "az"


@pytest.fixture
def place(kind: str, tmp_path: Path) -> str:
    return f"{kind}://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "simulator") as server:
        yield server


def of_every_kind(module: object) -> dict[str, object]:
    """The tests that hold for every kind of store."""
    tests = {name: value for name, value in vars(module).items() if name.startswith("test_")}
    return {name: test for name, test in tests.items() if {"kind", "store"} & set(test.__annotations__)}


globals().update(of_every_kind(test_store), **of_every_kind(test_journal))


def test_a_container_that_is_not_there(kind: str, tmp_path: Path) -> None:
    """Is told from a document that is not there."""
    store = open_named(tmp_path, "az://nobodys-container/p")
    for ask in (store.read, lambda: store.swap(None, b"{}"), lambda: store.put(b"x")):
        with pytest.raises(RunnerError, match="there is no bucket nobodys-container"):
            ask()


def test_a_wrong_key(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 4, and the variables to set."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "bm90IHRoZSBrZXk=")
    with pytest.raises(CredentialsError, match="does not let us in: 403") as caught:
        Bucket(place).read()
    assert "AZURE_STORAGE_ACCOUNT_NAME" in caught.value.hint


def test_no_account(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anybody is asked."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(CredentialsError, match="there are no keys for it"):
        Bucket(place).read()


def test_two_machines_share_a_state(place: str, served: Served, tmp_path: Path) -> None:
    """What one of them applied is done for the other."""
    whole_cycle(tmp_path, served, place)


def test_two_machines_at_once(place: str, served: Served, tmp_path: Path) -> None:
    """Nothing is paid twice."""
    two_at_once(tmp_path, served, place)
