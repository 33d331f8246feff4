"""A bare loop over one client of httpx."""

from __future__ import annotations

import asyncio

import httpx
from _asked import all_of, asked, body


async def main() -> None:
    url, rows, at_once = asked()
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def ask(number: int) -> None:
            (await client.post(f"{url}/chat/completions", json=body(number))).json()

        await all_of(rows, at_once, ask)


asyncio.run(main())
