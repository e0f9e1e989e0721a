"""A place for fuzzed requests, as new before each of them, and what may be there after it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import psycopg
import redis
from hypothesis import strategies as st

from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.integration.written import ROW, TABLES
from tests.properties.chatkit_requests import IDS, KINDS, Strategy, params_of, request_of
from tests.support.fuzzing import served, signed_in
from tests.support.repository.error_catalogue import assert_documented_error
from tests.support.sample_thread import Place, add_place, add_thread, add_tool_call
from tests.support.system import Answer

ALICE = RequestContext(user_id="alice", tenant="acme")
_CONTENT = ("threads", "items", "attachments")
_GENERATED = ("seq",)
_RUN_KEYS = ("run:*:events", "arq:*run_*")


@dataclass(frozen=True)
class Fingerprint:
    rows: dict[str, tuple[int, str | None]]
    """Of each table: how many rows, and a hash of all that is in them."""
    keys: frozenset[bytes]
    """Of runs, in Redis."""


@dataclass(frozen=True)
class FuzzWorld:
    """Alice's place, and a client of hers."""

    client: httpx2.Client
    url: str
    place: Place
    asking: str
    """A thread that waits for a client tool's output."""
    empty: str
    """A thread without items."""
    _postgres: psycopg.Connection[tuple[Any, ...]]
    _redis: redis.Redis
    _template: dict[str, str]

    @property
    def threads(self) -> list[str]:
        return [self.place.thread, self.asking, self.empty]

    @property
    def items(self) -> list[str]:
        place = self.place
        return [place.user, place.assistant, place.widget, place.pending, place.answered]

    def reset(self) -> None:
        """Only the place is there, as it was at first; no run is."""
        with self._postgres.transaction():
            for table in ("runs", "attachments", "threads", "attachment_garbage"):
                self._postgres.execute(f"DELETE FROM {table}")
            for table, rows in self._template.items():
                self._postgres.execute(
                    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE "
                    f"SELECT * FROM json_populate_recordset(NULL::{table}, %s)",
                    [rows],
                )

    def fingerprint(self) -> Fingerprint:
        union = " UNION ALL ".join(
            f"SELECT '{table}', count(*), md5(string_agg({ROW}, '|' ORDER BY {ROW})) FROM {table} t"
            for table in TABLES
        )
        rows = {name: (number, content) for name, number, content in self._postgres.execute(union)}
        keys = frozenset(key for pattern in _RUN_KEYS for key in self._redis.keys(pattern))
        return Fingerprint(rows, keys)

    def requests(self, kinds: Sequence[str] = KINDS, *, strays: bool = True) -> Strategy:
        """Of these types; the ids in them are those of what is there, or mostly so where there may be strays."""
        stray = IDS if strays else st.nothing()
        threads, items = st.sampled_from(self.threads), st.sampled_from(self.items)
        attachments = st.just(self.place.attachment)
        params = params_of(
            st.one_of(st.just(self.place.thread), threads, threads, stray),
            st.one_of(items, items, items, stray),
            st.one_of(attachments, attachments, stray),
        )
        return st.sampled_from(kinds).flatmap(lambda kind: request_of(kind, params[kind]))

    def check(self, response: httpx2.Response, before: Fingerprint) -> None:
        """A refusal is a documented error that has written nothing; what was accepted is whole and can be read."""
        self.check_refusal(response, before)
        if response.status_code != 200:
            return
        if response.headers["content-type"].startswith("text/event-stream"):
            self._check_run(response)
        else:
            assert response.headers["content-type"] == "application/json"
            response.json()
        self.check_readable()

    def check_refusal(self, response: httpx2.Response, before: Fingerprint) -> None:
        assert response.status_code < 500, response.text
        if response.status_code < 400:
            assert response.status_code == 200
            return
        assert_documented_error(response, response.status_code)
        after = self.fingerprint()
        assert after.rows == before.rows
        assert after.keys <= before.keys

    def _check_run(self, response: httpx2.Response) -> None:
        answer = Answer(response.status_code, response.headers, response.content)
        assert answer.end == "completed", response.text
        shown = self.client.get(f"/runs/{answer.run_id}")
        assert (shown.status_code, shown.json()["status"]) == (200, "completed")
        again = self.client.get(f"/runs/{answer.run_id}/events")
        assert again.content == response.content

    def check_readable(self) -> None:
        """What was stored comes back: nothing that was accepted makes its thread unreadable."""
        threads = self.ask("threads.list", limit=100)["data"]
        for thread in threads:
            self.ask("threads.get_by_id", thread_id=thread["id"])
            self.ask("items.list", thread_id=thread["id"], limit=100)

    def ask(self, kind: str, **params: Any) -> Any:
        response = self.client.post("/chatkit", content=json.dumps({"type": kind, "params": params}))
        assert response.status_code == 200, response.text
        return response.json()


@contextmanager
def fuzz_world(settings: Settings, *, workers: int = 1) -> Iterator[FuzzWorld]:
    place, asking, empty = asyncio.run(_furnished(settings))
    with (
        served(settings, workers=workers) as system,
        signed_in(system, ALICE.user_id, ALICE.tenant) as client,
        psycopg.connect(settings.database_url, autocommit=True) as postgres,
        redis.Redis.from_url(settings.redis_url) as cache,
    ):
        template = {
            table: json.dumps([row for (row,) in postgres.execute(f"SELECT row_to_json(t) FROM {table} t")])
            for table in _CONTENT
        }
        yield FuzzWorld(client, system.urls[0], place, asking, empty, postgres, cache, template)


async def _furnished(settings: Settings) -> tuple[Place, str, str]:
    async with Database(settings) as database:
        store = PostgresStore(StoreCalls(database))
        place = await add_place(store, ALICE)
        asking = await add_tool_call(store, ALICE)
        return place, asking, await add_thread(store, ALICE)
