"""A browser, reports for it to look at, and a watch over what it must never do.

CHROMIUM in the environment is the browser, /usr/bin/chromium without it; AXE is axe-core's `axe.min.js`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Project
from looking import Site, from_disk, served
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ROWS = 300

FAULTS = [
    {
        "on": "task",
        "do": "fail-rows",
        "rows": [2, 4, 6],
        "status_code": 400,
        "code": "refused",
        "message": "no, thanks",
    },
    {"on": "task", "do": "missing-rows", "rows": [3]},
    {"on": "task", "do": "finish-length", "rows": [5]},
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred rows of which some failed, in two revisions; a matrix of two; five rows in Chinese."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.write("faults.yaml", json.dumps(FAULTS))
    project.providers["demo"].update(faults="faults.yaml", answers="answers.jsonl")
    cities = {"中国": "北京是首都。", "法国": "巴黎。", "日本": "東京。", "肯尼亚": "内罗毕。", "秘鲁": "利马。"}
    answers = [{"prompt": f"{land}的首都是哪里？", "answer": city} for land, city in cities.items()]
    answers += [{"prompt": f"Question {at}: how", "answer": f"There are {at} of them."} for at in range(ROWS)]
    project.write("answers.jsonl", "".join(json.dumps(one) + "\n" for one in answers))
    rows = [
        {"id": f"k{at:03}", "q": f"Question {at}: how many {'eggs' if at % 10 else 'ducks'}?"} for at in range(ROWS)
    ]
    common = {"input": {"path": "specs/data/math.jsonl", "key": "id"}, "retry": {"attempts": 1}}
    project.spec("math", rows=rows, description="Sums", labels={"team": "evals"}, **common)
    styles = {"matrix": {"style": ["brief", "long"]}, "prompt": {"user": "{{ vars.style }}: {{ row.q|upper }}"}}
    project.spec("styles", **styles, **common)
    project.spec("zh", rows=[{"id": land, "q": f"{land}的首都是哪里？"} for land in cities])
    project.finish(code=7)
    project.spec("math", description="Sums", labels={"team": "evals"}, prompt={"user": "Now: {{ row.q }}"}, **common)
    project.finish(code=7)
    done = project.call("report")
    assert done.code == 0, done.err
    return project.root / "report"


@pytest.fixture
def site(browser: Browser, report: Path) -> Iterator[Site]:
    """The report from the disk, where a browser allows least."""
    with from_disk(report) as url:
        found = Site(browser, url)
        yield found
        found.close()


@pytest.fixture
def served_site(browser: Browser, report: Path) -> Iterator[Site]:
    """The report from a sub-path of a server."""
    with served(report) as url:
        found = Site(browser, url)
        yield found
        found.close()
