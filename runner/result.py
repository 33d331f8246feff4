"""What one request came to: an answer, or the reason there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

SUCCEEDED = "succeeded"
FAILED = "failed"
MISSING = "missing"


@dataclass(frozen=True)
class Failure:
    """Why there is no answer.  ``retryable``: the same bytes, asked again, may be answered."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True)
class Usage:
    """Tokens as the provider counted them; None where it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class Result:
    """One line of a provider's results, decoded.

    ``request`` is the custom_id as the provider gave it back (32 hex digits when it is one of ours).
    ``text`` may stand beside ``failure``: a cut-off or misshapen answer was paid for and is kept.
    """

    request: str
    text: str | None = None
    finish_reason: str | None = None
    usage: Usage = Usage()
    model: str | None = None
    failure: Failure | None = None
    parsed: Any = None
    exhausted: bool = False
    """A failure that was tried as often as it may be: only a person's `retry` asks again."""

    def scrubbed(self, scrub: Callable[[str, int], str]) -> Result:
        """The same with its failure's words made fit to be shown; ``scrub(text, most)`` does so with one text."""
        failure = self.failure
        if failure is None:
            return self
        code, message = scrub(failure.code, 100), scrub(failure.message, 1_000)
        return replace(self, failure=replace(failure, code=code, message=message))

    @property
    def status(self) -> str:
        return SUCCEEDED if self.failure is None else FAILED


@dataclass(frozen=True)
class Counts:
    """Rows (or requests) by what became of them.  The four add up to the total, always."""

    succeeded: int = 0
    failed: int = 0
    missing: int = 0
    pending: int = 0

    @property
    def total(self) -> int:
        return self.succeeded + self.failed + self.missing + self.pending

    def to_json(self) -> dict[str, int]:
        return {
            "succeeded": self.succeeded,
            "failed": self.failed,
            "missing": self.missing,
            "pending": self.pending,
            "total": self.total,
        }
