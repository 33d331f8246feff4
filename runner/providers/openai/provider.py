"""Files and batches over OpenAI's wire: upload a file of requests, make a task of it, look, download files of results.

Platforms that share the wire differ in details, which are rows of ``DIALECTS`` in :mod:`.dialects`; what they say of
their tasks is read by :mod:`.batch`, bodies and lines of results by :mod:`.endpoints`.  What they share is documented
at https://platform.openai.com/docs/api-reference/batch.

- No platform but DigitalOcean knows an idempotency key: a start whose answer was lost is looked for in the list, by
  the id of the uploaded file and by our name in its metadata.
- A new file may be unknown for a moment when a task is made of it: that one no is asked again, a few times.
- A task that ended may have answers whatever it ended as: both of its files are collected, always.
- A task that names no file although it counts answers owes them: it is asked again later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from json import dumps
from typing import Any

from runner.edge.http import Http, Reply
from runner.errors import Busy, ProviderError, Refused, RunnerError, Unsure
from runner.model import Catalogue, Offer
from runner.project import ProviderConfig
from runner.provider import Finding, Frame, Job, Progress, Question, ShardLimits, Traits, Unknown, Upload, no_embeddings
from runner.providers import chat
from runner.providers.hands import Hands, limits_of, secret_of
from runner.providers.joined import is_fresh
from runner.providers.listing import listed_in
from runner.providers.loose import get, identity, text
from runner.providers.openai import endpoints
from runner.providers.openai.batch import MOST_PAGES, STOPPING, Search, input_file_of, letters_of, progress_of
from runner.providers.openai.dialects import DIALECTS, Dialect
from runner.providers.openai.results import collect
from runner.providers.openai.upload import upload
from runner.providers.openai.wire import FILE_UNKNOWN, Wire, batch_path
from runner.result import Result

GRACE = 900.0
PAGE = "100"
"""Tasks of one page: the most that OpenAI and Zhipu give."""
NO_LIST = (404, 405, 501)
"""Statuses by which a platform says that it has no list of models."""


class OpenAI:
    """One account at a platform of this wire.

    ``base_url`` and ``api_key`` are called at the first conversation.  ``endpoint`` replaces the dialect's usual paths;
    ``upload_fields`` go with every upload.
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
        embeddings: ShardLimits | None = None,
        endpoint: str = "",
        upload_fields: Mapping[str, str] | None = None,
        schema_as: str = "json_schema",
    ) -> None:
        self.name = name
        self.traits = Traits(
            cancels=True,
            finds=True,
            grace=GRACE,
            poll=dialect.poll,
            shard=limits,
            poll_young=dialect.poll_young,
            embeddings=embeddings,
        )
        self._dialect = dialect
        self._http = http
        self._wire = Wire(name, dialect, http, base_url, api_key)
        self._endpoint = endpoint
        self._upload_fields = upload_fields or {}
        self._schema_as = schema_as

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    # Pure

    def encode(self, offer: Offer, question: Question) -> dict[str, Any]:
        for name in sorted(self._dialect.refuses & question.parameters.keys()):
            raise ValueError(f"batches of provider {self.name} do not take the parameter {name}")
        if question.embed is not None and not (self._dialect.embeds or self._endpoint):
            raise no_embeddings(f"the platform of provider {self.name}, by its dialect,")
        return endpoints.encode(self._path(question), offer.id, question, self._schema_as)

    def frame(self, question: Question) -> Frame:
        return chat.frame(question, self._dialect.line, url=dumps(self._path(question))[1:-1])

    def decode(self, line: bytes) -> Result:
        translate = self._dialect.translate
        line = translate(line) if translate else line
        return endpoints.decode(line, self._endpoint).scrubbed(self._http.scrub)

    def _path(self, question: Question) -> str:
        """The path of a line, which is also the task's endpoint: the two have to agree."""
        return self._endpoint or endpoints.usual(question, self._dialect.prefix)

    # Conversations

    def offers(self) -> Catalogue:
        """The platform's list of models, which may leave out some that take batches and name others that do not.

        Raises RunnerError where runner.yaml does not say where the platform is, so that a plan says it already.
        """
        self._wire.base_url()
        if not self._dialect.models:
            return Catalogue((), complete=False)

        def lenient(reply: Reply) -> None:
            if reply.status not in NO_LIST:
                self._wire.judge(reply)

        reply = self._wire.call("GET", self._dialect.models, retry=True, judge=lenient)
        found = listed_in(reply, batch=True)
        if found is None:
            return Catalogue((), complete=False)
        return Catalogue(found, complete=self._dialect.lists_all_models)

    def accepts(self) -> str:
        """A list of tasks is nobody else's business, whereas some show their models to everybody."""

        def lenient(reply: Reply) -> None:
            if reply.status not in NO_LIST:
                self._wire.judge(reply)

        params = {"limit": "1"} if self._dialect.cursor else {}
        reply = self._wire.call("GET", "/batches", retry=True, params=params, judge=lenient)
        return "" if reply.status in NO_LIST else "the list of batches"

    def stage(self, job: Job) -> Upload:
        """Upload the shard.  Its file's id is all that `start` needs; tasks are listed with it, so it is the marker."""
        assert job.file is not None
        file_id = upload(self._wire, job.file, f"{job.name}.jsonl", self._upload_fields)
        return Upload(file_id, marker=file_id)

    def start(self, job: Job, upload: Upload) -> str:
        """Make the task.  An answer that neither holds an id nor says no leaves it Unsure."""
        order = self._order(job, upload.token)
        judge = partial(self._wire.judge_start, upload.token)

        def ask() -> Reply | ProviderError:
            try:
                return self._wire.call("POST", "/batches", retry=False, json=order, judge=judge)
            except ProviderError as error:
                if error.word == FILE_UNKNOWN:  # the one clear no that is asked again; nothing else ever is
                    raise
                return error

        reply = self._http.patiently(ask)
        if isinstance(reply, ProviderError):
            raise reply
        remote_id = identity(get(self._wire.unwrapped(reply.json()), self._dialect.id))
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
        params = {"limit": PAGE} if self._dialect.cursor else {}
        for _ in range(MOST_PAGES):
            try:
                page = self._wire.ask("GET", "/batches", params)
            except Refused as error:
                if error.credentials:
                    raise
                return Unknown(f"the list of tasks cannot be read: {error.message}")
            cursor = search.take(page)
            if not cursor:
                return search.finding()
            params = {"limit": PAGE, self._dialect.cursor: cursor}
        search.trouble = f"the provider's list of tasks has more than {MOST_PAGES:,} pages"
        return search.finding()

    def check(self, job: Job) -> Progress:
        batch, pause = self._wire.batch(job.remote_id)
        return replace(progress_of(batch, job.requests, self._http.scrub), look_again=pause)

    def results(self, job: Job, sink: Callable[[bytes], object]) -> None:
        batch, _ = self._wire.batch(job.remote_id)
        progress = progress_of(batch, job.requests, self._http.scrub)
        if not progress.phase.ended:
            raise Busy(f"task {job.remote_id} has not ended: it is {progress.raw}")
        strict = is_fresh(job.ended_at, time.time())
        collect(self._wire, job.remote_id, batch, progress, sink, strict=strict)

    def cancel(self, job: Job) -> bool:
        """Ask for a stop.  A task that has ended, or is about to stop, needs none."""
        path = batch_path(job.remote_id) + self._dialect.cancel
        try:
            self._wire.call("POST", path, retry=True, judge=self._wire.judge_task)
        except Refused as error:
            if error.credentials:
                raise
            progress = self.check(job)
            return progress.phase.ended or letters_of(progress.raw) in STOPPING
        return True

    def verify(self, job: Job, remote_id: str) -> None:
        """Raise Refused unless the task ``remote_id`` may be ``job``: whatever it says of itself has to agree."""
        batch, _ = self._wire.batch(remote_id)
        name = text(get(batch, *self._dialect.marker)) if self._dialect.marker else ""
        total = progress_of(batch, job.requests, self._http.scrub).total
        says = {
            "name": (name, {job.name}),
            "input file": (input_file_of(batch) if job.staged and not name else "", {job.staged}),
            "endpoint": (text(get(batch, "endpoint")), self._endpoints()),
            "number of requests": (str(total or ""), {str(job.requests)}),
        }
        differ = [
            f"its {what} is {theirs}, not {' or '.join(sorted(ours))}"
            for what, (theirs, ours) in says.items()
            if theirs and theirs not in ours
        ]
        if differ:
            raise Refused(
                self._http.scrub(f"task {remote_id} is another one: {'; '.join(differ)}", 600), code="task-foreign"
            )

    def _endpoints(self) -> set[str]:
        """What a task of ours may be for."""
        usual = (endpoints.CHAT, endpoints.TEXT, *((endpoints.EMBEDDINGS,) if self._dialect.embeds else ()))
        return {self._endpoint} if self._endpoint else {self._dialect.prefix + kind for kind in usual}


def _nested(path: tuple[str, ...], value: str) -> dict[str, Any]:
    """``("metadata", "runner")`` and a value → ``{"metadata": {"runner": value}}``; no path, nothing."""
    if not path:
        return {}
    return {path[0]: _nested(path[1:], value) or value}


def _first_line(job: Job) -> bytes:
    assert job.file is not None
    with job.file.open("rb") as file:
        return file.readline()


# Building one from runner.yaml


def openai(config: ProviderConfig, hands: Hands) -> OpenAI:
    """``type: openai``."""
    settings = config.settings
    dialect = DIALECTS[settings.get("dialect", "openai")]
    endpoint = settings.get("endpoint", "")

    def limits(path: str) -> ShardLimits:
        most = dialect.fewer.get(endpoints.kind_of(path), dialect.limits.requests)
        return limits_of(config, replace(dialect.limits, requests=most))

    def base_url() -> str:
        url: str = settings.get("base_url", dialect.base_url)
        if not url:
            hint = "add base_url: https://HOST, where this platform is reached"
            raise RunnerError(
                f"provider {config.name} has no base_url", where=str(config.place), hint=hint, code="setting-missing"
            )
        return url

    return OpenAI(
        config.name,
        dialect,
        hands.http,
        base_url=base_url,
        api_key=secret_of(config, hands),
        limits=limits(endpoint),
        embeddings=limits(endpoints.EMBEDDINGS),
        endpoint=endpoint,
        upload_fields=settings.get("upload_fields"),
        schema_as=settings.get("schema_as", "json_schema"),
    )
