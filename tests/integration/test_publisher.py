"""The publisher on a real Redis that is slow, gone or full: what the agent says is in the journal once and in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio
from chatkit.types import (
    AssistantMessageContentPartTextDelta,
    ProgressUpdateEvent,
    ThreadItemUpdatedEvent,
    ThreadStreamEvent,
)
from redis.asyncio import Redis

from relaykit.shared.errors import Fenced
from relaykit.shared.journal import Batch, Cursor, Entry, Field, Journals, JournalTtl, decode_notice, entries
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import open_redis
from relaykit.shared.runs.run import Status
from relaykit.worker.publishing.journal_writer import MAX_PENDING, MAX_PENDING_BYTES, JournalWriter
from relaykit.worker.publishing.publisher import Publisher
from tests.support.clients.stream_clients import asking, body, crowd
from tests.support.journals import TTL
from tests.support.servers.relay_servers import Script, ScriptedAnswers
from tests.support.services.redis_clients import connections, kill
from tests.support.system import WAIT_SECONDS, create, free_port, make_settings, running, wait_until

RUN = "run_published"


def serialize(event: ThreadStreamEvent) -> bytes:
    return event.model_dump_json(exclude_none=True).encode()


def delta(text: str, *, item: str = "msg_1", part: int = 0) -> ThreadItemUpdatedEvent:
    update = AssistantMessageContentPartTextDelta(content_index=part, delta=text)
    return ThreadItemUpdatedEvent(item_id=item, update=update)


def progress(text: str) -> ProgressUpdateEvent:
    return ProgressUpdateEvent(text=text)


@dataclass
class Desk:
    """A publisher at work, and a look at what it has published."""

    publisher: Publisher
    redis: Redis
    """The publisher's."""
    observer: Redis
    settings: Any
    started_at: datetime = field(default_factory=datetime.now)

    def open(self, attempt: int = 1) -> JournalWriter:
        return self.publisher.open(RUN, attempt, serialize)

    async def journal(self) -> list[Entry]:
        return entries(await self.observer.xrange(keys.journal(RUN)))

    async def published(self) -> list[str]:
        """The text of each delta or progress, in the journal's order."""
        texts = []
        for entry in await self.journal():
            if entry.field is Field.EVENT:
                event = json.loads(entry.payload)
                texts.append(event["text"] if "text" in event else event["update"]["delta"])
        return texts

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Redis takes no write until the end of the block."""
        await self.observer.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
        try:
            yield
        finally:
            await self.observer.execute_command("CLIENT", "UNPAUSE")


@asynccontextmanager
async def desk_at(redis_url: str, issuer_key_file: Any, **changes: Any) -> AsyncIterator[Desk]:
    settings = make_settings(redis_url, "postgresql://unused", issuer_key_file, free_port(), **changes)
    async with (
        open_redis(redis_url, connections=2) as redis,
        Redis.from_url(redis_url, single_connection_client=True) as observer,
    ):
        publisher = Publisher(redis, Journals(redis, JournalTtl.of(settings)), settings)
        loop = asyncio.create_task(publisher.run())
        try:
            yield Desk(publisher, redis, observer, settings)
            assert not loop.done(), loop.exception()
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)


@pytest_asyncio.fixture
async def desk(redis_url, issuer_key_file) -> AsyncIterator[Desk]:
    async with desk_at(redis_url, issuer_key_file) as made:
        yield made


def contiguous(found: list[Entry]) -> bool:
    return [entry.cursor.seq for entry in found] == list(
        range(found[0].cursor.seq, found[0].cursor.seq + len(found))
    )


async def test_what_comes_while_a_flush_is_in_flight_goes_with_the_next_merged(desk):
    """The first delta is on its way; those behind it become one for each stretch of the same item and part."""
    journal = desk.open()
    async with desk.paused():
        journal.put(delta("first "))
        await wait_until("the first is in flight", lambda: journal._in_flight is not None)
        for event in [
            *(delta(f"a{number} ") for number in range(3)),
            *(delta(f"b{number} ", part=1) for number in range(2)),
            delta("c0 "),
            progress("working"),
            delta("d0 "),
            delta("d1 "),
            *(delta(f"e{number} ", item="msg_2") for number in range(2)),
        ]:
            journal.put(event)
    await journal.flush()
    assert await desk.published() == [
        "first ",
        "a0 a1 a2 ",
        "b0 b1 ",
        "c0 ",
        "working",
        "d0 d1 ",
        "e0 e1 ",
    ]
    assert [str(entry.cursor) for entry in await desk.journal()] == [f"1-{seq}" for seq in range(1, 8)]


async def test_an_event_that_meets_an_idle_publisher_is_published_by_itself(desk):
    """No linger: what is put when nothing is in flight does not wait for company."""
    journal = desk.open()
    for number in range(10):
        journal.put(delta(f"{number} "))
        await journal.flush()
    assert await desk.published() == [f"{number} " for number in range(10)]


async def test_an_item_is_published_as_it_was_when_it_was_put(desk):
    """A server may go on changing an object that it has handed out."""
    journal = desk.open()
    event = progress("as it was")
    async with desk.paused():
        journal.put(progress("first"))
        await wait_until("the first is in flight", lambda: journal._in_flight is not None)
        journal.put(event)
        event.text = "changed later"
    await journal.flush()
    assert await desk.published() == ["first", "as it was"]


async def test_a_redis_that_takes_nothing_holds_the_agent_and_loses_nothing(desk):
    """Pending is bounded, the agent waits; once Redis is back all of it is there in order."""
    journal = desk.open()
    put: list[str] = []

    async def agent() -> None:
        for number in range(5 * MAX_PENDING):
            await journal.wait_for_capacity()
            put.append(f"{number}")
            journal.put(progress(put[-1]))

    async with desk.paused():
        talking = asyncio.create_task(agent())
        await wait_until("the agent is held", lambda: len(put) > MAX_PENDING)
        before = len(put)
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert len(put) == before
            assert len(journal._pending) <= MAX_PENDING + 1
    await talking
    await journal.flush()
    assert await desk.published() == put == [f"{number}" for number in range(5 * MAX_PENDING)]


async def test_deltas_that_merge_are_held_by_their_size(desk):
    """A single merged delta that grows is one entry, and bounded all the same."""
    journal = desk.open()
    said = 0
    piece = "x" * 10_000

    async def agent() -> None:
        nonlocal said
        for _ in range(300):
            await journal.wait_for_capacity()
            journal.put(delta(piece))
            said += len(piece)

    async with desk.paused():
        talking = asyncio.create_task(agent())
        await wait_until("the agent is held", lambda: said > MAX_PENDING_BYTES)
        await asyncio.sleep(0.1)
        assert journal._pending.size <= MAX_PENDING_BYTES + 2 * len(piece)
        assert said < 2 * MAX_PENDING_BYTES
    await talking
    await journal.flush()
    assert "".join(await desk.published()) == piece * 300


async def test_a_batch_that_is_sent_again_is_in_the_journal_once(desk):
    """Its connection is killed again and again while a flush may be under way."""
    journal = desk.open()
    put = killed = 0

    async def agent() -> None:
        nonlocal put
        while put < 400 or killed <= 3:
            await journal.wait_for_capacity()
            journal.put(progress(f"{put}"))
            put += 1
            await asyncio.sleep(0.002)

    talking = asyncio.create_task(agent())
    while not talking.done():
        killed += await kill(desk.observer, await connections(desk.observer))
        await asyncio.sleep(0.004)
    await talking
    await journal.flush()
    assert await desk.published() == [f"{number}" for number in range(put)]
    assert contiguous(await desk.journal())


async def test_a_reply_that_is_lost_costs_nothing(desk):
    """Redis has taken the batch, its answer never comes: the resent batch is known already."""
    journal = desk.open()
    journal.put(progress("first"))
    await journal.flush()
    async with desk.paused():
        journal.put(progress("second"))
        await wait_until("the second is in flight", lambda: journal._in_flight is not None)
        batch = journal._in_flight
        blocked = [one for one in await connections(desk.observer) if "b" in one["flags"]]
        assert await kill(desk.observer, blocked) == len(blocked) == 1
    await Journals(desk.observer, TTL).append(batch)  # as if it had got through before its connection died
    await journal.flush()
    journal.put(progress("third"))
    await journal.flush()
    assert await desk.published() == ["first", "second", "third"]
    assert contiguous(await desk.journal())


async def test_a_redis_that_forgot_the_script_is_taught_it_again(desk):
    journal = desk.open()
    for number in range(3):
        await desk.observer.script_flush()
        journal.put(progress(f"{number}"))
        await journal.flush()
    assert await desk.published() == ["0", "1", "2"]


async def test_a_redis_that_is_full_for_a_while_loses_nothing(desk):
    """Every write is refused with OOM; when there is room again, all of it comes."""
    journal = desk.open()
    journal.put(progress("before"))
    await journal.flush()
    maximum = (await desk.observer.config_get("maxmemory"))["maxmemory"]
    await desk.observer.config_set("maxmemory", 1)
    try:
        for number in range(5):
            journal.put(progress(f"{number}"))
            await asyncio.sleep(0.02)
        assert await desk.published() == ["before"]
    finally:
        await desk.observer.config_set("maxmemory", maximum)
    await journal.flush()
    assert await desk.published() == ["before", *(f"{number}" for number in range(5))]


async def test_an_attempt_that_a_newer_one_has_fenced_publishes_nothing_more(desk):
    """It is told at its next flush, and waits for nothing. The journal was lost before: it begins with admission's."""

    async def admission() -> list[bytes]:
        return [serialize(progress("admitted"))]

    stale, fresh = desk.open(1), desk.open(2)
    await stale.start_attempt(admission)
    stale.put(progress("stale"))
    await stale.flush()
    await fresh.start_attempt(admission)
    stale.put(progress("too late"))
    with pytest.raises(Fenced):
        await stale.flush()
    assert stale.refused.done()
    for number in range(2 * MAX_PENDING):
        stale.put(progress(f"{number}"))
    with pytest.raises(Fenced):
        await stale.wait_for_capacity()
    fresh.put(progress("fresh"))
    fresh.end(Status.COMPLETED.value)
    await fresh.flush()
    assert await desk.published() == ["admitted", "stale", "fresh"]
    assert [str(entry.cursor) for entry in await desk.journal()] == ["0-1", "1-1", "1-2", "2-1", "2-2", "2-3"]


async def test_nothing_follows_the_end(desk):
    """Whoever has written it: this attempt, or another side for it."""
    journal = desk.open()
    journal.put(progress("all"))
    await journal.flush()
    await Journals(desk.observer, TTL).end(RUN, 1, Status.CANCELLED)
    journal.put(progress("too late"))
    with pytest.raises(Fenced):
        await journal.flush()
    assert [entry.field for entry in await desk.journal()] == [Field.EVENT, Field.END]
    assert 0 < await desk.observer.ttl(keys.journal(RUN)) <= 30


async def test_an_end_that_is_written_twice_is_there_once(desk):
    """By the attempt, and by whoever finds the row ended."""
    journal = desk.open()
    journal.put(progress("all"))
    journal.end(Status.COMPLETED.value)
    await journal.flush()
    again = await Journals(desk.observer, TTL).end(RUN, 1, Status.COMPLETED)
    assert (again.outcome, again.last) == ("ended", Cursor(1, 2))
    assert len(await desk.journal()) == 2


async def test_a_journal_is_bounded_in_entries_and_in_bytes(redis_url, issuer_key_file):
    """JOURNAL_MAX_ENTRIES and JOURNAL_MAX_BYTES: the oldest batches go, what is left has no hole."""
    async with desk_at(redis_url, issuer_key_file, journal_max_entries=100) as desk:
        journal = desk.open()
        for number in range(1000):
            journal.put(progress(f"{number}"))
            if number % 20 == 19:
                await journal.flush()
        found = await desk.journal()
        assert 80 <= len(found) <= 100
        assert contiguous(found)
        assert found[-1].cursor == Cursor(1, 1000)
        assert (await desk.published())[-1] == "999"
    async with desk_at(redis_url, issuer_key_file, journal_max_bytes=64 * 1024) as desk:
        journal = desk.open(2)
        for _ in range(100):
            journal.put(progress("x" * 4000))
            await journal.flush()
        found = await desk.journal()
        assert 50_000 < sum(len(entry.payload) for entry in found) <= 64 * 1024
        assert contiguous(found)
        assert found[-1].cursor == Cursor(2, 100)


async def test_one_run_that_redis_refuses_does_not_hold_up_the_others(desk):
    """Something else stands under its key: it is tried again, the others' entries go through."""
    await desk.observer.set(keys.journal("run_refused"), "not a stream", ex=60)
    refused = desk.publisher.open("run_refused", 1, serialize)
    refused.put(progress("held"))
    journal = desk.open()
    for number in range(5):
        journal.put(progress(f"{number}"))
        async with asyncio.timeout(WAIT_SECONDS):
            await journal.flush()
    assert await desk.published() == [f"{number}" for number in range(5)]
    await desk.observer.delete(keys.journal("run_refused"))
    async with asyncio.timeout(WAIT_SECONDS):
        await refused.flush()
    (entry,) = entries(await desk.observer.xrange(keys.journal("run_refused")))
    assert json.loads(entry.payload)["text"] == "held"


async def test_every_append_is_told_on_the_runs_channel(desk):
    """With what was appended, as long as that is short: a reader whose last entry it follows need not read."""
    async with desk.observer.client() as listener, listener.pubsub() as pubsub:
        await pubsub.subscribe(keys.notices(RUN))
        journal = desk.open()
        journal.put(progress("one"))
        await journal.flush()
        async with asyncio.timeout(WAIT_SECONDS):
            while (message := await pubsub.get_message(ignore_subscribe_messages=True, timeout=1)) is None:
                pass
        [entry] = decode_notice(message["data"])
        assert [entry] == await desk.journal()
        journal.put(progress("x" * 70_000))
        await journal.flush()
        async with asyncio.timeout(WAIT_SECONDS):
            while (message := await pubsub.get_message(ignore_subscribe_messages=True, timeout=1)) is None:
                pass
        assert message["data"] == b""


async def test_a_batch_with_known_and_new_entries_appends_the_new_ones(desk):
    """What a resent batch shares with the journal is skipped, whatever else is in it."""
    journals = Journals(desk.observer, TTL)

    def batch(first: int, *payloads: bytes) -> Batch:
        numbered = [(Field.EVENT, payload) for payload in payloads]
        return Batch(run_id=RUN, attempt=1, first_seq=first, entries=numbered)

    assert (await journals.append(batch(1, b"1", b"2"))).last == Cursor(1, 2)
    assert (await journals.append(batch(1, b"1", b"2"))).last == Cursor(1, 2)
    assert (await journals.append(batch(2, b"2", b"3", b"4"))).last == Cursor(1, 4)
    assert [entry.payload for entry in await desk.journal()] == [b"1", b"2", b"3", b"4"]
    assert 0 < await desk.observer.ttl(keys.journal(RUN)) <= 60


async def test_a_run_outlives_a_redis_that_pauses(settings):
    """Redis takes no write for a second in mid-answer, less than the lease: the answer is whole, in one attempt."""
    script = Script(deltas=200, every_seconds=0.005)
    async with running(settings, ScriptedAnswers) as system, Redis.from_url(settings.redis_url) as redis:
        alice = await crowd(system, await system.caller())
        async with asking(alice, create(str(script))) as asker:
            await asker.until("the middle", lambda answer: len(answer.of_type("thread.item.updated")) > 20)
            await redis.execute_command("CLIENT", "PAUSE", "1000", "WRITE")
            answer = await asker.finished()
        assert answer.end == "completed"
        deltas = [event["update"]["delta"] for event in answer.of_type("thread.item.updated")]
        assert deltas == [script.piece(1, number) for number in range(200)]
        assert body(answer.raw) == body((await alice.resume(answer.run_id, None)).raw)


async def test_a_run_that_says_more_than_its_journal_holds_is_whole_live_and_gone_before_the_cut(settings):
    """JOURNAL_MAX_ENTRIES=100: who follows gets all of it, who comes late is told to load the thread."""
    script = Script(deltas=600, every_seconds=0.001)
    few = settings.model_copy(update={"journal_max_entries": 100})
    async with running(few, ScriptedAnswers) as system, Redis.from_url(settings.redis_url) as redis:
        alice = await system.caller()
        answer = await alice.stream(create(str(script)))
        assert answer.end == "completed"
        deltas = [event["update"]["delta"] for event in answer.of_type("thread.item.updated")]
        assert deltas == [script.piece(1, number) for number in range(600)]
        assert await redis.xlen(keys.journal(answer.run_id)) <= 100 + MAX_PENDING
        late = await alice.resume(answer.run_id, None)
        assert late.status == 410
        recent = answer.frames[-10][0]
        assert len((await alice.resume(answer.run_id, recent)).frames) == 9
