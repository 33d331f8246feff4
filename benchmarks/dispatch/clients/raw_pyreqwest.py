"""A bare loop over pyreqwest, which runner uses, too."""

from __future__ import annotations

import asyncio
import json

from _asked import all_of, asked, body
from pyreqwest.client import ClientBuilder


async def main() -> None:
    url, rows, at_once = asked()
    async with ClientBuilder().no_proxy().build() as client:

        async def ask(number: int) -> None:
            call = client.post(f"{url}/chat/completions").header("content-type", "application/json")
            response = await call.body_bytes(json.dumps(body(number)).encode()).build().send()
            json.loads(bytes(await response.bytes()))

        await all_of(rows, at_once, ask)


asyncio.run(main())
