"""The elements of one list inside a JSON object that is too large to be held, read as they come."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

MAX_ELEMENT = 10 * 1024 * 1024
"""Characters of one element."""

_SPACE = re.compile(r"[ \t\r\n]*")
_TOKEN = re.compile(r'["{}\[\],:]|[^\s"{}\[\],:]+')
_TEXT_END = re.compile(r'["\\]')
_STRUCTURE = re.compile(r'["{}\[\]]')


def elements(chunks: Iterable[bytes], key: str) -> Iterator[Any]:
    """Each element of the list at ``key`` of the object that ``chunks`` spell.

    Raises ValueError where they spell no object, or one without such a list, or where an element is too long.
    """
    reader = _Reader(chunks)
    reader.expect("{")
    found = False
    while (name := reader.key()) is not None:
        if name == key:
            found = True
            yield from reader.items()
        else:
            reader.value()
    reader.end()
    if not found:
        raise ValueError(f"{key}: Field required")


class _Reader:
    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._first = True  # nothing was read since the last opening bracket

    def _more(self) -> bool:
        """Take another chunk in, and drop what was read."""
        piece = next(self._chunks, None)
        if piece is None:
            self._decoder.decode(b"", final=True)
            return False
        self._text = self._text[self._at :] + self._decoder.decode(piece)
        self._at = 0
        return True

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def expect(self, character: str) -> None:
        if self._peek() != character:
            raise ValueError("the body is not a JSON object with the expected list")
        self._at += 1

    def key(self) -> str | None:
        """The next key of the object, None at its end."""
        if self._peek() == "}":
            self._at += 1
            return None
        if not self._first:
            self.expect(",")
        self._first = False
        name = self.value()
        if not isinstance(name, str):
            raise ValueError("the body is not JSON")
        self.expect(":")
        return name

    def items(self) -> Iterator[Any]:
        self.expect("[")
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self._peek() == "]":
                self._at += 1
                return
            self.expect(",")

    def end(self) -> None:
        if self._peek():
            raise ValueError("the body goes on behind its JSON")

    def value(self) -> Any:
        """The next value, whole."""
        self._peek()
        length = self._length()
        text = self._text[self._at : self._at + length]
        self._at += length
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("the body is nested too deeply") from None

    def _length(self) -> int:
        """How many characters the value at the cursor has; the text is long enough to hold it afterwards."""
        depth, at, quoted = 0, 0, False
        while True:
            pattern = _TEXT_END if quoted else _STRUCTURE if depth else _TOKEN
            match = pattern.search(self._text, self._at + at)
            if match is None or (match[0] == "\\" and match.end() == len(self._text)):
                self._grow()
                continue
            found, end = match[0], match.end() - self._at
            if quoted:
                quoted = found != '"'
                at = end + (found == "\\")  # whatever is escaped is no end
            elif found == '"':
                quoted = True
                at = end
            elif found in "{[":
                depth, at = depth + 1, end
            elif found in "}]":
                depth, at = depth - 1, end
            elif match.end() == len(self._text):
                self._grow()  # a number or a word may go on
                continue
            else:
                return end
            if depth <= 0 and not quoted:
                return at

    def _grow(self) -> None:
        if len(self._text) - self._at > MAX_ELEMENT:
            raise ValueError(f"a part of the body is longer than {MAX_ELEMENT} characters")
        if not self._more():
            raise ValueError("the body breaks off")
