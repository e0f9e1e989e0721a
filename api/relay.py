"""From a subscription to an SSE response, in raw ASGI: all that is ready goes out in one write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import sse
from api.authentication import Identity
from api.caller import resumes
from api.errors import error_response
from api.limits import Slot
from api.metrics import STREAMS, STREAMS_CLOSED
from api.resources import Resources
from api.subscription import Subscription
from shared.errors import JournalGone, QueueUnavailable, RelaykitError
from shared.journal import START, Cursor
from shared.runs import Run
from shared.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """When a stream closes though its run goes on."""

    ping_seconds: float
    stall_seconds: float
    closes_at: float
    """Unix time: the token's end."""

    @classmethod
    def of(cls, settings: Settings, *, expires_at: float, resumes: bool) -> Closing:
        grace = 0.0 if resumes else settings.token_grace_seconds
        return cls(
            ping_seconds=settings.ping_seconds,
            stall_seconds=settings.stall_seconds,
            closes_at=expires_at + grace,
        )


def relay(
    request: Request,
    resources: Resources,
    identity: Identity,
    run: Run,
    cursor: Cursor,
    slot: Slot,
    *,
    written: Sequence[bytes] = (),
) -> RelayResponse:
    """The run from the cursor on, to the caller of this request; gives back `slot` in the end.

    `written` are the first events of a journal that has just been made: they need not be read.
    """
    can_resume = resumes(request) or cursor > START
    keyless = run.idempotency_key is None
    return RelayResponse(
        run,
        resources.hub.subscribe(run.id, cursor, expected=not run.status.ended, written=written),
        Closing.of(resources.settings, expires_at=identity.expires_at, resumes=can_resume),
        slot,
        resumes=can_resume,
        received=(lambda: resources.queue.note_received(run.id)) if keyless else None,
    )


class RelayResponse(Response):
    """Streams a run to one client until its end, the client's leaving, the token's end, or the process's.

    EOF without the end comment means "reconnect". A client that has not said that it can gets an error event with
    a retry before it, so that no answer is cut and shown as whole.
    """

    def __init__(
        self,
        run: Run,
        subscription: AbstractAsyncContextManager[Subscription | None],
        closing: Closing,
        slot: Slot,
        *,
        resumes: bool,
        received: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`received` is called once, when the client has been sent something of the run."""
        self.status_code = 200
        self.background = None
        self._run_id, self._thread_id = run.id, run.thread_id
        self._subscription = subscription
        self._closing = closing
        self._slot = slot
        self._resumes = resumes
        self._received = received

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            stack.callback(self._slot.release)
            try:
                subscription = await stack.enter_async_context(self._subscription)
            except RelaykitError as error:
                told = JournalGone(self._thread_id) if isinstance(error, JournalGone) else error
                response = error_response(told)
                response.headers["X-Run-Id"] = self._run_id
                await response(scope, receive, send)
                return
            if subscription is None:
                await Response(status_code=204, headers={"X-Run-Id": self._run_id})(scope, receive, send)
                return
            client = _Client(receive, send, subscription)
            stack.push_async_callback(client.stop_watching)
            with STREAMS.track_inprogress():
                reason = await self._stream(client, subscription, stack)
            STREAMS_CLOSED.labels(reason).inc()

    async def _stream(self, client: _Client, subscription: Subscription, stack: AsyncExitStack) -> str:
        """Why the stream closed."""
        reason = "left"
        await client.start(self._run_id)
        try:
            async with asyncio.timeout(self._closing.stall_seconds) as stall:
                at_hand = subscription.at_hand()
                if at_hand:
                    self._note(stack)
                pending = sse.retry(self._run_id) + at_hand
                while not client.gone:
                    stall.reschedule(asyncio.get_running_loop().time() + self._closing.stall_seconds)
                    await client.write(pending)
                    stall.reschedule(None)
                    if subscription.ended:
                        reason = "ended"
                        break
                    left = self._closing.closes_at - time.time()
                    if left <= 0:
                        reason = "token"
                        break
                    chunk = await subscription.next(min(self._closing.ping_seconds, left))
                    if chunk is None and subscription.closing:
                        reason = "drain"
                        break
                    if chunk is None:
                        pending = sse.PING
                        continue
                    pending = chunk.data
                    self._note(stack)
        except TimeoutError:
            log.info("client takes nothing", action="relay_stalled", run_id=self._run_id)
            return "stalled"
        except (JournalGone, QueueUnavailable) as error:
            log.info("relay interrupted", action="relay_interrupted", run_id=self._run_id, code=error.code)
            reason = error.code
        if not client.gone:
            await client.finish(b"" if subscription.ended or self._resumes else sse.INTERRUPTED)
        return reason

    def _note(self, stack: AsyncExitStack) -> None:
        if self._received is not None:
            noting = asyncio.create_task(self._note_received(self._received))
            self._received = None
            stack.push_async_callback(asyncio.wait, [noting])

    async def _note_received(self, received: Callable[[], Awaitable[None]]) -> None:
        try:
            await received()
        except QueueUnavailable as error:  # the same body sent again would attach to this run
            log.info("not noted", action="relay_unnoted", run_id=self._run_id, code=error.code)


class _Client:
    """The two ends of one ASGI response."""

    __slots__ = ("_send", "_watch", "gone")

    def __init__(self, receive: Receive, send: Send, subscription: Subscription) -> None:
        self._send = send
        self.gone = False
        self._watch = asyncio.create_task(self._watch_disconnect(receive, subscription))

    async def _watch_disconnect(self, receive: Receive, subscription: Subscription) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        subscription.leave()

    async def stop_watching(self) -> None:
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)

    async def start(self, run_id: str) -> None:
        headers = [*sse.HEADERS, (b"x-run-id", run_id.encode())]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def write(self, data: bytes) -> None:
        if data:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": False})
