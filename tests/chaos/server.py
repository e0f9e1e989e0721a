"""The ChatKit server of the chaos runs: answers each message as the script in it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, cast

from chatkit.server import ChatKitServer
from chatkit.store import Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ClientToolCallItem,
    ProgressUpdateEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
)

from tests.chaos.harm import inflict
from tests.chaos.script import AUTOMATIC_TITLE, LEDGER, SAME_ID, TALLY, Script, text_of

ITEMS_READ = 50


class ChaosServer(ChatKitServer[Any]):
    """Knows the message and nothing else: every attempt of a run gives the same texts."""

    def __init__(self, store: Store[Any]) -> None:
        super().__init__(store)

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        script = await self._script(thread, input_user_message, context)
        for number in range(script.items):
            if number:
                yield ProgressUpdateEvent(text=f"{number} of {script.items}")
                await asyncio.sleep(script.quiet_ms / 1000)
            item = self._item(thread, context, "", SAME_ID if script.same_ids else None)
            yield ThreadItemAddedEvent(item=item)
            for piece in script.pieces(number):
                await asyncio.sleep(script.pause_ms / 1000)
                update = AssistantMessageContentPartTextDelta(content_index=0, delta=piece)
                yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
            item = _with_text(item, script.streamed(number))
            yield ThreadItemDoneEvent(item=item)
            if number == 0 and script.tallies:
                for event in await self._tally(script, thread, context):
                    yield event
            if number == 0 and script.harm is not None:
                inflict(script.harm, context.attempt)
        if script.revised:
            yield ThreadItemReplacedEvent(item=_with_text(item, script.text(number)))
        if script.calls:
            yield ThreadItemDoneEvent(item=self._call(script, thread, context))

    async def _script(self, thread: ThreadMetadata, message: UserMessageItem | None, context: Any) -> Script:
        """That of the message, or what follows the output of the newest client tool call."""
        if message is not None:
            return Script.parse(text_of(message.model_dump()))
        newest = await self.store.load_thread_items(thread.id, None, ITEMS_READ, "desc", context)
        call = next(item for item in newest.data if isinstance(item, ClientToolCallItem))
        script = Script.parse(call.arguments["script"])
        if call.output != script.output:
            raise ValueError(f"the output of {script.tag} is {call.output}")
        return script.after_call

    def _call(self, script: Script, thread: ThreadMetadata, context: Any) -> ClientToolCallItem:
        return ClientToolCallItem(
            id=SAME_ID if script.same_ids else self.store.generate_item_id("tool_call", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            call_id=script.tag,
            name="chaos",
            arguments={"script": str(script)},
        )

    async def _tally(self, script: Script, thread: ThreadMetadata, context: Any) -> list[ThreadStreamEvent]:
        """Read, change, write: in the thread's metadata, its title and its ledger."""
        tag = script.tag
        thread.metadata[TALLY] = [*thread.metadata.get(TALLY, []), tag]
        thread.title = thread.title or f"{AUTOMATIC_TITLE}{tag}"
        ledger_id = thread.metadata.get(LEDGER)
        if ledger_id is None:
            ledger = self._item(thread, context, f"{LEDGER} {tag}")
            thread.metadata[LEDGER] = ledger.id
            return [ThreadItemDoneEvent(item=ledger)]
        ledger = cast(AssistantMessageItem, await self.store.load_item(thread.id, ledger_id, context))
        text = f"{ledger.content[0].text} {tag}"
        if not script.renews:
            return [ThreadItemReplacedEvent(item=_with_text(ledger, text))]
        renewed = self._item(thread, context, text)
        thread.metadata[LEDGER] = renewed.id
        return [ThreadItemDoneEvent(item=renewed), ThreadItemRemovedEvent(item_id=ledger_id)]

    def _item(
        self, thread: ThreadMetadata, context: Any, text: str, item_id: str | None = None
    ) -> AssistantMessageItem:
        return AssistantMessageItem(
            id=item_id or self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text=text)],
        )


def _with_text(item: AssistantMessageItem, text: str) -> AssistantMessageItem:
    return item.model_copy(update={"content": [AssistantMessageContent(text=text)]})
