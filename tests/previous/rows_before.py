"""The rows of runs and items as the release before writes them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import takewhile

import asyncpg
from chatkit.types import ThreadMetadata

from relaykit.shared.runs.run import Kind, Status, sources
from tests.previous import statements
from tests.previous.rows import OWNER, input_item, message


class PreviousRows:
    """As the release before: its rows of runs, its store, its ends of runs and its admission."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._runs = {
            name.rpartition(".")[2]: text for name, text in statements().items() if "runs_sql" in name
        }
        self._store = {
            name.rpartition(".")[2]: text for name, text in statements().items() if "store_sql" in name
        }

    async def open_thread(self, thread_id: str) -> None:
        data = ThreadMetadata(id=thread_id, created_at=datetime.now()).model_dump_json()
        await self._pool.fetch(self._store["SAVE_THREAD"], thread_id, *OWNER, data, None, None)

    async def admit(
        self, run_id: str, thread_id: str, *, may_wait: bool = True, key: str | None = None
    ) -> str:
        try:
            async with self._transaction() as connection:
                data = message(thread_id, input_item(run_id)).model_dump_json()
                item = (thread_id, *OWNER, input_item(run_id), data, None, None)
                await connection.fetch(self._store["WRITE_ITEM"], *item)
                return await self._insert_somehow(connection, run_id, thread_id, may_wait, key)
        except asyncpg.UniqueViolationError as error:
            return "busy" if error.constraint_name == "runs_active_thread" else "key_taken"

    async def _insert_somehow(
        self, connection: asyncpg.Connection, run_id: str, thread_id: str, may_wait: bool, key: str | None
    ) -> str:
        attempts = ["queued", "queued", "waiting"] if may_wait else ["queued"]
        for number, status in enumerate(attempts):
            if number == 1:
                await connection.execute(self._runs["THREAD_LOCK"], *OWNER, thread_id)
            try:
                async with connection.transaction():
                    await connection.execute(
                        self._runs["INSERT"],
                        *(run_id, *OWNER, thread_id, Kind.MESSAGE.value),
                        *(
                            f'{{"item_id":"{input_item(run_id)}","stream_options":{{"allow_cancel":true}}}}',
                            "{}",
                        ),
                        *(None, input_item(run_id), status, key, b"hash"),
                    )
            except asyncpg.UniqueViolationError as error:
                if error.constraint_name != "runs_active_thread" or number == len(attempts) - 1:
                    raise
            else:
                return status
        raise AssertionError

    async def start(self, run_id: str) -> int | None:
        row = await self._pool.fetchrow(self._runs["START"], run_id, sources(Status.RUNNING))
        return None if row is None else row["attempt"]

    async def write(self, run_id: str, attempt: int, thread_id: str, item_id: str) -> bool:
        data = message(thread_id, item_id).model_dump_json()
        item = (thread_id, *OWNER, item_id, data, run_id, attempt)
        row = await self._pool.fetchrow(self._store["WRITE_ITEM"], *item)
        return row["found"] and not row["fenced"]

    async def take_back(self, run_id: str, attempt: int, thread_id: str) -> None:
        anchor = (await self._pool.fetchrow(self._runs["BY_ID"], run_id, *OWNER))["anchor_item_id"]
        rows = await self._pool.fetch(self._store["ITEMS_DESC"], thread_id, *OWNER, 1000)
        waiting = await self._pool.fetch(self._runs["WAITING_INPUTS"], *OWNER, thread_id)
        kept = {json.loads(row["input"])["item_id"] for row in waiting}
        for row in takewhile(lambda row: row["id"] != anchor, rows):
            if row["id"] not in kept:
                item = (thread_id, *OWNER, row["id"], run_id, attempt)
                await self._pool.fetch(self._store["DELETE_ITEM"], *item)

    async def finish(self, run_id: str, attempt: int, thread_id: str) -> bool:
        async with self._transaction() as connection:
            await connection.execute(self._runs["THREAD_LOCK"], *OWNER, thread_id)
            ended = (run_id, attempt, "completed", None, sources(Status.COMPLETED))
            if await connection.fetchrow(self._runs["FINISH"], *ended) is None:
                return False
            await self._promote(connection, thread_id)
            return True

    async def hand_back(self, run_id: str, attempt: int) -> bool:
        return await self._pool.fetchval(self._runs["HAND_BACK"], run_id, attempt) is not None

    async def stop(self, run_id: str, thread_id: str) -> None:
        async with self._transaction() as connection:
            await connection.execute(self._runs["THREAD_LOCK"], *OWNER, thread_id)
            if await connection.fetchval(self._runs["REQUEST_CANCEL"], run_id) == "cancelled":
                await self._promote(connection, thread_id)

    async def _promote(self, connection: asyncpg.Connection, thread_id: str) -> None:
        row = await connection.fetchrow(self._runs["PROMOTE"], *OWNER, thread_id)
        if row is None:
            return
        item = (thread_id, *OWNER, input_item(row["id"]), None, None)
        await connection.fetch(self._store["MOVE_TO_END"], *item)
        newest = await connection.fetchrow(self._store["ITEMS_DESC"], thread_id, *OWNER, 1)
        await connection.execute(self._runs["SET_ANCHOR"], row["id"], newest["id"])

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[asyncpg.Connection]:
        async with self._pool.acquire() as connection, connection.transaction():
            yield connection
