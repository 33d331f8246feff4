"""Wanqing's model list, read into offers.

Documented: an element is a model with a nested ``modelInstance`` (the thing that tasks name), tags under
``invisibleModelTags.customTags``, token limits as text, prices per 1,000 tokens by ``usageScene``.  Not documented:
the names of family, vendor and date, and the insides of ``capabilityOverview`` and ``modelParameters``.  They are
looked for under every plausible name and in every plausible shape, and are unknown where they are not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runner.model import Offer, Price
from runner.providers.loose import count, first_number, first_text, get, identity, items, number, text

OFFLINE_TAG = "supportOffline"
"""The tag of models that take batch tasks."""
CURRENCY = "CNY"

_NAME = ("modelName", "name", "displayName")
_FAMILY = ("modelFamily", "family", "modelSeries", "series")
_VENDOR = ("vendor", "provider", "manufacturer", "modelVendor", "modelProvider")
_RELEASED = ("releasedAt", "publishedAt", "createdAt")
_PARAMETER = ("name", "parameterName", "paramName", "key")
_LEAST = ("min", "minimum", "minValue")
_MOST = ("max", "maximum", "maxValue")
_STOPPED = frozenset({"stopped", "error", "failed"})
_BATCH_SCENES = ("batch", "offline")
_ONLINE_SCENES = ("online",)


def parse_offers(entries: Iterable[Mapping[str, Any]]) -> list[Offer]:
    """One offer per instance; models whose tags say that they take no batch tasks are left out."""
    return [
        offer
        for entry in entries
        if _takes_batches(entry)
        for instance in _instances(entry)
        if (offer := _offer(entry, instance)).id
    ]


def _takes_batches(entry: Mapping[str, Any]) -> bool:
    tags = get(entry, "invisibleModelTags", "customTags")
    return not isinstance(tags, list) or OFFLINE_TAG in tags


def _instances(entry: Mapping[str, Any]) -> list[Any]:
    instance = entry.get("modelInstance")
    if isinstance(instance, list):
        return instance
    return [instance if instance else entry]


def _offer(entry: Mapping[str, Any], instance: Any) -> Offer:
    limits = entry.get("tokenLimit")
    capabilities, inputs, outputs = _capabilities(entry.get("capabilityOverview"))
    price = _price(entry.get("priceInfo"))
    return Offer(
        id=identity(get(instance, "modelInstanceId")),
        name=first_text(entry, _NAME) or text(get(instance, "modelInstanceName")),
        family=first_text(entry, _FAMILY) or None,
        vendor=first_text(entry, _VENDOR) or None,
        tags=frozenset(_words(get(entry, "invisibleModelTags", "customTags"))) | frozenset(_words(entry.get("tags"))),
        capabilities=capabilities,
        inputs=inputs or None,
        outputs=outputs or None,
        thinking=_says(capabilities, "think", "reason"),
        functions=_says(capabilities, "function", "tool"),
        context=count(get(limits, "contextLength")),
        max_input=count(get(limits, "maxInputTokens")),
        max_output=count(get(limits, "maxOutputTokens")),
        price=price,
        parameters=dict(_parameters(entry.get("modelParameters"))),
        available=text(get(instance, "status")).casefold() not in _STOPPED,
        released=first_text(entry, _RELEASED),
        notes=("no batch price is listed, or it has tiers: the dearest listed is taken",)
        if price and price.upper_bound
        else (),
    )


# Prices


def _price(infos: Any) -> Price | None:
    """The batch price, else the online one as an upper bound; of several tiers or modes the dearest, as one too."""
    priced = [(text(get(info, "usageScene")).casefold(), info) for info in items(infos)]
    for scenes, is_bound in ((_BATCH_SCENES, False), (_ONLINE_SCENES, True)):
        rates = [rate for scene, info in priced if any(word in scene for word in scenes) for rate in _rates(info)]
        if rates:
            dearest = (max(given for given, _ in rates), max(answered for _, answered in rates))
            return Price(*dearest, CURRENCY, upper_bound=is_bound or len(set(rates)) > 1)
    return None


def _rates(info: Any) -> Iterator[tuple[float, float]]:
    """Every (input, output) price of one scene: a price is a number, text, or within objects and lists of them."""
    for tier in items(get(info, "pricingTiers")) or [info]:
        given, answered = (list(_amounts(get(tier, side))) for side in ("input", "output"))
        yield from ((i, o) for i in given for o in answered)


def _amounts(value: Any) -> Iterator[float]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, dict):
            left.append(one.get("price"))
        elif (amount := number(one)) is not None and amount >= 0:
            yield amount


# Parameters and capabilities


def _parameters(value: Any) -> Iterator[tuple[str, tuple[float | None, float | None]]]:
    listed = ((first_text(item, _PARAMETER), item) for item in items(value))
    for name, described in value.items() if isinstance(value, dict) else listed:
        least, most = _range(described)
        if name and (least is not None or most is not None):
            yield text(name), (least, most)


def _range(described: Any) -> tuple[float | None, float | None]:
    described = get(described, "range") or described
    if isinstance(described, list) and len(described) == 2:
        return number(described[0]), number(described[1])
    return first_number(described, _LEAST), first_number(described, _MOST)


def _capabilities(overview: Any) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Capabilities, input modalities and output modalities."""
    if not isinstance(overview, dict):
        return frozenset(_words(overview)), frozenset(), frozenset()
    found: dict[str, set[str]] = {"input": set(), "output": set(), "": set()}
    for key, value in overview.items():
        side = next((side for side in ("input", "output") if side in key.lower() and not isinstance(value, bool)), "")
        found[side].update([key] if value is True else _words(value))
    inputs, outputs = (frozenset(map(str.lower, found[side])) for side in ("input", "output"))
    return frozenset(found[""]), inputs, outputs


def _words(value: Any) -> Iterator[str]:
    """Words in a list of texts, in a list of objects with a name, or as the keys of an object that are true."""
    if isinstance(value, dict):
        yield from (text(key) for key, on in value.items() if on is True)
    for item in items(value):
        word = first_text(item, ("name", "type", "key")) if isinstance(item, dict) else text(item)
        if word and not (isinstance(item, dict) and False in (item.get("supported"), item.get("enabled"))):
            yield word


def _says(capabilities: frozenset[str], *stems: str) -> bool | None:
    """Whether any capability is called so; None where no capabilities are listed at all."""
    return any(stem in word.lower() for word in capabilities for stem in stems) if capabilities else None
