"""Wires a chaos run: services, processes, clients, the faults one after the other, the wait, the checks."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx2

from relaykit.local.data_directory import data_directory
from relaykit.shared.postgres.migrate import migrate
from relaykit.shared.settings import Settings
from relaykit.shared.tasks import end_tasks
from relaykit.worker.keeper.last_resort import BLOCKED_STATUS
from tests.chaos import checks, evidence
from tests.chaos.chats import Chat
from tests.chaos.evidence import Archive
from tests.chaos.fault import Fault, Step, plan
from tests.chaos.faults import FAULTS
from tests.chaos.harm import BLOCKED_SECONDS, LEASE_SECONDS
from tests.chaos.record import Evidence, Loss
from tests.chaos.report import Outcome
from tests.chaos.routes import Route, Routes
from tests.chaos.services import postgres_service, redis_services
from tests.chaos.slots import Slot, close_all, kept
from tests.chaos.stage import Stage
from tests.chaos.wire import Wire, http_client
from tests.integration.jwks_server import JwksServer, settings_for, signing_key
from tests.support.services.databases import open_folder, remove_data
from tests.support.system import START_SECONDS, environment, free_port, takes_messages, wait_until

APIS = 2
WORKERS = 3
OWN_ENDS = frozenset({-signal.SIGKILL, BLOCKED_STATUS})
"""How a worker may end because of what a run did to it."""
KEY = signing_key(algorithm="EdDSA")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a chaos run is to be. The same seed gives the same faults in the same order."""

    seed: int
    chats: int
    seconds: float = math.inf
    """No fault begins later than that."""
    rounds: float = math.inf
    """How often each fault comes at the most."""
    every_seconds: float = 1.5
    """The mean time between two faults."""
    faults: tuple[Fault, ...] = FAULTS
    settle_seconds: float = 120.0
    """For all that was accepted to end, once the faults are over."""


async def chaos(given: Plan, logs: Path) -> Outcome:
    """Runs it all; processes write their logs to `logs`."""
    outcome = Outcome(given.seed, given.chats)
    stopping = asyncio.Event()
    async with _staged(logs) as stage, http_client() as client:
        began_at = time.monotonic()
        chats = _chats(given, stage, client, stopping)
        archive = Archive()
        archiving = asyncio.create_task(
            archive.keep(stage, lambda: (turn for chat in chats for turn in chat.turns))
        )
        talking = [asyncio.create_task(chat.talk()) for chat in chats]
        await _inject(given, stage, outcome, logs / "faults.log")
        stopping.set()
        quiet_at = time.monotonic()
        outcome.seconds = quiet_at - began_at
        await _settled(stage, talking, given.settle_seconds, outcome)
        outcome.settle_seconds = time.monotonic() - quiet_at
        await end_tasks([archiving])
        assert archiving.cancelled() or archiving.exception() is None, archiving.exception()
        outcome.turns = [turn for chat in chats for turn in chat.turns]
        outcome.losses += [Loss(checks.CLIENT, "a request", d) for chat in chats for d in chat.wire.defects]
        await _check(stage, archive, outcome)
    return outcome


# --- what is there


@asynccontextmanager
async def _staged(logs: Path) -> AsyncIterator[Stage]:
    """Services and processes, ready; none of them is left after the block."""
    folder = open_folder("relaykit-chaos-")
    try:
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(data_directory(folder))
            jwks = stack.enter_context(JwksServer(KEY))
            routes = await stack.enter_async_context(Routes())
            redis, spare, postgres = *redis_services(directory), postgres_service(directory)
            stage = Stage(directory, LEASE_SECONDS, redis, spare, postgres, routes)
            for service in (redis, spare, postgres):
                await service.start()
                stack.push_async_callback(service.close)
            await asyncio.to_thread(migrate, postgres.url)
            stage.apis = [await _api(stage, jwks, logs, number) for number in range(1, APIS + 1)]
            stage.workers = [await _worker(stage, jwks, logs, number) for number in range(1, WORKERS + 1)]
            await stack.enter_async_context(kept(stage.slots))
            await _ready(stage)
            yield stage
    finally:
        remove_data(folder)


async def _api(stage: Stage, jwks: JwksServer, logs: Path, number: int) -> Slot:
    redis_url = await stage.routes.open(Route.API_REDIS, stage.redis.url)
    database_url = await stage.routes.open(Route.API_POSTGRES, stage.postgres.url)
    port = free_port()
    stage.urls.append(await stage.routes.open(Route.CLIENT_API, f"http://127.0.0.1:{port}"))
    settings = _settings(jwks, redis_url, database_url)
    return Slot(f"api-{number}", "relaykit.api", environment(settings, PORT=str(port)), logs)


async def _worker(stage: Stage, jwks: JwksServer, logs: Path, number: int) -> Slot:
    redis_url = await stage.routes.open(Route.WORKER_REDIS, stage.redis.url)
    database_url = await stage.routes.open(Route.WORKER_POSTGRES, stage.postgres.url)
    given = environment(_settings(jwks, redis_url, database_url))
    return Slot(f"worker-{number}", "relaykit.worker", given, logs, own_ends=OWN_ENDS)


def _settings(jwks: JwksServer, redis_url: str, database_url: str) -> Settings:
    return settings_for(
        jwks,
        redis_url=redis_url,
        database_url=database_url,
        database_pool_min=2,
        database_pool_max=10,
        chatkit_server="tests.chaos.server:ChaosServer",
        lease_seconds=LEASE_SECONDS,
        blocked_seconds=BLOCKED_SECONDS,
        drain_seconds=2,
        run_max_attempts=50,
        ping_seconds=2,
        stall_seconds=20,
        tail_max_bytes=4096,
    )


async def _ready(stage: Stage) -> None:
    """Every API answers, and every process lives."""
    async with http_client() as client:

        async def ready(url: str) -> bool:
            try:
                return takes_messages(await client.get(f"{url}/readyz"))
            except httpx2.TransportError:
                return False

        for url in stage.urls:
            await wait_until(f"{url} is ready", lambda url=url: ready(url), START_SECONDS)  # type: ignore[misc]
    for slot in stage.slots:
        await wait_until(f"{slot.name} lives", lambda slot=slot: slot.alive, START_SECONDS)  # type: ignore[misc]


def _chats(given: Plan, stage: Stage, client: httpx2.AsyncClient, stopping: asyncio.Event) -> list[Chat]:
    def chat(number: int) -> Chat:
        random = Random(f"{given.seed} chat {number}")
        wire = Wire(client, stage.urls, KEY, f"user-{number}", random)
        return Chat(number, wire, random, stage.streams, stopping)

    return [chat(number) for number in range(given.chats)]


# --- what is done to it


async def _inject(given: Plan, stage: Stage, outcome: Outcome, log: Path) -> None:
    """Injects the faults of the plan; returns when all are undone."""
    began_at = time.monotonic()

    async def act(step: Step) -> None:
        await step.fault.act(stage, Random(f"{given.seed} fault {step.number}"))
        outcome.injected[step.fault.name] += 1
        note(step, "undone")

    def note(step: Step, what: str) -> None:
        with log.open("a") as file:
            now = time.time()
            clock = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now % 1 * 1000):03}"
            file.write(f"{clock} {step.number} {step.fault.name}: {what}\n")

    async with asyncio.TaskGroup() as tasks:
        for step in plan(Random(given.seed), given.faults, given.every_seconds, given.rounds):
            await asyncio.sleep(step.after_seconds)
            if time.monotonic() - began_at > given.seconds:
                break
            note(step, "begins")
            tasks.create_task(act(step))


# --- what became of it


async def _settled(stage: Stage, talking: list[asyncio.Task[None]], seconds: float, outcome: Outcome) -> None:
    """Waits until every client and every run has come to its end; what has not is a loss."""
    deadline = time.monotonic() + seconds
    await _ready(stage)
    done, late = await asyncio.wait(talking, timeout=max(1.0, deadline - time.monotonic()))
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    for task in done:
        task.result()
    async with stage.database() as database, stage.redis_client() as redis:
        while time.monotonic() < deadline and (
            await evidence.unfinished(database) or await evidence.at_work(redis)
        ):
            await asyncio.sleep(0.1)
        outcome.losses += [
            Loss(checks.LEFT_OVER, what, "in Redis, with nothing left to do")
            for what in await evidence.at_work(redis)
        ]


async def _check(stage: Stage, archive: Archive, outcome: Outcome) -> None:
    async with stage.database() as database, stage.redis_client() as redis:
        outcome.losses += await evidence.forgotten_transactions(database)
        outcome.rows = await evidence.run_rows(database)
        await archive.add(redis, [row.id for row in outcome.rows])
        found = Evidence(
            rows=outcome.rows,
            items=await evidence.items(database),
            journals=archive.journals,
            data_losses=stage.data_losses,
            turns=outcome.turns,
            threads=await evidence.threads(database),
        )
        outcome.losses += checks.losses(found)
        await close_all(stage.slots)
        await stage.routes.quiet()
        outcome.losses += await evidence.endless_keys(redis)
        outcome.losses += await evidence.sessions_left(database)
    outcome.own_ends = sum(slot.ended_itself for slot in stage.slots)
    outcome.refused_starts = sum(slot.refused_starts for slot in stage.slots)
    outcome.losses += [
        Loss(checks.PROCESS, slot.name, complaint) for slot in stage.slots for complaint in slot.complaints
    ]
