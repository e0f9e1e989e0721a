"""OpenTelemetry's SDK with its OTLP exporter, for one process. Imported only where traces are asked for.

The provider is the product's own, not the global one: what the site's code does with OpenTelemetry is the site's, and
its spans join a trace all the same, because the current span is in OpenTelemetry's context.
"""

from __future__ import annotations

import asyncio
import os
import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import structlog
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace import set_span_in_context as within
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from relaykit.shared.errors import RelaykitError
from relaykit.shared.log import failure
from relaykit.shared.tracing.environment import captures_content
from relaykit.shared.tracing.spans import Carrier
from relaykit.shared.version import VERSION

CLOSE_SECONDS: Final = 2.0
"""How long the last spans have to be sent: less than END_SECONDS of shared/process/end.py, which tasks have a part of
too."""
UNNAMED: Final = "unknown_service"

Attributes = Mapping[str, str | int | float | bool]

log = structlog.get_logger()

_given_id: ContextVar[int | None] = ContextVar("relaykit_given_span_id", default=None)
_propagator = TraceContextTextMapPropagator()


class Otel:
    """Makes spans, and sends them from a thread of its own: a receiver that is away or hangs holds up nothing.

    The queue of what is to be sent is bounded by OTEL_BSP_MAX_QUEUE_SIZE; what comes when it is full is dropped.
    Raises ValueError, OSError where the SDK does not take a value of the environment.
    """

    def __init__(self, service: str) -> None:
        """`service` is the name where OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES give none."""
        self.captures_content = captures_content(os.environ)
        self._provider = TracerProvider(
            resource=_resource(service), id_generator=_Ids(), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(_Told(OTLPSpanExporter())))
        self._tracer = self._provider.get_tracer("relaykit", VERSION)

    def start(
        self,
        name: str,
        *,
        parent: Context,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        start_ns: int | None = None,
        span_id: int | None = None,
    ) -> Span:
        """A span that its caller ends. Times are in nanoseconds of Unix time."""
        given = _given_id.set(span_id)
        try:
            return self._tracer.start_span(
                name,
                parent,
                kind,
                attributes,
                start_time=start_ns,
                record_exception=False,
                set_status_on_exception=False,
            )
        finally:
            _given_id.reset(given)

    @contextmanager
    def span(self, name: str, attributes: Attributes) -> Iterator[None]:
        """The block as a span below the task's current one; nothing where there is none."""
        parent = otel_context.get_current()
        if not get_current_span(parent).get_span_context().is_valid:
            yield
            return
        span = self.start(name, parent=parent, attributes=attributes)
        token = otel_context.attach(within(span, parent))
        try:
            yield
        except BaseException as error:
            fail(span, error)
            raise
        finally:
            otel_context.detach(token)
            span.end()

    def enter(self, context: Context) -> None:
        """Makes the context the current task's, for the rest of its life."""
        otel_context.attach(context)

    def close(self) -> None:
        """Sends what is left, for CLOSE_SECONDS at most; the thread that sends is a daemon, which no process awaits."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            log.warning(
                "the last spans could not be sent in time: the process ends without them",
                action="traces_left",
                seconds=CLOSE_SECONDS,
            )


def context_of(carrier: Carrier | None) -> Context:
    """The context that a `traceparent` names; an empty one where there is none, or it is malformed."""
    return Context() if carrier is None else _propagator.extract(carrier, Context())


def carrier_of(span: Span) -> dict[str, str]:
    """`traceparent`, and `tracestate` where there is one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, within(span, Context()))
    return carrier


def span_context_of(carrier: Carrier | None) -> SpanContext | None:
    """The span that a `traceparent` names."""
    found = get_current_span(context_of(carrier)).get_span_context()
    return found if found.is_valid else None


def fail(span: Span, error: BaseException) -> None:
    """Notes that the span's work has raised: the code or the type alone, because its text may quote a user."""
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        span.set_attribute("error.type", "cancelled")
        return
    fail_as(span, error.code if isinstance(error, RelaykitError) else type(error).__qualname__)


def fail_as(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(Status(StatusCode.ERROR))


class _Ids(RandomIdGenerator):
    def generate_span_id(self) -> int:
        given = _given_id.get()
        return super().generate_span_id() if given is None else given


class _Told(SpanExporter):
    """The exporter, whose failures are lines of this log: the SDK's own quote what the receiver has answered."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        error: dict[str, object] = {}
        try:
            result = self._exporter.export(spans)
        except Exception as raised:
            result, error = SpanExportResult.FAILURE, failure(raised)
        if result is not SpanExportResult.SUCCESS:
            log.warning(
                "spans could not be sent: they are dropped",
                action="traces_dropped",
                spans=len(spans),
                **error,
            )
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _resource(service: str) -> Resource:
    given = Resource.create()
    resource = Resource(
        {"service.version": VERSION, "host.name": platform.node(), "process.pid": os.getpid()}
    )
    resource = resource.merge(given)
    if str(resource.attributes.get("service.name", UNNAMED)).startswith(UNNAMED):
        return resource.merge(Resource({"service.name": service}))
    return resource


__all__ = ["Link", "Otel", "Span", "SpanKind", "within"]
