"""The site's lifespan in an API process: entered and left on the loop of the site's code, and waited for beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import structlog

from relaykit.api.site.server_loop import ServerLoop
from relaykit.shared.errors import ServerBlocked, ServerLoadError
from relaykit.shared.site.lifetime import CANCEL_SECONDS, LEAVE_SECONDS, Lifetime

SLACK_SECONDS: Final = 2 * CANCEL_SECONDS
"""So much longer than the lifetime itself is waited for: beyond, its loop stands."""

T = TypeVar("T")

log = structlog.get_logger()


@asynccontextmanager
async def lived_on(loop: ServerLoop, lifetime: Lifetime[T]) -> AsyncIterator[T]:
    """Raises ServerLoadError where the site's code fails, or takes longer than it may."""
    try:
        async with asyncio.timeout(lifetime.enter_seconds + SLACK_SECONDS):
            value = await loop.call(lifetime.enter)
    except (TimeoutError, ServerBlocked) as error:
        raise ServerLoadError(
            f"the site's code is not ready after LIFESPAN_SECONDS: it blocks its event loop at {loop.site_place()}"
        ) from error
    try:
        yield value
    finally:
        try:
            async with asyncio.timeout(LEAVE_SECONDS + SLACK_SECONDS):
                await loop.call(lifetime.leave)
        except (TimeoutError, ServerBlocked):
            log.error(  # noqa: TRY400
                "the site's lifespan blocks its event loop: the process ends without it",
                action="lifespan_blocked",
                place=loop.site_place(),
            )
