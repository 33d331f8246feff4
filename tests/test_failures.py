"""What went wrong, alike put together, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.failures import LONGEST, MOST, Failures, shape


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("row 17 was blocked", "row 203 was blocked"),
        ("no model 'a b'", "no model 'c'"),
        ('"x" is not of type "number"', '"y z" is not of type "integer"'),
        ("see https://a.example/x?y=1 for more", "see http://b.example for more"),
        ("request 0af3b2c1-1111-2222 was lost", "request ffffffff was lost"),
        ("req_8Hd7 timed out  after 1.5s", "req_77aaB timed out after 20s"),
    ],
)
def test_messages_that_say_the_same(one: str, other: str) -> None:
    """They differ in numbers, names in quotes, addresses and identifiers only."""
    assert shape(one) == shape(other)


def test_messages_that_say_something_else() -> None:
    """The words count."""
    assert shape("row 1 was blocked") != shape("row 1 was lost")


def test_groups_by_size() -> None:
    """The largest first, each with the first row that came to it and what that one said; the rest is counted."""
    found = Failures()
    for key in "abc":
        found.add("blocked", f"row {ord(key)} was blocked", key)
    found.add("missing", "no line", "d")
    found.add("other", "x", "e")
    groups, others = found.most(2)
    assert [(one.code, one.message, one.key, one.count) for one in groups] == [
        ("blocked", "row 97 was blocked", "a", 3),
        ("missing", "no line", "d", 1),
    ]
    assert others == 1


def test_nothing_went_wrong() -> None:
    """Then there is nothing to show."""
    assert not Failures().any
    assert Failures().most(5) == ([], 0)


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=300))), st.integers(0, 60))
def test_every_failure_is_counted_once(pairs: list[tuple[str, str]], most: int) -> None:
    """However different they are, and however few groups are asked for."""
    found = Failures()
    for code, message in pairs:
        found.add(code, message, "k")
    groups, others = found.most(most)
    assert sum(one.count for one in groups) + others == len(pairs)


def test_memory_is_bounded() -> None:
    """A provider that says something else of every row adds groups up to a bound, and texts up to a length."""
    found = Failures()
    for number in range(10 * MOST):
        found.add(f"code-{number}", "x" * 10_000, "k" * 10_000)
    groups, others = found.most(10 * MOST)
    assert (len(groups), others) == (MOST, 9 * MOST)
    assert max(len(one.message) + len(one.key) for one in groups) <= 2 * LONGEST
