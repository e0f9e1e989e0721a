"""A deploy at full load: every API and every worker is restarted in turn, and nobody's answer shows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import asyncpg
import httpx2
import pytest
from redis.asyncio import Redis

from relaykit.shared.journal import Field, entries
from relaykit.shared.redis import keys
from relaykit.shared.settings import Settings
from tests.support.clients.stream_clients import body, crowd, cursors
from tests.support.servers.relay_servers import Script
from tests.support.system import (
    START_SECONDS,
    Caller,
    Process,
    Processes,
    create,
    free_port,
    running_processes,
    wait_until,
)

CLIENTS = 60
SCRIPT = Script(deltas=100, every_seconds=0.3)
PATIENCE_SECONDS = 300.0


@dataclass
class Client:
    """One chat: it asks once, and resumes for as long as its stream closes without the end."""

    callers: list[Caller]
    number: int
    script: Script = SCRIPT
    read: bytes = b""
    run_id: str = ""
    closed_at: list[float] = field(default_factory=list)
    nothing_left: bool = False
    """Whether a resume was answered with 204: the run has ended, and all of it but its end has come before."""

    @property
    def ended(self) -> bool:
        return self.nothing_left or self.read.startswith(b": end ") or b"\n: end " in self.read

    def has_read(self, sent: bytes) -> bool:
        """Whether that is what it was sent."""
        rest = sent.removeprefix(self.read)
        return sent.startswith(self.read) and (rest.startswith(b": end ") if self.nothing_left else not rest)

    async def chat(self) -> None:
        callers = cycle(self.callers if self.number % 2 else self.callers[::-1])
        while not self.ended:
            await self._read(callers)

    async def _read(self, callers: Iterator[Caller]) -> None:
        caller, raw = next(callers), b""
        known = cursors(self.read)
        if self.run_id:
            request = caller.client.build_request(
                "GET",
                f"/runs/{self.run_id}/events",
                headers={**caller._headers, **({"Last-Event-ID": known[-1]} if known else {})},
            )
        else:
            headers = {**caller._headers, "Idempotency-Key": f"client-{self.number}"}
            request = caller.client.build_request(
                "POST", "/chatkit", json=create(str(self.script)), headers=headers
            )
        try:
            response = await caller.client.send(request, stream=True)
            if response.status_code == 204:
                self.nothing_left = True
                return
            assert response.status_code == 200, await response.aread()
            self.run_id = response.headers["x-run-id"]
            async for part in response.aiter_raw():
                raw += part
        except httpx2.TransportError:
            await asyncio.sleep(0.1)  # as a browser does before it tries the next host
        if raw:
            self.closed_at.append(time.monotonic())
            self.read += body(raw[: raw.rfind(b"\n\n") + 2])


async def journal(redis: Redis, run_id: str) -> bytes:
    sent = b""
    for entry in entries(await redis.xrange(keys.journal(run_id))):
        if entry.field is Field.EVENT:
            sent += b"id: %b\ndata: %b\n\n" % (str(entry.cursor).encode(), entry.payload)
        elif entry.field is Field.END:
            sent += b": end %b\n\n" % entry.payload
    return sent


async def stopped(process: Process) -> None:
    await asyncio.to_thread(process.terminate)


async def restart_everything(system: Processes, ports: list[int]) -> list[tuple[float, float]]:
    """Workers first, then the APIs, each as a deploy does it; when each API was told, and when it was gone."""
    for worker in list(system.worker_processes):
        fresh = system.start_worker()
        await wait_until(
            "the new worker is there", lambda fresh=fresh: "worker started" in fresh.output, START_SECONDS
        )
        await stopped(worker)
    times = []
    for api, port in zip(list(system.api_processes), ports, strict=True):
        told_at = time.monotonic()
        await stopped(api)
        times.append((told_at, time.monotonic()))
        await system.start_api(port)
    return times


@pytest.mark.long
async def test_a_rolling_restart_of_everything(settings: Settings, tmp_path: Path) -> None:
    """No run fails and none costs an attempt, no client loses or repeats a byte, and they do not all return at once."""
    deployed = settings.model_copy(
        update={
            "chatkit_server": "tests.support.servers.relay_servers:ScriptedAnswers",
            "run_max_attempts": 2,
            "drain_seconds": 3,
        }
    )
    ports = [settings.port, free_port()]
    async with running_processes(deployed, tmp_path, apis=0, workers=2) as system:
        for port in ports:
            await system.start_api(port)
        alice = await crowd(system, await system.caller())
        clients = [Client([alice, await crowd(system, alice, api=1)], number) for number in range(CLIENTS)]
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.chat())
            await wait_until("everybody has a run", lambda: all(client.run_id for client in clients))
            times = await restart_everything(system, ports)
        async with Redis.from_url(settings.redis_url) as redis:
            for client in clients:
                assert client.has_read(await journal(redis, client.run_id)), client.run_id
        database = await asyncpg.connect(settings.database_url)
        rows = await database.fetch("SELECT id, status, attempt, handed_back FROM runs")
        await database.close()
    assert {row["id"] for row in rows} == {client.run_id for client in clients}
    assert {row["status"] for row in rows} == {"completed"}
    assert all(row["attempt"] == row["handed_back"] + 1 for row in rows)
    assert sum(row["handed_back"] for row in rows) > 0, "no run was in a worker's way"
    # spread by the API over five milliseconds each; a busy machine sees some of them late, and so together
    for told_at, gone_at in times:
        closings = sorted(at for client in clients for at in client.closed_at if told_at <= at <= gone_at)
        assert len(closings) > CLIENTS / 4, "the API had clients to lose"
        assert closings[-1] - closings[0] > 0.25 * (len(closings) - 1) / 200, "they were all closed at once"
