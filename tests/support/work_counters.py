"""Work that is counted: statements to PostgreSQL, writes to sockets."""

from __future__ import annotations

import asyncio
from asyncio import selector_events
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from relaykit.api import redis_reach
from relaykit.shared import clocks
from relaykit.shared.operating import queue_figures
from relaykit.shared.postgres import sessions


@contextmanager
def counted_statements() -> Iterator[Counter[str]]:
    """Counts what the pools that open in the block say to PostgreSQL, by text; `clear` it where counting begins.

    But for what an API asks by the clock, whatever its requests do.
    """
    by_the_clock = {
        " ".join(text.split()) for text in (queue_figures.UNFINISHED, redis_reach.TELL, clocks.NOW)
    }
    counts: Counter[str] = Counter()
    warm = sessions._warm

    def count(said: Any) -> None:
        text = " ".join(said.query.split())
        if text not in by_the_clock:
            counts[text] += 1

    async def warm_and_listen(connection: asyncpg.Connection) -> bool:
        takes_writes = await warm(connection)
        connection.add_query_logger(count)
        return takes_writes

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sessions, "_warm", warm_and_listen)
        yield counts


@dataclass
class Writes:
    """What one port has sent."""

    sizes: list[int] = field(default_factory=list)


@contextmanager
def counted_writes(port: int) -> Iterator[Writes]:
    """Counts the writes to connections that were accepted on this port by a server in this event loop."""
    writes = Writes()
    transport_class: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport_class.write

    def counting(transport: asyncio.Transport, data: bytes) -> None:
        if transport.get_extra_info("sockname")[1] == port:
            writes.sizes.append(len(data))
        write(transport, data)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(transport_class, "write", counting)
        yield writes
