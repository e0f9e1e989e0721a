"""All items after one, deleted in one statement: nothing is left that deleting them one by one would not leave."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from chatkit.types import FileAttachment
from hypothesis import given
from hypothesis import strategies as st

from relaykit.shared.identity import RequestContext
from tests.integration.persistence import ALICE, in_run, insert_run, message, thread
from tests.properties.test_store_pagination import Store
from tests.support.examples import examples

WRITERS = ("caller", "run", "another run")
items = st.lists(st.sampled_from(WRITERS), min_size=1, max_size=7)
"""Who has added each item of the thread."""
before = st.lists(
    st.tuples(st.sampled_from(["write", "move", "remove"]), st.integers(0, 6), st.sampled_from(WRITERS)),
    max_size=5,
)
"""What happens to items before."""

AT = datetime(2026, 1, 1)
LEFT = """
SELECT 'item', id, seq - (SELECT min(seq) FROM items WHERE thread_id = $1), data::text, run_id, NULL::bigint
FROM items WHERE thread_id = $1
UNION ALL
SELECT 'undo', item_id, undo_items.seq - (SELECT min(seq) FROM items WHERE thread_id = $1), undo_items.data::text,
    writer, written
FROM undo_items JOIN runs ON runs.id = run_id WHERE thread_id = $1
UNION ALL
SELECT 'attachment', attachment_id, 0, NULL, NULL, NULL FROM attachment_threads WHERE thread_id = $1
UNION ALL
SELECT 'thread', NULL, 0, data::text, NULL, NULL FROM threads WHERE id = $1
"""


@pytest.fixture
def opened(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


class World:
    """A thread with a file in it, and two runs that have worked in it."""

    def __init__(self, opened: Store) -> None:
        self.opened, self.store = opened, opened.store
        self.id = uuid4().hex
        self.thread_id = f"thr_{self.id}"

    def who(self, writer: str) -> RequestContext:
        if writer == "caller":
            return RequestContext(user_id=ALICE.user_id, tenant=ALICE.tenant)
        return in_run(f"{writer}_{self.id}", 1)

    async def open(self, writers: list[str], before: list[tuple[str, int, str]]) -> None:
        metadata = thread(self.thread_id)
        metadata.created_at = metadata.created_at.replace(
            year=2026, month=1, day=1, hour=0, minute=0, second=0, microsecond=0
        )
        await self.store.save_thread(metadata, ALICE)
        await insert_run(self.opened.database, f"run_{self.id}", self.thread_id)
        await insert_run(self.opened.database, f"another run_{self.id}", self.thread_id, status="completed")
        file = FileAttachment(id=f"atc_{self.id}", name="a", mime_type="text/plain", thread_id=self.thread_id)
        await self.store.save_attachment(file, ALICE)
        for number, writer in enumerate(writers):
            await self._write(number, "x", self.who(writer))
        for what, number, writer in before:
            item_id, who = f"msg{number}", self.who(writer)
            if not await self.store.has_items(self.thread_id, [item_id], who):
                continue
            if what == "write":
                await self._write(number, f"{what} {writer}", who)
            elif what == "move":
                await self.store.move_to_end(self.thread_id, item_id, who)
            else:
                await self.store.delete_thread_item(self.thread_id, item_id, who)

    async def _write(self, number: int, text: str, who: RequestContext) -> None:
        item = message(self.thread_id, f"msg{number}", text)
        item.created_at = AT
        await self.store.save_item(self.thread_id, item, who)

    async def ids(self) -> list[str]:
        page = await self.store.load_thread_items(self.thread_id, None, 100, "asc", ALICE)
        return [item.id for item in page.data]

    async def left(self) -> list[tuple[Any, ...]]:
        async with self.opened.database.connection() as connection:
            rows = await connection.fetch(LEFT, self.thread_id)
        # what is random in two worlds is given one name
        return sorted(
            (
                tuple(value.replace(self.id, "") if isinstance(value, str) else value for value in row)
                for row in rows
            ),
            key=repr,
        )


@examples(80)
@given(writers=items, before=before, place=st.integers(0, 6), writer=st.sampled_from(WRITERS))
def test_one_statement_leaves_what_many_leave(
    opened: Store, writers: list[str], before: list[tuple[str, int, str]], place: int, writer: str
) -> None:
    async def check() -> None:
        once, many = World(opened), World(opened)
        for world in (once, many):
            await world.open(writers, before)
        ids = await many.ids()
        if not ids:
            return
        place_of = place % len(ids)
        await once.store.delete_newer(once.thread_id, ids[place_of], once.who(writer))
        for item_id in reversed(ids[place_of + 1 :]):
            await many.store.delete_thread_item(many.thread_id, item_id, many.who(writer))
        assert await once.ids() == ids[: place_of + 1]
        assert _comparable(await once.left()) == _comparable(await many.left())
        for world in (once, many):
            await world.store.take_back(world.thread_id, None, world.who("run"), keep=ids)
        assert _comparable(await once.left()) == _comparable(await many.left())

    opened.run(check())


def _comparable(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """`written` is a digest of data that names the thread: whether there is one is what both have alike."""
    return [(*row[:5], row[5] is None) for row in rows]
