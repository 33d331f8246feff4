"""bce-auth-v1, checked: Baidu's signature over the method, the path, the query and some headers of a request.

After https://cloud.baidu.com/doc/Reference/s/njwvz1yfu.  The body is not signed.  Which headers are covered is told
by the signature itself, and in any order, since the official SDK lists them in none; a signature that lists none
covers `host`, `content-length`, `content-type`, `content-md5` and every `x-bce-*`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from runner.simulator.engine import Refusal

SKEW_SECONDS = 900
"""How far a caller's clock may be ahead.  What the real gateway allows is not documented."""

COVERED_BY_DEFAULT = frozenset({"host", "content-length", "content-type", "content-md5"})

_AUTHORIZATION = re.compile(
    r"bce-auth-v1/(?P<access_key>[^/]+)/(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)/(?P<seconds>\d{1,9})"
    r"/(?P<headers>[a-z0-9;_-]*)/(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Credentials:
    """One account's access key, and the secret that belongs to it."""

    access_key: str
    secret_key: str


@dataclass(frozen=True)
class Message:
    """What a signature covers: the request as it was sent, its bytes read as Latin-1.

    ``target`` is the path with its query.
    """

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def authorization(self) -> str:
        """The signature, from the header or, as in a link that was signed ahead, from the query; empty for none."""
        return self.headers.get("Authorization") or dict(self._query()).get("authorization", "")

    def canonical(self, covered: Iterable[str]) -> str:
        """The text that is signed, with the headers named in ``covered``; all of the usual ones where it is empty."""
        path = quote(unquote_to_bytes(self.target.partition("?")[0].encode("latin-1")), safe="/-._~")
        query = sorted(f"{_encoded(k)}={_encoded(v)}" for k, v in self._query() if k.lower() != "authorization")
        return "\n".join([self.method, path, "&".join(query), "\n".join(self._header_lines(covered))])

    def _query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True, encoding="latin-1")

    def _header_lines(self, covered: Iterable[str]) -> list[str]:
        wanted = frozenset(covered)
        found = {name.lower(): value.strip() for name, value in self.headers.items()}
        names = wanted or {name for name in found if name in COVERED_BY_DEFAULT or name.startswith("x-bce-")}
        return sorted(f"{_encoded(name)}:{_encoded(found[name])}" for name in names if found.get(name))


def verify(message: Message, credentials: Credentials, now: float) -> None:
    """Pass a request that was signed with ``credentials`` and is in time, at ``now`` in seconds since 1970.

    Raises Refusal: ``unsigned``, ``bad-authorization``, ``unknown-key``, ``bad-signature`` or ``expired-signature``.
    """
    authorization = message.authorization
    if not authorization:
        raise Refusal("unsigned", "the request has no bce-auth-v1 signature")
    parts = _AUTHORIZATION.fullmatch(authorization)
    signed_at = _seconds(parts["time"]) if parts else None
    if parts is None or signed_at is None:
        raise Refusal("bad-authorization", "the Authorization is not bce-auth-v1/KEY/TIME/SECONDS/HEADERS/SIGNATURE")
    if parts["access_key"] != credentials.access_key:
        raise Refusal("unknown-key", "there is no such access key")
    expected = _signature(message, credentials, authorization.rsplit("/", 2)[0], parts["headers"])
    if not hmac.compare_digest(expected, parts["signature"]):
        raise Refusal("bad-signature", "the signature does not fit the request and the secret key")
    if now > signed_at + int(parts["seconds"]):
        raise Refusal("expired-signature", f"the signature of {parts['time']} has expired")
    if signed_at > now + SKEW_SECONDS:
        raise Refusal("expired-signature", f"the signature's time {parts['time']} lies in the future")


def _signature(message: Message, credentials: Credentials, prefix: str, headers: str) -> str:
    """``prefix`` is the Authorization up to the seconds; the key for one prefix is a digest of the secret and it."""
    key = _hmac(credentials.secret_key, prefix)
    return _hmac(key, message.canonical(filter(None, headers.split(";"))))


def _hmac(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def _encoded(text: str) -> str:
    return quote(text.encode("latin-1"), safe="-._~")


def _seconds(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
