"""The simulator, called by those who speak no wire of its: it answers, or hangs up, and goes on serving others."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from random import Random

from benchmarks.fuzzing.mutation import TOKENS, mutated_bytes, mutated_json, mutated_lines, value_of
from benchmarks.fuzzing.recording import BATCHES, Exchange, recording
from benchmarks.fuzzing.scripted import Call, Scripted, scripted
from benchmarks.fuzzing.target import BELIEVED, TRACEBACK, Broken, Target
from runner.simulator.server import Simulator

PATIENCE = 15.0
"""Seconds for one answer."""
HEAD_TOKENS = (
    *TOKENS,
    *(
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Range: bytes=9-1\r\n",
    ),
    *(b"Host: \r\n", b"%2e%2e%2f", b"%00", b"?", b"&", b"//", b"HTTP/0.9", b"Authorization: Bearer invalid\r\n"),
    *(b"Content-Type: multipart/form-data; boundary=\r\n", b"limit=-1", b"after=%ff", b"limit=99999999999999999999"),
)


class _Complaints(logging.Handler):
    """What the simulator says went wrong in it, callers that went away left out."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        broke = error is not None and not isinstance(error, ConnectionError | TimeoutError)
        if broke or record.levelno >= logging.ERROR:
            self.heard.append(self.format(record)[-3_000:])


def _spelt(call: Call, body: bytes) -> bytes:
    headers = {**call.headers, "Content-Length": str(len(body)), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{call.method} {call.target} HTTP/1.1\r\n{head}\r\n".encode("latin-1", "replace") + body


def _draw(rng: Random, exchanges: list[Exchange]) -> bytes:
    call = rng.choice(exchanges).call
    if rng.random() < 0.3 or not call.body:
        return mutated_bytes(rng, _spelt(call, call.body), (), HEAD_TOKENS)
    lend = [rng.choice(exchanges).call.body]
    is_json = value_of(call.body) is not None
    return _spelt(call, mutated_json(rng, call.body) if is_json else mutated_lines(rng, call.body, lend))


@contextmanager
def callers(folder: Path) -> Iterator[Target]:
    complaints = _Complaints()
    log = logging.getLogger("runner.simulator")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(complaints)
    known: dict[str, list[Exchange]] = {}
    try:
        with scripted() as server, Simulator(folder / "fuzzed", speed=1000) as simulator:

            def draw(rng: Random) -> bytes:
                place = rng.choice(BATCHES)
                if place not in known:
                    talks = recording(server, folder / place, place).talks
                    known[place] = [exchange for talk in talks.values() for exchange in talk]
                return _draw(rng, known[place])

            def run(data: bytes) -> None:
                _called(simulator, server, data)
                if complaints.heard:
                    raise Broken(TRACEBACK, complaints.heard.pop())

            yield Target(draw, run)
    finally:
        log.removeHandler(complaints)


def _called(simulator: Simulator, server: Scripted, data: bytes) -> None:
    """Say ``data``, hear all that is answered, and then ask a good question."""
    address = simulator.url.partition("://")[2].partition(":")
    try:
        with socket.create_connection((address[0], int(address[2])), PATIENCE) as caller:
            caller.sendall(server.ours(data))
            caller.shutdown(socket.SHUT_WR)
            while caller.recv(1 << 16):
                pass
    except TimeoutError:
        raise Broken(BELIEVED, "the simulator neither answers nor hangs up") from None
    except OSError:  # it hung up
        pass
    good = HTTPConnection(address[0], int(address[2]), timeout=PATIENCE)
    try:
        good.request("GET", "/simulator/bill")
        if good.getresponse().status != 200:
            raise Broken(BELIEVED, "the simulator answers nobody any more")
    finally:
        good.close()
