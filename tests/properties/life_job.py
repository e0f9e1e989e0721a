"""What a worker has under one claim: it does what worker/execution/executor.py does, one step at a time, with the
product's journal, publisher and rewind. Its worker may be asleep at any of its gates.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from chatkit.errors import ErrorCode
from chatkit.store import NotFoundError
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ErrorEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
)

from relaykit.shared.errors import Fenced
from relaykit.shared.journal import Cursor, Field
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.run import Run, Status
from relaykit.worker.execution.executor import EXHAUSTED
from relaykit.worker.execution.restore import admission_events
from relaykit.worker.execution.rewind import news, read_shown, take_back
from relaykit.worker.execution.stop import Stop
from relaykit.worker.leases.claims import Claim
from relaykit.worker.publishing.publisher import Publisher, RunJournal
from tests.properties.life_process import Process

if TYPE_CHECKING:
    from tests.properties.life_worker import Worker

ACTIONS = ("show", "text", "keep", "flush", "reply lost", "half", "finish", "fail")
"""What an attempt may do next, once it executes."""


class Job:
    """A claimed job, from the claim to the release. `run` is its attempt, once it has begun."""

    def __init__(self, worker: Worker, claim: Claim, earlier: Job | None) -> None:
        self.claim, self.run_id = claim, claim.run_id
        self.run: Run | None = None
        self.stopped: Stop | None = None
        self.rewound = False
        """Whether nothing of an earlier attempt is left where this one has looked."""
        self.ended = False
        """Whether it has ended the run's row."""
        self.put: dict[Cursor, tuple[Field, bytes]] = {}
        """All that it has sent to the journal."""
        self.worker, self._world = worker, worker.world
        self._earlier = earlier
        self._items: list[AssistantMessageItem] = []
        self._journal: RunJournal | None = None
        self.process = Process(self._work)

    def stop(self, reason: Stop) -> None:
        """As Attempt.stop: the first reason stands, but for a lost lease, after which nothing is sent."""
        if self.stopped is None or reason is Stop.LOST:
            self.stopped = reason
        if reason is Stop.LOST and self._journal is not None:
            self._journal.close()

    async def go_on(self, what: str) -> None:
        if self._earlier is not None and not self._earlier.process.done:
            await self._earlier.go_on(what)
        else:
            await self.process.go_on(what)

    async def _work(self, process: Process) -> None:
        await process.gate()
        self.worker.executing[self.run_id] = self
        try:
            done = await self._execute(process)
        finally:
            if self.worker.executing.get(self.run_id) is self:
                del self.worker.executing[self.run_id]
        await self._release(process, done=done)

    async def _release(self, process: Process, *, done: bool) -> None:
        await process.gate()
        if self.worker.claims.get(self.run_id) is self.claim:
            del self.worker.claims[self.run_id]
            await self._world.queue.release(self.claim, done=done)

    async def _execute(self, process: Process) -> bool:
        """Whether the job is done."""
        world = self._world
        await process.gate()
        run = self.run = await world.runs.start(self.run_id)
        if run is None:
            await process.gate()
            ended = await world.runs.status(self.run_id)
            if ended is not None and ended[0].ended:
                await process.gate()
                await world.journals.end(self.run_id, ended[1], ended[0])
            return True
        if run.cancel_requested:
            self.stop(Stop.USER)
        publisher = Publisher(world.redis, world.gated(world.journals, process), world.settings)
        journal = self._journal = publisher.open(run.id, run.attempt, world.user.server._serialize)
        try:
            status, error = await self._attempt(process, run, journal)
        except Fenced:
            self.stop(Stop.LOST)
            status, error = Status.FAILED, None
        return await self._end(process, run, journal, status, error)

    async def _attempt(self, process: Process, run: Run, journal: RunJournal) -> tuple[Status, str | None]:
        world, context = self._world, request_context(run)
        limit = world.settings.run_max_attempts
        try:
            if run.attempt - run.handed_back > min(run.max_attempts or limit, limit):
                with suppress(Fenced):
                    await journal.mark(lambda: admission_events(world.user.server, run, context))
                    journal.put(_error())
                    await self._flush_all(process, journal)
                return Status.FAILED, EXHAUSTED
            await journal.mark(lambda: admission_events(world.user.server, run, context))
            if run.attempt > 1:
                await process.gate()
                shown = await read_shown(world.journals, run.id)
                await process.gate()
                taken = await take_back(world.user, world.database, world.runs, run, context)
                await process.gate()
                for event in await news(world.user.server, run, context, shown, taken):
                    journal.put(event)
            self.rewound = True
            status = await self._answer(process, run, journal)
            if self.stopped is Stop.USER:
                thread = await world.store.load_thread(run.thread_id, context)
                await world.user.server.handle_stream_cancelled(thread, [], context)
                return Status.CANCELLED, None
        except NotFoundError:  # the thread was deleted
            if self.stopped is Stop.USER:
                return Status.CANCELLED, None
            journal.put(_error())
            return Status.FAILED, "internal"
        return status, None if status is Status.COMPLETED else "stream.error"

    async def _answer(self, process: Process, run: Run, journal: RunJournal) -> Status:
        """Does what it is told to, until it is told to end or is stopped."""
        while True:
            action = await process.gate()
            if self.stopped is not None:
                return Status.FAILED
            match action:
                case "show":
                    self._show(run, journal)
                case "text" if self._items:
                    delta = AssistantMessageContentPartTextDelta(content_index=0, delta="x")
                    journal.put(ThreadItemUpdatedEvent(item_id=self._items[-1].id, update=delta))
                case "keep" if self._items:
                    item = self._items[-1]
                    await self._world.store.add_thread_item(run.thread_id, item, request_context(run))
                    journal.put(ThreadItemDoneEvent(item=item))
                case "flush" | "reply lost" | "half":
                    await self._flush(journal, action)
                case "finish":
                    return Status.COMPLETED
                case "fail":
                    journal.put(_error())
                    return Status.FAILED
                case _:
                    pass

    def _show(self, run: Run, journal: RunJournal) -> None:
        item = AssistantMessageItem(
            id=f"{run.id}/{run.attempt}/{len(self._items)}",
            thread_id=run.thread_id,
            created_at=datetime(2026, 1, 1),
            content=[AssistantMessageContent(text="x")],
        )
        self._items.append(item)
        journal.put(ThreadItemAddedEvent(item=item))

    async def _flush(self, journal: RunJournal, how: str = "flush") -> bool:
        """Sends what waits, or what was sent without a reply; whether there was something. Raises Fenced."""
        batch = journal.next_batch(self._world.settings)
        if batch is None:
            if journal.refused.done():
                raise journal.refused.result()
            return False
        for number, entry in enumerate(batch.entries):
            self.put[Cursor(batch.attempt, batch.first_seq + number)] = entry
        if how == "half":
            batch = replace(batch, entries=batch.entries[: (len(batch.entries) + 1) // 2])
        (reply,) = await journal._publisher._send([batch])
        if how == "flush":
            journal.took(reply)
            if journal.refused.done():
                raise journal.refused.result()
        return True

    async def _flush_all(self, process: Process, journal: RunJournal) -> None:
        await process.gate()
        while await self._flush(journal):
            await process.gate()

    async def _end(
        self, process: Process, run: Run, journal: RunJournal, status: Status, error: str | None
    ) -> bool:
        world, endings = self._world, self._world.endings(process)
        if self.stopped is Stop.DRAIN and (run.max_attempts == 1):
            journal.put(_error())
            status, error = Status.FAILED, "interrupted"
        elif self.stopped is Stop.DRAIN:
            await process.gate()
            await world.runs.hand_back(run)
            return False
        try:
            if self.stopped is Stop.LOST:
                raise Fenced
            if error != EXHAUSTED:
                await self._flush_all(process, journal)
            await process.gate()
            promoted = await endings.finish_row(run, status, error)
            self.ended, self._journal = True, None
        except Fenced:
            self.stop(Stop.LOST)
            journal.close()
            return False
        journal.end(status.value)
        with suppress(Fenced):
            await self._flush_all(process, journal)
        if promoted is not None:
            await endings.queue.enqueue(promoted.id)
        return True


def _error() -> ErrorEvent:
    return ErrorEvent(code=ErrorCode.STREAM_ERROR, allow_retry=True)
