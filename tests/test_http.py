"""HTTP: what a call comes to, what is repeated, what is handed over, and what is never said."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.edge.asking import Asker
from runner.edge.http import Http, Reply, judge_status, retry_after
from runner.edge.secrets import HIDDEN, Scrubber, resolve
from runner.errors import Busy, CredentialsError, ProviderError, Refused, RunnerError, Unsure
from runner.project import SecretRef

KEY = "wq-0123456789abcdef-secret"


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    command: str
    path: str
    headers: Message
    body: bytes
    port: int


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append(Seen(self.command, self.path, self.headers, body, self.client_address[1]))
        script = self.server.script
        (script.pop(0) if len(script) > 1 else script[0])(self)

    do_GET = do_POST = do_PUT = do_any

    def answer(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        """Send ``body``, announced as ``length`` bytes; a shorter body is followed by the end of the connection."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if length is not None and length != len(body):
            self.cut()

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Answers by a script: one function per request, the last one for ever."""

    daemon_threads = True

    def __init__(self, *script: Callable[[Handler], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = list(script)
        self.seen: list[Seen] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, *args: Any) -> None:
        pass


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server that follows a script."""
    servers: list[Server] = []

    def start(*script: Callable[[Handler], None]) -> Server:
        servers.append(Server(*script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def naps() -> list[float]:
    return []


@pytest.fixture
def http(naps: list[float]) -> Iterator[Http]:
    """An Http whose clock is moved by nothing but its own pauses."""
    http = Http(sleep=naps.append, clock=lambda: sum(naps), jitter=lambda: 0.5)
    yield http
    http.close()


def says(status: int, body: bytes = b"{}", length: int | None = None, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(status, body, length, **headers)


def hangs_up(handler: Handler) -> None:
    handler.cut()


def stays_silent(handler: Handler) -> None:
    handler.connection.settimeout(5)
    handler.rfile.read(1)  # until the client gives up
    handler.close_connection = True


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_call_sends_and_reads(http: Http, serve: Serve) -> None:
    """Method, headers, query and JSON body arrive; status, headers and body come back."""
    server = serve(says(201, b'{"id": 7}', X_Request="r-1"))
    reply = http.call(
        "POST",
        server.url + "/a?b=1",
        retry=False,
        headers={"Authorization": "Bearer k"},
        params={"c": "d e"},
        json={"x": "é"},
    )
    seen = server.seen[0]
    assert (seen.command, seen.path, seen.body) == ("POST", "/a?b=1&c=d+e", '{"x": "é"}'.encode())
    assert (seen.headers["authorization"], seen.headers["content-type"]) == ("Bearer k", "application/json")
    assert (reply.status, reply.json(), reply.headers["x-request"]) == (201, {"id": 7}, "r-1")
    assert reply.where == f"POST {server.url}/a"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Refused),
        (400, Refused),
        (404, Refused),
        (409, Refused),
        (429, Busy),
        (408, Unsure),
        (500, Unsure),
        (503, Unsure),
    ],
)
def test_statuses(http: Http, serve: Serve, status: int, kind: type[ProviderError]) -> None:
    """Each status comes to the outcome of the table, with the server's own code and words."""
    server = serve(says(status, b'{"error": {"code": "odd", "message": "so it is"}}'))
    with pytest.raises(kind) as caught:
        http.call("POST", server.url, retry=False)
    assert caught.value.word == "odd"
    assert str(status) in caught.value.message
    assert type(caught.value) is kind


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key(http: Http, serve: Serve, status: int) -> None:
    """401 and 403 speak of the key only where one was sent: a presigned address has none."""
    server = serve(says(status))
    with pytest.raises(Refused) as caught:
        http.call("GET", server.url, retry=True, headers={"Authorization": "Bearer k"})
    assert caught.value.credentials
    assert caught.value.exit_code == 4
    with pytest.raises(Refused) as caught:
        http.download(server.url, print)
    assert not caught.value.credentials


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b'{"error": "no"}', "400", "no"),
        (b'{"code": "c", "msg": "m"}', "c", "m"),
        (b'{"error": {"type": "t", "message": "m"}}', "t", "m"),
        (b"<html>no</html>", "400", "<html>no</html>"),
        (b"", "400", ""),
        (b"[" * 100_000, "400", "[["),
        (b"\xff\x00\x1b[31mred", "400", "[31mred"),
    ],
)
def test_error_bodies(http: Http, serve: Serve, body: bytes, code: str, said: str) -> None:
    """Whatever shape an error has, it becomes one short printable line."""
    server = serve(says(400, body))
    with pytest.raises(Refused) as caught:
        http.call("GET", server.url, retry=True)
    assert caught.value.word == code
    assert said in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) <= 300


def test_no_connection_is_busy(http: Http) -> None:
    """A refused connection made nothing."""
    with pytest.raises(Busy, match="cannot connect"):
        http.call("POST", f"http://127.0.0.1:{closed_port()}", retry=False)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/", "127.0.0.1/x", "http://", "http://[", "http://a:b/", "http://x\n/"]
)
def test_a_url_that_is_none_is_refused(http: Http, url: str) -> None:
    """A URL nobody can call is a clear no, not a crash."""
    with pytest.raises((Refused, Busy)):
        http.call("GET", url, retry=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1/v1",
        "http://x..y/",
        f"http://{'a' * 70}.invalid/",
        "http://127.0.0.1:abc/",
        "http://127.0.0.1:99999/",
    ],
)
def test_a_mistyped_url_is_refused(http: Http, url: str) -> None:
    """Whatever the look-up of names or the reading of addresses makes of it; a download's, too."""
    with pytest.raises(Refused, match="not a URL"):
        http.call("GET", url, retry=True)
    with pytest.raises(Refused, match="not a URL"):
        http.download(url, lambda _: None)


def test_a_redirect_to_nowhere(http: Http, serve: Serve) -> None:
    """A server's word for where to go instead need not be an address."""
    with pytest.raises(Refused, match="redirect to a malformed URL"):
        http.call("GET", serve(says(302, location="http://[")).url, retry=False)


def refused_by_the_environment(client: Callable[[], object]) -> RunnerError:
    with pytest.raises(RunnerError) as caught:
        client()
    assert not isinstance(caught.value, ProviderError)
    assert caught.value.hint
    return caught.value


CLIENTS = [lambda: Http().call("GET", "http://127.0.0.1:9/", retry=False), lambda: Asker(1, Scrubber())]


@pytest.mark.parametrize("client", CLIENTS, ids=["call", "ask"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:7890"),
        ("https_proxy", "socks4://127.0.0.1:7890"),
        ("HTTPS_PROXY", "http://proxy:port"),
    ],
)
def test_a_proxy_that_cannot_be_used(
    client: Callable[[], object], variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable, and not its value, which may hold a password."""
    monkeypatch.setenv(variable, value)
    monkeypatch.setitem(sys.modules, "socksio", None)
    error = refused_by_the_environment(client)
    assert variable in error.message
    assert "127.0.0.1" not in error.message


@pytest.mark.parametrize("client", CLIENTS, ids=["call", "ask"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read(
    client: Callable[[], object], content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable and the file."""
    file = tmp_path / f"{content}.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert f"SSL_CERT_FILE={file}" in refused_by_the_environment(client).message


@pytest.mark.parametrize("script", [hangs_up, says(200, b'{"id"', length=99), stays_silent])
def test_a_lost_answer_is_unsure_and_never_repeated(
    http: Http, serve: Serve, naps: list[float], script: Callable[[Handler], None]
) -> None:
    """A cut before, a cut within and a silence instead of the answer: nobody knows, and the call was sent once."""
    server = serve(script)
    with pytest.raises(Unsure):
        http.call("POST", server.url, retry=False, json={}, timeout=0.2)
    assert len(server.seen) == 1
    assert naps == []


@pytest.mark.parametrize("script", [says(429), says(500)])
def test_a_costly_call_is_sent_once(http: Http, serve: Serve, script: Callable[[Handler], None]) -> None:
    """Neither 429 nor 500 repeats a call that may cost money."""
    server = serve(script, says(200))
    with pytest.raises((Busy, Unsure)):
        http.call("POST", server.url, retry=False)
    assert len(server.seen) == 1


def test_a_costly_call_has_a_connection_of_its_own(http: Http, serve: Serve) -> None:
    """Reads share a connection; a costly call opens one, so that none that the server has closed is used."""
    server = serve(says(200))
    for retry in (True, True, False, False):
        http.call("POST", server.url, retry=retry)
    ports = [seen.port for seen in server.seen]
    assert ports[0] == ports[1]
    assert len(set(ports)) == 3


def test_reads_are_repeated_until_they_succeed(http: Http, serve: Serve, naps: list[float]) -> None:
    """Busy and Unsure reads are asked again after growing pauses."""
    server = serve(says(500), hangs_up, says(429), says(200, b"1"))
    assert http.call("GET", server.url, retry=True).json() == 1
    assert naps == [0.5, 1.0, 3.0]


def test_reads_are_repeated_four_times_at_most(http: Http, serve: Serve) -> None:
    """Then the last outcome is raised.  A Refused read is not repeated at all."""
    server = serve(says(502))
    with pytest.raises(Unsure):
        http.call("GET", server.url, retry=True)
    assert len(server.seen) == 4
    refusing = serve(says(404))
    with pytest.raises(Refused):
        http.call("GET", refusing.url, retry=True)
    assert len(refusing.seen) == 1


def test_a_long_retry_after_is_not_waited_for(http: Http, serve: Serve, naps: list[float]) -> None:
    """A short wish of the server is obeyed; one beyond our patience is passed on."""
    server = serve(says(429, Retry_After="2"), says(200))
    http.call("GET", server.url, retry=True)
    assert naps == [2.0]
    server = serve(says(429, Retry_After="60"))
    with pytest.raises(Busy) as caught:
        http.call("GET", server.url, retry=True)
    assert caught.value.retry_after == 60
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and dates; anything else says nothing."""
    assert retry_after(headers) == seconds


def test_a_success_that_is_no_json(http: Http, serve: Serve) -> None:
    """A 200 with a body that cannot be read leaves nobody knowing."""
    server = serve(says(200, b"<html>"))
    with pytest.raises(Unsure, match="not JSON"):
        http.call("GET", server.url, retry=True).json()


def test_a_reply_is_bounded(http: Http, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the largest reply is not read into memory."""
    monkeypatch.setattr("runner.edge.http.LARGEST_REPLY", 1_000)
    server = serve(says(200, b"x" * 1_001))
    with pytest.raises(Unsure, match="larger than"):
        http.call("GET", server.url, retry=False)


def test_a_file_is_streamed_with_its_length(http: Http, serve: Serve, tmp_path: Path) -> None:
    """The bytes arrive whole, announced by Content-Length, never in chunks."""
    file = tmp_path / "shard.jsonl"
    file.write_bytes(bytes(range(256)) * 2_000)
    server = serve(says(200))
    http.call("POST", server.url, retry=False, content=file, headers={"Content-Type": "application/octet-stream"})
    seen = server.seen[0]
    assert seen.body == file.read_bytes()
    assert seen.headers["content-length"] == str(file.stat().st_size)
    assert seen.headers["transfer-encoding"] is None


def test_a_call_with_a_key_follows_no_redirect(http: Http, serve: Serve) -> None:
    """A key goes to the host it was meant for."""
    target = serve(says(200, b"data"))
    server = serve(says(302, Location=target.url + "/x?token=t"))
    with pytest.raises(Refused, match="redirect to") as caught:
        http.call("GET", server.url, retry=True, headers={"Authorization": "Bearer k"})
    assert "token" not in caught.value.message
    assert target.seen == []


def test_a_download_follows_redirects_and_leaves_the_key_behind(http: Http, serve: Serve) -> None:
    """Results may lie at another host, which has no business with the key; the same host may ask for it again."""
    target = serve(says(200, b"data"))
    for ending in ("/x?token=t", "/y"):
        server = serve(says(302, Location=target.url + ending))
        got = bytearray()
        http.download(server.url, got.extend, headers={"apiKey": "k"})
        assert got == b"data"
    assert [seen.headers["apikey"] for seen in target.seen] == [None, None]

    def home(handler: Handler) -> None:
        says(200, b"here")(handler) if handler.path == "/there" else says(302, Location="/there")(handler)

    server, got = serve(home), bytearray()
    http.download(server.url, got.extend, headers={"apiKey": "k"})
    assert (got, [seen.headers["apikey"] for seen in server.seen]) == (b"here", ["k", "k"])


def test_a_page_in_the_place_of_json_is_asked_again(http: Http, serve: Serve) -> None:
    """Where JSON is due, a gateway's page is no success: asked again while that does no harm, and never a crash."""
    replies = iter([says(200, b"<html>"), says(200, b'{"a": 1}')])
    server = serve(lambda handler: next(replies)(handler))
    assert http.call("GET", server.url, retry=True, in_json=True).json() == {"a": 1}
    with pytest.raises(Unsure, match="is not JSON"):
        http.call("GET", serve(says(200, b"<html>")).url, retry=False, in_json=True)


def test_a_circle_of_redirects_ends(http: Http, serve: Serve) -> None:
    """And is no reason to try again."""
    with pytest.raises(Refused, match="more than 5 redirects"):
        http.download(serve(says(302, Location="/")).url, print)


def test_this_machine_is_reached_without_a_proxy(http: Http, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment does not come between runner and a server on loopback."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    assert http.call("GET", serve(says(200)).url, retry=False).status == 200


FILE = b"".join(b'{"custom_id": "%06d"}\n' % i for i in range(20_000))


def serves_ranges(*, cut_at: int, etag: str = '"v1"', file: bytes = FILE, **more: str) -> Callable[[Handler], None]:
    """Serve ``file`` with ranges, and hang up at byte ``cut_at``."""

    def handle(handler: Handler) -> None:
        start = 0
        if (wanted := handler.headers["range"]) and handler.headers["if-range"] == etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        headers = {"ETag": etag, **more}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(file) - 1}/{len(file)}"
        handler.answer(206 if start else 200, file[start : max(start, cut_at)], len(file) - start, **headers)

    return handle


def fetch(http: Http, server: Server) -> bytes:
    got = bytearray()
    http.download(server.url + "/out.jsonl?sig=x", got.extend)
    return bytes(got)


def test_a_download_resumes_where_it_was_cut(http: Http, serve: Serve) -> None:
    """After cuts each byte is handed over once, by ranges that are tied to the same file, uncompressed."""
    cuts = [serves_ranges(cut_at=at) for at in (100_000, 100_000, 250_000, 250_001, len(FILE))]
    server = serve(*cuts)
    assert fetch(http, server) == FILE
    assert server.seen[0].headers["range"] is None
    assert server.seen[-1].headers["range"] == "bytes=250001-"
    assert {seen.headers["accept-encoding"] for seen in server.seen} == {"identity"}


def test_a_server_without_ranges_is_read_again(http: Http, serve: Serve) -> None:
    """No validator or a 200 in answer to a range: the known bytes are compared, not handed over twice."""
    plain = serve(says(200, FILE[:100_000], len(FILE)), says(200, FILE))
    assert fetch(http, plain) == FILE
    assert plain.seen[1].headers["range"] is None
    stubborn = serve(says(200, FILE[:100_000], len(FILE), ETag='"a"'), says(200, FILE, ETag='"a"'))
    assert fetch(http, stubborn) == FILE
    assert stubborn.seen[1].headers["range"] == "bytes=100000-"


def test_a_file_that_changed_meanwhile_is_unsure(http: Http, serve: Serve) -> None:
    """Other bytes under the same address are never joined to those already handed over."""
    server = serve(
        serves_ranges(cut_at=100_000), serves_ranges(cut_at=len(FILE), etag='"v2"', file=FILE.replace(b"7", b"8"))
    )
    got = bytearray()
    with pytest.raises(Unsure, match="has changed"):
        http.download(server.url, got.extend)
    assert FILE.startswith(got)


def test_a_range_from_elsewhere_is_unsure(http: Http, serve: Serve) -> None:
    """A 206 that starts at another byte than asked for is not used."""
    wrong = says(206, FILE[7:], Content_Range=f"bytes 7-{len(FILE) - 1}/{len(FILE)}", ETag='"v1"')
    server = serve(serves_ranges(cut_at=100_000), wrong)
    with pytest.raises(Unsure, match="from 7 on"):
        fetch(http, server)


def test_a_shorter_second_answer_is_unsure(http: Http, serve: Serve) -> None:
    """A file that has shrunk below what was handed over is not taken for the end."""
    server = serve(says(200, FILE[:100_000], len(FILE)), says(200, FILE[:50_000]))
    with pytest.raises(Unsure, match="ended at byte 50000"):
        fetch(http, server)


def test_a_cut_after_the_last_byte(http: Http, serve: Serve) -> None:
    """When nothing is left to resume, 416 confirms that the file is whole."""

    def chunked_without_end(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("ETag", '"v1"')
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(FILE), FILE))
        handler.cut()

    server = serve(chunked_without_end, says(416, b"", Content_Range=f"bytes */{len(FILE)}"))
    assert fetch(http, server) == FILE


def test_a_compressed_answer_is_read_all_the_same(http: Http, serve: Serve) -> None:
    """A server that compresses against our wish is decoded, and after a cut read again from the start."""
    import gzip

    packed = gzip.compress(FILE)
    first = says(200, packed[: len(packed) // 2], len(packed), Content_Encoding="gzip", ETag='"v1"')
    server = serve(first, says(200, packed, Content_Encoding="gzip", ETag='"v1"'))
    assert fetch(http, server) == FILE
    assert server.seen[1].headers["range"] is None


def test_a_download_that_does_not_move_ends(http: Http, serve: Serve) -> None:
    """Four tries without a byte are enough; a gone file is not asked for twice."""
    server = serve(serves_ranges(cut_at=100_000), serves_ranges(cut_at=0))
    with pytest.raises(Unsure):
        fetch(http, server)
    assert len(server.seen) <= 1 + 3 + 4
    gone = serve(says(410))
    with pytest.raises(Refused):
        fetch(http, gone)
    assert len(gone.seen) == 1


def test_a_sink_that_fails_is_not_taken_for_the_network(http: Http, serve: Serve) -> None:
    """A full disk is reported as itself, at once."""

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    server = serve(says(200, FILE))
    with pytest.raises(OSError, match="No space"):
        http.download(server.url, full)
    assert len(server.seen) == 1


def test_secrets_are_in_no_error(http: Http, serve: Serve) -> None:
    """A server that echoes the key, whole, in part or masked, and a query that holds one: none of it is shown."""
    http.hide(KEY)
    echo = f'{{"code": "bad {KEY}", "message": "Bearer other-token {KEY}; {KEY[:12]} {KEY[5:]} wq-0****cret ok"}}'
    server = serve(says(400, echo.encode()))
    with pytest.raises(Refused) as caught:
        http.call("POST", server.url, retry=False, params={"upload_token": KEY})
    told = f"{caught.value!r} {caught.value.message} {caught.value.word} {caught.value.where} {caught.value.hint}"
    assert "ok" in told
    for piece in (KEY, "other-token", KEY[:8], KEY[-8:], "wq-0*", "upload_token"):
        assert piece not in told


def test_a_judge_s_error_is_scrubbed_too(http: Http, serve: Serve) -> None:
    """A family's own reading of an answer cannot leak what the connection hides."""
    http.hide(KEY)

    def judge(reply: Reply) -> None:
        raise Refused(reply.text, word=reply.text)

    with pytest.raises(Refused) as caught:
        http.call("GET", serve(says(200, KEY.encode())).url, retry=True, judge=judge)
    assert (caught.value.message, caught.value.word, str(caught.value)) == (HIDDEN, HIDDEN, HIDDEN)


@given(before=st.text(max_size=30), after=st.text(max_size=30), start=st.integers(0, 18), size=st.integers(8, 26))
def test_no_piece_of_a_secret_passes(before: str, after: str, start: int, size: int) -> None:
    """Wherever eight characters of a secret in a row stand, they do not come out."""
    scrub = Scrubber()
    scrub.hide(KEY)
    piece = KEY[start : start + size]
    told = scrub(before + piece + after)
    assert not any(KEY[i : i + 8] in told for i in range(len(KEY) - 7))
    assert told.isprintable()


def test_scrubbing_leaves_the_rest() -> None:
    """Ordinary text, ellipses and words that a short key is part of stay as they are."""
    scrub = Scrubber()
    scrub.hide("test")
    scrub.hide("a key/with=signs")
    assert (
        scrub("the tests... contest test, wait… a%20key%2Fwith%3Dsigns")
        == f"the tests... contest {HIDDEN}, wait… {HIDDEN}"
    )
    assert scrub("x" * 400) == "x" * 299 + "…"


def test_secrets_resolve(tmp_path: Path) -> None:
    """From a variable or a file beside the project; one newline at the end is not part of it."""
    (tmp_path / "key").write_text(KEY + "\n")
    for ref in (SecretRef(env="K"), SecretRef(file="key"), SecretRef(file=str(tmp_path / "key"))):
        assert resolve(ref, provider="p", environ={"K": KEY}, root=tmp_path) == KEY


@pytest.mark.parametrize("content", [None, "", "\n", "two\nlines", "two\n\n", "ключ-ключ", "tab\there", "\ufeffkey"])
def test_secrets_that_do_not_resolve(tmp_path: Path, content: str | None) -> None:
    """Missing, empty or misshapen: the error names the provider and the source, never the value, and exits 4."""
    if content is not None:
        (tmp_path / "file").write_text(content)
    refs = [SecretRef(file="file")] + [SecretRef(env="NAME")] * (content != "\n" and content != "two\n\n")
    for ref in refs:
        with pytest.raises(CredentialsError) as caught:
            resolve(ref, provider="prov", environ={} if content is None else {"NAME": content}, root=tmp_path)
        told = caught.value.message + caught.value.hint
        assert "prov" in told
        assert (ref.env or "file") in told
        assert not (content and content.strip() and content.strip() in told)
        assert caught.value.exit_code == 4


@pytest.mark.parametrize("path", [".", "no/such/file", "nul\0byte", "x" * 5_000])
def test_a_secret_s_file_that_cannot_be_read(tmp_path: Path, path: str) -> None:
    """Whatever is wrong with the file, it is an error about credentials."""
    with pytest.raises(CredentialsError, match="provider prov needs a secret from the file"):
        resolve(SecretRef(file=path), provider="prov", environ={}, root=tmp_path)


def test_the_client_s_own_log_is_quiet(http: Http, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """httpx would log the URL of every request, token and all."""
    caplog.set_level("INFO")
    http.call("GET", serve(says(200)).url, retry=True, params={"upload_token": KEY})
    assert KEY not in caplog.text


def test_importing_loads_no_client() -> None:
    """httpx costs a tenth of a second: it is loaded at the first call."""
    import subprocess

    code = "import sys, runner.edge.http, runner.registry; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_success_passes_the_judge() -> None:
    """Every 2xx is a success."""
    for status in (200, 201, 202, 204):
        judge_status(Reply(status, {}, b""))
