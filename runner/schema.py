"""The packaged JSON Schemas, and everything about a document that does not fit one, in words.

The schemas are data for editors and for this module alike.  Beside the standard keywords, ``title`` and ``examples``
say what was expected, and ``errorMessage`` (which editors know too) replaces a message that would repeat the value.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from runner.document import MAX_PROBLEMS, Document, Mark
from runner.errors import Problem

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

SECRETS = frozenset({"api_key", "access_key", "secret_key"})
"""Keys whose values no message repeats, whole or in part."""

_Path = tuple[str | int, ...]
_Error = Any  # jsonschema.ValidationError, whose stubs call every attribute possibly unset

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}
_BOUNDS = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}


@cache
def schema_text(name: str) -> str:
    """The JSON Schema called ``batch`` or ``project``, as it is packaged."""
    file = f"{name}.schema.json"
    packaged = resources.files("runner") / "schemas" / file
    if packaged.is_file():
        return packaged.read_text("utf-8")
    return (Path(__file__).parent.parent / "schemas" / file).read_text("utf-8")  # a source checkout


@cache
def validator(name: str) -> Validator:
    """A validator of the packaged schema, built once.  ``$`` in its patterns is the very end, as it is in editors."""
    from jsonschema import Draft202012Validator, ValidationError, validators

    def pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
            yield ValidationError("does not match")

    strict = validators.extend(Draft202012Validator, {"pattern": pattern})  # type: ignore[no-untyped-call]
    checked: Validator = strict(json.loads(schema_text(name)))
    return checked


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word most like this one, or a few of the known words."""
    words = sorted(known)
    if len(word) <= 64 and (close := difflib.get_close_matches(word.lower(), words, n=1)):
        return f"did you mean `{close[0]}`?"
    return f"known: {', '.join(f'`{known}`' for known in words[:20])}" if words else ""


def shown(value: Any, *, quoted: bool = False) -> str:
    """A value as a message may repeat it: short, safe on a terminal, without a URL's credentials.

    ``quoted`` tells text from a number that is spelt like it.
    """
    if isinstance(value, dict | list):
        return _TYPES["object" if isinstance(value, dict) else "array"]
    if value is None:
        return _TYPES["null"]
    text = value[:600] if isinstance(value, str) else json.dumps(value)
    text = re.sub(r"://[^/\s@]*@", "://…@", text)
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    safe = safe if len(safe) <= 60 else f"{safe[:59]}…"
    return f'`"{safe}"`' if quoted and isinstance(value, str) else f"`{safe}`"


def check(document: Document, validator: Validator, hints: Mapping[str, str] | None = None) -> list[Problem]:
    """Everything about the document that does not fit, in the order of its places.

    ``hints`` say what to do about unknown top-level keys that a person may well expect.
    """
    explained = _Explained(document, hints or {})
    problems = [
        problem
        for error in islice(validator.iter_errors(document.value), MAX_PROBLEMS)
        for problem in explained.by(error)
    ]
    return sorted(set(problems))[:MAX_PROBLEMS]


class _Explained:
    """Errors of one document, turned into problems."""

    def __init__(self, document: Document, hints: Mapping[str, str]) -> None:
        self.document = document
        self.hints = hints

    def by(self, error: _Error) -> Iterator[Problem]:
        path: _Path = tuple(error.absolute_path)
        schema = error.schema
        secret = next((step for step in path if step in SECRETS), None)
        if secret:
            at = self.document.locate(path[: path.index(secret) + 1])
            yield at.problem(
                "a secret is never written here, only where it is found",
                f"write `{secret}: {{env: NAME}}` or `{secret}: {{file: PATH}}`",
                code="secret-literal",
            )
        elif error.validator in ("anyOf", "oneOf"):
            yield from self._branches(error, path)
        elif "propertyNames" in error.absolute_schema_path:
            at = self.document.locate((*path, str(error.instance)), key=True)
            yield at.problem(f"the key {shown(error.instance)} is not {schema['title']}", code="value-invalid")
        elif error.validator == "additionalProperties":
            yield from self._unknown_keys(error, path)
        elif error.validator == "required":
            at = self.document.locate(path)
            for key in error.validator_value:
                if key not in error.instance:
                    yield at.problem(
                        f"`{key}` is missing",
                        _example(key, schema.get("properties", {}).get(key, {})),
                        code="key-missing",
                    )
        else:
            yield self._value(error, self.document.locate(path))

    def _unknown_keys(self, error: _Error, path: _Path) -> Iterator[Problem]:
        known = error.schema["properties"]
        unknown = (key for key in error.instance if key not in known)
        for key in islice(unknown, MAX_PROBLEMS):
            hint = self.hints.get(key, "") if not path else ""
            at = self.document.locate((*path, key), key=True)
            yield at.problem(
                f"unknown key {shown(key)}",
                hint or nearest(key, known.keys() - error.instance.keys()),
                code="key-unknown",
            )

    def _branches(self, error: _Error, path: _Path) -> Iterator[Problem]:
        """What is wrong with the alternative that was meant: the one whose type fits, with the fewest errors."""
        branches: list[Any] = error.validator_value
        names = [name for branch in branches for name in branch.get("required", ())]
        if all(branch.keys() == {"required"} for branch in branches):
            if not isinstance(error.instance, dict):
                return  # its type is wrong, and said to be
            there = [name for name in names if name in error.instance]
            one_of = f"one of {_listed(names)}"
            at = self.document.locate((*path, there[-1]), key=True) if there else self.document.locate(path)
            but = f", not {_listed(there, 'and')} together" if there else ""
            yield at.problem(f"exactly {one_of} is needed{but}", "" if there else f"add {one_of}", code="key-missing")
            return
        errors: dict[int, list[_Error]] = {}
        for inner in error.context or ():
            errors.setdefault(int(inner.schema_path[0]), []).append(inner)
        meant = [inner for inner in errors.values() if not any(_wrong_type(one) for one in inner)]
        if meant:
            for inner in min(meant, key=len):
                yield from self.by(inner)
            return
        types = [_TYPES[branch["type"]] for branch in branches]
        expected = error.schema.get("title") or " or ".join(types)
        yield self.document.locate(path).problem(
            f"expected {expected}, got {shown(error.instance)}", code="value-invalid"
        )

    def _value(self, error: _Error, at: Mark) -> Problem:
        """A value that is not what its schema says."""
        schema = error.schema
        value = error.instance
        if error.validator == "enum":
            hint = nearest(value, schema["enum"]) if isinstance(value, str) else ""
            return at.problem(f"{shown(value)} is not one of {_listed(schema['enum'])}", hint, code="value-invalid")
        got = shown(value, quoted=error.validator in ("const", "type"))
        if error.validator == "const":
            return at.problem(f"expected `{schema['const']}`, got {got}", code="value-invalid")
        if "errorMessage" in schema:
            return at.problem(schema["errorMessage"], _examples(schema), code="value-invalid")
        if error.validator in ("minLength", "minItems", "minProperties"):
            return at.problem("must not be empty", _examples(schema), code="value-invalid")
        if error.validator == "maxLength":
            return at.problem(f"longer than {schema['maxLength']} characters", code="value-invalid")
        if error.validator in _BOUNDS:
            return at.problem(
                f"{shown(value)} has to be {_BOUNDS[error.validator]} {error.validator_value}", code="value-invalid"
            )
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        expected = schema.get("title") or " or ".join(_TYPES[name] for name in types)
        quote = "string" in types and error.validator == "type" and not isinstance(value, dict | list | None)
        hint = f'write it in quotes: "{json.dumps(value)}"' if quote and "pattern" not in schema else _examples(schema)
        return at.problem(f"expected {expected}, got {got}", hint, code="value-invalid")


def _wrong_type(error: _Error) -> bool:
    return bool(error.validator == "type" and not error.relative_path)


def _listed(words: Iterable[str], last: str = "or") -> str:
    *most, final = (f"`{word}`" for word in words)
    return f"{', '.join(most)} {last} {final}" if most else final


def _example(key: str, schema: Mapping[str, Any]) -> str:
    """How a missing key may be written."""
    example = next(iter(schema.get("examples", ())), None)
    return f"add `{key}: {_spelt(example)}`" if example is not None else ""


def _examples(schema: Mapping[str, Any]) -> str:
    examples = schema.get("examples", ())
    return f"such as {', '.join(f'`{_spelt(example)}`' for example in examples)}" if examples else ""


def _spelt(value: Any) -> str:
    """A small value as a person writes it in YAML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_spelt(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spelt, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value) if re.search(r"[:{}\[\],#>|@]|^\W|^$", value) else value
    return json.dumps(value)


MAX_ANSWER_SCHEMA = 256 * 1024
MAX_STEPS = 5_000
"""Values in an answer's schema, each reference counted as all that it refers to."""
_DATA = frozenset({"const", "enum", "default", "examples"})
_REFERENCES = ("$ref", "$dynamicRef")
_BASES = ("$id", "$schema")
"""What gives the references below it another meaning."""


def answer_schema(data: bytes, file: str) -> tuple[dict[str, Any] | None, Problem | None]:
    """The JSON Schema (Draft 2020-12) in a file, or what is wrong with it.

    It may refer to parts of itself and to nothing else, and not so often that checking an answer takes long.
    """
    from jsonschema import Draft202012Validator, SchemaError
    from referencing.exceptions import Unresolvable

    whole = Mark(file, 1, 1)
    if len(data) > MAX_ANSWER_SCHEMA:
        return None, whole.problem(f"the schema is larger than {MAX_ANSWER_SCHEMA // 1024} KiB", code="schema-invalid")
    try:
        schema = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
        if not isinstance(schema, dict):
            return None, whole.problem(
                f"expected a JSON Schema, got {shown(schema)}", 'such as {"type": "object"}', code="schema-invalid"
            )
        _follow_references(schema)
        Draft202012Validator.check_schema(schema)
        anything: tuple[Any, ...] = ({}, [], "", 0, None)
        for instance in anything:  # one that refers to itself at once has no end for any of them
            answer_validator(schema).is_valid(instance)
    except json.JSONDecodeError as error:
        return None, Mark(file, error.lineno, error.colno).problem(
            f"not valid JSON: {error.msg}", code="schema-invalid"
        )
    except SchemaError as error:
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
        return None, whole.problem(
            f"not a valid JSON Schema, at ${path}: {shown(error.message)}", code="schema-invalid"
        )
    except (RecursionError, OverflowError):
        return None, whole.problem("the schema is nested or refers to itself without end", code="schema-invalid")
    except Unresolvable:
        return None, whole.problem(
            "a reference leads nowhere from where it stands",
            "leave out `$id` and `$schema` inside",
            code="schema-invalid",
        )
    except ValueError as error:
        return None, whole.problem(str(error), code="schema-invalid")
    return schema, None


def answer_validator(schema: Mapping[str, Any]) -> Validator:
    """Checks answers, and knows no schema but this one.

    Left to itself, jsonschema fetches what a reference names from any address, files and private networks among them:
    an `$id` inside of a schema gives even `#/…` such a base.
    """
    from jsonschema import Draft202012Validator
    from referencing import Registry

    return Draft202012Validator(schema, registry=Registry())


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _follow_references(schema: dict[str, Any]) -> None:
    """Raises ValueError for a reference that leads out, or nowhere, or for too many of them."""
    sizes: dict[str, int] = {}

    def size(value: Any) -> int:
        if isinstance(value, list):
            return 1 + sum(map(size, value))
        if not isinstance(value, dict):
            return 1
        if value is not schema and any(isinstance(value.get(key), str) for key in _BASES):
            raise ValueError("`$id` and `$schema` may stand at the schema's root only")
        total = 1 + sum(size(child) for key, child in value.items() if key not in _DATA)
        references = (value[key] for key in _REFERENCES if isinstance(value.get(key), str))
        total += sum(map(target_size, references))
        if total > MAX_STEPS:
            raise ValueError(f"the schema has more than {MAX_STEPS:,} parts, references followed")
        return total

    def target_size(reference: str) -> int:
        if reference not in sizes:
            sizes[reference] = 0  # while it is being counted: a recursive schema goes on only as its instance does
            sizes[reference] = size(_target(schema, reference))
        return sizes[reference]

    size(schema)


def _target(schema: dict[str, Any], reference: str) -> Any:
    target: Any = schema
    if reference != "#" and not reference.startswith("#/"):
        raise ValueError(f"the reference {shown(reference)} does not begin with `#/`: a schema refers only to itself")
    try:
        for step in reference.split("/")[1:]:
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            target = target[int(name)] if isinstance(target, list) else target[name]
    except (KeyError, IndexError, TypeError, ValueError):
        raise ValueError(f"the reference {shown(reference)} leads nowhere") from None
    return target
