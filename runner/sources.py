"""Every template of a spec, compiled but not run: what is wrong with it, and which columns it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from types import CodeType
from typing import Any, NamedTuple

import jinja2
from jinja2 import TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser

from runner.bounds import MAX_BITS, filters, refuse, tests
from runner.errors import Problem, RunnerError
from runner.sandbox import EACH, FUNCTIONS, Sandbox, attempt
from runner.spec import Place, Spec, Template

MAX_SOURCE = 256 * 2**10
"""Characters of one template."""
MAX_NODES = 10_000
"""Nodes of one template's syntax tree: compiling takes some 0.1 ms for each."""
MAX_SOURCES = 64
MAX_PROBLEMS = 100
"""Of one template; who has more has made one mistake a hundred times."""
_WORTH = EACH / 4
"""Seconds that each of the four steps of compiling a template adds to those that all templates may take."""

VARIABLES = frozenset({"row", "vars", "name"})
_ORDER = ("row", "text", "parsed", "finish_reason", "usage", "key", "vars", "name")
"""In which messages tell what a template knows."""
_IN_PLACES = frozenset({"loop", "self", "super", "caller"})
_REFERENCES = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)


class Finding(NamedTuple):
    """What is wrong on a line of a template."""

    line: int
    message: str
    hint: str = ""


class Mention(NamedTuple):
    """A name on a line of a template."""

    line: int
    name: str


@dataclass(frozen=True)
class Compiled:
    """All there is to know of one template by itself.  ``code`` is None where it has no use, for the ``findings``.

    ``references``: the templates that it includes, imports or extends.  ``columns``: what it looks up in `row`; None
    where it uses `row` in any other way.  ``vars``: what it looks up in `vars` without a default.  ``names``: what else
    it expects to be there.  ``defines``: what it sets itself.
    """

    findings: tuple[Finding, ...]
    tree: nodes.Template
    code: CodeType | None = None
    references: tuple[Mention, ...] = ()
    columns: frozenset[str] | None = frozenset()
    uses_row: bool = False
    vars: tuple[Mention, ...] = ()
    names: tuple[Mention, ...] = ()
    defines: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Source:
    """One template, and where it begins."""

    name: str
    text: str
    place: Place
    compiled: Compiled

    def at(self, line: int) -> Place:
        """The place of one of the template's lines, which count from 1."""
        return Place(self.place.file, self.place.line + line - 1, self.place.column if line == 1 else 1)

    def problem(self, line: int, message: str, hint: str = "", *, code: str = "") -> Problem:
        at = self.at(line)
        return Problem(at.file, at.line, at.column, message, hint, code)


class Sources:
    """The templates of ``spec`` and all that they refer to, by name, with every problem that shows without a row.

    ``wanted`` names the templates to begin with, of which the spec's `where` is an expression, or all of them are.
    ``load`` gives the text of a file in the project, and raises RunnerError.  ``variables``: what they know.
    """

    def __init__(
        self,
        spec: Spec,
        wanted: Mapping[str, Template],
        load: Callable[[str], str],
        *,
        expressions: bool = False,
        variables: frozenset[str] = VARIABLES,
    ) -> None:
        self.by_name: dict[str, Source] = {}
        self.problems: list[Problem] = []
        self._load = load
        for name, template in wanted.items():
            is_expression = expressions or template is spec.input.where
            self._add(name, template.source, template.place, expression=is_expression)
        defined = frozenset().union(*(source.compiled.defines for source in self.by_name.values()))
        for source in self.by_name.values():
            self.problems += _problems_of(source, spec, defined, variables)
        texts = {name: source.text for name, source in self.by_name.items()}
        self._environment = Sandbox(texts, {"vars": dict(spec.vars), "name": spec.name})

    def template(self, name: str) -> jinja2.Template:
        """The template ``name``, ready to be rendered, where there are no problems."""
        environment, code = self._environment, self.by_name[name].compiled.code
        assert code is not None
        return environment.template_class.from_code(environment, code, environment.globals)

    def uses(self, name: str) -> list[Source]:
        """The template ``name``, and then all that it refers to, directly or not."""
        found: dict[str, Source] = {}
        following = [name]
        while following:
            source = self.by_name[following.pop()]
            if source.name not in found:
                found[source.name] = source
                following += [used.name for used in source.compiled.references]
        return list(found.values())

    def _add(self, name: str, text: str, place: Place, *, expression: bool = False) -> None:
        source = self.by_name[name] = Source(name, text, place, compiled(name, text, expression))
        for line, used in source.compiled.references:
            if used not in self.by_name:
                self._follow(source, line, used)

    def _follow(self, source: Source, line: int, used: str) -> None:
        try:
            if len(self.by_name) >= MAX_SOURCES:
                raise RunnerError(f"more than {MAX_SOURCES} templates refer to one another", code="template-invalid")
            text = self._load(used)
        except RunnerError as error:
            self.problems.append(source.problem(line, error.message, error.hint, code=error.code))
        else:
            self._add(used, text, Place(used))


def _problems_of(source: Source, spec: Spec, defined: frozenset[str], variables: frozenset[str]) -> list[Problem]:
    """The first MAX_PROBLEMS of a template's problems, looked for within its time."""
    found: list[Problem] = []
    try:
        attempt(lambda: found.extend(islice(_problems(source, spec, defined, variables), MAX_PROBLEMS)), worth=_WORTH)
    except SecurityError as error:
        found.append(source.problem(1, _unreadable(error), code="template-invalid"))
    return found


def _unreadable(error: Exception) -> str:
    why = error.message if isinstance(error, TemplateSyntaxError | SecurityError) else f"{error}"
    return f"the template cannot be read: {short(why, 500)}"


def _problems(source: Source, spec: Spec, defined: frozenset[str], variables: frozenset[str]) -> Iterator[Problem]:
    for finding in source.compiled.findings:
        yield source.problem(*finding, code="template-invalid")
    for line, name in source.compiled.vars:
        if name not in spec.vars:
            yield source.problem(
                line, f"`vars` has no {short(name)!r}", nearest(name, spec.vars), code="template-invalid"
            )
    for line, name in source.compiled.names:
        if name not in defined and name not in variables:
            hint = f"a column is written row.{short(name)}, a variable vars.{short(name)}"
            *most, last = (known for known in _ORDER if known in variables)
            what = f"a template does not know {short(name)!r}, only {', '.join(most)} and {last}"
            yield source.problem(line, what, hint, code="template-invalid")


@lru_cache(maxsize=16)
def compiled(name: str, text: str, expression: bool = False) -> Compiled:
    """Compile a template, or an expression.  The batches of a matrix share what they find here."""
    empty = nodes.Template([], lineno=1)
    findings: list[Finding] = []
    try:
        if len(text) > MAX_SOURCE:
            refuse(f"it is longer than {MAX_SOURCE // 2**10} KiB")
        environment = Sandbox({}, {})
        tree = attempt(_parse_expression if expression else _parse, environment, text, worth=_WORTH)
        findings = attempt(_misuses, tree, worth=_WORTH)
        return attempt(_compiled, environment, tree, name, findings, worth=_WORTH)
    except Exception as error:
        if findings:
            return Compiled(tuple(findings), empty)
        line = error.lineno if isinstance(error, TemplateSyntaxError) else 1
        what = "where" if name == "where" else "expression"
        hint = f"`{what}` is a bare expression, without {{{{ }}}}" if expression and "{{" in text else ""
        return Compiled((Finding(line, _unreadable(error), hint),), empty)


def _parse(environment: Sandbox, text: str) -> nodes.Template:
    return environment.parse(text)


def _parse_expression(environment: Sandbox, text: str) -> nodes.Template:
    """An expression as a template that gives "1" where it holds, and nothing where it does not."""
    parser = Parser(environment, text, state="variable")
    test = parser.parse_expression()
    if not parser.stream.eos:
        parser.fail("the expression ends before this", parser.stream.current.lineno)
    yes = nodes.Output([nodes.TemplateData("1")], lineno=1)
    tree = nodes.Template([nodes.If(test, [yes], [], [], lineno=1)], lineno=1)
    tree.set_environment(environment)
    return tree


def _compiled(environment: Sandbox, tree: nodes.Template, name: str, findings: Iterable[Finding]) -> Compiled:
    for node in tree.find_all((nodes.Filter, nodes.Test)):  # unknown ones are among the findings, and no reason to stop
        known: dict[str, Any] = environment.filters if isinstance(node, nodes.Filter) else environment.tests
        known.setdefault(node.name, str)
    row = [node for node in tree.find_all(nodes.Name) if node.name == "row"]
    columns = [column for _, column in lookups(tree, "row")]
    expected = find_undeclared_variables(tree) - VARIABLES - FUNCTIONS - _IN_PLACES
    names = [node for node in tree.find_all(nodes.Name) if node.ctx == "load" and node.name in expected]
    return Compiled(
        findings=tuple(findings),
        tree=tree,
        code=environment.compile(tree, name, name),
        references=tuple(_references(tree)),
        columns=frozenset(columns) if len(columns) == len(row) else None,
        uses_row=bool(row),
        vars=tuple(_vars_without_default(tree)),
        names=tuple(Mention(node.lineno, node.name) for node in names),
        defines=frozenset(_definitions(tree)),
    )


# What a syntax tree says


def _misuses(tree: nodes.Template) -> list[Finding]:
    """What the sandbox does not offer.  All of it, where Jinja would stop at the first."""
    found: list[Finding] = []
    for count, node in enumerate(tree.find_all(nodes.Node)):
        if count >= MAX_NODES:
            refuse(f"it has more than {MAX_NODES:,} parts")
        if problem := _misuse(node):
            found.append(Finding(node.lineno, *problem))
        if len(found) >= MAX_PROBLEMS:
            break
    return found


def _misuse(node: nodes.Node) -> tuple[str, str] | None:
    if isinstance(node, nodes.Filter) and node.name not in filters:
        return f"there is no filter {short(node.name)!r} in a prompt's template", nearest(node.name, filters)
    if isinstance(node, nodes.Test) and node.name not in tests:
        return f"there is no test {short(node.name)!r} in a prompt's template", nearest(node.name, tests)
    if isinstance(node, nodes.EvalContextModifier):
        return "`autoescape` has no place in a prompt: nothing is escaped", ""
    if isinstance(node, nodes.Name) and node.name in ("varargs", "kwargs"):
        return f"`{node.name}` is not offered", "name the macro's arguments"
    if isinstance(node, nodes.Const) and isinstance(node.value, int) and node.value.bit_length() > MAX_BITS:
        return f"a number has more than {MAX_BITS:,} bits", ""
    if isinstance(node, _REFERENCES) and _reference(node) is None:
        return "the name of a template has to be written out", 'write {% include "prompts/part.j2" %}'
    return None


def _references(tree: nodes.Template) -> Iterator[Mention]:
    for node in tree.find_all(_REFERENCES):
        if (name := _reference(node)) is not None:
            yield Mention(node.lineno, name)


def _reference(node: nodes.Node) -> str | None:
    return _text(getattr(node, "template", None))


def _text(node: nodes.Node | None) -> str | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None


def lookup(node: nodes.Node, variable: str) -> str | None:
    """``x`` where the node is ``variable.x`` or ``variable["x"]``."""
    if not isinstance(node, nodes.Getattr | nodes.Getitem) or not isinstance(node.node, nodes.Name):
        return None
    if node.node.name != variable:
        return None
    return node.attr if isinstance(node, nodes.Getattr) else _text(node.arg)


def lookups(tree: nodes.Node, variable: str) -> list[tuple[nodes.Node, str]]:
    """Every node that is ``variable.x``, with its ``x``; none where a template gives the variable another meaning."""
    if any(name.ctx != "load" for name in tree.find_all(nodes.Name) if name.name == variable):
        return []
    found = [(node, lookup(node, variable)) for node in tree.find_all((nodes.Getattr, nodes.Getitem))]
    return [(node, name) for node, name in found if name is not None]


def _vars_without_default(tree: nodes.Template) -> Iterator[Mention]:
    excused = {
        id(node.node)
        for node in tree.find_all((nodes.Filter, nodes.Test))
        if node.name in ("d", "default", "defined", "undefined")
    }
    for node, name in lookups(tree, "vars"):
        if id(node) not in excused:
            yield Mention(node.lineno, name)


def _definitions(tree: nodes.Template) -> Iterator[str]:
    """Names that a template sets.  What it includes, or its blocks, may expect them."""
    yield from (node.name for node in tree.find_all(nodes.Name) if node.ctx != "load")
    yield from (node.name for node in tree.find_all(nodes.Macro))
    yield from (node.target for node in tree.find_all(nodes.Import))
    for node in tree.find_all(nodes.FromImport):
        yield from (name if isinstance(name, str) else name[1] for name in node.names)


def nearest(name: str, known: Iterable[str]) -> str:
    """ "did you mean …?", or "" where nothing is near.  No long name is compared, for that takes quadratic time."""
    if len(name) > _LONG:
        return ""
    names = [other for other in map(str, islice(known, _MOST)) if len(other) <= _LONG]
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


_LONG, _MOST = 64, 1_000


def short(text: object, most: int = 80) -> str:
    """As much of a text as a message holds."""
    shown = f"{text}"
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"
