"""Counts a request of a caller and takes a place in the queue for it, in one round trip."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from enum import IntEnum
from itertools import count
from pathlib import Path
from typing import NamedTuple

import structlog

from relaykit.shared.errors import QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.queue.fair_order import FAIR, FAIR_TTL_MS, PLACES
from relaykit.shared.queue.fair_share import Flow
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors
from relaykit.shared.redis.scripts import script

BURSTS_PER_MINUTE = 4
"""A quarter of a minute's requests may come at once."""
PLACE_MS = 60_000
"""A place that a dead process held lapses after this time: longer than a request waits for its row and its job."""
GIVE_BACK_SECONDS = 1.0
"""Places are given back after this time where no further request takes them along."""
MAX_PENDING = 1000

_FOLDER = Path(__file__).parent

log = structlog.get_logger()


class QueueCapacity(IntEnum):
    """Whether a request that becomes a run has a place in the queue."""

    FREE = 0
    QUEUE_FULL = 1
    TENANT_FULL = 2
    """The tenant has as many queued runs as it may have."""


class Rates(NamedTuple):
    """Requests a minute; 0 is no limit."""

    of_caller: int = 0
    of_tenant: int = 0


class QueueLimits(NamedTuple):
    """Queued runs; 0 is no limit."""

    depth: int
    """Beyond this many, callers that hold their share are refused."""
    of_tenant: int


class GateDecision(NamedTuple):
    """How long a request's caller and tenant have to wait, and whether there is room for the run that it may become."""

    caller_wait_seconds: float
    tenant_wait_seconds: float
    capacity: QueueCapacity
    place: str
    entered_at: float
    """When the request was counted, by the monotonic clock."""

    @property
    def is_stale(self) -> bool:
        """The place may lapse before the run has it."""
        return time.monotonic() - self.entered_at > PLACE_MS / 2000


class RequestGate:
    """The rates of callers and tenants and the room in the queue, which all API processes count together in Redis.

    Each request that is let in takes a place: its body, which says whether it becomes a run, has not been read yet.
    The run's job takes the place over. Any other request gives it back, along with the next one that enters.
    """

    def __init__(self, redis: Redis) -> None:
        self._named = names_of(redis)
        self._rate_limit = redis.register_script(script(FAIR, PLACES, _FOLDER / "rate_limit.lua"))
        self._give_back = redis.register_script(script(FAIR, PLACES, _FOLDER / "give_back.lua"))
        self._names = (f"{secrets.token_hex(4)}-{number}" for number in count())
        self._pending: deque[str] = deque(maxlen=MAX_PENDING)
        """Places to be given back; those beyond MAX_PENDING lapse."""
        self._has_pending = asyncio.Event()

    async def enter(self, flow: Flow, rates: Rates, limits: QueueLimits) -> GateDecision:
        """Counts a request where neither has to wait. Raises QueueUnavailable."""
        place = f"{flow.path}:{next(self._names)}" if any(limits) else ""
        arguments: list[str | int | float] = []
        for per_minute in rates:
            arguments += [per_minute, max(1, per_minute // BURSTS_PER_MINUTE)]
        arguments += [flow.path, flow.tenant_weight, flow.caller_weight, *limits, place, PLACE_MS]
        given_back = self._take_pending() if any(limits) else []  # the script leaves them where it takes none
        entered_at = time.monotonic()
        try:
            with redis_errors():
                caller_ms, tenant_ms, capacity = await self._rate_limit(
                    keys=self._named.each(
                        keys.rate(flow.caller), keys.tenant_rate(flow.tenant), keys.QUEUE, keys.FAIR_PREFIX
                    ),
                    args=[*arguments, *given_back, FAIR_TTL_MS],
                )
        except BaseException:
            self.give_back(place, *given_back)  # Redis may have taken the place and given none back
            raise
        return GateDecision(caller_ms / 1000, tenant_ms / 1000, QueueCapacity(capacity), place, entered_at)

    def give_back(self, *places: str) -> None:
        """Notes places to give back: their requests led to no queued run."""
        self._pending.extend(filter(None, places))
        if self._pending:
            self._has_pending.set()

    async def run(self) -> None:
        """Gives back what no request has taken along, until cancelled."""
        while True:
            await self._has_pending.wait()
            await asyncio.sleep(GIVE_BACK_SECONDS)
            if places := self._take_pending():
                try:
                    with redis_errors():
                        await self._give_back(
                            keys=self._named.each(keys.FAIR_PREFIX),
                            args=[*places, FAIR_TTL_MS],
                        )
                except QueueUnavailable as error:  # they lapse
                    log.info(
                        "places in the queue could not be given back: they expire by themselves",
                        action="places_kept",
                        **failure(error),
                    )

    def _take_pending(self) -> list[str]:
        places = list(self._pending)
        self._pending.clear()
        self._has_pending.clear()
        return places
