"""A run that clients of this process follow: its tail, its states, and the streams to wake when there is news."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from relaykit.api.relay.states import DELIVERY_TRANSITIONS, NOTICE_TRANSITIONS, DeliveryState, NoticeState
from relaykit.api.relay.tail import Tail
from relaykit.shared.journal import START, Entry, Field

SUBSCRIBED: Final = NoticeState.SUBSCRIBED
JOURNAL_LOST: Final = DeliveryState.JOURNAL_LOST
"""Names of this module, because in Python 3.11 each access to an enum's member costs half a microsecond."""


class FollowedRun:
    """One run, shared by its subscribers. The hub alone changes it, by the methods; all others read."""

    __slots__ = (
        "_acknowledgement",
        "_listeners",
        "channel",
        "delivery",
        "notices",
        "run_id",
        "subscribers",
        "tail",
        "updated_at",
    )

    def __init__(self, run_id: str, channel: bytes, tail_max_bytes: int) -> None:
        self.run_id = run_id
        self.channel = channel
        self.tail = Tail(START, tail_max_bytes)
        self.subscribers = 0
        self.notices = NoticeState.UNSUBSCRIBED
        self.delivery = DeliveryState.OPEN
        self.updated_at = time.monotonic()
        """When a notice or a read has last brought the tail up to date."""
        self._acknowledgement: asyncio.Event | None = None
        """Made only where a subscriber waits for it, because an event is larger than all the other fields together."""
        self._listeners: list[Callable[[], None]] = []

    def add_subscriber(self, *, is_closing: bool) -> None:
        """Opens the run again where its streams were being closed, unless the whole process is closing."""
        self.subscribers += 1
        self._deliver(DeliveryState.CLOSING if is_closing else DeliveryState.OPEN)

    def remove_subscriber(self) -> bool:
        """Whether that was the last one."""
        self.subscribers -= 1
        return self.subscribers == 0

    def mark_subscribe_sent(self) -> None:
        self._notify(NoticeState.SUBSCRIBE_SENT)

    def mark_subscribed(self) -> bool:
        """Notes Redis' acknowledgement; whether the journal must be read, since notices may have been missed before.

        A first acknowledgement comes before anything is known of the run, unless its first entries were written here.
        Another one follows a time without a subscription.
        """
        is_first = self._notify(SUBSCRIBED)
        if self._acknowledgement is not None:
            self._acknowledgement.set()
            self._acknowledgement = None
        return not is_first or self.tail.last != START

    async def wait_until_subscribed(self) -> None:
        if self.notices is not SUBSCRIBED:
            if self._acknowledgement is None:
                self._acknowledgement = asyncio.Event()
            await self._acknowledgement.wait()

    def mark_journal_lost(self) -> None:
        """The streams are told that what they wait for cannot be had any more."""
        self._deliver(JOURNAL_LOST)
        self._wake()

    def close(self) -> None:
        """The streams close without the end."""
        self._deliver(DeliveryState.CLOSING)
        self._wake()

    def take(self, found: list[Entry]) -> None:
        """Adds to the tail what is new of the entries of a notice or a read, and wakes the streams."""
        self.updated_at = time.monotonic()
        tail = self.tail
        if not found or found[0].cursor <= tail.last:
            found = [entry for entry in found if entry.cursor > tail.last]
            if not found:
                return
        if not tail.extend(found):
            # a hole: a subscriber before it finds it in Redis and is told, and the tail goes on behind it
            tail.restart(found[-1].cursor, ended=found[-1].field is Field.END)
        for listener in self._listeners:
            listener()

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Calls the listener whenever there is news or the delivery's state has changed. It must not call back."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[], None]) -> None:
        self._listeners.remove(listener)

    def _notify(self, state: NoticeState) -> bool:
        may = state in NOTICE_TRANSITIONS[self.notices]
        if may:
            self.notices = state
        return may

    def _deliver(self, state: DeliveryState) -> None:
        if state in DELIVERY_TRANSITIONS[self.delivery]:
            self.delivery = state

    def _wake(self) -> None:
        for listener in self._listeners:
            listener()
