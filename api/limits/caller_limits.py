"""What one caller may ask of this process, and what the whole of Relaykit takes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from relaykit.api.auth.identity import Identity
from relaykit.api.limits.byte_budget import ByteBudget
from relaykit.api.limits.local_rates import LocalRates
from relaykit.api.limits.request_gate import GateDecision, QueueCapacity, QueueLimits, Rates, RequestGate
from relaykit.api.redis_reach import TRY_SECONDS, RedisState
from relaykit.shared.errors import (
    QueueFull,
    QueueUnavailable,
    RateLimited,
    TenantRateLimited,
    TooManyBodies,
    TooManyQueued,
    TooManyStreams,
)
from relaykit.shared.owner import Owner
from relaykit.shared.queue.fair_share import Flow, flow_of, weighted
from relaykit.shared.redis.client import retry_briefly
from relaykit.shared.settings import Settings

STREAMS_RETRY_SECONDS = 5.0
QUEUED_RETRY_SECONDS = 10.0
QUEUE_FULL_RETRY_SECONDS = 10.0
BODIES_RETRY_SECONDS = 1.0
COUNT_SECONDS = 6.0
COUNT_BRIEFLY_SECONDS = 2.0
"""For an operator's request: Redis' outage may be what the operator looks at."""
SMALL_BODY_BYTES = 4096
"""A body up to this size costs no bytes, and no round trip: CALLER_REQUESTS_PER_MINUTE bounds the number of them."""

T = TypeVar("T")


class Reservation:
    """One stream or body of a caller; `release` gives it back, however often it is called."""

    __slots__ = ("_held", "_owner", "_taken")

    def __init__(self, taken: Counter[Owner], owner: Owner) -> None:
        self._taken, self._owner, self._held = taken, owner, True
        taken[owner] += 1

    def release(self) -> None:
        if not self._held:
            return
        self._held = False
        self._taken[self._owner] -= 1
        if not self._taken[self._owner]:
            del self._taken[self._owner]


class BodyCounts:
    """How many bodies of one caller this process reads at once; 0 is no limit."""

    def __init__(self, most: int, retry_seconds: float) -> None:
        self._most, self._retry_seconds = most, retry_seconds
        self._taken: Counter[Owner] = Counter()

    @contextmanager
    def take(self, owner: Owner) -> Iterator[None]:
        """Counts a body of the caller while the block runs. Raises TooManyBodies."""
        if 0 < self._most <= self._taken[owner]:
            raise TooManyBodies(retry_after_seconds=self._retry_seconds)
        reservation = Reservation(self._taken, owner)
        try:
            yield
        finally:
            reservation.release()


@dataclass(slots=True)
class CountedRequest:
    """A request that was counted, and the place that it has in the queue should it become a run."""

    limits: Limits
    flow: Flow
    decision: GateDecision | None
    """None where Redis was away."""
    error: QueueUnavailable | None = None
    """Why it was; None where it was not asked, because it had been away before."""
    is_queued: bool = False
    """Whether the job of its run has taken the place over."""

    @property
    def place(self) -> str:
        """Empty where there is none to be given back."""
        return "" if self.decision is None or self.is_queued else self.decision.place

    async def queue_refusal(self) -> QueueFull | TooManyQueued | None:
        """Why there was no place in the queue when the request was counted; None where there was one.

        A place that was taken long ago, since the body came slowly, is taken anew, and one that was not asked for is
        asked for now. Raises QueueUnavailable where Redis was away, or is.
        """
        if self.decision is not None and self.decision.is_stale:
            self.limits.gate.give_back(self.decision.place)
            self.decision = await self.limits.enter(self.flow)
        if self.decision is None:
            if self.error is not None:
                raise self.error
            self.decision = await self.limits.enter(self.flow, seconds=TRY_SECONDS)
        match self.decision.capacity:
            case QueueCapacity.TENANT_FULL:
                return TooManyQueued(retry_after_seconds=QUEUED_RETRY_SECONDS)
            case QueueCapacity.QUEUE_FULL:
                return QueueFull(retry_after_seconds=QUEUE_FULL_RETRY_SECONDS)
            case _:
                return None


class Limits:
    """Counts requests and bytes everywhere, through Redis, and a caller's bodies and streams in this process.

    While Redis is away each process counts requests by itself; bytes are not counted.
    """

    def __init__(
        self,
        settings: Settings,
        gate: RequestGate,
        byte_budget: ByteBudget,
        redis_state: RedisState,
        local_rates: LocalRates,
    ) -> None:
        self._settings = settings
        self.gate = gate
        self._byte_budget = byte_budget
        self._redis_state = redis_state
        self._local_rates = local_rates
        self._streams: Counter[Owner] = Counter()
        self._bodies = BodyCounts(settings.caller_max_bodies, BODIES_RETRY_SECONDS)

    @asynccontextmanager
    async def counted(self, identity: Identity) -> AsyncIterator[CountedRequest]:
        """Counts a request before its body is read, also one that is refused later.

        Raises RateLimited, TenantRateLimited.
        """
        settings, flow = self._settings, flow_of(self._settings, identity.owner, identity.tier)
        of_tenant = weighted(settings.tenant_requests_per_minute, flow)
        rates = Rates(settings.caller_requests_per_minute, of_tenant)
        counted = CountedRequest(self, flow, None)
        if not self._redis_state.is_away:
            try:
                counted.decision = await self.enter(flow, rates)
            except QueueUnavailable as error:
                counted.error = error
        if counted.decision is not None:
            waits = counted.decision.caller_wait_seconds, counted.decision.tenant_wait_seconds
        else:
            waits = self._local_rates.spend(flow, rates)
        if waits[0] > 0:
            raise RateLimited(retry_after_seconds=waits[0])
        if waits[1] > 0:
            raise TenantRateLimited(retry_after_seconds=waits[1])
        try:
            yield counted
        finally:
            self.gate.give_back(counted.place)

    async def count(self, identity: Identity) -> None:
        """Counts a request that becomes no run. Raises RateLimited."""
        rates = Rates(self._settings.caller_requests_per_minute)
        if not rates.of_caller:
            return
        flow = flow_of(self._settings, identity.owner, identity.tier)
        wait_seconds = None
        if not self._redis_state.is_away:
            with suppress(QueueUnavailable):
                decision = await self._ask_redis(
                    lambda: self.gate.enter(flow, rates, QueueLimits(0, 0)), COUNT_BRIEFLY_SECONDS
                )
                wait_seconds = decision.caller_wait_seconds
        if wait_seconds is None:
            wait_seconds, _ = self._local_rates.spend(flow, rates)
        if wait_seconds > 0:
            raise RateLimited(retry_after_seconds=wait_seconds)

    async def enter(self, flow: Flow, rates: Rates = Rates(), seconds: float | None = None) -> GateDecision:
        """Takes a place in the queue, where there is room. Raises QueueUnavailable."""
        settings = self._settings
        limits = QueueLimits(settings.queue_max_depth, weighted(settings.tenant_max_queued, flow))
        return await self._ask_redis(lambda: self.gate.enter(flow, rates, limits), seconds or COUNT_SECONDS)

    async def spend_bytes(self, identity: Identity, size: int) -> None:
        """Counts the bytes of a body; not while Redis is away. Raises RateLimited."""
        if size <= SMALL_BODY_BYTES or not self._byte_budget.bytes_per_minute or self._redis_state.is_away:
            return
        with suppress(QueueUnavailable):  # noted, and told in the log
            wait_seconds = await self._ask_redis(
                lambda: self._byte_budget.spend(identity.owner.digest, size), COUNT_SECONDS
            )
            if wait_seconds > 0:
                raise RateLimited(retry_after_seconds=wait_seconds)

    async def _ask_redis(self, call: Callable[[], Awaitable[T]], seconds: float) -> T:
        """The answer of Redis, also over a connection that has died since; not for long.

        A failure is noted; a success is not, because a full Redis answers these calls too: RedisReach finds the end of
        an outage.
        """
        try:
            async with asyncio.timeout(seconds):
                return await retry_briefly(call)
        except TimeoutError as late:
            error = QueueUnavailable()
            self._redis_state.note(error)
            raise error from late
        except QueueUnavailable as error:
            self._redis_state.note(error)
            raise

    def body(self, identity: Identity) -> AbstractContextManager[None]:
        """Counts a body while it is read. Raises TooManyBodies."""
        return self._bodies.take(identity.owner)

    def stream(self, identity: Identity) -> Reservation:
        """Counts a stream; the reservation has to be released. Raises TooManyStreams."""
        owner = identity.owner
        if 0 < self._settings.caller_max_streams <= self._streams[owner]:
            raise TooManyStreams(retry_after_seconds=STREAMS_RETRY_SECONDS)
        return Reservation(self._streams, owner)
