"""Who is asking, and with what: the request context that every ChatKit method receives."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What a ChatKitServer gets as `context`, equal in the API and in the worker.

    `metadata` joins the request's top-level metadata with that of `params.input` (the latter wins); it is
    written by the client and proves nothing. `user_id` and `tenant` come from the verified token.
    """

    user_id: str
    tenant: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    locale: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    request_id: str = ""
    run_id: str | None = None
    """The run; None in a non-streaming request."""
    attempt: int | None = None
    """The run's attempt, from 1; None outside a worker."""
    bearer_token: str | None = field(default=None, repr=False)
    """The caller's own token, only with FORWARD_TOKEN=true."""

    def call_key(self, name: str) -> str:
        """A key for a side effect of this run that is the same in each of its attempts."""
        return f"{self.run_id}:{name}"


_current: ContextVar[RequestContext | None] = ContextVar("relaykit_request_context", default=None)


def set_current(context: RequestContext) -> None:
    """Makes `context` that of the running task and of the tasks it starts from now on."""
    _current.set(context)


def owner_of(context: object) -> RequestContext:
    """The request context behind whatever the user's server calls its context.

    A server with a context type of its own hands that to the store, so the store looks here.
    """
    if isinstance(context, RequestContext):
        return context
    current = _current.get()
    if current is None:
        raise LookupError("no request context: the store was called outside a request and outside a run")
    return current
