"""What Anthropic tells of a batch and of its models, as plain values.

Shapes are those of Anthropic's own client library (``MessageBatch``, ``ModelInfo``); what is not there is None.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from runner.model import Offer
from runner.provider import Phase
from runner.providers.listing import parse_listing
from runner.providers.loose import address, count, get, identity, moment, text


@dataclass(frozen=True)
class Batch:
    """A batch.  The four counts of requests stay zero until all of them have come to something."""

    id: str
    status: str
    """in_progress, canceling or ended; any other word means that it goes on."""
    succeeded: int | None = None
    errored: int | None = None
    canceled: int | None = None
    expired: int | None = None
    total: int | None = None
    created_at: float | None = None
    """Unix seconds."""
    cancelling: bool = False
    """Somebody asked for a stop."""
    archived_at: str = ""
    """Since when its results are gone."""
    results_url: str = ""

    @property
    def ended(self) -> bool:
        return self.status.casefold() == "ended"

    @property
    def unanswered(self) -> int | None:
        """Requests that came to no answer."""
        known = [found for found in (self.errored, self.canceled, self.expired) if found is not None]
        return sum(known) if known else None

    @property
    def settled(self) -> int:
        """Requests that are known to have come to something, each of which has a line in the results."""
        return (self.succeeded or 0) + (self.unanswered or 0)

    @property
    def phase(self) -> Phase:
        """Once it has ended, what became of its requests decides."""
        if not self.ended:
            return Phase.RUNNING
        if self.total and self.expired == self.total:
            return Phase.EXPIRED
        if self.cancelling:
            return Phase.CANCELLED
        if self.errored and not (self.succeeded or self.expired or self.canceled):
            return Phase.FAILED
        return Phase.SUCCEEDED


def parse_batch(value: Any) -> Batch:
    """A ``message_batch`` object.  Its total is known where all five counts are."""
    words = ("succeeded", "errored", "canceled", "expired", "processing")
    counts = {word: count(get(value, "request_counts", word)) for word in words}
    known = [found for found in counts.values() if found is not None]
    return Batch(
        id=identity(get(value, "id")),
        status=text(get(value, "processing_status")),
        succeeded=counts["succeeded"],
        errored=counts["errored"],
        canceled=counts["canceled"],
        expired=counts["expired"],
        total=sum(known) if len(known) == len(words) else None,
        created_at=moment(get(value, "created_at")),
        cancelling=moment(get(value, "cancel_initiated_at")) is not None,
        archived_at=text(get(value, "archived_at")) if moment(get(value, "archived_at")) is not None else "",
        results_url=address(get(value, "results_url")),
    )


def parse_models(entries: Iterable[Any]) -> list[Offer]:
    """Offers of a model list; models that say of themselves that they take no batches are left out."""
    return [
        replace(offer, thinking=_says(entry, "thinking"), available=text(get(entry, "lifecycle")) != "retired")
        for entry in entries
        if _says(entry, "batch") is not False
        for offer in parse_listing([_listed(entry)], batch=True) or ()
    ]


def _listed(entry: Any) -> dict[str, Any]:
    """An entry in the words of other lists, which a gateway may have added already."""
    told = dict(entry) if isinstance(entry, dict) else {}
    released = text(told.get("created_at"))
    told["created_at"] = "" if released.startswith("1970-01-01") else released  # "an epoch value if unknown"
    told.setdefault("family", told.get("line"))
    told.setdefault("context_window", told.get("max_input_tokens"))
    told.setdefault("max_output_tokens", told.get("max_tokens"))
    capabilities = told.get("capabilities")
    if isinstance(capabilities, dict):
        told["capabilities"] = [name for name in capabilities if _says(entry, name)]
        takes_images = _says(entry, "image_input")
        if takes_images is not None:
            told["input_modalities"] = ["text", "image"] if takes_images else ["text"]
    return told


def _says(entry: Any, capability: str) -> bool | None:
    says = get(entry, "capabilities", capability, "supported")
    return says if isinstance(says, bool) else None
