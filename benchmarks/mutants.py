"""Break one line at a time, and see whether anybody notices.

``python -m benchmarks.mutants``            each breakage against the tests that should notice it
``python -m benchmarks.mutants --campaign`` and against a short campaign of faults as well

Works on copies of the checkout.  Prints one line per breakage, and exits 1 if one went unnoticed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BROKEN, GOOD = 1, 0
"""What both pytest and the campaign end with where a promise is broken, and where none is."""
SCHEDULES = 400


@dataclass(frozen=True)
class Edit:
    """In ``file``, ``old`` (which is there once) becomes ``new``."""

    file: str
    old: str
    new: str

    def apply(self, root: Path) -> None:
        """Raises ValueError if ``old`` is not there exactly once."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} holds {text.count(self.old)} times: {self.old}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True)
class Mutant:
    """``tests``: arguments of pytest, those who are meant to notice."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "Staged is written after the start",
        (
            Edit(
                "runner/submit.py",
                "        events += [Staged(task.id, self._world.who, now, upload.marker)",
                "        self._late = [Staged(task.id, self._world.who, now, upload.marker)",
            ),
            Edit(
                "runner/submit.py",
                "            try:\n                state = self._journal.write(",
                "            try:\n"
                "                late, self._late = self._late, []\n"
                "                state = self._journal.write(*late, ",
            ),
        ),
        ("tests/test_kill.py", "-k", "every_effect"),
    ),
    Mutant(
        "an unsure start is read as a no",
        (
            Edit(
                "runner/submit.py",
                "refused = [Removed((task.id,)) for _, task, answer in news if isinstance(answer, Refused | Busy)]",
                "refused = [Removed((task.id,)) for _, task, answer in news if isinstance(answer, ProviderError)]",
            ),
        ),
        ("tests/test_faults.py", "-k", "unsure"),
    ),
    Mutant(
        "Unknown is read as Absent",
        (
            Edit(
                "runner/refresh.py",
                '            return [], Unsettled(task.id, "unknown", reason)',
                '            return [Voided(task.id, reason, STAGED)], Unsettled(task.id, "absent")',
            ),
        ),
        ("tests/test_faults.py", "-k", "wanqing"),
    ),
    Mutant(
        "a staged task does not stand for its requests",
        (
            Edit(
                "runner/known.py",
                "        if task.on_its_way or task.phase == COLLECTED:\n",
                '        if (task.on_its_way and task.phase != "staged") or task.phase == COLLECTED:\n',
            ),
        ),
        ("tests/test_faults.py", "-k", "unsure"),
    ),
    Mutant(
        "the identity of a request has chance in it",
        (
            Edit(
                "runner/resolve.py",
                "    salt, samples, key = rendering.batch.salt, spec.samples, spec.input.key\n",
                "    salt, samples, key = rendering.batch.salt + os.urandom(4), spec.samples, spec.input.key\n",
            ),
            Edit("runner/resolve.py", "import hashlib\n", "import hashlib\nimport os\n"),
        ),
        ("tests/test_acceptance.py",),
    ),
    Mutant(
        "an output is recorded before it is written",
        (
            Edit(
                "runner/publishing.py",
                "                events.append(publish(self._world, one, known, key, failures))\n",
                "                counts = Counts(one.demand.rows, 0, 0, 0)\n"
                '                early = Publication(key, one.demand.output, "", counts, self._world.clock.now())\n'
                "                self._journal.write(Published(name, early))\n"
                "                events.append(publish(self._world, one, known, key, failures))\n",
            ),
            Edit(
                "runner/publishing.py",
                "from runner.state import Publication, Published, State\n",
                "from runner.result import Counts\nfrom runner.state import Publication, Published, State\n",
            ),
        ),
        ("tests/test_kill.py", "-k", "replaced"),
    ),
    Mutant(
        "an absence is believed at once",
        (
            Edit(
                "runner/refresh.py",
                "        case Absent() if age > provider.traits.grace:\n",
                "        case Absent() if age >= 0:\n",
            ),
        ),
        ("tests/test_faults.py", "-k", "lagging"),
    ),
    Mutant(
        "the provider's clock is trusted",
        (Edit("runner/providers/anthropic/provider.py", "TOLERANCE = 300.0\n", "TOLERANCE = 0.0\n"),),
        ("tests/test_anthropic.py",),
    ),
    Mutant(
        "a start is repeated by HTTP",
        (
            Edit(
                "runner/providers/openai/provider.py",
                'self._wire.call("POST", "/batches", retry=False,',
                'self._wire.call("POST", "/batches", retry=True,',
            ),
        ),
        ("tests/test_openai.py",),
    ),
    Mutant(
        "a write that reports a conflict is taken for a failed one",
        (
            Edit(
                "runner/journal.py",
                "            return (found.writer, found.serial) == (after.writer, after.serial)\n",
                "            return False\n",
            ),
        ),
        ("tests/test_journal.py",),
    ),
    Mutant(
        "the document is swapped without being compared",
        (Edit("runner/edge/store.py", "            if self.read() != old:\n", "            if False:\n"),),
        ("tests/test_store.py",),
    ),
    Mutant(
        "what another run has begun meanwhile is not looked at",
        (
            Edit(
                "runner/submit.py",
                "                if any(identity in theirs for item in group for identity in item.file.shard):\n",
                "                if not theirs:\n",
            ),
        ),
        ("tests/test_promises.py", "-k", "planned_the_same"),
    ),
    Mutant(
        "another run's claim is ignored",
        (
            Edit(
                "runner/refresh.py",
                "    return claim is not None and claim.by != world.who and claim.until > now",
                "    return False and claim is not None and claim.until > now",
            ),
        ),
        ("tests/test_refresh.py", "tests/test_promises.py", "-k", "claim or removed_while"),
    ),
    Mutant(
        "a spec is covered by what another was to send",
        (
            Edit(
                "runner/holdings.py",
                "        self._whole[name] = not self.resolved[name].borrows",
                "        self._whole[name] = True",
            ),
        ),
        ("tests/test_promises.py", "-k", "turned_away"),
    ),
    Mutant(
        "a file is renamed before it is flushed",
        (
            Edit(
                "runner/edge/files.py",
                "                file.write(chunk)\n            _flush(file)\n",
                "                file.write(chunk)\n",
            ),
        ),
        ("tests/test_power_cuts.py",),
    ),
    Mutant(
        "a rename is not flushed",
        (Edit("runner/edge/files.py", "        raise\n    flush_folder(path.parent)\n", "        raise\n"),),
        ("tests/test_power_cuts.py",),
    ),
    Mutant(
        "a new folder is not flushed",
        (
            Edit(
                "runner/edge/files.py",
                "        folder.mkdir(exist_ok=True)\n        flush_folder(folder.parent)\n",
                "        folder.mkdir(exist_ok=True)\n",
            ),
        ),
        ("tests/test_power_cuts.py",),
    ),
    Mutant(
        "a blob that is there is taken to be durable",
        (Edit("runner/edge/store.py", "            flush_folder(path.parent)\n", "            pass\n"),),
        ("tests/test_power_cuts.py",),
    ),
    Mutant(
        "an expired task is taken for an empty one",
        (
            Edit(
                "runner/collect.py",
                "        world.providers[task.provider].results(job_of(task), keep)\n",
                '        if task.ending != "expired":\n'
                "            world.providers[task.provider].results(job_of(task), keep)\n",
            ),
        ),
        ("tests/test_faults.py", "-k", "expired"),
    ),
    Mutant(
        "a torn last line of answers is taken for an answer",
        (
            Edit(
                "runner/providers/online/queue.py",
                '                yield from (line for line in file if line.endswith(b"\\n"))\n',
                "                yield from file\n",
            ),
        ),
        ("tests/test_queue.py",),
    ),
    Mutant(
        "an answer counts before it is on disk",
        (
            Edit(
                "runner/providers/online/book.py",
                "        await asyncio.shield(done)\n",
                "        await asyncio.sleep(0)\n",
            ),
        ),
        ("tests/test_online.py", "tests/test_online_runs.py"),
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="breakages with this text in their name")
    parser.add_argument("--campaign", action="store_true", help=f"and {SCHEDULES} schedules of benchmarks.faults each")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name]
    for tests in {mutant.tests: None for mutant in chosen}:
        _require_good(tests)
    unnoticed = [mutant.name for mutant in chosen if not _is_noticed(mutant, campaign=options.campaign)]
    print(f"breakages {len(chosen)}, unnoticed {len(unnoticed)}")
    return 1 if unnoticed or not chosen else 0


def _require_good(tests: Sequence[str]) -> None:
    """Tests that fail where nothing is broken notice nothing."""
    with _checkout() as copy:
        if _fails(copy, [*_PYTEST, *tests]):
            raise SystemExit(f"{' '.join(tests)} fails without any breakage")


def _is_noticed(mutant: Mutant, *, campaign: bool) -> bool:
    """By the tests; what the campaign says is told as well, and decides nothing."""
    begun = time.monotonic()
    with _checkout() as copy:
        for edit in mutant.edits:
            edit.apply(copy)
        noticed = _fails(copy, [*_PYTEST, *mutant.tests])
        words = ["noticed" if noticed else "UNNOTICED"]
        if campaign:
            played = _fails(copy, ["-m", "benchmarks.faults", "--schedules", str(SCHEDULES)])
            words.append(f"campaign: {'noticed' if played else 'unnoticed'}")
    print(f"{mutant.name:<60} {', '.join(words):<40} {time.monotonic() - begun:6.1f} s", flush=True)
    return noticed


_PYTEST = ("-m", "pytest", "-x", "-p", "no:cacheprovider")


@contextmanager
def _checkout() -> Iterator[Path]:
    """A copy of this one."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        copy = Path(name) / "checkout"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".*_cache", "__pycache__", ".runner"))
        yield copy


def _fails(root: Path, arguments: Sequence[str]) -> bool:
    """Whether it ended as where a promise is broken.  Raises RuntimeError for any other ending but a good one."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    if done.returncode not in (BROKEN, GOOD):
        said = done.stdout[-3000:] + done.stderr[-3000:]
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{said}")
    return done.returncode == BROKEN


if __name__ == "__main__":
    sys.exit(main())
