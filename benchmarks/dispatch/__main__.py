"""How fast single questions are asked: runner's whole `apply`, bare clients and other tools, against one quick server.

``python -m benchmarks.dispatch --with openai,curator,litellm``

Rates are those that the server sees, from the second question to the last: the first may be a probe.  Processor time
and memory are those of the whole process: an `apply` reads, renders, records, asks, keeps and checks its rows in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.request import urlopen

from benchmarks.dispatch import server
from benchmarks.dispatch.contestants import CONTESTANTS, Ready, ready
from benchmarks.measure import machine, measure

USUAL = ("runner", "aiohttp", "httpx")
BASELINE = "aiohttp"


@dataclass(frozen=True)
class Case:
    """``rows``: the most of them that it takes; None: as many as are asked for."""

    title: str
    latency: float = 0.0
    refused: float = 0.0
    rows: int | None = None


CASES = (
    Case("no latency"),
    Case("50 ms of latency", latency=0.05),
    Case("20 ms of latency, every tenth question turned away with `Retry-After: 1`", 0.02, 0.1, rows=2_000),
)


@dataclass(frozen=True)
class Run:
    """What the server saw of one run, and what it cost."""

    rows: int
    answered: int
    seconds: float
    rate: float
    cpu: float
    megabytes: float


@contextmanager
def serving(case: Case) -> Iterator[str]:
    """The address of a server that has not been asked yet."""
    command = [sys.executable, server.__file__, "--latency", str(case.latency), "--refused", str(case.refused)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def run(one: Ready, case: Case, rows: int, at_once: int) -> Run:
    with serving(case) as url, tempfile.TemporaryDirectory() as name:
        took = measure(one.command(f"{url}/v1", rows, at_once, Path(name)), Path(name))
        with urlopen(f"{url}/count") as reply:
            seen = json.load(reply)
    rate = (seen["asked"] - 2) / max(seen["seconds"], 1e-9)
    return Run(rows, seen["answered"], took.seconds, rate, took.cpu * 1000 / rows, took.megabytes)


def compared(entrants: Sequence[Ready], case: Case, rows: int, at_once: int, times: int) -> dict[str, list[Run]]:
    """Runs of each, in turns, and every other turn in the opposite order."""
    runs: dict[str, list[Run]] = {one.name: [] for one in entrants}
    for turn in range(times):
        for one in entrants if turn % 2 == 0 else reversed(entrants):
            some = case.rows or max(rows // one.contestant.part, min(rows, 10 * at_once))
            runs[one.name].append(run(one, case, some, at_once))
    return runs


def table(entrants: Sequence[Ready], case: Case, at_once: int, runs: dict[str, list[Run]]) -> None:
    print(f"\n{case.title}, {at_once} at once\n")
    print(f"| client | rows | requests/s | min–max | to {BASELINE} | of the bound | CPU ms | MB | answered | seconds |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    base = median(one.rate for one in runs[BASELINE]) if BASELINE in runs else None
    for one in entrants:
        some = runs[one.name]
        rates = [one.rate for one in some]
        rate = median(rates)
        cells = [
            f"{one.name} {one.version}" if one.contestant.script else one.name,
            f"{some[0].rows:,}",
            f"{rate:,.0f}",
            f"{min(rates):,.0f}–{max(rates):,.0f}",
            f"{rate / base:.2f}" if base else "",
            f"{rate * case.latency / at_once:.2f}" if case.latency else "",
            f"{median(one.cpu for one in some):.2f}",
            f"{max(one.megabytes for one in some):.0f}",
            f"{min(one.answered for one in some):,}",
            f"{median(one.seconds for one in some):.1f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dispatch", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--at-once", default="64,256")
    parser.add_argument("--times", type=int, default=3, help="runs of each, of which the median counts")
    parser.add_argument("--with", default="", dest="more", help=f"further clients of {', '.join(CONTESTANTS)}")
    parser.add_argument("--only", default="", help="these clients, and no others")
    parser.add_argument(
        "--environments",
        type=Path,
        default=Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "batch-runner/dispatch",
        help="where clients that are not installed here are",
    )
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or [*USUAL, *filter(None, options.more.split(","))]
    entrants = [ready(name, options.environments) for name in names]
    sizes = [int(size) for size in options.at_once.split(",")]
    print(f"single questions  ({machine()})", flush=True)
    for case in CASES:
        some = [one for one in entrants if one.contestant.insists or not case.refused]
        for at_once in sizes[:1] if case.refused else sizes:
            table(some, case, at_once, compared(some, case, options.rows, at_once, options.times))


if __name__ == "__main__":
    main()
