"""Each code that an error, a row or an exit can have is explained, and each explanation is of a code that there is."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import call

from runner import outcome
from runner.cli.commands import cli
from runner.cli.guard import BUG
from runner.errors import Problem
from runner.explanations import FAMILIES, explanations, nearest_codes, parse, says_more

PACKAGE = Path(__file__).parent.parent / "runner"
ROOTS = {"RunnerError", "InvalidDocuments"}
HELPERS = {"problem"}
"""What makes a problem from its words and its code, such as `Mark.problem`."""
ROWS = "rows"


@dataclass(frozen=True)
class Site:
    """A place where an error is made."""

    at: str
    maker: str
    code: str | None
    """None: none is given.  Empty: one that is known only as it runs, such as another error's."""


def trees() -> Iterator[tuple[str, ast.Module]]:
    """The modules of the package but for the simulator, whose errors are a provider's."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE.parent))
        if not name.startswith("runner/simulator/"):
            yield name, ast.parse(path.read_text("utf-8"))


def classes() -> dict[str, tuple[list[str], str]]:
    """Names of the bases, and the code of its own, of every class."""
    return {
        node.name: ([ast.unparse(base) for base in node.bases], _own_code(node))
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


def _own_code(node: ast.ClassDef) -> str:
    for line in node.body:
        if (
            isinstance(line, ast.Assign)
            and ast.unparse(line.targets[0]) == "code"
            and isinstance(line.value, ast.Constant)
        ):
            return str(line.value.value)
    return ""


def errors() -> dict[str, str]:
    """Every kind of expected error with the code that all of them have, or none."""
    known = classes()

    def is_error(name: str) -> bool:
        return name == "RunnerError" or any(is_error(base) for base in known.get(name, ([], ""))[0])

    def code_of(name: str) -> str:
        bases, own = known.get(name, ([], ""))
        return own or next(filter(None, map(code_of, bases)), "")

    return {name: code_of(name) for name in known if is_error(name)}


def sites() -> Iterator[Site]:
    """Every place in the package that makes an error or a problem."""
    kinds = errors()
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                maker = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
                is_problem = maker == "Problem" and "runner.errors" in ast.unparse(tree)
                if maker in kinds or maker in HELPERS or is_problem:
                    yield Site(f"{name}:{node.lineno}", maker, _code_in(node, maker) or kinds.get(maker) or None)


def _code_in(call: ast.Call, maker: str) -> str | None:
    given = next((word.value for word in call.keywords if word.arg == "code"), None)
    if given is None and maker == "Problem" and len(call.args) == len(Problem.__dataclass_fields__):
        given = call.args[-1]
    if isinstance(given, ast.Constant):
        return str(given.value)
    return None if given is None else "-"


def constants() -> set[str]:
    """Codes that are named anywhere: given to an error, the default of a helper, assigned on the way to one."""
    found: set[str] = set(errors().values())
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                found |= {text for word in node.keywords if word.arg == "code" for text in _texts(word.value)}
                if ast.unparse(node.func).endswith("read_on"):
                    found |= {text for arg in node.args for text in _texts(arg)}
            elif (
                isinstance(node, ast.Assign)
                and ast.unparse(node.targets[0]) == "code"
                and isinstance(node.value, ast.Constant | ast.IfExp)
            ):
                found |= set(_texts(node.value))
            elif isinstance(node, ast.arguments):
                for arg, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                    if arg.arg == "code" and default is not None:
                        found |= set(_texts(default))
    return found - {""}


def _texts(node: ast.AST) -> Iterator[str]:
    yield from (one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str))


def failures() -> Iterator[tuple[str, str]]:
    """Codes that runner itself gives to rows, and where."""
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Failure", "Again"):
                at = {"Failure": 0, "Again": 1}[ast.unparse(node.func)]
                code = node.args[at] if len(node.args) > at else None
                if isinstance(code, ast.Constant) and isinstance(code.value, str):
                    yield code.value, f"{name}:{node.lineno}"


def test_every_error_has_a_code() -> None:
    """Whoever sees an error can ask about it."""
    bare = [f"{site.at}: {site.maker}(…)" for site in sites() if site.code is None]
    assert bare == [], (
        'These errors have no code.  Add code="…" to each: one of `runner explain` if its cause is there, else a new '
        "one, kebab-case, with a section `# CODE: TITLE` in the file of runner/explanations/ that it belongs to."
    )


def test_every_code_is_explained() -> None:
    """A code that `runner explain` does not know leads nowhere."""
    places = {site.code: site.at for site in sites() if site.code}
    unknown = {
        code: places.get(code, "") for code in constants() - explanations().keys() if re.fullmatch(r"[a-z0-9-]+", code)
    }
    assert unknown == {}, (
        "Explain each: a section `# CODE: TITLE` in the file of runner/explanations/ that it belongs to, with Causes, "
        "Do and Lost, as its __init__.py describes.  Then: python -P -m cogapp -r -I docs docs/errors.md"
    )


def test_every_error_of_a_row_is_explained() -> None:
    """What stands in an output's `error` is looked up in the same way."""
    unknown = {code: at for code, at in failures() if code not in explanations()}
    assert unknown == {}, "Explain each in runner/explanations/rows.md: a section `# CODE: TITLE`."


def test_every_explanation_is_of_something() -> None:
    """One of a code that is gone would have people look for what cannot happen."""
    exits = {str(code) for code in {*outcome._PRECEDENCE, 0, 2, BUG}}
    raised = constants() | {code for code, _ in failures()} | exits
    assert explanations().keys() - raised == set(), "Take these out of runner/explanations/, or raise them."


def test_every_exit_code_is_explained() -> None:
    """`runner explain 7` too."""
    assert {int(code) for code, one in explanations().items() if one.family == "exits"} == {
        *outcome._PRECEDENCE,
        0,
        2,
        BUG,
    }


def test_every_file_of_explanations_is_read() -> None:
    """One that is not in the list of families would be packaged and never shown."""
    assert {path.stem for path in (PACKAGE / "explanations").glob("*.md")} == set(FAMILIES)


@pytest.mark.parametrize("lacking", ["Causes", "Do", "Lost"])
def test_an_explanation_has_all_sections(lacking: str) -> None:
    """What it means, why, what to do, and what is lost: nobody has to guess one of them."""
    text = "# a-b: Title\n\nMeans.\n\nCauses:\n- one\n\nDo:\n- this\n\n    runner plan\n\nLost: Nothing.\n"
    (whole,) = parse(text, "plans")
    assert (whole.means, whole.causes, whole.actions) == ("Means.", ("one",), (("this", ("runner plan",)),))
    with pytest.raises(ValueError, match=rf"a-b does not say {lacking}"):
        list(parse(re.sub(rf"{lacking}:(.|\n)*?(?=\n[A-Z]\w+:|\Z)", "", text), "plans"))


@pytest.mark.parametrize("code", explanations())
def test_what_it_says_can_be_followed(code: str) -> None:
    """Each has an action; commands of runner are commands that there are; pages are documents that there are."""
    one = explanations()[code]
    assert one.actions and one.causes and all(action for action, _ in one.actions)
    assert one.lost.startswith(
        ("Nothing", "At most", "The ", "Answers ", "What ", "Most ", "A question", "Both ", "Probably")
    )
    assert not one.page or (PACKAGE.parent / one.page).exists()
    for command in one.commands:
        words = shlex.split(command, comments=True)
        if words[0] == "runner" and not words[1].startswith("-") and words[1] != "COMMAND":
            group = cli.commands[words[1]]
            options = {name for param in group.params for name in param.opts}
            given = {word for word in words[2:] if word.startswith("--")} - {"--help"}
            sub = getattr(group, "commands", {}).get(words[2]) if len(words) > 2 else None
            assert given <= options | {name for param in (sub.params if sub else ()) for name in param.opts}, command


def test_all_are_listed() -> None:
    """Without a code, every one of them with what it is."""
    done = call("explain")
    assert done.code == 0
    assert all(f"  {code} " in done.out and one.title in done.out for code, one in explanations().items())


def test_one_is_explained() -> None:
    """What it means, what to do with commands on lines of their own, what is lost, and where to read on."""
    done = call("explain", "state-conflict")
    assert done.code == 0
    assert done.out.startswith("state-conflict: Another run changed the state\n")
    for part in (
        "\nUsual causes\n",
        "\nWhat to do\n",
        "\n      runner apply --yes --wait\n",
        "\nWhat is lost\n  Nothing.",
        "More: docs/state.md",
    ):
        assert part in done.out


def test_an_exit_code_is_explained() -> None:
    """What a shell has at hand after a command is its exit code."""
    assert call("explain", "7").out.startswith("7: Exit code: finished, with failed or missing rows")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("input-emtpy", "input-empty"),
        ("INPUT_EMPTY", "input-empty"),
        ("schema-mismatch", "schema_mismatch"),
        ("proxy", "proxy-invalid"),
    ],
)
def test_a_typing_error_is_met_with_the_nearest(typed: str, meant: str) -> None:
    """The nearest code stands there as a command to copy."""
    done = call("explain", typed)
    assert (done.code, f"\n    runner explain {meant}\n" in done.err) == (1, True), done.err


def test_a_word_of_a_provider_is_told_from_a_typing_error() -> None:
    """Codes in outputs may be anybody's."""
    done = call("explain", "zzqx")
    assert done.code == 1
    assert "may be the provider's own word" in done.err and "\n    runner explain\n" in done.err
    assert nearest_codes("zzqx") == []


def test_an_error_points_on_only_where_there_is_more() -> None:
    """A typing error in a name has its answer in its hint."""
    assert says_more("input-empty")
    assert not says_more("key-missing")
    assert not says_more("")
