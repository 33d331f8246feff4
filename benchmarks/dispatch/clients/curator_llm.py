"""curator's `LLM` over an endpoint, its limits set so high that they are none.

Its cache lies in the current folder.  It insists on a model that litellm knows; the server does not care.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

litellm = find_spec("litellm")
assert litellm is not None
assert litellm.origin is not None
os.environ |= {
    "CURATOR_CACHE_DIR": str(Path("cache").absolute()),
    "CURATOR_DISABLE_CACHE": "1",
    "CURATOR_DISABLE_RICH_DISPLAY": "1",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_API_KEY": "k",
    "TELEMETRY_ENABLED": "false",
    "TIKTOKEN_CACHE_DIR": str(Path(litellm.origin).parent / "litellm_core_utils/tokenizers"),  # else from the network
}

from _asked import asked, question  # noqa: E402
from bespokelabs import curator  # noqa: E402

url, rows, at_once = asked()
llm = curator.LLM(
    model_name="gpt-4o-mini",
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
