"""The open streams of this process.

No task waits for news, which are pushed, nor for the time, which one loop keeps for all: a stream that is idle costs
what one waiting task holds.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import structlog
from starlette.types import Receive, Send

from relaykit.api.limits.caller_limits import Slot
from relaykit.api.metrics import STREAMS, STREAMS_CLOSED
from relaykit.api.receipts import Receipt
from relaykit.api.relay import sse
from relaykit.api.relay.hub import Hub
from relaykit.api.relay.subscription import Subscription
from relaykit.shared.errors import JournalGone, QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.settings import Settings
from relaykit.shared.tasks import end_tasks

MAX_LOOK_SECONDS = 1.0
LOOKS = 8
"""At each stream within PING_SECONDS."""

log = structlog.get_logger()


class Streams:
    """All of them, and their clock. `run` must be running."""

    def __init__(self, settings: Settings, hub: Hub) -> None:
        self.hub = hub
        self.ping_seconds = settings.ping_seconds
        self.notice = sse.notice(settings.queue_notice_text) if settings.queue_notice_text else b""
        """What a client is told whose run waits for a worker, if anything."""
        self.notice_seconds = settings.queue_notice_seconds if self.notice else math.inf
        self.loop = asyncio.get_running_loop()
        """Kept: asyncio.create_task asks the kernel which process this is, each time."""
        self._open: set[Stream] = set()

    def add(self, stream: Stream) -> None:
        self._open.add(stream)
        STREAMS.inc()

    def discard(self, stream: Stream, reason: str) -> None:
        self._open.discard(stream)
        STREAMS.dec()
        STREAMS_CLOSED.labels(reason).inc()

    async def run(self) -> None:
        """Looks at every stream about once a second until cancelled."""
        pause_seconds = min(MAX_LOOK_SECONDS, self.ping_seconds / LOOKS, self.notice_seconds / LOOKS)
        while True:
            await asyncio.sleep(pause_seconds)
            now, unix_time = time.monotonic(), time.time()
            for stream in list(self._open):
                stream.look(now, unix_time)


class Stream:
    """One client's stream, once its head is sent.

    Two tasks at most: `run` waits for the client to leave, and a pump that sends what is ready lives as long as there
    is something.
    """

    __slots__ = (
        "_closes_at",
        "_given_up",
        "_is_over",
        "_notice_at",
        "_noting",
        "_pump",
        "_reason",
        "_receipt",
        "_resumes",
        "_running",
        "_send",
        "_slot",
        "_streams",
        "_subscription",
        "_wrote_at",
    )

    def __init__(
        self,
        streams: Streams,
        subscription: Subscription,
        slot: Slot,
        *,
        closes_at: float,
        resumes: bool,
        receipt: Receipt | None,
    ) -> None:
        self._streams, self._subscription, self._slot = streams, subscription, slot
        self._closes_at = closes_at
        self._resumes, self._receipt = resumes, receipt
        self._reason: str | None = None
        """Why it closes, where that is not the client's leaving."""
        self._pump: asyncio.Task[None] | None = None
        self._noting: asyncio.Task[None] | None = None
        self._wrote_at = 0.0
        self._notice_at = math.inf
        """When the client is told that its run waits, unless an attempt has begun by then."""
        self._given_up = self._is_over = False

    async def run(self, receive: Receive, send: Send) -> None:
        """Streams until the client has left or the response is complete."""
        running = self._running = asyncio.current_task()
        self._send = send
        self._wrote_at = time.monotonic()
        self._notice_at = self._wrote_at + self._streams.notice_seconds
        self._streams.add(self)
        self._subscription.follow.listen(self._poke)
        self._pump = self._streams.loop.create_task(self._begin())
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if running is None or not self._given_up:
                raise
            running.uncancel()
        finally:
            self._is_over = True
            self._subscription.follow.unlisten(self._poke)
            self._streams.discard(self, self._reason or "left")
            await self.close()

    async def close(self) -> None:
        """Gives back all that it has; the response is not completed."""
        self._slot.release()
        try:
            if self._pump is not None:
                await end_tasks([self._pump])
            if self._noting is not None:
                await asyncio.wait([self._noting])
        finally:
            await self._streams.hub.leave(self._subscription)

    def look(self, now: float, unix_time: float) -> None:
        """Does what is due though there is no news; `now` is of the monotonic clock."""
        self._subscription.follow.tail.shrink()
        is_quiet = now - self._wrote_at >= self._streams.ping_seconds
        if is_quiet or now >= self._notice_at or unix_time >= self._closes_at:
            self._poke()

    def _poke(self) -> None:
        """There is something to do, or it may be."""
        if self._pump is None and self._reason is None:
            self._pump = self._streams.loop.create_task(self._work())

    async def _begin(self) -> None:
        at_hand = self._subscription.at_hand()
        if at_hand:
            self._note_received()
        await self._work(sse.retry(self._subscription.run_id) + at_hand)

    async def _work(self, data: bytes = b"") -> None:
        """Sends `data`, then all that is ready; closes the stream where it is time to."""
        try:
            try:
                await self._send_ready(data)
            except (JournalGone, QueueUnavailable) as error:
                run_id = self._subscription.run_id
                log.info(
                    "a stream was interrupted: it is closed, and the client comes again",
                    action="relay_interrupted",
                    run_id=run_id,
                    code=error.code,
                )
                await self._finish(error.code)
        except Exception as error:
            log.error(  # noqa: TRY400
                "a stream failed: it is closed, and the client comes again",
                action="relay_failed",
                **failure(error),
            )
            self._give_up("failed")
        self._pump = None

    async def _send_ready(self, data: bytes) -> None:
        subscription, send = self._subscription, self._send
        while True:
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
                self._wrote_at = time.monotonic()
            if subscription.ended:
                return await self._finish("ended")
            if time.time() >= self._closes_at:
                return await self._finish("token")
            chunk = await subscription.ready()
            if chunk is not None:
                self._note_received()
                data = chunk.data
            elif subscription.closing:
                return await self._finish("drain")
            elif time.monotonic() >= self._notice_at:
                self._notice_at = math.inf
                data = self._streams.notice if subscription.cursor.attempt == 0 else b""
            elif time.monotonic() - self._wrote_at >= self._streams.ping_seconds:
                data = sse.PING
            else:
                return None

    async def _finish(self, reason: str) -> None:
        self._reason = reason
        is_whole = self._subscription.ended or self._resumes
        last = b"" if is_whole else sse.INTERRUPTED
        await self._send({"type": "http.response.body", "body": last, "more_body": False})
        if reason == "ended" and self._receipt is not None and self._receipt.is_of_post:
            self._note(self._receipt.delivered)

    def _give_up(self, reason: str) -> None:
        """Closes the connection without the response's proper end."""
        if self._running is not None and not (self._given_up or self._is_over):
            self._reason, self._given_up = reason, True
            self._running.cancel()

    def _note_received(self) -> None:
        if self._receipt is not None and not self._receipt.is_noted:
            self._receipt.is_noted = True
            self._note(self._receipt.received)

    def _note(self, what: Callable[[], Awaitable[None]]) -> None:
        self._noting = self._streams.loop.create_task(self._noted(what, self._noting))

    async def _noted(self, what: Callable[[], Awaitable[None]], before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await what()
        except QueueUnavailable as error:
            run_id = self._subscription.run_id
            log.info(
                "a receipt could not be noted in Redis: the stream goes on without it",
                action="relay_unnoted",
                run_id=run_id,
                code=error.code,
            )
        if self._noting is asyncio.current_task():
            self._noting = None
