"""Events that wait for a flush; neighbouring text deltas of the same item and part become one. Pure."""

from __future__ import annotations

from collections.abc import Callable

from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
)

Serialize = Callable[[ThreadStreamEvent], bytes]


class Pending:
    """Events in their order, as the bytes that the SDK makes of them at the moment they are put.

    A server may change what it has yielded, or yield the same object again: a delta, which alone waits unserialised,
    is a copy.
    """

    __slots__ = ("_delta", "_key", "_ready", "_serialize", "_text", "_update", "size")

    def __init__(self, serialize: Serialize) -> None:
        self._serialize = serialize
        self._ready: list[bytes] = []
        self._delta: ThreadItemUpdatedEvent | None = None
        self._update: AssistantMessageContentPartTextDelta | None = None
        self._key: tuple[str, int] | None = None
        self._text: list[str] = []
        self.size = 0
        """Roughly the bytes that wait."""

    def __len__(self) -> int:
        return len(self._ready) + (self._delta is not None)

    def put(self, event: ThreadStreamEvent) -> None:
        if isinstance(event, ThreadItemUpdatedEvent) and isinstance(
            event.update, AssistantMessageContentPartTextDelta
        ):
            key = (event.item_id, event.update.content_index)
            if self._delta is None or key != self._key:
                self._close_delta()
                self._key = key
                self._update = event.update.model_copy()
                self._delta = event.model_copy(update={"update": self._update})
            self._text.append(event.update.delta)
            self.size += len(event.update.delta)
            return
        self._close_delta()
        self._add(self._serialize(event))

    def take(self) -> list[bytes]:
        """All that waits, which then waits no more."""
        self._close_delta()
        ready, self._ready, self.size = self._ready, [], 0
        return ready

    def _close_delta(self) -> None:
        event, update = self._delta, self._update
        if event is None or update is None:
            return
        update.delta = "".join(self._text)
        self._delta = self._update = self._key = None
        self._text = []
        self._add(self._serialize(event))

    def _add(self, payload: bytes) -> None:
        self._ready.append(payload)
        self.size += len(payload)
