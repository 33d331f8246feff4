"""Objects in Baidu's BOS: put, list, download; signed, with the bucket in the path.

Documented at https://cloud.baidu.com/doc/BOS/s/5jwvyrf21.  A list answers with JSON: ``contents`` of ``key`` and
``size``, ``isTruncated``, ``nextMarker``; without the last, the list goes on after the last key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.edge.http import READ_TIMEOUT, Http
from runner.errors import Refused, Unsure
from runner.providers.loose import get, items, text
from runner.providers.qianfan.bce import EXPIRES, Keys, Signed, signed

DEFAULT_URL = "https://bj.bcebos.com"
_PAGE = 1_000
_UPLOAD_SPEED = 1_000_000
"""Bytes per second, the slowest upload that is waited for."""
_DOWNLOAD_EXPIRES = 86_400
"""Seconds.  A download that was cut is taken up again with the signature that it began with."""


@dataclass(frozen=True)
class Place:
    """An object, or a folder where ``key`` ends with a slash.  Qianfan spells it ``bos:/bucket/key``."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"bos:/{self.bucket}/{self.key}"

    def below(self, name: str) -> Place:
        return Place(self.bucket, self.key + name)


def parse_place(uri: str) -> Place | None:
    """The folder that ``bos:/bucket/key`` names, with or without a slash at its end; None for what is no such URI."""
    scheme, _, path = uri.partition(":")
    bucket, _, key = path.strip("/").partition("/")
    return Place(bucket, f"{key}/" if key else "") if scheme == "bos" and bucket else None


class Bos:
    """BOS at ``endpoint``.  ``keys`` is called at each conversation, ``now`` gives Unix seconds."""

    def __init__(self, http: Http, *, endpoint: str, keys: Callable[[], Keys], now: Callable[[], float]) -> None:
        self._http = http
        self._endpoint = endpoint
        self._keys = keys
        self._now = now

    def put(self, place: Place, content: bytes | Path) -> None:
        """Write an object whole, over whatever was there.  A path is streamed."""
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        request = self._signed("PUT", place)
        with _hinting(place.bucket):
            self._http.call(
                "PUT",
                request.url,
                retry=True,
                headers={**request.headers, "content-type": "application/octet-stream"},
                content=content,
                timeout=READ_TIMEOUT + size / _UPLOAD_SPEED,
            )

    def list(self, folder: Place) -> Iterator[Place]:
        """Every object below ``folder``.  Raises Unsure for a list that says that it goes on, and not from where."""
        marker = ""
        seen = {marker}
        while True:
            query = {"maxKeys": str(_PAGE), "prefix": folder.key} | ({"marker": marker} if marker else {})
            request = self._signed("GET", Place(folder.bucket, ""), query)
            with _hinting(folder.bucket):
                reply = self._http.call("GET", request.url, retry=True, headers=request.headers)
            page = reply.json()
            if not isinstance(page, dict) or "isTruncated" not in page:
                raise Unsure(f"the answer is no list of objects: {reply.text[:200]}", where=reply.where)
            keys = [key for entry in items(page.get("contents")) if isinstance(key := get(entry, "key"), str)]
            yield from (Place(folder.bucket, key) for key in keys if key.startswith(folder.key))
            if page["isTruncated"] in (False, "false"):
                return
            marker = text(page.get("nextMarker")) or max(keys, default="")
            if marker in seen:
                raise Unsure("a list of objects says that it goes on, and not from where", where=reply.where)
            seen.add(marker)

    def download(self, place: Place, sink: Callable[[bytes], object]) -> None:
        """Hand over the bytes of an object, each once and in order."""
        request = self._signed("GET", place, expires=_DOWNLOAD_EXPIRES)
        with _hinting(place.bucket):
            self._http.download(request.url, sink, headers=request.headers)

    def _signed(self, method: str, place: Place, query: dict[str, str] | None = None, expires: int = EXPIRES) -> Signed:
        path = f"/{place.bucket}/{place.key}" if place.key else f"/{place.bucket}"
        return signed(method, self._endpoint, path, query, keys=self._keys(), at=self._now(), expires=expires)


@contextmanager
def _hinting(bucket: str) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        if error.credentials:
            error.hint = f"the owner of access_key needs the policy BOSFullControlAccessPolicy for the bucket {bucket}"
        elif error.word == "NoSuchBucket":
            error.hint = f"create the bucket {bucket}, or correct bos.bucket and bos.endpoint in runner.yaml"
        raise
