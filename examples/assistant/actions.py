"""What the buttons, forms and lists of the assistant's widgets do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatkit.actions import Action
from chatkit.errors import CustomStreamError
from chatkit.types import WidgetItem
from chatkit.widgets import DynamicWidgetRoot

from relaykit.examples.assistant import gallery
from relaykit.examples.assistant.corpus import Corpus, excerpt
from relaykit.examples.assistant.widgets import SET_STEP, Checklist, parse_set_step


@dataclass(frozen=True, slots=True)
class Done:
    """What an action comes to: the widget afterwards, and what is said."""

    item: WidgetItem | None = None
    text: str | None = None


def perform(action: Action[str, Any], sender: WidgetItem | None, corpus: Corpus) -> Done:
    """Raises CustomStreamError, which the client shows, where the browser's words make no sense."""
    payload = action.payload if isinstance(action.payload, Mapping) else {}
    kind = gallery.ACTIONS_OF.get(action.type)
    if sender is None or (kind is not None and _key_of(sender) != gallery.KEYS[kind]):
        raise CustomStreamError("This button does nothing here.")
    match action.type:
        case gallery.SUBMIT:
            return Done(_changed(sender, *gallery.filled(payload)))
        case gallery.LEAVE:
            return Done(_changed(sender, *gallery.left()))
        case gallery.DRAW if payload.get("as") in gallery.DRAWN:
            return Done(_changed(sender, *gallery.figures(payload["as"])))
        case gallery.CHOOSE if (path := str(payload.get("page"))) in corpus.pages:
            quote = "\n".join(f"> {line}" for line in excerpt(corpus.sections_of(path)[0], "").splitlines())
            return Done(text=f"**{corpus.pages[path]}** (`{path}`):\n\n{quote}")
        case _ if action.type == SET_STEP:
            return _ticked(action, sender)
        case _:
            raise CustomStreamError("This button does nothing here.")


def _ticked(action: Action[str, Any], sender: WidgetItem) -> Done:
    """The card after the click; the last step is congratulated on."""
    checklist = Checklist.from_item(sender)
    change = parse_set_step(action.payload)
    if change is None or checklist is None:
        raise CustomStreamError("This button does nothing here.")
    if change.index >= len(checklist.steps):
        raise CustomStreamError("The card has no such step.")
    checklist = checklist.with_step(change)
    text = f"All steps of **{checklist.title}** are done." if checklist.is_complete else None
    return Done(_changed(sender, checklist.as_widget(), checklist.as_text()), text)


def _key_of(sender: WidgetItem) -> object:
    return sender.widget.model_dump(mode="json", exclude_none=True).get("key")


def _changed(sender: WidgetItem, widget: DynamicWidgetRoot, words: str) -> WidgetItem:
    return sender.model_copy(update={"widget": widget, "copy_text": words})
