"""Streams that outlast the layers of their request: a stream may last for hours, and there may be ten thousand.

Routes, middleware and the request itself hold 10 to 20 KB of frames and closures for as long as they wait for a
response. So a response of that kind has two halves:

    1  within the layers    it sends its head, with all the headers that the layers add, and calls `detach`
    2  when they are gone   `Application` runs what was detached, with the `receive` and `send` of the HTTP server

The relay's halves are `RelayResponse` (api/relay/response.py) and `Stream` (api/relay/stream.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from relaykit.api.http.access_log import Access
from relaykit.api.http.private_paths import NO_PATH, is_disguised

_DETACHED = "relaykit.detached_streams"
"""The key of the list in the ASGI scope by which the first half hands over the second."""


class DetachedStream(Protocol):
    """The second half of a response whose head has been sent."""

    async def run(self, receive: Receive, send: Send) -> None:
        """Sends the body, and gives back what the stream has."""

    async def close(self) -> None:
        """Gives back what the stream has, where it does not run."""

    @property
    def sent_bytes(self) -> int:
        """How many bytes of the body were sent."""


def detach(scope: Scope, stream: DetachedStream) -> None:
    """Has the application of this scope run the stream, once the caller of this and all its callers have returned."""
    scope[_DETACHED].append(stream)


class OtherApp(Protocol):
    """An application that answers the paths which are not ours."""

    def takes(self, path: str) -> bool:
        """Whether the path is its own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request, or the WebSocket."""


class Application(FastAPI):
    """The API's ASGI application: FastAPI for all that answers, and then without it for what streams."""

    other: OtherApp | None = None
    """What is asked first, so that neither application's layers wrap the other's routes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        if is_disguised(scope):
            scope = {**scope, "path": NO_PATH}
        elif self.other is not None and self.other.takes(scope["path"]):
            await self.other(scope, receive, send)
            return
        access = Access(scope)
        for stream in await self._answer(scope, receive, send, access):
            scope["headers"].clear()  # the token among them is not kept either
            access.begin_stream()
            try:
                await stream.run(receive, send)
            finally:
                access.log(stream)

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, access: Access
    ) -> Sequence[DetachedStream]:
        """The first half, of whose layers nothing is left when it returns; the streams that follow it."""
        streams: list[DetachedStream] = []
        # a copy: what the layers put into it goes with them
        inner = {**scope, _DETACHED: streams}
        try:
            await super().__call__(inner, receive, access.noting(send))
            access.note_route(inner)
        except BaseException:
            for stream in streams:
                await stream.close()
            access.log()
            raise
        if not streams:
            access.log()
        return streams
