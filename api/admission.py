"""Admission: everything that happens before a run is queued. What it refuses, it refuses with nothing written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from chatkit.types import (
    StreamingReq,
    StreamOptions,
    StreamOptionsEvent,
    ThreadsCreateReq,
    ThreadsRetryAfterItemReq,
)

from api.admit import Admitted, admit
from api.metrics import ADMITTED
from shared.chatkit import UserServer
from shared.database import Database
from shared.ending import Endings
from shared.errors import IdempotencyMismatch, RelaykitError, ThreadBusy
from shared.identity import RequestContext, set_current
from shared.journal import Batch, Field, Journals
from shared.queue import Queue
from shared.redis import insist
from shared.runs import Kind, Run, Runs, Status
from shared.settings import Settings
from shared.store import PostgresStore

MAY_WAIT = frozenset({Kind.MESSAGE, Kind.ACTION})
"""Kinds that make sense behind another run; the others answer something that the active run may change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One streaming request of an authenticated caller."""

    request: StreamingReq
    context: RequestContext
    """With the run's id, which is new."""
    request_hash: bytes
    idempotency_key: str | None
    token: bytes | None


@dataclass(frozen=True, slots=True)
class Admission:
    settings: Settings
    database: Database
    runs: Runs
    journals: Journals
    queue: Queue
    endings: Endings
    user: UserServer

    async def submit(self, submission: Submission) -> Run:
        """Admits the request and queues its run; accepted means that the row is committed.

        A repeated Idempotency-Key gives the run that it made the first time. Raises the errors that
        docs/protocol.md lists for POST /chatkit; after each of them nothing is written.
        """
        earlier = await self._earlier(submission) or await self._answering(submission)
        if earlier is not None:
            return earlier
        set_current(submission.context)
        context = self.user.context(submission.context)
        reachable = asyncio.create_task(self.queue.ping())
        try:
            async with self._unit_of_work(submission, reachable):
                admitted = await admit(self.user.server, submission.request, context)
                options = self.user.server.get_stream_options(admitted.thread, context)
                run = _row(submission, admitted, options)
                status = await self._insert(run, submission)
        except RelaykitError:
            # the same request may have been admitted meanwhile, which is why this one was refused
            earlier = await self._earlier(submission)
            if earlier is None:
                raise
            return earlier
        finally:
            await asyncio.gather(reachable, return_exceptions=True)
        events = [*admitted.events, StreamOptionsEvent(stream_options=options)]
        ADMITTED.labels(run.kind.value).inc()
        await self._publish(run, [self.user.server._serialize(event) for event in events], status)
        return run

    async def _earlier(self, submission: Submission) -> Run | None:
        if submission.idempotency_key is None:
            return None
        context = submission.context
        run = await self.runs.by_idempotency_key(
            context.tenant or "", context.user_id, submission.idempotency_key
        )
        if run is not None and run.request_hash != submission.request_hash:
            raise IdempotencyMismatch
        return run

    async def _answering(self, submission: Submission) -> Run | None:
        """The run that a retry asks for again: the stock widget's Retry after a lost network."""
        request, context = submission.request, submission.context
        if not isinstance(request, ThreadsRetryAfterItemReq):
            return None
        params = request.params
        return await self.runs.answering(
            context.tenant or "", context.user_id, params.thread_id, params.item_id
        )

    @asynccontextmanager
    async def _unit_of_work(self, submission: Submission, reachable: Awaitable[None]) -> AsyncIterator[None]:
        """Writes nothing where Redis is away.

        With our store the thread, the item and the row are one transaction. A foreign store writes its own way and
        takes nothing back, so that what can be seen to be refused is refused before.
        """
        if isinstance(self.user.server.store, PostgresStore):
            async with self.database.transaction():
                yield
                await reachable
        else:
            await reachable
            await self._refuse_where_busy(submission)
            yield

    async def _refuse_where_busy(self, submission: Submission) -> None:
        request, context = submission.request, submission.context
        if isinstance(request, ThreadsCreateReq) or self._may_wait(Kind(request.type)):
            return
        active = await self.runs.active(context.tenant or "", context.user_id, request.params.thread_id)
        if active is not None:
            raise ThreadBusy(active.id)

    def _may_wait(self, kind: Kind) -> bool:
        return self.settings.thread_policy != "reject" and kind in MAY_WAIT

    async def _insert(self, run: Run, submission: Submission) -> Status:
        async with self._row_transaction():
            return await self.runs.insert(
                run,
                idempotency_key=submission.idempotency_key,
                allow_waiting=self._may_wait(run.kind),
            )

    @asynccontextmanager
    async def _row_transaction(self) -> AsyncIterator[None]:
        if isinstance(self.user.server.store, PostgresStore):
            yield
        else:
            async with self.database.transaction():
                yield

    async def _publish(self, run: Run, events: list[bytes], status: Status) -> None:
        batch = Batch(
            run_id=run.id,
            attempt=0,
            first_seq=1,
            entries=[(Field.EVENT, event) for event in events],
            ttl_seconds=self.settings.journal_ttl_seconds,
        )
        await insist(lambda: self.journals.append(batch))
        if status is Status.QUEUED:
            await insist(lambda: self.queue.enqueue(run.id))
        elif self.settings.thread_policy == "interrupt":
            for other in await self.runs.unended(run.tenant, run.owner, run.thread_id, before=run.id):
                await self.endings.cancel(other)


def _row(submission: Submission, admitted: Admitted, options: StreamOptions) -> Run:
    context = submission.context
    if context.run_id is None:
        raise ValueError("the context of a submission carries the id of its run")
    return Run(
        id=context.run_id,
        tenant=context.tenant or "",
        owner=context.user_id,
        thread_id=admitted.thread.id,
        kind=Kind(submission.request.type),
        status=Status.QUEUED,
        attempt=0,
        handed_back=0,
        anchor_item_id=admitted.anchor_item_id,
        input={**admitted.input, "stream_options": options.model_dump()},
        context=_context(context),
        token=submission.token,
        cancel_requested=False,
        error=None,
        request_hash=submission.request_hash,
    )


def _context(context: RequestContext) -> dict[str, Any]:
    return {
        "claims": dict(context.claims),
        "locale": context.locale,
        "metadata": dict(context.metadata),
        "request_id": context.request_id,
    }
