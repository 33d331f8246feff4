"""The project from Python: what the commands do, as values, without a word on any stream or a trace in the process."""

from __future__ import annotations

import asyncio
import doctest
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import PATIENCE, call, environment
from helpers import Project as Files

import runner
from runner import Project
from runner.errors import InvalidDocuments, LimitExceeded, RunnerError, StalePlan
from runner.sandbox import limited_memory

ROOT = Path(__file__).parent.parent


def test_the_page_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every example of docs/python.md gives what it says, in the project that `runner init` writes."""
    assert call("init", str(tmp_path)).code == 0
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/python.md").read_text("utf-8").replace("```", "")
    found = doctest.DocTestParser().get_doctest(page, {}, "python.md", None, None)
    assert len(found.examples) > 20
    done = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(found)
    assert done.failed == 0, capsys.readouterr().out


def test_it_says_what_the_commands_say(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One digest, the same rows, the same lines; and not a word on stdout or stderr."""
    files = Files(tmp_path)
    files.spec(rows=5, output={"path": "outputs/job.jsonl", "include": ["input"]})
    with Project.open(tmp_path / "specs") as project:
        plan, offline = project.plan(), project.plan(offline=True, select="jo*")
        assert plan.digest == offline.digest == files.plan()["digest"]
        outcome = project.apply(expect=plan.digest, wait=True, timeout=PATIENCE)
        assert outcome.rows["job"].succeeded == 5
        assert list(project.results("job")) == files.output()
        assert [(one.name, one.rows, len(one.tasks)) for one in project.status()] == [("job", outcome.rows["job"], 1)]
        assert not project.plan().has_changes
    assert capfd.readouterr() == ("", "")


def test_files_are_read_anew(tmp_path: Path) -> None:
    """A notebook edits a spec, or runner.yaml, and plans again."""
    files = Files(tmp_path)
    files.spec(rows=2)
    with Project.open(tmp_path) as project:
        assert project.plan().requests == 2
        files.rows(3)
        assert project.plan().requests == 3
        files.spec("other", rows=1)
        assert project.plan(select=["other"]).requests == 1
        files.configure(limits={"requests": 1})
        with pytest.raises(LimitExceeded):
            project.apply()
        files.spec(prompt={"user": "{{ nothing"})
        assert [problem.file for problem in project.validate()] == ["specs/job.yaml"]
        files.write("specs/job.yaml", "version: 1\n")
        with pytest.raises(InvalidDocuments):
            project.plan()


def test_what_is_wrong_is_raised_at_the_call(tmp_path: Path) -> None:
    """And not when the first result is taken, somewhere else."""
    files = Files(tmp_path)
    files.spec(rows=2)
    with Project.open(tmp_path) as project:
        with pytest.raises(StalePlan):
            project.apply(expect="sha256:0")
        with pytest.raises(RunnerError, match="no spec is named 'nobody'"):
            project.results("nobody")
        with pytest.raises(RunnerError, match="job has no revision 3"):
            project.results("job", revision=3)
        with pytest.raises(RunnerError, match="no spec is named 'x'"):
            project.plan(select="x")
    with pytest.raises(RunnerError, match=r"there is no runner\.yaml"):
        Project.open(tmp_path.parent)


def test_a_part_now_and_the_rest_later(tmp_path: Path) -> None:
    """A sample, then everything, then what was asked before."""
    files = Files(tmp_path)
    files.spec(rows=4)
    with Project.open(tmp_path) as project:
        assert project.apply(sample=1, wait=True).rows["job"].pending == 3
        assert [result["status"] for result in project.results("job")] == ["succeeded", *["missing"] * 3]
        assert list(project.results("job", failed=True)) == []
        project.apply(wait=True)
        sent = [result["prompt"]["messages"] for result in project.results("job", prompts=True)]
        files.spec(prompt={"user": "Tell: {{ row.q }}"})
        project.apply(wait=True)
        assert [result["prompt"]["messages"] for result in project.results("job", prompts=True, revision=1)] == sent
        assert [one.what for one in project.revisions("job")] == ["new", "prompt changed"]


def test_in_a_thread_and_beside_a_running_loop(tmp_path: Path) -> None:
    """As in a notebook, whose cells run in an event loop, or a server, which has threads: signals stay as they are."""
    files = Files(tmp_path)
    files.spec(rows=3)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPROF)}

    def use() -> int:
        with Project.open(tmp_path) as project:
            project.apply(wait=True)
            return len(list(project.results("job")))

    async def cell() -> int:
        return use()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(use).result(PATIENCE) == 3
    files.rows(4)
    assert asyncio.run(cell()) == 4
    assert {number: signal.getsignal(number) for number in before} == before


def test_bounds_on_memory_go_when_the_last_thread_leaves() -> None:
    """Whatever the order in which threads come and go, the process's own bound is what it was."""
    before, interval = resource.getrlimit(resource.RLIMIT_AS), sys.getswitchinterval()
    begin = threading.Barrier(8)

    def work() -> None:
        begin.wait()
        for _ in range(10_000):
            with limited_memory():
                assert resource.getrlimit(resource.RLIMIT_AS) != before

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for one in [pool.submit(work) for _ in range(8)]:
                one.result(PATIENCE)
    finally:
        sys.setswitchinterval(interval)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


_INTERRUPTED = """
import os, signal, sys, threading
from runner import Project
project = Project.open(".")
before = signal.getsignal(signal.SIGINT)
threading.Thread(target=lambda: (sys.stdin.readline(), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
try:
    project.apply(wait=True)
except KeyboardInterrupt:
    print("interrupted", signal.getsignal(signal.SIGINT) is before, project.plan().requests, flush=True)
"""


def test_ctrl_c_leaves_the_state_whole(tmp_path: Path) -> None:
    """KeyboardInterrupt comes once what is under way is recorded; the same object goes on, nothing is asked twice."""
    files = Files(tmp_path, providers={"demo": {"type": "simulator", "speed": 0.0001}})
    files.spec(rows=3)
    process = subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTED],
        cwd=tmp_path,
        env=environment(None),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    state = tmp_path / ".runner/state.json"
    while not (state.exists() and '"phase": "open"' in state.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    out, err = process.communicate("now\n", timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "interrupted True 0\n", "")
    assert files.bill()["requests"] == 3


def test_results_that_are_left_half_read(tmp_path: Path) -> None:
    """Nothing stays open behind them but the file that they read, and they hinder nobody."""
    files = Files(tmp_path)
    files.spec(rows=200)
    project = Project.open(tmp_path)
    project.apply(wait=True)
    results = project.results("job")
    assert next(results)["key"] == "1"
    project.close()
    project.close()
    files.rows(201)
    assert project.apply(wait=True).rows["job"].succeeded == 201
    project.close()


def test_the_package_stays_light(tmp_path: Path) -> None:
    """`import runner` imports nothing that only users of the project need; the name is there all the same."""
    code = "import sys, runner; print(sorted({'httpx', 'jinja2', 'runner.api', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(None), capture_output=True)
    assert done.stdout == b"[]\n"
    assert runner.Project is Project
    with pytest.raises(AttributeError, match="has no attribute 'Projekt'"):
        _ = runner.Projekt


def test_users_have_types(tmp_path: Path) -> None:
    """mypy, in its strictest mode, knows what every call gives."""
    (tmp_path / "use.py").write_text(
        "from runner import Project\n"
        "with Project.open('.') as project:\n"
        "    reveal_type(project)\n"
        "    reveal_type(project.plan().digest)\n"
        "    reveal_type(project.apply(wait=True).rows['job'].failed)\n"
        "    for result in project.results('job'):\n"
        "        reveal_type(result['usage']['input_tokens'])\n"
        "    project.results('job', typo=True)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), "use.py"]
    env = {**environment(None), "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    told = [line.partition('"')[2].rpartition('"')[0] for line in done.stdout.splitlines() if "Revealed type" in line]
    assert [kind.rpartition(".")[2] for kind in told] == ["Project", "str", "int", "int | None"], done.stdout
    assert 'Unexpected keyword argument "typo"' in done.stdout


def test_a_state_that_others_write(tmp_path: Path) -> None:
    """A command beside it: the next call sees what it did."""
    files = Files(tmp_path)
    files.spec(rows=2)
    with Project.open(tmp_path) as project:
        assert project.plan().requests == 2
        files.finish()
        assert project.plan().requests == 0
        assert [result["status"] for result in project.results("job")] == ["succeeded"] * 2
