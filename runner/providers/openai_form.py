"""An upload as a multipart form, put together on disk: its length is known, and memory does not grow with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from uuid import uuid4

from runner.edge.files import TEMPORARY


@dataclass(frozen=True)
class Form:
    """The body of an upload, and what it is."""

    path: Path
    content_type: str


@contextmanager
def form(file: Path, name: str, fields: Mapping[str, str]) -> Iterator[Form]:
    """``fields``, and then ``file`` under ``name``, as a temporary file beside it.  Raises OSError."""
    boundary = uuid4().hex
    head = b"".join(_field(boundary, key, value) for key, value in fields.items()) + _file_head(boundary, name)
    with NamedTemporaryFile(dir=file.parent, prefix=TEMPORARY) as body:
        body.write(head)
        with file.open("rb") as content:
            shutil.copyfileobj(content, body, 1 << 20)
        body.write(f"\r\n--{boundary}--\r\n".encode())
        body.flush()
        yield Form(Path(body.name), f"multipart/form-data; boundary={boundary}")


def _field(boundary: str, key: str, value: str) -> bytes:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(key)}"\r\n\r\n{value}\r\n'.encode()


def _file_head(boundary: str, name: str) -> bytes:
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(name)}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()


def _quoted(name: str) -> str:
    """As browsers write a name, so that none can end its header."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
