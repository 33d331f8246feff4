"""`runner doctor`, in front of real servers: what it finds out, that it costs nothing, and what it keeps to itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from everywhere import KEYS, NAMES, ONLINE, providers
from fakes.online import FakeOnline, as_json
from fakes.tap import Tap, tapped
from helpers import Done, Project, Served, serving

from runner import doctor as doctor_room
from runner.checkup import Finding, Status, exit_code
from runner.doctor import clock_findings, store_findings
from runner.doctor_machine import network_findings
from runner.edge.store import FolderDocument, FolderStore, Probe
from runner.errors import CredentialsError
from runner.report.checkup import checkup_lines

FREE = "?Action=Describe"
"""How Qianfan spells a question that only reads, by POST like all its calls."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture
def tap(server: Served) -> Iterator[Tap]:
    with tapped(server.url) as tap:
        yield tap


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def set_keys(monkeypatch: pytest.MonkeyPatch, keys: Mapping[str, str]) -> None:
    for name, value in keys.items():
        monkeypatch.setenv(name, value)


def everywhere(project: Project, url: str) -> None:
    """A project with every provider type and dialect, and a spec at each."""
    project.providers = {"demo": {"type": "simulator"}, **providers(url)}
    project.configure()
    project.rows(2)
    for name in NAMES:
        changes: dict[str, Any] = {"provider": name, "input": {"path": "specs/data/job.jsonl"}, "parameters": {}}
        model = {"model": {"id": "mi-9"}} if name == "qianfan" or name in ONLINE or name == "anthropic" else {}
        project.spec(name, **changes, **model)


def doctor(project: Project, *args: str) -> tuple[Done, list[dict[str, Any]]]:
    done = project.call("doctor", "--json", *args)
    return done, done.json["checks"] if done.out else []


def about(checks: list[dict[str, Any]], subject: str) -> list[tuple[str, str]]:
    return [(check["status"], check["what"]) for check in checks if check["about"] == subject]


# ---- providers -----------------------------------------------------------------------------------------------------


def test_every_provider_is_asked_only_what_is_free(
    project: Project, tap: Tap, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every type and dialect the keys are found good, by calls none of which submits or asks anything."""
    set_keys(monkeypatch, KEYS)
    everywhere(project, tap.url)
    before = server.bill()
    _, checks = doctor(project)
    costly = [asked for asked in tap.asked if not asked.startswith("GET ") and FREE not in asked]
    assert costly == []
    assert not any("/chat/completions" in asked for asked in tap.asked)
    assert server.bill() == before
    assert len(tap.asked) > len(NAMES)
    for name in NAMES:
        told = about(checks, f"provider {name}")
        assert [status for status, _ in told if status == "fail"] == [], (name, told)
        said = [what for status, what in told if "it takes our credentials" in what and status == "ok"]
        unknown = [what for status, what in told if status == "unknown"]
        assert len(said) + len(unknown) == 1, (name, told)
    known = {name for name in NAMES if any("it gave" in what for _, what in about(checks, f"provider {name}"))}
    assert known == set(NAMES)


def test_a_refused_key_is_a_failure_and_is_not_shown(
    project: Project, tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that a server says no to ends in exit code 4 at every type; no piece of it is in what is said."""
    bad = {
        "TEST_KEY": "invalid-0123456789-abcdef",
        "TEST_ACCESS": "invalid-access-012345",
        "TEST_SECRET": "wrong-54321-secret",
    }
    set_keys(monkeypatch, bad)
    everywhere(project, tap.url)
    done, checks = doctor(project)
    assert done.code == 4
    for name in NAMES:
        assert "fail" in [status for status, _ in about(checks, f"provider {name}")], name
    text = done.out + done.err + project.call("doctor").out
    assert [value for value in bad.values() if value[8:] in text] == []


@pytest.mark.parametrize(("used", "code", "status"), [(True, 4, "fail"), (False, 0, "warn")])
def test_a_missing_key_is_named(project: Project, used: bool, code: int, status: str) -> None:
    """By its variable; it fails only where a spec, or the person, asks for that provider."""
    project.providers["real"] = {"type": "openai", "api_key": {"env": "NOT_SET_ANYWHERE"}}
    project.spec(rows=1, **({"provider": "real"} if used else {}))
    done, checks = doctor(project)
    assert (done.code, [one for one, what in about(checks, "provider real") if "NOT_SET_ANYWHERE" in what]) == (
        code,
        [status],
    )
    assert project.call("doctor", "real").code == 4


def test_a_list_that_everybody_is_given_proves_no_key(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that shows its models to whoever asks says nothing of the key: unknown, and no invented yes."""
    fake = FakeOnline()
    fake.models = as_json({"data": [{"id": "m-1"}]})
    try:
        monkeypatch.setenv("SOME_KEY", "a-key-of-a-test")
        project.providers["open"] = {"type": "online", "base_url": fake.url, "api_key": {"env": "SOME_KEY"}}
        project.spec(rows=1, provider="open", model="m-1")
        done, checks = doctor(project)
        assert done.code == 0
        assert ("unknown", "whether it takes our credentials cannot be asked at no cost") in about(
            checks, "provider open"
        )
        assert not fake.asks
    finally:
        fake.close()


def test_a_server_that_is_not_there_is_a_failure(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens: exit code 1, and the address is in the line."""
    monkeypatch.setenv("SOME_KEY", "a-key-of-a-test")
    project.providers["gone"] = {"type": "openai", "base_url": "http://127.0.0.1:9", "api_key": {"env": "SOME_KEY"}}
    project.spec(rows=1, provider="gone", model="m-1")
    done, checks = doctor(project)
    assert done.code == 1
    (what,) = [what for status, what in about(checks, "provider gone") if status == "fail"]
    assert "127.0.0.1:9" in what
    assert ("unknown", "gone gave no list of models") in about(checks, "model of job")


def test_offline_asks_nobody(project: Project, tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --offline not one call is made, and what was not asked is unknown."""
    set_keys(monkeypatch, KEYS)
    everywhere(project, tap.url)
    done, checks = doctor(project, "--offline")
    assert (done.code, tap.asked) == (0, [])
    assert ("unknown", "whether it takes our credentials was not asked: --offline") in about(
        checks, "provider anthropic"
    )


def test_one_provider_alone(project: Project, tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor PROVIDER` asks that one only; a name that there is not is an error that lists them."""
    set_keys(monkeypatch, KEYS)
    everywhere(project, tap.url)
    done, checks = doctor(project, "anthropic")
    assert done.code == 0
    assert {check["about"] for check in checks if check["about"].startswith("provider")} == {"provider anthropic"}
    assert all("/v1/messages/batches" in asked or "/v1/models" in asked for asked in tap.asked)
    assert "It names" in project.call("doctor", "nobody").err


@pytest.mark.parametrize(("away", "status"), [(0, "ok"), (120, "warn"), (-4_000, "fail")])
def test_the_clock_is_held_against_the_providers(
    project: Project, tap: Tap, monkeypatch: pytest.MonkeyPatch, away: int, status: str
) -> None:
    """By the `Date` of its answers: up to five minutes are put up with, as settling does."""
    set_keys(monkeypatch, KEYS)
    tap.date = formatdate(time.time() + away, usegmt=True)
    project.providers["claude"] = {"type": "anthropic", "base_url": tap.url, "api_key": {"env": "TEST_KEY"}}
    project.spec(rows=1, provider="claude", model="mi-9")
    done, checks = doctor(project)
    assert [one for one, _ in about(checks, "clock of claude")] == [status]
    assert done.code == (status == "fail")


# ---- specs ---------------------------------------------------------------------------------------------------------


def test_a_parameter_out_of_range_and_a_limit(project: Project) -> None:
    """What plan would refuse is a failure; what apply would hold back is a warning with the figures."""
    project.configure(limits={"requests": 1})
    project.spec("hot", rows=2, parameters={"temperature": 9})
    done, checks = doctor(project)
    assert done.code == 1
    ((status, what),) = about(checks, "model of hot")
    assert (status, "temperature 9" in what) == ("fail", True)
    project.spec("hot", rows=2, parameters={"temperature": 1})
    done, checks = doctor(project)
    ((status, what),) = about(checks, "limits")
    assert (done.code, status) == (0, "warn")
    assert "2" in what


def test_a_pinned_model_that_is_gone(project: Project, tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was chosen earlier is no longer on sale: the next plan would ask everything again, and that is told."""
    set_keys(monkeypatch, KEYS)
    models = [{"id": "old", "family": "F", "price": {"input": 1, "output": 1, "currency": "CNY"}}]
    project.providers["far"] = {
        "type": "openai",
        "dialect": "azure",
        "base_url": tap.url,
        "api_key": {"env": "TEST_KEY"},
        "models": models,
    }
    project.spec(rows=1, provider="far", model={"select": {"family": "F"}})
    project.apply()
    models[0]["id"] = "new"
    project.configure()
    _, checks = doctor(project)
    assert ("warn", "old, chosen earlier, is not on sale any more; the next plan takes new") in about(
        checks, "model of job"
    )


def test_files_with_problems(project: Project) -> None:
    """Each of the first problems has its place; what needs a valid project is not looked at."""
    project.spec(rows=1, modle="x")
    done, checks = doctor(project)
    assert done.code == 1
    assert "specs/job.yaml:" in about(checks, "project")[0][1]
    assert about(checks, "provider demo") == []


def test_outside_a_project(project: Project) -> None:
    """The machine is looked at all the same, and the way on is a command."""
    done = project.call("doctor")
    assert done.code == 1
    assert "             runner init" in done.out.splitlines()
    assert "Python" in done.out


def test_a_blank_that_nobody_filled_in(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `runner init` left to be filled in is found before anybody is asked."""
    monkeypatch.setenv("WANQING_API_KEY", "a-key-of-a-test")
    project.root.mkdir(exist_ok=True)
    assert project.call("init", "--provider", "wanqing").code == 0
    done, checks = doctor(project, "wanqing")
    assert done.code == 1
    assert ("fail", "project_id in runner.yaml still says REPLACE_ME") in about(checks, "provider wanqing")


# ---- the machine and the store -------------------------------------------------------------------------------------


def test_git_and_its_history(project: Project) -> None:
    """No repository, nothing added, something changed, all committed: each is told apart."""

    def git(*args: str) -> None:
        config = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(project.root), *config, *args], check=True, capture_output=True)

    def told() -> list[str]:
        return [f"{status} {what}" for status, what in about(doctor(project)[1], "git")]

    project.spec(rows=1)
    assert told() == ["warn the project is in no repository"]
    git("init", "--quiet")
    assert told()[0] == "warn neither runner.yaml nor the specs are in the repository"
    assert told()[1] == "warn .runner is not ignored"
    project.write(".gitignore", ".runner/\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "all")
    (only,) = told()
    assert only.startswith("ok git ")
    project.spec(description="changed")
    assert told() == ["warn 1 file of the project not as in the last commit"]


def test_workflows_with_a_state_in_a_folder(project: Project) -> None:
    """A machine of GitHub forgets a folder, and would ask everything again: a failure before it costs anything."""
    subprocess.run(["git", "init", "--quiet", str(project.root)], check=True)
    assert project.call("init", "--github").code == 0
    done, checks = doctor(project)
    assert (done.code, [status for status, _ in about(checks, "workflows")]) == (1, ["fail"])


def test_proxies_by_name_only(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy's address may hold a password: the variable is named, its value is not; one that cannot be used fails."""
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxy-password@127.0.0.1:3128")
    project.spec(rows=1)
    done = project.call("doctor")
    assert "HTTPS_PROXY" in done.out
    assert "proxy-password" not in done.out + done.err
    monkeypatch.setenv("HTTPS_PROXY", "gopher://x")
    assert [finding.status for finding in network_findings() if finding.about == "proxy"] == [Status.FAIL]


def test_it_leaves_nothing_behind(project: Project) -> None:
    """No state, no spool, no file of the trial: only caches may be new."""
    project.spec(rows=1)
    before = set(project.root.rglob("*"))
    assert doctor(project)[0].code == 0
    new = {path.relative_to(project.root).parts for path in project.root.rglob("*")} - {
        path.relative_to(project.root).parts for path in before
    }
    assert {parts for parts in new if parts[:2] not in ((".runner",), (".runner", "cache"))} == set()


def test_every_store_passes_its_trial_and_keeps_its_document(store: Any) -> None:
    """A trial of a store that is in use changes nothing of it, and finds it fit or says that it cannot know."""
    store.swap(None, b'{"serial": 1}')
    probe = store.probe()
    assert isinstance(probe, Probe)
    assert store.read() == b'{"serial": 1}'
    assert probe.skew is None or abs(probe.skew) < 60


def test_a_store_that_compares_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk on which a second writer wins in silence is a failure, before two runs overwrite each other there."""
    store = FolderStore(tmp_path / "state")
    monkeypatch.setattr(FolderDocument, "swap", _swap_blindly)
    (finding,) = store_findings(store, "state", doctor_room.Request())
    assert (finding.status, "another writer" in finding.what) == (Status.FAIL, True)


def _swap_blindly(document: FolderDocument, _old: bytes | None, new: bytes) -> None:
    (document.folder / "state.json").write_bytes(new)


def test_a_disk_that_is_full_or_read_only(tmp_path: Path) -> None:
    """Where nothing can be written nothing can be recorded: a failure in words, and no traceback."""
    (finding,) = store_findings(FolderStore(Path("/proc/nowhere")), "state", doctor_room.Request())
    assert (finding.status, "cannot be written" in finding.what) == (Status.FAIL, True)


# ---- values and words ----------------------------------------------------------------------------------------------


def test_exit_codes() -> None:
    """4 comes before 1; warnings and what is not known are no failure."""
    fail, keys = Finding("a", Status.FAIL, "x"), Finding.of("b", CredentialsError("no key"))
    assert exit_code([Finding("a", Status.WARN, "x"), Finding("a", Status.UNKNOWN, "x")]) == 0
    assert exit_code([fail]) == 1
    assert exit_code([fail, keys]) == 4


def test_lines_hold_nothing_that_a_terminal_obeys() -> None:
    """What servers say is data."""
    lines = checkup_lines([Finding("a", Status.FAIL, "x\x1b[2Jy", "::error::z", "d\r", ("c\x07",))])
    assert not any(char in "".join(lines) for char in "\x1b\r\x07")


def test_a_clock_that_nobody_told() -> None:
    """Nothing is said of it."""
    assert list(clock_findings("clock", None)) == []
