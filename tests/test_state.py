"""State: each event changes the beliefs that it is about and no others; the document is read as it was written."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from builders import a_task
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.model import Offer, Price
from runner.provider import Phase, Progress
from runner.result import Counts
from runner.revision import Revision
from runner.state import (
    LIFTS,
    Abandoned,
    BatchState,
    Begun,
    Checked,
    Claimed,
    Collected,
    Coverage,
    Covered,
    Declared,
    Event,
    Forgiven,
    Lift,
    Lifted,
    Parked,
    Pin,
    Pinned,
    Publication,
    Published,
    Removed,
    Renewed,
    Staged,
    State,
    Stopped,
    Stopping,
    Submitted,
    Unreadable,
    Voided,
    condition,
    dump,
    fold,
    forbids,
    load,
)
from runner.task import ABANDONED, BEGUN, COLLECTED, ENDED, ON_ITS_WAY, OPEN, PHASES, STAGED, VOID, Claim, Task

CASES = Path(__file__).parent / "cases" / "states"

CLAIM = Claim("host/boot/1/9", 60.0)
TASK = a_task("t-1", claim=CLAIM)
OTHER = a_task("t-2", batch="b", phase=OPEN)
COVERAGE = Coverage("k", {"prompt": "p"}, rows=3, requests=3, needs=("t-1",), attempts=3)
STATE = State(
    "L",
    4,
    "w",
    {"a": BatchState(covered=COVERAGE), "b": BatchState(covered=replace(COVERAGE, needs=("t-2",)))},
    {"t-1": TASK, "t-2": OTHER},
)


def having(task: Task, state: State = STATE) -> State:
    """The state with this task in the place of the one with its id."""
    return replace(state, tasks={**state.tasks, task.id: task})


def with_batch(batch: BatchState, name: str = "a", state: State = STATE) -> State:
    return replace(state, batches={**state.batches, name: batch})


def reopened(state: State) -> State:
    """Batch a is no longer covered."""
    batch = state.batches["a"]
    assert batch.covered is not None
    return with_batch(replace(batch, covered=replace(batch.covered, current=False)), state=state)


def in_phase(phase: str, **changes: Any) -> Task:
    """The task as it stands in ``phase``, having come there by the ordinary way."""
    been = [BEGUN, STAGED, OPEN, ENDED, COLLECTED]
    at = been.index(phase) if phase in been else 1
    facts: dict[str, Any] = {}
    if at >= 1:
        facts |= {"staged_at": 1_001.0, "marker": "file-1"}
    if at >= 2:
        facts |= {"started_at": 1_002.0, "remote_id": "r-1"}
    if at >= 3:
        facts |= {"ended_at": 1_003.0, "ending": "succeeded", "raw": "Done", "progress": (3, 3, 0)}
    if at >= 4:
        facts |= {"collected_at": 1_004.0, "results": "res", "outcomes": "out", "counts": (3, 0, 0)}
    claim = CLAIM if phase in (BEGUN, STAGED) else None
    return replace(TASK, **{"phase": phase, "claim": claim, **facts, **changes})


# ---- events, each with the whole state after it ----------------------------------------------------------------------

PIN = Pin("s", Offer("mi-9", price=Price(0.1, 0.2, "CNY")))
PUBLICATION = Publication("k", "outputs/a.jsonl", "sha", Counts(3), 9.0)
RUNNING = Progress(Phase.RUNNING, "Running", 3, 1, 0)
FAILED = Progress(Phase.FAILED, "Failed", 3, 1, 2, "out of quota", retryable=False)
DONE = Collected("t-1", 1_004.0, "res", "out", (3, 0, 0), 0, (5, 6))


def folded() -> Iterator[tuple[str, State, Event, State]]:
    """What it is about, before, the event, after."""
    batch, begun, staged, open_, ended = STATE.batches["a"], TASK, *map(in_phase, (STAGED, OPEN, ENDED))
    yield "pinned", STATE, Pinned("a", PIN), with_batch(replace(batch, pin=PIN))
    yield "pinned, a new batch", STATE, Pinned("new", PIN), with_batch(BatchState(pin=PIN), "new")
    yield "declared", STATE, Declared("a", "cancel"), with_batch(replace(batch, on_remove="cancel"))
    yield "begun", STATE, Begun(a_task("t-3")), having(a_task("t-3"))
    yield "renewed", STATE, Renewed(CLAIM.by, 99.0), having(replace(begun, claim=Claim(CLAIM.by, 99.0)))
    yield "renewed when staged", *claimed(having(staged), staged)
    yield "renewed by another", STATE, Renewed("host/boot/1/10", 99.0), STATE
    yield "staged", STATE, Staged("t-1", CLAIM.by, 1_001.0, "file-1"), having(staged)
    yield "submitted", having(staged), Submitted("t-1", "r-1", 1_002.0), having(open_)
    void = replace(staged, phase=VOID, error="why", claim=None)
    yield "voided when staged", having(staged), Voided("t-1", "why", STAGED), reopened(having(void))
    yield "voided when begun", STATE, Voided("t-1", "why"), reopened(replace(STATE, tasks={"t-2": OTHER}))
    yield "adopted after all", having(void), Submitted("t-1", "r-1", 1_002.0), having(replace(open_, error="why"))
    yield "abandoned", having(open_), Abandoned("t-1"), reopened(having(replace(open_, phase=ABANDONED)))
    gone = replace(staged, phase=ABANDONED, claim=None)
    yield "abandoned when staged", having(staged), Abandoned("t-1"), reopened(having(gone))
    moving = replace(open_, raw="Running", progress=(3, 1, 0))
    yield "checked, still running", having(open_), Checked("t-1", RUNNING, 1_003.0), having(moving)
    failed = replace(
        open_,
        phase=ENDED,
        ended_at=1_003.0,
        raw="Failed",
        progress=(3, 1, 2),
        ending="failed",
        error="out of quota",
        retryable=False,
    )
    yield "checked, ended", having(open_), Checked("t-1", FAILED, 1_003.0), having(failed)
    home = replace(in_phase(COLLECTED), tokens=(5, 6))
    yield "collected", having(ended), DONE, having(home)
    some = replace(home, counts=(1, 1, 1), again=2)
    again = replace(DONE, counts=(1, 1, 1), again=2)
    yield "collected, with some to ask again", having(ended), again, reopened(having(some))
    both = having(replace(OTHER, stopped="cancelled"), having(replace(open_, stopped="cancelled")))
    yield "stopped", having(open_), Stopped(("t-1", "t-2", "gone"), "cancelled"), both
    held = with_batch(replace(batch, cancelled=True))
    hearing = having(replace(open_, stopping=True))
    lift = Lift("cost", 80.0, 9.0, "somebody")
    yield "lifted", STATE, Lifted(lift), replace(STATE, lifts=(lift,))
    yield "lifted again, its reply lost", replace(STATE, lifts=(lift,)), Lifted(lift), replace(STATE, lifts=(lift,))
    many = tuple(replace(lift, at=float(at)) for at in range(LIFTS))
    yield "lifted often", replace(STATE, lifts=many), Lifted(lift), replace(STATE, lifts=many)
    yield (
        "lifted more often than is remembered",
        replace(STATE, lifts=many),
        Lifted(replace(lift, at=99.0)),
        replace(STATE, lifts=(*many[1:], replace(lift, at=99.0))),
    )
    yield "claimed", having(open_), Claimed(("t-1", "gone"), "m", 9.0), having(replace(open_, claim=Claim("m", 9.0)))
    yield "claimed once it is home", having(home), Claimed(("t-1",), "m", 9.0), having(home)
    held_open = replace(open_, claim=CLAIM)
    yield "let go", having(held_open), Renewed(CLAIM.by, 0.0), having(open_)
    parked = replace(open_, parked=("b-1",), parked_bytes=5)
    yield "parked", having(open_), Parked("t-1", "b-1", 5), having(parked)
    yield "parked again, its reply lost", having(parked), Parked("t-1", "b-1", 5), having(parked)
    more_of_it = replace(parked, parked=("b-1", "b-2"), parked_bytes=9)
    yield "parked further", having(parked), Parked("t-1", "b-2", 9), having(more_of_it)
    yield "parked once it is home", having(home), Parked("t-1", "b-1", 5), having(home)
    yield "parked once it is gone", having(open_), Parked("gone", "b-1", 5), having(open_)
    yield "stopping", having(open_), Stopping(("t-1", "gone")), hearing
    yield "stopped with its batch", STATE, Stopped((), "cancelled", ("a",)), held
    late = having(replace(open_, stopped="gave_up"))
    yield "given up", having(open_), Stopped(("t-1",), "gave_up"), late
    forgiven = having(replace(home, forgiven="all"))
    yield (
        "stopped after it was forgiven",
        forgiven,
        Stopped(("t-1",), "gave_up"),
        having(replace(home, stopped="gave_up")),
    )
    yield "forgiven", having(home), Forgiven(("t-1", "gone"), "all"), reopened(forgiven)
    yield "forgiven with its batch", held, Forgiven((), "failed", ("a",)), STATE
    more = replace(COVERAGE, key="k2", needs=("t-1", "t-2"))
    seen = {"t-1": condition(TASK), "t-2": condition(OTHER)}
    first = Revision(1, 9.0, "mi-9", "as before", 3, 3)
    done = BatchState(covered=more, revisions=(first,))
    yield "covered", STATE, Covered("a", more, seen, 9.0, "mi-9"), with_batch(done)
    afresh = replace(more, fingerprint={"prompt": "q"}, revision="blob")
    second = Revision(2, 99.0, "mi-9", "prompt changed", 3, 3, "blob")
    yield (
        "covered, and asks otherwise",
        with_batch(done),
        Covered("a", afresh, seen, 99.0, "mi-9"),
        with_batch(BatchState(covered=afresh, revisions=(first, second))),
    )
    grown = replace(more, rows=9, requests=8)
    yield (
        "covered, with more rows",
        with_batch(done),
        Covered("a", grown, seen, 99.0, "mi-9"),
        with_batch(BatchState(covered=grown, revisions=(replace(first, rows=9, requests=8),))),
    )
    stale = replace(more, current=False)
    first = replace(first, at=0.0, model="")
    yield (
        "covered, but moved on",
        STATE,
        Covered("a", more, {**seen, "t-1": "gone"}),
        with_batch(BatchState(covered=stale, revisions=(first,))),
    )
    yield (
        "covered, but gone",
        STATE,
        Covered("a", replace(more, needs=("t-9",)), {"t-9": condition(TASK)}),
        with_batch(BatchState(covered=replace(stale, needs=("t-9",)), revisions=(first,))),
    )
    yield "published", STATE, Published("a", PUBLICATION), with_batch(replace(batch, published=PUBLICATION))
    yield "removed", STATE, Removed(("t-1", "gone")), reopened(replace(STATE, tasks={"t-2": OTHER}))
    yield (
        "removed with its batch",
        STATE,
        Removed(("t-1",), ("a", "gone")),
        replace(STATE, tasks={"t-2": OTHER}, batches={"b": STATE.batches["b"]}),
    )


def claimed(state: State, task: Task) -> tuple[State, Event, State]:
    return state, Renewed(CLAIM.by, 99.0), having(replace(task, claim=Claim(CLAIM.by, 99.0)), state)


@pytest.mark.parametrize(
    ("before", "event", "after"), [case[1:] for case in folded()], ids=[case[0] for case in folded()]
)
def test_fold(before: State, event: Event, after: State) -> None:
    """The whole state after an event, compared with what it should be: nothing else has changed."""
    assert fold(before, event) == after


def test_every_event_is_in_the_table() -> None:
    """A new kind of event needs a line above."""
    assert {type(event) for _, _, event, _ in folded()} == set(get_args(Event))


MOVES: dict[str, tuple[Event, dict[str, str]]] = {
    "Staged": (Staged("t-1", CLAIM.by, 9.0, "m"), dict.fromkeys(PHASES, STAGED)),
    "Submitted": (Submitted("t-1", "r-1", 9.0), {STAGED: OPEN, VOID: OPEN}),
    "Voided, seen begun": (Voided("t-1", "why"), {BEGUN: ""}),
    "Voided, seen staged": (Voided("t-1", "why", STAGED), {STAGED: VOID}),
    "Checked, running": (Checked("t-1", RUNNING, 9.0), {}),
    "Checked, ended": (Checked("t-1", FAILED, 9.0), {OPEN: ENDED}),
    "Collected": (DONE, {ENDED: COLLECTED}),
    "Abandoned": (Abandoned("t-1"), dict.fromkeys(ON_ITS_WAY, ABANDONED)),
    "Renewed": (Renewed(CLAIM.by, 9.0), {}),
    "Stopped": (Stopped(("t-1",), "cancelled"), {}),
    "Stopping": (Stopping(("t-1",)), {}),
    "Forgiven": (Forgiven(("t-1",), "all"), {}),
    "Removed": (Removed(("t-1",)), dict.fromkeys(PHASES, "")),
}
"""Where an event takes a task from each phase; "" is out of the state, and a phase not named is stayed in."""


@pytest.mark.parametrize("phase", sorted(PHASES))
@pytest.mark.parametrize("name", MOVES)
def test_from_every_phase(name: str, phase: str) -> None:
    """An event that was overtaken changes nothing: above all, none takes back a start that is known to have happened.

    Staged is not asked here: `forbids` sees to it.
    """
    event, moves = MOVES[name]
    before = having(in_phase(phase, ending="failed" if phase == ENDED else ""))
    after = fold(before, event)
    found = after.tasks["t-1"].phase if "t-1" in after.tasks else ""

    assert found == moves.get(phase, phase)
    if found == phase and name.split(",")[0] in ("Submitted", "Voided", "Collected", "Abandoned"):
        assert after == before


@pytest.mark.parametrize("event", [event for _, _, event, _ in folded() if not isinstance(event, Begun)])
def test_a_task_that_is_gone(event: Event) -> None:
    """No event but Begun makes a task, and none fails for want of one."""
    assert fold(State("L"), event).tasks == {}


def test_the_state_before_is_left_alone() -> None:
    """Folding makes a new value: no mapping of the old one is written to."""
    for _, before, event, _ in folded():
        copy = load(dump(before))
        fold(before, event)
        assert before == copy


# ---- coverage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "before", "event"), [case[:3] for case in folded()], ids=[case[0] for case in folded()]
)
def test_what_reopens_coverage(name: str, before: State, event: Event) -> None:
    """Collected with some to ask again, Voided, Abandoned, Forgiven and Removed, for the batches that need the task."""
    reopening = isinstance(event, Voided | Abandoned | Forgiven | Removed) or (
        isinstance(event, Collected) and event.again
    )
    about = not isinstance(event, Forgiven) or event.tasks
    after = fold(before, event)
    covered = {name: batch.covered.current for name, batch in after.batches.items() if batch.covered}

    if not isinstance(event, Covered) and "a" in covered:
        assert covered["a"] == (not (reopening and about))
    assert covered["b"]  # t-2 is never the one, but for a stop, which asks nothing anew


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "on its way"),
        ({"phase": STAGED}, "on its way"),
        ({"phase": ENDED}, "on its way"),
        ({"stopped": "cancelled"}, "on its way cancelled"),
        ({"phase": COLLECTED, "outcomes": "out"}, "collected out"),
        ({"phase": COLLECTED, "outcomes": "out", "forgiven": "all"}, "collected out  all"),
        ({"phase": VOID}, "void"),
        (None, "gone"),
    ],
)
def test_condition(changes: dict[str, Any] | None, word: str) -> None:
    """One word for all that a look at a task's requests depends on, and for nothing else of it."""
    assert condition(None if changes is None else replace(TASK, **changes)) == word


# ---- what another run did meanwhile ----------------------------------------------------------------------------------

STAGE = Staged("t-1", CLAIM.by, 1_001.0, "file-1")


@pytest.mark.parametrize(
    ("state", "event", "reason"),
    [
        (STATE, Begun(a_task("t-3", claim=CLAIM)), ""),
        (STATE, Begun(TASK), ""),  # our own write, folded once more
        (STATE, Begun(replace(TASK, claim=Claim("host/boot/2/9", 60.0))), "task t-1 was begun by another run"),
        (STATE, Begun(replace(TASK, claim=Claim(CLAIM.by, 61.0))), "task t-1 was begun by another run"),
        (having(in_phase(OPEN)), Begun(TASK), "task t-1 was begun by another run"),
        (with_batch(BatchState(cancelled=True)), Begun(TASK), "a was cancelled meanwhile"),
        (with_batch(BatchState(cancelled=True), "b"), Begun(TASK), ""),
        (STATE, STAGE, ""),
        (having(in_phase(STAGED)), STAGE, ""),  # our own write, whose reply was lost
        (having(in_phase(STAGED, staged_at=1_000.5)), STAGE, "task t-1 is staged already"),
        (having(in_phase(OPEN)), STAGE, "the claim on task t-1 was lost"),
        (having(replace(TASK, claim=Claim("host/boot/2/9", 60.0))), STAGE, "the claim on task t-1 was lost"),
        (having(replace(TASK, claim=None)), STAGE, "the claim on task t-1 was lost"),
        (State("L"), STAGE, "the claim on task t-1 was lost"),
        (having(replace(TASK, stopped="cancelled")), STAGE, "task t-1 was cancelled meanwhile"),
    ],
)
def test_forbids(state: State, event: Event, reason: str) -> None:
    """A task is begun and staged by one run only, and not after a person has cancelled it."""
    assert forbids(state, event) == reason


@pytest.mark.parametrize("event", [event for _, _, event, _ in folded() if not isinstance(event, Begun | Staged)])
@pytest.mark.parametrize("phase", sorted(PHASES))
def test_no_other_event_is_forbidden(event: Event, phase: str) -> None:
    """What is merely out of date is folded to nothing, and stops nobody."""
    assert forbids(having(in_phase(phase)), event) == ""


# ---- any history -----------------------------------------------------------------------------------------------------

IDS = ("t-1", "t-2", "t-3", "t-4")
WORDS = st.text(st.characters(codec="utf-8") | st.just("\ud83d"), max_size=5)
"""Half surrogate pairs among them: a provider's words are whatever it sent."""


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Events in an order in which one or several runs could have written them."""
    state, events = State(), []
    for at in range(draw(st.integers(1, 20))):
        event = draw(st.sampled_from(list(possible(state, float(at), draw))))()
        events.append(event)
        state = fold(state, event)
    return events


def possible(state: State, now: float, draw: st.DrawFn) -> Iterator[Callable[[], Event]]:
    """What may come next."""
    words = draw(WORDS)
    batch = draw(st.sampled_from(["a", "b"]))
    yield lambda: Declared(batch, draw(st.sampled_from(["keep", "cancel"])))
    yield lambda: Pinned(batch, Pin(words, Offer(words, price=draw(st.none() | st.just(Price(0.5, 1.0, "CNY"))))))
    yield lambda: Published(
        batch, Publication(words, words, words, Counts(*draw(st.tuples(*[st.integers(0, 9)] * 4))), now)
    )
    new = [id for id in IDS if id not in state.tasks]
    if new:
        claim = Claim(draw(st.sampled_from(["x", "y"])), now + 60)
        yield lambda: Begun(
            a_task(new[0], batch=batch, begun_at=now, claim=claim, cost=draw(st.none() | st.just(0.25)))
        )
    if not state.tasks:
        return
    task = draw(st.sampled_from([state.tasks[id] for id in sorted(state.tasks)]))
    id = task.id
    needs = tuple(draw(st.sets(st.sampled_from(sorted(state.tasks)), min_size=1)))
    yield lambda: Covered(
        batch,
        Coverage(words, {"prompt": words}, 3, 3, needs, 3, words),
        {need: condition(state.tasks[need]) for need in needs},
        now,
        words,
    )
    yield lambda: Renewed(draw(st.sampled_from(["x", "y"])), now + 60)
    yield lambda: Stopped((id,), draw(st.sampled_from(["cancelled", "gave_up"])), draw(st.sampled_from([(), (batch,)])))
    yield lambda: Forgiven((id,), draw(st.sampled_from(["failed", "all"])), draw(st.sampled_from([(), (batch,)])))
    yield lambda: Removed((id,), draw(st.sampled_from([(), (batch,)])))
    yield lambda: Voided(id, words, draw(st.sampled_from([BEGUN, STAGED])))
    yield lambda: Submitted(id, words, now)
    phase = draw(st.sampled_from(list(Phase)))
    yield lambda: Checked(id, Progress(phase, words, 3, draw(st.none() | st.integers(0, 3)), 0, words), now)
    again = draw(st.integers(0, 2))
    yield lambda: Collected(id, now, words, words, (3 - again, again, 0), again, (1, 2))
    if task.phase == BEGUN and task.claim:
        by = task.claim.by
        yield lambda: Staged(id, by, now, words)
    if task.phase in (STAGED, OPEN, ENDED):
        yield lambda: Abandoned(id)


@settings(max_examples=50)
@given(histories())
def test_every_prefix_of_a_history_is_a_state(events: list[Event]) -> None:
    """After each event the document loads to an equal state and prints back the same, one line per task and batch."""
    state = State("L")
    for event in events:
        state = fold(state, event)
        document = dump(state)

        assert load(document) == state
        assert dump(load(document)) == document
        assert len(document.splitlines()) - len(state.tasks) - len(state.batches) in (4, 5, 6)


@settings(max_examples=50)
@given(histories())
def test_a_start_that_happened_is_never_taken_back(events: list[Event]) -> None:
    """From Submitted on, a task leaves the state or is forgotten by a person's word only."""
    state = State("L")
    for event in events:
        started = {id for id, task in state.tasks.items() if task.phase in (OPEN, ENDED, COLLECTED)}
        state = fold(state, event)
        if not isinstance(event, Removed | Abandoned):
            assert {state.tasks[id].phase for id in started} <= {OPEN, ENDED, COLLECTED}


@settings(max_examples=50)
@given(histories())
def test_a_history_told_twice(events: list[Event]) -> None:
    """An event whose write had a lost reply is folded once more: nothing changes, unless something came between."""
    state = State("L")
    for event in events:
        state = fold(state, event)
        assert fold(state, event) == state


# ---- the document ----------------------------------------------------------------------------------------------------

GOLDEN = (CASES / "format-1.json").read_bytes()


def test_a_document_of_format_1_is_read_and_printed_back() -> None:
    """Byte for byte.  Should this fail, the format has changed: give it the next number, and an upgrade."""
    assert dump(load(GOLDEN)) == GOLDEN


def test_what_a_document_of_format_1_says() -> None:
    """Read into the values that it was written from."""
    state = load(GOLDEN)
    assert (state.lineage, state.serial, state.writer) == ("5e0c3a52-6cd8-4c8f-9d6b-0f4d8c3f7a11", 41, "w-41")
    assert {name: (batch.on_remove, batch.cancelled) for name, batch in state.batches.items()} == {
        "gsm8k": ("keep", False),
        "gsm8k-long": ("cancel", True),
        "中文": ("keep", False),
    }
    assert {id: task.phase for id, task in state.tasks.items()} == {
        "t-000000000001": BEGUN,
        "t-000000000002": STAGED,
        "t-000000000003": OPEN,
        "t-000000000004": ENDED,
        "t-000000000005": COLLECTED,
        "t-000000000006": VOID,
        "t-000000000007": ABANDONED,
    }
    covered, published = state.batches["gsm8k"].covered, state.batches["gsm8k"].published
    assert covered is not None and published is not None
    assert (covered.needs, covered.current, published.counts) == (
        ("t-000000000004", "t-000000000005"),
        True,
        Counts(1_316, 2, 1),
    )


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.glob("*.json")))
def test_other_golden_documents(name: str) -> None:
    """Each file is a document as this version prints it."""
    document = (CASES / name).read_bytes()
    assert dump(load(document)) == document


def test_the_empty_document() -> None:
    """A project's first write, in full."""
    assert dump(State("L", 1, "w")) == (
        b'{"format": 1, "lineage": "L", "serial": 1, "writer": "w",\n"batches": {},\n"tasks": {}\n}\n'
    )


def test_one_line_per_task_in_the_order_of_their_ids() -> None:
    """A change of one task is a change of one line, wherever the task was put in."""
    tasks = [a_task(f"t-{number}", error="line\nbreak\u2028") for number in range(9)]
    random.Random(1).shuffle(tasks)
    state = State("L", tasks={task.id: task for task in tasks})
    lines = dump(state).split(b"\n")

    assert [line[:6] for line in lines[3:12]] == [f'"t-{number}":'.encode() for number in range(9)]
    moved = dump(fold(state, Stopped(("t-4",), "cancelled"))).split(b"\n")
    assert [at for at, (one, other) in enumerate(zip(lines, moved, strict=True)) if one != other] == [7]


def test_half_a_surrogate_pair_in_a_providers_words() -> None:
    """Is kept as JSON writes it, so that the document stays UTF-8."""
    state = State("L", tasks={"t-1": a_task(error="half \ud83d of one")})
    assert b"half \\ud83d of one" in dump(state)
    assert load(dump(state)) == state


def test_a_newer_format_is_refused() -> None:
    """It says which formats can be read, and what to do."""
    with pytest.raises(Unreadable) as caught:
        load(GOLDEN.replace(b'"format": 1', b'"format": 2'))
    assert caught.value.message == "the state document has format 2; this runner reads formats 1 to 1"
    assert caught.value.hint == "Nothing was done.  Use a runner at least as new as the one that wrote it:"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"1",
        b"null",
        b"{}",
        b"{",
        b'"format"',
        b"[" * 100_000,
        b'{"format": 1}',
        b'{"format": true}',
        b'{"format": 0}',
        b'{"format": -1}',
        b'{"format": 1.0}',
        b'{"format": "1"}',
        b'{"format": null}',
        b'{"format": ' + b"9" * 5_000 + b"}",
        GOLDEN[:-3],
        GOLDEN[: len(GOLDEN) // 2],
        GOLDEN.replace(b"format", b"fromat"),
    ],
)
def test_what_is_no_state_document(document: bytes) -> None:
    """Unreadable, an expected error, with a message."""
    with pytest.raises(Unreadable) as caught:
        load(document)
    assert caught.value.message.startswith("the state document ")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield (*path, key)
            yield from places(part, (*path, key))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield (*path, at)
            yield from places(part, (*path, at))


PLACES = list(places(json.loads(GOLDEN)))
ODD = (None, True, -1, 10**400, "x", "\ud800", [None], {"by": 1})


def damaged(path: tuple[Any, ...], change: str, value: Any) -> bytes:
    """The golden document with one thing in it replaced, taken away, or doubled under another name."""
    document = json.loads(GOLDEN)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if change == "replace":
        parent[path[-1]] = value
    elif change == "remove":
        del parent[path[-1]]
    elif isinstance(parent, dict):
        parent["unheard-of"] = value
    else:
        parent.append(value)
    return json.dumps(document).encode()


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_damage_is_refused_or_harmless(place: tuple[Any, ...]) -> None:
    """Every value of the document, replaced by every odd one, taken away, or joined by a stranger.

    Either it is Unreadable, or what was read can be worked with: folded, printed, and read back.
    """
    changes = [*(("replace", value) for value in ODD), ("remove", None), ("add", None)]
    for change, value in changes:
        try:
            state = load(damaged(place, change, value))
        except Unreadable:
            continue
        for id in state.tasks:
            state = fold(fold(state, Checked(id, FAILED, 9.0)), Renewed("x", 9.0))
        assert load(dump(state)) == state


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("serial",), "4", "the state document is damaged: serial is not what belongs there"),
        (("lineage",), 4, "the state document is damaged: lineage is not what belongs there"),
        (
            ("tasks", "t-000000000003", "requests"),
            "3",
            "the state document is damaged: tasks.t-000000000003.requests is not what belongs there",
        ),
        (
            ("tasks", "t-000000000003", "phase"),
            "asleep",
            "the state document is damaged: ValueError: task t-000000000003 cannot be asleep",
        ),
        (
            ("batches", "gsm8k", "covered", "fingerprint", "input"),
            None,
            "the state document is damaged: batches.gsm8k.covered.fingerprint.input is not what belongs there",
        ),
    ],
)
def test_damage_is_named(path: tuple[str, ...], value: Any, message: str) -> None:
    """So that who edited the document by hand finds the place."""
    with pytest.raises(Unreadable) as caught:
        load(damaged(path, "replace", value))
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("name", "value"),
    [("shard", "a\0"), ("results", "\ud800"), ("outcomes", "a\nb"), ("requests", -1), ("begun_at", 1e299)],
)
def test_what_no_task_can_have_is_refused(name: str, value: object) -> None:
    """Names that no blob has, and moments that no date can be made of, are named before they are met."""
    document = json.loads(dump(State("l", 1, "w", tasks={"t-1": a_task("t-1")})))
    document["tasks"]["t-1"][name] = value
    with pytest.raises(Unreadable, match=rf"tasks\.t-1\.{name} is not what belongs there"):
        load(json.dumps(document).encode())


@given(st.data())
def test_flipped_bytes(data: st.DataObject) -> None:
    """A document with bytes cut out or overwritten is Unreadable, or another state document; nothing else."""
    at = data.draw(st.integers(0, len(GOLDEN)))
    length = data.draw(st.integers(0, 40))
    document = GOLDEN[:at] + data.draw(st.binary(max_size=3)) + GOLDEN[at + length :]
    try:
        state = load(document)
    except Unreadable:
        return
    assert load(dump(state)) == state
