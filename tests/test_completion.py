"""Completion, typed into real shells: commands, options, and the project's own names."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from helpers import PATIENCE, Project, call, environment

from runner.cli.commands import cli
from runner.cli.completion import VARIABLE
from runner.edge.stores import copy_of

ROOT = Path(__file__).parent.parent
SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed here"))
    for shell in ("bash", "zsh", "fish")
]
BASH = """
source <({runner} completion bash)
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_runner_completion runner
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
autoload -Uz compinit && compinit -u -d {dump}
compadd() {{ [[ $1 = -U ]] && shift; shift $(( ${{@[(i)-a]}} )); print -l -- ${{(P)1}} }}
_describe() {{ print -l -- ${{${{(P)3}}%%:*}} }}
source <({runner} completion zsh)
words=({words}); CURRENT=$#words
_runner_completion
"""
FISH = "{runner} completion fish | source; complete -C {line}"


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a matrix and two tasks that were applied."""
    project = Project(tmp_path_factory.mktemp("applied"))
    project.spec("gsm8k", rows=1)
    project.spec(
        "greetings", rows=1, matrix={"style": ["brief", "long"]}, prompt={"user": "{{ row.q }} {{ vars.style }}"}
    )
    project.apply()
    return project.root


@pytest.fixture
def project(applied: Path, tmp_path: Path) -> Project:
    """A copy of it, and a `runner` on the path."""
    project = Project(Path(shutil.copytree(applied, tmp_path / "project")))
    (tmp_path / "bin").mkdir()
    runner = tmp_path / "bin/runner"
    runner.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(tmp_path / "entry.py"))} "$@"\n')
    runner.chmod(0o755)
    (tmp_path / "entry.py").write_text("import sys\nfrom runner.cli.main import main\nsys.argv[0] = 'runner'\nmain()\n")
    return project


def complete(shell: str, project: Project, *typed: str, at: Path | None = None) -> list[str]:
    """What the shell offers for the last of the words."""
    words = ["runner", *typed]
    quoted = " ".join("''" if word == "" else shlex.quote(word) for word in words)
    folder = project.root.parent
    script = {
        "bash": lambda: BASH.format(runner="runner", words=quoted),
        "zsh": lambda: ZSH.format(runner="runner", words=quoted, dump=folder / "zcompdump"),
        "fish": lambda: FISH.format(runner="runner", line=shlex.quote(" ".join(words))),
    }[shell]()
    env = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    bare = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *bare, "-c", script],
        cwd=at or project.root,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stderr == "", done.stderr
    return sorted({line.split("\t")[0].strip() for line in done.stdout.splitlines() if line.strip()})


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell: str, project: Project) -> None:
    """Commands, specs with those of a matrix, and tasks, each by what was typed of it."""
    (task, *_) = project.state()["tasks"]
    assert complete(shell, project, "pl") == ["plan"]
    assert complete(shell, project, "plan", "--select", "g") == [
        "greetings-brief",
        "greetings-long",
        "gsm8k",
    ]
    assert task in complete(shell, project, "state", "adopt", task[:4])


@pytest.mark.parametrize("shell", SHELLS)
def test_outside_a_project_a_shell_is_told_nothing(shell: str, project: Project) -> None:
    """No name, and above all no word on standard error, which would lie across the line that is being typed."""
    assert complete(shell, project, "retry", "gs", at=project.root.parent) == []
    assert complete(shell, project, "-C", "project", "retry", "gs", at=project.root.parent) == ["gsm8k"]


def test_what_can_be_completed(project: Project) -> None:
    """Options, and names wherever a command takes one."""
    (task, *_) = project.state()["tasks"]
    assert "--select" in ask(project, "plan", "--se")
    for words in (("render",), ("retry",), ("cancel",), ("apply", "--select"), ("models", "--spec")):
        assert ask(project, *words, "gs") == ["gsm8k"], words
    for words in (("state", "show"), ("state", "abandon"), ("state", "rm", "t-1")):
        assert task in ask(project, *words, ""), words
    for words in (("models",), ("doctor",)):
        assert ask(project, *words, "d") == ["demo"], words


def test_a_tab_in_bash(project: Project) -> None:
    """A person on a terminal presses TAB, and the word is there."""
    folder = project.root.parent
    env = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TERM": "dumb",
        "PS1": "$ ",
    }
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        cwd=project.root,
        env=environment(env),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    try:
        os.write(leader, b"source <(runner completion bash); echo re''ady\n")
        until(leader, "ready\r\n")
        os.write(leader, b"runner render gs\t")
        assert until(leader, "gsm8k").endswith("runner render gsm8k")
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(leader)


def until(terminal: int, wanted: str) -> str:
    """What a terminal shows up to that text."""
    shown, end = "", time.monotonic() + PATIENCE
    while wanted not in shown:
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096).decode()
    return shown[: shown.index(wanted) + len(wanted)]


def ask(project: Project, *words: str) -> list[str]:
    """What the program itself offers for the last word."""
    asked = ShellComplete(cli, {}, "runner", VARIABLE)
    return [found.value for found in asked.get_completions(["-C", str(project.root), *words[:-1]], words[-1])]


BROKEN: Sequence[tuple[str, str]] = [
    ("runner.yaml", "specs: [\n"),
    ("runner.yaml", "\x00\xff"),
    ("specs/more.yaml", "name: 'a; rm -rf /'\n"),
    ("specs/more.yaml", "name: $(touch pwned)\n"),
    (".runner/state.json", "{"),
    (".runner/state.json", '{"batches": {"`touch pwned`": {}, "x y": {}}, "tasks": []}'),
]


@pytest.mark.parametrize(("file", "text"), BROKEN)
def test_what_is_broken_or_hostile_is_silence(project: Project, file: str, text: str) -> None:
    """No error, and no word that a shell would take for more than a word; the rest is offered as before."""
    project.write(file, text)
    assert "gsm8k" in ask(project, "retry", "")
    for words in (("retry", ""), ("state", "show", ""), ("models", "")):
        for name in ask(project, *words):
            assert name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert not list(project.root.parent.rglob("pwned"))


def test_completion_reads_files_and_nothing_else(project: Project) -> None:
    """No template engine, no network and no JSON Schema is even loaded: it has to be quick between two keystrokes."""
    script = (
        "import atexit, sys\nheavy = {'jinja2', 'httpx', 'jsonschema'}\n"
        "atexit.register(lambda: print('loaded', *sorted(heavy & sys.modules.keys())))\n"
    )
    entry = project.root.parent / "entry.py"
    told = {"_RUNNER_COMPLETE": "bash_complete", "COMP_WORDS": "runner models d", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", script + entry.read_text()],
        cwd=project.root,
        env=environment({**told, "PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.stdout, done.stderr) == ("plain,demo\nloaded\n", "")


def test_a_state_elsewhere_is_completed_from_its_copy(project: Project) -> None:
    """Nobody is asked: what this machine last saw of the state is what is offered."""
    document = (project.root / ".runner/state.json").read_text("utf-8")
    project.configure(state="s3://bucket/prefix")
    assert ask(project, "state", "show", "") == []
    copy = copy_of(project.root, "s3://bucket/prefix")
    copy.parent.mkdir(parents=True)
    copy.write_text(document, "utf-8")
    assert ask(project, "state", "show", "") == sorted(project.state()["tasks"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed(shell: str) -> None:
    """And nothing beside it, so that it can be evaluated."""
    done = call("completion", shell)
    assert (done.code, done.err, "_RUNNER_COMPLETE" in done.out) == (0, "", True)
