"""What the scripted model makes of its input: who said what, and what is still open."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents import TResponseInputItem

from relaykit.examples.assistant.untrusted import DELIMITER

_BLOCK = re.compile(rf'<({DELIMITER}_[0-9a-f]+) kind="(\w+)"([^\n]*)>\n(.*?)\n</\1>', re.DOTALL)
MAX_QUESTION_CHARS = 500
_NAME = re.compile(r'name="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Block:
    kind: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolOutput:
    tool: str
    output: str


@dataclass(slots=True)
class Message:
    """One message of the user, with what the composer attached to it."""

    text: str
    blocks: list[Block] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    @property
    def question(self) -> str:
        """As much of the text as the rules look at."""
        return self.text[:MAX_QUESTION_CHARS].strip()


@dataclass(slots=True)
class ParsedPrompt:
    messages: list[Message]
    output: ToolOutput | None
    """That of the tool called last, where nothing was said since."""
    data: Mapping[str, Any]
    """The user and the page, from the instructions."""

    @property
    def last(self) -> Message:
        return self.messages[-1] if self.messages else Message("")


def parse_prompt(instructions: str | None, items: Sequence[TResponseInputItem]) -> ParsedPrompt:
    messages: list[Message] = []
    tools: dict[str, str] = {}
    output: ToolOutput | None = None
    for entry in (dict(item) for item in items):
        kind, role = entry.get("type"), entry.get("role")
        if kind == "function_call":
            tools[str(entry["call_id"])] = str(entry["name"])
        elif kind == "function_call_output":
            output = ToolOutput(tools.get(str(entry["call_id"]), ""), _output_text(entry["output"]))
        elif role == "user":
            said = _message(entry.get("content"))
            if not _is_context(said.text):
                messages.append(said)
                output = None
            elif messages:
                messages[-1].blocks += said.blocks
        elif role == "assistant":
            output = None
    return ParsedPrompt(messages, output, _context_data(instructions or ""))


def _message(content: object) -> Message:
    if isinstance(content, str):
        return Message(content)
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    texts = [str(part["text"]) for part in parts if part.get("type") == "input_text"]
    return Message(
        text=texts[0] if texts else "",
        blocks=[block for text in texts for block in _blocks(text)],
        images=[str(part.get("image_url", "")) for part in parts if part.get("type") == "input_image"],
        files=[str(part.get("filename", "")) for part in parts if part.get("type") == "input_file"],
    )


def _is_context(text: str) -> bool:
    """Whether a message of the role "user" only adds to the one before: a quote, mentions, hidden context."""
    return bool(_BLOCK.search(text)) or text.startswith(("# User-provided context", "Hidden context"))


def _blocks(text: str) -> Iterable[Block]:
    for match in _BLOCK.finditer(text):
        name = _NAME.search(match[3])
        yield Block(match[2], json.loads(f'"{name[1]}"') if name else "", match[4])


def _context_data(instructions: str) -> Mapping[str, Any]:
    data = next((block.text for block in _blocks(instructions) if block.kind == "context"), "{}")
    parsed = json.loads(data)
    return parsed if isinstance(parsed, dict) else {}


def _output_text(output: object) -> str:
    if isinstance(output, str):
        return output
    parts = output if isinstance(output, list) else []
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part)
