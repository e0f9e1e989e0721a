"""A run that is killed anywhere, however often, ends as one that was not: in what it adds and in what it changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from chatkit.store import NotFoundError
from chatkit.types import ThreadMetadata
from hypothesis import example, given
from hypothesis import strategies as st

from relaykit.shared.identity import RequestContext
from relaykit.shared.threads.store import PostgresStore
from tests.integration.persistence import ALICE, in_run, insert_run, message, thread
from tests.properties.test_store_pagination import Store
from tests.support.examples import examples

OLDER = ("old0", "old1", "old2", "\U0001f600")
OTHERS = ("theirs0", "theirs1")
"""What others change meanwhile; the run does not."""


class Step(NamedTuple):
    """What a server does next: to an item of the thread, or to the thread itself."""

    what: str
    target: str


items = st.sampled_from(["own0", "own1", *OLDER])
steps = st.lists(
    st.builds(Step, st.sampled_from(["append", "remove", "move", "write"]), items)
    | st.builds(Step, st.sampled_from(["count", "forget"]), st.sampled_from(["n", "\x00"]))
    | st.builds(Step, st.just("title"), st.just("+"))
    | st.builds(Step, st.just("lock"), st.just("status")),
    min_size=1,
    max_size=8,
)
kills = st.lists(st.integers(0, 8), max_size=3)
"""After how many steps each of the attempts before the last one is lost."""
theirs = st.lists(st.tuples(st.integers(0, 30), st.sampled_from([*OTHERS, "metadata"])), max_size=4)
"""Before which step of all, others change something."""


@pytest.fixture
def opened(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    yield store
    store.close()


class World:
    """A thread, its run, and others who change what is theirs."""

    def __init__(self, store: PostgresStore, theirs: list[tuple[int, str]]) -> None:
        self.store = store
        self.thread_id = f"thr_{uuid4().hex}"
        self.run_id = f"run_{uuid4().hex}"
        self._theirs = theirs
        self._steps = 0
        self._their_changes = 0

    async def open(self) -> None:
        metadata = thread(self.thread_id, title="t", metadata={"n": 0, "theirs": 0})
        metadata.created_at = metadata.created_at.replace(year=2026, month=1, day=1, hour=0, minute=0)
        await self.store.save_thread(metadata, ALICE)
        for item_id in (OLDER[0], OTHERS[0], OLDER[1], OLDER[2], OTHERS[1], OLDER[3]):
            await self.store.add_thread_item(self.thread_id, message(self.thread_id, item_id, "x"), ALICE)

    async def execute(self, attempt: int, steps: list[Step]) -> None:
        context = in_run(self.run_id, attempt)
        given = await self.store.load_thread(self.thread_id, context)
        for step in steps:
            await self._others()
            await self._take(step, given, context)

    async def _others(self) -> None:
        for number, target in self._theirs:
            if number == self._steps:
                await self.change(target)
        self._steps += 1

    async def late(self) -> None:
        """What has not come before comes at the end."""
        for number, target in self._theirs:
            if number >= self._steps:
                await self.change(target)

    async def change(self, target: str) -> None:
        caller = RequestContext(user_id=ALICE.user_id, tenant=ALICE.tenant)
        if target == "metadata":
            found = await self.store.load_thread(self.thread_id, caller)
            found.metadata["theirs"] += 1
            await self.store.save_thread(found, caller)
        else:
            await self._append(target, caller)

    async def _take(self, step: Step, given: ThreadMetadata, context: RequestContext) -> None:
        store, thread_id = self.store, self.thread_id
        match step.what:
            case "append":
                await self._append(step.target, context)
            case "write":
                await store.save_item(thread_id, message(thread_id, step.target, "written"), context)
            case "remove":
                await store.delete_thread_item(thread_id, step.target, context)
            case "move" if await store.has_items(thread_id, [step.target], context):
                await store.move_to_end(thread_id, step.target, context)
            case "count":
                given.metadata[step.target] = given.metadata.get(step.target, 0) + 1
            case "forget":
                given.metadata.pop(step.target, None)
            case "title":
                given.title = f"{given.title}{step.target}"
            case "lock":
                given.allowed_image_domains = [*(given.allowed_image_domains or []), step.target]
            case _:
                pass
        if step.what in ("count", "forget", "title", "lock"):
            await store.save_thread(given, context)

    async def _append(self, item_id: str, context: RequestContext) -> None:
        try:
            text = (await self.store.load_item(self.thread_id, item_id, context)).content[0].text  # type: ignore[union-attr,attr-defined]
        except NotFoundError:
            text = ""
        await self.store.save_item(self.thread_id, message(self.thread_id, item_id, f"{text}+"), context)

    async def state(self) -> tuple[Any, ...]:
        found = await self.store.load_thread(self.thread_id, ALICE)
        page = await self.store.load_thread_items(self.thread_id, None, 100, "asc", ALICE)
        texts = [(item.id, item.content[0].text) for item in page.data]  # type: ignore[union-attr]
        return found.title, found.metadata, found.allowed_image_domains, texts


@examples(60)
@example(steps=[Step("append", "old0")], kills=[1], theirs=[])
@example(steps=[Step("append", "own0"), Step("append", "own0")], kills=[1], theirs=[])
@given(steps=steps, kills=kills, theirs=theirs)
def test_a_run_that_was_lost_ends_as_one_that_was_not(
    opened: Store, steps: list[Step], kills: list[int], theirs: list[tuple[int, str]]
) -> None:
    async def check() -> None:
        lost, whole = World(opened.store, theirs), World(opened.store, theirs)
        for world in (lost, whole):
            await world.open()
            await insert_run(opened.database, world.run_id, world.thread_id)
        await whole.execute(1, steps)
        await whole.late()
        attempt = 1
        for executed in kills:
            await lost.execute(attempt, steps[:executed])
            attempt = await _next_attempt(opened, lost)
        await lost.execute(attempt, steps)
        await lost.late()
        assert await lost.state() == await whole.state()

    opened.run(check())


@examples(30)
@given(steps=steps, theirs=theirs)
def test_what_is_taken_back_is_as_it_was_before_the_run(
    opened: Store, steps: list[Step], theirs: list[tuple[int, str]]
) -> None:
    """But for what others have changed; and nothing is kept of it any more."""

    async def check() -> None:
        lost, untouched = World(opened.store, theirs), World(opened.store, theirs)
        for world in (lost, untouched):
            await world.open()
        await insert_run(opened.database, lost.run_id, lost.thread_id)
        await lost.execute(1, steps)
        await lost.late()
        await untouched.late()
        await _next_attempt(opened, lost)
        assert await lost.state() == await untouched.state()
        async with opened.database.connection() as connection:
            for table in ("undo_items", "undo_thread_fields"):
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0

    opened.run(check())


async def _next_attempt(opened: Store, world: World) -> int:
    async with opened.database.connection() as connection:
        attempt = await connection.fetchval(
            "UPDATE runs SET attempt = attempt + 1 WHERE id = $1 RETURNING attempt", world.run_id
        )
    await opened.store.take_back(world.thread_id, OLDER[-1], in_run(world.run_id, attempt))
    return int(attempt)
