"""Every provider type and dialect, each in front of one `runner simulate`."""

from __future__ import annotations

from typing import Any

KEY = {"env": "TEST_KEY"}
KEYS = {"TEST_KEY": "key-of-a-test", "TEST_ACCESS": "AKDEMO", "TEST_SECRET": "SKDEMO"}
"""Variables that the providers below name."""
PAIR = {"access_key": {"env": "TEST_ACCESS"}, "secret_key": {"env": "TEST_SECRET"}}
DIALECTS = (
    *("openai", "azure", "groq", "together", "kimi", "dashscope", "zhipu", "siliconflow", "doubleword", "litellm"),
    "qianfan",
)
"""Those whose paths the simulator serves."""


def providers(url: str) -> dict[str, dict[str, Any]]:
    """For runner.yaml: each type and dialect by a name of its own, all at the simulator that listens at ``url``."""
    facts = [{"id": "mi-9", "family": "Qwen3", "context": "32k", "price": {"input": 0.1, "output": 0.1, "currency": "CNY"}}]
    bos = {"endpoint": url, "bucket": "demo", "prefix": "runner"}
    return {
        "simulator": {"type": "simulator", "base_url": url},
        "wanqing": {"type": "wanqing", "base_url": url, "project_id": "p", "api_key": KEY},
        "online": {"type": "online", "base_url": url, "api_key": KEY},
        "online-stream": {"type": "online", "base_url": f"{url}/v1", "api_key": KEY, "stream": True},
        "alaya": {"type": "alaya", "base_url": url, "service_id": "svc-1", **PAIR},
        "qianfan": {"type": "qianfan", "base_url": url, "bos": bos, **PAIR},
        "anthropic": {"type": "anthropic", "base_url": url, "api_key": KEY},
        **{f"openai-{name}": {"type": "openai", "base_url": url, "api_key": KEY, "dialect": name, "models": facts} for name in DIALECTS},
    }


NAMES = tuple(providers(""))
