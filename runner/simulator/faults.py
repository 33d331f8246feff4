"""Faults on request: which calls misbehave, which tasks go wrong, and how often.

A rule is plain data (docs/simulator.md has the whole table).  Call rules name a call of the wire (``on: create``) and
are counted per matching call; task rules (``on: task``) are counted per accepted task, become the task's fate and are
kept with it.  Which rows a rule hits follows from their custom_id, never from chance.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from runner.errors import InvalidDocuments, Problem

CALLS = (
    *("upload-url", "upload", "create", "detail", "list", "models", "download-url", "download"),
    *("cancel", "delete", "file", "files", "chat", "any"),
)
"""Kinds of calls.  Whichever wire it is, the same kind has the same word."""
TASK = "task"

ENDING_CALL = ("500-after", "lost-reply", "cut", "garbage", "empty-body", "error-code", "refuse-result")
"""Call faults that settle the reply by themselves, beside plain statuses such as ``429``."""
ALTERING_CALL = (
    *("latency", "lag", "endpoint", "word", "duration", "strings"),
    *("slow-file", "wrapped", "bare-list", "finish-length", "refuse", "unknown-word"),
)
"""Call faults that alter a reply which is otherwise good."""
WHOLE_TASK = (
    *("fail", "token-limit", "expire", "all-fail", "error-file-only", "never-end", "slow", "shuffle"),
    *("empty-error-file", "upper-case", "string-counts", "null-counts", "iso-times"),
)
SOME_ROWS = (
    *("fail-rows", "missing-rows", "duplicate-lines", "unknown-ids", "broken-line"),
    *("finish-length", "refuse", "empty-body"),
)

MAX_FILE_BYTES = 1024 * 1024

_STATUS = re.compile(r"[45]\d\d")
_ONLY_ON = {
    "lag": ("list",),
    "endpoint": ("upload-url",),
    "refuse-result": ("upload",),
    "word": ("detail", "list"),
    "duration": ("detail", "list"),
    "strings": ("detail", "list"),
    "slow-file": ("upload",),
    "wrapped": ("create",),
    "bare-list": ("list",),
    "unknown-word": ("detail",),
    "finish-length": ("chat", TASK),
    "refuse": ("chat", TASK),
}
_SPELLINGS = {
    "endpoint": ("bare", "scheme", "full"),
    "word": ("succeeded", "completed"),
    "duration": ("seconds", "clock", "empty"),
    "empty-error-file": ("bytes", "text"),
}
_DEFAULT_SELECTION: dict[str, dict[str, Any]] = {
    "expire": {"share": 0.5},
    "duplicate-lines": {"rows": (1,)},
    "unknown-ids": {"rows": (1,)},
    "broken-line": {"rows": (1,)},
}
"""Which rows a task fault hits when its rule selects none; the others hit every row."""


@dataclass(frozen=True)
class Fault:
    """One rule, as the file has it (``as`` is spelt ``spelling``).  Seconds are real seconds unless said otherwise."""

    on: str
    do: str
    times: int | None = None
    after: int = 0
    every: int = 1
    name: str | None = None
    """A glob over the task's name."""
    model: str | None = None
    seconds: float | None = None
    retry_after: float | None = None
    status_code: int | None = None
    """Of rows that fail."""
    code: str | None = None
    message: str | None = None
    result: int | None = None
    spelling: str | None = None
    share: float | None = None
    rows: tuple[int, ...] = ()
    """Positions in the file, from 1."""
    match: str | None = None
    """Part of the request's last user message."""

    @property
    def http_status(self) -> int | None:
        """The status that a rule such as ``do: 429`` answers with."""
        return int(self.do) if _STATUS.fullmatch(self.do) else None

    @property
    def ends_call(self) -> bool:
        return self.do in ENDING_CALL or self.http_status is not None

    def hits(self, position: int, custom_id: str, prompt: str) -> bool:
        """Whether this rule concerns the row at ``position`` (from 1)."""
        if self.rows:
            return position in self.rows
        if self.match is not None:
            return self.match in prompt
        return self.share is None or _fraction(custom_id) < self.share

    def to_json(self) -> dict[str, Any]:
        """The rule as the faults file spells it, defaults left out."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, attribute in _ATTRIBUTES.items()
            if (value := getattr(self, attribute)) != getattr(Fault, attribute, None)
        }


_ATTRIBUTES = {("as" if name == "spelling" else name): name for name in Fault.__dataclass_fields__}


def _fraction(custom_id: str) -> float:
    return int.from_bytes(hashlib.sha256(custom_id.encode()).digest()[:4], "big") / 2**32


# --- reading ---------------------------------------------------------------------------------------------------------


def read_faults(path: Path) -> tuple[Fault, ...]:
    """The rules of a YAML or JSON file.  Raises InvalidDocuments with every problem at its line."""
    import yaml  # only a start with a faults file pays for it

    def whole_file(message: str, hint: str, line: int = 1, column: int = 1) -> InvalidDocuments:
        return InvalidDocuments([Problem(str(path), line, column, message, hint)])

    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise whole_file(f"cannot be read: {error.strerror}", "name a readable YAML or JSON file") from None
    if len(text) > MAX_FILE_BYTES:
        raise whole_file(f"is larger than {MAX_FILE_BYTES} bytes", "write fewer rules")
    try:
        loader = yaml.SafeLoader(text.decode("utf-8-sig"))
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else []
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise whole_file(f"is not YAML: {error.problem}", "see docs/simulator.md", line, column) from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        raise whole_file("is not YAML in UTF-8", "see docs/simulator.md") from None
    marks = [child.start_mark for child in node.value] if isinstance(node, yaml.SequenceNode) else []
    return parse_faults(data, str(path), [(mark.line + 1, mark.column + 1) for mark in marks])


def parse_faults(data: Any, where: str = "faults", places: Sequence[tuple[int, int]] = ()) -> tuple[Fault, ...]:
    """Rules from plain data: a list of mappings.  ``places`` are the line and column of each.

    Raises InvalidDocuments with every problem of every rule.
    """
    if not isinstance(data, list | tuple):
        raise InvalidDocuments([Problem(where, 1, 1, "faults have to be a list of rules", "- {on: create, do: 500}")])
    problems: list[Problem] = []
    rules: list[Fault] = []
    for number, item in enumerate(map(_plain, data), 1):
        line, column = places[number - 1] if number <= len(places) else (1, 1)
        if isinstance(item, Fault):
            rules.append(item)
        elif found := list(_problems(item)):
            problems += [Problem(where, line, column, f"rule {number}: {text}", hint) for text, hint in found]
        else:
            rules.append(_fault(item))
    if problems:
        raise InvalidDocuments(problems)
    return tuple(rules)


def _plain(item: Any) -> Any:
    """The rule with ``on`` spelt as meant: YAML 1.1 takes the bare key for a boolean."""
    return {"on" if key is True else key: value for key, value in item.items()} if isinstance(item, Mapping) else item


def _fault(item: Mapping[str, Any]) -> Fault:
    values = {_ATTRIBUTES[key]: value for key, value in item.items()}
    values["do"] = str(values["do"])
    values["rows"] = tuple(values.get("rows", ()))
    if not item.keys() & {"share", "rows", "match"}:
        values |= _DEFAULT_SELECTION.get(values["do"], {})
    return Fault(**values)


def _problems(item: Any) -> Iterable[tuple[str, str]]:
    """Everything wrong with one rule: (what, hint)."""
    if not isinstance(item, Mapping):
        yield "is not a mapping", "- {on: create, do: 500}"
        return
    for key in item:
        if key not in _ATTRIBUTES:
            yield f"unknown key {key!r}", _nearest(key, _ATTRIBUTES)
    for key, value in item.items():
        expected, fits = _VALUES.get(key, ("", None))
        if fits is not None and not fits(value):
            yield f"{key}: {value!r} is not {expected}", ""
    yield from _pairing_problems(item)


def _pairing_problems(item: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """What is wrong between `on`, `do` and `as`."""
    on, do = item.get("on"), str(item.get("do"))
    if on not in (*CALLS, TASK):
        yield "`on` is missing" if on is None else f"on: {on!r} is no call", _nearest(on, (*CALLS, TASK))
        return
    known = (*WHOLE_TASK, *SOME_ROWS) if on == TASK else (*ALTERING_CALL, *ENDING_CALL)
    if do not in known and (on == TASK or not _STATUS.fullmatch(do)):
        missing = item.get("do") is None
        yield "`do` is missing" if missing else f"do: {do} is no fault of on: {on}", _nearest(do, known)
    elif on not in _ONLY_ON.get(do, (on,)):
        yield f"do: {do} works only with on: {' or '.join(_ONLY_ON[do])}", ""
    spellings = _SPELLINGS.get(do)
    if spellings and item.get("as") not in spellings:
        yield f"do: {do} needs `as`", f"one of {', '.join(spellings)}"
    if do in ("latency", "lag", "slow", "slow-file") and item.get("seconds") is None:
        yield f"do: {do} needs `seconds`", f"- {{on: {on}, do: {do}, seconds: 3}}"


def _nearest(word: Any, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # only a mistake pays for it

    near = get_close_matches(str(word), list(known), 1)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_VALUES: dict[str, tuple[str, Any]] = {
    "times": ("a whole number from 1, or null", lambda value: value is None or _whole(value, 1)),
    "after": ("a whole number from 0", lambda value: _whole(value, 0)),
    "every": ("a whole number from 1", lambda value: _whole(value, 1)),
    "name": ("a text", _text),
    "model": ("a text", _text),
    "seconds": ("a number of seconds from 0", _seconds),
    "retry_after": ("a number of seconds from 0", _seconds),
    "status_code": ("an HTTP status from 400 to 599", lambda value: _whole(value, 400) and value < 600),
    "code": ("a text", _text),
    "message": ("a text", _text),
    "result": ("a whole number other than 1", lambda value: _whole(value, -(2**31)) and value != 1),
    "share": ("a number from 0 to 1", lambda value: _seconds(value) and value <= 1),
    "rows": (
        "a list of row positions from 1",
        lambda value: isinstance(value, list | tuple) and value != [] and all(_whole(row, 1) for row in value),
    ),
    "match": ("a text", _text),
}


# --- counting --------------------------------------------------------------------------------------------------------


class Faults:
    """The rules in force, with their counters.  Counters live in memory: a restart counts afresh."""

    def __init__(self, rules: Sequence[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self.replace(rules)

    def replace(self, rules: Sequence[Fault]) -> None:
        with self._lock:
            self._rules = [_Counter(rule) for rule in rules]

    def for_call(self, call: str) -> tuple[Fault, ...]:
        """The rules that fire on this call: altering ones up to and including the first that ends it."""
        fired: list[Fault] = []
        with self._lock:
            for counter in self._rules:
                if counter.rule.on in (call, "any") and counter.fires():
                    fired.append(counter.rule)
                    if counter.rule.ends_call:
                        break
        return tuple(fired)

    def for_task(self, name: str, model: str) -> tuple[Fault, ...]:
        """The fate of a task that is being accepted."""
        with self._lock:
            return tuple(
                counter.rule
                for counter in self._rules
                if counter.rule.on == TASK
                and (counter.rule.name is None or fnmatchcase(name, counter.rule.name))
                and counter.rule.model in (None, model)
                and counter.fires()
            )

    def to_json(self) -> list[dict[str, Any]]:
        """Each rule with how many calls or tasks it saw and how often it fired."""
        with self._lock:
            return [{**c.rule.to_json(), "seen": c.seen, "fired": c.fired} for c in self._rules]


class _Counter:
    def __init__(self, rule: Fault) -> None:
        self.rule = rule
        self.seen = 0
        self.fired = 0

    def fires(self) -> bool:
        self.seen += 1
        due = self.seen > self.rule.after and (self.seen - self.rule.after) % self.rule.every == 0
        if not due or (self.rule.times is not None and self.fired >= self.rule.times):
            return False
        self.fired += 1
        return True
