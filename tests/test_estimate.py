"""The token estimate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.estimate import least_tokens, tokens

TEXT = st.text(st.characters(codec="utf-8"))


def of(text: str) -> int:
    return tokens(len(text), len(text.encode()))


def test_known_ratios() -> None:
    """47 ASCII characters are 10 tokens, 3 Chinese ones are 2, and nothing is nothing."""
    assert of("a" * 47) == 10
    assert of("汉字多") == 2
    assert of("") == 0


def test_rounded_up() -> None:
    """One character is one token, and the 48th begins the 11th."""
    assert of("a") == of("汉") == 1
    assert of("a" * 48) == 11


@given(TEXT, TEXT)
def test_least_is_less_and_both_grow(one: str, other: str) -> None:
    """The lower bound is never above the estimate, and a longer text never has fewer tokens."""
    both = one + other
    assert least_tokens(len(both), len(both.encode())) <= of(both)
    assert of(one) <= of(both)
