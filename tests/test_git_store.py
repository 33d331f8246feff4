"""State on a git branch: what only it promises, against real repositories, over files and over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.state_servers import GitHttp, git_http
from runner.edge.store import Conflict, Store
from runner.edge.stores import open_named
from runner.edge.stores.far import OutOfReach
from runner.edge.stores.git import Address, GitBranch, parse_address
from runner.errors import CredentialsError, RunnerError


def git(folder: Path, *args: str) -> str:
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@localhost", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, "-C", str(folder), *args], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    path.mkdir()
    git(path, "init", "--quiet", "--bare")
    return path


@pytest.fixture
def clone(tmp_path: Path, remote: Path) -> Path:
    """A working tree with one commit on main, whose origin is the remote."""
    path = tmp_path / "clone"
    path.mkdir()
    git(path, "init", "--quiet")
    git(path, "remote", "add", "origin", str(remote))
    (path / "README").write_text("a project\n")
    git(path, "add", "README")
    git(path, "commit", "--quiet", "-m", "one")
    git(path, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    return path


def opened(folder: Path, place: str) -> Store:
    folder.mkdir(parents=True, exist_ok=True)
    return open_named(folder, place, "git")


def watched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every command from here on, as others on the machine see it."""
    commands: list[Any] = []
    run = subprocess.run

    def listed(command: Any, *args: Any, **options: Any) -> Any:
        commands.append(command)
        return run(command, *args, **options)

    monkeypatch.setattr(subprocess, "run", listed)
    return commands


def document(serial: int) -> bytes:
    return json.dumps({"serial": serial}).encode()


# ---- the branch ----------------------------------------------------------------------------------------------------


def test_a_line_of_commits_apart_from_the_project(clone: Path, remote: Path) -> None:
    """An orphan branch, one commit per write with its serial, blobs in the commit that first speaks of them."""
    store = opened(clone, "git:batch-state")
    store.swap(None, document(1))
    name = store.put(b"raw")
    assert git(remote, "ls-tree", "-r", "--name-only", "batch-state") == "state.json"
    store.swap(document(1), document(2))
    assert git(remote, "log", "--format=%s", "batch-state").splitlines() == ["State, serial 2", "State, serial 1"]
    assert git(remote, "rev-list", "--merges", "batch-state") == ""
    assert git(remote, "ls-tree", "-r", "--name-only", "batch-state").splitlines() == [
        f"blobs/{name[:2]}/{name}",
        "state.json",
    ]
    assert git(remote, "rev-list", "--max-parents=0", "batch-state") != git(remote, "rev-list", "main")


def test_the_working_tree_is_left_alone(clone: Path) -> None:
    """Neither a file, nor the index, nor a ref, nor an object of the project's repository changes."""
    before = tree_of(clone)
    store = opened(clone, "git:batch-state")
    store.swap(store.read(), document(1))
    store.put(b"raw")
    store.swap(document(1), document(2))
    after = {path: data for path, data in tree_of(clone).items() if not path.startswith(".runner/")}
    assert after == before


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_shallow_clone_without_the_branch_is_enough(tmp_path: Path, clone: Path, remote: Path) -> None:
    """As `actions/checkout` leaves it: one commit of one branch."""
    opened(clone, "git:batch-state").swap(None, document(1))
    git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=main", f"file://{remote}", "shallow")
    store = opened(tmp_path / "shallow", "git:batch-state")
    assert store.read() == document(1)
    store.swap(document(1), document(2))
    assert opened(clone, "git:batch-state").read() == document(2)


def test_a_branch_that_was_set_back(clone: Path, remote: Path) -> None:
    """By a person's force push: what was read is not there any more, so that a write is a conflict."""
    store = opened(clone, "git:batch-state")
    store.swap(None, document(1))
    store.swap(document(1), document(2))
    git(remote, "update-ref", "refs/heads/batch-state", "batch-state~1")
    with pytest.raises(Conflict):
        store.swap(document(2), document(3))
    assert store.read() == document(1)


def test_a_branch_that_is_gone(clone: Path, remote: Path) -> None:
    """There is no document, and a write of the next one is a conflict."""
    store = opened(clone, "git:batch-state")
    store.swap(None, document(1))
    git(remote, "update-ref", "-d", "refs/heads/batch-state")
    with pytest.raises(Conflict):
        store.swap(document(1), document(2))
    assert store.read() is None


def test_blobs_on_a_branch_of_their_own(tmp_path: Path, remote: Path) -> None:
    """State in one place, results on another branch, such as of a private repository."""
    place = f"git:{remote}#results"
    (tmp_path / "one").mkdir()
    store = open_named(tmp_path / "one", ".state", place)
    store.swap(None, b"{}")
    names = [store.put(b"one"), store.put(b"two"), store.put(b"one")]
    (tmp_path / "other").mkdir()
    other = open_named(tmp_path / "other", ".state", place)
    assert [other.get(name) for name in names] == [b"one", b"two", b"one"]
    assert git(remote, "rev-list", "--count", "results") == "2"


def test_a_blob_that_no_platform_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, remote: Path) -> None:
    """Refused before it is sent, with the way out; the document can still be written."""
    monkeypatch.setattr("runner.edge.stores.git.LARGEST", 10)
    store = opened(tmp_path / "a", f"git:{remote}#state")
    with pytest.raises(RunnerError, match="11 bytes are too many") as caught:
        store.put(b"x" * 11)
    assert "object store" in caught.value.hint
    store.swap(None, document(1))


def test_outputs_on_a_branch(tmp_path: Path, remote: Path) -> None:
    """All files of one delivery in one commit, beside what is there; the same again is no commit that matters."""
    branch = GitBranch(tmp_path / "one", Address(str(remote), "outputs"), tmp_path / "cache", eager=True)
    (tmp_path / "one").mkdir()
    files = {}
    for name in ("outputs/a.jsonl", "outputs/b.jsonl"):
        files[name] = tmp_path / Path(name).name
        files[name].write_text(name)
    branch.send_files(files)
    files["outputs/a.jsonl"].write_text("changed")
    branch.send_files({"outputs/a.jsonl": files["outputs/a.jsonl"]})
    assert git(remote, "show", "outputs:outputs/a.jsonl") == "changed"
    assert git(remote, "show", "outputs:outputs/b.jsonl") == "outputs/b.jsonl"
    assert git(remote, "rev-list", "--count", "outputs") == "2"


# ---- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    ["git:", "git:a b", "git:-x", "git:a..b", "git:HEAD", "git:x#", "git:#x", "git:-u#x", "git:ext::sh -c x#b"],
)
def test_an_address_that_is_none(place: str) -> None:
    """Neither an option of git nor a command of a shell can be meant by one."""
    with pytest.raises(ValueError, match="names no"):
        parse_address(place)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("git:batch-state", Address(None, "batch-state")),
        ("git:runner/state", Address(None, "runner/state")),
        ("git:https://host/a.git#state", Address("https://host/a.git", "state")),
        ("git:git@host:a.git#state", Address("git@host:a.git", "state")),
        ("git:../a.git#state", Address("../a.git", "state")),
    ],
)
def test_an_address(place: str, expected: Address) -> None:
    """A branch of origin, or of the repository before the #; it is named as it was written."""
    assert parse_address(place) == expected
    assert expected.name == place


def test_no_origin(tmp_path: Path) -> None:
    """An error that says what is missing, and what to write instead."""
    with pytest.raises(RunnerError, match="there is none here") as caught:
        opened(tmp_path / "plain", "git:state").read()
    assert "git:URL#BRANCH" in caught.value.hint


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error, not a traceback."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunnerError, match="git is not installed"):
        opened(tmp_path / "a", "git:/nowhere#state").read()


def test_a_repository_that_is_not_there(tmp_path: Path) -> None:
    """Out of reach, by name."""
    with pytest.raises(OutOfReach, match=r"the store git:/nowhere/at-all#state is out of reach"):
        opened(tmp_path / "a", "git:/nowhere/at-all#state").read()


def test_a_server_that_turns_the_branch_away(tmp_path: Path, remote: Path) -> None:
    """A protected branch, or a hook: its words are told, nothing is written, and nobody tries for ever."""
    hook = remote / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'nobody pushes here' >&2\nexit 1\n")
    hook.chmod(0o755)
    store = opened(tmp_path / "a", f"git:{remote}#state")
    with pytest.raises(RunnerError, match="nobody pushes here"):
        store.swap(None, document(1))
    assert store.read() is None
    hook.unlink()
    store.swap(None, document(1))


def test_a_repository_inside_the_project(clone: Path) -> None:
    """A change could bring one along, with hooks that git runs at a push."""
    (clone / "evil.git").mkdir()
    git(clone / "evil.git", "init", "--quiet", "--bare")
    with pytest.raises(RunnerError, match="lies in the project itself"):
        opened(clone, "git:evil.git#state").read()


def test_a_damaged_copy_is_no_state_that_is_none(clone: Path, remote: Path) -> None:
    """What is on the branch and cannot be read is an error: taken for nothing, it would be replaced by nothing."""
    opened(clone, "git:batch-state").swap(None, document(1))
    object = git(remote, "rev-parse", "batch-state:state.json")
    (repository,) = (clone / ".runner/cache/git").iterdir()
    spoilt = repository / "objects" / object[:2] / object[2:]
    spoilt.chmod(0o644)
    spoilt.write_bytes(b"")
    with pytest.raises(RunnerError, match="damaged"):
        opened(clone, "git:batch-state").read()
    shutil.rmtree(repository)
    assert opened(clone, "git:batch-state").read() == document(1)


def test_a_damaged_copy_of_a_blob_is_not_sent(tmp_path: Path, remote: Path) -> None:
    """Put again, a blob whose copy here was spoilt is written anew."""
    store = opened(tmp_path / "a", f"git:{remote}#state")
    name = store.put(b"blob")
    store.swap(None, document(1))
    store.local(name).write_bytes(b"")
    assert store.put(b"blob") == name
    assert store.local(name).read_bytes() == b"blob"


# ---- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[GitHttp]:
    with git_http(tmp_path) as server:
        yield server


def test_the_projects_credentials_are_used_and_not_told(
    clone: Path, remote: Path, served: GitHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `actions/checkout` keeps them, in the configuration of the clone: they are in no argument of any command."""
    served.key = "Basic c29tZWJvZHk6c2VjcmV0LXRva2Vu"
    git(clone, "remote", "set-url", "origin", f"{served.url}/remote.git")
    with pytest.raises(CredentialsError) as caught:
        opened(clone, "git:batch-state").read()
    assert caught.value.exit_code == 4
    git(clone, "config", f"http.{served.url}/.extraheader", f"AUTHORIZATION: {served.key}")
    commands = watched(monkeypatch)
    store = opened(clone, "git:batch-state")
    store.swap(store.read(), document(1))
    assert store.read() == document(1)
    assert commands
    assert "c29tZWJvZHk6c2VjcmV0LXRva2Vu" not in repr(commands)


def test_what_a_person_has_configured_is_sent_once(
    clone: Path, served: GitHttp, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A header of the person's own configuration holds in any repository, and is not handed on beside."""
    served.key = "Basic c29tZWJvZHk6c2VjcmV0LXRva2Vu"
    git(clone, "remote", "set-url", "origin", f"{served.url}/remote.git")
    config = tmp_path / "gitconfig"
    config.write_text(f'[http "{served.url}/"]\n\textraheader = AUTHORIZATION: {served.key}\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    store = opened(clone, "git:batch-state")
    store.swap(store.read(), document(1))
    assert store.read() == document(1)


def test_the_cache_is_packed(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long-lived machine does not keep each write as four files for ever."""
    monkeypatch.setattr("runner.edge.stores.git._LOOSE", 20)
    store = opened(clone, "git:batch-state")
    for serial in range(1, 12):
        store.swap(document(serial - 1) if serial > 1 else None, document(serial))
    (repository,) = (clone / ".runner/cache/git").iterdir()
    assert loose(repository) > 30
    assert opened(clone, "git:batch-state").read() == document(11)
    assert loose(repository) < 10


def loose(repository: Path) -> int:
    return sum(1 for _ in repository.glob("objects/??/*"))


def test_a_user_in_the_address_of_origin_is_not_told(clone: Path, tmp_path: Path) -> None:
    """A token that somebody wrote into the remote's URL appears in no error."""
    git(clone, "remote", "set-url", "origin", "http://somebody:secret-token@127.0.0.1:9/remote.git")
    with pytest.raises(RunnerError) as caught:
        opened(clone, "git:batch-state").read()
    assert "secret-token" not in caught.value.message


def test_a_key_in_the_address_of_origin_is_in_no_argument(
    clone: Path, served: GitHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others on the machine see arguments."""
    served.key = "Basic c29tZWJvZHk6c2VjcmV0LXRva2Vu"
    url = served.url.replace("http://", "http://somebody:secret-token@")
    git(clone, "remote", "set-url", "origin", f"{url}/remote.git")
    commands = watched(monkeypatch)
    store = opened(clone, "git:batch-state")
    store.swap(store.read(), document(1))
    assert store.read() == document(1)
    assert commands
    assert "secret-token" not in repr(commands)


@pytest.mark.parametrize("lost", ["before", "after"])
def test_a_push_whose_answer_is_lost(clone: Path, remote: Path, served: GitHttp, lost: str) -> None:
    """Carried out or not, it is found out, and there is one commit for it."""
    git(clone, "remote", "set-url", "origin", f"{served.url}/remote.git")
    store = opened(clone, "git:batch-state")
    store.swap(None, document(1))
    served.lose(lost, "git-receive-pack", 1)
    store.swap(document(1), document(2))
    assert served.lost == 1
    assert store.read() == document(2)
    assert git(remote, "rev-list", "--count", "batch-state") == "2"


def test_a_server_that_is_down(clone: Path, served: GitHttp) -> None:
    """A few tries, then out of reach, with a word on how to go on; nothing is believed to be written."""
    git(clone, "remote", "set-url", "origin", f"{served.url}/remote.git")
    store = opened(clone, "git:batch-state")
    store.swap(None, document(1))
    served.lose("before", "git-", 1_000)
    with pytest.raises(OutOfReach, match="the store git:batch-state is out of reach") as caught:
        store.swap(document(1), document(2))
    assert "run the same command again" in caught.value.hint
    served.lose("before", "git-", 0)
    assert store.read() == document(1)


def test_locks_of_a_git_that_was_killed(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie in a cache that nobody else works in: after a moment they are taken away."""
    monkeypatch.setattr("runner.edge.stores.git._MOMENT", 0.01)
    opened(clone, "git:batch-state").swap(None, document(1))
    other = clone.parent / "other"
    git(clone.parent, "clone", "--quiet", str(clone.parent / "remote.git"), "other")
    assert opened(other, "git:batch-state").read() == document(1)
    opened(clone, "git:batch-state").swap(document(1), document(2))
    (repository,) = (other / ".runner/cache/git").iterdir()
    (repository / "shallow.lock").touch()
    (repository / "refs/runner/batch-state.lock").touch()
    assert opened(other, "git:batch-state").read() == document(2)


def test_a_spoilt_cache_is_made_anew(clone: Path) -> None:
    """The repository under `.runner/cache` is a cache: removed between two runs, nothing is missed."""
    opened(clone, "git:batch-state").swap(None, document(1))
    shutil.rmtree(clone / ".runner/cache")
    store = opened(clone, "git:batch-state")
    assert store.read() == document(1)
    store.swap(document(1), document(2))
