"""A page ends by its bytes: no list costs more than PAGE_MAX_BYTES and one entry, however large its entries are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    InferenceOptions,
    ThreadMetadata,
    UserMessageItem,
    UserMessageTextContent,
)

from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.support.servers.protocol_servers import BareServer
from tests.support.system import Caller, running
from tests.support.work_counters import counted_statements

PAGE_MAX_BYTES = 64 * 1024
ALICE = RequestContext(user_id="alice")
ENTRIES = 30
ENTRY_CHARS = 10_000
MANY_PARTS = 3000


@pytest.fixture
def bounded(settings: Settings) -> Settings:
    return settings.model_copy(update={"page_max_bytes": PAGE_MAX_BYTES})


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[PostgresStore]:
    """A store without a bound of its own, as the release before wrote with."""
    async with Database(settings) as database:
        yield PostgresStore(StoreCalls(database))


async def large_thread(store: PostgresStore) -> tuple[str, list[str]]:
    """A thread with items that are larger together than a page, one of them alone, and one of very many parts."""
    thread = ThreadMetadata(id="thr_large", created_at=datetime.now())
    await store.save_thread(thread, ALICE)
    ids = []
    for number in range(ENTRIES):
        common = {"id": f"msg_{number}", "thread_id": thread.id, "created_at": datetime.now()}
        match number:
            case 3:
                contents = [AssistantMessageContent(text="x" * 3 * PAGE_MAX_BYTES)]
            case 7:
                contents = [AssistantMessageContent(text="") for _ in range(MANY_PARTS)]
            case _:
                contents = [AssistantMessageContent(text="x" * ENTRY_CHARS)]
        await store.add_thread_item(thread.id, AssistantMessageItem(content=contents, **common), ALICE)
        ids.append(f"msg_{number}")
    return thread.id, ids


async def pages(alice: Caller, kind: str, **params: Any) -> AsyncIterator[list[dict[str, Any]]]:
    """The pages of a list as a client walks through them, each within its bytes, or of one entry."""
    after = None
    while True:
        response = await alice.post({"type": kind, "params": {**params, "after": after, "limit": 100}})
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(page["data"]) == 1 or len(response.content) <= PAGE_MAX_BYTES
        yield page["data"]
        if not page["has_more"]:
            return
        after = page["after"]
        assert after == page["data"][-1]["id"]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_client_gets_all_items_of_a_thread_in_pages_that_end_by_bytes(
    bounded: Settings, store: PostgresStore, order: str
) -> None:
    thread_id, ids = await large_thread(store)
    async with running(bounded, lambda: BareServer(None), workers=0) as system:
        alice = await system.caller()
        found = [page async for page in pages(alice, "items.list", thread_id=thread_id, order=order)]
        assert [item["id"] for page in found for item in page] == (ids if order == "asc" else ids[::-1])
        assert len(found) > 4


async def test_a_client_gets_all_threads_in_pages_that_end_by_bytes(
    bounded: Settings, store: PostgresStore
) -> None:
    ids = [f"thr_{number}" for number in range(ENTRIES)]
    for thread_id in ids:
        title = "x" * (3 * PAGE_MAX_BYTES if thread_id == "thr_3" else ENTRY_CHARS)
        thread = ThreadMetadata(id=thread_id, created_at=datetime.now(), title=title)
        await store.save_thread(thread, ALICE)
    async with running(bounded, lambda: BareServer(None), workers=0) as system:
        found = [page async for page in pages(await system.caller(), "threads.list")]
        assert [thread["id"] for page in found for thread in page] == ids[::-1]
        assert len(found) > 4


async def test_a_thread_comes_with_a_first_page_of_items_that_ends_by_bytes(
    bounded: Settings, store: PostgresStore
) -> None:
    """And its cursor goes on in `items.list`."""
    thread_id, ids = await large_thread(store)
    async with running(bounded, lambda: BareServer(None), workers=0) as system:
        alice = await system.caller()
        response = await alice.post({"type": "threads.get_by_id", "params": {"thread_id": thread_id}})
        assert len(response.content) <= PAGE_MAX_BYTES + 1000
        items = response.json()["items"]
        assert items["has_more"]
        request = {"thread_id": thread_id, "order": "asc", "after": items["after"], "limit": 1}
        page = await alice.ask({"type": "items.list", "params": request})
        first = [item["id"] for item in [*items["data"], *page["data"]]]
        assert first == ids[: len(first)]
        assert len(first) > 1


async def test_a_retry_deletes_what_is_newer_without_reading_it(
    bounded: Settings, store: PostgresStore
) -> None:
    """However large that is: `threads.retry_after_item` reads the one item that it names."""
    thread_id, ids = await large_thread(store)
    question = UserMessageItem(
        id="msg_question",
        thread_id=thread_id,
        created_at=datetime.now(),
        content=[UserMessageTextContent(text="?")],
        inference_options=InferenceOptions(),
    )
    await store.add_thread_item(thread_id, question, ALICE)
    for number in range(5):
        text = AssistantMessageContent(text="x" * ENTRY_CHARS)
        common = {"id": f"new_{number}", "thread_id": thread_id, "created_at": datetime.now()}
        await store.add_thread_item(thread_id, AssistantMessageItem(content=[text], **common), ALICE)
    with counted_statements() as statements:
        async with running(bounded, lambda: BareServer(None), workers=0) as system:
            alice = await system.caller()
            statements.clear()
            request = {"thread_id": thread_id, "item_id": question.id}
            async with alice.open_stream({"type": "threads.retry_after_item", "params": request}) as response:
                assert response.status_code == 200
            reads = dict(statements)
    reads = {sql: count for sql, count in reads.items() if sql.startswith("SELECT data FROM items")}
    assert sum(reads.values()) == 1, reads
    assert not any("row_number()" in sql for sql in statements), statements
    left = await store.load_thread_items(thread_id, None, 100, "asc", ALICE)
    walked = [item.id for item in left.data]
    while left.has_more:
        left = await store.load_thread_items(thread_id, left.after, 100, "asc", ALICE)
        walked += [item.id for item in left.data]
    assert walked == [*ids, question.id]


async def test_feedback_reads_none_of_the_items_that_it_names(
    bounded: Settings, store: PostgresStore
) -> None:
    class Server(BareServer):
        async def add_feedback(
            self, thread_id: str, item_ids: list[str], feedback: Any, context: Any
        ) -> None:
            assert feedback == "positive"

    thread_id, ids = await large_thread(store)
    with counted_statements() as statements:
        async with running(bounded, lambda: Server(None), workers=0) as system:
            alice = await system.caller()
            statements.clear()
            params = {"thread_id": thread_id, "item_ids": ids, "kind": "positive"}
            await alice.ask({"type": "items.feedback", "params": params})
            assert sum(statements.values()) == 3, dict(statements)  # the thread, the ids, and what is noted
            params["item_ids"] = [*ids, "msg_absent"]
            response = await alice.post({"type": "items.feedback", "params": params})
            assert (response.status_code, response.json()["error"]["code"]) == (404, "item_not_found")
