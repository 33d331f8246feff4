"""`AsyncOpenAI` as it comes: its usual transport, limits and retries."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from _asked import MODEL, all_of, asked, question
from openai import AsyncOpenAI, RateLimitError


async def main() -> None:
    url, rows, at_once = asked()
    async with AsyncOpenAI(base_url=url, api_key="k") as client:

        async def ask(number: int) -> None:
            with suppress(RateLimitError):  # after its own retries: the row is not answered
                await client.chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": question(number)}]
                )

        await all_of(rows, at_once, ask)


asyncio.run(main())
