"""The README's commands are those that `.ci/run` runs, and its YAML is what runner accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import call

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_a_stranger_needs_one_command_for_each_thing() -> None:
    """Install and run a part, run all of it, run the tests: one line each, in an order that works."""
    commands = blocks("sh")
    assert [command.count("\n") for command in commands] == [1, 1, 1]
    assert ".venv/bin/pip install . && .venv/bin/runner apply --yes --wait --select" in commands[0]
    assert commands[1] == ".venv/bin/runner apply --yes --wait\n"
    assert commands[2].endswith("pip install --require-hashes -r requirements-test.lock && .venv/bin/pytest -n auto\n")


def test_ci_runs_the_commands_of_the_readme() -> None:
    """Not a copy of them: it takes each sh block from the README itself."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert r"awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' README.md" in script
    assert "readme_commands | bash" in script


def test_the_selected_specs_exist() -> None:
    """The glob of the first command fits specs of this repository, and not the large one."""
    found = re.findall(r"^  \+ ([\w-]+)", README, re.MULTILINE)
    assert found == ["gsm8k", "gsm8k-graded-brief", "gsm8k-graded-long"]


def test_the_real_provider_takes_ten_lines(tmp_path: Path) -> None:
    """The example for Wanqing is valid as it stands, with a spec of this repository, and so is any other in its place;
    the same spec then goes to any of them by one word."""
    spec, wanqing, others, models, limits = blocks("yaml")
    assert "type: wanqing" in wanqing
    assert len(wanqing.splitlines()) <= 10
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "rows.jsonl").write_text('{"question": "How many?"}\n')
    spec = spec.replace("specs/data/gsm8k_test.jsonl", "specs/rows.jsonl")
    (tmp_path / "specs" / "a.yaml").write_text(re.sub(r"^response:\n.*\n", "", spec, flags=re.MULTILINE))
    names = re.findall(r"^  (\w+):", wanqing + others, re.MULTILINE)
    assert names == ["wanqing", "maas", "alaya", "qianfan", "openai", "claude"]
    for name in names:
        text = (wanqing + others).replace("{provider: wanqing}", f"{{provider: {name}}}")
        (tmp_path / "runner.yaml").write_text(
            re.sub(r"^limits:.*\n", limits, text.replace("    bos:", f"{models}    bos:"), flags=re.MULTILINE)
        )
        done = call("-C", str(tmp_path), "validate")
        assert done.code == 0, done.out
        assert call("-C", str(tmp_path), "render", "gsm8k-graded-brief", "--limit", "1").code == 0


@pytest.mark.parametrize("word", ["Wanqing", "simulator"])
def test_it_says_what_was_verified_against_what(word: str) -> None:
    """A provider that nobody ran against the real service is not passed off as one."""
    assert word in README
    assert "**not** against the real service" in README
