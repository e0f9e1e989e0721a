"""The relay: one run and its many clients, fast, slow, late or gone; what a lost Redis connection costs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from relaykit.shared.journal import START, Field, entries
from relaykit.shared.redis import keys
from tests.support.clients.slow_readers import raw_stream
from tests.support.clients.stream_clients import Follower, asking, body, crowd, cursors, following
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.services.redis_clients import connections, kill, listens, listens_to_runs
from tests.support.system import (
    WAIT_SECONDS,
    Caller,
    System,
    create,
    free_port,
    make_settings,
    running,
    wait_until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIECES = 120
EVERY_SECONDS = 0.01


@dataclass
class Stage:
    system: System
    alice: Caller
    alice_elsewhere: Caller
    redis: Redis

    async def journal(self, run_id: str) -> bytes:
        """What the run's journal holds, as a client must see it."""
        sent = b""
        for entry in entries(await self.redis.xrange(keys.journal(run_id), f"({START}")):
            if entry.field is Field.EVENT:
                sent += b"id: %b\ndata: %b\n\n" % (str(entry.cursor).encode(), entry.payload)
            elif entry.field is Field.END:
                sent += b": end %b\n\n" % entry.payload
        return sent

    async def followed(self, run_id: str) -> int:
        """How many APIs follow the run."""
        ((_, count),) = await self.redis.pubsub_numsub(keys.notices(run_id))
        return int(count)


@pytest.fixture(scope="module")
def stage_settings(redis_databases: RedisDatabases, databases: Databases, issuer_key_file: Path) -> Iterator:
    """With a tail that holds a few entries only."""
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        yield make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            tail_max_bytes=2048,
            stall_seconds=4,
            ping_seconds=600,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage_settings) -> AsyncIterator[Stage]:
    async with (
        running(stage_settings, ScriptedAnswers, apis=2) as system,
        Redis.from_url(stage_settings.redis_url, single_connection_client=True) as redis,
    ):
        alice = await crowd(system, await system.caller())
        yield Stage(system, alice, await crowd(system, alice, api=1), redis)


@pytest_asyncio.fixture(loop_scope="module")
async def patient_stage(stage, stage_settings) -> AsyncIterator[Stage]:
    """Beside the other one: an API that gives no reader up, however long a busy machine takes for a run."""
    patient = stage_settings.model_copy(update={"stall_seconds": 600.0, "port": free_port()})
    async with running(patient, ScriptedAnswers, workers=0) as system:
        alice = await crowd(system, await system.caller())
        yield Stage(system, alice, alice, stage.redis)


def gated(tmp_path: Path, *holds: int, **more) -> Script:
    return Script(gate=str(tmp_path), holds=list(holds), **more)


@asynccontextmanager
async def everybody(stage: Stage, asker: Follower, each: int = 2) -> AsyncIterator[list[Follower]]:
    """Followers of the asker's run from its start, at both APIs."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(following(caller, asker.run_id))
            for caller in (stage.alice, stage.alice_elsewhere)
            for _ in range(each)
        ]


async def to_the_end(caller: Caller, run_id: str) -> bytes:
    """The run as a client has it that resumes whenever its stream closes without the end."""
    read, cursor = b"", None
    while b": end " not in read:
        async with following(caller, run_id, cursor) as follower:
            answer = await follower.finished()
        if answer.status != 200:
            assert answer.status == 503, (answer.status, answer.raw)
            continue
        read += body(answer.raw)
        if ids := cursors(read):
            cursor = ids[-1]
    return read


async def test_many_clients_of_one_run_get_the_same_bytes_over_one_subscription(stage, tmp_path):
    """100 clients of each API: each API subscribes once, everybody has the whole run."""
    async with asking(stage.alice, create(str(gated(tmp_path, 5, 9)))) as asker:
        await asker.until("five deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 5)
        async with everybody(stage, asker, each=100) as followers:
            for follower in followers:
                await follower.until("five deltas", lambda answer: b'"1.4 "' in answer.raw)
            assert await stage.followed(asker.run_id) == 2
            open_gate(tmp_path, 5, 9)
            whole = body((await asker.finished()).raw)
            assert whole == await stage.journal(asker.run_id)
            for follower in followers:
                assert body((await follower.finished()).raw) == whole


async def test_a_run_that_nobody_follows_any_more_is_forgotten_at_once(stage, tmp_path):
    """Before the next heartbeat, which would be in ten minutes, could find the connection closed."""
    async with asking(stage.alice, create(str(gated(tmp_path, 3)))) as asker:
        await asker.until("three deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 3)
        async with following(stage.alice, asker.run_id) as follower:
            await follower.until("three deltas", lambda answer: b'"1.2 "' in answer.raw)
            assert await stage.followed(asker.run_id) == 1

    async def forgotten() -> bool:
        return await stage.followed(asker.run_id) == 0

    await wait_until("nobody follows the run", forgotten)
    open_gate(tmp_path, 3)
    assert (await to_the_end(stage.alice, asker.run_id)).endswith(b": end completed\n\n")


async def test_a_dropped_connection_stops_nothing(stage, tmp_path):
    """The one who asked goes in mid-answer: the run completes, its item is stored, a late client gets all of it."""
    async with asking(stage.alice, create(str(gated(tmp_path, 3)))) as asker:
        await asker.until("three deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 3)
        read = body(asker.raw)
    open_gate(tmp_path, 3)

    async def status() -> str:
        return (await stage.alice.get(f"/runs/{asker.run_id}")).json()["status"]

    async def over() -> bool:
        return await status() == "completed"

    await wait_until("the run has completed", over)
    late = await to_the_end(stage.alice_elsewhere, asker.run_id)
    assert late.startswith(read)
    assert late == await stage.journal(asker.run_id)
    items = await stage.alice.items(asker.answer.thread_id)
    assert [part["text"] for part in items[-1]["content"]] == Script().whole(1)


async def test_a_slow_reader_loses_nothing_and_holds_nobody_up(patient_stage, tmp_path):
    """It reads nothing until the run is over, by when the tail has long dropped what it lacks."""
    script = gated(tmp_path, 0, deltas=3000, pad=1000)
    async with asking(patient_stage.alice, create(str(script))) as asker:
        await asker.until("the run's start", lambda answer: answer.of_type("thread.item.added"))
        reader, writer = await raw_stream(patient_stage.system.urls[0], patient_stage.alice, asker.run_id)
        head = await reader.readuntil(b"\r\n\r\n")
        open_gate(tmp_path, 0)
        whole = body((await asker.finished()).raw)
        assert len(whole) > 3_000_000
        async with asyncio.timeout(WAIT_SECONDS):
            chunks = await reader.read()
        writer.close()
    assert head.startswith(b"HTTP/1.1 200")
    assert body(unchunked(chunks)) == whole


async def test_a_reader_that_takes_nothing_is_closed_without_the_end(stage, tmp_path):
    """After STALL_SECONDS, here 4: its place is given up, and the run goes on."""
    script = gated(tmp_path, 0, 2999, deltas=3000, pad=1000)
    async with asking(stage.alice, create(str(script))) as asker:
        await asker.until("the run's start", lambda answer: answer.of_type("thread.item.added"))
        reader, writer = await raw_stream(stage.system.urls[1], stage.alice, asker.run_id)

        async def followed_elsewhere() -> bool:
            return await stage.followed(asker.run_id) == 2

        async def stalled() -> bool:
            return await stage.followed(asker.run_id) == 1

        await wait_until("the other API follows the run", followed_elsewhere)
        open_gate(tmp_path, 0)
        await wait_until("the other API has given its reader up", stalled)
        open_gate(tmp_path, 2999)
        assert (await asker.finished()).end == "completed"
        async with asyncio.timeout(WAIT_SECONDS):
            read = await reader.read()
        writer.close()
        assert b": end " not in read
        assert not read.endswith(b"\r\n0\r\n\r\n")


def unchunked(data: bytes) -> bytes:
    whole = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        whole, data = whole + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return whole


async def test_a_lost_notice_connection_loses_and_doubles_nothing(stage, tmp_path):
    """The APIs' pub/sub connections are killed in mid-answer, again and again; no stream even closes."""
    script = gated(tmp_path, PIECES - 1, deltas=PIECES, every_seconds=EVERY_SECONDS)
    async with asking(stage.alice, create(str(script))) as asker:
        await asker.until("the run's start", lambda answer: answer.of_type("thread.item.added"))
        async with everybody(stage, asker) as followers:
            killed = 0
            while not asker.closed:
                killed += await kill(
                    stage.redis, list(filter(listens_to_runs, await connections(stage.redis)))
                )
                if killed >= 4:
                    open_gate(tmp_path, PIECES - 1)
                await asyncio.sleep(EVERY_SECONDS)
            for follower in [asker, *followers]:
                assert body((await follower.finished()).raw) == await stage.journal(asker.run_id)
    assert asker.answer.of_type("thread.item.done")[-1]["item"]["content"][0]["text"] == script.whole(1)[0]


async def three_listening(redis: Redis) -> list[dict[str, str]]:
    """The connections that listen, once there are three."""
    found = [one for one in await connections(redis) if listens(one)]
    return found if len(found) >= 3 else []


async def test_a_client_that_comes_while_notices_are_away_is_served(stage, tmp_path):
    """It waits for the connection instead of being turned away."""
    async with asking(stage.alice, create(str(gated(tmp_path, 5)))) as asker:
        await asker.until("five deltas", lambda answer: len(answer.of_type("thread.item.updated")) == 5)
        listening = await wait_until("both APIs and the worker listen", lambda: three_listening(stage.redis))
        assert await kill(stage.redis, listening) > 0
        async with (
            everybody(stage, asker) as followers,
            asking(stage.alice, create(str(Script()))) as another,
        ):
            for follower in followers:
                await follower.until("five deltas", lambda answer: b'"1.4 "' in answer.raw)
            assert (await another.finished()).end == "completed"
            open_gate(tmp_path, 5)
            whole = body((await asker.finished()).raw)
            for follower in followers:
                assert body((await follower.finished()).raw) == whole == await stage.journal(asker.run_id)


@pytest.mark.parametrize("which", ["commands", "all"])
async def test_lost_redis_connections_lose_and_double_nothing(stage, tmp_path, which):
    """Workers' and APIs' are killed in mid-answer. A stream may close without its end; resuming mends it."""
    script = gated(tmp_path, PIECES - 1, deltas=PIECES, every_seconds=EVERY_SECONDS)
    async with asking(stage.alice, create(str(script))) as asker:
        await asker.until("the run's start", lambda answer: answer.of_type("thread.item.added"))
        clients = [
            asyncio.create_task(to_the_end(caller, asker.run_id))
            for caller in (stage.alice, stage.alice, stage.alice_elsewhere)
        ]
        killed = 0
        while not all(client.done() for client in clients):
            found = await connections(stage.redis)
            killed += await kill(stage.redis, [one for one in found if which == "all" or not listens(one)])
            if killed >= 8:
                open_gate(tmp_path, PIECES - 1)
            await asyncio.sleep(0.3)
        journal = await stage.journal(asker.run_id)
        assert journal.endswith(b": end completed\n\n")
        for client in clients:
            assert await client == journal
    expected = [f'"delta":"{script.piece(1, number)}"'.encode() for number in range(PIECES)]
    assert [journal.count(piece) for piece in expected] == [1] * PIECES
    assert sorted(journal.index(piece) for piece in expected) == [journal.index(piece) for piece in expected]
