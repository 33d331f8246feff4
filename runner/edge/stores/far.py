"""What all stores that are not on this machine have in common: a copy here of what was read and written there.

A document far away is written by a call whose reply may be lost, and read by one that may fail.  So a write that may
have happened is looked for, and the document as last read is kept, for those who plan without a network.  Blobs never
change, so that the copy of one is as good as the blob.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeVar

from runner.edge.files import Spooled, naming, sha256_of, sweep, write_atomic
from runner.edge.store import STALE, Conflict, FolderBlobs, Probe, Probed, lost
from runner.errors import RunnerError

T = TypeVar("T")

_TRIES = 4
"""How often a call that failed is made before the store counts as out of reach."""


class OutOfReach(RunnerError):
    """The store cannot be asked at present; ``message`` says why.  Nothing is known of what was last asked of it."""

    code = "store-unreachable"


class Far(Protocol):
    """A document that lies elsewhere.  Every call is made once: patience is :class:`FarDocument`'s."""

    def read(self) -> bytes | None:
        """The document, None where there is none.  Raises OutOfReach, and RunnerError for a clear no."""

    def swap(self, old: bytes | None, new: bytes) -> None:
        """Replace ``old`` by ``new`` in one step.

        Raises Conflict when it is another, OutOfReach when nobody knows whether it happened, RunnerError for a no.
        """


class Vault(Protocol):
    """Blobs that lie elsewhere.  Every call is made once, as with :class:`Far`, and may come from several threads."""

    def fetch(self, name: str, write: Callable[[bytes], object]) -> bool:
        """Hand the bytes to ``write`` in pieces; False where there is no such blob.  Raises OutOfReach, RunnerError."""

    def send(self, name: str, path: Path) -> None:
        """Keep the bytes of ``path`` as ``name``, durably at the latest with the next swap; again changes nothing."""


class Depot(Protocol):
    """A place of files under paths of their own.  Every call is made once, as with :class:`Far`."""

    def send_files(self, files: Mapping[str, Path]) -> None:
        """Put files at paths, in place of what lies there; again changes nothing.  Raises OutOfReach, RunnerError."""


def patiently(call: Callable[[], T], pause: Callable[[float], None] = time.sleep) -> T:
    """What ``call`` returns, made again a few times while the store is out of reach."""
    for attempt in range(_TRIES - 1):
        try:
            return call()
        except OutOfReach:
            pause(random.uniform(0.5, 1.0) * 2**attempt / 2)  # noqa: S311 - no secret is made of it
    return call()


class FarDocument:
    """A document far away.  ``copy`` is the file for the last one that was seen, ``offline`` who may live off it."""

    def __init__(self, far: Far, name: str, copy: Path, *, offline: bool = False) -> None:
        self._far = far
        self._name = name
        self._copy = copy
        self._offline = offline
        self._seen: bytes | None = None
        self.notes: Sequence[str] = ()

    def read(self) -> bytes | None:
        try:
            document = self._far.read() if self._offline else patiently(self._far.read)
        except RunnerError as error:
            if self._offline:
                return self._remembered(error)
            raise _explained(error, self._name) from None
        self._remember(document)
        return document

    def swap(self, old: bytes | None, new: bytes) -> None:
        calls = itertools.count()

        def once() -> None:
            if next(calls):  # it may have happened the last time, which the bytes tell: no two writes are the same
                found = self._far.read()
                if found == new:
                    return
                if found != old:
                    raise Conflict
            self._far.swap(old, new)

        try:
            patiently(once)
        except RunnerError as error:
            raise _explained(error, self._name) from None
        self._remember(new)

    def probe(self) -> Probe:
        far = self._far
        try:
            return patiently(far.probe) if isinstance(far, Probed) else Probe()
        except RunnerError as error:
            raise _explained(error, self._name) from None

    def tidy(self, now: float) -> None:
        sweep(self._copy.parent, now - STALE)

    def _remember(self, document: bytes | None) -> None:
        if document is not None and document != self._seen:
            with suppress(OSError):  # it only serves those who plan without a network
                write_atomic(self._copy, [document])
            self._seen = document

    def _remembered(self, error: RunnerError) -> bytes | None:
        """The document as it was when this machine last saw it."""
        try:
            with naming(self._copy):
                document, at = self._copy.read_bytes(), self._copy.stat().st_mtime
        except FileNotFoundError:
            self.notes = (
                f"The state in {self._name} is out of reach ({error.message}), and was never read here: "
                "everything counts as new, so the counts are upper bounds.",
            )
            return None
        when = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
        self.notes = (
            f"The state in {self._name} is out of reach ({error.message}): this is the one last read, at {when} UTC.",
        )
        return document


class FarBlobs(FolderBlobs):
    """Blobs far away, and a copy of each that was ever put or wanted here."""

    def __init__(self, vault: Vault, name: str, copies: Path) -> None:
        super().__init__(copies)
        self._vault = vault
        self._name = name
        self._sent: set[str] = set()
        self._lock = Lock()

    def get(self, name: str) -> bytes:
        return self.local(name).read_bytes()

    def local(self, name: str) -> Path:
        path = self._path(name)
        if not path.exists() or sha256_of(path) != name:  # a damaged copy is no loss: it can be had again
            self._fetch(name)
        return path

    def put(self, data: bytes) -> str:
        path = self._path(hashlib.sha256(data).hexdigest())
        if path.exists() and sha256_of(path) != path.name:
            path.unlink()  # a damaged copy must not be sent in place of what it was
        return self._send(super().put(data))

    def adopt(self, spooled: Spooled) -> str:
        return self._send(super().adopt(spooled))

    def _send(self, name: str) -> str:
        with self._lock:
            if name in self._sent:
                return name
        try:
            patiently(lambda: self._vault.send(name, self._path(name)))
        except RunnerError as error:
            raise _explained(error, self._name) from None
        with self._lock:
            self._sent.add(name)
        return name

    def _fetch(self, name: str) -> None:
        def once() -> bool:
            spooled = Spooled(self._blobs)
            try:
                if not self._vault.fetch(name, spooled.write):
                    return False
                if spooled.sha256 != name:
                    raise RunnerError(
                        f"the blob {name} in {self._name} is damaged: its bytes do not have that digest",
                        code="blob-lost",
                    )
                spooled.keep(self._path)
                return True
            finally:
                spooled.drop()

        try:
            found = patiently(once)
        except RunnerError as error:
            raise _explained(error, self._name) from None
        if not found:
            raise lost(name, self._name)


class FarOutlet:
    """Outputs that go far away."""

    def __init__(self, depot: Depot, name: str) -> None:
        self._depot = depot
        self._name = name

    def deliver(self, files: Mapping[str, Path]) -> None:
        try:
            patiently(lambda: self._depot.send_files(files))
        except RunnerError as error:
            raise _explained(error, self._name) from None


def serial_of(document: bytes) -> int | None:
    """The serial of a state document, for those who read a store's history; None of what is none."""
    try:
        serial = json.loads(document)["serial"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return serial if type(serial) is int else None


def _explained(error: RunnerError, name: str) -> RunnerError:
    if not isinstance(error, OutOfReach):
        return error
    return OutOfReach(
        f"the store {name} is out of reach: {error.message}",
        hint=error.hint or "Nothing is lost: run the same command again once it can be reached.",
        commands=error.commands,
    )
