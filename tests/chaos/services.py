"""Redis and PostgreSQL of a chaos run's own: stopped, frozen and started again, always at the same address."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

from relaykit.local.child import Child
from relaykit.local.data_directory import DataDirectory
from relaykit.local.postgres_server import postgres_server
from relaykit.local.redis_server import redis_server
from relaykit.local.waiting import StopRequest
from tests.support.system import free_port

STOP_SECONDS = 30.0

T = TypeVar("T")


class Service:
    """One server process. What waits for it runs in a thread of its own, so that the chats go on meanwhile."""

    def __init__(self, name: str, start: Callable[[], AbstractContextManager[tuple[Child, str]]]) -> None:
        self.name = name
        self.url = ""
        self.lock = asyncio.Lock()
        """Held by the fault that has hold of it."""
        self._start = start
        self._stack = ExitStack()
        self._child: Child | None = None
        # the kernel ends the server with the thread that started it, so that is one and stays
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def start(self) -> None:
        await self._in_thread(self._open)

    async def stop(self, number: signal.Signals) -> None:
        """Ends the server by this signal; its data stays."""
        await self._in_thread(partial(self._close, number))

    async def close(self) -> None:
        await self.stop(signal.SIGINT)
        self._thread.shutdown()

    def send(self, number: signal.Signals) -> None:
        assert self._child is not None
        self._child.send(number)

    def _open(self) -> None:
        self._child, self.url = self._stack.enter_context(self._start())

    def _close(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.send(signal.SIGCONT)
            self._child.send(number)
            assert self._child.wait(STOP_SECONDS), f"{self.name} does not stop"
            self._child = None
        self._stack.close()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def redis_services(directory: DataDirectory) -> tuple[Service, Service]:
    """A primary, and a spare one with the same lock and password.

    They write commands down as they take them, so that a restart in order keeps them all.
    """
    primary, spare = (
        Service(
            name, partial(redis_server, directory, StopRequest(), durable=True, port=free_port(), name=name)
        )
        for name in ("redis", "redis-spare")
    )
    spare.lock = primary.lock
    return primary, spare


def forget_redis(directory: DataDirectory, service: Service) -> None:
    """Removes what a stopped Redis would load again."""
    folder = Path(directory.path, service.name)
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)


def postgres_service(directory: DataDirectory) -> Service:
    return Service(
        "postgres", partial(postgres_server, directory, StopRequest(), durable=True, port=free_port())
    )
