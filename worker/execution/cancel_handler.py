"""What is kept of a stopped answer.

The SDK knows one reason for a cancelled stream, the user's stop, and stores a note that says so. A time-out, a drain
and a lost lease are not that: the handler installed here gives each what it is.
"""

from __future__ import annotations

from typing import Any

from chatkit.server import ChatKitServer
from chatkit.types import AssistantMessageItem, ThreadItem, ThreadMetadata

from relaykit.worker.execution.current_attempt import served_attempt
from relaykit.worker.execution.stop import Stop


def install_cancel_handler(server: ChatKitServer[Any]) -> None:
    """Has `server.handle_stream_cancelled` follow the reason for which the attempt that it is called in was stopped."""
    original = server.handle_stream_cancelled

    async def handle_stream_cancelled(
        thread: ThreadMetadata, pending_items: list[ThreadItem], context: Any
    ) -> None:
        attempt = served_attempt.get()
        if attempt is None:
            await original(thread, pending_items, context)
            return
        attempt.sdk_notified = True
        if attempt.is_left_behind:
            return
        match attempt.stopped:
            case Stop.USER | None:
                await original(thread, pending_items, context)
            case Stop.TIMEOUT | Stop.ABANDONED | Stop.DRAIN:
                await _keep_partial(server, thread, pending_items, context)
            case Stop.LOST:
                pass

    server.handle_stream_cancelled = handle_stream_cancelled  # type: ignore[method-assign]


async def _keep_partial(
    server: ChatKitServer[Any], thread: ThreadMetadata, pending_items: list[ThreadItem], context: Any
) -> None:
    for item in pending_items:
        if isinstance(item, AssistantMessageItem) and any(part.text.strip() for part in item.content):
            await server.store.add_thread_item(thread.id, item, context=context)
