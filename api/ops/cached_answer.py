"""An answer that is asked for once, however many ask for it at the same time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from relaykit.shared.errors import RelaykitError

T = TypeVar("T")

ERROR_SECONDS: Final = 2.0
"""An error is kept no longer, however long an answer is."""


class CachedAnswer(Generic[T]):
    """Answers with what was found up to `seconds` ago; with an error of a service that is away for ERROR_SECONDS."""

    def __init__(self, ask: Callable[[], Awaitable[T]], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._until = -math.inf
        self._is_forgotten = False
        """Since the answer was last asked for."""
        self._found: T | RelaykitError | None = None

    async def get(self) -> T:
        """Raises what `ask` raises."""
        async with self._lock:
            if time.monotonic() >= self._until:
                self._is_forgotten = False
                try:
                    self._found = await self._ask()
                except RelaykitError as error:
                    self._found = error
                if not self._is_forgotten:
                    is_error = isinstance(self._found, RelaykitError)
                    seconds = min(self._seconds, ERROR_SECONDS) if is_error else self._seconds
                    self._until = time.monotonic() + seconds
            found = self._found
        if isinstance(found, RelaykitError):
            raise type(found)(
                found.message
            ) from found  # a new one: each raise adds to its object's traceback
        return found  # type: ignore[return-value]

    def forget(self) -> None:
        """The next one who asks is answered anew, because something was done."""
        self._until = -math.inf
        self._is_forgotten = True
