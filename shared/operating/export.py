"""A thread, or all of a user, as records that JSON Lines are made of."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from relaykit.shared.attachments.objects import AttachmentObjects
from relaykit.shared.errors import AttachmentNotFound
from relaykit.shared.operating.thread_reading import ThreadReader
from relaykit.shared.owner import Owner

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Export:
    """Reads as much at a time as a page of items, or one attachment.

    A record has its `type` (thread, item, attachment, run) and its `data`, as it is stored; never a token. A thread is
    followed by its items in their order, its attachments and its runs. Each page is as the rows are when it is read.
    Raises DatabaseUnavailable, StorageUnavailable.
    """

    reader: ThreadReader
    objects: AttachmentObjects | None
    """None where ATTACHMENTS_URL is not set: the bytes of attachments are elsewhere."""

    async def thread(self, owner: Owner, thread_id: str) -> AsyncIterator[Record]:
        """A thread that is no row of ours has its runs alone."""
        found = await self.reader.data(owner, thread_id)
        if found is not None:
            shown, data = found
            whose = {"tenant": owner.tenant, "user": owner.user_id}
            yield {"type": "thread", **whose, "updated_at": shown.updated_at, "data": data}
        async for item, feedback in self.reader.items(owner, thread_id):
            yield {"type": "item", "thread_id": thread_id, "feedback": feedback, "data": item}
        async for attachment in self.reader.attachments(owner, thread_id):
            yield await self._attachment(attachment, thread_id)
        async for run in self.reader.runs(owner, thread_id):
            yield {"type": "run", "thread_id": thread_id, "data": run}

    async def user(self, owner: Owner) -> AsyncIterator[Record]:
        """All threads, one after the other, then attachments and runs that belong to none of them."""
        async for thread_id in self.reader.thread_ids(owner):
            async for record in self.thread(owner, thread_id):
                yield record
        async for attachment in self.reader.unsent(owner):
            yield await self._attachment(attachment, None)
        async for run in self.reader.other_runs(owner):
            yield {"type": "run", "thread_id": run["thread_id"], "data": run}

    async def _attachment(self, row: dict[str, Any], thread_id: str | None) -> Record:
        """`bytes` is base64; None where none were uploaded, or they are not ours to read."""
        content = None
        if self.objects is not None and row["uploaded_at"] is not None:
            try:
                content = base64.b64encode(
                    await self.objects.read(await self.objects.find(row["id"]))
                ).decode()
            except AttachmentNotFound:  # it was deleted meanwhile
                content = None
        times = {name: row[name] for name in ("created_at", "uploaded_at", "size_bytes")}
        return {"type": "attachment", "thread_id": thread_id, **times, "data": row["data"], "bytes": content}
