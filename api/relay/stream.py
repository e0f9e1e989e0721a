"""The second half of a stream's response: from the head on, until the client leaves or the response is complete.

No task waits for news, which wake the streams, nor for a time, which one loop checks for all: a stream that is idle
costs what one waiting task holds.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final

import structlog
from starlette.types import Receive, Send

from relaykit.api.limits.caller_limits import Reservation
from relaykit.api.metrics import RELAY_SECONDS, STREAM_SENDS, STREAMS, STREAMS_CLOSED
from relaykit.api.receipts import Receipt
from relaykit.api.relay import sse
from relaykit.api.relay.hub import Hub
from relaykit.api.relay.states import STREAM_TRANSITIONS, StreamState
from relaykit.api.relay.subscription import Subscription
from relaykit.shared.errors import JournalGone, QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.settings import Settings
from relaykit.shared.tasks import end_tasks

MAX_CHECK_SECONDS = 1.0
CHECKS_PER_PING = 8
"""A ping is at most an eighth of PING_SECONDS late."""

MEASURED_SENDS = 16
"""Each of so many pieces is measured."""

LIVE: Final = StreamState.LIVE
"""A name of this module, because in Python 3.11 each access to an enum's member costs half a microsecond."""

log = structlog.get_logger()


class Streams:
    """All open streams of this process, and their clock. `run` must be running."""

    def __init__(self, settings: Settings, hub: Hub) -> None:
        self.hub = hub
        self.ping_seconds = settings.ping_seconds
        self.notice = sse.notice(settings.queue_notice_text) if settings.queue_notice_text else b""
        """What a client is told whose run waits for a worker; empty where it is told nothing."""
        self.notice_seconds = settings.queue_notice_seconds if self.notice else math.inf
        self.loop = asyncio.get_running_loop()
        """Kept, because asyncio.create_task asks the kernel which process this is, each time."""
        self._open: set[Stream] = set()
        self.sends = 0
        """Pieces that were sent, of all streams: counted here, because a counter's lock costs more than the rest."""
        self._counted_sends = 0

    def add(self, stream: Stream) -> None:
        self._open.add(stream)
        STREAMS.inc()

    def discard(self, stream: Stream, reason: str) -> None:
        self._open.discard(stream)
        STREAMS.dec()
        STREAMS_CLOSED.labels(reason).inc()

    async def run(self) -> None:
        """Checks every stream about once a second until cancelled."""
        pause_seconds = min(
            MAX_CHECK_SECONDS, self.ping_seconds / CHECKS_PER_PING, self.notice_seconds / CHECKS_PER_PING
        )
        while True:
            await asyncio.sleep(pause_seconds)
            now, unix_time = time.monotonic(), time.time()
            STREAM_SENDS.inc(self.sends - self._counted_sends)
            self._counted_sends = self.sends
            for stream in list(self._open):
                stream.check(now, unix_time)


class Stream:
    """One client's stream, as a `DetachedStream` of `api/http/detached_streams.py`.

    It has two tasks at most: `run` waits for the client to leave, and a pump, which lives as long as there is something
    to send, sends it. `_state` says how far the stream is; only `_advance` changes it.
    """

    __slots__ = (
        "_closes_at",
        "_notice_at",
        "_pump",
        "_reason",
        "_receipt",
        "_reservation",
        "_resumes",
        "_running",
        "_send",
        "_sent_bytes",
        "_state",
        "_streams",
        "_subscription",
        "_wrote_at",
    )

    def __init__(
        self,
        streams: Streams,
        subscription: Subscription,
        reservation: Reservation,
        *,
        closes_at: float,
        resumes: bool,
        receipt: Receipt | None,
    ) -> None:
        """`closes_at` is in Unix time; `resumes` says that the client takes EOF without the end for "reconnect"."""
        self._streams, self._subscription, self._reservation = streams, subscription, reservation
        self._closes_at = closes_at
        self._resumes, self._receipt = resumes, receipt
        self._state = StreamState.HEAD_SENT
        self._reason = "left"
        """Why the stream closes: the client leaves, unless the API closes it before that."""
        self._pump: asyncio.Task[None] | None = None
        self._wrote_at = 0.0
        self._sent_bytes = 0
        self._notice_at = math.inf
        """When the client is told that its run waits, unless an attempt has begun by then."""

    async def run(self, receive: Receive, send: Send) -> None:
        """Streams until the client has left or the response is complete."""
        running = asyncio.current_task()
        assert running is not None
        self._running, self._send = running, send
        self._wrote_at = time.monotonic()
        self._notice_at = self._wrote_at + self._streams.notice_seconds
        self._advance(LIVE)
        self._streams.add(self)
        self._subscription.followed.add_listener(self._wake)
        self._pump = self._streams.loop.create_task(self._send_first())
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if self._state is not StreamState.FAILED:
                raise
            running.uncancel()
        finally:
            self._subscription.followed.remove_listener(self._wake)
            self._streams.discard(self, self._reason)
            await self.close()

    async def close(self) -> None:
        """Gives back the stream's reservation and its subscription; the response is not completed."""
        self._advance(StreamState.OVER)
        self._reservation.release()
        try:
            if self._pump is not None:
                await end_tasks([self._pump])
            if self._receipt is not None:
                await self._receipt.written()
        finally:
            await self._streams.hub.leave(self._subscription)

    @property
    def sent_bytes(self) -> int:
        return self._sent_bytes

    def check(self, now: float, unix_time: float) -> None:
        """Does what is due though there is no news; `now` is of the monotonic clock."""
        self._subscription.followed.tail.shrink()
        is_quiet = now - self._wrote_at >= self._streams.ping_seconds
        if is_quiet or now >= self._notice_at or unix_time >= self._closes_at:
            self._wake()

    def _advance(self, state: StreamState) -> bool:
        """Enters the state if the table has it after the present one."""
        may = state in STREAM_TRANSITIONS[self._state]
        if may:
            self._state = state
        return may

    def _wake(self) -> None:
        """There is something to send, or there may be."""
        if self._pump is None and self._state is LIVE:
            self._pump = self._streams.loop.create_task(self._send_all())

    async def _send_first(self) -> None:
        at_hand = self._subscription.at_hand()
        if at_hand and self._receipt is not None:
            self._receipt.note_received()
        await self._send_all(sse.retry(self._subscription.run_id) + at_hand)

    async def _send_all(self, data: bytes = b"") -> None:
        """The pump: sends `data`, then all that is ready; closes the stream where that is due."""
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
            log.error("a stream failed: its connection is closed", action="relay_failed", **failure(error))  # noqa: TRY400
            self._fail()
        self._pump = None

    async def _send_ready(self, data: bytes) -> None:
        subscription, send = self._subscription, self._send
        heard_at = 0.0
        while True:
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})
                self._wrote_at = time.monotonic()
                self._sent_bytes += len(data)
                self._streams.sends += 1
                if heard_at and not self._streams.sends % MEASURED_SENDS:
                    RELAY_SECONDS.observe(self._wrote_at - heard_at)
                heard_at = 0.0
            if subscription.ended:
                return await self._finish("ended")
            if time.time() >= self._closes_at:
                return await self._finish("token")
            is_in_tail = subscription.is_in_tail
            chunk = await subscription.ready()
            if chunk is not None:
                if self._receipt is not None:
                    self._receipt.note_received()
                data, heard_at = chunk.data, subscription.followed.updated_at if is_in_tail else 0.0
            elif subscription.is_closing:
                return await self._finish("drain")
            elif time.monotonic() >= self._notice_at:
                self._notice_at = math.inf
                data = self._streams.notice if subscription.cursor.attempt == 0 else b""
            elif time.monotonic() - self._wrote_at >= self._streams.ping_seconds:
                data = sse.PING
            else:
                return None

    async def _finish(self, reason: str) -> None:
        """Completes the response; an error that can be retried goes first where the client would miss the end."""
        if self._advance(StreamState.CLOSING):
            self._reason = reason
        is_whole = self._subscription.ended or self._resumes
        last = b"" if is_whole else sse.INTERRUPTED
        await self._send({"type": "http.response.body", "body": last, "more_body": False})
        if reason == "ended" and self._receipt is not None:
            self._receipt.note_delivered()

    def _fail(self) -> None:
        """Closes the connection without the response's proper end, by the task that waits for the client."""
        if self._advance(StreamState.FAILED):
            self._reason = "failed"
            self._running.cancel()
