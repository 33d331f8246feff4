"""Write the report: a static site of runs, costs, failures and answers, whole or not at all."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from runner.edge.paths import inside
from runner.edge.sites import Site, check_place
from runner.edge.spill import Spill
from runner.edge.world import World
from runner.errors import Interrupted, RunnerError
from runner.fingerprint import changes
from runner.reading import Reader
from runner.report.site.batch_page import batch_page
from runner.report.site.entry import Entry, Shown, entry_of
from runner.report.site.overview import overview_page
from runner.report.site.rows import row_files
from runner.report.site.script import data_file
from runner.report.site.shell import Frame, answers_page, compare_page
from runner.report.site.summary import Summary
from runner.report.site.view import Table, View, moment, page_name
from runner.report.site.words import order
from runner.report.status import Standing, batch_rows, standings
from runner.revision import Revision
from runner.spec import Spec
from runner.state import BatchState, State

NAMES = ("index.html", "answers.html", "compare.html", "batches", "assets", "data")
"""What a report has at its top."""
_DECLARED = 100_000
"""Characters of a spec's text that are shown."""
_EVERY = 1_000
"""Rows between two words of progress."""


@dataclass(frozen=True)
class Wanted:
    """``revisions``: how many earlier ones of each batch are read, too; ``answers``: whether any row is shown."""

    answers: bool = True
    revisions: int = 1


@dataclass
class Written:
    """What a report came to.  ``remarks``: batches whose rows could not be read, and why."""

    folder: Path
    batches: int = 0
    rows: int = 0
    files: int = 0
    size: int = 0
    remarks: dict[str, str] = field(default_factory=dict)


def write_report(world: World, specs: Sequence[Spec], state: State, target: Path, wanted: Wanted) -> Written:
    """Write the site into the folder ``target``.  Raises RunnerError, OSError, Interrupted."""
    files = [path for spec in specs for path in (spec.input.path, spec.output.path) if path]
    check_place(target, world.grounds, (world.project.specs, "schemas", ".github", *files))
    site = Site(target, NAMES)
    try:
        written = _Writing(world, specs, state, site, wanted).all()
        site.keep()
    except BaseException:
        site.drop()
        raise
    return written


class _Writing:
    def __init__(self, world: World, specs: Sequence[Spec], state: State, site: Site, wanted: Wanted) -> None:
        self._world = world
        self._specs = {spec.name: spec for spec in specs}
        self._state = state
        self._site = site
        self._wanted = wanted
        self._shown = Shown(prompts=world.project.blobs.prompts != "drop", answers=wanted.answers)
        self._reader = Reader(world, specs, state)
        self._written = Written(site.target)

    def all(self) -> Written:
        views = [self._view(one) for one in standings(self._state, list(self._specs))]
        tables = [table for view in views for table in view.tables]
        frame = Frame(self._world.root.resolve().name, moment(self._world.clock.now()), bool(tables))
        site = self._site
        site.write("index.html", overview_page(frame, views))
        for view in views:
            site.write(f"batches/{view.page}.html", batch_page(frame, view))
        if tables:
            site.write("answers.html", answers_page(frame))
            site.write("compare.html", compare_page(frame))
            site.write(*data_file("tables", [vars(table) for table in tables]))
        for name, data in assets():
            site.write(f"assets/{name}", data)
        written = self._written
        written.batches, written.rows = len(views), sum(table.rows for table in tables)
        written.files, written.size = site.files, site.size
        return written

    def _view(self, standing: Standing) -> View:
        name = standing.name
        spec, known = self._specs.get(name), self._state.batches.get(name, BatchState())
        tables: list[Table] = []
        summary, remark = None, ""
        if spec is not None:
            place = page_name(name)
            summary, remark = self._rows(Table(place, name, name, place, _input(spec), 0, spec.samples), None, tables)
            remarks = [remark]
            for one in self._earlier(spec, known) if tables else ():
                title = f"{name}, revision {one.number}"
                table = Table(f"{place}.r{one.number}", title, name, place, _input(spec), 0, spec.samples)
                remarks.append(self._rows(table, one.number, tables)[1])
            remark = " ".join(filter(None, remarks))
        if remark:
            self._written.remarks[name] = remark
        return View(
            name,
            standing.word,
            known,
            self._state.of(name),
            standing.rows if summary is None else summary.counts,
            spec=spec,
            declared=self._declared(spec) if spec is not None else "",
            summary=summary,
            tables=tables,
            remark=remark,
            words=self._shown.answers,
        )

    def _rows(self, table: Table, revision: int | None, tables: list[Table]) -> tuple[Summary | None, str]:
        """Read a batch's rows; they are written, and ``table`` joins the others, where they are to be shown."""
        summary = Summary()
        what = f"reporting {table.title}"
        lines = self._entries(table.batch, revision, what)
        folder = f"data/{table.place}"
        try:
            with closing(lines):
                if self._shown.answers:
                    self._write_rows(lines, table.place, summary)
                else:
                    for entry in lines:
                        summary.add(entry)
        except Interrupted:
            raise
        except RunnerError as error:
            self._site.forget(folder)
            return None, f"The rows of {table.title} cannot be read: {error.message}."
        if self._shown.answers:
            tables.append(Table(**{**vars(table), "rows": summary.counts.total}))
        return summary, ""

    def _write_rows(self, entries: Iterator[Entry], place: str, summary: Summary) -> None:
        spill = Spill(self._site.scratch, order)
        with closing(spill):
            for file in row_files(entries, place, spill, summary):
                if self._world.stop.is_set():
                    raise Interrupted
                self._site.write(*file)

    def _entries(self, name: str, revision: int | None, what: str) -> Generator[Entry, None, None]:
        total = batch_rows(self._state, name).total or None
        lines = self._reader.lines(name, bodies=self._shown.answers and self._shown.prompts, revision=revision)
        for count, line in enumerate(lines):
            if not count % _EVERY:
                self._world.progress(what, count, total)
            yield entry_of(line.row.number, line.row.values, line.outcome, line.body, line.output, self._shown)

    def _earlier(self, spec: Spec, known: BatchState) -> list[Revision]:
        """Revisions whose answers are to be had beside those of today, latest first."""
        if not self._shown.answers:
            return []
        found = [one for one in known.revisions if one.blob]
        if found and found[-1] is known.revisions[-1] and self._is_today(spec, known):
            found.pop()
        return found[::-1][: self._wanted.revisions]

    def _is_today(self, spec: Spec, known: BatchState) -> bool:
        """Whether the latest revision asks as the spec does now."""
        covered = known.covered
        return covered is not None and not changes(
            covered.fingerprint, self._reader.resolved(spec.name).batch.fingerprint
        )

    def _declared(self, spec: Spec) -> str:
        """The text of the spec's own document, "" where prompts are not to be shown."""
        if not (self._shown.answers and self._shown.prompts):
            return ""
        try:
            text = inside(self._world.grounds, spec.place.file).read_bytes()[: 4 * _DECLARED].decode("utf-8", "replace")
        except (OSError, RunnerError):
            return ""  # moved since it was read
        return document_at(text, spec.place.line)[:_DECLARED]


def document_at(text: str, line: int) -> str:
    """The YAML document that stands at a line, counted from 1, of a file of several."""
    lines = text.splitlines()
    marks = [at for at, one in enumerate(lines) if one.rstrip() == "---" or one.startswith("--- ")]
    start = max((at + 1 for at in marks if at < line), default=0)
    end = min((at for at in marks if at >= max(line, start)), default=len(lines))
    return "\n".join(lines[start:end]).strip("\n") + "\n"


def _input(spec: Spec) -> str:
    """Tables that agree in this have the same rows under the same keys."""
    return f"{spec.input.named}\n{spec.input.key or ''}"


def assets() -> Iterator[tuple[str, bytes]]:
    """What a browser gets as it is."""
    folder = resources.files("runner.report.site") / "assets"
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith((".js", ".css", ".svg")):
            yield file.name, file.read_bytes()
