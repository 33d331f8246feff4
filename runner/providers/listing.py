"""Model lists as OpenAI's `/v1/models` has them, with whatever more a server says of each model.

OpenAI itself says no more than id, created and owned_by.  Others add to it: vLLM ``max_model_len``; gateways
``context_length`` and ``pricing`` (money per token, as text); the simulator ``family``, ``price`` and ``batch_price``
(per 1,000 tokens) and the rest of what a selector may ask for.  A price that is not said to be that of a batch is the
online price, an upper bound for a batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from runner.edge.http import Reply
from runner.errors import Unsure
from runner.model import Offer, Price
from runner.providers.loose import first_number, first_text, get, items, number, text


def listed_in(reply: Reply, *, batch: bool = False) -> tuple[Offer, ...] | None:
    """The models that a reply lists; None for one that says no, or is a page for people."""
    try:
        return parse_listing(reply.json(), batch=batch) if reply.status < 300 else None
    except Unsure:
        return None


def parse_listing(answer: Any, *, batch: bool = False) -> tuple[Offer, ...] | None:
    """The models of a list, under ``data`` or ``models`` or bare; None where there is none to be seen.

    ``batch``: their prices are to be those of a batch.
    """
    listed = next(
        (found for found in (get(answer, "data"), get(answer, "models"), answer) if isinstance(found, list)), None
    )
    return None if listed is None else tuple(_offers(listed, batch=batch))


def _offers(entries: Iterable[Any], *, batch: bool) -> Iterable[Offer]:
    for entry in entries:
        id = first_text(entry, ("id", "model", "name"))
        if id:
            yield Offer(
                id,
                name=first_text(entry, ("name", "display_name")),
                family=text(get(entry, "family")) or None,
                vendor=first_text(entry, ("vendor", "owned_by", "organization")) or None,
                tags=_words(entry, "tags") or frozenset(),
                capabilities=_words(entry, "capabilities") or frozenset(),
                inputs=_words(entry, "input_modalities"),
                outputs=_words(entry, "output_modalities"),
                context=_whole(entry, "max_model_len", "context_length", "context_window", "max_context_length"),
                max_input=_whole(entry, "max_input_tokens"),
                max_output=_whole(entry, "max_output_tokens", "max_completion_tokens"),
                price=_batch_price(entry) if batch else _price(entry),
                released=_date(get(entry, "created") or get(entry, "created_at")),
            )


def _words(entry: Any, key: str) -> frozenset[str] | None:
    found = get(entry, key)
    if not isinstance(found, list):
        return None
    return frozenset(word for item in items(found) if (word := text(item)))


def _whole(entry: Any, *keys: str) -> int | None:
    found = first_number(entry, keys)
    return None if found is None or found <= 0 else int(found)


def _batch_price(entry: Any) -> Price | None:
    online = _price(entry)
    return _plain_price(get(entry, "batch_price")) or (online and replace(online, upper_bound=True))


def _price(entry: Any) -> Price | None:
    """``price`` per 1,000 tokens with its currency; or ``pricing`` in dollars per token, as gateways spell it."""
    if (plain := _plain_price(get(entry, "price"))) is not None:
        return plain
    given, answered = number(get(entry, "pricing", "prompt")), number(get(entry, "pricing", "completion"))
    if given is None or answered is None or given < 0 or answered < 0:
        return None
    return Price(round(given * 1000, 12), round(answered * 1000, 12), "USD")


def _plain_price(value: Any) -> Price | None:
    given, answered, currency = number(get(value, "input")), number(get(value, "output")), text(get(value, "currency"))
    return Price(given, answered, currency) if given is not None and answered is not None and currency else None


def _date(created: Any) -> str:
    """A day in a form that sorts, from Unix seconds or a date; empty for neither."""
    seconds = number(created)
    if seconds is None:
        return text(created)[:10]
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d") if seconds > 0 else ""
    except (ValueError, OverflowError, OSError):
        return ""
