"""The frame around every page, and the two pages that a browser fills in."""

from __future__ import annotations

from dataclasses import dataclass

from runner.report.site.markup import Child, Html, join, tag

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"
"""No request leaves the site, and no script runs that is not a file of it."""
_PAGES = (("index.html", "Overview"), ("answers.html", "Answers"), ("compare.html", "Compare"))


@dataclass(frozen=True)
class Frame:
    """What all pages share.  ``made``: when, in words; ``rows``: whether there are any tables of rows."""

    project: str
    made: str
    rows: bool = True


def page(frame: Frame, here: str, title: str, *content: Child, scripts: tuple[str, ...] = (), base: str = "") -> bytes:
    """A whole document.  ``here`` is its path, ``base`` leads from it to the site's root."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="robots", content="noindex"),
        tag("title", f"{title} · {frame.project}"),
        tag("link", rel="icon", type="image/svg+xml", href=f"{base}assets/icon.svg"),
        tag("link", rel="stylesheet", href=f"{base}assets/report.css"),
        tag("script", src=f"{base}assets/theme.js"),
        [tag("script", src=f"{base}assets/{name}.js", defer="") for name in scripts],
    )
    body = tag(
        "body",
        tag("a", "Skip to the content", class_="skip", href="#main"),
        tag("header", tag("div", _top(frame, here, base)), class_="top"),
        tag("main", *content, id="main", tabindex=-1),
        tag("footer", tag("div", f"Made by runner on {frame.made} UTC. Times are UTC."), class_="foot"),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n".encode()


def _top(frame: Frame, here: str, base: str) -> Html:
    links = [
        tag("li", tag("a", name, href=f"{base}{path}", aria_current="page" if path == here else None))
        for path, name in _PAGES
        if frame.rows or path == "index.html"
    ]
    return join(
        tag("a", frame.project, class_="brand", href=f"{base}index.html"),
        tag("nav", tag("ul", links), aria_label="Pages"),
        tag("button", "Theme", id="theme", type="button"),
    )


_SCRIPTS = ("base", "search", "table", "view")
_WITHOUT = tag("p", "This page needs JavaScript; the others do not.", class_="note unscripted")


def answers_page(frame: Frame) -> bytes:
    """The table of all rows of one batch; ``answers.js`` fills it in."""
    columns = (
        ("Key", "key", "c-key"),
        ("Status", "status", "c-status"),
        ("Prompt", "", "c-prompt"),
        ("Answer", "", ""),
        ("Length", "length", "c-number numeric"),
        ("Tokens in", "input", "c-number numeric"),
        ("Tokens out", "output", "c-number numeric"),
    )
    return page(
        frame,
        "answers.html",
        "Answers",
        tag("h1", "Answers", id="title"),
        _WITHOUT,
        tag(
            "div",
            _select("batch", "Batch"),
            _search("Search keys, prompts and answers"),
            class_="tools",
        ),
        tag(
            "div",
            tag("div", id="statuses", class_="chips", role="group", aria_label="Status"),
            _select("code", "Error"),
            _select("finish", "Finish"),
            class_="tools",
        ),
        *_results("Rows", columns),
        scripts=(*_SCRIPTS, "answers"),
    )


def compare_page(frame: Frame) -> bytes:
    """Two tables beside one another; ``compare.js`` fills it in."""
    columns = (("Key", "", "c-key"), ("Left", "", "left-head"), ("Right", "", "right-head"))
    return page(
        frame,
        "compare.html",
        "Compare",
        tag("h1", "Compare", id="title"),
        _WITHOUT,
        tag(
            "div",
            _select("left", "Left"),
            _select("right", "Right"),
            _search("Search either side"),
            class_="tools",
        ),
        tag("div", tag("div", id="kinds", class_="chips", role="group", aria_label="Difference"), class_="tools"),
        *_results("Rows of both", columns),
        scripts=("base", "search", "words", "table", "view", "compare"),
    )


def _select(id: str, label: str) -> Html:
    return tag("label", tag("span", tag("span", label, class_="quiet"), tag("select", id=id), class_="named"))


def _search(label: str) -> Html:
    words = f"{label} ( / )"
    box = tag(
        "input", id="q", type="search", placeholder=words, aria_label=label, autocomplete="off", spellcheck="false"
    )
    return tag("form", box, id="search", role="search")


def _results(caption: str, columns: tuple[tuple[str, str, str], ...]) -> list[Html]:
    heads = [
        tag("th", tag("button", name, type="button"), scope="col", class_=css or None, data_sort=sort)
        if sort
        else tag("th", name, scope="col", class_=css or None, id=css if css.endswith("-head") else None)
        for name, sort, css in columns
    ]
    return [
        tag("p", "Loading…", id="count", class_="quiet", role="status", aria_live="polite"),
        tag(
            "div",
            tag(
                "table",
                tag("caption", caption, class_="visually-hidden"),
                tag("thead", tag("tr", heads)),
                tag("tbody", id="rows"),
                class_="rows",
            ),
            tag("p", "No row fits.", id="nothing", hidden="", class_="quiet empty"),
            id="table",
            class_="scroll",
        ),
        tag("div", id="pages", class_="pages", hidden="", role="group", aria_label="Pages of the table"),
    ]
