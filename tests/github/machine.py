"""Runs the `run` steps of jobs and composite actions as GitHub's machines do.

Each is a file for `bash --noprofile --norc -e -o pipefail`, with its `env` in the environment.  Actions of this
repository are entered; those of others are passed over, since what they do (a checkout, an upload) is not ours to test.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from github.expressions import evaluate, fill, spelled

ROOT = Path(__file__).parent.parent.parent
GITHUB = ROOT / ".github"
SHELL = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")
OURS = "$/.github/actions/"


def load(path: Path) -> Any:
    """A workflow or an action.  YAML 1.1 takes its key `on` for true."""
    document = yaml.safe_load(path.read_text("utf-8"))
    if True in document:
        document["on"] = document.pop(True)
    return document


class StepFailedError(Exception):
    """A step of an action ended with another code than 0: that code, and what the action's outputs are then."""

    def __init__(self, code: int, outputs: Mapping[str, str]) -> None:
        super().__init__(f"exit code {code}")
        self.code = code
        self.outputs = outputs


@dataclass
class Machine:
    """A runner's machine, with its folders in ``work`` and ``path`` before everything else on the PATH."""

    work: Path
    path: Path
    github: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    """Variables of every step."""
    printed: str = ""

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self.github = {"token": "ghs-token", "server_url": "https://github.com", **self.github}

    # ---- one step ----------------------------------------------------------------------------------------------------

    def step(
        self, step: Mapping[str, Any], contexts: Mapping[str, Any], action: Path | None
    ) -> tuple[int, dict[str, str]]:
        """Run one step; returns how it ended, and what it wrote to its outputs."""
        command, environ, outputs = self.prepared(step, contexts, action)
        done = subprocess.run(command, env=environ, cwd=self.work, capture_output=True, text=True, timeout=60)
        self.printed += done.stdout + done.stderr
        written = dict(line.split("=", 1) for line in outputs.read_text("utf-8").splitlines())
        return done.returncode, written

    def prepared(
        self, step: Mapping[str, Any], contexts: Mapping[str, Any], action: Path | None
    ) -> tuple[list[str], dict[str, str], Path]:
        """A step's command, its environment, and the file for its outputs."""
        number = len(list(self.work.glob("step-*.sh")))
        script, outputs = self.work / f"step-{number}.sh", self.work / f"outputs-{number}"
        script.write_text(step["run"], "utf-8")
        outputs.touch()
        own = {name: fill(spelled(value), contexts) for name, value in step.get("env", {}).items()}
        environ = {
            **{name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL") if name in os.environ},
            "PATH": f"{self.path}{os.pathsep}{os.environ['PATH']}",
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_REPOSITORY": "team/jobs",
            "GITHUB_SERVER_URL": self.github["server_url"],
            "RUNNER_TEMP": str(self.work),
            **({"GITHUB_ACTION_PATH": str(action)} if action else {}),
            **self.environ,
            **contexts.get("env", {}),
            **own,
        }
        return [*SHELL, str(script)], environ, outputs

    # ---- actions and jobs --------------------------------------------------------------------------------------------

    def action(
        self, name: str, inputs: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Run a composite action and return its outputs.  Raises StepFailedError as its step does, with those."""
        folder = GITHUB / "actions" / name
        document = load(folder / "action.yml")
        steps = document["runs"]["steps"]
        contexts: dict[str, Any] = {
            "github": self.github,
            "runner": {"temp": str(self.work)},
            "env": dict(environ or {}),
        }
        contexts["steps"] = {step["id"]: {"outputs": _Blank()} for step in steps if "id" in step}
        contexts["inputs"] = {
            key: fill(spelled(about.get("default")), contexts) for key, about in document.get("inputs", {}).items()
        }
        if unknown := (inputs or {}).keys() - contexts["inputs"].keys():
            raise ValueError(f"{name} has no inputs {unknown}")
        contexts["inputs"] |= inputs or {}
        code = 0
        for step in steps:
            if "run" in step and code == 0 and evaluate(step.get("if", "'always'"), contexts):
                code, written = self.step(step, contexts, folder)
                contexts["steps"].setdefault(step.get("id"), {})["outputs"] = _Blank(written)
        outputs = {key: fill(about["value"], contexts) for key, about in document.get("outputs", {}).items()}
        if code:
            raise StepFailedError(code, outputs)
        return outputs

    def job(self, workflow: str, name: str, **contexts: Any) -> dict[str, str]:
        """Run a job of a reusable workflow, as far as it is ours, and return its outputs."""
        document = load(GITHUB / "workflows" / workflow)
        declared = document["on"]["workflow_call"]
        given = contexts.get("inputs", {})
        contexts["inputs"] = {key: about.get("default") for key, about in declared["inputs"].items()} | given
        contexts["secrets"] = dict.fromkeys(declared.get("secrets", {})) | contexts.get("secrets", {})
        contexts |= {"github": self.github, "runner": {"temp": str(self.work)}, "steps": {}}
        job = document["jobs"][name]
        for step in job["steps"]:
            outputs: dict[str, str] = {}
            if step.get("uses", "").startswith(OURS) and step["uses"] != f"{OURS}setup":
                inputs = {key: fill(spelled(value), contexts) for key, value in step.get("with", {}).items()}
                environ = {key: fill(spelled(value), contexts) for key, value in step.get("env", {}).items()}
                outputs = self.action(step["uses"].removeprefix(OURS), inputs, environ)
            if "id" in step:
                contexts["steps"][step["id"]] = {"outputs": outputs}
        return {key: fill(value, contexts) for key, value in job.get("outputs", {}).items()}


class _Blank(dict[str, str]):
    """Outputs of a step: one that was not written is empty."""

    def __missing__(self, _key: str) -> str:
        return ""
