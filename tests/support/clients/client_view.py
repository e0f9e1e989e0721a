"""What a client has on its screen after the events that it was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support.system import Answer


def shown(answer: Answer, before: Sequence[dict[str, Any]] = ()) -> dict[str, dict[str, Any]]:
    """The items that were there before, or were added or done, and not removed, by id.

    What was stored and never shown may be removed too: a client that has loaded the thread meanwhile shows it.
    """
    items: dict[str, dict[str, Any]] = {item["id"]: item for item in before}
    for event in answer.events:
        if event["type"] in ("thread.item.added", "thread.item.done", "thread.item.replaced"):
            items[event["item"]["id"]] = event["item"]
        elif event["type"] == "thread.item.removed":
            items.pop(event["item_id"], None)
    return items


def texts(item: dict[str, Any]) -> list[str]:
    return [part["text"] for part in item["content"]]
