"""A server of chat completions that takes next to no time: ``python -m benchmarks.dispatch.server``.

A bare asyncio protocol, so that what is measured is the client.  It counts what it was asked: `GET /count`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random

_BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "fast",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "An answer of a usual length, which says nothing. " * 3},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 50},
    }
).encode()
_MODELS = b'{"object":"list","data":[{"id":"fast","object":"model","created":1,"owned_by":"nobody"}]}'
_REFUSAL = b'{"error":{"message":"slow down","type":"rate_limit","code":"rate_limit_exceeded"}}'


def _reply(status: bytes, body: bytes, more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n" % (status, len(body), more)
    return head + body


_ANSWER = _reply(b"200 OK", _BODY)
_TURNED_AWAY = _reply(b"429 Too Many Requests", _REFUSAL, b"retry-after: 1\r\n")


class Connection(asyncio.Protocol):
    """One connection; requests on it one after the other, as every client here sends them."""

    latency = 0.0
    refused = 0.0
    asked = answered = 0
    chance = random.Random(1)

    def __init__(self) -> None:
        self._data = bytearray()
        self._size = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while self._take():
            pass

    def _take(self) -> bool:
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._data[:end])
        at = head.lower().find(b"content-length:")
        size = 0 if at < 0 else int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._data) < end + 4 + size:
            return False
        del self._data[: end + 4 + size]
        reply = self._answer(head)
        if self.latency:
            asyncio.get_running_loop().call_later(self.latency, self._transport.write, reply)
        else:
            self._transport.write(reply)
        return True

    def _answer(self, head: bytes) -> bytes:
        cls = type(self)
        if head.startswith(b"POST "):
            cls.asked += 1
            if self.refused and self.chance.random() < self.refused:
                return _TURNED_AWAY
            cls.answered += 1
            return _ANSWER
        if head.split(b" ", 2)[1].endswith(b"/models"):
            return _reply(b"200 OK", _MODELS)
        return _reply(b"200 OK", json.dumps({"asked": cls.asked, "answered": cls.answered}).encode())


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="Seconds before each answer.")
    parser.add_argument("--refused", type=float, default=0.0, help="Share of questions that get a 429.")
    asked = parser.parse_args()
    Connection.latency, Connection.refused = asked.latency, asked.refused
    try:
        asyncio.run(serve(asked.port))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
