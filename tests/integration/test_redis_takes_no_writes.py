"""Redis is full, read-only or loading: new messages are refused, what runs waits, and all goes on by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from relaykit.shared.redis import keys
from tests.support.clients.stream_clients import Follower, asking, crowd
from tests.support.servers.relay_servers import Script, ScriptedAnswers, open_gate
from tests.support.services.redis_nodes import Node, redis_node
from tests.support.system import (
    Caller,
    System,
    create,
    free_port,
    keyed,
    make_settings,
    running,
    takes_messages,
    wait_until,
)

HOLD = 3
SCRIPT = {"deltas": 8, "holds": [HOLD]}
LEASE_SECONDS = 600.0
"""Longer than a test: what is shown is that a run waits, not that it begins anew."""
RENEWALS = 3
"""In the length of a lease."""
LOADED_COMMANDS = 600_000
LOAD_DELAY_US = 100
"""Before each of them. Redis looks at its clients after every thousand or so."""
REFUSALS = ("request_failed", "admission_unpublished")
"""Before the message is stored, or after it: a Redis that is full takes some writes, and the message may be accepted
then. It waits in its row, and the client that asks again is given that run."""
APPEND_ONLY = ("--appendonly", "yes", "--appendfsync", "always")
EVENT_LOOPS = 2
"""The API's and the worker's own, and the keeper's: each has its own connections to leave."""


@dataclass
class Stage:
    """A system on a Redis of its own, with a run in mid-answer."""

    node: Node
    folder: Path
    system: System
    alice: Caller
    asker: Follower
    script: Script
    logs: list[Any]
    stack: AsyncExitStack
    failures_before: dict[str, float] = field(default_factory=dict)

    async def refused_for(self, code: str) -> bool:
        """A new message is refused as the protocol says, threads are read all the same; the log names the reason."""
        self.logs.clear()
        response = await self.alice.post(create(str(Script())), keyed(2))
        assert (response.status_code, response.json()["error"]["code"]) == (503, "queue_unavailable")
        assert int(response.headers["retry-after"]) > 0
        threads = await self.threads()
        assert self.asker.answer.thread_id in threads
        assert len(threads) == 1 or code == "OOM", "nothing is written where no write passes"
        return code in {line.get("cause_code") for line in self.logs if line.get("action") in REFUSALS}

    async def threads(self) -> list[str]:
        listed = {"type": "threads.list", "params": {"limit": 10, "order": "asc"}}
        return [thread["id"] for thread in (await self.alice.ask(listed))["data"]]

    async def is_ready(self) -> bool:
        """The API stays ready for reading, because no other one does better."""
        response = await self.alice.client.get("/readyz")
        assert response.status_code == 200
        return takes_messages(response)

    def counted(self, code: str) -> float:
        return failures().get(code, 0) - self.failures_before.get(code, 0)

    async def is_answered(self, key: int) -> bool:
        response = await self.alice.post(create(str(Script())), keyed(key))
        return response.status_code == 200 and b": end completed" in response.content

    async def lease_ms(self) -> int:
        async with self.node.client() as admin:
            return int(await admin.pttl(keys.lease(self.asker.run_id)))


def failures() -> dict[str, float]:
    return {
        sample.labels["code"]: sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "relaykit_redis_failures_total"
    }


@asynccontextmanager
async def staged(
    database_url: str, key_file: Path, folder: Path, lease_seconds: float = LEASE_SECONDS
) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        logs = stack.enter_context(capture_logs())
        node = stack.enter_context(redis_node(folder, *APPEND_ONLY))
        await wait_until("Redis answers", node.answers)
        settings = make_settings(
            node.url,
            database_url,
            key_file,
            free_port(),
            lease_seconds=lease_seconds,
        )
        system = await stack.enter_async_context(running(settings, ScriptedAnswers))
        alice = await crowd(system, await system.caller())
        gate = folder / "gate"
        gate.mkdir()
        script = Script(gate=str(gate), **SCRIPT)  # type: ignore[arg-type]
        asker = await stack.enter_async_context(asking(alice, create(str(script)), keyed(1)))
        await asker.until("mid-answer", lambda answer: len(answer.of_type("thread.item.updated")) >= HOLD)
        yield Stage(node, folder, system, alice, asker, script, logs, stack, failures())


async def fill(stage: Stage) -> None:
    async with stage.node.client() as admin:
        await admin.config_set("maxmemory", "1")


async def make_room(stage: Stage) -> None:
    async with stage.node.client() as admin:
        await admin.config_set("maxmemory", "0")


async def demote(stage: Stage) -> None:
    async with stage.node.client() as admin:
        await admin.replicaof("127.0.0.1", "1")


async def promote(stage: Stage) -> None:
    async with stage.node.client() as admin:
        await admin.replicaof("NO", "ONE")


async def restart_slowly(stage: Stage) -> None:
    """It dies, and loads its log of commands, to which much is added, for as long as a test may take."""
    stage.node.process.kill()
    stage.node.process.wait()
    with (stage.folder / "appendonly.aof").open("ab") as log:
        log.write(b"*3\r\n$3\r\nSET\r\n$7\r\npadding\r\n$1\r\nx\r\n" * LOADED_COMMANDS)
    restart(stage, "--key-load-delay", str(LOAD_DELAY_US))


async def restart_fast(stage: Stage) -> None:
    """The same, and the load takes a second."""
    stage.node.process.kill()
    stage.node.process.wait()
    restart(stage)


def restart(stage: Stage, *options: str) -> None:
    again = redis_node(stage.folder, *APPEND_ONLY, *options, port=stage.node.port)
    stage.node = stage.stack.enter_context(again)


CASES = {
    "full": (fill, make_room, "OOM"),
    "read-only": (demote, promote, "READONLY"),
    "loading": (restart_slowly, restart_fast, "LOADING"),
}


@pytest.mark.parametrize("what", CASES)
async def test_new_messages_are_refused_and_what_runs_goes_on_afterwards(
    what: str, database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    begin, end, code = CASES[what]
    async with staged(database_url, issuer_key_file, tmp_path) as stage:
        await begin(stage)
        await wait_until(f"a message is refused for {code}", lambda: stage.refused_for(code))
        assert not await stage.is_ready()
        assert stage.counted(code) > 0
        open_gate(tmp_path / "gate", HOLD)
        await wait_until("the worker is refused too", lambda: publisher_waits(stage, code))
        assert not stage.asker.closed
        left = [line for line in stage.logs if line.get("action") == "redis_left"]
        assert len(left) <= EVENT_LOOPS, left
        await end(stage)
        await wait_until("the message is answered", lambda: stage.is_answered(2))
        assert len(await stage.threads()) == 2, "it was accepted once"
        answer = await stage.asker.finished()
        assert answer.end == "completed"
        places = [tuple(map(int, cursor.split("-"))) for cursor, _ in answer.frames if cursor]
        assert places == sorted(set(places))
        assert await stage.is_answered(3)
        content = answer.of_type("thread.item.done")[-1]["item"]["content"]
        assert [part["text"] for part in content] == stage.script.whole(1)
        shown = (await stage.alice.get(f"/runs/{answer.run_id}")).json()
        assert (shown["status"], shown["attempt"]) == ("completed", 1)
        await wait_until("the API is ready", stage.is_ready)


def publisher_waits(stage: Stage, code: str) -> bool:
    """What the server has made since is refused, and tried again."""
    return code in {
        line.get("cause_code")
        for line in stage.logs
        if line.get("action") in ("publisher_retry", "publisher_append")
    }


async def test_a_full_redis_that_takes_some_writes_is_not_told_to_be_back(
    database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """It takes the place of a message that it then has no room for."""

    def told(action: str) -> bool:
        return any(line.get("action") == action for line in stage.logs)

    async with staged(database_url, issuer_key_file, tmp_path) as stage:
        await fill(stage)

        async def is_away() -> bool:
            return not await stage.is_ready() and told("redis_away")

        await wait_until("Redis is full", is_away)
        for key in range(10, 13):
            response = await stage.alice.post(create(str(Script())), keyed(key))
            assert (response.status_code, response.json()["error"]["code"]) == (503, "queue_unavailable")
        assert not told("redis_back")
        await make_room(stage)
        await wait_until("the API takes messages", stage.is_ready)
        assert told("redis_back")
        open_gate(tmp_path / "gate", HOLD)
        assert (await stage.asker.finished()).end == "completed"
        for key in range(10, 13):
            await wait_until("the message is answered", lambda: stage.is_answered(key))  # noqa: B023


async def test_leases_are_renewed_while_redis_is_full(
    database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """So a run waits for longer than its lease, and begins no attempt anew."""
    async with staged(database_url, issuer_key_file, tmp_path, lease_seconds=2) as stage:
        await fill(stage)
        renewed, before = 0, await stage.lease_ms()

        async def is_renewed() -> bool:
            nonlocal renewed, before
            now = await stage.lease_ms()
            renewed, before = renewed + (now > before), now
            return renewed >= 2 * RENEWALS

        await wait_until("the lease has been renewed for twice its length", is_renewed)
        await make_room(stage)
        open_gate(tmp_path / "gate", HOLD)
        answer = await stage.asker.finished()
        shown = (await stage.alice.get(f"/runs/{answer.run_id}")).json()
        assert (answer.end, shown["attempt"]) == ("completed", 1)


async def test_a_lease_that_cannot_be_renewed_bounds_the_wait(
    database_url: str, issuer_key_file: Path, tmp_path: Path
) -> None:
    """A Redis that stays read-only for longer: the attempt ends, and the next one begins when it takes writes again."""
    async with staged(database_url, issuer_key_file, tmp_path, lease_seconds=1) as stage:
        await demote(stage)
        await wait_until(
            "the lease is given up", lambda: any(line.get("action") == "lease_lost" for line in stage.logs)
        )
        await promote(stage)
        open_gate(tmp_path / "gate", HOLD)
        run_id = stage.asker.run_id

        async def ended() -> dict[str, Any] | None:
            shown: dict[str, Any] = (await stage.alice.get(f"/runs/{run_id}")).json()
            return shown if shown["status"] not in ("queued", "running") else None

        shown = await wait_until("the run has ended", ended)
        assert (shown["status"], shown["attempt"]) == ("completed", 2)
