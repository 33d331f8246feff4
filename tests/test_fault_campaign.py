"""The campaign of faults measures what it says: each manner of going wrong really strikes, and a breach is seen."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from everywhere import NAMES

from benchmarks.faults.draw import schedules, singles
from benchmarks.faults.nursery import KILLED, Order
from benchmarks.faults.places import ONLINE, PLACES, TAGLESS, TROUBLES
from benchmarks.faults.project import ASKED, write_project
from benchmarks.faults.schedule import FATAL, MANNERS, SIGNALS, Point, Run, Schedule, Upset, parse
from benchmarks.faults.theatre import Story, Theatre
from benchmarks.faults.timeline import EPOCH
from benchmarks.faults.verdict import Evidence, judge
from runner.simulator.faults import parse_faults

CREATE, STATE = Point("POST /v1/batches", 1), Point("write .runner/*", 3)
TABLE = {
    "openai-openai": [CREATE, STATE, Point("rename .runner/state.json", 1)],
    "wanqing": [Point("POST /x", 1), STATE],
}


# ---- schedules -----------------------------------------------------------------------------------------------------


def test_every_provider_has_its_place() -> None:
    """The same types and dialects as in the contract suite."""
    assert set(PLACES) == set(NAMES)
    assert {*ONLINE, *TAGLESS} < set(PLACES)


def test_a_schedule_is_read_back_as_it_was_printed() -> None:
    """So that a failing one can be played again; and a seed always draws the same."""
    drawn = list(itertools.islice(schedules(7, TABLE), 200))
    assert [parse(str(schedule)) for schedule in drawn] == drawn
    assert list(itertools.islice(schedules(7, TABLE), 200)) == drawn
    assert list(itertools.islice(schedules(8, TABLE), 200)) != drawn
    assert len({schedule.number for schedule in drawn}) == 200


def test_every_effect_is_upset_in_every_manner() -> None:
    """Alone, and among others in longer lives; each of them with whatever the provider may do."""
    alone = singles(TABLE)
    assert len(set(alone)) == len(alone) == sum(len(point.manners) for points in TABLE.values() for point in points)
    drawn = list(itertools.islice(schedules(1, TABLE), 1_000))
    assert {replace(schedule, number=0) for schedule in drawn} >= set(alone)
    assert {upset.manner for schedule in drawn for upset in schedule.upsets} == set(MANNERS)
    assert {schedule.trouble for schedule in drawn} == {"", *TROUBLES}
    assert any(len(runs) > 1 for schedule in drawn for runs in schedule.rounds)
    assert parse_faults(list(TROUBLES.values()))


def test_no_power_cut_beside_another_run() -> None:
    """Which would outlive it."""
    for schedule in itertools.islice(schedules(2, TABLE), 1_000):
        for runs in schedule.rounds:
            assert len(runs) == 1 or not any(upset.is_cut for run in runs for upset in run.upsets)


# ---- upsets ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    theatre = Theatre(tmp_path_factory.mktemp("theatre"))
    yield theatre
    theatre.close()


def first_run(story: Story) -> tuple[str, str]:
    """What the shell would show of the first run: its ending, and what it said."""
    head, _, said = story.said[0].partition("\n")
    return head.rpartition(" ")[2], said


HTTP_ENDINGS = {
    **dict.fromkeys(FATAL, str(KILLED)),
    **dict.fromkeys(("refused", "429", "lost", "torn", "500"), "0"),
    **dict.fromkeys(SIGNALS, "130"),
}
FILE_ENDINGS = {
    **dict.fromkeys(FATAL, str(KILLED)),
    **dict.fromkeys(("full", "read-only", "io-error"), "1"),
    **dict.fromkeys(SIGNALS, "130"),
}
WORDS = {"full": "No space left on device", "read-only": "Read-only file system", "io-error": "Input/output error"}


@pytest.mark.parametrize("manner", CREATE.manners)
def test_a_call_goes_wrong_in_each_manner(theatre: Theatre, manner: str) -> None:
    """The start is upset: the run ends accordingly, and all is well in the end."""
    story = theatre.play(Schedule("openai-openai", rounds=((Run((Upset(CREATE, manner),)),),)))
    ending, said = first_run(story)
    assert (ending, story.struck, story.breaches) == (HTTP_ENDINGS[manner], 1, ()), said
    assert story.cuts == manner.startswith("cut-")
    assert CREATE in story.trace


@pytest.mark.parametrize("manner", STATE.manners)
def test_a_write_goes_wrong_in_each_manner(theatre: Theatre, manner: str) -> None:
    """The state is being written: the run ends accordingly, says why, and all is well in the end."""
    story = theatre.play(Schedule("simulator", rounds=((Run((Upset(STATE, manner),)),),)))
    ending, said = first_run(story)
    assert (ending, story.struck, story.breaches) == (FILE_ENDINGS[manner], 1, ()), said
    assert WORDS.get(manner, "") in said
    assert story.kills == (manner in FATAL)


def test_two_runs_at_once(theatre: Theatre) -> None:
    """Both really run, and only one of them submits."""
    story = theatre.play(Schedule("openai-openai", rounds=((Run(), Run()),)))
    assert story.breaches == ()
    assert [words.partition("\n")[0] for words in story.said[:2]] == ["$ runner apply --yes --wait   ended with 0"] * 2
    assert story.trace.count(Point("GET /v1/models", 1)) >= 2


def test_waiting_costs_no_time(theatre: Theatre) -> None:
    """A list that lags by minutes, and an absence that is believed after a quarter of an hour: seen, in no time."""
    lost = Schedule("openai-openai", rounds=((Run((Upset(CREATE, "lost"),)),),), lag=400, skew=-240)
    story = theatre.play(lost)
    assert story.breaches == ()
    assert theatre.timeline.now() - EPOCH > 400
    ending, said = first_run(story)
    assert (ending, "4 succeeded" in said) == ("0", True)


def test_a_child_that_is_killed_is_really_killed(theatre: Theatre, tmp_path: Path) -> None:
    """Not an exception that cleans up behind itself."""
    root = tmp_path / "project"
    write_project(root, {"type": "simulator"}, ASKED[False])
    upset = Upset(Point("make .runner", 1), "before")
    (ended,) = theatre.nursery.run(Order(str(root), ("apply", "--yes"), (upset,)))
    assert (ended.code, ended.trace[-1]) == (-signal.SIGKILL, upset.point)
    assert not (root / ".runner").exists()


# ---- verdicts --------------------------------------------------------------------------------------------------------


def line(text: str, status: str = "succeeded") -> dict[str, Any]:
    return {"status": status, "text": f"the answer to: {text}"}


def paid(id: str, task: str | None = "r-1", *, billed: bool = True) -> dict[str, Any]:
    return {"custom_id": id, "digest": id * 2, "task": task, "billed": billed}


GOOD = Evidence(
    asked={"alpha": ("one?", "two?")},
    outputs={"alpha": [line("one?"), line("two?")]},
    bill=[paid("a"), paid("b"), paid("c", billed=False)],
    state={"tasks": {"t-1": {"phase": "collected", "remote_id": "r-1"}, "t-2": {"phase": "void"}}},
)


def test_all_is_well() -> None:
    """Each question paid once and answered, each task at rest; what was not answered is not paid."""
    assert judge(GOOD).breaches == ()


@pytest.mark.parametrize(
    ("changes", "duplicates", "lost", "breach"),
    [
        ({"bill": [*GOOD.bill, paid("a")]}, 1, 0, "paid more than once"),
        ({"bill": [*GOOD.bill, paid("a", "r-9")]}, 1, 1, "r-9 is not in the state"),
        ({"bill": [*GOOD.bill, paid("d")]}, 0, 0, "3 different requests were paid, not 2"),
        ({"bill": GOOD.bill[:1]}, 0, 0, "1 different requests were paid, not 2"),
        ({"outputs": {}}, 0, 1, "0 lines, not 2"),
        ({"outputs": {"alpha": [line("one?")]}}, 0, 1, "1 lines, not 2"),
        ({"outputs": {"alpha": [line("one?"), line("two?", "missing")]}}, 0, 1, "'two?' is missing"),
        ({"outputs": {"alpha": [line("two?"), line("one?")]}}, 0, 2, "the answer to something else"),
        ({"state": {"tasks": {"t-1": {"remote_id": "r-1"}}}}, 0, 0, "t-1 is left begun"),
    ],
)
def test_a_breach_is_seen(changes: dict[str, Any], duplicates: int, lost: int, breach: str) -> None:
    """Whatever is wrong, it is counted and said."""
    verdict = judge(replace(GOOD, **changes))
    assert (verdict.duplicates, verdict.lost) == (duplicates, lost)
    assert breach in "; ".join(verdict.breaches)


def test_single_questions_are_counted_on_their_own() -> None:
    """Where there are no tasks, a question asked again is no duplicate; the runs are watched for what they ask."""
    verdict = judge(replace(GOOD, bill=[paid("a", None), paid("b", None), paid("a", None)], online=True))
    assert (verdict.duplicates, verdict.again, verdict.breaches) == (0, 1, ())
