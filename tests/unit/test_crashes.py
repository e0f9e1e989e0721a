"""What the site's code raises that is no Exception, and whose cancellation a CancelledError is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from relaykit.shared.crashes import (
    ServerCrashed,
    cancellable_site_code,
    hear_cancellation,
    in_own_task,
    site_code,
)

VARIABLE: ContextVar[str] = ContextVar("test_crashes", default="")


async def raises_it() -> None:
    raise asyncio.CancelledError


async def awaits_a_cancelled_task() -> None:
    task = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def cancels_its_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def leaves_a_cancellation() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await hear_cancellation()
    raise AssertionError("the next wait would have been the first to hear of it")


async def exits() -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("code", [raises_it, awaits_a_cancelled_task])
async def test_a_cancellation_that_nobody_asked_for_is_the_codes_error(
    code: Callable[[], Awaitable[None]],
) -> None:
    with pytest.raises(ServerCrashed) as crashed, site_code:
        await code()
    assert isinstance(crashed.value.__cause__, asyncio.CancelledError)


@pytest.mark.parametrize(
    "code", [raises_it, awaits_a_cancelled_task, cancels_its_task, exits, leaves_a_cancellation]
)
async def test_in_a_task_of_its_own_it_cancels_nothing_else(code: Callable[[], Awaitable[None]]) -> None:
    with pytest.raises(ServerCrashed) as crashed:
        await in_own_task(code)
    assert isinstance(crashed.value.__cause__, (asyncio.CancelledError, SystemExit))
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)


async def test_a_task_of_its_own_gives_what_the_code_gives_and_raises() -> None:
    async def gives() -> int:
        VARIABLE.set("set")
        return 1

    async def fails() -> int:
        raise LookupError

    assert await in_own_task(gives) == 1
    assert VARIABLE.get() == "set"
    with pytest.raises(LookupError):
        await in_own_task(fails)


async def test_our_own_cancellation_stays_one_and_reaches_the_code() -> None:
    begun, cleaned = asyncio.Event(), asyncio.Event()

    async def waits() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.set()

    async def ours() -> None:
        with site_code:
            await in_own_task(waits)

    task = asyncio.create_task(ours())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()


async def test_the_owner_of_a_task_judges_its_cancellations_itself() -> None:
    with pytest.raises(asyncio.CancelledError), cancellable_site_code:
        await raises_it()
    with pytest.raises(ServerCrashed), cancellable_site_code:
        await exits()
