"""A server that nobody here wrote: s3rver, which takes the conditions of a write and ignores them.

S3RVER in the environment is its command; `npm install s3rver` brings `node_modules/.bin/s3rver`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Project

from benchmarks.servers import BUCKET, s3rver
from runner.edge.stores.objects import Bucket
from runner.errors import RunnerError

_S3RVER = os.environ["S3RVER"]


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("S3RVER", _S3RVER)
    with s3rver() as environ:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        yield


def test_it_is_refused() -> None:
    """Before the first state is written, which it would let two runs overwrite at once."""
    bucket = Bucket(f"s3://{BUCKET}/state")
    with pytest.raises(RunnerError, match="it writes what it was told not to write"):
        bucket.swap(None, b"{}")
    assert bucket.read() is None


def test_it_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    """An apply submits nothing."""
    project = Project(tmp_path)
    project.configure(state=f"s3://{BUCKET}/apply")
    project.spec(rows=2)
    done = project.call("apply", "--yes")
    assert (done.code, "cannot hold a state" in done.err) == (1, True)
    assert project.bill()["requests"] == 0


def test_it_may_keep_blobs(tmp_path: Path) -> None:
    """Which are written under no condition: a state in a folder, and raw results there."""
    project = Project(tmp_path)
    project.configure(blobs={"store": f"s3://{BUCKET}/results"})
    project.spec(rows=2)
    project.finish()
    assert project.statuses() == ["succeeded", "succeeded"]
