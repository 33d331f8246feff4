"""Many rows from nothing to outputs on the embedded simulator.

``python -m benchmarks.rows --rows 100000``
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.measure import RUNNER, Report, measure
from benchmarks.projects import one_spec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    report = Report(f"{options.rows:,} rows on the simulator")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        one_spec(folder, options.rows)
        applied = measure([*RUNNER, "apply", "--yes", "--wait"], folder)
        with (folder / "outputs" / "bench.jsonl").open("rb") as lines:
            written = sum(1 for _ in lines)
    if written != options.rows:
        raise RuntimeError(f"{written:,} output lines for {options.rows:,} rows")
    report.line("apply --yes --wait", applied)
    report.bound("from nothing to outputs", applied.seconds, 120, " s")


if __name__ == "__main__":
    main()
