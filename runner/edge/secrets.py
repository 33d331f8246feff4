"""Secrets: fetched at the moment they are needed, and kept out of everything that is said afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from runner.errors import CredentialsError
from runner.project import SecretRef


def resolve(ref: SecretRef, *, provider: str, environ: Mapping[str, str], root: Path) -> str:
    """The secret that ``ref`` names.  A relative file is taken from ``root``; one newline at its end is dropped.

    Raises CredentialsError, which names the variable or the file and never the value.
    """
    if ref.env is not None:
        return _sound(environ.get(ref.env, ""), f"the environment variable {ref.env}", provider)
    path = root / (ref.file or "")
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except (OSError, ValueError) as error:
        raise CredentialsError(
            f"provider {provider} needs a secret from the file {path}: {getattr(error, 'strerror', None) or error}",
            hint=f"create the file, or point provider {provider} in runner.yaml elsewhere",
        ) from None
    return _sound(text.removesuffix("\n").removesuffix("\r"), f"the file {path}", provider)


def _sound(value: str, source: str, provider: str) -> str:
    if not value:
        raise CredentialsError(
            f"provider {provider} needs a secret, and {source} is not set or empty", hint=f"set {source}"
        )
    if value != value.strip():
        raise CredentialsError(
            f"the secret of provider {provider} in {source} has blanks around it", hint="take them away"
        )
    if not (value.isascii() and value.isprintable()):
        raise CredentialsError(
            f"the secret of provider {provider} in {source} holds a line break or a character outside ASCII",
            hint="copy it again: a key is one line of letters, digits and signs",
        )
    return value


HIDDEN = "[hidden]"
_PIECE = 8
"""So many characters of a secret in a row give it away."""
_BEARER = re.compile(r"(?i)\b(bearer)\s+[^\s\"',;]+")
_MASKED = re.compile(r"(?P<head>[\w-]*)(?:\*{2,}|\.{3}|…)\**(?P<tail>[\w-]*)")
_SCANNED = 4_000


class Scrubber:
    """Makes text from elsewhere fit to be shown: one short line of printable characters that holds no known secret.

    A secret is found whole, percent-encoded, in pieces of 8 characters or more, and in the masked form in which some
    servers repeat a key (``sk-a****wxyz``).
    """

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pieces: set[str] = set()
        """Of the secrets that are long enough, every run of 8 characters: finding one is then one look-up."""

    def hide(self, secret: str) -> None:
        """From now on ``secret`` is not to be shown."""
        for spelled in {secret, quote(secret, safe="")} - self._secrets - {""}:
            self._pieces.update(spelled[i : i + _PIECE] for i in range(len(spelled) - _PIECE + 1))
            self._secrets.add(spelled)

    def __call__(self, text: str, limit: int = 300) -> str:
        """``text``, fit to be shown, of at most ``limit`` characters."""
        text = "".join(c if c.isprintable() else " " for c in text[:_SCANNED])
        text = _BEARER.sub(rf"\1 {HIDDEN}", self._without_pieces(text))
        text = _MASKED.sub(
            lambda match: HIDDEN if self._is_given_away(match["head"], match["tail"]) else match[0], text
        )
        for secret in tuple(self._secrets):
            if len(secret) < _PIECE:
                text = re.sub(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", HIDDEN, text)
        text = " ".join(text.split())
        return text if len(text) <= limit else text[: limit - 1] + "…"

    def _without_pieces(self, text: str) -> str:
        shown, end = [], 0
        for i in range(len(text)):
            if text[i : i + _PIECE] in self._pieces:
                shown.append(HIDDEN if i >= end else "")
                end = i + _PIECE
            elif i >= end:
                shown.append(text[i])
        return "".join(shown)

    def _is_given_away(self, head: str, tail: str) -> bool:
        return any(
            (len(head) > 1 and secret.startswith(head)) or (len(tail) > 1 and secret.endswith(tail))
            for secret in tuple(self._secrets)
        )
