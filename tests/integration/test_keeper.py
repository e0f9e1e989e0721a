"""The keeper's thread in a worker of this process: leases that lapse, probes, and servers that never wait."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from relaykit.shared.postgres.database import Database
from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from relaykit.worker.execution.attempt_rows import AttemptRuns
from relaykit.worker.execution.current_run import enter_run, note_runs_of_tasks, run_of
from relaykit.worker.keeper import blocked_call
from relaykit.worker.leases.claim_queue import ClaimQueue
from tests.support.clients.stream_clients import Follower, asking, crowd
from tests.support.servers.blocking_servers import Blocking, BlockingAnswers
from tests.support.system import ROOT, Caller, create, environment, free_port, keyed, running, wait_until

LEASE_SECONDS = 60.0
"""So long that the worker's poller finds what has lapsed before the heartbeat does."""


@asynccontextmanager
async def begun(alice: Caller, gate: Path) -> AsyncIterator[Follower]:
    """A run that waits for its gate."""
    async with asking(alice, create(str(Blocking(way="wait", gate=str(gate))))) as asker:
        await asker.until("it has begun", lambda answer: answer.of_type("progress_update"))
        yield asker


async def lapse(settings: Settings, run_id: str) -> None:
    """The lease is over, and the worker's poller has not looked yet."""
    async with Redis.from_url(settings.redis_url) as redis:
        now, _ = await redis.time()
        async with redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(keys.lease(run_id))
            pipeline.zadd(keys.QUEUE, {run_id: now * 1000}, xx=True)
            await pipeline.execute()


async def attempts(settings: Settings, run_id: str) -> int:
    connection = await asyncpg.connect(settings.database_url)
    try:
        return await connection.fetchval("SELECT attempt FROM runs WHERE id = $1", run_id)
    finally:
        await connection.close()


# --- leases


async def test_a_worker_that_claims_a_run_which_it_still_executes_goes_on_under_the_new_claim(
    settings: Settings, tmp_path: Path
) -> None:
    """Several times, and it is renewed and released as any other."""
    settings = settings.model_copy(update={"lease_seconds": LEASE_SECONDS})
    gate = tmp_path / "gate"
    async with running(settings, BlockingAnswers) as system, Redis.from_url(settings.redis_url) as redis:
        async with begun(await system.caller(), gate) as asker:
            tokens = {await redis.get(keys.lease(asker.run_id))}
            for _ in range(3):
                await lapse(settings, asker.run_id)

                async def is_claimed_again() -> bool:
                    return await redis.get(keys.lease(asker.run_id)) not in {None, *tokens}

                await wait_until("the worker has claimed it again", is_claimed_again)
                tokens.add(await redis.get(keys.lease(asker.run_id)))
            gate.touch()
            answer = await asker.finished()
        assert answer.end == "completed"
        assert [event["text"] for event in answer.of_type("progress_update")] == ["begun 1"]
        assert await attempts(settings, answer.run_id) == 1

        async def is_released() -> bool:
            return not await redis.exists(keys.lease(answer.run_id), keys.job(answer.run_id))

        await wait_until("its job is gone", is_released)


async def test_a_heartbeat_takes_the_newer_claim_of_its_own_worker_for_no_loss(
    settings: Settings, tmp_path: Path
) -> None:
    """The reply to the claim is on its way, or was lost: the lease is the worker's all the same."""
    settings = settings.model_copy(update={"lease_seconds": 1.5})
    gate = tmp_path / "gate"
    async with running(settings, BlockingAnswers) as system, Redis.from_url(settings.redis_url) as redis:
        async with begun(await system.caller(), gate) as asker:
            token = (await redis.get(keys.lease(asker.run_id))).decode()
            newer = f"{token.rpartition(':')[0]}:999999"
            await redis.set(keys.lease(asker.run_id), newer, px=2500)

            async def is_renewed() -> bool:
                return await redis.get(keys.lease(asker.run_id)) not in (None, newer.encode())

            await wait_until("the lease is held again, by a claim that the worker knows", is_renewed)
            gate.touch()
            answer = await asker.finished()
        assert (answer.end, await attempts(settings, answer.run_id)) == ("completed", 1)


async def test_a_worker_that_claims_a_run_which_another_has_begun_meanwhile_begins_it_anew(
    settings: Settings, tmp_path: Path
) -> None:
    """The fence says so: its own attempt is over, and waits for what will never come."""
    settings = settings.model_copy(update={"lease_seconds": LEASE_SECONDS})
    gate, database = tmp_path / "gate", Database(settings)
    async with (
        database,
        running(settings, BlockingAnswers) as system,
        begun(await system.caller(), gate) as asker,
    ):
        assert await AttemptRuns(database).start(asker.run_id) is not None  # by a worker that died
        await lapse(settings, asker.run_id)
        await asker.until(
            "the next attempt has begun",
            lambda answer: answer.of_type("progress_update")[-1]["text"] == "begun 3",
        )
        gate.touch()
        answer = await asker.finished()
        assert (answer.end, await attempts(settings, answer.run_id)) == ("completed", 3)


async def test_leases_of_a_process_that_ends_are_anothers_at_once(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        queue = ClaimQueue(redis)
        for number in range(3):
            await queue.enqueue(f"run_{number}")
        claims = await queue.claim(3, LEASE_SECONDS, "one:1")
        assert await queue.claim(3, LEASE_SECONDS, "other:1") == []
        await queue.leave(claims, {"run_0"})
        taken = await queue.claim(3, LEASE_SECONDS, "other:2")
        assert {claim.run_id for claim in taken} == {claim.run_id for claim in claims}


# --- a server that never waits


async def test_a_server_that_never_waits_lets_the_others_in_between(
    settings: Settings, tmp_path: Path
) -> None:
    """The other run begins after it, and has shown its first event before the first has ended."""
    gate = tmp_path / "gate"
    gate.touch()
    fast = Blocking(way="wait", gate=str(gate), deltas=60_000)
    async with running(settings, BlockingAnswers) as system:
        alice = await crowd(system, await system.caller())
        async with asking(alice, create(str(fast)), keyed("fast")) as first:
            await first.until("it shows its deltas", lambda answer: answer.of_type("thread.item.updated"))
            async with begun(alice, tmp_path / "other") as other:
                assert not first.closed
                assert other.answer.of_type("progress_update")
            assert (await first.finished()).end == "completed"


# --- probes


async def listens(port: int) -> None:
    def is_there() -> bool:
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", port)) == 0

    await wait_until("the worker listens", is_there)


def probe(port: int, request: bytes) -> bytes:
    """What is answered; from a thread, so that it does not need this loop."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_a_worker_whose_loop_stands_still_for_too_long_is_not_alive(
    settings: Settings, tmp_path: Path
) -> None:
    """Here it may not end the process, which is the tests'. It is alive again when the call has returned."""
    port, gate = free_port(), tmp_path / "gate"
    settings = settings.model_copy(update={"worker_port": port, "blocked_seconds": 1.5})
    blocks = Blocking(way="sleep", gate=str(gate), seconds=6)
    async with (
        running(settings, BlockingAnswers) as system,
        asking(await system.caller(), create(str(blocks))) as asker,
    ):
        await asker.until("it has begun", lambda answer: answer.of_type("progress_update"))
        assert await asyncio.to_thread(get, port, "/healthz") == (200, '{"status": "ok"}')

        def until_unwell() -> str:
            while (found := get(port, "/healthz"))[0] == 200:
                pass
            return found[1]

        probing = asyncio.get_running_loop().run_in_executor(None, until_unwell)
        gate.touch()
        assert '"reason": "blocked"' in await probing
        assert (await asker.finished()).end == "completed"

        async def is_well() -> bool:
            return (await asyncio.to_thread(get, port, "/healthz"))[0] == 200

        await wait_until("it is alive again", is_well)


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"GET /healthz?full=1 HTTP/1.1\r\nHost: worker\r\n\r\n", 200),
        (b"HEAD /metrics HTTP/1.0\r\n\r\n", 200),
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nx: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    ],
)
async def test_whatever_a_probe_sends_is_answered_in_http(
    settings: Settings, request_head: bytes, status: int
) -> None:
    port = free_port()
    async with running(settings.model_copy(update={"worker_port": port}), BlockingAnswers, apis=0):
        await listens(port)
        answer = await asyncio.to_thread(probe, port, request_head)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert (body == b"") == request_head.startswith(b"HEAD")


@pytest.mark.parametrize("taken", [True, False])
def test_a_worker_says_in_one_line_that_it_cannot_have_its_port(settings: Settings, taken: bool) -> None:
    port = free_port()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        more = {"WORKER_PORT": str(port) if taken else "70000"}
        done = subprocess.run(
            [sys.executable, "-m", "worker"],
            cwd=ROOT,
            env={**os.environ, **environment(settings, **more)},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert "WORKER_PORT: " in line


# --- which run, and where


async def test_a_task_that_is_started_in_a_run_belongs_to_it(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    note_runs_of_tasks(loop)

    async def tasks_of(run_id: str) -> list[str | None]:
        enter_run(run_id)

        async def inner() -> str | None:
            return run_of(asyncio.current_task())

        own = run_of(asyncio.current_task())
        async with asyncio.TaskGroup() as group:
            nested = group.create_task(inner())
        return [own, await asyncio.create_task(inner()), nested.result()]

    found = await asyncio.gather(*(loop.create_task(tasks_of(run_id)) for run_id in ("run_a", "run_b")))
    assert found == [["run_a"] * 3, ["run_b"] * 3]
    assert run_of(asyncio.current_task()) is None


def test_a_call_is_named_by_the_sites_line_and_no_librarys() -> None:
    from json import JSONDecoder

    places: list[blocked_call.Call] = []

    def site(pairs: object) -> object:
        places.append(blocked_call.call_of(__import__("threading").get_ident()))
        return pairs

    JSONDecoder(object_pairs_hook=site).decode("{}")
    (call,) = places
    file, _, function = call.place.rsplit(":", 2)
    assert (file, function) == (__file__, "site")
    assert any("json/decoder.py" in frame for frame in call.frames)
    assert len(call.frames) <= blocked_call.MAX_FRAMES
