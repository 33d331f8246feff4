"""Pages of a report, and a watch over what they must never do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page


@dataclass
class Watch:
    """What a page asked for and complained of.  ``allowed``: where its requests may go."""

    allowed: str
    wrong: list[str] = field(default_factory=list)

    def over(self, page: Page) -> None:
        page.on("console", lambda said: said.type == "error" and self.wrong.append(f"console: {said.text}"))
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("popup", lambda _: self.wrong.append("a window was opened"))
        page.on("request", lambda one: self._asked(one.url))

    def _asked(self, url: str) -> None:
        if not url.startswith(self.allowed):
            self.wrong.append(f"request: {url}")


@dataclass
class Site:
    """A report at ``url``, which ends with a slash, and pages that look at it."""

    browser: Browser
    url: str
    watches: list[Watch] = field(default_factory=list)

    def open(self, path: str = "index.html", width: int = 1280, height: int = 800, **options: Any) -> Page:
        page = self.browser.new_context(viewport={"width": width, "height": height}, **options).new_page()
        page.set_default_timeout(20_000)
        watch = Watch(self.url)
        watch.over(page)
        self.watches.append(watch)
        page.goto(self.url + path)
        settle(page)
        return page

    def close(self) -> None:
        for context in self.browser.contexts:
            context.close()
        assert [wrong for watch in self.watches for wrong in watch.wrong] == []


def settle(page: Page) -> None:
    """Wait until what the address asks for is seen, its counts too."""
    if page.url.split("#")[0].endswith(("answers.html", "compare.html")):
        page.wait_for_function("() => document.documentElement.dataset.ready || !document.scripts.length")


@contextmanager
def from_disk(report: Path) -> Iterator[str]:
    yield f"file://{report}/"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def served(report: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(report.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{report.name}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
