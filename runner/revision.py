"""A Revision: how a batch asked its rows at one time.  Enough is kept to ask the rows of today in the same way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runner.fingerprint import Fingerprint, changes
from runner.model import Offer
from runner.spec import MessageTemplate, PartTemplate, Place, Spec, Template

REVISIONS = 50
"""Revisions of a batch that are remembered."""


@dataclass(frozen=True)
class Revision:
    """``number`` counts from 1.  ``at``, in Unix seconds: when all of it had first been sent.

    ``what`` says in words how it differs from the one before.  ``rows``, counted with samples, and ``requests`` are
    those of the last time when nothing was left to send.  ``blob`` holds how it asked, "" where that was not kept.
    """

    number: int
    at: float
    model: str
    what: str
    rows: int
    requests: int
    blob: str = ""


Revisions = tuple[Revision, ...]


def revised(before: Revisions, old: Fingerprint | None, new: Fingerprint, found: Revision) -> Revisions:
    """The revisions after a batch with the fingerprint ``new`` was sent whole; ``found`` still lacks its number.

    Rows that came or went make no revision: the latest now says how many there are.
    """
    words = [] if old is None else changes(old, new)
    if before and not words:
        latest = replace(before[-1], rows=found.rows, requests=found.requests, blob=found.blob)
        return (*before[:-1], latest)
    what = "new" if old is None else ", ".join(words) or "as before"
    number = before[-1].number + 1 if before else 1
    return (*before, replace(found, number=number, what=what))[-REVISIONS:]


# ---- what is kept of one ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """How a revision asked.  ``templates``: every one in use, by name; ``row`` and ``example``: one body of it."""

    provider: str
    offer: Offer
    messages: tuple[MessageTemplate, ...]
    text: Template | None
    vars: Mapping[str, Any]
    parameters: Mapping[str, Any]
    schema: Mapping[str, Any] | None
    samples: int
    templates: Mapping[str, str]
    row: int
    example: str
    embed: Template | None = None

    def applied_to(self, spec: Spec) -> Spec:
        """``spec`` with its rows and its output as they are, asking as the revision did."""
        return replace(
            spec,
            provider=self.provider,
            messages=self.messages,
            text=self.text,
            embed=self.embed,
            vars=self.vars,
            parameters=self.parameters,
            schema=self.schema,
            samples=self.samples,
        )


def kept_of(spec: Spec, offer: Offer, templates: Mapping[str, str], row: int, example: str) -> Kept:
    """What is to be kept of a batch as it asks now."""
    asked = (spec.messages, spec.text, spec.vars, spec.parameters, spec.schema, spec.samples)
    return Kept(spec.provider, offer, *asked, templates, row, example, spec.embed)


def write(kept: Kept) -> bytes:
    """As JSON.  Keys stay in the order in which they were written: a template may go through `vars`."""
    document = {
        "templates": dict(kept.templates),
        "row": kept.row,
        "example": kept.example,
        "provider": kept.provider,
        "offer": kept.offer.to_json(),
        "messages": [
            {"role": message.role, "parts": [{"kind": part.kind, **_source(part.template)} for part in message.parts]}
            for message in kept.messages
        ],
        "text": kept.text and _source(kept.text),
        "embed": kept.embed and _source(kept.embed),
        "vars": kept.vars,
        "parameters": kept.parameters,
        "schema": kept.schema,
        "samples": kept.samples,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def read(data: bytes) -> Kept:
    """The inverse of :func:`write`.  Raises ValueError for what is no such thing, such as what older versions kept."""
    try:
        document = json.loads(data)
        messages = [
            MessageTemplate(
                str(message["role"]),
                tuple(PartTemplate(str(part["kind"]), _template(part)) for part in message["parts"]),
            )
            for message in document["messages"]
        ]
        text, embed, schema = document["text"], document.get("embed"), document["schema"]
        return Kept(
            provider=str(document["provider"]),
            offer=Offer.from_json(document["offer"]),
            messages=tuple(messages),
            text=None if text is None else _template(text),
            vars=dict(document["vars"]),
            parameters=dict(document["parameters"]),
            schema=None if schema is None else dict(schema),
            samples=int(document["samples"]),
            templates={str(name): str(source) for name, source in document["templates"].items()},
            row=int(document["row"]),
            example=str(document["example"]),
            embed=None if embed is None else _template(embed),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _source(template: Template) -> dict[str, str]:
    return {"source": template.source, "file": template.file or template.place.file}


def _template(data: Mapping[str, Any]) -> Template:
    return Template(str(data["source"]), Place(str(data["file"])))
