"""The hub: follows each run once, however many clients do, over one connection for notices and one for reads.

The journal is the only truth. A notice says that a run has news, and brings them where they are short; where they do
not follow what is known here, one round trip reads the news of all runs that have some. A lost notice, or a lost
connection, costs a re-read and never an entry.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import structlog
from redis.asyncio.client import PubSub
from redis.exceptions import ResponseError

from relaykit.api.relay.subscription import READ_ENTRIES, Follow, Subscription
from relaykit.api.relay.tail import adjoins, continues
from relaykit.shared.errors import JournalGone, QueueUnavailable
from relaykit.shared.journal import START, Cursor, Entry, Field, JournalReader, entries, follows, noticed
from relaykit.shared.log import failure
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import UNREACHABLE, Redis, names_of, redis_errors
from relaykit.shared.redis.pubsub import heard, is_connected, listening

RECONNECT_SECONDS = 0.2
SUBSCRIBE_SECONDS = 5.0
STREAMS_CLOSED_PER_SECOND = 200
MARKS_AT_ONCE = 32
"""More than the attempts that a run can have."""

log = structlog.get_logger()


class Hub:
    """All runs that this process's clients follow. `run` must be running."""

    def __init__(self, commands: Redis, notices: Redis, tail_max_bytes: int) -> None:
        self.journals = JournalReader(commands)
        self.closing = False
        self._commands = commands
        self._notices = notices
        self._named = names_of(commands)
        self._tail_max_bytes = tail_max_bytes
        self._follows: dict[bytes, Follow] = {}
        self._pubsub: PubSub | None = None
        self._dirty: set[Follow] = set()
        self._has_dirty = asyncio.Event()

    async def subscribe(
        self,
        run_id: str,
        cursor: Cursor,
        *,
        expected: bool,
        written: Sequence[bytes] = (),
        repeats_end: bool = False,
    ) -> Subscription | None:
        """A place in the run after `cursor`, to be given back with `leave`.

        None where the run has ended and nothing follows the cursor; with `repeats_end` a place before its end.
        `expected` says that the journal is there or will come: the run has not ended. `written` are the events that
        this process has just begun it with, for a subscription from the start. Raises JournalGone where the journal
        is gone, was trimmed before the cursor, has a hole right after it, or does not reach to it; QueueUnavailable.
        """
        follow = self._enter(run_id)
        try:
            await self._ask(follow)
            if written and follow.tail.last == START:
                subscription: Subscription | None = self._begun(follow, written)
            else:
                subscription = await self._placed(follow, cursor, expected, repeats_end)
        except BaseException:
            await self._leave(follow)
            raise
        if subscription is None:
            await self._leave(follow)
        return subscription

    async def leave(self, subscription: Subscription) -> None:
        """Follows the run no more, where no other subscriber of this process does."""
        await self._leave(subscription.follow)

    async def run(self) -> None:
        """Listens and reads until cancelled; survives the loss of Redis."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._read_news())

    def close(self) -> None:
        """Ends every subscription at once, without the end of its run: clients resume elsewhere."""
        self.closing = True
        for follow in self._follows.values():
            follow.close()

    async def drain(self, seconds: float) -> None:
        """Ends the subscriptions one run after the other, spread over that time, and those that still come.

        A few are not worth the time: at most STREAMS_CLOSED_PER_SECOND close in a second.
        """
        follows = list(self._follows.values())
        random.shuffle(follows)
        pause_seconds = min(1 / STREAMS_CLOSED_PER_SECOND, seconds / max(1, len(follows)))
        started_at = time.monotonic()
        for number, follow in enumerate(follows):
            await asyncio.sleep(max(0.0, started_at + number * pause_seconds - time.monotonic()))
            follow.close()
        self.close()

    def following(self) -> list[Follow]:
        """Every run that clients of this process follow."""
        return list(self._follows.values())

    def look(self, follow: Follow) -> None:
        """Has the run's news read, though nothing said that there is any."""
        self._mark(follow)

    def _enter(self, run_id: str) -> Follow:
        channel = self._named(keys.notices(run_id)).encode()
        follow = self._follows.setdefault(channel, Follow(run_id, channel, self._tail_max_bytes))
        follow.subscribers += 1
        follow.closing = self.closing
        return follow

    async def _ask(self, follow: Follow) -> None:
        """Asks for the run's notices, once; without a connection the listener does so as soon as there is one."""
        if follow.asked or self._pubsub is None or not is_connected(self._pubsub):
            return
        follow.asked = True
        try:
            await self._pubsub.subscribe(follow.channel)
        except UNREACHABLE:
            return  # the listener is about to find out

    async def _leave(self, follow: Follow) -> None:
        follow.subscribers -= 1
        if follow.subscribers:
            return
        self._follows.pop(follow.channel, None)
        self._dirty.discard(follow)
        if self._pubsub is not None and is_connected(self._pubsub):
            try:
                await self._pubsub.unsubscribe(follow.channel)
            except UNREACHABLE:
                return  # the connection is gone, and its subscriptions with it

    def _begun(self, follow: Follow, written: Sequence[bytes]) -> Subscription:
        """A place before what was written. What comes before the acknowledgement is read after it."""
        follow.unread = not follow.acknowledged
        first = [Entry(Cursor(0, seq), Field.EVENT, event) for seq, event in enumerate(written, 1)]
        follow.tail.extend(first)
        if not follow.unread:
            self._mark(follow)
        return Subscription(self.journals, follow, START)

    async def _placed(
        self, follow: Follow, cursor: Cursor, expected: bool, repeats_end: bool
    ) -> Subscription | None:
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                await follow.acknowledgement()
        except TimeoutError:
            raise QueueUnavailable from None
        bounds = await self.journals.bounds(follow.run_id, cursor)
        if bounds is None:
            if not expected or cursor != START:
                raise JournalGone
            return Subscription(self.journals, follow, cursor)
        first, last, following = bounds
        if not follows(first.cursor, cursor) or cursor > last.cursor:
            raise JournalGone
        if following is not None and not continues(cursor, following):
            raise JournalGone
        if following is not None and following.field is Field.MARK:
            await self._require_progress(follow.run_id, cursor)
        if follow.tail.last == START:
            follow.tail.restart(last.cursor, ended=last.field is Field.END)
        before_end = Cursor(last.cursor.attempt, last.cursor.seq - 1)
        if last.field is Field.END and cursor != START and cursor >= before_end:
            return Subscription(self.journals, follow, before_end) if repeats_end else None
        return Subscription(self.journals, follow, cursor)

    async def _require_progress(self, run_id: str, cursor: Cursor) -> None:
        """Raises JournalGone where nothing but attempts' beginnings stands between the cursor and a hole.

        These give a client no id: it would come again and again with the same cursor.
        """
        for entry in await self.journals.read(run_id, cursor, MARKS_AT_ONCE):
            if not continues(cursor, entry):
                raise JournalGone
            if entry.field is not Field.MARK:
                return
            cursor = entry.cursor

    def _mark(self, follow: Follow) -> None:
        self._dirty.add(follow)
        self._has_dirty.set()

    async def _listen(self) -> None:
        while True:
            try:
                async with listening(self._notices, self._ask_all) as pubsub:
                    async for messages in heard(pubsub):
                        for message in messages:
                            self._hear(message)
            except QueueUnavailable as error:
                log.warning("notices interrupted", action="hub_reconnect", **failure(error))
            finally:
                self._pubsub = None
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _ask_all(self, pubsub: PubSub) -> None:
        asked = dict(self._follows)
        await pubsub.subscribe(self._named(keys.HUB), *asked)
        self._pubsub = pubsub
        if came := self._follows.keys() - asked.keys():
            await pubsub.subscribe(*came)
        if left := asked.keys() - self._follows.keys():
            await pubsub.unsubscribe(*left)

    def _hear(self, message: dict[str, Any]) -> None:
        follow = self._follows.get(message["channel"])
        if follow is None:
            return
        if message["type"] == "message":
            self._take_notice(follow, message["data"])
        elif message["type"] == "subscribe" and not follow.acknowledged:
            follow.acknowledge()
            if follow.unread:
                self._mark(follow)
        elif message["type"] == "subscribe":
            # a second acknowledgement follows a time without a subscription, in which notices were lost
            self._mark(follow)

    def _take_notice(self, follow: Follow, data: bytes) -> None:
        """Takes what a notice brings, if that is what comes next; else it is read."""
        try:
            found = noticed(data)
        except JournalGone:
            found = []
        if found and adjoins(follow.tail.last, found[0]):
            self._take(follow, found)
        else:
            self._mark(follow)

    async def _read_news(self) -> None:
        while True:
            await self._has_dirty.wait()
            self._has_dirty.clear()
            dirty, self._dirty = list(self._dirty), set()
            try:
                replies = await self._read(dirty)
            except QueueUnavailable as error:
                log.warning("journals unreadable", action="hub_read", **failure(error))
                self._dirty.update(follow for follow in dirty if follow.subscribers)
                self._has_dirty.set()
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            for follow, reply in zip(dirty, replies, strict=True):
                try:
                    if isinstance(reply, ResponseError):
                        raise JournalGone
                    self._take(follow, entries(reply))
                    if len(reply) == READ_ENTRIES:
                        self._mark(follow)
                except JournalGone:
                    log.error("not a journal", action="hub_read", run_id=follow.run_id)  # noqa: TRY400
                    follow.lose()

    async def _read(self, dirty: list[Follow]) -> list[Any]:
        with redis_errors():
            async with self._commands.pipeline(transaction=False) as pipeline:
                for follow in dirty:
                    key = self._named(keys.journal(follow.run_id))
                    pipeline.xrange(key, f"({follow.tail.last}", "+", count=READ_ENTRIES)
                return list(await pipeline.execute(raise_on_error=False))

    def _take(self, follow: Follow, found: list[Entry]) -> None:
        follow.heard_at, follow.nobody_since = time.monotonic(), None
        tail = follow.tail
        if not found or found[0].cursor <= tail.last:
            found = [entry for entry in found if entry.cursor > tail.last]
            if not found:
                return
        if not tail.extend(found):
            # a hole: a subscriber before it finds it in Redis and is told; the tail goes on behind it
            tail.restart(found[-1].cursor, ended=found[-1].field is Field.END)
        follow.wake()
