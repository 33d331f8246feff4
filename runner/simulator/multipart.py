"""Forms of type ``multipart/form-data``, read as they come: no file is ever held whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from runner.simulator.engine import Refusal

MAX_HEAD_BYTES = 16 * 1024
MAX_FIELD_BYTES = 64 * 1024

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;,]{1,200}))', re.IGNORECASE)
_NAME = re.compile(r'[;\s]name="((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_FILE_NAME = re.compile(r'[;\s]filename="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """One field.  ``chunks`` are lost once the next part is asked for; ``file_name`` is None for a plain value."""

    name: str
    file_name: str | None
    chunks: Iterator[bytes]

    def text(self) -> str:
        """A plain field's value."""
        held = b""
        for chunk in self.chunks:
            held += chunk
            if len(held) > MAX_FIELD_BYTES:
                raise Refusal("invalid", f"the field {self.name} is longer than {MAX_FIELD_BYTES} bytes")
        return held.decode("utf-8", "replace")


def parts(content_type: str, chunks: Iterable[bytes]) -> Iterator[Part]:
    """The form's parts in order.  Raises Refusal for a body that is no such form."""
    kind = content_type.partition(";")[0].strip().lower()
    boundary = _BOUNDARY.search(content_type)
    if kind != "multipart/form-data" or not boundary:
        raise Refusal("invalid", "the body has to be multipart/form-data")
    form = _Form(chunks, b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1", "replace"))
    while form.next_part():
        head = form.head()
        name, file_name = _NAME.search(head), _FILE_NAME.search(head)
        if not name:
            raise Refusal("invalid", "a part of the form has no name")
        part = Part(_unquoted(name[1]), _unquoted(file_name[1]) if file_name else None, form.content())
        yield part
        for _ in part.chunks:
            pass  # what nobody read


class _Form:
    def __init__(self, chunks: Iterable[bytes], delimiter: bytes) -> None:
        self._chunks = iter(chunks)
        self._delimiter = delimiter
        self._held = b"\r\n"  # so that the first delimiter looks like every other

    def _more(self) -> None:
        try:
            self._held += next(self._chunks)
        except StopIteration:
            raise Refusal("invalid", "the form breaks off") from None

    def next_part(self) -> bool:
        """Step over the delimiter; False at the last one."""
        while len(self._held) < len(self._delimiter) + 2:
            self._more()
        if not self._held.startswith(self._delimiter):
            raise Refusal("invalid", "the form does not begin with its boundary")
        end = self._held[len(self._delimiter) :][:2]
        self._held = self._held[len(self._delimiter) :]
        return end != b"--"

    def head(self) -> str:
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > MAX_HEAD_BYTES:
                raise Refusal("invalid", "the head of a part is too long")
            self._more()
        head, self._held = self._held[:end], self._held[end + 4 :]
        return head.decode("utf-8", "replace")

    def content(self) -> Iterator[bytes]:
        """Everything up to the next delimiter; what may be its beginning is held back."""
        while (end := self._held.find(self._delimiter)) < 0:
            safe = len(self._held) - len(self._delimiter) + 1
            if safe > 0:
                piece, self._held = self._held[:safe], self._held[safe:]
                yield piece
            self._more()
        piece, self._held = self._held[:end], self._held[end:]
        if piece:
            yield piece


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
