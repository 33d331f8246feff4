"""`litellm.acompletion`, with three retries of its own."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else from the network

import litellm
from _asked import MODEL, all_of, asked, question

litellm.suppress_debug_info = True


async def main() -> None:
    url, rows, at_once = asked()

    async def ask(number: int) -> None:
        with suppress(litellm.RateLimitError):
            await litellm.acompletion(
                f"openai/{MODEL}",
                messages=[{"role": "user", "content": question(number)}],
                api_base=url,
                api_key="k",
                num_retries=3,
            )

    await all_of(rows, at_once, ask)


asyncio.run(main())
