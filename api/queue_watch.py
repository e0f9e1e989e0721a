"""What queue and workers are like, for metrics, for /readyz and for a line in the log: asked by one API for all."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import asdict

import structlog

from relaykit.api import metrics
from relaykit.api.redis_reach import RedisReach
from relaykit.shared.errors import DatabaseUnavailable, QueueUnavailable
from relaykit.shared.log import failure
from relaykit.shared.operating.queue_figures import QueueFigures, QueueState
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, names_of, redis_errors
from relaykit.shared.settings import Settings

LOOK_SECONDS = 5.0
"""How often an API looks at what was found, and how often one of them asks."""
ASKING_SECONDS = 0.9 * LOOK_SECONDS
"""How long an API is the one that asks: a little less than its own next look takes to come."""
KEPT_SECONDS = 12
"""How long a state is served. After that there is none, because no API could ask."""
MOST = 2.0**53
"""No figure is larger: what stands in Redis and says so was not written by an API."""
WARN_EVERY_SECONDS = 60.0
"""How often one API logs that runs wait for a worker, as long as they do."""

log = structlog.get_logger()


class QueueWatch:
    """Looks every few seconds; `state` is what was found last, and None where it could not be asked for a while."""

    def __init__(self, settings: Settings, redis: Redis, figures: QueueFigures, reach: RedisReach) -> None:
        self._settings = settings
        self._redis = redis
        self._named = names_of(redis)
        self._figures = figures
        self._reach = reach
        self._warned_at = -math.inf
        self.state: QueueState | None = None

    async def run(self) -> None:
        """Looks until cancelled; an outage is waited out."""
        while True:
            try:
                self._note(await self._look())
            except (QueueUnavailable, DatabaseUnavailable) as error:
                self._note(None)
                log.debug(
                    "queue and workers could not be looked at: it is tried again",
                    action="queue_watch",
                    **failure(error),
                )
            except Exception as error:  # it only informs: no stream ends for it
                self._note(None)
                log.error(  # noqa: TRY400
                    "a defect in the watch of the queue: its figures are missing, and it is tried again",
                    action="queue_watch_failed",
                    **failure(error),
                )
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> QueueState | None:
        """What another API has found, or what is found now, where this one may ask."""
        with redis_errors():
            asking_ms = int(ASKING_SECONDS * 1000)
            may_ask = await self._redis.set(self._named(keys.QUEUE_STATE_ASKING), "1", px=asking_ms, nx=True)
            if not may_ask:
                return _parsed(await self._redis.get(self._named(keys.QUEUE_STATE)))
        state = await self._figures.ask()
        with redis_errors():
            said = json.dumps(asdict(state), separators=(",", ":"))
            await self._redis.set(self._named(keys.QUEUE_STATE), said, ex=KEPT_SECONDS)
        await self._tell_reached()
        if state.oldest_due_seconds >= self._settings.pickup_warn_seconds > 0:
            self._warn(state)
        return state

    async def _tell_reached(self) -> None:
        """To the APIs that do not reach Redis. Where PostgreSQL takes no writes the figures are told all the same."""
        try:
            await self._reach.tell()
        except DatabaseUnavailable as error:
            log.debug(
                "that Redis is reached could not be written: it is tried again",
                action="redis_reached",
                **failure(error),
            )

    def _note(self, state: QueueState | None) -> None:
        self.state = state
        metrics.note_queue(None if state is None else asdict(state))

    def _warn(self, state: QueueState) -> None:
        now = time.monotonic()
        if now - self._warned_at < WARN_EVERY_SECONDS:
            return
        self._warned_at = now
        log.warning(
            "a due run has waited long for a worker: it starts when one claims it",
            action="pickup_late",
            reason=_reason(state),
            due=state.due,
            seconds=state.oldest_due_seconds,
            workers=state.claiming,
            slots=state.slots,
            used=state.used,
        )


def _reason(state: QueueState) -> str:
    if state.claiming == 0:
        return "no_worker"
    return "no_slot" if state.used >= state.slots else "not_claimed"


def _parsed(text: bytes | None) -> QueueState | None:
    """None where it is not what this release writes."""
    if text is None:
        return None
    try:
        said = json.loads(text)
        numbers = {name: float(said[name]) for name in QueueState.__slots__}
        if not all(0 <= number <= MOST for number in numbers.values()):
            return None
        oldest_due_seconds = numbers.pop("oldest_due_seconds")
        return QueueState(
            oldest_due_seconds=oldest_due_seconds, **{name: int(number) for name, number in numbers.items()}
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
