"""From a run to the response that streams it: whether it can, and from where. api/relay/response.py begins it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from starlette.requests import Request

from relaykit.api.auth.identity import Identity
from relaykit.api.http.request_trace import trace_of
from relaykit.api.limits.caller_limits import Reservation
from relaykit.api.receipts import Receipt
from relaykit.api.relay.response import RelayResponse
from relaykit.api.resources import Resources
from relaykit.api.routes.request import resumes
from relaykit.shared.journal import START, Cursor
from relaykit.shared.runs.run import Run


def relay(
    request: Request,
    resources: Resources,
    identity: Identity,
    run: Run,
    cursor: Cursor,
    reservation: Reservation,
    *,
    written: Sequence[bytes] = (),
) -> RelayResponse:
    """The run from the cursor on, to the caller of this request; gives back `reservation` in the end.

    `written` are the first events of a journal that has just been made: they need not be read.
    """
    if (trace := trace_of(request.scope)) is not None:
        trace.link(run)
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
        reservation,
        closes_at=identity.expires_at + (0.0 if can_resume else resources.settings.token_grace_seconds),
        resumes=can_resume,
        receipt=Receipt(resources.receipts, run.id, is_of_post=not is_get) if keyless else None,
    )
