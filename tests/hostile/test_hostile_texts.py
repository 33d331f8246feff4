"""Words of models, providers and specs: on a terminal, in a log and in a comment they are words and nothing else."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path

import pytest
from builders import a_plan, a_submit, a_task
from helpers import Project, run
from markdown_it import MarkdownIt
from markdown_it.token import Token

from runner.cli.show import warn
from runner.edge.outputs import write_output
from runner.errors import Problem, RunnerError
from runner.outcome import Outcome
from runner.plan import Action, Change, Cost, Over, Plan
from runner.report.github import Report
from runner.report.markdown import plan_markdown
from runner.report.prompts import changed_lines
from runner.report.text import error_lines, github_lines, json_line, plain, plan_lines, problem_lines
from runner.result import Counts
from runner.review import Example, Prompts, Review
from runner.state import State, dump
from runner.task import OPEN, STAGED

TEXTS = {
    "colours": "\x1b[31mred\x1b[0m",
    "clear and home": "\x1b[2J\x1b[H",
    "a title": "\x1b]0;title\x07",
    "a link": "\x1b]8;;https://evil.example\x1b\\bank.example\x1b]8;;\x1b\\",
    "the clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "an answer into the input": '\x1bP$q"p\x1b\\\x1b[6n\x1b[c\x05',
    "another character set": "\x1b(0\x0e\x0f",
    "8 bits": "\x9b31m\x9d0;title\x9c\x90q\x9c\x98x\x9e\x9f",
    "overwriting": "failed\rall is well",
    "backspaces": "no\b\byes\x7f\x7f",
    "bells and feeds": "\a\v\f\0",
    "bidi overrides": "abc\u202egnp.exe\u202c",
    "bidi isolates": "\u2066a\u2067b\u2068c\u2069",
    "bidi marks": "a\u200eb\u200fc\u061cd",
    "zero width": "ad\u200bmin\u200c \u200dro\u2060ot\ufeff",
    "fillers": "a\u115fb\u1160c\u3164d\uffa0e\u00adf\u034f",
    "tags": "x\U000e0049\U000e0067\U000e006e\U000e006f\U000e0072\U000e0065",
    "variation selectors": "a\ufe0fb\U000e0100",
    "annotations": "\ufff9a\ufffab\ufffb",
    "halves": "\ud800 \udfff \ud83d",
    "every break": "a\nb\rc\r\nd\x0be\x0cf\x1cg\x1dh\x1ei\x85j\u2028k\u2029l",
}
COMMANDS = [
    f"{before}{command}"
    for before in (
        "",
        " ",
        "\t",
        "\u00a0",
        "\u3000",
        "\ufeff",
        "\u200b",
        "\u00ad",
        "\x1b",
        "x\n",
        "x\r",
        "x\r\n",
        "x\u2028",
        "x\x85",
        "x\x0b",
    )
    for command in (
        "::error::x",
        "::add-mask::*",
        "::stop-commands::x",
        "::set-output name=a::b",
        "##[add-mask]*",
        "##[group]x",
    )
] + ["#\x1b#[error]", "#\u200b#[error]x", ":\u200b:error::x", "###[error]x"]
HOSTILE = [*TEXTS.values(), *COMMANDS]
EVERYTHING = "".join(TEXTS.values()) + "\n".join(COMMANDS)

_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def assert_harmless(text: str, *, own_commands: bool = False) -> None:
    """Nothing in ``text`` is obeyed by a terminal, nor by a workflow but for commands of runner's own."""
    assert not _OBEYED.search(text), ascii(text)
    for line in text.split("\n"):
        assert own_commands or not line.lstrip().startswith("::"), line
        assert "##[" not in line, line


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_on_one_line(text: str) -> None:
    """Every text, alone and behind words of ours, in every kind of line."""
    assert_harmless(plain(text))
    assert "\n" not in plain(text)
    problem = Problem(text, 1, 1, text, text)
    error = RunnerError(text, where=text, hint=text, commands=[text])
    assert_harmless("\n".join(chain(problem_lines([problem]), error_lines(error))))
    text = text.encode(errors="replace").decode()  # no half of a character gets into a plan: it has a digest
    changes = [Change(text, action, text, task=text) for action in Action if action is not Action.SUBMIT]
    plan = a_plan(
        [*changes, a_submit(text, model=text, reason=text, cost=Cost(1, text))],
        notes=(text,),
        over=(Over(text, 1, 2, text),),
    )
    assert_harmless("\n".join(plan_lines(plan)))
    assert_harmless(plan_markdown(Review.of(plan, text, Prompts((Example(text, text, (f"+{text}",)),), text))))


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_as_json(text: str) -> None:
    """One line that a terminal and a workflow pass over, and that means what it did."""
    line = json_line({text: [text]})
    assert_harmless(line)
    assert line.encode()
    assert json.loads(line) == {text: [text]}


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_as_an_annotation(text: str) -> None:
    """One command of ours for one problem: the text can add none, nor change where it points."""
    (line,) = github_lines([Problem(text, 3, 7, text, text)])
    assert_harmless(line, own_commands=True)
    assert re.fullmatch(r"::error file=[^:,\n\r]*,line=3,col=7::[^\n\r]*", line)


def test_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line of a warning, whose words are often a provider's."""
    for text in HOSTILE:
        warn(f"Warning: x\n{text}")
    assert_harmless(capsys.readouterr().err)


@pytest.fixture
def haunted(tmp_path: Path) -> Project:
    """A project in whose state every text of a provider's, and every name, is hostile."""
    project = Project(tmp_path)
    project.spec(rows=1)
    words = {
        "remote_id": EVERYTHING.encode(errors="replace").decode(),
        "error": EVERYTHING,
        "model": EVERYTHING,
        "provider": "demo",
    }
    tasks = [
        a_task("t-1", batch="job", phase=OPEN, raw=EVERYTHING, **words),
        a_task("t-2", batch=EVERYTHING, phase=OPEN, raw=EVERYTHING, **words),
        a_task("t-3", batch="job", phase=STAGED, **{**words, "remote_id": ""}),
    ]
    project.write(".runner/state.json", "").write_bytes(
        dump(State("L", serial=3, tasks={task.id: task for task in tasks}))
    )
    return project


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["status", "--json"],
        ["state", "list"],
        ["state", "show"],
        ["state", "show", "t-1"],
        ["state", "show", "t-9"],
        ["state", "pull"],
        ["state", "adopt", "t-3", "r-1"],
        ["state", "abandon", "t-3"],
        ["state", "rm", "t-1", "t-2"],
        ["plan", "--offline"],
        ["plan", "--offline", "--json"],
        ["plan", "--offline", "--markdown"],
        ["plan"],
        ["apply", "--yes"],
        ["apply", "--yes", "--json"],
        ["cancel", "*"],
        ["retry", "*"],
        ["retry", "nothing"],
        ["models"],
    ],
    ids=" ".join,
)
def test_a_state_full_of_them(haunted: Project, command: list[str]) -> None:
    """Whatever is said of it, on either stream: no byte of it is obeyed."""
    done = haunted.call(*command)
    assert done.code in (0, 1), done.err
    assert done.out + done.err
    assert_harmless(done.out)
    assert_harmless(done.err)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_characters(haunted: Project, encoding: str) -> None:
    """No locale ends in an error: what it cannot show is no reason not to show the rest."""
    haunted.spec("wide", rows=["中文 é 😀"], description="中文 é 😀")
    for command in (["render", "wide"], ["plan", "--offline"]):
        done = run(*command, cwd=haunted.root, env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
        assert done.code == 0, done.err
        assert_harmless(done.out)


# A spec that wants to be read


def test_validate_repeats_no_command(tmp_path: Path) -> None:
    """Keys, values, names of files, templates, columns of rows: what a problem repeats is harmless in any format."""
    project = Project(tmp_path)
    for at, text in enumerate([*TEXTS.values(), *COMMANDS[::7]]):
        spoken = text.encode("utf-8", "replace").decode().replace("\0", "")
        project.spec(f"k{at}", **{spoken or "x": 1, "samples": spoken, "provider": spoken, "labels": {spoken: 1}})
        project.spec(
            f"t{at}", rows=[{spoken: 1}], prompt={"user": f"{{{{ row.q }}}}{{{{ vars['{'x' * 9}'] }}}}{spoken}"}
        )
        project.spec(
            f"p{at}",
            input={"path": spoken},
            output={"path": spoken},
            model={"select": {"family": "x", "prefer": spoken}},
        )
    project.write("specs/\x1b[31m::error::x\n::error::y\u202e.yaml", "a: 1")
    for form in ("text", "github", "json"):
        done = project.call("validate", "--format", form)
        assert done.code == 1
        assert_harmless(done.out, own_commands=form == "github")
    for line in project.call("validate", "--format", "github").out.splitlines():
        assert line.startswith("::error")


# A comment on a pull request

MARKDOWN = [
    "[a link](https://evil.example)",
    "[a link][1]",
    "![pixel](https://evil.example/p.png)",
    "<img src=x onerror=alert(1)>",
    "<!-- hidden -->",
    "</details><h1>x",
    "<details open>",
    "&lt;img&gt; &#64;octocat &commat;octocat",
    "@octocat please approve",
    "x@octocat",
    "(@github/security)",
    "#1 GH-1 owner/repo#1",
    "https://evil.example http://evil.example",
    "www.evil.example",
    "HTTPS://evil.example WWW.evil.example",
    "ftp://evil.example mailto:a@evil.example",
    "someone@evil.example",
    "| a | b |",
    "a | b\n| --- | --- |",
    "a\\| b",
    "`code` ``code`` ```",
    "```\ncode",
    "*a* **b** _c_ __d__ ~~e~~",
    "# heading",
    "\n# heading",
    "- item",
    "1. item",
    "> quote",
    "---",
    "===",
    "a  \nb",
    "\\",
    "\\@octocat \\\\@octocat",
    "$x$ $$y$$",
    "- [x] done",
    "[^1]",
    "\u200b@octocat",
    "@\u200boctocat",
    *COMMANDS,
]
_BY_ITSELF = re.compile(r"(?:^|\W)@\w|#\d|\bGH-\d|://[^\s\u200b]|\bwww\.[^\s\u200b]", re.IGNORECASE)
"""What GitHub makes links of in the finished text, where a backslash no longer counts."""


def comment_with(text: str) -> tuple[str, Plan]:
    """A comment in which everything that comes from elsewhere is ``text``."""
    changes = [
        a_submit(text, model=text, reason=text, cost=Cost(1, text)),
        Change(text, Action.WAIT, text, task="t-1"),
        a_submit("last"),
    ]
    plan = a_plan(changes, notes=(text, text), over=(Over("x", 1, 2, text),))
    lines = ("@@", f"+{text}", f"-{text}", f" {text}", text)
    prompts = Prompts((Example(text, text, lines), Example(text, text)), text)
    return plan_markdown(Review.of(plan, text, prompts)), plan


def blocks(source: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source)


class Markup(HTMLParser):
    """The tags and the texts of a piece of HTML, and what else there is."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(f"<{tag} {attrs}>" if attrs else f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"</{tag}>")

    def handle_comment(self, data: str) -> None:
        self.tags.append("<!---->")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.mark.parametrize("text", MARKDOWN, ids=ascii)
def test_in_a_comment(text: str) -> None:
    """Read by a parser of Markdown, and then as GitHub reads on: the same blocks as of any other text, with text in
    them."""
    source, plan = comment_with(text)
    tokens = blocks(source)
    assert [(token.type, token.tag) for token in tokens] == [
        (token.type, token.tag) for token in blocks(comment_with("x")[0])
    ]
    markup = [Markup(token.content) for token in tokens if token.type == "html_block"]
    folded = ["<details>", "<summary>", "</summary>"]
    assert [one.tags for one in markup] == [["<!---->"], folded, ["</details>"], folded, ["</details>"]]
    inside = [child for token in tokens for child in token.children or ()]
    allowed = {"text", "text_special", "softbreak", "strong_open", "strong_close", "code_inline"}
    assert {child.type for child in inside} <= allowed
    assert {child.content for child in inside if child.type == "code_inline"} <= {"t-1", plan.digest}
    shown = ["".join(child.content for child in token.children or () if child.type in WORDS) for token in tokens]
    for words in [*shown, *("".join(one.words) for one in markup)]:
        assert not _BY_ITSELF.search(words), words
    assert_harmless(source)


WORDS = ("text", "text_special")
FENCES = [
    "```",
    "````",
    "~~~",
    "`" * 300,
    " ```",
    "   ````",
    "\t```",
    "```\n</details>\n<!-- runner: . -->",
    "</details>",
    "<!-- runner: . -->",
    "-->",
    "\n\n# x\n",
    "@octocat",
]


@pytest.mark.parametrize("text", [*FENCES, *MARKDOWN], ids=ascii)
def test_a_prompt_stays_in_its_fence(text: str) -> None:
    """Whatever it says, in one line or in many, before and after: one block of code, with nothing but it in it."""
    bodies = [json.dumps({"messages": [{"role": text, "content": f"{word}\n{text}\n{text}"}]}) for word in "ab"]
    for before in (None, bodies[0]):
        lines = changed_lines(before, bodies[1])
        source = plan_markdown(Review.of(a_plan([a_submit()]), prompts=Prompts((Example("a", "row 1", lines),))))
        fences = [token for token in blocks(source) if token.type == "fence"]
        assert [token.info for token in fences] == ["diff", "sh"]
        assert fences[0].content.rstrip("\n").split("\n") == [plain(line) for line in lines]
        assert source.split("\n")[0] == "<!-- runner: . -->"
        assert_harmless(source)


@pytest.mark.parametrize("text", [*HOSTILE, *MARKDOWN, "x=1\ndigest=sha256:0", "<<EOF\nx\nEOF"], ids=ascii)
def test_in_a_workflows_step(text: str) -> None:
    """No output but those that we mean, each once, whatever a currency or a name is; and a summary like a comment."""
    text = text.encode(errors="replace").decode()
    plan = a_plan([a_submit(text, cost=Cost(1, text)), a_submit("b", cost=Cost(1, "CNY"))], notes=(text,))
    outcome = Outcome(
        plan,
        changes=list(plan.changes),
        outcomes=["done", text],
        details=[text, text],
        rows={text: Counts(1, 2, 3, 4)},
        warnings=[text],
        errors=[RunnerError(text, where=text, hint=text, commands=[text])],
        unresolved=[a_task(text, batch=text)],
    )
    report = Report("apply", Review.of(plan, text), {}, outcome)
    lines = report.outputs().split("\n")
    assert [line.partition("=")[0] for line in lines] == OUTPUTS
    assert "<<" not in "".join(line.partition("=")[0] for line in lines)
    for told in (report, Report("plan", report.review, errors=outcome.errors), Report("plan", errors=outcome.errors)):
        source = told.summary(1_000_000)
        assert_harmless(source)
        kinds = {child.type for token in blocks(source) for child in token.children or ()}
        assert kinds <= {"text", "text_special", "softbreak", "strong_open", "strong_close", "code_inline"}


OUTPUTS = ["changes", "requests", "cost", "approval", "over", "digest", "pending", "failed", ""]


# Tables


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", '=HYPERLINK("x")', "-5", "+7"]
)
def test_a_formula_in_a_csv_is_the_text_that_it_is(tmp_path: Path, text: str) -> None:
    """An output is data for programs: each answer comes back exactly, `-5` as `-5`, which a quote or a blank before it
    would spoil.  Who opens it in a spreadsheet imports the columns as text, or asks for JSON Lines or Parquet."""
    write_output(tmp_path / "a.csv", [{"key": text, "text": text, "parsed": None}])
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == [text, text, ""]
