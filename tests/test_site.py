"""The report's pieces: markup, data files, the index of words, counts, plots and pages, all from values."""

from __future__ import annotations

import json
import re
from array import array
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from builders import a_spec, a_task

from runner.checks import CheckResult
from runner.edge.grounds import Grounds
from runner.edge.sites import MARKER, Site, check_place
from runner.edge.spill import Spill
from runner.errors import RunnerError
from runner.report.site.batch_page import batch_page
from runner.report.site.entry import Entry, Shown, entry_of
from runner.report.site.markup import Html, tag, visible
from runner.report.site.overview import overview_page
from runner.report.site.plots import distribution, frequencies, outcome, spending, timeline
from runner.report.site.postings import encoded
from runner.report.site.rows import PAGE_ROWS, Names, row_files
from runner.report.site.script import File, data_file, script_json
from runner.report.site.shell import POLICY, Frame, answers_page, compare_page
from runner.report.site.summary import Histogram, Summary
from runner.report.site.view import Money, Table, View, actual, duration, estimated, page_name
from runner.report.site.words import order, words
from runner.reporting import document_at
from runner.result import Counts
from runner.state import BatchState, Publication
from runner.task import COLLECTED, OPEN

EVIL = "</script><img src=x onerror=alert(1)>\"'&\u202e\x00\u2028\ud800"
FRAME = Frame("demo", "2026-01-01 00:00:00")


def an_entry(number: int = 1, **changes: Any) -> Entry:
    body = json.dumps({"messages": [{"role": "user", "content": f"question {number}"}]})
    entry = Entry(number, 1, str(number), "succeeded", "", "", "stop", 10, 5, "yes", None, body, "{}", "t-1", "m")
    return replace(entry, **changes)


def value_of(file: File) -> Any:
    """What a data file hands over, and its name with it."""
    found = re.fullmatch(r"Report\.take\((\"[^\"]*\"),(.*)\);\n", file.data.decode(), re.DOTALL)
    assert found is not None
    assert f"data/{json.loads(found[1])}.js" == file.path
    return json.loads(found[2])


# ---- markup and data files -------------------------------------------------------------------------------------------


def test_text_is_never_markup() -> None:
    """Neither as a child, nor in an attribute, nor in a list of children."""
    made = tag("p", EVIL, [tag("b", EVIL)], title=EVIL)
    assert made.count("<") == 4
    assert "<img" not in made
    assert 'title="&lt;/script&gt;' in made
    made.encode()


def test_what_is_markup_stays_markup() -> None:
    """Elements go into elements as they are, and what is None leaves no trace."""
    assert tag("p", Html("<b>x</b>"), None, 3, class_="a", id=None) == '<p class="a"><b>x</b>3</p>'


def test_control_characters_are_shown() -> None:
    """One that turns the direction of writing would let a text pass for another."""
    assert visible("a\u202eb\x07\ud800\n") == "a⟨202E⟩b⟨0007⟩⟨D800⟩\n"


@pytest.mark.parametrize("value", [EVIL, [EVIL], {"key": EVIL}, "\u2029", "😀", "\udfff", "<!--"])
def test_a_data_file_means_what_was_put_in(value: Any) -> None:
    """It is a script whose text nothing in it can end, in an encoding that can hold it."""
    text = script_json(value)
    assert not re.search("[<\u2028\u2029\ud800-\udfff]", text)
    assert value_of(data_file("a/b", value)) == json.loads(json.dumps(value))


# ---- search ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Janet's 16 EGGS, a_b", {"janet", "s", "16", "eggs", "a", "b"}),
        ("Größe ﬁne １２", {"größe", "fine", "12"}),
        ("小明有3个鸡蛋", {"小明", "明有", "有", "3", "个鸡", "鸡蛋", "蛋"}),
        ("カナ한국", {"カナ", "ナ한", "한국", "국"}),
        ("𠀀𠀁", {"𠀀𠀁", "𠀁"}),
        ("x" * 99, {"x" * 32}),
        ("\ud800 !? ", set()),
    ],
)
def test_words(text: str, found: set[str]) -> None:
    """Letters and digits in lower case; characters of scripts without spaces in pairs, the last one alone."""
    assert words(text) == found


def decoded(text: str, total: int) -> list[int]:
    """As search.js reads it."""
    if text == "a":
        return list(range(total))
    data = b64decode(text[1:])
    if text[0] == "b":
        return [row for row in range(total) if data[row >> 3] >> (7 - (row & 7)) & 1]
    rows, row, gap, shift = [], 0, 0, 0
    for byte in data:
        gap |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            row += gap
            rows.append(row)
            gap = shift = 0
    return rows


@pytest.mark.parametrize(
    ("rows", "total", "kind"),
    [([0], 1, "a"), (range(9), 9, "a"), ([0, 3, 8], 9, "b"), ([5], 9_000, "g"), ([0, 200, 70_000], 70_001, "g")],
)
def test_rows_of_a_word_come_back(rows: Sequence[int], total: int, kind: str) -> None:
    """In whichever of the three ways is small."""
    text = encoded(rows, total)
    assert text[0] == kind
    assert decoded(text, total) == list(rows)


@pytest.mark.parametrize("most", [1, 200, 10**9])
def test_a_spilled_index_is_the_same_index(tmp_path: Path, most: int) -> None:
    """However little memory there is, every word has all of its rows, in the order of a browser."""
    lines = [[f"w{number % 7}", f"n{number}", "all", "𠀀", "\uffee"] for number in range(100)]
    expected: dict[str, list[int]] = {}
    spill = Spill(tmp_path, order, most)
    for number, line in enumerate(lines):
        spill.add(number, line)
        for word in line:
            expected.setdefault(word, []).append(number)
    found = [(word, list(rows)) for word, rows in spill.merged()]
    spill.close()
    assert dict(found) == expected
    assert [word for word, _ in found] == sorted(expected, key=order)
    assert [word for word, _ in found][-2:] == ["𠀀", "\uffee"]  # by UTF-16, unlike by code point
    assert list(tmp_path.iterdir()) == []


# ---- rows ------------------------------------------------------------------------------------------------------------


def files_of(entries: Iterator[Entry], folder: Path) -> tuple[dict[str, Any], Summary]:
    summary = Summary()
    spill = Spill(folder, order)
    found = {file.path: value_of(file) for file in row_files(entries, "x", spill, summary)}
    spill.close()
    return found, summary


def test_every_row_is_in_one_page_and_one_line_of_the_columns(tmp_path: Path) -> None:
    """And the table's description says where."""
    count = 2 * PAGE_ROWS + 3
    found, summary = files_of(map(an_entry, range(1, count + 1)), tmp_path)
    table, columns = found["data/x/table.js"], found["data/x/columns/0.js"]
    assert table["rows"] == len(columns["keys"]) == summary.counts.total == count
    assert table["pages"] == [0, PAGE_ROWS, 2 * PAGE_ROWS]
    assert sum(len(found[f"data/x/rows/{page}.js"]) for page in range(3)) == count
    numbers = array("I")
    numbers.frombytes(b64decode(columns["number"]))
    assert list(numbers) == list(range(1, count + 1))
    assert {word: decoded(rows, count) for word, rows in found["data/x/words/0.js"]}["yes"] == list(range(count))


def test_large_texts_make_small_pages(tmp_path: Path) -> None:
    """A page holds what is looked at, not a hundred times as much."""
    found, _ = files_of((an_entry(number, text="x" * 50_000) for number in range(1, 6)), tmp_path)
    assert found["data/x/table.js"]["pages"] == [0, 2, 4]


def test_writing_streams(tmp_path: Path) -> None:
    """A page is there before the next rows have been read."""
    seen = []

    def entries() -> Iterator[Entry]:
        for number in range(1, 10 * PAGE_ROWS):
            seen.append(number)
            yield an_entry(number)

    spill = Spill(tmp_path, order)
    files = row_files(entries(), "x", spill, Summary())
    next(files)
    assert len(seen) == PAGE_ROWS
    files.close()  # type: ignore[attr-defined]
    spill.close()


def test_too_many_codes_are_one() -> None:
    """A provider that makes a code of every message cannot outgrow the byte that a code is written in."""
    names = Names()
    places = [names.place(f"code-{number}") for number in range(500)]
    assert max(places) == 200
    assert len(set(places[199:])) == 1


def test_dropped_prompts_are_in_no_entry() -> None:
    """Neither as they were sent, nor the row that they were made of."""
    usage = {"input_tokens": None, "output_tokens": None}
    output = {"key": "1", "sample": 1, "status": "missing", "text": None, "parsed": None, "finish_reason": None}
    output |= {"usage": usage, "model": None, "task": None, "error": None}
    entry = entry_of(1, {"q": 1}, "pending", "{}", output, Shown(prompts=False))
    assert (entry.status, entry.body, entry.input) == ("pending", None, None)
    assert entry_of(1, {"q": 1}, "pending", "{}", output, Shown()).input == '{"q": 1}'


def test_what_is_searched() -> None:
    """Key, prompt, answer and what went wrong, of every shape of body."""
    body = {"system": "be", "messages": [{"content": [{"type": "text", "text": "see"}, {"type": "image"}]}, 3]}
    entry = an_entry(key="k", body=json.dumps(body), text="a", message="m")
    assert list(entry.texts()) == ["k", "be", "see", "a", "m"]
    assert list(an_entry(body="[1]", key="k").texts()) == ["k", "yes"]
    assert list(an_entry(body="no JSON", key="k").texts()) == ["k", "yes"]


# ---- counts and plots ------------------------------------------------------------------------------------------------


def test_a_histogram_knows_its_quantiles_in_bounded_memory() -> None:
    """To within one part in sixty, of numbers of any size."""
    histogram = Histogram()
    for number in range(100_000):
        histogram.add(number)
    assert histogram.quantile(0.5) == pytest.approx(50_000, rel=1 / 60)
    assert histogram.quantile(0.95) == pytest.approx(95_000, rel=1 / 60)
    assert len(list(histogram)) < 1_000
    assert sum(count for _, count in histogram) == histogram.total == 100_000


def test_a_summary_groups_failures() -> None:
    """By code, each with the words of the first."""
    summary = Summary()
    summary.add(an_entry())
    for number in (1, 2):
        summary.add(an_entry(status="failed", code="429", message=f"slow {number}", text=None, finish=""))
    assert summary.counts == Counts(1, 2, 0, 0)
    assert {code: (group.count, group.message) for code, group in summary.errors.items()} == {"429": (2, "slow 1")}


def svgs() -> list[Html | None]:
    histogram = Histogram()
    for number in (1, 5, 5, 900):
        histogram.add(number)
    tasks = [
        a_task(EVIL, shard="s", error=EVIL, started_at=1_010.0, ended_at=1_020.0, ending="failed"),
        a_task(phase=OPEN),
    ]
    return [
        outcome(Counts(5, 1, 1, 1)),
        outcome(Counts()),
        distribution(EVIL, histogram, "tokens"),
        frequencies(EVIL, [(EVIL, 3), ("stop", 1)]),
        spending([(0.0, 1.0), (1e9, 2.5)], EVIL),
        spending([(5.0, 1.0)], "CNY"),
        timeline(tasks),
    ]


def test_plots_are_well_formed_and_say_what_they_show() -> None:
    """Each has a name for who cannot see it, whatever words are in it."""
    for plot in svgs():
        assert plot is not None
        root = ElementTree.fromstring(plot)
        pictures = [one for one in root.iter() if one.get("role") == "img"]
        assert len(pictures) == 1
        assert pictures[0].get("aria-label")


def test_there_is_no_plot_of_nothing() -> None:
    """A box without bars says less than no box."""
    assert distribution("x", Histogram(), "tokens") is None
    assert frequencies("x", []) is None
    assert spending([(1.0, 0.0)], "CNY") is None
    assert timeline([]) is None


# ---- pages -----------------------------------------------------------------------------------------------------------


class Found(HTMLParser):
    """Scripts, handlers and links of a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.odd: list[str] = []
        self.policies: list[str] = []
        self.feed(text)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if name == "script":
            self.sources.append(values.get("src") or "inline")
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(values["content"] or "")
        self.odd += [key for key in values if key.startswith("on") or key == "style"]
        self.odd += [str(values[key]) for key in ("href", "src") if ":" in str(values.get(key, ""))]


def a_view(**changes: Any) -> View:
    tasks = [a_task(phase=COLLECTED, collected_at=1_060.0, tokens=(1_000, 2_000), price=(0.5, 1.0), currency="CNY")]
    view = View("a", "done", BatchState(), tasks, Counts(3), spec=a_spec(), declared="name: a\n", summary=Summary())
    return replace(view, **changes)


def hostile_view() -> View:
    summary = Summary()
    summary.add(an_entry(status="failed", code=EVIL, message=EVIL, finish=EVIL))
    return a_view(
        name=EVIL,
        spec=a_spec(description=EVIL, labels={EVIL: EVIL}),
        tasks=[a_task(EVIL, shard="s", provider=EVIL, model=EVIL, remote_id=EVIL, error=EVIL)],
        declared=EVIL,
        summary=summary,
        tables=[Table("a", EVIL, EVIL, "a", EVIL, 1, 1), Table("b", EVIL, EVIL, "a", EVIL, 1, 1)],
        remark=EVIL,
    )


@pytest.mark.parametrize("view", [a_view(), hostile_view(), a_view(spec=None, tasks=(), summary=None)])
def test_pages_run_nothing_but_the_sites_own_scripts(view: View) -> None:
    """Whatever is said by specs, providers and states, and no page leads to another site."""
    pages = [overview_page(FRAME, [view]), batch_page(FRAME, view), answers_page(FRAME), compare_page(FRAME)]
    for page in pages:
        found = Found(page.decode())
        assert found.policies == [POLICY]
        assert all(re.fullmatch(r"(\.\./)?assets/[a-z]+\.js", source) for source in found.sources)
        assert found.odd == []


def test_a_batch_takes_from_its_first_task_to_its_last_result() -> None:
    """While one of them is on its way, nobody knows how long."""
    assert a_view().seconds == 60.0
    assert a_view(tasks=[*a_view().tasks, a_task("t-2", phase=OPEN)]).seconds is None


def test_checks_are_told_with_the_rows_that_speak_against_them() -> None:
    """But without those rows where none are shown."""
    result = CheckResult("polite", "refusals", "max", 0.1, "error", 2, 8, ("key-7",), "why")
    published = Publication("k", "outputs/a.jsonl", "s", Counts(8), 1.0, checks=(result,))
    view = a_view(state=BatchState(published=published))
    page = batch_page(FRAME, view).decode()
    for said in ("polite", "fails", "25%", "at most 10%", "key-7", "why"):
        assert said in page
    assert "key-7" not in batch_page(FRAME, replace(view, words=False)).decode()


def test_money_is_usage_times_price() -> None:
    """A task without a price makes the sum unknown, never smaller."""
    tasks = [*a_view().tasks, a_task("t-2", phase=COLLECTED, collected_at=1.0, tokens=(5, 5))]
    assert actual(tasks) == Money({"CNY": 2.5}, 1)
    assert estimated(tasks) == Money({}, 2)


def test_the_page_of_an_impossible_name_stays_in_the_folder() -> None:
    """A state that somebody else wrote may name a batch anything."""
    assert page_name("gsm8k") == "gsm8k"
    assert re.fullmatch(r"_[0-9a-f]{16}", page_name("../../index"))
    assert page_name("../../index") != page_name("..")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0.04, "0.0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_600, "1 h 0 s"), (90_061, "1 d 1 h")],
)
def test_durations(seconds: float | None, words: str) -> None:
    """Two units at most."""
    assert duration(seconds) == words


def test_a_spec_is_shown_without_its_neighbours() -> None:
    """A file may hold several documents."""
    text = "# one\nname: a\n---\nname: b\nx: 1\n---\nname: c\n"
    assert document_at(text, 2) == "# one\nname: a\n"
    assert document_at(text, 4) == "name: b\nx: 1\n"
    assert document_at(text, 7) == "name: c\n"


# ---- the folder ------------------------------------------------------------------------------------------------------


def a_site(target: Path, text: bytes = b"new") -> Site:
    site = Site(target, ("index.html", "data"))
    site.write("index.html", text)
    site.write("data/a/b.js", text)
    return site


def test_a_report_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    """Whole: what the earlier one had and this one has not is gone."""
    target = tmp_path / "deep" / "report"
    first = a_site(target, b"old")
    first.write("data/gone.js", b"old")
    first.keep()
    a_site(target).keep()
    assert {str(file.relative_to(target)) for file in target.rglob("*.*")} == {"index.html", "data/a/b.js", MARKER}
    assert (target / "index.html").read_bytes() == b"new"
    assert [one.name for one in target.parent.iterdir()] == ["report"]


def test_what_is_not_finished_leaves_the_earlier_one(tmp_path: Path) -> None:
    """And nothing of its own."""
    target = tmp_path / "report"
    a_site(target, b"old").keep()
    a_site(target).drop()
    assert (target / "index.html").read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["report"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    """As `mktemp -d` makes one."""
    (tmp_path / "report").mkdir()
    a_site(tmp_path / "report").keep()
    assert (tmp_path / "report" / "index.html").exists()


@pytest.mark.parametrize(
    "why", ["it is no folder", "it is no earlier report", "beside an earlier report", "it is a link"]
)
def test_what_others_made_is_not_overwritten(tmp_path: Path, why: str) -> None:
    """Neither a file, nor a folder that is no report, nor what was put into one that is."""
    target = tmp_path / "report"
    if why == "it is no folder":
        target.write_text("mine")
    elif why == "it is a link":
        target.symlink_to(tmp_path)
    elif why == "it is no earlier report":
        target.mkdir()
        (target / "index.html").write_text("mine")
    else:
        a_site(target).keep()
        (target / "CNAME").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunnerError, match=why):
        Site(target, ("index.html", "data"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", [".", "..", "specs", "specs/deep", ".git/x", ".runner", ".github", "rows.jsonl/x"])
def test_a_report_lies_beside_the_project_not_in_it(tmp_path: Path, place: str) -> None:
    """What the project is made of is no place for one."""
    root = tmp_path / "project"
    root.mkdir()
    with pytest.raises(RunnerError, match="no report is written into"):
        check_place(root / place, Grounds(root), ("specs", ".github", "rows.jsonl"))
    check_place(root / "report", Grounds(root), ("specs", ".github", "rows.jsonl"))
    check_place(tmp_path / "elsewhere", Grounds(root), ("specs",))
