"""What may come at once is let in, whatever the rate and the time of day: sums of times are not exact."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from relaykit.api.limits.byte_budget import ByteBudget
from relaykit.api.limits.local_rates import LocalRates
from relaykit.api.limits.request_gate import BURSTS_PER_MINUTE, QueueLimits, Rates, RequestGate
from relaykit.shared.queue.fair_share import Flow
from relaykit.shared.redis.client import open_redis
from relaykit.testing.limits import Rate

RATES = [*range(1, 60), 77, 113, 599, 1_001, 7_919]
PER_MINUTE = st.integers(1, 10_000)


def at_once(per_minute: int) -> int:
    return max(1, per_minute // BURSTS_PER_MINUTE)


async def test_in_redis_a_burst_of_requests_is_let_in(redis_url: str) -> None:
    async with open_redis(redis_url, connections=1) as redis:
        gate = RequestGate(redis)
        for per_minute in RATES:
            flow = Flow(f"tenant {per_minute}", f"caller {per_minute}")
            for number in range(min(at_once(per_minute), 40)):
                decision = await gate.enter(
                    flow, Rates(per_minute, per_minute), QueueLimits(depth=0, of_tenant=0)
                )
                waits = (decision.caller_wait_seconds, decision.tenant_wait_seconds)
                assert waits == (0, 0), (
                    f"request {number + 1} of {at_once(per_minute)}, {per_minute} a minute"
                )


async def test_in_redis_a_body_that_is_larger_than_a_burst_passes_alone(redis_url: str) -> None:
    async with open_redis(redis_url, connections=1) as redis:
        for per_minute in RATES:
            for size in (at_once(per_minute), per_minute + 1, 8_061, 1_000_003):
                if size >= at_once(per_minute):
                    assert await ByteBudget(redis, per_minute).spend(f"{per_minute} {size}", size) == 0
                    assert await ByteBudget(redis, per_minute).spend(f"{per_minute} {size}", size) > 0


@given(st.floats(0, 1e9), PER_MINUTE)
def test_a_process_by_itself_lets_a_burst_in(now: float, per_minute: int) -> None:
    rates = LocalRates(lambda: now)
    burst = min(at_once(per_minute), 40)
    spent = [rates.spend(Flow("acme", "alice"), Rates(per_minute)) for _ in range(burst)]
    assert spent == [(0, 0)] * burst


@given(st.floats(0, 1e9), PER_MINUTE, st.integers(1, 1_000_000))
def test_the_stand_in_lets_one_of_any_size_in(now_ms: float, per_minute: int, size: int) -> None:
    with patch.object(Rate, "_now", lambda self: now_ms):
        wait_ms, due = Rate().look("alice", per_minute, size)
    assert wait_ms == 0
    assert due >= now_ms
