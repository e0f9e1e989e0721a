"""What Relaykit needs of a store beyond the SDK's `Store`: our store has it, and for a foreign one SDK calls do it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Protocol

from chatkit.server import ChatKitServer
from chatkit.store import NotFoundError

ABSENT: Final = (NotFoundError, LookupError)
"""What stores raise for what is not there: the SDK's error, or what a store of the site's own finds in its place."""


class StoreExtras(Protocol):
    """`PostgresStore` has these methods itself. Which object does them is decided where the server is loaded."""

    async def has_items(self, thread_id: str, item_ids: Collection[str], context: Any) -> bool:
        """Whether all of the items are in the thread."""

    async def is_attachment_sent(self, attachment_id: str, context: Any) -> bool:
        """Whether a message has taken the attachment, so that it must not be deleted."""

    async def delete_newer(self, thread_id: str, item_id: str, context: Any) -> None:
        """Deletes all that came to the thread after the item. Raises NotFoundError where the item is not in it."""

    async def move_to_end(self, thread_id: str, item_id: str, context: Any) -> None:
        """Makes the item the thread's last one, where the store can."""


class ForeignStoreExtras:
    """Those of a server whose store is not ours."""

    def __init__(self, server: ChatKitServer[Any]) -> None:
        self._server = server

    async def has_items(self, thread_id: str, item_ids: Collection[str], context: Any) -> bool:
        try:
            for item_id in dict.fromkeys(item_ids):
                await self._server.store.load_item(thread_id, item_id, context)
        except ABSENT:
            return False
        return True

    async def is_attachment_sent(self, attachment_id: str, context: Any) -> bool:
        """Never: the SDK's `Store` does not say which message has an attachment."""
        return False

    async def delete_newer(self, thread_id: str, item_id: str, context: Any) -> None:
        """The store gives whole items; the pages of its newest ones are read one at a time."""
        newer: list[str] = []
        async for item in self._server._paginate_thread_items_reverse(thread_id, context):
            if item.id == item_id:
                break
            newer.append(item.id)
        else:
            raise NotFoundError(item_id)
        for newer_id in newer:
            await self._server.store.delete_thread_item(thread_id, newer_id, context)

    async def move_to_end(self, thread_id: str, item_id: str, context: Any) -> None:
        """Leaves the item where it is: the SDK's `Store` moves nothing."""
