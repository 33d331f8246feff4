"""What every client is told, and a loop that asks all with so many at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

MODEL = "fast"


def question(number: int) -> str:
    return f"question number {number} " + "about something " * 10


def body(number: int) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": question(number)}]}


def asked() -> tuple[str, int, int]:
    """The base URL, how many questions, and how many at once."""
    return sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def all_of(rows: int, at_once: int, ask: Callable[[int], Awaitable[object]]) -> None:
    numbers = iter(range(rows))

    async def worker() -> None:
        for number in numbers:
            await ask(number)

    await asyncio.gather(*[worker() for _ in range(at_once)])
