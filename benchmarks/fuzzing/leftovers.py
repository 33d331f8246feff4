"""What lies beside the state: blobs, and the memory of the embedded simulator.  A disk gives one of them back spoilt.

No command may end as a bug does, and whatever cannot be read is said to be so: nothing that was paid for is asked again
because of it, and the state stays as it was, or goes on as one that can be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzzing.commands import ASKED, EMBEDDED, LOOKS, STATE, Template, call
from benchmarks.fuzzing.mutation import PAGES, mutated_bytes
from benchmarks.fuzzing.target import BELIEVED, LOST, Broken, Target
from runner.simulator.server import read_bill
from runner.state import load

MEMORY = ".runner/simulator"
OF_TASKS = ("shard", "results", "outcomes")


def _places(root: Path) -> dict[str, Path]:
    """Every file in question by what it is, since names differ from run to run; relative to ``root``."""
    document = json.loads((root / STATE).read_bytes())
    blobs: dict[str, str] = {}
    for task in document["tasks"].values():
        blobs |= {f"{task['batch']} {key}": task[key] for key in OF_TASKS}
    for name, batch in document["batches"].items():
        blobs[f"{name} revision"] = batch["covered"]["revision"]
    found = {what: Path(".runner/blobs", name[:2], name) for what, name in blobs.items()}
    for folder in ("files", "results"):
        by_size = sorted((root / MEMORY / folder).iterdir(), key=lambda file: file.stat().st_size)
        found |= {f"simulator {folder} {at}": file.relative_to(root) for at, file in enumerate(by_size)}
    return {**found, "simulator memory": Path(MEMORY, "memory.sqlite3")}


def _answers(root: Path) -> int:
    return sum(int(task["billed"]) for task in read_bill(root / MEMORY)["tasks"])


@contextmanager
def leftovers(folder: Path) -> Iterator[Target]:
    """A project that is done.  Then an output is gone, a row is new, and a file is spoilt."""
    template = Template(folder, EMBEDDED)
    root = template.root
    call(root, "apply", "--yes", "--wait")
    paid = _answers(root)
    (root / "outputs/alpha.jsonl").unlink()
    with (root / "specs/beta.jsonl").open("a") as rows:
        rows.write('{"q": "five?"}\n')
    places = _places(root)
    good = {what: (root / path).read_bytes() for what, path in places.items()}

    def draw(rng: Random) -> bytes:
        what = rng.choice(list(good))
        data = mutated_bytes(rng, good[what], list(good.values())) if rng.random() < 0.8 else rng.choice(PAGES)
        return what.encode() + b"\n" + data

    def run(data: bytes) -> None:
        what, _, spoilt = data.partition(b"\n")
        with template.copied() as copy:
            (copy / places[what.decode()]).write_bytes(spoilt)
            _borne(copy, paid, its_own=b"simulator" not in what)

    yield Target(draw, run)


def _borne(root: Path, paid: int, *, its_own: bool) -> None:
    """``its_own``: the file is runner's, so that its provider comes to an end, and has a bill to be believed."""
    before = (root / STATE).read_bytes()
    for args in LOOKS:
        call(root, *args)
        _expect((root / STATE).read_bytes() == before, f"runner {' '.join(args)} changed the state", LOST)
    done = call(root, "apply", "--yes", "--json", *(["--wait"] if its_own else []))
    _expect(done.code in (0, 1, 7), f"apply ends with {done}", LOST)
    load((root / STATE).read_bytes())
    if its_own:
        _expect(_answers(root) <= paid + 1, "answers were paid again", BELIEVED)
        if done.code in (0, 7):
            _expect(_succeeded(root) == {"alpha": len(ASKED["alpha"]), "beta": len(ASKED["beta"]) + 1}, str(done), LOST)


def _succeeded(root: Path) -> Mapping[str, Any]:
    outputs = {name: (root / f"outputs/{name}.jsonl").read_bytes().splitlines() for name in ASKED}
    return {name: sum(json.loads(line)["status"] == "succeeded" for line in lines) for name, lines in outputs.items()}


def _expect(holds: bool, otherwise: str, kind: str) -> None:
    if not holds:
        raise Broken(kind, otherwise)
