"""curator's `LLM` over an endpoint, its limits set so high that they are none; its cache lies in the current folder."""

from __future__ import annotations

import os

os.environ |= {
    "CURATOR_CACHE_DIR": os.path.abspath("cache"),  # noqa: PTH100
    "CURATOR_DISABLE_CACHE": "1",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "HF_HUB_OFFLINE": "1",
    "OPENAI_API_KEY": "k",
    "TELEMETRY_ENABLED": "false",
}

from _asked import MODEL, asked, question
from bespokelabs import curator

url, rows, at_once = asked()
llm = curator.LLM(
    model_name=MODEL,
    backend="openai",
    backend_params={
        "base_url": url,
        "max_concurrent_requests": at_once,
        "max_requests_per_minute": 100_000_000,
        "max_tokens_per_minute": 100_000_000_000,
        "max_retries": 10,
        "in_mtok_cost": 0,
        "out_mtok_cost": 0,
        "require_all_responses": False,
    },
)
llm([question(number) for number in range(rows)])
