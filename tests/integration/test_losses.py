"""What is known of a lost attempt: who was lost with whom, and which losses count against a run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from uuid import uuid4

import pytest
import pytest_asyncio

from relaykit.shared.owner import Owner
from relaykit.shared.postgres.database import Database
from relaykit.shared.redis import keys
from relaykit.shared.redis.client import Redis, open_redis
from relaykit.shared.runs.run import MAX_UNCOUNTED_ATTEMPTS, Kind, Run, Status
from relaykit.shared.settings import Settings
from relaykit.worker.leases.claim_queue import ClaimQueue
from relaykit.worker.leases.claims import Claim, Loss
from tests.support.both_sides import WholeRuns
from tests.support.system import wait_until

LEASE = 60.0
SHORT = 0.15

_numbers = count()

Admitted = Callable[..., Awaitable[str]]


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with open_redis(redis_url, connections=8) as client:
        yield client


@pytest_asyncio.fixture
async def queue(redis: Redis) -> ClaimQueue:
    return ClaimQueue(redis)


async def claim(queue: ClaimQueue, process: str, free: int = 100, lease: float = LEASE) -> dict[str, Claim]:
    claims = await queue.claim(free, lease, f"{process}:{next(_numbers)}")
    return {claim.run_id: claim for claim in claims}


async def lose(redis: Redis, *run_ids: str) -> None:
    """Their leases end by themselves."""

    async def over() -> bool:
        return not await redis.exists(*map(keys.lease, run_ids))

    await wait_until("the leases are over", over)


async def enqueue(queue: ClaimQueue, number: int) -> list[str]:
    run_ids = [f"run_{next(_numbers)}" for _ in range(number)]
    for run_id in run_ids:
        await queue.enqueue(run_id)
    return run_ids


# ---- what Redis knows


async def test_runs_that_were_lost_together_are_told_so_whoever_claims_them_and_in_whatever_order(
    queue, redis
):
    run_ids = await enqueue(queue, 4)
    assert all(each.loss is None for each in (await claim(queue, "first", lease=SHORT)).values())
    await lose(redis, *run_ids)
    second = await claim(queue, "second", free=1)
    third = await claim(queue, "third", free=3)
    found = [each.loss for each in (*second.values(), *third.values())]
    assert found == [Loss(4, 1, "first")] * 4


async def test_what_a_process_had_ended_or_given_back_was_not_lost_with_it(queue, redis):
    run_ids = await enqueue(queue, 3)
    claims = await claim(queue, "first", lease=SHORT)
    assert await queue.release(claims[run_ids[0]], done=True)
    assert await queue.release(claims[run_ids[1]], done=False)
    await lose(redis, *run_ids)
    again = await claim(queue, "second")
    assert again[run_ids[1]].loss is None
    assert again[run_ids[2]].loss == Loss(1, 1, "first")


async def test_a_run_that_is_lost_again_is_told_with_its_last_company(queue, redis):
    run_ids = await enqueue(queue, 3)
    await claim(queue, "first", lease=SHORT)
    await lose(redis, *run_ids)
    await claim(queue, "second", free=1, lease=SHORT)
    others = await claim(queue, "third", free=2, lease=SHORT)
    await lose(redis, *run_ids)
    again = await claim(queue, "fourth")
    assert sorted(each.loss.company for each in again.values()) == [1, 2, 2]
    assert {again[run_id].loss for run_id in others} == {Loss(2, 2, "third")}


async def test_a_process_that_slept_through_its_leases_and_takes_them_again_has_lost_nothing(queue, redis):
    run_ids = await enqueue(queue, 2)
    await claim(queue, "first", lease=SHORT)
    await lose(redis, *run_ids)
    again = await claim(queue, "first")
    assert {each.loss for each in again.values()} == {Loss(0, 0, "")}
    assert not any(each.loss.is_suspect or each.loss.counts for each in again.values())


async def test_a_process_that_gives_up_what_it_could_not_renew_has_lost_nothing(queue, redis):
    """Redis was away for longer than a lease."""
    (run_id,) = await enqueue(queue, 1)
    (held,) = (await claim(queue, "first", lease=SHORT)).values()
    await lose(redis, run_id)
    assert not await queue.release(held, done=False)
    assert (await claim(queue, "second"))[run_id].loss == Loss(0, 0, "")


async def test_a_process_that_was_taken_for_lost_counts_anew_once_it_lives_again(queue, redis):
    """Frozen, and its runs claimed by another: what it claims later was not lost together with those."""
    before = await enqueue(queue, 2)
    held = await claim(queue, "frozen", lease=SHORT)
    await lose(redis, *before)
    await claim(queue, "other")
    for each in held.values():
        assert not await queue.release(each, done=False)
    (later,) = await enqueue(queue, 1)
    await claim(queue, "frozen", lease=SHORT)
    await lose(redis, later)
    assert (await claim(queue, "third"))[later].loss == Loss(1, 1, "frozen")


async def test_a_release_that_comes_late_does_not_touch_the_newer_claim_of_its_own_process(queue, redis):
    run_ids = await enqueue(queue, 2)
    held = await claim(queue, "first", lease=SHORT)
    await lose(redis, *run_ids)
    await claim(queue, "first", lease=SHORT)
    for each in held.values():
        assert not await queue.release(each, done=False)
    await lose(redis, *run_ids)
    assert {each.loss for each in (await claim(queue, "second")).values()} == {Loss(2, 1, "first")}


async def test_a_process_that_ends_itself_names_its_fault_and_the_others_are_no_suspects(queue):
    run_ids = await enqueue(queue, 3)
    claims = await claim(queue, "blocked")
    await queue.leave(list(claims.values()), {run_ids[0]})
    again = await claim(queue, "second")
    assert again[run_ids[0]].loss == Loss(1, 1, "")
    assert {again[run_id].loss for run_id in run_ids[1:]} == {Loss(0, 0, "")}


async def test_a_suspect_stays_one_when_its_process_gives_it_back_or_up(queue, redis):
    run_ids = await enqueue(queue, 2)
    await claim(queue, "first", lease=SHORT)
    await lose(redis, *run_ids)
    suspects = await claim(queue, "second")
    assert await queue.release(suspects[run_ids[0]], done=False)
    await queue.leave([suspects[run_ids[1]]], set())
    assert {each.loss for each in (await claim(queue, "third")).values()} == {Loss(2, 1, "first")}


async def test_what_a_worker_tells_of_a_process_that_has_died_is_known_at_once(queue):
    run_ids = await enqueue(queue, 3)
    claims = await claim(queue, "worker")
    await queue.lose([claims[run_ids[0]]], "cell")
    await queue.lose([claims[run_id] for run_id in run_ids[1:]], "other cell")
    again = await claim(queue, "worker")
    assert again[run_ids[0]].loss == Loss(1, 1, "cell")
    assert {again[run_id].loss for run_id in run_ids[1:]} == {Loss(2, 1, "other cell")}


async def test_what_a_worker_tells_of_it_is_known_though_the_leases_are_over(queue, redis):
    run_ids = await enqueue(queue, 2)
    claims = await claim(queue, "worker", lease=SHORT)
    await lose(redis, *run_ids)
    await queue.lose(list(claims.values()), "cell")
    assert {each.loss for each in (await claim(queue, "worker")).values()} == {Loss(2, 1, "cell")}


async def test_an_attempt_that_is_blamed_begins_again_when_its_lease_ends(queue, redis):
    (run_id,) = await enqueue(queue, 1)
    (held,) = (await claim(queue, "worker", lease=SHORT)).values()
    await queue.blame(held)
    assert await claim(queue, "worker") == {}
    await lose(redis, run_id)
    assert (await claim(queue, "worker"))[run_id].loss == Loss(1, 1, "")


async def test_where_nothing_is_known_there_is_no_suspect(queue, redis):
    """The release before had it, which notes nothing; or Redis was emptied."""
    run_ids = await enqueue(queue, 2)
    (before,) = await queue.claim(1, SHORT, "a token without a process")
    await claim(queue, "first", lease=SHORT)
    async for key in redis.scan_iter(f"{keys.FAIR_PREFIX}holders"):
        await redis.delete(key)
    await lose(redis, *run_ids)
    again = await claim(queue, "second")
    assert before.run_id in again
    assert [each.loss for each in again.values()] == [None, None]


async def test_nothing_is_left_of_a_run_that_has_ended(queue, redis):
    run_ids = await enqueue(queue, 3)
    await claim(queue, "first", lease=SHORT)
    await lose(redis, *run_ids)
    for each in (await claim(queue, "second")).values():
        assert await queue.release(each, done=True)
    left = {key.decode().removeprefix(keys.FAIR_PREFIX) for key in await redis.keys(f"{keys.FAIR_PREFIX}*")}
    assert left == {"flow:", "away:", "held:first"}
    for key in await redis.keys():
        assert await redis.ttl(key) > 0, key


# ---- what counts


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    async with Database(settings) as database:
        yield database


@pytest_asyncio.fixture
async def runs(database: Database) -> WholeRuns:
    return WholeRuns(database)


@pytest_asyncio.fixture
async def admitted_run(database: Database, runs: WholeRuns) -> Admitted:
    """Makes a queued run; gives its id."""

    async def admit(max_attempts: int | None = None) -> str:
        run_id = f"run_{next(_numbers)}"
        async with database.transaction():
            await runs.admit(queued(run_id, max_attempts))
        return run_id

    return admit


def queued(run_id: str, max_attempts: int | None) -> Run:
    return Run(
        id=run_id,
        owner=Owner(tenant="", user_id="alice"),
        thread_id=f"thr_{run_id}",
        kind=Kind.ACTION,
        status=Status.QUEUED,
        attempt=0,
        handed_back=0,
        anchor_item_id=None,
        input={},
        context={},
        token=None,
        cancel_requested=False,
        error=None,
        request_hash=None,
        max_attempts=max_attempts,
    )


@pytest.mark.parametrize("uncounted", [False, True])
async def test_an_attempt_counts_unless_it_was_lost_by_anothers_fault(runs, admitted_run, uncounted):
    run_id = await admitted_run()
    first = await runs.start(run_id, uncounted=uncounted)
    assert (first.attempt, first.handed_back) == (1, 0), "nothing was lost before the first"
    second = await runs.start(run_id, uncounted=uncounted)
    assert (second.attempt, second.handed_back) == (2, int(uncounted))


@pytest.mark.parametrize("uncounted", [False, True])
async def test_a_start_whose_answer_was_lost_finds_its_own_attempt(runs, admitted_run, uncounted):
    """Whatever the run's limit is: the attempt has not executed anything."""
    run_id, by = await admitted_run(max_attempts=1), uuid4()
    first = await runs.start(run_id, uncounted=uncounted, by=by)
    again = await runs.start(run_id, uncounted=uncounted, by=by)
    assert (again.attempt, again.handed_back, again.began.cause) == (1, 0, "first") == (
        first.attempt, first.handed_back, first.began.cause,
    )  # fmt: skip
    lost = await runs.start(run_id, uncounted=uncounted)
    assert (lost.attempt, lost.handed_back, lost.began.cause) == (2, 0, "lost"), (
        "another call's start is another"
    )
    assert await runs.hand_back(lost)
    queued_again = await runs.start(run_id, uncounted=uncounted, by=by)
    assert queued_again.attempt == 3, "what was queued since is another attempt"


async def test_an_attempt_that_was_handed_back_is_not_left_uncounted_twice(runs, admitted_run):
    run_id = await admitted_run()
    assert await runs.hand_back(await runs.start(run_id))
    again = await runs.start(run_id, uncounted=True)
    assert (again.attempt, again.handed_back) == (2, 1)


async def test_no_run_goes_round_uncounted_for_ever(runs, admitted_run):
    run_id = await admitted_run()
    for _ in range(MAX_UNCOUNTED_ATTEMPTS + 3):
        run = await runs.start(run_id, uncounted=True)
    assert run.attempt - run.handed_back == 3


async def test_a_run_that_may_not_be_executed_again_is_not_for_anothers_fault(runs, admitted_run):
    limited = await admitted_run(max_attempts=1)
    await runs.start(limited, uncounted=True)
    again = await runs.start(limited, uncounted=True)
    assert again.attempt - again.handed_back == 2
    forbidden = await admitted_run()
    await runs.start(forbidden, uncounted=True)
    second = await runs.start(forbidden, uncounted=True)
    assert await runs.forbid_next_attempt(forbidden, second.attempt)
    third = await runs.start(forbidden, uncounted=True)
    assert third.attempt - third.handed_back > third.max_attempts
    assert third.status is Status.RUNNING
