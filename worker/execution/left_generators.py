"""Async generators that a server's own generator leaves behind when it is closed: those that it delegates to.

`async for event in self.answer(): yield event` does not close `answer()` where it is itself closed at its yield.
Python gives such a generator to a hook of the thread, and asyncio closes it in a task and a context of its own. Here
it is kept for the task that closes the outer one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

Generator = AsyncGenerator[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Collector:
    """Collects what one task leaves behind, and not what the tasks do that it starts."""

    task: asyncio.Task[Any] | None
    generators: list[Generator] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Finalizer:
    """The thread's hook. It holds for the generators that are first asked for an event after it was set."""

    other: Callable[[Generator], None] | None

    def __call__(self, generator: Generator) -> None:
        collector = _collector.get()
        if collector is not None and collector.task is asyncio.current_task():
            collector.generators.append(generator)
        elif self.other is not None:
            self.other(generator)


_collector: ContextVar[_Collector | None] = ContextVar("relaykit_left_generators", default=None)


def watch_generators() -> None:
    """Sets the hook in this thread, whose loop is running; it goes with the loop. Does nothing where it is set."""
    other = sys.get_asyncgen_hooks().finalizer
    if not isinstance(other, _Finalizer):
        sys.set_asyncgen_hooks(finalizer=_Finalizer(other))


@contextmanager
def keep_left_generators() -> Iterator[list[Generator]]:
    """The list of what the task leaves behind in the block, which it has to close."""
    collector = _Collector(asyncio.current_task())
    token = _collector.set(collector)
    try:
        yield collector.generators
    finally:
        _collector.reset(token)
