"""The models on sale as `/v1/models` lists them: OpenAI's few fields and what gateways add to them, or Anthropic's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runner.simulator import models
from runner.simulator.engine import Refusal
from runner.simulator.models import Entry


def offered() -> list[Entry]:
    """What may be asked: the models that run."""
    return [entry for entry in models.MODELS if entry["modelInstance"]["status"] == "running"]


def writing() -> list[Entry]:
    """Those among them that may be asked for a message."""
    return [entry for entry in offered() if models.writes(entry)]


def identity(entry: Entry) -> str:
    return str(entry["modelInstance"]["modelInstanceId"])


def openai_model(entry: Entry) -> dict[str, Any]:
    """Prices are per 1,000 tokens: ``price`` that of an online call, ``batch_price`` what a batch is billed."""
    return {
        "id": identity(entry),
        "object": "model",
        "created": int(datetime.fromisoformat(entry["createdAt"]).timestamp()),
        "owned_by": entry["vendor"],
        **_facts(entry),
        "price": _price(models.online_price(entry)),
        "batch_price": _price(models.price(entry)),
    }


def anthropic_model(entry: Entry) -> dict[str, Any]:
    """Anthropic's fields, and the same facts; its ``capabilities`` are an object of its own, and so not told."""
    return {
        "type": "model",
        "id": identity(entry),
        "display_name": entry["modelName"],
        "created_at": entry["createdAt"],
        "lifecycle": "active",
        **_facts(entry),
        "capabilities": None,
        "max_tokens": int(entry["tokenLimit"]["maxOutputTokens"]),
        "price": _price(models.price(entry)),
    }


def _facts(entry: Entry) -> dict[str, Any]:
    limits, overview = entry["tokenLimit"], entry["capabilityOverview"]
    return {
        "name": entry["modelName"],
        "family": entry["modelFamily"],
        "vendor": entry["vendor"],
        "tags": entry["invisibleModelTags"]["customTags"],
        "capabilities": overview["capabilities"],
        "input_modalities": overview["inputModalities"],
        "output_modalities": overview["outputModalities"],
        "max_model_len": int(limits["contextLength"]),
        "max_input_tokens": int(limits["maxInputTokens"]),
        "max_output_tokens": int(limits["maxOutputTokens"]),
    }


def _price(price: tuple[float, float] | None) -> dict[str, Any] | None:
    return None if price is None else {"input": price[0], "output": price[1], "currency": "CNY"}


def anthropic_page(query: Mapping[str, str], usual: int, most: int) -> dict[str, Any]:
    """One page of the list, by ``after_id``, ``before_id`` and ``limit``."""
    entries = writing()
    size = limit(query, usual, most)
    ids = [identity(entry) for entry in entries]
    for key in ("after_id", "before_id"):
        if key in query and query[key] not in ids:
            raise Refusal("invalid", f"{key}: there is no model {query[key]}")
    if "before_id" in query:
        rest = entries[: ids.index(query["before_id"])]
        shown, more = rest[-size:], len(rest) > size
    else:
        rest = entries[ids.index(query["after_id"]) + 1 if "after_id" in query else 0 :]
        shown, more = rest[:size], len(rest) > size
    return page([anthropic_model(entry) for entry in shown], more=more)


def page(data: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """A page as OpenAI and Anthropic have it, without OpenAI's ``object``."""
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"data": data, **ends, "has_more": more}


def limit(query: Mapping[str, str], usual: int, most: int) -> int:
    """How many entries a page may have; what is above ``most`` counts as that."""
    text = query.get("limit", str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise Refusal("invalid", f"'limit' has to be a whole number from 1 to {most}")
    return min(int(text), most)
