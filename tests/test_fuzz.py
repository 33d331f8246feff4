"""What others feed runner, mutated: a bounded, seeded part of ``python -m benchmarks.fuzz``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing.bad import is_bad

from benchmarks import fuzz
from benchmarks.fuzzing.child import Order, drawn
from benchmarks.fuzzing.keeper import keep
from benchmarks.fuzzing.mutation import LARGEST, mutated_bytes, mutated_json, mutated_value, spelt, value_of
from benchmarks.fuzzing.target import BELIEVED, LOST, MEMORY, TRACEBACK
from benchmarks.fuzzing.targets import TARGETS, opener

PATIENCE = 60.0
"""Seconds for one input: the machine may have much else to do."""
INPUTS = dict.fromkeys(TARGETS, 60) | {
    "faults": 12,
    "answers": 200,
    "rows": 600,
    "lines": 2_500,
    "callers": 90,
    "questions": 30,
    "states": 12,
    "plans": 12,
    "queues": 3,
    "results": 6,
    "leftovers": 6,
    "openai-conversations": 90,
}
"""Of each target, by what one costs."""


@pytest.mark.parametrize("target", TARGETS)
def test_it_bears_whatever_comes(target: str) -> None:
    """No traceback, no hang, memory within bounds, no state lost, and no garbage believed."""
    tally = keep(Order(target, seed=1, count=INPUTS[target], patience=PATIENCE))
    assert tally.breaches == []
    assert tally.inputs == INPUTS[target]


# ---- the fuzzer itself ---------------------------------------------------------------------------------------------


BAD = "tests.fuzzing.bad"


def bad_numbers(target: str, inputs: int) -> list[int]:
    """Of the inputs that are drawn, those that break the promise."""
    with opener(target)(Path()) as opened:
        order = Order(target, seed=1)
        return [number for number in range(inputs) if is_bad(drawn(opened, order, number))]


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ("raises", TRACEBACK),
        ("crashes", TRACEBACK),
        ("hangs", "hangs"),
        ("swells", MEMORY),
        ("loses", LOST),
        ("believes", BELIEVED),
    ],
)
def test_a_broken_promise_is_seen(bad: str, kind: str) -> None:
    """Whatever an input does to the process, it is counted once, by its number, and those after it have their turn."""
    target = f"{BAD}:{bad}"
    tally = keep(Order(target, seed=1, count=6, patience=1.0 if kind == "hangs" else PATIENCE))
    assert tally.inputs == 6
    assert [(breach.kind, breach.number) for breach in tally.breaches] == [(kind, n) for n in bad_numbers(target, 6)]
    assert all(is_bad(breach.input) for breach in tally.breaches)
    assert tally.breaches


def test_a_broken_promise_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit 1, the input in a file, and the command that replays it, which finds the same again."""
    target = f"{BAD}:raises"
    count = len(bad_numbers(target, 6))
    assert fuzz.main(["--target", target, "--inputs", "6", "--keep", str(tmp_path / "kept")]) == 1
    *_, last = (said := capsys.readouterr().out).splitlines()
    assert last == f"inputs 6, tracebacks {count}, hangs 0, over memory 0, states lost 0, garbage believed 0"
    assert "KeyError: 'nothing'" in said
    (first, *_), files = re.findall(r"python -m benchmarks\.fuzz (.*)", said), sorted((tmp_path / "kept").iterdir())
    assert len(files) == count
    assert fuzz.main(shlex.split(first)) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("inputs 1, tracebacks 1,")


def test_a_quiet_run_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--target", "lines", "--inputs", "5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("inputs 5, tracebacks 0,")


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    """Whatever was drawn before."""
    for name in ("spec", "rows", "lines", "faults"):
        (tmp_path / name).mkdir()
        with TARGETS[name](tmp_path / name) as target:
            once = [drawn(target, Order(name, seed=7), number) for number in (3, 1, 2)]
            again = [drawn(target, Order(name, seed=7), number) for number in (1, 2, 3)]
            other = [drawn(target, Order(name, seed=8), number) for number in (1, 2, 3)]
        assert [once[1], once[2], once[0]] == again
        assert again != other


def test_mutations_change_something_and_stay_within_bounds() -> None:
    """Of bytes and of values; the value that is changed is a copy."""
    rng = Random("mutations")
    good: Any = {"id": "b", "list": [1, {"x": None}], "text": '{"inner": [1]}'}
    text = spelt(good).encode()
    before = spelt(good)
    byte_wise = {mutated_bytes(rng, text) for _ in range(300)}
    value_wise = {mutated_json(rng, text) for _ in range(300)}
    for _ in range(300):
        mutated_value(rng, good)
    assert spelt(good) == before
    assert value_of(text) == good
    assert len(byte_wise - {text}) > 200
    assert len(value_wise - {text}) > 200
    assert max(map(len, byte_wise | value_wise)) <= LARGEST
