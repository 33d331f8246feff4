"""Events written into the state against whoever else writes: none lost, none doubled, none believed that failed."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from builders import a_task, counter
from stores import open_store, rounds

from benchmarks.races import race
from runner.edge.store import Conflict, FolderStore, Store
from runner.errors import StateConflict
from runner.journal import Journal, Overtaken
from runner.state import BatchState, Begun, Declared, Staged, State, Submitted, Unreadable, dump, load
from runner.task import STAGED, Claim

US, THEM = Claim("host/boot/1/1", 60.0), Claim("host/boot/2/2", 60.0)
TASK = a_task("t-1", claim=US)
BEGIN, STAGE = Begun(TASK), Staged("t-1", US.by, 9.0, "file-1")


class Faulty(FolderStore):
    """A folder whose swaps go wrong: ``fault`` is called with the real swap, and does what it likes."""

    def __init__(self, folder: Path, fault: Callable[[Callable[[], None]], None]) -> None:
        super().__init__(folder)
        self._fault = fault
        self.swaps = 0

    def swap(self, old: bytes | None, new: bytes) -> None:
        self.swaps += 1
        self._fault(lambda: super(Faulty, self).swap(old, new))


def stored(store: Store) -> State:
    document = store.read()
    assert document is not None
    return load(document)


def declared(state: State) -> dict[str, str]:
    return {name: batch.on_remove for name, batch in state.batches.items()}


# ---- alone -----------------------------------------------------------------------------------------------------------


def test_the_first_write_makes_a_lineage(store: Store) -> None:
    """Before it there is no document; after it there is one state, on disk and in hand."""
    journal = Journal(store, counter())
    assert (journal.state, store.read()) == (State(), None)
    after = journal.write(BEGIN)
    assert after == journal.state == stored(store) == State("u1", 1, "u2", tasks={"t-1": TASK})


def test_each_write_has_a_serial_and_a_writer_of_its_own(store: Store) -> None:
    """Several events in one write are one write; the lineage stays."""
    journal = Journal(store, counter())
    journal.write(BEGIN)
    journal.write(Declared("a", "cancel"), Declared("b", "cancel"))
    assert stored(store) == State("u1", 2, "u3", {"a": BatchState("cancel"), "b": BatchState("cancel")}, {"t-1": TASK})


def test_nothing_to_say_writes_nothing(store: Store) -> None:
    """No event, no document."""
    assert Journal(store, counter()).write() == State()
    assert store.read() is None


def test_another_run_goes_on_from_what_was_written(store: Store) -> None:
    """The journal of a new run begins with the state of the last one."""
    written = Journal(store, counter()).write(BEGIN)
    assert Journal(store, counter("v")).state == written


def test_a_document_that_cannot_be_read(store: Store) -> None:
    """Is said at once, and never written over."""
    store.swap(None, b"{]")
    with pytest.raises(Unreadable):
        Journal(store, counter())
    assert store.read() == b"{]"


# ---- beside others ---------------------------------------------------------------------------------------------------


def test_what_another_run_wrote_is_kept(store: Store, kind: str, tmp_path: Path) -> None:
    """A conflict folds our events onto the state as it now stands."""
    ours = Journal(store, counter("u"))
    ours.write(Declared("a", "cancel"))
    theirs = Journal(open_store(kind, tmp_path / "store"), counter("v"))
    theirs.write(Declared("b", "cancel"))
    after = ours.write(Declared("c", "cancel"))

    assert declared(after) == dict.fromkeys("abc", "cancel")
    assert (after.serial, after.lineage) == (3, "u1")
    assert theirs.refresh() == after == stored(store)


def test_two_runs_that_make_the_first_state(store: Store, kind: str, tmp_path: Path) -> None:
    """The lineage is the one of whoever came first."""
    ours, theirs = (Journal(open_store(kind, tmp_path / "store"), counter(name)) for name in "uv")
    theirs.write(Declared("b", "cancel"))
    after = ours.write(Declared("a", "cancel"))
    assert (declared(after), after.lineage, after.serial) == ({"a": "cancel", "b": "cancel"}, "v1", 2)


def test_processes_that_are_lied_to_lose_no_event(kind: str, tmp_path: Path) -> None:
    """Five processes write events to a store that calls stored writes conflicts (a lost reply, a 500 that came
    after), and turns others away (409): each event is in the state once, and the serial counts what was written."""
    end = race(kind, tmp_path / "store", "events", writers=5, increments=rounds(kind), seed=1)
    assert (end.events, end.serial) == (5 * rounds(kind), end.swaps)
    assert end.swaps >= 5 * rounds(
        kind
    )  # more, if others wrote before the look that tells a lost reply from a conflict


def test_the_lies_are_real_ones(tmp_path: Path) -> None:
    """Reading and swapping alone, without a look at who wrote last, adds up to more."""
    end = race("folder", tmp_path / "store", "numbers-and-lies", writers=2, increments=10, seed=1)
    assert end.number == end.swaps > 20


def test_threads_at_once_lose_no_event(tmp_path: Path) -> None:
    """Collects of one run share its journal, and do not get in each other's way."""
    store = Faulty(tmp_path, lambda swap: swap())
    journal = Journal(store, counter())
    threads = [
        threading.Thread(target=lambda at=at: [journal.write(Declared(f"{at}-{n}", "cancel")) for n in range(5)])
        for at in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(journal.state.batches), journal.state.serial, store.swaps) == (40, 40, 40)
    assert stored(store) == journal.state


def test_a_task_that_another_run_has_begun(store: Store, kind: str, tmp_path: Path) -> None:
    """Overtaken, and the journal holds the state as it now stands; nothing of ours was written."""
    ours, theirs = (Journal(open_store(kind, tmp_path / "store"), counter(name)) for name in "uv")
    won = theirs.write(Begun(replace(TASK, claim=THEM)))
    with pytest.raises(Overtaken) as caught:
        ours.write(Declared("a", "cancel"), BEGIN)

    assert caught.value.message == "task t-1 was begun by another run"
    assert caught.value.exit_code == 6
    assert ours.state == stored(store) == won


def test_a_claim_that_was_lost(store: Store, kind: str, tmp_path: Path) -> None:
    """What another run took over is not staged: the costly call is never made."""
    ours, theirs = (Journal(open_store(kind, tmp_path / "store"), counter(name)) for name in "uv")
    ours.write(BEGIN)
    theirs.refresh()
    taken = theirs.write(Begun(replace(TASK, claim=US)), Declared("b", "cancel"))
    assert taken.tasks["t-1"].claim == US
    theirs.write(Staged("t-1", US.by, 5.0, "theirs"))
    with pytest.raises(Overtaken, match="task t-1 is staged already"):
        ours.write(STAGE)
    assert stored(store).tasks["t-1"].marker == "theirs"


def test_a_guard_is_asked_again_after_a_conflict(store: Store, kind: str, tmp_path: Path) -> None:
    """It sees the state that our events would be folded into, and its word is the reason."""
    ours, theirs = (Journal(open_store(kind, tmp_path / "store"), counter(name)) for name in "uv")
    seen: list[int] = []

    def guard(state: State) -> str:
        seen.append(len(state.batches))
        return "somebody was here" if state.batches else ""

    theirs.write(Declared("b", "cancel"))
    with pytest.raises(Overtaken, match="somebody was here"):
        ours.write(Declared("a", "cancel"), guard=guard)
    assert seen == [0, 1]
    assert declared(stored(store)) == {"b": "cancel"}


def test_a_state_that_was_replaced(store: Store) -> None:
    """Another lineage is another state: nothing of this run belongs into it."""
    journal = Journal(store, counter())
    journal.write(BEGIN)
    other = dump(State("another", 9, "w"))
    store.swap(store.read(), other)
    with pytest.raises(StateConflict, match="replaced by another one"):
        journal.write(STAGE)
    assert store.read() == other


def test_a_state_that_was_deleted(tmp_path: Path) -> None:
    """Is not quietly begun anew."""
    journal = Journal(FolderStore(tmp_path), counter())
    journal.write(BEGIN)
    (tmp_path / "state.json").unlink()
    with pytest.raises(StateConflict, match="replaced by another one"):
        journal.write(STAGE)
    assert not (tmp_path / "state.json").exists()


# ---- stores that go wrong --------------------------------------------------------------------------------------------


def conflicts(count: int) -> Callable[[Callable[[], None]], None]:
    """Another run is faster, so many times."""
    left = iter(range(count))

    def fault(swap: Callable[[], None]) -> None:
        if next(left, None) is not None:
            raise Conflict
        swap()

    return fault


def at_once(_attempt: int) -> None:
    """Try again without letting the other writer go first."""


@pytest.mark.parametrize("count", [1, 7, 49])
def test_conflicts_are_outlasted(tmp_path: Path, count: int) -> None:
    """Tried again until it is written, once."""
    store = Faulty(tmp_path, conflicts(count))
    after = Journal(store, counter(), at_once).write(BEGIN)
    assert (after.serial, store.swaps) == (1, count + 1)
    assert stored(store) == after


def test_conflicts_without_end(tmp_path: Path) -> None:
    """After fifty in a row: a StateConflict, and nothing was written."""
    store = Faulty(tmp_path, conflicts(1_000))
    journal = Journal(store, counter(), at_once)
    with pytest.raises(StateConflict) as caught:
        journal.write(BEGIN)
    assert not isinstance(caught.value, Overtaken)
    assert caught.value.message == "the state kept changing: 50 writes in a row met another run's"
    assert (store.swaps, store.read(), journal.state) == (50, None, State())


def test_a_write_whose_reply_was_lost(tmp_path: Path) -> None:
    """It reports a conflict and did succeed: recognised as our own by writer and serial, and not repeated."""

    def fault(swap: Callable[[], None]) -> None:
        swap()
        raise Conflict

    store = Faulty(tmp_path, fault)
    journal = Journal(store, counter())
    journal.write(BEGIN)
    journal.write(STAGE)
    after = journal.write(Submitted("t-1", "r-1", 10.0))

    assert (store.swaps, after.serial) == (3, 3)
    assert after.tasks["t-1"].remote_id == "r-1"
    assert stored(store) == after


def test_a_write_whose_reply_was_lost_before_another_wrote(tmp_path: Path) -> None:
    """Ours is no longer the last write, and is folded once more: to the same, so that the start may go on."""

    def fault(swap: Callable[[], None]) -> None:
        swap()
        if store.swaps in (1, 3):
            Journal(FolderStore(tmp_path), counter("v")).write(Declared(f"b{store.swaps}", "cancel"))
            raise Conflict

    store = Faulty(tmp_path, fault)
    journal = Journal(store, counter())
    journal.write(BEGIN)
    after = journal.write(STAGE)

    staged = replace(TASK, phase=STAGED, staged_at=9.0, marker="file-1")
    assert after.tasks == {"t-1": staged}
    assert declared(after) == {"b1": "cancel", "b3": "cancel"}
    assert stored(store) == after


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_disk_that_refuses(tmp_path: Path, number: int) -> None:
    """OSError, as it came; the state is as it was, on disk and in hand, and the next write goes on from there."""
    broken = False

    def fault(swap: Callable[[], None]) -> None:
        if broken:
            raise OSError(number, "no")
        swap()

    store = Faulty(tmp_path, fault)
    journal = Journal(store, counter())
    before, document = journal.write(BEGIN), store.read()
    broken = True
    with pytest.raises(OSError, match="no") as caught:
        journal.write(STAGE)
    assert caught.value.errno == number
    assert (journal.state, store.read()) == (before, document)

    broken = False
    assert journal.write(STAGE).serial == 2
    assert stored(store).tasks["t-1"].phase == STAGED


def test_a_disk_that_refuses_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is written beside and renamed: when the flush fails, the old one stands and nothing is left."""
    store = FolderStore(tmp_path)
    journal = Journal(store, counter())
    before = journal.write(BEGIN)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr("runner.edge.files.os.fsync", full)
        with pytest.raises(OSError, match="full"):
            journal.write(STAGE)
    assert (journal.state, stored(store)) == (before, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.lock"]
    assert journal.write(STAGE).serial == 2
