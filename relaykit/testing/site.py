"""The product's admission and execution, wired over the stand-ins of PostgreSQL and Redis: a site in memory."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from chatkit.types import ChatKitReq, is_streaming_req

from relaykit.api.admission.admission import Admission
from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.api.admission.idempotency import EarlierRuns, request_hash
from relaykit.api.admission.parse import ParsedRequest, parse
from relaykit.api.admission.submission import Submission
from relaykit.api.admission.writers.foreign import ForeignWriter
from relaykit.api.admission.writers.postgres import PostgresWriter
from relaykit.api.admission.writers.writer import AdmissionWriter
from relaykit.api.auth.identity import Identity
from relaykit.api.limits.caller_limits import Limits
from relaykit.api.limits.local_rates import LocalRates
from relaykit.api.receipts import Receipts
from relaykit.api.redis_reach import RedisState
from relaykit.api.thread_marks import ThreadMarks
from relaykit.api.unstreamed.answer import UnstreamedRequests
from relaykit.shared.attachments.store import build_attachment_store, build_previews
from relaykit.shared.endings import Endings
from relaykit.shared.errors import RunNotFound
from relaykit.shared.identity import RequestContext
from relaykit.shared.owner import Owner
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.runs.given_up import GivenUp
from relaykit.shared.runs.run import Run
from relaykit.shared.settings import Settings
from relaykit.shared.site.site_process import SiteProcess
from relaykit.shared.site.user_server import ContextFactory, UserServer
from relaykit.shared.tasks import end_tasks
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from relaykit.shared.token_box import TokenBox
from relaykit.testing import (
    admission_statements,
    attachments,
    run_statements,
    thread_statements,
    undo_statements,
)
from relaykit.testing.attachments import MemoryObjects
from relaykit.testing.journals import MemoryJournals, MemoryPublisher
from relaykit.testing.limits import MemoryByteBudget, MemoryGate
from relaykit.testing.loading import load, make_settings, with_context
from relaykit.testing.queue import MemoryQueue
from relaykit.testing.tables import MemoryDatabase
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.execution.cancel_handler import install_cancel_handler
from relaykit.worker.execution.current_attempt import (
    calling_store,
    is_executing,
    note_given_id,
    note_stored_item,
)
from relaykit.worker.execution.executor import Executor
from relaykit.worker.execution.stop import Stop
from relaykit.worker.execution.verdict import Outcome


class _Runs(AdmissionRuns, AttemptRuns):
    """Admits runs and begins their attempts."""


class _Receipts(Receipts):
    """Every client that asks for a run gets it: no request comes again for want of an answer."""

    def __init__(self) -> None:
        pass

    async def was_received(self, run_id: str) -> tuple[bool, bool]:
        return True, True

    async def delivered(self, run_ids: object) -> set[str]:
        return set()


@dataclass
class Site:
    """A server behind a queue, in memory: what the API does for a request, and what a worker does for a run."""

    settings: Settings
    database: MemoryDatabase
    user: UserServer
    journals: MemoryJournals = field(default_factory=MemoryJournals)
    jobs: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    """The task that executes each run."""
    objects: MemoryObjects | None = None
    """The bytes of attachments; None where the settings say so."""
    is_time_virtual: bool = True
    is_closing: bool = False

    def __post_init__(self) -> None:
        settings, database, user = self.settings, self.database, self.user
        self._box = TokenBox.of(settings.forward_token_key)
        runs, calls = _Runs(database), AwaitedCalls(database)
        queue = MemoryQueue(self._execute, self._stop)
        endings = Endings(settings, database, runs, calls, self.journals, queue, user)
        self.publisher = MemoryPublisher(self.journals, settings, self._lose)
        self.executor = Executor(
            settings, runs, self.journals, self.publisher, endings, user, self._box, lambda _: None
        )
        writer: AdmissionWriter = (
            ForeignWriter(settings, database, runs, queue, calls, user)
            if user.our_store is None
            else PostgresWriter(settings, database, runs, calls, user)
        )
        earlier = EarlierRuns(runs, self.journals, _Receipts(), settings.journal_ended_ttl_seconds)
        self._waits: dict[str, asyncio.Task[None]] = {}
        """The wait of each run for the output of its client tool call."""
        self._limits = Limits(
            settings,
            MemoryGate(),
            MemoryByteBudget(settings.caller_bytes_per_minute),
            RedisState(),
            LocalRates(),
        )
        self._runs = runs
        self._endings = endings
        self._admission = Admission(settings, runs, self.journals, queue, endings, earlier, writer)
        self._unstreamed = UnstreamedRequests(user, queue, runs, ThreadMarks(database), endings)

    async def receive(self, body: bytes, caller: RequestContext) -> ParsedRequest:
        """A request, counted and read as POST /chatkit does. Raises RateLimited and the errors of a body."""
        identity = Identity(
            caller.user_id, caller.tenant, caller.tier, caller.claims, token="", expires_at=math.inf
        )
        async with self._limits.counted(identity):
            await self._limits.spend_bytes(identity, len(body))
            return parse(body, self.settings)

    async def submit(
        self, body: bytes, parsed: ParsedRequest, context: RequestContext, key: str | None
    ) -> Run:
        """A streaming request: admitted, and on its way. Raises as POST /chatkit answers."""
        assert is_streaming_req(parsed.request)
        box, run_id, token = self._box, context.run_id, context.bearer_token
        submission = Submission(
            request=parsed.request,
            context=context,
            request_hash=request_hash(body, key),
            idempotency_key=key,
            token=box.seal(run_id, token) if box and run_id and token else None,
            max_attempts=None,
            queue_refusal=None,
            call_id=parsed.call_id,
        )
        return (await self._admission.submit(submission)).run

    async def answer(self, request: ChatKitReq, context: RequestContext) -> bytes:
        """Any other request. Raises as POST /chatkit answers."""
        assert not is_streaming_req(request)
        return await self._unstreamed.answer(request, context)

    async def upload(self, attachment_id: str, data: bytes) -> None:
        """As PUT /attachments/{id} does for a signed link. Raises as that answers."""
        if self.objects is None or self.user.our_attachments is None:
            raise ValueError("the server's attachments are not stored by Relaykit: upload to its own store")

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        await self.objects.write(await self.objects.find(attachment_id), chunks())

    async def cancel(self, owner: Owner, run_id: str) -> None:
        await self._endings.cancel(await self._runs.get(owner, run_id))

    def check(self, run_id: str) -> None:
        """Raises where the run cannot come to its end: what its execution has failed with, or what it waits for."""
        job = self.jobs.get(run_id)
        if job is not None and job.done():
            if job.cancelled():
                raise RuntimeError(f"{run_id} was not executed to its end: its chat is closed")
            job.result()
        for wait in self._waits.values():
            if wait.done() and not wait.cancelled():
                wait.result()
        tables = self.database.tables
        run = tables.runs[run_id]
        call = tables.awaited_calls.get((run["tenant"], run["owner"], run["thread_id"]))
        if run["status"] == "waiting" and call is not None and not self.is_time_virtual:
            raise AssertionError(
                "the message waits for the output of a client tool call before it, for CLIENT_TOOL_SECONDS: call"
                " answer_tool() first, or leave virtual_time on"
            )

    # A worker

    def _execute(self, run_id: str) -> None:
        job = self.jobs.get(run_id)
        if not self.is_closing and (job is None or job.done()):
            # as in a worker, nothing of the request's task comes with it
            self.jobs[run_id] = asyncio.create_task(self._work(run_id), name=run_id, context=Context())

    async def _work(self, run_id: str) -> None:
        try:
            outcome = Outcome.AGAIN
            while outcome is Outcome.AGAIN and not self.is_closing:
                outcome = await self.executor.execute(run_id)
            self._begin_wait(run_id)
        finally:
            self.journals.wake()  # those too that wait behind it, perhaps for a client tool call by now

    def _begin_wait(self, run_id: str) -> None:
        """What the reaper does for a run that has ended with a client tool call."""
        for (tenant, user, _), call in self.database.tables.awaited_calls.items():
            if call["run_id"] == run_id and not self.is_closing:
                owner = Owner(tenant=tenant, user_id=user)
                wait = self._give_up(owner, run_id, call["until_at"])
                self._waits[run_id] = asyncio.create_task(wait, name=f"wait of {run_id}", context=Context())

    async def _give_up(self, owner: Owner, run_id: str, until_at: float) -> None:
        try:
            await asyncio.sleep(until_at - self.database.tables.now())
            promoted = await self._endings.give_up(await self._runs.get(owner, run_id), GivenUp.LATE)
            if promoted is not None:
                await self._endings.enqueue(promoted)
        except RunNotFound:
            return  # the thread was deleted
        finally:
            self.journals.wake()

    def _stop(self, run_id: str) -> None:
        attempt = self.executor.attempts.get(run_id)
        if attempt is not None:
            attempt.stop(Stop.USER)

    def _lose(self, run_id: str) -> None:
        self.executor.lose(run_id)

    async def close(self) -> None:
        """Ends what runs still."""
        self.is_closing = True
        await end_tasks([*self.jobs.values(), *self._waits.values()])


@asynccontextmanager
async def open_site(
    server: Any, context: ContextFactory | None, settings: Mapping[str, Any], *, is_time_virtual: bool
) -> AsyncIterator[Site]:
    """Loads the server, and publishes until the block ends. Raises ServerLoadError, ValueError."""
    made = make_settings(settings)
    modules = (admission_statements, run_statements, thread_statements, undo_statements, attachments)
    statements = {text: stand_in for module in modules for text, stand_in in module.STATEMENTS.items()}
    database = MemoryDatabase(made, statements)
    calls = StoreCalls(database, waits=is_executing, calling=calling_store)
    previews = build_previews(made)
    store = PostgresStore(
        calls,
        given=note_given_id,
        previews=previews,
        page_max_bytes=made.page_max_bytes,
        stored=note_stored_item,
    )
    objects = None if previews is None else MemoryObjects(database)
    files = build_attachment_store(made, database, objects, calls)
    async with load(server, SiteProcess("worker", made, store, files)).opened() as opened:
        user = with_context(opened, context)
        install_cancel_handler(user.server)
        site = Site(made, database, user, objects=objects, is_time_virtual=is_time_virtual)
        publishing = asyncio.create_task(site.publisher.run())
        try:
            yield site
        finally:
            await site.close()
            await end_tasks([publishing])


def new_request_id() -> str:
    return uuid4().hex
