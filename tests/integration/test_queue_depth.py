"""QUEUE_MAX_DEPTH and TENANT_MAX_QUEUED are exact, however many requests come at once and to however many APIs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis

from relaykit.api.limits import request_gate
from relaykit.api.limits.request_gate import QueueLimits, Rates, RequestGate
from relaykit.shared.queue.fair_share import Flow
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import open_redis
from relaykit.shared.settings import Settings
from tests.integration.test_limits import assert_refused
from tests.integration.written import PLACES
from tests.support.clients.http_bytes import RawConnection, connected
from tests.support.clients.stream_clients import crowd
from tests.support.servers.relay_servers import ScriptedAnswers
from tests.support.system import Caller, System, create, keyed, message, running, wait_until

DEPTH = 30
LIST: dict[str, Any] = {"type": "threads.list", "params": {"limit": 1}}


async def post(caller: Caller, number: int) -> int:
    """The status of a message, whose stream is left."""
    async with caller.open_stream(create(f"message {number}"), keyed(number)) as response:
        if response.status_code != 200:
            await response.aread()
            code = response.json()["error"]["code"]
            assert code in ("queue_full", "too_many_queued"), response.text
        return response.status_code


async def post_at_once(callers: Sequence[Caller], count: int) -> list[int]:
    return await asyncio.gather(*(post(callers[number % len(callers)], number) for number in range(count)))


async def due(settings: Settings) -> int:
    async with Redis.from_url(settings.redis_url) as redis:
        return int(await redis.zcard(keys.QUEUE))


async def places(settings: Settings) -> int:
    async with Redis.from_url(settings.redis_url) as redis:
        return int(await redis.zcard(PLACES))


@pytest.mark.parametrize(("apis", "count"), [(1, 46), (2, 200)])
async def test_of_many_at_once_the_queue_takes_as_many_as_it_may_hold(
    settings: Settings, apis: int, count: int
) -> None:
    limited = settings.model_copy(update={"queue_max_depth": DEPTH})
    async with running(limited, ScriptedAnswers, apis=apis, workers=0) as system:
        alice = await system.caller()
        callers = [await crowd(system, alice, api=api) for api in range(apis)]
        statuses = await post_at_once(callers, count)
        assert sorted(statuses) == [200] * DEPTH + [503] * (count - DEPTH)
        assert await due(settings) == DEPTH
        assert await places(settings) == 0


async def test_what_is_queued_counts_with_what_comes_at_once(settings: Settings) -> None:
    """Twice: as many more are let in as have left the queue."""
    limited = settings.model_copy(update={"queue_max_depth": DEPTH})
    async with running(limited, ScriptedAnswers, apis=2, workers=0) as system:
        alice = await system.caller()
        callers = [await crowd(system, alice, api=api) for api in range(2)]
        async with alice.open_stream(create("first"), keyed("first")) as response:
            run_id = response.headers["x-run-id"]
        assert (await post_at_once(callers, 46)).count(200) == DEPTH - 1
        assert (await alice.cancel(run_id)).status_code == 202
        assert (await asyncio.gather(*(post(callers[n % 2], 100 + n) for n in range(20)))).count(200) == 1
        assert await due(settings) == DEPTH


async def test_callers_who_come_at_once_get_what_they_would_get_one_after_the_other(
    settings: Settings,
) -> None:
    """Each gets half of the depth, and who was sooner what was free before it was reached; then neither gets more.

    A third one, who has nothing in the queue, is let in.
    """
    limited = settings.model_copy(update={"queue_max_depth": DEPTH})
    async with running(limited, ScriptedAnswers, apis=2, workers=0) as system:
        crowds = [
            await crowd(system, await system.caller(name), api=n) for n, name in enumerate(["al", "bo"])
        ]
        statuses = await post_at_once(crowds, 120)
        counts = [statuses[n::2].count(200) for n in range(2)]
        assert min(counts) == DEPTH // 2, counts
        assert max(counts) < DEPTH, counts
        assert await due(settings) == sum(counts)
        assert await post(await system.caller("carol"), 0) == 200
        for caller in crowds:
            assert await post(caller, 200) == 503


async def test_the_queued_runs_of_a_tenant_are_limited_exactly(settings: Settings) -> None:
    limited = settings.model_copy(update={"tenant_max_queued": 7})
    async with running(limited, ScriptedAnswers, apis=2, workers=0) as system:
        callers = [
            await crowd(system, await system.caller(name, "acme"), api=n)
            for n, name in enumerate(["al", "bo"])
        ]
        statuses = await post_at_once(callers, 40)
        assert sorted(statuses) == [200] * 7 + [429] * 33
        assert await post(await system.caller("carol", "bolt"), 0) == 200


async def test_what_becomes_no_run_takes_no_place_for_long(settings: Settings) -> None:
    """Lists, what is refused, what attaches to a run that is there, and what waits behind a run of its thread."""
    limited = settings.model_copy(update={"queue_max_depth": 3})
    async with running(limited, ScriptedAnswers, apis=2, workers=0) as system:
        alice, elsewhere = await system.caller(), await system.caller(api=1)
        async with alice.open_stream(create("hello"), keyed("k")) as response:
            run_id = response.headers["x-run-id"]
        thread_id = (await alice.get(f"/runs/{run_id}")).json()["thread_id"]
        for number in range(5):
            assert (await alice.post(LIST)).status_code == 200
            assert (await alice.post(b"{")).status_code == 400
            assert (await alice.post(message("thr_none", "hello"))).status_code == 404
            async with alice.open_stream(create("hello"), keyed("k")) as response:
                assert response.headers["x-run-id"] == run_id
            async with alice.open_stream(message(thread_id, f"{number}"), keyed(number)) as response:
                assert response.status_code == 200
        for number in (10, 11):
            assert await post(alice, number) == 200
        assert_refused(await alice.post(create("one more"), keyed("more")), 503, "queue_full")

        async def all_are_given_back() -> bool:
            return await places(settings) == 0

        await wait_until("the other API sees the same", all_are_given_back)
        assert_refused(await elsewhere.post(create("one more"), keyed("more")), 503, "queue_full")


async def half_sent(stack: AsyncExitStack, system: System, caller: Caller, body: bytes) -> RawConnection:
    """A POST of which all but the last byte has come."""
    head = f"POST /chatkit HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {caller.token}\r\n"
    data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1]
    return await stack.enter_async_context(connected(system.urls[0], data))


@pytest.mark.parametrize("lapse_ms", [60_000, 200])
async def test_a_place_is_held_for_a_body_that_comes_slowly_and_taken_anew_where_it_has_lapsed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, lapse_ms: int
) -> None:
    """So that slow bodies cannot bring more runs into the queue than it may hold, and hold it up no longer."""
    monkeypatch.setattr(request_gate, "PLACE_MS", lapse_ms)
    limited = settings.model_copy(update={"queue_max_depth": 2})
    bodies = [json.dumps(create(f"slow {number}")).encode() for number in range(4)]
    async with running(limited, ScriptedAnswers, workers=0) as system, AsyncExitStack() as stack:
        alice = await system.caller()
        slow = [await half_sent(stack, system, alice, body) for body in bodies[:2]]

        async def held(count: int) -> None:
            async def is_so() -> bool:
                return await places(settings) == count

            await wait_until(f"{count} places are held", is_so)

        if lapse_ms > 1000:
            await held(2)
            assert await post(alice, 0) == 503
            statuses = [200, 200]
        else:
            await asyncio.sleep(3 * lapse_ms / 1000)
            assert [await post(alice, number) for number in range(2)] == [200, 200]
            statuses = [503, 503]
        for connection, body, status in zip(slow, bodies, statuses, strict=False):
            await connection.send(body[-1:])
            head = await connection.reader.readuntil(b"\r\n\r\n")
            assert int(head.split(b" ")[1]) == status
        assert await due(settings) == 2
        assert await post(alice, 9) == 503


async def test_a_request_that_takes_no_place_leaves_those_that_are_to_be_given_back(redis_url: str) -> None:
    """The console's requests are counted between those of the chat."""
    flow, rates, limits = Flow("acme", "alice"), Rates(of_caller=600), QueueLimits(DEPTH, 0)
    async with open_redis(redis_url, connections=1) as redis:
        gate = RequestGate(redis)
        gate.give_back((await gate.enter(flow, rates, limits)).place)
        assert (await gate.enter(flow, rates, QueueLimits(0, 0))).place == ""
        last = await gate.enter(flow, rates, limits)
        assert await redis.zrange(PLACES, 0, -1) == [last.place.encode()]
