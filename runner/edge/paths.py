"""Files that a project names by their path: found inside it or not at all, and images as data URLs."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from runner.edge.grounds import Grounds
from runner.errors import RunnerError

MAX_IMAGE = 20_000_000
"""Bytes.  No provider is known to take a larger one inside a request."""

MAX_TEMPLATE = 2_000_000

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)


def inside(grounds: Grounds, relative: str) -> Path:
    """The real file that ``relative`` names, links followed.

    Raises RunnerError for what is not a plain relative path, leads out of the project, belongs to git or runner, or
    holds a secret.
    """
    try:
        return grounds.root / grounds.readable(relative)
    except ValueError as error:
        raise RunnerError(
            f"{relative!r} {error}", hint="Name a file inside the project, relative to its root.", code="path-outside"
        ) from None


def template_source(grounds: Grounds, name: str) -> str:
    """The text of a template file.  Raises RunnerError for one that is no business of a spec's, or no UTF-8."""
    try:
        return _bytes(grounds, name, "template", MAX_TEMPLATE).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RunnerError(
            f"the template {name} is not UTF-8: {error.reason} at byte {error.start}", code="file-unreadable"
        ) from None


def data_url(grounds: Grounds, relative: str) -> str:
    """An image file as a data URL; its type is told by its first bytes.  Raises RunnerError."""
    data = _bytes(grounds, relative, "image", MAX_IMAGE)
    return f"data:image/{_type_of(data, relative)};base64,{b64encode(data).decode()}"


def _bytes(grounds: Grounds, relative: str, what: str, most: int) -> bytes:
    path = inside(grounds, relative)
    if not path.is_file():  # a pipe or a device would be waited for, or read, without an end
        raise RunnerError(
            f"there is no {what} {relative!r}", hint="The path is relative to the project's root.", code="file-missing"
        )
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise RunnerError(f"the {what} {relative!r} cannot be read: {error.strerror}", code="file-unreadable") from None
    if len(data) > most:
        raise RunnerError(
            f"the {what} {relative!r} is larger than {most / 10**6:g} MB", hint="Make it smaller.", code="image-invalid"
        )
    return data


def _type_of(data: bytes, relative: str) -> str:
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise RunnerError(
        f"{relative!r} is no PNG, JPEG, GIF or WebP image", hint="Convert it to one of these.", code="image-invalid"
    )
