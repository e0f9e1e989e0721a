"""A place to ask about: a thread with an item of each kind, and an attachment, written straight into our store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageItem,
    ClientToolCallItem,
    FileAttachment,
    InferenceOptions,
    StructuredInputFreeform,
    StructuredInputItem,
    ThreadItem,
    ThreadMetadata,
    UserMessageItem,
    UserMessageTextContent,
    WidgetItem,
)

from relaykit.shared.identity import RequestContext
from relaykit.shared.threads.store import PostgresStore
from tests.support.servers.protocol_servers import card

_numbers = count()


@dataclass(frozen=True)
class Place:
    """A thread of someone's, and an attachment that was uploaded."""

    thread: str
    user: str
    assistant: str
    widget: str
    pending: str
    answered: str
    attachment: str


def common(thread_id: str) -> dict[str, Any]:
    """What every item has."""
    return {"id": f"item_{next(_numbers)}", "thread_id": thread_id, "created_at": datetime.now()}


async def add_thread(store: PostgresStore, context: RequestContext, title: str = "theirs") -> str:
    thread = ThreadMetadata(id=store.generate_thread_id(context), created_at=datetime.now(), title=title)
    await store.save_thread(thread, context)
    return thread.id


async def add_tool_call(store: PostgresStore, context: RequestContext, **more: Any) -> str:
    """A thread that ends with a client tool call: one that is waited for, or with `status` and `output` another."""
    thread = await add_thread(store, context)
    call = ClientToolCallItem(call_id="c", name="n", arguments={}, **more, **common(thread))
    await store.add_thread_item(thread, call, context)
    return thread


async def add_place(store: PostgresStore, context: RequestContext, text: str = "hi") -> Place:
    """`text` stands in the thread's title, in what the user said and in the attachment's name."""
    thread = await add_thread(store, context, text)
    question = StructuredInputFreeform(id="q", question="?")
    said = UserMessageTextContent(text=text)
    items: dict[str, ThreadItem] = {
        "user": UserMessageItem(content=[said], inference_options=InferenceOptions(), **common(thread)),
        "widget": WidgetItem(widget=card(0), **common(thread)),
        "pending": StructuredInputItem(inputs=[question], **common(thread)),
        "answered": StructuredInputItem(inputs=[question], status="answered", **common(thread)),
        "assistant": AssistantMessageItem(content=[AssistantMessageContent(text="ho")], **common(thread)),
    }
    for item in items.values():
        await store.add_thread_item(thread, item, context)
    attachment = FileAttachment(
        id=store.generate_item_id("attachment", None, context), name=text, mime_type="text/plain"
    )
    await store.save_attachment(attachment, context)
    return Place(thread=thread, attachment=attachment.id, **{name: item.id for name, item in items.items()})
