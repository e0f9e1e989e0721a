"""The connections of one API process: how many there may be, and how long each may wait for its client.

A wait has a table, in which a connection stands only while it waits; one timer looks at the tables. A stream that is
idle stands in none of them, and costs nothing here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final, Protocol, TypeVar

import structlog

from relaykit.api.http.accept_queue import AcceptQueueWatch, Listener
from relaykit.api.http.descriptors import DescriptorWatch
from relaykit.api.metrics import CONNECTIONS, CONNECTIONS_DROPPED
from relaykit.shared.settings import Settings

LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 1024 * 1024
"""Bytes that are still read from a client that has its last answer. A connection that is closed with bytes unread is
reset, and the client may lose the answer."""
MAX_REFUSED: Final = 16
"""Connections beyond the limit that may be told so at the same time."""
MAX_PAUSE_SECONDS: Final = 1.0
LOOKS: Final = 8
"""Looks at the tables per shortest wait, so that a wait ends at most an eighth of it late."""
BATCH: Final = 50
"""Connections that are closed before other work gets its turn."""

T = TypeVar("T")

log = structlog.get_logger()


class Peer(Protocol):
    """What any connection does whose client takes nothing."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the client's side has not taken."""

    def drop(self) -> None:
        """Closes at once, without an answer."""


class Connection(Peer, Protocol):
    """What a connection of HTTP does when its wait is over."""

    @property
    def received_bytes(self) -> int:
        """Bytes of the body that is being read."""

    @property
    def waits_for_body(self) -> bool:
        """The client may send, rather than the API being slow to take."""

    def head_is_late(self) -> None: ...
    def body_is_late(self) -> None: ...
    def close_idle(self) -> None: ...


class Socket(Peer, Protocol):
    """What a WebSocket does."""

    def ping_is_due(self) -> None: ...


class Connections:
    """All of them, and their clock. `run` must be running."""

    def __init__(self, settings: Settings, limit: int) -> None:
        self.settings = settings
        self.limit = limit
        self.count = 0
        self.draining = False
        """The process is about to stop: from now on each answer is the last one on its connection."""
        self.clock = 0.0
        """Seconds. A look adds two pauses at most, so that a process that was frozen or blocked does not count its own
        standing still against its clients."""
        self.heads: dict[Connection, float] = {}
        """Connections whose head is not complete, by when it has to be. This table and the next three are in the order
        of their times, because each adds the same number of seconds."""
        self.idle: dict[Connection, float] = {}
        """Connections that have been answered, by when they are closed unless a request comes."""
        self.lingering: dict[Connection, float] = {}
        """Connections that have their last answer, by when they are dropped unless the client closes."""
        self.refused: dict[Connection, float] = {}
        """Connections beyond the limit, by when they are dropped unless the client closes; they are not in `count`."""
        self.bodies: dict[Connection, float] = {}
        """Connections whose body is not complete, with the seconds for which the API has waited for it."""
        self.sockets: dict[Socket, float] = {}
        """WebSockets, by when their next ping is due; in the order of their times too."""
        self.left: dict[Socket, None] = {}
        """WebSockets whose client has gone and whose application goes on, in the order in which their clients went."""
        self.unsent: dict[Peer, tuple[float, int]] = {}
        """Connections with bytes that the client does not take: since when, and how many there were."""
        self._descriptors = DescriptorWatch()
        self._accept_queue = AcceptQueueWatch(())
        self._was_full = self._said_full = False

    def listens_on(self, listeners: Iterable[Listener]) -> None:
        """Names the sockets whose dropped connections are counted."""
        self._accept_queue = AcceptQueueWatch(listeners)

    def accept(self) -> bool:
        """Counts a new connection; False where there is no room.

        At the limit the new one replaces the oldest that lingers, else the oldest that is idle, else the application of
        the WebSocket whose client was the first to go, else the oldest whose head is not complete. A client that sends
        its request as it connects is no longer among these when its turn would come.
        """
        if self.count >= self.limit:
            self._note_full()
            tables: tuple[Collection[Peer], ...] = (self.lingering, self.idle, self.left, self.heads)
            given_up = next((next(iter(table)) for table in tables if table), None)
            if given_up is None:
                return False
            CONNECTIONS_DROPPED.labels("evicted").inc()
            given_up.drop()
        self.count += 1
        CONNECTIONS.inc()
        return True

    def leave(self, connection: Connection, *, counted: bool) -> None:
        """Forgets a connection that is gone; `counted` says that `accept` had counted it."""
        if counted:
            self.count -= 1
            CONNECTIONS.dec()
        self.wait_for_nothing(connection)
        self.unsent.pop(connection, None)

    def leave_socket(self, socket: Socket, *, counted: bool) -> None:
        """The same of a WebSocket, which as an HTTP connection was counted."""
        if counted:
            self.count -= 1
            CONNECTIONS.dec()
        self.end_waits(socket)
        self.left.pop(socket, None)

    def end_waits(self, socket: Socket) -> None:
        """Ends all waits for the client of a WebSocket."""
        self.sockets.pop(socket, None)
        self.unsent.pop(socket, None)

    def client_has_gone(self, socket: Socket) -> None:
        """The WebSocket keeps its place until its application has ended, or a newcomer is given it."""
        self.end_waits(socket)
        self.left[socket] = None

    def wait_for_nothing(self, connection: Connection) -> None:
        """Ends all waits for the client, but for the one until it has taken what was written."""
        for table in (self.heads, self.idle, self.lingering, self.refused, self.bodies):
            table.pop(connection, None)

    def wait_for_head(self, connection: Connection) -> None:
        """Starts the wait for a head, unless it has started."""
        self.heads.setdefault(connection, self.clock + self.settings.head_seconds)

    def are_fresh(self, seconds: float) -> bool:
        """Whether a connection that was made within this time has not sent the head of a request yet.

        The clock may have gone on by MAX_PAUSE_SECONDS the moment after.
        """
        newest = next(reversed(self.heads.values()), None)
        oldest = self.clock - seconds - MAX_PAUSE_SECONDS
        return newest is not None and newest > oldest + self.settings.head_seconds

    def wait_for_request(self, connection: Connection) -> None:
        self.idle[connection] = self.clock + self.settings.keep_alive_seconds

    def wait_for_ping(self, socket: Socket) -> None:
        self.sockets[socket] = self.clock + self.settings.ping_seconds

    def linger(self, connection: Connection, *, counted: bool) -> None:
        """The client has its last answer and may close."""
        self.wait_for_nothing(connection)
        table = self.lingering if counted else self.refused
        if table is self.refused and len(table) >= MAX_REFUSED:
            next(iter(table)).drop()
        table[connection] = self.clock + LINGER_SECONDS

    async def run(self) -> None:
        """Looks about once a second until cancelled."""
        settings = self.settings
        shortest = min(
            settings.head_seconds, settings.stall_seconds, settings.keep_alive_seconds, settings.ping_seconds
        )
        pause_seconds = min(MAX_PAUSE_SECONDS, shortest / LOOKS)
        looked_at = time.monotonic()
        while True:
            await asyncio.sleep(pause_seconds)
            now = time.monotonic()
            step = min(now - looked_at, 2 * pause_seconds)
            looked_at = now
            self.clock += step
            self._said_full, self._was_full = self._was_full, False
            self._descriptors.look()
            self._accept_queue.look()
            await self.look(step)

    async def look(self, step: float) -> None:
        """Ends the waits that have lasted too long; `step` seconds have passed since the last look."""
        await _each(self._due(self.heads), lambda connection: connection.head_is_late())
        await _each(self._due(self.idle), lambda connection: connection.close_idle())
        await _each(self._due(self.lingering), self._stop_lingering)
        await _each(self._due(self.refused), lambda connection: connection.drop())
        await _each(self._slow_bodies(step), lambda connection: connection.body_is_late())
        await _each(self._stalled(), self._drop_stalled)
        await _each(self._due(self.sockets), lambda socket: socket.ping_is_due())

    def _due(self, table: dict[T, float]) -> list[T]:
        due = []
        for connection, at in table.items():
            if at > self.clock:
                break
            due.append(connection)
        for connection in due:
            del table[connection]
        return due

    def _slow_bodies(self, step: float) -> list[Connection]:
        """A body has HEAD_SECONDS, and one more for each BODY_BYTES_PER_SECOND that have come."""
        slow = []
        for connection, waited in self.bodies.items():
            if not connection.waits_for_body:
                continue
            self.bodies[connection] = waited = waited + step
            needed = (waited - self.settings.head_seconds) * self.settings.body_bytes_per_second
            if connection.received_bytes < needed:
                slow.append(connection)
        return slow

    def _stalled(self) -> list[Peer]:
        """Connections whose client has taken less in STALL_SECONDS than a body would have to bring in that time."""
        settings = self.settings
        least = max(1.0, settings.stall_seconds * settings.body_bytes_per_second)
        stalled = []
        for connection, (since, before) in self.unsent.items():
            if self.clock - since >= settings.stall_seconds:
                left = connection.unsent_bytes
                self.unsent[connection] = (self.clock, left)
                if before - left < least:
                    stalled.append(connection)
        return stalled

    def _drop_stalled(self, connection: Peer) -> None:
        if connection not in self.unsent:  # it has taken all, or has gone, while others were closed
            return
        log.info(
            "a client takes nothing of its answer: its connection is closed",
            action="connection_stalled",
        )
        CONNECTIONS_DROPPED.labels("stalled").inc()
        connection.drop()

    def _stop_lingering(self, connection: Connection) -> None:
        if connection in self.unsent:  # STALL_SECONDS is its limit
            self.lingering[connection] = self.clock + LINGER_SECONDS
        else:
            connection.drop()

    def _note_full(self) -> None:
        if not (self._was_full or self._said_full):
            log.warning(
                "all connections are taken: idle ones are closed, then new ones refused",
                action="connections_full",
                connections=self.limit,
            )
        self._was_full = True


async def _each(connections: Iterable[T], act: Callable[[T], None]) -> None:
    for number, connection in enumerate(connections, 1):
        act(connection)
        if not number % BATCH:
            await asyncio.sleep(0)
