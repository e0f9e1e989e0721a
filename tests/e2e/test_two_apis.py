"""Two API processes and a worker process: any API serves any run, and none is needed for it to go on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.support.clients.stream_clients import Follower, after, asking, body, crowd, cursors, following
from tests.support.network.links import Link
from tests.support.servers.relay_servers import Script, open_gate
from tests.support.services.databases import Databases, RedisDatabases
from tests.support.services.redis_clients import connections
from tests.support.system import (
    Caller,
    Process,
    Processes,
    create,
    fork_process,
    free_port,
    keyed,
    make_settings,
    running_processes,
    wait_until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUNS = 200
HOLD = 6


@dataclass
class Stage:
    system: Processes
    alice: Caller
    alice_elsewhere: Caller
    redis: Redis

    async def redis_connections(self, process: Process) -> int:
        """How many connections Redis has from this process."""
        addresses = {
            f"{one.laddr.ip}:{one.laddr.port}"
            for one in psutil.Process(process.popen.pid).net_connections("tcp")
            if one.raddr and one.raddr.port == urlsplit(self.system.settings.redis_url).port
        }
        return sum(client["addr"] in addresses for client in await connections(self.redis))

    @asynccontextmanager
    async def third_api(self, **more: str) -> AsyncIterator[tuple[Process, Caller]]:
        """Another API process, with `more` in its environment, and alice at it."""
        process = await self.system.start_api(**more)
        try:
            yield process, await crowd(self.system, self.alice, api=len(self.system.urls) - 1)
        finally:
            if process.popen.poll() is None:
                process.kill()


@pytest.fixture(scope="module")
def stage_settings(redis_databases: RedisDatabases, databases: Databases, issuer_key_file: Path) -> Iterator:
    with redis_databases.fresh() as redis_url, databases.fresh() as database_url:
        yield make_settings(
            redis_url,
            database_url,
            issuer_key_file,
            free_port(),
            max_runs=RUNS + 20,
            chatkit_server="tests.support.servers.relay_servers:ScriptedAnswers",
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(stage_settings, tmp_path_factory) -> AsyncIterator[Stage]:
    async with (
        running_processes(
            stage_settings, tmp_path_factory.mktemp("logs"), apis=2, start=fork_process
        ) as system,
        Redis.from_url(stage_settings.redis_url, single_connection_client=True) as redis,
    ):
        alice = await crowd(system, await system.caller())
        yield Stage(system, alice, await crowd(system, alice, api=1), redis)


def held(tmp_path: Path, deltas: int = 12) -> Script:
    return Script(deltas=deltas, gate=str(tmp_path), holds=[HOLD])


def has_clients(process: Process) -> bool:
    sockets = psutil.Process(process.popen.pid).net_connections("tcp")
    ports = {one.laddr.port for one in sockets if one.status == psutil.CONN_LISTEN}
    return any(one.raddr and one.laddr.port in ports for one in sockets)


async def in_mid_answer(follower: Follower) -> None:
    last = f'"delta":"{Script().piece(1, HOLD - 1)}"'.encode()
    await follower.until("the middle", lambda answer: last in answer.raw)


async def test_subscribers_of_two_apis_get_the_same_bytes(stage, tmp_path):
    """From the start and from cursors, in mid-answer and after the end: ids, data and order are one."""
    async with (
        asking(stage.alice, create(str(held(tmp_path, deltas=100)))) as asker,
        following(stage.alice, await run_id(asker)) as near,
        following(stage.alice_elsewhere, await run_id(asker)) as far,
    ):
        await in_mid_answer(near)
        await in_mid_answer(far)
        known = cursors(asker.raw)
        async with AsyncExitStack() as stack:
            resumed = {
                cursor: await stack.enter_async_context(
                    following(stage.alice_elsewhere, asker.run_id, cursor)
                )
                for cursor in known
            }
            open_gate(tmp_path, HOLD)
            whole = body((await asker.finished()).raw)
            assert body((await near.finished()).raw) == body((await far.finished()).raw) == whole
            for cursor, follower in resumed.items():
                assert body((await follower.finished()).raw) == after(whole, cursor), cursor
    for caller in (stage.alice, stage.alice_elsewhere):
        assert body((await caller.resume(asker.run_id, None)).raw) == whole
        for cursor in cursors(asker.raw)[10:60:7]:
            assert body((await caller.resume(asker.run_id, cursor)).raw) == after(whole, cursor), cursor


async def run_id(asker: Follower) -> str:
    await asker.until("the run has an id", lambda answer: answer.status == 200)
    return asker.run_id


async def test_a_stop_at_one_api_ends_the_stream_of_the_other(stage, tmp_path):
    async with asking(stage.alice, create(str(held(tmp_path)))) as asker:
        await in_mid_answer(asker)
        assert (await stage.alice_elsewhere.cancel(asker.run_id)).status_code == 202
        answer = await asker.finished()
    assert answer.end == "cancelled"
    items = await stage.alice_elsewhere.items(answer.thread_id)
    assert "".join(part["text"] for part in items[-1]["content"]) == "".join(Script(deltas=HOLD).whole(1))


async def test_with_200_runs_streaming_an_api_has_the_redis_connections_that_it_has_with_none(
    stage, tmp_path
):
    """Two: one for commands, one for notices. Each run has a client at each API."""
    apis = stage.system.api_processes[:2]
    idle = [await stage.redis_connections(process) for process in apis]
    assert idle == [2, 2]
    async with AsyncExitStack() as stack:
        askers = [
            await stack.enter_async_context(asking(stage.alice, create(str(held(tmp_path)))))
            for _ in range(RUNS)
        ]
        for asker in askers:
            await in_mid_answer(asker)
        others = [
            await stack.enter_async_context(following(stage.alice_elsewhere, asker.run_id))
            for asker in askers
        ]
        for other in others:
            await in_mid_answer(other)
        assert [await stage.redis_connections(process) for process in apis] == idle
        open_gate(tmp_path, HOLD)
        for asker, other in zip(askers, others, strict=True):
            assert (await asker.finished()).end == "completed"
            assert body((await other.finished()).raw) == body(asker.raw)
    assert [await stage.redis_connections(process) for process in apis] == idle


async def test_an_api_that_is_drained_closes_its_streams_and_their_clients_go_on_elsewhere(stage, tmp_path):
    """SIGTERM: EOF without the end; a client that did not say that it can resume is first told of an error to retry."""
    async with stage.third_api() as (process, alice):
        async with (
            asking(alice, create(str(held(tmp_path)))) as asker,
            following(alice, await run_id(asker), headers={"Relaykit-Resume": "0"}) as simple,
        ):
            await in_mid_answer(asker)
            await in_mid_answer(simple)
            exit_code = asyncio.create_task(asyncio.to_thread(process.terminate))
            closed, told = await asker.finished(), await simple.finished()
            assert await exit_code in (0, -signal.SIGTERM), process.output
        assert closed.end is None
        assert closed.of_type("error") == []
        assert told.end is None
        assert told.frames[-1] == ("", {"type": "error", "code": "stream.error", "allow_retry": True})
        assert cursors(told.raw)[:-1] == cursors(closed.raw)
        async with following(stage.alice, closed.run_id, cursors(closed.raw)[-1]) as rest:
            await rest.until("the other API answers", lambda answer: answer.status == 200)
            open_gate(tmp_path, HOLD)
            assert (await rest.finished()).end == "completed"
        whole = body((await stage.alice_elsewhere.resume(closed.run_id, None)).raw)
        assert body(closed.raw) + rest.body == whole


async def test_an_api_that_stops_while_a_request_waits_for_redis_says_so(stage):
    """SIGTERM while Redis does not answer it: what outlasts the drain is a 503 of its own, which the client repeats."""
    async with (
        Link(stage.system.settings.redis_url) as link,
        stage.third_api(REDIS_URL=link.url) as (process, alice),
    ):
        with link.holding():
            asking = asyncio.create_task(alice.post(create(str(Script())), keyed("stopping")))
            await wait_until("the API has its connection", lambda: has_clients(process))
            assert await asyncio.to_thread(process.terminate) in (0, -signal.SIGTERM), process.output
            response = await asking
        assert (response.status_code, response.json()["error"]["code"]) == (503, "stopping")
        assert int(response.headers["retry-after"]) >= 1
    assert (await stage.alice.stream(create(str(Script())), keyed("stopping"))).end == "completed"


async def test_an_api_that_is_killed_takes_no_run_with_it(stage, tmp_path):
    """kill -9 in mid-answer: the client finds its connection broken, and the rest at another API."""
    async with stage.third_api() as (process, alice):
        async with asking(alice, create(str(held(tmp_path)))) as asker:
            await in_mid_answer(asker)
            read = body(asker.raw)
            process.kill()
        async with following(stage.alice, asker.run_id, cursors(read)[-1]) as rest:
            await rest.until("the other API answers", lambda answer: answer.status == 200)
            open_gate(tmp_path, HOLD)
            assert (await rest.finished()).end == "completed"
        assert read + rest.body == body((await stage.alice_elsewhere.resume(asker.run_id, None)).raw)
