"""The cats, one for each thread, in a database that all processes share."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing

from app.cat_state import CatState


class CatStore:
    async def load(self, thread_id: str) -> CatState:
        return await asyncio.to_thread(self._changed, thread_id, None)

    async def mutate(self, thread_id: str, change: Callable[[CatState], None]) -> CatState:
        return await asyncio.to_thread(self._changed, thread_id, change)

    def _changed(self, thread_id: str, change: Callable[[CatState], None] | None) -> CatState:
        with closing(sqlite3.connect(os.environ["CATS_FILE"], isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("CREATE TABLE IF NOT EXISTS cats (thread_id TEXT PRIMARY KEY, state TEXT)")
            found = db.execute("SELECT state FROM cats WHERE thread_id = ?", (thread_id,)).fetchone()
            state = CatState(**json.loads(found[0])) if found else CatState()
            if change is not None:
                change(state)
                data = json.dumps(state.to_payload())
                db.execute("INSERT OR REPLACE INTO cats VALUES (?, ?)", (thread_id, data))
            db.execute("COMMIT")
        return state
