"""Guards that hold for every test: no keys, no home, no network but loopback, and the same examples every time."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from stores import KINDS, open_store

from runner.edge.store import Store

SENSITIVE = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|_PROXY$|^(AWS|AZURE|GIT|GITHUB|RUNNER)_", re.IGNORECASE)
"""Variables that could lend a test somebody's rights, or lead its calls elsewhere."""

LOOPBACK = {None, "", "localhost", "127.0.0.1", "::1"}

settings.register_profile("same-every-time", derandomize=True, database=None, deadline=None)
settings.load_profile("same-every-time")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """`-n auto` is two for each core: half of the time a test waits for a server, a process or a disk."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return 2 * (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def _guards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if SENSITIVE.search(name)]:
            patch.delenv(name)
        for name, folder in {"HOME": ".", "XDG_CONFIG_HOME": ".config", "XDG_CACHE_HOME": ".cache"}.items():
            patch.setenv(name, str(home / folder))
        patch.setenv("TZ", "UTC")
        patch.setenv("SSL_CERT_FILE", "")  # nobody's certificates, which every process would take long to read
        patch.setenv("SSL_CERT_DIR", str(home))
        patch.setenv("COLUMNS", "80")
        patch.setattr(socket, "getaddrinfo", _resolve_loopback_only)
        yield


_getaddrinfo = socket.getaddrinfo


def _resolve_loopback_only(host: Any, *args: Any, **options: Any) -> Any:
    """As on a machine that is not on any network.  Connections themselves are blocked by pytest-socket."""
    name = host.decode() if isinstance(host, bytes) else host
    if name not in LOOPBACK and not _is_address(name):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _getaddrinfo(host, *args, **options)


def _is_address(name: str) -> bool:
    return bool(re.fullmatch(r"[\d.]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*", name))


@pytest.fixture(scope="session")
def servers() -> Iterator[Callable[[str], dict[str, str]]]:
    """The variables by which the server of a kind of store is found, once it is there; it is started when asked for."""
    with ExitStack() as running:
        yield cache(lambda kind: running.enter_context(KINDS[kind].server()))


@pytest.fixture(params=sorted(KINDS))
def kind(
    request: pytest.FixtureRequest, servers: Callable[[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Each kind of store in its turn, with its server in the environment of this process and its children."""
    for name, value in servers(request.param).items():
        monkeypatch.setenv(name, value)
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Store:
    """An empty store of each kind.  What else opens `tmp_path / "store"` as the same kind shares it."""
    return open_store(kind, tmp_path / "store")
