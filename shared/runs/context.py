"""The request context in a run's row: how it is stored, and how an attempt hands it to the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from relaykit.shared.identity import RequestContext, RequestHeaders
from relaykit.shared.runs.run import Run
from relaykit.shared.tracing.spans import CONTEXT_KEY, request_trace


def request_context(
    run: Run, *, bearer_token: str | None = None, forbid: Callable[[], Awaitable[None]] | None = None
) -> RequestContext:
    """The context that the run's attempt hands to the server: the same as at admission, with the attempt's number."""
    context = run.context
    return RequestContext(
        user_id=run.owner.user_id,
        tenant=run.owner.tenant or None,
        claims=context.get("claims", {}),
        tier=context.get("tier"),
        locale=context.get("locale"),
        metadata=context.get("metadata", {}),
        headers=RequestHeaders(context.get("headers")),
        request_id=context.get("request_id", ""),
        run_id=run.id,
        attempt=run.attempt or None,
        bearer_token=bearer_token,
        forbid=forbid,
    )


def stored_context(context: RequestContext) -> dict[str, Any]:
    """The part of the context that has no column of its own, as JSON."""
    stored: dict[str, Any] = {
        "claims": dict(context.claims),
        "tier": context.tier,
        "locale": context.locale,
        "metadata": dict(context.metadata),
        "request_id": context.request_id,
    }
    if context.headers:
        stored["headers"] = dict(context.headers)
    if (trace := request_trace.get()) is not None:
        stored[CONTEXT_KEY] = dict(trace)
    return stored
