"""The report of many rows: what writing it takes, and how long a browser takes to show, search, filter and sort them.

``python -m benchmarks.report --rows 100000 --chromium /usr/bin/chromium``

Needs requirements-browser.lock.  Rows are the questions of GSM8K over and over, each made different by its number; some
are Chinese.  Two batches ask them in two styles, so that they can be compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import RUNNER, Report, measure

_QUESTIONS = Path(__file__).parent.parent / "specs" / "data" / "gsm8k_test.jsonl"
_MOST = 1.0
"""Seconds after a click."""

_RUNNER_YAML = """\
version: 1
defaults: {provider: demo}
limits: {requests: 10000000}
providers:
  demo: {type: simulator, faults: faults.yaml, answers: answers.jsonl}
"""

_FAULTS = """\
- {on: task, do: fail-rows, share: 0.03, status_code: 400, code: content_filter}
- {on: task, do: missing-rows, share: 0.01}
- {on: task, do: finish-length, share: 0.05}
"""

_SPEC = """\
version: 1
name: gsm8k
model:
  select: {family: Qwen3, prefer: cheapest}
input: {path: rows.jsonl, key: id}
matrix: {style: [brief, long]}
prompt:
  system: You are a careful tutor. Reason step by step.
  user: "In a {{ vars.style }} way: {{ row.question }}"
parameters: {max_tokens: 512}
retry: {attempts: 1}
"""

_STEPS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("search for one word, `eggs`", "answers", {"q": "eggs"}),
    ("search for a beginning, `ma`", "answers", {"q": "ma"}),
    ("search for four words", "answers", {"q": "janet eggs every morning"}),
    ("search for a word of every row, `tutor`", "answers", {"q": "tutor"}),
    ("search in Chinese, `鸡蛋`", "answers", {"q": "鸡蛋"}),
    ("search in Chinese, `多少个鸡蛋`", "answers", {"q": "多少个鸡蛋"}),
    ('search for a phrase, `"16 eggs per day"`', "answers", {"q": '"16 eggs per day"'}),
    ("filter by status", "answers", {"status": "failed"}),
    ("filter by error", "answers", {"code": "content_filter"}),
    ("sort by tokens, greatest first", "answers", {"sort": "-output"}),
    ("sort by key, last first", "answers", {"sort": "-key"}),
    ("search, filter and sort at once", "answers", {"q": "eggs", "status": "failed", "sort": "-length"}),
    ("page 1,000", "answers", {"page": "1000"}),
    ("a row by its link", "answers", {"row": "77777.1"}),
    ("comparison: what differs", "compare", {"show": "differ"}),
    ("comparison: all of it, searched", "compare", {"show": "all", "q": "eggs"}),
)

_GO = """
async (hash) => {
  const root = document.documentElement;
  const before = root.dataset.ready;
  if (location.hash === `#${hash}`) return null;
  const began = performance.now();
  location.hash = hash;
  let first = 0;
  for (;;) {
    await new Promise((resolve) => requestAnimationFrame(resolve));
    if (root.dataset.ready === before) continue;
    first ||= performance.now() - began;
    if (document.getElementById("count").dataset.complete === "true") break;
  }
  return { first, complete: performance.now() - began, count: document.getElementById("count").textContent };
}
"""
_READY = "() => document.documentElement.dataset.ready && document.getElementById('count').dataset.complete === 'true'"


def rows(count: int) -> Iterator[str]:
    """Lines of the input: about as long as GSM8K's own."""
    known = [json.loads(line) for line in _QUESTIONS.read_text("utf-8").splitlines()]
    for number in range(1, count + 1):
        one = known[number % len(known)]
        question = f"{one['question']} (case {number})"
        if not number % 50:
            question = (
                f"第{number}题：小明家的母鸡每天下{number % 97}个鸡蛋，他每天吃三个，卖掉其余的。一周后卖了多少个鸡蛋？"
            )
        yield json.dumps({"id": str(number), "question": question}, ensure_ascii=False) + "\n"


def make_project(folder: Path, count: int) -> None:
    (folder / "specs").mkdir(parents=True)
    (folder / "runner.yaml").write_text(_RUNNER_YAML)
    (folder / "faults.yaml").write_text(_FAULTS)
    (folder / "specs" / "gsm8k.yaml").write_text(_SPEC)
    shutil.copy(_QUESTIONS, folder / "answers.jsonl")
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(rows(count))


def browse(report: Path, chromium: str, figures: Report) -> None:
    """Each step in a browser that has the page open already, as somebody has who clicks."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for page_name, start in (("answers", "batch=gsm8k-brief"), ("compare", "left=gsm8k-brief&right=gsm8k-long")):
            page = browser.new_page()
            page.goto("about:blank")
            page.goto(f"file://{report}/{page_name}.html#{start}", wait_until="commit")
            page.wait_for_function(_READY)
            opened = page.evaluate("performance.now()") / 1000
            figures.bound(f"open {page_name}.html", opened, _MOST, " s")
            for what, where, changes in _STEPS:
                if where == page_name:
                    _step(page, what, start, changes, figures)
            page.close()
        browser.close()


def _step(page: Any, what: str, start: str, changes: dict[str, str], figures: Report) -> None:
    from urllib.parse import urlencode

    page.evaluate(_GO, start)
    took = page.evaluate(_GO, f"{start}&{urlencode(changes)}")
    count = took["count"].replace(" rows", "")
    first = "" if took["first"] > took["complete"] - 50 else f", first rows after {took['first'] / 1000:.2f} s"
    figures.bound(f"{what} ({count}{first})", took["complete"] / 1000, _MOST, " s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--chromium", help="The browser; without it, the report is only written.")
    parser.add_argument("--keep", type=Path, help="A folder for the project, to look at it afterwards.")
    options = parser.parse_args()
    figures = Report(f"a report of two batches of {options.rows:,} rows")
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name) / "project"
        if not folder.exists():
            make_project(folder, options.rows)
            subprocess.run([*RUNNER, "apply", "--yes", "--wait"], cwd=folder, stdout=subprocess.DEVNULL)  # ends with 7
        written = measure([*RUNNER, "report"], folder)
        report = folder / "report"
        files = [file for file in report.rglob("*") if file.is_file()]
        figures.line("runner report", written)
        figures.line("files", f"{len(files):8,}  {sum(file.stat().st_size for file in files) / 1e6:.0f} MB")
        if options.chromium:
            browse(report.resolve(), options.chromium, figures)


if __name__ == "__main__":
    main()
