"""What an executor stands on in the test of the life of runs: the product's own, each waiting to be told to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from chatkit.errors import ErrorCode, StreamError
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)

from relaykit.shared.endings import Endings
from relaykit.shared.identity import RequestContext
from relaykit.shared.journal import Cursor
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.run import Run, Status
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.execution.cancel_handler import install_cancel_handler
from relaykit.worker.execution.current_attempt import calling_store, is_executing, note_given_id
from relaykit.worker.execution.stop import Stop
from relaykit.worker.execution.verdict import EXHAUSTED
from relaykit.worker.publishing.coalesce import Serialize
from relaykit.worker.publishing.journal_writer import JournalWriter
from relaykit.worker.publishing.publisher import Publisher
from tests.properties.life_job import Job, current_job
from tests.properties.life_process import call_under_way, current_process, gated, stand_at_gate


class ToldServer(ChatKitServer[Any]):
    """Answers as the test tells it to."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ThreadStreamEvent]:
        job, items, number = current_job(), list[AssistantMessageItem](), 0
        job.rewound = True
        while True:
            match action := await _told(job):
                case "show":
                    items.append(_item(f"{context.run_id}/{context.attempt}/{number}", thread))
                    number += 1
                    yield ThreadItemAddedEvent(item=items[-1])
                case "text" if items:
                    delta = AssistantMessageContentPartTextDelta(content_index=0, delta="x")
                    yield ThreadItemUpdatedEvent(item_id=items[-1].id, update=delta)
                case "keep" if items:
                    yield ThreadItemDoneEvent(item=items.pop())
                case "flush" | "reply lost" | "half":
                    await job.publish(action)
                case "forbid":
                    await context.forbid_next_attempt()
                    job.is_last = True
                case "finish":
                    return
                case "fail":
                    raise StreamError(ErrorCode.STREAM_ERROR, allow_retry=True)
                case _:
                    pass


async def _told(job: Job) -> str:
    """What to do next. A server that is cancelled meanwhile takes its time to clean up."""
    try:
        return await job.process.gate()
    except asyncio.CancelledError:
        await job.process.gate()
        raise


def _item(item_id: str, thread: ThreadMetadata) -> AssistantMessageItem:
    content = [AssistantMessageContent(text="x")]
    return AssistantMessageItem(
        id=item_id, thread_id=thread.id, created_at=datetime(2026, 1, 1), content=content
    )


class GatedStore(PostgresStore):
    """Our store. The server and the SDK wait before each write."""

    def __init__(self, database: Database) -> None:
        calls = StoreCalls(database, waits=is_executing, calling=_calling)
        super().__init__(calls, given=note_given_id)
        self._database = database

    async def add_thread_item(self, thread_id: str, item: ThreadItem, context: Any) -> None:
        await stand_at_gate(self._database)
        await super().add_thread_item(thread_id, item, context)

    async def save_thread(self, thread: ThreadMetadata, context: Any) -> None:
        await stand_at_gate(self._database)
        await super().save_thread(thread, context)


@contextmanager
def _calling() -> Iterator[None]:
    with call_under_way(), calling_store():
        yield


class ToldJournal(JournalWriter):
    """Sends when the test says so, which also says whether the reply arrives, and whether half of it was sent."""

    job: Job

    async def _progress(self) -> None:
        if self.refused.done():
            raise self.refused.result()
        await self.send(await current_process().gate())

    async def send(self, how: str) -> None:
        """Sends what waits, or what was sent without a reply, if there is any."""
        job, publisher = self.job, self._publisher
        batch = self.next_batch(publisher._settings)
        if batch is None:
            return
        is_lost = job.attempt is not None and job.attempt.stopped is Stop.LOST
        assert job.ended or not is_lost, f"{job.run} is another's, and sends"
        for number, entry in enumerate(batch.entries):
            job.put[Cursor(batch.attempt, batch.first_seq + number)] = entry
        if how == "half":
            batch = replace(batch, entries=batch.entries[: (len(batch.entries) + 1) // 2])
        (reply,) = await publisher._send([batch])
        if how not in ("half", "reply lost"):
            publisher._settle(self, reply)


class ToldPublisher(Publisher):
    """Its loop does not run."""

    def open(self, run_id: str, attempt: int, serialize: Serialize) -> JournalWriter:
        journal = ToldJournal(self, run_id, attempt, serialize)
        journal.job = current_job()
        return journal

    def schedule(self, journal: JournalWriter, *, urgent: bool) -> None:
        pass


class NotedRuns(AttemptRuns):
    """Notes for the job the attempt that has begun."""

    async def start(self, run_id: str, *, uncounted: bool = False, by: UUID | None = None) -> Run | None:
        run = await super().start(run_id, uncounted=uncounted, by=by)
        if run is not None:
            job = current_job()
            job.attempt = job.worker.executor.attempts[run_id]
        return run


class NotedEndings(Endings):
    """Waits before it ends a row, and notes for the job that it has."""

    async def finish_row(self, run: Run, status: Status, error: str | None = None) -> Run | None:
        await stand_at_gate(self.database)
        promoted = await super().finish_row(run, status, error)
        job = current_job()
        job.ended = True
        assert job.attempt is not None
        journal = job.attempt.journal
        is_whole = not journal.waits and journal._in_flight is None
        assert is_whole or error == EXHAUSTED, f"{run} has ended before its journal had all events"
        return promoted


def told_site(database: Database) -> UserServer:
    """A worker's server, as worker/loading.py makes it."""
    user = UserServer(ToldServer(GatedStore(database)), lambda context: context)
    install_cancel_handler(user.server)
    return user


def noted_runs(database: Database) -> AttemptRuns:
    return gated(NotedRuns(database), database)
