"""What is wrong with a Redis is told at start, in one line, and in the log of a process that runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from relaykit.shared.errors import QueueUnavailable, RelaykitError
from relaykit.shared.log import failure
from relaykit.shared.redis.check import RedisCheck
from relaykit.shared.redis.client import open_redis
from relaykit.shared.redis.pubsub import messages, subscribed
from tests.support.network.certificates import made_certificates
from tests.support.services.redis_nodes import Node, redis_node
from tests.support.services.redis_tls import tls_before
from tests.support.system import free_port, make_settings, start_process, wait_until

SECRET = "Geheim7391"


async def told(url: str) -> RelaykitError:
    """What a process says that starts with this REDIS_URL."""
    async with open_redis(url, connections=1) as redis:
        with pytest.raises(RelaykitError) as found:
            await RedisCheck(redis, "a-database").start()
    error = found.value
    assert error.message.startswith(("REDIS_URL: ", "DEPLOYMENT: "))
    assert "\n" not in error.message
    assert SECRET not in error.message + repr(failure(error))
    return error


async def prepared(node: Node, what: str) -> str:
    """The URL with which a process meets what is wrong."""
    async with node.client() as admin:
        match what:
            case "a cluster of one":
                await admin.execute_command("CLUSTER", "ADDSLOTS", *range(16384))

                async def is_up() -> bool:
                    return "cluster_state:ok" in await admin.execute_command("CLUSTER", "INFO")

                await wait_until("the cluster has its slots", is_up)
            case "a wrong password" | "no password":
                await admin.config_set("requirepass", "another")
            case "a user that may not":
                await admin.execute_command(
                    "ACL", "SETUSER", "narrow", "on", f">{SECRET}", "~*", "&*", "+evalsha", "+script|load"
                )
            case "full":
                await admin.config_set("maxmemory", "1")
    sign_in = {
        "a wrong password": f":{SECRET}@",
        "a password too many": f":{SECRET}@",
        "a user that may not": f"narrow:{SECRET}@",
    }
    return node.url.replace("//", f"//{sign_in.get(what, '')}")


CASES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "a cluster of one": (("--cluster-enabled", "yes"), "bad_setting", "cluster mode"),
    "a cluster without slots": (("--cluster-enabled", "yes"), "bad_setting", "cluster mode"),
    "a replica": (("--replicaof", "127.0.0.1", "1"), "queue_unavailable", "READONLY"),
    "a replica that says nothing": (
        ("--replicaof", "127.0.0.1", "1", "--replica-serve-stale-data", "no"),
        "queue_unavailable",
        "MASTERDOWN",
    ),
    "an older Redis": (("--rename-command", "ZMSCORE", ""), "bad_setting", "older than 6.2"),
    "a wrong password": ((), "bad_setting", "WRONGPASS"),
    "no password": ((), "bad_setting", "NOAUTH"),
    "a password too many": ((), "bad_setting", "has no password"),
    "a user that may not": ((), "bad_setting", "NOPERM"),
    "full": ((), "queue_unavailable", "OOM"),
}


@pytest.mark.parametrize("what", CASES)
async def test_a_redis_that_cannot_be_used_is_refused_at_start_with_its_reason(
    what: str, tmp_path: Path
) -> None:
    options, code, word = CASES[what]
    with redis_node(tmp_path, *options) as node:
        await wait_until("Redis answers", node.answers)
        error = await told(await prepared(node, what))
    assert (error.code, word in error.message) == (code, True), error.message


async def test_a_redis_that_is_not_there_is_told_with_the_reason() -> None:
    error = await told(f"redis://:{SECRET}@127.0.0.1:{free_port()}/0")
    assert (error.code, "ECONNREFUSED" in error.message) == ("queue_unavailable", True), error.message


async def test_a_redis_that_would_evict_is_warned_of_at_start(tmp_path: Path) -> None:
    with redis_node(tmp_path, "--maxmemory-policy", "allkeys-lru") as node, capture_logs() as lines:
        await wait_until("Redis answers", node.answers)
        async with open_redis(node.url, connections=1) as redis:
            await RedisCheck(redis, "a-database").start()
    assert [line["policy"] for line in lines if line["action"] == "redis_evicts"] == ["allkeys-lru"]


async def test_tls_where_there_is_none_is_told(tmp_path: Path) -> None:
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        error = await told(f"rediss://:{SECRET}@127.0.0.1:{node.port}/0")
    assert (error.code, "TLS" in error.message) == ("bad_setting", True), error.message


async def accepted(url: str) -> None:
    """A process starts with this REDIS_URL."""
    async with open_redis(url, connections=1) as redis:
        await RedisCheck(redis, "a-database").start()


TLS_CASES = {
    "no authority is named": ("127.0.0.1", "", "is not trusted"),
    "another authority is named": ("127.0.0.1", "?ssl_ca_certs={other_root}", "is not trusted"),
    "the host has another name": ("localhost", "?ssl_ca_certs={root}", "another name"),
    "the file is not there": ("127.0.0.1", "?ssl_ca_certs=/nowhere/ca.pem", "cannot be read (ENOENT)"),
    "the file is no certificate": ("127.0.0.1", "?ssl_ca_certs={key}", "cannot be read"),
}


@pytest.mark.parametrize("what", TLS_CASES)
async def test_a_certificate_that_is_not_accepted_is_told_with_what_is_wrong(
    what: str, tmp_path: Path
) -> None:
    host, query, words = TLS_CASES[what]
    made = made_certificates(tmp_path)
    files = {"root": made.root, "other_root": made.other_root, "key": made.key}
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        async with tls_before(node.port, made) as port:
            error = await told(f"rediss://:{SECRET}@{host}:{port}/0{query.format(**files)}")
    assert (error.code, words in error.message) == ("bad_setting", True), error.message


async def test_a_certificate_of_a_private_authority_is_accepted_with_its_file(tmp_path: Path) -> None:
    """Also under another name, and unverified, where the URL says so."""
    made = made_certificates(tmp_path)
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        async with tls_before(node.port, made) as port:
            await accepted(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={made.root}")
            await accepted(f"rediss://localhost:{port}/0?ssl_ca_certs={made.root}&ssl_check_hostname=false")
            await accepted(f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none")


async def test_a_certificate_that_redis_asks_for_is_told_and_given(tmp_path: Path) -> None:
    made = made_certificates(tmp_path)
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        async with tls_before(node.port, made, asks=True) as port:
            url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={made.root}"
            error = await told(url)
            assert "ssl_certfile" in error.message, error.message
            await accepted(f"{url}&ssl_certfile={made.certificate}&ssl_keyfile={made.key}")


async def test_no_tls_where_there_is_some_is_told(tmp_path: Path) -> None:
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        async with tls_before(node.port, made_certificates(tmp_path)) as port:
            error = await told(f"redis://127.0.0.1:{port}/0")
    assert "rediss://" in error.message, error.message


@pytest.mark.parametrize("what", ["a cluster of one", "a wrong password"])
async def test_both_processes_end_with_one_line(
    what: str, database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    options, code, word = CASES[what]
    with redis_node(tmp_path, *options) as node, ExitStack() as stack:
        await wait_until("Redis answers", node.answers)
        settings = make_settings(await prepared(node, what), database_url, issuer_key_file, free_port())
        ends = {}
        for side in ("api", "worker"):
            process = start_process(side, settings, tmp_path / f"{side}.log")
            stack.callback(process.kill)
            await wait_until(f"the {side} ends", lambda: process.popen.poll() is not None, 60)  # noqa: B023
            ends[side] = (process.popen.returncode, process.output)
    for status, output in ends.values():
        (line,) = output.splitlines()
        assert (status, code in line, word in line, SECRET in line) == (2, True, True, False), line


async def test_the_log_of_a_full_redis_says_so(tmp_path: Path) -> None:
    """The reply of a script too, of which older servers make a text of their own."""
    with redis_node(tmp_path) as node:
        await wait_until("Redis answers", node.answers)
        async with open_redis(node.url, connections=1) as redis:
            check = RedisCheck(redis, "a-database")
            await check.start()
            async with node.client() as admin:
                await admin.config_set("maxmemory", "1")
            with pytest.raises(QueueUnavailable) as found:
                await check.ready()
            connected = await node.our_connections()
    told_of = failure(found.value)
    assert (told_of["cause_code"], len(connected)) == ("OOM", 1), (
        "a full Redis is the right one: nothing is cut"
    )


async def without_replicas(admin: Redis) -> None:
    await admin.config_set("min-replicas-to-write", "1")


async def without_a_disk(admin: Redis) -> None:
    await admin.config_set("save", "3600 1")
    await admin.config_set("dir", "/proc")
    await admin.bgsave()

    async def has_failed() -> bool:
        return bool((await admin.info("persistence"))["rdb_last_bgsave_status"] == "err")

    await wait_until("the data could not be saved", has_failed)


@pytest.mark.parametrize(
    ("break_it", "word"),
    [(without_replicas, "NOREPLICAS"), (without_a_disk, "MISCONF")],
    ids=["replicas", "disk"],
)
async def test_a_node_that_says_not_now_is_left_by_those_that_listen_too(
    break_it: Callable[[Redis], Awaitable[None]], word: str, tmp_path: Path
) -> None:
    with redis_node(tmp_path) as node, capture_logs() as lines:
        await wait_until("Redis answers", node.answers)
        async with (
            node.client() as admin,
            open_redis(node.url, connections=1) as commands,
            open_redis(node.url, connections=1, reply_timeout_seconds=None) as notices,
        ):
            check = RedisCheck(commands, "a-database")
            await check.start()
            async with subscribed(notices, lambda pubsub: pubsub.subscribe("news")) as pubsub:
                batches = messages(pubsub)
                await anext(batches)
                await break_it(admin)
                with pytest.raises(QueueUnavailable) as refused:
                    await check.ready()
                with pytest.raises(QueueUnavailable):
                    await anext(batches)
    assert failure(refused.value)["cause_code"] == word
    assert [line["cause_code"] for line in lines if line["action"] == "redis_left"] == [word]
