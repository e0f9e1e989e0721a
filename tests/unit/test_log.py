"""What a log line says of an exception."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from relaykit.shared import log
from relaykit.shared.log import exception_text, failure


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


@pytest.fixture
def full() -> Iterator[None]:
    """LOG_EXCEPTIONS=full, for the test alone."""
    log._texts.set()
    yield
    log._texts.clear()


@pytest.mark.usefixtures("full")
def test_with_full_exceptions_it_has_text_and_traceback() -> None:
    with pytest.raises(LookupError) as raised:
        breaks()
    assert exception_text(raised.value) == "LookupError: a user's words"
    said = failure(raised.value)
    assert said["error_type"] == "LookupError"
    assert str(said["exception"]).startswith("Traceback (most recent call last):")
    assert str(said["exception"]).endswith("LookupError: a user's words\n")


def test_without_it_no_text_is_given() -> None:
    assert exception_text(LookupError("a user's words")) is None
