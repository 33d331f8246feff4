"""What makes two questions the same one, and bodies spliced from constants and texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.fingerprint import canonical
from runner.request import body_writer, custom_id, identify, salt

Build = Callable[[Sequence[str]], Mapping[str, Any]]

SALT = salt("demo", "m")
BODY = canonical({"messages": [{"role": "user", "content": "hi"}]})
MARK = hashlib.sha256(b"slot 0").hexdigest()
"""What stands in a slot while the constants are cut out."""

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from(
        ['"', "\\", '\\"', "\0\x1f\x7f", "\n\r\t\b\f", "\u2028\u2029", "😀é中", "", MARK, f'"{MARK}"', '"}],']
    ),
)


# ---- identity --------------------------------------------------------------------------------------------------------


def test_an_identity_is_what_it_always_was() -> None:
    """A golden value: were it to change, every project would pay for all its requests again."""
    assert identify(SALT, BODY).hex() == "a061739005ae843132d9a9de4af1cb27"
    assert identify(SALT, BODY, 2).hex() == "d3e1b61a92f690dfafa3be415d000fc1"


@pytest.mark.parametrize(
    ("provider", "model", "body", "sample"),
    [
        ("other", "m", BODY, 1),
        ("demo", "other", BODY, 1),
        ("dem", "om", BODY, 1),
        ("demo", "m", BODY + b" ", 1),
        ("demo", "m", BODY, 2),
        ("demo", "m", BODY, 3),
        ("demo", "m", BODY + b"2", 1),
    ],
)
def test_what_is_asked_of_whom_decides(provider: str, model: str, body: bytes, sample: int) -> None:
    """Provider's name, model, body, and the sample's number from the second on: each makes another request."""
    assert identify(salt(provider, model), body, sample) != identify(SALT, BODY)


def test_a_further_sample_leaves_the_first_as_it_is() -> None:
    """From 1 to 3 samples, two more are asked."""
    assert identify(SALT, BODY, 1) == identify(SALT, BODY)
    assert len({identify(SALT, BODY, sample) for sample in range(1, 101)}) == 100


def test_a_custom_id_is_32_hex_digits() -> None:
    """Inside the narrowest rule of any provider, and the whole identity can be read back from it."""
    found = custom_id(identify(SALT, BODY))
    assert (len(found), set(found) <= set("0123456789abcdef")) == (32, True)
    assert bytes.fromhex(found) == identify(SALT, BODY)


# ---- bodies ----------------------------------------------------------------------------------------------------------


def chat(texts: Sequence[str]) -> dict[str, Any]:
    """Texts as messages, among constants of every kind; keys out of order, so that slots move."""
    return {
        "model": "m",
        "messages": [{"role": "user", "content": text} for text in texts],
        "a": {"nested": [None, True, 1.5, 'q"\\']},
    }


def backwards(texts: Sequence[str]) -> dict[str, Any]:
    """Slots stand in the body in another order than in the row."""
    return {chr(ord("z") - at): text for at, text in enumerate(texts)}


def twice(texts: Sequence[str]) -> dict[str, Any]:
    return {"all": list(texts), "again": list(texts)}


def changed(texts: Sequence[str]) -> dict[str, Any]:
    return {"all": [f"{text}!" for text in texts], "length": sum(map(len, texts))}


def keys(texts: Sequence[str]) -> dict[str, Any]:
    """A text as a key stands where it sorts, which differs from row to row."""
    return {**{text: at for at, text in enumerate(texts)}, "k": 1}


def beside_its_mark(texts: Sequence[str]) -> dict[str, Any]:
    """A constant that happens to be what marks the slot."""
    return {"system": MARK, "quoted": f'"{MARK}"', "user": list(texts)}


@pytest.mark.parametrize("build", [chat, backwards, twice, changed, keys, beside_its_mark])
@given(texts=st.lists(TEXTS, max_size=4))
@example(texts=["same", "same"])
@example(texts=[MARK, MARK, MARK])
@example(texts=['"', "\\", "\0", "😀"])
def test_a_writer_writes_what_canonical_would(build: Build, texts: list[str]) -> None:
    """For every build, 0 to 4 slots and any texts: the same bytes, spliced or not."""
    write = body_writer(build, len(texts))
    assert write(texts) == canonical(build(texts)).decode()
    assert json.loads(write(texts)) == build(texts)


@pytest.mark.parametrize(
    ("build", "calls"),
    [(chat, 1), (backwards, 1), (twice, 4), (changed, 4), (keys, 4), (beside_its_mark, 4)],
)
def test_a_build_that_places_texts_whole_is_called_once(build: Build, calls: int) -> None:
    """The rest of the body is not serialised again for every row; a build that does more is asked for every row."""
    seen: list[Sequence[str]] = []

    def counting(texts: Sequence[str]) -> Mapping[str, Any]:
        seen.append(texts)
        return build(texts)

    write = body_writer(counting, 2)
    for row in ("a", "b", "c"):
        write([row, f"{row}{row}"])
    assert len(seen) == calls


@pytest.mark.parametrize("build", [chat, twice])
def test_half_a_surrogate_pair_is_no_body(build: Build) -> None:
    """UTF-8 has no bytes for it: a ValueError at the latest when the body is encoded, spliced or not."""
    write = body_writer(build, 1)
    with pytest.raises(ValueError, match="surrogates"):
        write(["\ud800"]).encode()
