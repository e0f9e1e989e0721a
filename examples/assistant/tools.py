"""What the assistant can do besides talking."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated

from agents import FunctionTool, RunContextWrapper, StopAtTools, Tool, function_tool
from chatkit.agents import ClientToolCall
from chatkit.types import (
    ClientEffectEvent,
    ProgressUpdateEvent,
    StructuredInputFreeform,
    StructuredInputItem,
    StructuredInputMultipleChoice,
    StructuredInputMultipleChoiceOption,
    ThreadItemDoneEvent,
)
from pydantic import BaseModel, Field

from relaykit.examples.assistant.corpus import Corpus, excerpt
from relaykit.examples.assistant.gallery import Kind, gallery_widget
from relaykit.examples.assistant.turn import Turn
from relaykit.examples.assistant.untrusted import one_line
from relaykit.examples.assistant.widgets import MAX_LABEL_CHARS, MAX_STEPS, Checklist, Step

LOCAL_TIME = "get_local_time"
ASK_USER = "ask_user"
STOP_AT_TOOLS = StopAtTools(stop_at_tool_names=[LOCAL_TIME, ASK_USER])
"""A client tool, or a question, ends the run; its output, or the answer, starts the next one."""
MAX_QUESTIONS = 5
MAX_OPTIONS = 8

_SITE_PATH = re.compile(r"/(?![/\\])[^\s\\]{0,300}")


def build_tools(corpus: Corpus) -> list[Tool]:
    return [
        _search_docs(corpus),
        show_checklist,
        _show_widget(corpus),
        ask_user,
        highlight,
        open_page,
        get_local_time,
    ]


def _search_docs(corpus: Corpus) -> FunctionTool:
    @function_tool
    async def search_docs(
        turn: RunContextWrapper[Turn],
        query: Annotated[str, Field(description="A few keywords.", max_length=300)],
    ) -> str:
        """Searches the documentation. Gives numbered excerpts; cite one as [number]."""
        shown = one_line(query, 80)
        await turn.context.stream(
            ProgressUpdateEvent(icon="search", text=f"Searching the docs for “{shown}”")
        )
        found = corpus.search(query)
        files = ", ".join(dict.fromkeys(section.path for section in found))
        reading = f"Reading {files}" if found else "Nothing found"
        await turn.context.stream(ProgressUpdateEvent(icon="document", text=reading))
        excerpts = [
            {
                "number": turn.context.number_of(section),
                "path": section.path,
                "heading": section.title,
                "text": excerpt(section, query),
            }
            for section in found
        ]
        return json.dumps(excerpts, ensure_ascii=False)

    return search_docs


@function_tool
async def show_checklist(
    turn: RunContextWrapper[Turn],
    title: Annotated[str, Field(max_length=MAX_LABEL_CHARS)],
    steps: Annotated[list[str], Field(min_length=1, max_length=MAX_STEPS)],
) -> str:
    """Shows a card of steps that the user can tick off."""
    checklist = Checklist(
        title=one_line(title, MAX_LABEL_CHARS),
        steps=tuple(Step(one_line(step, MAX_LABEL_CHARS)) for step in steps),
    )
    await turn.context.stream_widget(checklist.as_widget(), copy_text=checklist.as_text())
    return "The card is shown."


def _show_widget(corpus: Corpus) -> FunctionTool:
    @function_tool
    async def show_widget(turn: RunContextWrapper[Turn], kind: Kind) -> str:
        """Shows a form to fill in, a list of the documentation's pages to choose from, or figures."""
        widget, words = gallery_widget(kind, corpus)
        await turn.context.stream_widget(widget, copy_text=words)
        return "It is shown."

    return show_widget


class Question(BaseModel):
    question: Annotated[str, Field(min_length=1, max_length=MAX_LABEL_CHARS)]
    options: Annotated[list[str], Field(max_length=MAX_OPTIONS, description="None for an answer in words.")]


@function_tool(name_override=ASK_USER)
async def ask_user(
    turn: RunContextWrapper[Turn],
    questions: Annotated[list[Question], Field(min_length=1, max_length=MAX_QUESTIONS)],
) -> str:
    """Asks the user something that the answer depends on."""
    chat = turn.context
    item = StructuredInputItem(
        id=chat.store.generate_item_id("message", chat.thread, chat.request_context),
        thread_id=chat.thread.id,
        created_at=datetime.now(),
        inputs=[_input(f"q{number}", asked) for number, asked in enumerate(questions, start=1)],
    )
    await chat.stream(ThreadItemDoneEvent(item=item))
    return "Asked."


def _input(input_id: str, asked: Question) -> StructuredInputFreeform | StructuredInputMultipleChoice:
    text = one_line(asked.question, MAX_LABEL_CHARS)
    values = dict.fromkeys(one_line(option, MAX_LABEL_CHARS) for option in asked.options)
    options = [StructuredInputMultipleChoiceOption(value=value) for value in values if value]
    if not options:
        return StructuredInputFreeform(id=input_id, question=text)
    return StructuredInputMultipleChoice(id=input_id, question=text, options=options)


@function_tool
async def highlight(
    turn: RunContextWrapper[Turn],
    text: Annotated[str, Field(description="As it stands on the page.", min_length=1, max_length=300)],
) -> str:
    """Highlights a passage on the page that the user looks at."""
    await turn.context.stream(ClientEffectEvent(name="highlight", data={"text": one_line(text, 300)}))
    return "Highlighted, if the page holds that text."


@function_tool
async def open_page(
    turn: RunContextWrapper[Turn],
    path: Annotated[str, Field(description="On this site, from the root: /docs/protocol")],
) -> str:
    """Opens another page of this site for the user."""
    if not _SITE_PATH.fullmatch(path):
        return "Not opened: only a path on this site can be opened."
    await turn.context.stream(ClientEffectEvent(name="open_page", data={"path": path}))
    return f"Offered {path} as a link, which opens once the user follows it."


@function_tool(name_override=LOCAL_TIME)
async def get_local_time(turn: RunContextWrapper[Turn]) -> str:
    """Asks the user's browser for its local time and time zone."""
    turn.context.client_tool_call = ClientToolCall(name=LOCAL_TIME, arguments={})
    return "Asked."
