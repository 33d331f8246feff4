"""What is installed: one package with its schemas, its command, its licence, and six dependencies."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCK = (ROOT / "requirements-test.lock").read_text("utf-8")


def test_the_installed_version_is_the_checkouts() -> None:
    """Tests of an older installation would say nothing of this one."""
    assert metadata.version("batch-runner") == PYPROJECT["project"]["version"]
    assert f"## {PYPROJECT['project']['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_core_has_six_dependencies() -> None:
    """Each further one would be somebody's conflict."""
    names = {re.split(r"[^\w-]", line)[0] for line in PYPROJECT["project"]["dependencies"]}
    assert names == {"pyyaml", "jsonschema", "httpx", "click", "jinja2", "rich"}


def test_the_command_is_runner() -> None:
    """And it is the package's only one."""
    entries = metadata.distribution("batch-runner").entry_points
    assert [entry.name for entry in entries] == ["runner"]
    assert callable(entries["runner"].load())


@pytest.mark.parametrize("name", ["batch", "project"])
def test_printed_schemas_are_the_repositorys(name: str) -> None:
    """What `runner schema` prints is what editors are pointed at."""
    done = subprocess.run([sys.executable, "-P", "-m", "runner", "schema", name], capture_output=True, check=True)
    assert done.stdout.decode() == (ROOT / "schemas" / f"{name}.schema.json").read_text("utf-8")


def test_the_package_is_typed() -> None:
    """py.typed is what lets a type checker believe its annotations."""
    assert resources.files("runner").joinpath("py.typed").is_file()


@pytest.mark.parametrize("heavy", ["httpx", "jsonschema", "jinja2", "rich", "yaml"])
def test_help_imports_nothing_heavy(heavy: str) -> None:
    """`runner --help` answers at once."""
    program = (
        "import sys\nfrom runner.cli.commands import cli\ncli(['--help'], standalone_mode=False)\n"
        f"sys.exit({heavy!r} in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_every_test_requirement_is_locked_with_hashes() -> None:
    """`--require-hashes` takes the lock as it is, and nothing that was asked for is missing from it."""
    locked = dict(re.findall(r"^([\w.-]+)==\S+.*\n((?: +--hash=sha256:[0-9a-f]{64}.*\n)+)", LOCK, re.MULTILINE))
    assert len(locked) == len(re.findall(r"^[\w.-]+==", LOCK, re.MULTILINE))
    wanted = (ROOT / "requirements-test.in").read_text("utf-8").splitlines()
    asked = [line.lower() for line in wanted if line and not line.startswith("#")]
    asked += PYPROJECT["project"]["dependencies"]
    assert [name for line in asked if (name := re.split(r"[^\w-]", line)[0]) not in locked] == []
