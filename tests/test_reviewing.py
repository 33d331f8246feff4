"""How prompts change, shown before anything is paid for: one row before and after, from what the state kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import Project

from runner import reviewing
from runner.report.prompts import SHOWN, WIDEST, body_lines, changed_lines

FAST = {"demo": {"type": "simulator", "speed": 1_000}}


def body(text: str, **more: object) -> str:
    return json.dumps({"messages": [{"role": "user", "content": text}], "model": "m", **more})


# ---- bodies as text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        (
            {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a\r\n\n  b"}]},
            ["[system]", "Be brief.", "", "[user]", "a", "", "  b", ""],
        ),
        ({"system": "S", "messages": [], "max_tokens": 9}, ["[system]", "S", "", "max_tokens: 9"]),
        ({"system": [{"type": "text", "text": "S"}]}, ["[system]", "S", ""]),
        ({"prompt": "Once upon", "stop": ["\n"]}, ["[prompt]", "Once upon", "", 'stop: ["\\n"]']),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "x", "y": 1}]}]},
            ["[user]", "see", '{"type": "x", "y": 1}', ""],
        ),
        ({"messages": ["odd", {"content": "none"}]}, ['"odd"', '{"content": "none"}']),
        ({"messages": "odd"}, []),
        (["a list"], ['["a list"]']),
    ],
)
def test_a_body_as_text(asked: object, lines: list[str]) -> None:
    """Messages under their roles, as they are written; the rest by name, in order; an odd one is shown all the same."""
    assert body_lines(json.dumps(asked)) == lines


def test_what_is_no_json_is_text() -> None:
    """Line by line, and harmless."""
    assert body_lines("a\x1b[31m\n::error::b") == ["a[31m", ": :error::b"]


def test_a_long_line_is_broken_and_not_cut() -> None:
    """A change anywhere in it is seen."""
    text = "x" * 5_000
    assert "".join(body_lines(body(text))[1:-2]) == text
    assert max(map(len, body_lines(body(text)))) == WIDEST
    assert [line for line in changed_lines(body(text), body(text[:-1] + "y")) if line[0] in "+-"] == [
        "-" + "x" * WIDEST,
        "+" + "x" * (WIDEST - 1) + "y",
    ]


def test_a_file_is_told_by_its_digest() -> None:
    """An image of megabytes is one line; another image is another line."""
    one, other = (f"data:image/png;base64,{letter * 4_000}" for letter in "AB")
    lines = changed_lines(body(f"see {one}"), body(f"see {other}"))
    assert [line[:52] for line in lines if "image" in line] == [
        "-see [image/png of 4,000 characters in base64, sha25",
        "+see [image/png of 4,000 characters in base64, sha25",
    ]
    assert len(set(lines)) == len(lines)


def test_differences() -> None:
    """As a unified diff with three lines around; the first time, everything is new; equal bodies differ in nothing."""
    text = "\n".join("abcdefgh")
    assert changed_lines(body(text), body(text.replace("e", "E"))) == (
        *("@@", " b", " c", " d", "-e", "+E", " f", " g", " h"),
    )
    assert changed_lines(None, body("a")) == ("@@", "+[user]", "+a", "+", '+model: "m"')
    assert changed_lines(body("a"), body("a")) == ()
    assert changed_lines(body("--- a"), body("+++ a")) == ("@@", " [user]", "---- a", "++++ a", " ", ' model: "m"')


def test_differences_have_bounds() -> None:
    """A prompt of a million lines is compared from its first change on, as far as there is room to show it."""
    long = [str(number) for number in range(50_000)]
    lines = changed_lines(body("\n".join(long)), body("\n".join([*long[:40_000], "new", *long[40_000:]])))
    assert lines == ("@@", " 39997", " 39998", " 39999", "+new", " 40000", " 40001", " 40002")
    every = changed_lines(body("\n".join(long)), body("\n".join(f"x{line}" for line in long)))
    assert len(every) == SHOWN + 1
    assert every[-1] == "… more, which is too much to compare"
    some = changed_lines(body("\n".join(long[:1_000])), body("\n".join(f"x{line}" for line in long[:1_000])))
    assert len(some) == SHOWN + 1
    assert some[-1] == f"… {2 * 1_000 + 4 - SHOWN:,} more lines"  # a head, the role before, and two lines behind


# ---- of a plan -------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One batch that is through, of three rows."""
    project = Project(tmp_path, FAST)
    project.spec(rows=["one?", "two?", "three?"], prompt={"system": "Be brief.", "user": "{{ row.q }}"})
    project.finish()
    return project


def markdown(project: Project, *args: str) -> str:
    done = project.call("plan", "--markdown", *args)
    assert (done.code, done.err) == (0, "")
    return done.out


def review(project: Project) -> dict[str, object]:
    """What a saved plan holds for a review."""
    path = project.root / "plan.json"
    done = project.call("plan", "--out", str(path))
    assert (done.code, done.err) == (0, "")
    found: dict[str, object] = json.loads(path.read_bytes())["review"]
    return found


def examples(project: Project) -> list[tuple[str, list[str]]]:
    found = review(project)["examples"]
    assert isinstance(found, list)
    return [(one["note"], one["lines"]) for one in found]


def test_a_changed_prompt(project: Project) -> None:
    """The whole review: what it costs, what was asked of a row and what would be, and how to approve it."""
    project.spec(prompt={"system": "Be long.", "user": "{{ row.q }}"})
    digest = project.plan()["digest"]
    assert markdown(project) == (
        f"""<!-- runner: . -->
### runner plan

**3 requests** to submit, at most 0.00021 CNY.

| spec | requests | tasks | tokens in / out | cost at most | model | why |
|---|--:|--:|--:|--:|---|---|
| job | 3 | 1 | 76 / 192 | 0.00021 CNY | mi-9 | prompt changed |
| **total** | **3** | **1** | **76 / 192** | **0.00021 CNY** | | |

One row of each prompt that is new or asks otherwise:

<details><summary>job: row 1</summary>

```diff
@@
 [system]
-Be brief.
+Be long.
 
 [user]
 one?
```

</details>

Digest `{digest}`; to approve this and nothing else:

```sh
runner apply --expect {digest}
```
"""  # noqa: W293 - a line of a difference that is the same on both sides and empty
    )


def test_a_new_spec(tmp_path: Path) -> None:
    """All of its first row is new."""
    project = Project(tmp_path)
    project.spec(rows=1)
    assert examples(project) == [
        ("row 1, new", ["@@", "+[user]", "+job asks 1?", "+", "+max_tokens: 64", '+model: "mi-9"'])
    ]


def test_more_rows_are_no_other_prompt(project: Project) -> None:
    """Nothing to read again where only the data grew."""
    project.rows(["one?", "two?", "three?", "four?"])
    assert project.requests() == 1
    assert examples(project) == []
    assert "One row of each" not in markdown(project)


def test_a_row_that_is_gone(project: Project) -> None:
    """The next one that there is, and that it is another."""
    project.spec(prompt={"user": "{{ row.q }} Tell."}, input={"path": "specs/data/job.jsonl", "where": "row.id > 1"})
    ((note, lines),) = examples(project)
    assert note == "row 1, which is gone, before, and row 2 after"
    assert {"-one?", "+two? Tell."} <= set(lines)


def test_the_same_row_of_another_input(project: Project) -> None:
    """By its number, whatever stands there now."""
    project.spec(rows=["uno?"], prompt={"user": "{{ row.q }} Tell."})
    ((note, lines),) = examples(project)
    assert note == "row 1"
    assert {"-one?", "+uno? Tell."} <= set(lines)


def test_only_what_cannot_be_seen_changed(project: Project) -> None:
    """Hidden characters in a prompt are not shown, and not passed over in silence."""
    project.spec(prompt={"system": "Be \u200bbrief.", "user": "{{ row.q }}"})
    assert examples(project) == [("row 1, the same before and after but for what cannot be shown", [])]
    assert "- job: row 1, the same before and after but for what cannot be shown" in markdown(project)


def test_prompts_that_are_dropped(project: Project) -> None:
    """Neither in the comment nor in the saved plan; it says why."""
    project.configure(blobs={"prompts": "drop"})
    project.spec(prompt={"user": "{{ row.q }} secretly"})
    assert review(project) == {
        "project": ".",
        "examples": [],
        "remark": "No prompts are shown: runner.yaml has `blobs: {prompts: drop}`.",
    }
    assert "secretly" not in (project.root / "plan.json").read_text()
    assert r"No prompts are shown: runner.yaml has \`blobs: \{prompts: drop\}\`." in markdown(project)


def test_prompts_that_were_dropped(tmp_path: Path) -> None:
    """Kept from now on: what will be asked is shown, and that it is not known what was."""
    project = Project(tmp_path)
    project.configure(blobs={"prompts": "drop"})
    project.spec(rows=1)
    project.finish()
    project.configure(blobs={})
    project.spec(prompt={"user": "{{ row.q }} Tell."})
    ((note, lines),) = examples(project)
    assert note == "row 1 as it will be; how it was is not known: it was not kept"
    assert "+job asks 1? Tell." in lines


@pytest.mark.parametrize("harm", ["gone", "cut", "other"])
def test_a_blob_that_cannot_be_had(project: Project, harm: str) -> None:
    """A review is not worth failing for."""
    revision = project.state()["batches"]["job"]["covered"]["revision"]
    path = project.root / ".runner/blobs" / revision[:2] / revision
    path.unlink() if harm == "gone" else path.write_bytes(path.read_bytes()[:-1] if harm == "cut" else b"x")
    project.spec(prompt={"user": "{{ row.q }} Tell."})
    ((note, lines),) = examples(project)
    assert note.startswith("row 1 as it will be; how it was is not known (")
    assert "+one? Tell." in lines


def test_too_many_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saved plan is bounded: the rest is counted."""
    project = Project(tmp_path)
    for name in ("a", "b", "c"):
        project.spec(name, rows=1)
    monkeypatch.setattr(reviewing, "LARGEST", 120)
    found = review(project)
    assert found["remark"] == "1 more specs ask otherwise: there are too many."
    assert len(examples(project)) == 2


def test_a_saved_plan_is_the_plan_and_more(project: Project) -> None:
    """What `--json` prints, unchanged; what it was asked with; and the review, which apply passes over."""
    project.spec(prompt={"user": "{{ row.q }} Tell."})
    printed = project.plan()
    review(project)
    kept = json.loads((project.root / "plan.json").read_bytes())
    assert kept.keys() - printed.keys() == {"request", "review"}
    assert {name: kept[name] for name in printed} == printed
    assert project.call("apply", str(project.root / "plan.json")).code == 0


@pytest.mark.parametrize(
    ("folder", "args", "head"),
    [
        (".", [], "<!-- runner: . -->\n### runner plan\n"),
        ("teams/evals", [], "<!-- runner: teams/evals -->\n### runner plan of teams/evals\n"),
        ("teams/evals", ["--label", "nightly"], "<!-- runner: nightly -->\n### runner plan of nightly\n"),
    ],
)
def test_a_project_is_named_by_its_folder(tmp_path: Path, folder: str, args: list[str], head: str) -> None:
    """In its repository, so that each of several has its comment; or as a person says."""
    (tmp_path / ".git").mkdir()
    project = Project(tmp_path / folder)
    project.spec(rows=1)
    assert markdown(project, *args).startswith(head)
