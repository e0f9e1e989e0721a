"""The assistant: a ChatKitServer that runs an agent, with this project's docs as what it knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from typing import Any

from agents import Agent, ModelSettings, Runner
from chatkit.actions import Action
from chatkit.server import ChatKitServer
from chatkit.store import AttachmentStore, NotFoundError, Store
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    AudioInput,
    FeedbackKind,
    InferenceOptions,
    SyncCustomActionResponse,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    TranscriptionResult,
    UserMessageItem,
    WidgetItem,
)

from relaykit import RequestContext
from relaykit.examples.assistant.actions import perform
from relaykit.examples.assistant.attachments import AttachmentReader
from relaykit.examples.assistant.citations import Citations
from relaykit.examples.assistant.converter import AssistantConverter
from relaykit.examples.assistant.corpus import Corpus
from relaykit.examples.assistant.feedback import feedback_of, keep_feedback
from relaykit.examples.assistant.history import answered_message, load_history
from relaykit.examples.assistant.mcp import with_mcp_tools
from relaykit.examples.assistant.models import OfferedModel, build_client, build_models, chosen
from relaykit.examples.assistant.page_options import TOOL_IDS, page_options
from relaykit.examples.assistant.prompt import build_instructions
from relaykit.examples.assistant.settings import AssistantSettings
from relaykit.examples.assistant.titles import derived_title, written_title
from relaykit.examples.assistant.tools import STOP_AT_TOOLS, build_tools
from relaykit.examples.assistant.transcription import transcribed
from relaykit.examples.assistant.turn import Turn, turn_events
from relaykit.examples.assistant.untrusted import Fence

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
        self._client = build_client(self._settings)
        self._models = build_models(self._settings, self._client)
        self._corpus = Corpus.read(self._settings.docs_dir)
        self._tools = build_tools(self._corpus)
        self.relaykit_page_options = page_options(self._models, self._corpus)
        """What local mode's page offers: docs/development.md."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ThreadStreamEvent]:
        """Answers the message; without one, goes on from what the thread ends with, such as a tool's output."""
        fence = Fence()
        reader = AttachmentReader(self.attachment_store, context, fence)
        converter = AssistantConverter(reader, fence, self._corpus, feedback_of(thread))
        history = await load_history(self.store, thread.id, input_user_message, converter, context)
        if not history:
            return
        asked = input_user_message or await answered_message(self.store, thread.id, context)
        model = chosen(self._models, asked.inference_options.model if asked else None)
        tool = _chosen_tool(input_user_message.inference_options) if input_user_message else None
        turn = Turn(thread=thread, store=self.store, request_context=context)
        citations = Citations(turn.sources, self._settings.docs_url)
        async with (
            self._titling(thread, input_user_message, model, context),
            with_mcp_tools(self._agent(context, fence, model, tool), self._settings, context) as agent,
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
        done = perform(action, sender, self._corpus)
        if done.item is not None:
            yield ThreadItemReplacedEvent(item=done.item)
        if done.text is not None:
            yield ThreadItemDoneEvent(
                item=AssistantMessageItem(
                    id=self.store.generate_item_id("message", thread, context),
                    thread_id=thread.id,
                    created_at=datetime.now(),
                    content=[AssistantMessageContent(text=done.text)],
                )
            )

    async def sync_action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> SyncCustomActionResponse:
        item = perform(action, sender, self._corpus).item
        if item is not None:
            await self.store.save_item(thread.id, item, context)
        return SyncCustomActionResponse(updated_item=item)

    async def add_feedback(
        self, thread_id: str, item_ids: list[str], feedback: FeedbackKind, context: RequestContext
    ) -> None:
        await keep_feedback(self.store, thread_id, item_ids, feedback, context)

    async def transcribe(self, audio_input: AudioInput, context: RequestContext) -> TranscriptionResult:
        text = await transcribed(audio_input, self._client, self._settings.transcription_model)
        return TranscriptionResult(text=text)

    def _agent(
        self, context: RequestContext, fence: Fence, model: OfferedModel, tool: str | None
    ) -> Agent[Turn]:
        """The first call of the model has to be one of `tool`, where the user has chosen one."""
        return Agent[Turn](
            name="Assistant",
            instructions=build_instructions(context, fence),
            model=model.model,
            # One tool at a time: a client tool among others would take their outputs with it.
            model_settings=model.settings.resolve(ModelSettings(parallel_tool_calls=False, tool_choice=tool)),
            tools=self._tools,
            tool_use_behavior=STOP_AT_TOOLS,
        )

    @asynccontextmanager
    async def _titling(
        self,
        thread: ThreadMetadata,
        message: UserMessageItem | None,
        model: OfferedModel,
        context: RequestContext,
    ) -> AsyncIterator[None]:
        """Titles a thread that has no title. ChatKit saves the change and sends it with the next event."""
        if thread.title is not None or message is None:
            yield
            return
        thread.title = derived_title(message)
        if not self._settings.has_real_model:
            yield
            return
        writing = asyncio.create_task(self._write_title(thread, message, model, context))
        try:
            yield
            await asyncio.wait({writing}, timeout=TITLE_GRACE_SECONDS)
        finally:
            writing.cancel()

    async def _write_title(
        self, thread: ThreadMetadata, message: UserMessageItem, model: OfferedModel, context: RequestContext
    ) -> None:
        """Replaces the first title, unless the user has named the thread meanwhile."""
        first = thread.title
        title = await written_title(message, model.model, model.settings)
        with suppress(NotFoundError):  # the thread was deleted
            stored = await self.store.load_thread(thread.id, context)
            if title is not None and stored.title in (None, first):
                thread.title = title


def _chosen_tool(options: InferenceOptions) -> str | None:
    """One that the page offers: the id is the browser's word."""
    tool = options.tool_choice.id if options.tool_choice else None
    return tool if tool in TOOL_IDS else None
