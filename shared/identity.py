"""Who is asking, and with what: the request context that every ChatKit method receives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import Any

from relaykit.shared.owner import Owner
from relaykit.shared.thread_merge import LoadedThreads


class RequestHeaders(Mapping[str, str]):
    """Header fields of a request, read-only: names in lower case, found in any case."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        self._fields = {name.lower(): value for name, value in (fields or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What a ChatKitServer gets as `context`, equal in the API and in the worker.

    `metadata` joins the request's top-level metadata with that of `params.input` (the latter wins); it is
    written by the client and proves nothing. `user_id` and `tenant` come from the verified token.
    """

    user_id: str
    tenant: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    tier: str | None = None
    """The text in the claim that JWT_TIER_CLAIM names."""
    locale: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=RequestHeaders, repr=False)
    """The request's header fields that CONTEXT_HEADERS names, where it has them; written by the client."""
    request_id: str = ""
    run_id: str | None = None
    """The run; None in a non-streaming request."""
    attempt: int | None = None
    """The run's attempt, from 1; None outside a worker."""
    bearer_token: str | None = field(default=None, repr=False)
    """The caller's own token, only with FORWARD_TOKEN=true."""

    forbid: Callable[[], Awaitable[None]] | None = field(default=None, repr=False, compare=False)
    """What `forbid_next_attempt` does; given by the worker."""

    loaded: LoadedThreads = field(default_factory=LoadedThreads, repr=False, compare=False)
    """What our store has given this request or attempt of its threads: it writes what was changed of that."""

    async def forbid_next_attempt(self) -> None:
        """From here on the run is not executed again, should its worker be lost: it fails instead.

        For a tool, right before a side effect that must not happen twice and knows no key (else use `call_key`).
        Raises Fenced where a newer attempt has begun already: the side effect is then not this attempt's to make.
        Outside a run it does nothing.
        """
        if self.forbid is not None:
            await self.forbid()

    @property
    def owner(self) -> Owner:
        """The caller, as the rows name the owner of what is theirs."""
        return Owner.of(self)

    def call_key(self, name: str) -> str:
        """A key for a side effect of this run that is the same in each of its attempts."""
        return f"{self.run_id}:{name}"


_current: ContextVar[RequestContext | None] = ContextVar("relaykit_request_context", default=None)


@contextmanager
def acting_as(context: RequestContext) -> Iterator[None]:
    """Makes `context` the request context of the block; afterwards the one before is back, however the block ends.

    A task that begins in the block keeps the context for its life, because a task copies the variables of the one that
    begins it: the site's code may leave a task behind, and that still acts for the same caller.
    """
    before = _current.set(context)
    try:
        yield
    finally:
        _current.reset(before)


def current_in(variables: Context) -> RequestContext | None:
    """The request context of a task with these variables."""
    return variables.get(_current)


def request_of(context: object) -> RequestContext:
    """The request context behind whatever the user's server calls its context.

    A server with a context type of its own hands that to the store, so the store looks here.
    """
    if isinstance(context, RequestContext):
        return context
    current = _current.get()
    if current is None:
        raise LookupError("no request context: the store was called outside a request and outside a run")
    return current
