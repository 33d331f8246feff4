"""Secrets: fetched at the moment they are needed, and kept out of everything that is said afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from runner.errors import CredentialsError
from runner.project import SecretRef


def resolve(ref: SecretRef, *, provider: str, environ: Mapping[str, str], root: Path) -> str:
    """The secret that ``ref`` names.  A relative file is taken from ``root``; one newline at its end is dropped.

    Raises CredentialsError, which names the variable or the file and never the value.
    """
    if ref.env is not None:
        name = f"the environment variable {ref.env}"
        return _sound(environ.get(ref.env, ""), name, provider, (f"export {ref.env}=…",))
    path = root / (ref.file or "")
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except (OSError, ValueError) as error:
        raise CredentialsError(
            f"provider {provider} needs a secret from the file {path}: {getattr(error, 'strerror', None) or error}",
            hint=f"create the file, or point provider {provider} in runner.yaml elsewhere",
            code="secret-missing",
        ) from None
    return _sound(text.removesuffix("\n").removesuffix("\r"), f"the file {path}", provider)


def _sound(value: str, source: str, provider: str, commands: Sequence[str] = ()) -> str:
    if not value:
        raise CredentialsError(
            f"provider {provider} needs a secret, and {source} is not set or empty",
            hint="Put the key there:" if commands else f"Put the key into {source}.",
            commands=commands,
            code="secret-missing",
        )
    if value != value.strip():
        raise CredentialsError(
            f"the secret of provider {provider} in {source} has blanks around it",
            hint="take them away",
            code="secret-malformed",
        )
    if not (value.isascii() and value.isprintable()):
        raise CredentialsError(
            f"the secret of provider {provider} in {source} holds a line break or a character outside ASCII",
            hint="copy it again: a key is one line of letters, digits and signs",
            code="secret-malformed",
        )
    return value


HIDDEN = "[hidden]"
_PIECE = 8
"""So many characters of a secret in a row give it away."""
_BEARER = re.compile(r"(?i)\b(bearer)\s+[^\s\"',;]+")
_UNIT = re.compile(r"(?s)%[0-9a-fA-F]{2}|.")
"""One character, or the escape that stands for one byte."""
_MASKED = re.compile(r"(?P<head>(?<![\w-])[\w-]++|)(?:\*{2,}|\.{3}|…)\**(?P<tail>[\w-]*)")
_SCANNED = 4_000


class Scrubber:
    """Makes text from elsewhere fit to be shown: one short line of printable characters that holds no known secret.

    A secret is found whole, percent-encoded in any way, in pieces of 8 characters or more, and in the masked form in
    which some servers repeat a key (``sk-a****wxyz``).
    """

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pieces: set[str] = set()
        """Of the secrets that are long enough, every run of 8 characters: finding one is then one look-up."""

    def hide(self, secret: str) -> None:
        """From now on ``secret`` is not to be shown."""
        encoded = quote(secret, safe="")
        for spelled in {secret, encoded, _meant(secret), _meant(encoded)} - self._secrets - {""}:
            self._pieces.update(spelled[i : i + _PIECE] for i in range(len(spelled) - _PIECE + 1))
            self._secrets.add(spelled)

    def __call__(self, text: str, limit: int = 300) -> str:
        """``text``, fit to be shown, of at most ``limit`` characters."""
        text = "".join(c if c.isprintable() else " " for c in text[:_SCANNED])
        text = " ".join(self.hidden_in(text).split())
        return text if len(text) <= limit else text[: limit - 1] + "…"

    def _without_pieces(self, text: str) -> str:
        """Looked for twice: in what the text stands for, and, for a piece that begins or ends inside an escape, in the
        text as it is."""
        if "%" in text:
            text = self._without(_UNIT.findall(text), _meant(text))
        return self._without(text, text)

    def _without(self, units: Sequence[str], meant: str) -> str:
        """``units`` joined, but for those whose characters in ``meant``, one each, are a piece of a secret."""
        shown, end = [], 0
        for i, unit in enumerate(units):
            if meant[i : i + _PIECE] in self._pieces:
                shown.append(HIDDEN if i >= end else "")
                end = i + _PIECE
            elif i >= end:
                shown.append(unit)
        return "".join(shown)

    def _is_given_away(self, head: str, tail: str) -> bool:
        return any(
            (len(head) > 1 and secret.startswith(head)) or (len(tail) > 1 and secret.endswith(tail))
            for secret in tuple(self._secrets)
        )

    def hidden_in(self, text: str) -> str:
        """``text`` as it is, of any length and form, but for the secrets in it."""
        if "%" in text or any(piece in text for piece in tuple(self._pieces)):
            text = self._without_pieces(text)
        text = _BEARER.sub(rf"\1 {HIDDEN}", text)
        text = _MASKED.sub(
            lambda match: HIDDEN if self._is_given_away(match["head"], match["tail"]) else match[0], text
        )
        for secret in tuple(self._secrets):
            if len(secret) < _PIECE:
                text = re.sub(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", HIDDEN, text)
        return text


def _meant(text: str) -> str:
    """``text`` with one character for each percent-encoded byte, so that all ways to encode it come to the same."""
    return _UNIT.sub(lambda unit: chr(int(unit[0][1:], 16)) if len(unit[0]) == 3 else unit[0], text)
