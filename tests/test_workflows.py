"""What the workflows, the hook and the page about them say.  `tests/github/lint` has linters read them too."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from github.expressions import evaluate
from github.machine import GITHUB, ROOT, load
from github.snippets import snippets
from helpers import Project

WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml")) + sorted((ROOT / "docs/gitops/workflows").glob("*.yml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            yield f"{path.name}:{name}", job


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in ACTIONS:
        for step in load(path)["runs"]["steps"]:
            yield path.parent.name, step
    for name, job in jobs():
        for step in job.get("steps", []):
            yield name, step


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    else:
        yield str(value)


def test_every_action_of_others_is_pinned_by_commit() -> None:
    """A tag can be moved to other code; our own come with the commit that is running."""
    used = [step["uses"] for _, step in steps() if "uses" in step] + [job["uses"] for _, job in jobs() if "uses" in job]
    assert len(used) > 10
    assert [name for name in used if not re.fullmatch(r"\$/[\w./-]+|[\w-]+/[\w./-]+@[0-9a-f]{40}", name)] == []


def test_one_action_has_one_commit() -> None:
    """Everywhere, documents among it."""
    texts = [path.read_text("utf-8") for path in [*WORKFLOWS, *ACTIONS]] + list(snippets().values())
    found = set(re.findall(r"uses: (actions/[\w-]+)@([0-9a-f]{40}) # (v[\d.]+)$", "\n".join(texts), re.MULTILINE))
    assert len(found) == len({name for name, _, _ in found}) == 6


def test_no_script_holds_an_expression() -> None:
    """What an expression yields would be code there: it goes through the environment."""
    scripts = [(name, step["run"]) for name, step in steps() if "run" in step]
    assert len(scripts) >= 6
    assert [name for name, run in scripts if "${{" in run] == []


def test_runner_takes_the_place_of_the_shell() -> None:
    """The last line of each script is `exec`, without which bash would keep a cancelled job's signal to itself."""
    last = [step["run"].splitlines()[-1] for _, step in steps() if "run" in step]
    assert [line for line in last if not line.startswith("exec ")] == []


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=named)
def test_nothing_starts_from_a_stranger_with_rights(path: Path) -> None:
    """pull_request_target would hand a fork's code the repository's secrets."""
    assert "pull_request_target" not in list(strings(load(path)))


@pytest.mark.parametrize(("name", "job"), list(jobs()))
def test_every_job_ends(name: str, job: dict[str, Any]) -> None:
    """A job that calls another workflow has its jobs' limits."""
    assert ("timeout-minutes" in job) != ("uses" in job)


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_rights_are_given_job_by_job(path: Path) -> None:
    """Nothing by default; only the jobs that collect and apply take their caller's, which say where the state lies."""
    document = load(path)
    without = [name for name, job in document["jobs"].items() if "permissions" not in job]
    if path == GITHUB / "workflows/apply.yml":
        assert "permissions" not in document
        assert without == ["plan", "apply"]
    else:
        assert document["permissions"] == {}
        assert without == []


def test_pull_requests_run_without_a_secret() -> None:
    """The jobs that a pull request starts read, and name no secret."""
    for path in (GITHUB / "workflows/runner.yml", ROOT / "docs/gitops/workflows/batch.yml"):
        starts = load(path)["jobs"]
        assert {
            name for name, job in starts.items() if evaluate(job["if"], {"github": {"event_name": "pull_request"}})
        } == {"plan"}
        assert starts["plan"]["permissions"] == {"contents": "read"}
        assert "secrets" not in starts["plan"]
    assert not any("secrets." in text for text in strings(load(GITHUB / "workflows/plan.yml")))


@pytest.mark.parametrize(
    ("comment", "start"),
    [
        (GITHUB / "workflows/comment.yml", GITHUB / "workflows/runner.yml"),
        (ROOT / "docs/gitops/workflows/batch-comment.yml", ROOT / "docs/gitops/workflows/batch.yml"),
    ],
    ids=["ours", "to copy"],
)
def test_the_comment_comes_after_the_plan(comment: Path, start: Path) -> None:
    """It waits for a workflow by name; a name that is nobody's would never be heard of again."""
    assert load(comment)["on"]["workflow_run"] == {"workflows": [load(start)["name"]], "types": ["completed"]}


def test_the_comment_finds_the_plans_artifact() -> None:
    """One name in both workflows, and the file where the action has put it."""
    (up,) = [
        step["with"]
        for _, step in steps()
        if "upload-artifact" in step.get("uses", "") and "plan" in step["with"]["name"]
    ]
    (down,) = [step["with"] for _, step in steps() if "download-artifact" in step.get("uses", "")]
    (read,) = [step["with"] for _, step in steps() if step.get("uses", "").endswith("actions/comment")]
    names = [
        evaluate(text.removeprefix("${{").partition("}}")[0], {"inputs": {"name": name}})
        for text in (up["name"], down["name"])
        for name in ("runner", "")
    ]
    assert names == ["runner", "", "runner", "runner"]
    assert read["plan"] == f"{down['path']}/plan.json"


def test_an_apply_is_never_cut_off_or_dropped() -> None:
    """One that runs is not cancelled, and none that waits is thrown away."""
    for job in load(GITHUB / "workflows/apply.yml")["jobs"].values():
        assert job["concurrency"]["cancel-in-progress"] is False
        assert job["concurrency"]["queue"] == "max"
    for path in WORKFLOWS:
        assert "concurrency" not in load(path)


def test_the_secrets_are_those_of_both_steps_and_of_the_page() -> None:
    """A key that one of them lacks would be refused there, or be missing without anybody's mistake."""
    document = load(GITHUB / "workflows/apply.yml")
    declared = document["on"]["workflow_call"]["secrets"].keys()
    for name in ("plan", "apply"):
        environ = [step["env"] for step in document["jobs"][name]["steps"] if "env" in step]
        assert environ
        assert all(one == {key: f"${{{{ secrets.{key} }}}}" for key in declared} for one in environ)
    page = (ROOT / "docs/gitops.md").read_text("utf-8")
    sentence = re.search(r"`apply.yml` knows (.*?); use", page, re.DOTALL)
    assert sentence
    assert re.findall(r"`(\w+)`", sentence[1]) == list(declared)


@pytest.mark.parametrize(
    ("approval", "over", "submits", "runs"),
    [
        ("true", "false", True, True),
        ("false", "false", True, False),
        ("true", "true", True, False),
        ("true", "false", False, False),
        ("", "", True, False),
    ],
)
def test_what_submits_waits_for_approval(approval: str, over: str, submits: bool, runs: bool) -> None:
    """And only that: neither what is over a limit, nor what nobody could plan, asks for an approval in vain."""
    job = load(GITHUB / "workflows/apply.yml")["jobs"]["apply"]
    contexts = {
        "needs": {"plan": {"outputs": {"approval": approval, "over": over}}},
        "inputs": {"submits": submits},
    }
    assert evaluate(job["if"], contexts) == runs
    assert job["environment"] == "${{ inputs.environment }}"


def test_what_is_applied_late_is_the_newest_commit() -> None:
    """An old run that is approved once another was applied finds other specs, and its digest refuses them."""
    job = load(GITHUB / "workflows/apply.yml")["jobs"]["apply"]
    (checkout,) = [step for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert checkout["with"]["ref"] == "${{ github.ref }}"


# ---- the hook and the page -------------------------------------------------------------------------------------------


def test_the_hook_checks_a_project(tmp_path: Path) -> None:
    """What pre-commit would run: a whole project is checked, whichever file of it changed."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert (hook["id"], hook["language"], hook["pass_filenames"]) == ("runner-validate", "python", False)
    assert {"name", "entry"} <= hook.keys()
    project = Project(tmp_path)
    project.spec(rows=1)
    command, *args = shlex.split(hook["entry"])
    assert command == "runner"
    assert project.run(*args).code == 0
    project.write("specs/job.yaml", "version: 1\nnam: job\n")
    assert project.run(*args).code == 1


@pytest.mark.parametrize(
    ("name", "checked"),
    [
        ("runner.yaml", True),
        ("specs/a.yml", True),
        ("specs/data/rows.jsonl.gz", True),
        ("specs/data/rows.parquet", True),
        ("prompts/x.j2", True),
        ("schemas/answer.json", True),
        ("src/main.py", False),
        ("README.md", False),
    ],
)
def test_the_hook_knows_what_a_project_is_made_of(name: str, checked: bool) -> None:
    """Specs and what they name; a commit of nothing else is not held up."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert bool(re.search(hook["files"], name)) == checked


def test_the_pages_hook_is_ours() -> None:
    """The configuration to copy names a hook that exists."""
    (repository,) = yaml.safe_load(snippets()[".pre-commit-config.yaml"])["repos"]
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert [used["id"] for used in repository["hooks"]] == [hook["id"]]


def test_the_pages_project_runs_from_one_machine_to_the_next(tmp_path: Path) -> None:
    """The runner.yaml to begin with, on the simulator: what one clone submitted, another clone has not to submit."""

    def git(*args: str) -> None:
        subprocess.run(["git", *args], check=True, capture_output=True)

    git("init", "--bare", "-q", str(tmp_path / "origin.git"))
    text = snippets()["runner.yaml"]
    simulated = re.sub(r"    type: wanqing\n(    .*\n)+", "    type: simulator\n    speed: 50\n", text)
    assert "simulator" in simulated
    counts = []
    for name in ("first", "second"):
        git("clone", "-q", str(tmp_path / "origin.git"), str(tmp_path / name))
        project = Project(tmp_path / name)
        project.write("runner.yaml", text)
        project.spec(rows=2)
        assert project.call("validate").code == 0
        project.write("runner.yaml", simulated)
        counts.append(project.requests())
        project.finish()
    assert counts == [2, 0]
    git("clone", "-q", "--branch", "batch-outputs", str(tmp_path / "origin.git"), str(tmp_path / "outputs"))
    assert Project(tmp_path / "outputs").statuses() == ["succeeded", "succeeded"]
    assert not (tmp_path / "second/outputs").exists()
