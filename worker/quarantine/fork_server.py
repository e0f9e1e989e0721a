"""The fork server: forks a process for each cell, from one that has all code and neither threads nor a loop.

To start Python and import the SDK takes two seconds of CPU, which a run whose worker was lost would wait for, four
times over where four cells are needed. The server is forked from the worker at its very beginning, so that it is safe
to fork again, and shares its memory with the worker until one of them writes to it. It ends with the worker's end of
the socket.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import structlog

Execute = Callable[[socket.socket, int], int]
"""What a forked process does with its socket and its file, and its exit status."""

LOOK_SECONDS = 5.0
"""The fork server looks this often whether the worker is still there, because a process that the worker's code has
forked may hold the worker's end of the socket open."""

log = structlog.get_logger()


@dataclass(eq=False)
class Child:
    """A forked process."""

    pid: int
    ended: asyncio.Future[int | None]
    """Its exit status, negative for a signal; None where the fork server has ended before it."""

    def kill(self) -> None:
        if not self.ended.done() and self.pid:
            os.kill(self.pid, signal.SIGKILL)


@dataclass(eq=False)
class ForkServer:
    """The worker's end."""

    control: socket.socket
    _asked: deque[asyncio.Future[Child]] = field(default_factory=deque)
    _children: dict[int, Child] = field(default_factory=dict)
    _received: bytes = b""
    _is_open: bool = False

    @property
    def is_alive(self) -> bool:
        return self.control.fileno() >= 0

    async def fork(self, connection: socket.socket, file: int) -> Child | None:
        """A process that has copies of both; None where there can be none."""
        loop = asyncio.get_running_loop()
        if not self.is_alive:
            return None
        if not self._is_open:
            self._is_open = True
            self.control.setblocking(False)
            loop.add_reader(self.control, self._read)
        asked: asyncio.Future[Child] = loop.create_future()
        try:
            socket.send_fds(self.control, [b"f"], [connection.fileno(), file])
        except OSError:
            self._lose()
            return None
        self._asked.append(asked)
        child = await asked
        return child if child.pid else None

    def _read(self) -> None:
        try:
            received = self.control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._lose()
            return
        *lines, self._received = (self._received + received).split(b"\n")
        for line in lines:
            self._take(**json.loads(line))

    def _take(self, pid: int, status: int | None = None) -> None:
        if status is None:
            child = Child(pid, asyncio.get_running_loop().create_future())
            self._children[pid] = child
            if not (asked := self._asked.popleft()).done():
                asked.set_result(child)
        elif not (child := self._children.pop(pid)).ended.done():
            child.ended.set_result(status)

    def _lose(self) -> None:
        """The server is gone: its children live on, and there will be no other."""
        log.error(
            "the fork server has ended: there are no new cells until the worker is started again",
            action="fork_server_ended",
        )
        asyncio.get_running_loop().remove_reader(self.control)
        self.control.close()
        for asked in self._asked:
            if not asked.done():
                asked.set_result(Child(0, asyncio.get_running_loop().create_future()))
        for child in self._children.values():
            if not child.ended.done():
                child.ended.set_result(None)

    def close(self) -> None:
        with suppress(OSError):  # it is closed
            self.control.shutdown(socket.SHUT_RDWR)  # also where the site's code has forked, and kept a copy
        self.control.close()


@contextmanager
def forking(execute: Execute) -> Iterator[ForkServer]:
    """A fork server for the block. Nothing may have started a thread before."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _serve(theirs, execute)
    theirs.close()
    server = ForkServer(ours)
    try:
        yield server
    finally:
        server.close()
        os.waitpid(pid, 0)


def _serve(control: socket.socket, execute: Execute) -> NoReturn:
    """The server's life. A signal to the worker's process group is neither for it nor for its children."""
    worker = os.getppid()
    try:
        os.setsid()
        _name("relaykit-forks")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        gc.collect()
        gc.freeze()  # a collection would write to each page that is shared
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakes)
        while True:
            readable, _, _ = select.select([control.fileno(), woken], [], [], LOOK_SECONDS)
            if os.getppid() != worker:
                break
            if woken in readable:
                os.read(woken, 4096)
                _reap(control)
            if control.fileno() in readable:
                asked, files, _, _ = socket.recv_fds(control, 1, 2)
                if not asked:
                    break
                pid = _fork(files, execute, (control.fileno(), woken, wakes))
                _tell(control, pid=pid)
    except OSError:  # the worker is gone
        pass
    finally:
        os._exit(0)


def _fork(files: list[int], execute: Execute, inherited: tuple[int, ...]) -> int:
    try:
        pid = os.fork()
    except OSError:
        pid = -1
    if pid:
        for file in files:
            os.close(file)
        return max(pid, 0)
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        for file in inherited:
            os.close(file)
        _name("relaykit-cell")
        status = execute(socket.socket(fileno=files[0]), files[1])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _reap(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _tell(control, pid=pid, status=os.waitstatus_to_exitcode(status))


def _name(name: str) -> None:
    """How `ps` and `top` call the process, where they can be told; its command line is the worker's."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _tell(control: socket.socket, **said: int) -> None:
    control.sendall(json.dumps(said).encode() + b"\n")
