"""What the scripted model answers, chosen by what is asked. The same input gets the same answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from relaykit.examples.assistant.long_answer import long_answer, timed_answer
from relaykit.examples.assistant.parsed_prompt import Message, ParsedPrompt, ToolOutput

MAX_SECONDS = 300
MAX_PARAGRAPHS = 200
VERY_LONG_SECONDS = 45
DEFAULT_PARAGRAPHS = 12


@dataclass(frozen=True, slots=True)
class Say:
    text: str
    fails_after: int | None = None
    """The number of deltas after which the model breaks down."""


@dataclass(frozen=True, slots=True)
class Call:
    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)


CHECKLIST: dict[str, Any] = {
    "title": "Try it out",
    "steps": ["Send a message", "Reload the page in mid-answer", "Open the thread in a second tab"],
}
QUESTIONS: dict[str, Any] = {
    "questions": [
        {"question": "Where will it run?", "options": ["One host", "Several hosts", "Kubernetes"]},
        {"question": "What do you want to know first?", "options": []},
    ]
}
WIDGETS = {"form": r"\bform\b", "list": r"\blist\b", "figures": r"\b(figures|chart|table)\b"}
"""The kinds of show_widget, each with the words that ask for it."""

Reply = Say | Call
Rule = Callable[[ParsedPrompt, "Situation"], Reply | None]


@dataclass(frozen=True, slots=True)
class Situation:
    tools: Collection[str]
    deltas_per_second: float
    tool_choice: str | None = None
    """The tool that has to be called now."""
    is_brief: bool = False


def reply_to(prompt: ParsedPrompt, situation: Situation) -> Reply:
    """The first rule that knows an answer."""
    tool = situation.tool_choice
    if tool is not None and tool in situation.tools:
        return Call(tool, _arguments(tool, prompt))
    if prompt.output is not None:
        return _after_tool(prompt.output, situation)
    for rule in RULES:
        reply = rule(prompt, situation)
        if reply is not None and (isinstance(reply, Say) or reply.tool in situation.tools):
            return reply
    return _introduction(prompt)


def _arguments(tool: str, prompt: ParsedPrompt) -> dict[str, Any]:
    """What a tool is called with that the user has chosen, whatever the message says."""
    match tool:
        case "search_docs":
            return {"query": prompt.last.question[:300] or "overview"}
        case "show_checklist":
            return CHECKLIST
        case "show_widget":
            return {"kind": next((kind for kind in WIDGETS if _asks(prompt, WIDGETS[kind])), "form")}
        case "ask_user":
            return QUESTIONS
        case _:
            return {}


def _named_tool(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    named = re.search(r"\b(?:call|use) (?:the )?(?:tool )?`?(\w+)", prompt.last.question)
    return Call(named[1], _arguments(named[1], prompt)) if named and named[1] in situation.tools else None


def _answers(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    answers = [block.text for block in prompt.last.blocks if block.kind == "answers"]
    return Say(f"Thank you. Your answers: `{answers[-1]}`") if answers else None


def _failure(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    if not _asks(prompt, r"\berror\b") or _is_question(prompt):
        return None
    halfway = _asks(prompt, r"\b(half|halfway|middle)\b")
    return Say("This answer ends in an error, as you asked for.", fails_after=5 if halfway else 0)


def _long(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    """ "long", "long answer of 30 paragraphs", "very long", "for 30 seconds"."""
    timed = re.search(r"\bfor (\d+) ?(?:s|seconds?)\b", prompt.last.question, re.IGNORECASE)
    if not timed and (not _asks(prompt, r"\blong\b") or _is_question(prompt)):
        return None
    if timed or _asks(prompt, r"\bvery long\b"):
        seconds = min(int(timed[1]), MAX_SECONDS) if timed else VERY_LONG_SECONDS
        return Say(timed_answer(round(seconds * situation.deltas_per_second)))
    wanted = re.search(r"\b(\d+) paragraphs?\b", prompt.last.question, re.IGNORECASE)
    return Say(long_answer(min(int(wanted[1]), MAX_PARAGRAPHS) if wanted else DEFAULT_PARAGRAPHS))


def _attached(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    lines = _seen(prompt.last)
    return Say("I see with your message:\n\n" + "\n".join(lines)) if lines else None


def _remember(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    if not _asks(prompt, r"\bremember\b|\bhistory\b|\bfirst message\b|\bsaid (before|first|earlier)\b"):
        return None
    if len(prompt.messages) < 2:
        return Say("This is your first message, so there is nothing to remember yet.")
    first = prompt.messages[0].question
    earlier = len(prompt.messages) - 1
    count = "1 message" if earlier == 1 else f"{earlier} messages"
    return Say(f"Your first message was: “{first}”. I have {count} of yours before this one.")


def _time(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    return (
        Call("get_local_time") if _asks(prompt, r"(?<!-)\btime\b(?![- ]?(to live|out))|\bclock\b") else None
    )


def _card(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    return Call("show_checklist", CHECKLIST) if _asks(prompt, r"\bwidget\b|\bcard\b|\bchecklist\b") else None


def _widget(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    if _is_question(prompt) or not _asks(prompt, r"\b(show|give|draw)\b"):
        return None
    kind = next((kind for kind in WIDGETS if _asks(prompt, WIDGETS[kind])), None)
    return Call("show_widget", {"kind": kind}) if kind else None


def _questions(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    return Call("ask_user", QUESTIONS) if _asks(prompt, r"\bask me\b") else None


def _feedback(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    """What the thumbs of this conversation came to."""
    if not _asks(prompt, r"\bfeedback\b|\bthumbs\b"):
        return None
    given = [
        block.text for message in prompt.messages for block in message.blocks if block.kind == "feedback"
    ]
    count = {kind: given.count(kind) for kind in ("positive", "negative")}
    return Say(f"Of my answers you liked {count['positive']} and disliked {count['negative']}.")


def _page(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    page = prompt.data.get("page")
    if not _asks(prompt, r"\b(this|which|what|current|my) page\b|\bwhere am i\b"):
        return None
    if not isinstance(page, dict):
        return Say("Your browser told me nothing about the page.")
    headings = page.get("headings")
    listed = ", ".join(headings) if isinstance(headings, list) else headings
    lines = [
        f"You are on **{page.get('title', 'a page without a title')}**.",
        f"- address: {page.get('url') or page.get('path')}" if page.get("url") or page.get("path") else "",
        f"- about: {page['description']}" if page.get("description") else "",
        f"- headings: {listed}" if listed else "",
    ]
    return Say("\n".join(line for line in lines if line))


def _effect(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    if _is_question(prompt):
        return None
    target = re.search(
        r"\bhighlight (?:the )?(?:(?:word|text|heading) )?[“\"']?(.+?)[”\"'.!]*$", prompt.last.question, re.I
    )
    if target:
        return Call("highlight", {"text": target[1]})
    if not _asks(prompt, r"\bopen\b"):
        return None
    path = re.search(r"(?<!\S)/\S*", prompt.last.question)
    return Call("open_page", {"path": path[0] if path else "/"})


def _docs(prompt: ParsedPrompt, situation: Situation) -> Reply | None:
    if _asks(prompt, r"\bwhat can (i|you)\b"):
        return None
    asks = _is_question(prompt) or _asks(prompt, r"\b(docs?|documentation|how|what|search|explain)\b")
    return Call("search_docs", {"query": prompt.last.question[:300]}) if asks else None


RULES: tuple[Rule, ...] = (
    _answers,
    _named_tool,
    _failure,
    _long,
    _attached,
    _remember,
    _time,
    _page,
    _feedback,
    _questions,
    _widget,
    _card,
    _effect,
    _docs,
)


def _after_tool(output: ToolOutput, situation: Situation) -> Reply:
    match output.tool:
        case "search_docs":
            return Say(_quoted(json.loads(output.output), situation))
        case "show_widget":
            return Say("Try it: I answer what you do there.")
        case "show_checklist":
            return Say("Here is a card. Its buttons tick the steps off.")
        case "highlight" | "open_page":
            return Say(output.output)
        case "get_local_time":
            return Say(f"Your browser says: `{output.output}`")
        case _:
            return Say(f"`{output.tool}` says:\n\n> {output.output}")


def _quoted(excerpts: list[dict[str, Any]], situation: Situation) -> str:
    if not excerpts:
        return "The docs hold nothing about that. Ask me about something else, or for a *long answer*."
    best, *others = excerpts
    if situation.is_brief:
        sentence = re.split(r"(?<=[.!?])\s", " ".join(best["text"].split()), maxsplit=1)[0]
        return f"{sentence} [{best['number']}]"
    quote = "\n".join(f"> {line}" for line in best["text"].splitlines())
    answer = f"From **{best['heading']}** [{best['number']}]:\n\n{quote}"
    if others:
        answer += (
            "\n\nSee also "
            + " and ".join(f"*{other['heading']}* [{other['number']}]" for other in others)
            + "."
        )
    return answer


def _seen(message: Message) -> list[str]:
    lines = [f"- an image, {image.partition(';')[0].removeprefix('data:')}" for image in message.images]
    lines += [f"- a file, {name}" for name in message.files]
    for block in message.blocks:
        first_line = next(iter(block.text.splitlines()), "")[:120]
        if block.kind == "attachment":
            lines.append(f"- an attachment, {block.name}: {first_line}")
        elif block.kind == "mention":
            lines.append(f"- a mention of {block.name}")
        elif block.kind == "page":
            lines.append(f"- the page {block.name}: {first_line}")
        elif block.kind == "quote":
            lines.append(f"- a quote: {first_line}")
    return lines


def _introduction(prompt: ParsedPrompt) -> Reply:
    user = prompt.data.get("user")
    name = f", {user['name']}" if isinstance(user, dict) and user.get("name") else ""
    return Say(
        f"Hello{name}! I am a scripted assistant: no model is configured, yet everything else is real. Ask me\n\n"
        "- *how a run is cancelled*: I search the docs and cite them\n"
        "- for a *long answer*, or one *for 30 seconds*: reload the page meanwhile\n"
        "- for a *checklist card*, or *what time it is*\n"
        "- to *show a form*, *a list* or *figures*, or to *ask you* something\n"
        "- to *highlight* a word or *open* a page\n"
        "- *what I remember*, or *which page* you are on\n"
    )


def _asks(prompt: ParsedPrompt, pattern: str) -> bool:
    return re.search(pattern, prompt.last.question, re.IGNORECASE) is not None


def _is_question(prompt: ParsedPrompt) -> bool:
    return _asks(prompt, r"^\W*(how|what|why|when|which|who|where|does|do|is|are|can i|explain|search)\b")
