"""The assistant: a ChatKitServer that runs an agent, with this project's docs as what it knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from typing import Any

from agents import Agent, ModelSettings, Runner
from chatkit.actions import Action
from chatkit.errors import CustomStreamError
from chatkit.server import ChatKitServer
from chatkit.store import AttachmentStore, NotFoundError, Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    SyncCustomActionResponse,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    WidgetItem,
)

from relaykit import RequestContext
from relaykit.examples.assistant.attachments import AttachmentReader
from relaykit.examples.assistant.citations import Citations
from relaykit.examples.assistant.converter import AssistantConverter
from relaykit.examples.assistant.corpus import Corpus
from relaykit.examples.assistant.history import load_history
from relaykit.examples.assistant.mcp import with_mcp_tools
from relaykit.examples.assistant.models import build_model
from relaykit.examples.assistant.prompt import build_instructions
from relaykit.examples.assistant.settings import AssistantSettings
from relaykit.examples.assistant.titles import derived_title, written_title
from relaykit.examples.assistant.tools import STOP_AT_CLIENT_TOOLS, build_tools
from relaykit.examples.assistant.turn import Turn, turn_events
from relaykit.examples.assistant.untrusted import Fence
from relaykit.examples.assistant.widgets import SET_STEP, Checklist, parse_set_step

MAX_MODEL_CALLS = 8
TITLE_GRACE_SECONDS = 2.0
"""How long the end of an answer may wait for a better title."""


class AssistantServer(ChatKitServer[RequestContext]):
    """Reads the environment (see README.md) and the docs when it is made; opens no connection."""

    def __init__(
        self,
        store: Store[RequestContext],
        attachment_store: AttachmentStore[RequestContext] | None = None,
        *,
        settings: AssistantSettings | None = None,
    ) -> None:
        super().__init__(store, attachment_store)
        self._settings = settings or AssistantSettings.from_environment()
        self._model, self._model_settings = build_model(self._settings)
        self._tools = build_tools(Corpus.read(self._settings.docs_dir))

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ThreadStreamEvent]:
        """Answers the message; without one, goes on from what the thread ends with, such as a tool's output."""
        fence = Fence()
        reader = AttachmentReader(self.attachment_store, context, fence)
        converter = AssistantConverter(reader, fence)
        history = await load_history(self.store, thread.id, input_user_message, converter, context)
        if not history:
            return
        turn = Turn(thread=thread, store=self.store, request_context=context)
        citations = Citations(turn.sources, self._settings.docs_url)
        async with (
            self._titling(thread, input_user_message, context),
            with_mcp_tools(self._agent(context, fence), self._settings.mcp_url, context) as agent,
        ):
            result = Runner.run_streamed(agent, history, context=turn, max_turns=MAX_MODEL_CALLS)
            async with aclosing(turn_events(turn, result)) as events:  # a stop may come at the yield
                async for event in events:
                    for annotated in citations.apply(event):
                        yield annotated

    async def action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        """Ticks a step of the checklist, and congratulates on the last one."""
        item, checklist = _ticked(action, sender)
        yield ThreadItemReplacedEvent(item=item)
        if checklist.is_complete:
            yield ThreadItemDoneEvent(
                item=AssistantMessageItem(
                    id=self.store.generate_item_id("message", thread, context),
                    thread_id=thread.id,
                    created_at=datetime.now(),
                    content=[AssistantMessageContent(text=f"All steps of **{checklist.title}** are done.")],
                )
            )

    async def sync_action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> SyncCustomActionResponse:
        item, _ = _ticked(action, sender)
        await self.store.save_item(thread.id, item, context)
        return SyncCustomActionResponse(updated_item=item)

    def _agent(self, context: RequestContext, fence: Fence) -> Agent[Turn]:
        return Agent[Turn](
            name="Assistant",
            instructions=build_instructions(context, fence),
            model=self._model,
            # One tool at a time: a client tool among others would take their outputs with it.
            model_settings=self._model_settings.resolve(ModelSettings(parallel_tool_calls=False)),
            tools=self._tools,
            tool_use_behavior=STOP_AT_CLIENT_TOOLS,
        )

    @asynccontextmanager
    async def _titling(
        self, thread: ThreadMetadata, message: UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[None]:
        """Titles a thread that has no title. ChatKit saves the change and sends it with the next event."""
        if thread.title is not None or message is None:
            yield
            return
        thread.title = derived_title(message)
        if not self._settings.has_real_model:
            yield
            return
        writing = asyncio.create_task(self._write_title(thread, message, context))
        try:
            yield
            await asyncio.wait({writing}, timeout=TITLE_GRACE_SECONDS)
        finally:
            writing.cancel()

    async def _write_title(
        self, thread: ThreadMetadata, message: UserMessageItem, context: RequestContext
    ) -> None:
        """Replaces the first title, unless the user has named the thread meanwhile."""
        first = thread.title
        title = await written_title(message, self._model, self._model_settings)
        with suppress(NotFoundError):  # the thread was deleted
            stored = await self.store.load_thread(thread.id, context)
            if title is not None and stored.title in (None, first):
                thread.title = title


def _ticked(action: Action[str, Any], sender: WidgetItem | None) -> tuple[WidgetItem, Checklist]:
    """The card after the click, and its state. Raises what the client shows as an error."""
    checklist = Checklist.from_item(sender)
    change = parse_set_step(action.payload)
    if action.type != SET_STEP or change is None or sender is None or checklist is None:
        raise CustomStreamError("This button does nothing here.")
    if change.index >= len(checklist.steps):
        raise CustomStreamError("The card has no such step.")
    checklist = checklist.with_step(change)
    return sender.model_copy(
        update={"widget": checklist.as_widget(), "copy_text": checklist.as_text()}
    ), checklist
