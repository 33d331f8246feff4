"""State behind Terraform's HTTP protocol, which GitLab ("managed Terraform state"), Gitea and others speak.

GET reads (404 or 204: there is none), POST writes, LOCK and UNLOCK order the writers; the environment variables are
Terraform's own (``TF_HTTP_USERNAME``, ``TF_HTTP_PASSWORD``, ``TF_HTTP_LOCK_ADDRESS`` and so on: Terraform, "Backend
type: http").  GitLab and Gitea lock by POST and DELETE at ``…/lock`` (GitLab, "GitLab-managed Terraform state"; Gitea,
"Terraform package registry"), which is the default for addresses that look like theirs.

The protocol has no compare-and-swap, so that a write here is four calls: LOCK, GET to see that nobody was faster, POST,
UNLOCK.  ``If-Match`` goes along where the server answers with an ETag.  A server without locks is good enough if it has
ETags and heeds them, which is tried out before it is relied on.

A lock is held for the length of one write.  One that a killed run of ours left is broken once it has stood for longer
than a write can take; its holder, should it wake up, writes under an id that locks nothing any more, which servers
refuse.  Locks of other programs are never broken.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import RLock
from typing import Any

from runner.edge.http import Http, Reply
from runner.edge.process import whoami
from runner.edge.store import Conflict, Probe
from runner.edge.stores.far import OutOfReach
from runner.errors import Busy, CredentialsError, ProviderError, Refused, RunnerError, StateConflict

OPERATION = "runner"
"""What our locks say they are for."""

_SILENCE = 20.0
"""Seconds without an answer after which a call counts as failed."""
_STALE = 90.0
"""Seconds after which whoever locked for one write of ours is not going to write any more: four calls, and some."""
_FOREIGN = 30.0
"""Seconds that a lock of another program is waited for."""
_LIKE_GITLAB = re.compile(r"/api/(v\d+/projects/[^/]+|packages/[^/]+)/terraform/state/[^/]+/?$")
_NO_LOCKS = (404, 405, 501)
_TAKEN = (409, 423)


class TerraformState:
    """A document at an address.  Safe to use from several threads."""

    def __init__(
        self,
        address: str,
        *,
        offline: bool = False,
        environ: Mapping[str, str] | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        environ = os.environ if environ is None else environ
        self._address = address
        self._silence = 3.0 if offline else _SILENCE
        self._sleep = sleep
        self._http = Http()
        self._lock = RLock()
        self._who = f"{whoami()}/{uuid.uuid4().hex[:8]}"
        self._etag: tuple[bytes | None, str] = (None, "")
        """The document last read, and the tag that came with it."""
        self._heeds = False
        """Whether the server was seen to heed If-Match."""
        like_gitlab = bool(_LIKE_GITLAB.search(address.partition("?")[0]))
        lock = f"{address.rstrip('/')}/lock" if like_gitlab else address

        def setting(name: str, otherwise: str) -> str:
            return environ.get(f"TF_HTTP_{name}") or otherwise

        self._update_method = setting("UPDATE_METHOD", "POST")
        self._locking = setting("LOCK_METHOD", "POST" if like_gitlab else "LOCK"), setting("LOCK_ADDRESS", lock)
        self._unlocking = (
            setting("UNLOCK_METHOD", "DELETE" if like_gitlab else "UNLOCK"),
            setting("UNLOCK_ADDRESS", lock),
        )
        user, password = environ.get("TF_HTTP_USERNAME", ""), environ.get("TF_HTTP_PASSWORD", "")
        self._headers = {}
        if user or password:
            encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
            self._headers["authorization"] = f"Basic {encoded}"
            self._http.hide(encoded)
            self._http.hide(password)

    # ---- the document ----------------------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        with self._lock:
            reply = self._call("GET", self._address)
            if reply.status in (204, 404):
                document = None
            elif reply.status == 200:
                document = reply.data or None
            else:
                raise self._refused(reply)
            self._etag = document, reply.headers.get("etag", "")
            return document

    def swap(self, old: bytes | None, new: bytes) -> None:
        with self._lock, self._locked() as lock:
            if self.read() != old:
                raise Conflict
            if lock is None and old is not None:
                self._check_heeding(old, {"if-match": f'"{uuid.uuid4().hex}"'})
            reply = self._write(new, lock, self._condition(old, lock))
            if reply.status in (*_TAKEN, 412):
                raise Conflict
            if not 200 <= reply.status < 300:
                raise self._refused(reply)
            if lock is None and old is None:
                self._check_heeding(new, {"if-none-match": "*"})

    def probe(self) -> Probe:
        """Take the lock and release it.  Without locks all depends on conditions, which the first write tries."""
        with self._lock, self._locked() as lock:
            return Probe("it gives out locks" if lock else "", self._http.skew)

    def _write(self, document: bytes, lock: str | None, condition: Mapping[str, str]) -> Reply:
        address = self._address
        if lock is not None:
            address += f"{'&' if '?' in address else '?'}ID={lock}"
        md5 = base64.b64encode(hashlib.md5(document, usedforsecurity=False).digest()).decode()
        headers = {"content-type": "application/json", "content-md5": md5, **condition}
        return self._call(self._update_method, address, document, headers)

    def _condition(self, old: bytes | None, lock: str | None) -> dict[str, str]:
        """What the server is to hold the write against.  Under a lock it is not needed, and may not be understood."""
        if old is None:
            return {"if-none-match": "*"} if lock is None else {}
        tag = self._etag[1]
        if tag and not tag.startswith("W/"):
            return {"if-match": tag}
        if lock is None:
            raise self._unsafe()
        return {}

    def _check_heeding(self, document: bytes, impossible: Mapping[str, str]) -> None:
        """Without locks all depends on conditions: one that cannot be met is tried, with what is there already."""
        if self._heeds:
            return
        if self._write(document, None, impossible).status not in (*_TAKEN, 412):
            raise self._unsafe()
        self._heeds = True

    def _unsafe(self) -> RunnerError:
        return RunnerError(
            f"{self._address} has neither locks nor conditional writes: two runs at once would lose what one wrote",
            hint="Use a server that speaks LOCK (see TF_HTTP_LOCK_ADDRESS), or another kind of store.",
            code="store-unfit",
        )

    # ---- the lock --------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[str | None]:
        """Hold the lock; its id, or None where the server has no locks."""
        lock = self._take()
        try:
            yield lock
        finally:
            if lock is not None:
                with suppress(RunnerError):  # what was written is written; a lock that stays is broken in time
                    self._release({"ID": lock})

    def _take(self) -> str | None:
        if self._heeds:
            return None
        info = {
            "ID": str(uuid.uuid4()),
            "Operation": OPERATION,
            "Info": "",
            "Who": self._who,
            "Version": "",
            "Path": "",
        }
        waited, seen = 0.0, ""
        while True:
            body = json.dumps({**info, "Created": datetime.now(UTC).isoformat()}).encode()
            reply = self._call(*self._locking, body, {"content-type": "application/json"})
            if reply.status in _NO_LOCKS:
                return None
            if 200 <= reply.status < 300:
                return info["ID"]
            if reply.status not in _TAKEN:
                raise self._refused(reply)
            holder = _holder(reply)
            waited = waited if holder["ID"] == seen else 0.0
            seen = holder["ID"]
            if self._is_dead(holder, waited):
                self._release(holder)
                continue
            if waited >= _FOREIGN and holder["Operation"] != OPERATION:
                who, what = holder["Who"] or "somebody", holder["Operation"] or "a reason unknown"
                raise StateConflict(
                    f"{self._address} is locked by {who} for {what} since {holder['Created'] or 'some time'} "
                    f"(lock {holder['ID']})",
                    hint="Wait for it, or release the lock with the program that took it.",
                    code="state-locked",
                )
            pause = 0.05 if waited < 1 else 0.5
            self._sleep(pause)
            waited += pause

    def _is_dead(self, holder: Mapping[str, str], waited: float) -> bool:
        """Whether the lock is one of ours that nobody will release: our own, its reply lost, or one left long ago."""
        ours = holder["Operation"] == OPERATION and bool(holder["ID"])
        return ours and (holder["Who"] == self._who or waited >= _STALE)

    def _release(self, info: Mapping[str, str]) -> None:
        self._call(*self._unlocking, json.dumps(dict(info)).encode(), {"content-type": "application/json"})

    # ---- calls -----------------------------------------------------------------------------------------------------

    def _call(
        self, method: str, address: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        try:
            return self._http.call(
                method,
                address,
                retry=False,
                headers={**self._headers, **(headers or {})},
                content=body,
                timeout=self._silence,
                judge=_judge,
            )
        except Refused as error:
            raise RunnerError(f"{error.where}: {error.message}", hint=error.hint, code=error.code) from None
        except ProviderError as error:
            raise OutOfReach(error.message) from None

    def _refused(self, reply: Reply) -> RunnerError:
        message = f"{reply.where} answered {reply.status}: {self._http.scrub(reply.text[:300])}".rstrip(": ")
        if reply.status in (401, 403):
            return CredentialsError(
                message, hint="It takes TF_HTTP_USERNAME and TF_HTTP_PASSWORD.", code="store-refused"
            )
        return RunnerError(message, hint="Look at `state:` in runner.yaml.", code="store-address")


def _judge(reply: Reply) -> None:
    if reply.status == 429:
        raise Busy("answered 429: too many calls", where=reply.where)
    if reply.status == 408 or (reply.status >= 500 and reply.status not in _NO_LOCKS):
        raise OutOfReach(f"answered {reply.status}")


def _holder(reply: Reply) -> dict[str, str]:
    """Who holds the lock, as far as the server says."""
    try:
        said: Any = json.loads(reply.data)
    except (ValueError, RecursionError):
        said = None
    found = said if isinstance(said, dict) else {}
    return {key: str(found.get(key) or "")[:200] for key in ("ID", "Operation", "Who", "Created")}
