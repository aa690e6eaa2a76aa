"""The time that a request may take."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recsys.serving.errors import TooLate


@asynccontextmanager
async def deadline(ms: int, problem: str = "no answer") -> AsyncIterator[None]:
    """Cancels what runs inside after `ms`, and raises TooLate; problem: the beginning of its text."""
    try:
        async with asyncio.timeout(ms / 1000):
            yield
    except TimeoutError:
        raise TooLate(f"{problem} within {ms} ms") from None
