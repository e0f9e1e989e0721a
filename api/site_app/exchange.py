"""One request or WebSocket of the site's application: its messages, carried between its loop and the API's.

Each `receive` and `send` is awaited by the application until it has been done on the API's loop, so that a client that
sends or reads slowly slows the application down, and nothing gathers here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from starlette.types import Message, Receive, Send

T = TypeVar("T")


class Exchange:
    """Made on the API's loop; `receive`, `send` and `across` are for the application's."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self._received: Future[Message] | None = None
        """A `receive` that was cancelled: the next one gets its message."""
        self._reading = asyncio.Lock()
        self._is_closed = False
        self.has_begun = False
        """Whether a response has, or a WebSocket was accepted or refused."""
        self.is_open = False
        """Whether it is a WebSocket that was accepted, and that the application has not closed."""

    async def receive(self) -> Message:
        """The next message, and without waiting where it is here: `request.is_disconnected()` takes no other."""
        async with self._reading:  # each message goes to one of those that wait
            if self._received is None:
                self._received = self._post(self._receive)
            if not self._received.done():
                await asyncio.shield(asyncio.wrap_future(self._received))
            message, self._received = self._received.result(), None
            return message

    async def send(self, message: Message) -> None:
        """Raises OSError where the request has been given up, as after the client has gone."""
        await self.across(lambda: self._send_here(message))

    async def across(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives, or raises, on the API's loop."""
        return await asyncio.wrap_future(self._post(call))

    def close(self) -> None:
        """On the API's loop: nothing is received or sent for the application any more."""
        self._is_closed = True
        if self._received is not None:
            self._received.cancel()

    async def _send_here(self, message: Message) -> None:
        if self._is_closed:
            raise OSError("the request is over")
        kind = message["type"]
        if kind == "http.response.start":
            self.has_begun = True  # also of one that the server refuses: it takes no other
        await self._send(message)
        if kind.startswith("websocket."):  # of these the server takes another one
            self.has_begun = True
            self.is_open = kind == "websocket.accept" or (self.is_open and kind != "websocket.close")

    def _post(self, call: Callable[[], Awaitable[T]]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(_awaited(call), self._loop)


def _awaited(call: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
    async def awaited() -> T:
        return await call()

    return awaited()
