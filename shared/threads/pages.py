"""Pages of the store: which statement reads one, and what its rows say of it. Pure."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

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
