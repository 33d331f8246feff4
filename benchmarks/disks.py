"""Disks that are full, read-only or broken, by the kernel's own errors.

``python -m benchmarks.disks``            all of it
``python -m benchmarks.disks --only full`` what needs no strace

* full: the state folder, the queue of single questions or the outputs lie on a tiny tmpfs with room for so many pages,
  from none up to enough, while a job is submitted or collected;
* nameless: the same, where it is not bytes but files for which there is no room;
* read-only: the same disk, remounted;
* calls: ``strace`` lets the Nth fsync, rename, mkdir, write … of a whole apply fail (ENOSPC, EIO, EROFS), once or from
  then on.

Each time: a clear error or none, the state whole and not older; then, with the disk mended, applies have to finish, and
the simulator's bill may show nothing twice.  Mounts are made in a namespace of their own, which needs Linux, `unshare`
from util-linux and a kernel that lets users have such namespaces (or root).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.faults.places import provider
from benchmarks.faults.project import ASKED, write_project
from benchmarks.faults.verdict import Evidence, judge
from benchmarks.processes import Ended, Server, age, jsonl, run, serving
from runner.edge.files import TEMPORARY

INSIDE = "RUNNER_DISKS_INSIDE"
"""Set once we are in a namespace where we may mount."""
PLACES = ("openai-openai", "online")
PAGE = 4096
SIZE = 256
"""Pages of the small disk."""
ROOM = 12
"""So many free pages are enough for the whole job."""
NAMES = 24
"""So many further files, too."""
ROUNDS = 8
CALLS = {
    "fsync": ("EIO", "ENOSPC"),
    "rename": ("ENOSPC", "EROFS", "EIO"),
    "mkdir": ("ENOSPC", "EROFS"),
    "write": ("ENOSPC", "EIO"),
    "ftruncate": ("EIO",),
    "chmod": ("EIO",),
}
"""System calls and the errors that each is made to fail with."""
REASONS = ("No space left on device", "Read-only file system", "Input/output error")


@dataclass
class Trial:
    """One job on a bad disk."""

    root: Path
    server: Server
    place: str
    name: str
    breaches: list[str] = field(default_factory=list)
    mute: bool = False
    """Standard error is no better than the disk."""
    failed: bool = False
    """The bad disk was felt: the command ended with an error."""

    def __post_init__(self) -> None:
        write_project(self.root, provider(self.place, self.server.url), ASKED[False])

    def apply(self, *args: str, under: Sequence[str] = ()) -> Ended:
        serial = self.serial()
        ended = run("apply", "--yes", *args, cwd=self.root, under=under)
        self.failed |= ended.code == 1
        said = ended.out + ended.err
        if ended.code == 70 or "Traceback" in said or "bug in runner" in said:
            self.breaches.append(f"a bug: {said[-1000:]}")
        if ended.code == 1:
            if not self.mute:
                self._check_words(said)
            if left := [path.name for path in self.root.rglob(f"{TEMPORARY}*")]:
                self.breaches.append(f"what was not finished still takes room: {', '.join(left)}")
        if self.serial() < serial:
            self.breaches.append(f"the state went back from serial {serial} to {self.serial()}")
        return ended

    def _check_words(self, said: str) -> None:
        """What was refused, by whom, and how to go on: all three."""
        if not re.search(rf"(/|standard output).*({'|'.join(REASONS)})", said):
            self.breaches.append(f"neither the place nor the reason is told: {said[-1000:]}")
        if not re.search("run the same command again|apply again|adopt them", said):
            self.breaches.append(f"the way on is not told: {said[-1000:]}")

    def serial(self) -> int:
        try:
            return int(self.state()["serial"])
        except FileNotFoundError:
            return 0
        except ValueError as error:
            self.breaches.append(f"the state cannot be read: {error}")
            return 0

    def state(self) -> Any:
        return json.loads((self.root / ".runner/state.json").read_bytes())

    def finish(self) -> None:
        """With a good disk: until there is nothing to do, and then the bill."""
        for _ in range(ROUNDS):
            age(self.root)
            ended = run("apply", "--yes", "--wait", cwd=self.root)
            if ended.code != 0:
                self.breaches.append(f"an apply on a good disk ended with {ended.code}: {ended.out}{ended.err}")
                return
            if "Nothing to do" in ended.out:
                break
        outputs = {"alpha": jsonl(self.root / "outputs/alpha.jsonl")}
        online = self.place == "online"
        evidence = Evidence(ASKED[False], outputs, self.server.requests(), self.state(), online)
        self.breaches += judge(evidence).breaches


# ---- disks -----------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(at: Path) -> Iterator[None]:
    """A disk of :data:`SIZE` pages, mounted there."""
    at.mkdir(parents=True, exist_ok=True)
    _call("mount", "-t", "tmpfs", "-o", f"size={SIZE * PAGE},nr_inodes={SIZE}", "tmpfs", str(at))
    try:
        yield
    finally:
        _call("umount", "--lazy", str(at))


@contextmanager
def nearly_full(disk: Path, pages: int) -> Iterator[None]:
    """So many pages are free, until it ends."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(b"x" * max(0, free.f_bavail * free.f_frsize - pages * PAGE))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def nameless(disk: Path, names: int) -> Iterator[None]:
    """There is room for so many further files, until it ends."""
    used = os.statvfs(disk)
    _call("mount", "-o", f"remount,nr_inodes={used.f_files - used.f_ffree + names}", str(disk))
    try:
        yield
    finally:
        _call("mount", "-o", f"remount,nr_inodes={SIZE}", str(disk))


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    _call("mount", "-o", "remount,ro", str(disk))
    try:
        yield
    finally:
        _call("mount", "-o", "remount,rw", str(disk))


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


# ---- trials ----------------------------------------------------------------------------------------------------------

Bad = Callable[[Path], Any]
"""What is wrong with the disk at a path, as a context manager."""


def on_small_disk(trial: Trial, where: str, bad: Bad, *, collecting: bool) -> None:
    """Submit, or collect what was submitted, on a bad disk; then all is well again."""
    disk = trial.root / where
    with small_disk(disk):
        if collecting:
            trial.apply()
        with bad(disk):
            trial.apply("--wait")
        trial.finish()


def full_disks() -> Iterator[tuple[str, str, Callable[[Trial], None]]]:
    """Of every size that makes a difference, at every place: name, place and what happens there."""
    for place in PLACES:
        for where, pages in (*((".runner", pages) for pages in range(ROOM + 1)), ("outputs", 0)):
            for collecting in (False, True):

                def play(trial: Trial, where: str = where, pages: int = pages, collecting: bool = collecting) -> None:
                    on_small_disk(trial, where, lambda disk: nearly_full(disk, pages), collecting=collecting)

                yield f"full/{place}/{where}/{pages}/{'collect' if collecting else 'submit'}", place, play


def nameless_disks() -> Iterator[tuple[str, str, Callable[[Trial], None]]]:
    for place in PLACES:
        for names in range(NAMES + 1):

            def play(trial: Trial, names: int = names) -> None:
                on_small_disk(trial, ".runner", lambda disk: nameless(disk, names), collecting=False)

            yield f"nameless/{place}/.runner/{names}", place, play


def read_only_disks() -> Iterator[tuple[str, str, Callable[[Trial], None]]]:
    for place in PLACES:
        for where in (".runner", "outputs"):
            for collecting in (False, True):

                def play(trial: Trial, where: str = where, collecting: bool = collecting) -> None:
                    on_small_disk(trial, where, read_only, collecting=collecting)

                yield f"read-only/{place}/{where}/{'collect' if collecting else 'submit'}", place, play


def failing_call(trial: Trial, call: str, error: str, when: str) -> bool:
    """A whole apply of which one call, or all from one on, fail; whether there was such a call."""
    log = trial.root.parent / "strace.log"
    trial.mute = call == "write" and when.endswith("+")
    strace = ("strace", "-f", "--seccomp-bpf", "-o", str(log), "-e", f"trace={call}")
    trial.apply("--wait", under=(*strace, "-e", f"inject={call}:error={error}:when={when}"))
    injected = "(INJECTED)" in log.read_text(errors="replace")
    trial.finish()
    return injected


# ---- all of them -----------------------------------------------------------------------------------------------------


@contextmanager
def trial(place: str, name: str) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory(prefix="disks-") as folder, serving(Path(folder) / "server") as server:
        yield Trial(Path(folder) / "project", server, place, name)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.disks", description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="trials whose name begins so, such as full/online or calls/fsync")
    options = parser.parse_args()
    if INSIDE not in os.environ:
        command = ["unshare", "-Urm", sys.executable, "-m", "benchmarks.disks", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, INSIDE: "1"}).returncode
    with ThreadPoolExecutor(options.jobs) as pool:
        trials = [trial for some in pool.map(lambda each: each(), _wanted(options.only)) for trial in some]
    kinds = Counter(trial.name.partition("/")[0] for trial in trials)
    broken = [trial for trial in trials if trial.breaches]
    for one in broken[:10]:
        print(f"\n{one.name}: {'; '.join(one.breaches)}\n    python -m benchmarks.disks --only {one.name}")
    print(", ".join(f"{kind} {number}" for kind, number in kinds.items()))
    felt = sum(trial.failed for trial in trials)
    print(f"bad disks {len(trials)}, felt {felt}, broken promises {len(broken)}")
    return 1 if broken or not trials else 0


def _wanted(only: str) -> Iterator[Callable[[], list[Trial]]]:
    for name, place, play in (*full_disks(), *nameless_disks(), *read_only_disks()):
        if _is_wanted(name, only):
            yield partial(_on_disk, name, place, play)
    for place in PLACES:
        for call, errors in CALLS.items():
            for error in errors:
                if _is_wanted(f"calls/{call}/{error}/{place}", only):
                    yield partial(_sweep, place, call, error)


def _on_disk(name: str, place: str, play: Callable[[Trial], None]) -> list[Trial]:
    with trial(place, name) as one:
        play(one)
    return [_told(one)]


def _sweep(place: str, call: str, error: str) -> list[Trial]:
    """The first call of its kind, the second and so on, until there is none; a full disk stays full."""
    trials: list[Trial] = []
    for nth in count(1):
        when = f"{nth}+" if error == "ENOSPC" else str(nth)
        with trial(place, f"calls/{call}/{error}/{place}/{when}") as one:
            struck = failing_call(one, call, error, when)
        if not struck:
            break
        trials.append(_told(one))
    return trials


def _is_wanted(name: str, only: str) -> bool:
    return name.startswith(only) or only.startswith(re.sub(r"/\d+\+?$", "", name))


def _told(one: Trial) -> Trial:
    print(f"{one.name}{': ' + one.breaches[0][:300] if one.breaches else ''}", file=sys.stderr, flush=True)
    return one


if __name__ == "__main__":
    sys.exit(main())
