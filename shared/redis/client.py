"""Connections to Redis: a fixed number a process, whatever the number of runs and clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import redis.asyncio as redis_asyncio
from redis.asyncio.connection import AbstractConnection, Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from relaykit.shared.error_codes import NodeLeft, cause_of
from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.metrics import REDIS_FAILURES, REDIS_SECONDS, count_failure
from relaykit.shared.redis.failover import Node, node_of
from relaykit.shared.redis.keys import Names
from relaykit.shared.redis.sentinels import Sentinels
from relaykit.shared.redis_url import RedisAddress, parse_redis_url

UNREACHABLE = (RedisConnectionError, RedisTimeoutError, OSError)
CONNECT_TIMEOUT_SECONDS = 2.0
REPLY_TIMEOUT_SECONDS = 5.0
RETRY_PAUSES_SECONDS = (0.0, 0.1, 0.4)
"""Pauses before a call that failed is repeated."""

CLOSED_TRANSPORT = "the handler is closed"
"""How uvloop's RuntimeError ends for a write to a connection that was reset."""

Redis = redis_asyncio.Redis

T = TypeVar("T")


class _Connection(AbstractConnection):
    """Raises redis-py's ConnectionError where the connection was reset since it was last read.

    redis-py does not take what uvloop raises then for an error of the connection, and waiting out an outage would fail.
    It also has the process leave a node that says that it is the wrong one, which redis-py takes for a mere reply.
    Where there are sentinels, each connection leads to what they say at that moment.
    """

    host: str
    port: int
    node: Node
    sentinels: Sentinels | None
    leaves = False
    """Whether it is to be closed before its next use."""
    asked_at = 0.0
    """When the call that has it asked for a connection."""

    async def connect(self) -> None:
        if not self.is_connected:
            self.leaves = False
            if self.sentinels is not None:
                self.host, self.port = await self.sentinels.primary()
        await super().connect()  # type: ignore[no-untyped-call]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except RedisError as error:
            if self.node.heed(error):
                self.leaves = True
            elif self.leaves and isinstance(error, RedisConnectionError):
                raise NodeLeft(self.node.word) from error
            raise

    def abort(self) -> None:
        """Cuts it, also under a task that listens on it."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            if not str(error).endswith(CLOSED_TRANSPORT):
                raise
            raise RedisConnectionError("the connection was reset") from error


class FairPool(redis_asyncio.ConnectionPool):
    """Gives its connections in the order of asking; waits up to REPLY_TIMEOUT_SECONDS for a free one.

    redis-py's BlockingConnectionPool lets newcomers overtake: of 25 callers at one connection, with a median wait of
    5 ms, some waited over 4 s. It also loses a wake-up where the caller that it goes to is cancelled.
    """

    def __init__(self, address: RedisAddress, *, max_connections: int, **options: Any) -> None:
        self.node = node_of(address)
        kind = address.options.get("connection_class", Connection)
        shared = {"node": self.node, "sentinels": Sentinels(address) if address.sentinels else None}
        options |= {**address.options, "connection_class": type(kind.__name__, (_Connection, kind), shared)}
        super().__init__(max_connections=max_connections, **options)
        self._turns = asyncio.Semaphore(max_connections)
        self._is_timed = options.get("socket_timeout") == REPLY_TIMEOUT_SECONDS  # else calls wait on purpose
        self.names = Names()

    async def get_connection(self, *_: Any, **__: Any) -> AbstractConnection:
        asked_at = time.perf_counter()
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            raise RedisConnectionError("no connection was free in time") from error
        connection: _Connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        connection.asked_at = asked_at
        try:
            if connection.leaves:
                await connection.disconnect(nowait=True)
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        try:
            if isinstance(connection, _Connection):
                if self._is_timed:
                    REDIS_SECONDS.observe(time.perf_counter() - connection.asked_at)
                if connection.leaves:
                    await connection.disconnect(nowait=True)
            await super().release(connection)
        finally:
            self._turns.release()

    def leave_node(self) -> None:
        for connection in (*self._available_connections, *self._in_use_connections):
            assert isinstance(connection, _Connection)
            connection.leaves = True
            listens = connection.socket_timeout is None
            if listens or connection in self._available_connections:
                connection.abort()


@asynccontextmanager
async def open_redis(
    url: str,
    *,
    connections: int,
    deployment: str = "",
    reply_timeout_seconds: float | None = REPLY_TIMEOUT_SECONDS,
) -> AsyncIterator[Redis]:
    """A client over at most `connections` connections, for the keys of `deployment`; a call waits for a free one.

    `reply_timeout_seconds=None` is for connections that listen on purpose.
    """
    pool = FairPool(
        parse_redis_url(url),
        max_connections=connections,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_timeout=reply_timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        lib_name=None,  # else each connection asks CLIENT SETINFO, which a narrow user is refused
        lib_version=None,
    )
    pool.names = Names(deployment)
    client = Redis(connection_pool=pool)
    try:
        with pool.node.serving(pool):
            yield client
    finally:
        await client.aclose()
        await pool.disconnect()


def names_of(redis: Redis) -> Names:
    """The names of the keys of the deployment that the client was opened for."""
    names = getattr(redis.connection_pool, "names", None)
    return names if isinstance(names, Names) else Names()


async def retry_briefly(call: Callable[[], Awaitable[T]]) -> T:
    """The call's result, with repeats where a connection is lost: for what must follow something that is committed.

    The call must be safe to repeat. Raises QueueUnavailable where Redis is away for longer than all pauses.
    """
    for pause_seconds in RETRY_PAUSES_SECONDS:
        try:
            return await call()
        except QueueUnavailable:
            await asyncio.sleep(pause_seconds)
    return await call()


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turns every failure of the driver into QueueUnavailable, and raises the cancellation that the driver lost.

    redis-py sends through asyncio.wait_for, which in Python 3.11 drops a cancellation that comes together with its
    result: a loop that is cancelled in that moment would never end.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        count_failure(REDIS_FAILURES, cause_of(error))
        raise QueueUnavailable() from error
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
