"""What is known of each request: the tasks that hold it, oldest first, come to one verdict."""

from __future__ import annotations

import pytest
from builders import a_task, identity
from hypothesis import given
from hypothesis import strategies as st

from runner.known import OUTCOME, Known, Verdict, gather, identities, outcome_at, outcome_letters
from runner.task import (
    ABANDONED,
    ANSWERED,
    BEGUN,
    COLLECTED,
    ENDED,
    FINAL,
    LEFT,
    LOST,
    OPEN,
    RETRYABLE,
    STAGED,
    VOID,
    Task,
)

A, F, R, M = (bytes([letter]).decode() for letter in (ANSWERED, FINAL, RETRYABLE, LOST))


class Blobs(dict[str, bytes]):
    """Tasks made of letters; what they need is kept here under its name."""

    def task(self, id: str, requests: str, letters: str = "", **changes: object) -> Task:
        """A task of the requests "1", "2", …, collected when there are ``letters`` for their outcomes."""
        self[f"{id}-shard"] = b"".join(identity(int(number)) for number in requests)
        self[f"{id}-outcomes"] = b"".join(OUTCOME.pack(ord(letter), 7 * at, at) for at, letter in enumerate(letters))
        phase = COLLECTED if letters else OPEN
        values = {"phase": phase, "shard": f"{id}-shard", "outcomes": f"{id}-outcomes", "requests": len(requests)}
        return a_task(id, **{**values, **changes})


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


def verdict(known: Known, number: int = 1) -> tuple[str, int, str] | None:
    """In words: what is known of a request, after how many askings, and by which task."""
    found = known.verdict(identity(number))
    if found is None:
        return None
    words = ("new", "retry", "given up", "pending", "answered")
    word = words[found.state]
    assert (found.answered, found.pending, found.new) == (word == "answered", word == "pending", word == "new")
    return word, found.attempts, known.tasks[found.task].id


def asks(known: Known, attempts: int, number: int = 1) -> bool:
    return known.needs_asking(identity(number), attempts)


# ---- one task --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letter", "changes", "expected"),
    [
        ("", {"phase": BEGUN}, ("pending", 1, "t-1")),
        ("", {"phase": STAGED}, ("pending", 1, "t-1")),
        ("", {"phase": OPEN}, ("pending", 1, "t-1")),
        ("", {"phase": ENDED, "ending": "failed"}, ("pending", 1, "t-1")),
        ("", {"phase": VOID}, None),
        ("", {"phase": ABANDONED}, None),
        (A, {}, ("answered", 1, "t-1")),
        # What a machine that is gone had not asked was not asked.
        (M, {"raw": LEFT}, ("retry", 0, "t-1")),
        (R, {"raw": LEFT}, ("retry", 1, "t-1")),
        (F, {}, ("given up", 1, "t-1")),
        (R, {}, ("retry", 1, "t-1")),
        (M, {}, ("retry", 1, "t-1")),
        # A person cancelled it, or our clock gave it up: what has no answer is not asked again.
        (A, {"stopped": "cancelled"}, ("answered", 1, "t-1")),
        (R, {"stopped": "cancelled"}, ("given up", 1, "t-1")),
        (M, {"stopped": "gave_up"}, ("given up", 1, "t-1")),
        ("", {"stopped": "cancelled"}, ("pending", 1, "t-1")),
        ("", {"stopped": "gave_up"}, ("given up", 1, "t-1")),
        # A person forgave it: as if never asked, and answers only when all was forgiven.
        (A, {"forgiven": "failed"}, ("answered", 1, "t-1")),
        (A, {"forgiven": "all"}, ("new", 0, "t-1")),
        (F, {"forgiven": "failed"}, ("new", 0, "t-1")),
        (R, {"forgiven": "all"}, ("new", 0, "t-1")),
        (M, {"forgiven": "failed", "stopped": "cancelled"}, ("new", 0, "t-1")),
        ("", {"forgiven": "failed", "stopped": "gave_up"}, ("new", 0, "t-1")),
        ("", {"forgiven": "failed", "stopped": "cancelled"}, ("pending", 1, "t-1")),
    ],
)
def test_one_task(blobs: Blobs, letter: str, changes: dict[str, str], expected: tuple[str, int, str] | None) -> None:
    """Every phase, letter and word of a person, and what follows from it for a request."""
    known = gather([blobs.task("t-1", "1", letter, **changes)], blobs.__getitem__)
    assert verdict(known) == expected


@pytest.mark.parametrize(
    ("letter", "changes", "attempts", "asked"),
    [
        (A, {}, 9, False),
        (F, {}, 9, False),
        (R, {}, 1, False),
        (R, {}, 2, True),
        (M, {}, 2, True),
        ("", {}, 9, False),
        (A, {"forgiven": "all"}, 1, True),
        (F, {"forgiven": "failed"}, 1, True),
        ("", {"stopped": "gave_up"}, 9, False),
        ("", {"phase": VOID}, 1, True),
    ],
)
def test_what_is_asked_again(blobs: Blobs, letter: str, changes: dict[str, str], attempts: int, asked: bool) -> None:
    """`retry.attempts` counts every asking, the first included; what is forgiven counts afresh."""
    known = gather([blobs.task("t-1", "1", letter, **changes)], blobs.__getitem__)
    assert asks(known, attempts) == asked


def test_a_request_in_no_task(blobs: Blobs) -> None:
    """Nothing is known of it, so it is asked."""
    known = gather([blobs.task("t-1", "1", A)], blobs.__getitem__)
    assert (verdict(known, 2), asks(known, 1, 2)) == (None, True)
    assert gather([], blobs.__getitem__).verdict(identity(1)) is None


# ---- several tasks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([(R, {}), (R, {})], ("retry", 2, "t-2")),
        ([(R, {}), (M, {}), (R, {})], ("retry", 3, "t-3")),
        ([(R, {}), ("", {})], ("pending", 2, "t-2")),
        ([(R, {}), (F, {})], ("given up", 2, "t-2")),
        ([(R, {}), (A, {})], ("answered", 2, "t-2")),
        # An answer stands against whatever comes after it, but for a newer answer.
        ([(A, {}), (R, {})], ("answered", 1, "t-1")),
        ([(A, {}), (F, {})], ("answered", 1, "t-1")),
        ([(A, {}), ("", {})], ("answered", 1, "t-1")),
        ([(A, {}), (A, {})], ("answered", 2, "t-2")),
        # A start that never happened is no asking.
        ([(R, {}), ("", {"phase": VOID})], ("retry", 1, "t-1")),
        ([("", {"phase": ABANDONED}), (R, {})], ("retry", 1, "t-2")),
        # What was forgiven is not counted.
        ([(F, {"forgiven": "failed"}), (R, {})], ("retry", 1, "t-2")),
        ([(R, {"forgiven": "failed"}), (R, {"forgiven": "failed"}), ("", {})], ("pending", 1, "t-3")),
        ([(A, {"forgiven": "all"}), ("", {})], ("pending", 1, "t-2")),
        ([(A, {"forgiven": "all"}), (F, {})], ("given up", 1, "t-2")),
        ([(A, {"forgiven": "failed"}), (R, {})], ("answered", 1, "t-1")),
        ([(R, {}), (F, {"forgiven": "failed"})], ("retry", 1, "t-1")),
        ([(A, {}), (A, {"forgiven": "all"})], ("answered", 1, "t-1")),
        # Given up by our clock, and the late results did come.
        ([("", {"stopped": "gave_up"}), (A, {})], ("answered", 2, "t-2")),
    ],
)
def test_several_tasks(blobs: Blobs, tasks: list[tuple[str, dict[str, str]]], expected: tuple[str, int, str]) -> None:
    """The last one decides, and an answer above all; askings are counted over all of them."""
    made = [
        blobs.task(f"t-{at}", "1", letter, begun_at=float(at), **changes)
        for at, (letter, changes) in enumerate(tasks, start=1)
    ]
    assert verdict(gather(made, blobs.__getitem__)) == expected
    assert verdict(gather(reversed(made), blobs.__getitem__)) == expected


@pytest.mark.parametrize("letter", [R, M, F])
def test_a_retry_under_way_counts_whatever_the_clocks_say(blobs: Blobs, letter: str) -> None:
    """Begun on a machine whose clock is behind, it looks older than the failure that it asks again."""
    failed = blobs.task("t-1", "1", letter, begun_at=1_000.0)
    retry = blobs.task("t-2", "1", begun_at=950.0)
    known = gather([failed, retry], blobs.__getitem__)
    assert verdict(known) == ("pending", 2, "t-2")
    assert not asks(known, 3)
    assert verdict(gather([failed, blobs.task("t-2", "1", A, begun_at=950.0)], blobs.__getitem__)) == (
        "answered",
        1,
        "t-2",
    )


def test_tasks_that_share_some_requests(blobs: Blobs) -> None:
    """Each request has its own verdict, by its own task and position in it."""
    first = blobs.task("t-1", "123", A + R + M, begun_at=1.0)
    second = blobs.task("t-2", "324", F + A + A, begun_at=2.0)
    known = gather([second, first], blobs.__getitem__)

    assert [task.id for task in known.tasks] == ["t-1", "t-2"]
    assert {number: known.verdict(identity(number)) for number in range(1, 6)} == {
        1: Verdict(4, 1, 0, 0),
        2: Verdict(4, 2, 1, 1),
        3: Verdict(2, 2, 1, 0),
        4: Verdict(4, 1, 1, 2),
        5: None,
    }


def test_askings_are_counted_to_255(blobs: Blobs) -> None:
    """One byte holds them; more than that stays at the most, and never starts from 0 again."""
    made = [blobs.task(f"t-{at:03}", "1", R, begun_at=float(at)) for at in range(300)]
    known = gather(made, blobs.__getitem__)
    assert (verdict(known), asks(known, 255)) == (("retry", 255, "t-299"), False)


def test_blobs_of_tasks_that_count_for_nothing_are_not_read(blobs: Blobs) -> None:
    """A task that never happened may have lost its blobs."""
    void = a_task("t-1", phase=VOID, shard="gone")
    abandoned = a_task("t-2", phase=ABANDONED, shard="gone", outcomes="gone")
    assert len(gather([void, abandoned], blobs.__getitem__).map) == 0


HISTORIES = st.lists(
    st.tuples(st.sampled_from(["", A, F, R, M]), st.sampled_from(["", "cancelled", "gave_up"])), min_size=1, max_size=6
)


@given(HISTORIES)
def test_a_request_is_never_both_answered_and_asked(history: list[tuple[str, str]]) -> None:
    """Without forgiveness: one answer ends the asking for good, and so does one that is still on its way."""
    blobs = Blobs()
    made = [
        blobs.task(f"t-{at}", "1", letter, begun_at=float(at), stopped=stopped)
        for at, (letter, stopped) in enumerate(history)
    ]
    known = gather(made, blobs.__getitem__)
    letters = [letter for letter, _ in history]
    found = known.verdict(identity(1))

    assert found is not None
    assert found.answered == (A in letters)
    if A in letters or not letters[-1]:
        assert not asks(known, 255)
    assert not asks(known, 1)


# ---- records ---------------------------------------------------------------------------------------------------------


def test_records_of_outcomes(blobs: Blobs) -> None:
    """One record per request, in the shard's order: its letter, and where its line stands in the raw results."""
    task = blobs.task("t-1", "123", A + F + M)
    outcomes = blobs[task.outcomes]
    assert outcome_letters(outcomes) == (A + F + M).encode()
    assert [outcome_at(outcomes, at) for at in range(3)] == [(ANSWERED, 0, 0), (FINAL, 7, 1), (LOST, 14, 2)]
    assert list(identities(blobs[task.shard])) == [identity(1), identity(2), identity(3)]
