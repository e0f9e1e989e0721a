"""The same body posted again: by a thousand at once with a key, and by the stock widget, which has none."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from relaykit.api.admission.admission_queue import AdmissionQueue
from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from tests.integration.test_limits import state
from tests.support.clients.stream_clients import body, crowd
from tests.support.servers.relay_servers import Script, ScriptedAnswers
from tests.support.servers.user_servers import NotebookServer
from tests.support.system import System, create, message, running, wait_until

POSTS = 1000


@pytest.fixture
async def system(settings: Settings) -> AsyncIterator[System]:
    async with running(settings, ScriptedAnswers, apis=2) as system:
        yield system


async def test_a_thousand_posts_at_once_make_one_run(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one key, over two APIs: every one of them gets the whole answer of the same run.

    Clients, APIs and worker share this event loop, where a thousand wait longer for each other than a host lets them.
    """
    monkeypatch.setattr("relaykit.api.limits.caller_limits.COUNT_SECONDS", 300)
    monkeypatch.setattr("relaykit.shared.redis.client.REPLY_TIMEOUT_SECONDS", 300)
    monkeypatch.setattr("relaykit.api.relay.hub.SUBSCRIBE_SECONDS", 300)
    alice = await crowd(system, await system.caller())
    callers = [alice, await crowd(system, alice, api=1)]
    request = create(str(Script(deltas=3)))

    async def post(number: int) -> httpx2.Response:
        async with asyncio.timeout(300):
            return await callers[number % 2].client.post(
                "/chatkit",
                json=request,
                headers={**alice._headers, "Idempotency-Key": "k1"},
                timeout=httpx2.Timeout(300),
            )

    responses = await asyncio.gather(*(post(number) for number in range(POSTS)))
    assert Counter(response.status_code for response in responses) == {200: POSTS}
    assert len({response.headers["x-run-id"] for response in responses}) == 1
    assert len({body(response.content) for response in responses}) == 1
    found = await state(settings)
    assert {table: found.rows[table][0] for table in ("runs", "threads", "items")} == {
        "runs": 1,
        "threads": 1,
        "items": 2,
    }


async def test_a_post_that_failed_after_the_commit_attaches_when_it_comes_again(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key, as the stock widget posts again: one run, and the stream from its first entry."""
    monkeypatch.setattr("relaykit.worker.reaper.reaper.ROUND_INTERVAL_SECONDS", 0.2)
    admit = AdmissionQueue.publish_admitted
    failed = []

    async def fails_once(queue: AdmissionQueue, first_entries: Any, run_id: str, *more: Any) -> None:
        if not failed:
            failed.append(run_id)
            raise RuntimeError("the process is going down")
        await admit(queue, first_entries, run_id, *more)

    monkeypatch.setattr(AdmissionQueue, "publish_admitted", fails_once)
    alice, elsewhere = await system.caller(), await system.caller(api=1)
    request = create(str(Script()))
    assert (await alice.post(request)).status_code == 500
    answer = await elsewhere.stream(request)
    assert failed == [answer.run_id]
    assert (answer.frames[0][0], answer.events[0]["type"], answer.end) == (
        "0-1",
        "thread.created",
        "completed",
    )
    assert (await state(settings)).rows["runs"][0] == 1
    assert len(await alice.items(answer.thread_id)) == 2


async def test_the_same_words_again_are_another_message(system: System) -> None:
    """As soon as the client has had something of the first."""
    alice = await system.caller()
    first = await alice.stream(create(str(Script())))
    yes = message(first.thread_id, "yes")
    answers = [await alice.stream(yes) for _ in range(3)]
    assert len({answer.run_id for answer in answers}) == 3
    assert len([item for item in await alice.items(first.thread_id) if item["type"] == "user_message"]) == 4


async def test_the_same_words_again_are_another_message_though_nobody_has_answered_yet(
    settings: Settings,
) -> None:
    """What admission wrote is something."""
    async with (
        running(settings, ScriptedAnswers, workers=0) as system,
        Redis.from_url(settings.redis_url) as redis,
    ):
        alice = await system.caller()
        runs = []
        for _ in range(2):
            async with alice.open_stream(create("yes")) as response:
                runs.append(response.headers["x-run-id"])
                assert b"thread.created" in await anext(response.aiter_raw())
                await wait_until("it is noted", lambda: redis.exists(keys.received(runs[-1])))
        assert len(set(runs)) == 2


async def test_the_same_words_of_somebody_else_are_their_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has received anything yet: only the caller's own repetition attaches, and only of the same body."""

    async def never(*_: Any) -> None:
        return None

    monkeypatch.setattr("relaykit.api.receipts.Receipts.note_received", never)
    async with running(settings, ScriptedAnswers) as system:
        runs = set()
        for caller in (
            await system.caller("alice"),
            await system.caller("bob"),
            await system.caller("alice", "acme"),
        ):
            for text in ("hello", "hello ", "hello"):
                runs.add((await caller.stream(create(text))).run_id)
        assert len(runs) == 6


async def test_a_repetition_does_not_attach_to_what_a_key_made(system: System) -> None:
    alice = await system.caller()
    request = create(str(Script()))
    first = await alice.stream(request, {"Idempotency-Key": "k1"})
    assert (await alice.stream(request)).run_id != first.run_id


async def test_a_repetition_after_the_journal_is_gone_is_told_where_to_look(
    system: System, redis_url: str
) -> None:
    """410 with the ids of the run and its thread: a client that created the thread may not know it."""
    alice = await system.caller()
    request = create(str(Script()))
    first = await alice.stream(request, {"Idempotency-Key": "k1"})
    async with Redis.from_url(redis_url) as redis:
        await redis.delete(keys.journal(first.run_id))
    again = await alice.post(request, {"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()["error"]["code"]) == (410, "journal_gone")
    assert again.headers["x-run-id"] == first.run_id
    assert again.json()["error"]["thread_id"] == first.thread_id


async def test_a_store_of_the_site_s_own_gets_one_thread_of_fifty_posts(
    settings: Settings, tmp_path: Path
) -> None:
    """It takes nothing back, so only one of the posts may write to it."""
    notebook = str(tmp_path / "notebook.db")
    own = settings.model_copy(update={"chatkit_store": "own"})
    async with running(own, lambda: NotebookServer(notebook), apis=2) as system:
        alice = await crowd(system, await system.caller())
        callers = [alice, await crowd(system, alice, api=1)]
        keyed = {"Idempotency-Key": "k1"}
        answers = await asyncio.gather(*(callers[n % 2].stream(create("hello"), keyed) for n in range(50)))
        assert len({answer.run_id for answer in answers}) == 1
        threads = await alice.ask({"type": "threads.list", "params": {"limit": 100}})
        assert len(threads["data"]) == 1


async def test_a_repetition_that_was_answered_is_the_last_that_attaches(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run had ended before the post came again: from then on the same words are another message."""
    monkeypatch.setattr("relaykit.worker.reaper.reaper.ROUND_INTERVAL_SECONDS", 0.2)
    alice = await system.caller()
    first = await alice.stream(create(str(Script())))
    yes = message(first.thread_id, "yes")
    with monkeypatch.context() as patch:
        admit = AdmissionQueue.publish_admitted
        failures = iter([RuntimeError("the process is going down")])

        async def fails_once(queue: AdmissionQueue, *arguments: Any) -> None:
            if (error := next(failures, None)) is not None:
                raise error
            await admit(queue, *arguments)

        patch.setattr(AdmissionQueue, "publish_admitted", fails_once)
        assert (await alice.post(yes)).status_code == 500

        async def answered() -> bool:
            return len(await alice.items(first.thread_id)) == 4

        await wait_until("the run that nobody follows has ended", answered)
    runs = [(await alice.stream(yes)).run_id for _ in range(3)]
    assert len(set(runs)) == 3
    assert len([item for item in await alice.items(first.thread_id) if item["type"] == "user_message"]) == 4


async def test_the_same_words_after_redis_was_emptied_are_another_message(
    system: System, redis_url: str
) -> None:
    """Nothing is left that says whether the first were received, nor anything to attach to."""
    alice = await system.caller()
    request = create(str(Script()))
    first = await alice.stream(request)
    async with Redis.from_url(redis_url) as redis:
        await redis.flushdb()
    assert (await alice.stream(request)).run_id != first.run_id
