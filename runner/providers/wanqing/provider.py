"""StreamLake Wanqing batch tasks: upload a file of requests, create a task, look, download a file of results.

Documented at https://www.streamlake.com/document/WANQING/mh20e95qo91if0m54y.  What the document leaves open is written
in one way and read in every plausible one:

- No line format, of requests or of results: OpenAI's is written, anything like it is read.
- No list, no cancel, no idempotency key: a start whose answer was lost can be settled by a person only.
- ``succeeded`` and ``completed`` both mean success; a failed task may hold answers all the same.
- An answer is a success when HTTP says so and ``ErrorCode`` is absent, empty, 0 or a word for success.
- ``httpEndpoint`` may be a host or a URL; the documented upload address is cleartext http.

The simulator speaks the same wire and adds a list, by which its lost starts are found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn
from urllib.parse import quote

from runner.edge.http import READ_TIMEOUT, Http, Reply, judge_status, retry_after
from runner.errors import Busy, Refused, Unsure
from runner.model import Catalogue, Offer
from runner.project import ProviderConfig
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
    Unknown,
    Upload,
    no_embeddings,
)
from runner.providers import chat
from runner.providers.hands import Hands, limits_of, secret_of
from runner.providers.loose import address, count, get, identity, items, text
from runner.providers.wanqing.models import OFFLINE_TAG, parse_offers
from runner.result import Result

DEFAULT_URL = "https://wanqing.streamlakeapi.com"
API_PATH = "/api/openapi/v1"
UPLOAD_PATH = "/api/upload"
UPLOAD_URL = "http://upload.kuaishouzt.com/api/upload"


@dataclass(frozen=True)
class Dialect:
    """How a server of this wire deviates: whether it lists tasks, and what it can bear."""

    traits: Traits
    lists: bool
    cleartext: bool
    """Uploads leave this machine over http, which is worth a warning."""
    embeds: bool
    """It can be asked for embeddings, of which the document says nothing."""


WANQING = Dialect(
    # File and row limits are not documented; the same upload gateway, elsewhere, takes 10 MB in one go.
    Traits(cancels=False, finds=False, grace=900, poll=15, shard=ShardLimits(50_000, 10_000_000)),
    lists=False,
    cleartext=True,
    embeds=False,
)
SIMULATOR = Dialect(
    Traits(cancels=False, finds=True, grace=3, poll=4, shard=ShardLimits(50_000, 100_000_000), poll_young=0.2),
    lists=True,
    cleartext=False,
    embeds=True,
)

PHASES: Mapping[str, Phase] = {
    "pending": Phase.QUEUED,
    "queued": Phase.QUEUED,
    "running": Phase.RUNNING,
    "succeeded": Phase.SUCCEEDED,
    "completed": Phase.SUCCEEDED,
    "success": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "expired": Phase.EXPIRED,
    "timeout": Phase.EXPIRED,
    "cancelled": Phase.CANCELLED,
    "canceled": Phase.CANCELLED,
    "stopped": Phase.CANCELLED,
}
"""Documented are pending, running, succeeded, completed and failed.  Any other word here is a guess; a word that is not
here is taken to mean that the task goes on."""

SUCCESS_CODES = frozenset({"", "0", "200", "ok", "success", "succeeded"})

ERROR_WORDS: Sequence[tuple[str, type[Refused | Busy | Unsure], bool]] = (
    ("unauthori", Refused, True),
    ("unauthenticat", Refused, True),
    ("accessdenied", Refused, True),
    ("forbidden", Refused, True),
    ("permission", Refused, True),
    ("apikey", Refused, True),
    ("throttl", Busy, False),
    ("ratelimit", Busy, False),
    ("toomany", Busy, False),
    ("limitexceed", Busy, False),
    ("quota", Busy, False),
    ("busy", Busy, False),
    ("internal", Unsure, False),
    ("unavailable", Unsure, False),
    ("timeout", Unsure, False),
    ("servererror", Unsure, False),
    ("invalid", Refused, False),
    ("illegal", Refused, False),
    ("malformed", Refused, False),
    ("badrequest", Refused, False),
    ("param", Refused, False),
    ("missing", Refused, False),
    ("required", Refused, False),
    ("notfound", Refused, False),
    ("notexist", Refused, False),
    ("notsupport", Refused, False),
    ("unsupport", Refused, False),
    ("denied", Refused, False),
    ("expired", Refused, False),
    ("stopped", Refused, False),
    ("model", Refused, False),
)
"""What an ErrorCode means, by the first word that occurs in it, and whether it speaks of the key.  The real codes are
not documented; a code with none of these words says no where HTTP does, and nothing where HTTP says yes."""


class Wanqing:
    """One Wanqing project, or a server that speaks its wire.

    ``base_url`` and ``api_key`` are functions, called at the first conversation: the pure half of a provider needs
    neither.  ``catalogue`` holds the model list where it need not be asked for.
    """

    def __init__(
        self,
        name: str,
        dialect: Dialect,
        http: Http,
        *,
        base_url: Callable[[], str],
        api_key: Callable[[], str],
        project_id: str,
        upload_url: str = "",
        request_line: str = "openai",
        catalogue: Callable[[], Iterable[Mapping[str, Any]]] | None = None,
    ) -> None:
        self.name = name
        self.traits = replace(dialect.traits, lists_offline=catalogue is not None)
        self._dialect = dialect
        self._http = http
        self._base_url = base_url
        self._api_key = api_key
        self._project_id = project_id
        self._upload_url = upload_url
        self._request_line = request_line
        self._catalogue = catalogue

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know before the first task."""
        if not self._dialect.cleartext or self._upload_url.startswith("https://"):
            return ()
        return (
            f"{self.name}: requests are uploaded by cleartext http, as documented; set upload_url to an https address",
        )

    # Pure

    def encode(self, offer: Offer, question: Question) -> dict[str, Any]:
        """The body.  Whether the model in it has to be the instance's id is not documented."""
        if question.embed is not None and not self._dialect.embeds:
            raise no_embeddings("Wanqing")
        return chat.encode(offer.id, question)

    def frame(self, question: Question) -> Frame:
        return chat.frame(question, self._request_line)

    def decode(self, line: bytes) -> Result:
        return chat.decode_line(line).scrubbed(self._http.scrub)

    # Conversations

    def offers(self) -> Catalogue:
        if self._catalogue is not None:
            return Catalogue(tuple(parse_offers(self._catalogue())))
        data = self._ask("GET", "/model-instances", {"customTags": OFFLINE_TAG}, retry=True)
        listed = (entry for entry in items(get(data, "list")) if isinstance(entry, dict))
        return Catalogue(tuple(parse_offers(listed)))

    def accepts(self) -> str:
        """The list of models takes a key, and does not say whether the key belongs to the project."""
        if self._catalogue is not None:
            return ""
        self.offers()
        return "the list of model instances"

    def stage(self, job: Job) -> Upload:
        """Fetch a token and upload with it; both again where the network fails, since a token may be good once only."""
        return self._http.patiently(lambda: self._upload(job))

    def _upload(self, job: Job) -> Upload:
        assert job.file is not None
        where = {"fileName": _file_name(job), "projectId": self._project_id}
        data = self._ask("GET", "/batch-reasoning-tasks/upload/upload-url", where, retry=False)
        token = address(get(data, "fileToken"))
        if not token:
            raise Unsure("the answer to a request for an upload address holds no fileToken")
        self._http.hide(token)
        size = job.file.stat().st_size
        self._http.call(
            "POST",
            upload_address(address(get(data, "httpEndpoint")), self._upload_url),
            retry=False,
            params={"upload_token": token},
            headers={"Content-Type": "application/octet-stream"},
            content=job.file,
            timeout=READ_TIMEOUT + size / 1_000_000,  # the gateway answers when it has stored all of it
            judge=_judge_upload,
        )
        return Upload(token, marker=_file_name(job))

    def start(self, job: Job, upload: Upload) -> str:
        """Create the task.  An answer that neither holds an id nor says no leaves it Unsure."""
        order = {
            "name": job.name,
            "projectId": self._project_id,
            "modelInstanceId": job.model,
            "accessType": "PUBLIC",
            "fileToken": upload.token,
            "fileName": _file_name(job),
            "maxWaitTime": int(job.max_wait),
        }
        data = self._ask("POST", "/batch-reasoning-tasks", json=order, retry=False)
        remote_id = identity(get(data, "id"))
        if not remote_id:
            raise Unsure("the answer to the creation of a task holds no id")
        return remote_id

    def find(self, job: Job) -> Finding:
        """Look for the task by its name, where there is a list."""
        if not self._dialect.lists:
            return Unknown("Wanqing documents no way to look for a task: see in its console whether it is there")
        data = self._ask("GET", self._tasks(), {"name": job.name}, retry=True)
        listed = data.get("list")
        namesakes = [task for task in items(listed) if get(task, "name") == job.name]
        if len(namesakes) == 1 and (remote_id := identity(namesakes[0].get("id"))):
            return Found(remote_id)
        if namesakes:
            return Unknown(f"{len(namesakes)} listed tasks are called {job.name}")
        named = [name for task in items(listed) if isinstance(name := get(task, "name"), str) and name]
        if isinstance(listed, list) and count(data.get("total")) == len(listed) == len(named):
            return Absent()
        return Unknown("the provider's list of tasks is not complete")

    def check(self, job: Job) -> Progress:
        return self._progress(self._task(job.remote_id))

    def _progress(self, task: Mapping[str, Any]) -> Progress:
        progress = get(task, "progress")
        raw = text(get(task, "status"))
        return Progress(
            PHASES.get(raw.casefold(), Phase.RUNNING),
            raw=self._http.scrub(raw, 60),
            total=count(get(progress, "totalCount")),
            succeeded=count(get(progress, "succeededCount")),
            failed=count(get(progress, "failedCount")),
            error=self._http.scrub(text(get(task, "errorReason"))),
            expires_at=text(get(task, "outputDataFile", "expiredAt")),
        )

    def verify(self, job: Job, remote_id: str) -> None:
        """Raise Refused unless the task ``remote_id`` may be ``job``: whatever it says of itself has to agree."""
        task = self._task(remote_id)
        says = {
            "name": (get(task, "name"), job.name),
            "model instance": (get(task, "modelInfo", "modelInstanceId"), job.model),
            "input file": (get(task, "inputDataFile", "file", "fileName"), _file_name(job)),
        }
        differ = [
            f"its {what} is {theirs}, not {ours}"
            for what, (theirs, ours) in says.items()
            if theirs not in ("", None, ours)
        ]
        if differ:
            raise Refused(
                self._http.scrub(f"task {remote_id} is another one: {'; '.join(differ)}", 600), code="task-foreign"
            )

    def results(self, job: Job, sink: Callable[[bytes], object]) -> None:
        """The output file; only ``output`` is documented, so that failed rows are looked for in no other."""
        url = self._output_url(job)
        if url:
            self._http.download(url, sink)

    def cancel(self, job: Job) -> bool:  # noqa: ARG002 - the provider's contract
        """No call is documented: the task goes on and is paid."""
        return False

    # The wire

    def _output_url(self, job: Job) -> str:
        """Where the results are; empty for a task that ended without any."""
        none: Refused | Busy = Busy(f"task {job.remote_id} has no output to download yet")
        try:
            data = self._ask("GET", f"{self._tasks(job.remote_id)}/download-url", {"status": "output"}, retry=True)
            if url := address(get(data, "fileUrl")):
                return url
        except Refused as error:
            if error.credentials:
                raise
            none = error
        task = self._task(job.remote_id)
        if _owes_results(self._progress(task), has_output=get(task, "outputDataFile") is not None):
            raise none
        return ""

    def _task(self, remote_id: str) -> dict[str, Any]:
        """The task object.  It echoes the key that created it, which is dropped here."""
        try:
            task = self._ask("GET", self._tasks(remote_id), retry=True)
        except Refused as error:
            if not error.credentials:
                error.message += "; it is seen only with a key of the project that it was made in"
            raise
        if key := address(get(task, "authorizations", "apiKey")):
            self._http.hide(key)
        return {name: value for name, value in task.items() if name != "authorizations"}

    def _tasks(self, remote_id: str = "") -> str:
        tasks = f"/projects/{quote(self._project_id, safe='')}/batch-reasoning-tasks"
        return f"{tasks}/{quote(remote_id, safe='')}" if remote_id else tasks

    def _ask(
        self, method: str, path: str, params: Mapping[str, str] | None = None, *, retry: bool, json: Any = None
    ) -> dict[str, Any]:
        """The ResponseData of one call."""
        key = self._api_key()
        self._http.hide(key)
        base = self._base_url().rstrip("/").removesuffix(API_PATH)
        reply = self._http.call(
            method,
            base + API_PATH + path,
            retry=retry,
            headers={"Authorization": f"Bearer {key}"},
            params=params,
            json=json,
            judge=self._judge,
        )
        data: dict[str, Any] = reply.json()["ResponseData"]
        return data

    def _judge(self, reply: Reply) -> None:
        try:
            _judge_envelope(reply)
        except Refused as error:
            if error.credentials:
                error.hint = (
                    f"the API key of provider {self.name} must belong to project {self._project_id}: "
                    "compare api_key and project_id in runner.yaml"
                )
            raise


def _judge_envelope(reply: Reply) -> None:
    """Raise for anything but a clear yes.  The envelope may say no beside HTTP 200; a 5xx is Unsure, come what may."""
    if reply.status in (408, 429) or not (200 <= reply.status < 300 or 400 <= reply.status < 500):
        judge_status(reply)
    try:
        envelope = reply.json()
    except Unsure:
        judge_status(reply)
        raise
    code, data = text(get(envelope, "ResponseMeta", "ErrorCode")), get(envelope, "ResponseData")
    if code.casefold() not in SUCCESS_CODES:
        if reply.status < 300 and text(get(data, "id")):
            raise Unsure(f"the answer holds both error {code} and id {data['id']}", word=code, where=reply.where)
        _raise_for(code, text(get(envelope, "ResponseMeta", "ErrorMessage")), reply)
    judge_status(reply)
    if not isinstance(data, dict):
        raise Unsure("the answer says neither yes nor no: it has no ErrorCode and no ResponseData", where=reply.where)


def _raise_for(code: str, said: str, reply: Reply) -> NoReturn:
    """By the words in ``code``, else by the HTTP status that it spells or came with; else it is a plain no."""
    letters = "".join(filter(str.isalnum, code.lower()))
    kind, credentials = next(((kind, key) for word, kind, key in ERROR_WORDS if word in letters), (None, False))
    if kind is None:
        judge_status(replace(reply, status=int(code)) if re.fullmatch("[45][0-9][0-9]", code) else reply)
        kind = Unsure
    message = f"{code}: {said}" if said else code
    if kind is Busy:
        raise Busy(message, word=code, where=reply.where, retry_after=retry_after(reply.headers))
    if kind is Unsure:
        raise Unsure(message, word=code, where=reply.where)
    raise Refused(message, word=code, where=reply.where, credentials=credentials)


def _judge_upload(reply: Reply) -> None:
    """The gateway has no envelope: ``result`` is 1, or it is a failure."""
    judge_status(reply)
    if count(get(reply.json(), "result")) != 1:
        raise Refused(f"the upload gateway did not take the file: {reply.text}", where=reply.where)


def upload_address(endpoint: str, override: str = "") -> str:
    """Where to upload: ``override`` if there is one, else what the provider named, else what it documents.

    A bare host is reached by http, as the documented address is; a URL without a path gets the documented one.
    """
    given = (override or endpoint).rstrip("/")
    if not given:
        return UPLOAD_URL
    url = given if "://" in given else f"http://{given}"
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    return url if f"/{path}".endswith(UPLOAD_PATH) or (override and path) else url + UPLOAD_PATH


def _file_name(job: Job) -> str:
    return f"{job.name}.jsonl"


def _owes_results(progress: Progress, *, has_output: bool) -> bool:
    """Whether an ended task must have an output file: one answer in it is enough, unless it failed and names none."""
    if progress.phase is Phase.FAILED and not has_output:
        return False
    if progress.succeeded is not None and (progress.succeeded or progress.failed):
        return progress.succeeded > 0
    return progress.phase is Phase.SUCCEEDED or not progress.phase.ended


# Building one from runner.yaml


def wanqing(config: ProviderConfig, hands: Hands) -> Wanqing:
    """``type: wanqing``."""
    url = config.settings.get("base_url", DEFAULT_URL)
    return Wanqing(
        config.name,
        _limited(WANQING, config),
        hands.http,
        base_url=lambda: url,
        api_key=secret_of(config, hands),
        project_id=config.settings["project_id"],
        upload_url=config.settings.get("upload_url", ""),
        request_line=config.settings.get("request_line", "openai"),
    )


def simulator(config: ProviderConfig, hands: Hands) -> Wanqing:
    """``type: simulator``: the embedded one, or the one at ``base_url``."""
    url = config.settings.get("base_url")
    return Wanqing(
        config.name,
        _limited(SIMULATOR, config),
        hands.http,
        base_url=hands.simulator_url if url is None else lambda: url,
        api_key=secret_of(config, hands) if "api_key" in config.settings else lambda: "any-key-will-do",
        project_id="simulator",
        request_line=config.settings.get("request_line", "openai"),
        catalogue=_simulated_models if url is None else None,
    )


def _simulated_models() -> Iterable[Mapping[str, Any]]:
    from runner.simulator.models import MODELS

    return MODELS


def _limited(dialect: Dialect, config: ProviderConfig) -> Dialect:
    limits = limits_of(config, dialect.traits.shard)
    return replace(dialect, traits=replace(dialect.traits, shard=limits))
