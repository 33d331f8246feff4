"""Paths that lead elsewhere: nothing outside is read, nothing that matters is written over, nothing is waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from confined import confined
from helpers import Project

from runner.edge.grounds import Grounds
from runner.edge.outputs import write_output
from runner.edge.paths import data_url, inside, template_source
from runner.errors import RunnerError

SECRET = "wq-very-secret-key-0123456789"
LINKS = {
    "environ.jsonl": "/proc/self/environ",
    "memory.jsonl": "/proc/self/mem",
    "descriptor.jsonl": "/proc/self/fd/0",
    "zero.jsonl": "/dev/zero",
    "stdin.jsonl": "/dev/stdin",
    "outside.jsonl": "../outside.jsonl",
    "round.jsonl": "round-about.jsonl",
    "round-about.jsonl": "round.jsonl",
    "itself.jsonl": "itself.jsonl",
    "secret.jsonl": "keys/wanqing.txt",
    "twice.jsonl": "secret.jsonl",
    "up": "..",
    "proc": "/proc",
    "git": ".git",
    "github": ".github",
    "specifications": "specs",
    "memory": ".runner",
    "dangling.jsonl": ".git/new.jsonl",
    "root": ".",
}
OTHERS = ("pipe.jsonl", "socket.jsonl", "folder.jsonl")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project full of traps; what none of its specs may see lies beside it."""
    (tmp_path / "outside.jsonl").write_text(f'{{"q": "{SECRET}"}}\n')
    made = Project(tmp_path / "p")
    made.providers["real"] = {"type": "wanqing", "project_id": "p", "api_key": {"file": "keys/wanqing.txt"}}
    made.write("keys/wanqing.txt", SECRET)
    for folder in (".git", ".github", ".runner", "schemas", "folder.jsonl"):
        (made.root / folder).mkdir()
    for name, target in LINKS.items():
        (made.root / name).symlink_to(target)
    os.mkfifo(made.root / "pipe.jsonl")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(made.root)  # the address of a socket is short
        bound.bind("socket.jsonl")
        os.chdir(here)
    made.spec(rows=1)
    return made


READ = [
    *(name for name in LINKS if "." in name and name != "dangling.jsonl"),
    *OTHERS,
    *("up/outside.jsonl", "proc/self/environ", "root/../outside.jsonl", "git/config.jsonl", "memory/state.jsonl"),
    *("/proc/self/environ", "/dev/zero", "//dev/zero", "/etc/passwd", "../outside.jsonl", "./../outside.jsonl"),
    *("specs/../../outside.jsonl", "specs/data/../../../outside.jsonl", "~/x.jsonl", "~root/x.jsonl", "$HOME/x.jsonl"),
    *("file:///etc/passwd", "http://127.0.0.1:9/x.jsonl", "C:\\x.jsonl", "..\\outside.jsonl", "specs/data/job.jsonl\0"),
    *(
        "\u202elnosj.jsonl",
        "a\nb.jsonl",
        "a\x1b[2J.jsonl",
        "a\u200b.jsonl",
        "a\x85b.jsonl",
        "keys/wanqing.txt",
        "KEYS/WANQING.TXT",
    ),
    *("x" * 300 + ".jsonl", "x/" * 600 + "a.jsonl", "specs/data/job.jsonl/x.jsonl", "-", "", "."),
]


@pytest.mark.parametrize("path", READ)
def test_no_spec_reads_it(project: Project, path: str) -> None:
    """As an input, a template and a schema alike: a problem at its place, without a word of what lies there."""
    for changes in (
        {"input": {"path": path}},
        {"prompt": {"file": path}},
        {"response": {"schema": path}},
    ):
        project.spec(**changes)
        done = project.call("validate")
        assert done.code == 1, (changes, done.out)
        assert done.out.startswith("specs/job.yaml:"), done.out
        assert SECRET[:8] not in done.out + done.err
        assert all(line.isprintable() for line in (done.out + done.err).splitlines())


@pytest.mark.parametrize("path", [path for path in READ if path and path.isprintable() and len(path) < 200])
def test_no_row_and_no_template_reads_it(project: Project, path: str) -> None:
    """What a row names as its image, or a template includes, goes the same way."""
    grounds = Grounds(project.root, [".runner"], ["keys/wanqing.txt"])
    for read in (template_source, data_url):
        with pytest.raises(RunnerError) as caught:
            read(grounds, path)
        assert SECRET[:8] not in caught.value.message


WRITTEN = [
    *(
        "runner.yaml",
        "RUNNER.yaml",
        "specs/job.yaml",
        "specs/data/job.jsonl",
        "SPECS/Data/JOB.jsonl",
        "specs/new.jsonl",
    ),
    *(".git/x.jsonl", "a/.git/x.jsonl", "a/.GiT/x.jsonl", ".github/x.jsonl", ".GITHUB/x.csv", "schemas/x.jsonl"),
    *(
        "\u017fchemas/x.jsonl",
        ".runner/x.jsonl",
        ".runner/state.json",
        "keys/wanqing.txt",
        "git/x.jsonl",
        "github/x.jsonl",
    ),
    *("specifications/x.jsonl", "memory/x.jsonl", "root/.git/x.jsonl", "root/specs/x.jsonl", "root/root/schemas/x.csv"),
    *("dangling.jsonl", "secret.jsonl", "twice.jsonl", "outside.jsonl", "up/x.jsonl", "zero.jsonl", "folder.jsonl"),
    *(
        "../x.jsonl",
        "/tmp/x.jsonl",
        "outputs/../../x.jsonl",
        "outputs/../.github/x.jsonl",
        "a\nb.jsonl",
        "a\u202eb.jsonl",
    ),
    *("{{ name }}/../../x.jsonl", "{{ vars.up }}/x.jsonl", "{{ vars.git }}/x.jsonl", "{{ vars['git'] ~ '/x' }}.jsonl"),
    *(
        "outputs/x.sh",
        "outputs/x.yaml",
        "outputs/x",
        "outputs/x.jsonl/../../.git/y.jsonl",
        ".gitattributes",
        "x.jsonl\0",
    ),
    *(
        "{{ name.__class__ }}.jsonl",
        "{{ ''.__class__ }}.jsonl",
        "{{ vars.__class__ }}.jsonl",
        "{{ name|attr('x') }}.jsonl",
    ),
    *(
        "{{ 'x' * 10**9 }}.jsonl",
        "{% include 'x' %}.jsonl",
        "{{ range(9) }}.jsonl",
        "{{ self }}.jsonl",
        "{{ lipsum() }}.csv",
    ),
]


@pytest.mark.parametrize("path", WRITTEN)
def test_no_output_lands_there(project: Project, path: str) -> None:
    """Whatever its case, through whatever links, and however its template spells it."""
    project.spec(vars={"up": "..", "git": ".git"}, output={"path": path})
    done = project.call("validate")
    assert done.code == 1, done.out
    assert done.out.startswith("specs/job.yaml:"), done.out


def test_a_file_of_eight_gigabytes_that_takes_no_room(project: Project) -> None:
    """A sparse file is zeros without an end: the first line is already too long."""
    with (project.root / "specs/data/job.jsonl").open("wb") as file:
        file.truncate(8 << 30)
    done = confined(project.root, "validate")
    assert done.code == 1
    assert "specs/data/job.jsonl:1:1: the line is longer than 64 MiB" in done.out


@pytest.mark.parametrize("to", ["runner.yaml", "keys/wanqing.txt", "specs/job.yaml"])
def test_an_output_that_is_another_name_of_a_file(project: Project, to: str) -> None:
    """A hard link cannot be told from a file.  The output takes the name's place, and the file keeps its bytes."""
    before = (project.root / to).read_bytes()
    (project.root / "outputs").mkdir()
    (project.root / "outputs/job.jsonl").hardlink_to(project.root / to)
    project.finish()
    assert (project.root / to).read_bytes() == before
    assert project.statuses() == ["succeeded"]


@pytest.mark.parametrize("trap", ["pipe", "link"])
def test_a_trap_in_the_place_of_the_output(project: Project, trap: str) -> None:
    """Neither is a pipe waited for, nor a link followed that appeared after the check: the name is replaced."""
    target = project.root / "outputs/x.jsonl"
    target.parent.mkdir()
    victim = project.write("victim.txt", "as it was")
    os.mkfifo(target) if trap == "pipe" else target.symlink_to(victim)
    write_output(target, [{"key": "1"}])
    assert not target.is_symlink()
    assert target.read_text() == '{"key": "1"}\n'
    assert victim.read_text() == "as it was"


def test_a_folder_that_became_a_link_after_the_plan(project: Project, tmp_path: Path) -> None:
    """Each use of a path looks at the links anew: what led inside when it was planned is refused where it leads out."""
    grounds = Grounds(project.root)
    (project.root / "outputs").mkdir()
    assert inside(grounds, "outputs/x.jsonl") == project.root / "outputs/x.jsonl"
    (project.root / "outputs").rmdir()
    (project.root / "outputs").symlink_to(tmp_path)
    with pytest.raises(RunnerError, match="leads out of the project"):
        inside(grounds, "outputs/x.jsonl")


@pytest.mark.parametrize("change", [{"output": {"path": "kept/x.jsonl"}}, {"input": {"path": "kept/blobs/x.jsonl"}}])
def test_a_folder_of_blobs_is_as_private_as_the_state(project: Project, change: dict[str, dict[str, str]]) -> None:
    """Where `blobs:` names a folder of its own in the project, no spec reads or writes in it."""
    project.configure(blobs={"store": "kept"})
    project.write("kept/blobs/x.jsonl", '{"id": 1, "q": "?"}\n')
    project.spec("job", 1, **change)
    done = project.call("validate")
    assert done.code == 1
    assert "belongs to runner's state" in done.out
