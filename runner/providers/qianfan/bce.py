"""bce-auth-v1, Baidu Cloud's signature over a request.  Pure.

Documented at https://cloud.baidu.com/doc/Reference/s/njwvz1yfu.  The body is not signed, the query and the path are: a
request is therefore spelled here, URL and headers, so that what is sent is what was signed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlsplit

EXPIRES = 1_800
"""Seconds that a signature is good for: Baidu's own default."""

_USUAL = frozenset({"host", "content-length", "content-type", "content-md5"})
"""Signed, beside every ``x-bce-*``, where a signature names no headers."""
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_KEY_CODES = frozenset({"accessdenied", "invalidaccesskeyid", "invalidhttpauthheader", "signaturedoesnotmatch"})
_KEY_WORDS = ("signature", "credential")


@dataclass(frozen=True)
class Keys:
    """The two halves of a key pair."""

    access: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Signed:
    """A request to be sent exactly so.  ``headers`` carry its host, its date and its signature."""

    url: str
    headers: Mapping[str, str]


def signed(
    method: str,
    base_url: str,
    path: str,
    query: Mapping[str, str] | None = None,
    *,
    keys: Keys,
    at: float,
    expires: int = EXPIRES,
) -> Signed:
    """The request for ``path`` (plain text, not encoded) below ``base_url``.  ``at``: Unix seconds.

    Only the host and the date are signed: a header that is added later does no harm.
    """
    parts = urlsplit(base_url)
    path = unquote(parts.path).rstrip("/") + path
    headers = {"host": _host(parts.scheme, parts.netloc), "x-bce-date": _time(at)}
    authorization = sign(
        method,
        path,
        query or {},
        headers,
        access_key=keys.access,
        secret_key=keys.secret,
        at=at,
        expires=expires,
        signed=headers,
    )
    url = f"{parts.scheme}://{parts.netloc}{_encode(path, safe='/')}"
    return Signed(f"{url}?{_canonical_query(query)}" if query else url, {**headers, "authorization": authorization})


def sign(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    *,
    access_key: str,
    secret_key: str,
    at: float,
    expires: int = EXPIRES,
    signed: Iterable[str] | None = None,
) -> str:
    """The ``Authorization`` of a request.

    ``path`` and ``query`` are plain text, not encoded.  ``at`` is in Unix seconds, ``expires`` in seconds from then.
    ``signed`` names the headers to sign; None is the documented default, which the signature does not spell out.
    """
    names = None if signed is None else sorted({name.lower() for name in signed})
    prefix = f"bce-auth-v1/{access_key}/{_time(at)}/{expires}"
    request = "\n".join(
        (method.upper(), _encode(path, safe="/"), _canonical_query(query), _canonical_headers(headers, names))
    )
    signature = _hmac(_hmac(secret_key, prefix), request)
    return f"{prefix}/{';'.join(names or ())}/{signature}"


def is_about_keys(code: str, message: str) -> bool:
    """Whether an error of Baidu Cloud speaks of the key or of what it may do, rather than of the question."""
    return code.lower() in _KEY_CODES or any(word in f"{code} {message}".lower() for word in _KEY_WORDS)


def _canonical_query(query: Mapping[str, str]) -> str:
    pairs = (f"{_encode(k)}={_encode(v)}" for k, v in query.items() if k.lower() != "authorization")
    return "&".join(sorted(pairs))


def _canonical_headers(headers: Mapping[str, str], names: Collection[str] | None) -> str:
    trimmed = ((name.strip().lower(), value.strip()) for name, value in headers.items())
    lines = (f"{_encode(name)}:{_encode(value)}" for name, value in trimmed if value and _is_signed(name, names))
    return "\n".join(sorted(lines))


def _is_signed(name: str, names: Collection[str] | None) -> bool:
    return name in _USUAL or name.startswith("x-bce-") if names is None else name in names


def _encode(text: str, safe: str = "") -> str:
    return quote(text, safe=safe)


def _time(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _host(scheme: str, netloc: str) -> str:
    return netloc.rpartition("@")[2].lower().removesuffix(_DEFAULT_PORTS.get(scheme, ""))


def _hmac(key: str, text: str) -> str:
    """Hex, and the hex digits themselves are the key of the next one."""
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
