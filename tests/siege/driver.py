"""Wires a siege: a phase without an attack, a phase for each attack, one with all of them, and the verdicts."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import asyncpg
import httpx2
from redis.asyncio import Redis

from relaykit.shared.redis import keys
from relaykit.shared.runs.run import ENDED
from relaykit.shared.tasks import end_tasks
from tests.chaos import checks, evidence
from tests.chaos.evidence import Archive
from tests.chaos.fold import Item
from tests.chaos.record import Evidence, Loss, RunRow
from tests.chaos.slots import Slot
from tests.chaos.wire import http_client
from tests.siege.attack import ATTACKS, BASELINE, WARMING, Attack, together
from tests.siege.besiegers import attacked
from tests.siege.gauges import open_descriptors, resident_mb
from tests.siege.phase import Bounds, Phase, failures
from tests.siege.report import attack_lines, baseline_lines
from tests.siege.stage import SWOLLEN, Stage, staged
from tests.siege.visitors import TimedTurn, Visitor, VisitorWire
from tests.siege.watch import watching

WARM_SECONDS = 1.0
"""Of clients alone, before an attack begins."""
CLOSE_SECONDS = 10.0
"""For the API to close what the attackers and the clients have left."""
POLL_SECONDS = 0.05

RUNS = """
SELECT id, idempotency_key AS key, thread_id, status, attempt, handed_back, error,
    queued_at, started_at, ended_at
FROM runs WHERE starts_with(idempotency_key, $1) ORDER BY seq
"""
CANCEL = "UPDATE runs SET cancel_requested = true WHERE status <> ALL ($1) RETURNING id"
ITEMS = "SELECT thread_id, data FROM items WHERE thread_id = ANY ($1) ORDER BY thread_id, seq"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a siege is to be. The seed gives the order of the attacks."""

    seed: int
    seconds: float
    """Of each attack, and of the time without one."""
    alone: tuple[Attack, ...] = ATTACKS
    """The attacks that are made one after the other."""
    at_once: tuple[Attack, ...] = ATTACKS
    """Those that are made at once in the end."""
    head_seconds: float = 2
    """HEAD_SECONDS of the API."""
    visitors: int = 10
    deltas: int = 40
    """Of an answer, one every 50 ms."""
    bounds: Bounds = field(default_factory=Bounds)
    settle_seconds: float = 60.0
    """For all that was accepted to end, once an attack is over."""


@dataclass
class Outcome:
    """All phases, and what is wrong with each."""

    phases: list[Phase] = field(default_factory=list)
    failed: dict[str, list[str]] = field(default_factory=dict)


async def siege(
    given: Plan, logs: Path, redis_url: str, database_url: str, tell: Callable[[str], None] = print
) -> Outcome:
    """Runs it all on migrated services; `tell` gets the rows as they come."""
    outcome = Outcome()
    attacks = list(given.alone)
    Random(given.seed).shuffle(attacks)
    if given.at_once:
        attacks.append(together(given.at_once, expecting=not given.alone))
    async with staged(logs, redis_url, database_url, given.head_seconds) as stage:
        await _phase(stage, replace(given, seconds=WARM_SECONDS), Attack(name=WARMING))
        baseline = await _phase(stage, given, Attack(name=BASELINE))
        stage.held_mb = {name: memory.peak for name, memory in baseline.memory.items()}
        outcome.phases.append(baseline)
        outcome.failed[BASELINE] = failures(baseline, baseline, Attack(name=BASELINE), given.bounds)
        for line in baseline_lines(baseline, outcome.failed[BASELINE]):
            tell(line)
        for attack in attacks:
            await _renew(stage)
            phase = await _phase(stage, given, attack)
            if phase.left_queued:
                await _cancel_all(stage, given.settle_seconds)
            outcome.phases.append(phase)
            outcome.failed[attack.name] = failures(phase, baseline, attack, given.bounds)
            for line in attack_lines(phase, outcome.failed[attack.name]):
                tell(line)
    return outcome


async def _renew(stage: Stage) -> None:
    """Starts anew what the attacks before have swollen, so that each attack is measured by itself."""
    for slot in (stage.api, *stage.workers):
        if resident_mb(slot.pid) > SWOLLEN * stage.held_mb[slot.name]:
            await stage.restart(slot)


async def _cancel_all(stage: Stage, seconds: float) -> None:
    """Ends the runs that an attack has left, so that the next attack is measured without them."""
    async with stage.database() as database, stage.redis_client() as redis:
        for row in await database.fetch(CANCEL, [status.value for status in ENDED]):
            await redis.publish(keys.SIGNALS, row["id"])
        await _left_queued(database, redis, seconds)


# --- one phase


async def _phase(stage: Stage, given: Plan, attack: Attack) -> Phase:
    """Clients, an attack beside them, and what is left of it."""
    phase = Phase(attack.name)
    async with _besieged(stage, attack) as (api, port), stage.redis_client() as redis:
        files = open_descriptors(api.pid, port).files
        slots = [api, *stage.workers]
        async with http_client() as client:
            stopping = asyncio.Event()
            visitors = _visitors(given, stage, attack, client, port, stopping)
            async with _talking(visitors) as talking:
                await asyncio.sleep(WARM_SECONDS)
                async with watching(phase, port, slots, redis, may_refuse=attack.descriptors is not None):
                    _compare_with_the_baseline(phase, stage)
                    if attack.name in (WARMING, BASELINE):
                        await asyncio.sleep(given.seconds)
                    else:
                        names = [part.name for part in attack.each]
                        phase.tallies = await attacked(stage.issuer, port, names, given.seconds, given.seed)
                    stopping.set()
                    await _ended(talking, given.settle_seconds)
        for began_at, answered_at in phase.probes:
            phase.note(phase.health, began_at, answered_at)
        _note_waits(phase, visitors)
        async with stage.database() as database:
            phase.left_queued = await _left_queued(database, redis, given.settle_seconds)
            phase.losses = await _losses(attack.name, visitors, database, redis)
        phase.losses += _complaints(slots)
        phase.left_open = await _left_open(api, port, files)
    return phase


@asynccontextmanager
async def _besieged(stage: Stage, attack: Attack) -> AsyncIterator[tuple[Slot, int]]:
    """The API process that the attack is made on, and its port."""
    if attack.descriptors is None:
        yield stage.api, stage.port
    else:
        async with stage.limited_api(attack.descriptors) as (slot, port):
            yield slot, port


def _visitors(
    given: Plan, stage: Stage, attack: Attack, client: httpx2.AsyncClient, port: int, stopping: asyncio.Event
) -> list[Visitor]:
    def visitor(number: int) -> Visitor:
        random = Random(f"{given.seed} {attack.name} {number}")
        wire = VisitorWire(client, [f"http://127.0.0.1:{port}"], stage.issuer, f"visitor-{number}", random)
        return Visitor(f"{attack.name}.{number}", given.deltas, wire, random, stopping)

    return [visitor(number) for number in range(given.visitors)]


def _compare_with_the_baseline(phase: Phase, stage: Stage) -> None:
    """A process that was started anew holds less than one that has served, without any attack."""
    for name, memory in phase.memory.items():
        if name != "redis":
            memory.before = max(memory.before, stage.held_mb.get(name, 0.0))


@asynccontextmanager
async def _talking(visitors: list[Visitor]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """The tasks of the clients, of which none outlives the block."""
    tasks = [asyncio.create_task(visitor.talk()) for visitor in visitors]
    try:
        yield tasks
    finally:
        await end_tasks(tasks)


async def _ended(talking: list[asyncio.Task[None]], seconds: float) -> None:
    """Waits until every client has ended what it had begun; the checks tell of those that have not."""
    done, _ = await asyncio.wait(talking, timeout=seconds)
    for task in done:
        task.result()


def _note_waits(phase: Phase, visitors: list[Visitor]) -> None:
    for turn in (turn for visitor in visitors for turn in visitor.turns):
        assert isinstance(turn, TimedTurn)
        phase.runs += 1
        for began_at, came_at in turn.further_waits:
            phase.note(phase.delta, began_at, came_at, turn.script.pause_ms)
        longest = phase.first.longest
        for began_at, came_at in turn.first_wait:
            phase.note(phase.first, began_at, came_at, turn.script.pause_ms)
        if phase.first.longest > longest:
            phase.slowest = turn.story


# --- what is left of it


async def _left_queued(database: asyncpg.Connection, redis: Redis, seconds: float) -> list[str]:
    """All runs, the attackers' among them, that have not ended in this time, and their jobs and leases."""
    deadline = time.monotonic() + seconds
    while True:
        left = [*await evidence.unfinished(database), *await evidence.at_work(redis)]
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(POLL_SECONDS)


async def _losses(
    name: str, visitors: list[Visitor], database: asyncpg.Connection, redis: Redis
) -> list[Loss]:
    """All that the clients of this phase lost: their streams against the journals, and their threads."""
    rows = [RunRow(**dict(row)) for row in await database.fetch(RUNS, f"key-{name}.")]
    archive = Archive()
    await archive.add(redis, [row.id for row in rows])
    items: dict[str, list[Item]] = {}
    for row in await database.fetch(ITEMS, [row.thread_id for row in rows]):
        items.setdefault(row["thread_id"], []).append(json.loads(row["data"]))
    turns = [turn for visitor in visitors for turn in visitor.turns]
    found = checks.losses(
        Evidence(rows=rows, items=items, journals=archive.journals, data_losses=[], turns=turns)
    )
    defects = [defect for visitor in visitors for defect in visitor.wire.defects]
    return [*found, *(Loss(checks.CLIENT, "a request", defect) for defect in defects)]


def _complaints(slots: list[Slot]) -> list[Loss]:
    """Ends of processes that were not asked for, since this was asked last."""
    found = [Loss(checks.PROCESS, slot.name, complaint) for slot in slots for complaint in slot.complaints]
    for slot in slots:
        slot.complaints.clear()
    return found


async def _left_open(api: Slot, port: int, files_before: Counter[str]) -> list[str]:
    """What the API still has open when every client and every attacker has gone."""
    deadline = time.monotonic() + CLOSE_SECONDS
    while True:
        held = open_descriptors(api.pid, port)
        left = [f"{held.connections} connections"] if held.connections else []
        left += (held.files - files_before).elements()
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(POLL_SECONDS)
