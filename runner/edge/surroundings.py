"""What the environment says of certificates and proxies, and what to say where it cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from runner.errors import RunnerError

if TYPE_CHECKING:
    import ssl

LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://[::1]")
"""Where no proxy of the environment leads to."""

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def ssl_context() -> ssl.SSLContext:
    """One for all clients of a process: reading the certificates takes longer than many a call.

    Raises RunnerError where the environment names certificates that cannot be read.
    """
    named = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    try:
        return _ssl_context(*named.values())
    except OSError as error:
        told = " and ".join(f"{name}={value}" for name, value in named.items() if value)
        raise RunnerError(
            f"the certificates to trust cannot be read ({told or 'those of this machine'}): {error.strerror or error}",
            hint="Let the environment variable name a PEM file that is there, or unset it.",
            code="tls-untrusted",
        ) from error


@cache
def _ssl_context(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


@contextmanager
def proxies() -> Iterator[None]:
    """Turn what httpx makes of a proxy that the environment names, and that it cannot use, into RunnerError."""
    import httpx

    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        named = [name for one in PROXIES for name in (one, one.lower()) if os.environ.get(name)]
        socks = isinstance(error, ImportError)
        why = "SOCKS takes the package socksio, which is not installed" if socks else "it is not the address of a proxy"
        raise RunnerError(
            f"the proxy that the environment names in {' or '.join(named)} cannot be used: {why}",
            hint="`pip install 'httpx[socks]'`, or unset the variable." if socks else "Correct or unset the variable.",
            code="proxy-invalid",
        ) from error


def proxy_for(url: str) -> str:
    """The variable of the environment whose proxy a call of ``url`` goes through; empty where it goes straight."""
    from urllib.request import proxy_bypass

    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    if f"all://{host.rpartition(':')[0] or host}" in LOOPBACK or proxy_bypass(host):
        return ""
    names = (f"{scheme}_PROXY".upper(), "ALL_PROXY")
    return next((name for one in names for name in (one.lower(), one) if os.environ.get(name)), "")
