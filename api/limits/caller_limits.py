"""What one caller may ask of this process, and what the whole of Relaykit takes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog

from relaykit.api.auth.authenticator import Identity
from relaykit.api.limits.byte_budget import ByteBudget
from relaykit.api.limits.request_gate import QueueLimits, RateDecision, Rates, RequestGate, Room
from relaykit.shared.errors import (
    QueueFull,
    QueueUnavailable,
    RateLimited,
    TenantRateLimited,
    TooManyBodies,
    TooManyQueued,
    TooManyStreams,
)
from relaykit.shared.log import failure
from relaykit.shared.owner import Owner
from relaykit.shared.queue.fair_share import Flow, flow_of, weighted
from relaykit.shared.redis.client import retry_briefly
from relaykit.shared.settings import Settings

STREAMS_RETRY_SECONDS = 5.0
QUEUED_RETRY_SECONDS = 10.0
QUEUE_FULL_RETRY_SECONDS = 10.0
BODIES_RETRY_SECONDS = 1.0
COUNT_SECONDS = 6.0
SMALL_BODY_BYTES = 4096
"""A body up to this size costs no bytes, and no round trip: CALLER_REQUESTS_PER_MINUTE bounds the number of them."""

T = TypeVar("T")

log = structlog.get_logger()


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


class BodyPlaces:
    """How many bodies of one caller this process reads at once; 0 is no limit."""

    def __init__(self, most: int, retry_seconds: float) -> None:
        self._most, self._retry_seconds = most, retry_seconds
        self._taken: Counter[Owner] = Counter()

    @contextmanager
    def take(self, owner: Owner) -> Iterator[None]:
        """A place of the caller while the block runs. Raises TooManyBodies."""
        if 0 < self._most <= self._taken[owner]:
            raise TooManyBodies(retry_after_seconds=self._retry_seconds)
        reservation = Reservation(self._taken, owner)
        try:
            yield
        finally:
            reservation.release()


@dataclass(slots=True)
class Counted:
    """A request that was counted, and the place that it has in the queue should it become a run."""

    limits: Limits
    flow: Flow
    decision: RateDecision | None
    """None where Redis was away."""
    error: QueueUnavailable | None = None
    """Why it was."""
    is_queued: bool = False
    """Whether the job of its run has taken the place over."""

    @property
    def place(self) -> str:
        """Empty where there is none to be given back."""
        return "" if self.decision is None or self.is_queued else self.decision.place

    async def queue_refusal(self) -> QueueFull | TooManyQueued | None:
        """Why there was no place in the queue when the request was counted; None where there was one.

        A place that was taken long ago, since the body came slowly, is taken anew. Raises QueueUnavailable where Redis
        was away.
        """
        if self.decision is not None and self.decision.is_stale:
            self.limits.gate.give_back(self.decision.place)
            self.decision = await self.limits.enter(self.flow)
        if self.decision is None:
            raise self.error or QueueUnavailable
        match self.decision.room:
            case Room.TENANT_FULL:
                return TooManyQueued(retry_after_seconds=QUEUED_RETRY_SECONDS)
            case Room.QUEUE_FULL:
                return QueueFull(retry_after_seconds=QUEUE_FULL_RETRY_SECONDS)
            case _:
                return None


class Limits:
    """Counts requests and bytes everywhere, through Redis, and a caller's bodies and streams in this process."""

    def __init__(self, settings: Settings, gate: RequestGate, byte_budget: ByteBudget) -> None:
        self._settings = settings
        self.gate = gate
        self._byte_budget = byte_budget
        self._streams: Counter[Owner] = Counter()
        self._bodies = BodyPlaces(settings.caller_max_bodies, BODIES_RETRY_SECONDS)

    @asynccontextmanager
    async def counted(self, identity: Identity) -> AsyncIterator[Counted]:
        """Counts a request before its body is read, also one that is refused later.

        While Redis is away it is not counted. Raises RateLimited, TenantRateLimited.
        """
        settings, flow = self._settings, flow_of(self._settings, identity.owner, identity.tier)
        of_tenant = weighted(settings.tenant_requests_per_minute, flow)
        counted = Counted(self, flow, None)
        try:
            counted.decision = await self.enter(flow, Rates(settings.caller_requests_per_minute, of_tenant))
        except QueueUnavailable as error:
            counted.error = error
            log.warning(
                "a request could not be counted: it goes on without the limits of rate",
                action="limits_uncounted",
                **failure(error),
            )
        if counted.decision is not None and counted.decision.caller_wait_seconds > 0:
            raise RateLimited(retry_after_seconds=counted.decision.caller_wait_seconds)
        if counted.decision is not None and counted.decision.tenant_wait_seconds > 0:
            raise TenantRateLimited(retry_after_seconds=counted.decision.tenant_wait_seconds)
        try:
            yield counted
        finally:
            self.gate.give_back(counted.place)

    async def enter(self, flow: Flow, rates: Rates = Rates()) -> RateDecision:
        """Takes a place in the queue, where there is room. Raises QueueUnavailable."""
        settings = self._settings
        limits = QueueLimits(settings.queue_max_depth, weighted(settings.tenant_max_queued, flow))
        return await self._asked(lambda: self.gate.enter(flow, rates, limits))

    async def spend_bytes(self, identity: Identity, size: int) -> None:
        """Counts the bytes of a body; not while Redis is away. Raises RateLimited."""
        if size <= SMALL_BODY_BYTES or not self._byte_budget.bytes_per_minute:
            return
        try:
            wait_seconds = await self._asked(lambda: self._byte_budget.spend(identity.owner.digest, size))
        except QueueUnavailable as error:
            log.warning(
                "a body could not be counted: it goes on without the limit of bytes",
                action="limits_uncounted",
                **failure(error),
            )
            return
        if wait_seconds > 0:
            raise RateLimited(retry_after_seconds=wait_seconds)

    async def _asked(self, call: Callable[[], Awaitable[T]]) -> T:
        """The answer of Redis, also over a connection that has died since; not for long."""
        try:
            async with asyncio.timeout(COUNT_SECONDS):
                return await retry_briefly(call)
        except TimeoutError as error:
            raise QueueUnavailable from error

    def body(self, identity: Identity) -> AbstractContextManager[None]:
        """A place for a body that is being read. Raises TooManyBodies."""
        return self._bodies.take(identity.owner)

    def stream(self, identity: Identity) -> Reservation:
        """Takes a place for a stream; the caller of this releases it. Raises TooManyStreams."""
        owner = identity.owner
        if 0 < self._settings.caller_max_streams <= self._streams[owner]:
            raise TooManyStreams(retry_after_seconds=STREAMS_RETRY_SECONDS)
        return Reservation(self._streams, owner)
