"""What an attempt can still do that is over: nothing, at any of the places that it could write to."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from chatkit.store import NotFoundError
from chatkit.types import AssistantMessageItem, ThreadMetadata

from relaykit.shared.errors import Fenced
from relaykit.shared.journal import START, Batch, Field
from relaykit.shared.redis import keys
from relaykit.shared.runs.context import request_context
from relaykit.shared.runs.run import ENDED, Run
from relaykit.worker.leases.claims import Renewal
from tests.properties.life import LEASE_SECONDS, World
from tests.properties.life_job import Job
from tests.properties.life_record import Record

TTL_SECONDS = 3600.0
OWN_NOTES = tuple(f"{keys.FAIR_PREFIX}{name}".encode() for name in ("held:", "holders", "losses"))
"""Who executes what: a process takes back what is noted of itself, also where the lease is another's."""


async def assert_powerless(world: World, job: Job, record: Record) -> None:
    """Tries every write that the attempt could; each is refused, and nothing has changed then."""
    run = job.run
    assert run is not None
    before = await _everything(world)
    row = record.rows.get(run.id)
    for status in sorted(ENDED):
        assert not await world.runs.finish(run, status), f"{run} was ended"
        with pytest.raises(Fenced):
            await world.endings().finish_row(run, status)
    assert not await world.runs.hand_back(run), f"{run} was handed back"
    if row is not None and row.attempt > run.attempt:
        assert not await world.runs.forbid_next_attempt(run.id, run.attempt)
        await _assert_store_refuses(world, run)
    journal = record.journals.get(run.id)
    if journal and (journal[-1].cursor.attempt > run.attempt or journal[-1].field is Field.END):
        await _assert_journal_refuses(world, run)
    await _assert_queue_refuses(world, job)
    assert await _everything(world) == before


async def _assert_store_refuses(world: World, run: Run) -> None:
    store, context, thread = world.store, request_context(run), run.thread_id
    item = AssistantMessageItem(
        id=f"{run.id}/{run.attempt}/9", thread_id=thread, created_at=datetime.now(), content=[]
    )
    for write in (
        lambda: store.add_thread_item(thread, item, context),
        lambda: store.delete_thread_item(thread, item.id, context),
        lambda: store.take_back(thread, None, context),
        lambda: store.save_thread(
            ThreadMetadata(id=thread, created_at=datetime.now(), title="stale"), context
        ),
        lambda: store.delete_thread(thread, context),
    ):
        with pytest.raises((Fenced, NotFoundError)):
            await write()


async def _assert_journal_refuses(world: World, run: Run) -> None:
    events = [(Field.EVENT, b'{"stale":1}')]
    batch = Batch(run_id=run.id, attempt=run.attempt, first_seq=1000, entries=events)
    refused = ("fenced", "ended")
    assert (await world.journals.append(batch)).outcome in refused
    assert (await world.journals.append(replace(batch, entries=[(Field.END, b"failed")]))).outcome in refused
    for status in sorted(ENDED):
        assert (await world.journals.end(run.id, run.attempt, status)).outcome in refused
    last = (await world.journals.read(run.id, START, 1000))[-1]
    if last.cursor.attempt > run.attempt:
        assert (await world.journals.start_attempt(run.id, run.attempt)).outcome == "fenced"


async def _assert_queue_refuses(world: World, job: Job) -> None:
    holder = await world.redis.get(keys.lease(job.run_id))
    if holder == job.claim.token.encode():
        return  # the lease is his, whatever has become of the run
    assert not await world.queue.release(job.claim, done=True)
    assert not await world.queue.release(job.claim, done=False)
    if holder is not None:
        assert await world.queue.renew([job.claim], LEASE_SECONDS, TTL_SECONDS) == [Renewal.LOST]


async def _everything(world: World) -> object:
    """All that is written anywhere, without what time changes."""
    async with world.database.connection() as connection:
        tables = ("threads", "items", "runs")
        rows = [await connection.fetch(f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables]
    found = {}
    for key in sorted(await world.redis.keys("*")):
        if key.startswith(OWN_NOTES):
            continue
        match await world.redis.type(key):
            case b"stream":
                found[key] = await world.redis.xrange(key)
            case b"zset":
                found[key] = await world.redis.zrange(key, 0, -1, withscores=True)
            case b"string":
                found[key] = await world.redis.get(key)
            case _:
                found[key] = None
    return rows, found
