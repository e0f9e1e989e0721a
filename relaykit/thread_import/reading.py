"""A thread of another store, read whole before anything of it is written."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

from chatkit.types import Attachment, Page, ThreadItem, ThreadMetadata, UserMessageItem

from relaykit.shared.text import dump_json, is_well_formed
from relaykit.shared.thread_merge import thread_json
from relaykit.shared.threads.store import ITEM
from relaykit.thread_import.sources import ThreadSource

PAGE = 200
IN_MEMORY_BYTES = 16 * 1024 * 1024
"""Of a thread's items; those of a longer thread are in a temporary file."""


class StoreMistake(Exception):
    """The store does what no chatkit.store.Store may."""


@dataclass
class ReadThread:
    """A thread and its items, in the order of their first writing, each with an id of its own."""

    id: str
    data: str
    attachments: dict[str, Attachment]
    """Of its messages, by id."""
    digest: str
    """Of all of it, as the store gave it."""
    count: int
    _spool: IO[bytes] = field(repr=False)

    def items(self) -> Iterator[ThreadItem]:
        """All items, as often as they are asked for."""
        self._spool.seek(0)
        for line in self._spool:
            yield ITEM.validate_json(line)


async def threads_of(source: ThreadSource) -> AsyncIterator[ThreadMetadata]:
    """All threads of the source, the oldest first. Raises StoreMistake, and what the store raises."""
    after: str | None = None
    seen: set[str] = set()
    while True:
        page: Page[ThreadMetadata] = await source.store.load_threads(PAGE, after, "asc", source.store_context)
        for thread in page.data:
            if thread.id not in seen:
                seen.add(thread.id)
                yield thread
        after = _next(page, after)
        if after is None:
            return


def open_spool() -> IO[bytes]:
    """Where the items of one thread wait until they are written."""
    return cast("IO[bytes]", SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))


async def read_thread(source: ThreadSource, thread: ThreadMetadata, spool: IO[bytes]) -> ReadThread:
    """The thread with its items, which wait in `spool`. Raises StoreMistake, and what the store raises.

    The second item of a name gets a name of its own, the same at each reading: models behind Chat Completions name
    every item alike.
    """
    data, digest = thread_json(thread), hashlib.sha256()
    digest.update(data.encode())
    names: Counter[str] = Counter()
    attachments: dict[str, Attachment] = {}
    async for item in _items(source, _fit(thread.id)):
        digest.update(dump_json(_without_links(item)).encode())
        names[_fit(item.id)] += 1
        name = item.id if names[item.id] == 1 else _further_name(thread.id, item.id, names[item.id])
        item = item.model_copy(update={"id": name, "thread_id": thread.id})
        if isinstance(item, UserMessageItem):
            if item.attachments and source.read_attachment is not None:
                digest.update(b"with bytes")  # a thread that was brought without them is another one
            attachments.update((_fit(attachment.id), attachment) for attachment in item.attachments)
        spool.write(dump_json(item).encode() + b"\n")
    return ReadThread(thread.id, data, attachments, digest.hexdigest(), names.total(), spool)


def _further_name(thread_id: str, item_id: str, number: int) -> str:
    """Of the item that is the thread's second, third and so on by its name."""
    digest = hashlib.sha256("\0".join((thread_id, item_id, str(number))).encode())
    return f"msg_{digest.hexdigest()[:32]}"


def _without_links(item: ThreadItem) -> ThreadItem:
    """The item without what a store may sign anew at each reading."""
    if not isinstance(item, UserMessageItem) or not item.attachments:
        return item
    plain = [
        each.model_copy(update={"upload_descriptor": None, "preview_url": None}) for each in item.attachments
    ]
    return item.model_copy(update={"attachments": plain})


def _fit(name: str) -> str:
    """An id as it is. Raises StoreMistake for one that no text of PostgreSQL's holds."""
    if not name or "\x00" in name or not is_well_formed(name):
        raise StoreMistake(f"an id that cannot be stored: {name[:100]!r}")
    return name


async def _items(source: ThreadSource, thread_id: str) -> AsyncIterator[ThreadItem]:
    after: str | None = None
    while True:
        page: Page[ThreadItem] = await source.store.load_thread_items(
            thread_id, after, PAGE, "asc", source.store_context
        )
        for item in page.data:
            yield item
        after = _next(page, after)
        if after is None:
            return


def _next(page: Page[Any], after: str | None) -> str | None:
    """The cursor of the next page; None after the last. Raises StoreMistake where the store stays where it is."""
    if not page.has_more:
        return None
    following = page.after if page.after is not None else (page.data[-1].id if page.data else None)
    if following is None or following == after:
        raise StoreMistake("it says that more follows, and gives the same page again")
    return following
