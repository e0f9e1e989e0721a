"""The user's ChatKitServer and its context, and what kind of store it has."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from chatkit.server import ChatKitServer

from relaykit.shared.attachments.store import ObjectAttachmentStore
from relaykit.shared.crashes import hear_cancellation
from relaykit.shared.errors import ContextTimeout
from relaykit.shared.identity import RequestContext
from relaykit.shared.site.authentication import Authenticate
from relaykit.shared.site.refusals import server_refusals
from relaykit.shared.site.store_extras import ForeignStoreExtras, StoreExtras
from relaykit.shared.threads.store import PostgresStore

ContextFactory = Callable[[RequestContext], Any]
"""Gives the server's own context, or an awaitable of it."""

T = TypeVar("T")


class CodeLoop(Protocol):
    """The loop on which the server's code runs."""

    async def call(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives, or raises, there."""


@dataclass(frozen=True, slots=True)
class UserServer:
    """What a deployment runs: the server, and the function that makes its context from ours."""

    server: ChatKitServer[Any]
    make_context: ContextFactory
    context_seconds: float = 10
    own_methods: frozenset[str] = frozenset()
    """The names of the SDK's methods that the server overrides."""
    authenticate: Authenticate | None = None
    """AUTHENTICATE, where the site has it."""
    loop: CodeLoop | None = None
    """Where the server's code runs; None in a worker, where all runs on one loop."""
    our_store: PostgresStore | None = field(init=False)
    """The server's store where it is ours; None for a foreign one."""
    our_attachments: ObjectAttachmentStore | None = field(init=False)
    """The server's attachment store where it is ours, a subclass of the site's too."""
    extras: StoreExtras = field(init=False)
    """What either kind of store can do beyond the SDK's `Store`."""

    def __post_init__(self) -> None:
        """Decides once, where the server is loaded, whether the stores are ours."""
        store, attachments = self.server.store, self.server.attachment_store
        is_ours = isinstance(attachments, ObjectAttachmentStore)
        object.__setattr__(self, "our_attachments", attachments if is_ours else None)
        ours = store if isinstance(store, PostgresStore) else None
        object.__setattr__(self, "our_store", ours)
        object.__setattr__(self, "extras", ours or ForeignStoreExtras(self.server))

    @property
    def is_store_ours(self) -> bool:
        return self.our_store is not None

    @property
    def has_own_context(self) -> bool:
        return self.make_context is not as_given

    async def run(self, call: Callable[[], Awaitable[T]], *, reaches_code: bool) -> T:
        """What the call gives, or raises: on the loop of the server's code if it reaches any of that, else here.

        A call within a call stays where it is. Raises ServerBlocked where that loop does not go on.
        """
        if self.loop is None or not reaches_code:
            return await call()
        return await self.loop.call(call)

    async def context(self, request: RequestContext) -> Any:
        """The context that the server's methods are called with.

        Raises ServerRefused where the site's function refuses the caller with an HTTPException, ContextTimeout where
        its answer takes longer than CONTEXT_SECONDS, ServerBlocked as `run` does, and what else the function raises.
        """
        if not self.has_own_context:
            return request
        return await self.run(lambda: self._made(request), reaches_code=True)

    async def store_context(self, request: RequestContext) -> Any:
        """The context for the store alone, which no method of the server sees. Raises as `context` does.

        Our store takes the request's own, so that no code of the site's runs while it has the thread locked.
        """
        return request if self.is_store_ours else await self.context(request)

    async def _made(self, request: RequestContext) -> Any:
        with server_refusals():
            made = self.make_context(request)
            if inspect.isawaitable(made):
                try:
                    async with asyncio.timeout(self.context_seconds) as timeout:
                        made = await made
                except TimeoutError as error:
                    if timeout.expired():
                        raise ContextTimeout from error
                    raise
            await hear_cancellation()
            return made


def as_given(context: RequestContext) -> RequestContext:
    """The context of a site without CHATKIT_CONTEXT."""
    return context
