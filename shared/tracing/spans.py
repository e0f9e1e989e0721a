"""What the code that is traced calls. Without traces each call is one comparison, and imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from relaykit.shared.tracing.otel import Otel

CONTEXT_KEY: Final = "trace"
"""The key of the trace's context in a run's stored context: `traceparent`, and `tracestate` where there is one."""

Carrier = Mapping[str, str]

request_trace: ContextVar[Carrier | None] = ContextVar("relaykit_request_trace", default=None)
"""The trace's context of the request that the task answers."""

_NOTHING: Final = nullcontext()
_otel: Otel | None = None


def tracing() -> Otel | None:
    """None where this process makes no traces."""
    return _otel


def use(otel: Otel | None) -> None:
    """From now on this process's spans are made by it."""
    global _otel  # noqa: PLW0603
    _otel = otel


def span(name: str, **attributes: str | int) -> AbstractContextManager[object]:
    """The block as a span below the task's current one; nothing where there is none."""
    return _NOTHING if _otel is None else _otel.span(name, attributes)


def carrier_in(context: Mapping[str, Any]) -> Carrier | None:
    """The trace's context that a run's stored context has."""
    carrier = context.get(CONTEXT_KEY)
    return carrier if isinstance(carrier, Mapping) and isinstance(carrier.get("traceparent"), str) else None


def trace_id_in(carrier: Carrier) -> str:
    """The id of the trace: the second field of `traceparent`."""
    return carrier["traceparent"][3:35]
