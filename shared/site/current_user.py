"""The verified caller of a request of the site's application, for its routes and middleware."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, cast

from starlette.requests import HTTPConnection

from relaykit.shared.identity import RequestContext

CALLER_KEY: Final = "relaykit.caller"
"""The key in the ASGI scope by which an API hands over what asks who is calling."""


async def current_user(connection: HTTPConnection) -> RequestContext:
    """A dependency of FastAPI: the caller whose token was verified, as a ChatKitServer gets it as its context.

    Raises Starlette's HTTPException with the status, code and headers with which `POST /chatkit` refuses.
    """
    return await current_user_of(connection.scope)


async def current_user_of(scope: MutableMapping[str, Any]) -> RequestContext:
    """The same of an ASGI scope, for middleware and for other frameworks."""
    caller = scope.get(CALLER_KEY)
    if caller is None:
        raise RuntimeError("there is no caller: the request did not come through the API of CHATKIT_APP")
    return await cast(Callable[[], Awaitable[RequestContext]], caller)()
