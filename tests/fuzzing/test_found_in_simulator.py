"""What spoilt files of its own have brought to light in the simulator, each as small as it could be."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzzing.recording import built, write_shard
from runner.errors import ProviderError
from runner.provider import Job
from runner.simulator.database import Database
from runner.simulator.server import Simulator

PLACES = ("wanqing", "openai-openai", "anthropic", "qianfan")
UNUSABLE = "the simulator's memory cannot be used"


@contextmanager
def provider_of(place: str, simulator: Simulator, folder: Path) -> Iterator[tuple[Any, Job]]:
    provider: Any = built(place, simulator.url, folder)
    shard = write_shard(provider, folder / "shard.jsonl", 2)
    job = Job("t-1", "job-1", "mi-9", 2, 3_600, shard, begun_at=time.time())
    with closing(provider._http):
        yield provider, job


def spoil_tables(path: Path) -> None:
    """Of all but the one that is read when the file is opened."""
    with closing(sqlite3.connect(path)) as db:
        ((size,),) = db.execute("PRAGMA page_size")
        pages = [page for (page,) in db.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name != 'secret'")]
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(bytes(size))


@pytest.mark.parametrize("place", PLACES)
def test_a_memory_whose_pages_are_spoilt(place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The disk's fault is not called a bug in runner, and is told in a line rather than in a traceback."""
    data = tmp_path / "data"
    with Simulator(data):
        pass
    spoil_tables(data / "memory.sqlite3")
    with (
        Simulator(data) as simulator,
        provider_of(place, simulator, tmp_path) as (provider, job),
        pytest.raises(ProviderError, match=UNUSABLE),
    ):
        provider.start(job, provider.stage(job))
    heard = [record for record in caplog.records if record.name == "runner.simulator"]
    assert {record.levelno for record in heard} == {logging.ERROR}
    assert [record.exc_info for record in heard if record.exc_info] == []


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    """The call fails as long as it is so, and no longer."""
    files = tmp_path / "data/files"
    with (
        Simulator(tmp_path / "data") as simulator,
        provider_of("openai-openai", simulator, tmp_path) as (provider, job),
    ):
        files.rmdir()
        files.write_bytes(b"")
        with pytest.raises(ProviderError, match=f"{UNUSABLE}.*Not a directory"):
            provider.stage(job)
        files.unlink()
        files.mkdir()
        assert provider.start(job, provider.stage(job))


def test_a_database_without_room_says_so(tmp_path: Path) -> None:
    """SQLite takes such a change back by itself; taking it back again must not hide why it failed."""
    database = Database(tmp_path / "memory.sqlite3")
    with closing(database):
        with database.writing() as db:
            db.execute("CREATE TABLE texts (text)")
            db.execute("PRAGMA max_page_count = 8")
        with pytest.raises(sqlite3.OperationalError, match="full"), database.writing() as db:
            db.execute("INSERT INTO texts VALUES (?)", ("x" * 100_000,))
        with database.writing() as db:
            db.execute("INSERT INTO texts VALUES ('there is room')")
        assert database.read("SELECT text FROM texts") == [("there is room",)]
