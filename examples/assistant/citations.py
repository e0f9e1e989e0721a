"""Puts annotations that point at the sections search_docs found in the place of the [n] of an answer.

The [n] itself is taken out of the text, because the annotation is shown in its place."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chatkit.types import (
    Annotation,
    AssistantMessageContent,
    AssistantMessageContentPartAnnotationAdded,
    AssistantMessageContentPartDone,
    AssistantMessageContentPartTextDelta,
    AssistantMessageItem,
    EntitySource,
    ThreadItemAddedEvent,
    ThreadItemDoneEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
    URLSource,
)

from relaykit.examples.assistant.corpus import Section

_MARK = re.compile(r" ?\[(\d{1,3})\]")
_BEGUN = re.compile(r" ?(?:\[\d{0,3})?\Z")
"""The end of a text that may become a mark; "" where it cannot."""


@dataclass(slots=True)
class _Part:
    read_chars: int = 0
    """The length of the model's text so far."""
    shown_chars: int = 0
    """The length of what is left of it without marks, and without what is held back."""
    held: str = ""
    """The end of the model's text, as much as may begin a mark."""
    taken_out: list[tuple[int, int]] = field(default_factory=list)
    """The end of each mark in the model's text, and its length."""
    annotations: list[Annotation] = field(default_factory=list)


class Citations:
    """For one turn. `sources` may grow while the turn runs; `docs_url` makes sources links."""

    def __init__(self, sources: Sequence[Section], docs_url: str | None = None) -> None:
        self._sources = sources
        self._docs_url = docs_url
        self._parts: defaultdict[tuple[str, int], _Part] = defaultdict(_Part)

    def apply(self, event: ThreadStreamEvent) -> Iterator[ThreadStreamEvent]:
        """The event, and after a delta the annotations of the marks that it completed."""
        if isinstance(event, ThreadItemDoneEvent) and isinstance(event.item, AssistantMessageItem):
            item = event.item
            content = [self._annotated(item.id, index, part) for index, part in enumerate(item.content)]
            yield ThreadItemDoneEvent(item=item.model_copy(update={"content": content}))
            return
        if isinstance(event, ThreadItemAddedEvent):
            self._forget(event.item.id)
        if not isinstance(event, ThreadItemUpdatedEvent):
            yield event
            return
        match event.update:
            case AssistantMessageContentPartTextDelta(content_index=index, delta=delta):
                yield from self._without_marks(event.item_id, index, delta)
            case AssistantMessageContentPartAnnotationAdded(content_index=index, annotation=annotation):
                yield self._added(event.item_id, index, self._moved(event.item_id, index, annotation))
            case AssistantMessageContentPartDone(content_index=index, content=content_part):
                update = AssistantMessageContentPartDone(
                    content_index=index, content=self._annotated(event.item_id, index, content_part)
                )
                yield ThreadItemUpdatedEvent(item_id=event.item_id, update=update)
            case _:
                yield event

    def _forget(self, item_id: str) -> None:
        """A message begins: some models give each of a turn the same id."""
        for key in [key for key in self._parts if key[0] == item_id]:
            del self._parts[key]

    def _without_marks(self, item_id: str, index: int, delta: str) -> Iterator[ThreadStreamEvent]:
        """The delta without its marks and without what may become one, and the annotations of the marks."""
        part = self._parts[item_id, index]
        text = part.held + delta
        begins_at = part.read_chars - len(part.held)
        part.read_chars += len(delta)
        shown, seen = "", 0
        found: list[Annotation] = []
        for mark in _MARK.finditer(text):
            number = int(mark[1])
            if 1 <= number <= len(self._sources):
                shown += text[seen : mark.start()]
                seen = mark.end()
                part.taken_out.append((begins_at + seen, len(mark[0])))
                source = _source(self._sources[number - 1], number, self._docs_url)
                found.append(Annotation(source=source, index=part.shown_chars + len(shown)))
        rest = text[seen:]
        part.held = match[0] if (match := _BEGUN.search(rest)) else ""
        shown += rest.removesuffix(part.held)
        part.shown_chars += len(shown)
        if shown:
            update = AssistantMessageContentPartTextDelta(content_index=index, delta=shown)
            yield ThreadItemUpdatedEvent(item_id=item_id, update=update)
        for annotation in found:
            yield self._added(item_id, index, annotation)

    def _moved(self, item_id: str, index: int, annotation: Annotation) -> Annotation:
        """The model's own annotation, at its place in the text without marks."""
        if annotation.index is None:
            return annotation
        before = [chars for end, chars in self._parts[item_id, index].taken_out if end <= annotation.index]
        return annotation.model_copy(update={"index": annotation.index - sum(before)})

    def _added(self, item_id: str, index: int, annotation: Annotation) -> ThreadStreamEvent:
        """Numbered here, as the model's own annotations share the list with ours."""
        annotations = self._parts[item_id, index].annotations
        annotations.append(annotation)
        update = AssistantMessageContentPartAnnotationAdded(
            content_index=index, annotation_index=len(annotations) - 1, annotation=annotation
        )
        return ThreadItemUpdatedEvent(item_id=item_id, update=update)

    def _annotated(
        self, item_id: str, index: int, content: AssistantMessageContent
    ) -> AssistantMessageContent:
        part = self._parts[item_id, index]
        text = content.text
        for end, chars in reversed(part.taken_out):
            text = text[: end - chars] + text[end:]
        annotations = part.annotations or content.annotations
        return content.model_copy(update={"text": text, "annotations": list(annotations)})


def _source(section: Section, number: int, docs_url: str | None) -> EntitySource | URLSource:
    if docs_url:
        return URLSource(
            title=section.title, url=f"{docs_url.rstrip('/')}/{section.id}", attribution=section.path
        )
    return EntitySource(
        id=section.id,
        title=section.title,
        description=section.path,
        icon="document",
        inline_label=str(number),
        interactive=True,
        data={"path": section.path, "anchor": section.anchor},
    )
