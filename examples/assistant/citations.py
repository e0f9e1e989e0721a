"""Turns the [n] of an answer into annotations that point at the sections search_docs found."""

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

_MARK = re.compile(r"\[(\d{1,3})\]")
MAX_MARK_CHARS = 5


@dataclass(slots=True)
class _Part:
    chars: int = 0
    """So many came so far."""
    tail: str = ""
    """The last of them, as much as may begin a mark."""
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
                yield event
                yield from self._marks_in(event.item_id, index, delta)
            case AssistantMessageContentPartAnnotationAdded(content_index=index, annotation=annotation):
                yield self._added(event.item_id, index, annotation)
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

    def _marks_in(self, item_id: str, index: int, delta: str) -> Iterator[ThreadStreamEvent]:
        part = self._parts[item_id, index]
        text = part.tail + delta
        begins_at = part.chars - len(part.tail)
        part.chars += len(delta)
        seen = 0
        for mark in _MARK.finditer(text):
            seen = mark.end()
            number = int(mark[1])
            if 1 <= number <= len(self._sources):
                source = _source(self._sources[number - 1], number, self._docs_url)
                yield self._added(item_id, index, Annotation(source=source, index=begins_at + seen))
        part.tail = text[max(seen, len(text) - MAX_MARK_CHARS + 1) :]

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
        annotations = self._parts[item_id, index].annotations or content.annotations
        return content.model_copy(update={"annotations": list(annotations)})


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
