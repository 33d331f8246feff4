"""Anthropic's Message Batches: one call that carries every request, a look, a stream of results.

Shapes are those of Anthropic's own client library; limits are from
https://platform.claude.com/docs/en/build-with-claude/batch-processing (an older page says 10,000 requests: set
``max_requests`` where that holds).  What is not documented is treated so:

- A batch carries no mark of ours and there is no idempotency key.  A start whose answer was lost is looked for among
  the batches made about then, by its number of requests and, once they have ended, by whose requests their results
  are; what could be mistaken for another is left to a person until then.
- The order of the list is not promised.  A page ends the search only while everything so far came newest first.
- The error of an overloaded service (529) does not say that nothing was made, so it is no clear no.
- How long results are kept is not documented (``expires_at`` is the end of the processing), so no date is told;
  ``archived_at`` says that they are gone.
- The address of the results is the platform's to choose: the key goes there only if it is where the API is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from runner.edge.http import READ_TIMEOUT, Http, Reply, judge_status
from runner.edge.urls import same_origin
from runner.errors import Busy, ProviderError, Refused, Unsure
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
from runner.providers.anthropic.batches import Batch, parse_batch, parse_models
from runner.providers.anthropic.messages import FRAME, decode_line, encode
from runner.providers.hands import Hands, limits_of, secret_of
from runner.providers.joined import Joined, is_fresh
from runner.providers.loose import get, identity, since_platforms
from runner.providers.pauses import wished_pause
from runner.result import Result

DEFAULT_URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
BATCHES = "/v1/messages/batches"
LIMITS = ShardLimits(100_000, 250_000_000)
"""100,000 requests; 256 MB of body, with room for what stands around the lines."""
PAGE = 1_000
"""The most that a list gives at once."""
PAGES = 100
"""So many pages are read, and no more, for one question."""
TOLERANCE = 300.0
"""Seconds by which the platform's clock may be behind ours."""
LATEST = 7_200.0
"""Seconds after a task was begun in which its start makes the batch, or never will.  The call follows within minutes,
and brings a body of 250 MB to its end in this time at 40 kB/s; a batch made later is somebody else's."""


class Anthropic:
    """One workspace: its key decides which.  ``api_key`` is called at the first conversation."""

    notes: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        http: Http,
        *,
        base_url: str = DEFAULT_URL,
        api_key: Callable[[], str],
        limits: ShardLimits = LIMITS,
    ) -> None:
        self.name = name
        self.traits = Traits(cancels=True, finds=True, grace=900, poll=30, shard=limits)
        self._http = http
        self._base = base_url.rstrip("/").removesuffix("/v1")
        self._api_key = api_key

    # Pure

    def encode(self, offer: Offer, question: Question) -> dict[str, Any]:
        return encode(offer.id, question)

    def frame(self, question: Question) -> Frame:  # noqa: ARG002 - the provider's contract
        return FRAME

    def decode(self, line: bytes) -> Result:
        return decode_line(line).scrubbed(self._http.scrub)

    # Conversations

    def offers(self) -> Catalogue:
        """The models that take batches, as far as the list says which do.  Aliases, good too, are not in it."""
        listed = parse_models(entry for page in self._pages("/v1/models") for entry in page)
        return Catalogue(tuple(listed), complete=False)

    def accepts(self) -> str:
        self._call("GET", BATCHES, retry=True, params={"limit": "1"})
        return "the list of batches"

    def stage(self, job: Job) -> Upload:
        """There is nothing to upload: the one body that `start` sends is laid down beside the shard."""
        assert job.file is not None
        body = job.file.with_name(f"{job.file.name}.body")
        write_body(job.file, body)
        return Upload(str(body))

    def start(self, job: Job, upload: Upload) -> str:  # noqa: ARG002 - the provider's contract
        """Create the batch.  The answer comes when all of the body has arrived, which takes as long as it is large."""
        body = Path(upload.token)
        try:
            reply = self._call(
                "POST",
                BATCHES,
                retry=False,
                content=body,
                timeout=READ_TIMEOUT + body.stat().st_size / 1_000_000,
            )
        finally:
            body.unlink(missing_ok=True)
        batch = parse_batch(reply.json())
        if not batch.id:
            raise Unsure("the answer to the creation of a batch holds no id", where=reply.where)
        return batch.id

    def find(self, job: Job) -> Finding:
        """Look among the batches made about then, less those known to be others, for one of as many requests.

        A batch bears no mark of its own, but the results of one that has ended say which requests were in it.  Of one
        that goes on only its size is known, and two of a size cannot be told apart before they end.
        """
        made, covered = self._made(job.begun_at - TOLERANCE, job.begun_at + LATEST)
        likely = [batch for batch in made if batch.id not in job.taken and batch.total in (None, job.requests)]
        seen = {batch.id: self._is_of(batch, job) for batch in likely}
        ours = [batch for batch in likely if seen[batch.id]]
        likely = ours or [batch for batch in likely if seen[batch.id] is None]
        if not likely:
            return Absent() if covered else Unknown("the provider's list of batches does not reach back to the start")
        alone = len(likely) == 1
        if alone and (ours or (likely[0].total and likely[0].created_at and not job.rivals and covered)):
            return Found(likely[0].id)
        named = self._http.scrub(", ".join(batch.id for batch in likely), 500)
        return Unknown(
            f"it may be any of {named}, or none: see in the provider's console, and settle it with "
            f"runner state adopt {job.task} REMOTE_ID, or runner state abandon {job.task}"
        )

    def _is_of(self, batch: Batch, job: Job) -> bool | None:
        """Whether the batch asks what the job does; None where it does not say."""
        if not (job.identities and batch.ended and batch.results_url and not batch.archived_at):
            return None
        head = bytearray()

        def take(chunk: bytes) -> None:
            head.extend(chunk)
            if b"\n" in chunk:
                raise _Enough

        try:
            with suppress(_Enough):
                self._http.download(batch.results_url, take, headers=self._headers_for(batch.results_url))
            id = decode_line(bytes(head).partition(b"\n")[0]).request
        except (ProviderError, ValueError):
            return None
        return job.asks(id) if id else None

    def check(self, job: Job) -> Progress:
        """How far it is.  The platform may say beside its answer when it wants to be asked again."""
        reply = self._call("GET", _path(job.remote_id), retry=True)
        progress = self._progress(parse_batch(reply.json()))
        return progress if progress.phase.ended else replace(progress, look_again=wished_pause(reply))

    def verify(self, job: Job, remote_id: str) -> None:
        """Raise Refused unless the batch has as many requests, and is not older than the start."""
        batch = self._batch(remote_id)
        differ = []
        if batch.total not in (None, job.requests):
            differ.append(f"it has {batch.total:,} requests, not {job.requests:,}")
        if batch.created_at is not None and batch.created_at < job.begun_at - TOLERANCE:
            differ.append("it was made before this one began")
        if differ:
            raise Refused(
                self._http.scrub(f"batch {remote_id} is another one: {'; '.join(differ)}", 600), code="task-foreign"
            )

    def results(self, job: Job, sink: Callable[[bytes], object]) -> None:
        """The one file of results: every request has a line, whatever came of it.

        Raises Refused once they are archived.  Raises Busy where there is no line although there have to be some, and,
        until the end is ``MISCOUNT`` seconds old, Unsure where there are fewer than requests.
        """
        batch = self._batch(job.remote_id)
        if batch.archived_at:
            raise Refused(
                self._http.scrub(f"the results of batch {job.remote_id} are lost: archived at {batch.archived_at}"),
                code="results-gone",
            )
        if not batch.ended:
            raise Busy(f"batch {job.remote_id} has not ended: it is {self._http.scrub(batch.status, 60)}")
        joined = Joined(sink)
        if batch.results_url:
            self._download(batch.results_url, joined)
        if not joined.lines and (batch.succeeded or batch.errored or not batch.settled):
            raise Busy(f"batch {job.remote_id} has no results to download yet")
        fresh = is_fresh(job.ended_at, time.time())
        if batch.results_url and joined.lines < batch.settled and fresh:
            raise Unsure(
                f"the results of batch {job.remote_id} are {joined.lines:,} lines for {batch.settled:,} requests"
            )

    def cancel(self, job: Job) -> bool:
        """Ask for a stop.  What is being answered by then may still be answered, and paid."""
        try:
            self._call("POST", f"{_path(job.remote_id)}/cancel", retry=True)
        except Refused as error:
            if error.credentials or not self._batch(job.remote_id).ended:
                raise
        return True

    # The wire

    def _progress(self, batch: Batch) -> Progress:
        failed = batch.phase is Phase.FAILED
        return Progress(
            batch.phase,
            raw=self._http.scrub(batch.status, 60),
            total=batch.total,
            succeeded=batch.succeeded,
            failed=batch.unanswered,
            error=f"all {batch.errored:,} requests came to an error" if failed else "",
        )

    def _batch(self, remote_id: str) -> Batch:
        return parse_batch(self._call("GET", _path(remote_id), retry=True).json())

    def _made(self, since: float, until: float) -> tuple[list[Batch], bool]:
        """Batches that may have been made in that time, and whether the list was seen to cover it.

        One that is listed without an id may be any.
        """
        listed: dict[str, Batch] = {}
        latest = float("inf")
        sorted_so_far = covered = True
        try:
            for page in self._pages(BATCHES):
                for batch in map(parse_batch, page):
                    made = since_platforms(batch.created_at)
                    sorted_so_far = sorted_so_far and made is not None and made <= latest
                    latest = latest if made is None else made
                    if made is None or since <= made <= until:
                        listed[batch.id] = batch
                        covered = covered and bool(batch.id)
                if sorted_so_far and latest < since:
                    break
        except _Endless:
            covered = False
        listed.pop("", None)
        return list(listed.values()), covered

    def _pages(self, path: str) -> Iterator[list[Any]]:
        """Every page of a list.  Raises _Endless for one that has no end within :data:`PAGES`, or goes in a circle."""
        params = {"limit": str(PAGE)}
        for _ in range(PAGES):
            reply = self._call("GET", path, retry=True, params=params)
            page = reply.json()
            entries, has_more = get(page, "data"), get(page, "has_more")
            if not isinstance(entries, list):
                raise Unsure("the answer to a request for a list holds none", where=reply.where)
            yield entries
            if has_more is False or (has_more is None and len(entries) < PAGE):
                return
            last = identity(get(page, "last_id")) or identity(get(entries[-1], "id") if entries else "")
            if not last or last == params.get("after_id"):
                break
            params["after_id"] = last
        raise _Endless("the provider's list has no end", where=f"GET {path}")

    def _download(self, url: str, sink: Joined) -> None:
        """Hand over the file at ``url``, its last line closed."""
        self._http.download(url, sink, headers=self._headers_for(url))
        sink.close_line()

    def _headers_for(self, url: str) -> dict[str, str]:
        """The key goes nowhere but home."""
        return self._headers() if same_origin(url, self._base) else {}

    def _headers(self) -> dict[str, str]:
        key = self._api_key()
        self._http.hide(key)
        return {"x-api-key": key, "anthropic-version": VERSION}

    def _call(
        self,
        method: str,
        path: str,
        *,
        retry: bool,
        params: Mapping[str, str] | None = None,
        content: Path | None = None,
        timeout: float = READ_TIMEOUT,
    ) -> Reply:
        return self._http.call(
            method,
            self._base + path,
            retry=retry,
            headers=self._headers() | ({"content-type": "application/json"} if content else {}),
            params=params,
            content=content,
            timeout=timeout,
            judge=self._judge,
            in_json=method == "GET",
        )

    def _judge(self, reply: Reply) -> None:
        try:
            judge_status(reply)
        except Refused as error:
            if error.credentials:
                error.hint = f"see whether api_key of provider {self.name} in runner.yaml is a key of this service"
            elif reply.status == 413:
                error.hint = f"set max_bytes of provider {self.name} in runner.yaml lower"
            elif reply.status == 404 and f"{BATCHES}/" in reply.where:
                error.message += "; it is seen only with a key of the workspace that it was made in"
            raise


class _Enough(Exception):
    """No more of a file is wanted."""


class _Endless(Unsure):
    """A list that was not seen to end."""


def _path(remote_id: str) -> str:
    return f"{BATCHES}/{quote(remote_id, safe='')}"


def write_body(lines: Path, body: Path) -> None:
    """``{"requests":[…]}`` of a file of request lines, in bounded memory.  Raises OSError, and leaves nothing then."""
    try:
        with lines.open("rb") as source, body.open("wb", buffering=1 << 20) as target:
            target.write(b'{"requests":[')
            for number, line in enumerate(source):
                target.write(b"," + line.rstrip(b"\n") if number else line.rstrip(b"\n"))
            target.write(b"]}")
    except BaseException:
        body.unlink(missing_ok=True)
        raise


# Building one from runner.yaml


def anthropic(config: ProviderConfig, hands: Hands) -> Anthropic:
    """``type: anthropic``."""
    return Anthropic(
        config.name,
        hands.http,
        base_url=config.settings.get("base_url", DEFAULT_URL),
        api_key=secret_of(config, hands),
        limits=limits_of(config, LIMITS),
    )
