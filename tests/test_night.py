"""What stands on the screen on a bad night, compared whole, and that a stranger is told how to go on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Served, serving
from screens import CASES, FOLDER, read, screen

from runner.explanations import explanations


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.mark.parametrize("name", CASES)
def test_the_screen_is_as_it_was_read(name: str, tmp_path: Path, server: Served) -> None:
    """Whoever changes a word of it has read the whole: `python tests/screens.py NAME` writes it anew."""
    assert screen(name, tmp_path / "project", server).dump() == (FOLDER / f"{name}.txt").read_text("utf-8")


def test_each_screen_is_of_a_case() -> None:
    """A file whose case is gone would be shown in the documents for ever."""
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_screen_lets_a_stranger_go_on(name: str) -> None:
    """It ends with a command to copy, or with the code that leads to one; and it shows no traceback and no secret."""
    shown = read(FOLDER / f"{name}.txt")
    assert shown.code in explanations()
    assert re.search(r"^ {4}\S|More: runner explain |did you mean", shown.text, re.MULTILINE), shown.text
    assert "Traceback" not in shown.text
    assert "0123456789abcdef" not in re.sub(r"[\w.-]+-0123456789abcdef", "", shown.text)
    for code in re.findall(r"runner explain (\S+)", shown.text):
        assert code in explanations()


def test_the_screens_hold_on_every_machine() -> None:
    """No path, no user and no port of the machine on which they were written."""
    for path in FOLDER.glob("*.txt"):
        assert not re.search(r"/tmp/|/home/|/root", path.read_text("utf-8"))
