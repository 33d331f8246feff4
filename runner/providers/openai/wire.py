"""Calls to one account at a platform of OpenAI's wire: where they go, what key they carry, what a no means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from runner.edge.http import READ_TIMEOUT, Http, Reply, judge_status
from runner.errors import Busy, Refused, Unsure
from runner.providers.loose import get
from runner.providers.openai.batch import is_queue_full, letters_of, word_of
from runner.providers.openai.dialects import Dialect
from runner.providers.pauses import wished_pause

FILE_UNKNOWN = "file_not_known_yet"
"""Code of the Busy that is a clear no, and soon a yes: the file was uploaded a moment ago."""


@dataclass(frozen=True)
class Wire:
    """``base_url`` and ``api_key`` are called for every call, ``provider`` is the name in runner.yaml."""

    provider: str
    dialect: Dialect
    http: Http
    base_url: Callable[[], str]
    api_key: Callable[[], str]

    def call(
        self,
        method: str,
        path: str,
        *,
        retry: bool,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        content: Path | None = None,
        timeout: float = READ_TIMEOUT,
        judge: Callable[[Reply], None] | None = None,
        in_json: bool = False,
    ) -> Reply:
        return self.http.call(
            method,
            self._url(path),
            retry=retry,
            headers={**self._key(), **(headers or {})},
            params=params,
            json=json,
            content=content,
            timeout=timeout,
            judge=judge or self.judge,
            in_json=in_json,
        )

    def ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        judge: Callable[[Reply], None] | None = None,
    ) -> Any:
        """The answer to a question that may be asked again."""
        return self.call(method, path, retry=True, params=params, judge=judge, in_json=True).json()

    def download(self, path: str, sink: Callable[[bytes], object]) -> None:
        self.http.download(self._url(path), sink, headers=self._key())

    def batch(self, remote_id: str) -> tuple[Any, float]:
        """What the platform says of a task, and for how many seconds it wants not to be asked again.

        Raises Unsure where that is not the description of a task.
        """
        reply = self.call("GET", batch_path(remote_id), retry=True, judge=self.judge_task, in_json=True)
        batch = self.unwrapped(reply.json())
        if not word_of(batch):
            raise Unsure(f"the answer to a question for task {remote_id} describes none", where=reply.where)
        return batch, wished_pause(reply)

    def unwrapped(self, answer: Any) -> Any:
        """The task inside an answer, in whichever of the two ways it came."""
        inner = get(answer, self.dialect.wrapper)
        return inner if isinstance(inner, dict) else answer

    def _key(self) -> dict[str, str]:
        key = self.api_key()
        self.http.hide(key)
        return {self.dialect.key_header: f"{self.dialect.key_word}{key}"}

    def _url(self, path: str) -> str:
        return root_of(self.base_url(), self.dialect.version) + path

    # What a reply means

    def judge(self, reply: Reply) -> None:
        try:
            judge_status(reply)
        except Refused as error:
            if error.credentials:
                error.hint = f"compare api_key, base_url and dialect of provider {self.provider} in runner.yaml"
            raise

    def judge_upload(self, reply: Reply) -> None:
        """Of a file that is too large, say which setting makes it smaller."""
        try:
            self.judge(reply)
        except Refused as error:
            if reply.status == 413 or "toolarge" in letters_of(f"{error.word} {error.message}"):
                error.hint = f"set max_bytes of provider {self.provider} in runner.yaml lower"
            raise

    def judge_task(self, reply: Reply) -> None:
        """A task that is not there may be another account's: it is not taken for lost."""
        try:
            self.judge(reply)
        except Refused as error:
            if reply.status == 404:
                error.message = f"{error.message}; the key may be of another account or project than the task"
                error.hint = f"compare api_key of provider {self.provider} with the one that made the task"
            raise

    def judge_start(self, file_id: str, reply: Reply) -> None:
        """Noes that are a not-now: a full queue, and, with a code of its own, our file being too new."""
        try:
            self.judge(reply)
        except Refused as error:
            if is_queue_full(error.word, error.message):
                raise Busy(error.message, word=error.word, where=error.where) from None
            if _is_about_unknown_file(error, file_id):
                raise Busy(error.message, word=FILE_UNKNOWN, where=error.where) from None
            raise


def batch_path(remote_id: str) -> str:
    return f"/batches/{quote(remote_id, safe='')}"


def file_path(file_id: str) -> str:
    return f"/files/{quote(file_id, safe='')}"


def root_of(base_url: str, version: str) -> str:
    """Where calls begin: ``base_url`` with the part of ``version`` that it lacks.

    One that has a version of its own in its path is taken as it is.
    """
    base = base_url.rstrip("/")
    if re.search(r"/v\d+(/|$)", urlsplit(base).path):
        return base
    steps = version.split("/")[1:]
    have = next(n for n in range(len(steps), -1, -1) if base.endswith("".join(f"/{step}" for step in steps[:n])))
    return base + "".join(f"/{step}" for step in steps[have:])


_NOT_THERE = ("notfound", "notbefound", "nosuch", "notexist", "doesntexist")
_OTHERS = ("model", "deployment", "endpoint")
"""What else may not be there, and in lines of which file is said, too."""


def _is_about_unknown_file(error: Refused, file_id: str) -> bool:
    """Something is not there, and it is our file: by the code, or because it is named and nothing else is."""
    code = letters_of(error.word)
    rest, named = re.subn(rf"(?<![\w-]){re.escape(file_id)}(?![\w-])", "", error.message)
    said = code + letters_of(rest)
    has_code_of_files = "file" in code.replace("profile", "")
    subject = code if has_code_of_files else said
    return (
        any(word in said for word in _NOT_THERE)
        and (has_code_of_files or named > 0)
        and not any(word in subject for word in _OTHERS)
    )
