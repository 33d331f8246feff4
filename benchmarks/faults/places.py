"""Provider types and dialects, as runner.yaml spells them, all in front of one simulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEYS = {"FAULTS_KEY": "key-of-a-campaign", "FAULTS_ACCESS": "AKDEMO", "FAULTS_SECRET": "SKDEMO"}
"""Variables that the providers name."""

_KEY = {"env": "FAULTS_KEY"}
_PAIR = {"access_key": {"env": "FAULTS_ACCESS"}, "secret_key": {"env": "FAULTS_SECRET"}}
_DIALECTS = (
    *("openai", "azure", "groq", "together", "kimi", "dashscope", "zhipu", "siliconflow", "doubleword", "litellm"),
    "qianfan",
)
_FACTS = [
    {"id": "mi-9", "family": "Qwen3", "context": "32k", "price": {"input": 0.1, "output": 0.1, "currency": "CNY"}}
]
"""What the team knows of a model, for who lists none or little of it."""


def _types() -> dict[str, dict[str, Any]]:
    online = {"type": "online", "api_key": _KEY, "concurrency": CONCURRENCY}
    return {
        "simulator": {"type": "simulator", "api_key": _KEY},
        "wanqing": {"type": "wanqing", "api_key": _KEY, "project_id": "p"},
        "online": online,
        "online-stream": {**online, "stream": True},
        "alaya": {"type": "alaya", "service_id": "svc-1", "concurrency": CONCURRENCY, **_PAIR},
        "qianfan": {"type": "qianfan", **_PAIR},
        "anthropic": {"type": "anthropic", "api_key": _KEY},
        **{
            f"openai-{dialect}": {"type": "openai", "api_key": _KEY, "dialect": dialect, "models": _FACTS}
            for dialect in _DIALECTS
        },
    }


CONCURRENCY = 2
"""Questions in flight at once, where single questions are asked."""
PLACES = tuple(_types())
ONLINE = ("online", "online-stream", "alaya")
"""Endpoints without batches: there is nothing to ask after when an answer was lost."""
TAGLESS = ("wanqing", "openai-siliconflow", "openai-litellm")
"""Those whose lists, if they have any, cannot tell that a task was never made."""
TROUBLES: Mapping[str, Mapping[str, Any]] = {
    "failing": {"on": "task", "do": "fail-rows", "rows": [1], "status_code": 500, "times": 1},
    "missing": {"on": "task", "do": "missing-rows", "rows": [2], "times": 1},
    "expired": {"on": "task", "do": "expire", "rows": [2], "times": 1},
    "failed": {"on": "task", "do": "fail", "times": 1},
    "shuffled": {"on": "task", "do": "shuffle"},
    "doubled": {"on": "task", "do": "duplicate-lines"},
    "turned away": {"on": "create", "do": "429", "times": 1},
    "overloaded": {"on": "chat", "do": "500", "times": 1},
}
"""What a provider may do to the rows of a task, or to a question: rules of the simulator's faults."""
UNHEARD_OF = {("anthropic", "failed")}
"""Troubles that a place cannot have: Anthropic checks each request as it is made, and no batch fails as a whole."""
HASTY = ("simulator",)
"""Those whose list is believed within seconds."""


def provider(place: str, url: str) -> Mapping[str, Any]:
    """The settings of ``place`` with the simulator at ``url``; two requests travel together at most."""
    settings = {**_types()[place], "base_url": url, "max_requests": 2}
    if place == "qianfan":
        settings["bos"] = {"endpoint": url, "bucket": "demo", "prefix": "runner"}
    return settings
