"""The API's ASGI application: what streams for long goes on when the layers that led to it have returned."""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

_STREAMS = "relaykit.streams"


class GoesOn(Protocol):
    """A response whose head has been sent, with all the headers that the layers add."""

    async def run(self, receive: Receive, send: Send) -> None:
        """Sends the rest."""

    async def close(self) -> None:
        """Gives back what it has, where it does not run."""


def go_on_with(scope: Scope, stream: GoesOn) -> None:
    """To be called by a response in the place of the rest of itself."""
    scope[_STREAMS].append(stream)


class Application(FastAPI):
    """Routes, middleware and the request itself hold 10 to 20 KB of frames and closures as long as they wait for a
    response; a stream may last for hours, and there may be ten thousand of them.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        streams: list[GoesOn] = []
        try:
            # a copy: what the layers put into it goes with them
            await super().__call__({**scope, _STREAMS: streams}, receive, send)
        except BaseException:
            for stream in streams:
                await stream.close()
            raise
        for stream in streams:
            scope["headers"].clear()  # nor is the token kept
            await stream.run(receive, send)
