"""Planning many rows: cold, unchanged, and how memory grows, against a tight loop over the same rows.

``python -m benchmarks.plan --rows 1000000``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import baseline
from benchmarks.measure import RUNNER, Measured, Report, measure
from benchmarks.projects import one_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the cold plan")
    parser.add_argument("--applied", type=int, default=300_000, help="rows that are applied before they are planned")
    options = parser.parse_args()
    report = Report(f"plan of {options.rows:,} rows")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        half = _cold(folder, options.rows // 2)
        cold = _cold(folder, options.rows)
        cached = measure([*RUNNER, "plan"], folder)
        loop = measure(
            [sys.executable, str(baseline.__file__), "rows", "rows/rows.jsonl", "requests.jsonl"],
            folder,
        )
        small = _cold(folder, options.applied)
        measure([*RUNNER, "apply", "--yes", "--wait"], folder)
        applied = measure([*RUNNER, "plan"], folder)
    report.line("tight loop", loop)
    report.line("cold plan", cold)
    report.line("cold plan of half the rows", half)
    report.line("the same plan again, from the cache alone", cached)
    report.line(f"cold plan of {options.applied:,} rows", small)
    report.line("the same plan again, after apply", applied)
    report.bound("cold plan / tight loop", cold.against(loop), 2, "×")
    report.bound("peak memory of the cold plan", cold.megabytes, 400, " MB")
    growth = (cold.peak - half.peak) / (options.rows - options.rows // 2)
    report.bound("memory for each further row", growth, 40, " bytes")
    report.bound("from the cache / cold", cached.against(cold), 0.25, "×")
    report.bound("after apply / cold", applied.against(small), 0.25, "×")


def _cold(folder: Path, rows: int) -> Measured:
    one_spec(folder, rows)
    return measure([*RUNNER, "plan"], folder)


if __name__ == "__main__":
    main()
