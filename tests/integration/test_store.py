"""PostgresStore: what is written comes back equal, in order, and only to its owner."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any, get_args

import pytest
from chatkit.store import NotFoundError, Store, StoreItemType, default_generate_id
from chatkit.types import (
    ActiveStatus,
    ClosedStatus,
    FileAttachment,
    LockedStatus,
    Page,
    Thread,
    ThreadItem,
)

from relaykit.api.thread_marks import ThreadMarks
from relaykit.shared.errors import Fenced
from relaykit.shared.identity import RequestContext, acting_as
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.run import Kind, Run, Status
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import MAX_PAGE_SIZE, PostgresStore
from relaykit.worker.execution.attempt_rows import AttemptRuns
from tests.integration.persistence import (
    ALICE,
    NOT_ALICE,
    TEXTS,
    TIMES,
    every_item,
    in_run,
    insert_run,
    message,
    outside,
    settings_for,
    thread,
    until_someone_waits_for_a_lock,
)
from tests.support.system import WAIT_SECONDS

pytestmark = pytest.mark.filterwarnings("ignore:Direct usage of named widget classes:DeprecationWarning")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(settings_for(database_url)) as database:
        yield database


@pytest.fixture
def store(database: Database) -> PostgresStore:
    return PostgresStore(StoreCalls(database))


async def _thread_of(store: PostgresStore, count: int, **changes: Any) -> tuple[str, list[str]]:
    metadata = thread(**changes)
    await store.save_thread(metadata, ALICE)
    ids = [f"msg_{number}" for number in range(count)]
    for item_id in ids:
        await store.add_thread_item(metadata.id, message(metadata.id, item_id), ALICE)
    return metadata.id, ids


async def _ids(store: PostgresStore, thread_id: str, order: str = "asc") -> list[str]:
    page = await store.load_thread_items(thread_id, None, MAX_PAGE_SIZE, order, ALICE)
    assert not page.has_more
    return [item.id for item in page.data]


class TestRoundTrip:
    @pytest.mark.parametrize("created_at", TIMES.values(), ids=TIMES)
    @pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
    async def test_every_kind_of_item_comes_back_equal(
        self, store: PostgresStore, text: str, created_at: datetime
    ) -> None:
        metadata = thread()
        await store.save_thread(metadata, ALICE)
        items = every_item(metadata.id, text, created_at)
        kinds = {kind.model_fields["type"].default for kind in get_args(get_args(ThreadItem)[0])}
        assert {item.type for item in items} == kinds
        for item in items:
            await store.add_thread_item(metadata.id, item, ALICE)
        page = await store.load_thread_items(metadata.id, None, 100, "asc", ALICE)
        assert page.data == items
        assert [await store.load_item(metadata.id, item.id, ALICE) for item in items] == items
        assert [item.created_at.utcoffset() for item in page.data] == [created_at.utcoffset()] * len(items)

    @pytest.mark.parametrize("created_at", TIMES.values(), ids=TIMES)
    @pytest.mark.parametrize(
        "status",
        [ActiveStatus(), LockedStatus(reason="r\x00"), ClosedStatus(reason=None)],
        ids=lambda s: s.type,
    )
    async def test_a_thread_comes_back_equal(
        self, store: PostgresStore, status: Any, created_at: datetime
    ) -> None:
        metadata = thread(
            title="Ü \x00",
            status=status,
            created_at=created_at,
            allowed_image_domains=["example.com"],
            metadata={"previous_response_id": "resp_1", "nested": {"list": [1, None, "\x00"]}},
        )
        await store.save_thread(metadata, ALICE)
        assert await store.load_thread(metadata.id, ALICE) == metadata
        assert (await store.load_threads(5, None, "asc", ALICE)).data == [metadata]

    async def test_a_thread_given_with_items_is_stored_without_them(self, store: PostgresStore) -> None:
        metadata = thread(title="t")
        full = Thread(**metadata.model_dump(), items=Page(data=[message(metadata.id)]))
        await store.save_thread(full, ALICE)
        assert await store.load_thread(metadata.id, ALICE) == metadata
        assert await _ids(store, metadata.id) == []

    async def test_an_attachment_comes_back_equal_and_moves_into_its_thread(
        self, store: PostgresStore
    ) -> None:
        attachment = FileAttachment(id="atc_1", name="ü\x00", mime_type="text/plain", metadata={"k": "v"})
        await store.save_attachment(attachment, ALICE)
        assert await store.load_attachment("atc_1", ALICE) == attachment
        thread_id, _ = await _thread_of(store, 0)
        sent = attachment.model_copy(update={"thread_id": thread_id})
        await store.save_attachment(sent, ALICE)
        assert await store.load_attachment("atc_1", ALICE) == sent
        await store.delete_attachment("atc_1", ALICE)
        with pytest.raises(NotFoundError):
            await store.load_attachment("atc_1", ALICE)

    def test_generated_ids_have_the_prefix_of_the_sdk_and_128_random_bits(self, store: PostgresStore) -> None:
        for kind in get_args(StoreItemType):
            generated = store.generate_item_id(kind, thread(), ALICE)
            prefix, _, random = generated.partition("_")
            assert prefix == default_generate_id(kind).partition("_")[0]
            assert len(bytes.fromhex(random)) == 16
        assert store.generate_thread_id(ALICE).startswith("thr_")
        assert len({store.generate_thread_id(ALICE) for _ in range(100)}) == 100


class TestUpsert:
    @pytest.mark.parametrize("write", ["add_thread_item", "save_item"])
    async def test_writing_an_item_again_changes_it_and_keeps_its_place(
        self, store: PostgresStore, write: str
    ) -> None:
        thread_id, ids = await _thread_of(store, 3)
        changed = message(thread_id, ids[1], "changed")
        await getattr(store, write)(thread_id, changed, ALICE)
        assert await store.load_item(thread_id, ids[1], ALICE) == changed
        assert await _ids(store, thread_id) == ids

    async def test_save_item_writes_what_is_not_there(self, store: PostgresStore) -> None:
        thread_id, _ = await _thread_of(store, 0)
        await store.save_item(thread_id, message(thread_id, "new"), ALICE)
        assert await _ids(store, thread_id) == ["new"]

    async def test_writing_a_thread_again_changes_it_and_keeps_its_place(self, store: PostgresStore) -> None:
        first, second = thread(), thread()
        for metadata in (first, second):
            await store.save_thread(metadata, ALICE)
        first.title = "changed"
        await store.save_thread(first, ALICE)
        assert (await store.load_threads(5, None, "asc", ALICE)).data == [first, second]

    async def test_two_threads_may_hold_items_of_the_same_id(self, store: PostgresStore) -> None:
        one, _ = await _thread_of(store, 0)
        other, _ = await _thread_of(store, 0)
        await store.add_thread_item(one, message(one, "__fake_id__", "one"), ALICE)
        await store.add_thread_item(other, message(other, "__fake_id__", "other"), ALICE)
        await store.delete_thread_item(one, "__fake_id__", ALICE)
        assert (await store.load_item(other, "__fake_id__", ALICE)).content[0].text == "other"
        assert await _ids(store, one) == []

    async def test_racing_writers_of_one_item_leave_one_whole_item(self, store: PostgresStore) -> None:
        thread_id, _ = await _thread_of(store, 2)
        texts = [f"text {number} " * 100 for number in range(20)]
        await asyncio.gather(
            *(store.add_thread_item(thread_id, message(thread_id, "same", text), ALICE) for text in texts)
        )
        assert await _ids(store, thread_id) == ["msg_0", "msg_1", "same"]
        assert (await store.load_item(thread_id, "same", ALICE)).content[0].text in texts

    async def test_racing_writers_of_one_new_thread_leave_one_thread(self, store: PostgresStore) -> None:
        titles = [f"title {number}" for number in range(20)]
        await asyncio.gather(*(store.save_thread(thread("thr_same", title=title), ALICE) for title in titles))
        page = await store.load_threads(5, None, "desc", ALICE)
        assert [found.id for found in page.data] == ["thr_same"]
        assert page.data[0].title in titles

    async def test_when_two_owners_race_for_one_thread_id_one_gets_it_and_keeps_it(
        self, store: PostgresStore
    ) -> None:
        bob = NOT_ALICE["another user of the tenant"]

        async def claim(caller: RequestContext) -> RequestContext | None:
            try:
                await store.save_thread(thread("thr_same", title=caller.user_id), caller)
            except NotFoundError:
                return None
            return caller

        for _ in range(10):
            winners = [won for won in await asyncio.gather(claim(ALICE), claim(bob)) if won]
            assert len(winners) == 1
            assert (await store.load_thread("thr_same", winners[0])).title == winners[0].user_id
            await store.delete_thread("thr_same", winners[0])

    async def test_a_reader_never_misses_an_item_that_commits_behind_its_cursor(
        self, database: Database, store: PostgresStore
    ) -> None:
        """The later of two writers waits for the earlier: no item commits below one that has been read."""
        thread_id, _ = await _thread_of(store, 0)
        async with database.transaction():
            await store.add_thread_item(thread_id, message(thread_id, "earlier"), ALICE)
            later = asyncio.create_task(
                outside(store.add_thread_item, thread_id, message(thread_id, "later"), ALICE)
            )
            await until_someone_waits_for_a_lock(database)
            assert not later.done()
        await later
        assert await _ids(store, thread_id) == ["earlier", "later"]


class TestAbsent:
    """What is absent, and what is someone else's, is the same NotFoundError, and nothing is written."""

    CALLS: dict[str, Callable[[PostgresStore, RequestContext, str, str], Awaitable[Any]]] = {
        "load_thread": lambda store, who, thread_id, item_id: store.load_thread(thread_id, who),
        "delete_thread": lambda store, who, thread_id, item_id: store.delete_thread(thread_id, who),
        "load_thread_items asc": lambda store, who, thread_id, item_id: store.load_thread_items(
            thread_id, None, 5, "asc", who
        ),
        "load_thread_items desc": lambda store, who, thread_id, item_id: store.load_thread_items(
            thread_id, None, 5, "desc", who
        ),
        "load_thread_items asc after": lambda store, who, thread_id, item_id: store.load_thread_items(
            thread_id, item_id, 5, "asc", who
        ),
        "load_thread_items desc after": lambda store, who, thread_id, item_id: store.load_thread_items(
            thread_id, item_id, 5, "desc", who
        ),
        "load_threads asc after": lambda store, who, thread_id, item_id: store.load_threads(
            5, thread_id, "asc", who
        ),
        "load_threads desc after": lambda store, who, thread_id, item_id: store.load_threads(
            5, thread_id, "desc", who
        ),
        "add_thread_item": lambda store, who, thread_id, item_id: store.add_thread_item(
            thread_id, message(thread_id, item_id, "written"), who
        ),
        "save_item": lambda store, who, thread_id, item_id: store.save_item(
            thread_id, message(thread_id, item_id, "written"), who
        ),
        "load_item": lambda store, who, thread_id, item_id: store.load_item(thread_id, item_id, who),
        "delete_thread_item": lambda store, who, thread_id, item_id: store.delete_thread_item(
            thread_id, item_id, who
        ),
        "move_to_end": lambda store, who, thread_id, item_id: store.move_to_end(thread_id, item_id, who),
        "delete_newer": lambda store, who, thread_id, item_id: store.delete_newer(thread_id, item_id, who),
        "lock_thread": lambda store, who, thread_id, item_id: store.lock_thread(thread_id, who),
        "take_back": lambda store, who, thread_id, item_id: store.take_back(thread_id, None, who),
        "load_attachment": lambda store, who, thread_id, item_id: store.load_attachment("atc_1", who),
    }
    FOREIGN_WRITES: dict[str, Callable[[PostgresStore, RequestContext, str], Awaitable[Any]]] = {
        "save_thread": lambda store, who, thread_id: store.save_thread(thread(thread_id, title="taken"), who),
        "save_attachment": lambda store, who, thread_id: store.save_attachment(
            FileAttachment(id="atc_1", name="taken", mime_type="text/plain"), who
        ),
        "save_attachment into the thread": lambda store, who, thread_id: store.save_attachment(
            FileAttachment(id="atc_2", name="new", mime_type="text/plain", thread_id=thread_id), who
        ),
    }
    ANSWERS_WITHOUT_ERROR = frozenset(
        {
            "load_threads",
            "load_threads_by_use",
            "delete_attachment",
            "is_attachment_sent",
            "has_items",
            "generate_thread_id",
            "generate_item_id",
        }
    )

    def test_every_method_of_the_store_stands_here(self) -> None:
        public = {
            name
            for name, _ in inspect.getmembers(PostgresStore, inspect.isfunction)
            if not name.startswith("_")
        }
        assert {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if name[0] != "_"} <= public
        listed = {name.split(" ")[0] for name in (*self.CALLS, *self.FOREIGN_WRITES)}
        assert listed | self.ANSWERS_WITHOUT_ERROR == public

    @pytest.mark.parametrize("who", NOT_ALICE.values(), ids=NOT_ALICE)
    async def test_someone_elses_thing_is_not_found_and_not_touched(
        self, store: PostgresStore, who: RequestContext
    ) -> None:
        own = [thread(), thread()]
        await store.save_thread(own[0], who)
        thread_id, ids = await _thread_of(store, 3, title="Alice's")
        await store.save_thread(own[1], who)
        attachment = FileAttachment(id="atc_1", name="n", mime_type="text/plain", thread_id=thread_id)
        await store.save_attachment(attachment, ALICE)
        before = await store.load_thread_items(thread_id, None, 5, "asc", ALICE)
        for call in self.CALLS.values():
            with pytest.raises(NotFoundError):
                await call(store, who, thread_id, ids[1])
        for write in self.FOREIGN_WRITES.values():
            with pytest.raises(NotFoundError):
                await write(store, who, thread_id)
        await store.delete_attachment("atc_1", who)
        assert not await store.has_items(thread_id, ids[:1], who)
        for order, expected in (("asc", own), ("desc", own[::-1])):
            assert (await store.load_threads(5, None, order, who)).data == expected
            assert (await store.load_threads(5, expected[0].id, order, who)).data == expected[1:]
        assert (await store.load_thread(thread_id, ALICE)).title == "Alice's"
        assert await store.load_thread_items(thread_id, None, 5, "asc", ALICE) == before
        assert await store.load_attachment("atc_1", ALICE) == attachment
        with pytest.raises(NotFoundError):
            await store.load_attachment("atc_2", who)

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    @pytest.mark.parametrize("thread_id", ["thr_absent", "thr_\x00", ""])
    async def test_an_absent_thing_is_not_found(
        self, store: PostgresStore, call: Callable[..., Awaitable[Any]], thread_id: str
    ) -> None:
        await _thread_of(store, 1)
        with pytest.raises(NotFoundError):
            await call(store, ALICE, thread_id, "msg_absent")

    async def test_an_absent_item_of_an_own_thread(self, store: PostgresStore) -> None:
        thread_id, ids = await _thread_of(store, 2)
        with pytest.raises(NotFoundError):
            await store.load_item(thread_id, "msg_absent", ALICE)
        with pytest.raises(NotFoundError):
            await store.load_thread_items(thread_id, "msg_absent", 5, "asc", ALICE)
        with pytest.raises(NotFoundError):
            await store.move_to_end(thread_id, "msg_absent", ALICE)
        assert await _ids(store, thread_id) == ids

    async def test_items_are_there_where_all_of_them_are(self, store: PostgresStore) -> None:
        thread_id, ids = await _thread_of(store, 3)
        other_id, _ = await _thread_of(store, 1)
        await store.add_thread_item(other_id, message(other_id, "msg_other"), ALICE)
        assert await store.has_items(thread_id, [], ALICE)
        assert await store.has_items(thread_id, [*ids, *ids], ALICE)
        for absent in ("msg_absent", "msg_other"):
            assert not await store.has_items(thread_id, [*ids, absent], ALICE)

    async def test_deleting_an_absent_item_is_quiet(self, store: PostgresStore) -> None:
        """The SDK deletes what a `thread.item.removed` names, also an item that was only ever streamed."""
        thread_id, ids = await _thread_of(store, 1)
        await store.delete_thread_item(thread_id, "msg_never_stored", ALICE)
        assert await _ids(store, thread_id) == ids

    async def test_a_cursor_of_another_thread_of_the_same_owner_is_not_found(
        self, store: PostgresStore
    ) -> None:
        one, _ = await _thread_of(store, 1)
        other, _ = await _thread_of(store, 0)
        await store.add_thread_item(other, message(other, "msg_other"), ALICE)
        with pytest.raises(NotFoundError):
            await store.load_thread_items(one, "msg_other", 5, "asc", ALICE)

    async def test_the_owner_behind_a_foreign_context_is_the_tasks(self, store: PostgresStore) -> None:
        thread_id, ids = await _thread_of(store, 1)
        with pytest.raises(LookupError):
            await store.load_thread(thread_id, {"a context": "of the user's"})
        with acting_as(ALICE):
            assert (await store.load_thread(thread_id, {"a context": "of the user's"})).id == thread_id
            with acting_as(NOT_ALICE["another user of the tenant"]), pytest.raises(NotFoundError):
                await store.load_item(thread_id, ids[0], None)
            assert (await store.load_item(thread_id, ids[0], None)).id == ids[0]
        with pytest.raises(LookupError):
            await store.load_item(thread_id, ids[0], None)


class TestPages:
    @pytest.mark.parametrize(("limit", "expected"), [(-3, 1), (0, 1), (1, 1), (3, 3), (10**30, 5)])
    async def test_a_page_holds_at_least_one_and_at_most_what_there_is(
        self, store: PostgresStore, limit: int, expected: int
    ) -> None:
        thread_id, ids = await _thread_of(store, 5)
        page = await store.load_thread_items(thread_id, None, limit, "asc", ALICE)
        assert [item.id for item in page.data] == ids[:expected]
        assert page.has_more is (expected < 5)
        assert page.after == (ids[expected - 1] if expected < 5 else None)

    async def test_a_page_that_ends_exactly_at_the_end_has_no_more(self, store: PostgresStore) -> None:
        thread_id, ids = await _thread_of(store, 4)
        page = await store.load_thread_items(thread_id, ids[1], 2, "asc", ALICE)
        assert ([item.id for item in page.data], page.has_more, page.after) == (ids[2:], False, None)
        beyond = await store.load_thread_items(thread_id, ids[3], 2, "asc", ALICE)
        assert (beyond.data, beyond.has_more, beyond.after) == ([], False, None)

    async def test_an_empty_thread_is_an_empty_page(self, store: PostgresStore) -> None:
        thread_id, _ = await _thread_of(store, 0)
        assert await store.load_thread_items(thread_id, None, 5, "desc", ALICE) == Page()

    async def test_an_order_that_does_not_exist_is_refused(self, store: PostgresStore) -> None:
        thread_id, _ = await _thread_of(store, 1)
        with pytest.raises(ValueError, match="order"):
            await store.load_thread_items(thread_id, None, 5, "sideways", ALICE)

    async def test_order_is_that_of_writing_not_of_clocks(self, store: PostgresStore) -> None:
        thread_id, _ = await _thread_of(store, 0)
        for day, item_id in ((3, "first"), (1, "second"), (2, "third")):
            item = message(thread_id, item_id).model_copy(update={"created_at": datetime(2026, 1, day)})
            await store.add_thread_item(thread_id, item, ALICE)
        assert await _ids(store, thread_id) == ["first", "second", "third"]
        assert await _ids(store, thread_id, "desc") == ["third", "second", "first"]


def outsider() -> RequestContext:
    """Another request of Alice's."""
    return RequestContext(user_id=ALICE.user_id, tenant=ALICE.tenant)


async def _remove_and_write(
    store: PostgresStore, who: RequestContext, thread_id: str, ids: list[str]
) -> None:
    await store.delete_thread_item(thread_id, ids[1], who)
    await store.add_thread_item(thread_id, message(thread_id, ids[1], "again"), who)


async def _move_and_change(store: PostgresStore, who: RequestContext, thread_id: str, ids: list[str]) -> None:
    await store.move_to_end(thread_id, ids[1], who)
    await store.save_item(thread_id, message(thread_id, ids[1], "changed"), who)


CHANGES: dict[str, Callable[[PostgresStore, RequestContext, str, list[str]], Awaitable[Any]]] = {
    "replaced": lambda store, who, thread_id, ids: store.save_item(
        thread_id, message(thread_id, ids[1], "\x00"), who
    ),
    "removed": lambda store, who, thread_id, ids: store.delete_thread_item(thread_id, ids[1], who),
    "all after one removed": lambda store, who, thread_id, ids: store.delete_newer(thread_id, ids[0], who),
    "moved": lambda store, who, thread_id, ids: store.move_to_end(thread_id, ids[1], who),
    "removed and written again": _remove_and_write,
    "moved and changed": _move_and_change,
}
LEAVING = {name: CHANGES[name] for name in ("replaced", "moved", "moved and changed")}
"""After which the item that has changed is the one that was there before."""


def _run(thread_id: str = "") -> Run:
    empty: dict[str, Any] = {"token": None, "error": None, "request_hash": None}
    return Run(
        id="run_1",
        owner=ALICE.owner,
        thread_id=thread_id,
        kind=Kind.CREATE,
        status=Status.RUNNING,
        attempt=1,
        handed_back=0,
        anchor_item_id=None,
        input={},
        context={},
        cancel_requested=False,
        **empty,
    )


async def _cancelled_in_the_queue(database: Database) -> None:
    await AttemptRuns(database).hand_back(_run())
    await AttemptRuns(database).request_cancel(_run())


async def _deleted(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("DELETE FROM runs WHERE id = 'run_1'")


ENDINGS: dict[str, Callable[[Database], Awaitable[Any]]] = {
    "alone": lambda database: AttemptRuns(database).finish_alone(_run(), Status.COMPLETED),
    "before one that waits": lambda database: AttemptRuns(database).finish(_run(), Status.FAILED, "internal"),
    "cancelled after it was handed back": _cancelled_in_the_queue,
    "by the release before, and its row deleted later": _deleted,
}


class TestRunHelpers:
    async def test_a_run_takes_back_what_it_has_added_and_nothing_else(
        self, database: Database, store: PostgresStore
    ) -> None:
        """What somebody else added meanwhile stays."""
        thread_id, ids = await _thread_of(store, 2)
        await insert_run(database, "run_1", thread_id)
        writer = in_run("run_1", 1)
        await store.add_thread_item(thread_id, message(thread_id, "first"), writer)
        await store.add_thread_item(thread_id, message(thread_id, "of the user"), ALICE)
        await store.add_thread_item(thread_id, message(thread_id, "second"), writer)
        await store.save_item(thread_id, message(thread_id, "first", "again"), ALICE)
        assert (await store.take_back(thread_id, ids[1], in_run("run_2", 1))).deleted == []
        assert (await store.take_back(thread_id, ids[1], writer)).deleted == ["first", "second"]
        assert await _ids(store, thread_id) == [*ids, "of the user"]

    @pytest.mark.parametrize("write", CHANGES.values(), ids=CHANGES)
    async def test_what_a_run_changed_is_again_what_it_was_and_where_it_was(
        self, database: Database, store: PostgresStore, write: Callable[..., Awaitable[Any]]
    ) -> None:
        thread_id, ids = await _thread_of(store, 4)
        before = await store.load_thread_items(thread_id, None, 10, "asc", ALICE)
        await insert_run(database, "run_1", thread_id)
        for attempt in (1, 2):
            writer = in_run("run_1", attempt)
            await write(store, writer, thread_id, ids)
            assert await store.load_thread_items(thread_id, None, 10, "asc", ALICE) != before
            taken = await store.take_back(thread_id, ids[3], writer)
            assert taken.deleted == []
            assert set(taken.restored) >= {ids[1]}
            assert await store.load_thread_items(thread_id, None, 10, "asc", ALICE) == before

    @pytest.mark.parametrize("write", CHANGES.values(), ids=CHANGES)
    async def test_the_feedback_on_what_a_run_changed_is_as_it_was_given_last(
        self, database: Database, store: PostgresStore, write: Callable[..., Awaitable[Any]]
    ) -> None:
        """Also where it comes between the change and the rewind, while the item is there."""
        thread_id, ids = await _thread_of(store, 4)
        marks, told = ThreadMarks(database), {ids[1]: "positive", ids[2]: "negative"}
        await insert_run(database, "run_1", thread_id)
        for item_id, kind in told.items():
            await marks.set_feedback(ALICE.owner, thread_id, [item_id], kind)
        for attempt in (1, 2):
            writer = in_run("run_1", attempt)
            await write(store, writer, thread_id, ids)
            if write in LEAVING.values():
                told[ids[1]] = "negative" if attempt == 1 else "positive"
                await marks.set_feedback(ALICE.owner, thread_id, [ids[1]], told[ids[1]])
            await store.take_back(thread_id, ids[3], writer)
            assert (await marks.of(ALICE.owner, thread_id))["feedback"] == told

    async def test_what_somebody_else_has_changed_since_stays(
        self, database: Database, store: PostgresStore
    ) -> None:
        """Their newest, also where the run has changed it again after them; what they removed stays removed."""
        thread_id, ids = await _thread_of(store, 4)
        await insert_run(database, "run_1", thread_id)
        writer = in_run("run_1", 1)
        changed, again, removed, back = ids
        for item_id in (changed, again, removed):
            await store.save_item(thread_id, message(thread_id, item_id, "by the run"), writer)
        await store.delete_thread_item(thread_id, back, writer)
        theirs = {item_id: message(thread_id, item_id, "theirs") for item_id in (changed, again, back)}
        for item in theirs.values():
            await store.save_item(thread_id, item, ALICE)
        await store.delete_thread_item(thread_id, removed, ALICE)
        await store.save_item(thread_id, message(thread_id, again, "by the run, again"), writer)
        taken = await store.take_back(thread_id, None, writer)
        assert (taken.deleted, taken.restored) == ([], [again])
        page = await store.load_thread_items(thread_id, None, 10, "asc", ALICE)
        assert {item.id: item for item in page.data} == theirs

    async def test_what_a_write_meets_is_kept_and_not_what_its_statement_saw(
        self, database: Database, store: PostgresStore
    ) -> None:
        """It waits for a change that is not committed yet, and takes back no further than to that."""
        thread_id, ids = await _thread_of(store, 1)
        await insert_run(database, "run_1", thread_id)
        writer, theirs = in_run("run_1", 1), message(thread_id, ids[0], "theirs")
        async with database.transaction():
            await store.save_item(thread_id, theirs, ALICE)
            late = message(thread_id, ids[0], "by the run")
            write = asyncio.create_task(outside(store.save_item, thread_id, late, writer))
            await until_someone_waits_for_a_lock(database)
        await write
        assert await store.load_item(thread_id, ids[0], ALICE) == late
        await store.take_back(thread_id, None, writer)
        assert await store.load_item(thread_id, ids[0], ALICE) == theirs

    async def test_of_a_thread_only_what_the_run_changed_is_taken_back(
        self, database: Database, store: PostgresStore
    ) -> None:
        """A title that the user gave meanwhile stays, and a field that both changed is the other's."""
        thread_id, _ = await _thread_of(store, 1, title="t", metadata={"both": 0, "gone": 0, "kept": "\x00"})
        await insert_run(database, "run_1", thread_id)
        writer, user = in_run("run_1", 1), outsider()
        mine = await store.load_thread(thread_id, writer)
        mine.title = "by the run"
        mine.metadata = {"both": 1, "added": 1, "kept": "\x00"}
        await store.save_thread(mine, writer)
        theirs = await store.load_thread(thread_id, user)
        theirs.title = "by the user"
        theirs.metadata["both"] = 2
        await store.save_thread(theirs, user)
        mine.metadata["both"] = 3
        await store.save_thread(mine, writer)
        assert (await store.take_back(thread_id, None, in_run("run_1", 1))).is_thread_restored
        found = await store.load_thread(thread_id, outsider())
        assert found.title == "by the user"
        assert found.metadata == {"both": 2, "gone": 0, "kept": "\x00"}
        assert not (await store.take_back(thread_id, None, in_run("run_1", 1))).is_thread_restored

    async def test_the_next_attempt_may_set_what_the_lost_one_had_set(
        self, database: Database, store: PostgresStore
    ) -> None:
        """Though it has seen it: what Redis has lost is written again from the rows, before anything is taken back."""
        thread_id, _ = await _thread_of(store, 0)
        await insert_run(database, "run_1", thread_id)
        for attempt in (1, 2):
            who = in_run("run_1", attempt)
            await store.load_thread(thread_id, who)
            await store.take_back(thread_id, None, who)
            mine = await store.load_thread(thread_id, who)
            assert mine.title is None
            mine.title = "by the run"
            await store.save_thread(mine, who)
            assert (await store.load_thread(thread_id, outsider())).title == "by the run"

    async def test_a_key_of_any_length_is_taken_back(self, database: Database, store: PostgresStore) -> None:
        thread_id, _ = await _thread_of(store, 0)
        await insert_run(database, "run_1", thread_id)
        mine = await store.load_thread(thread_id, in_run("run_1", 1))
        mine.metadata["k\x00" * 20_000] = 1
        await store.save_thread(mine, in_run("run_1", 1))
        await store.take_back(thread_id, None, in_run("run_1", 1))
        assert (await store.load_thread(thread_id, outsider())).metadata == {}

    @pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
    async def test_a_run_that_ends_leaves_nothing_to_take_back(
        self, database: Database, store: PostgresStore, ending: Callable[..., Awaitable[Any]]
    ) -> None:
        thread_id, ids = await _thread_of(store, 1, title="t")
        await insert_run(database, "run_1", thread_id)
        other_id, other_ids = await _thread_of(store, 1, title="t")
        await insert_run(database, "run_2", other_id)
        for run_id, its_thread, item_id in (("run_1", thread_id, ids[0]), ("run_2", other_id, other_ids[0])):
            writer = in_run(run_id, 1)
            await store.save_item(its_thread, message(its_thread, item_id, run_id), writer)
            changed = await store.load_thread(its_thread, writer)
            changed.title = run_id
            await store.save_thread(changed, writer)
        await ending(database)
        async with database.connection() as connection:
            left = [
                [row["run_id"] for row in await connection.fetch(f"SELECT run_id FROM {table}")]
                for table in ("undo_items", "undo_thread_fields")
            ]
        assert left == [["run_2"], ["run_2"]]

    async def test_of_what_the_version_before_added_it_takes_back_what_follows_the_anchor(
        self, database: Database, store: PostgresStore
    ) -> None:
        thread_id, ids = await _thread_of(store, 5)
        async with database.connection() as connection:
            await connection.execute("UPDATE items SET run_id = NULL")
        writer = in_run("run_1", 1)
        assert (await store.take_back(thread_id, "msg_absent", writer)).deleted == []
        assert (await store.take_back(thread_id, ids[1], writer, keep=[ids[3]])).deleted == [ids[2], ids[4]]
        assert await _ids(store, thread_id) == [ids[0], ids[1], ids[3]]
        assert (await store.take_back(thread_id, ids[3], writer)).deleted == []
        assert (await store.take_back(thread_id, None, writer)).deleted == [ids[0], ids[1], ids[3]]

    async def test_move_to_end(self, store: PostgresStore) -> None:
        thread_id, ids = await _thread_of(store, 3)
        await store.move_to_end(thread_id, ids[0], ALICE)
        assert await _ids(store, thread_id) == [ids[1], ids[2], ids[0]]
        await store.add_thread_item(thread_id, message(thread_id, "next"), ALICE)
        assert await _ids(store, thread_id) == [ids[1], ids[2], ids[0], "next"]

    async def test_calls_join_the_transaction_and_vanish_with_it(
        self, database: Database, store: PostgresStore
    ) -> None:
        metadata = thread()

        async def write_and_fail() -> None:
            async with database.transaction():
                await store.save_thread(metadata, ALICE)
                await store.add_thread_item(metadata.id, message(metadata.id), ALICE)
                assert len(await _ids(store, metadata.id)) == 1
                raise KeyError

        with pytest.raises(KeyError):
            await write_and_fail()
        with pytest.raises(NotFoundError):
            await store.load_thread(metadata.id, ALICE)


class TestDeleteThread:
    async def test_it_takes_items_attachments_and_ended_runs_and_stops_active_ones(
        self, database: Database, store: PostgresStore
    ) -> None:
        thread_id, _ = await _thread_of(store, 2)
        other_id, other_items = await _thread_of(store, 2)
        attachment = FileAttachment(id="atc_1", name="n", mime_type="text/plain", thread_id=thread_id)
        await store.save_attachment(attachment, ALICE)
        for status in ("waiting", "running", "completed", "failed", "cancelled"):
            await insert_run(database, f"run_{status}", thread_id, status=status)
        await insert_run(database, "run_other", other_id, status="completed")
        await store.delete_thread(thread_id, ALICE)
        async with database.connection() as connection:
            rows = await connection.fetch("SELECT id, cancel_requested FROM runs ORDER BY id")
            items = await connection.fetchval("SELECT count(*) FROM items WHERE thread_id = $1", thread_id)
        assert [tuple(row) for row in rows] == [
            ("run_other", False),
            ("run_running", True),
            ("run_waiting", True),
        ]
        assert items == 0
        with pytest.raises(NotFoundError):
            await store.load_attachment("atc_1", ALICE)
        assert await _ids(store, other_id) == other_items

    async def test_a_second_delete_is_not_found(self, store: PostgresStore) -> None:
        thread_id, _ = await _thread_of(store, 1)
        results = await asyncio.gather(
            *(store.delete_thread(thread_id, ALICE) for _ in range(4)), return_exceptions=True
        )
        assert [type(result) for result in results if result] == [NotFoundError] * 3

    async def test_its_run_cannot_bring_it_back(self, database: Database, store: PostgresStore) -> None:
        thread_id, _ = await _thread_of(store, 1)
        await insert_run(database, "run_1", thread_id)
        worker = in_run("run_1", 1)
        await store.save_thread(thread(thread_id, title="while it is there"), worker)
        await store.delete_thread(thread_id, ALICE)
        with pytest.raises(NotFoundError):
            await store.save_thread(thread(thread_id, title="again"), worker)
        with pytest.raises(NotFoundError):
            await store.add_thread_item(thread_id, message(thread_id), worker)
        with pytest.raises(NotFoundError):
            await store.load_thread(thread_id, ALICE)

    async def test_a_run_may_make_another_thread(self, database: Database, store: PostgresStore) -> None:
        thread_id, _ = await _thread_of(store, 1)
        await insert_run(database, "run_1", thread_id)
        await store.save_thread(thread("thr_of_the_run"), in_run("run_1", 1))
        assert (await store.load_thread("thr_of_the_run", ALICE)).id == "thr_of_the_run"

    async def test_deleting_while_others_write_ends_without_deadlock(
        self, database: Database, store: PostgresStore
    ) -> None:
        for _ in range(10):
            thread_id, _ = await _thread_of(store, 1)
            await insert_run(database, f"run_{thread_id}", thread_id)
            worker = in_run(f"run_{thread_id}", 1)
            writes = [store.add_thread_item(thread_id, message(thread_id), worker) for _ in range(5)] + [
                store.save_thread(thread(thread_id, title="t"), worker) for _ in range(3)
            ]
            results = await asyncio.gather(
                *writes, store.delete_thread(thread_id, ALICE), return_exceptions=True
            )
            assert {type(result) for result in results} <= {type(None), NotFoundError}
            with pytest.raises(NotFoundError):
                await store.load_thread(thread_id, ALICE)


class TestFence:
    """Writes of an attempt are refused once a newer one has begun."""

    WRITES: dict[str, Callable[[PostgresStore, RequestContext, str, list[str]], Awaitable[Any]]] = {
        "save_thread": lambda store, who, thread_id, ids: store.save_thread(
            thread(thread_id, title="x"), who
        ),
        "save_thread, a new one": lambda store, who, thread_id, ids: store.save_thread(
            thread("thr_new"), who
        ),
        "add_thread_item": lambda store, who, thread_id, ids: store.add_thread_item(
            thread_id, message(thread_id, "new"), who
        ),
        "save_item": lambda store, who, thread_id, ids: store.save_item(
            thread_id, message(thread_id, ids[0], "changed"), who
        ),
        "delete_thread_item": lambda store, who, thread_id, ids: store.delete_thread_item(
            thread_id, ids[0], who
        ),
        "take_back": lambda store, who, thread_id, ids: store.take_back(thread_id, ids[0], who),
        "move_to_end": lambda store, who, thread_id, ids: store.move_to_end(thread_id, ids[0], who),
        "delete_thread": lambda store, who, thread_id, ids: store.delete_thread(thread_id, who),
    }

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    async def test_an_older_attempt_writes_nothing(
        self, database: Database, store: PostgresStore, write: Callable[..., Awaitable[Any]]
    ) -> None:
        thread_id, ids = await _thread_of(store, 3)
        await insert_run(database, "run_1", thread_id, attempt=2)
        before = await store.load_thread_items(thread_id, None, 10, "asc", ALICE)
        metadata = await store.load_thread(thread_id, ALICE)
        with pytest.raises(Fenced):
            await write(store, in_run("run_1", 1), thread_id, ids)
        assert await store.load_thread_items(thread_id, None, 10, "asc", ALICE) == before
        assert (await store.load_threads(5, None, "asc", ALICE)).data == [metadata]

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    @pytest.mark.parametrize(
        "attempt", [2, 3, None], ids=["current", "newer than the row", "outside a worker"]
    )
    async def test_the_newest_attempt_writes(
        self,
        database: Database,
        store: PostgresStore,
        write: Callable[..., Awaitable[Any]],
        attempt: int | None,
    ) -> None:
        thread_id, ids = await _thread_of(store, 3)
        await insert_run(database, "run_1", thread_id, attempt=2)
        await write(store, in_run("run_1", attempt), thread_id, ids)

    async def test_an_older_attempt_still_reads(self, database: Database, store: PostgresStore) -> None:
        thread_id, ids = await _thread_of(store, 1)
        await insert_run(database, "run_1", thread_id, attempt=2)
        assert (await store.load_item(thread_id, ids[0], in_run("run_1", 1))).id == ids[0]

    @pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
    async def test_a_write_that_meets_a_raise_in_progress_waits_for_it_and_is_refused(
        self, database: Database, store: PostgresStore, write: Callable[..., Awaitable[Any]]
    ) -> None:
        thread_id, ids = await _thread_of(store, 3)
        await insert_run(database, "run_1", thread_id)
        async with database.transaction() as raising:
            await raising.execute("UPDATE runs SET attempt = 2 WHERE id = 'run_1'")
            late = asyncio.create_task(outside(write, store, in_run("run_1", 1), thread_id, ids))
            await until_someone_waits_for_a_lock(database)
            assert not late.done()
        with pytest.raises(Fenced):
            await late
        assert await _ids(store, thread_id) == ids

    async def test_raising_the_attempt_waits_for_a_write_in_progress(
        self, database: Database, store: PostgresStore
    ) -> None:
        thread_id, _ = await _thread_of(store, 0)
        await insert_run(database, "run_1", thread_id)

        async def raise_attempt() -> None:
            async with database.connection() as connection:
                await connection.execute("UPDATE runs SET attempt = attempt + 1 WHERE id = 'run_1'")

        async with database.transaction():
            await store.add_thread_item(thread_id, message(thread_id, "old"), in_run("run_1", 1))
            raised = asyncio.create_task(outside(raise_attempt))
            await until_someone_waits_for_a_lock(database)
            assert not raised.done()
        await raised
        assert (await store.take_back(thread_id, None, in_run("run_1", 2))).deleted == ["old"]

    async def test_other_changes_of_the_run_do_not_wait_for_writes(
        self, database: Database, store: PostgresStore
    ) -> None:
        """A stop, or a change of status, passes a write in progress, and the other way round."""
        thread_id, _ = await _thread_of(store, 0)
        await insert_run(database, "run_1", thread_id)

        async def stop() -> None:
            async with database.connection() as connection:
                await connection.execute(
                    "UPDATE runs SET cancel_requested = true, token = NULL WHERE id = 'run_1'"
                )

        worker = in_run("run_1", 1)
        async with database.transaction():
            await store.add_thread_item(thread_id, message(thread_id, "one"), worker)
            await asyncio.wait_for(asyncio.create_task(outside(stop)), WAIT_SECONDS)
        async with database.transaction():
            await stop()
            write = outside(store.add_thread_item, thread_id, message(thread_id, "two"), worker)
            await asyncio.wait_for(asyncio.create_task(write), WAIT_SECONDS)
        assert await _ids(store, thread_id) == ["one", "two"]

    async def test_nothing_of_an_older_attempt_survives_a_race_with_the_next_one(
        self, database: Database, store: PostgresStore
    ) -> None:
        """Attempt 1 writes as fast as it can while attempt 2 starts and cleans up: what stays is attempt 2's."""
        for number in range(10):
            thread_id, ids = await _thread_of(store, 1)
            run_id = f"run_{number}"
            await insert_run(database, run_id, thread_id)

            async def old_attempt(writer: int, run_id: str = run_id, thread_id: str = thread_id) -> int:
                for count in range(1000):
                    try:
                        item = message(thread_id, f"old_{writer}_{count}")
                        await store.add_thread_item(thread_id, item, in_run(run_id, 1))
                    except Fenced:
                        return count
                raise AssertionError("never fenced")

            writers = [asyncio.create_task(old_attempt(writer)) for writer in range(3)]
            while len(await _ids(store, thread_id)) < 4:
                await asyncio.sleep(0)
            async with database.connection() as connection:
                await connection.execute("UPDATE runs SET attempt = 2 WHERE id = $1", run_id)
            taken = await store.take_back(thread_id, ids[0], in_run(run_id, 2))
            assert sum(await asyncio.gather(*writers)) == len(taken.deleted)
            assert await _ids(store, thread_id) == ids
