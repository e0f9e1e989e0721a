"""From a run to the response that streams it: whether it can, from where, and its head. The rest is in streams.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relaykit.api.auth.authenticator import Identity
from relaykit.api.http.detached_streams import go_on_with
from relaykit.api.http.errors import error_response
from relaykit.api.limits.caller_limits import Slot
from relaykit.api.receipts import Receipt
from relaykit.api.relay import sse
from relaykit.api.relay.streams import Stream, Streams
from relaykit.api.relay.subscription import Subscription
from relaykit.api.resources import Resources
from relaykit.api.routes.request import resumes
from relaykit.shared.errors import JournalGone, RelaykitError
from relaykit.shared.journal import START, Cursor
from relaykit.shared.runs.run import Run


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
    is_get = request.method == "GET"
    # a cursor on a POST does not prove it: fetch-event-source sends one, and takes an early EOF for the answer's end
    can_resume = resumes(request) or (is_get and cursor > START)
    keyless = run.idempotency_key is None
    subscribe = partial(
        resources.hub.subscribe,
        run.id,
        cursor,
        expected=not run.status.ended,
        written=written,
        repeats_end=not is_get,
    )
    return RelayResponse(
        run,
        resources.streams,
        subscribe,
        slot,
        closes_at=identity.expires_at + (0.0 if can_resume else resources.settings.token_grace_seconds),
        resumes=can_resume,
        receipt=Receipt(resources.receipts, run.id, is_of_post=not is_get) if keyless else None,
    )


class RelayResponse(Response):
    """Streams a run to one client until its end, the client's leaving, the token's end, or the process's.

    EOF without the end comment means "reconnect". A client that has not said that it can gets an error event with
    a retry before it, so that no answer is cut and shown as whole.
    """

    def __init__(
        self,
        run: Run,
        streams: Streams,
        subscribe: Callable[[], Awaitable[Subscription | None]],
        slot: Slot,
        *,
        closes_at: float,
        resumes: bool,
        receipt: Receipt | None = None,
    ) -> None:
        """`closes_at` is in Unix time."""
        self.status_code = 200
        self.background = None
        self._run_id, self._thread_id = run.id, run.thread_id
        self._streams = streams
        self._subscribe = subscribe
        self._slot = slot
        self._closes_at = closes_at
        self._resumes = resumes
        self._receipt = receipt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begins the stream, which goes on when all that this is called from has returned."""
        try:
            subscription = await self._subscribe()
        except RelaykitError as error:
            self._slot.release()
            response = error_response(
                JournalGone(self._thread_id) if isinstance(error, JournalGone) else error
            )
            response.headers["X-Run-Id"] = self._run_id
            await response(scope, receive, send)
            return
        except BaseException:
            self._slot.release()
            raise
        if subscription is None:
            self._slot.release()
            await Response(status_code=204, headers={"X-Run-Id": self._run_id})(scope, receive, send)
            return
        stream = Stream(
            self._streams,
            subscription,
            self._slot,
            closes_at=self._closes_at,
            resumes=self._resumes,
            receipt=self._receipt,
        )
        try:
            headers = [*sse.HEADERS, (b"x-run-id", self._run_id.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        except BaseException:
            await stream.close()
            raise
        go_on_with(scope, stream)
