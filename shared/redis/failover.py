"""What a process does when Redis says "not here" or "not now": it leaves the node, over all its connections.

After a failover behind one address the old connections lead to the old primary, and its refusals are replies: nothing
is broken, so redis-py would keep them for ever. Which node the address leads to shows only to a new connection, and it
may still be the old one for a while. So the process leaves again and again, for a minute after the last refusal: a
connection that only listens gets no refusal of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakValueDictionary

import structlog
from redis.exceptions import RedisError

from relaykit.shared.error_codes import NodeLeft, code_of
from relaykit.shared.log import failure
from relaykit.shared.redis_url import RedisAddress

WRONG_NODE = frozenset(
    {"READONLY", "MASTERDOWN", "UNBLOCKED", "LOADING", "NOREPLICAS", "MISCONF", "CLUSTERDOWN"}
)
"""Words of replies that another node behind the same address need not give. OOM is not one of them: a full Redis is
the right one."""

FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 15.0
SETTLED_SECONDS = 60.0
"""After the last refusal the address is taken to lead to the new primary."""

log = structlog.get_logger()


class Pool(Protocol):
    """The connections of one client."""

    def leave_node(self) -> None:
        """Closes the connections that wait or listen now, and those in use before their next use."""


class Node:
    """What one address leads to, and the pools of one event loop that are connected to it."""

    def __init__(self) -> None:
        self.word = ""
        """Of the last reply that said that this is the wrong one."""
        self._pools: list[Pool] = []
        self._refused_at = 0.0
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._next: asyncio.TimerHandle | None = None

    @contextmanager
    def serving(self, pool: Pool) -> Iterator[None]:
        self._pools.append(pool)
        try:
            yield
        finally:
            self._pools.remove(pool)
            if not self._pools and self._next is not None:
                self._next.cancel()
                self._next = None

    def heed(self, error: RedisError) -> bool:
        """Whether the error says that this is the wrong node; if so it is left, once however many say it together."""
        word = code_of(error)
        if word not in WRONG_NODE or isinstance(error, NodeLeft):
            return False
        self.word = word
        self._refused_at = time.monotonic()
        if self._next is None:
            log.warning(
                "Redis refuses what only a primary takes: its connections are closed and opened again",
                action="redis_left",
                **failure(error),
            )
            self._pause_seconds = FIRST_PAUSE_SECONDS
            self._leave()
        return True

    def _leave(self) -> None:
        self._next = None
        for pool in self._pools:
            pool.leave_node()
        if self._pools and time.monotonic() - self._refused_at < SETTLED_SECONDS:
            self._next = asyncio.get_running_loop().call_later(self._pause_seconds, self._leave)
            self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)


_nodes: WeakValueDictionary[Hashable, Node] = WeakValueDictionary()


def node_of(address: RedisAddress) -> Node:
    """The one of this event loop that the address leads to."""
    return _nodes.setdefault((id(asyncio.get_running_loop()), address.place), Node())
