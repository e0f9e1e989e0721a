"""From a run's events to the items that a client shows for it, as ChatKit's own client applies them. Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.chaos.script import CALL, is_ledger, text_of

Item = dict[str, Any]


class FoldError(Exception):
    """An event that makes no sense to a client that has applied all before it."""


class Fold:
    """The items that the events so far add up to, by id."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.errors = 0
        """`error` events that were shown."""
        self.ledgers: dict[str, str] = {}
        """The texts of the thread's ledgers that the run has shown and left, by id. One may be of an earlier run."""
        self._done: set[str] = set()

    def apply(self, event: dict[str, Any]) -> None:
        """Raises FoldError."""
        match event["type"]:
            case "thread.item.added":
                self._add(event["item"])
            case "thread.item.done":
                if is_ledger(event["item"]):
                    self.ledgers[event["item"]["id"]] = text_of(event["item"])
                else:
                    self._finish(event["item"])
            case "thread.item.updated":
                self._update(event["item_id"], event["update"])
            case "thread.item.removed":
                # an item that was stored and never shown is told of too
                self.items.pop(event["item_id"], None)
                self.ledgers.pop(event["item_id"], None)
                self._done.discard(event["item_id"])
            case "thread.item.replaced":
                if is_ledger(event["item"]):
                    self.ledgers[event["item"]["id"]] = text_of(event["item"])
                elif event["item"]["type"] == CALL and event["item"]["id"] not in self.items:
                    pass  # a call of the run before, which was given up
                elif event["item"]["id"] not in self.items:
                    raise FoldError(f"replaces what is not there: {event['item']['id']}")
                else:
                    self.items[event["item"]["id"]] = event["item"]
            case "error":
                self.errors += 1
            case _:
                pass

    def shown(self) -> dict[str, Item]:
        """What is left to compare: an item that was begun and got no text before a stop is stored by nobody."""
        return {
            item_id: item for item_id, item in self.items.items() if item_id in self._done or text_of(item)
        }

    def _add(self, item: Item) -> None:
        if item["id"] in self.items:
            raise FoldError(f"added twice: {item['id']}")
        self.items[item["id"]] = copy.deepcopy(item)

    def _finish(self, item: Item) -> None:
        if item["id"] in self._done:
            raise FoldError(f"done twice: {item['id']}")
        self._done.add(item["id"])
        self.items[item["id"]] = item

    def _update(self, item_id: str, update: dict[str, Any]) -> None:
        if item_id not in self.items:
            raise FoldError(f"updates what is not there: {item_id}")
        if item_id in self._done:
            raise FoldError(f"updates what is done: {item_id}")
        if update["type"] != "assistant_message.content_part.text_delta":
            raise FoldError(f"no update of the scripts: {update['type']}")
        self.items[item_id]["content"][update["content_index"]]["text"] += update["delta"]


def fold(payloads: Iterable[bytes]) -> Fold:
    """Applies the events of one run from its first. Raises FoldError."""
    folded = Fold()
    for payload in payloads:
        folded.apply(json.loads(payload))
    return folded


def normal(item: Item) -> Item:
    """An item without what is only absent in another way: what is None, at any depth.

    A client tool call is as it was made: the checks of calls know how it ended. Times have an offset.
    """

    def cleaned(value: Any) -> Any:
        match value:
            case dict():
                return {key: cleaned(part) for key, part in value.items() if part is not None}
            case list():
                return [cleaned(part) for part in value]
            case _:
                return value

    left_out = {"status", "output"} if item.get("type") == CALL else set()
    kept = {key: cleaned(part) for key, part in item.items() if part is not None and key not in left_out}
    return kept | {"created_at": _moment(str(kept["created_at"]))} if "created_at" in kept else kept


def _moment(text: str) -> str:
    """A time that is stored has no offset, and is this machine's; one that is sent has one."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except ValueError:
        return text
