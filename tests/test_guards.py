"""The guards guard: a test can reach neither the network, nor a key, nor the home of whoever runs it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from pytest_socket import SocketConnectBlockedError

DOCUMENTATION_ADDRESS = "192.0.2.1"
"""Of TEST-NET-1 (RFC 5737): should the guard fail, the call still reaches nobody."""


@pytest.mark.filterwarnings("ignore:A test tried to use socket:UserWarning")
def test_a_connection_to_another_machine_is_blocked() -> None:
    """By address, so that nothing depends on name resolution."""
    with socket.socket() as caller, pytest.raises(SocketConnectBlockedError):
        caller.connect((DOCUMENTATION_ADDRESS, 80))


def test_a_name_does_not_resolve() -> None:
    """Not even a question to a name server leaves this machine."""
    with pytest.raises(socket.gaierror):
        socket.create_connection(("example.com", 80), timeout=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_open(host: str) -> None:
    """Servers of the tests' own can be called."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection((host, server.getsockname()[1]), timeout=5) as caller:
            caller.sendall(b"hello")
        taken, _ = server.accept()
        with taken:
            assert taken.recv(5) == b"hello"


def test_no_variable_that_could_hold_a_secret_is_left() -> None:
    """Neither here nor in a process that a test starts."""
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(*os.environ, sep='\\n')"], capture_output=True, text=True, check=True
    )
    names = {*os.environ, *child.stdout.split()}

    assert "PATH" in names
    assert not [name for name in names if re.search("KEY|TOKEN|SECRET|PASSWORD|PROXY|AWS|GITHUB|RUNNER_", name.upper())]


def test_home_is_a_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a test writes there goes with it, and nothing that lies in somebody's own is read."""
    assert Path.home().is_relative_to(tmp_path_factory.getbasetemp())


def test_examples_are_the_same_every_time() -> None:
    """A red test is red again."""
    assert (settings().derandomize, settings().database, settings().deadline) == (True, None, None)
