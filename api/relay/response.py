"""The first half of a stream's response: the subscription and the head. `stream.py` has the second half."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relaykit.api.http.detached_streams import detach
from relaykit.api.http.errors import error_response
from relaykit.api.limits.caller_limits import Reservation
from relaykit.api.metrics import STREAMS_OPENED
from relaykit.api.receipts import Receipt
from relaykit.api.relay import sse
from relaykit.api.relay.stream import Stream, Streams
from relaykit.api.relay.subscription import Subscription
from relaykit.shared.errors import JournalGone, RelaykitError
from relaykit.shared.journal import START
from relaykit.shared.runs.run import Run


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
        reservation: Reservation,
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
        self._reservation = reservation
        self._closes_at = closes_at
        self._resumes = resumes
        self._receipt = receipt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the head, or an error in the place of the stream; the stream goes on after this call."""
        try:
            subscription = await self._subscribe()
        except RelaykitError as error:
            self._reservation.release()
            response = error_response(
                JournalGone(self._thread_id) if isinstance(error, JournalGone) else error
            )
            response.headers["X-Run-Id"] = self._run_id
            await response(scope, receive, send)
            return
        except BaseException:
            self._reservation.release()
            raise
        if subscription is None:
            self._reservation.release()
            await Response(status_code=204, headers={"X-Run-Id": self._run_id})(scope, receive, send)
            return
        STREAMS_OPENED.labels("start" if subscription.cursor == START else "cursor").inc()
        stream = Stream(
            self._streams,
            subscription,
            self._reservation,
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
        detach(scope, stream)
