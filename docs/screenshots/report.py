"""Take the pictures of docs/report.md: a project on the simulator, its report, and a browser that looks at it.

pip install --require-hashes -r requirements-test.lock -r requirements-browser.lock
apt-get install chromium fonts-noto-cjk
python docs/screenshots/report.py docs/images
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parent.parent.parent
CHROMIUM = "/usr/bin/chromium"
WIDE, PHONE = (1200, 740), (390, 740)

_RUNNER_YAML = """\
version: 1
defaults: {provider: demo}
providers:
  demo:
    type: simulator
    answers: answers.jsonl
    faults: faults.yaml
"""

_FAULTS = """\
- {on: task, do: fail-rows, share: 0.03, status_code: 400, code: content_filter, message: The prompt was refused}
- {on: task, do: missing-rows, share: 0.01}
- {on: task, do: finish-length, share: 0.05}
"""

_GSM8K = """\
version: 1
name: gsm8k
description: Grade-school math, one worked answer per question
labels: {team: evals, dataset: gsm8k}
model:
  select: {family: Qwen3, prefer: cheapest}
input: {path: specs/data/gsm8k_test.jsonl}
prompt:
  system: You are a careful tutor. Reason step by step.
  user: "{{ row.question }}"
parameters: {temperature: 0, max_tokens: 512}
"""

_STYLES = """\
version: 1
name: styles
description: The same questions, answered in two styles
labels: {team: evals}
model:
  select: {family: Qwen3, prefer: cheapest}
input: {path: specs/data/gsm8k_test.jsonl, limit: 200}
matrix: {style: [brief, long]}
prompt:
  user: "In a {{ vars.style }} way: {{ row.question }}"
parameters: {max_tokens: 256}
"""

_CAPITALS = """\
version: 1
name: capitals
description: 各国首都
labels: {team: 数据}
model:
  select: {family: Qwen3, prefer: cheapest}
input: {path: specs/data/countries.jsonl, key: country}
prompt: {user: "{{ row.country }}的首都是哪里？"}
parameters: {max_tokens: 64}
"""

_COUNTRIES = {"中国": "北京。", "法国": "巴黎。", "日本": "东京。", "肯尼亚": "内罗毕。", "秘鲁": "利马。"}


def make_project(folder: Path) -> None:
    """Three specs, run, one of them twice with a prompt that was changed in between."""
    data = folder / "specs" / "data"
    data.mkdir(parents=True)
    shutil.copy(ROOT / "specs" / "data" / "gsm8k_test.jsonl", data)
    (data / "countries.jsonl").write_text(
        "".join(json.dumps({"country": name}, ensure_ascii=False) + "\n" for name in _COUNTRIES)
    )
    questions = (ROOT / "specs" / "data" / "gsm8k_test.jsonl").read_text()
    capitals = [{"prompt": f"{name}的首都是哪里？", "answer": answer} for name, answer in _COUNTRIES.items()]
    (folder / "answers.jsonl").write_text(questions + "".join(json.dumps(one) + "\n" for one in capitals))
    (folder / "runner.yaml").write_text(_RUNNER_YAML)
    (folder / "faults.yaml").write_text(_FAULTS)
    for name, text in {"gsm8k": _GSM8K, "styles": _STYLES, "capitals": _CAPITALS}.items():
        (folder / "specs" / f"{name}.yaml").write_text(text)
    runner(folder, "apply", "--yes", "--wait")
    (folder / "specs" / "gsm8k.yaml").write_text(_GSM8K.replace("{{ row.question }}", "Be brief. {{ row.question }}"))
    runner(folder, "apply", "--yes", "--wait")


def runner(folder: Path, *args: str) -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "runner", "-C", str(folder), *args], stdout=subprocess.DEVNULL)
    assert done.returncode in (0, 7), done.returncode


def take(browser: Browser, report: Path, images: Path) -> None:
    pages = {
        "overview": "index.html",
        "batch": "batches/gsm8k.html",
        "answers": "answers.html#batch=gsm8k&q=eggs",
        "row": "answers.html#batch=gsm8k&row=1.1",
        "comparison": "compare.html#left=styles-brief&right=styles-long",
    }
    looks: tuple[tuple[str, Any, tuple[int, int]], ...] = (
        ("light", "light", WIDE),
        ("dark", "dark", WIDE),
        ("phone", "light", PHONE),
    )
    for look, colours, (width, height) in looks:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=colours,
        )
        for name, path in pages.items():
            page = context.new_page()
            page.goto(f"file://{report}/{path}")
            if "#" in path:
                page.wait_for_selector("html[data-ready]")
            page.screenshot(path=images / f"report-{name}-{look}.png")
            page.close()
        context.close()


def main(images: Path) -> None:
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        project = Path(scratch) / "evals"
        make_project(project)
        runner(project, "report")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        take(browser, project / "report", images)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
