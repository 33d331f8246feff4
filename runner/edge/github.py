"""Comments on a pull request, through GitHub's REST API."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runner.edge.http import Http, Reply, judge_status, retry_after
from runner.errors import Busy, CredentialsError, Refused, RunnerError, Unsure

API = "https://api.github.com"
VERSION = "2022-11-28"
PAGE = 100
"""Comments of one page, the most that there can be."""
PAGES = 100

_REPOSITORY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_NEEDED = "The token needs the permission `pull-requests: write`, which pull requests from forks are not given."
_APP = "github-actions[bot]"
"""Whose GITHUB_TOKEN is, inside a workflow."""


@dataclass(frozen=True)
class Comment:
    id: int
    author: str
    body: str
    url: str


class GitHub:
    """Comments of one repository's pull requests, as the account that the token belongs to."""

    def __init__(self, http: Http, token: str, repository: str, api: str = API, graphql: str = "") -> None:
        http.hide(token)
        self._http = http
        self._headers = {
            "authorization": f"Bearer {token}",
            "accept": "application/vnd.github+json",
            "x-github-api-version": VERSION,
        }
        self._api = api.rstrip("/")
        self._graphql = graphql or f"{self._api}/graphql"
        self._repository = f"{self._api}/repos/{repository}"

    def account(self) -> str:
        """Who comments are written by.

        An app's token, such as a workflow's, may not ask for its user, but for its viewer.
        """

        def judge(reply: Reply) -> None:
            if reply.status != 403 or _is_limited(reply):
                _judge(reply)

        reply = self._call("GET", f"{self._api}/user", judge=judge)
        if reply.status == 403:
            return self._viewer()
        return _text(reply.json(), "login", reply)

    def _viewer(self) -> str:
        try:
            reply = self._call("POST", self._graphql, json={"query": "query { viewer { login } }"})
        except Refused:
            return _APP
        answer = reply.json()
        try:
            login = answer["data"]["viewer"]["login"]
        except (KeyError, TypeError):
            return _APP
        return login if isinstance(login, str) and login.endswith("[bot]") else f"{login}[bot]"

    def comments(self, number: int) -> Iterator[Comment]:
        """Of pull request ``number``, oldest first."""
        for page in range(1, PAGES + 1):
            params = {"per_page": str(PAGE), "page": str(page)}
            reply = self._call("GET", f"{self._repository}/issues/{number}/comments", params=params)
            found = reply.json()
            if not isinstance(found, list):
                raise Unsure("its list of comments is none", where=reply.where)
            yield from (_comment(one, reply) for one in found)
            if 'rel="next"' not in reply.headers.get("link", ""):
                return
        raise RunnerError(f"pull request {number} has more than {PAGES * PAGE:,} comments", code="github-setup")

    def create(self, number: int, body: str) -> Comment:
        """Not repeated where nobody knows whether it was written."""
        reply = self._call("POST", f"{self._repository}/issues/{number}/comments", json={"body": body}, retry=False)
        return _comment(reply.json(), reply)

    def update(self, comment: Comment, body: str) -> Comment:
        reply = self._call("PATCH", f"{self._repository}/issues/comments/{comment.id}", json={"body": body})
        return _comment(reply.json(), reply)

    def _call(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        retry: bool = True,
        judge: Callable[[Reply], None] | None = None,
    ) -> Reply:
        return self._http.call(
            method, url, retry=retry, headers=self._headers, params=params, json=json, judge=judge or _judge
        )


def github_of(environ: Mapping[str, str], http: Http, repository: str | None) -> GitHub:
    """What the environment of a workflow leads to.  Raises RunnerError."""
    token = environ.get("GITHUB_TOKEN", "")
    if not token:
        raise CredentialsError(
            "the environment variable GITHUB_TOKEN is not set or empty",
            hint=f"In a workflow: env: GITHUB_TOKEN: ${{{{ github.token }}}}.  {_NEEDED}",
            code="github-setup",
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise CredentialsError(
            "GITHUB_TOKEN holds a blank, a line break or a character outside ASCII", code="github-setup"
        )
    repository = repository or environ.get("GITHUB_REPOSITORY", "")
    if not _REPOSITORY.fullmatch(repository):
        raise RunnerError(
            f"{repository!r} is not OWNER/NAME",
            hint="Name it with --repository or GITHUB_REPOSITORY.",
            code="github-setup",
        )
    api = environ.get("GITHUB_API_URL") or API
    return GitHub(http, token, repository, api, environ.get("GITHUB_GRAPHQL_URL", ""))


def _judge(reply: Reply) -> None:
    """As any reply, but that GitHub says 403 for "too often" too, and 404 for what a token may not see."""
    if _is_limited(reply):
        raise Busy(
            f"answered {reply.status}: too many calls", where=reply.where, retry_after=retry_after(reply.headers)
        )
    try:
        judge_status(reply)
    except Refused as error:
        error.hint = _HINTS.get(reply.status, "")
        raise


_HINTS = {
    301: "The repository has another name by now: correct --repository or GITHUB_REPOSITORY.",
    401: "GITHUB_TOKEN is not valid, or not any more.",
    403: _NEEDED,
    404: "There is no such repository or pull request, or the token may not see it.",
}


def _is_limited(reply: Reply) -> bool:
    spent = reply.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in reply.headers
    return reply.status in (403, 429) and spent


def _comment(data: Any, reply: Reply) -> Comment:
    user = data.get("user") if isinstance(data, dict) else None  # none: the account is gone
    number = data.get("id") if isinstance(data, dict) else None
    if type(number) is not int:
        raise Unsure("a comment of its answer is none", where=reply.where)
    author = _text(user, "login", reply) if user else ""
    return Comment(number, author, str(data.get("body") or ""), str(data.get("html_url") or ""))


def _text(data: Any, name: str, reply: Reply) -> str:
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, str):
        raise Unsure(f"its answer has no {name}", where=reply.where)
    return value
