"""The lounge's server: its constructor takes nothing, and makes the stores itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from agents import Runner
from chatkit.agents import ThreadItemConverter, stream_agent_response
from chatkit.server import ChatKitServer
from chatkit.types import (
    Action,
    AssistantMessageContent,
    AssistantMessageItem,
    HiddenContextItem,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    WidgetItem,
)

from app.agent import CatContext, caretaker
from app.cat_state import UNNAMED
from app.cat_store import CatStore
from app.memory_store import MemoryStore
from app.widgets import SELECT_NAME, names_widget


class LoungeServer(ChatKitServer[dict[str, Any]]):
    def __init__(self) -> None:
        self.store: MemoryStore = MemoryStore()
        super().__init__(self.store)
        self.cat_store = CatStore()
        self.converter = ThreadItemConverter()

    async def respond(
        self, thread: ThreadMetadata, item: UserMessageItem | None, context: dict[str, Any]
    ) -> AsyncIterator[ThreadStreamEvent]:
        agent_context = CatContext(
            thread=thread, store=self.store, cats=self.cat_store, request_context=context
        )
        page = await self.store.load_thread_items(thread.id, None, 20, "desc", context)
        asked = await self.converter.to_agent_input(list(reversed(page.data)))
        result = Runner.run_streamed(caretaker, asked, context=agent_context)
        async for event in stream_agent_response(agent_context, result):
            yield event

    async def action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: dict[str, Any],
    ) -> AsyncIterator[ThreadStreamEvent]:
        if action.type != SELECT_NAME or sender is None:
            return
        name, names = action.payload["name"], action.payload["names"]
        known = await self.cat_store.load(thread.id)
        if known.name == UNNAMED:
            known = await self.cat_store.mutate(thread.id, lambda cat: cat.rename(name))
            thread.title = f"{known.name}'s lounge"
            await self.store.save_thread(thread, context)
            hidden = HiddenContextItem(
                id=self.store.generate_item_id("message", thread, context),
                thread_id=thread.id,
                created_at=datetime.now(),
                content=f"<CAT_NAME_SELECTED>{known.name}</CAT_NAME_SELECTED>",
            )
            await self.store.add_thread_item(thread.id, hidden, context)
        chosen = sender.model_copy(update={"widget": names_widget(names, known.name)})
        yield ThreadItemReplacedEvent(item=chosen)
        yield ThreadItemDoneEvent(
            item=AssistantMessageItem(
                id=self.store.generate_item_id("message", thread, context),
                thread_id=thread.id,
                created_at=datetime.now(),
                content=[AssistantMessageContent(text=f"{known.name} purrs.")],
            )
        )


def create_chatkit_server() -> LoungeServer:
    return LoungeServer()
