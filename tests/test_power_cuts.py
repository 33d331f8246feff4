"""The machine loses its power: what was flushed is all that is left, and nothing is lost or paid twice by it."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults.durable import Durable
from benchmarks.faults.schedule import Point, Run, Schedule, Upset
from benchmarks.faults.theatre import Story, Theatre

SEEDS = range(20)

numbers = itertools.count(1)


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    theatre = Theatre(tmp_path_factory.mktemp("theatre"))
    yield theatre
    theatre.close()


@pytest.fixture(scope="module")
def undisturbed(theatre: Theatre) -> Story:
    story = theatre.play(Schedule("simulator", rounds=((Run(),),)))
    assert not story.breaches
    return story


def run(*upsets: tuple[str, int, str], wait: bool = True) -> tuple[Run, ...]:
    return (Run(tuple(Upset(Point(effect, nth), manner) for effect, nth, manner in upsets), wait),)


def play(theatre: Theatre, *rounds: tuple[Run, ...]) -> Story:
    story = theatre.play(Schedule("simulator", next(numbers), rounds))
    assert story.breaches == (), (str(story.schedule), story.said)
    return story


# ---- a whole apply -------------------------------------------------------------------------------------------------


def test_at_changes_of_files(theatre: Theatre, undisturbed: Story) -> None:
    """After every third file or folder that an apply makes, renames or flushes: the next applies pay nothing twice.

    The campaign of `benchmarks.faults` draws from all of them.
    """
    points = [
        point for point in sorted(set(undisturbed.trace)) if point.effect.startswith(("make ", "rename ", "flush "))
    ]
    assert len(points) > 60
    stories = [play(theatre, run((point.effect, point.nth, "cut-after"))) for point in points[::3]]
    assert sum(story.cuts for story in stories) > len(points) / 6  # which effect comes first is up to threads


def test_after_a_run_that_was_killed_before_it_could_flush(theatre: Theatre, undisturbed: Story) -> None:
    """What it had renamed already is there, and not yet safe: the run that finds it there makes sure of it."""
    flushes = [point for point in sorted(set(undisturbed.trace)) if point.effect.startswith("flush .runner/blobs/")]
    cuts = 0
    for killed, nth in itertools.product(flushes[:4], range(2, 6)):
        cuts += play(
            theatre,
            run((killed.effect, killed.nth, "before")),
            run(("flush .runner", nth, "cut-after")),
        ).cuts
    assert cuts > 4


def test_after_a_flush_that_failed(theatre: Theatre, undisturbed: Story) -> None:
    """A state that is there, and whose name nobody could flush, is made safe by whoever reads it."""
    flushes = sorted({point.nth for point in undisturbed.trace if point.effect == "flush .runner"})
    calls = sorted({point.effect for point in undisturbed.trace if point.effect.startswith(("GET ", "POST "))})
    cuts = 0
    for nth, call in zip(flushes, itertools.cycle(calls), strict=False):
        cuts += play(theatre, run(("flush .runner", nth, "read-only")), run((call, 1, "cut-before"))).cuts
    assert cuts > 2


# ---- what a cut leaves -----------------------------------------------------------------------------------------------


class Disk:
    """A folder whose power can be cut."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "root"
        self.root.mkdir()
        self.durable = Durable(self.root, tmp_path / "memory")

    def write(self, name: str, data: bytes, *, flushed: bool) -> Path:
        path = self.root / name
        path.write_bytes(data)
        if flushed:
            self.durable.flushed_file(path)
        return path

    def cut(self, seed: int) -> dict[str, bytes]:
        self.durable.cut(random.Random(seed))
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def left(disk: Disk, build: object) -> list[dict[str, bytes]]:
    """What is left after as many cuts as there are seeds, each of the same."""
    found = []
    for seed in SEEDS:
        for path in disk.root.iterdir():
            path.unlink()
        build()  # type: ignore[operator]
        found.append(disk.cut(seed))
    return found


def test_what_was_there_before_stays(disk: Disk) -> None:
    """Files and folders from the beginning are safe, down to their bytes."""
    (disk.root / "deep").mkdir()
    (disk.root / "deep/file").write_bytes(b"old")
    disk.durable.begin()
    assert disk.cut(1) == {"deep/file": b"old"}
    assert disk.cut(2) == {"deep/file": b"old"}


def test_a_flushed_name_with_flushed_bytes_stays(disk: Disk) -> None:
    """Written, flushed, and its folder flushed: safe whatever happens."""

    def build() -> None:
        disk.durable.begin()
        disk.write("file", b"new", flushed=True)
        disk.durable.flushed_folder(disk.root)

    assert left(disk, build) == [{"file": b"new"}] * len(SEEDS)


def test_bytes_that_were_not_flushed_may_be_lost(disk: Disk) -> None:
    """The name is safe; of the bytes any beginning may be left."""

    def build() -> None:
        disk.durable.begin()
        disk.write("file", b"new", flushed=False)
        disk.durable.flushed_folder(disk.root)

    found = {files["file"] for files in left(disk, build)}
    assert {b"", b"new"} < found <= {b"", b"n", b"ne", b"new"}


def test_a_name_that_was_not_flushed_may_be_lost(disk: Disk) -> None:
    """Its bytes are safe, and nobody may find them."""

    def build() -> None:
        disk.durable.begin()
        disk.write("file", b"new", flushed=True)

    assert {tuple(files.items()) for files in left(disk, build)} == {(), (("file", b"new"),)}


def test_a_file_replaced_is_the_old_or_the_new(disk: Disk) -> None:
    """A rename that was not flushed may be undone; the file is whole either way."""

    def build() -> None:
        disk.write("file", b"old", flushed=False)
        disk.durable.begin()
        disk.write("beside", b"new", flushed=True).replace(disk.root / "file")

    found = left(disk, build)
    assert {files["file"] for files in found} == {b"old", b"new"}
    assert {name for files in found for name in files} == {"file"}


def test_what_was_removed_may_come_back(disk: Disk) -> None:
    """A name taken away is gone for good only once its folder was flushed."""

    def build() -> None:
        disk.write("file", b"old", flushed=False)
        disk.durable.begin()
        (disk.root / "file").unlink()

    assert {tuple(files.items()) for files in left(disk, build)} == {(), (("file", b"old"),)}


def test_appended_bytes_are_kept_up_to_any_length(disk: Disk) -> None:
    """What was flushed before them is safe."""

    def build() -> None:
        disk.write("file", b"safe", flushed=False)
        disk.durable.begin()
        with (disk.root / "file").open("ab") as file:
            file.write(b"+more")

    found = {files["file"] for files in left(disk, build)}
    assert all(b"safe+more".startswith(data) and data.startswith(b"safe") for data in found)
    assert len(found) > 2


def test_a_new_folder_does_not_inherit_the_number_of_an_old_one(disk: Disk) -> None:
    """A file system may give a new folder the inode of one that is gone."""
    folder = disk.root / "folder"
    folder.mkdir()
    disk.write("folder/file", b"old", flushed=False)
    disk.durable.begin()
    (folder / "file").unlink()
    folder.rmdir()
    folder.mkdir()
    disk.durable.made_folder(folder)
    disk.durable.flushed_folder(disk.root)
    assert disk.cut(0) == {}
    assert os.listdir(disk.root) == ["folder"]  # noqa: PTH208 - the one name
