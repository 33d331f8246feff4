"""Bringing a file of requests to a platform of OpenAI's wire, in bounded memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from uuid import uuid4

from runner.edge.files import TEMPORARY
from runner.edge.http import READ_TIMEOUT
from runner.errors import Busy, Refused, Unsure
from runner.providers.loose import address, first_text, get, identity, text
from runner.providers.openai.batch import letters_of
from runner.providers.openai.wire import Wire, file_path

ROUNDS = 8
"""How many times, about 8 seconds each, a file is waited for until it is processed."""


def upload(wire: Wire, file: Path, name: str, fields: Mapping[str, str]) -> str:
    """Upload ``file`` as ``name``, and wait until a task can be made of it where that takes a while.

    ``fields`` go with the form.  Returns the file's id.  Raises ProviderError, OSError.
    """
    file_id = _WAYS[wire.dialect.upload](wire, file, name, fields)
    if not file_id:
        raise Unsure("the answer to an upload holds no id of a file")
    if wire.dialect.waits_for_file:
        _await(wire, file_id)
    return file_id


def _multipart(wire: Wire, file: Path, name: str, fields: Mapping[str, str]) -> str:
    with form(file, name, {"purpose": wire.dialect.purpose, **fields}) as (body, content_type):
        reply = wire.call(
            "POST",
            "/files",
            retry=True,
            headers={"content-type": content_type},
            content=body,
            timeout=_patience(body),
            judge=wire.judge_upload,
        )
    answer = reply.json()
    return identity(get(answer, "id")) or identity(get(answer, "data", "id"))


def _presigned(wire: Wire, file: Path, name: str, fields: Mapping[str, str]) -> str:
    """Ask for an address, put the bare bytes there without a key; both again where the network fails.

    The address is part of a signature: whatever else is sent with the bytes may break it.
    """

    def both() -> str:
        answer = wire.call("POST", "/batches/files", retry=False, json={"file_name": name, **fields}).json()
        url = address(get(answer, "upload_url"))
        if not url:
            raise Unsure("the answer to a request for an upload address holds none")
        wire.http.hide_link(url)
        headers = {"content-type": "application/octet-stream"}
        wire.http.call("PUT", url, retry=False, headers=headers, content=file, timeout=_patience(file))
        return identity(get(answer, "file_id"))

    return wire.http.patiently(both)


_WAYS: Mapping[str, Callable[[Wire, Path, str, Mapping[str, str]], str]] = {
    "multipart": _multipart,
    "presigned": _presigned,
}


def _await(wire: Wire, file_id: str) -> None:
    """Return once the file is processed.  Raises Busy where that takes too long, Refused where it fails."""

    def look() -> None:
        file = wire.call("GET", file_path(file_id), retry=False).json()
        word = letters_of(text(get(file, "status")))
        if word in ("error", "failed", "deleted"):
            said = first_text(file, ("status_details", "error")) or word
            raise Refused(wire.http.scrub(f"the uploaded file was not taken: {said}"))
        if word not in ("processed", ""):
            raise Busy(f"the uploaded file is not processed yet: {word}", retry_after=2.5)

    for _ in range(ROUNDS - 1):
        try:
            return wire.http.patiently(look)
        except Busy:
            continue
    return wire.http.patiently(look)


def _patience(file: Path) -> float:
    """Seconds of silence to bear: a platform answers when it has stored, or looked through, all of it."""
    return READ_TIMEOUT + file.stat().st_size / 1_000_000


@contextmanager
def form(file: Path, name: str, fields: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """A multipart form of ``fields`` and ``file``, put together beside it on disk; its path and its content type."""
    boundary = uuid4().hex
    head = [_part(boundary, f'name="{_quoted(key)}"') + f"\r\n{value}\r\n" for key, value in fields.items()]
    head.append(_part(boundary, f'name="file"; filename="{_quoted(name)}"'))
    head.append("Content-Type: application/octet-stream\r\n\r\n")
    with NamedTemporaryFile(dir=file.parent, prefix=TEMPORARY) as body:
        body.write("".join(head).encode())
        with file.open("rb") as content:
            shutil.copyfileobj(content, body, 1 << 20)
        body.write(f"\r\n--{boundary}--\r\n".encode())
        body.flush()
        yield Path(body.name), f"multipart/form-data; boundary={boundary}"


def _part(boundary: str, disposition: str) -> str:
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n"


def _quoted(name: str) -> str:
    """As browsers write a name, so that none can end its header."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
