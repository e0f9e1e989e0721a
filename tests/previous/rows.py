"""What an API and a worker do to the rows of runs and items, and how this release does it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chatkit.types import InferenceOptions, ThreadMetadata, UserMessageItem, UserMessageTextContent

from relaykit.shared.endings import Endings
from relaykit.shared.errors import Fenced, IdempotencyMismatch, ThreadBusy
from relaykit.shared.identity import RequestContext
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.run import Kind, Run, Status
from relaykit.shared.threads.store import PostgresStore
from relaykit.worker.execution.rewind import take_back
from tests.support.both_sides import WholeRuns

OWNER = Owner(tenant="acme", user_id="alice")


class Rows(Protocol):
    """What an API and a worker do to the rows. An attempt is fenced where a later one has begun."""

    async def open_thread(self, thread_id: str) -> None: ...

    async def admit(
        self, run_id: str, thread_id: str, *, may_wait: bool = True, key: str | None = None
    ) -> str:
        """The message and its run: queued, waiting, or with nothing written busy or key_taken."""

    async def start(self, run_id: str) -> int | None:
        """The attempt that begins; None where the run has ended."""

    async def write(self, run_id: str, attempt: int, thread_id: str, item_id: str) -> bool:
        """Whether the attempt may still write."""

    async def take_back(self, run_id: str, attempt: int, thread_id: str) -> None:
        """What the attempts before have added to the thread, and nothing else."""

    async def finish(self, run_id: str, attempt: int, thread_id: str) -> bool:
        """Whether the run was the attempt's to complete; the one that waited behind it is queued then."""

    async def hand_back(self, run_id: str, attempt: int) -> bool: ...

    async def stop(self, run_id: str, thread_id: str) -> None:
        """Cancels what has not begun, and asks what is running to stop."""


def message(thread_id: str, item_id: str) -> UserMessageItem:
    return UserMessageItem(
        id=item_id,
        thread_id=thread_id,
        created_at=datetime.now(),
        content=[UserMessageTextContent(text="hello")],
        inference_options=InferenceOptions(),
    )


def input_item(run_id: str) -> str:
    return f"msg_of_{run_id}"


@dataclass(frozen=True)
class CurrentRows:
    """As this release, by its own code."""

    database: Database
    runs: WholeRuns
    store: PostgresStore
    endings: Endings

    async def open_thread(self, thread_id: str) -> None:
        await self.store.save_thread(ThreadMetadata(id=thread_id, created_at=datetime.now()), self._context())

    async def admit(
        self, run_id: str, thread_id: str, *, may_wait: bool = True, key: str | None = None
    ) -> str:
        item = message(thread_id, input_item(run_id)).model_dump_json()
        run = _run(run_id, thread_id, key)
        try:
            status = await self.runs.admit_message(
                run, may_wait=may_wait, caller_runs=0, new_thread=None, item=item, repeat_seconds=300
            )
        except ThreadBusy:
            return "busy"
        except IdempotencyMismatch:
            return "key_taken"
        return status.value

    async def start(self, run_id: str) -> int | None:
        run = await self.runs.start(run_id)
        return None if run is None else run.attempt

    async def write(self, run_id: str, attempt: int, thread_id: str, item_id: str) -> bool:
        context = self._context(run_id, attempt)
        try:
            await self.store.add_thread_item(thread_id, message(thread_id, item_id), context)
        except Fenced:
            return False
        return True

    async def take_back(self, run_id: str, attempt: int, thread_id: str) -> None:
        run = await self.runs.get(OWNER, run_id)
        context = self._context(run_id, attempt)
        await take_back(self.endings.user, self.database, self.runs, run, context)

    async def finish(self, run_id: str, attempt: int, thread_id: str) -> bool:
        try:
            await self.endings.finish_row(_run(run_id, thread_id, None, attempt), Status.COMPLETED)
        except Fenced:
            return False
        return True

    async def hand_back(self, run_id: str, attempt: int) -> bool:
        return await self.runs.hand_back(_run(run_id, "", None, attempt))

    async def stop(self, run_id: str, thread_id: str) -> None:
        await self.endings.cancel(await self.runs.get(OWNER, run_id))

    def _context(self, run_id: str | None = None, attempt: int | None = None) -> RequestContext:
        return RequestContext(user_id=OWNER.user_id, tenant=OWNER.tenant, run_id=run_id, attempt=attempt)


def _run(run_id: str, thread_id: str, key: str | None, attempt: int = 0) -> Run:
    return Run(
        id=run_id,
        owner=OWNER,
        thread_id=thread_id,
        kind=Kind.MESSAGE,
        status=Status.QUEUED,
        attempt=attempt,
        handed_back=0,
        anchor_item_id=input_item(run_id),
        input={"item_id": input_item(run_id), "stream_options": {"allow_cancel": True}},
        context={},
        token=None,
        cancel_requested=False,
        error=None,
        request_hash=run_id.encode(),
        idempotency_key=key,
    )
