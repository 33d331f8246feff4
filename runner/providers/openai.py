"""Files and batches over OpenAI's wire: upload a file of requests, make a task of it, look, download files of results.

Platforms that share the wire differ in details, which are rows of :data:`.dialects.DIALECTS`; what they say of their
tasks is read by :mod:`.openai_batch`, bodies and lines of results by :mod:`.endpoints`.  Sources are
``facts/batch-providers.md`` (sections 1 to 3, whose F-numbers are quoted here) and ``facts/seed-providers.md`` B.6.

- No platform but DigitalOcean knows an idempotency key: a start whose answer was lost is looked for in the list, by
  the id of the uploaded file and by our name in its metadata.
- A new file may be unknown for a moment when a task is made of it (F50): that one no is asked again, a few times.
- A task that ended may have answers whatever it ended as (F01, F22): both of its files are collected, always.
- A task that names no file although it counts answers owes them: it is asked again later (F45).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from runner.edge.http import READ_TIMEOUT, Http, Reply, judge_status
from runner.errors import Busy, ProviderError, Refused, RunnerError, Unsure
from runner.model import Catalogue, Offer
from runner.project import ProviderConfig
from runner.provider import (
    Finding,
    Frame,
    Job,
    Phase,
    Progress,
    Question,
    ShardLimits,
    Traits,
    Unknown,
    Upload,
)
from runner.providers import chat, endpoints
from runner.providers.dialects import DIALECTS, Dialect
from runner.providers.hands import Hands, limits_of, secret_of
from runner.providers.listing import parse_listing
from runner.providers.loose import first_text, get, items, text
from runner.providers.openai_batch import (
    MOST_PAGES,
    STOPPING,
    Search,
    file_ids,
    inline_results,
    input_file_of,
    is_queue_full,
    letters_of,
    progress_of,
    word_of,
)
from runner.providers.openai_form import form
from runner.result import Result

GRACE = 900.0
PAGE = 100
"""Tasks, or results, of one page: the most that OpenAI and Zhipu give."""
FILE_ROUNDS = 8
"""How many times, about 8 seconds each, a file is waited for until it is processed."""
NO_LIST = (404, 405, 501)
"""Statuses by which a platform says that it has no list of models."""


class OpenAI:
    """One account at a platform of this wire.

    ``base_url`` and ``api_key`` are called at the first conversation.  ``endpoint`` replaces the dialect's usual paths;
    ``upload_fields`` go with every upload form.
    """

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        http: Http,
        *,
        base_url: Callable[[], str],
        api_key: Callable[[], str],
        limits: ShardLimits,
        endpoint: str = "",
        upload_fields: Mapping[str, str] | None = None,
        schema_as: str = "json_schema",
    ) -> None:
        self.name = name
        self.traits = Traits(cancels=True, finds=True, grace=GRACE, poll=dialect.poll, shard=limits)
        self._dialect = dialect
        self._http = http
        self._base_url = base_url
        self._api_key = api_key
        self._endpoint = endpoint
        self._upload_fields = upload_fields or {}
        self._schema_as = schema_as

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    # Pure

    def encode(self, offer: Offer, question: Question) -> dict[str, Any]:
        for name in sorted(self._dialect.refuses & question.parameters.keys()):
            raise ValueError(f"this platform's batches do not take the parameter {name}")
        return endpoints.encode(self._path(question), offer.id, question, self._schema_as)

    def frame(self, question: Question) -> Frame:
        return chat.frame(question, self._dialect.line, url=dumps(self._path(question))[1:-1])

    def decode(self, line: bytes) -> Result:
        translate = self._dialect.translate
        result = endpoints.decode(translate(line) if translate else line, self._endpoint)
        failure, scrub = result.failure, self._http.scrub
        if failure is None:
            return result
        return replace(
            result, failure=replace(failure, code=scrub(failure.code, 100), message=scrub(failure.message, 1_000))
        )

    def _path(self, question: Question) -> str:
        """The path of a line, which is also the task's endpoint: the two have to agree (F11)."""
        return self._endpoint or endpoints.usual(question, self._dialect.prefix)

    # Conversations

    def offers(self) -> Catalogue:
        """The platform's list of models.  That it names those, and only those, that take batches is nowhere said."""
        if not self._dialect.models:
            return Catalogue((), complete=False)

        def lenient(reply: Reply) -> None:
            if reply.status not in NO_LIST:
                self._judge(reply)

        reply = self._call("GET", self._dialect.models, retry=True, judge=lenient)
        try:
            found = parse_listing(reply.json()) if reply.status < 300 else None
        except Unsure:  # a page for people, say
            found = None
        if found is None:
            return Catalogue((), complete=False)
        return Catalogue(found, complete=self._dialect.lists_all_models)

    def stage(self, job: Job) -> Upload:
        """Upload the shard, and wait until a task can be made of it where that takes a while (F51)."""
        assert job.file is not None
        file_id = _UPLOADS[self._dialect.upload](self, job, job.file)
        if not file_id:
            raise Unsure("the answer to an upload holds no id of a file")
        if self._dialect.waits_for_file:
            self._await_file(file_id)
        return Upload(file_id, marker=file_id)

    def _upload_form(self, job: Job, file: Path) -> str:
        fields = {"purpose": self._dialect.purpose, **self._upload_fields}
        with form(file, _file_name(job), fields) as body:
            reply = self._call(
                "POST",
                "/files",
                retry=True,
                headers={"content-type": body.content_type},
                content=body.path,
                timeout=_patience(body.path),
                judge=self._judge_upload,
            )
        answer = reply.json()
        return first_text(answer, ("id",)) or first_text(get(answer, "data"), ("id",))

    def _upload_presigned(self, job: Job, file: Path) -> str:
        """Both calls again where the network fails: an address is good for a quarter of an hour."""

        def upload() -> str:
            answer = self._call("POST", "/batches/files", retry=False, json={"file_name": _file_name(job)}).json()
            url = text(get(answer, "upload_url"))
            if not url:
                raise Unsure("the answer to a request for an upload address holds none")
            self._http.call(
                "PUT",
                url,
                retry=False,
                headers={"content-type": "application/octet-stream"},
                content=file,
                timeout=_patience(file),
            )
            return text(get(answer, "file_id"))

        return self._http.patiently(upload)

    def _await_file(self, file_id: str) -> None:
        """Return once the file is processed.  Raises Busy where that takes too long, Refused where it fails."""

        def look() -> None:
            file = self._call("GET", f"/files/{quote(file_id, safe='')}", retry=False).json()
            word = letters_of(text(get(file, "status")))
            if word in ("error", "failed", "deleted"):
                said = first_text(file, ("status_details", "error")) or word
                raise Refused(self._http.scrub(f"the uploaded file was not taken: {said}"))
            if word not in ("processed", ""):
                raise Busy(f"the uploaded file is not processed yet: {word}", retry_after=2.5)

        for _ in range(FILE_ROUNDS - 1):
            try:
                return self._http.patiently(look)
            except Busy:
                continue
        return self._http.patiently(look)

    def start(self, job: Job, upload: Upload) -> str:
        """Make the task.  An answer that neither holds an id nor says no leaves it Unsure."""
        order = self._order(job, upload.token)

        def ask() -> Reply | ProviderError:
            try:
                return self._call("POST", "/batches", retry=False, json=order, judge=self._judge_start)
            except _FileUnknown:
                raise
            except ProviderError as error:  # never asked again: only an unknown file is, which is a clear no
                return error

        reply = self._http.patiently(ask)
        if isinstance(reply, ProviderError):
            raise reply
        remote_id = text(get(self._unwrapped(reply.json()), self._dialect.id))
        if not remote_id:
            raise Unsure("the answer to the creation of a task holds no id", where=reply.where)
        return remote_id

    def _order(self, job: Job, file_id: str) -> dict[str, Any]:
        dialect = self._dialect
        order: dict[str, Any] = {dialect.input_file: file_id, **dialect.fields}
        if dialect.names_endpoint:
            order["endpoint"] = self._endpoint or endpoints.asked_in(_first_line(job), dialect.prefix)
        if dialect.window is not None:
            order["completion_window"] = dialect.window.of(job.max_wait)
        return {**order, **_nested(dialect.marker, job.name)}

    def find(self, job: Job) -> Finding:
        """Look for the task in the list: by the file it was made of, and by the name it carries."""
        search = Search(self._dialect, job)
        params = {"limit": str(PAGE)} if self._dialect.cursor else {}
        for _ in range(MOST_PAGES):
            try:
                page = self._ask("GET", "/batches", params)
            except Refused as error:
                if error.credentials:
                    raise
                return Unknown(f"the list of tasks cannot be read: {error.message}")
            cursor = search.take(page)
            if not cursor:
                return search.finding()
            params = {**params, self._dialect.cursor: cursor}
        search.trouble = f"the provider's list of tasks has more than {MOST_PAGES:,} pages"
        return search.finding()

    def check(self, job: Job) -> Progress:
        return self._progress(job, self._batch(job.remote_id))

    def _progress(self, job: Job, batch: Any) -> Progress:
        return progress_of(batch, job.requests, self._http.scrub)

    def verify(self, job: Job, remote_id: str) -> None:
        """Raise Refused unless the task ``remote_id`` may be ``job``: whatever it says of itself has to agree."""
        batch, marker = self._batch(remote_id), self._dialect.marker
        name = text(get(batch, *marker)) if marker else ""
        total = progress_of(batch, 0, self._http.scrub).total
        ours = {self._endpoint} if self._endpoint else {self._dialect.prefix + kind for kind in _USUAL}
        says = {
            "name": (name, {job.name}),
            "input file": ("" if name == job.name or not job.staged else input_file_of(batch), {job.staged}),
            "endpoint": (text(get(batch, "endpoint")), ours),
            "number of requests": (str(total or ""), {str(job.requests)}),
        }
        differ = [
            f"its {what} is {theirs}, not {' or '.join(sorted(ours))}"
            for what, (theirs, ours) in says.items()
            if theirs and theirs not in ours
        ]
        if differ:
            raise Refused(self._http.scrub(f"task {remote_id} is another one: {'; '.join(differ)}", 600))

    def cancel(self, job: Job) -> bool:
        """Ask for a stop.  One that has ended, or is about to stop, needs none (F17)."""
        try:
            self._call("POST", self._task(job.remote_id) + self._dialect.cancel, retry=True, judge=self._judge_task)
        except Refused as error:
            if error.credentials:
                raise
            progress = self.check(job)
            return progress.phase.ended or letters_of(progress.raw) in STOPPING
        return True

    # Results

    def results(self, job: Job, sink: Callable[[bytes], object]) -> None:
        batch = self._batch(job.remote_id)
        progress = self._progress(job, batch)
        if not progress.phase.ended:
            raise Busy(f"task {job.remote_id} has not ended: it is {progress.raw}")
        lines = _RESULTS[self._dialect.results](self, job, batch, progress, Joined(sink))
        owed = _owed(progress)
        if owed and not lines:
            raise Busy(f"task {job.remote_id} has answers, and names no results yet")
        if lines < owed:
            raise Unsure(f"the results of task {job.remote_id} hold {lines:,} lines of {owed:,} answers")

    def _from_files(self, job: Job, batch: Any, progress: Progress, sink: Joined) -> int:
        """Both files (F04).  Returns the number of lines of answers, or of results inside the task (F45)."""
        output, errors = file_ids(batch)
        if not output:
            for entry in inline_results(batch):
                sink(_line(entry))
        if output:
            self._download(output, job, sink)
        answers = sink.lines
        if errors and errors != output:
            try:
                self._download(errors, job, sink)
            except Refused as error:
                # Its rows count as missing, rather than that the paid ones cannot be had.
                if error.credentials or not answers:
                    raise
        return answers

    def _download(self, file_id: str, job: Job, sink: Joined) -> None:
        url = self._url(f"/files/{quote(file_id, safe='')}/content")
        try:
            self._http.download(url, sink, headers=self._headers())
        except Refused as error:
            if not error.credentials:
                error.message = f"file {file_id} of task {job.remote_id} cannot be had any more: {error.message}"
            raise
        sink.close_line()

    def _from_pages(self, job: Job, batch: Any, progress: Progress, sink: Joined) -> int:  # noqa: ARG002 - one signature
        params = {"limit": str(PAGE)}
        seen: set[str] = set()
        while True:
            page = self._ask("GET", f"{self._task(job.remote_id)}/results", params)
            for entry in items(get(page, "results")):
                sink(_line(entry))
            token = text(get(page, "pagination_token"))
            if not token:
                return sink.lines
            if token in seen:
                raise Unsure(f"the list of results of task {job.remote_id} goes round in circles")
            seen.add(token)
            params = {**params, self._dialect.cursor: token}

    def _from_links(self, job: Job, batch: Any, progress: Progress, sink: Joined) -> int:  # noqa: ARG002 - one signature
        """Every address in the answer: of the errors' one the name is not documented.  They take no key."""
        try:
            answer = self._ask("GET", f"{self._task(job.remote_id)}/results")
        except Refused as error:
            if error.credentials:
                raise
            if _owed(progress):  # such as 412: not ready yet
                raise Busy(f"the results of task {job.remote_id} are not to be had yet: {error.message}") from None
            return 0
        for url in _addresses(answer):
            self._http.download(url, sink)
            sink.close_line()
        return sink.lines

    # The wire

    def _batch(self, remote_id: str) -> Any:
        """What the platform says of a task.  Raises Unsure where that is not the description of one."""
        batch = self._unwrapped(self._ask("GET", self._task(remote_id), judge=self._judge_task))
        if not word_of(batch):
            raise Unsure(f"the answer to a question for task {remote_id} describes none")
        return batch

    def _task(self, remote_id: str) -> str:
        return f"/batches/{quote(remote_id, safe='')}"

    def _unwrapped(self, answer: Any) -> Any:
        inner = get(answer, self._dialect.wrapper)
        return inner if isinstance(inner, dict) else answer

    def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        judge: Callable[[Reply], None] | None = None,
    ) -> Any:
        """The answer to a question that may be asked again."""
        return self._call(method, path, retry=True, params=params, judge=judge).json()

    def _call(
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
    ) -> Reply:
        return self._http.call(
            method,
            self._url(path),
            retry=retry,
            headers={**self._headers(), **(headers or {})},
            params=params,
            json=json,
            content=content,
            timeout=timeout,
            judge=judge or self._judge,
        )

    def _headers(self) -> dict[str, str]:
        key = self._api_key()
        self._http.hide(key)
        return {self._dialect.key_header: f"{self._dialect.key_word}{key}"}

    def _url(self, path: str) -> str:
        return root_of(self._base_url(), self._dialect.version) + path

    def _judge(self, reply: Reply) -> None:
        try:
            judge_status(reply)
        except Refused as error:
            if error.credentials:
                error.hint = f"compare api_key, base_url and dialect of provider {self.name} in runner.yaml"
            raise

    def _judge_upload(self, reply: Reply) -> None:
        try:
            self._judge(reply)
        except Refused as error:
            if reply.status == 413 or "toolarge" in letters_of(error.message):
                error.hint = f"set max_bytes of provider {self.name} in runner.yaml lower"
            raise

    def _judge_task(self, reply: Reply) -> None:
        """A task that is not there may be another account's (F27): it is not taken for lost."""
        try:
            self._judge(reply)
        except Refused as error:
            if reply.status == 404:
                error.message = f"{error.message}; the key may be of another account or project than the task"
                error.hint = f"compare api_key of provider {self.name} with the one that the task was made with"
            raise

    def _judge_start(self, reply: Reply) -> None:
        try:
            self._judge(reply)
        except Refused as error:
            if is_queue_full(error.code, error.message):
                raise Busy(error.message, code=error.code, where=error.where) from None
            if _speaks_of_unknown_file(error):
                raise _FileUnknown(error.message, code=error.code, where=error.where) from None
            raise


class _FileUnknown(Busy):
    """A clear no, and soon a yes: the file that was just uploaded is not known yet."""


def _speaks_of_unknown_file(error: Refused) -> bool:
    said = letters_of(f"{error.code} {error.message}")
    return "file" in said and any(word in said for word in ("notfound", "nosuch", "notexist", "doesntexist"))


class Joined:
    """Files handed on one behind the other, the last line of each closed; counts lines."""

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        self.lines = 0
        self._sink = sink
        self._is_open = False

    def __call__(self, data: bytes) -> None:
        self._sink(data)
        self.lines += data.count(b"\n")
        self._is_open = not data.endswith(b"\n")

    def close_line(self) -> None:
        if self._is_open:
            self(b"\n")


_UPLOADS: Mapping[str, Callable[[OpenAI, Job, Path], str]] = {
    "multipart": OpenAI._upload_form,
    "presigned": OpenAI._upload_presigned,
}
_RESULTS: Mapping[str, Callable[[OpenAI, Job, Any, Progress, Joined], int]] = {
    "files": OpenAI._from_files,
    "pages": OpenAI._from_pages,
    "links": OpenAI._from_links,
}
_USUAL = (endpoints.CHAT, endpoints.TEXT)


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


def _nested(path: tuple[str, ...], value: str) -> dict[str, Any]:
    """``("metadata", "runner")`` and a value → ``{"metadata": {"runner": value}}``; no path, nothing."""
    nested: Any = value
    for key in reversed(path):
        nested = {key: nested}
    return nested if path else {}


def _first_line(job: Job) -> bytes:
    assert job.file is not None
    with job.file.open("rb") as file:
        return file.readline()


def _file_name(job: Job) -> str:
    return f"{job.name}.jsonl"


def _patience(file: Path) -> float:
    """Seconds of silence to bear: a platform answers when it has stored, or looked through, all of it (F49)."""
    return READ_TIMEOUT + file.stat().st_size / 1_000_000


def _line(entry: Any) -> bytes:
    return dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _owed(progress: Progress) -> int:
    """How many answers an ended task must hand over at least."""
    if progress.succeeded is not None and (progress.succeeded or progress.failed):
        return progress.succeeded
    return 1 if progress.phase is Phase.SUCCEEDED else 0


def _addresses(answer: Any) -> Iterator[str]:
    """Every http address in an answer, in its order, wherever it stands."""
    if isinstance(answer, str) and answer.startswith(("https://", "http://")):
        yield answer
    elif isinstance(answer, dict | list):
        for value in answer.values() if isinstance(answer, dict) else answer:
            yield from _addresses(value)


# Building one from runner.yaml


def openai(config: ProviderConfig, hands: Hands) -> OpenAI:
    """``type: openai``."""
    settings = config.settings
    dialect = DIALECTS[settings.get("dialect", "openai")]
    endpoint = settings.get("endpoint", "")
    usual = dialect.fewer.get(endpoints.kind_of(endpoint), dialect.limits.requests)

    def base_url() -> str:
        url: str = settings.get("base_url", dialect.base_url)
        if not url:
            hint = "base_url: https://RESOURCE.openai.azure.com, or wherever it is"
            raise RunnerError(f"provider {config.name} has no base_url", where=str(config.place), hint=hint)
        return url

    return OpenAI(
        config.name,
        dialect,
        hands.http,
        base_url=base_url,
        api_key=secret_of(config, hands),
        limits=limits_of(config, replace(dialect.limits, requests=usual)),
        endpoint=endpoint,
        upload_fields=settings.get("upload_fields"),
        schema_as=settings.get("schema_as", "json_schema"),
    )
