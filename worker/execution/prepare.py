"""What the server is called with: the thread, and the item that the run is about."""

from __future__ import annotations

import asyncio
from typing import Any, assert_never

from chatkit.actions import Action
from chatkit.store import Store
from chatkit.types import (
    Page,
    StructuredInputItem,
    Thread,
    ThreadItem,
    ThreadItemReplacedEvent,
    ThreadMetadata,
    UserMessageItem,
    WidgetItem,
)
from pydantic import TypeAdapter

from relaykit.shared.crashes import site_code
from relaykit.shared.runs.run import Kind, Run
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.threads.store import ITEM, read_thread
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.current_attempt import executing
from relaykit.worker.execution.server_events import Prepared

_ACTION: TypeAdapter[Action[str, Any]] = TypeAdapter(Action[str, Any])


async def prepare(attempt: Attempt, user: UserServer) -> Prepared:
    """Loads what the run half is called with. Raises what the server's store raises."""
    run, context = attempt.run, attempt.context
    with site_code, executing(attempt):
        thread, item = _loaded(user, run, context) or await _load(user.server.store, run, context)
    if run.kind is Kind.CREATE:
        thread = Thread(**thread.model_dump(), items=Page())
    return _prepared(run, user, thread, item, context)


def _loaded(user: UserServer, run: Run, context: Any) -> tuple[ThreadMetadata, ThreadItem] | None:
    """What came with the row of a first attempt: the message that is to be answered is the anchor."""
    if not user.is_store_ours or run.attempt > 1 or run.anchor_item_id != run.input.get("item_id"):
        return None
    if run.thread is None or run.anchor is None:
        return None
    return read_thread(run.thread_id, run.thread, context), ITEM.validate_json(run.anchor)


async def _load(store: Store[Any], run: Run, context: Any) -> tuple[ThreadMetadata, ThreadItem | None]:
    """The thread, and the item that the run is about, where it is about a stored one."""
    item_id = run.input.get("item_id")
    thread = store.load_thread(run.thread_id, context)
    if not item_id:
        return await thread, None
    return await asyncio.gather(thread, store.load_item(run.thread_id, item_id, context))


def _prepared(
    run: Run, user: UserServer, thread: ThreadMetadata, item: ThreadItem | None, context: Any
) -> Prepared:
    server = user.server
    match run.kind:
        case Kind.CREATE | Kind.MESSAGE | Kind.RETRY:
            if not isinstance(item, UserMessageItem):
                raise TypeError("the run's input is not a user message")
            return Prepared(thread, server.respond, (thread, item, context))
        case Kind.CLIENT_TOOL_OUTPUT:
            return Prepared(thread, server.respond, (thread, None, context))
        case Kind.STRUCTURED_INPUT:
            answered = ThreadItemReplacedEvent(item=StructuredInputItem.model_validate(run.input["item"]))
            return Prepared(thread, server.respond, (thread, None, context), answered)
        case Kind.ACTION:
            if item is not None and not isinstance(item, WidgetItem):
                raise TypeError("the sender of the action is not a widget")
            action = _ACTION.validate_python(run.input["action"])
            return Prepared(thread, server.action, (thread, action, item, context))
        case _:
            assert_never(run.kind)
