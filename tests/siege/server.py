"""The ChatKit server of a siege: the example's, which answers a message that holds a script as the script says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from chatkit.store import AttachmentStore, Store
from chatkit.types import ThreadMetadata, ThreadStreamEvent, UserMessageItem

from relaykit.examples.assistant import AssistantServer
from tests.chaos.script import text_of
from tests.chaos.server import ChaosServer

SCRIPT = '{"tag": '


class SiegeServer(AssistantServer):
    """Scripts come at a steady pace. All else reads the thread and its attachments, as the example does."""

    def __init__(self, store: Store[Any], attachment_store: AttachmentStore[Any] | None = None) -> None:
        super().__init__(store, attachment_store)
        self._scripted = ChaosServer(store)

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        scripted = input_user_message is not None and text_of(input_user_message.model_dump()).startswith(
            SCRIPT
        )
        server = self._scripted if scripted else super()
        async for event in server.respond(thread, input_user_message, context):
            yield event
