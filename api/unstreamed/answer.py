"""The requests of the ChatKit protocol that are answered at once: checked, answered by the server, errors made ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from chatkit.server import ChatKitServer
from chatkit.store import NotFoundError
from chatkit.types import (
    AttachmentsCreateReq,
    AttachmentsDeleteReq,
    ItemFeedbackParams,
    ItemsFeedbackReq,
    ItemsListParams,
    ItemsListReq,
    NonStreamingReq,
    ThreadsDeleteReq,
    ThreadsGetByIdReq,
    ThreadsListReq,
    ThreadsSyncCustomActionReq,
    ThreadsUpdateReq,
)

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.api.admission.admission_rows import AdmissionRuns
from relaykit.api.admission.parse import ListByUseParams
from relaykit.api.site.server_code import reaches_code
from relaykit.api.thread_marks import ThreadMarks
from relaykit.api.unstreamed.thread_list import list_by_use, lists_by_use
from relaykit.shared.endings import Endings
from relaykit.shared.errors import (
    AttachmentInUse,
    AttachmentNotFound,
    ItemMismatch,
    ItemNotFound,
    NotSupported,
    QueueUnavailable,
    ThreadNotFound,
)
from relaykit.shared.identity import RequestContext, acting_as
from relaykit.shared.runs.given_up import GivenUp
from relaykit.shared.site.checks import overrides
from relaykit.shared.site.refusals import server_refusals
from relaykit.shared.site.store_extras import ABSENT
from relaykit.shared.site.user_server import UserServer

_OF_THE_STORE: Final = (ThreadsGetByIdReq, ThreadsListReq, ItemsListReq, ThreadsUpdateReq, ThreadsDeleteReq)
"""Requests that the store alone answers, so that a LookupError is the store's."""
_NOT_A_WIDGET = "threads.sync_custom_action requires a widget sender item"


@dataclass(frozen=True, slots=True)
class UnstreamedRequests:
    """On the site's server, its runs, and what ends them."""

    user: UserServer
    queue: AdmissionQueue
    runs: AdmissionRuns
    marks: ThreadMarks
    endings: Endings

    async def answer(self, request: NonStreamingReq, context: RequestContext) -> bytes:
        """The JSON of the answer, given while `context` acts. Raises the request's errors, and the server's own."""
        with acting_as(context):
            return await self._answer(request, context)

    async def _answer(self, request: NonStreamingReq, context: RequestContext) -> bytes:
        user = self.user
        concerns_attachment = isinstance(request, (AttachmentsCreateReq, AttachmentsDeleteReq))
        if concerns_attachment and not _stores_attachments(self.user.server):
            raise NotSupported("The server stores no attachments.")
        server_context = await user.context(context)
        if isinstance(request, ThreadsDeleteReq):
            await self._stop_runs(request.params.thread_id, context)
        try:
            with server_refusals():
                async with self._one_action_at_a_time(request, context):
                    answer = await user.run(
                        lambda: _process(user, request, server_context),
                        reaches_code=reaches_code(user, request),
                    )
        except ABSENT as error:
            if not (isinstance(error, NotFoundError) or isinstance(request, _OF_THE_STORE)):
                raise  # a defect in the site's own method
            await self._note_gone(request, context)  # where the answer to the first request was lost
            raise _not_found(request) from error
        except NotImplementedError as error:
            raise NotSupported from error
        except ValueError as error:
            if isinstance(request, ThreadsSyncCustomActionReq) and error.args == (_NOT_A_WIDGET,):
                raise ItemMismatch("The sender of the action is not a widget.") from error
            raise
        await self._note_gone(request, context)
        await self._keep_feedback(request, context)
        return answer

    async def _note_gone(self, request: NonStreamingReq, context: RequestContext) -> None:
        """Notes the runs of a thread that a store of the site's own has deleted, so that their journals are erased.

        Our store does so itself.
        """
        if isinstance(request, ThreadsDeleteReq) and not self.user.is_store_ours:
            await self.runs.note_gone(context.owner, request.params.thread_id)

    async def _keep_feedback(self, request: NonStreamingReq, context: RequestContext) -> None:
        """Feedback that the server's own code has taken is shown again after a reload, where the items are ours."""
        if isinstance(request, ItemsFeedbackReq) and self.user.is_store_ours:
            given = request.params
            await self.marks.set_feedback(context.owner, given.thread_id, given.item_ids, given.kind)

    @asynccontextmanager
    async def _one_action_at_a_time(
        self, request: NonStreamingReq, context: RequestContext
    ) -> AsyncIterator[None]:
        """Two clicks on one widget would each load it, change it and write it: one of them would be lost.

        Where Redis is away, or the one before takes very long, the next does not wait for it.
        """
        async with AsyncExitStack() as stack:
            if isinstance(request, ThreadsSyncCustomActionReq) and request.params.item_id:
                lock = self.queue.widget_lock(context.owner, request.params.thread_id, request.params.item_id)
                with suppress(QueueUnavailable):
                    await stack.enter_async_context(lock)
            yield

    async def _stop_runs(self, thread_id: str, context: RequestContext) -> None:
        """Nothing of a thread goes on once it is deleted."""
        for run in await self.runs.unfinished(context.owner, thread_id):
            await self.endings.cancel(run)
        await self.endings.end_wait(context.owner, thread_id, GivenUp.STOPPED)


async def _process(user: UserServer, request: NonStreamingReq, context: Any) -> bytes:
    match request:
        case ItemsFeedbackReq():
            await _check_items(user, request.params, context)
        case AttachmentsDeleteReq():
            await _check_unsent(user, request.params.attachment_id, context)
        case ThreadsListReq(params=ListByUseParams() as params) if lists_by_use(user):
            return await list_by_use(user, params, context)
        case _:
            pass
    return await user.server._process_non_streaming(request, context)


def _stores_attachments(server: ChatKitServer[Any]) -> bool:
    return server.attachment_store is not None or overrides(server, "_get_attachment_store")


async def _check_items(user: UserServer, given: ItemFeedbackParams, context: Any) -> None:
    """The SDK hands these ids to the user's own code without a look at whose they are."""
    try:
        await user.server.store.load_thread(given.thread_id, context)
    except ABSENT as error:
        raise ThreadNotFound from error
    if not await user.extras.has_items(given.thread_id, given.item_ids, context):
        raise ItemNotFound


async def _check_unsent(user: UserServer, attachment_id: str, context: Any) -> None:
    """The SDK has the attachment store delete the bytes before it asks our store."""
    if await user.extras.is_attachment_sent(attachment_id, context):
        raise AttachmentInUse


def _not_found(request: NonStreamingReq) -> ThreadNotFound | ItemNotFound | AttachmentNotFound:
    match request:
        case AttachmentsDeleteReq():
            return AttachmentNotFound()
        case ThreadsSyncCustomActionReq() | ItemsListReq(params=ItemsListParams(after=str())):
            return ItemNotFound("There is no such thread, or no such item in it.")
        case _:
            return ThreadNotFound()
