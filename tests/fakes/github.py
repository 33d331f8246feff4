"""A small GitHub on loopback: comments of pull requests, and who a token belongs to.

Written from the documents of its REST API, oddities that matter among them: pages that are told in a header, a list of
comments that may be written by anyone, and a 403 for an app that asks who it is.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghs_fake0123456789abcdefghij"
BOT = "github-actions[bot]"
REPOSITORY = "octo/evals"
LONGEST = 65_536
"""Characters of a comment."""

_ROUTES = (
    ("GET", r"/user", "user"),
    ("POST", r"/graphql", "viewer"),
    ("GET", rf"/repos/{REPOSITORY}/issues/(\d+)/comments", "list"),
    ("POST", rf"/repos/{REPOSITORY}/issues/(\d+)/comments", "create"),
    ("PATCH", rf"/repos/{REPOSITORY}/issues/comments/(\d+)", "update"),
)


@dataclass(frozen=True)
class Call:
    """One request as it came in."""

    name: str
    method: str
    headers: dict[str, str]
    body: Any


@dataclass
class Knobs:
    app: bool = True
    """The token is an app's, as a workflow's is, and no person's."""
    may_write: bool = True
    viewer: Any = field(default_factory=lambda: {"data": {"viewer": {"login": BOT}}})
    """What GraphQL answers; a number is a bare status."""
    fail: dict[str, list[Callable[[Handler], None]]] = field(default_factory=dict)
    """Call name → what to do instead of answering, one per call."""
    line_ends: str = "\n"
    """How the texts of comments come back."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeGitHub

    def handle_any(self) -> None:
        fake = self.server
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.body = json.loads(raw) if raw else None
        name, number = _route(self.command, parts.path)
        headers = {key.lower(): value for key, value in self.headers.items()}
        fake.calls.append(Call(name, self.command, headers, self.body))
        if faults := fake.knobs.fail.get(name):
            faults.pop(0)(self)
        elif headers.get("authorization") != f"Bearer {TOKEN}":
            self.says(401, f"Bad credentials: {headers.get('authorization')}")
        elif name in ("create", "update") and not fake.knobs.may_write:
            self.says(403, "Resource not accessible by integration")
        elif name == "none":
            self.says(404, "Not Found")
        else:
            getattr(fake, f"on_{name}")(self, number)

    do_GET = do_POST = do_PATCH = handle_any

    def json(self, value: Any, status: int = 200, **headers: str) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def says(self, status: int, message: str, **headers: str) -> None:
        self.json(
            {"message": message, "documentation_url": "https://docs.example", "status": str(status)}, status, **headers
        )

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        pass


class FakeGitHub(ThreadingHTTPServer):
    """Listens at once; pull request 7 is there."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.knobs = Knobs()
        self.calls: list[Call] = []
        self.comments: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *args: Any) -> None:
        pass

    def names(self) -> list[str]:
        """The calls so far, which are forgotten."""
        names = [call.name for call in self.calls]
        self.calls.clear()
        return names

    @property
    def environment(self) -> dict[str, str]:
        """What a workflow's step would have of it."""
        return {"GITHUB_TOKEN": TOKEN, "GITHUB_API_URL": self.url, "GITHUB_REPOSITORY": REPOSITORY}

    def say(self, body: str, author: str = BOT) -> dict[str, Any]:
        """A comment of ``author``'s."""
        number = len(self.comments) + 1_001
        url = f"https://github.example/{REPOSITORY}/pull/7#issuecomment-{number}"
        comment = {"id": number, "user": {"login": author}, "body": body, "html_url": url}
        self.comments.append(comment)
        return comment

    # What each call does

    def on_user(self, handler: Handler, _: int) -> None:
        if self.knobs.app:
            handler.says(403, "Resource not accessible by integration")
        else:
            handler.json({"login": "octocat"})

    def on_viewer(self, handler: Handler, _: int) -> None:
        answer = self.knobs.viewer
        handler.says(answer, "no") if isinstance(answer, int) else handler.json(answer)

    def on_list(self, handler: Handler, number: int) -> None:
        if number != 7:
            handler.says(404, "Not Found")
            return
        size, page = int(handler.query.get("per_page", "30")), int(handler.query.get("page", "1"))
        found = self.comments[(page - 1) * size : page * size]
        link = f'<{self.url}/next?page={page + 1}>; rel="next"' if page * size < len(self.comments) else ""
        ends = self.knobs.line_ends
        handler.json([{**one, "body": one["body"].replace("\n", ends)} for one in found], Link=link)

    def on_create(self, handler: Handler, number: int) -> None:
        body = handler.body["body"]
        if len(body) > LONGEST:
            handler.says(422, "Validation Failed")
            return
        handler.json(self.say(body, BOT if self.knobs.app else "octocat"), 201)

    def on_update(self, handler: Handler, number: int) -> None:
        (comment,) = (one for one in self.comments if one["id"] == number)
        comment["body"] = handler.body["body"]
        handler.json(comment)


def _route(method: str, path: str) -> tuple[str, int]:
    for verb, pattern, name in _ROUTES:
        if verb == method and (found := re.fullmatch(pattern, path)):
            return name, int(found[1]) if found.groups() else 0
    return "none", 0
