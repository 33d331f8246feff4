"""Files that a project names by their path: found inside it or not at all, and images as data URLs."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from runner.edge.grounds import Grounds
from runner.errors import RunnerError

MAX_IMAGE = 20_000_000
"""Bytes.  No provider is known to take a larger one inside a request."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)


def inside(root: Path, relative: str) -> Path:
    """The real file that ``relative`` names, links followed.

    Raises RunnerError for what is not a plain relative path, leads out of the project, or belongs to git or runner.
    """
    grounds = Grounds(root)
    try:
        return grounds.root / grounds.readable(relative)
    except ValueError as error:
        raise RunnerError(
            f"{relative!r} {error}", hint="Name a file inside the project, relative to its root."
        ) from None


def template_source(root: Path, name: str) -> str:
    """Raises RunnerError for a file outside the project, missing, or not UTF-8."""
    path = inside(root, name)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunnerError(f"the template {name} is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise RunnerError(f"the template {name} cannot be read: {error.strerror}") from None


def data_url(root: Path, relative: str) -> str:
    """An image file as a data URL; its type is told by its first bytes.  Raises RunnerError."""
    path = inside(root, relative)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_IMAGE + 1)
    except OSError as error:
        raise RunnerError(f"the image {relative!r} cannot be read: {error.strerror}") from None
    if len(data) > MAX_IMAGE:
        raise RunnerError(f"the image {relative!r} is larger than {MAX_IMAGE // 10**6} MB", hint="Make it smaller.")
    return f"data:image/{_type_of(data, relative)};base64,{b64encode(data).decode()}"


def _type_of(data: bytes, relative: str) -> str:
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise RunnerError(f"{relative!r} is no PNG, JPEG, GIF or WebP image", hint="Convert it to one of these.")
