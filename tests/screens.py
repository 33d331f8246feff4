"""The cases of a bad night, each done as a user does it: a real process, a real server, and all that it prints.

``tests/cases/night/NAME.txt`` holds what each screen says, ``docs/troubleshooting.md`` is made of these files, and
``test_night.py`` compares them.  ``python tests/screens.py [NAME …]`` writes them anew: read them before you commit.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from helpers import COMMAND, PATIENCE, Project, Served, environment, serving

FOLDER = Path(__file__).parent / "cases" / "night"
KEY = "TEST_WANQING_KEY"


@dataclass(frozen=True)
class Screen:
    """One screen: what was typed, all that was printed, and the exit code.  ``code`` is the explanation it leads to."""

    title: str
    code: str
    text: str

    def dump(self) -> str:
        return f"{self.title}\nexplained by {self.code}\n\n{self.text}"


Night = Callable[["Stage"], str]
CASES: dict[str, tuple[str, str, Night]] = {}
"""By name: the title, the code of the explanation, and what is done."""


def case(name: str, title: str, code: str) -> Callable[[Night], Night]:
    def add(night: Night) -> Night:
        CASES[name] = (title, code, night)
        return night

    return add


def screen(name: str, folder: Path, server: Served) -> Screen:
    """Do the case ``name`` in ``folder``."""
    title, code, night = CASES[name]
    stage = Stage(folder, server)
    try:
        return Screen(title, code, night(stage))
    finally:
        server.faults()


class Stage:
    """A project of its own, and what it takes to ruin its night."""

    def __init__(self, folder: Path, server: Served) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.server = server
        self.project = Project(folder, {"demo": server.provider(max_requests=2)})

    def screen(self, typed: str, *, env: Mapping[str, str | None] | None = None, within: tuple[str, ...] = ()) -> str:
        """`runner TYPED`, with both streams as a terminal shows them."""
        process = self.spawn(typed, env=env, within=within)
        return self.shown(typed, process)

    def do(self, typed: str) -> None:
        """`runner TYPED`, which goes well."""
        process = self.spawn(typed)
        said = process.communicate(timeout=PATIENCE)[0].decode()
        assert process.returncode == 0, said

    def spawn(
        self, typed: str, *, env: Mapping[str, str | None] | None = None, within: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*within, *COMMAND, *typed.split()],
            cwd=self.project.root,
            env=environment({KEY: "sk-0123456789abcdef", "NO_PROXY": None, "no_proxy": None, **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def shown(self, typed: str, process: subprocess.Popen[bytes]) -> str:
        said = process.communicate(timeout=PATIENCE)[0].decode()
        return self.steady(f"$ runner {typed}\n{said.strip()}\n(exit code {process.returncode})\n")

    def steady(self, text: str) -> str:
        """``text`` without what differs from run to run."""
        for pattern, word in _VOLATILE:
            text = re.sub(pattern, word, text)
        return text.replace(str(self.project.root), "/srv/project")

    def interrupted(self, typed: str, when: Callable[[subprocess.Popen[bytes]], bool]) -> str:
        """`runner TYPED`, and Ctrl-C as soon as ``when`` holds."""
        process = self.spawn(typed)
        until(lambda: when(process) or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        return self.shown(typed, process)

    def phases(self) -> list[str]:
        path = self.project.root / ".runner/state.json"
        tasks = json.loads(path.read_bytes())["tasks"] if path.exists() else {}
        return [task.get("phase", "begun") for task in tasks.values()]


_TOLD = "submitting|collecting|waiting|reading|asking|looking|rendering|preparing|uploading|downloading|writing|showing"
_VOLATILE = (
    (rf"(?m)^({_TOLD}) .*\n", ""),  # told of what takes long only
    (r"\.tmp-[\w.-]+", ".tmp-4f1c"),
    (r"\r?\x1b\[[0-9;]*[A-Za-z]", ""),
    (r"brt-[0-9a-f]{24}", "brt-0123456789ab"),
    (r"(?<=serial )\d+( is older than the state's | then, )\d+", r"3\g<1>8"),
    (r"(?<= requests\), )(submitted|pending|running)(?=, 0 of)", "running"),
    (r"\bt-[0-9a-f]{12}", "t-0123456789ab"),
    (r"sha256:[0-9a-f]{64}", "sha256:9f2c…"),
    (r"-[0-9a-f]{16}-1\b", "-0123456789abcdef-1"),
    (r"(127\.0\.0\.1|localhost):\d+", r"\1:8000"),
    (r"task-[0-9a-zA-Z-]{6,}", "task-1"),
    (r"[0-9a-f]{32}", "0123456789abcdef0123456789abcdef"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "01234567-89ab-cdef-0123-456789abcdef"),
    (r"\(_ssl\.c:\d+\)", "(_ssl.c)"),
    (
        r"\[Errno -\d+\] [A-Z][a-z ]+ in name resolution|\[Errno -\d+\] Name or service not known",
        "[Errno -2] Name or service not known",
    ),
)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def read(path: Path) -> Screen:
    title, explained, text = path.read_text("utf-8").split("\n", 2)
    return Screen(title, explained.removeprefix("explained by "), text.lstrip("\n"))


# ---- somebody presses Ctrl-C ---------------------------------------------------------------------------------------


@case("ctrl-c-reading", "Ctrl-C while the input is read", "130")
def _(stage: Stage) -> str:
    stage.project.spec(rows=60_000)

    def reads(process: subprocess.Popen[bytes]) -> bool:
        try:
            links = [os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir()]  # noqa: PTH115
        except OSError:
            return False
        return any(link.endswith("job.jsonl") for link in links)

    return stage.interrupted("plan", reads)


@case("ctrl-c-uploading", "Ctrl-C while requests are uploaded", "130")
def _(stage: Stage) -> str:
    stage.project.spec(rows=2)
    stage.server.faults({"on": "upload", "do": "latency", "seconds": 1.0})
    return stage.interrupted("apply --yes", lambda _: stage.phases() == ["begun"])


@case("ctrl-c-waiting", "Ctrl-C while tasks run", "130")
def _(stage: Stage) -> str:
    stage.project.spec(rows=2)
    stage.server.faults({"on": "task", "do": "never-end"})
    return stage.interrupted("apply --yes --wait", lambda _: stage.phases() == ["open"])


@case("ctrl-c-watching", "Ctrl-C under --watch", "130")
def _(stage: Stage) -> str:
    stage.project.spec(rows=2)
    stage.server.faults({"on": "task", "do": "never-end"})
    stage.do("apply --yes")
    process = stage.spawn("status --watch")
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=PATIENCE)[0]
    end = rest.decode()
    said = f"{first.decode()}…\n\n{end[end.index('Interrupted') :]}"  # how much more it showed is chance
    return stage.steady(f"$ runner status --watch\n{said.strip()}\n(exit code {process.returncode})\n")


# ---- files ---------------------------------------------------------------------------------------------------------


@case("no-project", "No runner.yaml", "project-missing")
def _(stage: Stage) -> str:
    return stage.screen("plan")


@case("literal-secret", "A secret in runner.yaml", "secret-literal")
def _(stage: Stage) -> str:
    stage.project.providers["demo"]["api_key"] = "sk-0123456789abcdef"
    stage.project.spec(rows=2)
    return stage.screen("plan")


@case("unreadable-file", "A file that may not be read", "file-unreadable")
def _(stage: Stage) -> str:
    stage.project.spec(rows=2)
    (stage.project.root / "specs/data/job.jsonl").chmod(0)
    without_rights = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    return stage.screen("plan", within=without_rights)


@case("empty-input", "An empty input", "input-empty")
def _(stage: Stage) -> str:
    stage.project.spec(rows=[])
    return stage.screen("apply --yes")


@case("where-keeps-nothing", "A where that keeps nothing", "input-empty")
def _(stage: Stage) -> str:
    stage.project.spec(rows=3, input={"path": "specs/data/job.jsonl", "where": "row.id == '2'"})
    return stage.screen("apply --yes")


@case("broken-input", "A line that is no row", "input-invalid")
def _(stage: Stage) -> str:
    stage.project.spec(rows=3)
    path = stage.project.root / "specs/data/job.jsonl"
    path.write_text(path.read_text() + '{"id": 4, "q": "cut sh')
    return stage.screen("apply --yes")


@case("missing-column", "A column that is not there", "column-missing")
def _(stage: Stage) -> str:
    stage.project.spec(rows=3, prompt={"user": "{{ row.question }}"})
    return stage.screen("plan")


@case("template-syntax", "A template that cannot be read", "template-invalid")
def _(stage: Stage) -> str:
    stage.project.spec(rows=3, prompt={"user": "{% if row.q %}{{ row.q }}"})
    return stage.screen("plan")


@case("runaway-template", "A template without an end", "template-runaway")
def _(stage: Stage) -> str:
    stage.project.spec(rows=3, prompt={"user": "{% for i in range(99999999) %}{{ row.q }}{% endfor %}"})
    return stage.screen("plan")


@case("slow-template", "A template that takes too long", "template-runaway")
def _(stage: Stage) -> str:
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{{ row.q }}"
    stage.project.spec(rows=3, prompt={"user": loop})
    return stage.screen("plan")


@case("misspelt-keys", "Keys that nobody reads", "project-invalid")
def _(stage: Stage) -> str:
    stage.project.spec(rows=3, parameters={"max_tokens": 64, "n": 3}, retires={"attempts": 2})
    return stage.screen("validate")


# ---- plans and limits ----------------------------------------------------------------------------------------------


@case("nobody-to-ask", "No terminal to ask at", "approval-missing")
def _(stage: Stage) -> str:
    stage.project.spec(rows=2)
    return stage.screen("apply")


@case("over-limit", "Over a limit", "over-limit")
def _(stage: Stage) -> str:
    stage.project.configure(limits={"requests": 2})
    stage.project.spec(rows=3)
    return stage.screen("apply --yes")


@case("stale-plan", "A plan that is stale", "plan-stale")
def _(stage: Stage) -> str:
    stage.project.spec(rows=2)
    stage.do("plan --out plan.json")
    stage.project.rows(4)
    stage.do("apply --yes")
    return stage.screen("apply plan.json")


# ---- keys and the network ------------------------------------------------------------------------------------------


@case("no-key", "A key that is not set", "secret-missing")
def _(stage: Stage) -> str:
    stage.project.providers = {"demo": stage.server.wanqing()}
    stage.project.spec(rows=2)
    return stage.screen("apply --yes", env={KEY: None})


@case("wrong-key", "A wrong key", "key-refused")
def _(stage: Stage) -> str:
    stage.project.providers = {"demo": stage.server.wanqing()}
    stage.project.spec(rows=2)
    return stage.screen("apply --yes", env={KEY: "invalid-0123456789"})


@case("wrong-key-later", "A key that is refused while tasks run", "key-refused")
def _(stage: Stage) -> str:
    stage.project.providers = {"demo": stage.server.wanqing()}
    stage.project.spec(rows=2)
    stage.do("apply --yes")
    return stage.screen("apply --yes --wait", env={KEY: "invalid-0123456789"})


@case("no-connection", "Nobody answers at the address", "unreachable")
def _(stage: Stage) -> str:
    stage.project.providers = {"demo": {"type": "simulator", "base_url": f"http://127.0.0.1:{free_port()}"}}
    stage.project.spec(rows=2)
    return stage.screen("apply --yes")


@case("no-name", "A host that cannot be looked up", "unreachable")
def _(stage: Stage) -> str:
    stage.project.providers = {"demo": {"type": "simulator", "base_url": "http://provider.invalid"}}
    stage.project.spec(rows=2)
    return stage.screen("apply --yes", within=("unshare", "-Urn"))  # without any network, loopback included


@case("proxy-refuses", "A proxy that does not answer", "unreachable")
def _(stage: Stage) -> str:
    stage.project.providers = {"demo": {"type": "simulator", "base_url": "http://provider.invalid"}}
    stage.project.spec(rows=2)
    proxy = f"http://127.0.0.1:{free_port()}"
    return stage.screen("apply --yes", env={"HTTP_PROXY": proxy, "http_proxy": proxy})


@case("untrusted-certificate", "A certificate that is not trusted", "tls-untrusted")
def _(stage: Stage) -> str:
    with self_signed(stage.project.root / "server") as url:
        stage.project.providers = {"demo": {"type": "simulator", "base_url": url}}
        stage.project.spec(rows=2)
        return stage.screen("apply --yes")


@contextmanager
def self_signed(folder: Path) -> Iterator[str]:
    """A server whose certificate nobody else has signed."""
    folder.mkdir(parents=True)
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    making = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    paths = ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    subprocess.run([*making, *paths], check=True, capture_output=True)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


# ---- what tasks come to --------------------------------------------------------------------------------------------


@case("provider-fails", "A provider that answers 500", "provider-unsure")
def _(stage: Stage) -> str:
    stage.project.spec(rows=2)
    stage.server.faults({"on": "upload-url", "do": "500"}, {"on": "upload", "do": "500"})
    return stage.screen("apply --yes --wait --timeout 1s")


@case("start-in-doubt", "A start that nobody can settle", "start-unsettled")
def _(stage: Stage) -> str:
    stage.project.providers = {"demo": stage.server.wanqing()}
    stage.project.spec(rows=2)
    stage.server.faults({"on": "create", "do": "lost-reply"})
    return stage.screen("apply --yes --wait")


@case("expired-task", "A task that expired", "expired")
def _(stage: Stage) -> str:
    stage.project.spec(rows=2, retry={"attempts": 1})
    stage.server.faults({"on": "task", "do": "expire"})
    return stage.screen("apply --yes --wait")


@case("cancelled-task", "A batch that was cancelled", "cancelled")
def _(stage: Stage) -> str:
    stage.project.spec(rows=2)
    stage.server.faults({"on": "task", "do": "slow", "seconds": 1e6})
    stage.do("apply --yes")
    return stage.screen("cancel job") + "\n" + stage.screen("apply --yes --wait --timeout 1s")


@case("answers-that-do-not-fit", "Answers that do not fit the schema", "schema_mismatch")
def _(stage: Stage) -> str:
    answer = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"]}
    unasked = {"then": {"required": ["reason"]}}  # which the simulator, as many a model, does not look at
    stage.project.write("schemas/answer.json", json.dumps({**answer, "if": True, **unasked}))
    stage.project.spec(rows=2, response={"schema": "schemas/answer.json"})
    return stage.screen("apply --yes --wait")


# ---- the state -----------------------------------------------------------------------------------------------------


def _applied(stage: Stage) -> Path:
    """The state of a project that has run."""
    stage.project.spec(rows=2)
    stage.do("apply --yes --wait")
    return stage.project.root / ".runner/state.json"


@case("damaged-state", "A state that is damaged", "state-damaged")
def _(stage: Stage) -> str:
    state = _applied(stage)
    state.write_text('{"format": 1, "lineage":\n')
    return stage.screen("plan")


@case("newer-state", "A state of a newer runner", "state-newer")
def _(stage: Stage) -> str:
    state = _applied(stage)
    document: dict[str, Any] = json.loads(state.read_bytes())
    state.write_text(json.dumps({**document, "format": 99}))
    return stage.screen("plan")


@case("another-state", "A state that is another one", "state-differs")
def _(stage: Stage) -> str:
    state = _applied(stage)
    document: dict[str, Any] = json.loads(state.read_bytes())
    (stage.project.root / "old.json").write_text(json.dumps({**document, "serial": 1}))
    return stage.screen("state push old.json")


@case("full-disk", "A disk that is full", "disk-refused")
def _(stage: Stage) -> str:
    from test_disk import PAGE, mounted

    stage.project.spec(rows=2)
    with mounted(stage.project.root / ".runner", f"size={8 * PAGE}") as disk:
        disk.fill()
        together = ("sh", "-c", 'exec "$@" 2>&1', "sh")
        return stage.shown("apply --yes", disk.spawn(stage.project, *together, *COMMAND, "apply", "--yes"))


def main(names: list[str]) -> None:
    """Write the screens anew."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "server") as server:
        for name in names or list(CASES):
            found = screen(name, Path(folder) / name, server)
            (FOLDER / f"{name}.txt").write_text(found.dump(), "utf-8")
            print(found.dump())


if __name__ == "__main__":
    main(sys.argv[1:])
