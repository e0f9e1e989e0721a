"""The cats, one for each thread, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from app.cat_state import CatState


class CatStore:
    def __init__(self) -> None:
        self.cats: dict[str, CatState] = {}
        self.lock = asyncio.Lock()

    async def load(self, thread_id: str) -> CatState:
        async with self.lock:
            return replace(self.cats.setdefault(thread_id, CatState()))

    async def mutate(self, thread_id: str, change: Callable[[CatState], None]) -> CatState:
        async with self.lock:
            state = self.cats.setdefault(thread_id, CatState())
            change(state)
            return replace(state)
