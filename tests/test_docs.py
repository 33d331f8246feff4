"""What the documents say is so: generated parts are current, and everything a person can type or meet is in them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from runner import outcome, state, task
from runner.cli.commands import cli
from runner.cli.guard import BUG
from runner.registry import FAMILIES
from runner.schema import schema_text

ROOT = Path(__file__).parent.parent
COGGED = [
    "README.md",
    "README.zh-CN.md",
    "docs/checks.md",
    "docs/errors.md",
    "docs/failure-cases.md",
    "docs/reference-commands.md",
    "docs/reference-errors.md",
    "docs/reference-providers.md",
    "docs/troubleshooting.md",
    "schemas/README.md",
]

sys.path.insert(0, str(ROOT / "docs"))
import failures  # noqa: E402 - it lies beside the documents that it makes
import tables  # noqa: E402 - it lies beside the documents that it makes
import walk  # noqa: E402 - it lies beside the documents that it walks through


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    found = sorted(path for path in ROOT.rglob("*.md") if not {".venv", ".runner"} & set(path.parts))
    assert len(found) > 10
    return found


def test_generated_parts_are_current() -> None:
    """A document whose table is older than the code would say what is no longer so."""
    command = [sys.executable, "-m", "cogapp", "--check", "-I", "docs", *COGGED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\nwrite them with: python -m cogapp -r -I docs {' '.join(COGGED)}"


def test_every_document_with_generated_parts_is_checked() -> None:
    """A block of cog in a document that nobody checks goes stale in silence."""
    assert sorted(str(path.relative_to(ROOT)) for path in documents() if "[[[cog" in path.read_text("utf-8")) == COGGED


def test_every_failure_case_is_held() -> None:
    """All 63 are listed; each has an ending and a test, or a reason why it cannot happen here."""
    assert list(failures.CASES) == [f"F{number:02}" for number in range(1, 64)]
    held = failures.holders()
    assert [name for name, case in failures.CASES.items() if bool(case.ending) == bool(case.elsewhere)] == []
    assert [name for name, case in failures.CASES.items() if not case.elsewhere and not held[name]] == []


def parameters(command: click.Command) -> Iterator[str]:
    for param in command.params:
        yield from (name for name in param.opts if name.startswith("-"))


def test_every_command_and_option_is_in_the_reference() -> None:
    """What can be typed can be looked up, under the command it belongs to."""
    sections = dict(
        re.findall(
            r"^## (runner [a-z ]+)\n(.*?)(?=^## |\Z)", text("docs/reference-commands.md"), re.MULTILINE | re.DOTALL
        )
    )
    assert sections.keys() == {path for path, _ in tables.commands()}
    for path, command in tables.commands():
        assert f"`{path}" in text("README.md")
        assert [name for name in parameters(command) if f"{name}" not in sections[path]] == []
    assert [name for name in parameters(cli) if f"`{name}" not in text("docs/reference-commands.md")] == []


def test_every_error_is_in_the_reference() -> None:
    """Each class of the tree stands there with its exit code."""
    for kind in tables.error_classes():
        assert re.search(
            rf"^\| `{kind.__name__}` \| `\w+` \| {kind.exit_code} \|", text("docs/reference-errors.md"), re.MULTILINE
        )


def test_every_exit_code_is_in_both_tables() -> None:
    """All codes that a command can end with, and no others."""
    codes = {kind.exit_code for kind in tables.error_classes()} | set(outcome._PRECEDENCE) | {0, 2, BUG}
    assert set(tables.EXIT_CODES) == codes
    for name in "README.md", "docs/reference-errors.md":
        assert {int(code) for code in re.findall(r"^\| (\d+) \| ", text(name), re.MULTILINE)} == codes


def test_exit_codes_are_ranked_as_documented() -> None:
    """The sentence on which code wins is the order that the code follows."""
    assert ", ".join(map(str, outcome._PRECEDENCE)) in text("docs/reference-errors.md")


def test_every_provider_type_is_in_the_readme() -> None:
    """With what it was verified against; types that are not built are named as missing."""
    for name in FAMILIES:
        assert tables.VERIFIED[name][1] in text("README.md")
    known = json.loads(schema_text("project"))["$defs"]["provider"]["properties"]["type"]["enum"]
    missing = text("README.md").partition("## What is not there yet")[2]
    for name in set(known) - set(FAMILIES):
        assert f"`{name}`" in missing


def keys(value: Any) -> Iterator[str]:
    """Names of all properties anywhere in a JSON Schema."""
    if isinstance(value, Mapping):
        yield from value.get("properties", {})
        for inner in value.values():
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_every_key_of_a_spec_is_in_the_tables() -> None:
    """An undocumented key is one that nobody uses."""
    named = set(
        re.findall(r"[\w]+", " ".join(re.findall(r"^\| \**`([^`]+)`", text("schemas/README.md"), re.MULTILINE)))
    )
    assert set(keys(json.loads(schema_text("batch")))) <= named


@pytest.mark.parametrize("phase", sorted({*task.ON_ITS_WAY, task.COLLECTED, task.VOID, task.ABANDONED}))
def test_every_phase_is_in_the_state_page(phase: str) -> None:
    """Whoever looks at the document finds what a task's phase means."""
    assert f"| `{phase}` |" in text("docs/state.md")


def test_every_event_is_in_the_state_page() -> None:
    """The page on state tells of all events, and of none that is gone."""
    told = set(re.findall(r"^\| `([A-Z]\w+)` \|", text("docs/state.md"), re.MULTILINE))
    assert told == {kind.__name__ for kind in state.Event.__args__}


def fenced(name: str, kind: str = r"\w+") -> list[str]:
    return re.findall(rf"^```{kind}\n.*?^```$", text(name), re.MULTILINE | re.DOTALL)


def test_the_chinese_readme_has_the_commands_of_the_english_one() -> None:
    """Readers of either type the same: all commands, in order, and no example that only one has."""
    assert fenced("README.zh-CN.md", "sh") == fenced("README.md", "sh")
    assert [block for block in fenced("README.zh-CN.md") if block not in fenced("README.md")] == []


def test_the_chinese_readme_names_every_provider_type() -> None:
    """A provider that only the English one knew would not be found by those who are nearest to it."""
    assert set(re.findall(r"^\| `(\w+)` \|", text("README.zh-CN.md"), re.MULTILINE)) == set(FAMILIES)


def test_the_tutorial_prints_what_it_says() -> None:
    """Every command of the tutorial was run, in order, in an empty folder, and printed what stands there."""
    _, differs = walk.walk(text("docs/tutorial.md"))
    assert differs == [], "\n".join([*differs, "write it anew with: python docs/walk.py --rewrite docs/tutorial.md"])


def test_a_walk_notices_what_is_printed_otherwise() -> None:
    """It compares: words that differ are told, the ellipsis stands for what may differ, and the page is mended."""
    page = "<!-- write: a.txt -->\n```text\none\ntwo 2\n```\n\n```console\n$ cat a.txt\none\n{}\n```\n"
    assert walk.walk(page.format("two …")) == (page.format("two …"), [])
    assert walk.walk(page.format("…")) == (page.format("…"), [])
    mended, differs = walk.walk(page.format("three"))
    assert mended == page.format("two 2")
    assert differs[0] == "$ cat a.txt"
    assert {"- three", "+ two 2"} <= set(differs)


def test_links_lead_somewhere() -> None:
    """Every relative link of every document names a file of the repository."""
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in documents()
        for target in re.findall(r"\]\(([^)#\s]+)\)", path.read_text("utf-8"))
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


FORBIDDEN = re.compile(r"pypi\.|files\.pythonhosted|registry\.npmjs|/simple\b|index-url [h/]|/root/|/home/\w|/tmp/")


def test_documents_name_no_registry_and_no_machine() -> None:
    """They hold wherever they are read: no host of a package index, no path of one computer."""
    files = [*documents(), *(ROOT / name for name in (".ci/run", "requirements-test.in", "requirements-test.lock"))]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if FORBIDDEN.search(line)
    ]
    assert found == []
