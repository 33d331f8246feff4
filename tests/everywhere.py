"""Every provider type and dialect, each in front of one `runner simulate`, and what it has and has not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.provider import EMBEDDING_DIALECTS

KEY = {"env": "TEST_KEY"}
KEYS = {"TEST_KEY": "key-of-a-test-0123456789", "TEST_ACCESS": "AKDEMO", "TEST_SECRET": "SKDEMO"}
"""Variables that the providers below name."""
PAIR = {"access_key": {"env": "TEST_ACCESS"}, "secret_key": {"env": "TEST_SECRET"}}
DIALECTS = (
    *("openai", "azure", "groq", "together", "kimi", "dashscope", "zhipu", "siliconflow", "doubleword", "litellm"),
    "qianfan",
)
"""Those whose paths the simulator serves."""
FACTS = [
    {"id": "mi-9", "family": "Qwen3", "context": "32k", "price": {"input": 0.1, "output": 0.1, "currency": "CNY"}},
    {"id": "mi-3", "family": "Qwen2.5-VL"},
]
"""What the team knows of models, for who lists none.  Lists say more of them."""


def providers(url: str) -> dict[str, dict[str, Any]]:
    """For runner.yaml: each type and dialect by a name of its own, all at the simulator that listens at ``url``."""
    bos = {"endpoint": url, "bucket": "demo", "prefix": "runner"}
    common = {"base_url": url, "api_key": KEY}
    return {
        "simulator": {"type": "simulator", **common},
        "wanqing": {"type": "wanqing", **common, "project_id": "p"},
        "online": {"type": "online", **common},
        "online-stream": {"type": "online", **common, "base_url": f"{url}/v1", "stream": True},
        "alaya": {"type": "alaya", "base_url": url, "service_id": "svc-1", **PAIR},
        "qianfan": {"type": "qianfan", "base_url": url, "bos": bos, **PAIR},
        "anthropic": {"type": "anthropic", **common},
        **{f"openai-{name}": {"type": "openai", **common, "dialect": name, "models": FACTS} for name in DIALECTS},
    }


NAMES = tuple(providers(""))
ONLINE = ("online", "online-stream", "alaya")
OPENAI = tuple(name for name in NAMES if name.startswith("openai-"))

OURS = "its tasks are ours: there is nothing at the provider but single questions"
OBJECT = "its task is not OpenAI's batch object; tests of its own hold what its fields may look like"

LACKS: Mapping[str, Mapping[str, str]] = {
    "task": dict.fromkeys(ONLINE, OURS),
    "find": {**dict.fromkeys(ONLINE, OURS), "wanqing": "no list of tasks is documented: a person has to look"},
    "absence": {
        **dict.fromkeys(ONLINE, OURS),
        "wanqing": "no list of tasks is documented",
        **dict.fromkeys(
            ("openai-siliconflow", "openai-litellm"), "its list may leave tasks out, so that it proves nothing"
        ),
    },
    "doubt": {
        name: OURS if name in ONLINE else "its list of tasks says whether one was made"
        for name in NAMES
        if name not in ("wanqing", "openai-siliconflow", "openai-litellm")
    },
    "cancel": dict.fromkeys(("wanqing", "simulator"), "no call that stops a task is documented"),
    "embed": {
        **dict.fromkeys(("wanqing", "alaya", "qianfan", "anthropic"), "no embeddings are documented"),
        **{
            f"openai-{name}": "its documents name no embeddings among what a batch may be for"
            for name in DIALECTS
            if name not in EMBEDDING_DIALECTS
        },
    },
    "batch": {name: OURS if name in ONLINE else OBJECT for name in NAMES if name not in OPENAI},
    "question": {name: "its questions travel in tasks" for name in NAMES if name not in ONLINE},
    "rejection": {
        **dict.fromkeys(ONLINE, OURS),
        "anthropic": "each request is checked as it is made, and a batch does not fail as a whole",
    },
    "processing": {
        name: OURS if name in ONLINE else "no state of a file is documented that has to be waited for"
        for name in NAMES
        if name != "openai-azure"
    },
}
"""What a scenario may need → who does not have it, and why."""
