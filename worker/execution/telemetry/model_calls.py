"""Counts the model calls of the agents SDK and their tokens, from the SDK's own spans.

A site that turns the SDK's tracing off, or replaces its processors, has none of these figures.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from relaykit.worker.execution.current_attempt import served_attempt


def count_model_calls() -> None:
    """From now on, where the site's code uses the agents SDK, whose import takes long where it does not."""
    if "agents" in sys.modules:
        _add_processor()


@cache
def _add_processor() -> None:
    """Once a process, because the SDK's processors are the process's."""
    from agents.tracing import Span, Trace, TracingProcessor, add_trace_processor

    class Processor(TracingProcessor):
        def on_span_end(self, span: Span[Any]) -> None:
            attempt = served_attempt.get()
            if attempt is None:
                return
            data = span.span_data
            if data.type in ("generation", "response"):
                attempt.usage.add(data.usage)

        def on_span_start(self, span: Span[Any]) -> None: ...

        def on_trace_start(self, trace: Trace) -> None: ...

        def on_trace_end(self, trace: Trace) -> None: ...

        def shutdown(self) -> None: ...

        def force_flush(self) -> None: ...

    add_trace_processor(Processor())
