"""Run a command in a process of its own and say what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RUNNER = (sys.executable, "-P", "-m", "runner")
"""The installed runner: -P keeps the current folder from standing in for it."""


@dataclass(frozen=True)
class Measured:
    """What one process took.  ``seconds`` are wall time, ``peak`` is its resident memory in bytes."""

    seconds: float
    cpu: float
    peak: int

    def against(self, other: Measured) -> float:
        """How many times the processor time of ``other``: steadier than wall time where the machine has other work."""
        return self.cpu / other.cpu

    @property
    def megabytes(self) -> float:
        return self.peak / 1e6

    def __str__(self) -> str:
        return f"{self.seconds:8.2f} s  {self.cpu:8.2f} s cpu  {self.megabytes:7.0f} MB"


def measure(command: Sequence[str], folder: Path) -> Measured:
    """Run ``command`` in ``folder``.  Raises RuntimeError, with what it said, when it fails."""
    log = folder / "benchmark.log"
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Measured(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def median(command: Sequence[str], folder: Path, times: int) -> Measured:
    """The run of ``times`` that took the median wall time."""
    runs = sorted((measure(command, folder) for _ in range(times)), key=lambda run: run.seconds)
    return runs[(times - 1) // 2]


def machine() -> str:
    """Where these figures come from, in one line."""
    return f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {os.uname().sysname}"


class Report:
    """Lines of a table.  A bound that does not hold is marked, and never an error: figures depend on the machine."""

    def __init__(self, title: str) -> None:
        print(f"{title}  ({machine()})", flush=True)

    def line(self, what: str, value: object) -> None:
        print(f"  {what:<52}{value}", flush=True)

    def bound(self, what: str, value: float, most: float, unit: str = "") -> None:
        """A figure beside the most that it is meant to be."""
        mark = "" if value <= most else "  <-- above"
        print(f"  {what:<52}{value:8.2f}{unit}  (at most {most:g}{unit}){mark}", flush=True)
