"""Disks that are full, read-only or limit a file's size, by the kernel's own errors: a clear word, nothing paid twice.

`python -m benchmarks.disks` does the same at every size of a disk, and with errors at each system call in turn.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers import COMMAND, PATIENCE, Done, Nursery, Project, Served, environment, finished, serving

from runner.edge.files import TEMPORARY

FULL = "No space left on device"
READ_ONLY = "Read-only file system"
TOO_LARGE = "File too large"
KEYS = {"TEST_WANQING_KEY": "sk-0123456789abcdef"}
PAGE = 4096
ROOM = 64 * PAGE
"""Enough for a small job."""
ROWS = 4
SLOW_START = {"on": "create", "do": "latency", "seconds": 1.0, "times": 2}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


class Disk:
    """A disk of ours, mounted over a folder for those who run in its namespace; gone with the process that holds it."""

    def __init__(self, at: Path, options: str) -> None:
        at.mkdir(parents=True, exist_ok=True)
        self._at = at
        mount = 'mount -t tmpfs -o "$1" tmpfs "$2" && echo mounted && exec cat'
        self._holder = subprocess.Popen(
            ["unshare", "-Urm", "sh", "-c", mount, "sh", options, str(at)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "mounted\n":
            pytest.skip(f"this machine lets nobody mount a disk of their own: {self.close()}")
        self.seen = Path(f"/proc/{self._holder.pid}/root{at}")
        """The disk, as it is seen from outside of the namespace."""

    def close(self) -> str:
        """Returns what there is to be said."""
        return self._holder.communicate(timeout=PATIENCE)[1]

    def spawn(self, project: Project, *args: str) -> subprocess.Popen[bytes]:
        inside = ("nsenter", "--preserve-credentials", "--user", "--mount", f"--target={self._holder.pid}")
        return subprocess.Popen(
            [*inside, "sh", "-c", 'cd "$0" && exec "$@"', str(project.root), *args],
            env=environment(KEYS),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, project: Project, *args: str) -> Done:
        """`runner ARGS`, with the disk."""
        return finished(self.spawn(project, *COMMAND, *args))

    def apply(self, project: Project) -> Done:
        return self.run(project, "apply", "--yes", "--wait")

    def remount(self, project: Project, options: str) -> None:
        done = finished(self.spawn(project, "mount", "-o", f"remount,{options}", str(self._at)))
        assert done.code == 0, done.err

    def fill(self, free: int = 0) -> None:
        """Leave so many pages."""
        with (self.seen / "ballast").open("wb", buffering=0) as ballast:
            left = free
            for page in [b"x" * PAGE] * 100_000:
                try:
                    ballast.write(page)
                except OSError:
                    ballast.truncate(max(0, ballast.tell() - left * PAGE))
                    return
        raise AssertionError("this disk has no end")

    def free(self) -> None:
        (self.seen / "ballast").unlink()

    def left_behind(self) -> list[str]:
        return [path.name for path in self.seen.rglob(".tmp-*")]


@contextmanager
def mounted(at: Path, options: str = f"size={ROOM}") -> Iterator[Disk]:
    disk = Disk(at, options)
    try:
        yield disk
    finally:
        disk.close()


@pytest.fixture
def plant(tmp_path: Path, server: Served) -> Iterator[Callable[..., Project]]:
    """Projects of two tasks, each of a name of its own."""
    made: list[Project] = []

    def plant(**provider: Any) -> Project:
        name = f"{tmp_path.name[:40].lower().replace('_', '-')}-{len(made)}"
        project = Project(tmp_path / name, {"demo": provider or server.provider(max_requests=ROWS // 2)})
        project.spec(name, rows=ROWS)
        made.append(project)
        return project

    yield plant
    server.faults()


def name_of(project: Project) -> str:
    return project.root.name


def refused(done: Done, reason: str, *places: str) -> None:
    """An error of one line that says where and why, and then how to go on."""
    assert done.code == 1, done
    assert re.search(rf"^Error: .*({'|'.join(places)}).*: {reason}$", done.err, re.MULTILINE), done.err
    assert re.search("run the same command again|apply again", done.err), done.err


def serial(state: Path) -> int:
    """Of the state in a folder, which has to be whole; 0 where there is none yet."""
    document = state / "state.json"
    return json.loads(document.read_bytes())["serial"] if document.exists() else 0


def paid_once(server: Served, project: Project, disk: Disk | None = None) -> None:
    """Now that the disk is well, apply finishes by itself; each row has its answer, and each request was paid once."""
    done = disk.apply(project) if disk else project.run("apply", "--yes", "--wait", env=KEYS)
    assert done.code == 0, done
    assert f"{ROWS} succeeded, 0 failed, 0 missing of {ROWS} rows" in done.out
    assert server.answered(name_of(project)) == ROWS
    assert [request for request in server.bill()["duplicates"] if request["custom_id"]] == []


# ---- a disk of our own ---------------------------------------------------------------------------------------------


def test_a_full_disk_under_the_state(plant: Callable[..., Project], server: Served) -> None:
    """With room for a part of the job, apply says what is full; the state is whole, and grows once there is room."""
    felt = 0
    for pages in (0, 2, 4, 6):
        project = plant()
        with mounted(project.root / ".runner") as disk:
            disk.fill(free=pages)
            done = disk.apply(project)
            if done.code:
                felt += 1
                refused(done, FULL, r"\.runner/")
                assert disk.left_behind() == []
            before = serial(disk.seen)
            disk.free()
            paid_once(server, project, disk)
            assert serial(disk.seen) >= before
    assert felt >= 3


def test_a_disk_without_room_for_another_file(plant: Callable[..., Project], server: Served) -> None:
    """The same where it is names, not bytes, that are used up."""
    for names in (1, 12):
        project = plant()
        with mounted(project.root / ".runner", f"size={ROOM},nr_inodes={names}") as disk:
            refused(disk.apply(project), FULL, r"\.runner/")
            assert disk.left_behind() == []
            disk.remount(project, "nr_inodes=1000")
            paid_once(server, project, disk)


def test_a_read_only_state(plant: Callable[..., Project], server: Served) -> None:
    """Before the first task nothing is asked of the provider; after it, the results wait."""
    project = plant()
    with mounted(project.root / ".runner") as disk:
        disk.remount(project, "ro")
        refused(disk.apply(project), READ_ONLY, r"\.runner")
        assert server.answered(name_of(project)) == 0
        disk.remount(project, "rw")
        assert disk.run(project, "apply", "--yes").code == 0
        before = serial(disk.seen)
        disk.remount(project, "ro")
        refused(disk.apply(project), READ_ONLY, r"\.runner")
        assert serial(disk.seen) == before
        disk.remount(project, "rw")
        paid_once(server, project, disk)


def test_results_that_find_no_room(plant: Callable[..., Project], server: Served) -> None:
    """Collecting onto a full disk leaves no half of a result, takes no room, and is done again."""
    project = plant()
    with mounted(project.root / ".runner") as disk:
        assert disk.run(project, "apply", "--yes").code == 0
        disk.fill(free=1)  # for the state, but not for what two tasks came to
        refused(disk.apply(project), FULL, r"\.runner/blobs")
        assert disk.left_behind() == []
        assert phases(disk.seen) == ["ended", "ended"]
        disk.free()
        paid_once(server, project, disk)


@pytest.mark.parametrize(("options", "reason"), [(f"size={PAGE}", FULL), ("ro", READ_ONLY)])
def test_an_output_that_finds_no_room(options: str, reason: str, plant: Callable[..., Project], server: Served) -> None:
    """The answers are kept, and the next apply writes the output without asking anybody."""
    project = plant()
    with mounted(project.root / "outputs", f"size={ROOM}") as disk:
        disk.remount(project, options) if options == "ro" else disk.fill()
        refused(disk.apply(project), reason, "outputs/")
        assert server.answered(name_of(project)) == ROWS
        disk.remount(project, "rw") if options == "ro" else disk.free()
        assert disk.left_behind() == []
        paid_once(server, project, disk)
        lines = (disk.seen / f"{name_of(project)}.jsonl").read_text().splitlines()
        assert [json.loads(line)["status"] for line in lines] == ["succeeded"] * ROWS


def test_a_queue_of_questions_that_finds_no_room(plant: Callable[..., Project], server: Served) -> None:
    """Answers written before the disk was full are kept; only those in flight just then are asked again."""
    rows, at_once = 24, 2
    project = plant(type="online", base_url=server.url, api_key={"env": "TEST_WANQING_KEY"}, concurrency=at_once)
    project.rows(rows, name_of(project))
    before = asked(server)
    with mounted(project.root / ".runner/online") as disk:
        disk.fill(free=4)  # two for the questions, two for some of the answers
        refused(disk.apply(project), FULL, r"answers\.jsonl")
        (answers,) = disk.seen.rglob("answers.jsonl")
        kept = len(answers.read_text().splitlines())
        assert 0 < kept < rows
        assert asked(server) - before <= kept + at_once
        disk.free()
        done = disk.apply(project)
        assert done.code == 0, done
    assert project.statuses(name_of(project)) == ["succeeded"] * rows
    assert asked(server) - before <= rows + at_once


def asked(server: Served) -> int:
    """Single questions so far."""
    return int(server.bill()["online"]["requests"])


@pytest.mark.parametrize("wire", ["lists", "no list"])
def test_the_id_of_a_started_task_finds_no_room(wire: str, plant: Callable[..., Project], server: Served) -> None:
    """The one moment in which something is paid and not yet known.  The error holds the ids; where tasks can be listed,
    the next apply finds them by itself, and elsewhere the commands that were printed bring it to its end."""
    provider = server.provider if wire == "lists" else server.wanqing
    project = plant(**provider(max_requests=ROWS // 2))
    server.faults(SLOW_START)
    with mounted(project.root / ".runner") as disk:
        process = disk.spawn(project, *COMMAND, "apply", "--yes", "--wait")
        until(lambda: phases(disk.seen) == ["staged", "staged"])
        disk.fill()
        done = finished(process)
        assert done.code == 1, done
        assert re.search(rf"^Error: \d tasks were started.*: \S+/\.runner/\S+: {FULL}$", done.err, re.MULTILINE), (
            done.err
        )
        commands = re.findall(r"^    runner (state adopt t-\w+ \S+)$", done.err, re.MULTILINE)
        made = {task["task"] for task in server.billed(name_of(project))}
        assert {command.split()[-1] for command in commands} == made
        assert phases(disk.seen) == ["staged", "staged"]
        disk.free()
        for command in commands if wire == "no list" else []:
            assert disk.run(project, *command.split()).code == 0
        paid_once(server, project, disk)


def phases(state: Path) -> list[str]:
    """Where the tasks stand, as the state says."""
    document = state / "state.json"
    tasks = json.loads(document.read_bytes())["tasks"] if document.exists() else {}
    return [task.get("phase", "begun") for task in tasks.values()]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


# ---- what every machine can do -------------------------------------------------------------------------------------


def test_a_limit_on_the_size_of_files(plant: Callable[..., Project], server: Served) -> None:
    """The kernel lets no file grow further: wherever that strikes first, it is said, and nothing is paid twice."""
    felt = 0
    for size in (0, 700, 1_500):
        project = plant()
        process = spawn_limited(size, project)
        done = finished(process)
        if done.code:
            felt += 1
            refused(done, TOO_LARGE, r"\.runner/", "outputs/")
        assert [*project.root.rglob(".tmp-*")] == []
        paid_once(server, project)
    assert felt >= 2


def test_results_larger_than_a_file_may_be(plant: Callable[..., Project], server: Served) -> None:
    """They fail as they are read back, since what is in memory is written first: into a file without a name as yet."""
    rows = 60
    project = plant(**server.provider())
    project.rows(rows, name_of(project))
    assert project.run("apply", "--yes").code == 0
    refused(finished(spawn_limited(20_000, project)), TOO_LARGE, r"\.runner/blobs")
    assert project.run("apply", "--yes", "--wait").code == 0
    assert server.answered(name_of(project)) == rows


def spawn_limited(size: int, project: Project) -> subprocess.Popen[bytes]:
    """`runner apply` that may not write files of more than ``size`` bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return subprocess.Popen(
        [*COMMAND, "apply", "--yes", "--wait"],
        cwd=project.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=limit,
    )


def test_words_that_find_no_room(plant: Callable[..., Project], server: Served) -> None:
    """A report that goes to a full disk: standard output is to blame, no file of ours, and nothing was started."""
    project = plant()
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "apply", "--yes", "--wait"],
            cwd=project.root,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
        )
    refused(Done(done.returncode, "", done.stderr.decode()), FULL, "standard output")
    paid_once(server, project)


# ---- what a killed run leaves --------------------------------------------------------------------------------------


def test_half_an_output_of_a_killed_run_goes(plant: Callable[..., Project], server: Served) -> None:
    """It lies in a folder that is not ours: with the next output that is written there, and no file but it."""
    project = plant()
    paid_once(server, project)
    output = project.root / "outputs" / f"{name_of(project)}.jsonl"
    output.unlink()
    (half,) = killed_over(output.parent, project, "apply", "--yes", "--wait")
    (output.parent / ".tmp-theirs").touch()
    long_ago(half, output.parent / ".tmp-theirs")
    recent = output.parent / f"{TEMPORARY}of_another_run"
    recent.touch()
    paid_once(server, project)
    assert {*output.parent.iterdir()} == {output, recent, output.parent / ".tmp-theirs"}


def test_half_a_ledger_of_a_killed_run_goes(plant: Callable[..., Project]) -> None:
    """With the next one that is kept, a day later."""
    project = plant()
    ledgers = project.root / ".runner/cache/ledgers"
    project.rows(9_000, name_of(project))
    (half,) = killed_over(ledgers, project, "plan")
    long_ago(half)
    assert project.requests() == 9_000
    assert [path.suffix for path in ledgers.iterdir()] == [".ledger"]


def killed_over(folder: Path, project: Project, *args: str) -> list[Path]:
    """What is unfinished in ``folder`` once `runner ARGS` was killed that was about to finish it."""
    nursery = Nursery()
    try:
        for at in range(1, 40):
            assert nursery.run(project.root, *args, at=at).code == -9
            if half := [*folder.glob(f"{TEMPORARY}*")]:
                return half
    finally:
        nursery.close()
    raise AssertionError(f"nothing was being written in {folder}")


def long_ago(*paths: Path) -> None:
    """They were last touched the day before yesterday."""
    for path in paths:
        os.utime(path, (time.time() - 172_800,) * 2)
