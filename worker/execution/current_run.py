"""Which run a task belongs to, for other threads: the task that executes the run, and every task that is started in it.

`asyncio.current_task(loop)` says in any thread what task a loop stands in; but the context of a task is only to be had
in the task itself (before Python 3.12).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

_current: ContextVar[str | None] = ContextVar("relaykit_current_run", default=None)
_runs: WeakKeyDictionary[asyncio.Future[Any], str] = WeakKeyDictionary()


def enter_run(run_id: str) -> None:
    """The current task, and the tasks that it starts from now on, belong to the run."""
    _current.set(run_id)
    task = asyncio.current_task()
    if task is not None:
        _runs[task] = run_id


def run_of(task: asyncio.Future[Any]) -> str | None:
    """The run that the task belongs to; safe in any thread."""
    return _runs.get(task)


def note_runs_of_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Makes the loop note the run of each task. It goes with the loop, and does nothing where there is a factory."""
    if loop.get_task_factory() is None:
        loop.set_task_factory(_make_task)


def _make_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any] | Any, **options: Any
) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    context = options.get("context")
    run_id = _current.get() if context is None else context.get(_current)
    if run_id is not None:
        _runs[task] = run_id
    return task
