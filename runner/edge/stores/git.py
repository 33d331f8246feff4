"""State on a branch of a git repository: one commit per write, and a push that is turned away where another was first.

Plumbing only: commits are made in a bare repository of our own under ``.runner/cache``, so that neither the working
tree nor the index nor the refs of the project are ever touched.  A push names the commit that the branch has to be at
(``--force-with-lease``), which the server compares as it moves the branch: that is the compare-and-swap.  Commits have
one parent each, so that the branch is a line, and every write can be read there.

The project's own configuration says how to reach a remote (proxies, credentials, other addresses for one), wherever
`actions/checkout` and the like put it; it is handed on in the environment of git, never on its command line.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any
from uuid import uuid4

from runner.edge.files import make_folder
from runner.edge.store import Conflict, Probe, locked
from runner.edge.stores.far import OutOfReach, serial_of
from runner.errors import CredentialsError, RunnerError

DOCUMENT = "state.json"
LARGEST = 95_000_000
"""Bytes of a blob.  GitHub turns away pushes with files of over 100 MiB ("About large files on GitHub")."""

_PATIENCE = 120.0
"""Seconds for one call of git.  A push of the largest blob over a slow line takes about as long."""
_KEYED = re.compile(r"https?://[^/@]*@")
_ALIAS = "https://runner.invalid/origin"
"""Stands for an address that holds a key."""
_MOMENT = 2.0
"""Seconds within which git is done with what it does under a lock."""
_HANDED_ON = re.compile(r"^(https?|credential|url|ssh|core\.sshcommand)\b", re.IGNORECASE)
_OURS = ("local", "worktree", "command")
"""Scopes of configuration that do not reach into another repository by themselves."""
_LOOSE = 2_000
"""Objects from which on the cache is packed: each write makes four or five."""
_HERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE")
"""What a hook's environment says of the repository that it runs in."""
_BRANCH = re.compile(r"(?!.*(\.\.|//|@\{|\.lock$|\.lock/|/\.|\.$|/$))[A-Za-z0-9_][A-Za-z0-9._/-]{0,199}")
_KEYS = re.compile(
    r"Authentication failed|could not read (Username|Password)|Permission denied \(|terminal prompts disabled"
    r"|HTTP (401|403)|returned error: (401|403)|Permission to .* denied|Host key verification failed",
    re.IGNORECASE,
)
_AWAY = re.compile(
    r"Could not resolve|Connection (refused|reset|timed out)|Failed to connect|unable to access|Could not read from"
    r"|hung up|early EOF|RPC failed|returned error: (5\d\d|429)|unexpected disconnect|Operation timed out|curl \d+",
    re.IGNORECASE,
)
_TURNED_AWAY = re.compile(
    r"\((stale info|fetch first|non-fast-forward|failed to update ref|cannot lock ref.*|incorrect old value.*"
    r"|failed to lock.*|reference already exists)\)|cannot lock ref|incorrect old value",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Address:
    """``url`` is None for the origin of the repository that the project lies in."""

    url: str | None
    branch: str

    @property
    def name(self) -> str:
        return f"git:{self.branch}" if self.url is None else f"git:{self.url}#{self.branch}"


def parse_address(text: str) -> Address:
    """``git:BRANCH`` or ``git:URL#BRANCH``.  Raises ValueError, to be read after the text."""
    url, hash_, branch = text.removeprefix("git:").rpartition("#")
    if not _BRANCH.fullmatch(branch) or branch.upper() == "HEAD":
        raise ValueError(f"names no branch: {branch!r} cannot be one")
    if hash_ and (url.startswith("-") or "::" in url or not url.strip()):
        raise ValueError("names no repository before the #")
    return Address(url if hash_ else None, branch)


class GitBranch:
    """A branch, as the place of a document, of blobs, or of both.

    Blobs that belong to the document's own branch (``eager`` false) travel with its next commit; on a branch of their
    own each is a commit.  Safe to use from several threads, and from several processes with one ``repository``.
    """

    def __init__(self, project: Path, address: Address, repository: Path, *, eager: bool = False) -> None:
        self._project = project
        self._address = address
        self._repository = repository
        self._eager = eager
        self._lock = RLock()
        self._tip: str | None = None
        self._document: bytes | None = None
        self._queued: dict[str, str] = {}
        """Objects of blobs by path that are in no commit yet."""
        self._packed = False
        self._files: dict[str, frozenset[str]] = {}
        """Paths by commit."""

    # ---- the document ----------------------------------------------------------------------------------------------

    def read(self) -> bytes | None:
        with self._lock:
            self._look()
            return self._document

    def swap(self, old: bytes | None, new: bytes) -> None:
        with self._lock:
            if self._document != old:
                self._look()
            if self._document != old:
                raise Conflict
            object = self._git("hash-object", "-w", "--stdin", data=new).strip()
            self._commit({**self._queued, DOCUMENT: object}, f"State, serial {serial_of(new)}")
            self._queued.clear()
            self._document = new

    def probe(self) -> Probe:
        """Ask whether a push would be taken, of a branch that nobody has, without making it."""
        with self._lock:
            self._look()
            commit = self._tip or self._git("commit-tree", self._git("mktree", data=b"").strip(), data=b"Probe").strip()
            self._git("push", "--quiet", "--dry-run", "--", self._remote, f"{commit}:{self._ref}-probe")
        return Probe("git would take a push, and compares before it swaps")

    # ---- blobs -----------------------------------------------------------------------------------------------------

    def fetch(self, name: str, write: Callable[[bytes], object]) -> bool:
        path = _blob(name)
        with self._lock:
            object = self._queued.get(path)
            if object is None and not self._has(path):
                self._look()
                if not self._has(path):
                    return False
            what = object or f"{self._tip}:{path}"
        with self._opened("cat-file", "blob", what) as process:
            assert process.stdout is not None
            while piece := process.stdout.read(1 << 20):
                write(piece)
        return process.returncode == 0

    def send(self, name: str, path: Path) -> None:
        if (size := path.stat().st_size) > LARGEST:
            raise RunnerError(
                f"{size:,} bytes are too many for a file on a git branch",
                hint="Keep raw results in an object store: blobs: {store: s3://BUCKET/PREFIX} in runner.yaml.",
                code="store-unfit",
            )
        place = _blob(name)
        with self._lock:
            if self._tip is None:
                self._look()
            if self._has(place):
                return
            self._queued[place] = self._git("hash-object", "-w", "--no-filters", "--", str(path.resolve())).strip()
            if self._eager:
                self._commit_blobs()

    def send_files(self, files: Mapping[str, Path]) -> None:
        """Put files at paths of the branch, in one commit, whoever else writes there."""
        with self._lock:
            for place, path in files.items():
                object = self._git("hash-object", "-w", "--no-filters", "--", str(path.resolve())).strip()
                self._queued[place] = object
            self._commit_blobs(f"Outputs: {', '.join(sorted(files))}"[:200])

    def _commit_blobs(self, message: str = "Results") -> None:
        for _ in range(20):
            self._look()
            try:
                self._commit(self._queued, message)
            except Conflict:
                continue
            self._queued.clear()
            return
        raise OutOfReach("others kept writing to the branch")

    def _has(self, path: str) -> bool:
        if self._tip is None:
            return False
        if self._tip not in self._files:
            listed = self._git("ls-tree", "-r", "-z", "--name-only", self._tip)
            self._files = {self._tip: frozenset(listed.split("\0"))}
        return path in self._files[self._tip]

    # ---- the branch ------------------------------------------------------------------------------------------------

    @property
    def _ref(self) -> str:
        return f"refs/heads/{self._address.branch}"

    @property
    def _here(self) -> str:
        """Where the cache keeps it."""
        return f"refs/runner/{self._address.branch}"

    def _look(self) -> None:
        """Learn where the branch is, and have what it holds."""
        for _ in range(5):
            tip = self._where()
            if tip is None or tip == self._tip or self._fetched(tip):
                break
        else:
            raise OutOfReach("the branch kept moving while it was read")
        if tip != self._tip:
            self._tip = tip
            self._document = self._content(tip) if tip else None

    def _where(self) -> str | None:
        """The commit that the branch is at, None where there is no such branch."""
        for line in self._git("ls-remote", "--", self._remote, self._ref).splitlines():
            commit, _, ref = line.partition("\t")
            if ref == self._ref:
                return commit
        return None

    def _fetched(self, tip: str) -> bool:
        """Whether the commit is here now; not where the branch has moved on."""
        with locked(self._repository / "runner.lock"):
            with suppress(RunnerError):
                self._git("cat-file", "-e", f"{tip}^{{tree}}")
                return True
            fetch = ("fetch", "--quiet", "--no-tags", "--depth=1", "--", self._remote, f"+{self._ref}:{self._here}")
            try:
                self._git(*fetch)
            except RunnerError as error:
                if ".lock" not in error.message:
                    raise
                self._unlock()
                self._git(*fetch)
            return self._git("rev-parse", self._here).strip() == tip

    def _unlock(self) -> None:
        """Take away what a git that was killed has locked.  One that still lives gets a moment to finish."""
        time.sleep(_MOMENT)
        for lock in self._repository.rglob("*.lock"):
            if lock.name != "runner.lock":
                lock.unlink(missing_ok=True)

    def _content(self, tip: str) -> bytes | None:
        if not self._git("ls-tree", tip, "--", DOCUMENT).strip():
            return None
        found = self._call(["cat-file", "blob", f"{tip}:{DOCUMENT}"])
        if found.returncode:  # it is there, and cannot be had: above all it must not be taken for a state that is none
            raise RunnerError(
                f"the copy of {self._address.name} on this machine is damaged",
                hint="Remove it; it is fetched again:",
                commands=[f"rm -r {self._repository}"],
                code="copy-damaged",
            )
        return found.stdout

    def _commit(self, objects: Mapping[str, str], message: str) -> None:
        """Put ``objects`` on the branch as one more commit.  Raises Conflict where another was first."""
        parent = self._tip
        commit = self._git(
            "commit-tree", self._tree(parent, objects), *(["-p", parent] if parent else []), data=_said(message)
        ).strip()
        try:
            self._git(
                "push",
                "--quiet",
                "--no-verify",
                f"--force-with-lease={self._ref}:{parent or ''}",
                "--",
                self._remote,
                f"{commit}:{self._ref}",
            )
        except (RunnerError, Conflict):
            self._tip, self._document = None, None  # the next look finds out what is there, and whether it is ours
            raise
        self._call(["update-ref", self._here, commit])  # what is reachable is packed, and not kept one by one
        if parent in self._files:
            self._files = {commit: self._files[parent] | objects.keys()}
        self._tip = commit

    def _tree(self, parent: str | None, objects: Mapping[str, str]) -> str:
        with tempfile.TemporaryDirectory(prefix="index-", dir=self._repository) as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            if parent:
                self._git("read-tree", parent, environ=index)
            lines = "".join(f"100644 {object}\t{path}\0" for path, object in objects.items())
            self._git("update-index", "-z", "--index-info", data=lines.encode(), environ=index)
            return self._git("write-tree", environ=index).strip()

    # ---- git -------------------------------------------------------------------------------------------------------

    @cached_property
    def _url(self) -> str:
        url = self._address.url
        if url is None:
            found = _run(["git", "-C", str(self._project), "remote", "get-url", "--push", "origin"], {})
            if found.returncode:
                raise RunnerError(
                    f"{self._address.name} is a branch of this repository's origin, and there is none here",
                    hint="Run it in a clone, or name the repository: state: git:URL#BRANCH.",
                    code="store-address",
                )
            url = found.stdout.decode(errors="surrogateescape").strip()
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|[^/]+:", url):
            return url
        path, project = (self._project / url).resolve(), self._project.resolve()
        if path.is_relative_to(project) and path != project:
            raise RunnerError(
                f"{self._address.name} lies in the project itself, where a change could put hooks",
                hint="Name a repository elsewhere.",
                code="store-address",
            )
        return str(path)

    @property
    def _remote(self) -> str:
        """What git is told to talk to: never an address with a key in it, since others see arguments."""
        return _ALIAS if _KEYED.match(self._url) else self._url

    @cached_property
    def _environ(self) -> dict[str, str]:
        """How the project reaches remotes, and nothing of where git is called from.

        What the machine's or the person's own configuration says holds in any repository: a header that is given twice
        would be sent twice.
        """
        found = _run(["git", "-C", str(self._project), "config", "--list", "--includes", "--show-scope", "-z"], {})
        told = found.stdout.decode(errors="surrogateescape").split("\0")
        pairs = [
            entry.partition("\n")[::2] for scope, entry in zip(told[::2], told[1::2], strict=False) if scope in _OURS
        ]
        settings = [(key, value) for key, value in pairs if _HANDED_ON.match(key)]
        settings += [("gc.auto", "0"), ("push.followtags", "false")]
        if _KEYED.match(self._url):
            settings.append((f"url.{self._url}.insteadof", _ALIAS))
        environ = {"GIT_CONFIG_COUNT": str(len(settings))}
        for at, (key, value) in enumerate(settings):
            environ |= {f"GIT_CONFIG_KEY_{at}": key, f"GIT_CONFIG_VALUE_{at}": value}
        who = {"NAME": "runner", "EMAIL": "runner@localhost"}
        for role in ("AUTHOR", "COMMITTER"):
            environ |= {f"GIT_{role}_{key}": os.environ.get(f"GIT_{role}_{key}", value) for key, value in who.items()}
        if "GIT_SSH_COMMAND" not in os.environ and not any(key.lower() == "core.sshcommand" for key, _ in settings):
            environ["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
        return environ

    def _git(self, *args: str, data: bytes | None = None, environ: Mapping[str, str] | None = None) -> str:
        done = self._call(args, data, environ)
        if done.returncode:
            raise _failure(args[0], done.stderr.decode(errors="replace"))
        return done.stdout.decode(errors="surrogateescape")

    def _call(
        self, args: Sequence[str], data: bytes | None = None, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return _run(self._command(args), {**self._environ, **(environ or {})}, data)

    def _opened(self, *args: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command(args), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_environ(self._environ)
        )

    def _command(self, args: Iterable[str]) -> list[str]:
        self._made()
        return ["git", f"--git-dir={self._repository}", *args]

    def _pack(self) -> None:
        """Pack the cache where earlier runs have left many objects, each in a file of its own."""
        count = self._call(["count-objects"]).stdout.partition(b" ")[0]
        if count.isdigit() and int(count) > _LOOSE:
            self._call(["gc", "--quiet"])

    def _made(self) -> None:
        """The repository is there.  `git init` of one that is changes nothing."""
        if (self._repository / "HEAD").exists():
            if not self._packed:
                self._packed = True
                self._pack()
            return
        make_folder(self._repository)
        done = _run(["git", "init", "--quiet", "--bare", "--", str(self._repository)], {})
        if done.returncode:
            raise _failure("init", done.stderr.decode(errors="replace"))


def _blob(name: str) -> str:
    return f"blobs/{name[:2]}/{name}"


def _said(message: str) -> bytes:
    """A commit's message, with the run of the CI that wrote it, where there is one.

    No two are the same: of two equal commits the second to be pushed would count as written, since it is there.
    """
    run = [os.environ.get(f"GITHUB_{part}", "") for part in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    lines = [message, ""]
    if all(run):
        lines.append(f"Run: {run[0]}/{run[1]}/actions/runs/{run[2]}")
    if commit := os.environ.get("GITHUB_SHA"):
        lines.append(f"Commit: {commit}")
    lines.append(f"Write: {uuid4().hex}")
    return "\n".join(lines).encode("utf-8", "replace") + b"\n"


def _environ(more: Mapping[str, str]) -> dict[str, str]:
    here = {name: value for name, value in os.environ.items() if name not in _HERE}
    ours = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh"}
    return {**here, **more, **ours}


def _run(
    command: Sequence[str], environ: Mapping[str, str], data: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    feed: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            env=_environ(environ),
            timeout=_PATIENCE,
            start_new_session=True,  # a Ctrl-C is ours to obey: a write that is under way is finished
            **feed,
        )
    except FileNotFoundError:
        raise RunnerError(
            "git is not installed, and the state lives on a git branch",
            hint="Install git 2.31 or later.",
            code="extra-missing",
        ) from None
    except subprocess.TimeoutExpired:
        raise OutOfReach(f"git {command[2]} took longer than {_PATIENCE:.0f} s") from None


def _failure(what: str, said: str) -> RunnerError | Conflict:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith(("hint:", "To "))]
    text = re.sub(r"(://)[^/@\s']*@", r"\1", "; ".join(lines))[:500] or "no reason given"
    message = f"git {what}: {text}"
    if _KEYS.search(said):
        return CredentialsError(
            f"the repository of the state does not let us in: {message}",
            hint="On GitHub Actions, give the job `contents: write`; elsewhere, see that `git push` works.",
            code="store-refused",
        )
    if what == "push" and _TURNED_AWAY.search(said):
        return Conflict(message)
    return OutOfReach(message) if _AWAY.search(said) else RunnerError(message, code="store-unreachable")
