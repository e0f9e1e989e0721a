"""Times on the wire: each `created_at` that ChatKit sends has an offset.

ChatKit makes its times by `datetime.now()`, without a zone: what a browser elsewhere takes for its own wall time. A
server meets them as it made them, since Python compares no time that has a zone with one that has none; only what is
sent gets the offset, of the zone that the process is in.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from chatkit.server import ChatKitServer
from chatkit.types import (
    Page,
    SyncCustomActionResponse,
    Thread,
    ThreadCreatedEvent,
    ThreadItemAddedEvent,
    ThreadItemBase,
    ThreadItemDoneEvent,
    ThreadItemReplacedEvent,
    ThreadItemUpdatedEvent,
    ThreadMetadata,
    ThreadUpdatedEvent,
)
from pydantic import BaseModel

from relaykit.shared.text import well_formed_copy

Sent = TypeVar("Sent", bound=BaseModel)


def send_offsets(server: ChatKitServer[Any]) -> None:
    """From now on what the server serialises has them, whether admission, a run or the SDK itself asks for it.

    U+FFFD stands in it for each half of a surrogate pair, which JSON does not know.
    """
    serialize = server._serialize

    def serialized(sent: BaseModel) -> bytes:
        zoned = with_offsets(sent)
        try:
            return serialize(zoned)
        except ValueError:  # pydantic's PydanticSerializationError is one
            return serialize(well_formed_copy(zoned))

    server._serialize = serialized  # type: ignore[method-assign, assignment]


def with_offsets(sent: Sent) -> Sent:
    """The same, or a copy where a time had no offset; what a server holds is not changed."""
    if type(sent) is ThreadItemUpdatedEvent:  # by far the most frequent; it has none
        return sent
    match sent:
        case ThreadCreatedEvent() | ThreadUpdatedEvent():
            return _with(sent, thread=with_offsets(sent.thread))
        case ThreadItemAddedEvent() | ThreadItemDoneEvent() | ThreadItemReplacedEvent():
            return _with(sent, item=with_offsets(sent.item))
        case SyncCustomActionResponse(updated_item=BaseModel() as item):
            return _with(sent, updated_item=with_offsets(item))
        case Page():
            return _with(sent, data=[with_offsets(each) for each in sent.data])
        case Thread():
            return _with(sent, created_at=_zoned(sent.created_at), items=with_offsets(sent.items))
        case ThreadMetadata() | ThreadItemBase():
            return _with(sent, created_at=_zoned(sent.created_at))
        case _:
            return sent


def _with(sent: Sent, **fields: object) -> Sent:
    return sent.model_copy(update=fields)


def _zoned(time: datetime) -> datetime:
    if time.tzinfo is not None:
        return time
    try:
        return time.astimezone(UTC)
    except (OverflowError, ValueError, OSError):  # at the ends of the calendar
        return time.replace(tzinfo=UTC)
