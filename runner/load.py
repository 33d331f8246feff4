"""Read a project from its folder: every document, every file that they name, and all that is wrong with any of them.

What a spec names is not trusted.  Its paths are resolved, links and all, and have to stay inside the project; it may
read neither what git and runner keep there nor a file that holds a secret, and may write over nothing that the project
is made of.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2.exceptions import SecurityError

from runner import project as projects
from runner import spec as specs
from runner.chains import cycles
from runner.document import MAX_BYTES, Document, Mark, Node, layer, mapping, parse
from runner.edge.grounds import Grounds, folded
from runner.edge.paths import template_source
from runner.errors import InvalidDocuments, Problem, RunnerError
from runner.expressions import check_problems
from runner.inputs import first_row_problem
from runner.project import Project
from runner.prompt import template_problems
from runner.sandbox import attempt, limited_memory, watched
from runner.schema import SECRETS, answer_schema, check, nearest, schema_text, shown, validator
from runner.spec import Spec, Variant

RUNNER_YAML = "runner.yaml"
MAX_PROBLEMS = 5_000
"""After so many, no further document is read."""

_INPUTS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz", ".tsv.gz", ".parquet.gz")
_OUTPUTS = (".jsonl", ".csv", ".parquet")
_KEPT = ("schemas", ".github")
"""Folders at the root in which no output lands."""
_UNKNOWN_KEYS = {
    "limits": "limits stand in runner.yaml only",
    "extra_body": "write it under `parameters`",
    "system": "write it under `prompt`",
    "user": "write it under `prompt`",
}


def find_root(start: Path) -> Path:
    """The nearest folder with a runner.yaml, from ``start`` upwards.  Raises RunnerError where there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if os.path.isfile(folder / RUNNER_YAML):  # noqa: PTH113  unlike Path.is_file, never raises
            return folder
    raise RunnerError(
        f"there is no {RUNNER_YAML} in {start} or in any folder above it",
        hint="make a project here, or name its folder with -C",
        commands=("runner init",),
        code="project-missing",
    )


def load(root: Path) -> tuple[Project, list[Spec]]:
    """The project in ``root`` and its specs, by file and by place in the file.

    Raises InvalidDocuments with every problem of every file.
    """
    reading = _Reading(root)
    if reading.project is None:
        raise InvalidDocuments(reading.problems)
    return reading.project, reading.specs


def problems(root: Path) -> list[Problem]:
    """Every problem of every file of the project in ``root``, by place: of inputs, of their first row."""
    reading = _Reading(root)
    found = set(reading.problems)
    source = partial(template_source, reading.grounds)
    for spec in reading.sound:
        found.update(template_problems(spec, source))
        found.update(check_problems(spec))
        problem = None if spec.input.batch else first_row_problem(spec, reading.grounds)
        if problem is not None:
            found.add(problem)
    return sorted(found)


@dataclass(frozen=True)
class _Entry:
    """A document of specs, with what it stands for and the files it names."""

    document: Document
    variants: list[Variant]
    texts: Mapping[str, str]
    schema: Mapping[str, Any] | None


class _Reading:
    """One reading of a project.  ``project`` and ``specs`` are there only when there are no ``problems``."""

    def __init__(self, root: Path) -> None:
        self.problems: list[Problem] = []
        self.project: Project | None = None
        self.specs: list[Spec] = []
        self.sound: list[Spec] = []
        """One spec of each document in which nothing is wrong by itself, whatever is wrong elsewhere."""
        self.grounds = Grounds(root)
        self._root = self.grounds.root
        self._material = {folded(RUNNER_YAML)}
        """What the project is made of, as folded real paths.  No output may be one of them."""
        self._contents: dict[str, bytes | None] = {}
        self._unread = False
        """Whether a file of specs is no YAML, so that nobody can say what is in it."""
        self._specs = Project.specs
        runner = self._runner_yaml()
        if runner is None:
            list(self._documents(Project.specs))  # all that can be said of them is whether they are YAML
            return
        self._survey(runner)
        entries = []
        for document in self._documents(self._specs_folder(runner)):
            if len(self.problems) > MAX_PROBLEMS:
                self.problems.append(
                    document.mark.problem("too many problems: nothing from here on was read", code="document-too-large")
                )
                break
            before = len(self.problems)
            entry = self._entry(document, runner)
            entries.append(entry)
            if len(self.problems) == before:
                self.sound.append(specs.from_document(entry.document, entry.variants[0], entry.texts, entry.schema))
        self._check_names(entries)
        self._check_chains(entries)
        self._check_outputs(entries)
        if not self.problems:
            self.project = projects.from_document(runner)
            self.specs = [
                specs.from_document(entry.document, variant, entry.texts, entry.schema)
                for entry in entries
                for variant in entry.variants
            ]

    # runner.yaml.  Where it does not fit its schema, what can be understood of it is still used.

    def _runner_yaml(self) -> Document | None:
        whole = Mark(RUNNER_YAML, 1, 1)
        data = self._bytes(RUNNER_YAML, whole)
        if data is None:
            return None
        documents, found = parse(data, RUNNER_YAML)
        self.problems += found
        if len(documents) > 1:
            self.problems.append(
                documents[1].mark.problem(f"{RUNNER_YAML} holds one document", "drop the others", code="yaml-invalid")
            )
        elif not documents and not found:
            self.problems.append(whole.problem("the file is empty", "begin with `version: 1`", code="yaml-invalid"))
        if not documents:
            return None
        self.problems += check(documents[0], validator("project"))
        return documents[0]

    def _survey(self, runner: Document) -> None:
        """Learn which paths are the state's, which hold secrets, and which the providers read."""
        providers = runner.find(("providers",), dict) or {}
        settings = [item for one in providers.values() if isinstance(one, dict) for item in one.items()]
        secrets = [value.get("file") for key, value in settings if key in SECRETS and isinstance(value, dict)]
        state, blobs = runner.find(("state",), str) or Project.state, runner.find(("blobs", "store"), str)
        kept = projects.folders_of(state, blobs)
        self.grounds = Grounds(self._root, kept, [path for path in secrets if isinstance(path, str)])
        if self.grounds.state_is_root:
            at = runner.locate(("state",))
            self.problems.append(
                at.problem(
                    "the state needs a folder of its own", f"write `state: {Project.state}`", code="store-address"
                )
            )
        why, hint = projects.misplaced(state, blobs)
        at = runner.locate(("blobs", "store") if blobs else ("state",))
        if why and not any((problem.line, problem.column) == (at.line, at.column) for problem in self.problems):
            self.problems.append(at.problem(why, hint, code="store-address"))
        for key, value in settings:
            if key in ("answers", "faults") and isinstance(value, str):
                self._material.add(folded(os.path.normpath(value)))

    def _specs_folder(self, runner: Document) -> str | None:
        """The folder of specs.  Only one that runner.yaml names has to be there, for git keeps no empty folders."""
        named = runner.find(("specs",), str)
        folder = self._specs = named or Project.specs
        at = runner.locate(("specs",))
        try:
            self.grounds.readable(folder)
        except ValueError as error:
            self.problems.append(at.problem(f"{shown(folder)} {error}", code="path-outside"))
            return None
        if os.path.isdir(self._root / folder):  # noqa: PTH112  never raises
            return folder
        if named:
            self.problems.append(
                at.problem(f"there is no folder {shown(folder)}", "make it, even if empty", code="file-missing")
            )
        return None

    # Documents

    def _documents(self, folder: str | None) -> Iterator[Document]:
        """The documents of all spec files, in the order of their paths."""
        for path in sorted(self._spec_files(folder)) if folder else ():
            file = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            whole = Mark(file, 1, 1)
            try:
                self._material |= {folded(file), folded(self.grounds.readable(path))}
            except ValueError as error:
                self.problems.append(
                    whole.problem(f"the file {error}", "rename it, or move it into the project", code="path-outside")
                )
                continue
            data = self._bytes(path, whole)
            if data is not None:
                documents, found = parse(data, file)
                self.problems += found
                self._unread = self._unread or bool(found)
                yield from documents

    def _spec_files(self, folder: str) -> Iterator[str]:
        """Relative paths.  Hidden files are no specs; links to folders are not followed, so that there is no cycle."""
        for here, folders, files in os.walk(self._root / folder, onerror=self._unreadable):
            relative = os.path.relpath(here, self._root)
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in folders:
                if os.path.islink(os.path.join(here, name)):  # noqa: PTH114, PTH118
                    at = Mark(os.path.normpath(f"{relative}/{name}"), 1, 1)
                    self.problems.append(
                        at.problem("a link to a folder is not followed", "move its specs here", code="file-unreadable")
                    )
            for name in files:
                path = os.path.normpath(f"{relative}/{name}")
                if name.lower().endswith((".yaml", ".yml")) and not name.startswith(".") and path != RUNNER_YAML:
                    yield path

    def _unreadable(self, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            return
        file = os.path.relpath(error.filename, self._root)
        self.problems.append(
            Problem(file, 1, 1, f"the folder cannot be read: {error.strerror}", code="file-unreadable")
        )

    def _bytes(self, path: str, at: Mark) -> bytes | None:
        """The first MAX_BYTES + 1 bytes of a regular file, read once.  Any other kind, such as a pipe, is a problem."""
        if path not in self._contents:
            self._contents[path] = None
            try:
                with open(self._root / path, "rb", opener=_open_at_once) as file:
                    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                        self._contents[path] = file.read(MAX_BYTES + 1)
                    else:
                        self.problems.append(at.problem(f"{shown(path)} is not a regular file", code="file-unreadable"))
            except OSError as error:
                self.problems.append(
                    at.problem(f"{shown(path)} cannot be read: {error.strerror}", code="file-unreadable")
                )
        return self._contents[path]

    def _entry(self, document: Document, runner: Document) -> _Entry:
        document = _merged(document, runner)
        self.problems += check(document, validator("batch"), _UNKNOWN_KEYS)
        self.problems += specs.examine(document)
        self._check_provider(document, runner.find(("providers",), dict) or {})
        self._file(document, "input", "path", suffixes=_INPUTS)
        variants, found = specs.variants(document)
        self.problems += found
        return _Entry(document, variants, self._texts(document), self._answer_schema(document))

    def _check_provider(self, document: Document, providers: Mapping[str, Any]) -> None:
        name = document.find(("provider",), str)
        if name is None and isinstance(document.value, dict) and "provider" not in document.value:
            hint = f"add `provider: {next(iter(providers), 'NAME')}`, here or under `defaults` in {RUNNER_YAML}"
            self.problems.append(document.mark.problem("`provider` is missing", hint, code="key-missing"))
        elif name and name not in providers:
            at = document.locate(("provider",))
            self.problems.append(
                at.problem(
                    f"no provider of {RUNNER_YAML} is named {shown(name)}",
                    nearest(name, providers),
                    code="provider-unknown",
                )
            )

    # The files that a document names

    def _file(self, document: Document, *path: str, suffixes: tuple[str, ...] = ("",)) -> str | None:
        """The real path of the file named at ``path``, None where there is none or something is wrong with it."""
        named = document.find(path, str)
        if not named:
            return None
        at = document.locate(path)
        try:
            relative = self.grounds.readable(named)
        except ValueError as error:
            self.problems.append(at.problem(f"{shown(named)} {error}", code="path-outside"))
            return None
        if not named.lower().endswith(suffixes):
            self.problems.append(
                at.problem(
                    f"{shown(named)} is not a kind of file that runner reads", _known(suffixes), code="file-kind"
                )
            )
            return None
        if not os.path.isfile(self._root / relative):  # noqa: PTH113  never raises
            self.problems.append(
                at.problem(f"there is no file {shown(named)}", self._neighbour(relative), code="file-missing")
            )
            return None
        self._material.add(folded(relative))
        return relative

    def _neighbour(self, relative: str) -> str:
        """A hint that names the file that may have been meant."""
        folder, name = os.path.split(relative)
        if os.path.isdir(self._root / relative):  # noqa: PTH112  never raises
            return "it is a folder"
        try:
            beside = [other for other in os.listdir(self._root / folder) if other.isprintable()]  # noqa: PTH208
        except OSError:
            beside = []
        meant = [os.path.normpath(f"{folder or '.'}/{other}") for other in get_close_matches(name, beside, 1, 0.75)]
        if meant and not self.grounds.private(meant[0]):
            return f"did you mean `{meant[0]}`?"
        return "the path is relative to the project's root"

    def _texts(self, document: Document) -> Mapping[str, str]:
        """The template files that the document names."""
        texts: dict[str, str] = {}
        for path in (("prompt", "file"), ("text", "file"), ("embed", "file")):
            relative = self._file(document, *path)
            at = document.locate(path)
            data = self._bytes(relative, at) if relative else None
            if data is None:
                continue
            if len(data) > MAX_BYTES:
                self.problems.append(
                    at.problem(f"the file is larger than {MAX_BYTES // 1024**2} MiB", code="document-too-large")
                )
                continue
            try:
                texts[document.find(path, str) or ""] = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
            except UnicodeDecodeError:
                self.problems.append(at.problem("the file is not UTF-8", "save it as UTF-8", code="file-unreadable"))
        return texts

    def _answer_schema(self, document: Document) -> Mapping[str, Any] | None:
        path = ("response", "schema")
        relative = self._file(document, *path)
        data = self._bytes(relative, document.locate(path)) if relative else None
        if relative is None or data is None:
            return None
        schema: dict[str, Any] | None = None
        try:
            with watched(), limited_memory():  # a pattern may take minutes merely to be compiled
                schema, problem = attempt(answer_schema, data, relative)
        except SecurityError as error:
            problem = Mark(relative, 1, 1).problem(f"the schema cannot be read: {error}", code="file-unreadable")
        if problem:
            self.problems.append(problem)
        return schema

    # What has to hold between documents

    def _check_names(self, entries: list[_Entry]) -> None:
        first: dict[str, Mark] = {}
        for entry in entries:
            at = entry.document.locate(("name",))
            for name in dict.fromkeys([entry.document.find(("name",), str), *(v.name for v in entry.variants)]):
                if name and (other := first.setdefault(name, at)) != at:
                    self.problems.append(
                        at.problem(
                            f"the name {shown(name)} is taken", f"it is first at {_at(other)}", code="name-taken"
                        )
                    )
                    self.problems.append(
                        other.problem(
                            f"the name {shown(name)} is taken", f"it is again at {_at(at)}", code="name-taken"
                        )
                    )

    def _check_chains(self, entries: list[_Entry]) -> None:
        """That every batch whose answers are read is there, and none waits for itself."""
        places = {
            variant.name: entry.document.locate(("input", "batch")) for entry in entries for variant in entry.variants
        }
        reads = {variant.name: variant.reads for entry in entries for variant in entry.variants}
        unclear = [entry.document.find(("name",), str) or "" for entry in entries if not entry.variants]
        matrices = {entry.document.find(("name",), str): entry.variants for entry in entries}
        for name, read in reads.items():
            if not read or read in reads or self._unread or any(read.startswith(broken) for broken in unclear):
                continue
            cells = [variant.name for variant in matrices.get(read, ())]
            hint = f"it is a matrix: name one of its batches, {_some(cells)}" if cells else nearest(read, reads)
            self.problems.append(places[name].problem(f"no batch is named {shown(read)}", hint, code="chain-invalid"))
        for cycle in cycles(reads):
            path = " → ".join((*cycle, cycle[0]))
            what = (
                f"`{cycle[0]}` reads its own answers"
                if len(cycle) == 1
                else f"these batches wait for one another: {path}"
            )
            self.problems.append(places[cycle[0]].problem(what, "let one of them read a file", code="chain-invalid"))

    def _check_outputs(self, entries: list[_Entry]) -> None:
        first: dict[str, tuple[Mark, Variant]] = {}
        for entry in entries:
            path = ("output", "path")
            at = entry.document.locate(path if entry.document.node(path) else ("name",))
            for variant in entry.variants:
                try:
                    place = folded(self._output(variant.output))
                except ValueError as error:
                    self.problems.append(
                        at.problem(f"the output {shown(variant.output)} {error}", code="output-invalid")
                    )
                    break
                before = first.setdefault(place, (at, variant))
                if before != (at, variant):
                    self.problems += _same_output(before, (at, variant))
                    break

    def _output(self, path: str) -> str:
        """The real path of an output.  Raises ValueError, to be read after the path, where none may be written."""
        relative = self.grounds.readable(path)
        compared = folded(relative)
        if compared in self._material or self._is_kept(compared):
            raise ValueError("would overwrite what the project is made of")
        if not (path.lower().endswith(_OUTPUTS) and compared.endswith(_OUTPUTS)):
            raise ValueError(f"is not a kind of file that runner writes; {_known(_OUTPUTS)}")
        if os.path.isdir(self._root / relative):  # noqa: PTH112  never raises
            raise ValueError("is a folder")
        return relative

    def _is_kept(self, compared: str) -> bool:
        """Whether a path lies where no output lands: among the specs, too, unless that is the whole project."""
        specs_folder = folded(os.path.normpath(self._specs))
        return compared.split("/")[0] in _KEPT or compared.startswith(f"{specs_folder}/")


def _some(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:5]) + (" …" if len(names) > 5 else "")


def _same_output(one: tuple[Mark, Variant], other: tuple[Mark, Variant]) -> Iterator[Problem]:
    if one[0] == other[0]:  # a matrix, or `defaults`
        names = f"both `{one[1].name}` and `{other[1].name}`"
        yield one[0].problem(
            f"the output {shown(one[1].output)} is that of {names}",
            "let it vary, as with `{{ name }}`",
            code="output-taken",
        )
        return
    for (at, variant), (there, twin) in ((one, other), (other, one)):
        message = f"the output {shown(variant.output)} is also that of `{twin.name}`, at {_at(there)}"
        yield at.problem(message, "give each its own", code="output-taken")


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _known(suffixes: tuple[str, ...]) -> str:
    return f"known: {', '.join(suffixes)}"


def _at(mark: Mark) -> str:
    return f"{mark.file}:{mark.line}:{mark.column}"


@cache
def _default_keys() -> frozenset[str]:
    """The keys of a spec that may stand under `defaults`."""
    return frozenset(json.loads(schema_text("project"))["properties"]["defaults"]["properties"])


def _merged(document: Document, runner: Document) -> Document:
    """The document laid on runner.yaml's `defaults`; each value keeps its own place."""
    defaults = runner.node(("defaults",))
    if defaults is None or not defaults.is_mapping:
        return document
    known = _only(defaults, defaults.children.keys() & _default_keys())
    return Document(layer(document.root, _without_alternatives(known, document.root, ())))


def _without_alternatives(under: Node, over: Node, path: tuple[str | int, ...]) -> Node:
    """``under`` without the keys in whose place ``over`` has another."""
    if not (under.is_mapping and over.is_mapping):
        return under
    group = specs.ALTERNATIVES.get(path, frozenset())
    dropped = group - over.children.keys() if group & over.children.keys() else frozenset()
    kept = _only(under, under.children.keys() - dropped)
    children = {
        key: _without_alternatives(child, over.children[key], (*path, key)) if key in over.children else child
        for key, child in kept.children.items()
    }
    return mapping(under.mark, children, under.keys)


def _only(node: Node, keys: Set[str | int]) -> Node:
    return mapping(node.mark, {key: child for key, child in node.children.items() if key in keys}, node.keys)
