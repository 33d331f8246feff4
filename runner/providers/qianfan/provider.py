"""Batch inference of Baidu Qianfan: put a folder of requests into BOS, create a task, look, read a folder of results.

Documented at https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Pm4aqg1hv and
https://cloud.baidu.com/doc/qianfan-api/s/Tmo1ftuwg: six actions on one route, signed as :mod:`.bce` says.  Each task
has a folder of its own in the bucket::

    <prefix>/<job.name>/in/part-0.jsonl     its requests; the name holds the shard's digest and the how-manieth try
    <prefix>/<job.name>/out/                where the service makes a folder of random name with the results

There is no idempotency key, and a name has 2 to 20 characters: a start whose answer was lost is looked for in the list
of tasks, by its input folder or its description.  What the document leaves open:

- Whether a folder that holds nothing exists: an empty object ``out/`` is put, which is a guess.
- How many rows a task may have: 50,000 is our own choice.  100 files and 300 MB are documented.
- Whether a task may be given another time than ``24h``: that is sent, whatever `wait.max` says.

What it leaves open of lines, of tasks and of replies is said where they are read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from json import dumps, loads
from pathlib import Path
from typing import Any

from runner.edge.http import Http, Reply
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
)
from runner.providers import chat
from runner.providers.hands import Hands, limits_of, secret_of
from runner.providers.joined import Joined, is_fresh
from runner.providers.listing import parse_listing
from runner.providers.loose import get, identity, items, text
from runner.providers.qianfan import bos, lines
from runner.providers.qianfan.bce import Keys, signed
from runner.providers.qianfan.bos import Bos, Place, parse_place
from runner.providers.qianfan.replies import judge, result_of
from runner.providers.qianfan.tasks import RemoteTask, last_step, parse_page, parse_task, reaches
from runner.result import Result

DEFAULT_URL = "https://qianfan.baidubce.com"
PATH = "/v2/batchinference"
CUSTOM_MODEL = "amv-"
"""How the id of a model's version begins; any other name is an endpoint of the platform's own."""

TRAITS = Traits(cancels=True, finds=True, grace=900, poll=15, shard=ShardLimits(50_000, 290_000_000))

_PAGE = 100
_MOST_PAGES = 200
_TOLERANCE = 3_600.0
"""Seconds by which the platform's clock and ours may differ."""


class Qianfan:
    """One account of Qianfan, or a server that speaks its wire.

    ``keys`` is called at the first conversation: the pure half of a provider needs none.  ``now`` gives Unix seconds.
    ``folder`` is where in BOS the tasks' folders are made.
    """

    def __init__(
        self,
        name: str,
        http: Http,
        *,
        keys: Callable[[], Keys],
        folder: Place,
        base_url: str = DEFAULT_URL,
        bos_url: str = bos.DEFAULT_URL,
        data_format: str = "auto",
        limits: ShardLimits = TRAITS.shard,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.traits = replace(TRAITS, shard=limits)
        self._http = http
        self._lent_keys = keys
        self._folder = folder
        self._base_url = base_url.rstrip("/").removesuffix(PATH).removesuffix("/v2")
        self._bos = Bos(http, endpoint=bos_url, keys=self._keys, now=now)
        self._data_format = data_format
        self._now = now

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know before the first task."""
        if self._data_format == "default":
            return ()
        return (
            f"{self.name}: a prompt that is more than one user message travels in lines of data format `role`, whose "
            "shape Qianfan does not document: try it with --sample first",
        )

    # Pure

    def encode(self, offer: Offer, question: Question) -> dict[str, Any]:  # noqa: ARG002 - the task names the model
        """``{"query" | "messages", "parameters"}``: on the wire the parameters, like the model, belong to the task."""
        return lines.encode(question, self._data_format)

    def frame(self, question: Question) -> Frame:
        return chat.frame(question, "minimal")

    def decode(self, line: bytes) -> Result:
        return lines.decode(line).scrubbed(self._http.scrub)

    # Conversations

    def offers(self) -> Catalogue:
        """Versions of the models in the list, tuned ones among them; not in it are the platform's own endpoints."""
        listed = self._ask("DescribeBatchInferenceModel", {})
        groups = (get(listed, "commonModelList"), get(listed, "customModelList"))
        entries = [entry for group in groups for model in items(group) for entry in _versions(model)]
        return Catalogue(parse_listing(entries, batch=True) or (), complete=False)

    def accepts(self) -> str:
        """Both services have to take the keys: each has its own policies."""
        self._ask("DescribeBatchInferenceModel", {})
        next(iter(self._bos.list(self._folder)), None)
        return f"the list of models, and that of the bucket {self._folder.bucket}"

    def stage(self, job: Job) -> Upload:
        """Put the requests, rewritten, into the task's folder, and see to it that there is one for the results."""
        assert job.file is not None
        source, target = self._inputs(job), self._outputs(job)
        with job.file.open("rb") as source_lines:
            manner = lines.manner_of(source_lines.readline())
        with _rewritten(job.file) as rewritten:
            self._bos.put(source.below("part-0.jsonl"), rewritten)
        self._bos.put(target, b"")
        order = {
            "inputBosUri": str(source),
            "outputBosUri": str(target),
            "dataFormat": manner.data_format,
            "inferenceParams": manner.parameters,
        }
        return Upload(dumps(order), marker=str(source))

    def start(self, job: Job, upload: Upload) -> str:
        """Create the task.  An answer that neither holds an id nor says no leaves it Unsure."""
        order = {
            "name": job.task,
            "description": _description(job),
            "modelId" if job.model.startswith(CUSTOM_MODEL) else "endpoint": job.model,
            **loads(upload.token),
            "completion_window": "24h",
        }
        remote_id = identity(get(self._ask("CreateBatchInferenceTask", order, retry=False), "taskId"))
        if not remote_id:
            raise Unsure("the answer to the creation of a task holds no taskId")
        return remote_id

    def find(self, job: Job) -> Finding:
        """Look for the task by its input folder and its description, in the list of all tasks.

        The folder is of one try of one shard, so that a match much older than this start comes of a state that was
        lost, or of a wrong clock: a person has to look.
        """
        since = job.begun_at - _TOLERANCE
        listed, is_whole = self._tasks_since(since)
        matches = {task.id: task for task in listed if task.id not in job.taken and self._is_of(task, job)}
        untold = any(not task.is_told and not reaches([task], since) for task in listed)
        if not matches:
            if is_whole and not untold:
                return Absent()
            return Unknown("the provider's list of tasks could not be read to its end")
        if len(matches) > 1:
            return Unknown(self._http.scrub(f"{len(matches)} tasks have this input: {', '.join(sorted(matches))}"))
        (task,) = matches.values()
        if not task.id:
            return Unknown("a task without an id has this input")
        if task.created is not None and task.created < since:
            return Unknown(self._http.scrub(f"task {task.id} has this input, and was created before this start"))
        return Found(task.id)

    def check(self, job: Job) -> Progress:
        """``total`` is what was sent; ``succeeded`` counts all rows that were processed, which is all that is told."""
        task = self._task(job.remote_id)
        return Progress(
            task.phase,
            raw=self._http.scrub(task.status, 60),
            total=job.requests,
            succeeded=task.processed,
            error=self._http.scrub(task.error),
        )

    def results(self, job: Job, sink: Callable[[bytes], object]) -> None:
        """Every file in the task's folder of results: one for each input file, its lines in no order.

        BOS is another service than the list of tasks and may know of them later.  Raises Busy where it holds no line
        although rows were processed, and, until the end is ``MISCOUNT`` seconds old, Unsure where it holds fewer
        than were: whether each of them has a line, a failed one too, is not documented.
        """
        task = self._task(job.remote_id)
        if not task.phase.ended:
            raise Busy(f"task {job.remote_id} goes on: {self._http.scrub(task.status, 60)}")
        joined = Joined(sink)
        files = [place for place in self._bos.list(self._results(task, job)) if not place.key.endswith("/")]
        for place in sorted(files, key=str):
            self._bos.download(place, joined)
            joined.close_line()
        owed = task.processed or int(task.phase is Phase.SUCCEEDED)
        if owed and not joined.lines:
            raise Busy(f"task {job.remote_id} has ended, and its results are not in BOS yet")
        fresh = is_fresh(job.ended_at, self._now())
        if joined.lines < owed and fresh:
            raise Unsure(f"the results of task {job.remote_id} are {joined.lines:,} lines for {owed:,} rows")

    def cancel(self, job: Job) -> bool:
        """Stop the task; a no, which comes with HTTP 200, does not matter where it ends all the same."""
        try:
            stopped = self._ask("StopBatchInferenceTask", {"taskId": job.remote_id}) is True
        except Refused as error:
            if error.credentials:
                raise
            stopped = False
        return stopped or self._task(job.remote_id).is_stopping

    def verify(self, job: Job, remote_id: str) -> None:
        """Raise Refused unless the task ``remote_id`` may be ``job``: whatever it says of itself has to agree."""
        task = self._task(remote_id)
        says = {
            "name": (task.name, job.task),
            "description": (task.description, _description(job)),
            "model": (task.model, last_step(job.model)),
            "input": (str(task.inputs or ""), str(self._inputs(job))),
        }
        differ = [
            f"its {what} is {theirs}, not {ours}" for what, (theirs, ours) in says.items() if theirs not in ("", ours)
        ]
        if differ:
            raise Refused(
                self._http.scrub(f"task {remote_id} is another one: {'; '.join(differ)}", 600), code="task-foreign"
            )

    # Places

    def _inputs(self, job: Job) -> Place:
        """Where the requests of ``job`` are, or will be; what is recorded outlives a change of runner.yaml."""
        return parse_place(job.staged) or self._folder.below(f"{job.name}/in/")

    def _outputs(self, job: Job) -> Place:
        source = self._inputs(job)
        return Place(source.bucket, source.key.removesuffix("in/") + "out/")

    def _results(self, task: RemoteTask, job: Job) -> Place:
        """The folder of results; the one around it, which no other task uses, where the task names none."""
        around = task.outputs or self._outputs(job)
        return around.below(f"{task.folder}/") if task.folder else around

    def _is_of(self, task: RemoteTask, job: Job) -> bool:
        return task.inputs == self._inputs(job) or task.description == _description(job)

    # The wire

    def _task(self, remote_id: str) -> RemoteTask:
        try:
            found = self._ask("DescribeBatchInferenceTask", {"taskId": remote_id})
        except Refused as error:
            if not error.credentials:
                error.message += "; it is seen only with a key of the account that it was made in"
            raise
        if not isinstance(found, dict):
            raise Unsure(f"the answer to a question after task {remote_id} holds no task")
        return parse_task(found)

    def _tasks_since(self, since: float) -> tuple[list[RemoteTask], bool]:
        """Tasks from the newest on, and whether none that was created since is missing from them."""
        listed: list[RemoteTask] = []
        marker = ""
        seen = {marker}
        for _ in range(_MOST_PAGES):
            order = {"runStatus": [], "maxKeys": _PAGE, "pageReverse": True} | ({"marker": marker} if marker else {})
            page = parse_page(self._ask("DescribeBatchInferenceTasks", order))
            listed += page.tasks
            if page.is_last or reaches(listed, since):
                return listed, True
            marker = page.marker
            if marker in seen:
                break
            seen.add(marker)
        return listed, False

    def _ask(self, action: str, order: Mapping[str, Any], *, retry: bool = True) -> Any:
        request = signed("POST", self._base_url, PATH, {"Action": action}, keys=self._keys(), at=self._now())
        reply = self._http.call(
            "POST", request.url, retry=retry, headers=request.headers, json=order, judge=self._judge
        )
        return result_of(reply)

    def _judge(self, reply: Reply) -> None:
        try:
            judge(reply)
        except Refused as error:
            if error.credentials:
                error.hint = (
                    f"compare access_key and secret_key of provider {self.name}, and this machine's clock; their owner "
                    "needs QianfanServiceOperateAccessPolicy and, to create tasks, BOSFullControlAccessPolicy"
                )
            raise

    def _keys(self) -> Keys:
        keys = self._lent_keys()
        self._http.hide(keys.access)
        self._http.hide(keys.secret)
        return keys


def _description(job: Job) -> str:
    return f"runner {job.name}"


def _versions(model: Any) -> Iterator[dict[str, Any]]:
    """Each version of a listed model, with whatever more is said of either.  It is the version that a task names."""
    about = {key: value for key, value in model.items() if key != "modelVersionList"} if isinstance(model, dict) else {}
    name = text(about.get("modelName"))
    for version in items(get(model, "modelVersionList")):
        if id := identity(get(version, "modelVersionId")):
            own = text(version.get("modelVersionName"))
            yield {**about, **version, "id": id, "name": own if name in own else f"{name} {own}".rstrip()}


@contextmanager
def _rewritten(shard: Path) -> Iterator[Path]:
    """The shard in lines that Qianfan reads, in a file beside it for as long as it is needed."""
    path = shard.with_name(f"{shard.name}.qianfan")
    try:
        with shard.open("rb") as given, path.open("wb", buffering=1 << 20) as file:
            file.writelines(lines.wire_lines(given))
        yield path
    finally:
        path.unlink(missing_ok=True)


def qianfan(config: ProviderConfig, hands: Hands) -> Qianfan:
    """``type: qianfan``."""
    settings = config.settings
    where = settings["bos"]
    access, secret = (secret_of(config, hands, name) for name in ("access_key", "secret_key"))
    steps = [step for step in where.get("prefix", "").split("/") if step]
    return Qianfan(
        config.name,
        hands.http,
        keys=lambda: Keys(access(), secret()),
        folder=Place(where["bucket"], "".join(f"{step}/" for step in steps)),
        base_url=settings.get("base_url", DEFAULT_URL),
        bos_url=where.get("endpoint", bos.DEFAULT_URL),
        data_format=settings.get("data_format", "auto"),
        limits=limits_of(config, TRAITS.shard),
    )
