"""A deploy from the release before to this one, and its rollback, under clients that chat on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from relaykit.shared.postgres.migrate import MIGRATIONS
from relaykit.shared.settings import Settings
from tests import previous
from tests.e2e.test_rolling_restart import Client, journal, stopped
from tests.previous.code import migrate, started
from tests.support.clients.stream_clients import crowd
from tests.support.servers.relay_servers import Script
from tests.support.system import (
    Caller,
    Process,
    Processes,
    free_port,
    running_processes,
    start_process,
    wait_until,
)

pytestmark = pytest.mark.long

CLIENTS = 30
SCRIPT = Script(deltas=40, every_seconds=0.2)
PATIENCE_SECONDS = 400.0


@dataclass
class Chats:
    """Clients that chat on and on, one thread after the other, until they are told to stop."""

    alices: list[Caller]
    done: list[Client] = field(default_factory=list)
    stopping: bool = False

    async def chat(self, number: int) -> None:
        for turn in count():
            if self.stopping:
                return
            client = Client(self.alices, 1000 * number + turn, SCRIPT)
            await client.chat()
            self.done.append(client)


async def renew_workers(system: Processes, code: dict[str, str]) -> None:
    """New ones are there before the old ones stop."""
    for worker in [process for process in system.worker_processes if process.popen.poll() is None]:
        await started(system, code)
        await stopped(worker)


async def renew_apis(
    system: Processes, apis: list[Process], ports: list[int], code: dict[str, str]
) -> list[Process]:
    new = []
    for api, port in zip(apis, ports, strict=True):
        await stopped(api)
        new.append(await system.start_api(port, **code))
    return new


async def test_a_deploy_and_its_rollback(
    deployed: Settings, code: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """From the release before to this one, schema and all, and back on the new schema: nobody's answer shows it.

    In the order of docs/migrations.md.
    """
    ports = [free_port(), free_port()]
    async with running_processes(deployed, tmp_path, apis=0, workers=0, start=start_process) as system:
        for port in ports:
            await started(system, code["previous"])
            await system.start_api(port, **code["previous"])
        apis = list(system.api_processes)
        await system.start_api(deployed.port, **code["previous"])  # the issuer, which no deploy touches
        alice = await crowd(system, await system.caller())
        chats = Chats([alice, await crowd(system, alice, api=1)])
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(chats.chat(number))
            await wait_until("everybody has an answer", lambda: len(chats.done) >= CLIENTS)
            await asyncio.to_thread(migrate, deployed)
            await renew_workers(system, code["current"])
            apis = await renew_apis(system, apis, ports, code["current"])
            forward = len(chats.done)
            await renew_apis(system, apis, ports, code["previous"])
            await renew_workers(system, code["previous"])
            chats.stopping = True
        async with Redis.from_url(deployed.redis_url) as redis:
            for client in chats.done:
                assert client.has_read(await journal(redis, client.run_id)), client.run_id
        database = await asyncpg.connect(deployed.database_url)
        rows = await database.fetch("SELECT id, status, attempt, handed_back FROM runs")
        items = await database.fetch("SELECT count(*) AS items FROM items GROUP BY thread_id")
        applied = await database.fetch("SELECT migration_id FROM _yoyo_migration")
        await database.close()
    assert len(chats.done) > forward > CLIENTS
    assert {row["id"] for row in rows} == {client.run_id for client in chats.done}
    assert {row["status"] for row in rows} == {"completed"}
    assert all(row["attempt"] == row["handed_back"] + 1 for row in rows)
    assert sum(row["handed_back"] for row in rows) > 0, "no run was in a worker's way"
    assert {row["items"] for row in items} == {2}
    assert {row["migration_id"] for row in applied} == {path.stem for path in MIGRATIONS.glob("*.sql")}
    assert len(applied) > len(list(previous.MIGRATIONS.glob("*.sql")))
