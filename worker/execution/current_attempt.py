"""Which attempt a task belongs to: the SDK calls our store and the server's methods with no more than a context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from chatkit.types import ThreadItem

from relaykit.shared.errors import Fenced, Stopping
from relaykit.worker.execution.attempt import Attempt
from relaykit.worker.execution.stop import Stop

served_attempt: ContextVar[Attempt | None] = ContextVar("relaykit_served_attempt", default=None)
"""The attempt whose server the task runs: set only in the producer, and in the tasks that the server starts."""

_executed_attempt: ContextVar[Attempt | None] = ContextVar("relaykit_executed_attempt", default=None)


@contextmanager
def executing(attempt: Attempt) -> Iterator[None]:
    """The block, and the tasks that it starts, belong to the attempt's execution."""
    token = _executed_attempt.set(attempt)
    try:
        yield
    finally:
        _executed_attempt.reset(token)


def is_executing() -> bool:
    """Whether the task executes an attempt that still has its lease."""
    attempt = _executed_attempt.get()
    return attempt is not None and attempt.stopped is not Stop.LOST


def note_given_id(item_id: str) -> None:
    """Notes for the task's attempt an id that our store has made: 128 random bits, which no other item has."""
    attempt = _executed_attempt.get()
    if attempt is not None:
        attempt.given_ids.add(item_id)


def note_stored_item(item: ThreadItem) -> None:
    """Notes for the task's attempt an item that our store has written."""
    attempt = _executed_attempt.get()
    if attempt is not None:
        attempt.note_stored(item)


@contextmanager
def calling_store() -> Iterator[None]:
    """The block is a call of our store, which the task's attempt counts as under way.

    Where the fence refuses the call, or this process has closed its database, the attempt is lost before the server
    gets the refusal, because no event that is made of it may be shown. The server is not cancelled for that: it is
    unwinding already.
    """
    attempt = _executed_attempt.get()
    if attempt is None:
        yield
        return
    attempt.store_calls += 1
    try:
        yield
    except (Fenced, Stopping):
        attempt.overtaken()
        raise
    finally:
        attempt.store_call_ended()
