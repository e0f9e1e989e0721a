"""A store that is not Relaykit's, and a client of ChatKit's own `process`: a server without Relaykit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from chatkit.server import ChatKitServer, StreamingResult
from chatkit.store import AttachmentStore, NotFoundError, Store
from chatkit.types import Attachment, Page, ThreadItem, ThreadMetadata

from relaykit.shared.errors import AttachmentTooLarge
from relaykit.shared.identity import RequestContext

ALICE = RequestContext(user_id="alice")


class MemoryStore(Store[RequestContext]):
    """Keeps copies, in the order of their first writing, as a database would."""

    def __init__(self) -> None:
        self.threads: dict[str, ThreadMetadata] = {}
        self.items: dict[str, dict[str, ThreadItem]] = {}
        self.attachments: dict[str, Attachment] = {}

    async def load_thread(self, thread_id, context):
        if thread_id not in self.threads:
            raise NotFoundError(thread_id)
        return self.threads[thread_id].model_copy(deep=True)

    async def save_thread(self, thread, context):
        fields = thread.model_dump(exclude={"items"})
        self.threads[thread.id] = ThreadMetadata.model_validate(fields)

    async def load_thread_items(self, thread_id, after, limit, order, context):
        items = [item.model_copy(deep=True) for item in self.items.get(thread_id, {}).values()]
        if order == "desc":
            items.reverse()
        if after is not None:
            items = items[[item.id for item in items].index(after) + 1 :]
        page = items[:limit]
        more = len(items) > limit
        return Page(data=page, has_more=more, after=page[-1].id if more else None)

    async def save_attachment(self, attachment, context):
        self.attachments[attachment.id] = attachment

    async def load_attachment(self, attachment_id, context):
        if attachment_id not in self.attachments:
            raise NotFoundError(attachment_id)
        return self.attachments[attachment_id]

    async def delete_attachment(self, attachment_id, context):
        self.attachments.pop(attachment_id, None)

    async def load_threads(self, limit, after, order, context):
        return Page(data=list(self.threads.values()))

    async def add_thread_item(self, thread_id, item, context):
        self.items.setdefault(thread_id, {})[item.id] = item.model_copy(deep=True)

    async def save_item(self, thread_id, item, context):
        await self.add_thread_item(thread_id, item, context)

    async def load_item(self, thread_id, item_id, context):
        if item_id not in self.items.get(thread_id, {}):
            raise NotFoundError(item_id)
        return self.items[thread_id][item_id].model_copy(deep=True)

    async def delete_thread(self, thread_id, context):
        self.threads.pop(thread_id, None)
        self.items.pop(thread_id, None)

    async def delete_thread_item(self, thread_id, item_id, context):
        self.items.get(thread_id, {}).pop(item_id, None)


class MemoryAttachments(AttachmentStore[RequestContext]):
    """Hands out bytes by id."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self.reads: list[str] = []
        self.bytes_read = 0

    async def delete_attachment(self, attachment_id, context):
        self.contents.pop(attachment_id, None)

    async def read(self, attachment_id: str, context: RequestContext, *, max_bytes: int) -> bytes:
        content = self.contents[attachment_id]
        if len(content) > max_bytes:
            raise AttachmentTooLarge
        self.reads.append(attachment_id)
        self.bytes_read += len(content)
        return content


class Chat:
    """One thread of one user, spoken to in JSON requests."""

    def __init__(self, server: ChatKitServer[RequestContext], context: RequestContext = ALICE) -> None:
        self.server = server
        self.context = context
        self.thread_id: str | None = None

    async def stream(self, kind: str, **params: Any) -> AsyncIterator[dict[str, Any]]:
        result = await self.server.process(json.dumps({"type": kind, "params": params}), self.context)
        assert isinstance(result, StreamingResult)
        async for chunk in result:
            event = json.loads(chunk.removeprefix(b"data: "))
            if event["type"] == "thread.created":
                self.thread_id = event["thread"]["id"]
            yield event

    def say_stream(self, text: str | None = None, **fields: Any) -> AsyncIterator[dict[str, Any]]:
        content = [] if text is None else [{"type": "input_text", "text": text}]
        message = {"content": content, "attachments": [], "inference_options": {}, **fields}
        if self.thread_id is None:
            return self.stream("threads.create", input=message)
        return self.stream("threads.add_user_message", thread_id=self.thread_id, input=message)

    async def say(self, text: str | None = None, **fields: Any) -> list[dict[str, Any]]:
        return [event async for event in self.say_stream(text, **fields)]

    async def answer(self, text: str | None = None, **fields: Any) -> str:
        return answer_in(await self.say(text, **fields))


def answer_in(events: list[dict[str, Any]]) -> str:
    """The text of the last assistant message."""
    done = [event["item"] for event in events if event["type"] == "thread.item.done"]
    return [item for item in done if item["type"] == "assistant_message"][-1]["content"][0]["text"]
