"""The pace at which a process that stops closes what clients will open again at the other processes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from typing import Final, TypeVar

CLOSED_PER_SECOND: Final = 200
"""The least pace: few are closed in less than the time that is given."""

T = TypeVar("T")


async def paced(each: Iterable[T], seconds: float) -> AsyncIterator[T]:
    """All of them in a random order, one after the other and spread over that time at most."""
    left = list(each)
    random.shuffle(left)
    pause_seconds = min(1 / CLOSED_PER_SECOND, seconds / max(1, len(left)))
    started_at = time.monotonic()
    for number, one in enumerate(left):
        await asyncio.sleep(max(0.0, started_at + number * pause_seconds - time.monotonic()))
        yield one
