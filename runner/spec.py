"""A Spec: what a person declared in one YAML document, as typed values.

The shape of a document is checked by its JSON Schema, what files it names by :mod:`runner.load`; what can be said about
it without either is said here, in :func:`examine` and :func:`variants`.
"""

from __future__ import annotations

import itertools
import json
import math
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from runner.checks import KINDS, Check
from runner.document import Document, Mark
from runner.errors import Problem
from runner.model import Selector, parse_bound

if TYPE_CHECKING:
    import jinja2

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
MAX_COMBINATIONS = 1_000
MAX_PATH = 1_000
"""Characters of an output's path."""
MAX_PARTS = 64
"""Of the template of one path."""
DEFAULT_OUTPUT = "outputs/{{ name }}.jsonl"


@dataclass(frozen=True)
class Place:
    """Where in the project something was written.  Lines and columns count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Template:
    """Jinja source and where it stands.  ``file`` is set for a template in a file of its own (relative to the root)."""

    source: str
    place: Place
    file: str | None = None


@dataclass(frozen=True)
class PartTemplate:
    """``kind`` is text or image; an image's template yields an http(s) or data URL, or a path inside the project."""

    kind: str
    template: Template


@dataclass(frozen=True)
class MessageTemplate:
    role: str
    parts: tuple[PartTemplate, ...]


@dataclass(frozen=True)
class Input:
    """``path`` is relative to the project's root, with forward slashes.

    ``batch`` names another batch, whose answers are the rows; ``path`` is "" then, until they are laid down in a file.
    """

    path: str
    key: str | None = None
    where: Template | None = None
    limit: int | None = None
    batch: str = ""

    @property
    def named(self) -> str:
        """What people know it by."""
        return f"the answers of {self.batch}" if self.batch else self.path


@dataclass(frozen=True)
class Wait:
    """Seconds.  ``max``: what the provider is asked for; ``give_up``: our own clock, from the start of the task."""

    max: int = 86_400
    give_up: int = 172_800


@dataclass(frozen=True)
class Output:
    """``path`` is final: rendered, relative to the root.  ``include`` may hold "input"."""

    path: str
    include: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """One batch as declared.  A matrix has already become several of these.

    ``places`` knows where each of some keys was written ("model", "input", "prompt", "output", "provider", …), for
    errors found later than validation.
    """

    name: str
    place: Place
    provider: str
    model: Selector
    input: Input
    messages: tuple[MessageTemplate, ...] = ()
    text: Template | None = None
    embed: Template | None = None
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    vars: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """As the provider names them, with ``extra_body`` already merged in."""
    schema: Mapping[str, Any] | None = None
    """The answer's JSON Schema, read from ``response.schema``."""
    checks: tuple[Check, ...] = ()
    samples: int = 1
    wait: Wait = Wait()
    attempts: int = 3
    on_remove: str = "keep"
    suspend: bool = False
    """Nothing of it is submitted; what is on its way is collected."""
    output: Output = Output("")
    places: Mapping[str, Place] = field(default_factory=dict)

    def at(self, key: str) -> Place:
        """Where ``key`` was written, or where the document begins."""
        return self.places.get(key, self.place)


ALTERNATIVES: Mapping[tuple[str | int, ...], frozenset[str]] = {
    (): frozenset({"prompt", "messages", "text", "embed"}),
    ("model",): frozenset({"id", "select"}),
    ("input",): frozenset({"path", "batch"}),
    ("prompt",): frozenset({"user", "file"}),
}
"""Keys of which a mapping has only one: a spec that writes one of them takes none of the others from `defaults`."""

_PLACES = (
    *("name", "provider", "model", "input", "prompt", "messages", "text", "embed", "parameters", "response", "samples"),
    *("matrix", "wait", "retry", "vars", "labels", "output", "checks"),
    *(
        "input.path",
        "input.batch",
        "input.key",
        "input.where",
        "input.limit",
        "response.schema",
        "output.path",
        "output.include",
    ),
)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_TAKEN = {
    "model": "write it as the spec's own `model`",
    "messages": "write a `prompt`, or the spec's own `messages`",
    "stream": "the provider's `stream` in runner.yaml says so, where it matters",
    "stream_options": "the provider's `stream` in runner.yaml says so, where it matters",
    "n": "use `samples`",
}
"""Keys of the body that runner fills in, and what to do instead of setting them."""


def parse_duration(text: str) -> int:
    """Seconds of ``90s``, ``15m``, ``24h`` or ``7d``."""
    return int(text[:-1]) * _UNITS[text[-1]]


@dataclass(frozen=True)
class Variant:
    """What makes one combination of a matrix its own batch; a spec without a matrix has just one."""

    name: str
    vars: Mapping[str, Any]
    output: str
    """Rendered and normalised, but not yet known to be a good path."""
    reads: str = ""
    """The batch whose answers are its rows, as far as it names one."""


def examine(document: Document) -> Iterator[Problem]:
    """What is wrong with a document beyond its schema, as far as the document alone can say."""
    for path in (("parameters",), ("parameters", "extra_body")):
        for key in document.find(path, dict) or {}:
            if key in _TAKEN:
                at = document.locate((*path, key), key=True)
                yield at.problem(
                    f"`{key}` may not be set in `{'.'.join(path)}`", _TAKEN[key], code="parameter-reserved"
                )
    if document.node(("embed",)):
        yield from _examine_embedding(document)
    most, give_up = (_seconds(document, key) for key in ("max", "give_up"))
    if most and give_up and give_up < most:
        at = document.locate(("wait", "give_up"))
        yield at.problem(
            "`wait.give_up` is shorter than `wait.max`",
            "give up no sooner than the provider does",
            code="value-invalid",
        )
    yield from _examine_checks(document)


def _examine_checks(document: Document) -> Iterator[Problem]:
    names: set[str] = set()
    for index, check in enumerate(document.find(("checks",), list) or ()):
        if not isinstance(check, dict):
            continue
        if "min" in check and "expression" not in check and any(kind in check for kind in KINDS):
            at = document.locate(("checks", index, "min"), key=True)
            yield at.problem(
                "`min` beside a check is the share of an `expression`",
                "write it inside, `schema: {min: …}`",
                code="value-invalid",
            )
        if "schema" in check and document.node(("response", "schema")) is None:
            at = document.locate(("checks", index, "schema"), key=True)
            yield at.problem(
                "there is no `response.schema` that answers could fit",
                "add `response: {schema: FILE}`",
                code="value-invalid",
            )
        name = check.get("name")
        if isinstance(name, str) and name in names:
            at = document.locate(("checks", index, "name"))
            yield at.problem(f"two checks are named `{name[:63]}`", "give each its own name", code="value-invalid")
        names |= {name} if isinstance(name, str) else set()


def _examine_embedding(document: Document) -> Iterator[Problem]:
    """Keys that ask of an answer what a vector cannot be."""
    if document.node(("response",)):
        at = document.locate(("response",), key=True)
        yield at.problem(
            "`response` cannot stand beside `embed`, whose answer is a vector",
            "take `response` out",
            code="value-invalid",
        )
    samples = document.find(("samples",), int)
    if samples is not None and samples > 1:
        at = document.locate(("samples",))
        yield at.problem(
            "`samples` cannot be more than 1 beside `embed`",
            "a text has one vector: take `samples` out",
            code="value-invalid",
        )
    for key in {"input", "prompt"} & (document.find(("parameters",), dict) or {}).keys():
        at = document.locate(("parameters", key), key=True)
        yield at.problem(
            f"`{key}` may not be set in `parameters`", "what is embedded stands in `embed`", code="parameter-reserved"
        )


def _seconds(document: Document, key: str) -> int | None:
    text = document.find(("wait", key), str)
    return parse_duration(text) if text and re.fullmatch(r"[0-9]{1,8}[smhd]", text) else None


def variants(document: Document) -> tuple[list[Variant], list[Problem]]:
    """The batches that a document stands for, with their output paths, and what is wrong with those.

    There are none while the name or the matrix does not fit the schema, or something is wrong.
    """
    name = document.find(("name",), str) or ""
    source = document.find(("output", "path"), str) or DEFAULT_OUTPUT
    vars_ = document.find(("vars",), dict) or {}
    matrix = document.find(("matrix",), dict) or {}
    if not NAME.fullmatch(name) or not all(isinstance(values, list) and values for values in matrix.values()):
        return [], []
    at = document.locate(("matrix",), key=True)
    if math.prod(map(len, matrix.values())) > MAX_COMBINATIONS:
        return [], [
            at.problem(
                f"the matrix has more than {MAX_COMBINATIONS:,} combinations",
                "split it into several specs",
                code="matrix-invalid",
            )
        ]
    if matrix and "{" not in source:
        where = document.locate(("output", "path"))
        return [], [
            where.problem(
                "with a matrix, a fixed `output.path` is one file for many batches",
                "add `{{ name }}`",
                code="output-invalid",
            )
        ]
    found: dict[str, Variant] = {}
    for values in itertools.product(*matrix.values()):
        combined = "-".join([name, *map(_slug, values)])
        if problem := _misnamed(combined, found, at):
            return [], [problem]
        all_vars = {**vars_, **dict(zip(matrix, values, strict=True))}
        try:
            output = _rendered(source, combined, all_vars)
        except ValueError as error:
            return [], [
                document.locate(("output", "path")).problem(f"`output.path`: {error}", _FILLED, code="output-invalid")
            ]
        try:
            reads = _rendered(document.find(("input", "batch"), str) or "", combined, all_vars)
        except ValueError as error:
            return [], [
                document.locate(("input", "batch")).problem(f"`input.batch`: {error}", _FILLED, code="value-invalid")
            ]
        found[combined] = Variant(combined, all_vars, posixpath.normpath(output), reads)
    return list(found.values()), []


_FILLED = "it is a template over `name` and `vars`; the filters are lower, upper, trim and default"


def _slug(value: str | float | bool) -> str:
    """A matrix value as a part of a name: lower-cased, anything but letters and digits a dash."""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^a-z0-9]", "-", text[:64].lower())


def _misnamed(name: str, others: Mapping[str, Variant], matrix: Mark) -> Problem | None:
    if not NAME.fullmatch(name):
        return matrix.problem(
            f"the matrix makes the name `{name[:80]}`, longer than 63 characters",
            "shorten the values",
            code="matrix-invalid",
        )
    if name in others:
        return matrix.problem(
            f"two combinations of the matrix are named `{name}`",
            "let the values differ in letters or digits",
            code="matrix-invalid",
        )
    return None


@cache
def _path_environment() -> jinja2.Environment:
    """Templates of paths see mappings and nothing else, so that what they give is short and the same every time."""
    from jinja2 import StrictUndefined, Undefined
    from jinja2.sandbox import SandboxedEnvironment

    class Environment(SandboxedEnvironment):
        def getitem(self, obj: Any, argument: Any) -> Any:
            return obj[argument] if isinstance(obj, dict) and argument in obj else self._none(argument)

        def getattr(self, obj: Any, attribute: str) -> Any:
            return self.getitem(obj, attribute)

        def _none(self, key: Any) -> Undefined:
            return self.undefined(f"there is no `{str(key)[:60]}` there")

    environment = Environment(undefined=StrictUndefined, autoescape=False, optimized=False)
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in ("lower", "upper", "trim", "default")}
    return environment


@lru_cache(maxsize=256)
def _path_template(source: str) -> jinja2.Template:
    """Raises ValueError for a template that does more than fill in names."""
    from jinja2 import TemplateSyntaxError, nodes

    simple: tuple[type[nodes.Node], ...] = (
        nodes.Template,
        nodes.Output,
        nodes.TemplateData,
        nodes.Filter,
        nodes.Concat,
    )
    simple += (nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const)
    try:
        tree = _path_environment().parse(source)
        parts = list(tree.find_all(nodes.Node))
        if len(parts) > MAX_PARTS or not all(isinstance(part, simple) for part in parts):
            raise ValueError("only names, `~` and filters may stand in the braces, and few of them")
        if unknown := {name.name for name in tree.find_all(nodes.Name)} - {"name", "vars"}:
            raise ValueError(f"there is no `{min(unknown)[:60]}`")
        return _path_environment().from_string(tree)
    except TemplateSyntaxError as error:
        raise ValueError(error.message) from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def _rendered(source: str, name: str, vars_: Mapping[str, Any]) -> str:
    """Raises ValueError for a template that cannot be rendered."""
    if "{" not in source:
        return source
    from jinja2 import TemplateError

    try:
        path = _path_template(source).render(name=name, vars=vars_)
    except (TemplateError, TypeError) as error:
        raise ValueError(str(error)) from None
    if len(path) > MAX_PATH:
        raise ValueError(f"longer than {MAX_PATH:,} characters")
    return path


def from_document(
    document: Document, variant: Variant, texts: Mapping[str, str], schema: Mapping[str, Any] | None
) -> Spec:
    """A valid document's spec in one variant.  ``texts`` are the template files it names, ``schema`` its answers'."""
    value = document.value
    parameters = dict(value.get("parameters", {}))
    parameters.update(parameters.pop("extra_body", {}))
    return Spec(
        name=variant.name,
        place=Place(*document.mark),
        provider=value["provider"],
        model=replace(_selector(value["model"]), embeds="embed" in value or None),
        input=_input(document, variant.reads),
        messages=tuple(_messages(document, texts)),
        text=_bare_text(document, "text", texts),
        embed=_bare_text(document, "embed", texts),
        description=value.get("description", ""),
        labels=value.get("labels", {}),
        vars=variant.vars,
        parameters=parameters,
        schema=schema,
        checks=_checks(document),
        samples=int(value.get("samples", 1)),
        wait=_wait(document),
        attempts=int(value.get("retry", {}).get("attempts", 3)),
        on_remove=value.get("on_remove", "keep"),
        suspend=value.get("suspend", False),
        output=Output(variant.output, tuple(value.get("output", {}).get("include", ()))),
        places=_places(document),
    )


def _places(document: Document) -> Mapping[str, Place]:
    paths = ((name, tuple(name.split("."))) for name in _PLACES)
    found = {name: Place(*document.locate(path, key=True)) for name, path in paths if document.node(path)}
    for index, check in enumerate(document.value.get("checks", ())):
        if "expression" in check:
            found[f"checks.{index}"] = Place(*document.locate_text(("checks", index, "expression")))
    return found


def _checks(document: Document) -> tuple[Check, ...]:
    """Those without a name are called by their kind, from the second on with a number."""
    found: list[Check] = []
    taken = {check.get("name") for check in document.value.get("checks", ())}
    for data in document.value.get("checks", ()):
        kind = next(kind for kind in KINDS if kind in data)
        numbered = (f"{kind}-{number}" if number > 1 else kind for number in itertools.count(1))
        name = data.get("name") or next(name for name in numbered if name not in taken)
        taken.add(name)
        said = data if kind == "expression" else data[kind]
        bound = "max" if "max" in said else "min"
        limit = float(said.get(bound, 1))
        found.append(Check(name, kind, bound, limit, data.get("severity", "error"), data.get("expression", "")))
    return tuple(found)


def _selector(model: str | Mapping[str, Any]) -> Selector:
    if isinstance(model, str):
        return Selector(id=model)
    if "id" in model:
        return Selector(id=model["id"])
    asked = dict(model["select"])
    for key in ("tags", "capabilities", "inputs", "outputs"):
        asked[key] = tuple(asked.get(key, ()))
    if "context" in asked:
        asked["context"] = parse_bound(asked["context"])
    for side, text in asked.pop("price", {}).items():
        asked[f"price_{side}"] = parse_bound(text)
    return Selector(**asked)


def _template(document: Document, *path: str | int) -> Template:
    node = document.node(path)
    assert node is not None  # callers have seen the value
    return Template(node.value, Place(*document.locate_text(path)))


def _file_template(file: str, texts: Mapping[str, str]) -> Template:
    return Template(texts[file], Place(file), file)


def _input(document: Document, batch: str) -> Input:
    value = document.value["input"]
    where = _template(document, "input", "where") if "where" in value else None
    limit = int(value["limit"]) if "limit" in value else None
    return Input(value.get("path", ""), value.get("key"), where, limit, batch)


def _messages(document: Document, texts: Mapping[str, str]) -> Iterator[MessageTemplate]:
    """An empty system message is none: so a spec can do without the one of `defaults`."""
    prompt = document.value.get("prompt", {})
    if prompt.get("system"):
        yield _text_message("system", _template(document, "prompt", "system"))
    if "user" in prompt:
        yield _text_message("user", _template(document, "prompt", "user"))
    if "file" in prompt:
        yield _text_message("user", _file_template(prompt["file"], texts))
    for index, message in enumerate(document.value.get("messages", ())):
        path = ("messages", index, "content")
        if isinstance(message["content"], str):
            yield _text_message(message["role"], _template(document, *path))
            continue
        parts = [
            PartTemplate(kind, _template(document, *path, number, kind))
            for number, part in enumerate(message["content"])
            for kind in part
        ]
        yield MessageTemplate(message["role"], tuple(parts))


def _text_message(role: str, template: Template) -> MessageTemplate:
    return MessageTemplate(role, (PartTemplate("text", template),))


def _bare_text(document: Document, key: str, texts: Mapping[str, str]) -> Template | None:
    text = document.value.get(key)
    if isinstance(text, dict):
        return _file_template(text["file"], texts)
    return _template(document, key) if text else None


def _wait(document: Document) -> Wait:
    """Where only one of the two is written, the other follows it as far as it has to."""
    most, give_up = _seconds(document, "max"), _seconds(document, "give_up")
    default = Wait()
    return Wait(
        max=most or min(default.max, give_up or default.max),
        give_up=give_up or max(default.give_up, most or 0),
    )
