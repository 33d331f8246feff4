"""The breakages of `benchmarks.mutants` still fit the code that they break."""

from __future__ import annotations

import pytest

from benchmarks.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_breakage_fits_the_code(mutant: Mutant) -> None:
    """Each of its edits has one place to go, and its tests are there."""
    for edit in mutant.edits:
        text = (ROOT / edit.file).read_text(encoding="utf-8")
        assert text.count(edit.old) == 1, edit
        assert edit.new != edit.old
    for test in mutant.tests:
        if test.startswith("tests/"):
            assert (ROOT / test).is_file(), test


def test_names_are_unique() -> None:
    """So that one can be asked for alone."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
