"""A report of a project whose every text is meant to be run: nothing of it ever is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Project
from looking import Site, from_disk, settle
from playwright.sync_api import Browser, Page, expect

_OUTSIDE = "https://example.org/x.js"
SCRIPT = "window.pwned = true; alert(1)"
EVIL = (
    f"<script>{SCRIPT}</script>",
    f"</script><script>{SCRIPT}</script>",
    f'<img src=x onerror="{SCRIPT}">',
    f"<svg onload='{SCRIPT}'>",
    '"><iframe srcdoc="<script>parent.pwned = true</script>">',
    f"javascript:{SCRIPT}",
    f"[a link](javascript:{SCRIPT})",
    f'\');{SCRIPT};//","*/{SCRIPT}/*',
    f"\u2028{SCRIPT}\u2029{SCRIPT}",
    "<!--<script>",
    "${window.pwned = true} {{constructor.constructor('window.pwned = true')()}}",
    "<style>*{display:none}</style><base href='https://example.org/'>",
    "<meta http-equiv=refresh content='0;url=https://example.org/'>",
    "<a href='https://example.org' id=rows name=Report ping='https://example.org'>click</a>",
    "\u202egnp.exe\u2066 \x00\x07\x1b[31m\x9b \ufeff",
    "__proto__ constructor toString",
    "x" * 200_000,
    "<b>" * 5_000,
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The texts above as keys, prompts, answers, errors, descriptions and labels."""
    project = Project(tmp_path_factory.mktemp("hostile"))
    evil = EVIL[1]
    faults = [
        {"on": "task", "do": "fail-rows", "rows": [3], "status_code": 400, "code": evil[:90], "message": EVIL[2]},
        {"on": "task", "do": "fail-rows", "rows": [4], "status_code": 400, "code": "__proto__", "message": EVIL[8]},
    ]
    project.write("faults.yaml", json.dumps(faults))
    project.providers["demo"].update(faults="faults.yaml", answers="answers.jsonl")
    answers = [{"prompt": f"Number {at:03}: ", "answer": text} for at, text in enumerate(EVIL)]
    answers += [{"prompt": "Number 900: ", "answer": "half a character \ud83d."}]
    project.write("answers.jsonl", "".join(json.dumps(one) + "\n" for one in answers))
    rows = [{"id": text[:300], "q": f"Number {at:03}: {text[:5_000]}", text[:50]: text} for at, text in enumerate(EVIL)]
    rows += [
        {"id": "surrogate \ud800", "q": "Number 900: ?"},
        {"id": "__proto__", "q": "Number 901: ?", "__proto__": {}},
    ]
    common = {"input": {"path": "specs/data/evil.jsonl", "key": "id"}, "retry": {"attempts": 1}}
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    project.write("specs/data/evil.jsonl", lines)
    said = {"description": " ".join(EVIL[:7]), "labels": {evil[:60]: evil, "onclick": EVIL[5]}}
    styles = {"matrix": {"style": [EVIL[0], EVIL[6]]}, "prompt": {"user": "{{ vars.style }} {{ row.q }}"}}
    project.spec("evil", **said, **common)
    project.spec("cells", **said, **common, **styles)
    project.finish(code=7)
    done = project.call("report")
    assert done.code == 0, done.err
    return project.root / "report"


@pytest.fixture
def site(browser: Browser, report: Path) -> Iterator[Site]:
    with from_disk(report) as url:
        found = Site(browser, url)
        yield found
        for context in browser.contexts:
            for page in context.pages:
                assert page.evaluate("window.pwned") is None
                assert page.url.startswith(url)
        found.close()


def rows(page: Page) -> int:
    return page.locator("#rows tr").count()


@pytest.mark.parametrize("path", ["index.html", "batches/evil.html"])
def test_pages_of_the_state(site: Site, path: str) -> None:
    """Descriptions, labels, codes and messages are shown as what they are."""
    page = site.open(path)
    if path != "index.html":
        expect(page.get_by_role("main")).to_contain_text("<script>window.pwned")
    assert page.locator("main script, main iframe, main img, main style, main base").count() == 0
    assert page.locator("a[href^=javascript], a[href^=https]").count() == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_all_rows_and_each_in_full(site: Site, width: int) -> None:
    """Each with its key, prompt, answer, error, input and body, unfolded; no page grows wider than it is."""
    page = site.open("answers.html#batch=evil", width=width)
    assert rows(page) == len(EVIL) + 2
    page.locator("#rows a.open").first.click()
    for _ in range(len(EVIL) + 2):
        dialog = page.get_by_role("dialog")
        for fold in dialog.locator("details").all():
            fold.locator("summary").click()
        for more in dialog.locator("button.more").all():
            more.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("main script, dialog script, dialog img, dialog iframe, dialog style").count() == 0
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(30)
    assert page.locator("a[href^=javascript], a[href^=https]").count() == 0


def test_what_cannot_be_seen_is_spelt_out(site: Site) -> None:
    """A turn of direction, an escape, a half of a character: shown, not obeyed."""
    page = site.open("answers.html#batch=evil&row=15.1")
    expect(page.get_by_role("dialog")).to_contain_text("⟨202E⟩gnp.exe⟨2066⟩ ⟨0000⟩⟨0007⟩⟨001B⟩[31m⟨009B⟩")
    again = site.open("answers.html#batch=evil&row=19.1")
    expect(again.get_by_role("dialog")).to_contain_text("surrogate ⟨D800⟩")


@pytest.mark.parametrize("text", EVIL[:16])
def test_searches_and_addresses(site: Site, text: str) -> None:
    """What comes from the address, and what is marked in a text."""
    page = site.open("answers.html#batch=evil")
    page.locator("#q").fill(text)
    page.locator("#q").press("Enter")
    page.wait_for_timeout(100)
    said = dict.fromkeys(
        ("batch", "q", "status", "code", "finish", "sort", "page", "row", "left", "right", "show"), text
    )
    for values in ({**said, "row": ""}, said, {**said, "batch": "evil", "q": ""}):
        page.evaluate("(said) => { location.hash = new URLSearchParams(said) }", values)
        page.wait_for_timeout(50)
    page.goto(f"{site.url}compare.html#{page.url.partition('#')[2]}")
    settle(page)


def test_failures_with_hostile_codes_are_filtered(site: Site) -> None:
    """A code is a text in a list, whatever it spells."""
    page = site.open("batches/evil.html")
    page.get_by_role("link", name="__proto__").click()
    settle(page)
    expect(page.locator("#count")).to_have_text(f"1 of {len(EVIL) + 2} rows")
    page.get_by_label("Error").select_option(index=1)
    expect(page.locator("#count")).to_have_text(f"1 of {len(EVIL) + 2} rows")


def test_comparisons(site: Site) -> None:
    """Both sides of every row, side by side and in full."""
    page = site.open("compare.html#show=all")
    assert rows(page) == len(EVIL) + 2
    page.locator("#rows a.open").first.click()
    for _ in range(len(EVIL) + 2):
        page.wait_for_timeout(30)
        page.keyboard.press("ArrowRight")
    assert page.locator("dialog script, dialog img, dialog iframe").count() == 0


def test_the_policy_holds_by_itself(site: Site) -> None:
    """Were a text taken for markup after all, the browser would still run and fetch nothing of it."""
    page = site.browser.new_context().new_page()
    refused: list[tuple[str, str | None]] = []
    page.on("requestfailed", lambda one: refused.append((one.url, one.failure)))
    page.goto(f"{site.url}index.html")
    page.evaluate("(texts) => { document.querySelector('main').innerHTML = texts.join('') }", list(EVIL[:7]))
    page.evaluate(
        "(url) => document.head.append(Object.assign(document.createElement('script'), { src: url }))", _OUTSIDE
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.pwned") is None
    assert (_OUTSIDE, "csp") in refused
    assert {why for url, why in refused if not url.startswith(site.url)} == {"csp"}
