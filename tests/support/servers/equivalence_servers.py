"""Servers for test_equivalence.py: each a part of what ChatKit can do, as a user of the SDK would write it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Any

from agents import Agent, RunConfig, RunContextWrapper, Runner, StopAtTools, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from chatkit.actions import Action
from chatkit.agents import AgentContext, ClientToolCall, stream_agent_response
from chatkit.errors import CustomStreamError, ErrorCode, StreamError
from chatkit.server import ChatKitServer, stream_widget
from chatkit.store import Store, StoreItemType
from chatkit.types import (
    ActiveStatus,
    Annotation,
    AssistantMessageContent,
    AssistantMessageContentPartAdded,
    AssistantMessageContentPartAnnotationAdded,
    AssistantMessageContentPartDone,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ClientEffectEvent,
    ClientToolCallItem,
    ClosedStatus,
    CustomSummary,
    CustomTask,
    EndOfTurnItem,
    EntitySource,
    ErrorEvent,
    FileSource,
    GeneratedImage,
    GeneratedImageItem,
    GeneratedImageUpdated,
    HiddenContextItem,
    LockedStatus,
    NoticeEvent,
    ProgressUpdateEvent,
    SearchTask,
    StreamOptions,
    StructuredInputFreeform,
    StructuredInputItem,
    StructuredInputMultipleChoice,
    StructuredInputMultipleChoiceOption,
    TaskItem,
    ThreadItem,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdate,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    UserMessageItem,
    WidgetItem,
    Workflow,
    WorkflowItem,
    WorkflowTaskAdded,
    WorkflowTaskUpdated,
)
from chatkit.types import URLSource as Url
from chatkit.widgets import Button, Card, Text, WidgetRoot

from relaykit.shared.identity import RequestContext

HOLD = "hold"
"""The progress text after which a server waits to be stopped."""

Events = AsyncIterator[ThreadStreamEvent]


async def held() -> Events:
    yield ProgressUpdateEvent(text=HOLD)
    await asyncio.Event().wait()


class Server(ChatKitServer[RequestContext]):
    """What the servers here have in common."""

    def fields(self, kind: StoreItemType, thread: ThreadMetadata, context: RequestContext) -> dict[str, Any]:
        item_id = self.store.generate_item_id(kind, thread, context)
        return {"id": item_id, "thread_id": thread.id, "created_at": datetime.now()}

    def message(self, thread: ThreadMetadata, context: RequestContext, *parts: str) -> AssistantMessageItem:
        content = [AssistantMessageContent(text=text) for text in parts]
        return AssistantMessageItem(**self.fields("message", thread, context), content=content)

    def done(self, thread: ThreadMetadata, context: RequestContext, text: str) -> ThreadItemDoneEvent:
        return ThreadItemDoneEvent(item=self.message(thread, context, text))


def updated(item: ThreadItem, update: ThreadItemUpdate) -> ThreadItemUpdatedEvent:
    return ThreadItemUpdatedEvent(item_id=item.id, update=update)


def delta(item: ThreadItem, text: str, part: int = 0) -> ThreadItemUpdatedEvent:
    return updated(item, AssistantMessageContentPartTextDelta(content_index=part, delta=text))


async def typed(item: AssistantMessageItem, *deltas: str) -> Events:
    """A message of one part, as a model streams it."""
    yield ThreadItemAddedEvent(item=item)
    content = AssistantMessageContent(text="")
    yield updated(item, AssistantMessageContentPartAdded(content_index=0, content=content))
    for text in deltas:
        yield delta(item, text)
        await asyncio.sleep(0)
    content = AssistantMessageContent(text="".join(deltas))
    yield updated(item, AssistantMessageContentPartDone(content_index=0, content=content))
    yield ThreadItemDoneEvent(item=item.model_copy(update={"content": [content]}))


class PlainText(Server):
    """Deltas of every kind: empty ones, line breaks, what JSON and SSE must escape, other scripts."""

    async def respond(self, thread, input_user_message, context):
        texts = ("Hel", "lo", "", ",\n\n", "data: x\r\nid: 9-9", "\u2028\x00\x7f", "漢字 🙂", "🧑‍🚀", ' "\\')
        async for event in typed(self.message(thread, context), *texts):
            yield event


class OneEventObject(Server):
    """Keeps one event and yields it again and again, changed."""

    async def respond(self, thread, input_user_message, context):
        first, second = self.message(thread, context), self.message(thread, context)
        yield ThreadItemAddedEvent(item=first)
        yield ThreadItemAddedEvent(item=second)
        event = delta(first, "")
        for item, text in [(first, "a"), (first, "b"), (second, "c"), (first, "d")]:
            event.item_id = item.id
            event.update.delta = text
            yield event
        progress = ProgressUpdateEvent(text="")
        for text in ("one", "two"):
            progress.text = text
            yield progress
        for item, text in [(first, "abd"), (second, "c")]:
            item.content.append(AssistantMessageContent(text=text))
            yield ThreadItemDoneEvent(item=item)
            item.content[0].text = "changed after it was yielded"


class SeveralParts(Server):
    """Two messages at once, of two parts each, their deltas in turns."""

    async def respond(self, thread, input_user_message, context):
        items = [self.message(thread, context, "", "") for _ in range(2)]
        for item in items:
            yield ThreadItemAddedEvent(item=item)
        for text in ("a", "b", "c"):
            for part in range(2):
                for item in items:
                    yield delta(item, text, part)
                    yield delta(item, text.upper(), part)
        for item in items:
            for part in range(2):
                item.content[part].text = "aAbBcC"
                done = AssistantMessageContentPartDone(content_index=part, content=item.content[part])
                yield updated(item, done)
            yield ThreadItemDoneEvent(item=item)


class Annotations(Server):
    """Sources of each kind, added between the deltas."""

    async def respond(self, thread, input_user_message, context):
        sources = (
            Url(title="Docs", url="https://example.org/docs", attribution="Example", timestamp="2026-01-01"),
            FileSource(title="Report", filename="report.pdf", description="Figures", group="files"),
            EntitySource(
                title="Ada", id="person-1", label="Ada", interactive=True, data={"age": 36, "x": None}
            ),
        )
        item = self.message(thread, context, "")
        yield ThreadItemAddedEvent(item=item)
        for number, source in enumerate(sources):
            yield delta(item, "see ")
            yield delta(item, f"[{number}] ")
            annotation = Annotation(source=source, index=len(item.content[0].text))
            item.content[0].text += f"see [{number}] "
            item.content[0].annotations.append(annotation)
            yield updated(
                item,
                AssistantMessageContentPartAnnotationAdded(
                    content_index=0, annotation_index=number, annotation=annotation
                ),
            )
        yield ThreadItemDoneEvent(item=item)


def card(text: str, *, streaming: bool, size: str = "sm") -> WidgetRoot:
    return Card(
        size=size, children=[Text(id="text", value=text, streaming=streaming), Text(id="fixed", value="-")]
    )


class Widgets(Server):
    """A widget whose text streams and whose root then changes, a widget that stands, one with the SDK's own ids."""

    async def respond(self, thread, input_user_message, context):
        async def growing() -> AsyncGenerator[WidgetRoot, None]:
            for text in ("", "Sunny", "Sunny, 2", "Sunny, 20°"):
                yield card(text, streaming=True)
                await asyncio.sleep(0)
            yield card("Sunny, 20°C", streaming=False)
            yield card("Rain", streaming=False, size="lg")

        def own_id(kind: StoreItemType) -> str:
            return self.store.generate_item_id(kind, thread, context)

        async for event in stream_widget(thread, growing(), copy_text="Sunny", generate_id=own_id):
            yield event
        async for event in stream_widget(thread, card("Still", streaming=False), generate_id=own_id):
            yield event
        async for event in stream_widget(thread, growing()):
            yield event


class Workflows(Server):
    """Opens a workflow in one turn and saves it open; a later turn goes on with the same item and closes it."""

    async def respond(self, thread, input_user_message, context):
        page = await self.store.load_thread_items(thread.id, None, 20, "desc", context)
        opened = [item for item in page.data if isinstance(item, WorkflowItem)]
        turn = self._close(opened[0]) if opened else self._open(thread, context)
        async for event in turn:
            yield event

    async def _open(self, thread: ThreadMetadata, context: RequestContext) -> Events:
        workflow = Workflow(type="custom", tasks=[CustomTask(title="Look", icon="search")], expanded=True)
        item = WorkflowItem(**self.fields("workflow", thread, context), workflow=workflow)
        yield ThreadItemAddedEvent(item=item)
        task = SearchTask(title="Search", queries=["a"], status_indicator="loading")
        workflow.tasks.append(task)
        yield updated(item, WorkflowTaskAdded(task_index=1, task=task))
        task.queries.append("b")
        task.sources.append(Url(title="Found", url="https://example.org"))
        task.status_indicator = "complete"
        yield updated(item, WorkflowTaskUpdated(task_index=1, task=task))
        yield self.done(thread, context, "More in a moment.")
        await self.store.add_thread_item(thread.id, item, context)

    async def _close(self, item: WorkflowItem) -> Events:
        task = CustomTask(title="Done", content="all of it")
        item.workflow.tasks.append(task)
        yield updated(item, WorkflowTaskAdded(task_index=2, task=task))
        item.workflow.summary = CustomSummary(title="Looked and searched", icon="check")
        item.workflow.expanded = False
        yield ThreadItemDoneEvent(item=item)


class ClientTools(Server):
    """Calls a tool of the client's, and answers with what came back; "twice" leaves a second call behind."""

    async def respond(self, thread, input_user_message, context):
        if input_user_message is None:
            page = await self.store.load_thread_items(thread.id, None, 20, "asc", context)
            calls = [item for item in page.data if isinstance(item, ClientToolCallItem)]
            told = json.dumps([(call.name, call.status, call.output) for call in calls])
            yield self.done(thread, context, told)
            return
        yield self.done(thread, context, "Let me look.")
        names = (
            ["read_clock", "read_page"] if "twice" in input_user_message.content[0].text else ["read_page"]
        )
        for name in names:
            call = ClientToolCallItem(
                **self.fields("tool_call", thread, context),
                call_id=self.store.generate_item_id("tool_call", thread, context),
                name=name,
                arguments={"deep": {"list": [1, 2.5, None, True, "é"]}},
            )
            yield ThreadItemDoneEvent(item=call)


class Questions(Server):
    """Asks with both kinds of structured input, and answers with what was answered."""

    async def respond(self, thread, input_user_message, context):
        if input_user_message is None:
            page = await self.store.load_thread_items(thread.id, None, 20, "desc", context)
            item = next(item for item in page.data if isinstance(item, StructuredInputItem))
            answers = {question.id: question.answer for question in item.inputs}
            told = {key: answer and answer.model_dump() for key, answer in answers.items()}
            yield self.done(thread, context, json.dumps({"status": item.status, **told}))
            return
        options = [StructuredInputMultipleChoiceOption(value=value) for value in ("red", "green", "blue")]
        inputs = [
            StructuredInputMultipleChoice(id="one", question="Which?", options=options),
            StructuredInputMultipleChoice(id="many", question="Which ones?", options=options, multiple=True),
            StructuredInputFreeform(id="why", question="Why?", description="In a word"),
        ]
        item = StructuredInputItem(**self.fields("message", thread, context), inputs=inputs)
        yield ThreadItemDoneEvent(item=item)


class Images(Server):
    async def respond(self, thread, input_user_message, context):
        item = GeneratedImageItem(**self.fields("message", thread, context))
        yield ThreadItemAddedEvent(item=item)
        for progress in (None, 0.0, 0.3, 1.0):
            item.image = GeneratedImage(id="ig_1", url=f"data:image/png;base64,{'A' * 40}{progress}")
            yield updated(item, GeneratedImageUpdated(image=item.image, progress=progress))
        yield ThreadItemDoneEvent(item=item)


class HiddenContext(Server):
    """Notes that no client may see, before the first event and between others; a later turn reads them."""

    async def respond(self, thread, input_user_message, context):
        for content in ({"seen": [1, None]}, "a hidden word"):
            item = HiddenContextItem(**self.fields("message", thread, context), content=content)
            yield ThreadItemDoneEvent(item=item)
            page = await self.store.load_thread_items(thread.id, None, 50, "asc", context)
            yield self.done(thread, context, " ".join(stored.type for stored in page.data))


class OtherItems(Server):
    async def respond(self, thread, input_user_message, context):
        task = CustomTask(title="Alone", content="outside of any workflow")
        yield ThreadItemDoneEvent(item=TaskItem(**self.fields("task", thread, context), task=task))
        yield ThreadItemDoneEvent(item=EndOfTurnItem(**self.fields("message", thread, context)))


class Failures(Server):
    """Fails in the way that the message names, some after a part of the answer."""

    async def respond(self, thread, input_user_message, context):
        kind = input_user_message.content[0].text
        if "after" in kind:
            item = self.message(thread, context)
            yield ThreadItemAddedEvent(item=item)
            yield delta(item, "half an ans")
            yield self.done(thread, context, "whole")
        match kind.split()[0]:
            case "custom":
                raise CustomStreamError("Come back tomorrow.", allow_retry="retry" in kind)
            case "stream":
                raise StreamError(ErrorCode.STREAM_ERROR, allow_retry="retry" in kind)
            case "plain":
                raise ValueError("not for the client's eyes")
            case "titled":
                thread.title = "Failed"
                raise CustomStreamError("After a new title.")
            case "told":
                yield ErrorEvent(code="custom", message="It goes on.", allow_retry=True)
                yield self.done(thread, context, "It went on.")
            case "last":
                yield self.done(thread, context, "It ends badly.")
                yield ErrorEvent(code=ErrorCode.STREAM_ERROR)


class NoGenerator(Server):
    """Raises in the call itself, before there is anything to iterate."""

    def respond(self, thread, input_user_message, context):
        raise CustomStreamError("Closed.")


class Signals(Server):
    """Everything that is an event and no item."""

    async def respond(self, thread, input_user_message, context):
        yield ProgressUpdateEvent(text="Thinking", icon="sparkle")
        yield ProgressUpdateEvent(text="")
        yield NoticeEvent(
            level="warning", title="Careful", message="**nearly** all of it is [used](https://e.org)"
        )
        yield NoticeEvent(level="danger", message="x")
        yield ClientEffectEvent(name="confetti", data={"n": 3, "deep": {"a": [None, 1e-9, 10**20]}})
        yield ClientEffectEvent(name="confetti")
        yield ProgressUpdateEvent(text="Done")


class Nothing(Server):
    async def respond(self, thread, input_user_message, context):
        for event in ():
            yield event


class ThreadChanges(Server):
    """Changes the thread at the moments that the message names."""

    async def respond(self, thread, input_user_message, context):
        moments = input_user_message.content[0].text
        if "before" in moments:
            thread.title = f"{thread.title} before"
            thread.metadata["before"] = {"n": 1}
        if "empty" in moments:
            return
        item = self.message(thread, context)
        yield ThreadItemAddedEvent(item=item)
        if "between" in moments:
            thread.title = f"{thread.title} between"
            thread.allowed_image_domains = ["images.example.org"]
            yield delta(item, "a")
            yield delta(item, "b")
            thread.status = LockedStatus(reason="for now")
            yield delta(item, "c")
        yield ThreadItemDoneEvent(item=item)
        if "hidden" in moments:
            thread.metadata["hidden"] = True
            note = HiddenContextItem(**self.fields("message", thread, context), content="note")
            yield ThreadItemDoneEvent(item=note)
        if "after" in moments:
            thread.title = f"{thread.title} after"
            thread.status = ClosedStatus(reason="for good") if "close" in moments else ActiveStatus()
            thread.metadata["after"] = [1]


class Corrections(Server):
    """Replaces what it has said, takes other things back, one of which was never stored."""

    async def respond(self, thread, input_user_message, context):
        first, second = self.message(thread, context, "first"), self.message(thread, context, "second")
        shown = self.message(thread, context, "only shown")
        yield ThreadItemDoneEvent(item=first)
        yield ThreadItemDoneEvent(item=second)
        yield ThreadItemAddedEvent(item=shown)
        better = first.model_copy(update={"content": [AssistantMessageContent(text="better")]})
        yield ThreadItemReplacedEvent(item=better)
        yield ThreadItemRemovedEvent(item_id=second.id)
        yield ThreadItemRemovedEvent(item_id=shown.id)
        never = self.message(thread, context, "replaced without having been there")
        yield ThreadItemReplacedEvent(item=never)
        yield ThreadItemDoneEvent(item=better)


class StreamOptionsOfItsOwn(Server):
    """Lets the first turn be stopped and no other."""

    def get_stream_options(self, thread, context):
        return StreamOptions(allow_cancel=thread.title is None)

    async def respond(self, thread, input_user_message, context):
        thread.title = "Named"
        yield self.done(thread, context, "ok")


class Mirror(Server):
    """Says what it was given, so that the arguments of respond() are compared, too."""

    async def respond(self, thread, input_user_message, context):
        given = {
            "thread": [type(thread).__name__, thread.model_dump(mode="json", exclude={"created_at"})],
            "input": input_user_message
            and input_user_message.model_dump(mode="json", exclude={"created_at"}),
            "context": [context.user_id, context.tenant, dict(context.metadata)],
        }
        yield self.done(thread, context, json.dumps(given))


class Actions(Server):
    """A widget with a button, and what its action does with and without the widget as its sender."""

    async def respond(self, thread, input_user_message, context):
        async for event in stream_widget(
            thread,
            Card(children=[Button(label="Press"), Text(id="count", value="0")]),
            generate_id=lambda kind: self.store.generate_item_id(kind, thread, context),
        ):
            yield event

    async def action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> Events:
        match action.type:
            case "press" if sender is not None:
                yield ThreadItemReplacedEvent(
                    item=sender.model_copy(
                        update={"widget": card(json.dumps(action.payload), streaming=False)}
                    )
                )
                yield self.done(thread, context, "pressed")
            case "rename":
                thread.title = action.payload["title"]
                yield ProgressUpdateEvent(text="renamed")
            case "fail":
                raise CustomStreamError("No.")
            case "hold":
                async for event in typed(self.message(thread, context), "kept?"):
                    yield event
                async for event in held():
                    yield event
            case _:
                yield NoticeEvent(level="info", message=json.dumps([action.model_dump(), sender is None]))


class Answers(Server):
    """Tells how many items it sees, so that a retry's deletions show."""

    async def respond(self, thread, input_user_message, context):
        page = await self.store.load_thread_items(thread.id, None, 100, "asc", context)
        said = input_user_message.content[0].text if input_user_message else None
        async for event in typed(self.message(thread, context), f"{said}: ", str(len(page.data))):
            yield event
        yield self.done(thread, context, "second item of the turn")


class Stopped(Server):
    """Waits to be stopped at the place that the message names."""

    async def respond(self, thread, input_user_message, context):
        place = input_user_message.content[0].text if input_user_message else "answered"
        if place == "quietly":
            async for event in self._quiet(thread, context):
                yield event
            return
        async for event in self._part(place, thread, context):
            yield event
        async for event in held():
            yield event

    async def _part(self, place: str, thread: ThreadMetadata, context: RequestContext) -> Events:
        match place:
            case "in a message":
                item = self.message(thread, context)
                yield ThreadItemAddedEvent(item=item)
                for text in ("half ", "an ", "ans"):
                    yield delta(item, text)
            case "in two messages":
                yield self.done(thread, context, "a whole one")
                blank, items = self.message(thread, context), [self.message(thread, context) for _ in "ab"]
                for item in (blank, *items):
                    yield ThreadItemAddedEvent(item=item)
                yield delta(blank, " \n")
                for part, item in enumerate(items):
                    yield delta(item, "some", part)
                    annotation = Annotation(source=FileSource(title="F", filename="f.txt"))
                    yield updated(
                        item,
                        AssistantMessageContentPartAnnotationAdded(
                            content_index=part, annotation_index=0, annotation=annotation
                        ),
                    )
            case "in a widget":
                item = WidgetItem(**self.fields("message", thread, context), widget=card("", streaming=True))
                yield ThreadItemAddedEvent(item=item)
            case "in a workflow":
                workflow = Workflow(type="reasoning", tasks=[])
                item = WorkflowItem(**self.fields("workflow", thread, context), workflow=workflow)
                yield ThreadItemAddedEvent(item=item)
                yield updated(item, WorkflowTaskAdded(task_index=0, task=CustomTask(title="t")))
            case "after a change":
                yield ProgressUpdateEvent(text=HOLD)
                thread.title = "Changed and not saved"
                await asyncio.Event().wait()
            case "ask":
                question = StructuredInputFreeform(id="why", question="Why?")
                fields = self.fields("message", thread, context)
                yield ThreadItemDoneEvent(item=StructuredInputItem(**fields, inputs=[question]))

    async def _quiet(self, thread: ThreadMetadata, context: RequestContext) -> Events:
        """Hears the stop itself, notes it in its own way and ends, so that the SDK never learns of it."""
        try:
            async for event in held():
                yield event
        except asyncio.CancelledError:
            await self.store.add_thread_item(thread.id, self.message(thread, context, "Noted."), context)


class OwnStop(Stopped):
    """Does its own when it is stopped, and then what the SDK does."""

    async def handle_stream_cancelled(self, thread, pending_items, context):
        told = HiddenContextItem(
            **self.fields("message", thread, context),
            content=[item.model_dump(mode="json", exclude={"created_at"}) for item in pending_items],
        )
        await self.store.add_thread_item(thread.id, told, context)
        thread.title = "Stopped"
        await self.store.save_thread(thread, context)
        await super().handle_stream_cancelled(thread, pending_items, context)


@function_tool
async def weather(wrapper: RunContextWrapper[AgentContext[RequestContext]], city: str) -> str:
    """The weather of a city."""
    context = wrapper.context
    await context.stream(ProgressUpdateEvent(text=f"Looking at {city}"))
    await context.add_workflow_task(CustomTask(title=f"Looked at {city}"))
    if city == "Nowhere":
        await context.stream(ProgressUpdateEvent(text=HOLD))
        await asyncio.Event().wait()
    await context.stream_widget(card(f"{city}: sunny", streaming=False))
    return "sunny"


@function_tool
async def where_am_i(wrapper: RunContextWrapper[AgentContext[RequestContext]]) -> str:
    """The place of the user, asked of the browser."""
    wrapper.context.client_tool_call = ClientToolCall(name="locate", arguments={"exact": False})
    return ""


class AgentServer(Server):
    """A real agent in the real Runner: a function tool, a client tool, progress, a workflow, a widget, text."""

    async def respond(self, thread, input_user_message, context):
        asked = input_user_message.content[0].text if input_user_message else "located"
        agent_context = AgentContext(thread=thread, store=self.store, request_context=context)
        agent = Agent[AgentContext[RequestContext]](
            name="Forecaster",
            model=ScriptedModel(self._script(asked, thread, context)),
            tools=[weather, where_am_i],
            tool_use_behavior=StopAtTools(stop_at_tool_names=["where_am_i"]),
        )
        config = RunConfig(tracing_disabled=True)
        result = Runner.run_streamed(agent, asked, context=agent_context, run_config=config)
        try:
            async for event in stream_agent_response(agent_context, result):
                yield event
        except asyncio.CancelledError:
            result.cancel()
            raise

    def _script(self, asked: str, thread: ThreadMetadata, context: RequestContext) -> list[Any]:
        def call(name: str, arguments: dict[str, Any]) -> list[Any]:
            fields = self.fields("tool_call", thread, context)
            return [function_call(name, arguments, call_id=f"call-{name}", item_id=fields["id"])]

        if asked == "here":
            return [call("where_am_i", {})]
        message_id = self.fields("message", thread, context)["id"]
        answer = [assistant_message("It is sunny there, and will be.", item_id=message_id)]
        if asked == "located":
            return [answer]
        return [call("weather", {"city": asked}), answer]


SERVERS: dict[str, type[Server]] = {
    server.__name__: server
    for server in (
        *(PlainText, OneEventObject, SeveralParts, Annotations, Widgets, Workflows, ClientTools, Questions),
        *(Images, HiddenContext, OtherItems, Failures, NoGenerator, Signals, Nothing, ThreadChanges),
        *(Corrections, StreamOptionsOfItsOwn, Mirror, Actions, Answers, Stopped, OwnStop, AgentServer),
    )
}


class Repertoire(Server):
    """All of them behind one address: a request's `metadata["server"]` names the one that it is for."""

    def __init__(self, store: Store[RequestContext]) -> None:
        super().__init__(store)
        self._servers = {name: server(store) for name, server in SERVERS.items()}

    def _named(self, context: RequestContext) -> Server:
        return self._servers[context.metadata["server"]]

    def respond(
        self,
        thread: ThreadMetadata,
        input_user_message: UserMessageItem | None,
        context: RequestContext,
    ) -> Events:
        return self._named(context).respond(thread, input_user_message, context)

    def action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> Events:
        return self._named(context).action(thread, action, sender, context)

    def get_stream_options(self, thread: ThreadMetadata, context: RequestContext) -> StreamOptions:
        return self._named(context).get_stream_options(thread, context)

    async def handle_stream_cancelled(
        self, thread: ThreadMetadata, pending_items: list[ThreadItem], context: RequestContext
    ) -> None:
        await self._named(context).handle_stream_cancelled(thread, pending_items, context)
