"""A background task that ends unasked is told, however it ends."""

from __future__ import annotations

import asyncio

import pytest

from relaykit.shared.tasks import end_tasks, supervised


async def raises() -> None:
    raise LookupError


async def cancels_itself() -> None:
    raise asyncio.CancelledError


async def returns() -> None:
    return


@pytest.mark.parametrize(
    ("ends", "told"),
    [(raises, "LookupError"), (cancels_itself, "CancelledError"), (returns, None)],
)
async def test_one_that_ends_within_the_block_is_told(ends, told) -> None:
    heard: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    task = asyncio.create_task(ends())
    with supervised([task], heard.put_nowait):
        assert (await heard.get()).get("error_type") == told
    await end_tasks([task])


async def test_one_that_is_ended_after_the_block_is_not_told_unless_it_fails() -> None:
    async def fails_at_its_end() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise LookupError

    heard: list[dict[str, object]] = []
    tasks = [asyncio.create_task(asyncio.sleep(3600)), asyncio.create_task(fails_at_its_end())]
    with supervised(tasks, heard.append):
        await asyncio.sleep(0)
    await end_tasks(tasks)
    assert [each["error_type"] for each in heard] == ["LookupError"]
