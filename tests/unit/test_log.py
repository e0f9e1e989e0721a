"""What a log line says of an exception."""

from __future__ import annotations

import asyncio

from relaykit.shared.log import failure


def breaks() -> None:
    raise LookupError("a user's words")


async def test_of_a_group_it_names_the_exception_in_it_and_its_place() -> None:
    """A process ends where a loop fails, and its line is all that is left to find out why."""

    async def loop() -> None:
        breaks()

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(loop())
    except ExceptionGroup as group:
        said = failure(group)
    assert said["error_type"] == "LookupError"
    assert str(said["frames"]).count(":breaks") == 1
    assert "words" not in str(said)
