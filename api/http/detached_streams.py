"""Streams that outlast the layers of their request: a stream may last for hours, and there may be ten thousand.

Routes, middleware and the request itself hold 10 to 20 KB of frames and closures for as long as they wait for a
response. So a response of that kind has two halves:

    1  within the layers    it sends its head, with all the headers that the layers add, and calls `detach`
    2  when they are gone   `Application` runs what was detached, with the `receive` and `send` of the HTTP server

The relay's halves are `RelayResponse` (api/relay/response.py) and `Stream` (api/relay/stream.py).
"""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

_DETACHED = "relaykit.detached_streams"
"""The key of the list in the ASGI scope by which the first half hands over the second."""


class DetachedStream(Protocol):
    """The second half of a response whose head has been sent."""

    async def run(self, receive: Receive, send: Send) -> None:
        """Sends the body, and gives back what the stream has."""

    async def close(self) -> None:
        """Gives back what the stream has, where it does not run."""


def detach(scope: Scope, stream: DetachedStream) -> None:
    """Has the application of this scope run the stream, once the caller of this and all its callers have returned."""
    scope[_DETACHED].append(stream)


class Application(FastAPI):
    """The API's ASGI application: FastAPI for all that answers, and then without it for what streams."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        streams: list[DetachedStream] = []
        try:
            # a copy: what the layers put into it goes with them
            await super().__call__({**scope, _DETACHED: streams}, receive, send)
        except BaseException:
            for stream in streams:
                await stream.close()
            raise
        for stream in streams:
            scope["headers"].clear()  # the token among them is not kept either
            await stream.run(receive, send)
