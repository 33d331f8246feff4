"""How quickly the command line answers, against an interpreter that imports click and nothing else.

``python -m benchmarks.startup``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import RUNNER, Report, median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=11, help="runs of each, of which the median counts")
    options = parser.parse_args()
    report = Report("start-up")
    with tempfile.TemporaryDirectory() as name:
        least = median([sys.executable, "-c", "import click"], Path(name), options.times)
        helped = median([*RUNNER, "--help"], Path(name), options.times)
    report.line("python -c 'import click'", least)
    report.line("runner --help", helped)
    report.line("ratio", f"{helped.against(least):8.2f}×")


if __name__ == "__main__":
    main()
