"""What Relaykit needs of any store: our store's own methods, and the SDK's calls in their place, do the same."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from chatkit.store import NotFoundError

from relaykit.shared.postgres.database import Database
from relaykit.shared.site.store_extras import ForeignStoreExtras, StoreExtras
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.integration.persistence import ALICE, message, settings_for, thread
from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.servers.user_servers import SqliteStore

ITEMS = [f"msg_{number}" for number in range(60)]
"""More than a page of those that the SDK reads."""


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgresStore]:
    async with Database(settings_for(database_url)) as database:
        yield PostgresStore(StoreCalls(database))


@pytest.fixture(params=["ours", "foreign"])
def extras(request: pytest.FixtureRequest, store: PostgresStore) -> StoreExtras:
    """Those of our store, and those that know of the same store what the SDK's `Store` tells."""
    return store if request.param == "ours" else ForeignStoreExtras(ScriptedAnswers(store))


@pytest.fixture
async def thread_id(store: PostgresStore) -> str:
    metadata = thread()
    await store.save_thread(metadata, ALICE)
    for item_id in ITEMS:
        await store.add_thread_item(metadata.id, message(metadata.id, item_id), ALICE)
    return metadata.id


async def _left(store: PostgresStore, thread_id: str) -> list[str]:
    return [item.id for item in (await store.load_thread_items(thread_id, None, 1000, "asc", ALICE)).data]


async def test_items_are_there_where_all_of_them_are(extras: StoreExtras, thread_id: str) -> None:
    assert await extras.has_items(thread_id, [], ALICE)
    assert await extras.has_items(thread_id, ["msg_7", "msg_0", "msg_7"], ALICE)
    assert not await extras.has_items(thread_id, ["msg_7", "msg_nowhere"], ALICE)


async def test_what_is_newer_than_an_item_is_deleted(
    extras: StoreExtras, store: PostgresStore, thread_id: str
) -> None:
    await extras.delete_newer(thread_id, "msg_3", ALICE)
    assert await _left(store, thread_id) == ITEMS[:4]
    await extras.delete_newer(thread_id, "msg_3", ALICE)
    assert await _left(store, thread_id) == ITEMS[:4]


async def test_nothing_is_deleted_where_the_item_is_not_in_the_thread(
    extras: StoreExtras, store: PostgresStore, thread_id: str
) -> None:
    with pytest.raises(NotFoundError):
        await extras.delete_newer(thread_id, "msg_nowhere", ALICE)
    assert await _left(store, thread_id) == ITEMS


async def test_an_attachment_of_no_message_is_not_sent(extras: StoreExtras) -> None:
    assert not await extras.is_attachment_sent("atc_1", ALICE)


async def test_our_store_moves_an_item_and_a_foreign_one_keeps_its_order(
    extras: StoreExtras, store: PostgresStore, thread_id: str
) -> None:
    await extras.move_to_end(thread_id, "msg_3", ALICE)
    moved = [*ITEMS[:3], *ITEMS[4:], "msg_3"]
    assert await _left(store, thread_id) == (moved if extras is store else ITEMS)


def test_a_loaded_server_has_those_of_its_store(store: PostgresStore) -> None:
    ours = UserServer(ScriptedAnswers(store), lambda context: context)
    foreign = UserServer(ScriptedAnswers(SqliteStore(":memory:")), lambda context: context)
    assert (ours.our_store, ours.extras) == (store, store)
    assert foreign.our_store is None
    assert isinstance(foreign.extras, ForeignStoreExtras)
