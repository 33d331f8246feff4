"""What `runner doctor` looks at on this machine and in the project's folder, with no call to anybody."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from runner.checkup import Finding, Status, counted
from runner.edge import machine
from runner.edge.surroundings import proxies, ssl_context
from runner.errors import RunnerError
from runner.load import RUNNER_YAML
from runner.project import Project
from runner.schema import schema_text
from runner.spec import Spec


def machine_findings() -> Iterator[Finding]:
    version = ".".join(map(str, machine.python_version()))
    oldest = ".".join(map(str, machine.OLDEST_PYTHON))
    if machine.python_version()[:2] < machine.OLDEST_PYTHON:
        yield Finding("python", Status.FAIL, f"Python {version} is too old", do=f"Use Python {oldest} or newer.")
    else:
        own = machine.own_version() or "from a checkout"
        yield Finding("python", Status.OK, f"Python {version}, runner {own}")
    lacking = [one for one in machine.requirements() if not one.holds]
    for one in lacking:
        what = f"{one.name} {one.found} is older than {one.least}" if one.found else f"{one.name} is not installed"
        yield Finding("packages", Status.FAIL, what, commands=(f"pip install '{one.name}>={one.least}'",))
    if not lacking:
        yield Finding("packages", Status.OK, "every package that the core stands on is there, and new enough")


def network_findings() -> Iterator[Finding]:
    """Whether the certificates can be read, and the proxies of the environment used.  Their addresses are not shown."""
    try:
        ssl_context()
        yield Finding("certificates", Status.OK, "they can be read")
    except RunnerError as error:
        yield Finding.of("certificates", error)
    named = ", ".join(machine.proxies_named())
    if not named:
        yield Finding("proxy", Status.OK, "the environment names none")
        return
    try:
        _try_proxies()
        yield Finding("proxy", Status.OK, f"calls to other machines go by {named}; calls to this one do not")
    except RunnerError as error:
        yield Finding.of("proxy", error)


def _try_proxies() -> None:
    with proxies():
        import httpx

        httpx.Client(verify=ssl_context()).close()


# ---- the project -----------------------------------------------------------------------------------------------------


def schema_findings(root: Path) -> Iterator[Finding]:
    """What an editor checks with is a copy, which an upgrade of runner leaves behind."""
    for kind in ("batch", "project"):
        place = f"schemas/{kind}.schema.json"
        copy = root / place
        if copy.is_file() and copy.read_bytes() != schema_text(kind).encode():
            yield Finding(
                "schemas",
                Status.WARN,
                f"{place} is that of another version of runner",
                "Only editors use it; runner checks with its own.",
                "Write it anew:",
                (f"runner schema {kind} > {place}",),
            )


def package_findings(project: Project, specs: Sequence[Spec]) -> Iterator[Finding]:
    """Packages that are needed only for what this project asks for."""
    places = [place for place in (project.state, project.blobs.store, project.outputs) if place]
    paths = [path for spec in specs for path in (spec.input.path, spec.output.path)]
    wanted = {
        "objectstore": ("obstore", any(place.startswith(("s3://", "gs://", "az://")) for place in places)),
        "parquet": ("pyarrow", any(path.lower().removesuffix(".gz").endswith(".parquet") for path in paths)),
    }
    for extra, (module, needed) in wanted.items():
        if needed and find_spec(module) is None:
            command = f"pip install '{machine.DISTRIBUTION}[{extra}]'"
            yield Finding(
                "packages", Status.FAIL, f"{module} is not installed, and the project needs it", commands=(command,)
            )


def git_findings(root: Path, project: Project | None) -> Iterator[Finding]:
    """Whether the specs have a history, and whether what runner keeps stays out of it."""
    version = machine.git_version()
    if version is None:
        needed = project is not None and project.state.startswith("git:")
        status = Status.FAIL if needed else Status.WARN
        yield Finding(
            "git", status, "git is not installed", "Without it specs have no history.", "Install git 2.31 or newer."
        )
        return
    if not machine.in_repository(root):
        why = "Who asked what, and when, cannot be told without a history."
        yield Finding(
            "git", Status.WARN, "the project is in no repository", why, "", (f"git init {shlex.quote(str(root))}",)
        )
        return
    yield from _history_findings(root, project, version)


def _history_findings(root: Path, project: Project | None, version: str) -> Iterator[Finding]:
    parts = (RUNNER_YAML, project.specs if project else Project.specs)
    at = f"git -C {shlex.quote(str(root))}"
    if not machine.tracked(root, *parts):
        yield Finding(
            "git",
            Status.WARN,
            "neither runner.yaml nor the specs are in the repository",
            do="Add them:",
            commands=(f"{at} add {' '.join(parts)}",),
        )
    elif changed := machine.changed(root, *parts):
        what = f"{counted(len(changed), 'file')} of the project not as in the last commit"
        yield Finding(
            "git", Status.WARN, what, "What is applied now is not what the history says.", commands=(f"{at} status",)
        )
    else:
        yield Finding("git", Status.OK, f"git {version}; specs and runner.yaml are as in the last commit")
    folder = (project.state_folder if project else None) or ".runner"
    if not machine.is_ignored(root, f"{folder}/state.json") and not machine.tracked(root, folder):
        yield Finding(
            "git",
            Status.WARN,
            f"{folder} is not ignored",
            "A state that is committed goes back in time with a checkout.",
            "Add a line to .gitignore:",
            (f"echo {folder}/ >> {shlex.quote(str(root / '.gitignore'))}",),
        )
    if project is not None and project.state_folder and _has_workflow(root):
        yield Finding(
            "workflows",
            Status.FAIL,
            f"there are workflows of runner, and the state is in the folder {project.state}",
            "A machine of GitHub keeps no folder: each run would ask, and pay for, everything again.",
            "Put the state on a branch, in runner.yaml: state: git:batch-state, blobs: {store: git}",
        )


def _has_workflow(root: Path) -> bool:
    """Whether a workflow applies: one that only plans does no harm."""
    folder = root / ".github" / "workflows"
    found = (path for path in sorted(folder.glob("*.y*ml"))[:50] if path.is_file() and path.stat().st_size < 200_000)
    return any("/runner/.github/workflows/apply.yml@" in path.read_text("utf-8", "replace") for path in found)
