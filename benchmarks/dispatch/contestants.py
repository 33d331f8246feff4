"""Who is measured, and where each of them runs."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.dispatch.clients._asked import MODEL, question
from benchmarks.measure import RUNNER

CLIENTS = Path(__file__).parent / "clients"


@dataclass(frozen=True)
class Contestant:
    """``script``: its file among the clients; none is runner itself.  ``package``: what it takes.

    ``part``: it is asked for so small a part of the rows, as the rate of a slow one shows early.
    """

    script: str
    package: str
    part: int = 1
    insists: bool = False
    """It asks again what was turned away."""


CONTESTANTS: Mapping[str, Contestant] = {
    "runner": Contestant("", "pyreqwest", insists=True),
    "aiohttp": Contestant("raw_aiohttp.py", "aiohttp"),
    "pyreqwest": Contestant("raw_pyreqwest.py", "pyreqwest"),
    "httpx": Contestant("raw_httpx.py", "httpx", part=10),
    "openai": Contestant("openai_sdk.py", "openai", part=5, insists=True),
    "curator": Contestant("curator_llm.py", "bespokelabs-curator", part=5, insists=True),
    "litellm": Contestant("litellm_sdk.py", "litellm", part=10, insists=True),
}


@dataclass(frozen=True)
class Ready:
    """One that can be measured at once."""

    name: str
    contestant: Contestant
    python: str
    version: str

    def command(self, url: str, rows: int, at_once: int, folder: Path) -> Sequence[str]:
        """What asks ``rows`` questions, run in ``folder``, which is made ready for it."""
        if self.contestant.script:
            return [self.python, str(CLIENTS / self.contestant.script), url, str(rows), str(at_once)]
        _project(folder, url, rows, at_once)
        return [*RUNNER, "apply", "--yes", "--wait"]


def ready(name: str, environments: Path) -> Ready:
    """With the packages at hand where they are, else in an environment of its own, which is made if need be."""
    contestant = CONTESTANTS[name]
    try:
        return Ready(name, contestant, sys.executable, version(contestant.package))
    except PackageNotFoundError:
        pass
    if not contestant.script:
        return Ready(name, contestant, sys.executable, "none")
    folder = environments / name
    python = folder / "bin/python"
    if not (folder / "ready").exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", contestant.package], check=True)
        (folder / "ready").touch()
    look = f"from importlib.metadata import version; print(version({contestant.package!r}))"
    found = subprocess.run([python, "-c", look], check=True, capture_output=True, text=True).stdout.strip()
    return Ready(name, contestant, str(python), found)


def _project(folder: Path, url: str, rows: int, at_once: int) -> None:
    (folder / "specs").mkdir()
    with (folder / "rows.jsonl").open("w") as file:
        file.writelines(json.dumps({"q": question(number)}) + "\n" for number in range(rows))
    provider = {"type": "online", "base_url": url, "concurrency": at_once}
    project = {"version": 1, "defaults": {"provider": "here"}, "providers": {"here": provider}}
    (folder / "runner.yaml").write_text(json.dumps(project | {"limits": {"requests": rows}}))
    spec = {"version": 1, "name": "job", "model": MODEL, "input": {"path": "rows.jsonl"}}
    (folder / "specs/job.yaml").write_text(json.dumps(spec | {"prompt": {"user": "{{ row.q }}"}}))
