"""A Spec: what a person declared in one YAML document, as typed values.

Everything here is already valid: shapes are checked by the JSON Schema, the rest by :func:`runner.load.load_specs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.model import Selector


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
    """``path`` is relative to the project's root, with forward slashes."""

    path: str
    key: str | None = None
    where: Template | None = None
    limit: int | None = None


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
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    vars: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """As the provider names them, with ``extra_body`` already merged in."""
    schema: Mapping[str, Any] | None = None
    """The answer's JSON Schema, read from ``response.schema``."""
    samples: int = 1
    wait: Wait = Wait()
    attempts: int = 3
    on_remove: str = "keep"
    output: Output = Output("")
    places: Mapping[str, Place] = field(default_factory=dict)

    def at(self, key: str) -> Place:
        """Where ``key`` was written, or where the document begins."""
        return self.places.get(key, self.place)
