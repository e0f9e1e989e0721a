"""A thread whose runs end with client tool calls, whatever comes to it, in any order and two things at once.

Nothing begins while a call is awaited, nothing that waits is forgotten, and each call ends with one output.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any, cast
from uuid import uuid4

import pytest
from chatkit.types import ClientToolCallItem, StreamingReq
from hypothesis import given
from hypothesis import strategies as st

from relaykit.api.admission.admission import Admission
from relaykit.api.admission.idempotency import EarlierRuns
from relaykit.api.admission.parse import parse
from relaykit.api.admission.submission import Submission
from relaykit.api.admission.writers.postgres import PostgresWriter
from relaykit.shared.errors import Fenced, ItemMismatch, ThreadBusy
from relaykit.shared.identity import RequestContext, request_of
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.given_up import GivenUp
from relaykit.shared.runs.run import Run, Status
from relaykit.shared.settings import Settings
from tests.properties.life import World, open_world
from tests.support.examples import examples
from tests.support.system import create, message

ALICE = RequestContext(user_id="alice")
ACTS = ("message", "message", "start", "end", "call", "call", "output", "stop", "withdraw", "late", "reap")
acts = st.lists(st.lists(st.sampled_from(ACTS), min_size=1, max_size=2), max_size=14)


class Thread:
    """One thread, and what may happen to it."""

    def __init__(self, world: World, policy: str) -> None:
        self.world, self.policy, self.id = world, policy, ""
        self.endings = world.endings()
        self.begun: list[str] = []
        """Messages in the order in which their runs began."""

    async def submit(self, request: dict[str, Any]) -> Run:
        context = replace(ALICE, run_id=f"run_{uuid4().hex}")
        submission = Submission(
            request=cast(StreamingReq, parse(json.dumps(request).encode(), self.world.settings).request),
            context=context,
            request_hash=uuid4().bytes,
            idempotency_key=uuid4().hex,
            token=None,
            max_attempts=None,
            queue_refusal=None,
        )
        world, endings = self.world, self.endings
        settings = world.settings.model_copy(update={"thread_policy": self.policy})
        ttl_seconds = settings.journal_ended_ttl_seconds
        earlier = EarlierRuns(world.runs, world.journals, world.receipts, ttl_seconds)
        writer = PostgresWriter(settings, world.database, world.runs, endings.calls, world.user)
        admission = Admission(settings, world.runs, world.journals, world.queue, endings, earlier, writer)
        return (await admission.submit(submission)).run

    async def message(self) -> None:
        await self.submit(message(self.id, f"{uuid4()}") if self.id else create("first"))

    async def output(self) -> None:
        params = {"thread_id": self.id, "result": "an output"}
        await self.submit({"type": "threads.add_client_tool_output", "params": params})

    async def start(self) -> None:
        run = await self.active(Status.QUEUED)
        if run is None or await self.world.runs.start(run.id) is None:
            return
        item_id = run.input.get("item_id")
        if item_id is not None and item_id not in self.begun:  # two starts at once are two attempts
            self.begun.append(item_id)

    async def end(self) -> None:
        run = await self.active(Status.RUNNING)
        if run is not None:
            await self.enqueue(await self.endings.finish_row(run, Status.COMPLETED))

    async def call(self) -> None:
        run = await self.active(Status.RUNNING)
        if run is None:
            return
        item = ClientToolCallItem(
            id=f"call_{uuid4().hex}",
            thread_id=self.id,
            created_at=datetime.now(),
            name="ask",
            arguments={},
            call_id="c",
        )
        await self.world.store.save_item(self.id, item, request_context(run))
        try:
            promoted = await self.endings.finish_with_call(
                run, Status.COMPLETED, None, item.id, lambda _: None
            )
        except Fenced:
            await self.world.store.delete_thread_item(self.id, item.id, ALICE)  # as the next attempt does
            raise
        await self.enqueue(promoted)

    async def stop(self) -> None:
        run = await self.world.runs.active(ALICE.owner, self.id)
        if run is not None:
            await self.endings.cancel(run)

    async def withdraw(self) -> None:
        """Stops what has come last."""
        for run in (await self.world.runs.unfinished(ALICE.owner, self.id))[:1]:
            await self.endings.cancel(run)

    async def late(self) -> None:
        run = await self.world.runs.active(ALICE.owner, self.id)
        if run is not None and run.awaited is not None:
            await self.enqueue(await self.endings.give_up(run, GivenUp.LATE))

    async def reap(self) -> None:
        await self.world.reap()(cast(Any, None))

    async def enqueue(self, run: Run | None) -> None:
        if run is not None:
            await self.endings.enqueue(run)

    async def active(self, status: Status) -> Run | None:
        run = await self.world.runs.active(ALICE.owner, self.id)
        return run if run is not None and run.status is status else None

    async def happen(self, names: list[str]) -> None:
        """All at once. What is refused is refused as it is to a client, and what is overtaken ends."""
        calls: list[Callable[[], Awaitable[None]]] = [getattr(self, name) for name in names]
        results = await asyncio.gather(*(self._alone(call) for call in calls), return_exceptions=True)
        for result in results:
            if result is not None and not isinstance(result, (ThreadBusy, ItemMismatch, Fenced)):
                raise cast(BaseException, result)

    async def _alone(self, call: Callable[[], Awaitable[None]]) -> None:
        """However the call ends, its task acts for no caller afterwards."""
        try:
            await call()
        finally:
            with pytest.raises(LookupError):
                request_of(None)

    async def check(self) -> None:
        async with self.world.database.connection() as connection:
            rows = await connection.fetch("SELECT status, kind FROM runs ORDER BY seq")
            awaited = await connection.fetch("SELECT item_id FROM awaited_calls")
        statuses = [row["status"] for row in rows]
        active = [status for status in statuses if status in ("queued", "running")]
        assert len(active) <= 1
        assert not (awaited and active), "a run begins while a call is awaited"
        assert "waiting" not in statuses or awaited or active, "nothing will begin what waits"
        page = await self.world.store.load_thread_items(self.id, None, 1000, "asc", ALICE)
        calls = [item for item in page.data if isinstance(item, ClientToolCallItem)]
        pending = [item.id for item in calls if item.status == "pending"]
        assert pending == [row["item_id"] for row in awaited], "a call waits that nobody awaits"
        outputs = [item for item in calls if item.output == "an output"]
        assert len(outputs) == len([row for row in rows if row["kind"] == "threads.add_client_tool_output"])
        messages = [item.id for item in page.data if item.type == "user_message" and item.id in self.begun]
        assert messages == self.begun, "messages stand in the order in which they were served"


class Opened:
    """A world with an event loop of its own, as hypothesis calls synchronous tests."""

    def __init__(self, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.world = self.run(self._stack.enter_async_context(open_world(settings)))

    def run(self, call: Any) -> Any:
        async def awaited() -> Any:
            return await call

        return self._runner.run(awaited())

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture
def opened(settings: Settings) -> Iterator[Opened]:
    made = Opened(settings)
    yield made
    made.close()


@examples(60)
@given(policy=st.sampled_from(["queue", "interrupt", "reject"]), steps=acts)
def test_a_thread_with_client_tool_calls_comes_to_its_end(
    opened: Opened, policy: str, steps: list[list[str]]
) -> None:
    opened.run(_live(opened.world, policy, steps))


async def _live(world: World, policy: str, steps: list[list[str]]) -> None:
    await world.clear()
    thread = Thread(world, policy)
    thread.id = (await thread.submit(create("first"))).thread_id
    for names in steps:
        await thread.happen(names)
        await thread.check()
    for _ in range(40):
        for name in ("late", "start", "end"):
            await thread.happen([name])
            await thread.check()
        if await world.runs.active(ALICE.owner, thread.id) is None:
            return
    raise AssertionError("the thread does not come to its end")
