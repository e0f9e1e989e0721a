"""A Relaykit that does one thing at a time, for the test of the life of runs: real rows, a real Redis, and actors that
go on when they are told to. Its time passes when it is told to.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from chatkit.types import StreamingReq

from relaykit.api.admission.admission import Admission
from relaykit.api.admission.idempotency import EarlierRuns
from relaykit.api.admission.parse import parse
from relaykit.api.admission.submission import Submission, Submitted
from relaykit.api.admission.writers.postgres import PostgresWriter
from relaykit.api.receipts import Receipts
from relaykit.api.relay.liveness import LivenessCheck
from relaykit.api.relay.liveness_probe import LivenessProbe
from relaykit.api.relay.states import DeliveryState
from relaykit.shared.endings import Endings
from relaykit.shared.gone_runs import GoneRuns
from relaykit.shared.identity import RequestContext
from relaykit.shared.journal import Journals, JournalTtl
from relaykit.shared.journal.erasing import JournalEraser
from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.runs.awaited_calls import AwaitedCalls
from relaykit.shared.runs.run import Status
from relaykit.shared.settings import Settings
from relaykit.shared.site.user_server import UserServer
from relaykit.shared.threads.calls import StoreCalls
from relaykit.shared.threads.store import PostgresStore
from relaykit.worker.execution import produce
from relaykit.worker.execution.executor import Executor
from relaykit.worker.reaper import reaper
from relaykit.worker.reaper.queue_audit import QueueAudit
from relaykit.worker.reaper.sweeps import Sweeps
from tests.properties.life_client import StillHub
from tests.properties.life_process import GatedDatabase, Process, Work, gated
from tests.properties.life_site import NotedEndings, ToldPublisher, ToldServer, noted_runs, told_site
from tests.support.both_sides import WholeQueue, WholeRuns

LEASE_SECONDS = 60
"""Long enough that none ends by itself: here time passes only when it is told to."""
MAX_ENTRIES = 14
"""Of a journal."""
WAIT_SECONDS = 120.0
HOSTS = 2
"""API processes that clients follow runs at."""

SHIFT = """
-- Lets time pass for all that Redis knows of it.
-- KEYS[1] queue  ARGV[1] ms  ARGV[2] prefix of what the reaper notes
local ms = tonumber(ARGV[1])
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 and left <= ms then
    redis.call('DEL', key)
  elseif left >= 0 then
    redis.call('PEXPIRE', key, left - ms)
  end
  if string.sub(key, 1, #ARGV[2]) == ARGV[2] and left > ms then
    redis.call('SET', key, string.format('%d', redis.call('GET', key) - ms), 'KEEPTTL')
  end
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('ZINCRBY', KEYS[1], -ms, id)
end
"""


def owned_by(name: str) -> Owner:
    return Owner(tenant="", user_id=name)


class World:
    """The services that all share, and what an API process and a reaper do with them."""

    def __init__(self, settings: Settings, redis: Redis, database: Database) -> None:
        self.settings, self.redis, self.database = settings, redis, database
        self.queue, self.runs = WholeQueue(redis), WholeRuns(database)
        self.journals = Journals(redis, JournalTtl.of(settings))
        self.receipts = Receipts(redis, database, settings.journal_ended_ttl_seconds)
        self.store = PostgresStore(StoreCalls(database))
        self.user = UserServer(ToldServer(self.store), lambda context: context)
        self.site = told_site(database)
        """The server as workers have it."""
        self.hubs = [StillHub(redis, settings.tail_max_bytes) for _ in range(HOSTS)]
        self._shift = redis.register_script(SHIFT)
        self._pubsub = redis.pubsub()

    async def __aenter__(self) -> World:
        await self._pubsub.psubscribe(keys.notices("*"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pubsub.aclose()

    async def clear(self) -> None:
        """As at first: nothing is there."""
        await self.redis.flushdb()
        async with self.database.connection() as connection:
            await connection.execute("DELETE FROM runs; DELETE FROM threads")
        self.hubs = [StillHub(self.redis, self.settings.tail_max_bytes) for _ in self.hubs]

    async def send_notices(self) -> None:
        """What has been published so far is on its way to the hosts."""
        await self._pubsub.ping()
        while (message := await self._pubsub.get_message(timeout=WAIT_SECONDS)) is not None:
            if message["type"] == "pong":
                return
            if message["type"] == "pmessage":
                for hub in self.hubs:
                    hub.send({**message, "type": "message"})
        raise AssertionError("Redis does not answer")

    async def note_received(self, run_id: str) -> None:
        """A client had something of the run: its API notes it, and writes the row."""
        await self.receipts.note_received(run_id)
        await self.receipts.write()

    async def pass_time(self, seconds: float) -> None:
        await self._shift(keys=[keys.QUEUE], args=[int(seconds * 1000), keys.MISSING_PREFIX])

    def endings(self) -> Endings:
        """Of an API process or a reaper. Outside a process they wait for nothing."""
        journals, queue = gated(self.journals, self.database), gated(self.queue, self.database)
        calls = AwaitedCalls(self.database)
        return Endings(self.settings, self.database, self.runs, calls, journals, queue, self.user)

    def executor(self) -> Executor:
        """A worker's. Each of its calls of a service waits to be told to go on."""
        database = cast(Database, GatedDatabase(self.database))
        journals, queue = gated(self.journals, self.database), gated(self.queue, self.database)
        publisher = ToldPublisher(self.redis, journals, self.settings)
        calls = AwaitedCalls(database)
        endings = NotedEndings(self.settings, database, self.runs, calls, journals, queue, self.site)
        runs = noted_runs(self.database)
        return Executor(self.settings, runs, journals, publisher, endings, self.site, None, lambda _: None)

    def post(self, raw: bytes, policy: str, owner: str, run_id: str, **more: Any) -> Work:
        """A streaming request, as the endpoint submits it."""
        submission = Submission(
            request=cast(StreamingReq, parse(raw, self.settings).request),
            context=RequestContext(user_id=owner, run_id=run_id),
            request_hash=hashlib.sha256(raw).digest(),
            token=None,
            queue_refusal=None,
            **more,
        )
        settings = self.settings.model_copy(update={"thread_policy": policy})

        async def work(process: Process) -> Submitted:
            endings = self.endings()
            journals, queue = endings.journals, gated(self.queue, self.database)
            receipts = gated(self.receipts, self.database)
            earlier = EarlierRuns(self.runs, journals, receipts, settings.journal_ended_ttl_seconds)
            writer = PostgresWriter(settings, self.database, self.runs, endings.calls, self.user)
            return await Admission(settings, self.runs, journals, queue, endings, earlier, writer).submit(
                submission
            )

        return work

    def cancel(self, run_id: str, owner: str) -> Work:
        """The user's stop, as the endpoint does it."""

        async def work(process: Process) -> Status:
            run = await self.runs.get(owned_by(owner), run_id)
            await process.gate()
            return await self.endings().cancel(run)

        return work

    def delete_thread(self, thread_id: str, owner: str) -> Work:
        """As the endpoint does it: what goes on in the thread is stopped first."""

        async def work(process: Process) -> None:
            context = RequestContext(user_id=owner)
            for run in await self.runs.unfinished(context.owner, thread_id):
                await self.endings().cancel(run)
            await process.gate()
            await self.store.delete_thread(thread_id, context)

        return work

    def reap(self) -> Work:
        """One round of a reaper; there may be two at a time, where the one has lost its connection."""

        async def work(process: Process) -> None:
            endings = self.endings()
            audit = gated(QueueAudit(self.redis), self.database)
            gone_runs = GoneRuns(self.database, JournalEraser(self.redis))
            await reaper.Reaper(
                self.settings, self.database, Sweeps(self.database), audit, endings, gone_runs, None
            ).requeue()

        return work

    def watch(self, hub: StillHub) -> Work:
        """A tick of the relay of one host."""

        async def work(process: Process) -> None:
            endings = self.endings()
            probe = gated(LivenessProbe(self.redis, self.database), self.database)
            liveness = LivenessCheck(self.settings, hub, probe, endings.journals)
            if quiet := [
                followed
                for followed in hub.followed_runs()
                if not followed.tail.ended and followed.delivery is not DeliveryState.JOURNAL_LOST
            ]:
                await liveness._check(quiet)

        return work


@asynccontextmanager
async def open_world(settings: Settings) -> AsyncIterator[World]:
    """With leases that do not end by themselves, and journals that are trimmed soon."""
    more = {
        "lease_seconds": LEASE_SECONDS,
        "database_pool_min": 1,
        "database_pool_max": 3,
        "journal_max_entries": MAX_ENTRIES,
    }
    given = settings.model_copy(update=more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reaper, "QUEUED_SECONDS", 0)  # the rows' clock does not pass by itself either
        patch.setattr(reaper, "REST_FACTOR", 0)  # a reaper rests for a multiple of what it stood at its gates
        patch.setattr(
            produce, "STOP_AGAIN_SECONDS", WAIT_SECONDS * 60
        )  # a server that stands at a gate stops at once
        async with (
            Database(given) as database,
            open_redis(given.redis_url, connections=3) as redis,
            World(given, redis, database) as world,
        ):
            yield world
