"""HTTP for the simulator: requests, replies, routes as data, and the faults that concern every wire alike."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

from runner.simulator.engine import Refusal
from runner.simulator.faults import Fault, Faults

MAX_JSON_BYTES = 10 * 1024 * 1024
MAX_UPLOAD_BYTES = 1024 * 1024 * 1024
MAX_DRAINED_BYTES = 64 * 1024 * 1024
"""How much of an unwanted body is read so that the connection can go on; beyond it the connection is closed."""
CHUNK_BYTES = 256 * 1024
UNKNOWN_WORD = "pondering"

_LOG = logging.getLogger("runner.simulator")


@dataclass(frozen=True)
class Reply:
    """What goes back.

    ``content`` is bytes, or a file that is streamed (and may be asked for in ranges), or the events of a stream.
    """

    status: int
    content: bytes | Path | tuple[bytes, ...]
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_reply(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), headers=headers or {})


class Body:
    """The request's body, read at most once and never held whole unless asked for as JSON."""

    def __init__(self, source: BinaryIO, length: int | None) -> None:
        """``length`` is None for a chunked body."""
        self._length = length or 0
        self._pieces = _chunked(source) if length is None else _counted(source, length)
        self.finished = length == 0

    def chunks(self, most: int = MAX_UPLOAD_BYTES) -> Iterator[bytes]:
        """The bytes as they come.  Raises Refusal beyond ``most``."""
        too_large = Refusal("too-large", f"the body is larger than {most} bytes")
        if self._length > most:
            raise too_large
        size = 0
        for piece in self._pieces:
            size += len(piece)
            if size > most:
                raise too_large
            yield piece
        self.finished = True

    def json(self) -> Any:
        """Raises Refusal for what is not JSON, or larger than 10 MiB."""
        try:
            return json.loads(b"".join(self.chunks(MAX_JSON_BYTES)).decode("utf-8"))
        except (ValueError, RecursionError):
            raise Refusal("invalid", "the body is not JSON") from None

    def drain(self) -> None:
        """Read what is left, within bounds; ``finished`` says whether that was all."""
        try:
            for _ in self.chunks(MAX_DRAINED_BYTES):
                pass
        except (Refusal, ValueError, OSError):
            self.finished = False


def _counted(source: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0:
        piece = source.read(min(length, CHUNK_BYTES))
        if not piece:
            raise ConnectionResetError("the body ended early")
        length -= len(piece)
        yield piece


def _chunked(source: BinaryIO) -> Iterator[bytes]:
    while size := _chunk_size(source.readline(1024)):
        yield from _counted(source, size)
        source.readline(8)
    while source.readline(8192).strip():
        pass  # trailers


def _chunk_size(line: bytes) -> int:
    digits = line.split(b";")[0].strip()
    if not re.fullmatch(rb"[0-9A-Fa-f]{1,12}", digits):
        raise ConnectionResetError("the chunk size cannot be read")
    return int(digits, 16)


@dataclass(frozen=True)
class Request:
    """``params`` are the named parts of the path, ``base`` the scheme and host that the caller used.

    ``method`` and ``target``, which is the path with its query, are as they were sent: signatures cover them.
    """

    headers: Mapping[str, str]
    query: Mapping[str, str]
    params: Mapping[str, str]
    body: Body
    base: str
    faults: Sequence[Fault] = ()
    method: str = ""
    target: str = ""

    def fault(self, do: str) -> Fault | None:
        """The rule that fires on this call and does ``do``."""
        return next((rule for rule in self.faults if rule.do == do), None)

    def worded(self, status: str) -> str:
        """The status to show: ``status``, unless a rule has it be a word that nobody knows."""
        return UNKNOWN_WORD if self.fault("unknown-word") else status


Handler = Callable[[Request], Reply]


@dataclass(frozen=True)
class Route:
    """One call: ``call`` is the word that fault rules use, ``pattern`` a path with ``{names}``.

    ``{name}`` stands for one segment, ``{name*}`` for the rest of the path; ``path?key=value`` wants that in the query.
    """

    method: str
    pattern: str
    call: str
    handle: Handler


@dataclass(frozen=True)
class Wire:
    """One family's calls, and how it says no: ``refuse(refusal)`` and ``fail(status, code, message)``.

    ``codes`` are its words for HTTP statuses, which a fault answers with that names no other.
    """

    routes: Sequence[Route]
    refuse: Callable[[Refusal], Reply]
    fail: Callable[[int, str, str], Reply]
    codes: Mapping[int, str] = field(default_factory=lambda: _CODES)


class Cut(Exception):
    """Stop talking: after half of ``reply``, or without a word."""

    def __init__(self, reply: Reply | None) -> None:
        super().__init__()
        self.reply = reply


class App:
    """Finds the route, lets the faults have their way, and turns refusals into the wire's words."""

    def __init__(self, wires: Sequence[Wire], faults: Faults) -> None:
        self._routes = [(*_compiled(route.pattern), route, wire) for wire in wires for route in wire.routes]
        self._faults = faults
        self.stopping = threading.Event()

    def answer(self, method: str, target: str, request: Request) -> Reply:
        """``target`` is the path with its query."""
        path, query = _split(target)
        matches = [
            (match, route, wire)
            for regex, asked, route, wire in self._routes
            if (match := regex.fullmatch(path)) and asked <= query.items()
        ]
        if not matches:
            return json_reply(404, {"error": "the simulator has no such path"})
        matches = [found for found in matches if found[2] is matches[0][2]]  # the first wire to have a path owns it
        for match, route, wire in matches:
            if route.method == method:
                params = {name: unquote(value) for name, value in match.groupdict().items()}
                rules = self._faults.for_call(route.call)
                return self._call(route, wire, _with(request, query, params, rules))
        allowed = ", ".join(sorted({route.method for _, route, _ in matches}))
        return json_reply(405, {"error": "the path has no such method"}, {"Allow": allowed})

    def _call(self, route: Route, wire: Wire, request: Request) -> Reply:
        for rule in request.faults:
            if rule.do == "latency":
                self.stopping.wait(rule.seconds)
        ending = next((rule for rule in request.faults if rule.ends_call), None)
        if ending is None:
            return _handled(route, wire, request)
        if ending.http_status is not None:
            return _failed(wire, ending, ending.http_status)
        if ending.do == "error-code":
            return _failed(wire, ending, 200)
        return _spoiled(_handled(route, wire, request), wire, ending)


def _handled(route: Route, wire: Wire, request: Request) -> Reply:
    try:
        return route.handle(request)
    except Refusal as refusal:
        return wire.refuse(refusal)
    except (ConnectionError, TimeoutError):
        raise  # the caller went away
    except (OSError, sqlite3.Error) as error:
        _LOG.error("the simulator's memory failed at %s: %s", route.call, error)
        return wire.fail(500, "InternalError", f"the simulator's memory cannot be used: {error}")
    except Exception:
        _LOG.exception("the simulator failed at %s", route.call)
        return wire.fail(500, "InternalError", "the simulator failed; this is a bug in runner")


def _spoiled(reply: Reply, wire: Wire, rule: Fault) -> Reply:
    """What the caller sees of a call that had its effect."""
    if rule.do == "500-after":
        return _failed(wire, rule, 500)
    if rule.do == "empty-body":
        return Reply(200, b"", reply.kind)
    if rule.do == "garbage":
        return Reply(200, b"<html><body>upstream is busy</body></html>", "text/html")
    if rule.do in ("lost-reply", "cut"):
        raise Cut(reply if rule.do == "cut" else None)
    return reply


_CODES: Mapping[int, str] = {
    400: "InvalidParameter",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    429: "TooManyRequests",
    500: "InternalError",
}
"""Of Wanqing's family.  A status that is not there is called like 400 or 500."""


def _failed(wire: Wire, rule: Fault, status: int) -> Reply:
    code = rule.code or wire.codes.get(status) or wire.codes[400 if 400 <= status < 500 else 500]
    reply = wire.fail(status, code, rule.message or "simulated failure")
    if rule.retry_after is None:
        return reply
    return replace(reply, headers={**reply.headers, "Retry-After": f"{rule.retry_after:g}"})


def _compiled(pattern: str) -> tuple[re.Pattern[str], Set[tuple[str, str]]]:
    path, _, query = pattern.partition("?")
    one_segment = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))
    rest = re.sub(r"\\\{(\w+)\\\*\\\}", r"(?P<\1>.+)", one_segment)
    return re.compile(rest), dict(parse_qsl(query)).items()


def _split(target: str) -> tuple[str, dict[str, str]]:
    try:
        parts = urlsplit(target)
        return parts.path, dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=100))
    except ValueError:
        return "", {}


def _with(request: Request, query: Mapping[str, str], params: Mapping[str, str], faults: Sequence[Fault]) -> Request:
    return replace(request, query=query, params=params, faults=faults)
