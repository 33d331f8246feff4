"""A Batch: a Spec resolved against the world today: its model chosen, its inputs and prompt fingerprinted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from runner.fingerprint import Fingerprint, changes, differences, digest_of
from runner.model import Offer
from runner.request import salt
from runner.spec import Spec
from runner.task import Task


@dataclass(frozen=True)
class Batch:
    """``offer`` is None when the model is not known yet (an unpinned selector, offline).

    ``key`` digests the fingerprint; it is "" when equal fingerprints do not promise equal requests (a template that
    reads image files), so that nothing may be skipped on its strength.
    """

    spec: Spec
    offer: Offer | None
    fingerprint: Fingerprint
    key: str

    @property
    def model(self) -> str | None:
        return self.offer.id if self.offer else None

    @property
    def salt(self) -> bytes:
        return salt(self.spec.provider, self.model or "")


def fingerprint_of(
    spec: Spec, model: str | None, input_digest: str, templates: Mapping[str, str], encoding: str
) -> Fingerprint:
    """All that decides what a batch asks, by name.

    ``templates`` are the sources in use, by where they stand; ``encoding`` digests the body of a row of empty texts,
    and so notices a provider, or a version of runner, that spells the same question in another way.
    """
    shape = [[message.role, [part.kind for part in message.parts]] for message in spec.messages]
    bare: bool | str = "embed" if spec.embed is not None else spec.text is not None
    return {
        "model": digest_of([spec.provider, model]),
        "prompt": digest_of([shape, bare, sorted(templates.items())]),
        "vars": digest_of(spec.vars),
        "parameters": digest_of(spec.parameters),
        "response": digest_of(spec.schema),
        "samples": digest_of(spec.samples),
        "encoding": encoding,
        "input": input_digest,
        "rows": digest_of([_source(spec), spec.input.where and spec.input.where.source, spec.input.limit]),
    }


def _source(spec: Spec) -> Any:
    """Where rows come from.  Answers of another batch lie in a file of another name whenever they change."""
    return {"batch": spec.input.batch} if spec.input.batch else spec.input.path


def explain(old: Fingerprint | None, new: Fingerprint, fresh: int, again: int) -> str:
    """Why ``fresh`` requests are new and ``again`` are asked once more, in a few words."""
    if old is None:
        words = ["new"] if fresh else []
    else:
        parts = differences(old, new)
        words = changes(old, new) if fresh else []
        if fresh and parts == ["encoding"]:
            words = ["the request's encoding changed"]
        if fresh and not words:
            words = [f"{fresh:,} row{'s' if fresh != 1 else ''} new or changed" if parts else f"{fresh:,} not sent yet"]
    if again:
        words.append(f"retry of {again:,} failed or missing")
    return ", ".join(words)


def publish_key(batch: Batch, needs: Sequence[Task]) -> str:
    """Digest of all that goes into the output, and of what is checked about it."""
    key = answers_key(batch, needs)
    checks = [asdict(check) for check in batch.spec.checks]
    return digest_of([key, checks]) if checks else key


def answers_key(batch: Batch, needs: Sequence[Task]) -> str:
    """Digest of rows, columns, and the results as they are known."""
    spec = batch.spec
    results: list[Any] = [[t.id, t.phase, t.results, t.outcomes, t.stopped, t.forgiven] for t in needs]
    return digest_of([batch.fingerprint, spec.output.path, list(spec.output.include), spec.input.key, results])
