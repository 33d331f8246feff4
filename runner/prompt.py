"""A Prompt: a spec's templates, compiled once, and filled for each row.

Templates know `row` (its columns, as ``row.name`` or ``row["name"]``), `vars` and `name`; :mod:`runner.sandbox` says
what they can do with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from operator import itemgetter
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError

from runner.bounds import MAX_TEXT, AbsentError, text_of
from runner.errors import InvalidDocuments, Problem, RunnerError
from runner.provider import Message, Part, Question
from runner.sandbox import limited_memory, render, watched
from runner.sources import Source, Sources, lookup, nearest, short
from runner.spec import Place, Spec, Template

Row = Mapping[str, Any]

_METHODS = {
    "items": "for the pairs of a mapping, write {{ value|items }}",
    "keys": "for the keys of a mapping, write {{ value|list }}",
    "get": "for a key that may be missing, write {{ value.key|default('') }}",
}
_MAY_BE_MISSING = "name one that is there; for one that some rows lack, write {{ row.NAME|default('') }}"
_URL = re.compile(r"(https?://|data:)", re.IGNORECASE)


@dataclass(frozen=True)
class Filler:
    """One template, compiled.  ``sources``: its own first, then all that it refers to."""

    fill: Callable[[Row], str]
    image: bool
    sources: tuple[Source, ...]
    lines: Mapping[str, int]
    """Where each column stands, of a template so simple that it needs no Jinja."""

    def failure(self, error: Exception, whose: str, row: Row) -> RunnerError:
        """What ``error`` means to the template's author.  ``whose``: of which row, or of which spec."""
        if isinstance(error, RunnerError):
            return RunnerError(
                f"{whose}: {error.message}", where=str(self._place(error)), hint=error.hint, code=error.code
            )
        message, hint = short(error, 500) or type(error).__name__, ""
        code = "template-failed"
        if isinstance(error, SecurityError):
            code, hint = "template-runaway", "compute it before, and write it into a column of the input"
        if isinstance(error, AbsentError) and isinstance(error.of, dict):
            what = "column" if error.of is row else "key"
            code = "column-missing" if error.of is row else code
            message = f"there is no {what} {_shown(error.name)} among {_some(error.of)}"
            if isinstance(error.name, str):
                hint = _METHODS.get(error.name) or nearest(error.name, error.of) or _MAY_BE_MISSING
        return RunnerError(f"{whose}: {message}", where=str(self._place(error)), hint=hint, code=code)

    def _place(self, error: Exception) -> Place:
        sources = {source.name: source for source in self.sources}
        name = getattr(error, "name", "")
        source, line = self.sources[0], self.lines.get(name, 1) if isinstance(name, str) else 1
        trace = error.__traceback__
        while trace is not None:
            code, names = trace.tb_frame.f_code, trace.tb_frame.f_globals
            if code.co_filename in sources and "__jinja_template__" in names:
                source = sources[code.co_filename]
                line = names["__jinja_template__"].get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return source.at(line)


@dataclass(frozen=True)
class _Piece:
    """A part of the question: a constant text, or what a template gives."""

    kind: str
    text: str = ""
    filler: Filler | None = None


@dataclass(frozen=True)
class Prompt:
    """``shape``: the question, with its constant texts in place and "" in each slot.

    ``slots`` counts the texts that may differ from row to row.  ``columns``: those of `row` that are read; None where
    that cannot be known.  ``sources``: every template in use, by name, and the image files that no row decides.  Equal
    sources and vars make equal prompts of equal rows, unless ``local_images`` says that a row may name an image file.
    """

    shape: Question
    columns: frozenset[str] | None
    sources: Mapping[str, str]
    local_images: bool
    _roles: tuple[tuple[str, tuple[_Piece, ...]], ...]
    _fillers: tuple[Filler, ...]
    _image: Callable[[str], str]
    _key: str | None

    @property
    def slots(self) -> int:
        return len(self._fillers)

    def fill(self, row: Row, number: int) -> tuple[str, ...]:
        """The text of each slot for one row, whose ``number`` is for errors.

        Raises RunnerError for a missing column, for text that is not Unicode or is too long, and for whatever else a
        template runs into.
        """
        texts: list[str] = []
        size = 0
        try:
            for filler in self._fillers:
                text = filler.fill(row)
                size += len(text) if text.isascii() else _bytes(text)
                if size > MAX_TEXT:
                    raise RunnerError(
                        f"the row's texts are longer than {MAX_TEXT // 10**6} MB", code="template-runaway"
                    )
                texts.append(_address(text, self._image) if filler.image else text)
        except Exception as error:
            failed = self._fillers[len(texts)]
            raise failed.failure(error, _whose(row, number, self._key), row) from None
        return tuple(texts)

    def question(self, texts: Sequence[str]) -> Question:
        """The question with the texts of the slots put back."""
        filled = _put_back(self._roles, texts)
        if not isinstance(filled, str):
            return replace(self.shape, messages=filled)
        return replace(self.shape, text=filled) if self.shape.embed is None else replace(self.shape, embed=filled)


def compile_prompt(spec: Spec, *, load: Callable[[str], str], image: Callable[[str], str]) -> Prompt:
    """Compile a spec's prompt.

    ``load`` gives the source of a template in the project by its path, ``image`` the data URL of an image in the
    project; both raise RunnerError.  Raises InvalidDocuments for templates that cannot be compiled, and RunnerError for
    a constant one that fails.
    """
    templates = _templates(spec)
    with watched(), limited_memory():
        sources = Sources(spec, {name: template for name, _, template in templates}, load)
        if sources.problems:
            raise InvalidDocuments(sources.problems)
        pieces = {name: _piece(spec, sources, name, kind, image) for name, kind, _ in templates}
    fillers = tuple(piece.filler for piece in pieces.values() if piece.filler)
    roles = _layout(spec, iter(pieces.values()))
    used = {source.name: source.text for source in sources.by_name.values()}
    used |= {f"image of {name}": piece.text for name, piece in pieces.items() if piece.kind == "image" and piece.text}
    filled = _put_back(roles, [""] * len(fillers))
    return Prompt(
        shape=Question(
            messages=() if isinstance(filled, str) else filled,
            text=filled if isinstance(filled, str) and spec.embed is None else None,
            embed=filled if isinstance(filled, str) and spec.embed is not None else None,
            parameters=spec.parameters,
            schema=spec.schema,
        ),
        columns=_columns(sources),
        sources=used,
        local_images=any(filler.image and not _is_address(filler.sources[0].compiled.tree) for filler in fillers),
        _roles=roles,
        _fillers=fillers,
        _image=image,
        _key=spec.input.key,
    )


def compile_where(spec: Spec) -> Callable[[Row, int], bool] | None:
    """Whether a row, with its number, is kept by the spec's `where`; None where there is none.

    Raises InvalidDocuments for an expression that cannot be compiled; the function, RunnerError for one that fails.
    """
    if spec.input.where is None:
        return None
    with watched(), limited_memory():
        sources = Sources(spec, {_WHERE: spec.input.where}, _no_files)
    if sources.problems:
        raise InvalidDocuments(sources.problems)
    filler = _filler(spec, sources, _WHERE)

    def keeps(row: Row, number: int) -> bool:
        try:
            return bool(filler.fill(row))
        except Exception as error:
            raise filler.failure(error, _whose(row, number, spec.input.key), row) from None

    return keeps


def template_problems(spec: Spec, load: Callable[[str], str]) -> list[Problem]:
    """All that is wrong with a spec's templates, its `where` among them, as far as it shows without a row."""
    wanted = {name: template for name, _, template in _templates(spec)}
    with watched(), limited_memory():
        problems = Sources(spec, wanted, load).problems
        if spec.input.where is not None:
            problems = problems + Sources(spec, {_WHERE: spec.input.where}, _no_files).problems
    return sorted(set(problems))


_WHERE = "where"


def _no_files(name: str) -> str:
    raise RunnerError(f"an expression cannot refer to {name!r}", code="template-invalid")


def _templates(spec: Spec) -> list[tuple[str, str, Template]]:
    """Name, kind and template of each part of the prompt, in order."""
    if bare := _bare(spec):
        return [bare]
    parts = [part for message in spec.messages for part in message.parts]
    return [(f"part {number}", part.kind, part.template) for number, part in enumerate(parts, start=1)]


def _bare(spec: Spec) -> tuple[str, str, Template] | None:
    """The one template of a spec whose question is a bare text."""
    if spec.embed is not None:
        return "embed", "text", spec.embed
    return None if spec.text is None else ("text", "text", spec.text)


def _layout(spec: Spec, pieces: Iterator[_Piece]) -> tuple[tuple[str, tuple[_Piece, ...]], ...]:
    """Role and pieces of each message; a bare text has the role ""."""
    if _bare(spec):
        return (("", tuple(pieces)),)
    return tuple((message.role, tuple(islice(pieces, len(message.parts)))) for message in spec.messages)


def _put_back(roles: tuple[tuple[str, tuple[_Piece, ...]], ...], texts: Sequence[str]) -> tuple[Message, ...] | str:
    rest = iter(texts)
    messages = tuple(
        Message(role, tuple(Part(piece.kind, next(rest) if piece.filler else piece.text) for piece in pieces))
        for role, pieces in roles
    )
    return messages[0].parts[0].value if roles and not roles[0][0] else messages


def _columns(sources: Sources) -> frozenset[str] | None:
    columns: set[str] = set()
    for source in sources.by_name.values():
        if source.compiled.columns is None:
            return None
        columns |= source.compiled.columns
    return frozenset(columns)


def _piece(spec: Spec, sources: Sources, name: str, kind: str, image: Callable[[str], str]) -> _Piece:
    """A template that never looks at `row` is filled here, once."""
    filler = _filler(spec, sources, name, image=kind == "image")
    if any(source.compiled.uses_row for source in filler.sources):
        return _Piece(kind, filler=filler)
    try:
        text = filler.fill({})
        _bytes(text)
        return _Piece(kind, _address(text, image) if filler.image else text)
    except Exception as error:
        raise filler.failure(error, spec.name, {}) from None


def _filler(spec: Spec, sources: Sources, name: str, *, image: bool = False) -> Filler:
    used = tuple(sources.uses(name))
    pieces = _simple(used[0].compiled.tree, spec)
    if pieces is not None:
        lines = {piece.column: piece.line for piece in reversed(pieces) if isinstance(piece, _Column)}
        return Filler(_direct(pieces), image, used, lines)
    template = sources.template(name)
    return Filler(lambda row: render(template, {"row": row}), image, used, {})


# Templates that need no Jinja: text with columns in it


@dataclass(frozen=True)
class _Column:
    column: str
    line: int


def _simple(tree: nodes.Template, spec: Spec) -> list[str | _Column] | None:
    """The pieces of a template that is nothing but text, columns, vars and the name; None for any other."""
    found: list[str | _Column] = []
    for output in tree.body:
        if type(output) is not nodes.Output:
            return None
        for node in output.nodes:
            piece = _simple_piece(node, spec)
            if piece is None:
                return None
            found.append(piece)
    return found


def _simple_piece(node: nodes.Expr, spec: Spec) -> str | _Column | None:
    if isinstance(node, nodes.TemplateData):
        return node.data
    if isinstance(node, nodes.Name) and node.name == "name":
        return spec.name
    variable = lookup(node, "vars")
    if variable is not None and type(spec.vars.get(variable)) is str:
        return str(spec.vars[variable])
    column = lookup(node, "row")
    return None if column is None else _Column(column, node.lineno)


def _direct(pieces: Sequence[str | _Column]) -> Callable[[Row], str]:
    columns = [piece.column for piece in pieces if isinstance(piece, _Column)]
    pattern = "".join(piece.replace("%", "%%") if isinstance(piece, str) else "%s" for piece in pieces)
    if not columns:
        text = pattern % ()
        return lambda _row: text
    if len(columns) == 1:
        (column,) = columns

        def fill_one(row: Row) -> str:
            try:
                value = row[column]
            except KeyError as error:
                raise _absent(row, error) from None
            return pattern % (value if type(value) is str else text_of(value),)

        return fill_one
    values_of = itemgetter(*columns)

    def fill(row: Row) -> str:
        try:
            values = values_of(row)
        except KeyError as error:
            raise _absent(row, error) from None
        return pattern % tuple([value if type(value) is str else text_of(value) for value in values])

    return fill


def _absent(row: Row, error: KeyError) -> AbsentError:
    return AbsentError("a column is missing", of=row, name=error.args[0])


# What a text may be, and what is said when it is not


def _bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise RunnerError(
            f"the text holds {half}, half of a character, which is no Unicode",
            hint="mend the row",
            code="input-invalid",
        ) from None


def _address(text: str, image: Callable[[str], str]) -> str:
    text = text.strip()
    if not text:
        raise RunnerError(
            "an image has no address",
            hint="give an http, https or data URL, or a path in the project",
            code="image-invalid",
        )
    return text if _URL.match(text) else image(text)


def _is_address(tree: nodes.Template) -> bool:
    """Whether a template begins as an http, https or data URL does, whatever the row."""
    first = next(iter(tree.find_all(nodes.TemplateData)), None)
    head = tree.body[0] if tree.body else None
    begins = isinstance(head, nodes.Output) and bool(head.nodes) and head.nodes[0] is first
    return begins and first is not None and _URL.match(first.data.lstrip()) is not None


def _whose(row: Row, number: int, key: str | None) -> str:
    label = f" ({key} {str(row[key])[:80]!r})" if key is not None and key in row else ""
    return f"row {number:,}{label}"


def _shown(name: object) -> str:
    """What a template looked for, which need be no text at all."""
    if isinstance(name, str):
        return repr(short(name))
    return repr(name) if isinstance(name, int | float | None) else f"<{type(name).__name__}>"


def _some(columns: Mapping[str, Any]) -> str:
    names = ", ".join(str(name)[:80] for name in islice(columns, 20))
    return f"{names or 'none'}{' …' if len(columns) > 20 else ''}"
