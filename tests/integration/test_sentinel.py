"""REDIS_URL names sentinels: the processes find the primary by them, and follow it to where it goes.

Real servers and sentinels; a failover is the sentinels' own.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from structlog.testing import capture_logs

from relaykit.shared.errors import QueueUnavailable, RelaykitError
from relaykit.shared.log import failure
from relaykit.shared.redis.check import RedisCheck
from relaykit.shared.redis.client import open_redis, redis_errors
from relaykit.shared.redis.sentinels import Sentinels
from relaykit.shared.redis_url import parse_redis_url
from tests.support.clients.stream_clients import Follower, asking, crowd
from tests.support.network.certificates import made_certificates
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.redis_nodes import Node, redis_node
from tests.support.services.redis_sentinels import Sentinel, sentinel, sentinel_url, watched
from tests.support.services.redis_tls import tls_before
from tests.support.system import (
    ROOT,
    Answer,
    Caller,
    create,
    free_port,
    keyed,
    make_settings,
    running,
    start_process,
    wait_until,
)

HOLD = 3
SECRET = "Geheim7391"


def whole(answer: Answer, script: Script, attempt: int) -> bool:
    """It has ended, no event came twice or out of order, and the last attempt's text is all there."""
    places = [tuple(map(int, cursor.split("-"))) for cursor, _ in answer.frames if cursor]
    assert places == sorted(set(places)), places
    texts = [part["text"] for part in answer.of_type("thread.item.done")[-1]["item"]["content"]]
    return answer.end == "completed" and texts == script.whole(attempt)


async def held_run(stack: Any, alice: Caller, folder: Path, key: int) -> tuple[Follower, Script]:
    """A run in mid-answer, which waits for its gate."""
    folder.mkdir()
    script = Script(deltas=8, gate=str(folder), holds=[HOLD])
    asker = await stack.enter_async_context(asking(alice, create(str(script)), keyed(key)))
    await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) >= HOLD)
    return asker, script


async def shown(alice: Caller, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await alice.get(f"/runs/{run_id}")).json()
    return found


async def is_taken(alice: Caller, key: int) -> bool:
    """A new message is accepted, and answered."""
    response = await alice.post(create(str(Script())), keyed(key))
    if response.status_code != 200:
        assert (response.status_code, response.json()["error"]["code"]) == (503, "queue_unavailable")
        assert int(response.headers["retry-after"]) > 0
        return False
    return Answer(200, response.headers, response.content).end == "completed"


async def is_replica(node: Node) -> bool:
    try:
        return await node.role() == "slave"
    except RedisConnectionError:  # a sentinel cuts everybody off when it changes the role
        return False


@pytest.mark.parametrize("how", ["killed", "ordered"])
async def test_what_runs_goes_on_at_the_replica_that_the_sentinels_promote(
    how: str, database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """`killed`: the primary is gone. `ordered`: it stays, as a replica, and the connections to it are left."""
    async with AsyncExitStack() as stack:
        logs = stack.enter_context(capture_logs())
        redis = await stack.enter_async_context(watched(tmp_path))
        settings = make_settings(redis.url, database_url, issuer_key_file, free_port(), lease_seconds=10)
        system = await stack.enter_async_context(running(settings, ScriptedAnswers, apis=2))
        alice = await crowd(system, await system.caller())
        asker, script = await held_run(stack, alice, tmp_path / "gate", 1)
        if how == "killed":
            redis.primary.process.kill()
            redis.primary.process.wait()
        else:
            async with redis.sentinels[0].client() as client:
                await client.execute_command("SENTINEL", "FAILOVER", "main")
        await wait_until("the sentinels name the replica", lambda: redis.names(redis.replica))
        await wait_until("a new message is answered", lambda: is_taken(alice, 2))
        other = await crowd(system, alice, api=1)
        await wait_until("the other API answers one too", lambda: is_taken(other, 3))
        open_gate(tmp_path / "gate", HOLD)
        answer = await asker.finished()
        ended = await shown(alice, answer.run_id)
        assert ended["status"] == "completed"
        assert whole(answer, script, ended["attempt"])
        assert whole(await other.resume(answer.run_id, None), script, ended["attempt"])
        if how == "ordered":

            async def has_left() -> bool:
                return not await redis.primary.our_connections()

            await wait_until("the old primary is a replica", lambda: is_replica(redis.primary))
            await wait_until("no connection is left at the old primary", has_left)
        assert not [line for line in logs if line["log_level"] == "critical"]


@asynccontextmanager
async def one_watched(folder: Path, *lines: str) -> AsyncIterator[tuple[Node, Sentinel]]:
    """A server, and a sentinel that knows it."""
    with redis_node(folder) as node:
        await wait_until("Redis answers", node.answers)
        with sentinel(folder, node.port, *lines) as one:
            await wait_until("the sentinel answers", one.answers)
            yield node, one


async def started(url: str) -> RelaykitError | None:
    """What a process says that starts with this REDIS_URL; None where nothing is wrong."""
    found: RelaykitError | None = None
    async with open_redis(url, connections=1) as redis:
        try:
            await RedisCheck(redis, "a-database").start()
        except RelaykitError as error:
            found = error
    return found


def said(error: RelaykitError | None) -> tuple[str, str]:
    assert error is not None, "nothing was wrong"
    assert error.message.startswith("REDIS_URL: "), error.message
    assert "\n" not in error.message
    assert SECRET not in error.message + repr(failure(error))
    return error.code, error.message


async def test_a_master_name_that_no_sentinel_knows_is_told_by_both_processes(
    database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """In one line, with status 2: no wait would help."""
    async with one_watched(tmp_path) as (_, one):
        with ExitStack() as stack:
            url = sentinel_url(one.port, name="another")
            settings = make_settings(url, database_url, issuer_key_file, free_port())
            processes = [
                start_process(side, settings, tmp_path / f"{side}.log") for side in ("api", "worker")
            ]
            for process in processes:
                stack.callback(process.kill)
            for process in processes:
                await wait_until("the process ends", lambda: process.popen.poll() is not None, 60)  # noqa: B023
                (line,) = process.output.splitlines()
                found = (
                    process.popen.returncode,
                    "bad_setting" in line,
                    "its sentinels know no primary" in line,
                )
                assert found == (2, True, True), line


async def test_sentinels_that_are_away_are_told_at_start_as_a_redis_that_is_away() -> None:
    code, words = said(await started(sentinel_url(free_port(), free_port())))
    assert (code, "no sentinel can be reached (ECONNREFUSED)" in words) == ("queue_unavailable", True), words


async def test_what_is_no_sentinel_is_told(tmp_path: Path) -> None:
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        code, words = said(await started(sentinel_url(node.port)))
    assert (code, "is none" in words) == ("bad_setting", True), words


async def test_sentinels_that_are_away_harm_nothing_while_the_primary_stays(
    database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """Connections are kept. A new one waits for a sentinel, and the log says that none answers."""
    async with one_watched(tmp_path) as (node, one), AsyncExitStack() as stack:
        settings = make_settings(sentinel_url(one.port), database_url, issuer_key_file, free_port())
        system = await stack.enter_async_context(running(settings, ScriptedAnswers))
        alice = await crowd(system, await system.caller())
        assert await is_taken(alice, 0), "all have their connections"
        one.process.kill()
        one.process.wait()
        assert (await alice.stream(create(str(Script())), keyed(1))).end == "completed"
        logs = stack.enter_context(capture_logs())
        async with node.client() as admin:
            await admin.execute_command("CLIENT", "KILL", "TYPE", "normal")
        assert not await is_taken(alice, 2)
        causes = {line.get("cause_type") for line in logs if "cause_type" in line}
        assert "SentinelsSilent" in causes, causes
        again = stack.enter_context(sentinel(tmp_path, node.port, port=one.port))
        await wait_until("the sentinel answers", again.answers)
        await wait_until("a new message is answered", lambda: is_taken(alice, 3))


async def test_the_place_that_most_sentinels_name_is_the_primary_s(tmp_path: Path) -> None:
    """One that is cut off from the others goes on naming the old primary; here it is asked first."""
    with ExitStack() as stack:
        old, new = (stack.enter_context(redis_node(tmp_path)) for _ in range(2))
        cut_off = stack.enter_context(sentinel(tmp_path, old.port))
        others = [stack.enter_context(sentinel(tmp_path, new.port)) for _ in range(2)]
        for each in (cut_off, *others):
            await wait_until("the sentinel answers", each.answers)
        url = sentinel_url(cut_off.port, *(each.port for each in others))
        for _ in range(10):
            assert await Sentinels(parse_redis_url(url)).primary() == ("127.0.0.1", new.port)


async def test_sentinels_that_hang_or_are_gone_are_passed_over(tmp_path: Path) -> None:
    async with one_watched(tmp_path) as (node, one):
        with sentinel(tmp_path, node.port) as frozen:
            await wait_until("the sentinel answers", frozen.answers)
            frozen.process.send_signal(signal.SIGSTOP)
            url = sentinel_url(free_port(), frozen.port, one.port)
            assert await Sentinels(parse_redis_url(url)).primary() == ("127.0.0.1", node.port)
            assert await started(url) is None


@asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[int]:
    """The port of what answers everything with these bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(reply)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    "reply",
    [
        b"+OK\r\n",
        b":5\r\n",
        b"*0\r\n",
        b"*1\r\n$1\r\na\r\n",
        b"*2\r\n:1\r\n:1\r\n",
        b"*2\r\n$-1\r\n$-1\r\n",
        b"*2\r\n$9\r\n127.0.0.1\r\n$1\r\nx\r\n",
        b"*2\r\n$9\r\n127.0.0.1\r\n$6\r\n100000\r\n",
        b"*2\r\n$1\r\n\xff\r\n$4\r\n6379\r\n",
        b"*2\r\n$1\r\n\0\r\n$4\r\n6379\r\n",
        b"*2\r\n$4\r\na..b\r\n$4\r\n6379\r\n",
        b"*2\r\n$0\r\n\r\n$4\r\n6379\r\n",
        b"*x\r\n",
        b"*1\r\n" * 2000,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
async def test_an_answer_that_is_none_of_a_sentinel_s_is_passed_over(tmp_path: Path, reply: bytes) -> None:
    """Where nobody else answers either, it is one line at start, and a failure of Redis afterwards."""
    async with answering(reply) as port:
        code, words = said(await started(sentinel_url(port)))
        assert (code, "no sentinel can be reached" in words) == ("queue_unavailable", True), words
        async with one_watched(tmp_path) as (node, one):
            sentinels = Sentinels(parse_redis_url(sentinel_url(port, one.port)))
            assert await sentinels.primary() == ("127.0.0.1", node.port)


async def test_what_asks_together_asks_once(tmp_path: Path) -> None:
    """The connections of a process that all are lost at once."""
    async with one_watched(tmp_path) as (node, one):
        sentinels = Sentinels(parse_redis_url(sentinel_url(one.port)))

        async def asked() -> int:
            async with one.client() as client:
                return int((await client.info("stats"))["total_connections_received"])

        before = await asked()
        places = await asyncio.gather(*(sentinels.primary() for _ in range(50)))
        assert set(places) == {("127.0.0.1", node.port)}
        assert await asked() - before <= 3, "each look counts one itself, and the sentinel may"


def documented_sentinel_user() -> list[str]:
    """The words of the line in docs/security.md."""
    text = (ROOT / "docs" / "security.md").read_text()
    (line,) = re.findall(r"^ACL SETUSER relaykit-sentinel [^`]*", text, re.MULTILINE)
    return [f">{SECRET}" if word == ">PASSWORD" else word for word in str(line).split()]


async def test_a_sentinel_s_password_and_user_are_told_apart_from_those_of_redis(tmp_path: Path) -> None:
    """The documented user suffices, and may do nothing else."""
    async with one_watched(tmp_path) as (_, one):
        async with one.client() as admin:
            await admin.execute_command(*documented_sentinel_user())
            await admin.execute_command("ACL", "SETUSER", "nobody", "on", f">{SECRET}")
            user = f"?sentinel_username=relaykit-sentinel&sentinel_password={SECRET}"
            assert await started(sentinel_url(one.port, query=user)) is None
            denied = await admin.execute_command("ACL", "LOG")
            assert denied == []
            nobody = await started(sentinel_url(one.port, query=user.replace("relaykit-sentinel", "nobody")))
            assert said(nobody)[0] == "bad_setting"
            assert "NOPERM" in said(nobody)[1]
            await admin.execute_command("ACL", "SETUSER", "default", "resetpass", ">another")
        none, wrong = [
            said(await started(sentinel_url(one.port, query=query)))
            for query in ("", f"?sentinel_password={SECRET}-not")
        ]
        assert (none[0], "sentinel_password=<password>" in none[1]) == ("bad_setting", True), none
        assert (wrong[0], "WRONGPASS" in wrong[1]) == ("bad_setting", True), wrong


async def test_tls_is_for_the_sentinels_and_for_the_primary(tmp_path: Path) -> None:
    """With one file of the private authority for both; without it the one that was met first is named."""
    made = made_certificates(tmp_path)
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        async with tls_before(node.port, made) as primary_port:
            with sentinel(tmp_path, primary_port) as one:
                await wait_until("the sentinel answers", one.answers)
                async with tls_before(one.port, made) as port:
                    url = sentinel_url(port, scheme="rediss")
                    assert await started(f"{url}?ssl_ca_certs={made.root}") is None
                    code, words = said(await started(url))
                    assert (code, "a sentinel is not trusted" in words) == ("bad_setting", True), words
                code, words = said(await started(sentinel_url(one.port, scheme="rediss")))
                assert (code, "no sentinel can be reached in TLS" in words) == ("queue_unavailable", True), (
                    words
                )


async def test_a_name_that_is_taken_from_the_sentinels_is_logged_and_waited_for(tmp_path: Path) -> None:
    async with one_watched(tmp_path) as (_, one), open_redis(sentinel_url(one.port), connections=1) as redis:
        async with one.client() as admin:
            with redis_errors():
                await redis.ping()
            await admin.execute_command("SENTINEL", "REMOVE", "main")

        async def refused() -> QueueUnavailable | None:
            await redis.connection_pool.disconnect()
            try:
                with redis_errors():
                    await redis.ping()
            except QueueUnavailable as error:
                return error
            return None

        found = await wait_until("the sentinel is asked anew", refused)
        assert failure(found)["cause_code"] == "NOMASTER"
