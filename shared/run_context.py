"""From a run's row to the request context that its attempts hand to the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from shared.identity import RequestContext
from shared.runs import Run


def request_context(
    run: Run, *, bearer_token: str | None = None, forbid: Callable[[], Awaitable[None]] | None = None
) -> RequestContext:
    """The context that the run's attempt hands to the server: the same as at admission, with the attempt's number."""
    context = run.context
    return RequestContext(
        user_id=run.owner,
        tenant=run.tenant or None,
        claims=context.get("claims", {}),
        locale=context.get("locale"),
        metadata=context.get("metadata", {}),
        request_id=context.get("request_id", ""),
        run_id=run.id,
        attempt=run.attempt or None,
        bearer_token=bearer_token,
        forbid=forbid,
    )
