"""The states of a followed run and of a stream, and the tables of what follows what. Pure.

A run that this process follows has two states: what the process knows of its notices, and what its streams may expect.
A stream has one. A change that its table does not name leaves the state as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class NoticeState(Enum):
    """Whether Redis sends this process the notices of a run."""

    UNSUBSCRIBED = "unsubscribed"
    """The hub has no connection, or has not come to the run."""
    SUBSCRIBE_SENT = "subscribe sent"
    SUBSCRIBED = "subscribed"
    """Redis has acknowledged. After a lost connection the hub subscribes again, and reads the run once more."""


class DeliveryState(Enum):
    """What the streams of a run may expect of it in this process."""

    OPEN = "open"
    """Each entry is sent to each of its streams."""
    CLOSING = "closing"
    """Its streams close without the end, because the process stops or no worker has the run. Their clients resume."""
    JOURNAL_LOST = "journal lost"
    """What is not in the tail cannot be had any more, and the streams say so."""


class StreamState(Enum):
    """How far a stream is."""

    HEAD_SENT = "head sent"
    """The layers of the request have not returned yet."""
    LIVE = "live"
    """Entries are sent as they come."""
    CLOSING = "closing"
    """The last bytes of the response are being sent."""
    FAILED = "failed"
    """The connection is being closed without the response's proper end."""
    OVER = "over"
    """The client has left or has the whole response, and the stream gives back what it has."""


NOTICE_TRANSITIONS: Final[Mapping[NoticeState, frozenset[NoticeState]]] = {
    NoticeState.UNSUBSCRIBED: frozenset({NoticeState.SUBSCRIBE_SENT, NoticeState.SUBSCRIBED}),
    NoticeState.SUBSCRIBE_SENT: frozenset({NoticeState.SUBSCRIBED}),
    NoticeState.SUBSCRIBED: frozenset(),
}

DELIVERY_TRANSITIONS: Final[Mapping[DeliveryState, frozenset[DeliveryState]]] = {
    DeliveryState.OPEN: frozenset({DeliveryState.CLOSING, DeliveryState.JOURNAL_LOST}),
    DeliveryState.CLOSING: frozenset({DeliveryState.OPEN, DeliveryState.JOURNAL_LOST}),
    DeliveryState.JOURNAL_LOST: frozenset(),
}
"""A run is open again when a client comes after its streams were closed."""

STREAM_TRANSITIONS: Final[Mapping[StreamState, frozenset[StreamState]]] = {
    StreamState.HEAD_SENT: frozenset({StreamState.LIVE, StreamState.OVER}),
    StreamState.LIVE: frozenset({StreamState.CLOSING, StreamState.FAILED, StreamState.OVER}),
    StreamState.CLOSING: frozenset({StreamState.FAILED, StreamState.OVER}),
    StreamState.FAILED: frozenset({StreamState.OVER}),
    StreamState.OVER: frozenset(),
}
