"""Takes back a message that waits for its turn."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from relaykit.shared.identity import RequestContext, acting_as
from relaykit.shared.journal import Journals
from relaykit.shared.metrics import count_ended
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis.client import retry_briefly
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.rows import Runs
from relaykit.shared.runs.run import Kind, Run, Status
from relaykit.shared.site.store_extras import ABSENT
from relaykit.shared.site.user_server import UserServer


@dataclass(frozen=True, slots=True)
class Withdrawals:
    """A stop leaves the message in its thread, where the next run reads it; a withdrawal removes it."""

    database: Database
    runs: Runs
    journals: Journals
    user: UserServer

    async def withdraw(self, run: Run) -> bool:
        """Ends the run of a message that waits behind another run, and removes the message from its thread.

        False, with nothing done, where the run does not wait any more, or has no message; True again for what was taken
        back before. With our store both happen or neither; a foreign one loses the message after the run has ended.
        """
        request = request_context(run)
        context = await self.user.store_context(request)
        is_ours = self.user.is_store_ours
        async with self.database.transaction():
            await self.runs.lock_thread(run)  # what waits is queued under this lock
            run = await self.runs.get(run.owner, run.id)
            waits = run.status is Status.WAITING and run.kind is Kind.MESSAGE
            is_cancelled = waits and await self.runs.request_cancel(run) is Status.CANCELLED
            if is_cancelled and is_ours:
                await self._remove_message(run, request, context)
        if not is_cancelled:
            was_cancelled = run.status is Status.CANCELLED and run.kind is Kind.MESSAGE
            return was_cancelled and await self._is_removed(run, request, context)
        if not is_ours:
            await self.user.run(lambda: self._remove_message(run, request, context), reaches_code=True)
        count_ended(run.kind.value, Status.CANCELLED.value, None)
        await retry_briefly(lambda: self.journals.end(run.id, run.attempt, Status.CANCELLED))
        return True

    async def _remove_message(self, run: Run, request: RequestContext, context: object) -> None:
        with acting_as(request), suppress(*ABSENT):  # the thread was deleted
            await self.user.server.store.delete_thread_item(run.thread_id, run.input["item_id"], context)

    async def _is_removed(self, run: Run, request: RequestContext, context: object) -> bool:
        store, item_id = self.user.server.store, run.input["item_id"]
        with acting_as(request):
            try:
                await self.user.run(
                    lambda: store.load_item(run.thread_id, item_id, context),
                    reaches_code=not self.user.is_store_ours,
                )
            except ABSENT:
                return True
        return False
