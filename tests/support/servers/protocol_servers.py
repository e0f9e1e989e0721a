"""A ChatKit server that answers every request type, and one that overrides only what it must."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from chatkit.actions import Action, ActionConfig
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    AudioInput,
    ClientToolCallItem,
    FeedbackKind,
    HiddenContextItem,
    StructuredInputFreeform,
    StructuredInputItem,
    StructuredInputMultipleChoice,
    StructuredInputMultipleChoiceOption,
    SyncCustomActionResponse,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    TranscriptionResult,
    UserMessageItem,
    WidgetItem,
)
from chatkit.widgets import Button, Card, Text

from relaykit.shared.attachments.store import ObjectAttachmentStore
from relaykit.shared.identity import RequestContext

Events = AsyncIterator[ThreadStreamEvent]


def text_of(item: UserMessageItem) -> str:
    return "".join(part.text for part in item.content)


def card(count: int) -> Card:
    return Card(
        children=[
            Text(id="count", value=str(count)),
            Button(label="More", onClickAction=ActionConfig(type="count", payload={"by": 1})),
        ]
    )


class BareServer(ChatKitServer[Any]):
    """Answers messages, and nothing else: no transcription, no actions, no attachments."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: Any
    ) -> Events:
        async for event in self.say(thread, "Hello.", context):
            yield event

    async def say(self, thread: ThreadMetadata, text: str, context: Any) -> Events:
        """An assistant message, streamed word by word."""
        item = AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text="")],
        )
        yield ThreadItemAddedEvent(item=item.model_copy(deep=True))
        for word in text.split(" "):
            delta = word if not item.content[0].text else f" {word}"
            item.content[0].text += delta
            yield ThreadItemUpdatedEvent(
                item_id=item.id, update=AssistantMessageContentPartTextDelta(content_index=0, delta=delta)
            )
        yield ThreadItemDoneEvent(item=item)


class ProtocolServer(BareServer):
    """Does what the message's first word says; repeats any other message."""

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: RequestContext
    ) -> Events:
        word = "" if input_user_message is None else text_of(input_user_message).partition(" ")[0]
        match word:
            case "widget":
                yield ThreadItemDoneEvent(item=self._widget(thread, context))
            case "tool":
                yield ThreadItemDoneEvent(item=self._tool_call(thread, context))
            case "questions":
                yield ThreadItemDoneEvent(item=self._questions(thread, context))
            case "feedback":
                async for event in self.say(thread, await self._feedback(thread, context), context):
                    yield event
            case _:
                answer = await self._answer(thread, input_user_message, context)
                async for event in self.say(thread, answer, context):
                    yield event

    def _common(self, thread: ThreadMetadata, kind: Any, context: RequestContext) -> dict[str, Any]:
        return {
            "id": self.store.generate_item_id(kind, thread, context),
            "thread_id": thread.id,
            "created_at": datetime.now(),
        }

    def _widget(self, thread: ThreadMetadata, context: RequestContext) -> WidgetItem:
        return WidgetItem(widget=card(0), copy_text="count: 0", **self._common(thread, "message", context))

    def _tool_call(self, thread: ThreadMetadata, context: RequestContext) -> ClientToolCallItem:
        common = self._common(thread, "tool_call", context)
        return ClientToolCallItem(call_id="call_1", name="get_page", arguments={"part": "title"}, **common)

    def _questions(self, thread: ThreadMetadata, context: RequestContext) -> StructuredInputItem:
        options = [StructuredInputMultipleChoiceOption(value=value) for value in ("red", "blue")]
        return StructuredInputItem(
            inputs=[
                StructuredInputMultipleChoice(id="color", question="Which color?", options=options),
                StructuredInputFreeform(id="why", question="Why?"),
            ],
            **self._common(thread, "message", context),
        )

    async def _answer(
        self, thread: ThreadMetadata, message: UserMessageItem | None, context: RequestContext
    ) -> str:
        if message is None:
            return self._about(await self._newest(thread, context))
        files = [await self._file(attachment.id, context) for attachment in message.attachments]
        return " ".join(["You said:", text_of(message), *files])

    async def _newest(self, thread: ThreadMetadata, context: RequestContext) -> ThreadItem:
        return (await self.store.load_thread_items(thread.id, None, 1, "desc", context)).data[0]

    def _about(self, item: ThreadItem) -> str:
        match item:
            case ClientToolCallItem():
                return f"The page says {item.output}."
            case StructuredInputItem():
                answers = [
                    question.answer.values if question.answer else None  #
                    for question in item.inputs
                ]
                return f"You are {item.status}: {answers}."
            case _:
                return f"Nothing to say about a {item.type}."

    async def _file(self, attachment_id: str, context: RequestContext) -> str:
        assert isinstance(self.attachment_store, ObjectAttachmentStore)
        content = await self.attachment_store.read(attachment_id, context)
        return f"[{len(content)} bytes]"

    async def _feedback(self, thread: ThreadMetadata, context: RequestContext) -> str:
        page = await self.store.load_thread_items(thread.id, None, 100, "asc", context)
        return " ".join(str(item.content) for item in page.data if isinstance(item, HiddenContextItem))

    async def add_feedback(
        self, thread_id: str, item_ids: list[str], feedback: FeedbackKind, context: RequestContext
    ) -> None:
        thread = await self.store.load_thread(thread_id, context)
        note = f"{feedback}:{','.join(item_ids)}"
        item = HiddenContextItem(content=note, **self._common(thread, "message", context))
        await self.store.add_thread_item(thread_id, item, context)

    async def transcribe(self, audio_input: AudioInput, context: RequestContext) -> TranscriptionResult:
        return TranscriptionResult(text=f"{audio_input.media_type}: {audio_input.data.decode()}")

    async def action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> Events:
        if sender is not None:
            yield ThreadItemReplacedEvent(item=self._counted(sender, action))
        async for event in self.say(thread, f"Action {action.type} with {action.payload}.", context):
            yield event

    async def sync_action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> SyncCustomActionResponse:
        if sender is None:
            return SyncCustomActionResponse()
        counted = self._counted(sender, action)
        await self.store.save_item(thread.id, counted, context)
        return SyncCustomActionResponse(updated_item=counted)

    def _counted(self, sender: WidgetItem, action: Action[str, Any]) -> WidgetItem:
        count = int((sender.copy_text or "0").removeprefix("count: ")) + action.payload["by"]
        return sender.model_copy(update={"widget": card(count), "copy_text": f"count: {count}"})
