"""The first half of each streaming request type: what the client sent, checked and made ready; it produces no answer.

The SDK does this at the head of ChatKitServer._process_streaming_impl, after the 200. Here it comes before, through
the SDK's own helpers, so that an unknown thread is a 404 and not a broken stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from chatkit.server import ChatKitServer
from chatkit.types import (
    ClientToolCallItem,
    Page,
    StreamingReq,
    StructuredInputItem,
    Thread,
    ThreadCreatedEvent,
    ThreadItem,
    ThreadItemDoneEvent,
    ThreadMetadata,
    ThreadsAddClientToolOutputReq,
    ThreadsAddStructuredInputReq,
    ThreadsAddUserMessageReq,
    ThreadsCreateReq,
    ThreadsCustomActionReq,
    ThreadsRetryAfterItemReq,
    ThreadStreamEvent,
    UserMessageInput,
    UserMessageItem,
    WidgetItem,
)

from relaykit.shared.errors import (
    AttachmentNotFound,
    AttachmentNotUploaded,
    ItemMismatch,
    ItemNotFound,
    ThreadNotFound,
)
from relaykit.shared.site.store_extras import ABSENT
from relaykit.shared.site.user_server import UserServer

Server = ChatKitServer[Any]


@dataclass(frozen=True, slots=True)
class AcceptedRequest:
    """What the first half of a request leaves to the run. Nothing is promised before the row is committed."""

    thread: ThreadMetadata
    input: dict[str, Any]
    """What the run half needs besides the thread; JSON."""
    anchor_item_id: str | None
    """The newest item after admission: what is newer belongs to an attempt."""
    events: tuple[ThreadStreamEvent, ...] = ()
    message: UserMessageItem | None = None
    """The new message, if there is one: admission's writer stores it, and its thread where that is new."""
    is_new_thread: bool = False

    @property
    def metadata(self) -> ThreadMetadata:
        """The thread as a store takes it."""
        return ThreadMetadata(**self.thread.model_dump())


@dataclass(frozen=True, slots=True)
class Calls:
    """The client tool calls that an output may be for."""

    awaited: str | None = None
    """The one that the thread awaits; without it that is the thread's newest item."""
    named: str | None = None
    """The one that the client means, where it says so."""


async def accept_request(
    user: UserServer, request: StreamingReq, context: Any, calls: Calls = Calls()
) -> AcceptedRequest:
    """Writes what the request changes in an existing thread; a new message is given back, and not stored.

    Raises ThreadNotFound, ItemNotFound, ItemMismatch, AttachmentNotFound or AttachmentNotUploaded.
    """
    server = user.server
    match request:
        case ThreadsCreateReq():
            return await _create(user, request, context)
        case ThreadsAddUserMessageReq():
            return await _add_user_message(user, request, context)
        case ThreadsAddClientToolOutputReq():
            return await _add_client_tool_output(server, request, context, calls)
        case ThreadsAddStructuredInputReq():
            return await _add_structured_input(server, request, context)
        case ThreadsRetryAfterItemReq():
            return await _retry_after_item(user, request, context)
        case ThreadsCustomActionReq():
            return await _custom_action(server, request, context)
        case _:
            assert_never(request)


async def store_message(user: UserServer, accepted: AcceptedRequest, context: Any) -> None:
    """Stores the message and what comes with it."""
    message = accepted.message
    if message is None:
        return
    server = user.server
    if accepted.is_new_thread:
        await server.store.save_thread(accepted.metadata, context)
    for attachment in message.attachments:
        await server.store.save_attachment(attachment, context)
    await server.store.add_thread_item(accepted.thread.id, message, context)
    # our store has noted that with the message
    if message.attachments and user.our_attachments is not None and not user.is_store_ours:
        await user.our_attachments.note_sent([each.id for each in message.attachments], context)


async def _create(user: UserServer, request: ThreadsCreateReq, context: Any) -> AcceptedRequest:
    server = user.server
    thread = Thread(id=server.store.generate_thread_id(context), created_at=datetime.now(), items=Page())
    item = await _build_item(user, request.params.input, thread, context)
    created = ThreadCreatedEvent(thread=server._to_thread_response(thread))
    events = (created, ThreadItemDoneEvent(item=item))
    return AcceptedRequest(thread, {"item_id": item.id}, item.id, events, item, is_new_thread=True)


async def _add_user_message(
    user: UserServer, request: ThreadsAddUserMessageReq, context: Any
) -> AcceptedRequest:
    thread = await _thread(user.server, request.params.thread_id, context)
    item = await _build_item(user, request.params.input, thread, context)
    return AcceptedRequest(thread, {"item_id": item.id}, item.id, (ThreadItemDoneEvent(item=item),), item)


async def _add_client_tool_output(
    server: Server, request: ThreadsAddClientToolOutputReq, context: Any, calls: Calls
) -> AcceptedRequest:
    thread = await _thread(server, request.params.thread_id, context)
    newest = await _newest_item(server, thread.id, context)
    # behind the call that is awaited stand the messages that wait
    item = newest if calls.awaited is None else await _item(server, thread.id, calls.awaited, context)
    if (
        newest is None
        or not isinstance(item, ClientToolCallItem)
        or item.status != "pending"
        or calls.named not in (None, item.id)
    ):
        raise ItemMismatch("The thread awaits no output of a client tool: the call was answered or given up.")
    item.output = request.params.result
    item.status = "completed"
    await server.store.save_item(thread.id, item, context)
    await server._cleanup_pending_client_tool_call(thread, context)
    return AcceptedRequest(thread, {}, newest.id)


async def _add_structured_input(
    server: Server, request: ThreadsAddStructuredInputReq, context: Any
) -> AcceptedRequest:
    thread = await _thread(server, request.params.thread_id, context)
    item = await _item(server, thread.id, request.params.item_id, context)
    if not isinstance(item, StructuredInputItem):
        raise ItemMismatch("The item is not a structured input.")
    if item.status != "pending":
        raise ItemMismatch("The structured input is not pending.")
    updated = await server._apply_structured_input_submission(item, request.params.input)
    newest = await _newest_item(server, thread.id, context)
    return AcceptedRequest(thread, {"item": updated.model_dump(mode="json")}, newest.id if newest else None)


async def _retry_after_item(
    user: UserServer, request: ThreadsRetryAfterItemReq, context: Any
) -> AcceptedRequest:
    server = user.server
    thread = await _thread(server, request.params.thread_id, context)
    item = await _item(server, thread.id, request.params.item_id, context)
    if not isinstance(item, UserMessageItem):
        raise ItemMismatch("The item is not a user message.")
    with _absent(ItemNotFound):
        await user.extras.delete_newer(thread.id, item.id, context)
    return AcceptedRequest(thread, {"item_id": item.id}, item.id)


async def _custom_action(server: Server, request: ThreadsCustomActionReq, context: Any) -> AcceptedRequest:
    params = request.params
    thread = await _thread(server, params.thread_id, context)
    if params.item_id:
        sender = await _item(server, thread.id, params.item_id, context)
        if not isinstance(sender, WidgetItem):
            raise ItemMismatch("The sender of the action is not a widget.")
    newest = await _newest_item(server, thread.id, context)
    action = {"item_id": params.item_id, "action": params.action.model_dump(mode="json")}
    return AcceptedRequest(thread, action, newest.id if newest else None)


async def _build_item(
    user: UserServer, message: UserMessageInput, thread: ThreadMetadata, context: Any
) -> UserMessageItem:
    with _absent(AttachmentNotFound):
        item = await user.server._build_user_message_item(message, thread, context)
    for attachment in item.attachments:
        if attachment.upload_descriptor is not None and not await _is_uploaded(user, attachment.id, context):
            raise AttachmentNotUploaded
    return item


async def _is_uploaded(user: UserServer, attachment_id: str, context: Any) -> bool:
    """Ours knows; a foreign store keeps the descriptor that it was given, and a foreign attachment store decides."""
    store = user.our_attachments
    return store is None or await store.is_uploaded(attachment_id, context)


async def _thread(server: Server, thread_id: str, context: Any) -> ThreadMetadata:
    with _absent(ThreadNotFound):
        return await server.store.load_thread(thread_id, context)


async def _item(server: Server, thread_id: str, item_id: str, context: Any) -> ThreadItem:
    with _absent(ItemNotFound):
        return await server.store.load_item(thread_id, item_id, context)


async def _newest_item(server: Server, thread_id: str, context: Any) -> ThreadItem | None:
    page = await server.store.load_thread_items(thread_id, None, 1, "desc", context)
    return page.data[0] if page.data else None


@contextmanager
def _absent(error: type[ThreadNotFound | ItemNotFound | AttachmentNotFound]) -> Iterator[None]:
    try:
        yield
    except ABSENT as absent:
        raise error from absent
