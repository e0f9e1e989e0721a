"""Objects are removed one after the other: a refused one costs itself alone, a store that is away a bounded time."""

from __future__ import annotations

import asyncio

import pytest

from relaykit.shared.attachments import removal
from relaykit.shared.attachments.removal import remove_each
from relaykit.shared.errors import StorageUnavailable


async def test_objects_that_are_refused_at_once_keep_none_of_the_others() -> None:
    """However many they are in a row: by a lock, or by a policy on a part of them."""
    removed = []

    async def remove(object_key: str) -> None:
        if object_key.startswith("locked"):
            raise StorageUnavailable
        removed.append(object_key)

    done = await remove_each([*(f"locked-{number}" for number in range(9)), "free"], remove)
    assert (done.removed, removed, len(done.failed), done.is_away) == (1, ["free"], 9, False)


async def test_a_store_that_does_not_answer_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is removed, and costs the others nothing of the time."""
    monkeypatch.setattr(removal, "AWAY_SECONDS", 0.05)
    asked = []

    async def remove(object_key: str) -> None:
        asked.append(object_key)
        if len(asked) > 1:
            await asyncio.Event().wait()

    keys = [f"object-{number}" for number in range(9)]
    done = await remove_each(keys, remove)
    assert asked == keys[:2]
    assert (done.removed, done.failed, done.left, done.is_away) == (1, keys[1:2], keys[1:], True)


async def test_removals_that_fail_slowly_share_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "AWAY_SECONDS", 0.2)
    asked = []

    async def remove(object_key: str) -> None:
        asked.append(object_key)
        await asyncio.sleep(0.05)
        raise StorageUnavailable

    done = await remove_each([str(number) for number in range(1000)], remove)
    assert len(done.failed) == len(asked) <= 5
    assert done.is_away
