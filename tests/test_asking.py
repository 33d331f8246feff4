"""Many calls at once, over either client: what each comes to, and that nothing that was sent is taken for unsent."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runner.edge import asking
from runner.edge.askers import open_asker
from runner.edge.asking import Asker
from runner.edge.http import Reply
from runner.edge.httpx_asking import HttpxAsker
from runner.edge.pyreqwest_asking import PyreqwestAsker
from runner.edge.secrets import Scrubber
from runner.errors import Busy, Refused, Unsure

ASKERS: dict[str, Callable[[], Asker]] = {
    "httpx": lambda: HttpxAsker(4, Scrubber(), 5.0),
    "pyreqwest": lambda: PyreqwestAsker(4, Scrubber(), 5.0),
}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Left: 7\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(params=ASKERS)
def make(request: pytest.FixtureRequest) -> Callable[[], Asker]:
    return ASKERS[request.param]


class Server:
    """Says ``script(nth)`` to the so-manieth request, in these very bytes, and then hangs up unless ``keeps``.

    An empty word is silence, until the client hangs up.
    """

    def __init__(self, script: Callable[[int], bytes], *, keeps: bool = False, tls: ssl.SSLContext | None = None):
        self.asked: list[bytes] = []
        self.connections = 0
        self.hung_up = threading.Event()
        self._script, self._keeps, self._tls = script, keeps, tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/v1/chat/completions"

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=[line], daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError), self._tls.wrap_socket(line, server_side=True) if self._tls else line as line:
            while request := _request(line):
                self.asked.append(request)
                word = self._script(len(self.asked))
                line.sendall(word)
                if not word:
                    line.recv(1)
                    self.hung_up.set()
                if not self._keeps:
                    return


def _request(line: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < len(BODY):
        packet = line.recv(65536)
        if not packet:
            return b""
        data += packet
    return data


BODY = b'{"model":"m"}'
Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(script: Callable[[int], bytes], *, keeps: bool = False, tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(script, keeps=keeps, tls=tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def asked(make: Callable[[], Asker], url: str, *, times: int = 1, pause: float = 0.0, whole: float = 5.0) -> Reply:
    """The last of so many replies, each asked for after the one before it."""

    async def run() -> Reply:
        asker = make()
        try:
            for _ in range(times):
                reply = await asker.ask(url, {"authorization": "Bearer k"}, BODY, whole=whole)
                await asyncio.sleep(pause)
            return reply
        finally:
            await asker.close()

    return asyncio.run(run())


def test_a_question_and_its_reply(make: Callable[[], Asker], serve: Serve) -> None:
    """The key and the kind of the body travel; headers of the reply are found by their lower-case names."""
    server = serve(lambda _: ANSWER, keeps=True)
    reply = asked(make, server.url, times=3)
    assert (reply.status, reply.data, reply.headers.get("x-left")) == (200, b"{}", "7")
    assert reply.headers.get("retry-after", "none") == "none"
    head, _, body = server.asked[0].partition(b"\r\n\r\n")
    assert b"authorization: bearer k" in head.lower()
    assert b"content-type: application/json" in head.lower()
    assert body == BODY
    assert server.connections == 1


@pytest.mark.parametrize(
    "word", [b"HTTP/1.1 200", ANSWER[:40], ANSWER[:-1], b"\x00\x01 no HTTP at all\r\n\r\n"], ids=range(4)
)
def test_a_line_that_is_cut_after_the_question_was_sent(make: Callable[[], Asker], serve: Serve, word: bytes) -> None:
    """Nobody knows what came of it, wherever the cut is: it may have been paid, and is never taken for unsent."""
    server = serve(lambda _: word)
    with pytest.raises(Unsure):
        asked(make, server.url)
    assert len(server.asked) == 1


def test_a_line_that_is_cut_without_a_word(make: Callable[[], Asker], serve: Serve) -> None:
    """The question was read, and the line ends: a new line's end is no refused connection."""

    def hang_up(_: int) -> bytes:
        raise OSError

    server = serve(hang_up)
    with pytest.raises(Unsure):
        asked(make, server.url)
    assert len(server.asked) == 1


def test_a_kept_line_that_is_cut_without_a_word(make: Callable[[], Asker], serve: Serve) -> None:
    """The same over a connection that has served before, which clients like to try again by themselves."""

    def second_time(nth: int) -> bytes:
        if nth > 1:
            raise OSError
        return ANSWER

    server = serve(second_time, keeps=True)
    with pytest.raises(Unsure):
        asked(make, server.url, times=2)
    assert len(server.asked) == 2


def test_a_line_that_the_server_closed_while_it_was_idle(make: Callable[[], Asker], serve: Serve) -> None:
    """It is not used again: every question is read once, and answered."""
    server = serve(lambda _: ANSWER)
    asked(make, server.url, times=3, pause=0.05)
    assert (len(server.asked), server.connections) == (3, 3)


def test_nobody_listens(make: Callable[[], Asker], serve: Serve) -> None:
    """Nothing was sent."""
    server = serve(lambda _: ANSWER)
    server.close()
    with pytest.raises(Busy, match="cannot connect"):
        asked(make, server.url)


def test_silence(make: Callable[[], Asker], serve: Serve) -> None:
    """It was sent, and may be answered to nobody; the line is hung up, so that the server can know."""
    server = serve(lambda _: b"")
    with pytest.raises(Unsure, match=r"no whole answer within 0\.3 s"):
        asked(make, server.url, whole=0.3)
    assert server.hung_up.wait(10)


def test_an_answer_past_keeping(make: Callable[[], Asker], serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read no further than that."""
    monkeypatch.setattr(asking, "LARGEST_REPLY", 100_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n"
    with pytest.raises(Unsure, match="larger than 100,000 bytes"):
        asked(make, serve(lambda _: head + b" " * 1_000_000 + b"").url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999/", "http://[::1/", "ftp://127.0.0.1/"])
def test_what_is_no_url(make: Callable[[], Asker], url: str) -> None:
    """It is said so, and is no reason to try again."""
    with pytest.raises(Refused):
        asked(make, url)


@pytest.mark.parametrize("url", ["http://a b/", "http://x..y/"])
def test_a_host_that_is_none(make: Callable[[], Asker], url: str) -> None:
    """Whether that is said of the URL or of its name, nothing was sent."""
    with pytest.raises((Refused, Busy)):
        asked(make, url)


def test_a_question_that_is_dropped(make: Callable[[], Asker], serve: Serve) -> None:
    """The next call has a line of its own, and its own answer."""
    server = serve(lambda nth: b"" if nth == 1 else ANSWER)

    async def run() -> Reply:
        asker = make()
        call = asyncio.create_task(asker.ask(server.url, {}, BODY, whole=30))
        while not server.asked:
            await asyncio.sleep(0.001)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        reply = await asker.ask(server.url, {}, BODY, whole=5)
        await asker.close()
        return reply

    assert asyncio.run(run()).data == b"{}"
    assert server.connections == 2


def test_closed_in_the_middle(make: Callable[[], Asker], serve: Serve) -> None:
    """A loop that ends with calls in flight leaves nothing behind, and a new one can begin at once."""
    server = serve(lambda nth: b"" if nth <= 4 else ANSWER)

    async def abandon() -> None:
        asker = make()
        for _ in range(4):
            asyncio.get_running_loop().create_task(asker.ask(server.url, {}, BODY, whole=30))
        while len(server.asked) < 4:
            await asyncio.sleep(0.001)

    asyncio.run(abandon())
    assert asked(make, server.url).data == b"{}"


# ---- certificates, proxies, and which client it is ------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody but itself vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "private")])
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "private.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def private(serve: Serve, certificate: Path) -> Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return serve(lambda _: ANSWER, tls=context)


def test_a_certificate_that_nobody_vouches_for(make: Callable[[], Asker], private: Server) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(Refused, match="certificate does not verify"):
        asked(make, private.url)
    assert not private.asked


def test_a_private_authority(private: Server, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SSL_CERT_FILE names is trusted, by whichever client is chosen then."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert asked(lambda: opened(private.url), private.url).status == 200


def opened(url: str, *, streams: bool = False) -> Asker:
    return open_asker(url, 4, Scrubber(), silence=5.0, streams=streams)


PUBLIC, HERE = "https://maas.example.com/v1", "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("url", "environment", "streams", "kind"),
    [
        (PUBLIC, {}, False, PyreqwestAsker),
        (HERE, {}, False, PyreqwestAsker),
        (PUBLIC, {}, True, HttpxAsker),
        (PUBLIC, {"HTTPS_PROXY": "http://127.0.0.1:3128"}, False, HttpxAsker),
        (PUBLIC, {"all_proxy": "http://127.0.0.1:3128"}, False, HttpxAsker),
        (PUBLIC, {"HTTPS_PROXY": "http://127.0.0.1:3128", "NO_PROXY": "example.com"}, False, PyreqwestAsker),
        (HERE, {"HTTP_PROXY": "http://127.0.0.1:3128"}, False, PyreqwestAsker),
        (PUBLIC, {"SSL_CERT_FILE": "private"}, False, HttpxAsker),
        (PUBLIC, {"SSL_CERT_DIR": "private"}, False, HttpxAsker),
        (HERE, {"SSL_CERT_FILE": "private"}, False, PyreqwestAsker),
    ],
)
def test_which_client_it_is(
    url: str,
    environment: dict[str, str],
    streams: bool,
    kind: type[Asker],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fast one, unless the environment has a say in the call, or the answer is a stream."""
    monkeypatch.setenv("SSL_CERT_DIR", "")
    for name, value in environment.items():
        places = {"SSL_CERT_FILE": str(certificate), "SSL_CERT_DIR": str(certificate.parent)}
        monkeypatch.setenv(name, places.get(name, value))
    asker = opened(url, streams=streams)
    asyncio.run(asker.close())
    assert type(asker) is kind


def test_without_the_fast_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, httpx serves."""
    monkeypatch.setitem(sys.modules, "pyreqwest", None)
    asker = opened(HERE)
    asyncio.run(asker.close())
    assert type(asker) is HttpxAsker
