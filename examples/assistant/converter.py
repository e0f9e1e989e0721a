"""Thread items as the model's input, with everything that a browser wrote fenced off and bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agents import TResponseInputItem
from chatkit.agents import ThreadItemConverter
from chatkit.types import (
    AssistantMessageItem,
    ClientToolCallItem,
    HiddenContextItem,
    StructuredInputItem,
    UserMessageContent,
    UserMessageItem,
    UserMessageTagContent,
    UserMessageTextContent,
    WidgetItem,
)
from openai.types.responses import (
    ResponseFunctionToolCallParam,
    ResponseInputContentParam,
    ResponseInputTextParam,
)
from openai.types.responses.response_input_item_param import FunctionCallOutput, Message

from relaykit.examples.assistant.attachments import AttachmentReader
from relaykit.examples.assistant.corpus import Corpus
from relaykit.examples.assistant.untrusted import Fence, cut

MAX_MESSAGE_CHARS = 32_000
MAX_BLOCK_CHARS = 8_000
MAX_PAGES = 5
"""Pages of the docs that one message brings in full; of further ones the model gets the name."""


class AssistantConverter(ThreadItemConverter):
    """Understands all that a ChatKit composer can send; the SDK's own raises on attachments and tags."""

    def __init__(
        self,
        attachments: AttachmentReader,
        fence: Fence,
        corpus: Corpus | None = None,
        feedback: Mapping[str, str] | None = None,
    ) -> None:
        self._attachments = attachments
        self._fence = fence
        self._corpus = corpus
        self._feedback = feedback or {}

    async def attachment_to_message_content(self, attachment: Any) -> ResponseInputContentParam:
        return await self._attachments.content_of(attachment)

    async def tag_to_message_content(self, tag: UserMessageTagContent) -> ResponseInputContentParam:
        """A page of the docs as its text, which is looked up here; anything else as what the browser says of it."""
        sections = self._corpus.sections_of(tag.id) if self._corpus else []
        if sections:
            known = "\n\n".join(f"{section.title}\n{section.text}" for section in sections)
            return _text_part(
                self._fence.block("page", cut(known, MAX_BLOCK_CHARS), {"name": cut(tag.id, 200)})
            )
        mention = {"id": tag.id, "text": tag.text, "group": tag.group, "data": tag.data}
        return _text_part(self._fence.block("mention", _json(mention), {"name": cut(tag.text, 200)}))

    async def user_message_to_input(
        self, item: UserMessageItem, is_last_message: bool = True
    ) -> list[TResponseInputItem]:
        """The quote stays with its message in later turns too; the SDK shows only the newest one."""
        bounded = item.model_copy(update={"quoted_text": None, "content": self._bounded(item.content)})
        converted = await super().user_message_to_input(bounded, is_last_message)
        messages = converted if isinstance(converted, list) else [converted] if converted else []
        if item.quoted_text:
            quote = self._fence.block("quote", cut(item.quoted_text, MAX_BLOCK_CHARS))
            messages.append(_message(f"The message above is about this passage:\n{quote}"))
        return messages

    def _bounded(self, content: list[UserMessageContent]) -> list[UserMessageContent]:
        """Each mention once, and MAX_PAGES pages at most: a page may be a thousand times as long as its mention."""
        bounded: list[UserMessageContent] = []
        mentioned: set[str] = set()
        pages = 0
        for part in content:
            if isinstance(part, UserMessageTextContent):
                bounded.append(UserMessageTextContent(text=cut(part.text, MAX_MESSAGE_CHARS)))
            elif isinstance(part, UserMessageTagContent):
                if part.id in mentioned:
                    continue
                mentioned.add(part.id)
                is_page = bool(self._corpus and self._corpus.sections_of(part.id))
                pages += is_page
                is_named = is_page and pages > MAX_PAGES
                bounded.append(UserMessageTextContent(text=f"@{cut(part.text, 200)}") if is_named else part)
            else:
                bounded.append(part)
        return bounded

    async def assistant_message_to_input(self, item: AssistantMessageItem) -> list[TResponseInputItem]:
        """With what the user thinks of it."""
        converted = await super().assistant_message_to_input(item)
        messages = converted if isinstance(converted, list) else [converted] if converted else []
        if kind := self._feedback.get(item.id):
            block = self._fence.block("feedback", kind)
            messages.append(_message(f"The user's feedback on the answer above:\n{block}"))
        return messages

    async def hidden_context_to_input(self, item: HiddenContextItem) -> TResponseInputItem:
        content = item.content if isinstance(item.content, str) else _json(item.content)
        return _message(
            "Context that the user does not see:\n"
            + self._fence.block("hidden_context", cut(content, MAX_BLOCK_CHARS))
        )

    async def widget_to_input(self, item: WidgetItem) -> TResponseInputItem:
        """Its copy text says what is on it; the component tree only costs tokens."""
        shown = item.copy_text or item.widget.model_dump_json(exclude_unset=True, exclude_none=True)
        return _message(
            "The user was shown a card:\n" + self._fence.block("widget", cut(shown, MAX_BLOCK_CHARS))
        )

    async def structured_input_to_input(self, item: StructuredInputItem) -> TResponseInputItem:
        answers = {
            question.question: "skipped" if question.answer.skipped else question.answer.values
            for question in item.inputs
            if question.answer is not None
        }
        text = self._fence.block("answers", cut(_json(answers), MAX_BLOCK_CHARS))
        return _message(f"The user was asked questions, which are now {item.status}:\n{text}")

    async def client_tool_call_to_input(self, item: ClientToolCallItem) -> list[TResponseInputItem] | None:
        """Call and output together, or neither: the model's API refuses a call without its output."""
        if item.status == "pending":
            return None
        return [
            ResponseFunctionToolCallParam(
                type="function_call",
                call_id=item.call_id,
                name=item.name,
                arguments=_json(item.arguments),
            ),
            FunctionCallOutput(
                type="function_call_output",
                call_id=item.call_id,
                output=cut(_json(item.output), MAX_BLOCK_CHARS),
            ),
        ]


def _message(text: str) -> Message:
    return Message(type="message", role="user", content=[_text_part(text)])


def _text_part(text: str) -> ResponseInputTextParam:
    return ResponseInputTextParam(type="input_text", text=text)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
