"""Clients of runs for the test of the life of runs: they follow through the relay's own hub, tail and subscription."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from relaykit.api.relay.followed_run import SUBSCRIBED, FollowedRun
from relaykit.api.relay.hub import Hub
from relaykit.api.relay.subscription import Subscription
from relaykit.shared.errors import JournalGone
from relaykit.shared.journal import START, Cursor, JournalReader, entries
from relaykit.shared.redis.client import Redis
from tests.support.system import parse_frames


class StillHub(Hub):
    """A host's hub that hears and reads when it is told to. `notices` are on their way to it."""

    def __init__(self, commands: Redis, tail_max_bytes: int) -> None:
        super().__init__(JournalReader(commands), commands, commands, tail_max_bytes)
        self.notices: list[dict[str, Any]] = []

    def _enter(self, run_id: str) -> FollowedRun:
        followed = super()._enter(run_id)
        if followed.notices is not SUBSCRIBED:
            followed.mark_subscribed()
        return followed

    def send(self, notice: dict[str, Any]) -> None:
        """Redis sends it, if the run is followed here."""
        if notice["channel"] in self._followed:
            self.notices.append(notice)

    async def hear(self) -> None:
        """Hears all notices that are on their way, and reads the news that it knows of then."""
        notices, self.notices = self.notices, []
        for notice in notices:
            self._on_message(notice)
        unread, self._unread = [followed for followed in self._unread if followed.subscribers], set()
        if unread:
            for followed, reply in zip(unread, await self._read(unread), strict=True):
                followed.take(entries(reply))


class Client:
    """Somebody who follows a run, over any number of connections; what he was sent, and what he was told at last."""

    def __init__(self, run_id: str, owner: str, frames: list[tuple[Cursor, dict[str, Any]]]) -> None:
        self.run_id, self.owner = run_id, owner
        self.frames = frames
        self.end: str | None = None
        """The run's status, as the end entry has it."""
        self.told: str | None = None
        """Why he asks no more: `end`, `gone` (410) or `nothing` (204)."""
        self.hub: StillHub | None = None
        """Where he is connected."""
        self._subscription: Subscription | None = None

    @property
    def last_id(self) -> Cursor:
        return self.frames[-1][0] if self.frames else START

    @property
    def connected(self) -> bool:
        return self.hub is not None

    @property
    def done(self) -> bool:
        return self.told is not None

    async def connect(self, hub: StillHub, *, expected: bool, written: Sequence[bytes] = ()) -> None:
        """`expected`: the run has not ended. `written`: its first events, where his own request has written them."""
        try:
            subscription = await hub.subscribe(self.run_id, self.last_id, expected=expected, written=written)
        except JournalGone:
            self.told = "gone"
            return
        if subscription is None:
            self.told = "nothing"
        else:
            self._subscription, self.hub = subscription, hub
            await self._take(subscription.at_hand())

    async def disconnect(self) -> None:
        if self._subscription is not None and self.hub is not None:
            await self.hub.leave(self._subscription)
        self._subscription = self.hub = None

    async def read(self) -> bool:
        """Takes what is ready; whether there was something."""
        assert self._subscription is not None
        try:
            chunk = await self._subscription.ready()
        except JournalGone:
            await self.disconnect()  # without the end; he is told when he comes again
            return False
        if chunk is None:
            return False
        await self._take(chunk.data)
        return True

    async def _take(self, data: bytes) -> None:
        self.frames += [(Cursor.parse(place), event) for place, event in parse_frames(data)]
        for line in data.decode().split("\n"):
            if line.startswith(": end "):
                self.end = line.removeprefix(": end ")
        assert self._subscription is not None
        assert self._subscription.ended == (self.end is not None)
        if self.end is not None:
            self.told = "end"
            await self.disconnect()

    @property
    def shown(self) -> set[str]:
        """The items that he sees."""
        items: set[str] = set()
        for _, event in self.frames:
            match event["type"]:
                case "thread.item.added" | "thread.item.done":
                    items.add(event["item"]["id"])
                case "thread.item.removed":
                    items.discard(event["item_id"])
        return items

    def __repr__(self) -> str:
        places = [str(cursor) for cursor, _ in self.frames]
        return f"Client({self.run_id}, {json.dumps(places)}, told={self.told}, end={self.end})"
