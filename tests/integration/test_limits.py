"""What one caller may ask for, and what the whole takes on: each limit with its error, Retry-After, metric."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from relaykit.shared.identity import RequestContext
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from tests.integration.written import Written, written
from tests.support.clients.stream_clients import asking, crowd, following
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.system import Caller, System, create, running

LIMIT = 5


async def state(settings: Settings) -> Written:
    """What is written, but for the counts of the caller's requests and bytes."""
    found = await written(settings.database_url, settings.redis_url)
    counted = {key for key in found.keys if key.startswith((keys.RATE_PREFIX, keys.BYTES_PREFIX))}
    return Written(found.rows, found.keys - counted, found.queued)


async def refused(system: System, code: str) -> float:
    async with httpx2.AsyncClient() as client:
        lines = (await client.get(f"{system.urls[0]}/metrics")).text.splitlines()
    start = f'relaykit_requests_refused_total{{code="{code}"}} '
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def assert_refused(response: httpx2.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert int(response.headers["retry-after"]) >= 1


async def all_at_once(callers: list[Caller], count: int) -> list[httpx2.Response]:
    """So many different messages at the same time, spread over the callers; each answer is left after its status."""

    async def post(number: int) -> httpx2.Response:
        async with callers[number % len(callers)].open_stream(create(str(Script(deltas=number)))) as response:
            if response.status_code != 200:
                await response.aread()
            return response

    return list(await asyncio.gather(*(post(number) for number in range(count))))


async def test_active_runs_of_a_caller_are_limited_exactly(settings: Settings) -> None:
    """40 simultaneous posts to two APIs: as many runs as the caller may have, 429 for the rest, nothing written.

    Somebody else, and the same user of another tenant, is not in the way; a run that ends makes room.
    """
    limited = settings.model_copy(update={"caller_max_runs": LIMIT})
    async with running(limited, ScriptedAnswers, apis=2, workers=0) as system:
        alice = await crowd(system, await system.caller())
        responses = await all_at_once([alice, await crowd(system, alice, api=1)], 40)
        admitted = [response for response in responses if response.status_code == 200]
        assert len(admitted) == LIMIT
        before = await state(settings)
        assert before.rows["runs"][0] == before.rows["threads"][0] == before.rows["items"][0] == LIMIT
        for response in responses:
            if response not in admitted:
                assert_refused(response, 429, "too_many_runs")
        assert await refused(system, "too_many_runs") >= 40 - LIMIT
        for other in (await system.caller("bob"), await system.caller("alice", "acme")):
            async with other.open_stream(create("hello")) as response:
                assert response.status_code == 200
        assert (await alice.cancel(admitted[0].headers["x-run-id"])).status_code == 202
        async with alice.open_stream(create("hello")) as response:
            assert response.status_code == 200


async def test_requests_of_a_caller_are_limited(settings: Settings) -> None:
    """A quarter of a minute's may come at once, counted over both APIs; a refused one writes nothing."""
    limited = settings.model_copy(update={"caller_requests_per_minute": 4 * LIMIT})
    ask: dict[str, Any] = {"type": "threads.list", "params": {"limit": 1}}
    async with running(limited, ScriptedAnswers, apis=2, workers=0) as system:
        alice, elsewhere = await system.caller(), await system.caller(api=1)
        for number in range(LIMIT):
            response = await (alice, elsewhere)[number % 2].post(ask)
            assert response.status_code == 200
        before = await state(settings)
        for caller in (alice, elsewhere):
            assert_refused(await caller.post(ask), 429, "rate_limited")
            assert_refused(await caller.post(create("hello")), 429, "rate_limited")
        assert await state(settings) == before
        assert (await (await system.caller("bob")).post(ask)).status_code == 200
        async with Redis.from_url(settings.redis_url) as redis:
            assert all(b"alice" not in key for key in await redis.keys("*"))


async def test_a_full_queue_takes_nothing_more(settings: Settings) -> None:
    """503 with nothing written; a request that was admitted before still attaches to its run."""
    limited = settings.model_copy(update={"queue_max_depth": LIMIT})
    async with running(limited, ScriptedAnswers, workers=0) as system:
        alice = await system.caller()
        for number in range(LIMIT):
            headers = {"Idempotency-Key": f"k{number}"}
            async with alice.open_stream(create(f"message {number}"), headers) as response:
                run_id = response.headers["x-run-id"]
        before = await state(settings)
        assert_refused(await alice.post(create("one more")), 503, "queue_full")
        assert await state(settings) == before
        async with alice.open_stream(create(f"message {LIMIT - 1}"), headers) as response:
            assert response.headers["x-run-id"] == run_id


async def test_streams_of_a_caller_are_limited(settings: Settings, tmp_path) -> None:
    """A place is taken by each open stream, whether it follows or asks, and is free again when it closes."""
    limited = settings.model_copy(update={"caller_max_streams": 3})
    async with running(limited, ScriptedAnswers) as system, AsyncExitStack() as stack:
        alice = await crowd(system, await system.caller())
        script = Script(gate=str(tmp_path), holds=[2], deltas=4)
        asker = await stack.enter_async_context(asking(alice, create(str(script))))
        await asker.until("two deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 2)
        for _ in range(2):
            follower = await stack.enter_async_context(following(alice, asker.run_id))
            await follower.until("two deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 2)
        before = await state(settings)
        assert_refused(await alice.get(f"/runs/{asker.run_id}/events"), 429, "too_many_streams")
        assert_refused(await alice.post(create("hello")), 429, "too_many_streams")
        assert (await state(settings)).rows == before.rows
        open_gate(tmp_path, 2)
        assert (await asker.finished()).end == "completed"
        assert (await alice.stream(create(str(Script())))).end == "completed"


async def test_a_request_that_fails_gives_its_place_back(settings: Settings) -> None:
    limited = settings.model_copy(update={"caller_max_streams": 1})
    async with running(limited, ScriptedAnswers) as system:
        alice = await system.caller()
        for _ in range(3):
            response = await alice.post(
                {"type": "threads.retry_after_item", "params": {"thread_id": "t", "item_id": "i"}}
            )
            assert response.status_code == 404
            assert (await alice.get("/runs/run_absent/events")).status_code == 404
        assert (await alice.stream(create(str(Script())))).end == "completed"


@pytest.mark.parametrize("text", ["0", "x", "100", "-1", "1.0", ""])
async def test_a_bad_number_of_attempts_is_refused(settings: Settings, text: str) -> None:
    async with running(settings, ScriptedAnswers, workers=0) as system:
        response = await (await system.caller()).post(create("hello"), {"Relaykit-Max-Attempts": text})
        assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
        assert (await state(settings)).rows["runs"][0] == 0


async def test_feedback_on_many_items_reads_none_of_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of ids is a few kilobytes, and what is in the items may be megabytes each."""
    read: list[str] = []

    class Listening(ScriptedAnswers):
        async def add_feedback(
            self, thread_id: str, item_ids: list[str], feedback: str, context: Any
        ) -> None:
            read.append(f"feedback on {len(item_ids)}")

    async def load_item(store: PostgresStore, thread_id: str, item_id: str, context: Any) -> Any:
        read.append(item_id)
        return await loaded(store, thread_id, item_id, context)

    loaded = PostgresStore.load_item
    async with running(settings, Listening, workers=0) as system:
        alice = await system.caller()
        async with alice.open_stream(create("hello")) as response:
            run_id = response.headers["x-run-id"]
        thread_id = (await alice.get(f"/runs/{run_id}")).json()["thread_id"]
        [first] = [item["id"] for item in await alice.items(thread_id)]
        async with Database(settings) as database:
            store, who = PostgresStore(StoreCalls(database)), RequestContext(user_id="alice")
            item = await store.load_item(thread_id, first, who)
            ids = [f"msg_{number}" for number in range(99)]
            for item_id in ids:
                await store.add_thread_item(thread_id, item.model_copy(update={"id": item_id}), who)
        monkeypatch.setattr(PostgresStore, "load_item", load_item)
        params: dict[str, Any] = {
            "thread_id": thread_id,
            "kind": "positive",
            "item_ids": [first, *ids, first][:100],
        }
        await alice.ask({"type": "items.feedback", "params": params})
        assert read == ["feedback on 100"]
        for wrong in ([*ids, "msg_absent"], ["msg_absent"]):
            response = await alice.post({"type": "items.feedback", "params": {**params, "item_ids": wrong}})
            assert (response.status_code, response.json()["error"]["code"]) == (404, "item_not_found")
        assert read == ["feedback on 100"]
