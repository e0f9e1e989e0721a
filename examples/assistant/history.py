"""What the model is shown of the thread: the newest items within two limits, oldest first."""

from __future__ import annotations

from collections.abc import Sequence

from agents import TResponseInputItem
from chatkit.store import Store
from chatkit.types import AssistantMessageItem, ThreadItem, UserMessageItem

from relaykit import RequestContext
from relaykit.examples.assistant.converter import AssistantConverter

MAX_ITEMS = 40
MAX_CHARS = 60_000
"""Of text; attachments have a limit of their own."""


async def load_history(
    store: Store[RequestContext],
    thread_id: str,
    message: UserMessageItem | None,
    converter: AssistantConverter,
    context: RequestContext,
) -> list[TResponseInputItem]:
    """The thread as input items, `message` last.

    Goes by whole thread items, so that a tool call and its output are both in or both out. The newest item
    is always in.
    """
    items = await _newest_items(store, thread_id, message, context)
    groups: list[list[TResponseInputItem]] = []
    chars_left = MAX_CHARS
    for item in newest_first(items, message):
        group = await converter.to_agent_input([item])
        chars_left -= sum(_text_chars(entry) for entry in group)
        if groups and chars_left < 0:
            break
        if group:
            groups.append(group)
    return [entry for group in reversed(groups) for entry in group]


async def answered_message(
    store: Store[RequestContext], thread_id: str, context: RequestContext
) -> UserMessageItem | None:
    """The message that a turn without one goes on from: the newest, so that its model goes on too."""
    page = await store.load_thread_items(thread_id, None, MAX_ITEMS, "desc", context)
    return next((item for item in page.data if isinstance(item, UserMessageItem)), None)


async def _newest_items(
    store: Store[RequestContext], thread_id: str, message: UserMessageItem | None, context: RequestContext
) -> list[ThreadItem]:
    """The newest items, as far as the model can be shown them.

    A page ends early where its items are large. The next one is loaded only as long as there is room for its text, or
    `message` has not come, whose place in the thread `newest_first` needs.
    """
    items: list[ThreadItem] = []
    after, has_more = None, True
    while has_more and len(items) < MAX_ITEMS:
        page = await store.load_thread_items(thread_id, after, MAX_ITEMS - len(items), "desc", context)
        items += page.data
        after, has_more = page.after, page.has_more
        has_come = message is None or any(item.id == message.id for item in items)
        if has_come and sum(map(_message_chars, items)) > MAX_CHARS:
            break
    return items


def _message_chars(item: ThreadItem) -> int:
    if not isinstance(item, (UserMessageItem, AssistantMessageItem)):
        return 0
    return sum(len(part.text) for part in item.content)


def newest_first(items: Sequence[ThreadItem], message: UserMessageItem | None) -> list[ThreadItem]:
    """`items`, newest first, with the message to answer in front.

    A message that was sent while another was being answered is stored before that answer, and messages
    that came later still wait for a turn of their own.
    """
    if message is None:
        return list(items)
    ids = [item.id for item in items]
    newer = items[: ids.index(message.id)] if message.id in ids else []
    older = items[len(newer) + 1 :] if message.id in ids else items
    answers = [item for item in newer if not isinstance(item, UserMessageItem)]
    return [message, *answers, *older]


def _text_chars(entry: TResponseInputItem) -> int:
    fields = dict(entry)
    content = fields.get("content")
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    texts += [fields.get("output"), fields.get("arguments"), content]
    return sum(len(text) for text in texts if isinstance(text, str))
