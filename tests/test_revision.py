"""Revisions: how a batch asked before is remembered, and its answers are found again after the prompt has changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers import Project
from test_reading import read as read_lines
from test_reading import reading

from runner.errors import RunnerError
from runner.fingerprint import canonical
from runner.model import Offer, Price
from runner.revision import REVISIONS, Kept, Revision, read, revised, write
from runner.spec import MessageTemplate, PartTemplate, Place, Template
from runner.state import load

PROMPT = {"prompt": "p", "vars": "v", "input": "i"}


def found(at: float = 9.0, rows: int = 3) -> Revision:
    return Revision(0, at, "m", "", rows, rows, "blob")


def test_rows_make_no_revision() -> None:
    """Another input is the same revision, which now has more rows; its number and its time stay."""
    first = revised((), None, PROMPT, found())
    assert first == (Revision(1, 9.0, "m", "new", 3, 3, "blob"),)
    assert revised(first, PROMPT, {**PROMPT, "input": "j"}, found(99.0, 5)) == (
        Revision(1, 9.0, "m", "new", 5, 5, "blob"),
    )


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("prompt", "prompt changed"),
        ("vars", "vars changed"),
        ("parameters", "parameters changed"),
        ("model", "model changed"),
        ("response", "response schema changed"),
        ("samples", "samples changed"),
    ],
)
def test_what_makes_a_revision(part: str, words: str) -> None:
    """Each part that says how rows are asked."""
    known = revised((), None, PROMPT, found())
    assert [one.what for one in revised(known, PROMPT, {**PROMPT, part: "other"}, found(99.0))] == ["new", words]


def test_what_was_before_revisions_were_kept() -> None:
    """A state of an older version knows one fingerprint and no revision: the first says how it differs from that."""
    assert [one.what for one in revised((), PROMPT, PROMPT, found())] == ["as before"]
    assert [one.what for one in revised((), {"prompt": "q"}, PROMPT, found())] == ["prompt changed, vars changed"]


def test_so_many_are_remembered() -> None:
    """The oldest go; numbers go on."""
    known = revised((), None, {"prompt": "0"}, found())
    for number in range(1, REVISIONS + 5):
        known = revised(known, {"prompt": f"{number - 1}"}, {"prompt": f"{number}"}, found())
    assert [one.number for one in known] == list(range(6, REVISIONS + 6))


KEPT = Kept(
    provider="demo",
    offer=Offer("mi-9", price=Price(0.1, 0.2, "CNY"), inputs=frozenset({"text", "image"})),
    messages=(
        MessageTemplate("system", (PartTemplate("text", Template("Be brief.", Place("specs/a.yaml"))),)),
        MessageTemplate("user", (PartTemplate("image", Template("{{ row.u }}", Place("p.j2"))),)),
    ),
    text=None,
    vars={"z": 1, "a": {"y": 1.0, "b": [None, True]}},
    parameters={"temperature": 0.0},
    schema={"type": "object"},
    samples=2,
    templates={"part 1": "Be brief.", "p.j2": "{{ row.u }}"},
    row=3,
    example="{}",
)


def test_what_is_kept_is_read_as_it_was_written() -> None:
    """All of it, with the keys of `vars` in their order, which a template may go through."""
    again = read(write(KEPT))
    assert again == KEPT
    assert list(again.vars) == ["z", "a"]
    text = Template("{{ row.q }}", Place("specs/a.yaml"))
    assert read(write(Kept(**{**vars(KEPT), "messages": (), "text": text, "schema": None}))).text == text
    assert read(write(Kept(**{**vars(KEPT), "messages": (), "embed": text, "schema": None}))).embed == text


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"templates": {}, "row": 1, "example": "{}"}', b"[" * 100_000, b"\xff"],
)
def test_what_cannot_be_read(data: bytes) -> None:
    """What an older version kept, and what is no JSON, is told by one kind of error."""
    with pytest.raises(ValueError):
        read(data)


# ---- real runs -------------------------------------------------------------------------------------------------------


def outputs(project: Project, **options: Any) -> list[dict[str, Any]]:
    return [line.output for line in read_lines(project, **options)]


def asked(bodies: Sequence[str | None]) -> list[str]:
    """What the user says in each body."""
    return [json.loads(body or "")["messages"][-1]["content"] for body in bodies]


def test_revision_1_stays_readable_after_the_prompt_changed(tmp_path: Path) -> None:
    """A prompt in a file, which includes another; both are edited, with `vars` and samples: the old answers are found
    by asking the rows of today as they were asked then."""
    project = Project(tmp_path)
    project.write("prompts/a.j2", "{% include 'prompts/b.j2' %} {{ row.q }}")
    project.write("prompts/b.j2", "Once{% for name in vars %} {{ name }}{% endfor %}:")
    project.spec(rows=["one", "two"], prompt={"file": "prompts/a.j2"}, vars={"z": 1, "a": 2}, samples=2)
    project.finish()
    before = project.output()
    sent = [line.body for line in read_lines(project, bodies=True)]
    assert asked(sent) == ["Once z a: one"] * 2 + ["Once z a: two"] * 2

    project.write("prompts/a.j2", "Now: {{ row.q }}")
    (tmp_path / "prompts/b.j2").unlink()
    project.spec(prompt={"file": "prompts/a.j2"}, vars={}, rows=["one", "two"])
    project.finish()
    assert outputs(project, revision=1) == before
    assert [line.body for line in read_lines(project, bodies=True, revision=1)] == sent
    assert outputs(project, revision=2) == outputs(project) == project.output() != before
    with reading(project) as reader:
        assert [(one.number, one.what, one.rows, one.requests) for one in reader.revisions("job")] == [
            (1, "new", 4, 4),
            (2, "prompt changed, samples changed, vars changed", 2, 2),
        ]


def test_every_way_of_asking_is_kept(tmp_path: Path) -> None:
    """Another model, other parameters, a schema, a vector, a plain text: each revision finds its answers."""
    project = Project(tmp_path)
    project.write("schemas/answer.schema.json", json.dumps({"type": "object"}))
    changes: list[dict[str, Any]] = [
        {"model": "mi-9"},
        {"model": "mi-1", "parameters": {"max_tokens": 9}},
        {"model": "mi-9", "response": {"schema": "schemas/answer.schema.json"}},
        {"model": "mi-9", "prompt": {"system": "Be {{ name }}.", "user": "{{ row.q }}"}},
        {"model": "mi-8", "prompt": None, "parameters": None, "embed": "{{ row.q }}"},
        {"model": "mi-9", "prompt": None, "text": "{{ row.q }}"},
    ]
    seen = []
    for change in changes:
        project.spec(rows=3, **change)
        project.call("apply", "--yes", "--wait")
        seen.append(outputs(project))
    for number, lines in enumerate(seen, start=1):
        assert {line["status"] for line in lines} <= {"succeeded", "failed"}
        assert outputs(project, revision=number) == lines, changes[number - 1]
    (project.root / "schemas/answer.schema.json").unlink()
    assert outputs(project, revision=3) == seen[2]


def test_rows_that_were_not_in_it(tmp_path: Path) -> None:
    """A row that is new, or was edited, since: missing, and nothing to be asked again."""
    project = Project(tmp_path)
    project.spec(rows=["one", "two"])
    project.finish()
    first = project.output()
    project.spec(rows=["one", "two, edited", "three"], prompt={"user": "Tell: {{ row.q }}"})
    project.finish()
    lines = outputs(project, revision=1)
    assert lines[0] == first[0]
    assert [(line["status"], line["error"]["code"], line["error"]["retryable"]) for line in lines[1:]] == [
        ("missing", "not_in_revision", False)
    ] * 2


def test_back_to_how_it_was(tmp_path: Path) -> None:
    """A third revision, which asks as the first one did: nothing is sent, and both are read alike."""
    project = Project(tmp_path)
    for prompt in ("{{ row.q }}", "Tell: {{ row.q }}", "{{ row.q }}"):
        project.spec(rows=2, prompt={"user": prompt})
        project.finish()
    batch = load((tmp_path / ".runner/state.json").read_bytes()).batches["job"]
    assert [one.number for one in batch.revisions] == [1, 2, 3]
    assert batch.revisions[0].blob == batch.revisions[2].blob != batch.revisions[1].blob
    assert outputs(project, revision=1) == outputs(project, revision=3) == project.output()


def test_a_row_more_is_no_revision(tmp_path: Path) -> None:
    """The latest is said to have three rows."""
    project = Project(tmp_path)
    project.spec(rows=2)
    project.finish()
    project.rows(3)
    project.finish()
    ((number, rows),) = [(one["number"], one["rows"]) for one in project.state()["batches"]["job"]["revisions"]]
    assert (number, rows) == (1, 3)


def test_the_state_names_the_blobs_of_all_revisions(tmp_path: Path) -> None:
    """So that `state migrate` takes them along."""
    project = Project(tmp_path)
    for word in ("one", "two", "three"):
        project.spec(rows=1, prompt={"user": f"{word} {{{{ row.q }}}}"})
        project.finish()
    state = load((tmp_path / ".runner/state.json").read_bytes())
    blobs = [one.blob for one in state.batches["job"].revisions]
    assert len(set(blobs)) == 3
    assert set(blobs) <= set(state.blobs)
    assert canonical(state.blobs).count(b'""') == 0


def test_a_revision_that_is_not_there(tmp_path: Path) -> None:
    """The error says which there are, or why there is none."""
    project = Project(tmp_path)
    project.spec(rows=1)
    with reading(project) as reader, pytest.raises(RunnerError, match="job has no revision 1") as early:
        next(reader.lines("job", revision=1))
    assert early.value.hint == "One is written whenever all of its rows have been sent."
    project.finish()
    with reading(project) as reader, pytest.raises(RunnerError, match="job has no revision 7") as late:
        next(reader.lines("job", revision=7))
    assert late.value.hint == "The state remembers: 1"


def test_prompts_that_are_dropped(tmp_path: Path) -> None:
    """`blobs: {prompts: drop}`: the revision is known, and how it asked is not."""
    project = Project(tmp_path)
    project.configure(blobs={"prompts": "drop"})
    project.spec(rows=1)
    project.finish()
    with pytest.raises(RunnerError, match="how it asked was not kept") as raised:
        outputs(project, revision=1)
    assert "blobs: {prompts: drop}" in raised.value.hint
    assert "{{ row.q }}" not in str(
        [path.read_bytes() for path in (tmp_path / ".runner/blobs").rglob("*") if path.is_file()]
    )


def test_a_state_of_an_older_version(tmp_path: Path) -> None:
    """It has a blob with an example and no revisions: how it asks is kept with the next rows that are sent."""
    project = Project(tmp_path)
    project.spec(rows=1)
    project.finish()
    document = project.state()
    del document["batches"]["job"]["revisions"]
    (tmp_path / ".runner/state.json").write_text(json.dumps(document))
    assert project.requests() == 0
    project.rows(2)
    project.finish()
    assert outputs(project, revision=1) == project.output()
    assert project.state()["batches"]["job"]["revisions"][0]["what"] == "as before"
