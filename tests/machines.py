"""Two machines that share nothing but their specs, a state far away and a provider."""

from __future__ import annotations

import shutil
from pathlib import Path

from helpers import Project, Served, finished, spawn

ROWS = 9


def machine(root: Path, served: Served, state: str) -> Project:
    """A project whose state is ``state`` and whose provider is ``served``."""
    project = Project(root, providers={"demo": served.provider()})
    project.configure(state=state)
    project.spec(rows=ROWS)
    return project


def another(project: Project, root: Path) -> Project:
    """A checkout of the same project elsewhere: its specs and runner.yaml, and nothing that was made there."""
    shutil.copytree(project.root / "specs", root / "specs")
    shutil.copy(project.root / "runner.yaml", root)
    return Project(root, project.providers, project.settings)


def whole_cycle(tmp_path: Path, served: Served, state: str) -> None:
    """What one machine has applied is done for another, which has the same answers of it and pays for nothing."""
    here = machine(tmp_path / "here", served, state)
    assert here.requests() == ROWS
    here.finish()
    paid = served.bill()
    assert (paid["requests"], paid["duplicates"]) == (ROWS, [])

    there = another(here, tmp_path / "there")
    assert there.requests() == 0
    there.finish()
    assert served.bill() == paid
    assert there.output() == here.output()
    assert there.statuses() == ["succeeded"] * ROWS
    assert not (here.root / ".runner/state.json").exists()


def two_at_once(tmp_path: Path, served: Served, state: str) -> None:
    """Two that apply at the same moment both end well, and each request is paid for once."""
    here = machine(tmp_path / "here", served, state)
    there = another(here, tmp_path / "there")
    runs = [spawn("apply", "--yes", "--wait", cwd=project.root) for project in (here, there)]
    for run in runs:
        done = finished(run)
        assert done.code == 0, done
    assert [project.requests() for project in (here, there)] == [0, 0]
    bill = served.bill()
    assert (bill["requests"], bill["duplicates"]) == (ROWS, [])
    here.finish()
    assert here.statuses() == ["succeeded"] * ROWS
