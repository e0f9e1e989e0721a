"""Events that wait for a flush; neighbouring text deltas of the same item and part become one. Pure.

No entry has more than MAX_TEXT_BYTES of a delta's text, be it an answer's or a widget's: a longer one becomes several.
What is no delta, such as an item or a whole part of one, is one entry however long it is, because no client could join
its parts. No entry has half a surrogate pair, which JSON does not know: U+FFFD stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
    WidgetStreamingTextValueDelta,
)
from pydantic_core import to_json

from relaykit.shared.text import well_formed, well_formed_copy

MAX_TEXT_BYTES: Final = 64 * 1024
"""Bytes of a delta's text, in UTF-8, that one line of the stream may have: a longer text becomes several lines."""

Serialize = Callable[[ThreadStreamEvent], bytes]

_PLACEHOLDER_TEXT = "\x01\x02\x03relaykit\x03\x02\x01"
_PLACEHOLDER = to_json(_PLACEHOLDER_TEXT)


class Pending:
    """Events in their order, as the bytes that the SDK makes of them at the moment they are put.

    A server may change an event that it has yielded, or yield the same object again. So only the text of a delta waits
    unserialised. All deltas of one item and part have the same bytes around their text, so these are made once.
    """

    __slots__ = ("_around", "_key", "_open", "_ready", "_serialize", "_text", "size")

    def __init__(self, serialize: Serialize) -> None:
        self._serialize = serialize
        self._ready: list[bytes] = []
        self._key: tuple[str, int] | None = None
        self._around = (b"", b"")
        """What stands before and behind the text of a delta of `_key`."""
        self._open = False
        """Whether there are deltas of `_key` to be joined."""
        self._text: list[str] = []
        self.size = 0
        """Roughly the bytes that wait."""

    def __len__(self) -> int:
        return len(self._ready) + self._open

    def put(self, event: ThreadStreamEvent) -> None:
        """Raises what the SDK raises for what it cannot serialise."""
        if (
            type(event) is ThreadItemUpdatedEvent
            and type(event.update) is AssistantMessageContentPartTextDelta
        ):
            self._put_delta(event, event.update)
        else:
            self._close_delta()
            for each in _divided(event):
                self._add(self._serialized(each))

    def _put_delta(self, event: ThreadItemUpdatedEvent, update: AssistantMessageContentPartTextDelta) -> None:
        key = (event.item_id, update.content_index)
        if key != self._key:
            self._close_delta()
            self._key = key
            before, _, behind = self._serialized(_with_placeholder(event)).partition(_PLACEHOLDER)
            self._around = (before, behind)
        self._open = True
        self._text.append(update.delta)
        self.size += len(update.delta)

    def drain(self) -> list[bytes]:
        """Takes out all entries that wait."""
        self._close_delta()
        ready, self._ready, self.size = self._ready, [], 0
        return ready

    def _close_delta(self) -> None:
        if not self._open:
            return
        before, behind = self._around
        text = well_formed("".join(self._text))
        self._open = False
        self._text = []
        for piece in _pieces(text):
            self._add(before + to_json(piece) + behind)

    def _serialized(self, event: ThreadStreamEvent) -> bytes:
        try:
            return self._serialize(event)
        except ValueError:  # pydantic's PydanticSerializationError is one
            return self._serialize(well_formed_copy(event))

    def _add(self, payload: bytes) -> None:
        self._ready.append(payload)
        self.size += len(payload)


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces of at most MAX_TEXT_BYTES, of which an empty text has one too."""
    step = MAX_TEXT_BYTES if text.isascii() else MAX_TEXT_BYTES // 4  # no character has more than four bytes
    return (text[start : start + step] for start in range(0, len(text) or 1, step))


def _divided(event: ThreadStreamEvent) -> Iterator[ThreadStreamEvent]:
    """The event, or where it is a delta of a widget's text as many as it has pieces; only the last may be `done`."""
    if type(event) is not ThreadItemUpdatedEvent or type(event.update) is not WidgetStreamingTextValueDelta:
        yield event
        return
    update = event.update
    *pieces, last = _pieces(update.delta)
    for piece in pieces:
        yield _with_update(event, {"delta": piece, "done": False})
    yield _with_update(event, {"delta": last}) if pieces else event


def _with_update(event: ThreadItemUpdatedEvent, fields: dict[str, object]) -> ThreadItemUpdatedEvent:
    return event.model_copy(update={"update": event.update.model_copy(update=fields)})


def _with_placeholder(event: ThreadItemUpdatedEvent) -> ThreadItemUpdatedEvent:
    """A copy whose text is the mark, which no id can hold: JSON has it with its control characters escaped."""
    return _with_update(event, {"delta": _PLACEHOLDER_TEXT})
