"""What is kept out of everything that is said, however it is spelt."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.edge.secrets import HIDDEN, Scrubber

KEY = "ab/cd+ef/gh1jk+lm/no2pq+rs"


@pytest.mark.parametrize(
    "spelt",
    [
        KEY,
        quote(KEY, safe=""),
        KEY.replace("/", "%2f").replace("+", "%2b"),
        KEY.replace("/", "%2F").replace("+", "%2b"),
        KEY.replace("/", "%2f"),
        "".join(f"%{ord(c):02x}" for c in KEY),
    ],
)
def test_percent_encoded(spelt: str) -> None:
    """In either case of its digits, mixed, in part and in whole."""
    scrub = Scrubber()
    scrub.hide(KEY)
    assert scrub(f"bad key in /login?key={spelt}&x=1") == f"bad key in /login?key={HIDDEN}&x=1"


@pytest.mark.parametrize("spelt", ["one%2ftwo%2fthree", "one%2Ftwo%2Fthree", "one/two/three"])
def test_a_secret_that_is_percent_encoded_itself(spelt: str) -> None:
    """Part of an address is hidden as it was given, and as what it stands for."""
    scrub = Scrubber()
    scrub.hide("one%2ftwo%2Fthree")
    assert scrub(f"<{spelt}>") == f"<{HIDDEN}>"
    assert scrub("2ftwo%2F") == HIDDEN


def test_other_percent_signs_stay() -> None:
    """What stands encoded beside a secret, or is no encoding, is shown as it came."""
    scrub = Scrubber()
    scrub.hide(KEY)
    text = "100% of %e4%BD%a0 at 5%2 %zz /a%2fb %"
    assert scrub(text) == text
    assert scrub(f"{text} {KEY}") == f"{text} {HIDDEN}"


@given(mask=st.lists(st.sampled_from("clU"), min_size=len(KEY), max_size=len(KEY)), start=st.integers(0, 18))
def test_no_piece_passes_in_any_mixture(mask: list[str], start: int) -> None:
    """Eight characters in a row, each plain or encoded in lower or upper case, do not come out."""
    scrub = Scrubber()
    scrub.hide(KEY)
    ways = {"c": str, "l": lambda c: f"%{ord(c):02x}", "U": lambda c: f"%{ord(c):02X}"}
    piece = "".join(ways[how](c) for how, c in zip(mask, KEY, strict=True))
    assert scrub(piece) == HIDDEN
    eight = "".join(ways[how](c) for how, c in list(zip(mask, KEY, strict=True))[start : start + 8])
    assert scrub(f"<{eight}>") == f"<{HIDDEN}>"
