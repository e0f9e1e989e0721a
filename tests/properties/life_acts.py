"""All who take part in the life of runs, and what each of them may do next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from relaykit.api.admission.submission import Submitted
from relaykit.shared.errors import RelaykitError
from relaykit.shared.journal import Field
from relaykit.shared.redis import keys
from relaykit.shared.runs.run import Run
from relaykit.worker.execution.stop import Stop
from tests.properties.life import HOSTS, World, owned_by
from tests.properties.life_client import Client
from tests.properties.life_job import Job
from tests.properties.life_process import Process
from tests.properties.life_record import Record, Row
from tests.properties.life_stale import assert_powerless
from tests.properties.life_worker import Worker
from tests.support.system import user_input

TICK_SECONDS = 0.002
"""Between two steps: what is queued in one is due before what is queued in the next."""
REFUSALS = ("idempotency_mismatch", "thread_busy", "thread_not_found", "item_not_found")

T = TypeVar("T")


class Life:
    """A world, the workers, the processes that are under way and the clients; `step` does a thing and checks all."""

    def __init__(self, world: World, workers: int) -> None:
        self.world = world
        self.record = Record(world)
        self.workers = [Worker(world, f"w{number}") for number in range(workers)]
        self.drained: list[Worker] = []
        """Those whose last attempts end. Another has taken the place of each."""
        self.processes: list[Process] = []
        self.clients: list[Client] = []
        self.threads: dict[tuple[str, int], str] = {}
        self.calm_steps = 0
        """Since Redis was emptied."""
        self._posts: dict[Process, tuple[str, dict[str, Any]]] = {}
        self._posted = 0

    async def step(self, act: Awaitable[Any]) -> None:
        self.calm_steps += 1
        await self.world.pass_time(TICK_SECONDS)
        await act
        await self._settle()

    async def _settle(self) -> None:
        for worker in self._all_workers:
            await worker.stands()
        attempts = [
            (job, job.run) for worker in self._all_workers for job in worker.jobs if job.run is not None
        ]
        for job, run in attempts:
            self.record.put.setdefault(run.id, {}).update(job.put)
            if job.rewound:
                self.record.rewound.add((run.id, run.attempt))
            if job.is_last or (job.rewound and run.max_attempts == 1):
                self.record.last.add((run.id, run.attempt))
        await self.record.observe()
        for job, run in attempts:
            row = self.record.rows.get(run.id)
            assert not job.ended or row is None or row.attempt == run.attempt, f"{run} has ended {row}"
        await self.world.send_notices()
        for run_id, asked in self._posts.values():
            if run_id in self.record.rows:
                place = (asked["owner"], asked["slot"])
                self.threads.setdefault(place, self.record.rows[run_id].thread_id)
        for process in [process for process in self.processes if process.done]:
            self.processes.remove(process)
            if process in self._posts:
                await self._answered(process.outcome, *self._posts.pop(process))

    @property
    def _all_workers(self) -> list[Worker]:
        return [*self.workers, *self.drained]

    @property
    def jobs(self) -> list[Job]:
        return [job for worker in self._all_workers for job in worker.unfinished]

    @property
    def stale(self) -> list[Job]:
        """Jobs whose attempt is over, though they may not know."""
        return [job for job in self.jobs if job.run is not None and self._is_over(job.run)]

    def _is_over(self, run: Run) -> bool:
        row = self.record.rows.get(run.id)
        return row is None or row.status.ended or row.attempt > run.attempt

    # Requests

    async def post(
        self, owner: str, slot: int, policy: str, key: str | None, text: str, *, once: bool, steps: int
    ) -> None:
        self._posted += 1
        run_id = f"run_{self._posted:04}"
        body = json.dumps(self._body(self.threads.get((owner, slot)), slot, text)).encode()
        given = {"idempotency_key": key, "max_attempts": 1 if once else None}
        process = await self._begin(self.world.post(body, policy, owner, run_id, **given))
        self._posts[process] = (run_id, {"owner": owner, "slot": slot, "key": key, "body": body})
        await self._go_on(process, steps)

    def _body(self, thread: str | None, slot: int, text: str) -> dict[str, Any]:
        if thread is None:
            return {"type": "threads.create", "params": {"input": user_input(f"{slot}{text}")}}
        items = [row.item_id for row in self.record.rows.values() if row.thread_id == thread and row.item_id]
        if text == "retry" and items:
            params = {"thread_id": thread, "item_id": items[-1]}
            return {"type": "threads.retry_after_item", "params": params}
        return {
            "type": "threads.add_user_message",
            "params": {"thread_id": thread, "input": user_input(text)},
        }

    async def _answered(self, outcome: Any, run_id: str, asked: dict[str, Any]) -> None:
        """A refusal has written nothing; an answer is the caller's own new run, or one that he may attach to."""
        if not isinstance(outcome, Submitted):
            assert isinstance(outcome, RelaykitError), repr(outcome)
            assert outcome.code in REFUSALS, f"{outcome.code} is no answer to a request"
            assert run_id not in self.record.accepted
            return
        run = outcome.run
        assert run.owner.user_id == asked["owner"]
        assert (run.id == run_id) == (run_id in self.record.accepted)
        if run.id != run_id:
            asked_for = (asked["key"], hashlib.sha256(asked["body"]).digest())
            assert (run.idempotency_key, run.request_hash) == asked_for or b"retry" in asked["body"]
        self.clients.append(Client(run.id, run.owner.user_id, []))
        hub = self.world.hubs[self._posted % HOSTS]
        await self.clients[-1].connect(hub, expected=not run.status.ended, written=outcome.events)
        if self.clients[-1].frames:
            await self.world.note_received(run.id)
        self.record.check_client(self.clients[-1])

    async def cancel(self, which: int, steps: int) -> None:
        row = self._row(which)
        await self._go_on(await self._begin(self.world.cancel(row.id, row.owner)), steps)

    async def delete_thread(self, owner: str, slot: int, steps: int) -> None:
        thread = self.threads.pop((owner, slot), None)
        if thread is not None:
            self.record.deleted.add(thread)
            await self._go_on(await self._begin(self.world.delete_thread(thread, owner)), steps)

    async def reap(self, steps: int) -> None:
        await self._go_on(await self._begin(self.world.reap()), steps)

    async def tick(self, host: int, steps: int) -> None:
        await self._go_on(await self._begin(self.world.watch(self.world.hubs[host])), steps)

    async def _begin(self, work: Any) -> Process:
        process = Process(work)
        self.processes.append(process)
        await process.stands()
        return process

    async def _go_on(self, process: Process, steps: int) -> None:
        for _ in range(steps):
            if not process.done:
                await self._settle()
                await process.go_on()

    async def go_on(self, which: int) -> None:
        await one_of(self.processes, which).go_on()

    async def die(self, which: int) -> None:
        process = one_of(self.processes, which)
        self.processes.remove(process)
        self._posts.pop(process, None)
        await process.kill()

    # Workers, time and Redis

    async def worker(self, which: int, what: str) -> None:
        job = one_of(self.jobs, which)
        match what:
            case "lease ends" | "taken over":
                now, _ = await self.world.redis.time()
                await self.world.redis.delete(keys.lease(job.run_id))
                await self.world.redis.zadd(keys.QUEUE, {job.run_id: now * 1000}, xx=True)
                if what == "taken over":
                    others = [worker for worker in self.workers if worker is not job.worker]
                    await others[which % len(others)].claim(1)
            case "heartbeat":
                await job.worker.beat()
            case "dies":
                await job.worker.kill()
            case "drains":
                job.worker.executor.drain()
                if job.worker in self.workers:
                    name = f"{job.worker.name}+"
                    self.workers[self.workers.index(job.worker)] = Worker(self.world, name)
                    self.drained.append(job.worker)
            case "publishes":
                await job.publish("flush")
            case "time is over":
                job.stop(Stop.TIMEOUT)
            case "nobody follows":
                job.stop(Stop.ABANDONED)
            case "is stopped":
                job.stop(Stop.USER)

    async def try_everything(self, which: int) -> None:
        job = one_of(self.stale, which)
        await assert_powerless(self.world, job, self.record)

    async def time_passes(self, seconds: float) -> None:
        await self.world.pass_time(seconds)
        for run_id, journal in list(self.record.journals.items()):
            if journal and not await self.world.redis.exists(keys.journal(run_id)):
                assert journal[-1].field is Field.END, f"the journal of {run_id} has expired before its end"
                self.record.lose([run_id])

    async def empty_redis(self) -> None:
        await self.world.redis.flushdb()
        self.record.lose(self.record.journals)
        self.calm_steps = 0

    async def close(self) -> None:
        for client in self.clients:
            await client.disconnect()
        for process in self.processes:
            await process.kill()
        for worker in self._all_workers:
            await worker.kill()

    # Clients

    async def follow(self, which: int, host: int) -> None:
        row = self._row(which)
        self.clients.append(Client(row.id, row.owner, []))
        await self._connect(self.clients[-1], host)

    async def share(self, which: int, host: int, kept: int) -> None:
        """Another client, from where this one once was."""
        one = one_of(self.clients, which)
        if one.run_id in self.record.rows:
            self.clients.append(Client(one.run_id, one.owner, one.frames[: kept % (len(one.frames) + 1)]))
            await self._connect(self.clients[-1], host)

    async def reconnect(self, which: int, host: int) -> None:
        client = one_of(self.clients, which)
        await client.disconnect()
        if not client.done and client.run_id in self.record.rows:
            await self._connect(client, host)

    async def _connect(self, client: Client, host: int) -> None:
        run = await self.world.runs.get(owned_by(client.owner), client.run_id)
        await client.connect(self.world.hubs[host], expected=not run.status.ended)
        self.record.check_client(client)

    async def read(self, which: int, *, hears: bool) -> None:
        """`hears`: his host hears its notices first."""
        client = one_of(self.clients, which)
        if client.hub is not None:
            if hears:
                await client.hub.hear()
            if await client.read():
                await self.world.note_received(client.run_id)
            self.record.check_client(client)

    def _row(self, which: int) -> Row:
        return one_of(list(self.record.rows.values()), which)


def one_of(those: Sequence[T], which: int) -> T:
    return those[which % len(those)]
