"""Text deltas that were cut within a surrogate pair. Pure."""

from __future__ import annotations

from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    ThreadItemUpdatedEvent,
    WidgetStreamingTextValueDelta,
)

from relaykit.shared.text import well_formed

Delta = AssistantMessageContentPartTextDelta | WidgetStreamingTextValueDelta

_FIRST_HALVES = ("\ud800", "\udbff")


class DeltaText:
    """Joins the halves of a pair that follow each other in two deltas of one text. A half that is alone is U+FFFD.

    The first half is held back until the text goes on. Where it never goes on, the item's end has the whole text.
    """

    __slots__ = ("_held", "holds")

    def __init__(self) -> None:
        self._held: dict[tuple[str, int | str], str] = {}
        """The first half with which the last delta ended, by item and part, or component."""
        self.holds = False
        """Whether a half waits. As long as none does, a well-formed delta passes unchanged."""

    def apply(self, event: ThreadItemUpdatedEvent, update: Delta) -> ThreadItemUpdatedEvent:
        """The event, whose update is `update`, with text that can be encoded."""
        part = (
            update.content_index
            if isinstance(update, AssistantMessageContentPartTextDelta)
            else update.component_id
        )
        key = (event.item_id, part)
        text = self._held.pop(key, "") + update.delta if self._held else update.delta
        is_last = isinstance(update, WidgetStreamingTextValueDelta) and update.done
        if text and not is_last and _FIRST_HALVES[0] <= text[-1] <= _FIRST_HALVES[1]:
            self._held[key] = text[-1]
            text = text[:-1]
        self.holds = bool(self._held)
        text = well_formed(text)
        if text is update.delta:
            return event
        return event.model_copy(update={"update": update.model_copy(update={"delta": text})})
