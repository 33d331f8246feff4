"""Steps of the actions and workflows, run as GitHub runs them before a `runner` that writes down how it was called."""

from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from github.machine import GITHUB, ROOT, Machine, StepFailedError, load
from helpers import PATIENCE, Project

CODES = [0, 1, 3, 4, 5, 6, 7, 8, 70, 130]
HOSTILE = [
    "two words",
    "it's",
    'a "quote"',
    "$(touch {canary})",
    "`touch {canary}`",
    "; touch {canary}",
    "${{ secrets.KEY }}",
    "*",
    "--yes",
    "-C",
    "\\",
    "é ☃",
    "::set-output name=digest::x",
]
STAND_IN = """\
#!{python}
import json, os, signal, sys, time
call = dict(argv=sys.argv[1:], env=dict(os.environ), pid=os.getpid())
with open({calls!r}, "a", encoding="utf-8") as file:
    file.write(json.dumps(call) + "\\n")
if os.environ.get("STAND_IN_STAYS"):
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    print("here", flush=True)
    time.sleep(60)
if sys.argv[3] != "validate":
    with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as file:
        file.write("digest=sha256:abc\\nrequests=3\\ncost=1.5\\nchanges=true\\nover=false\\napproval=true\\npending=4\\nfailed=1\\n")
wanted = os.environ.get("STAND_IN_FAILS", "")
sys.exit(int(os.environ.get("STAND_IN_CODE", 0)) if not wanted or wanted in sys.argv else 0)
"""


class Bench(Machine):
    """A machine whose `runner` is a stand-in."""

    def stand_in(self, name: str = "runner") -> None:
        self.command(name, STAND_IN.format(python=sys.executable, calls=str(self.work / "calls.jsonl")))

    def command(self, name: str, text: str) -> None:
        file = self.path / name
        file.write_text(text)
        file.chmod(0o755)

    @property
    def calls(self) -> list[Any]:
        return [json.loads(line) for line in (self.work / "calls.jsonl").read_text("utf-8").splitlines()]

    @property
    def argv(self) -> list[str]:
        """The arguments of the last call."""
        argv: list[str] = self.calls[-1]["argv"]
        return argv


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    path = tmp_path / "bin"
    path.mkdir()
    machine = Bench(tmp_path / "work", path)
    machine.stand_in()
    return machine


# ---- one action ------------------------------------------------------------------------------------------------------


def test_plan_validates_and_plans_offline(bench: Bench) -> None:
    """By default: no provider is asked, and the plan is saved for whoever comes after."""
    outputs = bench.action("plan")
    assert [call["argv"][2:] for call in bench.calls] == [
        ["validate", "--format", "github"],
        ["plan", "--out", str(bench.work / "runner-plan/plan.json"), "--offline"],
    ]
    assert outputs == {
        "plan": str(bench.work / "runner-plan/plan.json"),
        "digest": "sha256:abc",
        "changes": "true",
        "requests": "3",
        "cost": "1.5",
        "approval": "true",
        "over": "false",
    }


def test_plan_online_only_when_told(bench: Bench) -> None:
    """Anything but the word false stays offline."""
    bench.action("plan", {"offline": "no"})
    assert "--offline" in bench.argv
    bench.action("plan", {"offline": "false"})
    assert "--offline" not in bench.argv


def test_problems_of_files_stop_the_plan(bench: Bench) -> None:
    """There is no plan of files with mistakes in them, and the step is red."""
    bench.environ |= {"STAND_IN_CODE": "1"}
    with pytest.raises(StepFailedError) as caught:
        bench.action("plan")
    assert caught.value.code == 1
    assert len(bench.calls) == 1


def test_a_report_has_no_answers_unless_told(bench: Bench) -> None:
    """Pages may be public: anything but the word true leaves every row out."""
    folder = str(bench.work / "runner-report")
    assert bench.action("report") == {"folder": folder}
    assert bench.argv[2:] == ["report", "--out", folder, "--revisions=1", "--no-answers"]
    bench.action("report", {"answers": "yes"})
    assert bench.argv[-1] == "--no-answers"
    bench.action("report", {"answers": "true", "revisions": "3"})
    assert bench.argv[2:] == ["report", "--out", folder, "--revisions=3"]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", ["plan", "apply"])
def test_every_exit_code_is_the_steps(bench: Bench, name: str, code: int) -> None:
    """No wrapper changes it, and what runner wrote for later steps is there, whichever code it is."""
    bench.environ |= {"STAND_IN_CODE": str(code), "STAND_IN_FAILS": name}
    try:
        ended, outputs = 0, bench.action(name)
    except StepFailedError as error:
        ended, outputs = error.code, error.outputs
    assert ended == code
    assert outputs["digest"] == "sha256:abc"
    assert outputs.get("pending") == ("4" if name == "apply" else None)


@pytest.mark.parametrize("text", HOSTILE)
def test_inputs_are_literal(bench: Bench, tmp_path: Path, text: str) -> None:
    """Whatever is in one arrives as it is, as one argument, and runs nothing."""
    canary = tmp_path / "canary"
    text = text.replace("{canary}", str(canary))
    bench.action("plan", {"directory": text, "select": f"{text}\n\nplain\r\n{text}"})
    select = [f"--select={text}", "--select=plain", f"--select={text}"]
    plan = ["--out", str(bench.work / "runner-plan/plan.json"), "--offline"]
    assert bench.argv == ["-C", text, "plan", *plan, *select]
    bench.action("apply", {"directory": text, "expect": text, "select": text, "allow": text, "timeout": text})
    wait = ["--wait", f"--timeout={text}"]
    assert bench.argv == ["-C", text, "apply", f"--expect={text}", *wait, f"--select={text}", f"--allow={text}"]
    assert not canary.exists()


def test_a_multiline_input_cannot_end_the_script(bench: Bench, tmp_path: Path) -> None:
    """A heredoc's end, or anything else on a line of its own, is one more value."""
    lines = ["EOF", "'", f"touch {tmp_path / 'canary'}", "done", "}"]
    bench.action("apply", {"allow": "\n".join(lines)})
    assert bench.argv[-len(lines) :] == [f"--allow={line}" for line in lines]
    assert not (tmp_path / "canary").exists()


def test_apply_without_an_approval_is_not_yes(bench: Bench) -> None:
    """An empty digest, from a step that did not write one, is handed on, and refused by the real runner."""
    bench.action("apply", {"expect": ""})
    assert bench.argv == ["-C", ".", "apply", "--expect="]
    bench.action("apply", {"unapproved": "true"})
    assert bench.argv == ["-C", ".", "apply", "--yes"]
    bench.action("apply", {"collect": "true"})
    assert bench.argv == ["-C", ".", "apply", "--collect"]


def test_the_real_runner_refuses_an_empty_digest(tmp_path: Path) -> None:
    """Exit code 5, and nothing was submitted."""
    project = Project(tmp_path)
    project.spec(rows=2)
    assert project.call("apply", "--expect=").code == 5
    assert project.requests() == 2


def test_sigint_reaches_runner(bench: Bench) -> None:
    """GitHub signals the shell that it started, which is runner by then: no child is left behind."""
    bench.environ |= {"STAND_IN_STAYS": "1"}
    folder = GITHUB / "actions/apply"
    (step,) = load(folder / "action.yml")["runs"]["steps"]
    inputs = dict.fromkeys(load(folder / "action.yml")["inputs"], "")
    command, environ, _ = bench.prepared(step, {"inputs": inputs}, folder)
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    process.stdout.close()
    assert bench.calls[-1]["pid"] == process.pid
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


# ---- the workflows, end to end ---------------------------------------------------------------------------------------


def test_apply_carries_out_the_plan_before_it(bench: Bench) -> None:
    """The digest goes from one job to the other; both see the same specs, and only they see the key.

    What has finished is collected first, whoever approves what.
    """
    inputs = {"select": "a-*\nb", "allow": "cost=80", "timeout": "50m"}
    secrets = {"WANQING_API_KEY": "key-1"}
    outputs = bench.job("apply.yml", "plan", inputs=inputs, secrets=secrets)
    assert outputs == {"digest": "sha256:abc", "approval": "true", "over": "false"}
    assert bench.calls[0]["argv"][2:] == ["apply", "--collect", "--select=a-*", "--select=b", "--allow=cost=80"]
    assert bench.argv[-3:] == ["--select=a-*", "--select=b", "--allow=cost=80"]
    needs = {"plan": {"outputs": outputs}}
    assert bench.job("apply.yml", "apply", inputs=inputs, secrets=secrets, needs=needs) == {
        "pending": "4",
        "failed": "1",
    }
    assert bench.argv[2:] == [
        *("apply", "--expect=sha256:abc", "--wait", "--timeout=50m", "--select=a-*", "--select=b", "--allow=cost=80")
    ]
    assert {call["env"]["WANQING_API_KEY"] for call in bench.calls} == {"key-1"}


def test_plan_of_a_pull_request(bench: Bench) -> None:
    """Offline, and what it found goes on to later jobs."""
    outputs = bench.job("plan.yml", "plan", inputs={"directory": "jobs"})
    assert outputs == {"digest": "sha256:abc", "requests": "3", "cost": "1.5"}
    assert bench.argv[:3] == ["-C", "jobs", "plan"]
    assert "--offline" in bench.argv


# ---- what is asked of GitHub -----------------------------------------------------------------------------------------


class Listening:
    """A server on loopback that answers every GET with the same document, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        """Paths, each with the values of its Authorization headers."""
        self.reply: Any = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get_all("Authorization") or []))
                body = json.dumps(outer.reply).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def listening() -> Iterator[Listening]:
    here = Listening()
    thread = Thread(target=here.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    here.server.shutdown()
    here.server.server_close()
    thread.join()


RUN = {"head_sha": "a" * 40, "head_branch": "new&specs", "head_repository": {"id": 7, "owner": {"login": "stranger"}}}


def pull(number: Any, sha: str = "a" * 40, repository: int | None = 7) -> dict[str, Any]:
    return {"number": number, "head": {"sha": sha, "repo": None if repository is None else {"id": repository}}}


def commenting(bench: Bench, listening: Listening, plan: Path) -> None:
    """Run the action `comment` on the event of a run of a fork's pull request."""
    event = bench.work / "event.json"
    event.write_text(json.dumps({"workflow_run": RUN}))
    bench.command("python", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    bench.environ |= {"GITHUB_EVENT_PATH": str(event), "GITHUB_API_URL": listening.url}
    bench.action("comment", {"plan": str(plan)})


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """What a stranger's artifact was unpacked to."""
    path = tmp_path / "plan.json"
    path.write_text("{}")
    return path


def test_the_comment_goes_to_the_pull_request_of_this_commit(bench: Bench, listening: Listening, plan: Path) -> None:
    """The event of a fork names none: GitHub's list does, by branch, commit and repository."""
    listening.reply = [pull(4, sha="b" * 40), pull(5), pull(6, repository=8), pull(9, repository=None)]
    commenting(bench, listening, plan)
    assert bench.argv == ["comment", str(plan), "--pull-request", "5", "--repository", "team/jobs"]
    assert bench.calls[-1]["env"]["GITHUB_TOKEN"] == "ghs-token"
    query = "/repos/team/jobs/pulls?state=open&per_page=100&head=stranger%3Anew%26specs"
    assert listening.asked == [(query, ["Bearer ghs-token"])]


@pytest.mark.parametrize(
    "pulls",
    [[], [pull(4, sha="b" * 40)], [pull(4), pull(5)], [pull("5\nnumber=6")]],
    ids=["none", "old", "two", "text"],
)
def test_no_comment_where_it_is_not_certain(bench: Bench, listening: Listening, plan: Path, pulls: list[Any]) -> None:
    """A newer commit was pushed, the pull request is closed, or a branch has two: nothing is said, and none is red."""
    listening.reply = pulls
    commenting(bench, listening, plan)
    assert not (bench.work / "calls.jsonl").exists()
    assert "no comment" in bench.printed


def test_a_plan_that_is_a_link_is_refused(bench: Bench, listening: Listening, plan: Path) -> None:
    """An archive can hold one to any file of the machine."""
    listening.reply = [pull(5)]
    link = plan.with_name("link.json")
    link.symlink_to("/etc/hostname")
    for path in (link, plan.with_name("absent.json")):
        with pytest.raises(StepFailedError):
            commenting(bench, listening, path)
    assert not (bench.work / "calls.jsonl").exists()


def test_git_gets_the_token_and_nothing_else_does(bench: Bench, listening: Listening, tmp_path: Path) -> None:
    """The real runner reads a state on a branch of this server: one header, even where a checkout left another, and the
    token is in no file, and printed only for the log to mask it."""
    project = Project(tmp_path / "project")
    project.configure(state=f"git:{listening.url}/team/jobs.git#batch-state", blobs={"store": "git"})
    project.spec(rows=1)
    subprocess.run(["git", "init", "-q", str(project.root)], check=True)
    left = ["config", f"http.{listening.url}/.extraheader", "AUTHORIZATION: basic left"]
    subprocess.run(["git", "-C", str(project.root), *left], check=True)
    bench.github |= {"server_url": listening.url, "token": "ghs-secret"}
    bench.environ |= {"PYTHONPATH": str(ROOT)}
    bench.command("runner", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m runner "$@"\n')
    with suppress(StepFailedError):  # what answers here is no git server
        bench.action("plan", {"directory": str(project.root)})
    encoded = base64.b64encode(b"x-access-token:ghs-secret").decode()
    assert {tuple(headers) for _, headers in listening.asked} == {(f"basic {encoded}",)}
    assert bench.printed.count(encoded) == bench.printed.count(f"::add-mask::{encoded}") == 1
    assert "ghs-secret" not in bench.printed
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".sh"]
    assert [
        path for path in written if b"ghs-secret" in path.read_bytes() or encoded.encode() in path.read_bytes()
    ] == []


def test_runner_does_not_see_the_token_by_name(bench: Bench) -> None:
    """It has git for that; and without a token, nothing is lent."""
    bench.action("apply", {"expect": "x"})
    assert "TOKEN" not in bench.calls[-1]["env"]
    assert bench.calls[-1]["env"]["GIT_CONFIG_COUNT"] == "2"
    bench.action("apply", {"expect": "x", "token": ""})
    assert "GIT_CONFIG_COUNT" not in bench.calls[-1]["env"]


# ---- the installation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "wanted"),
    [
        ({}, str(ROOT)),
        ({"extras": "objectstore,parquet"}, f"{ROOT}[objectstore,parquet]"),
        ({"version": "0.1.0"}, "batch-runner==0.1.0"),
        ({"version": "0.2.0rc1", "extras": "parquet"}, "batch-runner[parquet]==0.2.0rc1"),
    ],
)
def test_setup_installs(bench: Bench, inputs: dict[str, str], wanted: str) -> None:
    """The checkout that the action comes from, or a version that was asked for."""
    bench.stand_in("python")
    bench.action("setup", inputs)
    assert bench.argv[:3] == ["-m", "pip", "install"]
    assert bench.argv[-1] == wanted


@pytest.mark.parametrize(
    "text", ["1 @ https://elsewhere.example", "--index-url=x", "1; touch x", "1\n2", "]==1", "../x"]
)
@pytest.mark.parametrize("name", ["version", "extras"])
def test_setup_installs_nothing_else(bench: Bench, name: str, text: str) -> None:
    """A requirement could name any address to install from."""
    bench.stand_in("python")
    with pytest.raises(StepFailedError):
        bench.action("setup", {name: text})
    assert not (bench.work / "calls.jsonl").exists()
