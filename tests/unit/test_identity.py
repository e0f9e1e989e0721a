"""For whom a block of code acts: the request context that the store finds behind a context of the site's own."""

from __future__ import annotations

import asyncio

import pytest

from relaykit.shared.identity import RequestContext, acting_as, request_of

ALICE, BOB = RequestContext(user_id="alice"), RequestContext(user_id="bob")
FOREIGN = {"a context": "of the site's"}


def current() -> RequestContext | None:
    try:
        return request_of(FOREIGN)
    except LookupError:
        return None


def test_the_context_before_is_back_after_the_block() -> None:
    with acting_as(ALICE):
        with acting_as(BOB):
            assert current() is BOB
        assert current() is ALICE
    assert current() is None


def test_the_context_before_is_back_after_a_block_that_fails() -> None:
    with pytest.raises(RuntimeError), acting_as(ALICE), acting_as(BOB):
        raise RuntimeError
    assert current() is None


async def test_the_context_before_is_back_after_a_block_that_is_cancelled() -> None:
    left: list[RequestContext | None] = []

    async def wait() -> None:
        try:
            with acting_as(BOB):
                await asyncio.Event().wait()
        finally:
            left.append(current())

    with acting_as(ALICE):
        task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left == [ALICE]


async def test_a_task_that_begins_in_the_block_keeps_its_context() -> None:
    go = asyncio.Event()

    async def later() -> RequestContext | None:
        await go.wait()
        return current()

    with acting_as(ALICE):
        task = asyncio.create_task(later())
    assert current() is None
    go.set()
    assert await task is ALICE


async def test_tasks_at_once_act_each_for_its_own_caller() -> None:
    together = asyncio.Barrier(2)

    async def act(context: RequestContext) -> RequestContext | None:
        with acting_as(context):
            await together.wait()
            return current()

    assert await asyncio.gather(act(ALICE), act(BOB)) == [ALICE, BOB]


def test_a_context_that_is_ours_counts_more_than_the_blocks() -> None:
    with acting_as(ALICE):
        assert request_of(BOB) is BOB
