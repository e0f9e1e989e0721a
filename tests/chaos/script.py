"""What a message asks the server to answer, so that the answer is known from the message alone. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tests.chaos.harm import Harm

REVISED = " (revised)"
SAME_ID = "__fake_id__"
"""The name that a server gives to every item, as the models behind Chat Completions do."""
TALLY = "tally"
"""The key of a thread's metadata under which its runs note their tags."""
LEDGER = "ledger:"
"""The text of the item in which the runs of a thread note their tags begins with it."""
AUTOMATIC_TITLE = "automatic "
CALL = "client_tool_call"
OUTPUT_SUFFIX = ".output"


@dataclass(frozen=True, kw_only=True)
class Script:
    """One answer: `items` messages of `words` deltas each."""

    tag: str
    """Unlike that of any other message; the first delta of each item begins with it."""
    items: int = 2
    words: int = 20
    pause_ms: int = 50
    """Before each delta."""
    quiet_ms: int = 0
    """Between two items, after the progress event."""
    revised: bool = False
    """The last item is replaced by a longer one at the end."""
    same_ids: bool = False
    """Every item has the name SAME_ID."""
    tallies: bool = False
    """After the first item the run notes its tag in the thread's metadata and in its ledger, an item that an earlier
    run may have made, and gives a thread without a title one."""
    renews: bool = False
    """A run that notes its tag adds a new ledger with all tags of the one before, and removes that. Where it is stopped
    in between, both stay."""
    calls: bool = False
    """The answer ends with a client tool call; what follows its output is `after_call`."""
    harm: Harm | None = None
    """What the run does to its process after its first item."""

    def __str__(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Script:
        fields = json.loads(text)
        harm = fields.pop("harm", None)
        return cls(harm=None if harm is None else Harm(harm), **fields)

    @property
    def after_call(self) -> Script:
        """The answer to the call's output."""
        return Script(tag=self.tag + OUTPUT_SUFFIX, items=1, words=5, pause_ms=self.pause_ms)

    @property
    def is_after_call(self) -> bool:
        return self.tag.endswith(OUTPUT_SUFFIX)

    @property
    def fails(self) -> bool:
        return self.harm is not None and self.harm.fails_the_run

    @property
    def output(self) -> dict[str, str]:
        """What the client gives as the output of the call."""
        return {"tag": self.tag}

    def pieces(self, item: int) -> list[str]:
        return [f"[{self.tag}#{item}]", *(f" {number}" for number in range(1, self.words))]

    def streamed(self, item: int) -> str:
        """The item's text when its deltas are over."""
        return "".join(self.pieces(item))

    def text(self, item: int) -> str:
        """The item's text in the end."""
        last = self.revised and item == self.items - 1
        return self.streamed(item) + (REVISED if last else "")

    @property
    def texts(self) -> list[str]:
        return [self.text(item) for item in range(self.items)]


def text_of(item: Mapping[str, Any]) -> str:
    """The text of a message item, as the protocol has it in JSON."""
    return "".join(part.get("text", "") for part in item.get("content", ()))


def is_ledger(item: Mapping[str, Any]) -> bool:
    return item.get("type") == "assistant_message" and text_of(item).startswith(LEDGER)


def tag_of(item: Mapping[str, Any]) -> str | None:
    """The tag of the script that an item belongs to: the user's message, or a piece of its answer."""
    text = text_of(item)
    match item.get("type"):
        case "user_message":
            return Script.parse(text).tag
        case "client_tool_call":
            return Script.parse(item["arguments"]["script"]).tag
        case "assistant_message" if text.startswith("[") and "#" in text:
            return text[1:].partition("#")[0]
        case _:
            return None
