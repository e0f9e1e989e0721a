"""Pages of items and threads: put together they are the whole, whatever their size, order and what is deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from chatkit.store import NotFoundError
from chatkit.types import Page
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.integration.persistence import ALICE, in_run, message, settings_for, thread
from tests.support.examples import examples

MAX_ENTRIES = 12
PAGE_MAX_BYTES = 1024
orders = st.sampled_from(["asc", "desc"])
few = examples(40)


class Store:
    """A PostgresStore with an event loop of its own, as hypothesis calls synchronous tests."""

    def __init__(self, database_url: str) -> None:
        """`bounded` has pages of 1 KiB at most."""
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.database = Database(settings_for(database_url))
        self.run(self._stack.enter_async_context(self.database))
        self.store = PostgresStore(StoreCalls(self.database))
        self.bounded = PostgresStore(StoreCalls(self.database), page_max_bytes=PAGE_MAX_BYTES)

    def run(self, call: Any) -> Any:
        async def awaited() -> Any:
            return await call

        return self._runner.run(awaited())

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture
def opened(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


async def _walk(load: Callable[[str | None, int], Awaitable[Page[Any]]], sizes: list[int]) -> list[str]:
    """All ids, page by page, with the sizes in turn."""
    found: list[str] = []
    after: str | None = None
    for turn in range(10 * MAX_ENTRIES):
        size = sizes[turn % len(sizes)]
        page = await load(after, size)
        ids = [entry.id for entry in page.data]
        assert len(ids) <= size
        assert page.after == (ids[-1] if page.has_more else None)
        found += ids
        if not page.has_more:
            return found
        assert len(ids) == size
        after = page.after
    raise AssertionError("the pages never end")


async def _filled_thread(store: PostgresStore, count: int) -> tuple[str, list[str]]:
    metadata = thread()
    await store.save_thread(metadata, ALICE)
    ids = [f"i{number}" for number in range(count)]
    for item_id in ids:
        await store.add_thread_item(metadata.id, message(metadata.id, item_id), ALICE)
    return metadata.id, ids


@few
@given(
    count=st.integers(0, MAX_ENTRIES),
    sizes=st.lists(st.integers(1, MAX_ENTRIES + 1), min_size=1, max_size=4),
    order=orders,
    rewritten=st.lists(st.integers(0, MAX_ENTRIES - 1), max_size=4),
)
def test_item_pages_are_the_whole_thread(
    opened: Store, count: int, sizes: list[int], order: str, rewritten: list[int]
) -> None:
    async def check() -> None:
        store = opened.store
        thread_id, ids = await _filled_thread(store, count)
        for number in rewritten:
            if number < count:
                await store.save_item(thread_id, message(thread_id, ids[number], "again"), ALICE)

        async def load(after: str | None, size: int) -> Page[Any]:
            return await store.load_thread_items(thread_id, after, size, order, ALICE)

        assert await _walk(load, sizes) == (ids if order == "asc" else ids[::-1])

    opened.run(check())


@few
@given(
    count=st.integers(0, MAX_ENTRIES), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3), order=orders
)
def test_thread_pages_are_all_threads_of_the_owner(
    opened: Store, count: int, sizes: list[int], order: str
) -> None:
    async def check() -> None:
        store = opened.store
        owner = RequestContext(user_id=uuid4().hex, tenant="acme")
        others = [
            RequestContext(user_id=owner.user_id, tenant="globex"),
            RequestContext(user_id=uuid4().hex, tenant="acme"),
        ]
        ids = []
        for _ in range(count):
            metadata = thread()
            await store.save_thread(metadata, owner)
            for other in others:
                await store.save_thread(thread(), other)
            ids.append(metadata.id)

        async def load(after: str | None, size: int) -> Page[Any]:
            return await store.load_threads(size, after, order, owner)

        assert await _walk(load, sizes) == (ids if order == "asc" else ids[::-1])

    opened.run(check())


weights = st.lists(st.integers(0, PAGE_MAX_BYTES + 300), max_size=MAX_ENTRIES)
"""Characters of each entry's text or title: pages of all of them, of some, of one, and of one that is too large."""


@few
@given(weights=weights, size=st.integers(1, MAX_ENTRIES + 1), order=orders)
def test_item_pages_that_end_by_bytes_are_the_whole_thread(
    opened: Store, weights: list[int], size: int, order: str
) -> None:
    async def check() -> None:
        metadata = thread()
        await opened.store.save_thread(metadata, ALICE)
        for number, weight in enumerate(weights):
            item = message(metadata.id, f"i{number}", "x" * weight)
            await opened.store.add_thread_item(metadata.id, item, ALICE)

        async def load(after: str | None) -> Page[Any]:
            return await opened.bounded.load_thread_items(metadata.id, after, size, order, ALICE)

        ids = [f"i{number}" for number in range(len(weights))]
        assert await _walk_by_bytes(load, size) == (ids if order == "asc" else ids[::-1])

    opened.run(check())


@few
@given(weights=weights, size=st.integers(1, MAX_ENTRIES + 1), order=orders)
def test_thread_pages_that_end_by_bytes_are_all_threads_of_the_owner(
    opened: Store, weights: list[int], size: int, order: str
) -> None:
    async def check() -> None:
        owner = RequestContext(user_id=uuid4().hex)
        ids = []
        for weight in weights:
            metadata = thread(title="x" * weight)
            await opened.store.save_thread(metadata, owner)
            ids.append(metadata.id)

        async def load(after: str | None) -> Page[Any]:
            return await opened.bounded.load_threads(size, after, order, owner)

        assert await _walk_by_bytes(load, size) == (ids if order == "asc" else ids[::-1])

    opened.run(check())


async def _walk_by_bytes(load: Callable[[str | None], Awaitable[Page[Any]]], size: int) -> list[str]:
    """All ids. Each page has an entry, is within its bytes or has just one, and ends no earlier than it must."""
    found: list[str] = []
    after: str | None = None
    room: int | None = None
    while True:
        page = await load(after)
        sizes = [len(entry.model_dump_json()) for entry in page.data]
        assert len(sizes) <= size
        assert len(sizes) == 1 or sum(sizes) <= PAGE_MAX_BYTES
        if room is not None:
            assert sizes[0] > room, "the page before had room for this one's first entry"
        found += [entry.id for entry in page.data]
        assert page.after == (found[-1] if page.has_more else None)
        if not page.has_more:
            return found
        room = PAGE_MAX_BYTES - sum(sizes) if len(sizes) < size else None
        after = page.after


@few
@given(data=st.data(), count=st.integers(1, MAX_ENTRIES), size=st.integers(1, 4), order=orders)
def test_deletions_and_additions_between_pages_neither_repeat_nor_skip(
    opened: Store, data: st.DataObject, count: int, size: int, order: str
) -> None:
    """What stays is seen exactly once and in order; a cursor that was deleted is NotFoundError, not a wrong page."""

    async def check() -> None:
        store = opened.store
        thread_id, ids = await _filled_thread(store, count)
        living, news, seen, after = list(ids), list[str](), list[str](), None
        while True:
            try:
                page = await store.load_thread_items(thread_id, after, size, order, ALICE)
            except NotFoundError:
                assert after not in (*living, *news)
                return
            seen += [item.id for item in page.data]
            if not page.has_more:
                break
            after = page.after
            assert after in (*living, *news)
            for victim in data.draw(st.lists(st.sampled_from(ids), max_size=2, unique=True)):
                if victim in living:
                    await store.delete_thread_item(thread_id, victim, ALICE)
                    living.remove(victim)
            if len(news) < 5 and data.draw(st.booleans()):
                news.append(f"new{len(news)}")
                await store.add_thread_item(thread_id, message(thread_id, news[-1]), ALICE)
        ordered = [*ids, *news] if order == "asc" else ids[::-1]
        assert len(seen) == len(set(seen))
        assert seen == [item_id for item_id in ordered if item_id in seen]
        expected = [*living, *news] if order == "asc" else living
        assert set(expected) <= set(seen)

    opened.run(check())


@few
@given(
    writers=st.lists(
        st.sampled_from(["nobody", "run_1", "run_2", "the version before"]), min_size=1, max_size=12
    ),
    anchor=st.none() | st.integers(0, MAX_ENTRIES - 1),
    kept=st.sets(st.integers(0, MAX_ENTRIES - 1), max_size=3),
    moved=st.none() | st.integers(0, MAX_ENTRIES - 1),
)
def test_a_run_takes_back_exactly_what_it_has_added(
    opened: Store, writers: list[str], anchor: int | None, kept: set[int], moved: int | None
) -> None:
    async def check() -> None:
        store, count = opened.store, len(writers)
        thread_id, ids = await _filled_thread(store, count)
        writer_of = dict(zip(ids, writers, strict=True))
        for item_id, writer in writer_of.items():
            await _note_writer(opened.database, thread_id, item_id, writer)
        if moved is not None and moved < count:
            await store.move_to_end(thread_id, ids[moved], ALICE)
            ids.append(ids.pop(moved))
        anchor_id = None if anchor is None else f"i{anchor % count}"
        keep = [f"i{number}" for number in kept]
        after = ids[0 if anchor_id is None else ids.index(anchor_id) + 1 :]
        unknown = [item_id for item_id in after if item_id not in keep]
        gone = [
            item_id
            for item_id in ids
            if writer_of[item_id] == "run_1"
            or (writer_of[item_id] == "the version before" and item_id in unknown)
        ]
        taken = await store.take_back(thread_id, anchor_id, in_run("run_1", 2), keep=keep)
        assert taken.deleted == gone
        page = await store.load_thread_items(thread_id, None, 100, "asc", ALICE)
        assert [item.id for item in page.data] == [item_id for item_id in ids if item_id not in gone]

    opened.run(check())


async def _note_writer(database: Database, thread_id: str, item_id: str, writer: str) -> None:
    run_id = {"nobody": "", "the version before": None}.get(writer, writer)
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE items SET run_id = $3 WHERE thread_id = $1 AND id = $2", thread_id, item_id, run_id
        )
