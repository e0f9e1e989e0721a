"""Pages of the store: which statement reads one, and what its rows say of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

import asyncpg
from chatkit.types import ThreadMetadata

from relaykit.shared.threads import statements as sql

THREAD_PAGES: Final = {
    ("asc", False): sql.THREADS_ASC,
    ("desc", False): sql.THREADS_DESC,
    ("asc", True): sql.THREADS_ASC_AFTER,
    ("desc", True): sql.THREADS_DESC_AFTER,
}
ITEM_PAGES: Final = {
    ("asc", False): sql.ITEMS_ASC,
    ("desc", False): sql.ITEMS_DESC,
    ("asc", True): sql.ITEMS_ASC_AFTER,
    ("desc", True): sql.ITEMS_DESC_AFTER,
}


@dataclass(frozen=True, slots=True)
class UseCursor:
    """A place in the order of the threads' last use."""

    used_at: datetime
    seq: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        used_at, _, seq = text.partition("~")
        at, number = datetime.fromisoformat(used_at), int(seq)
        if at.tzinfo is None or not 0 <= number < 2**63:
            raise ValueError("not a cursor")
        try:
            return cls(at.astimezone(UTC), number)
        except OverflowError as error:
            raise ValueError("not a cursor") from error

    def __str__(self) -> str:
        return f"{self.used_at.isoformat()}~{self.seq}"


@dataclass(frozen=True, slots=True)
class UsedThread:
    """A thread, and the time of its last use."""

    thread: ThreadMetadata
    used_at: datetime


@dataclass(frozen=True, slots=True)
class UsePage:
    """Threads by their last use, newest first; `after` is where the next page begins, None at the end."""

    threads: list[UsedThread]
    after: UseCursor | None


def order(order: str) -> str:
    if order not in ("asc", "desc"):
        raise ValueError(f"order is asc or desc, not {order!r}")
    return order


def cursor(after: str | None) -> tuple[str, ...]:
    return () if after is None else (after,)


def entries(rows: list[asyncpg.Record]) -> list[asyncpg.Record]:
    """The rows of a page that are in it; what follows it comes without its data."""
    return [row for row in rows if row["data"] is not None]


def position(rows: list[asyncpg.Record]) -> dict[str, Any]:
    found = entries(rows)
    has_more = len(rows) > len(found)
    return {"has_more": has_more, "after": found[-1]["id"] if has_more else None}
