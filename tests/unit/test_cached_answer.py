"""An answer of the console that several ask for is found once."""

from __future__ import annotations

import asyncio

import pytest

from relaykit.api.ops import cached_answer as kept_module
from relaykit.api.ops.cached_answer import CachedAnswer
from relaykit.shared.errors import QueueUnavailable


class Asked:
    def __init__(self, *, fails: bool = False) -> None:
        self.count = 0
        self.going_on = asyncio.Event()
        self.going_on.set()
        self._fails = fails

    async def __call__(self) -> int:
        self.count += 1
        await self.going_on.wait()
        if self._fails:
            raise QueueUnavailable("it is away")
        return self.count


async def test_many_who_ask_at_once_ask_once() -> None:
    asked = Asked()
    kept = CachedAnswer(asked, 3600)
    assert await asyncio.gather(*(kept.get() for _ in range(50))) == [1] * 50
    assert await kept.get() == 1


async def test_what_is_old_is_asked_for_again() -> None:
    kept = CachedAnswer(Asked(), 0)
    assert [await kept.get() for _ in range(3)] == [1, 2, 3]


async def test_a_service_that_is_away_is_asked_once_too() -> None:
    """And each who asks gets an error of its own, because a raise adds to the traceback of its object."""
    asked = Asked(fails=True)
    kept = CachedAnswer(asked, 3600)
    found = await asyncio.gather(*(kept.get() for _ in range(5)), return_exceptions=True)
    assert [str(error) for error in found] == ["it is away"] * 5
    assert len(set(map(id, found))) == 5
    assert asked.count == 1


async def test_one_who_leaves_takes_the_answer_from_no_other() -> None:
    asked = Asked()
    asked.going_on.clear()
    kept = CachedAnswer(asked, 3600)
    first, second = asyncio.create_task(kept.get()), asyncio.create_task(kept.get())
    while not asked.count:
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    asked.going_on.set()
    assert await second == 2


async def test_an_act_has_the_next_answer_found_anew() -> None:
    kept = CachedAnswer(Asked(), 3600)
    assert await kept.get() == 1
    kept.forget()
    assert await kept.get() == 2


async def test_an_answer_that_was_being_found_during_an_act_is_not_kept() -> None:
    asked = Asked()
    asked.going_on.clear()
    kept = CachedAnswer(asked, 3600)
    before = asyncio.create_task(kept.get())
    while not asked.count:
        await asyncio.sleep(0)
    kept.forget()
    asked.going_on.set()
    assert await before == 1
    assert await kept.get() == 2


async def test_an_error_is_kept_for_less_long_than_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_module, "ERROR_SECONDS", 0)
    asked = Asked(fails=True)
    kept = CachedAnswer(asked, 3600)
    for _ in range(2):
        with pytest.raises(QueueUnavailable):
            await kept.get()
    assert asked.count == 2
