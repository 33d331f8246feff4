"""YAML text whose every value knows its file, line and column.

:func:`parse` reads YAML 1.2's core scalars, so that what a person wrote stays what they wrote: ``on``, ``010``,
``12:30:45`` and dates are text, and only true, false, null, decimal integers and decimal fractions are anything else.
What JSON cannot hold (``.inf``, keys that are not text, tags, cycles) is a problem.

The text may be hostile, so everything is bounded.  Events are pulled one by one and refused at the first one past a
bound: libyaml's own composer, which recurses in C, is never entered, nor is its quadratic path for deep nesting.
No message quotes a value, for it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import yaml

from runner.errors import Problem

MAX_BYTES = 2 * 1024 * 1024
"""Of one file, and of all text of one document once its aliases are expanded."""
MAX_DEPTH = 64
MAX_NODES = 10_000
"""Mappings, sequences and scalars, keys among them, of one document once its aliases are expanded."""
MAX_FILE_NODES = 100_000
"""The same for all documents of one file."""
MAX_PROBLEMS = 100
"""Of one file; who has more has made one mistake a hundred times."""

T = TypeVar("T")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FRACTION = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {word: value for value, words in {
    None: ("", "~", "null", "Null", "NULL"),
    True: ("true", "True", "TRUE"),
    False: ("false", "False", "FALSE"),
}.items() for word in words}  # fmt: skip
_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_BLOCK_INDENT = re.compile(r"[^\r\n]*(?:\r\n?|\n)(?:[ ]*(?:\r\n?|\n))*([ ]*)")
_TAG = "tag:yaml.org,2002:"


class Mark(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def problem(self, message: str, hint: str = "", *, code: str = "") -> Problem:
        return Problem(self.file, self.line, self.column, message, hint, code)


@dataclass(slots=True)
class Node:
    """A value and the places of everything in it.  An aliased node stands in several parents and is never changed."""

    value: Any
    mark: Mark
    children: dict[str | int, Node] = field(default_factory=dict)
    """Of a mapping by key, of a list by index."""
    keys: dict[str | int, Mark] = field(default_factory=dict)
    """Where a mapping's keys stand."""
    text_mark: Mark | None = None
    """Of a block scalar: where its first line of text stands, as ``mark`` is where its ``|`` stands."""

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)


def mapping(mark: Mark, children: dict[str | int, Node], keys: dict[str | int, Mark]) -> Node:
    """The node of a mapping with these children."""
    return Node({key: child.value for key, child in children.items()}, mark, children, keys)


@dataclass(frozen=True)
class Document:
    """One YAML document: a plain value, and where each part of it was written."""

    root: Node

    @property
    def value(self) -> Any:
        """Dicts, lists, text, numbers, booleans and None.  Aliased parts are the same objects: never change them."""
        return self.root.value

    @property
    def mark(self) -> Mark:
        return self.root.mark

    def node(self, path: tuple[str | int, ...]) -> Node | None:
        node: Node | None = self.root
        for step in path:
            node = node.children.get(step) if node else None
        return node

    def find(self, path: tuple[str | int, ...], kind: type[T]) -> T | None:
        """The value at ``path`` where it is there and of that type; for documents that may not fit their schema."""
        node = self.node(path)
        return node.value if node and isinstance(node.value, kind) else None

    def locate(self, path: tuple[str | int, ...], *, key: bool = False) -> Mark:
        """Where the value at ``path`` was written, or its key; of a path that is not there, as far as it goes."""
        node, mark = self.root, self.root.mark
        for position, step in enumerate(path):
            if key and position == len(path) - 1 and step in node.keys:
                return node.keys[step]
            child = node.children.get(step)
            if child is None:
                break
            node, mark = child, child.mark
        return mark

    def locate_text(self, path: tuple[str | int, ...]) -> Mark:
        """Where the first line of a text stands: for a block scalar, the line after its ``|``."""
        node = self.node(path)
        return (node.text_mark or node.mark) if node else self.locate(path)


def layer(over: Node, under: Node) -> Node:
    """``under`` with ``over`` laid on it: mappings key by key at every depth, anything else whole."""
    if not (over.is_mapping and under.is_mapping):
        return over
    children = dict(under.children)
    for key, child in over.children.items():
        children[key] = layer(child, children[key]) if key in children else child
    return mapping(over.mark, children, under.keys | over.keys)


def parse(data: bytes, file: str) -> tuple[list[Document], list[Problem]]:
    """The non-empty documents of a YAML file, and all that is wrong with it.

    A document with a duplicate key is returned with the key's first value; one with any other problem is left out.
    After a syntax error, or a bound that is passed, the rest of the file is not read.
    """
    try:
        builder = _Builder(file, _decode(data, file))
    except _Stop as stop:
        return [], [stop.problem]
    documents = [Document(root) for root in builder.documents()]
    return documents, builder.problems


class _Stop(Exception):
    """Nothing after this can be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _decode(data: bytes, file: str) -> str:
    whole = Mark(file, 1, 1)
    if len(data) > MAX_BYTES:
        raise _Stop(
            whole.problem(f"the file is larger than {MAX_BYTES // 1024**2} MiB", "split it", code="document-too-large")
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")):
        raise _Stop(whole.problem("the file is UTF-16 or UTF-32", "save it as UTF-8", code="yaml-invalid"))
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise _Stop(
            _after(before, file).problem("the file is not UTF-8", "save it as UTF-8", code="yaml-invalid")
        ) from None
    if wrong := _NOT_YAML.search(text):
        mark = _after(text[: wrong.start()], file)
        raise _Stop(
            mark.problem(
                f"the character U+{ord(wrong[0]):04X} is not allowed in YAML", "remove it", code="yaml-invalid"
            )
        )
    return text


def _after(before: str, file: str) -> Mark:
    """The place that comes after some text."""
    lines = re.split(r"\r\n|\r|\n", before)
    return Mark(file, len(lines), len(lines[-1]) + 1)


@dataclass(frozen=True)
class _Anchored:
    """What an anchor names.  ``nodes`` and ``chars`` are its size with its own aliases expanded."""

    node: Node
    nodes: int
    chars: int
    depth: int


class _Builder:
    """Turns events into nodes.  Recursion is bounded by MAX_DEPTH."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.problems: list[Problem] = []
        self._events: Iterator[Any] = yaml.parse(text, Loader=_Loader)
        self._file_nodes = 0

    def documents(self) -> Iterator[Node]:
        try:
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    root = self._document()
                    if root is not None:
                        yield root
        except _Stop as stop:
            self.problems.append(stop.problem)
        except yaml.YAMLError as error:
            self.problems.append(self._syntax_error(error))

    def _syntax_error(self, error: yaml.YAMLError) -> Problem:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = self._mark(mark) if mark else Mark(self.file, 1, 1)
        words = [getattr(error, "context", None), getattr(error, "problem", None)]
        hint = "indent with spaces, not tabs" if mark and self.text[mark.index : mark.index + 1] == "\t" else ""
        return place.problem("not valid YAML: " + ", ".join(word for word in words if word), hint, code="yaml-invalid")

    def _document(self) -> Node | None:
        """The next document, None for one that is empty or spoiled."""
        self._anchors: dict[str, _Anchored | None] = {}
        self._nodes = self._chars = self._deepest = 0
        self._spoiled = False
        root = self._node(next(self._events), 1)
        self._file_nodes += self._nodes
        return None if self._spoiled or root.value is None else root

    def _node(self, event: Any, depth: int) -> Node:
        mark = self._mark(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, mark, depth)
        outer, self._deepest = self._deepest, depth
        nodes, chars = self._nodes, self._chars
        self._count(mark, depth, nodes=1)
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # known, but not yet complete: an alias to it now is a cycle
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, mark, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._refuse_tag(event, mark, "seq")
            node = self._sequence(mark, depth)
        else:
            self._refuse_tag(event, mark, "map")
            node = self._mapping(mark, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(
                node, self._nodes - nodes, self._chars - chars, self._deepest - depth
            )
        self._deepest = max(outer, self._deepest)
        return node

    def _alias(self, event: Any, mark: Mark, depth: int) -> Node:
        anchored = self._anchors.get(event.anchor)
        if anchored is not None:
            self._count(mark, depth + anchored.depth, nodes=anchored.nodes, chars=anchored.chars)
            self._deepest = max(self._deepest, depth + anchored.depth)
            return anchored.node
        if event.anchor in self._anchors:
            self._spoil(mark, "an alias inside of what it stands for", "write the value out")
        else:
            self._spoil(
                mark,
                "an alias of an anchor that is not defined above it",
                "define the anchor, or write the value in quotes",
            )
        return mapping(mark, {}, {})  # which nobody sees, and `<<` takes without another word

    def _count(self, mark: Mark, depth: int, *, nodes: int = 0, chars: int = 0) -> None:
        self._nodes += nodes
        self._chars += chars
        if depth > MAX_DEPTH:
            raise _Stop(mark.problem(f"nested more than {MAX_DEPTH} levels deep", code="document-too-large"))
        if self._nodes > MAX_NODES or self._file_nodes + self._nodes > MAX_FILE_NODES:
            whose = "document" if self._nodes > MAX_NODES else "file"
            most = MAX_NODES if self._nodes > MAX_NODES else MAX_FILE_NODES
            raise _Stop(
                mark.problem(
                    f"the {whose} has more than {most:,} values, aliases expanded",
                    "split it",
                    code="document-too-large",
                )
            )
        if self._chars > MAX_BYTES:
            raise _Stop(
                mark.problem(
                    f"the document's text, aliases expanded, is larger than {MAX_BYTES // 1024**2} MiB",
                    code="document-too-large",
                )
            )

    def _mark(self, mark: Any) -> Mark:
        return Mark(self.file, mark.line + 1, mark.column + 1)

    def _spoil(self, mark: Mark, message: str, hint: str) -> None:
        self._spoiled = True
        self._report(mark, message, hint)

    def _report(self, mark: Mark, message: str, hint: str) -> None:
        if len(self.problems) == MAX_PROBLEMS:
            raise _Stop(
                mark.problem(
                    "too many problems: the rest of the file was not read",
                    "mend those above first",
                    code="document-too-large",
                )
            )
        self.problems.append(mark.problem(message, hint, code="yaml-invalid"))

    def _refuse_tag(self, event: Any, mark: Mark, plain: str) -> None:
        if event.tag not in (None, "!", _TAG + plain):
            self._spoil(mark, "tags are not allowed", "write the value plainly, or in quotes if it is text")

    def _sequence(self, mark: Mark, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Node([item.value for item in items], mark, dict(enumerate(items)))

    def _mapping(self, mark: Mark, depth: int) -> Node:
        children: dict[str | int, Node] = {}
        keys: dict[str | int, Mark] = {}
        merged: list[Node] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            merges = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
            key = self._node(event, depth + 1)
            child = self._node(next(self._events), depth + 1)
            if not isinstance(key.value, str):
                self._spoil(key.mark, "a key has to be text", 'write it in quotes, as in "1": …')
            elif key.value in keys:
                first = keys[key.value]
                self._report(
                    key.mark,
                    f"the key `{_shown(key.value)}` is there twice",
                    f"it is first at {first.line}:{first.column}",
                )
            else:
                keys[key.value] = key.mark
                if merges:
                    merged = self._merged(child)
                else:
                    children[key.value] = child
        for source in merged:
            for name, inherited in source.children.items():
                if name not in children:
                    children[name], keys[name] = inherited, source.keys[name]
        return mapping(mark, children, keys)

    def _merged(self, node: Node) -> list[Node]:
        """The mappings that `<<` names, the strongest first."""
        sources = list(node.children.values()) if isinstance(node.value, list) else [node]
        if all(source.is_mapping for source in sources):
            return sources
        self._spoil(node.mark, "`<<` takes a mapping, or a list of mappings", "name them as aliases: `<<: *anchor`")
        return []

    def _scalar(self, event: Any, mark: Mark, depth: int) -> Node:
        text: str = event.value
        self._count(mark, depth, chars=len(text))
        self._refuse_tag(event, mark, "str")
        if not event.style and event.tag is None:
            return Node(self._plain(text, mark), mark)
        if not text.isascii() and re.search("[\ud800-\udfff]", text):
            self._spoil(mark, "half of a surrogate pair is not a character", "write the character itself")
        in_block = event.style in ("|", ">")
        return Node(text, mark, text_mark=self._text_mark(event.start_mark) if in_block else None)

    def _text_mark(self, start: Any) -> Mark:
        indent = _BLOCK_INDENT.match(self.text, start.index)
        return Mark(self.file, start.line + 2, len(indent[1]) + 1 if indent else 1)

    def _plain(self, text: str, mark: Mark) -> Any:
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in "+-.0123456789":
            return text
        if _INTEGER.fullmatch(text) and len(text) <= 20:
            return int(text)
        if _FRACTION.fullmatch(text):
            number = float(text)
            if number not in (float("inf"), float("-inf")) and not _INTEGER.fullmatch(text):
                return number
            self._spoil(mark, "a number this large is not kept exactly", "write it in quotes if it is text")
        elif _NOT_JSON.fullmatch(text):
            self._spoil(mark, "infinity and not-a-number are not JSON", "write it in quotes if it is text")
        return text


def _shown(key: str) -> str:
    """A key, safe on a terminal and not too long."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in key[:60])
    return shown if len(key) <= 60 else shown + "…"
