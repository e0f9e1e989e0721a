"""Lives of runs, step by step: those that went wrong once, and each end that an attempt may come to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from relaykit.shared.journal import Field
from relaykit.shared.runs.run import Status
from relaykit.shared.settings import Settings
from tests.properties.life import LEASE_SECONDS, open_world
from tests.properties.life_acts import Life
from tests.properties.life_calm import MAX_STEPS, to_the_end
from tests.properties.life_job import Job

WORKERS = 3
RUN = "run_0001"


@pytest_asyncio.fixture
async def life(settings: Settings) -> AsyncIterator[Life]:
    async with open_world(settings) as world:
        life = Life(world, WORKERS)
        try:
            yield life
        finally:
            await life.close()


async def post(life: Life, *, steps: int) -> None:
    """With three steps it is queued, and followed by its caller."""
    await life.step(life.post("alice", 0, "queue", None, "a", once=False, steps=steps))


async def claimed(life: Life, worker: int = 0) -> Job:
    await life.step(life.workers[worker].claim(1))
    return life.workers[worker].unfinished[-1]


async def executing(life: Life, job: Job) -> Job:
    """It has begun, and nothing of an attempt before is left."""
    await go_on(life, job, "", lambda: job.rewound)
    return job


async def go_on(life: Life, job: Job, action: str, until: Callable[[], bool]) -> None:
    for _ in range(MAX_STEPS):
        if until():
            return
        await life.step(job.go_on(action))
    raise AssertionError(f"the job of {job.run} does not come so far")


async def tell(life: Life, job: Job, *actions: str) -> None:
    for action in actions:
        await life.step(job.go_on(action))


async def completed(life: Life, job: Job) -> None:
    await go_on(life, job, "finish", lambda: job.process.done)


async def requeue(life: Life) -> None:
    """What a worker had that is gone."""
    for _ in range(2):
        await life.step(life.time_passes(LEASE_SECONDS))
        await life.step(life.reap(9))


async def test_an_item_that_nobody_remembers_is_not_shown_for_ever(life: Life) -> None:
    """A worker dies between what admission wrote, written again, and its start: the attempt after that one says that
    something was lost, though the journal begins as it should.
    """
    await post(life, steps=3)
    await tell(life, await executing(life, await claimed(life)), "show", "flush")
    await life.step(life.read(0, hears=True))
    await life.step(life.empty_redis())
    await life.step(life.workers[0].kill())
    await requeue(life)
    job = await claimed(life, worker=1)
    await go_on(life, job, "", lambda: bool(life.record.journals[RUN]))
    await life.step(life.workers[1].kill())
    assert {entry.cursor.attempt for entry in life.record.journals[RUN]} == {0}
    await to_the_end(life)


async def test_a_tail_that_is_behind_a_client_does_not_hide_what_was_lost(life: Life) -> None:
    """The client comes to a host that knows of what admission wrote alone. Redis is emptied before it knows of more."""
    await post(life, steps=3)
    await tell(life, await executing(life, await claimed(life)), "show", "flush")
    await life.step(life.follow(0, 0))
    await life.step(life.read(1, hears=True))
    behind = life.world.hubs.index(life.clients[0].hub)
    await life.step(life.share(1, behind, len(life.clients[1].frames)))
    assert life.clients[2].last_id.attempt == 1
    life.world.hubs[behind].notices.clear()
    await life.step(life.empty_redis())
    await life.step(life.workers[0].kill())
    await requeue(life)
    await completed(life, await claimed(life, worker=1))
    await life.step(life.read(2, hears=True))
    await to_the_end(life)
    assert life.clients[2].told == "gone"


async def test_a_drain_after_a_rewind_does_not_keep_from_clients_what_was_taken_back(life: Life) -> None:
    """The run is handed back and then stopped while it is queued, so that no attempt comes that would tell them."""
    await post(life, steps=3)
    await tell(life, await executing(life, await claimed(life)), "show", "flush")
    await life.step(life.read(0, hears=True))
    assert life.clients[0].shown == {f"{RUN}/1/0"} | {life.record.rows[RUN].item_id}
    await life.step(life.workers[0].kill())
    await requeue(life)
    job = await claimed(life, worker=1)
    await go_on(life, job, "", lambda: life.record.journals[RUN][-1].cursor.attempt == 2)
    life.workers[1].executor.drain()
    await go_on(life, job, "", lambda: job.process.done)
    assert life.record.rows[RUN].status is Status.QUEUED
    await life.step(life.cancel(0, 9))
    await to_the_end(life)
    assert f"{RUN}/1/0" not in life.clients[0].shown


async def test_an_api_that_slept_does_not_hide_what_was_lost(life: Life) -> None:
    """It writes what admission has to say when an attempt was lost with Redis that had shown something."""
    await post(life, steps=0)
    await life.step(life.reap(9))
    await tell(life, await executing(life, await claimed(life)), "show", "flush")
    await life.step(life.follow(0, 0))
    await life.step(life.read(0, hears=True))
    await life.step(life.empty_redis())
    await life.step(life.workers[0].kill())
    await life.step(life.go_on(0))
    assert {entry.cursor.attempt for entry in life.record.journals[RUN]} == {0}
    await to_the_end(life)


async def test_an_api_that_slept_does_not_make_a_lost_answer_an_empty_one(life: Life) -> None:
    """It begins the journal of a run anew that has completed and was lost with Redis; then the end is written again."""
    await post(life, steps=0)
    await life.step(life.reap(9))
    job = await executing(life, await claimed(life))
    await tell(life, job, "show", "flush")
    await completed(life, job)
    await life.step(life.empty_redis())
    await life.step(life.go_on(0))
    await to_the_end(life)
    assert {client.told for client in life.clients if client.run_id == RUN} == {"gone"}


async def test_an_attempt_that_slept_does_not_make_a_part_the_whole(life: Life) -> None:
    """What it sends at last is all that there is, since the attempt that completed the run was lost with Redis."""
    await post(life, steps=3)
    job = await executing(life, await claimed(life))
    await tell(life, job, "show", "flush", "text", "reply lost")
    await life.step(life.read(0, hears=True))
    await life.step(life.worker(0, "taken over"))
    await completed(life, life.jobs[-1])
    await life.step(life.empty_redis())
    await tell(life, job, "flush")
    assert {entry.cursor.attempt for entry in life.record.journals[RUN]} == {1}
    await to_the_end(life)
    assert {client.told for client in life.clients} == {"gone"}


async def test_a_stop_after_a_loss_does_not_hide_what_was_lost(life: Life) -> None:
    """Its end alone would tell a client who had half of what admission wrote that this was all."""
    await post(life, steps=3)
    await life.step(life.empty_redis())
    await life.step(life.cancel(0, 9))
    await to_the_end(life)
    assert life.record.journals[RUN] == []


async def test_the_same_body_is_attached_or_another_message(life: Life) -> None:
    """Whether it was received is asked once: in between it may be."""
    await post(life, steps=0)
    life.threads.clear()  # as the widget sends it again, which knows of no thread yet
    await post(life, steps=1)
    await life.step(life.go_on(0))
    await to_the_end(life)
    assert life.record.accepted == {RUN}


async def test_what_a_lost_attempt_stored_and_showed_is_taken_back(life: Life) -> None:
    """One of its items is stored, another only shown; a client has both."""
    await post(life, steps=3)
    job = await executing(life, await claimed(life))
    await tell(life, job, "show", "keep", "keep", "show", "flush", "flush")
    await life.step(life.read(0, hears=True))
    shown = life.clients[0].shown
    assert life.record.items == {f"{RUN}/1/0"}
    await life.step(life.worker(0, "taken over"))
    await to_the_end(life)
    assert shown > {f"{RUN}/1/0", f"{RUN}/1/1"}
    assert life.record.rows[RUN].attempt == 2
    assert not {item for item in life.record.items if item.startswith(f"{RUN}/1/")}


async def test_an_attempt_whose_lease_is_lost_sends_nothing_more(life: Life) -> None:
    """What it has put into its journal by then is dropped, whenever the publisher comes to it."""
    await post(life, steps=3)
    job = await executing(life, await claimed(life))
    await tell(life, job, "show", "flush", "text")
    await life.step(life.worker(0, "taken over"))
    sent = dict(job.put)
    await life.step(job.worker.beat())
    await life.step(job.publish("flush"))
    assert job.put == sent
    await to_the_end(life)


async def test_a_run_that_may_have_no_other_attempt_fails_where_its_worker_drains(life: Life) -> None:
    await life.step(life.post("alice", 0, "queue", None, "a", once=True, steps=3))
    job = await executing(life, await claimed(life))
    await life.step(life.worker(0, "drains"))
    await completed(life, job)
    assert life.record.rows[RUN].error == "interrupted"
    await to_the_end(life)


async def test_a_run_whose_server_was_not_called_is_handed_back_where_its_worker_drains(life: Life) -> None:
    """Also one that may have no other attempt."""
    await life.step(life.post("alice", 0, "queue", None, "a", once=True, steps=3))
    job = await claimed(life)
    await tell(life, job, "", "")
    await life.step(life.worker(0, "drains"))
    assert not job.rewound
    await completed(life, job)
    assert life.record.rows[RUN].status is Status.QUEUED
    await to_the_end(life)
    assert (life.record.rows[RUN].status, life.record.rows[RUN].attempt) == (Status.COMPLETED, 2)


STOPS = {"time is over": "timeout", "nobody follows": "abandoned", "is stopped": None}


@pytest.mark.parametrize("stop", STOPS)
async def test_a_stopped_attempt_keeps_what_it_has_shown(life: Life, stop: str) -> None:
    await post(life, steps=3)
    job = await executing(life, await claimed(life))
    await tell(life, job, "show", "text", "flush")
    await life.step(life.worker(0, stop))
    await completed(life, job)
    row = life.record.rows[RUN]
    assert (row.status.ended, row.error) == (True, STOPS[stop])
    assert life.record.items == {f"{RUN}/1/0"}
    await to_the_end(life)


async def test_a_run_that_forbids_another_attempt_has_none(life: Life) -> None:
    await post(life, steps=3)
    job = await executing(life, await claimed(life))
    await tell(life, job, "show", "forbid", "forbid", "flush")
    await life.step(life.worker(0, "dies"))
    await requeue(life)
    await to_the_end(life)
    assert life.record.rows[RUN].error == "attempts_exhausted"


async def test_the_row_ends_after_the_last_event_and_before_the_end_entry(life: Life) -> None:
    """Half of what the attempt says is lost with its reply, and sent again."""
    await post(life, steps=3)
    job = await executing(life, await claimed(life))
    await tell(life, job, "show", "half", "keep", "keep", "text", "finish", "reply lost")
    await go_on(life, job, "", lambda: life.record.rows[RUN].status.ended)
    assert life.record.journals[RUN][-1].field is Field.EVENT
    assert job.put.keys() <= life.record.written[RUN].keys()
    await to_the_end(life)


async def test_the_end_entry_that_a_dead_worker_did_not_write_is_written_with_its_job(life: Life) -> None:
    await post(life, steps=3)
    job = await executing(life, await claimed(life))
    await tell(life, job, "show", "flush")
    await go_on(life, job, "finish", lambda: life.record.rows[RUN].status.ended)
    await life.step(life.worker(0, "dies"))
    assert life.record.journals[RUN][-1].field is Field.EVENT
    await life.step(life.time_passes(LEASE_SECONDS))
    await completed(life, await claimed(life, worker=1))
    assert life.record.journals[RUN][-1].field is Field.END
    await to_the_end(life)
