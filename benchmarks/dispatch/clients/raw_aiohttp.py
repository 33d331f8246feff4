"""A bare loop over aiohttp: nothing is kept, nothing is asked again."""

from __future__ import annotations

import asyncio
import json

import aiohttp
from _asked import all_of, asked, body


async def main() -> None:
    url, rows, at_once = asked()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:

        async def ask(number: int) -> None:
            async with session.post(f"{url}/chat/completions", json=body(number)) as response:
                json.loads(await response.read())

        await all_of(rows, at_once, ask)


asyncio.run(main())
