"""What users think of answers: kept in the thread's metadata, where the next prompt finds it."""

from __future__ import annotations

from collections.abc import Sequence

from chatkit.store import Store
from chatkit.types import AssistantMessageItem, FeedbackKind, ThreadMetadata

from relaykit import RequestContext

PREFIX = "feedback:"
"""Each answer has a key of its own, so that two that are rated at the same time do not undo each other."""
MAX_RATED = 200
MAX_AT_ONCE = 20
"""Of one request, each of which is looked up; the client's own requests name one."""
KINDS = frozenset({"positive", "negative"})


async def keep_feedback(
    store: Store[RequestContext],
    thread_id: str,
    item_ids: Sequence[str],
    kind: FeedbackKind,
    context: RequestContext,
) -> None:
    """Of the thread's answers alone, MAX_AT_ONCE at most; the oldest goes where more than MAX_RATED are rated.

    Raises NotFoundError where the thread or an item is not there.
    """
    thread = await store.load_thread(thread_id, context)
    items = [await store.load_item(thread_id, item_id, context) for item_id in item_ids[:MAX_AT_ONCE]]
    rated = {f"{PREFIX}{item.id}": kind for item in items if isinstance(item, AssistantMessageItem)}
    earlier = {name: value for name, value in thread.metadata.items() if name not in rated}
    names = [name for name in earlier if name.startswith(PREFIX)]
    for name in names[: max(0, len(names) + len(rated) - MAX_RATED)]:
        del earlier[name]
    thread.metadata = {**earlier, **rated}
    await store.save_thread(thread, context)


def feedback_of(thread: ThreadMetadata) -> dict[str, str]:
    """The kinds, by the ids of the answers."""
    return {
        name.removeprefix(PREFIX): kind
        for name, kind in thread.metadata.items()
        if name.startswith(PREFIX) and kind in KINDS
    }
