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

_TOKEN = re.compile(r" ?(?P<mark>\[(?P<number>\d{1,3})\])|`+|~{3,}|\n")
"""A mark, or what begins or ends code: a fence, a span's ticks, and the line, in which a span ends at the latest."""
_BEGUN = re.compile(r"(?: ?(?:\[\d{0,3}|\[\d{1,3}\])?|`+|~+)\Z")
"""The end of a text that may become a token, or whose meaning what follows decides; "" where there is none."""
_OF_A_WORD = re.compile(r"[\w\])\\]")
"""Before a `[` it says that this is no mark: `xs[1]`, `f(x)[1]`, `[a link][1]`, `\\[1]`."""


@dataclass(slots=True)
class _Part:
    read_chars: int = 0
    """The length of the model's text so far."""
    shown_chars: int = 0
    """The length of what is left of it without marks, and without what is held back."""
    held: str = ""
    """The end of the model's text, as much as may become a mark or ticks."""
    before: str = "\n"
    """The character before `held`; "" is a mark that was taken out."""
    code: str = ""
    """The ticks or tildes with which the code began in which the text is; "" outside code."""
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
        """The event, and the annotations of the marks that are complete with it."""
        if isinstance(event, ThreadItemDoneEvent) and isinstance(event.item, AssistantMessageItem):
            item = event.item
            for index in range(len(item.content)):
                yield from self._without_marks(item.id, index, is_last=True)
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
                yield from self._without_marks(event.item_id, index, is_last=True)
                yield self._added(event.item_id, index, self._moved(event.item_id, index, annotation))
            case AssistantMessageContentPartDone(content_index=index, content=content_part):
                yield from self._without_marks(event.item_id, index, is_last=True)
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

    def _without_marks(
        self, item_id: str, index: int, delta: str = "", *, is_last: bool = False
    ) -> Iterator[ThreadStreamEvent]:
        """The delta without its marks and without what may become one, and the annotations of the marks.

        `is_last` where no text follows that could make another thing of what is held.
        """
        part = self._parts[item_id, index]
        text = part.held + delta
        begins_at = part.read_chars - len(part.held)
        part.read_chars += len(delta)
        part.held = "" if is_last or not (match := _BEGUN.search(text)) else match[0]
        ends_at = len(text) - len(part.held)
        shown, seen = "", 0
        found: list[Annotation] = []
        for token in _TOKEN.finditer(text, 0, ends_at):
            if token["number"] is None:
                part.code = _code(part.code, token[0])
                continue
            number, before = int(token["number"]), text[seen : token.start("mark")][-1:]
            before = before or ("" if seen else part.before)
            if part.code or not _is_mark(before, text[token.end() : token.end() + 1]):
                continue
            if not 1 <= number <= len(self._sources):
                continue
            shown += text[seen : token.start()]
            seen = token.end()
            part.taken_out.append((begins_at + seen, len(token[0])))
            source = _source(self._sources[number - 1], number, self._docs_url)
            found.append(Annotation(source=source, index=part.shown_chars + len(shown)))
        shown += text[seen:ends_at]
        part.before = text[seen:ends_at][-1:] or ("" if seen else part.before)
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


def _code(code: str, end: str) -> str:
    """The code in which the text is after a line's end, ticks or tildes."""
    if end == "\n":
        return code if len(code) >= 3 else ""
    if not code:
        return end
    is_end = end.startswith(code) if len(code) >= 3 else end == code
    return "" if is_end else code


def _is_mark(before: str, after: str) -> bool:
    """Whether a [n] between these characters is one: no index, and no link or the place that a link is given."""
    return not (_OF_A_WORD.match(before) or after == "(" or (before == "\n" and after == ":"))


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
