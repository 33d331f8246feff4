"""`runner comment`: one comment for one project, from a plan that may be anyone's, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import a_plan, a_submit
from fakes.github import BOT, REPOSITORY, TOKEN, FakeGitHub, Handler
from helpers import Done, call

from runner.plan import Action, Change, Over, Plan
from runner.report.markdown import plan_markdown
from runner.resolve import Options
from runner.review import Example, Prompts, Review
from runner.workflow import Request, save_plan

PLAN = a_plan([a_submit("gsm8k", reason="prompt changed")])
QUIET = a_plan([Change("gsm8k", Action.WAIT, "Running", 10, 1, "t-1")])


Saved = Callable[..., Path]
NONE = Prompts()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGitHub]:
    fake = FakeGitHub()
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    yield fake
    fake.close()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """A plan in a file, as `plan --out` keeps it."""

    def save(plan: Plan = PLAN, project: str = "evals", prompts: Prompts = NONE) -> Path:
        path = tmp_path / "plan.json"
        save_plan(plan, Request(options=Options()), path, Review.of(plan, project, prompts))
        return path

    return save


def comment(path: Path, *args: str, number: int = 7) -> Done:
    done = call("comment", str(path), "--pull-request", str(number), *args)
    assert TOKEN not in done.out + done.err
    return done


def said(done: Done) -> str:
    assert (done.code, done.err) == (0, "")
    return done.out


# ---- one comment -----------------------------------------------------------------------------------------------------


def test_a_comment_is_written_and_then_kept_up_to_date(fake: FakeGitHub, saved: Saved) -> None:
    """Written once; while it says so already nothing is; another plan changes it in place."""
    path = saved()
    assert said(comment(path)).startswith("wrote the comment https://github.example/")
    assert fake.names() == ["list", "create"]
    assert said(comment(path)).startswith("kept the comment https://github.example/")
    assert fake.names() == ["list", "user", "viewer"]
    other = a_plan([a_submit("gsm8k", requests=99)])
    assert said(comment(saved(other))).startswith("updated the comment https://github.example/")
    assert fake.names() == ["list", "user", "viewer", "update"]
    assert [one["body"] for one in fake.comments] == [plan_markdown(Review.of(other, "evals"))]


def test_calls_are_as_github_wants_them(fake: FakeGitHub, saved: Saved) -> None:
    """The token as a bearer's, and the version of the API that this was written for."""
    comment(saved())
    for one in fake.calls:
        assert one.headers["authorization"] == f"Bearer {TOKEN}"
        assert one.headers["x-github-api-version"] == "2022-11-28"


def test_nothing_is_said_when_nothing_changes(fake: FakeGitHub, saved: Saved) -> None:
    """No comment of no use; but one that says otherwise is brought up to date."""
    assert said(comment(saved(QUIET))) == "Nothing changes, so nothing was written.\n"
    assert fake.names() == ["list"]
    comment(saved())
    assert said(comment(saved(QUIET))).startswith("updated")
    assert [one["body"] for one in fake.comments] == [plan_markdown(Review.of(QUIET, "evals"))]


def test_each_project_has_its_own(fake: FakeGitHub, saved: Saved) -> None:
    """By its folder, which the plan says, or by a label."""
    comment(saved(project="evals"))
    comment(saved(project="evals/deep"))
    comment(saved(project="evals"), "--label", "nightly")
    comment(saved(project="evals"))
    heads = [one["body"].split("\n")[0] for one in fake.comments]
    assert heads == ["<!-- runner: evals -->", "<!-- runner: evals/deep -->", "<!-- runner: nightly -->"]


@pytest.mark.parametrize("count", [99, 100, 101, 250])
def test_a_comment_far_down_is_found(fake: FakeGitHub, saved: Saved, count: int) -> None:
    """On whatever page it is."""
    for number in range(count):
        fake.say(f"comment {number}", "octocat")
    comment(saved())
    fake.names()
    assert said(comment(saved(QUIET))).startswith("updated")
    assert fake.names() == ["list"] * -(-(count + 1) // 100) + ["user", "viewer", "update"]
    assert len(fake.comments) == count + 1


def test_what_others_wrote_is_never_touched(fake: FakeGitHub, saved: Saved) -> None:
    """Not with our marker, nor below other words: anyone may write that."""
    text = plan_markdown(Review.of(PLAN, "evals"))
    theirs = [fake.say(text, "mallory"), fake.say(f"look:\n{text}"), fake.say("<!-- runner: evals --> x")]
    nobodys = fake.say(text)
    nobodys["user"] = None  # of an account that is gone
    before = [one["body"] for one in fake.comments]
    assert said(comment(saved(QUIET))) == "Nothing changes, so nothing was written.\n"
    assert said(comment(saved())).startswith("wrote")
    assert [one["body"] for one in (*theirs, nobodys)] == before


def test_two_that_were_written_at_once_both_say_what_is_so(fake: FakeGitHub, saved: Saved) -> None:
    """Of two runs that raced, neither comment goes on to show a plan that is no longer."""
    for _ in range(2):
        fake.say(plan_markdown(Review.of(QUIET, "evals")))
    assert said(comment(saved())).startswith("updated")
    assert {one["body"] for one in fake.comments} == {plan_markdown(Review.of(PLAN, "evals"))}


def test_other_line_ends_are_no_change(fake: FakeGitHub, saved: Saved) -> None:
    """A server that stores a text's lines in its own way does not make every run an edit."""
    comment(saved())
    fake.knobs.line_ends = "\r\n"
    assert said(comment(saved())).startswith("kept")


@pytest.mark.parametrize(
    ("app", "viewer", "author"),
    [
        (False, 500, "octocat"),
        (True, {"data": {"viewer": {"login": "my-app[bot]"}}}, "my-app[bot]"),
        (True, {"data": {"viewer": {"login": "my-app"}}}, "my-app[bot]"),
        (True, {"errors": [{"message": "no"}]}, BOT),
        (True, 404, BOT),
    ],
)
def test_whose_token_it_is(fake: FakeGitHub, saved: Saved, app: bool, viewer: Any, author: str) -> None:
    """A person's, or an app's, which is refused where a person would ask; without an answer, a workflow's."""
    fake.knobs.app, fake.knobs.viewer = app, viewer
    ours = fake.say(plan_markdown(Review.of(QUIET, "evals")), author)
    assert said(comment(saved())).startswith("updated")
    assert ours["body"] == plan_markdown(Review.of(PLAN, "evals"))


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_token_that_may_not_write(fake: FakeGitHub, saved: Saved) -> None:
    """Exit 4, and the permission that it lacks."""
    fake.knobs.may_write = False
    done = comment(saved())
    assert (done.code, fake.comments) == (4, [])
    assert "pull-requests: write" in done.err


def test_a_token_that_is_none(fake: FakeGitHub, saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 4, without a word of what was sent, which this server repeats."""
    monkeypatch.setenv("GITHUB_TOKEN", "ghs_another9876543210zyxwvu")
    done = comment(saved())
    assert done.code == 4
    assert "another9876543210" not in done.err
    assert "GITHUB_TOKEN is not valid" in done.err


@pytest.mark.parametrize(
    ("variable", "value", "code", "words"),
    [
        ("GITHUB_TOKEN", "", 4, "GITHUB_TOKEN is not set"),
        ("GITHUB_TOKEN", "a b", 4, "holds a blank"),
        ("GITHUB_TOKEN", "a\nb", 4, "holds a blank"),
        ("GITHUB_REPOSITORY", "", 1, "is not OWNER/NAME"),
        ("GITHUB_REPOSITORY", "octo/..", 1, "is not OWNER/NAME"),
        ("GITHUB_REPOSITORY", "octo/evals/../../user", 1, "is not OWNER/NAME"),
        ("GITHUB_REPOSITORY", "octo/none", 1, "no such repository or pull request"),
        ("GITHUB_API_URL", "nowhere", 1, "not a URL"),
    ],
)
def test_an_environment_that_leads_nowhere(
    fake: FakeGitHub, saved: Saved, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, code: int, words: str
) -> None:
    """Each said, before anything is written."""
    monkeypatch.setenv(variable, value)
    done = comment(saved())
    assert (done.code, fake.comments) == (code, [])
    assert words in done.err


def test_the_repository_may_be_named(fake: FakeGitHub, saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a machine that is no workflow's."""
    monkeypatch.delenv("GITHUB_REPOSITORY")
    assert said(comment(saved(), "--repository", REPOSITORY)).startswith("wrote")


def test_a_pull_request_that_is_none(fake: FakeGitHub, saved: Saved) -> None:
    """404, in words."""
    done = comment(saved(), number=8)
    assert done.code == 1
    assert "no such repository or pull request" in done.err
    assert call("comment", str(saved()), "--pull-request", "0").code == 1


def test_a_comment_that_is_refused(fake: FakeGitHub, saved: Saved) -> None:
    """422, with the server's own words."""
    fake.knobs.fail["create"] = [lambda handler: handler.says(422, "Validation Failed")]
    done = comment(saved())
    assert done.code == 1
    assert "answered 422: Validation Failed" in done.err


@pytest.mark.parametrize("fault", [lambda handler: handler.says(502, "Bad Gateway"), Handler.cut], ids=["502", "cut"])
def test_a_comment_that_may_have_been_written(fake: FakeGitHub, saved: Saved, fault: Callable[[Handler], None]) -> None:
    """It is not written twice, and the next run finds what the last one did."""

    def written_and(handler: Handler) -> None:
        fake.say(handler.body["body"])
        fault(handler)

    fake.knobs.fail["create"] = [written_and]
    done = comment(saved())
    assert (done.code, len(fake.comments)) == (1, 1)
    assert "the same command again" in done.err
    assert said(comment(saved())).startswith("kept")


def test_a_server_that_stumbles(fake: FakeGitHub, saved: Saved) -> None:
    """What may be asked twice is, when it is told to come again too."""
    fake.knobs.fail = {
        "list": [
            lambda handler: handler.says(503, "come again"),
            lambda handler: handler.says(403, "secondary rate limit", Retry_After="0"),
        ]
    }
    assert said(comment(saved())).startswith("wrote")
    assert fake.names() == ["list", "list", "list", "create"]


@pytest.mark.parametrize("answer", [{}, [1], [{"id": "x"}], [{"id": 1, "user": {"login": 3}}]], ids=str)
def test_a_server_that_answers_otherwise(fake: FakeGitHub, saved: Saved, answer: Any) -> None:
    """An error, and no bug."""
    fake.knobs.fail["list"] = [lambda handler: handler.json(answer)] * 9
    done = comment(saved())
    assert done.code == 1
    assert "Error: GET http" in done.err


# ---- a plan that may be anyone's -------------------------------------------------------------------------------------


def forged(path: Path, place: str, value: Any) -> Path:
    """The plan in ``path`` with another value at ``place``, such as "changes.0.spec"."""
    document = json.loads(path.read_bytes())
    *way, last = (int(name) if name.isdigit() else name for name in place.split("."))
    inner = document
    for name in way:
        inner = inner[name]
    inner[last] = value
    path.write_text(json.dumps(document))
    return path


FULL = a_plan(PLAN.changes, over=(Over("requests", 5, 10),), notes=("Offline.",))
SHOWN = Prompts((Example("gsm8k", "row 1", ("@@", "-a", "+b")),), "remark")


PLACES = [
    *("digest", "changes", "limits", "notes", "review", "format_version"),
    *("changes.0", "changes.0.spec", "changes.0.action", "changes.0.reason", "changes.0.requests", "changes.0.shards"),
    *("changes.0.cost.estimate", "changes.0.cost.currency", "changes.0.tokens.input"),
    *("limits.0", "limits.0.name", "limits.0.limit", "notes.0"),
    *("review.project", "review.examples", "review.remark", "review.examples.0", "review.examples.0.spec"),
    *("review.examples.0.note", "review.examples.0.lines", "review.examples.0.lines.0"),
]
VALUES = [None, -1, True, "x" * 100_001, {}, {"a": {}}, [[]], [["x"]], float("nan"), float("inf"), 10**400]
FINE = [("limits.0.limit", -1)]
"""Odd, and harmless."""


@pytest.mark.parametrize("place", PLACES)
def test_a_value_of_another_kind_is_refused(fake: FakeGitHub, saved: Saved, place: str) -> None:
    """Every one: no bug, not a byte on the pull request, and no word of it repeated."""
    for value in VALUES:
        if (place, value) not in FINE:
            done = comment(forged(saved(FULL, prompts=SHOWN), place, value))
            assert (done.code, fake.calls) == (1, []), value
            assert "is not a plan that this version of runner saved" in done.err
            assert "xxx" not in done.err


@pytest.mark.parametrize("place", [place for place in PLACES if not place.endswith(".0")])
def test_a_value_that_is_missing_is_named(fake: FakeGitHub, saved: Saved, place: str) -> None:
    """Each but the review, which a plan of an older version lacks."""
    path = saved(FULL, prompts=SHOWN)
    document = json.loads(path.read_bytes())
    *way, last = place.split(".")
    inner = document
    for name in way:
        inner = inner[int(name) if name.isdigit() else name]
    del inner[last]
    path.write_text(json.dumps(document))
    done = comment(path)
    if place == "review":
        assert said(done).startswith("wrote")
    else:
        assert (done.code, fake.calls) == (1, [])
        assert last in done.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("\x00\xff", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[" * 20 + "]" * 20, "nested more than 10 levels deep"),
        ("[]", "format_version is not 1"),
        ('{"format_version": 2}', "format_version is not 1"),
        ("9" * 5_000, "it is not JSON"),
        (" " * 32_000_001, "larger than 32,000,000 bytes"),
    ],
    ids=lambda text: str(len(text)),
)
def test_what_is_no_plan_at_all(fake: FakeGitHub, tmp_path: Path, text: str, words: str) -> None:
    """In words, at once, and within bounds."""
    path = tmp_path / "plan.json"
    path.write_bytes(text.encode("latin-1"))
    done = comment(path)
    assert (done.code, fake.calls) == (1, [])
    assert words in done.err


def test_a_plan_that_is_not_there(fake: FakeGitHub, tmp_path: Path) -> None:
    """As any file that cannot be read."""
    assert "cannot be read: No such file" in comment(tmp_path / "none.json").err


def test_halves_of_characters(fake: FakeGitHub, saved: Saved) -> None:
    """JSON can spell what no other encoding can: it is shown as what it is, no character."""
    path = saved(FULL, prompts=SHOWN)
    for place in PLACES:
        if place.rpartition(".")[2] in ("spec", "reason", "currency", "name", "project", "remark", "note"):
            forged(path, place, "\ud800")
    assert said(comment(path)).startswith("wrote")
    assert "| \ufffd | 10 |" in fake.comments[0]["body"]


def test_a_plan_of_every_spec_in_one_note(fake: FakeGitHub, saved: Saved) -> None:
    """What runner itself saves is never refused, however long: it is left out of what has too little room."""
    note = f"No model is chosen yet for {', '.join(f'a-long-name-of-a-spec-{n:04}' for n in range(3_000))}."
    assert said(comment(saved(a_plan(PLAN.changes, notes=(note,))))).startswith("wrote")
    assert "**Left out: 1 note.**" in fake.comments[0]["body"]


def test_a_huge_plan_is_one_comment(fake: FakeGitHub, saved: Saved) -> None:
    """However much a plan holds: the comment is within what GitHub takes, and says what it leaves out."""
    plan = a_plan([a_submit(f"s{number}", reason="x" * 2_000) for number in range(2_000)])
    lines = tuple("+" + "`" * 1_999 for _ in range(1_000))
    path = saved(plan, prompts=Prompts(tuple(Example(f"s{n}", "x" * 2_000, lines) for n in range(5))))
    assert said(comment(path)).startswith("wrote")
    (one,) = fake.comments
    assert 30_000 < len(one["body"]) <= 60_000
    assert "**Left out: " in one["body"]
    assert plan.digest in one["body"]


@pytest.mark.parametrize("label", ["", " ", "x" * 201, "a\nb", "a\u202eb"])
def test_a_label_that_is_none(fake: FakeGitHub, saved: Saved, label: str) -> None:
    """Wrong usage, for `plan` and `comment` alike: two comments of one project, or one past its cap, come of it."""
    done = comment(saved(), "--label", label)
    assert done.code == 1
    assert "a name of 1 to 200 printable characters is wanted" in done.err
    assert fake.calls == []
