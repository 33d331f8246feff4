"""State in an object store: S3 and what speaks its protocol, Azure Blob Storage or Google Cloud Storage, by obstore.

The document is one object that is only ever written under a condition, which the store checks in the same step:
``If-None-Match: *`` to make it and ``If-Match: ETag`` to replace it on S3 ("How to prevent object overwrites with
conditional writes" in its user guide) and on Azure ("Specifying conditional headers for Blob service operations"), the
generation on Google ("Request preconditions").  What cannot do that is found out before the first document is written:
some servers accept these headers and ignore them, others refuse the very ETag they gave (Ceph's radosgw 16.2 where it
stands in quotes).  The ETag of equal bytes is equal on S3, which does no harm, since no two documents are.

Blobs are named by their digest, so that to write one again changes nothing, and they go in parts: what a killed run
has left of one is invisible, and costs until a lifecycle rule of the bucket (`AbortIncompleteMultipartUpload`) ends it.

Keys and addresses come from the environment, by the names that obstore knows.  S3 was tried on moto, Azure on Azurite.
For Google there is no emulator with preconditions, so that `gs://` is unverified beyond its protocol.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from runner.edge.store import Conflict, Probe
from runner.edge.stores.far import OutOfReach
from runner.errors import CredentialsError, RunnerError

Version = Mapping[str, str]
"""What a store calls one version of an object: ``e_tag``, ``version`` or both."""

DOCUMENT = "state.json"
PART = 5 << 20
"""Bytes of a part of a blob, the fewest that S3 takes ("Amazon S3 multipart upload limits")."""
PARTS_AT_ONCE = 4
PIECE = 1 << 20

_READING = {"connect_timeout": "2500ms", "read_timeout": "3s", "timeout": "60s"}
"""A server that says nothing for three seconds counts as gone.  Four tries and their pauses are told within 15 s."""
_WRITING = {"connect_timeout": "2500ms", "timeout": "60s"}
_MOVING_BLOBS = {"connect_timeout": "2500ms", "read_timeout": "60s", "timeout": "1d"}
_OFFLINE = {"connect_timeout": "1500ms", "timeout": "2500ms"}

_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
_NO_KEYS = re.compile(
    r"/latest/(api/token|meta-data)|/metadata/identity|computeMetadata|/v2/credentials|Account must be specified"
)
"""Where a machine is asked for keys when the environment has none, and what misses the name of an account."""
_BAD_KEYS = re.compile(r"token request|AssumeRole|ExpiredToken|InvalidToken|TokenRefreshRequired")
_STATUS = re.compile(r"status code: ((\d{3})[^:\n]*)")
_NO_CERTIFICATES = "No CA certificates were loaded"
_LATER = {"408", "425", "429", "500", "502", "503", "504"}
_CAUSE = re.compile(r'(?:message|error): "([^"]+)"|kind: (Timeout)\b')


@dataclass(frozen=True)
class _Cloud:
    """How one of them is opened: a class of obstore, the variables that name an address or hold keys, and advice."""

    store: str
    endpoints: tuple[str, ...]
    keys: tuple[str, ...]
    hint: str


_CLOUDS = {
    "s3": _Cloud(
        "S3Store",
        ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        (
            *("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"),
            *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        ),
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE (of a "
        "profile: `aws configure export-credentials --format env`), and AWS_REGION. They need s3:GetObject, "
        "s3:PutObject, s3:DeleteObject and s3:ListBucket, without which an object that is not there is forbidden.",
    ),
    "az": _Cloud(
        "AzureStore",
        ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
        (
            *("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY"),
            *("AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_TOKEN", "AZURE_CLIENT_SECRET"),
            *("AZURE_STORAGE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_USE_AZURE_CLI"),
            "AZURE_STORAGE_USE_EMULATOR",
        ),
        "Set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID, "
        "AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE. They need the role Storage Blob Data Contributor.",
    ),
    "gs": _Cloud(
        "GCSStore",
        ("GOOGLE_BASE_URL",),
        (
            *("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY"),
            *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_BEARER_TOKEN"),
        ),
        "Set GOOGLE_APPLICATION_CREDENTIALS. It needs the role Storage Object User.",
    ),
}


class Bucket:
    """A prefix of a bucket, as the place of a document, of blobs, or of both.  Safe to use from several threads.

    ``offline``: be quick to give up, and ask no machine for keys.
    """

    def __init__(self, place: str, *, offline: bool = False) -> None:
        scheme, _, rest = place.partition("://")
        self._bucket, _, prefix = rest.partition("/")
        self._parts = tuple(part for part in prefix.split("/") if part)
        if not self._bucket or {".", ".."} & set(self._parts):
            raise RunnerError(
                f"{place} names no place in a bucket", hint=f"Write {scheme}://BUCKET/PREFIX.", code="store-address"
            )
        self._place = place
        self._cloud = _CLOUDS[scheme]
        self._offline = offline
        self._fit = False
        """Whether the store is known to keep to conditions."""
        self._seen: tuple[bytes, Version] | None = None
        """The document as last read or written, and what the store calls that version."""

    # ---- the document ----------------------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        with self._told():
            found = self._get(self._reading, DOCUMENT)
            if found is None:
                return None
            document = bytes(found.bytes())
            self._seen = document, _version(found.meta)
        return document

    def swap(self, old: bytes | None, new: bytes) -> None:
        mode = self._making() if old is None else self._replacing(old)
        errors = self._library.exceptions
        with self._told():
            try:
                self._seen = new, self._put(self._writing, DOCUMENT, new, mode)
            except (errors.AlreadyExistsError, errors.PreconditionError):  # 409 and 412
                raise Conflict from None

    def _making(self) -> str:
        if self.read() is not None:
            raise Conflict
        if not self._fit:
            self._probe()
            self._fit = True
        return "create"

    def _replacing(self, old: bytes) -> Version:
        """The version whose bytes are ``old``."""
        seen = self._seen
        if seen is None or seen[0] != old:
            self.read()
            seen = self._seen
        if seen is None or seen[0] != old:
            raise Conflict
        return seen[1]

    def probe(self) -> Probe:
        """With objects of its own, which go again."""
        self._probe()
        return Probe("it keeps to the conditions of a write", self._skew())

    def _skew(self) -> float:
        """Seconds by which the store's clock is ahead of ours, by when it says that an object was written."""
        name = f"probe-{uuid4().hex}"
        with self._told():
            try:
                self._put(self._blobs, name, b"1", "overwrite")
                written: datetime = self._library.head(self._blobs, self._at(name))["last_modified"]
                return written.timestamp() - time.time()
            finally:
                with suppress(Exception):  # as below
                    self._library.delete(self._blobs, self._at(name))

    def _probe(self) -> None:
        """See whether the store keeps to conditions, with an object that nobody else knows of."""
        name = f"probe-{uuid4().hex}"
        with self._told():
            try:
                version = self._put(self._blobs, name, b"1", "overwrite")
                wrong = {"e_tag": f'"{"0" * 32}"', "version": "1"}
                if not self._refuses(name, "create") or not self._refuses(name, wrong):
                    raise self._unfit("it writes what it was told not to write")
                if not version or self._refuses(name, version):
                    raise self._unfit("it does not know the versions that it names itself")
            finally:
                with suppress(Exception):  # it takes no room, and whoever may not delete may still write
                    self._library.delete(self._blobs, self._at(name))

    def _refuses(self, name: str, mode: str | Version) -> bool:
        """Whether a write to an object that is there is refused for the condition ``mode``."""
        errors = self._library.exceptions
        refused = errors.AlreadyExistsError if mode == "create" else errors.PreconditionError
        try:
            self._put(self._writing, name, b"2", mode)
        except refused:
            return True
        return False

    # ---- blobs -----------------------------------------------------------------------------------------------------

    def fetch(self, name: str, write: Callable[[bytes], object]) -> bool:
        with self._told():
            found = self._get(self._blobs, _blob(name))
            if found is None:
                return False
            for piece in found.stream(min_chunk_size=PIECE):
                write(bytes(piece))
        return True

    def send(self, name: str, path: Path) -> None:
        self._send(_blob(name), path)

    def send_files(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            self._send(name, path)

    def _send(self, name: str, path: Path) -> None:
        with self._told():
            self._library.put(self._blobs, self._at(name), path, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)

    # ---- the store -------------------------------------------------------------------------------------------------

    def _get(self, store: Any, name: str) -> Any:
        """An object, None where there is none.  Raises FileNotFoundError where there is no bucket."""
        try:
            return self._library.get(store, self._at(name))
        except FileNotFoundError as error:
            if _NO_BUCKET.search(str(error)):
                raise
            return None

    def _put(self, store: Any, name: str, data: bytes, mode: str | Version) -> Version:
        return _version(self._library.put(store, self._at(name), data, mode=mode))

    def _at(self, name: str) -> str:
        return "/".join((*self._parts, name))

    @cached_property
    def _reading(self) -> Any:
        return self._opened(_READING)

    @cached_property
    def _writing(self) -> Any:
        """Makes each call once: a reply that is lost looks like a conflict to whoever asks again."""
        return self._opened(_WRITING)

    @cached_property
    def _blobs(self) -> Any:
        return self._opened(_MOVING_BLOBS, retries=3)

    def _opened(self, client: Mapping[str, str], retries: int = 0) -> Any:
        plain = any(os.environ.get(name, "").lower().startswith("http://") for name in self._cloud.endpoints)
        anonymous = self._offline and not any(os.environ.get(name) for name in self._cloud.keys)
        return getattr(self._library.store, self._cloud.store)(
            self._bucket,
            client_options={**(_OFFLINE if self._offline else client), **({"allow_http": True} if plain else {})},
            retry_config={
                "max_retries": 0 if self._offline else retries,
                "retry_timeout": timedelta(seconds=30),
                "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=2)},
            },
            **({"skip_signature": True} if anonymous else {}),
        )

    @cached_property
    def _library(self) -> Any:
        try:
            import obstore.exceptions
            import obstore.store
        except ModuleNotFoundError:
            raise RunnerError(
                f"{self._place} is an object store, and obstore is not installed",
                hint="Install it: pip install 'batch-runner[objectstore]'",
                code="extra-missing",
            ) from None
        return obstore

    # ---- errors ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What obstore raises, as our own errors."""
        errors = self._library.exceptions
        try:
            yield
        except FileNotFoundError:
            raise RunnerError(
                f"{self._place}: there is no bucket {self._bucket}",
                hint="Make it first, with versions kept if you can: runner makes no buckets.",
                code="store-address",
            ) from None
        except (errors.BaseError, NotImplementedError, ValueError) as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> RunnerError:
        errors = self._library.exceptions
        text, _, debug = str(error).partition("\n\nDebug source:")
        reason, status = _reason(text, debug), _STATUS.search(text)
        if _NO_CERTIFICATES in debug:
            return RunnerError(
                f"{self._place}: this machine trusts no certificate, without which obstore calls nobody",
                hint="Install the package ca-certificates, or let SSL_CERT_FILE name a file of certificates.",
                code="tls-untrusted",
            )
        if _NO_KEYS.search(text):
            return CredentialsError(
                f"{self._place}: there are no keys for it", hint=self._cloud.hint, code="store-refused"
            )
        if isinstance(error, errors.AlreadyExistsError | errors.PreconditionError):
            return OutOfReach(reason)  # a 409 where nothing was asked but to write: another write is under way
        if (status and status[2] in _LATER) or (not status and "HTTP error" in text):
            return OutOfReach(reason)
        if isinstance(error, errors.PermissionDeniedError | errors.UnauthenticatedError) or _BAD_KEYS.search(text):
            return CredentialsError(
                f"{self._place} does not let us in: {reason}", hint=self._cloud.hint, code="store-refused"
            )
        if isinstance(error, errors.NotSupportedError | NotImplementedError) or (status and status[2] == "501"):
            return self._unfit(reason)
        return RunnerError(
            f"{self._place}: {reason}",
            hint="See that the bucket, its region and its address are right.",
            code="store-address",
        )

    def _unfit(self, why: str) -> RunnerError:
        return RunnerError(
            f"{self._place} cannot hold a state, since it does not keep to the conditions of a write: {why}",
            hint="Two runs at once could overwrite each other, and pay twice. Keep the state in another store.",
            code="store-unfit",
        )


def _blob(name: str) -> str:
    return f"blobs/{name[:2]}/{name}"


def _version(meta: Mapping[str, Any]) -> Version:
    """Without what the store does not know: obstore takes no None."""
    return {key: meta[key] for key in ("e_tag", "version") if meta.get(key) is not None}


def _reason(text: str, debug: str) -> str:
    """What went wrong, in the server's words where it has any.  No address, since it may hold a signature."""
    if status := _STATUS.search(text):
        told = [found[1] for tag in ("Code", "Message") if (found := re.search(f"<{tag}>([^<]+)</{tag}>", text))]
        return f"{status[1].strip()} ({': '.join(told)})"[:300] if told else status[1].strip()
    if cause := _CAUSE.search(debug):
        return cause[1] or "no answer in time"
    return text.rpartition(" - ")[2].rpartition("error: ")[2][:300]
