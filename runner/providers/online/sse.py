"""Streamed answers: server-sent events in, one whole completion out.

The events are those of the WHATWG standard as far as OpenAI's wire uses it: ``data:`` lines, comments, any line end,
packets split anywhere.  Usage may come in a last chunk that has no choices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.providers.loose import DEEPEST, bounded_loads, first_text, get, items

DONE = "[DONE]"
ANSWER = DEEPEST - 50
"""Levels of nesting of an answer, which is to become part of a line of results."""


class Events:
    """Turns packets into the data of events, however they are split."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, packet: bytes) -> Iterator[str]:
        """The events that ``packet`` completes."""
        text = self._rest + packet
        held = b"\r" if text.endswith(b"\r") else b""  # half of a line end, perhaps
        text = text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._rest = rest + held
        for line in lines:
            yield from self._line(line)

    def end(self) -> Iterator[str]:
        """What a stream that ends without an empty line leaves."""
        yield from self._line(self._rest)
        yield from self._line(b"")
        self._rest = b""

    def _line(self, line: bytes) -> Iterator[str]:
        if not line.strip():
            if self._data:
                yield "\n".join(self._data)
            self._data = []
        elif line.startswith(b"data:"):
            self._data.append(line[5:].decode("utf-8", "replace").removeprefix(" "))


class Stream:
    """Packets in, a completion out: :class:`Events` and :class:`Assembly` as one listener."""

    def __init__(self) -> None:
        self._events = Events()
        self.assembly = Assembly()

    def hear(self, packet: bytes) -> None:
        self._take(self._events.feed(packet))

    def end(self) -> None:
        """The stream came to an end in good order, so that a last line without a line end is one, too."""
        self._take(self._events.end())

    def _take(self, events: Iterator[str]) -> None:
        for data in events:
            if not self.assembly.done:
                self.assembly.add(data)

    @property
    def done(self) -> bool:
        return self.assembly.done

    @property
    def complete(self) -> bool:
        return self.assembly.complete

    def body(self) -> dict[str, Any] | None:
        """The completion, or the error that came in its place; None for a stream that was cut."""
        if self.assembly.error is not None:
            return {"error": self.assembly.error}
        return self.assembly.body() if self.assembly.complete else None


class Assembly:
    """The chunks of one streamed completion, put together in the shape of an answer that was not streamed."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._finish: Any = None
        self._usage: Any = None
        self._chat = True
        self.error: Any = None
        """What the server reported in the middle of the stream."""
        self.done = False
        """The server said that this was all."""
        self._garbled = False

    @property
    def complete(self) -> bool:
        """Whether the answer came whole: a stream that merely stops was cut."""
        return self.error is None and not self._garbled and (self.done or self._finish is not None)

    def add(self, data: str) -> None:
        """Take in one event.  One that should be a chunk and cannot be read leaves the answer incomplete."""
        if data.strip() == DONE:
            self.done = True
            return
        try:
            chunk = bounded_loads(data, ANSWER)
        except ValueError:
            self._garbled = self._garbled or data.lstrip().startswith("{")  # anything else keeps the line busy
            return
        if (error := _error_in(chunk)) is not None:
            self.error = error
            return
        if not self._head and isinstance(chunk, dict):
            self._head = {key: chunk[key] for key in ("id", "created", "model") if key in chunk}
        if get(chunk, "usage"):
            self._usage = chunk["usage"]
        for choice in items(get(chunk, "choices"))[:1]:
            self._choice(choice)

    def _choice(self, choice: Any) -> None:
        self._finish = get(choice, "finish_reason") or self._finish
        delta = get(choice, "delta")
        self._chat = self._chat and get(choice, "text") is None
        for text in (get(choice, "text"), get(delta, "content")):
            if isinstance(text, str):
                self._texts.append(text)
        if isinstance(refusal := get(delta, "refusal"), str):
            self._refusals.append(refusal)
        for call in items(get(delta, "tool_calls")):
            self._call(call)

    def _call(self, call: Any) -> None:
        place = get(call, "index")
        known = self._calls.setdefault(place if isinstance(place, int) else 0, {"name": "", "arguments": ""})
        for key in known:
            if isinstance(piece := get(call, "function", key), str):
                known[key] += piece

    def body(self) -> dict[str, Any]:
        """The completion as if it had come in one piece."""
        text = "".join(self._texts)
        choice: dict[str, Any] = {"index": 0, "finish_reason": self._finish}
        if self._chat:
            message: dict[str, Any] = {"role": "assistant", "content": text if self._texts else None}
            if self._refusals:
                message["refusal"] = "".join(self._refusals)
            if self._calls:
                calls = [self._calls[place] for place in sorted(self._calls)]
                message["tool_calls"] = [{"type": "function", "function": call} for call in calls]
            choice["message"] = message
        else:
            choice["text"] = text
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": [choice], "usage": self._usage}


def _error_in(chunk: Any) -> Any:
    """What a chunk reports in the place of an answer: under ``error``, or flat, as vLLM and FastChat have it."""
    if error := get(chunk, "error"):
        return error
    flat = get(chunk, "object") == "error" or all(first_text(chunk, [key]) for key in ("code", "message"))
    return chunk if flat and "choices" not in chunk else None
