"""The hub: follows each run once, however many clients do, over one connection for notices and one for reads.

The journal is the only truth. A notice says that a run has news, and brings them where they are short. Where they do
not follow what is known here, one round trip reads the news of all runs that have some. A lost notice or a lost
connection costs a read, and never an entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from redis.asyncio.client import PubSub
from redis.exceptions import ResponseError

from relaykit.api.http.pacing import paced
from relaykit.api.relay.followed_run import SUBSCRIBED, FollowedRun
from relaykit.api.relay.states import NoticeState
from relaykit.api.relay.subscription import READ_ENTRIES, Subscription
from relaykit.api.relay.tail import adjoins, continues
from relaykit.shared.errors import JournalGone, QueueUnavailable
from relaykit.shared.journal import (
    START,
    Cursor,
    Entry,
    Field,
    JournalReader,
    decode_notice,
    entries,
    follows,
)
from relaykit.shared.log import failure
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import UNREACHABLE, Redis, names_of, redis_errors
from relaykit.shared.redis.pubsub import is_connected, messages, subscribed
from relaykit.shared.tasks import end_tasks

RECONNECT_SECONDS = 0.2
SUBSCRIBE_SECONDS = 5.0
MAX_ATTEMPT_STARTS = 32
"""More than the attempts that a run can have."""

log = structlog.get_logger()


class Hub:
    """All runs that this process's clients follow. `run` must be running."""

    def __init__(self, journals: JournalReader, commands: Redis, notices: Redis, tail_max_bytes: int) -> None:
        self.journals = journals
        self.closing = False
        self._commands = commands
        self._notices = notices
        self._named = names_of(commands)
        self._tail_max_bytes = tail_max_bytes
        self._followed: dict[bytes, FollowedRun] = {}
        """By the channel of a run's notices."""
        self._pubsub: PubSub | None = None
        self._unread: set[FollowedRun] = set()
        """Runs that may have news which no notice has brought."""
        self._has_unread = asyncio.Event()

    async def subscribe(
        self,
        run_id: str,
        cursor: Cursor,
        *,
        expected: bool,
        written: Sequence[bytes] = (),
        repeats_end: bool = False,
    ) -> Subscription | None:
        """A subscription to what follows `cursor`, to be ended with `leave`.

        None where the run has ended and nothing follows the cursor; with `repeats_end` one to its end alone.
        `expected` says that the journal is there or will come, because the run has not ended. `written` are the first
        events of the journal, which this process has just appended, for a subscription from the start. Raises
        JournalGone where the journal is gone, was trimmed before the cursor, has a hole right after it, or does not
        reach to it; QueueUnavailable.
        """
        followed = self._enter(run_id)
        try:
            await self._send_subscribe(followed)
            if written and followed.tail.last == START:
                subscription: Subscription | None = self._from_start(followed, written)
            else:
                subscription = await self._from_cursor(followed, cursor, expected, repeats_end)
        except BaseException:
            await self._leave(followed)
            raise
        if subscription is None:
            await self._leave(followed)
        return subscription

    async def leave(self, subscription: Subscription) -> None:
        """Ends the subscription. The hub follows the run no more where that was the last one."""
        await self._leave(subscription.followed)

    async def run(self) -> None:
        """Takes notices and reads journals until cancelled; survives the loss of Redis."""
        tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._read_news())]
        try:  # a group of tasks would go on without one that is cancelled
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            await end_tasks(tasks)

    def close(self) -> None:
        """Closes all streams at once, without the end of their runs: clients resume elsewhere."""
        self.closing = True
        for followed in self._followed.values():
            followed.close()

    async def drain(self, seconds: float) -> None:
        """Closes the streams of one run after the other, spread over that time, then those that have come meanwhile."""
        async for followed in paced(self.followed_runs(), seconds):
            followed.close()
        self.close()

    def followed_runs(self) -> list[FollowedRun]:
        """Every run that clients of this process follow."""
        return list(self._followed.values())

    def schedule_read(self, followed: FollowedRun) -> None:
        """Has the news of the run read, together with those of all others that may have some."""
        self._unread.add(followed)
        self._has_unread.set()

    def close_streams(self, followed: FollowedRun) -> None:
        """Closes the streams of one run without the end: their clients resume."""
        followed.close()

    def mark_journal_lost(self, followed: FollowedRun) -> None:
        """Tells the streams of the run that what they wait for cannot be had any more."""
        followed.mark_journal_lost()

    def _enter(self, run_id: str) -> FollowedRun:
        channel = self._named(keys.notices(run_id)).encode()
        followed = self._followed.setdefault(channel, FollowedRun(run_id, channel, self._tail_max_bytes))
        followed.add_subscriber(is_closing=self.closing)
        return followed

    async def _send_subscribe(self, followed: FollowedRun) -> None:
        """Subscribes to the run's notices, once; without a connection `_listen` does so as soon as there is one."""
        if followed.notices is not NoticeState.UNSUBSCRIBED:
            return
        if self._pubsub is None or not is_connected(self._pubsub):
            return
        followed.mark_subscribe_sent()
        try:
            await self._pubsub.subscribe(followed.channel)
        except UNREACHABLE:
            return  # `_listen` is about to find out

    async def _leave(self, followed: FollowedRun) -> None:
        if not followed.remove_subscriber():
            return
        self._followed.pop(followed.channel, None)
        self._unread.discard(followed)
        if self._pubsub is not None and is_connected(self._pubsub):
            try:
                await self._pubsub.unsubscribe(followed.channel)
            except UNREACHABLE:
                return  # the connection is gone, and its subscriptions with it

    def _from_start(self, followed: FollowedRun, written: Sequence[bytes]) -> Subscription:
        """A subscription to the first events and all others, which are read as soon as Redis acknowledges."""
        first = [Entry(Cursor(0, seq), Field.EVENT, event) for seq, event in enumerate(written, 1)]
        followed.tail.extend(first)
        if followed.notices is SUBSCRIBED:
            self.schedule_read(followed)
        return Subscription(self.journals, followed, START)

    async def _from_cursor(
        self, followed: FollowedRun, cursor: Cursor, expected: bool, repeats_end: bool
    ) -> Subscription | None:
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                await followed.wait_until_subscribed()
        except TimeoutError:
            raise QueueUnavailable from None
        bounds = await self.journals.bounds(followed.run_id, cursor)
        if bounds is None:
            if not expected or cursor != START:
                raise JournalGone
            return Subscription(self.journals, followed, cursor)
        first, last, following = bounds
        if not follows(first.cursor, cursor) or cursor > last.cursor:
            raise JournalGone
        if following is not None and not continues(cursor, following):
            raise JournalGone
        if following is not None and following.field is Field.ATTEMPT_START:
            await self._require_progress(followed.run_id, cursor)
        if followed.tail.last == START:
            followed.tail.restart(last.cursor, ended=last.field is Field.END)
        before_end = Cursor(last.cursor.attempt, last.cursor.seq - 1)
        if last.field is Field.END and cursor != START and cursor >= before_end:
            return Subscription(self.journals, followed, before_end) if repeats_end else None
        return Subscription(self.journals, followed, cursor)

    async def _require_progress(self, run_id: str, cursor: Cursor) -> None:
        """Raises JournalGone where nothing but attempts' starts stands between the cursor and a hole.

        A start gives the client no id, so that it would come again and again with the same cursor.
        """
        for entry in await self.journals.read(run_id, cursor, MAX_ATTEMPT_STARTS):
            if not continues(cursor, entry):
                raise JournalGone
            if entry.field is not Field.ATTEMPT_START:
                return
            cursor = entry.cursor

    async def _listen(self) -> None:
        while True:
            try:
                async with subscribed(self._notices, self._subscribe_to_all) as pubsub:
                    async for batch in messages(pubsub):
                        for message in batch:
                            self._on_message(message)
            except QueueUnavailable as error:
                log.warning(
                    "the connection for notices was lost: it is opened again",
                    action="hub_reconnect",
                    **failure(error),
                )
            finally:
                self._pubsub = None
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _subscribe_to_all(self, pubsub: PubSub) -> None:
        known = dict(self._followed)
        await pubsub.subscribe(self._named(keys.HUB), *known)
        self._pubsub = pubsub
        if came := self._followed.keys() - known.keys():
            await pubsub.subscribe(*came)
        if left := known.keys() - self._followed.keys():
            await pubsub.unsubscribe(*left)

    def _on_message(self, message: dict[str, Any]) -> None:
        followed = self._followed.get(message["channel"])
        if followed is None:
            return
        if message["type"] == "message":
            self._on_notice(followed, message["data"])
        elif message["type"] == "subscribe" and followed.mark_subscribed():
            self.schedule_read(followed)

    def _on_notice(self, followed: FollowedRun, data: bytes) -> None:
        """Takes the entries that the notice carries if they are what comes next; else the journal is read."""
        try:
            found = decode_notice(data)
        except JournalGone:
            found = []
        if found and adjoins(followed.tail.last, found[0]):
            followed.take(found)
        else:
            self.schedule_read(followed)

    async def _read_news(self) -> None:
        while True:
            await self._has_unread.wait()
            self._has_unread.clear()
            unread, self._unread = list(self._unread), set()
            try:
                replies = await self._read(unread)
            except QueueUnavailable as error:
                log.warning(
                    "journals could not be read: they are tried again", action="hub_read", **failure(error)
                )
                self._unread.update(followed for followed in unread if followed.subscribers)
                self._has_unread.set()
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            for followed, reply in zip(unread, replies, strict=True):
                try:
                    if isinstance(reply, ResponseError):
                        raise JournalGone
                    followed.take(entries(reply))
                    if len(reply) == READ_ENTRIES:
                        self.schedule_read(followed)
                except JournalGone:
                    log.error(  # noqa: TRY400
                        "a journal's key holds something else: its clients are told to load the thread",
                        action="hub_read",
                        run_id=followed.run_id,
                    )
                    followed.mark_journal_lost()

    async def _read(self, unread: list[FollowedRun]) -> list[Any]:
        with redis_errors():
            async with self._commands.pipeline(transaction=False) as pipeline:
                for followed in unread:
                    key = self._named(keys.journal(followed.run_id))
                    pipeline.xrange(key, f"({followed.tail.last}", "+", count=READ_ENTRIES)
                return list(await pipeline.execute(raise_on_error=False))
