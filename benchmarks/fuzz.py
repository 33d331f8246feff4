"""Everything that others feed runner, mutated at random: no traceback, no hang, bounded memory, no state lost.

``python -m benchmarks.fuzz --seconds 600 --seed 1``

Each target is run in a process with an alarm and a bound on its memory.  An input that breaks a promise is kept as a
file and printed with the command that replays it.  The same seed draws the same changes; ids and times of recorded
conversations are those of the day.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.fuzzing.child import Order
from benchmarks.fuzzing.keeper import Breach, Tally, keep
from benchmarks.fuzzing.targets import TARGETS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="in all, shared by the targets")
    parser.add_argument("--inputs", type=int, default=0, help="so many for each target, however long that takes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets run side by side")
    parser.add_argument("--target", action="append", type=_known, help="only this one; may be repeated")
    parser.add_argument("--replay", metavar="FILE", help="one input of the one --target")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where inputs that break a promise are kept")
    options = parser.parse_args(arguments)
    names: list[str] = options.target or list(TARGETS)
    if options.replay:
        if len(names) != 1:
            parser.error("--replay needs one --target")
        return _report(
            {names[0]: keep(Order(names[0], options.seed, count=1, replay=options.replay))}, None, options.seed
        )
    share = options.seconds * options.jobs / len(names)
    orders = [Order(name, options.seed, count=options.inputs, seconds=0 if options.inputs else share) for name in names]
    with ThreadPoolExecutor(options.jobs) as pool:
        tallies = dict(zip(names, pool.map(keep, orders), strict=True))
    folder = options.keep or Path(tempfile.mkdtemp(prefix="runner-fuzz-kept-"))
    return _report(tallies, folder, options.seed)


def _known(name: str) -> str:
    if name not in TARGETS and ":" not in name:
        raise argparse.ArgumentTypeError(f"there is none of that name; there are {', '.join(TARGETS)}")
    return name


def _report(tallies: dict[str, Tally], folder: Path | None, seed: int) -> int:
    for name, tally in tallies.items():
        print(f"{name:<24}{tally}")
        for breach in tally.breaches:
            print(f"\n{breach.target} #{breach.number}: {breach.kind}\n{breach.what.rstrip()}")
        if folder is not None and tally.breaches:
            _keep_inputs(tally.breaches, folder, seed)
    total = sum(tallies.values(), Tally())
    print(total)
    return 1 if total.breaches else 0


def _keep_inputs(breaches: Sequence[Breach], folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for breach in breaches:
        path = folder / f"{breach.target.rpartition(':')[2]}-{seed}-{breach.number}"
        path.write_bytes(breach.input)
        print(f"    python -m benchmarks.fuzz --target {breach.target} --replay {shlex.quote(str(path))}")


if __name__ == "__main__":
    sys.exit(main())
