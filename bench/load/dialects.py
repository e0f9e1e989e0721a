"""What a load client looks for in a stream, by who speaks: a delta itself is a stamp in all of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """Bytes as they stand in the stream."""

    first_event: bytes
    """Of the first event that the answer makes."""
    answer_over: bytes
    """What follows holds the whole text again."""


DIALECTS = {
    "chatkit": Dialect(b'"thread.item.added"', b'"type":"thread.item.done"'),
    "agno": Dialect(b'"event":"RunStarted"', b'"event":"RunContentCompleted"'),
}
