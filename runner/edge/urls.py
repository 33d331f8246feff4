"""Addresses: whether they can be called, whether two lead to one server, and what of them may be shown."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from runner.errors import Refused


def require_url(url: str) -> None:
    """Raises Refused for a URL that cannot be called: httpx and the look-up of names raise all sorts of errors."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        if host.isascii():  # httpx sees to all others
            host.encode("idna")
    except ValueError as error:
        raise Refused(f"not a URL that can be called: {error}", where=shown(url), code="url-invalid") from error


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs are of one scheme, host and port."""
    return _origin(one) is not None and _origin(one) == _origin(other)


def _origin(url: str) -> tuple[str, str, int | None] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return parts.scheme, parts.hostname or "", port


def with_query(url: str, params: Mapping[str, str] | None) -> str:
    if not params:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(params)}"


def shown(url: str) -> str:
    """A URL for messages: its query and its user, which may be secrets, left out."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a malformed URL"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path
