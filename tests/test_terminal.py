"""What a person sees at a real terminal, wide or narrow: plans, work under way, outcomes, the status."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Project, Served, finished, serving, spawn
from terminals import Terminal

from runner.report.text import width

READABLE = {"default", "green", "red", "cyan", "magenta"}
"""Colours that can be read on a light and on a dark background."""
SLOW = 0.02
"""A simulator's speed at which a task runs for more than a minute."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose tasks nobody sees the end of."""
    with serving(tmp_path_factory.mktemp("slow"), speed=SLOW) as server:
        yield server


def bilingual(project: Project, rows: int = 30) -> None:
    """Two specs: a short one, and one with a long name and a Chinese prompt."""
    project.spec("short", rows=rows)
    project.spec(
        "translate-every-question-into-english", rows=rows, prompt={"user": "翻译成英文：" * 12 + "{{ row.q }}"}
    )


def at_rest(terminal: Terminal) -> None:
    """Nothing is left that a shell would suffer from: the cursor is there, at the beginning of an empty line."""
    assert terminal.cursor_shown
    assert terminal.raw.count(b"\x1b[?25l") <= terminal.raw.count(b"\x1b[?25h")


# ---- plans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 50, 40])
def test_a_plan_of_any_width(project: Project, columns: int) -> None:
    """What changes, prompts, counts, costs and the next commands; whole words where there is room, nothing cut off."""
    bilingual(project)
    with Terminal("plan", cwd=project.root, columns=columns, lines=90) as terminal:
        assert terminal.finish() == 0
        lines = terminal.everything
        assert terminal.colours <= READABLE
        at_rest(terminal)
    text = "".join(line.strip() for line in lines)
    assert max(map(width, lines)) <= columns
    assert "翻译成英文：" * 12 in text  # folded, and no character of it lost
    assert "translate-every-question-into-english: row 1, new" in " ".join(" ".join(lines).split())
    for words in ("+ short", "+ translate-every-question", "Plan: 2 to submit.", "Digest sha256:"):
        assert any(words in line for line in lines), words
    digest = project.plan()["digest"]
    assert f"runner apply --expect {digest}" in text
    assert "    runner apply" in lines


def test_a_changed_prompt_shows_what_changed(project: Project) -> None:
    """The line that was, and the line that is, in their colours."""
    project.spec(rows=3, prompt={"user": "Say {{ row.q }}\nBriefly."})
    project.finish()
    project.spec(prompt={"user": "Say {{ row.q }}\nAt length."})
    with Terminal("plan", cwd=project.root) as terminal:
        assert terminal.finish() == 0
        assert {"    -Briefly.", "    +At length."} <= set(terminal.screen)
        assert {"red", "green"} <= terminal.colours


def test_a_pipe_gets_the_lines_that_it_always_got(project: Project) -> None:
    """No prompts, no columns that depend on a terminal, and rich is not even loaded."""
    project.spec(rows=3, prompt={"user": "Say {{ row.q }}"})
    done = project.run("plan")
    assert "Say" not in done.out
    assert done.out.splitlines()[2].startswith("  + job  submit   3 requests, on ")
    seen = project.run("plan", env={"PYTHONPROFILEIMPORTTIME": "1"}).err
    assert "click" in seen
    assert "rich" not in seen


def test_apply_shows_what_it_asks_about(project: Project) -> None:
    """The prompt of each changed spec stands above the question; a no does nothing."""
    project.spec(rows=3, prompt={"user": "Say {{ row.q }}"})
    with Terminal("apply", cwd=project.root) as terminal:
        terminal.until("+Say job asks 1?", "Do this? [y/N]")
        terminal.type("n\n")
        assert terminal.finish() == 1
        assert terminal.screen[-1] == "Nothing was done."
    assert not (project.root / ".runner/state.json").exists()


def test_a_dumb_terminal_gets_no_control_sequence(project: Project) -> None:
    """Whatever is shown."""
    project.spec(rows=3)
    for args in (("apply", "--yes", "--wait"), ("status",), ("models",)):
        with Terminal(*args, cwd=project.root, env={"TERM": "dumb"}) as terminal:
            assert terminal.finish() == 0
            assert b"\x1b" not in terminal.raw, args
            assert b"\r\n" in terminal.raw


# ---- work under way --------------------------------------------------------------------------------------------------


def test_waiting_is_shown_and_leaves_nothing_behind(project: Project, slow: Served) -> None:
    """A bar for each spec, how far, how long yet, until when; Ctrl-C ends it, the cursor is there, the picture gone."""
    project.providers = {"demo": slow.provider()}
    bilingual(project, rows=200)
    with Terminal("apply", "--yes", "--wait", cwd=project.root) as terminal:
        shown = terminal.until("waiting for 2 tasks", " of 400 requests", "expires in 23h")
        assert any("short" in line and "━" in line and " of 200" in line for line in shown)
        assert not terminal.cursor_shown
        terminal.type("\x03")
        assert terminal.finish() == 130
        at_rest(terminal)
        assert terminal.colours <= READABLE
        lines = terminal.everything
    assert not [line for line in lines if "waiting for" in line or "━" in line]
    assert any(line.startswith("Stopping: nothing new is started") for line in lines)


def test_standard_output_is_not_touched_by_what_is_shown(project: Project, slow: Served) -> None:
    """Its document is whole, while a picture is drawn on standard error; with NO_COLOR, one without any style."""
    project.providers = {"demo": slow.provider()}
    project.spec(rows=100)
    arguments = ("apply", "--yes", "--wait", "--timeout", "4s", "--json")
    with Terminal(*arguments, cwd=project.root, env={"NO_COLOR": "1"}, piped=True) as terminal:
        terminal.until("waiting for 1 task: ")
        assert terminal.process.stdout is not None
        document = json.loads(terminal.process.stdout.read())
        assert terminal.finish() == 8
        at_rest(terminal)
        assert b"\x1b[?25l" in terminal.raw
        assert re.findall(rb"\x1b\[[0-9;]*m", terminal.raw) == []
    assert document["rows"]["job"]["pending"] == 100


def test_elsewhere_there_are_lines_now_and_then(project: Project, slow: Served) -> None:
    """One when the waiting begins, as long as the next is not due, and no control sequence in it."""
    project.providers = {"demo": slow.provider()}
    project.spec(rows=100)
    waiting = spawn("apply", "--yes", "--wait", cwd=project.root)
    assert waiting.stderr is not None
    assert re.fullmatch(r"waiting for 1 task: \d+ of 100 requests \(.*\)\n", waiting.stderr.readline().decode())
    waiting.send_signal(signal.SIGINT)
    done = finished(waiting)
    assert done.code == 130
    assert "Stopping: " in done.err
    assert "\x1b" not in done.err + done.out


# ---- outcomes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 40])
def test_an_outcome_says_what_went_wrong_and_what_to_do(project: Project, columns: int) -> None:
    """Rows that add up, failures that say the same put together with a row to look at, what it cost, next commands."""
    message = "row 17 was blocked"
    rule = {"on": "task", "do": "fail-rows", "rows": [2, 5], "status_code": 400, "code": "blocked", "message": message}
    project.write("faults.json", json.dumps([rule]))
    project.providers["demo"]["faults"] = "faults.json"
    project.spec(rows=30)
    with Terminal("apply", "--yes", "--wait", cwd=project.root, columns=columns) as terminal:
        assert terminal.finish() == 7
        lines = terminal.everything
        assert terminal.colours <= READABLE
    text = " ".join(" ".join(lines).split())
    assert "Rows of job without an answer: 2 blocked: row 17 was blocked (such as row 2)" in text
    assert "CNY of at most" in text
    assert "wrote outputs/job.jsonl" in text
    assert {"    runner output job --failed", "    runner retry job"} <= set(lines)
    assert max(map(width, lines)) <= columns


# ---- the status ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 50])
def test_the_status_is_redrawn_in_place(project: Project, columns: int) -> None:
    """While apply runs, and after it; Ctrl-C leaves the last picture, and the terminal as it was."""
    bilingual(project)
    with Terminal("status", "--watch", cwd=project.root, columns=columns) as terminal:
        terminal.until("There is no state yet.")
        project.finish()
        shown = terminal.until("done")
        assert not any("There is no state yet" in line for line in shown)
        terminal.type("\x03")
        assert terminal.finish() == 130
        at_rest(terminal)
        assert max(map(width, terminal.everything)) <= columns
        assert [line for line in terminal.everything if line.startswith("short") and "done" in line]
        assert terminal.colours <= READABLE


def test_watched_from_elsewhere_only_changes_are_told(project: Project) -> None:
    """One block for each state of things, however often it is looked at."""
    project.spec(rows=3)
    watching = spawn("status", "--watch", cwd=project.root)
    assert watching.stdout is not None
    assert watching.stdout.readline() == b"There is no state yet.  Next:\n"
    assert watching.stdout.readline() == b"    runner plan\n"
    project.finish()
    found = b""
    while b"done" not in found:  # in between, whatever it has seen of the run
        found = watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    out, _ = watching.communicate(timeout=60)
    assert out == b""
    assert watching.returncode == 130
