"""A request's span: from its head to its answer, or to the last frame of its stream."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import structlog
from starlette.types import Scope

from relaykit.shared.tracing.spans import carrier_in, request_trace, trace_id_in, tracing

if TYPE_CHECKING:
    from relaykit.shared.runs.run import Run
    from relaykit.shared.tracing.otel import Otel, Span

_KEY: Final = "relaykit.request_trace"
"""The key of the trace in the ASGI scope."""
MAX_STATE_BYTES: Final = 512
"""What is longer than W3C's Trace Context has everybody pass on is left out: it is stored with the run."""


class RequestTrace:
    """The span of one request, which goes on with the trace that the client is in, and the relay's below it."""

    __slots__ = ("_context", "_otel", "_relayed_at", "_span", "traceparent")

    def __init__(self, otel: Otel, scope: Scope) -> None:
        from relaykit.shared.tracing.otel import SpanKind, carrier_of, context_of, within

        self._otel = otel
        self._span: Span = otel.start(
            scope["method"],
            parent=context_of(_carrier(scope)),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"]},
        )
        self._context = within(self._span)
        self._relayed_at: int | None = None
        """When the head was sent, in ns of Unix time; a span would be held for as long as the stream."""
        carrier = carrier_of(self._span)
        self.traceparent = carrier["traceparent"]
        request_trace.set(carrier)
        otel.enter(self._context)
        structlog.contextvars.bind_contextvars(trace_id=trace_id_in(carrier))

    def note(self, **attributes: str) -> None:
        """Notes what is known of the request meanwhile."""
        self._span.set_attributes(attributes)

    def link(self, run: Run) -> None:
        """The request goes on with a run that another trace has begun."""
        from relaykit.shared.tracing.otel import span_context_of

        begun = span_context_of(carrier_in(run.context))
        if begun is not None and begun.span_id != self._span.get_span_context().span_id:
            self._span.add_link(begun, {"relaykit.run.id": run.id})

    def begin_relay(self) -> None:
        """The head is sent, and the stream begins."""
        self._relayed_at = time.time_ns()

    def end(self, known: Mapping[str, str | int | None]) -> None:
        """The answer is complete, or its stream is over. Safe whatever is known of it."""
        from relaykit.shared.tracing.otel import fail_as

        route, status = known["route"], known["status"]
        if route is not None:
            self._span.update_name(f"{known['method']} {route}")
        found = {
            "http.route": route,
            "http.response.status_code": status,
            "http.response.body.size": known["bytes"],
            "relaykit.request.id": known["request_id"],
            "relaykit.run.id": known["run_id"],
        }
        self._span.set_attributes({name: value for name, value in found.items() if value is not None})
        if not isinstance(status, int) or status >= 500:
            fail_as(self._span, str(status or "no_answer"))
        if self._relayed_at is not None:
            relay = self._otel.start("relay", parent=self._context, start_ns=self._relayed_at)
            relay.set_attribute("http.response.body.size", known["bytes"] or 0)
            relay.end()
        self._span.end()


def begin_trace(scope: Scope) -> RequestTrace | None:
    """The trace of a request whose task this is; None where this process makes none."""
    otel = tracing()
    if otel is None:
        return None
    trace = scope[_KEY] = RequestTrace(otel, scope)
    return trace


def trace_of(scope: Scope) -> RequestTrace | None:
    """The trace of the request, as far as it has one."""
    trace: RequestTrace | None = scope.get(_KEY)
    return trace


def _carrier(scope: Scope) -> dict[str, str] | None:
    """What the client sent; none where it sent two, of which neither is to be believed."""
    parents = [value for name, value in scope["headers"] if name == b"traceparent"]
    if len(parents) != 1:
        return None
    carrier = {"traceparent": parents[0].decode("latin-1")}
    states = b",".join(value for name, value in scope["headers"] if name == b"tracestate")
    if 0 < len(states) <= MAX_STATE_BYTES:
        carrier["tracestate"] = states.decode("latin-1")
    return carrier
