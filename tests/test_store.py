"""Where state lives: what every kind of store promises, and what the folder promises beside that."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from stores import WRITER, begin, open_store, rounds, spawn

from benchmarks.races import blobs_in, race
from runner.edge.files import TEMPORARY, Spooled, sha256_of, sweep, write_atomic
from runner.edge.store import Conflict, FolderStore, Store
from runner.errors import RunnerError

BLOBS = [b"", b"raw\n", bytes(range(256)) * 5_000]


# ---- the document ----------------------------------------------------------------------------------------------------


def test_there_is_no_document_at_first(store: Store) -> None:
    """And asking for it makes none."""
    assert (store.read(), store.read()) == (None, None)


def test_a_swap_replaces_what_was_read(store: Store, kind: str, tmp_path: Path) -> None:
    """Whoever opens the store next reads it, to the byte."""
    store.swap(None, b"\x00one\n")
    store.swap(b"\x00one\n", b"two")
    store.swap(b"two", b"two")
    assert (store.read(), open_store(kind, tmp_path / "store").read()) == (b"two", b"two")


@pytest.mark.parametrize("old", [None, b"", b"on", b"one\n", b"other"])
def test_a_swap_of_anything_else_is_a_conflict(store: Store, old: bytes | None) -> None:
    """The document stays as it is.  None is create-only."""
    store.swap(None, b"one")
    with pytest.raises(Conflict):
        store.swap(old, b"two")
    assert store.read() == b"one"


def test_a_swap_of_a_document_that_is_gone_is_a_conflict(store: Store) -> None:
    """Where something was read, nothing is made anew."""
    with pytest.raises(Conflict):
        store.swap(b"one", b"two")
    assert store.read() is None


def test_two_that_read_the_same(store: Store, kind: str, tmp_path: Path) -> None:
    """The first to write wins, the second is told."""
    other = open_store(kind, tmp_path / "store")
    store.swap(None, b"1")
    old, same = store.read(), other.read()
    other.swap(same, b"theirs")
    with pytest.raises(Conflict):
        store.swap(old, b"ours")
    assert store.read() == b"theirs"


def test_processes_at_once_lose_no_write(kind: str, tmp_path: Path) -> None:
    """Five of them add one so many times each, all at the same time: the sum is exact."""
    end = race(kind, tmp_path / "store", "numbers", writers=5, increments=rounds(kind), seed=1)
    assert (end.number, end.swaps) == (5 * rounds(kind), 5 * rounds(kind))


def test_a_reader_sees_whole_documents_while_writers_are_killed(store: Store, kind: str, tmp_path: Path) -> None:
    """Writers die at any moment, one after the other, and each read all the while is of one whole document."""
    begun = time.monotonic()
    store.swap(None, b'{"number": -1}')
    span = max(0.03, 2 * (time.monotonic() - begun))
    rng = random.Random(7)
    torn: list[bytes] = []
    reads = 0
    stop = threading.Event()

    def read() -> None:
        nonlocal reads
        while not stop.is_set():
            document = store.read()
            reads += 1
            try:
                assert json.loads(document or b"")["number"] >= -1
            except (ValueError, AssertionError):
                torn.append(document or b"")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(20 if kind == "folder" else 6):
            writer = spawn(kind, tmp_path / "store")
            begin(writer)
            time.sleep(rng.uniform(0, span))
            writer.kill()
            writer.communicate()
        writer = spawn(kind, tmp_path / "store")  # the last one lives until it has written
        begin(writer)
        while json.loads(store.read() or b"")["number"] < 0:
            time.sleep(0.01)
        writer.kill()
        writer.communicate()
    finally:
        stop.set()
        reader.join()
    last = store.read()
    assert (torn, reads > 6) == ([], True)
    assert json.loads(last or b"")["number"] >= 0

    # Nothing is left locked, and what the dead left lying is swept once it is old.
    for _ in range(20):  # a push that a killed writer had begun may still land
        with suppress(Conflict):
            store.swap(store.read(), b"{}")
            break
    assert store.read() == b"{}"
    for each in (store, open_store(kind, tmp_path / "store", WRITER)):
        each.tidy(time.time() + 7_200)
    assert temporary(tmp_path) == []


# ---- blobs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", BLOBS, ids=len)
def test_a_blob_is_kept_under_its_digest(store: Store, kind: str, tmp_path: Path, data: bytes) -> None:
    """Whoever opens the store after the next swap gets its bytes, at once or as a file to be read at random."""
    name = store.put(data)
    store.swap(None, b"{}")
    other = open_store(kind, tmp_path / "store")
    assert name == hashlib.sha256(data).hexdigest()
    assert other.get(name) == data
    assert other.local(name).read_bytes() == data


@pytest.mark.parametrize("data", BLOBS, ids=len)
def test_a_blob_in_pieces_is_the_same_blob(store: Store, data: bytes) -> None:
    """Spooled and adopted, or put at once: one name, and the same bytes."""
    spooled = store.spool()
    for at in range(0, len(data), 100_000):
        spooled.write(data[at : at + 100_000])
    assert (spooled.size, spooled.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    name = store.adopt(spooled)
    assert store.get(name) == data
    assert store.put(data) == name
    assert store.get(name) == data


def test_blobs_that_many_put_at_once(kind: str, tmp_path: Path) -> None:
    """Five processes put the same, each in an order of its own, and read each back: all are there, and whole."""
    race(kind, tmp_path / "store", "blobs", writers=5, increments=2 * rounds(kind), seed=1)
    assert blobs_in(open_store(kind, tmp_path / "store"), 2 * rounds(kind)) == 2 * rounds(kind)


def test_what_is_spooled_can_be_read_before_it_is_kept(store: Store) -> None:
    """Results are decoded from there."""
    spooled = store.spool()
    spooled.write(b"one\ntwo\n")
    spooled.file.seek(4)
    assert spooled.file.read() == b"two\n"
    assert store.get(store.adopt(spooled)) == b"one\ntwo\n"


def test_what_is_dropped_leaves_nothing(store: Store, tmp_path: Path) -> None:
    """Neither a blob nor a temporary file."""
    spooled = store.spool()
    spooled.write(b"data")
    spooled.drop()
    with pytest.raises(RunnerError):
        store.get(hashlib.sha256(b"data").hexdigest())
    assert temporary(tmp_path) == []


def test_a_blob_that_is_lost(store: Store) -> None:
    """An expected error that names it and says what to do, from `get` and from `local`."""
    name = hashlib.sha256(b"never put").hexdigest()
    for ask in (store.get, store.local):
        with pytest.raises(RunnerError) as caught:
            ask(name)
        assert name in caught.value.message
        assert caught.value.hint


def test_blobs_do_not_touch_the_document(store: Store) -> None:
    """Nor does the document touch them."""
    store.swap(None, b"one")
    name = store.put(b"blob")
    store.swap(b"one", b"two")
    assert (store.read(), store.get(name)) == (b"two", b"blob")


# ---- the folder ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def temporary(under: Path) -> list[Path]:
    return sorted(under.rglob(f"{TEMPORARY}*"))


def test_the_document_is_state_json(folder: FolderStore) -> None:
    """As the contract says; beside it only the lock and the blobs."""
    folder.swap(None, b"{}")
    name = folder.put(b"x")
    found = {str(path.relative_to(folder.folder)) for path in folder.folder.rglob("*") if path.is_file()}
    assert found == {"state.json", "state.lock", f"blobs/{name[:2]}/{name}"}


@pytest.mark.parametrize("damage", [b"", b"other", b"data and more"])
def test_a_blob_that_is_damaged(folder: FolderStore, damage: bytes) -> None:
    """Never taken for what it was: an expected error from `get` and from `local`."""
    name = folder.put(b"data")
    folder.local(name).write_bytes(damage)
    for ask in (folder.get, folder.local):
        with pytest.raises(RunnerError, match="damaged") as caught:
            ask(name)
        assert caught.value.hint == "Restore the state folder from a backup."


def test_a_blob_is_written_once(folder: FolderStore) -> None:
    """Put again, its file is left alone: it may be large, and it cannot differ."""
    path = folder.local(folder.put(b"data"))
    os.utime(path, (1, 1))
    folder.put(b"data")
    assert path.stat().st_mtime == 1


def test_tidy_sweeps_only_what_is_old(folder: FolderStore) -> None:
    """A temporary file of a run that still writes is young; blobs and the document are never swept."""
    folder.swap(None, b"{}")
    name = folder.put(b"x")
    places = [folder.folder, folder.folder / "blobs", folder.folder / "blobs" / name[:2]]
    old, young = ([place / f"{TEMPORARY}{age}" for place in places] for age in ("old", "young"))
    for path in old + young:
        path.write_bytes(b"half")
    for path in [*old, folder.local(name), folder.folder / "state.json"]:
        os.utime(path, (1, 1))
    folder.tidy(time.time())
    assert temporary(folder.folder) == sorted(young)
    assert (folder.read(), folder.get(name)) == (b"{}", b"x")


def test_tidying_what_is_not_there(folder: FolderStore) -> None:
    """The first command of a project has nothing to sweep, and makes no folder."""
    folder.tidy(time.time())
    assert not folder.folder.exists()


# ---- files -----------------------------------------------------------------------------------------------------------


def failing(path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"new"
        raise KeyboardInterrupt

    write_atomic(path, chunks())


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """Interrupted, the old one stands, and no temporary file is left."""
    path = tmp_path / "deep" / "file"
    assert write_atomic(path, [b"one ", b"", b"two"]) == sha256_of(path) == hashlib.sha256(b"one two").hexdigest()
    with pytest.raises(KeyboardInterrupt):
        failing(path)
    assert path.read_bytes() == b"one two"
    assert temporary(tmp_path) == []


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    """As if written in the ordinary way, although a temporary file is its owner's only."""
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    write_atomic(tmp_path / "atomic", [b""])
    spooled = Spooled(tmp_path)
    spooled.keep(lambda _: tmp_path / "spooled")
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_writing_from_many_threads_keeps_the_umask(tmp_path: Path) -> None:
    """Files of other threads get no other permissions meanwhile."""
    before = os.umask(0o027)
    os.umask(before)
    threads = [
        threading.Thread(target=lambda at=at: [write_atomic(tmp_path / f"{at}", [b"x"]) for _ in range(20)])
        for at in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = os.umask(before)
    assert after == before


def test_sweeping_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Is no error."""
    sweep(tmp_path / "none", time.time())
