"""GitOps from end to end: a change, its review, its merge, two runs at once, one of them killed, and a schedule.

Git is real, and so are the processes; GitHub is a small one on loopback.  Every run is a clone of its own that nothing
outlives, as on a runner of GitHub Actions.
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes.github import FakeGitHub
from helpers import Done, Project, Served, finished, run, serving, spawn

from benchmarks.faults.places import provider

APPLY = ("apply", "--yes", "--wait", "--timeout", "50m")
STATE = "batch-state"
OUTPUTS = "batch-outputs"
ROWS = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server"), speed=5) as served:
        yield served


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    fake = FakeGitHub()
    yield fake
    fake.close()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTS_KEY", "key-0")


@dataclass
class Hub:
    """A repository that others clone."""

    folder: Path
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def bare(self) -> Path:
        return self.folder / "hub.git"

    def git(self, *args: str, at: Path | None = None) -> str:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "-c", "init.defaultBranch=main")
        done = subprocess.run(["git", *who, "-C", str(at or self.bare), *args], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def clone(self, branch: str = "main") -> Path:
        """A fresh checkout of one commit, as CI makes it."""
        path = self.folder / f"run-{next(self._numbers)}"
        self.git(
            "clone", "--quiet", "--depth=1", f"--branch={branch}", f"file://{self.bare}", str(path), at=self.folder
        )
        return path

    def commit(self, at: Path, message: str, branch: str) -> None:
        self.git("add", "--all", at=at)
        self.git("commit", "--quiet", "-m", message, at=at)
        self.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}", at=at)

    def merge(self, branch: str) -> None:
        self.git("update-ref", "refs/heads/main", f"refs/heads/{branch}")

    def state(self) -> Any:
        return json.loads(self.git("show", f"{STATE}:state.json"))

    def output(self, name: str) -> list[Any]:
        return [json.loads(line) for line in self.git("show", f"{OUTPUTS}:outputs/{name}.jsonl").splitlines()]


@pytest.fixture
def hub(tmp_path: Path, server: Served) -> Hub:
    """A repository with a project and no spec yet, whose state and outputs lie on branches of it."""
    made = Hub(tmp_path)
    made.bare.mkdir()
    made.git("init", "--quiet", "--bare")
    project = Project(tmp_path / "laptop", {"demo": server.provider(max_requests=5)})
    project.configure(
        state=f"git:{STATE}", blobs={"store": "git"}, outputs=f"git:{OUTPUTS}", limits={"requests": 10 * ROWS}
    )
    project.write("specs/README.md", "Batch jobs\n")
    project.write(".gitignore", ".runner/\noutputs/\n")
    made.git("init", "--quiet", at=project.root)
    made.git("remote", "add", "origin", str(made.bare), at=project.root)
    made.commit(project.root, "A project", "main")
    return made


def propose(hub: Hub, branch: str, name: str, base: str = "main", **spec: Any) -> None:
    """A branch that adds or changes a spec."""
    root = hub.clone(base)
    project = Project(root)
    rows = spec.pop("rows", [f"{hub.folder} {name} {number}?" for number in range(ROWS)])
    project.spec(name, rows, **spec)
    hub.commit(root, f"{name}", branch)


def review(hub: Hub, github: FakeGitHub, branch: str, tmp_path: Path) -> tuple[Done, Any]:
    """What the two workflows of a pull request do: plan without secret or network, then comment from what it saved."""
    root = hub.clone(branch)
    saved = tmp_path / "plan.json"
    nowhere: Mapping[str, str | None] = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    planned = run("plan", "--offline", "--out", str(saved), cwd=root, env=nowhere)
    assert planned.code == 0, planned.err
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    said = run("comment", str(saved), "--pull-request", "7", cwd=elsewhere, env=github.environment)
    assert said.code == 0, said.err
    return planned, json.loads(saved.read_bytes())


def comments(github: FakeGitHub) -> list[str]:
    return [comment["body"] for comment in github.comments]


def test_from_a_change_to_its_answers(hub: Hub, github: FakeGitHub, server: Served, tmp_path: Path) -> None:
    """The bill shows every request once, the state's branch is a line, and the comment is right at each step."""
    name = "capitals"
    propose(hub, "change", name)
    _, plan = review(hub, github, "change", tmp_path)
    assert plan["summary"]["requests"] == ROWS
    (comment,) = comments(github)
    assert f"**{ROWS} requests**" in comment
    assert plan["digest"] in comment

    # The same again says nothing new; a second commit changes the one comment in place.
    review(hub, github, "change", tmp_path)
    assert comments(github) == [comment]
    propose(hub, "change", name, "change", rows=[f"{hub.folder} {name} {number}?" for number in range(ROWS + 5)])
    _, plan = review(hub, github, "change", tmp_path)
    (comment,) = comments(github)
    assert f"**{ROWS + 5} requests**" in comment

    # Merged; two runs begin at once in clones of their own, and one is killed as it submits.
    hub.merge("change")
    one, other = (spawn(*APPLY, cwd=hub.clone()) for _ in range(2))
    wait_until(lambda: server.billed(name) or one.poll() is not None)
    one.send_signal(signal.SIGKILL)
    one.communicate()
    done = finished(other)
    assert done.code in (0, 8), done

    # A scheduled run collects what is left, in yet another clone.
    for _ in range(3):
        done = run(*APPLY, cwd=hub.clone())
        if done.code == 0:
            break
    assert done.code == 0, done
    assert server.answered(name) == ROWS + 5
    assert all(task["samples"] == 1 for task in server.billed(name) if "samples" in task)
    assert [line["status"] for line in hub.output(name)] == ["succeeded"] * (ROWS + 5)

    # A line of commits, one a write; and nothing left to do, for a schedule or a review.
    assert hub.git("rev-list", "--merges", STATE) == ""
    assert hub.git("rev-list", "--count", STATE) == str(hub.state()["serial"])
    before = hub.git("rev-parse", STATE)
    again = run("apply", "--yes", cwd=hub.clone())
    assert (again.code, "Nothing to do" in again.out) == (0, True)
    assert hub.git("rev-parse", STATE) == before
    _, plan = review(hub, github, "main", tmp_path)
    assert plan["summary"]["requests"] == 0
    assert "othing to do" in comments(github)[0]


def wait_until(condition: Any, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.02)


def test_runs_that_are_dropped(hub: Hub, server: Served) -> None:
    """Of five merges only the last one's run takes place: it submits what all of them declared."""
    names = [f"dropped-{number}" for number in range(5)]
    for name in names:
        propose(hub, "main", name, rows=[f"{hub.folder} {name}?"])
    assert run(*APPLY, cwd=hub.clone()).code == 0
    assert [server.answered(name) for name in names] == [1] * 5


def test_a_spec_that_is_deleted(hub: Hub, server: Served) -> None:
    """Its outputs stay, and nothing of it is asked again when it comes back."""
    propose(hub, "main", "gone", rows=[f"{hub.folder} gone?"])
    assert run(*APPLY, cwd=hub.clone()).code == 0
    root = hub.clone()
    (root / "specs/gone.yaml").unlink()
    hub.commit(root, "Remove it", "main")
    assert run(*APPLY, cwd=hub.clone()).code == 0
    assert len(hub.output("gone")) == 1
    hub.git("revert", "--no-edit", "HEAD", at=root)
    hub.git("push", "--quiet", "origin", "HEAD:refs/heads/main", at=root)
    assert run(*APPLY, cwd=hub.clone()).code == 0
    assert server.answered("gone") == 1


# ---- applied is approved -------------------------------------------------------------------------------------------


def spoil_spec(root: Path) -> None:
    path = root / "specs/job.yaml"
    path.write_text(path.read_text().replace("max_tokens: 64", "max_tokens: 65"))


def spoil_prompt(root: Path) -> None:
    path = root / "specs/job.yaml"
    path.write_text(path.read_text().replace("{{ row.q }}", "{{ row.q }} Be brief."))


def spoil_data(root: Path) -> None:
    path = root / "specs/data/job.jsonl"
    path.write_text(path.read_text() + '{"id": 99, "q": "one more?"}\n')


def spoil_price(root: Path) -> None:
    path = root / "runner.yaml"
    path.write_text(path.read_text().replace("output: 0.002", "output: 0.003"))


def spoil_state(root: Path) -> None:
    """Somebody else asks a part of it meanwhile, so that less would be submitted than was approved."""
    assert run("apply", "--yes", "--sample", "1", cwd=root).code == 0


CHANGES = {
    "the spec": spoil_spec,
    "the prompt": spoil_prompt,
    "the data": spoil_data,
    "the price": spoil_price,
    "the state": spoil_state,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_was_not_approved_is_not_applied(tmp_path: Path, server: Served, change: Any) -> None:
    """A change, after the review, of what decides on the submits: `apply --expect` ends with 5 and submits nothing."""
    name = f"job-{change.__name__.replace('_', '-')}"
    project = priced(tmp_path, server, name)
    digest = project.plan("--offline")["digest"]
    change(project.root)
    before = server.bill()["requests"]
    done = project.run("apply", "--expect", digest, "--wait")
    assert done.code == 5, done
    assert "not what was approved" in done.err
    assert server.bill()["requests"] == before


def test_an_unrelated_collect_spoils_no_approval(tmp_path: Path, server: Served) -> None:
    """Another spec's answers come home, and are published, between the review and the apply."""
    project = priced(tmp_path, server, "job-kept")
    project.spec("other", [f"{tmp_path} other?"])
    assert project.run("apply", "--yes", "--select", "other").code == 0
    digest = project.plan("--offline")["digest"]
    serial = project.state()["serial"]
    assert project.run("apply", "--yes", "--wait", "--select", "other").code == 0
    assert project.state()["serial"] > serial
    assert project.run("apply", "--expect", digest, "--wait").code == 0
    assert [line["status"] for line in project.output("job-kept")] == ["succeeded"] * 4


def priced(folder: Path, server: Served, name: str) -> Project:
    model = {"id": "mi-9", "price": {"input": 0.001, "output": 0.002, "currency": "CNY"}}
    project = Project(folder, {"demo": {**provider("openai-openai", server.url), "models": [model]}})
    project.spec(name, [f"{folder} {name} {number}?" for number in range(4)], model="mi-9")
    (folder / f"specs/{name}.yaml").rename(folder / "specs/job.yaml")
    (folder / f"specs/data/{name}.jsonl").rename(folder / "specs/data/job.jsonl")
    path = folder / "specs/job.yaml"
    path.write_text(path.read_text().replace(f"{name}.jsonl", "job.jsonl"))
    return project
