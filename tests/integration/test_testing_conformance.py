"""What `relaykit.testing` stands in for does what the real system does.

The same script of requests goes to a server in memory and to one behind real Redis, PostgreSQL, HTTP and a worker. What
the client is sent, how runs end, what is refused and what the store holds then has to be equal, but for ids and times.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from chatkit.server import ChatKitServer
from chatkit.types import (
    AssistantMessageContent,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    ClientToolCallItem,
    HiddenContextItem,
    NoticeEvent,
    ProgressUpdateEvent,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemRemovedEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
)

from relaykit import testing
from relaykit.shared.settings import Settings
from relaykit.worker.execution.current_attempt import served_attempt
from relaykit.worker.execution.stop import Stop
from tests.support.system import Answer, create, message, running

Send = Callable[[dict[str, Any]], Awaitable[Any]]
Upload = Callable[[dict[str, Any], bytes], Awaitable[None]]
Script = Callable[[Send, Upload], Awaitable[None]]
STREAMING = frozenset(
    {
        "threads.create",
        "threads.add_user_message",
        "threads.add_client_tool_output",
        "threads.retry_after_item",
        "threads.custom_action",
    }
)


class Told(ChatKitServer[Any]):
    """Does what each word of the message says."""

    async def respond(
        self, thread: Any, input_user_message: Any, context: Any
    ) -> AsyncIterator[ThreadStreamEvent]:
        words = "say" if input_user_message is None else input_user_message.content[0].text
        items: list[AssistantMessageItem] = []
        for word in words.split():
            match word:
                case "say":
                    items.append(self._item(thread, context, "said"))
                    yield ThreadItemDoneEvent(item=items[-1])
                case "open":
                    items.append(self._item(thread, context, ""))
                    yield ThreadItemAddedEvent(item=items[-1])
                case "text":
                    update = AssistantMessageContentPartTextDelta(content_index=0, delta=word)
                    yield ThreadItemUpdatedEvent(item_id=items[-1].id, update=update)
                case "replace":
                    changed = self._item(thread, context, "replaced")
                    changed.id = items[-1].id
                    yield ThreadItemReplacedEvent(item=changed)
                case "remove":
                    yield ThreadItemRemovedEvent(item_id=items.pop().id)
                case "change-earlier":
                    page = await self.store.load_thread_items(thread.id, None, 20, "asc", context)
                    earlier = next(item for item in page.data if isinstance(item, AssistantMessageItem))
                    earlier.content = [AssistantMessageContent(text=f"attempt {context.attempt}")]
                    yield ThreadItemReplacedEvent(item=earlier)
                case "hide":
                    item_id = self.store.generate_item_id("message", thread, context)
                    hidden = HiddenContextItem(
                        id=item_id, thread_id=thread.id, created_at=datetime.now(), content="x"
                    )
                    yield ThreadItemDoneEvent(item=hidden)
                case "title":
                    thread.title = f"of attempt {context.attempt}"
                    thread.metadata = {**thread.metadata, "n": thread.metadata.get("n", 0) + 1}
                    yield ProgressUpdateEvent(text="titled")
                case "notice":
                    yield NoticeEvent(level="info", message="so")
                case "call":
                    item_id = self.store.generate_item_id("tool_call", thread, context)
                    call = {"call_id": "call_1", "name": "locate", "arguments": {}}
                    yield ThreadItemDoneEvent(
                        item=ClientToolCallItem(
                            id=item_id, thread_id=thread.id, created_at=datetime.now(), **call
                        )
                    )
                case "read":
                    for file in input_user_message.attachments:
                        data = await self.attachment_store.read(file.id, context)  # type: ignore[union-attr]
                        items.append(self._item(thread, context, data.decode()))
                        yield ThreadItemDoneEvent(item=items[-1])
                case "fail":
                    raise RuntimeError("no stock")
                case "lose" if context.attempt == 1:
                    await _lose()
                case _:
                    pass

    def _item(self, thread: Any, context: Any, text: str) -> AssistantMessageItem:
        return AssistantMessageItem(
            id=self.store.generate_item_id("message", thread, context),
            thread_id=thread.id,
            created_at=datetime.now(),
            content=[AssistantMessageContent(text=text)] if text else [],
        )


async def _lose() -> None:
    """The worker is lost once the client has had all so far."""
    attempt = served_attempt.get()
    assert attempt is not None
    await attempt.journal.flush()
    attempt.stop(Stop.LOST)
    await asyncio.Event().wait()


class Record:
    """What came back, with ids as their places and without times."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self._ids: dict[str, str] = {}

    def add(self, what: str, value: Any) -> None:
        self.lines.append((what, self._plain(value)))

    def add_answer(self, events: list[Any], status: str | None) -> None:
        joined: list[Any] = []
        for event in events:
            delta = event.get("update", {}).get("delta")
            last = joined[-1] if joined else {}
            if delta and last.get("item_id") == event["item_id"] and "delta" in last.get("update", {}):
                last["update"]["delta"] += delta  # neighbouring deltas may come joined
            else:
                joined.append(event)
        self.add(f"answer {status}", joined)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, dict):
            signed = ("created_at", "active_at", "upload_descriptor", "preview_url")
            kept = {name: each for name, each in value.items() if name not in signed}
            return {name: self._named(name, each) for name, each in kept.items()}
        return [self._plain(each) for each in value] if isinstance(value, list) else value

    def _named(self, name: str, value: Any) -> Any:
        if name in ("id", "thread_id", "item_id", "after") and isinstance(value, str):
            return self._ids.setdefault(value, f"id {len(self._ids)}")
        return self._plain(value)


async def in_memory(script: Script, given: Mapping[str, Any]) -> list[Any]:
    record = Record()
    async with testing.chat(Told, settings={"caller_max_runs": 0, **given}) as chat:

        async def send(request: dict[str, Any]) -> Any:
            try:
                if request["type"] not in STREAMING:
                    answer = await chat.ask(request)
                    record.add("json", answer)
                    return answer
                answer = await chat.send(request)
            except testing.RelaykitError as error:
                record.add("refused", error.code)
                return None
            events = [json.loads(chat.server._serialize(event)) for event in answer.events]
            record.add_answer(events, answer.status)
            record.add("error", answer.error_code)
            return events

        async def upload(attachment: dict[str, Any], data: bytes) -> None:
            try:
                await chat._site.upload(attachment["id"], data)
                record.add("uploaded", len(data))
            except testing.RelaykitError as error:
                record.add("refused", error.code)

        await script(send, upload)
    return record.lines


async def in_reality(script: Script, settings: Settings, folder: Path, given: Mapping[str, Any]) -> list[Any]:
    record = Record()
    stored = {"attachments_url": folder.as_uri(), "attachments_key": "k" * 64}
    settings = settings.model_copy(update={**stored, **given})
    async with running(settings, lambda: Told(None)) as system:  # type: ignore[arg-type]
        caller = await system.caller()
        keys = iter(range(1000))

        async def send(request: dict[str, Any]) -> Any:
            response = await caller.post(request, {"Idempotency-Key": f"key-{next(keys)}"})
            if response.status_code != 200:
                record.add("refused", response.json()["error"]["code"])
                return None
            if request["type"] not in STREAMING:
                record.add("json", response.json())
                return response.json()
            answer = Answer(200, response.headers, response.content)
            record.add_answer(answer.events, answer.end)
            record.add("error", (await caller.get(f"/runs/{answer.run_id}")).json()["error"])
            return answer.events

        async def upload(attachment: dict[str, Any], data: bytes) -> None:
            descriptor = attachment["upload_descriptor"]
            response = await caller.client.request(
                descriptor["method"], descriptor["url"], content=data, headers=descriptor["headers"]
            )
            if response.status_code == 204:
                record.add("uploaded", len(data))
            else:
                record.add("refused", response.json()["error"]["code"])

        await script(send, upload)
    return record.lines


def said(*texts: str) -> Script:
    """These messages in one thread, and then all that is stored of it."""

    async def script(send: Send, upload: Upload) -> None:
        events = await send(create(texts[0]))
        thread_id = events[0]["thread"]["id"]
        for text in texts[1:]:
            await send(message(thread_id, text))
        await _stored(send, thread_id)

    return script


async def _stored(send: Send, thread_id: str) -> Any:
    await send({"type": "threads.get_by_id", "params": {"thread_id": thread_id}})
    page = {"thread_id": thread_id, "limit": 2, "order": "asc"}
    first = await send({"type": "items.list", "params": page})
    if first is not None and first["has_more"]:
        await send({"type": "items.list", "params": {**page, "after": first["after"], "limit": 100}})
    await send({"type": "threads.list", "params": {"limit": 1}})


async def threads_by_use(send: Send, upload: Upload) -> None:
    """Each of three threads to the top: by a message, by one with an attachment, and by a title."""
    threads = [(await send(create("say")))[0]["thread"]["id"] for _ in range(3)]
    notes = await send(file("notes.txt", 5))
    await upload(notes, b"notes")
    title = {"thread_id": threads[1], "title": "mine"}
    for use in (
        message(threads[0], "say"),
        message(threads[2], "read", attachments=[notes["id"]]),
        {"type": "threads.update", "params": title},
    ):
        await send(use)
        await send({"type": "threads.list", "params": {"order_by": "activity"}})
    page = {"order_by": "activity", "limit": 2}
    first = await send({"type": "threads.list", "params": page})
    await send({"type": "threads.list", "params": {**page, "after": first["after"]}})
    await send({"type": "threads.list", "params": {**page, "after": "x~1"}})  # refused: no such place


async def tools_and_retries(send: Send, upload: Upload) -> None:
    events = await send(create("say call"))
    thread_id, user_item = events[0]["thread"]["id"], events[1]["item"]["id"]
    output = {
        "type": "threads.add_client_tool_output",
        "params": {"thread_id": thread_id, "result": {"a": 1}},
    }
    await send(output)
    await send(output)  # refused: answered already
    await send({"type": "threads.retry_after_item", "params": {"thread_id": thread_id, "item_id": user_item}})
    await send(output)  # of the call that the retry has made; the thread would wait for it
    await _stored(send, thread_id)
    await send({"type": "threads.retry_after_item", "params": {"thread_id": thread_id, "item_id": "none"}})
    await send({"type": "threads.update", "params": {"thread_id": thread_id, "title": "mine"}})
    await send(message(thread_id, "title say"))
    await _stored(send, thread_id)
    await send({"type": "threads.delete", "params": {"thread_id": thread_id}})
    await _stored(send, thread_id)
    await send(message(thread_id, "say"))


async def refusals(send: Send, upload: Upload) -> None:
    await send(create(""))
    await send({"type": "threads.nothing", "params": {}})
    await send(message("thread_none", "say"))
    events = await send(create("say"))
    params = {"thread_id": events[0]["thread"]["id"], "item_id": events[1]["item"]["id"]}
    await send({"type": "threads.custom_action", "params": {**params, "action": {"type": "buy"}}})
    await send({"type": "items.feedback", "params": {**params, "item_ids": ["none"], "kind": "positive"}})


def file(name: str, size: int, mime_type: str = "text/plain") -> dict[str, Any]:
    params = {"name": name, "size": size, "mime_type": mime_type}
    return {"type": "attachments.create", "params": params}


async def attachments(send: Send, upload: Upload) -> None:
    """Sent, read, sent again, deleted; and what is refused of that."""
    notes = await send(file("notes.txt", 5))
    await send(create("read", attachments=[notes["id"]]))  # refused: the bytes are not there
    await upload(notes, b"too many bytes")
    await upload(notes, b"few")
    await upload(notes, b"notes")
    await upload(notes, b"again")
    events = await send(create("read say", attachments=[notes["id"]]))
    thread_id = events[0]["thread"]["id"]
    await send(message(thread_id, "read", attachments=[notes["id"]]))
    delete = {"type": "attachments.delete", "params": {"attachment_id": notes["id"]}}
    await send(delete)  # refused: a message has it
    other = await send(file("other.txt", 3))
    await upload(other, b"abc")
    await send({"type": "attachments.delete", "params": {"attachment_id": other["id"]}})
    await send(message(thread_id, "read", attachments=[other["id"]]))  # refused: it is gone
    await send(file("tool.exe", 3, "application/x-msdownload"))
    await send(file("empty.txt", 0))
    await _stored(send, thread_id)


async def unsent_attachments(send: Send, upload: Upload) -> None:
    """CALLER_MAX_UNSENT_ATTACHMENTS, with 2: what a message has taken does not count."""
    first, second = await send(file("a.txt", 1)), await send(file("b.txt", 1))
    await send(file("c.txt", 1))  # refused
    await upload(first, b"a")
    await send(create("read", attachments=[first["id"]]))
    await send(file("c.txt", 1))
    await send({"type": "attachments.delete", "params": {"attachment_id": second["id"]}})
    await send(file("d.txt", 1))


async def unanswered_call(send: Send, upload: Upload) -> None:
    """CLIENT_TOOL_SECONDS pass while a message waits."""
    events = await send(create("say call"))
    thread_id = events[0]["thread"]["id"]
    await send(message(thread_id, "say"))
    await send({"type": "threads.add_client_tool_output", "params": {"thread_id": thread_id, "result": {}}})
    await _stored(send, thread_id)


async def too_many_requests(send: Send, upload: Upload) -> None:
    """CALLER_REQUESTS_PER_MINUTE, with 1: whatever comes in the minute after the first is refused."""
    await send({"type": "threads.nothing", "params": {}})  # counted, although it is refused
    await send(create("say"))
    await send({"type": "threads.list", "params": {"limit": 1}})


async def too_many_bytes(send: Send, upload: Upload) -> None:
    """CALLER_BYTES_PER_MINUTE, with 1,000: a body that is larger than a burst passes alone; small ones are free."""
    await send(create("say " + "x" * 8_000))
    await send(create("say " + "y" * 6_000))
    await send(create("say"))


SETTINGS: dict[str, dict[str, Any]] = {
    "too many requests": {"caller_requests_per_minute": 1},
    "too many bytes": {"caller_bytes_per_minute": 1_000},
    "unsent attachments": {"caller_max_unsent_attachments": 2},
    "an unanswered call": {"client_tool_seconds": 0.5},
}
"""Of a script that needs others than the defaults."""
SCRIPTS: dict[str, Script] = {
    "text": said("open text text notice hide", "say say", "open text replace"),
    "removed and replaced": said("say say remove", "say replace", "open text remove say"),
    "title and metadata": said("title say", "title title", "say"),
    "errors": said("say fail", "open text fail", "fail", "say"),
    "lost with text": said("say", "open text lose text"),
    "lost with stored items": said("say", "say hide say lose say"),
    "lost with changes of what was there": said("say", "change-earlier title lose say", "title"),
    "lost before anything": said("lose say"),
    "lost with a removed item": said("say remove open text lose say"),
    "threads by their last use": threads_by_use,
    "tools and retries": tools_and_retries,
    "refusals": refusals,
    "attachments": attachments,
    "unsent attachments": unsent_attachments,
    "an unanswered call": unanswered_call,
    "too many requests": too_many_requests,
    "too many bytes": too_many_bytes,
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_the_same_script_in_memory_and_in_reality_is_the_same(
    name: str, settings: Settings, tmp_path: Path
) -> None:
    given = SETTINGS.get(name, {})
    remembered = await in_memory(SCRIPTS[name], given)
    assert remembered == await in_reality(SCRIPTS[name], settings, tmp_path, given)
