"""Planning many small specs that nothing has changed in, against importing the core's packages and parsing the YAML.

``python -m benchmarks.specs --specs 1000``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import baseline
from benchmarks.measure import RUNNER, Report, measure, median
from benchmarks.projects import many_specs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--specs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=10, help="rows of each spec")
    options = parser.parse_args()
    report = Report(f"{options.specs:,} specs of {options.rows:,} rows")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        many_specs(folder, options.specs, options.rows)
        cold = measure([*RUNNER, "plan"], folder)
        applied = measure([*RUNNER, "apply", "--yes", "--wait"], folder)
        unchanged = median([*RUNNER, "plan"], folder, 3)
        least = median([sys.executable, str(baseline.__file__), "specs", "specs"], folder, 3)
    report.line("imports and parsing", least)
    report.line("cold plan", cold)
    report.line("unchanged plan", unchanged)
    report.line("from nothing to outputs on the simulator", applied)
    report.bound("unchanged plan", unchanged.seconds, 5, " s")
    report.bound("unchanged plan / imports and parsing", unchanged.against(least), 10, "×")
    report.bound("from nothing to outputs", applied.seconds, 120, " s")


if __name__ == "__main__":
    main()
