"""What a user does to a thread while `relaykit import-threads` brings it up to date: neither of the two is lost.

Each test holds the import, or the user's request, behind a lock of PostgreSQL until both are under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from chatkit.types import FileAttachment

from relaykit import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.support.sites.old_site import OldSite, answered, said
from tests.support.system import wait_until

pytestmark = pytest.mark.long

ALICE = RequestContext(user_id="alice")
FILE = FileAttachment(id="atc_1", name="notes.txt", mime_type="text/plain")


@pytest.fixture
def old(tmp_path: Path, settings: Settings) -> OldSite:
    return OldSite(tmp_path, settings)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[PostgresStore]:
    """Our store, as an API and a worker have it."""
    async with Database(settings) as database:
        yield PostgresStore(StoreCalls(database))


@pytest.fixture
def holder(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that holds what the test locks in it, until it commits."""
    with psycopg.connect(settings.database_url) as connection:
        yield connection
        connection.rollback()


async def waiting(old: OldSite, count: int, what: str) -> None:
    """Until so many sessions wait for a lock."""
    query = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' HAVING count(*) = %s"""
    await wait_until(what, lambda: old.sql(query, count))


async def imported(old: OldSite, source: str = "shop:store") -> None:
    """A thread of three items, which has changed in the other store since."""
    items = [said("thr_a", "m1", "first", [FILE]), answered("thr_a", "m2", "second")]
    await old.write("alice", "thr_a", *items, answered("thr_a", "m3", "third"))
    old.run(source, "--user", "alice")
    await old.store.save_item("thr_a", answered("thr_a", "m3", "edited"), ALICE)


async def ended(process: Any) -> tuple[int, str, str]:
    out, complaints = await asyncio.to_thread(process.communicate, timeout=120)
    return process.returncode, out, complaints


async def test_an_item_that_is_deleted_before_the_import_compares_stays_deleted(
    old: OldSite, holder: psycopg.Connection[Any]
) -> None:
    """The import waits for the deletion, and finds that the thread has changed on both sides."""
    await imported(old)
    holder.execute("DELETE FROM items WHERE thread_id = 'thr_a' AND id = 'm2'")
    process = old.start("shop:store", "--user", "alice")
    try:
        await waiting(old, 1, "the import waits for the deletion")
        holder.commit()
        status, out, complaints = await ended(process)
    finally:
        process.kill()
    assert (status, out) == (1, "1 threads read; done: 1 changed in both; items: 3\n"), complaints
    assert old.texts("thr_a") == ["first", "third"]


@pytest.mark.parametrize("source", {"own names": "shop:store", "one name for all": "shop:alike"}.values())
async def test_an_item_that_is_deleted_while_the_import_writes_is_deleted_after_it(
    old: OldSite, store: PostgresStore, holder: psycopg.Connection[Any], source: str
) -> None:
    """And the next import leaves the thread as it is here, because it has gone on here."""
    await imported(old, source)
    [(item_id,)] = old.sql("SELECT id FROM items WHERE data #>> '{content,0,text}' = 'second'")
    holder.execute("SELECT FROM attachments WHERE id = 'atc_1' FOR UPDATE")
    process = old.start(source, "--user", "alice")
    try:
        await waiting(old, 1, "the import waits for the file of the first message")
        deletion = asyncio.create_task(store.delete_thread_item("thr_a", item_id, ALICE))
        await waiting(old, 2, "the deletion waits for the import")
        holder.commit()
        status, out, complaints = await ended(process)
    finally:
        process.kill()
    await deletion
    assert (status, "1 updated" in out) == (0, True), (out, complaints)
    assert old.texts("thr_a") == ["first", "edited"]
    assert "1 gone on here" in old.run(source, "--user", "alice")[0][0]
    assert old.texts("thr_a") == ["first", "edited"]


async def test_an_item_that_is_written_while_the_import_writes_comes_after_it(
    old: OldSite, store: PostgresStore, holder: psycopg.Connection[Any]
) -> None:
    """A new one stands behind the thread's, one that is there already keeps the words of the later writer."""
    await imported(old)
    holder.execute("SELECT FROM attachments WHERE id = 'atc_1' FOR UPDATE")
    process = old.start("shop:store", "--user", "alice")
    try:
        await waiting(old, 1, "the import waits for the file of the first message")
        writes = [
            asyncio.create_task(store.add_thread_item("thr_a", answered("thr_a", "m4", "fourth"), ALICE)),
            asyncio.create_task(store.save_item("thr_a", answered("thr_a", "m2", "mine"), ALICE)),
        ]
        await waiting(old, 3, "both writers wait for the import")
        holder.commit()
        status, out, complaints = await ended(process)
    finally:
        process.kill()
    await asyncio.gather(*writes)
    assert (status, "1 updated" in out) == (0, True), (out, complaints)
    assert old.texts("thr_a") == ["first", "mine", "edited", "fourth"]


async def test_an_item_that_is_gone_in_the_other_store_goes_here_and_the_rest_keep_their_order(
    old: OldSite,
) -> None:
    """Also where the other store has them in another order than before."""
    await imported(old)
    for name in ("m2", "m3"):
        await old.store.delete_thread_item("thr_a", name, ALICE)
    await old.store.save_item("thr_a", answered("thr_a", "m5", "fifth"), ALICE)
    await old.store.save_item("thr_a", answered("thr_a", "m2", "second"), ALICE)
    assert "1 updated" in old.run("shop:store", "--user", "alice")[0][0]
    assert old.texts("thr_a") == ["first", "fifth", "second"]
