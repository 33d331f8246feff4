"""Asking after tasks: what each answer of a provider becomes, and what is left to other runs."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from builders import PLACE, a_task

from runner.edge.clock import SystemClock
from runner.edge.process import is_gone, whoami
from runner.edge.store import FolderStore
from runner.edge.world import World
from runner.errors import Busy, CredentialsError, Refused, RunnerError, Unsure
from runner.model import Catalogue, Offer
from runner.plan import Unsettled
from runner.project import Project
from runner.provider import (
    Absent,
    Finding,
    Found,
    Frame,
    Job,
    Phase,
    Progress,
    Provider,
    Question,
    ShardLimits,
    Traits,
    Unknown,
    Upload,
)
from runner.refresh import News, fold_all, job_of, refresh
from runner.result import Result
from runner.state import Checked, State, Submitted, Voided
from runner.task import ABANDONED, BEGUN, COLLECTED, ENDED, OPEN, STAGED, VOID, Claim, Task

NOW = 10_000.0
GRACE = 900.0
US, THEM = "host/boot/1/1", "host/boot/2/2"
TRAITS = Traits(cancels=True, finds=True, grace=GRACE, poll=1.0, shard=ShardLimits(1, 1))
RUNNING = Progress(Phase.RUNNING, "Running", 3, 1, 0)


@dataclass
class Told:
    """A provider that is only ever asked after tasks, and answers what it was told to; an error is raised."""

    finding: Finding | Exception = field(default_factory=Absent)
    progress: Progress | Exception = RUNNING
    name: str = "demo"
    traits: Traits = TRAITS
    notes: Sequence[str] = ()
    asked: list[tuple[str, Job]] = field(default_factory=list)

    def find(self, job: Job) -> Finding:
        self.asked.append(("find", job))
        if isinstance(self.finding, Exception):
            raise self.finding
        return self.finding

    def check(self, job: Job) -> Progress:
        self.asked.append(("check", job))
        if isinstance(self.progress, Exception):
            raise self.progress
        return self.progress

    def _never(self) -> RuntimeError:
        return RuntimeError("refreshing asks no such thing")

    def offers(self) -> Catalogue:
        raise self._never()

    def encode(self, offer: Offer, question: Question) -> dict[str, Any]:
        raise self._never()

    def frame(self, question: Question) -> Frame:
        raise self._never()

    def decode(self, line: bytes) -> Result:
        raise self._never()

    def stage(self, job: Job) -> Upload:
        raise self._never()

    def start(self, job: Job, upload: Upload) -> str:
        raise self._never()

    def results(self, job: Job, sink: Callable[[bytes], object]) -> None:
        raise self._never()

    def cancel(self, job: Job) -> bool:
        raise self._never()

    def verify(self, job: Job, remote_id: str) -> None:
        raise self._never()


class Now:
    """A clock that stands still."""

    def now(self) -> float:
        return NOW

    def sleep(self, seconds: float, wake: threading.Event) -> None:
        raise AssertionError("refreshing does not wait")


def news(*tasks: Task, provider: Provider | None = None, gone: Sequence[str] = (), **options: Any) -> News:
    world = World(
        Path("nowhere"),
        Project(PLACE),
        FolderStore(Path("nowhere")),
        {"demo": provider or Told()},
        clock=Now(),
        who=US,
        is_gone=lambda who: who in gone,
    )
    return refresh(world, State("L", tasks={task.id: task for task in tasks}), **options)


def staged(age: float = 1_000.0, **changes: Any) -> Task:
    return a_task(phase=STAGED, staged_at=NOW - age, marker="file-1", **changes)


def opened(**changes: Any) -> Task:
    return a_task(**{"phase": OPEN, "started_at": NOW - 9, "remote_id": "r-1", **changes})


# ---- tasks under way -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", list(Phase))
def test_an_open_task_is_asked_after(phase: Phase) -> None:
    """Whatever the answer, it becomes one event."""
    told = Told(progress=Progress(phase, "Word", 3, 2, 1))
    assert news(opened(), provider=told) == News((Checked("t-1", told.progress, NOW),))  # type: ignore[arg-type]
    assert told.asked == [("check", job_of(opened()))]


def test_a_task_that_was_turned_away_is_as_if_never_sent() -> None:
    """A full queue is no failure: nothing was asked, and its requests may go out again."""
    told = Told(progress=Progress(Phase.FAILED, "failed", error="token_limit_exceeded", turned_away=True))
    found = news(opened(), provider=told)  # type: ignore[arg-type]
    assert found.events == (Voided("t-1", "token_limit_exceeded", OPEN),)
    assert found.unsettled == {"t-1": Unsettled("t-1", "turned away", "token_limit_exceeded")}
    after = fold_all(State("L", tasks={"t-1": opened()}), found.events)
    assert after.tasks["t-1"].phase == VOID


def test_a_task_that_was_stopped_and_turned_away_is_collected() -> None:
    """Nobody wants it sent again."""
    told = Told(progress=Progress(Phase.FAILED, "failed", turned_away=True))
    task = opened(stopped="cancelled")
    assert news(task, provider=told).events == (Checked("t-1", told.progress, NOW),)  # type: ignore[arg-type]


def test_a_search_knows_what_else_there_is() -> None:
    """Remote ids that are taken, and other interrupted starts of the same size: whichever is found may be theirs."""
    told = Told()
    others = [
        staged(id="t-2"),
        staged(id="t-3", requests=99),
        opened(id="t-4", remote_id="r-4"),
        a_task("t-5", provider="other", phase=OPEN, remote_id="r-5"),
        a_task("t-6", phase=COLLECTED, remote_id="r-6"),
    ]
    news(staged(), *others, provider=told)  # type: ignore[arg-type]
    (job,) = [job for what, job in told.asked if what == "find" and job.task == "t-1"]
    assert (job.taken, job.rivals) == (frozenset({"r-4", "r-6"}), 1)


@pytest.mark.parametrize("phase", [ENDED, COLLECTED, VOID, ABANDONED])
def test_a_task_at_rest_is_not_asked_after(phase: str) -> None:
    """Nor is one whose results only have to be fetched."""
    told = Told()
    assert news(a_task(phase=phase, ending="failed"), provider=told) == News()
    assert told.asked == []


@pytest.mark.parametrize(
    ("error", "warning"),
    [
        (Busy("429"), "task t-1 of a: demo is busy: 429"),
        (Unsure("timeout"), "task t-1 of a: demo gave no clear answer: timeout"),
        (
            Refused("no such task"),
            "task t-1 of a: demo refuses to say: no such task.  If it is gone for good: runner state abandon t-1",
        ),
    ],
)
def test_no_answer_is_a_warning(error: Exception, warning: str) -> None:
    """The task stays as it was; an interrupted start stays unsettled."""
    refused = frozenset({"t-1"} if isinstance(error, Refused) else ())
    assert news(opened(), provider=Told(progress=error)) == News(warnings=(warning,), refused=refused)
    detail = str(error) if isinstance(error, Refused) else warning
    assert news(staged(), provider=Told(finding=error)) == News(
        unsettled={"t-1": Unsettled("t-1", "", detail)}, warnings=(warning,), refused=refused
    )


@pytest.mark.parametrize("error", [Refused("bad key", credentials=True), CredentialsError("no key")])
def test_a_key_that_is_refused_or_missing(error: RunnerError) -> None:
    """Is told once for its provider, not for every task; tasks elsewhere are asked after all the same."""
    tasks = [opened(), opened(id="t-2"), staged(id="t-3")]
    found = news(*tasks, provider=Told(error, error))
    assert found == News(unsettled={"t-3": Unsettled("t-3", "", str(error))}, errors={"demo": error})


def test_a_provider_that_is_gone_from_the_project() -> None:
    """Its task cannot be asked after: a warning says so."""
    warning = "task t-1 of a is at provider 'old', which runner.yaml no longer names"
    assert news(opened(provider="old")) == News(warnings=(warning,))


def test_a_bug_in_a_provider_is_not_hidden() -> None:
    """What is not an expected error comes through."""
    with pytest.raises(ZeroDivisionError):
        news(opened(), provider=Told(progress=ZeroDivisionError()))


def test_many_tasks_keep_their_order() -> None:
    """Asked after at the same time, told in the order of the state."""
    tasks = [opened(id=f"t-{number:02}") for number in range(40)]
    found = news(*tasks)
    assert [event.task for event in found.events if isinstance(event, Checked)] == [task.id for task in tasks]


def test_only_some_tasks() -> None:
    """A selection leaves the others alone."""
    told = Told()
    found = news(opened(), opened(id="t-2", batch="b"), provider=told, only=lambda task: task.batch == "b")
    assert found == News((Checked("t-2", RUNNING, NOW),))
    assert [job.task for _, job in told.asked] == ["t-2"]


# ---- interrupted starts ----------------------------------------------------------------------------------------------


def test_a_start_that_happened() -> None:
    """Is adopted with its remote id, as started when it was staged, and asked after at once."""
    told = Told(Found("r-9"))
    found = news(staged(), provider=told)
    assert found == News(
        (Submitted("t-1", "r-9", NOW - 1_000.0), Checked("t-1", RUNNING, NOW)),
        unsettled={"t-1": Unsettled("t-1", "found", "it is r-9")},
    )
    assert told.asked == [("find", job_of(staged())), ("check", replace(job_of(staged()), remote_id="r-9"))]


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (GRACE + 1, News((Voided("t-1", "not found at the provider", STAGED),), {"t-1": Unsettled("t-1", "absent")})),
        (GRACE, News(unsettled={"t-1": Unsettled("t-1", "young", "that is believed in 1 s")})),
        (60.0, News(unsettled={"t-1": Unsettled("t-1", "young", "that is believed in 840 s")})),
        (-300.0, News(unsettled={"t-1": Unsettled("t-1", "young", "that is believed in 1200 s")})),
    ],
)
def test_a_start_that_is_in_no_list(age: float, expected: News) -> None:
    """Believed only when it is older than the grace period: lists lag, and clocks differ."""
    assert news(staged(age)) == expected


def test_a_start_that_cannot_be_looked_up() -> None:
    """However old, it stays until a person decides."""
    found = news(staged(10**9), provider=Told(Unknown("it has no list")))
    assert found == News(unsettled={"t-1": Unsettled("t-1", "unknown", "it has no list")})


def test_a_start_that_was_found_but_not_asked_after() -> None:
    """Half an answer is none: the next run finds it again."""
    found = news(staged(), provider=Told(Found("r-9"), Busy("429")))
    assert (found.events, list(found.unsettled)) == ((), ["t-1"])


def test_a_void_start_does_not_overtake_its_owner() -> None:
    """Voided is about what was seen: a task begun that its owner stages meanwhile, or one started after all, stays."""
    begun, running = a_task(), opened()
    assert news(begun).events == (Voided("t-1", "it never left"),)
    meanwhile = State("L", tasks={"t-1": staged()})
    assert fold_all(meanwhile, news(begun).events) == meanwhile
    meanwhile = State("L", tasks={"t-1": running})
    assert fold_all(meanwhile, news(staged()).events) == meanwhile


# ---- offline ---------------------------------------------------------------------------------------------------------


def test_offline_nobody_is_asked() -> None:
    """Open tasks are as they were last seen, interrupted starts are unsettled, and what never left is void."""
    told = Told()
    found = news(opened(), staged(id="t-2"), a_task("t-3"), provider=told, offline=True)
    assert found == News((Voided("t-3", "it never left"),), {"t-2": Unsettled("t-2", "")})
    assert told.asked == []


# ---- claims ----------------------------------------------------------------------------------------------------------

LIVE = Claim(THEM, NOW + 60)


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("phase", [BEGUN, STAGED])
def test_another_runs_claim_is_left_alone(phase: str, offline: bool) -> None:
    """While its lease lasts and its process may live: neither asked after nor voided."""
    told = Told()
    found = news(a_task(phase=phase, claim=LIVE), provider=told, offline=offline)
    assert found == News(busy={"t-1": "host/boot/2"})
    assert told.asked == []


@pytest.mark.parametrize(
    ("claim", "gone"),
    [
        (None, []),
        (Claim(THEM, NOW), []),
        (Claim(THEM, NOW - 1), []),
        (LIVE, [THEM]),
        (Claim(US, NOW + 60), []),
    ],
)
def test_a_claim_that_holds_no_more(claim: Claim | None, gone: list[str]) -> None:
    """None, run out, its process gone, or our own of an earlier step: the task is looked at."""
    assert news(a_task(claim=claim), gone=gone).events == (Voided("t-1", "it never left"),)
    assert news(staged(claim=claim), gone=gone).unsettled == {"t-1": Unsettled("t-1", "absent")}


def test_a_claim_says_nothing_once_a_task_is_open() -> None:
    """Anybody may ask after it."""
    assert news(opened(claim=LIVE)).events == (Checked("t-1", RUNNING, NOW),)


def test_a_job_is_what_the_provider_needs_to_know() -> None:
    """Of a task whose shard has left."""
    task = opened(marker="file-1", max_wait=60)
    assert job_of(task) == Job(
        task="t-1",
        name=task.name,
        model="m",
        requests=3,
        max_wait=60,
        remote_id="r-1",
        staged="file-1",
        begun_at=1_000.0,
    )


# ---- processes -------------------------------------------------------------------------------------------------------


def test_a_process_is_gone_once_it_has_ended() -> None:
    """Known on the same machine: while it lives it is not gone; ended, not even waited for, it is."""
    source = "from runner.edge.process import whoami; import sys; print(whoami(), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdin is not None
        who = child.stdout.readline().strip()
        assert not is_gone(who)
        child.stdin.close()
        child.stdout.read()
        child.wait()
    assert is_gone(who)


def test_a_process_that_was_killed_and_not_waited_for() -> None:
    """A zombie does nothing any more."""
    source = "from runner.edge.process import whoami; import time; print(whoami(), flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    who = child.stdout.readline().strip()
    child.kill()
    child.stdout.read()
    gone = [is_gone(who)]
    for _ in range(1_000):
        if gone[-1]:
            break
        SystemClock().sleep(0.01, threading.Event())
        gone.append(is_gone(who))
    child.communicate()
    assert gone[-1]


def test_we_are_not_gone() -> None:
    """And always have the same name."""
    assert whoami() == whoami()
    assert not is_gone(whoami())
    assert whoami().startswith(f"{socket.gethostname()}/")


def test_another_process_with_our_number() -> None:
    """A number is used again; when the process started tells the two apart."""
    host, machine, pid, started = whoami().rsplit("/", 3)
    assert is_gone(f"{host}/{machine}/{pid}/{int(started) - 1}")


@pytest.mark.parametrize("who", ["", "x", "a/b/c", "a/b/c/d", "elsewhere/0-0/1/1", "/////"])
def test_what_cannot_be_known_is_not_gone(who: str) -> None:
    """Another machine's, or no name at all: its lease decides."""
    assert not is_gone(who)


def test_a_sleep_ends_when_it_is_woken() -> None:
    """A signal is not slept through."""
    wake = threading.Event()
    wake.set()
    SystemClock().sleep(3_600, wake)
    assert SystemClock().now() > 1_700_000_000
