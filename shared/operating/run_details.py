"""All that is known of one run: its row, and the events in its journal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

from relaykit.shared.errors import RunNotFound
from relaykit.shared.journal import LOST, Cursor, Entry, Field, JournalReader
from relaykit.shared.operating.run_lists import COLUMNS, ListedRun, listed_run
from relaykit.shared.postgres.database import Database
from relaykit.shared.runs.rows import run_of
from relaykit.shared.runs.run import Run
from relaykit.shared.runs.statements import COLUMNS as ROW_COLUMNS
from relaykit.shared.tracing.spans import CONTEXT_KEY, trace_id_in

FIND: Final = f"""
SELECT {COLUMNS}, max_attempts, received_at, context #>> '{{{CONTEXT_KEY},traceparent}}' AS traceparent,
    (SELECT item_id FROM awaited_calls WHERE run_id = runs.id LIMIT 1) AS awaited_item,
    (SELECT until_at FROM awaited_calls WHERE run_id = runs.id LIMIT 1) AS awaited_until
FROM runs WHERE id = $1
"""  # noqa: S608
ROW: Final = f"SELECT {ROW_COLUMNS} FROM runs WHERE id = $1"  # noqa: S608
CONTENT: Final = """
SELECT input, context, (
    SELECT data FROM items WHERE items.thread_id = runs.thread_id AND items.id = runs.anchor_item_id
) AS anchor
FROM runs WHERE id = $1
"""

MAX_CONTENT_CHARS: Final = 256 * 1024
"""Of each part of a run's content. Whole threads are for `relaykit threads export`."""
MAX_DEPTH: Final = 200
"""Of the same, and of an event."""
_NO_BRACKET: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\[\]{}"]++')
_STEPS: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


@dataclass(frozen=True, slots=True)
class RunDetails:
    """A run's row, without content."""

    run: ListedRun
    max_attempts: int | None
    """The run's own limit; None: RUN_MAX_ATTEMPTS."""
    received_at: datetime | None
    """When a client was first noted to have had something of it."""
    trace_id: str | None = None
    """The trace that it belongs to; None where it was accepted without one."""
    awaited_item: str | None = None
    """The client tool call with which it has ended, and whose output its thread awaits."""
    awaited_until: datetime | None = None
    """When a worker gives that call up."""


@dataclass(frozen=True, slots=True)
class RunContent:
    """What a user has written and a token has said: shown only where it is asked for."""

    input: Any
    context: Any
    """The request's context: claims, metadata, header fields."""
    anchor: Any
    """The thread's newest item when the run was admitted, mostly its message; None in a store of the site's own."""


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An entry of a journal."""

    cursor: str
    kind: str
    """An event's type; `attempt` where one begins, `end` at the end."""
    detail: str
    """Of an event the kind of update or item in it, and its item's id; of the end the run's status."""
    bytes: int
    at: datetime | None = None
    """When its item or thread was made, of an event that brings a new one. Entries have no times of their own."""
    data: Any = None
    """The event itself, where content was asked for."""


class RunReader:
    """Everything of PostgreSQL's raises DatabaseUnavailable."""

    def __init__(self, database: Database, journals: JournalReader) -> None:
        self._database = database
        self._journals = journals

    async def find(self, run_id: str) -> RunDetails:
        """Raises RunNotFound."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(FIND, run_id)
        if row is None:
            raise RunNotFound
        traceparent = row["traceparent"]
        more = ("max_attempts", "received_at", "awaited_item", "awaited_until")
        return RunDetails(
            listed_run(row),
            trace_id=None if traceparent is None else trace_id_in({"traceparent": traceparent}),
            **{name: row[name] for name in more},
        )

    async def row(self, run_id: str) -> Run:
        """The row as both sides have it. Raises RunNotFound."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(ROW, run_id)
        if row is None:
            raise RunNotFound
        return run_of(row)

    async def content(self, run_id: str) -> RunContent:
        """Raises RunNotFound."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(CONTENT, run_id)
        if row is None:
            raise RunNotFound
        return RunContent(*map(_written, row))

    async def events(self, run_id: str, after: Cursor, limit: int, *, content: bool) -> Sequence[ShownEvent]:
        """Up to `limit` entries of its journal. Raises QueueUnavailable, JournalGone for what is no journal."""
        return [_shown(entry, content=content) for entry in await self._journals.read(run_id, after, limit)]


def _shown(entry: Entry, *, content: bool) -> ShownEvent:
    cursor, payload = str(entry.cursor), entry.payload
    match entry.field:
        case Field.ATTEMPT_START:
            return ShownEvent(cursor, "attempt", LOST.decode() if entry.loses else "", len(payload))
        case Field.END:
            return ShownEvent(cursor, "end", payload.decode(errors="replace"), len(payload))
        case Field.EVENT:
            event = _event(payload)
            return ShownEvent(
                cursor,
                _text(event.get("type")),
                _detail(event),
                len(payload),
                _made_at(event),
                event if content else None,
            )


def _event(payload: bytes) -> Mapping[str, Any]:
    """Anybody who can write to Redis may have put something else there."""
    try:
        text = payload.decode("utf-8", "surrogatepass")
        event = _parsed(text)
    except (ValueError, RecursionError):
        return {"type": "unreadable"}
    return event if isinstance(event, dict) and not _is_deep(text) else {"type": "unreadable"}


def _written(text: str | None) -> Any:
    """The JSON of a row; where it is too much or too deep to be written again, how long it is."""
    if text is None:
        return None
    if len(text) > MAX_CONTENT_CHARS or _is_deep(text):
        return {"not_shown_chars": len(text)}
    return _parsed(text)


def _is_deep(text: str) -> bool:
    """Whether JSON nests deeper than MAX_DEPTH: what Python has read it cannot write some calls further down."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depths = accumulate(_STEPS[bracket] for bracket in _NO_BRACKET.sub("", text))
    return max(depths, default=0) > MAX_DEPTH


def _parsed(text: str) -> Any:
    """The JSON; a number that JSON does not have is None, as in a row, so that it can be written again."""
    return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _detail(event: Mapping[str, Any]) -> str:
    parts = [event.get("update"), event.get("item")]
    words = [_text(part.get("type")) for part in parts if isinstance(part, dict)]
    ids = [event.get("item_id"), *(part.get("id") for part in parts[1:] if isinstance(part, dict))]
    return " ".join(filter(None, [*words, *map(_text, ids)]))


def _made_at(event: Mapping[str, Any]) -> datetime | None:
    """Of a new item or thread. Its server has said when, so that it may be anything."""
    made = {"thread.created": "thread", "thread.item.added": "item"}.get(_text(event.get("type")))
    part = None if made is None else event.get(made)
    if not isinstance(part, dict) or not isinstance(part.get("created_at"), str):
        return None
    try:
        at = datetime.fromisoformat(part["created_at"])
        return at.astimezone(UTC) if at.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _text(value: object) -> str:
    """A type or an id, never longer than one is: it may stand for anything."""
    return value[:100] if isinstance(value, str) else ""
