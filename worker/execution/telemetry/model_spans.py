"""The agents SDK's own spans, by OpenTelemetry's conventions for generative AI.

Of the SDK's `task`, `turn`, `custom` and speech spans none is made: what is below them hangs below what is above them.
Names of agents, tools and models are the site's code; texts, arguments and results are left out unless
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT asks for them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import structlog

from relaykit.shared.log import failure
from relaykit.shared.tracing.spans import tracing
from relaykit.worker.execution.current_attempt import served_attempt
from relaykit.worker.execution.telemetry.attempt_trace import AttemptTrace

OPERATIONS = {
    "agent": "invoke_agent",
    "generation": "chat",
    "response": "chat",
    "function": "execute_tool",
    "handoff": "handoff",
    "guardrail": "guardrail",
    "mcp_tools": "list_tools",
}

log = structlog.get_logger()


def trace_model_calls() -> None:
    """From now on, where this process makes traces and the site's code uses the agents SDK."""
    if tracing() is not None and "agents" in sys.modules:
        _add_processor()


@cache
def _add_processor() -> None:
    """Once a process, because the SDK's processors are the process's."""
    from agents.tracing import Span, Trace, TracingProcessor, add_trace_processor

    class Processor(TracingProcessor):
        def on_span_start(self, span: Span[Any]) -> None:
            self._guarded(_begin, span)

        def on_span_end(self, span: Span[Any]) -> None:
            self._guarded(_end, span)

        def _guarded(self, call: Any, span: Span[Any]) -> None:
            """The SDK's caller, which is the site's code, never hears of what fails here."""
            attempt = served_attempt.get()
            if attempt is None or attempt.trace is None:
                return
            try:
                call(attempt.trace, span)
            except Exception as error:
                log.warning(
                    "a span of the agents SDK could not be taken over: the trace goes on without it",
                    action="model_span_failed",
                    run_id=attempt.run_id,
                    **failure(error),
                )

        def on_trace_start(self, trace: Trace) -> None: ...

        def on_trace_end(self, trace: Trace) -> None: ...

        def shutdown(self) -> None: ...

        def force_flush(self) -> None: ...

    add_trace_processor(Processor())


def _begin(trace: AttemptTrace, span: Any) -> None:
    above = trace.of_sdk.get(span.parent_id or "")
    operation = OPERATIONS.get(span.span_data.type)
    if operation is None:
        trace.of_sdk[span.span_id] = above
        return
    trace.of_sdk[span.span_id] = trace.start(operation, above, **{"gen_ai.operation.name": operation})


def _end(trace: AttemptTrace, span: Any) -> None:
    ours = trace.of_sdk.pop(span.span_id, None)
    data = span.span_data
    operation = OPERATIONS.get(data.type)
    if ours is None or operation is None:
        return
    found, name = _described(data)
    if name:
        ours.update_name(f"{operation} {name}")
    if trace.captures_content:
        found |= _content(data)
    ours.set_attributes({key: value for key, value in found.items() if value is not None})
    if span.error:
        from relaykit.shared.tracing.otel import fail_as

        fail_as(ours, "error")  # the SDK's message may quote what was said
    ours.end()


def _described(data: Any) -> tuple[dict[str, Any], str | None]:
    """The attributes, and what the span's name has after its operation."""
    match data.type:
        case "agent":
            return {"gen_ai.agent.name": data.name}, data.name
        case "generation":
            return {**_model(data.model, data.usage)}, data.model
        case "response":
            response = data.response
            model = getattr(response, "model", None)
            usage = data.usage or _usage(getattr(response, "usage", None))
            more = {"gen_ai.response.id": getattr(response, "id", None), "gen_ai.response.model": model}
            return {**_model(model, usage), **more}, model
        case "function":
            kind = "function" if data.mcp_data is None else "extension"
            return {"gen_ai.tool.name": data.name, "gen_ai.tool.type": kind}, data.name
        case "handoff":
            return {"gen_ai.agent.name": data.to_agent}, data.to_agent
        case "guardrail":
            return {"relaykit.guardrail.triggered": bool(data.triggered)}, data.name
        case _:
            return {"mcp.server": data.server}, data.server


def _model(model: str | None, usage: Mapping[str, Any] | None) -> dict[str, Any]:
    told = usage or {}
    return {
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": _number(told.get("input_tokens", told.get("prompt_tokens"))),
        "gen_ai.usage.output_tokens": _number(told.get("output_tokens", told.get("completion_tokens"))),
    }


def _usage(usage: Any) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {name: getattr(usage, name, None) for name in ("input_tokens", "output_tokens")}


def _number(told: object) -> int | None:
    return told if isinstance(told, int) and told >= 0 else None


def _content(data: Any) -> dict[str, str | None]:
    """What was said, as the conventions have it: JSON of messages with parts."""
    match data.type:
        case "generation":
            return {
                "gen_ai.input.messages": _messages(data.input),
                "gen_ai.output.messages": _messages(data.output),
            }
        case "response":
            output = getattr(data.response, "output", None)
            dumped = None if output is None else [item.model_dump(mode="json") for item in output]
            return {
                "gen_ai.input.messages": _messages(data.input),
                "gen_ai.output.messages": _messages(dumped),
            }
        case "function":
            return {
                "gen_ai.tool.call.arguments": _text(data.input),
                "gen_ai.tool.call.result": _text(data.output),
            }
        case _:
            return {}


def _messages(items: str | Sequence[Any] | None) -> str | None:
    if items is None:
        return None
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    return _text([_message(item) for item in items])


def _message(item: Any) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        return {"role": "unknown", "parts": [{"type": "text", "content": _text(item)}]}
    if item.get("type") == "function_call":
        call = {"type": "tool_call", "id": item.get("call_id"), "name": item.get("name")}
        return {"role": "assistant", "parts": [{**call, "arguments": item.get("arguments")}]}
    if item.get("type") == "function_call_output":
        given = {"type": "tool_call_response", "id": item.get("call_id"), "response": item.get("output")}
        return {"role": "tool", "parts": [given]}
    content = item.get("content")
    parts = content if isinstance(content, list) else [content]
    calls = item.get("tool_calls") or []
    return {
        "role": str(item.get("role", "assistant")),
        "parts": [
            *({"type": "text", "content": _part(part)} for part in parts if part is not None),
            *({"type": "tool_call", "content": _text(call)} for call in calls),
        ],
    }


def _part(part: Any) -> Any:
    return part.get("text", _text(part)) if isinstance(part, Mapping) else part


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
