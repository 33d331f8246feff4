"""A JSON value that fits a JSON Schema, always the same one for the same seed.

Understood: ``type``, ``enum``, ``const``, ``properties``, ``required``, ``items``, ``prefixItems``, ``minItems``,
``maxItems``, ``uniqueItems``, the bounds of numbers and texts, ``multipleOf``, ``pattern`` (see :mod:`.pattern`),
common ``format`` words, local ``$ref``, ``allOf`` (merged), ``anyOf`` and ``oneOf`` (first branch).  Anything else is
ignored, so an exotic schema may get a value that does not fit.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from runner.simulator.pattern import sample

SHALLOW = 4
"""Below this depth optional properties are left out and branches without ``$ref`` are preferred, so recursion ends."""
DEEPEST = 48
MOST_STEPS = 10_000
MOST_CHARACTERS = 100_000

_FORMATS = {
    "date": "2025-01-02",
    "time": "03:04:05Z",
    "date-time": "2025-01-02T03:04:05Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
}

_Maker = Callable[[Mapping[str, Any], str, int], Any]


def fit(schema: Any, seed: str) -> Any:
    """An instance of ``schema``; choices that it leaves open follow from ``seed``.  ValueError: it is no schema."""
    try:
        return _Fitter(schema, seed).value(schema, "", 0)
    except (TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"the JSON schema cannot be read: {error}") from None


class _Fitter:
    def __init__(self, root: Any, seed: str) -> None:
        self._root = root
        self._seed = seed
        self._steps = 0

    def _pick(self, path: str, count: int) -> int:
        return zlib.crc32(f"{self._seed}{path}".encode("utf-8", "replace")) % count

    def _spend(self) -> None:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise TypeError("it asks for too much")

    def value(self, schema: Any, path: str, depth: int) -> Any:
        if not isinstance(schema, Mapping) or depth > DEEPEST:
            return None
        schema = self._flatten(schema, depth)
        if "const" in schema:
            return schema["const"]
        if enum := schema.get("enum"):
            return enum[self._pick(path, len(enum))]
        makers: dict[str, _Maker] = {
            "object": self._object,
            "array": self._array,
            "string": self._text,
            "integer": self._integer,
            "number": self._number,
            "boolean": self._boolean,
            "null": self._null,
        }
        make: _Maker = makers.get(_type(schema), self._text)
        return make(schema, path, depth)

    def _flatten(self, schema: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """The schema with references followed, ``allOf`` merged and a branch chosen."""
        for _ in range(DEEPEST):
            self._spend()
            if isinstance(reference := schema.get("$ref"), str):
                schema = _merge(_without(schema, "$ref"), self._resolve(reference))
            elif parts := schema.get("allOf"):
                merged = _without(schema, "allOf")
                for part in parts:
                    merged = _merge(merged, self._flatten(part, depth))
                schema = merged
            elif key := next((key for key in ("anyOf", "oneOf") if schema.get(key)), None):
                schema = _merge(_without(schema, key), _branch(schema[key], depth))
            else:
                break
        return schema

    def _resolve(self, reference: str) -> Any:
        target = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            target = target.get(key) if isinstance(target, Mapping) else None
        return target

    def _object(self, schema: Mapping[str, Any], path: str, depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        wanted = list(properties) if depth < SHALLOW else []
        names = dict.fromkeys([*wanted, *required])
        return {name: self.value(properties.get(name, {}), f"{path}/{name}", depth + 1) for name in names}

    def _array(self, schema: Mapping[str, Any], path: str, depth: int) -> list[Any]:
        first = schema.get("prefixItems", ())
        least = schema.get("minItems", 1 if depth < SHALLOW else 0)
        count = min(max(least, len(first)), schema.get("maxItems", MOST_STEPS))
        items: list[Any] = []
        for index in range(count):
            kind = first[index] if index < len(first) else schema.get("items", {})
            items.append(self.value(kind, f"{path}/{index}", depth + 1))
        return _spread(items, schema) if schema.get("uniqueItems") else items

    def _boolean(self, _schema: Mapping[str, Any], path: str, _depth: int) -> bool:
        return self._pick(path, 2) == 1

    def _null(self, _schema: Mapping[str, Any], _path: str, _depth: int) -> None:
        return None

    def _text(self, schema: Mapping[str, Any], path: str, _depth: int) -> str:
        least: int = schema.get("minLength", 0)
        if least > MOST_CHARACTERS:
            raise TypeError(f"it asks for more than {MOST_CHARACTERS} characters")
        if (pattern := schema.get("pattern")) and (matching := sample(pattern)) is not None:
            return matching + matching[-1:] * (least - len(matching))
        if (known := _FORMATS.get(schema.get("format", ""))) is not None:
            return known
        name = path.rsplit("/", 1)[-1] or "text"
        text = f"simulated {name} {self._pick(path, 1000)}"
        text += "." * (least - len(text))
        most: int = schema.get("maxLength", len(text))
        return text[:most]

    def _integer(self, schema: Mapping[str, Any], path: str, depth: int) -> int:
        return int(self._number({"multipleOf": 1, **schema}, path, depth))

    def _number(self, schema: Mapping[str, Any], path: str, _depth: int) -> float:
        step = schema.get("multipleOf", 0.01)
        low, high = schema.get("minimum"), schema.get("maximum")
        least = math.ceil(low / step) if low is not None else None
        most = math.floor(high / step) if high is not None else None
        if isinstance(above := schema.get("exclusiveMinimum"), int | float) and not isinstance(above, bool):
            least = max(math.floor(above / step) + 1, least if least is not None else -(10**18))
        if isinstance(below := schema.get("exclusiveMaximum"), int | float) and not isinstance(below, bool):
            most = min(math.ceil(below / step) - 1, most if most is not None else 10**18)
        if least is None:
            least = 0 if most is None or most >= 0 else most - 100
        if most is None:
            most = least + 100
        value: float = (least + self._pick(path, max(most - least + 1, 1))) * step
        return value if isinstance(step, int) else round(value, 6)


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((word for word in kind if word != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _branch(branches: Any, depth: int) -> Any:
    if depth >= SHALLOW:
        return next((branch for branch in branches if "$ref" not in branch), branches[0])
    return branches[0]


def _without(schema: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}


def _merge(one: Mapping[str, Any], other: Any) -> dict[str, Any]:
    if not isinstance(other, Mapping):
        return dict(one)
    merged = {**other, **one}
    if "properties" in one and "properties" in other:
        merged["properties"] = {**other["properties"], **one["properties"]}
    if "required" in one and "required" in other:
        merged["required"] = list(dict.fromkeys([*other["required"], *one["required"]]))
    return merged


def _spread(items: list[Any], schema: Mapping[str, Any]) -> list[Any]:
    """The items made different from one another: numbers count up, texts get a suffix, enums take their turn."""
    enum = schema.get("items", {}).get("enum") if isinstance(schema.get("items"), Mapping) else None
    if enum:
        return list(enum[: len(items)])
    return [
        items[0] + index
        if isinstance(item, int | float) and not isinstance(item, bool)
        else f"{item} {index}"
        if isinstance(item, str)
        else item
        for index, item in enumerate(items)
    ]
