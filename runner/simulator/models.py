"""The models on sale at the simulator, as data.

Each entry has the shape of one element of Wanqing's model list.  Documented there: ``invisibleModelTags.customTags``,
``tokenLimit`` (numbers as text), ``priceInfo`` (CNY per 1,000 tokens) and ``modelInstance``.  Not documented, and
therefore this module's own choice: the names ``modelFamily``, ``vendor`` and ``createdAt``, and what lies inside
``capabilityOverview``, ``modelParameters`` and a pricing tier's ``input``.  A client has to do without any of them.

The instance ids are made up.  The list holds, on purpose, a stopped instance, one that takes no batches, one without a
price, one with two pricing tiers, some with an online price only.  One embeds, of which
Wanqing's document knows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Entry = Mapping[str, Any]
OFFLINE_TAG = "supportOffline"
BATCH_SCENE = "batchInference"
ONLINE_SCENE = "onlineInference"


def _price(scene: str, *tiers: tuple[float, float]) -> dict[str, Any]:
    return {
        "usageScene": scene,
        "pricingType": "token",
        "pricingTiers": [
            {"input": given, "output": [{"mode": "default", "price": answered}]} for given, answered in tiers
        ],
    }


def _parameters(max_output: int) -> list[dict[str, Any]]:
    return [
        {"name": "temperature", "min": 0, "max": 2, "default": 0.7},
        {"name": "top_p", "min": 0, "max": 1, "default": 0.95},
        {"name": "max_tokens", "min": 1, "max": max_output, "default": 4096},
    ]


def _model(
    instance: str,
    name: str,
    family: str,
    vendor: str,
    created: str,
    *,
    context: int,
    max_output: int,
    prices: tuple[dict[str, Any], ...],
    capabilities: tuple[str, ...] = (),
    inputs: tuple[str, ...] = ("text",),
    outputs: tuple[str, ...] = ("text",),
    tags: tuple[str, ...] = (OFFLINE_TAG,),
    status: str = "running",
) -> dict[str, Any]:
    return {
        "modelId": instance.replace("mi-", "m-"),
        "modelName": name,
        "modelFamily": family,
        "vendor": vendor,
        "accessType": "PUBLIC",
        "createdAt": created,
        "invisibleModelTags": {"customTags": list(tags)},
        "tokenLimit": {
            "maxInputTokens": str(context - max_output),
            "maxOutputTokens": str(max_output),
            "contextLength": str(context),
            "tpm": "1000000",
            "rpm": "1000",
            "tpd": "100000000",
        },
        "priceInfo": list(prices),
        "capabilityOverview": {
            "inputModalities": list(inputs),
            "outputModalities": list(outputs),
            "capabilities": list(capabilities),
        },
        "modelParameters": _parameters(max_output),
        "modelInstance": {"modelInstanceId": instance, "modelInstanceName": name, "status": status},
    }


MODELS: tuple[Entry, ...] = (
    _model(
        "mi-1",
        "Qwen3-32B",
        "Qwen3",
        "Alibaba",
        "2025-04-29T00:00:00Z",
        context=131072,
        max_output=16384,
        prices=(_price(ONLINE_SCENE, (0.002, 0.008)), _price(BATCH_SCENE, (0.001, 0.004))),
        capabilities=("thinking", "functionCalling", "structuredOutput"),
    ),
    _model(
        "mi-9",
        "Qwen3-8B",
        "Qwen3",
        "Alibaba",
        "2025-04-29T00:00:00Z",
        context=32768,
        max_output=8192,
        prices=(_price(ONLINE_SCENE, (0.0005, 0.002)), _price(BATCH_SCENE, (0.00025, 0.001))),
        capabilities=("thinking", "functionCalling", "structuredOutput"),
    ),
    _model(
        "mi-2",
        "Qwen3-235B-A22B",
        "Qwen3",
        "Alibaba",
        "2025-07-21T00:00:00Z",
        context=262144,
        max_output=32768,
        prices=(_price(ONLINE_SCENE, (0.002, 0.008), (0.004, 0.016)),),
        capabilities=("thinking", "functionCalling", "structuredOutput"),
    ),
    _model(
        "mi-3",
        "Qwen2.5-VL-72B-Instruct",
        "Qwen2.5-VL",
        "Alibaba",
        "2025-01-28T00:00:00Z",
        context=131072,
        max_output=8192,
        prices=(_price(ONLINE_SCENE, (0.016, 0.048)),),
        capabilities=("structuredOutput",),
        inputs=("text", "image", "video"),
    ),
    _model(
        "mi-4",
        "DeepSeek-V3.1",
        "DeepSeek-V3",
        "DeepSeek",
        "2025-08-21T00:00:00Z",
        context=131072,
        max_output=32768,
        prices=(_price(ONLINE_SCENE, (0.004, 0.012)), _price(BATCH_SCENE, (0.002, 0.006))),
        capabilities=("thinking", "functionCalling", "structuredOutput"),
    ),
    _model(
        "mi-5",
        "DeepSeek-R1-0528",
        "DeepSeek-R1",
        "DeepSeek",
        "2025-05-28T00:00:00Z",
        context=65536,
        max_output=16384,
        prices=(_price(ONLINE_SCENE, (0.004, 0.016)),),
        capabilities=("thinking",),
        status="stopped",
    ),
    _model(
        "mi-6",
        "GLM-4.6",
        "GLM-4",
        "Zhipu",
        "2025-09-30T00:00:00Z",
        context=204800,
        max_output=65536,
        prices=(),
        capabilities=("thinking", "functionCalling"),
    ),
    _model(
        "mi-7",
        "KAT-Coder",
        "KAT",
        "Kuaishou",
        "2025-10-21T00:00:00Z",
        context=262144,
        max_output=32768,
        prices=(_price(ONLINE_SCENE, (0.006, 0.024)),),
        capabilities=("functionCalling",),
        tags=(),
    ),
    _model(
        "mi-8",
        "Qwen3-Embedding-8B",
        "Qwen3-Embedding",
        "Alibaba",
        "2025-06-05T00:00:00Z",
        context=32768,
        max_output=0,
        prices=(_price(ONLINE_SCENE, (0.0005, 0.0)), _price(BATCH_SCENE, (0.00025, 0.0))),
        outputs=("embedding",),
    ),
)

_BY_INSTANCE = {model["modelInstance"]["modelInstanceId"]: model for model in MODELS}


def model(instance: str) -> Entry | None:
    """The model that runs as ``instance``, None where there is no such instance."""
    return _BY_INSTANCE.get(instance)


def writes(entry: Entry) -> bool:
    """Whether the model answers in text: the others embed, which some wires know no way to ask for."""
    return "text" in entry["capabilityOverview"]["outputModalities"]


def price(entry: Entry) -> tuple[float, float] | None:
    """What a batch is billed per 1,000 tokens, in and out: the batch price, else the online one.  None: no price."""
    return _price_of(entry, BATCH_SCENE) or online_price(entry)


def online_price(entry: Entry) -> tuple[float, float] | None:
    """What an online call is billed per 1,000 tokens, in and out."""
    return _price_of(entry, ONLINE_SCENE)


def _price_of(entry: Entry, scene: str) -> tuple[float, float] | None:
    for info in entry["priceInfo"]:
        if info["usageScene"] == scene:
            tier = info["pricingTiers"][0]
            return tier["input"], tier["output"][0]["price"]
    return None
