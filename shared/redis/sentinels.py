"""Where the primary is, by the word of its sentinels: asked for each new connection, because that may have changed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError

from relaykit.shared.error_codes import UNREACHABLE, cause_of
from relaykit.shared.redis_url import RedisAddress
from relaykit.shared.tasks import end_tasks

ANSWER_SECONDS = 2.0
"""A sentinel that has not answered within this time is taken to be away."""
KEPT_SECONDS = 0.2
"""What the sentinels said holds for this long: while Redis is away, a process tries many times a second."""

MAX_PORT = 65_535
_MALFORMED = (ValueError, TypeError, LookupError, AttributeError)
"""What reading an answer comes to that follows no protocol, or answers another question; others are RedisErrors."""

Place = tuple[str, int]


class SentinelsSilent(RedisConnectionError):
    """No sentinel has said where the primary is; raised for what the most telling one has failed with."""

    def __init__(self) -> None:
        super().__init__("no sentinel has answered")


class MasterUnknown(RedisConnectionError):
    """The sentinels answer, and know no primary of that name."""

    def __init__(self) -> None:
        super().__init__("no sentinel knows the master name")


class Sentinels:
    """Those of one address; asked at once, over connections of their own that end with the answer.

    The place that most of them name is the primary's: one that is cut off from the others still names the old one.
    """

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._asking = asyncio.Lock()
        self._asked_at = -KEPT_SECONDS
        self._said: Place | None = None
        self._failures: Sequence[Exception] = ()

    async def primary(self) -> Place:
        """Raises SentinelsSilent, MasterUnknown. Callers that ask together get one answer."""
        async with self._asking:
            if time.monotonic() - self._asked_at >= KEPT_SECONDS:
                await self._ask()
                self._asked_at = time.monotonic()
        if self._said is not None:
            return self._said
        if self._failures:
            told = [each for each in self._failures if cause_of(each) != UNREACHABLE]
            raise SentinelsSilent from [*told, *self._failures][0]
        raise MasterUnknown

    async def _ask(self) -> None:
        sentinels = self._address.sentinels
        tasks = [asyncio.create_task(self._ask_one(*place)) for place in sentinels]
        votes: Counter[Place | None] = Counter()
        failures: list[Exception] = []
        try:
            for next_answer in asyncio.as_completed(tasks):
                try:
                    said = await next_answer
                except (RedisError, OSError, RuntimeError) as error:  # the last is uvloop's, of a reset
                    failures.append(error)
                    continue
                votes[said] += 1
                if said is not None and 2 * votes[said] > len(sentinels):
                    break
        finally:
            await end_tasks(tasks)
        places = [place for place, _ in votes.most_common() if place is not None]
        self._said = places[0] if places else None
        self._failures = [] if 2 * votes[None] > len(sentinels) else failures

    async def _ask_one(self, host: str, port: int) -> Place | None:
        options: dict[str, Any] = {"connection_class": Connection, **self._address.sentinel_options}
        connection_class = options.pop("connection_class")
        connection = connection_class(
            host=host,
            port=port,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            lib_name=None,
            lib_version=None,
            **options,
        )
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.connect()
                await connection.send_command(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.master_name
                )
                return _place(await connection.read_response())
        except OSError:  # one of a certificate is a ValueError too
            raise
        except _MALFORMED as error:
            raise InvalidResponse("no answer of a sentinel") from error
        finally:
            await connection.disconnect(nowait=True)


def _place(reply: Any) -> Place | None:
    """Raises one of _MALFORMED for what is no host and port that a connection can be opened to."""
    if reply is None:
        return None
    host, port = reply
    name, number = host.decode(), int(port)
    if not name.isprintable() or not name.encode("idna") or not 0 < number <= MAX_PORT:
        raise ValueError
    return name, number
