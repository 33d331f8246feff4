"""The report as somebody uses it, in a browser: every page, from the disk and from a server."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from looking import Site, settle
from playwright.sync_api import Locator, Page, expect

from runner.report.site.words import words

AXE = Path(os.environ["AXE"])
PAGES = (
    "index.html",
    "batches/math.html",
    "batches/zh.html",
    "answers.html",
    "answers.html#batch=math&q=ducks&status=failed",
    "answers.html#batch=math&row=2.1",
    "answers.html#batch=math&q=nothing-like-it",
    "compare.html",
    "compare.html#left=styles-brief&right=styles-long&show=all&row=1",
)
_PHONE = 390


def keys(page: Page) -> Locator:
    return page.locator("#rows a.open")


def count(page: Page) -> str:
    return page.locator("#count").inner_text()


def search(page: Page, text: str) -> None:
    page.locator("#q").fill(text)
    page.locator("#q").press("Enter")


@pytest.mark.parametrize("path", PAGES)
def test_every_page_opens(site: Site, path: str) -> None:
    """It asks nobody else for anything and complains of nothing, which the fixture looks after."""
    page = site.open(path)
    assert page.title().endswith(("· project0", "answers"))
    expect(page.get_by_role("main")).to_be_visible()
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize("path", PAGES)
def test_every_page_opens_from_a_server(served_site: Site, path: str) -> None:
    """As it does on Pages, under a path of its own."""
    test_every_page_opens(served_site, path)


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
@pytest.mark.parametrize("path", PAGES)
def test_everybody_can_read_it(site: Site, path: str, look: str) -> None:
    """axe finds nothing, whatever the colours and the width; no page is wider than a phone."""
    page = site.open(
        path,
        width=_PHONE if look == "phone" else 1280,
        color_scheme="dark" if look == "dark" else "light",
        bypass_csp=True,  # so that axe can be put into it
    )
    page.add_script_tag(path=AXE)
    found = page.evaluate("() => axe.run({ preload: false }).then((done) => done.violations)")
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= (_PHONE if look == "phone" else 1280)


def test_the_overview_filters_and_sorts(site: Site) -> None:
    """By name, by label, and by a column that is clicked on."""
    page = site.open()
    names = page.locator("#batches tbody tr:visible th")
    assert names.all_inner_texts() == ["math", "styles-brief", "styles-long", "zh"]
    page.keyboard.press("/")
    page.keyboard.type("evals")
    assert names.all_inner_texts() == ["math"]
    expect(page.locator("#count")).to_have_text("1 of 4")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Rows").click()
    assert names.first.inner_text() == "zh"
    page.get_by_role("button", name="Rows").click()
    assert names.last.inner_text() == "zh"
    names.get_by_text("math").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("math")


def test_a_batch_leads_to_its_failures(site: Site) -> None:
    """From the group of errors to the rows that are in it."""
    page = site.open("batches/math.html")
    page.get_by_role("link", name="refused").click()
    settle(page)
    expect(page.locator("#count")).to_have_text("3 of 300 rows")
    expect(keys(page)).to_have_text(["k001", "k003", "k005"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("ducks", 30),
        ("duck", 30),  # a beginning
        ("DUCKS how", 30),
        ("question 17", 11),
        ("k017", 1),
        ("eggs ducks", 0),
        ('"how many ducks"', 30),
        ('"ducks how"', 0),
        ("key:k017", 1),
        ('key:k017 key:"k018" eggs', 2),
        ("key:k01", 0),
        ('"17: how"', 1),  # not 117
        ('"7: how"', 1),
        ("refused", 0),  # a code is filtered by, a message is found
        ("thanks", 3),
        ("  ", 300),
        ("!?", 300),
    ],
)
def test_search(site: Site, query: str, found: int) -> None:
    """Every word begins one of the row's, a phrase is there as it is."""
    page = site.open("answers.html#batch=math")
    search(page, query)
    expect(page.locator("#count")).to_have_text(f"{found} of 300 rows" if found != 300 else "300 rows")
    expect(keys(page)).to_have_count(min(found, 50))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("北京", ["中国"]),
        ("京", ["中国", "日本"]),
        ("首都是哪里", ["中国", "法国", "日本", "肯尼亚", "秘鲁"]),
        ("巴利", []),
    ],
)
def test_search_in_chinese(site: Site, query: str, found: list[str]) -> None:
    """In prompts and in answers, by one character or by several."""
    page = site.open("answers.html#batch=zh")
    search(page, query)
    expect(page.locator("#count")).to_have_text(re.compile(f"^{len(found)} "))
    rows = page.locator("#rows tr")
    for land in found:
        expect(rows.filter(has_text=land)).to_have_count(1)


@pytest.mark.parametrize(
    "text",
    [
        "Janet's 16 EGGS a_b",
        "Größe ﬁne １２ İstanbul ΣΑΣ",
        "小明有3个鸡蛋",
        "カナ한국 ไทย",
        "𠀀𠀁x",
        "e\u0301 don’t 3.5 ½ Ⅷ",
        "x" * 99,
    ],
)
def test_a_query_is_taken_apart_like_a_row(site: Site, text: str) -> None:
    """What the browser looks for is among what the index holds: two languages, one rule."""
    page = site.open("answers.html#batch=zh")
    asked = page.evaluate("(text) => Report.search.parse(text).words", text)
    assert asked
    assert set(asked) <= words(text)


def test_filters_and_counts_add_up(site: Site) -> None:
    """The chips say how many rows of each status there are among those found, and choosing one shows them."""
    page = site.open("answers.html#batch=math")
    chips = page.locator("#statuses button")
    assert [one.replace("\n", " ") for one in chips.all_inner_texts()] == [
        "All 300",
        "succeeded 296",
        "failed 3",
        "missing 1",
        "pending 0",
    ]
    chips.filter(has_text="failed").click()
    expect(page.locator("#count")).to_have_text("3 of 300 rows")
    expect(page.locator("#rows .badge")).to_have_text(["failed"] * 3)
    page.locator("#statuses button", has_text="All").click()
    page.get_by_label("Finish").select_option("length")
    expect(page.locator("#count")).to_have_text("1 of 300 rows")
    expect(keys(page)).to_have_text(["k004"])
    search(page, "eggs")
    expect(page.locator("#count")).to_have_text("1 of 300 rows")
    search(page, "ducks")
    expect(page.locator("#nothing")).to_be_visible()


def test_sorting(site: Site) -> None:
    """By a click on the column: upwards, downwards, and then as in the input again."""
    page = site.open("answers.html#batch=math")
    button = page.get_by_role("columnheader", name="Key").get_by_role("button")
    for way, first in (("ascending", "k000"), ("descending", "k299"), (None, "k000")):
        button.click()
        expect(keys(page).first).to_have_text(first)
        assert page.locator('th[data-sort="key"]').get_attribute("aria-sort") == way
    page.get_by_role("columnheader", name="Tokens in").get_by_role("button").click()
    page.get_by_role("button", name="Last").click()
    expect(page.locator("#rows tr").last.locator("td").nth(4)).to_have_text("–")  # without a number: last


def test_pages_of_the_table(site: Site) -> None:
    """Fifty rows at a time, and the address says which."""
    page = site.open("answers.html#batch=math")
    expect(keys(page)).to_have_count(50)
    expect(keys(page).first).to_have_text("k000")
    page.get_by_role("button", name="Next").click()
    expect(keys(page).first).to_have_text("k050")
    assert "page=2" in page.url
    page.get_by_role("button", name="Last").click()
    expect(keys(page).last).to_have_text("k299")
    expect(page.locator("#pages")).to_contain_text("251–300 of 300")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()


def test_a_row_is_read_as_messages(site: Site) -> None:
    """Prompt beside answer, as texts; the body as it was sent is a click away."""
    page = site.open("answers.html#batch=math")
    page.locator("#rows tr").nth(7).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", level=2)).to_contain_text("k007")
    expect(dialog.get_by_role("region", name="Prompt")).to_contain_text("Now: Question 7: how many eggs?")
    expect(dialog.get_by_role("region", name="Answer")).to_be_visible()
    expect(dialog.get_by_text('"max_tokens": 64')).not_to_be_visible()
    dialog.get_by_text("Request body").click()
    expect(dialog.get_by_text('"max_tokens": 64')).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).not_to_be_visible()


def test_the_keyboard_is_enough(site: Site) -> None:
    """Search, walk, read, go on, come back, without a mouse; the focus is always somewhere to be seen."""
    page = site.open("answers.html#batch=math")
    page.keyboard.press("/")
    page.keyboard.type("ducks")
    expect(page.locator("#count")).to_have_text("30 of 300 rows")
    expect(keys(page)).to_have_count(30)
    page.keyboard.press("ArrowDown")
    expect(keys(page).first).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(keys(page).nth(1)).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    heading = page.get_by_role("dialog").get_by_role("heading", level=2)
    expect(heading).to_contain_text("k010")
    page.keyboard.press("ArrowRight")
    expect(heading).to_contain_text("k020")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(heading).to_contain_text("k000")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).not_to_be_visible()
    expect(keys(page).first).to_be_focused()
    page.keyboard.press("End")
    expect(keys(page).last).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.press("Escape")
    expect(page.locator("#count")).to_have_text("300 rows")
    page.keyboard.type("x/y")  # in the box a slash is a slash
    expect(page.locator("#q")).to_have_value("x/y")


def test_an_address_is_the_whole_view(site: Site) -> None:
    """Whoever is sent it sees the same: batch, search, filter, order and row."""
    page = site.open("answers.html#batch=math&q=eggs&status=succeeded&sort=-key")
    expect(page.locator("#q")).to_have_value("eggs")
    expect(keys(page).first).to_have_text("k299")
    keys(page).nth(1).click()
    expect(page.get_by_role("dialog").get_by_role("heading", level=2)).to_contain_text("k298")
    again = site.open(page.url.removeprefix(site.url))
    expect(again.get_by_role("dialog").get_by_role("heading", level=2)).to_contain_text("k298")
    page.go_back()
    expect(page.get_by_role("dialog")).not_to_be_visible()
    expect(page.locator("#q")).to_have_value("eggs")


def test_addresses_that_lead_nowhere(site: Site) -> None:
    """Are answered in words, or by what there is."""
    assert count(site.open("answers.html#batch=math&row=9999.1")) == "There is no row 9999.1."
    assert count(site.open("answers.html#batch=nobody&page=x&sort=x")) == "300 rows"
    assert "rows" in count(site.open("compare.html#left=nobody&right=zh&row=x"))


def test_two_cells_of_a_matrix_are_compared(site: Site) -> None:
    """Row by row; what differs in the words is marked on either side."""
    page = site.open("compare.html#left=styles-brief&right=styles-long&show=all&q=question+k012")
    expect(page.locator("#count")).to_have_text("1 of 300 rows")
    row = page.locator("#rows tr").first
    expect(row.locator("del").last).to_have_text("brief")
    expect(row.locator("ins").last).to_have_text("long")
    row.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("region", name="styles-brief").locator("del").last).to_have_text("brief")
    expect(dialog.get_by_role("region", name="styles-long").locator("ins").last).to_have_text("long")
    expect(dialog.get_by_role("region", name="Prompt")).to_have_count(2)
    expect(dialog.get_by_role("region", name="Prompt, left").locator("del, mark").first).to_have_text("brief")


def test_two_revisions_are_compared(site: Site) -> None:
    """From the batch's page; the counts of the kinds are those of all rows."""
    page = site.open("batches/math.html")
    page.get_by_role("link", name="Compare with math, revision 1").click()
    settle(page)
    assert page.locator("#left-head").inner_text() == "math, revision 1"
    expect(page.locator("#count")).to_have_text(re.compile(r"of 300 rows$"))
    page.get_by_role("button", name=re.compile("^All")).click()
    expect(page.locator("#count")).to_have_text("300 of 300 rows")
    page.get_by_label("Left").select_option("styles-long")
    expect(page.locator("#left-head")).to_have_text("styles-long")


def test_colours_are_chosen_and_kept(site: Site) -> None:
    """As the system says, until the button is pressed."""
    page = site.open(color_scheme="dark")

    def back(of: Page) -> str:
        return str(of.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    dark = back(page)
    page.get_by_role("button", name="Switch to light colours").click()
    assert back(page) != dark
    page.goto(f"{site.url}compare.html")
    assert back(page) != dark
    page.get_by_role("button", name="Switch to dark colours").click()
    assert back(page) == dark


def test_counts_are_said_aloud(site: Site) -> None:
    """A screen reader hears of a changed count, and every column has its head."""
    page = site.open("answers.html#batch=math")
    assert page.get_by_role("status").get_attribute("aria-live") == "polite"
    heads = page.get_by_role("columnheader").all_inner_texts()
    assert [head.split(" ↕")[0].strip() for head in heads][:4] == ["Key", "Status", "Prompt", "Answer"]
    assert page.get_by_role("rowheader").count() == 50


def test_pages_without_scripts(site: Site) -> None:
    """Overview and batches are whole without JavaScript; the other two say that they need it."""
    page = site.open(java_script_enabled=False)
    expect(page.locator("#batches tbody tr")).to_have_count(4)
    page.locator("#batches a").first.click()
    expect(page.get_by_role("heading", name="Spec as declared")).to_be_visible()
