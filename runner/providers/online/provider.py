"""Endpoints without batches: any `/v1/chat/completions`, `/v1/completions` and `/v1/embeddings` on OpenAI's wire.

The MaaS of `maas.wwcsp.com`, vLLM, Ollama and most gateways are of this kind.  The task is ours: its queue and its
answers lie on this machine (:mod:`runner.providers.online.queue`) and it makes progress while a run works on it.

- A base URL may end in its version (`/v1`, `/api/paas/v4`, `/v1beta/openai`) or be the very address of completions
  or embeddings; to any other one `/v1` is added.
- `/v1/models` may be there or not; where it is not, a model's name is taken as given.
- An asking of which no answer is heard (a time-out, a cut connection, a 5xx) may have been answered, and paid; it is
  asked again, as these endpoints know no way to find out.
- 429 means that nothing was made.  It counts as an asking only while nobody else is answered.
- A success that holds no answer is asked for again as often as `retry.attempts` says, then its row has failed.
- Where an endpoint answers nobody (a 5xx or silence, to many in a row) nothing is laid to a row: a later run asks anew,
  and as often.  A 403, 404, 405 or redirect to everybody is taken for a wrong address, model or key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.edge.http import Http, Reply, judge_status
from runner.errors import Elsewhere, Refused, RunnerError
from runner.model import Catalogue, Offer
from runner.project import ProviderConfig, SecretRef
from runner.provider import (
    Absent,
    Finding,
    Found,
    Frame,
    Job,
    Phase,
    Progress,
    Question,
    ShardLimits,
    Traits,
    Upload,
    no_embeddings,
)
from runner.providers import chat
from runner.providers.hands import Hands, limits_of, secret_of
from runner.providers.listing import listed_in
from runner.providers.online.asking import Manner
from runner.providers.online.door import Door, NotYet, Target
from runner.providers.online.fanout import Fanout
from runner.providers.online.queue import Queue, is_exhausted
from runner.result import Failure, Result

CONCURRENCY = 16
TIMEOUT = 600.0
STREAM_SILENCE = 120.0
"""Seconds that a stream may say nothing."""
SHARD = ShardLimits(2_000, 64_000_000)
"""Small, so that answers come home shard by shard."""
AUTH_HEADER = "Authorization: Bearer"
NO_LIST = (400, 403, 404, 405, 406, 410, 422, 501)
"""Statuses by which an endpoint says that it has no `/v1/models`, or none for this key."""
_VERSION = re.compile(r"/v\d+((alpha|beta)\d*)?(/openai)?$")


class Online:
    """One endpoint, wherever ``door`` says it is.  ``folder``: where its queues lie.

    ``embeds``: it may have `/v1/embeddings`, too.
    """

    def __init__(
        self,
        name: str,
        door: Door,
        http: Http,
        folder: Path,
        manner: Manner,
        *,
        limits: ShardLimits = SHARD,
        schema_as: str = "json_schema",
        embeds: bool = True,
    ) -> None:
        self.name = name
        self.traits = Traits(cancels=True, finds=True, grace=0, poll=0.5, shard=limits, poll_young=0.2, needs_us=True)
        self._door = door
        self._http = http
        self._folder = folder
        self._schema_as = schema_as
        self._embeds = embeds
        self._fanout = Fanout(door.open, url_of, manner, http.scrub)

    @property
    def notes(self) -> Sequence[str]:
        return self._door.notes

    # Pure

    def encode(self, offer: Offer, question: Question) -> dict[str, Any]:
        if question.embed is not None and not self._embeds:
            raise no_embeddings(f"the platform of provider {self.name}")
        return chat.encode(offer.id, question, self._schema_as)

    def frame(self, question: Question) -> Frame:
        return chat.frame(question)

    def decode(self, line: bytes) -> Result:
        result = chat.decode_line(line)
        failure, scrub = result.failure, self._http.scrub
        if failure is None:
            return result
        exhausted = is_exhausted(line)
        failure = Failure(
            scrub(failure.code, 100), scrub(failure.message, 1_000), retryable=failure.retryable or exhausted
        )
        return replace(result, failure=failure, exhausted=exhausted)

    # The task, which is ours

    def offers(self) -> Catalogue:
        return self._door.catalogue()

    def accepts(self) -> str:
        return self._door.accepts()

    def stage(self, job: Job) -> Upload:
        assert job.file is not None
        self._queue(job).fill(job.file)
        return Upload(job.task)

    def start(self, job: Job, upload: Upload) -> str:
        """Nothing is asked yet: that begins with `work`, once the task is known to be ours."""
        self._queue(job).start()
        return upload.token

    def find(self, job: Job) -> Finding:
        return Found(job.task) if self._queue(job).exists else Absent()

    def check(self, job: Job) -> Progress:
        """How far it is, by this run's own count or else by what lies on disk."""
        queue = self._queue(job)
        through = self._fanout.is_through(job.task)  # before it is counted: then the count is final
        tally = self._fanout.tally(job.task)
        if tally is None:
            if not queue.exists:
                raise self._elsewhere(job)
            tally = queue.tally()
        phase, raw = Phase.RUNNING, self._fanout.word or "asking"
        if tally.total >= job.requests:
            phase, raw = Phase.SUCCEEDED, "answered"
        elif queue.cancelled and not self._is_asked(job, queue):
            phase, raw = Phase.CANCELLED, "cancelled"
        elif through:
            raise Refused(
                f"the queue of task {job.task} is damaged: it lacks requests",
                where=str(self._folder),
                code="queue-damaged",
            )
        return Progress(phase, raw, job.requests, tally.answered, tally.failed)

    def verify(self, job: Job, remote_id: str) -> None:
        if remote_id != job.task or not self._queue(job).exists:
            raise self._elsewhere(job)

    def results(self, job: Job, sink: Callable[[bytes], object]) -> None:
        queue = self._queue(job)
        if not queue.exists:
            raise self._elsewhere(job)
        queue.results(sink)

    def cancel(self, job: Job) -> bool:
        queue = self._queue(job)
        if not queue.exists:
            raise self._elsewhere(job)
        queue.cancel()
        return True

    def _is_asked(self, job: Job, queue: Queue) -> bool:
        """Whether some process, this one or another, still has questions of it in flight."""
        return self._fanout.is_busy_with(job.task) or (self._fanout.tally(job.task) is None and not queue.is_free)

    def _queue(self, job: Job) -> Queue:
        return Queue(self._folder, job.task)

    def _elsewhere(self, job: Job) -> Elsewhere:
        return Elsewhere(
            f"the queue of task {job.task} is not on this machine",
            where=str(self._folder),
            hint="Apply where it was begun, or let its requests be asked, and paid, again.",
        )

    # Working on it

    def work(self, jobs: Sequence[Job]) -> None:
        self._fanout.work(jobs, self._folder)

    def tempo(self) -> str:
        return self._fanout.tempo()

    def rest(self, patience: float) -> None:
        self._fanout.rest(patience)

    def forget(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._fanout.forget(job.task)
            self._queue(job).remove()


def url_of(target: Target, path: str) -> str:
    """Where ``path``, such as ``/v1/chat/completions``, is at an endpoint.

    A base URL that ends in a version, or is itself the address of completions or embeddings, is complete: only what
    follows the version is added.
    """
    address, mark, query = target.base_url.partition("?")
    given = address.rstrip("/")
    base = given.removesuffix("/completions").removesuffix("/chat").removesuffix("/embeddings")
    steps = base.partition("://")[2].partition("/")[2]
    if base != given or _VERSION.search(f"/{steps}"):
        path = path.removeprefix("/v1")
    return base + path + mark + query


def listed_at(http: Http, target: Target) -> Catalogue:
    """The models of an endpoint.  Not complete where it has no list.  Raises ProviderError."""

    def lenient(reply: Reply) -> None:
        if reply.status == 401:
            raise Refused(f"the key was refused: answered {reply.status}", where=reply.where, credentials=True)
        if reply.status not in NO_LIST:
            judge_status(reply)

    reply = http.call("GET", url_of(target, "/v1/models"), retry=True, headers=target.headers, judge=lenient)
    found = listed_in(reply)
    return Catalogue((), complete=False) if found is None else Catalogue(found)


# Building one from runner.yaml


class _Address:
    """The door of an endpoint whose address runner.yaml names."""

    notes: Sequence[str] = ()

    def __init__(self, config: ProviderConfig, hands: Hands) -> None:
        self._config = config
        self._hands = hands

    def open(self) -> Target | NotYet:
        url = self._config.settings.get("base_url")
        if url is None:
            raise RunnerError(
                f"provider {self._config.name} has no base_url",
                where=str(self._config.place),
                hint="base_url: https://HOST/v1",
                code="setting-missing",
            )
        return Target(url, key_header(self._config, self._hands))

    def accepts(self) -> str:
        """A list of models says something of the key only where it is not given to everybody."""
        target = self.open()
        assert isinstance(target, Target)
        if not target.headers or not listed_at(self._hands.http, target).complete:
            return ""
        try:
            listed_at(self._hands.http, Target(target.base_url))
        except Refused:
            return "the list of models"
        return ""

    def catalogue(self) -> Catalogue:
        target = self.open()
        assert isinstance(target, Target)
        return listed_at(self._hands.http, target)


def key_header(config: ProviderConfig, hands: Hands, usual: str = AUTH_HEADER) -> Mapping[str, str]:
    """The header that carries ``api_key``, by the setting ``auth_header``; none where no key is named."""
    if not isinstance(config.settings.get("api_key"), SecretRef):
        return {}
    key = secret_of(config, hands)()
    hands.http.hide(key)
    return header_of(config.settings.get("auth_header", usual), key)


def header_of(setting: str, key: str) -> dict[str, str]:
    """``Authorization: Bearer`` and a key, or ``apiKey`` and a key, as a header."""
    name, _, word = setting.partition(":")
    return {name.strip().lower(): f"{word.strip()} {key}".strip()}


def endpoint(config: ProviderConfig, hands: Hands, door: Door, *, embeds: bool = True) -> Online:
    """An endpoint behind ``door``, asked as runner.yaml says."""
    settings = config.settings
    stream = bool(settings.get("stream", False))
    timeout = float(settings.get("timeout", TIMEOUT))
    return Online(
        config.name,
        door,
        hands.http,
        hands.folder,
        Manner(
            concurrency=settings.get("concurrency", CONCURRENCY),
            stream=stream,
            timeout=timeout,
            silence=min(timeout, STREAM_SILENCE) if stream else timeout,
        ),
        limits=limits_of(config, SHARD),
        schema_as=settings.get("schema_as", "json_schema"),
        embeds=embeds,
    )


def online(config: ProviderConfig, hands: Hands) -> Online:
    """``type: online``."""
    return endpoint(config, hands, _Address(config, hands))
