"""BOS's wire: buckets and objects at the root of the URL, path style, every call signed.

After https://cloud.baidu.com/doc/BOS/s/5jwvyrf21 and the official SDK, `bce-python-sdk`.  There is no multipart upload,
no copy and no access list; a call that asks for one is refused rather than misunderstood.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

from runner.simulator.bce import CODES, account, fail, refuser, request_id, signed
from runner.simulator.bce_auth import Message
from runner.simulator.engine import Engine, Refusal
from runner.simulator.objects import BYTES, Object, Objects
from runner.simulator.web import Handler, Reply, Request, Route, Wire, json_reply

MAX_KEYS = 1000
MAX_KEY_BYTES = 1024

_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_LISTING = frozenset({"prefix", "marker", "maxKeys", "delimiter"})

_ERRORS = {
    "invalid": (400, "InvalidArgument"),
    "invalid-key": (400, "InvalidURI"),
    "invalid-bucket": (400, "InvalidBucketName"),
    "bad-digest": (400, "BadDigest"),
    "bucket-exists": (409, "BucketAlreadyExists"),
    "unknown-bucket": (404, "NoSuchBucket"),
    "unknown-object": (404, "NoSuchKey"),
    "unsupported": (501, "NotImplemented"),
    "too-large": (400, "EntityTooLarge"),
}
"""Refusal kind → HTTP status and code."""


def wire(engine: Engine) -> Wire:
    """The calls, as data.  They have every path that no other wire has, so this wire has to be the last one."""
    objects = Objects(engine.memory.files, engine.keep, engine.clock)
    calls = _Calls(objects)
    credentials = account()

    def known(handle: Handler) -> Handler:
        checked = signed(handle, credentials, engine.clock)

        def answered(request: Request) -> Reply:
            bucket = request.params["bucket"]
            is_signed = bool(Message(request.method, request.target, request.headers).authorization)
            if not is_signed and not (_BUCKET.fullmatch(bucket) and objects.has_bucket(bucket)):
                raise Refusal(
                    "unknown-bucket", f"no wire of the simulator has this path, and no bucket is named {bucket}"
                )
            return checked(request)

        return answered

    bucket, key = "/{bucket}", "/{bucket}/{key*}"
    routes = [
        Route("PUT", key, "upload", known(calls.put)),
        Route("GET", key, "download", known(calls.get)),
        Route("HEAD", key, "download", known(calls.get)),
        Route("DELETE", key, "delete", known(calls.remove)),
    ]
    for path in (bucket, f"{bucket}/"):
        routes += [
            Route("PUT", path, "", known(calls.create)),
            Route("GET", path, "list", known(calls.list)),
            Route("HEAD", path, "", known(calls.exists)),
        ]
    return Wire(routes, refuser(_ERRORS), fail, CODES)


class _Calls:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def create(self, request: Request) -> Reply:
        _require_only(request, frozenset())
        name = _bucket_name(request)
        if not self._objects.add_bucket(name):
            raise Refusal("bucket-exists", f"there is a bucket {name} already")
        return _done()

    def exists(self, request: Request) -> Reply:
        self._bucket(request)
        return _done()

    def put(self, request: Request) -> Reply:
        """Keep an object; a bucket that is not there is made, so that a rehearsal needs no console."""
        _require_only(request, frozenset())
        bucket, key = _bucket_name(request), _key(request)
        self._objects.add_bucket(bucket)
        kind = request.headers.get("Content-Type") or BYTES
        checksum = _Checksum(request.body.chunks())
        found = self._objects.kept(bucket, key, checksum, kind)
        _require_intact(request, found, checksum.crc32)
        self._objects.put(found)
        return _done(found)

    def get(self, request: Request) -> Reply:
        _require_only(request, frozenset())
        bucket, key = self._bucket(request), _key(request)
        found = self._objects.get(bucket, key)
        if found is None:
            raise Refusal("unknown-object", f"the bucket {bucket} has no object {key}")
        return Reply(200, self._objects.content(found), found.kind, _headers(found))

    def remove(self, request: Request) -> Reply:
        _require_only(request, frozenset())
        bucket, key = self._bucket(request), _key(request)
        if not self._objects.remove(bucket, key):
            raise Refusal("unknown-object", f"the bucket {bucket} has no object {key}")
        return _done(status=204)

    def list(self, request: Request) -> Reply:
        _require_only(request, _LISTING)
        bucket = self._bucket(request)
        prefix, marker, delimiter = (request.query.get(name, "") for name in ("prefix", "marker", "delimiter"))
        most = request.query.get("maxKeys") or str(MAX_KEYS)
        if not re.fullmatch(r"[0-9]{1,9}", most) or int(most) < 1:
            raise Refusal("invalid", "maxKeys has to be a whole number from 1")
        page = self._objects.page(bucket, prefix, delimiter, marker, min(int(most), MAX_KEYS))
        listing: dict[str, Any] = {
            "name": bucket,
            "prefix": prefix,
            "delimiter": delimiter,
            "marker": marker,
            "maxKeys": min(int(most), MAX_KEYS),
            "isTruncated": page.next is not None,
            "contents": [_entry(each) for each in page.objects],
        }
        if delimiter:
            listing["commonPrefixes"] = [{"prefix": group} for group in page.groups]
        if page.next is not None:
            listing["nextMarker"] = page.next
        return json_reply(200, listing, {"x-bce-request-id": request_id()})

    def _bucket(self, request: Request) -> str:
        name = request.params["bucket"]
        if not self._objects.has_bucket(name):
            raise Refusal("unknown-bucket", f"there is no bucket {name}")
        return name


# --- reading ---------------------------------------------------------------------------------------------------------


def _bucket_name(request: Request) -> str:
    name = request.params["bucket"]
    if not _BUCKET.fullmatch(name):
        raise Refusal("invalid-bucket", "a bucket's name has 3 to 63 lower-case letters, digits and hyphens")
    return name


class _Checksum:
    """Bytes on their way, and the CRC-32 of those that went by."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.crc32 = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.crc32 = zlib.crc32(chunk, self.crc32)
            yield chunk


def _key(request: Request) -> str:
    key = request.params["key"]
    if len(key.encode()) > MAX_KEY_BYTES or not {".", ".."}.isdisjoint(key.split("/")):
        raise Refusal("invalid-key", f"a key has up to {MAX_KEY_BYTES} bytes, and no part of it is . or ..")
    return key


def _require_only(request: Request, known: frozenset[str]) -> None:
    """Refuse what the query asks for beyond ``known``: another call than the one that its path stands for."""
    beyond = sorted(request.query.keys() - known - {"authorization"})
    if beyond:
        raise Refusal("unsupported", f"the simulator does not know {', '.join(beyond)} here")


def _require_intact(request: Request, found: Object, crc32: int) -> None:
    """Compare what came with the checksums that came with it."""
    crc = request.headers.get("x-bce-content-crc32")
    md5 = request.headers.get("Content-MD5")
    if crc is not None and crc.strip() != str(crc32):
        raise Refusal("bad-digest", "the content does not fit x-bce-content-crc32")
    if md5 is not None and md5.strip() != base64.b64encode(binascii.unhexlify(found.etag)).decode():
        raise Refusal("bad-digest", "the content does not fit Content-MD5")


# --- writing ---------------------------------------------------------------------------------------------------------


def _done(found: Object | None = None, status: int = 200) -> Reply:
    return Reply(status, b"", headers={"x-bce-request-id": request_id()} if found is None else _headers(found))


def _headers(found: Object) -> dict[str, str]:
    return {
        "x-bce-request-id": request_id(),
        "ETag": f'"{found.etag}"',
        "Last-Modified": formatdate(found.modified, usegmt=True),
    }


def _entry(found: Object) -> dict[str, Any]:
    return {
        "key": found.key,
        "lastModified": datetime.fromtimestamp(found.modified, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eTag": found.etag,
        "size": found.size,
        "storageClass": "STANDARD",
        "owner": {"id": "simulator", "displayName": "simulator"},
    }
