"""What acceptance tests share: projects on disk, the command line in and out of process, and a simulator to talk to."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from runner.cli.main import _run

Rules = Sequence[Mapping[str, Any]]
COMMAND = (sys.executable, "-m", "runner")
PATIENCE = 60
"""Seconds after which a command hangs."""


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which has to be one JSON document and nothing else."""
        return json.loads(self.out)

    def __post_init__(self) -> None:
        assert "Traceback" not in self.err, self.err
        assert "Traceback" not in self.out, self.out


@dataclass
class Project:
    """A project in ``root``; ``providers`` and the other settings are written to runner.yaml by every `spec`."""

    root: Path
    providers: dict[str, Any] = field(default_factory=lambda: {"demo": {"type": "simulator", "speed": 20}})
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def configure(self, **settings: Any) -> None:
        """Change runner.yaml."""
        self.settings.update(settings)
        document = {"version": 1, "defaults": {"provider": "demo"}, "providers": self.providers, **self.settings}
        self.write("runner.yaml", yaml.safe_dump(document, sort_keys=False))

    def spec(self, name: str = "job", rows: int | Sequence[Any] | None = None, **changes: Any) -> dict[str, Any]:
        """Write the spec ``name`` with ``changes``, and its rows when they are given; returns the document."""
        if not (self.root / "runner.yaml").exists():
            self.configure()
        document: dict[str, Any] = {
            "version": 1,
            "name": name,
            "model": {"select": {"family": "Qwen3", "prefer": "cheapest"}},
            "input": {"path": f"specs/data/{name}.jsonl"},
            "prompt": {"user": "{{ row.q }}"},
            "parameters": {"max_tokens": 64},
            **changes,
        }
        document = {key: value for key, value in document.items() if value is not None}
        self.write(f"specs/{name}.yaml", yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        if rows is not None:
            self.rows(rows, name)
        return document

    def rows(self, rows: int | Sequence[Any], name: str = "job") -> None:
        """Texts become rows with the columns ``id`` (from 1) and ``q``; a number stands for so many of them."""
        if isinstance(rows, int):
            rows = [f"{name} asks {number}?" for number in range(1, rows + 1)]
        records = [{"id": at, "q": row} if isinstance(row, str) else row for at, row in enumerate(rows, start=1)]
        self.write(f"specs/data/{name}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in records))

    def output(self, name: str = "job") -> list[dict[str, Any]]:
        text = (self.root / f"outputs/{name}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def statuses(self, name: str = "job") -> list[str]:
        return [line["status"] for line in self.output(name)]

    def state(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.root / ".runner/state.json").read_bytes())
        return document

    # The command line

    def run(self, *args: str, env: Mapping[str, str | None] | None = None) -> Done:
        """`runner ARGS` in a process of its own."""
        return run(*args, cwd=self.root, env=env)

    def call(self, *args: str) -> Done:
        """`runner ARGS` in this process: quicker, and otherwise the same."""
        return call("-C", str(self.root), *args)

    def plan(self, *args: str) -> Any:
        done = self.call("plan", "--json", *args)
        assert done.code == 0, done.err
        return done.json

    def requests(self, *args: str) -> int:
        """How many requests a plan would submit."""
        count: int = self.plan(*args)["summary"]["requests"]
        return count

    def apply(self, *args: str, code: int = 0) -> Any:
        """`apply --yes --json`, which has to end with ``code``; returns its document."""
        done = self.call("apply", "--yes", "--json", *args)
        assert done.code == code, (done.code, done.out, done.err)
        return done.json

    def finish(self, *args: str, code: int = 0) -> Any:
        """`apply --yes --wait --json`."""
        return self.apply("--wait", *args, code=code)

    def bill(self) -> Any:
        """The bill of the embedded simulator."""
        from runner.simulator.server import read_bill

        return read_bill(self.root / ".runner/simulator")


def run(*args: str, cwd: Path, env: Mapping[str, str | None] | None = None) -> Done:
    """`runner ARGS` in a process of its own; None in ``env`` takes a variable away."""
    done = subprocess.run(
        [*COMMAND, *args],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def spawn(*args: str, cwd: Path, env: Mapping[str, str | None] | None = None) -> subprocess.Popen[bytes]:
    """`runner ARGS`, left running."""
    return subprocess.Popen(
        [*COMMAND, *args],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finished(process: subprocess.Popen[bytes]) -> Done:
    out, err = process.communicate(timeout=PATIENCE)
    return Done(process.returncode, out.decode(), err.decode())


def call(*args: str) -> Done:
    """`runner ARGS` in this process, through everything but the last `sys.exit`."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "argv", ["runner", *args]), redirect_stdout(out), redirect_stderr(err):
        code = _run()
    return Done(code, out.getvalue(), err.getvalue())


def environment(changes: Mapping[str, str | None] | None) -> dict[str, str]:
    merged: dict[str, str | None] = {**os.environ, **(changes or {})}
    return {name: value for name, value in merged.items() if value is not None}


# ---- processes that are killed -------------------------------------------------------------------------------------


class Nursery:
    """A process that has loaded everything and forks a child for each command, so that hundreds can be killed.

    ``at`` kills the child just before its so-manieth effect on the world, which is just after the one before it: each
    rename of a file and each request over HTTP counts.  ``after`` kills it so many seconds after its start.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, folder: Path, *args: str, at: int = 0, after: float = 0) -> Done:
        """``code`` is -9 for a child that was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"folder": str(folder), "args": ["-C", str(folder), *args], "at": at, "after": after}
        self._process.stdin.write(json.dumps(order) + "\n")
        return Done(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)


_LOADED_ONCE = (
    *("anyio", "encodings.idna", "httpcore", "httpx", "jinja2", "jsonschema"),
    *("runner.cli.apply", "runner.connect", "runner.load", "runner.providers.wanqing.provider", "runner.report.text"),
)


def _nurse() -> None:
    """The nursery's own loop: one order per line in, one outcome per line out."""
    for module in _LOADED_ONCE:
        import_module(module)
    for line in sys.stdin:
        order = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if not child:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                _be_killed_at(order["at"])
                sys.argv = ["runner", *order["args"]]
                code = _run()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
            if order["after"]:
                time.sleep(order["after"])
                os.kill(child, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = [file.read().decode() for file in (out, err) if file.seek(0) == 0]
        print(json.dumps({"code": code, "out": texts[0], "err": texts[1]}), flush=True)


def _be_killed_at(at: int) -> None:
    """Count the effects of this process and kill it at one of them; 0 for none."""
    import httpx

    effects = itertools.count(1)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if next(effects) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapper

    os.replace = counted(os.replace)
    httpx.Client.send = counted(httpx.Client.send)  # type: ignore[method-assign]


# ---- servers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Served:
    """A `runner simulate` that listens at ``url``."""

    url: str

    def bill(self) -> Any:
        return self._ask("bill")

    def billed(self, name: str) -> list[Any]:
        """The tasks on the bill that belong to the batch ``name``."""
        return [task for task in self.bill()["tasks"] if task["name"].startswith(f"{name}-")]

    def answered(self, name: str) -> int:
        """How many answers the batch ``name`` is billed for."""
        return sum(task["billed"] for task in self.billed(name))

    def faults(self, *rules: Mapping[str, Any]) -> None:
        """Let these things go wrong from now on, and no others."""
        self._ask("faults", list(rules))

    def provider(self, **settings: Any) -> dict[str, Any]:
        """A provider for runner.yaml: this server, by the wire that can list its tasks."""
        return {"type": "simulator", "base_url": self.url, **settings}

    def wanqing(self, **settings: Any) -> dict[str, Any]:
        """A provider for runner.yaml: this server, taken for the real Wanqing, which cannot."""
        return {
            "type": "wanqing",
            "base_url": self.url,
            "project_id": "p",
            "api_key": {"env": "TEST_WANQING_KEY"},
            **settings,
        }

    def _ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.url}/simulator/{path}", data, timeout=PATIENCE) as reply:
            return json.load(reply)


@contextmanager
def serving(folder: Path, speed: float = 50, answers: Path | None = None) -> Iterator[Served]:
    """`runner simulate` as a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    known = [] if answers is None else ["--answers", str(answers)]
    process = spawn("simulate", "--data", str(folder), "--speed", str(speed), *known, cwd=folder)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("listening on "), line
        yield Served(line.split()[-1])
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


if __name__ == "__main__":
    _nurse()
